"""The journal of a run: raw replies, one JSON object a line, appended as they come, kept under their requests' keys.

    {"key": "3fa9…", "endpoint": "https://…", "attempts": 1, "usd": 0.0003, "reply": {…}}

An answer counts once its line is written, so a process that is killed at any point has lost nothing that it counted,
and asks only for the rest the next time. A last line that was cut off is removed on opening. One process writes at a
time. The keys in memory are 16 bytes an answer.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tulu_data.errors import InputError, StoreError, UsageError

FORMAT = "tulu-journal/1"
SYNC_S = 2.0  # at most so often the disk is waited for
MERGE = 50_000  # new keys that are sorted in at once
_START = b'{"key":"'


class Entry(NamedTuple):
    """A reply as the journal keeps it."""

    key: str
    endpoint: str
    attempts: int
    usd: float | None
    reply: dict[str, Any]


class _Index:
    """Where each key's line starts: sorted arrays of the first 64 bits of the key and of offsets, and the newest."""

    def __init__(self) -> None:
        self.hashes: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self.offsets: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self.new: dict[int, list[int]] = {}
        self.count = 0

    def add(self, key: str, offset: int) -> None:
        self.new.setdefault(int(key[:16], 16), []).append(offset)
        self.count += 1
        if len(self.new) >= MERGE:
            self._merge()

    def _merge(self) -> None:
        pairs = [(h, o) for h, offsets in self.new.items() for o in offsets]
        hashes = np.concatenate([self.hashes, np.array([h for h, _ in pairs], np.uint64)])
        offsets = np.concatenate([self.offsets, np.array([o for _, o in pairs], np.uint64)])
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.offsets = hashes[order], offsets[order]
        self.new.clear()

    def find(self, key: str) -> list[int]:
        """Offsets of the lines whose keys begin like this one."""
        wanted = int(key[:16], 16)
        low, high = (
            np.searchsorted(self.hashes, np.uint64(wanted), "left"),
            np.searchsorted(self.hashes, np.uint64(wanted), "right"),
        )
        return [*(int(o) for o in self.offsets[low:high]), *self.new.get(wanted, ())]


class Journal:
    """The journal in a folder; a context manager.

    `StoreError` where another process writes it, `InputError` where it is damaged before its end. endpoints: who is
    asked; a journal of others is refused, for the same model's name means another model there, unless `same_model` says
    that it does not.
    """

    def __init__(self, folder: Path, endpoints: Sequence[str], *, same_model: bool = False) -> None:
        self.path = folder / "journal.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as e:
            raise StoreError(f"{self.path}: cannot be opened: {e.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StoreError(f"{self.path}: another process writes it; wait for it, or choose another folder") from None
        self._index = _Index()
        self._synced = time.monotonic()
        try:
            self._end = self._read(sorted(endpoints), same_model=same_model)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self._index.count

    def close(self) -> None:
        """Waits for the disk and gives the journal free."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def _read(self, endpoints: list[str], *, same_model: bool) -> int:
        end = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break  # cut off: its answer never counted
                if number == 0:
                    self._check_header(line, endpoints, same_model=same_model)
                elif line.startswith(_START):
                    self._index.add(line[len(_START) : len(_START) + 32].decode("ascii", "replace"), end)
                else:
                    raise InputError(
                        f"{self.path}:{number + 1}: is no line of a journal; restore the file, or choose another folder"
                    )
                end += len(line)
        os.ftruncate(self._file, end)
        os.lseek(self._file, end, os.SEEK_SET)
        if not end:
            header = json.dumps({"format": FORMAT, "endpoints": endpoints}) + "\n"
            self._end = 0
            self._append(header.encode())
            end = self._end
        return end

    def _check_header(self, line: bytes, endpoints: list[str], *, same_model: bool) -> None:
        try:
            header = json.loads(line)
            found = header["format"], header["endpoints"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.path}:1: is no journal; choose another folder") from None
        if found[0] != FORMAT:
            raise InputError(f"{self.path}: format {found[0]!r}, this version reads {FORMAT!r}; choose another folder")
        if endpoints and not same_model and found[1] != endpoints:
            raise UsageError(
                f"{self.path}: holds answers of {', '.join(found[1])}, not of {', '.join(endpoints)}; choose another "
                "folder, or pass --same-model if both serve the same model"
            )

    def _append(self, line: bytes) -> None:
        """Writes a whole line or nothing; `StoreError` where it cannot be written."""
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as e:
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            room = "; make room and run the same command again" if e.errno == errno.ENOSPC else ""
            raise StoreError(f"{self.path}: cannot be written: {e.strerror}{room}") from None
        self._end += len(line)

    def keep(self, entry: Entry) -> None:
        """Writes a reply down."""
        line = json.dumps(entry._asdict(), ensure_ascii=False, separators=(",", ":")) + "\n"
        start = self._end
        self._append(line.encode("utf-8", "surrogatepass"))
        self._index.add(entry.key, start)
        now = time.monotonic()
        if now - self._synced > SYNC_S:
            os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)
            self._synced = now

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._line_of(key) is not None

    def get(self, key: str) -> Entry | None:
        """The reply to a request; None where there is none yet."""
        line = self._line_of(key)
        return None if line is None else _entry(line)

    def _line_of(self, key: str) -> bytes | None:
        for offset in self._index.find(key):
            line = self._line_at(offset)
            if line[len(_START) : len(_START) + 32] == key.encode():
                return line
        return None

    def _line_at(self, offset: int) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            part = os.pread(self._file, 1 << 14, offset + len(found))
            if not part:
                break
            cut = part.find(b"\n")
            found += part if cut < 0 else part[: cut + 1]
        return found

    def entries(self) -> Iterator[Entry]:
        """All replies, in the order in which they came."""
        with self.path.open("rb") as file:
            next(file, None)
            for line in file:
                yield _entry(line)


def _entry(line: bytes) -> Entry:
    return Entry(**json.loads(line.decode("utf-8", "surrogatepass")))
