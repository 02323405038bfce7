"""The bytes of a text file, unpacked: gzip and zstd by content, the byte order mark taken off.

A damaged file gives all that can be unpacked before the damage, and `damage` says what stopped it.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from tulu_data.errors import InputError

BLOCK = 1 << 20  # bytes per read

Stream: TypeAlias = "io.BufferedReader[io.RawIOBase]"

_PACKERS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_FOREIGN = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7-zip"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TABLES = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")


def first_line(e: BaseException) -> str:
    """What an exception of a library says, as one line without its full stop."""
    return (str(e).strip().splitlines() or [type(e).__name__])[0].rstrip(".:")


class _Unpacked(io.RawIOBase):
    """The content of a gzip or zstd file. Damage ends it early, after all that can be unpacked: see `damage`."""

    def __init__(self, path: Path, codec: str) -> None:
        self._open: Callable[[], Any] = lambda: pa.CompressedInputStream(pa.OSFile(str(path)), codec)
        self._stream = self._open()
        self._given = 0
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b"" if self.damage else self._read(len(buffer))
        self._given += len(data)
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except OSError as e:
            self.damage = first_line(e)
            return self._salvage()

    def _salvage(self) -> bytes:
        # A failed read gives back nothing of what it had unpacked, so the last stretch is read byte by byte.
        stream = self._open()
        left = self._given
        while left:
            left -= len(stream.read(min(left, BLOCK)))
        kept = bytearray()
        try:
            while byte := stream.read(1):
                kept += byte
        except OSError:
            pass
        return bytes(kept)


@contextmanager
def open_text(path: Path, name: str) -> Iterator[tuple[Stream, bytes]]:
    """The unpacked bytes of a file from after its byte order mark, and a first look at them.

    `InputError` for other packers, UTF-16, and a file of which nothing can be unpacked.
    """
    with path.open("rb") as f:
        start = f.read(8)
    tool = next((tool for magic, tool in _FOREIGN.items() if start.startswith(magic)), None)
    if tool:
        raise InputError(f"{name}: is packed with {tool}; unpack it first, or pack it with gzip or zstd")
    codec = next((codec for magic, codec in _PACKERS.items() if start.startswith(magic)), None)
    raw: io.RawIOBase = _Unpacked(path, codec) if codec else io.FileIO(path)
    with io.BufferedReader(raw, BLOCK) as stream:
        head = stream.peek(BLOCK)
        damage = damage_of(stream)
        if damage and not head:
            raise InputError(f"{name}: cannot be unpacked ({damage}); get the file again")
        if codec and head.startswith(_TABLES):
            raise InputError(f"{name}: is a table inside {codec}; unpack it first")
        if head.startswith(_UTF16):
            raise InputError(f"{name}: is UTF-16; re-encode it: iconv -f UTF-16 -t UTF-8")
        if head.startswith(codecs.BOM_UTF8):
            stream.read(len(codecs.BOM_UTF8))
            head = head[len(codecs.BOM_UTF8) :]
        yield stream, head


def damage_of(stream: Stream) -> str | None:
    """Why a packed file ended early, as far as it has been read; None if it did not."""
    raw = stream.raw
    return raw.damage if isinstance(raw, _Unpacked) else None
