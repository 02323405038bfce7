"""Candidates: pairs of texts that agree in a band of their signatures, out of core.

A band is read on its own: the keys of all texts are packed as key << 32 | text and sorted, and texts of one key stand
together. Where a band does not fit into its share of the budget it is read several times, and each pass takes a range
of keys. Pairs go into a buffer; when that is full it is sorted, pairs found twice are dropped, and if that does not
make room it is written to disk as a sorted run. The runs are merged slice by slice.

Memory, besides what the caller holds for each row (`near.memory_bytes`): 16 bytes for each text of a pass, at most
half of the budget; and 17 bytes for each pair of the buffer, the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]

BYTES_A_TEXT = 16  # packed once in parts, and once in one piece
BYTES_A_PAIR = 17  # in the buffer, in its sorted copy, and a mark
MAX_TEXTS = 1 << 31
KEYS = 1 << 32

Keys = Callable[[int], Iterator[tuple[I32, U32]]]  # a band → numbers of texts and their keys, in parts


class Plan(NamedTuple):
    """How a budget is spent. passes: over each band. pairs: in the buffer."""

    passes: int
    pairs: int


def plan(texts: int, budget_bytes: int) -> Plan:
    """The fewest passes whose texts fit half of the budget, and the pairs that fit the other half."""
    half = max(budget_bytes // 2, 1)
    return Plan(max(1, -(-texts * BYTES_A_TEXT // half)), max(64, half // BYTES_A_PAIR))


class Candidates:
    """Pairs as later << 32 | earlier, ascending and each once, in memory or as sorted runs on disk."""

    def __init__(self, runs: list[U64]) -> None:
        self._runs = [run for run in runs if len(run)]

    def slices(self, most: int) -> Iterator[U64]:
        """The pairs in order, at most about `most` at once."""
        at = [0] * len(self._runs)
        while self._runs:
            step = max(1, most // len(self._runs))
            ahead = [run[p : p + step] for run, p in zip(self._runs, at, strict=True)]
            # What a run holds beyond its step is greater than the last of it; up to the least of these all is known.
            ends = [a[-1] for a, run, p in zip(ahead, self._runs, at, strict=True) if p + step < len(run)]
            taken = [a[: np.searchsorted(a, min(ends), side="right")] if ends else a for a in ahead]
            at = [p + len(t) for p, t in zip(at, taken, strict=True)]
            pairs = np.concatenate(taken)
            if not len(pairs):
                return
            yield np.unique(pairs) if len(taken) > 1 else pairs


def candidates(keys: Keys, bands: int, texts: int, folder: Path, budget_bytes: int) -> Candidates:
    """Every pair of texts with an equal key in some band. Texts are numbered from 0; runs are written to `folder`.

    `ValueError` for more texts than 2³¹.
    """
    if texts > MAX_TEXTS:
        raise ValueError(f"{texts:,} texts; at most {MAX_TEXTS:,} can be compared at once")
    passes, room = plan(texts, budget_bytes)
    buffer = _Buffer(folder, room)
    for band in range(bands):
        for k in range(passes):
            low, high = KEYS * k // passes, KEYS * (k + 1) // passes
            _pairs_of(_ordered(keys(band), low, high), buffer)
    return Candidates(buffer.close())


def _ordered(parts: Iterator[tuple[I32, U32]], low: int, high: int) -> U64:
    packed = [np.empty(0, np.uint64)]
    for texts, keys in parts:
        whole = keys.astype(np.uint64) << np.uint64(32) | texts.astype(np.uint64)
        if (low, high) != (0, KEYS):
            whole = whole[(keys >= low) & (keys < high)]
        packed.append(whole)
    ordered = np.concatenate(packed)
    ordered.sort()
    return ordered


def _pairs_of(ordered: U64, buffer: _Buffer) -> None:
    from tulu_data.dedup import kernel

    state = np.array([0, 0, 1], np.int64)
    while state[0] < len(ordered):
        buffer.took(kernel.pairs_in(ordered, state, buffer.room()))


class _Buffer:
    """Pairs on their way: sorted and freed of repeats when full, then written to disk if still more than half full."""

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._most = room
        self._pairs = np.empty(min(room, 1 << 12), np.uint64)
        self._used = 0
        self._runs: list[U64] = []

    def room(self) -> U64:
        """Where the next pairs may be written."""
        if self._used == len(self._pairs):
            self._make_room()
        return self._pairs[self._used :]

    def took(self, count: int) -> None:
        """So many were written."""
        self._used += count

    def close(self) -> list[U64]:
        """The sorted runs: those on disk, mapped, or the only one in memory."""
        self._compact()
        if not self._runs:
            return [self._pairs[: self._used]]
        self._spill()
        return self._runs

    def _make_room(self) -> None:
        self._compact()
        if self._used <= len(self._pairs) // 2:
            return
        if len(self._pairs) < self._most:
            grown = np.empty(min(2 * len(self._pairs), self._most), np.uint64)
            grown[: self._used] = self._pairs[: self._used]
            self._pairs = grown
        if self._used > len(self._pairs) // 2:
            self._spill()

    def _compact(self) -> None:
        found = self._pairs[: self._used]
        found.sort()
        once = found[np.concatenate([[True], found[1:] != found[:-1]])] if len(found) else found
        self._pairs[: len(once)] = once
        self._used = len(once)

    def _spill(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{len(self._runs):06d}.pairs"
        self._pairs[: self._used].tofile(path)
        if self._used:
            self._runs.append(np.asarray(np.memmap(path, np.uint64, "r")))
        self._used = 0
