"""Vectors of texts on disk, by what the text is: what was encoded once is not encoded again, in later searches either.

    int64    magic, texts, dimensions
    bytes16  digests (texts,)
    float16  vectors (texts, dimensions)

A file holds some texts in the order in which they were encoded. It is written whole by rename and then left alone, so
a killed search goes on, and several may use one folder at once. The folder is named by the encoder.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tulu_data.encoders import Encoder, unit
from tulu_data.errors import InputError
from tulu_data.manifest import ID_HEX
from tulu_data.progress import Progress

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
Digests = npt.NDArray[np.bytes_]  # of 16 bytes each; all zero of a text without characters

MAGIC = 0x31434556_554C5554  # "TULUVEC1", little-endian
HEADER_BYTES = 24
DIGEST_BYTES = 16
AT_ONCE = 1024  # texts that are encoded and written together: what a killed search loses
AT_ONCE_BYTES = 4 << 20  # of their text
# Bytes of a text that are encoded together. all-MiniLM-L6-v2 reads 256 word pieces and drops what follows.
WINDOW_BYTES = 800
SCHEME = f"window{WINDOW_BYTES}/1"  # of how a text becomes a vector

Read = Callable[[], Iterator[str]]  # the same texts each time


def folder_of(root: Path, encoder: Encoder) -> Path:
    """Where the vectors of an encoder are kept."""
    key = sha256(f"{encoder.digest} {SCHEME}".encode()).hexdigest()[:ID_HEX]
    return root / f"td1-vectors-{key}"


def encode_texts(read: Read, encoder: Encoder, folder: Path, progress: Progress) -> tuple[VectorFiles, I64]:
    """The vectors of texts, and `(texts,)` where in them each stands: -1 of a text without characters.

    Equal texts share one. What `folder` holds is not encoded again. `InputError` where the encoder cannot be had.
    """
    files = VectorFiles(folder, encoder.name)
    with progress.task("read texts"):
        digests = digests_of(read())
    distinct, first = np.unique(digests, return_index=True)
    wanted = np.zeros(len(digests), np.bool_)
    wanted[first[(files.places(distinct) < 0) & (distinct != b"")]] = True
    count = int(wanted.sum())
    if count:
        with progress.task(f"encode with {encoder.name}", count) as advance:
            for some, texts in _portions(read(), wanted):
                files.add(digests[some], vectors_of(texts, encoder))
                advance(len(texts))
    return files, files.places(digests)


def digests_of(texts: Iterator[str]) -> Digests:
    """`(texts,)`."""
    held = bytearray()
    for text in texts:
        held += sha256(text.encode()).digest()[:DIGEST_BYTES] if text.strip() else bytes(DIGEST_BYTES)
    return np.frombuffer(held, f"S{DIGEST_BYTES}")


def _portions(texts: Iterator[str], wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[list[int], list[str]]]:
    """The texts that are wanted and their numbers, so many at once as are written together."""
    numbers: list[int] = []
    held: list[str] = []
    size = 0
    for number, text in enumerate(texts):
        if not wanted[number]:
            continue
        numbers.append(number)
        held.append(text)
        size += len(text)
        if len(held) == AT_ONCE or size >= AT_ONCE_BYTES:
            yield numbers, held
            numbers, held, size = [], [], 0
    if held:
        yield numbers, held


def vectors_of(texts: Sequence[str], encoder: Encoder) -> F16:
    """`(texts, dimensions)` of length 1: of a text that an encoder would cut, the mean over its windows."""
    parts = [windows(text) for text in texts]
    vectors = encoder.encode([part for of_text in parts for part in of_text])
    begins = np.cumsum([0, *(len(of_text) for of_text in parts[:-1])])
    return unit(np.add.reduceat(vectors, begins, axis=0)).astype(np.float16)


def windows(text: str) -> list[str]:
    """A text in the fewest parts of about one size and at most `WINDOW_BYTES`, cut at white space where there is some.

    >>> windows("one short text")
    ['one short text']
    """
    data = text.encode()
    count = max(1, -(-len(data) // WINDOW_BYTES))
    while True:
        edges = [0, *(_cut(data, len(data) * k // count, len(data) // count) for k in range(1, count)), len(data)]
        if max(np.diff(edges)) <= WINDOW_BYTES:
            return [data[a:b].decode() for a, b in pairwise(edges)]
        count += 1  # cuts were moved back, and one part is too long now


def _cut(data: bytes, at: int, size: int) -> int:
    """Where to cut near `at`: after the last white space of the eighth of a window before it, or between characters."""
    low = at - size // 8
    space = max(data.rfind(b" ", low, at), data.rfind(b"\n", low, at))
    if space >= 0:
        return space + 1
    while data[at] & 0xC0 == 0x80:  # within a character
        at -= 1
    return at


class _File(NamedTuple):
    path: Path
    texts: int
    dimensions: int

    def digests(self) -> Digests:
        return np.fromfile(self.path, f"S{DIGEST_BYTES}", self.texts, offset=HEADER_BYTES)

    def take(self, rows: I64) -> F16:
        begin = HEADER_BYTES + DIGEST_BYTES * self.texts
        mapped = np.memmap(self.path, np.float16, "r", begin, (self.texts, self.dimensions))
        return np.asarray(mapped[rows])


class VectorFiles:
    """The vectors that a folder holds. A place is a file's number and a row in it.

    Memory: 24 bytes for each vector on disk, as much again while they are sorted.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """`InputError` where vectors have different dimensions: a server's model was changed."""
        self._folder, self._name = folder, name
        self._files: list[_File] = []
        self._index: tuple[Digests, I64] | None = None
        for path in sorted(folder.glob("*.vectors")):
            self._take_in(_opened(path))

    @property
    def dimensions(self) -> int:
        """Of a vector; 0 where there is none."""
        return self._files[0].dimensions if self._files else 0

    def places(self, digests: Digests) -> I64:
        """`(texts,)` where each text's vector stands; -1 where there is none."""
        known, places = self._known()
        if not len(known):
            return np.full(len(digests), -1, np.int64)
        at = np.minimum(np.searchsorted(known, digests), len(known) - 1)
        return np.where(known[at] == digests, places[at], -1)

    def take(self, places: I64) -> F32:
        """`(places, dimensions)`, of length 1 but for what float16 cuts off."""
        taken = np.empty((len(places), self.dimensions), np.float16)
        number = places >> 32
        for k in np.unique(number).tolist():
            mine = np.flatnonzero(number == k)
            taken[mine] = self._files[k].take(places[mine] & 0xFFFFFFFF)
        return taken.astype(np.float32)

    def add(self, digests: Digests, vectors: F16) -> None:
        """Writes the vectors of texts."""
        name = sha256(digests.tobytes()).hexdigest()[:ID_HEX]
        path = self._folder / f"{name}.vectors"
        temp = path.with_name(f".{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with temp.open("wb") as file:
                file.write(np.array([MAGIC, *vectors.shape], np.int64).tobytes())
                file.write(digests.tobytes())
                file.write(np.ascontiguousarray(vectors).data)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        self._take_in(_File(path, *vectors.shape))

    def _take_in(self, file: _File | None) -> None:
        if file is None:
            return
        if self._files and file.dimensions != self.dimensions:
            raise InputError(
                f"encoder {self._name}: gives vectors of {file.dimensions} dimensions, and {self._folder} holds some "
                f"of {self.dimensions}; remove that folder to encode anew"
            )
        self._files.append(file)
        self._index = None

    def _known(self) -> tuple[Digests, I64]:
        if self._index is None:
            none = np.empty(0, f"S{DIGEST_BYTES}")
            digests = np.concatenate([none, *(f.digests() for f in self._files)])
            places = np.concatenate(
                [np.empty(0, np.int64), *(np.arange(f.texts) | k << 32 for k, f in enumerate(self._files))]
            )
            order = np.argsort(digests, kind="stable")
            self._index = digests[order], places[order]
        return self._index


def _opened(path: Path) -> _File | None:
    """The file, where it is whole."""
    header = np.fromfile(path, np.int64, HEADER_BYTES // 8)
    if len(header) * 8 != HEADER_BYTES or header[0] != MAGIC:
        return None
    texts, dimensions = int(header[1]), int(header[2])
    whole = HEADER_BYTES + (DIGEST_BYTES + 2 * dimensions) * texts
    return _File(path, texts, dimensions) if path.stat().st_size == whole else None
