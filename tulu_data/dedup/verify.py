"""Candidates → duplicates: the exact Jaccard similarity of shingle sets, read from the signature files as needed.

Sets are sets of 64-bit hashes: two different shingles of a pair of texts are taken for one with probability below
10⁻¹³ for texts of a thousand words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tulu_data.dedup.banding import Candidates
from tulu_data.dedup.signatures import SignatureFile

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

LOW_HALF = np.uint64(0xFFFFFFFF)
PAIR_BYTES = 128  # of a slice: the pair, its rows, the places of its sets, and what sorting them takes
FEW = 4  # a file of which less than one in so many bytes is needed is read set by set


class Gathered(NamedTuple):
    """Some sets in memory, each sorted: set k is `shingles[first[k] : first[k + 1]]`."""

    first: I64
    shingles: U64


class Sets:
    """The shingle sets of rows, on disk. rows are numbered through all files, in order."""

    def __init__(self, files: Sequence[SignatureFile]) -> None:
        self._files = files
        self._begins = np.concatenate([[0], np.cumsum([f.texts for f in files])]).astype(np.int64)
        self.sizes: I32 = np.concatenate([np.zeros(0, np.int32), *(f.sizes() for f in files)])

    def gather(self, rows: I64) -> Gathered:
        """The sets of rows, which ascend, sorted."""
        from tulu_data.dedup import kernel

        first = np.concatenate([[0], np.cumsum(self.sizes[rows], dtype=np.int64)])
        shingles = np.empty(int(first[-1]), np.uint64)
        bounds = np.searchsorted(rows, self._begins)
        for k, file in enumerate(self._files):
            low, high = int(bounds[k]), int(bounds[k + 1])
            if low < high:
                self._read(file, int(self._begins[k]), rows[low:high], first[low : high + 1], shingles)
        kernel.sort_sets(shingles, first)
        return Gathered(first, shingles)

    def _read(self, file: SignatureFile, begin: int, rows: I64, first: I64, shingles: U64) -> None:
        from tulu_data.dedup import kernel

        of_file = self.sizes[begin : begin + file.texts]
        starts = np.concatenate([[0], np.cumsum(of_file, dtype=np.int64)])[rows - begin]
        if FEW * (first[-1] - first[0]) >= file.shingles:
            section = np.fromfile(file.path, np.uint64, file.shingles, offset=file.shingles_at)
            kernel.copy_sets(section, starts, shingles, first)
            return
        with ExitStack() as stack:
            fd = os.open(file.path, os.O_RDONLY)
            stack.callback(os.close, fd)
            for k, start in enumerate(starts.tolist()):
                os.preadv(fd, [shingles[first[k] : first[k + 1]].data], file.shingles_at + 8 * start)


def blocks(pairs: U64, row_of: I64, sets: Sets, budget_bytes: int) -> Iterator[tuple[U64, I64, Gathered]]:
    """Pairs in order, in pieces whose sets take `budget_bytes` at most (a pair alone may take more): the pairs, the
    places of their sets `(pairs, 2)`, and the sets. row_of: the row of each text.
    """
    at, step = 0, len(pairs)
    while at < len(pairs):
        some = pairs[at : at + step]
        texts = np.stack([some >> np.uint64(32), some & LOW_HALF], axis=1).astype(np.int64)
        rows, places = np.unique(row_of[texts], return_inverse=True)
        needed = 8 * int(sets.sizes[rows].sum(dtype=np.int64))
        if needed > budget_bytes and step > 1:
            step = max(1, min(step // 2, step * budget_bytes // needed))
            continue
        yield some, places.reshape(-1, 2), sets.gather(rows)
        at += len(some)
        step = 2 * step if 3 * needed < budget_bytes else step


class Settled(NamedTuple):
    """leader: `(texts,)` the text for which each leaves, or itself. score: the similarity to it, or 0."""

    leader: I64
    score: F64


def settle(found: Candidates, row_of: I64, sets: Sets, threshold: float, budget_bytes: int) -> Settled:
    """Which texts leave: going through them in order, those with a similarity of `threshold` or more to an earlier one
    that stays. So no two texts that stay are duplicates, and each that leaves is one of the text it leaves for.
    """
    from tulu_data.dedup import kernel

    leader, score = np.arange(len(row_of)), np.zeros(len(row_of))
    for whole in found.slices(max(1, budget_bytes // 2 // PAIR_BYTES)):
        # Every text before the first later one of this slice is decided.
        earlier = (whole & LOW_HALF).astype(np.int64)
        pairs = whole[leader[earlier] == earlier]
        for some, places, gathered in blocks(pairs, row_of, sets, budget_bytes // 2):
            kernel.settle(some, places, gathered.first, gathered.shingles, threshold, leader, score)
    return Settled(leader, score)


def similar_pairs(
    found: Candidates, row_of: I64, sets: Sets, threshold: float, budget_bytes: int
) -> Iterator[tuple[U64, F64]]:
    """All pairs of texts with a similarity of `threshold` or more, as later << 32 | earlier, and their similarities."""
    for pairs in found.slices(max(1, budget_bytes // 2 // PAIR_BYTES)):
        for some, places, gathered in blocks(pairs, row_of, sets, budget_bytes // 2):
            scores = scores_of(some, places, gathered, threshold)
            alike = scores >= threshold
            yield some[alike], scores[alike]


def scores_of(pairs: U64, places: I64, gathered: Gathered, threshold: float) -> F64:
    """The similarity of each pair, or -1 where sizes alone keep it below the threshold."""
    from tulu_data.dedup import kernel

    scores = np.zeros(len(pairs))
    kernel.similarities(pairs, places, gathered.first, gathered.shingles, threshold, scores)
    return scores
