"""A raw record with its place, and the picklable units of work that records travel in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

CHUNK_RECORDS = 2_000
CHUNK_BYTES = 8 << 20


class Raw(NamedTuple):
    """A record as its file holds it; `record` is None where `problem` says why it could not be decoded."""

    place: str
    index: int  # type: ignore[assignment]  # position in its file, from 0; a tuple's own `index` is not used
    record: Any
    problem: str | None


class Chunk(NamedTuple):
    """A picklable unit of work: whole lines as bytes, a row group's address, Arrow bytes, or decoded records."""

    name: str  # of the file, as places show it
    form: Literal["jsonl", "text", "parquet", "arrow", "records"]
    first: int  # index of the first record
    line: int  # of the first line, from 1; 0 where there are none
    records: int  # how many, at most
    payload: Any


def batched(name: str, sized: Iterable[tuple[Raw, int]]) -> Iterator[Chunk]:
    """Decoded records, each with its size in characters, as chunks of bounded size."""
    held: list[Raw] = []
    size = 0
    for raw, chars in sized:
        held.append(raw)
        size += chars
        if len(held) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield Chunk(name, "records", held[0].index, 0, len(held), tuple(held))
            held.clear()
            size = 0
    if held:
        yield Chunk(name, "records", held[0].index, 0, len(held), tuple(held))
