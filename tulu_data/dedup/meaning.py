"""Near duplicates in meaning: texts whose sentence embeddings have a cosine of the threshold or more.

In the spirit of SemDeDup (arXiv 2303.09540), but every text is compared with every text that stays before it: no
clusters or approximate index that would miss pairs. Texts come in the order of preference, a block at a time, and are
compared with those that stayed so far, which lie on disk. That is one product of matrices a pair of blocks, in float32,
which proposes; the cosine in float64, to three digits, decides. So neither blocks nor threads change what is found.

Memory, besides the encoder: 150 bytes for each row and each vector in the folder, and half of the budget at most.
Disk: 16 + 2 · dimensions bytes for each different text, kept; and 2 · dimensions for each that stays, while it runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from tulu_data.dedup.near import Leaders, Work
from tulu_data.dedup.settings import ByFinder
from tulu_data.dedup.vectors import SCHEME, Read, encode_texts, folder_of
from tulu_data.encoders import ENCODER, encoder_of
from tulu_data.progress import Advance

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

VERSION = "meaning/1"  # raise it when other rows are found
DIGITS = 3  # of a cosine: what an encoder gives for a text differs in the seventh with the texts beside it
# Lengths in float16 are off by 2⁻¹¹, so a product by 0.001, sums in float32 by less than 0.0005: two products differ by
# 0.004 at most where their cosines agree to three digits.
MARGIN = 0.004
MOST_ROWS = 4096  # of a block: with more, products of matrices are no faster
CELL_BYTES = 10  # of a pair of texts of two blocks: its product, a copy of that, and marks
EXACT_AT_ONCE = 1 << 12  # pairs whose cosine is worked out in float64 together


def digest(by: ByFinder) -> str:
    """What besides texts and settings decides: the encoder's weights or address, and this code."""
    return f"{VERSION} {SCHEME} {encoder_of(by.encoder or ENCODER).digest}"


def leaders(read: Read, ranked: I64, by: ByFinder, work: Work) -> Leaders:
    """Which texts leave for which; see `finders.Finder`. A text without characters is like none."""
    encoder = encoder_of(by.encoder or ENCODER)
    files, places = encode_texts(read, encoder, folder_of(work.scans, encoder), work.progress)
    worded = ranked[places[ranked] >= 0]
    of_place, first, group = np.unique(places[worded], return_index=True, return_inverse=True)
    order = np.argsort(first)  # of texts that are equal the first in rank speaks for all
    text, place = worded[first[order]], of_place[order]
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))

    def vectors(begin: int, end: int) -> F32:
        return files.take(place[begin:end])

    rows = block_rows(work.budget_bytes, files.dimensions)
    with (
        work.progress.task("compare meanings", len(text)) as advance,
        Kept(work.spill / "kept.vectors", files.dimensions) as kept,
    ):
        found = settle(vectors, len(text), by.threshold, rows, kept, advance)
    leader, score = np.arange(len(ranked)), np.ones(len(ranked))
    of_text = number[group]
    stays = found.leader[of_text] == of_text
    leader[worded] = text[found.leader[of_text]]
    score[worded] = np.where(stays, 1.0, found.score[of_text])
    return Leaders(leader, score)


def block_rows(budget_bytes: int, dimensions: int) -> int:
    """Texts of a block, 64 at least: as many as keep its products and vectors within half of the budget."""
    vector = 12 * dimensions  # of two blocks in float32, and one as it comes from disk
    most = (math.sqrt(vector**2 + 2 * CELL_BYTES * budget_bytes) - vector) / (2 * CELL_BYTES)
    return min(max(64, int(most)), MOST_ROWS)


def settle(
    vectors: Callable[[int, int], F32], count: int, threshold: float, rows: int, kept: Kept, advance: Advance
) -> Leaders:
    """Who leaves for whom among texts in the order of preference: each for the nearest one before it that stays.

    vectors: gives those of the texts `[begin, end)`, of about length 1. Of several that are as near the first counts.
    """
    leader, score = np.arange(count), np.ones(count)
    for begin in range(0, count, rows):
        block = vectors(begin, min(begin + rows, count))
        nearest = _Nearest(len(block), threshold)
        for numbers, others in kept.blocks(rows):
            _compare(block, numbers, others, threshold, nearest)
        _compare_within(block, begin, threshold, nearest)
        gone = nearest.leader >= 0
        leader[begin : begin + len(block)][gone] = nearest.leader[gone]
        score[begin : begin + len(block)][gone] = nearest.score[gone]
        kept.add(begin + np.flatnonzero(~gone), block[~gone])
        advance(len(block))
    return Leaders(leader, score)


class _Nearest:
    """leader, score: `(texts,)` of a block: the nearest text found so far, -1 where none is near enough."""

    def __init__(self, texts: int, threshold: float) -> None:
        self.leader = np.full(texts, -1, np.int64)
        self.score = np.full(texts, np.nextafter(threshold, -np.inf))

    def take(self, texts: I64, others: I64, scores: F64) -> None:
        """Those count that are nearer than what is known, and of them the nearest and first."""
        order = np.lexsort((others, -scores, texts))
        order = order[np.unique(texts[order], return_index=True)[1]]
        better = order[scores[order] > self.score[texts[order]]]
        self.leader[texts[better]], self.score[texts[better]] = others[better], scores[better]


def _compare(block: F32, numbers: I64, others: F32, threshold: float, nearest: _Nearest) -> None:
    near = block @ others.T
    best = near.max(axis=1)
    texts = np.flatnonzero(best >= threshold - MARGIN)
    row, column = np.nonzero(near[texts] >= np.maximum(threshold, best[texts])[:, None] - MARGIN)
    text = texts[row]
    nearest.take(text, numbers[column], cosines(block, text, others, column))


def _compare_within(block: F32, begin: int, threshold: float, nearest: _Nearest) -> None:
    """One text after the other, for only those that stay count."""
    near = np.tril(block @ block.T >= threshold - MARGIN, -1)
    for text in np.flatnonzero(near.any(axis=1)).tolist():
        before = np.flatnonzero(near[text, :text] & (nearest.leader[:text] < 0))
        same = np.full(len(before), text)
        nearest.take(same, begin + before, cosines(block, same, block, before))


def cosines(a: F32, rows: I64, b: F32, columns: I64) -> F64:
    """`(pairs,)` the cosines of vectors `a[rows]` and `b[columns]`, to three digits."""
    found = np.empty(len(rows))
    for i in range(0, len(rows), EXACT_AT_ONCE):
        some = slice(i, i + EXACT_AT_ONCE)
        left, right = a[rows[some]].astype(np.float64), b[columns[some]].astype(np.float64)
        lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        found[some] = np.round(np.einsum("ij,ij->i", left, right) / np.maximum(lengths, 1e-12), DIGITS)
    return found


class Kept:
    """The vectors of texts that stay, on disk in the order in which they came; removed on the way out."""

    def __init__(self, path: Path, dimensions: int) -> None:
        self._path, self._dimensions = path, dimensions
        self._numbers = np.empty(0, np.int64)

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(b"")
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)

    def add(self, numbers: I64, vectors: F32) -> None:
        """Vectors that float16 holds, and the numbers of their texts, which ascend."""
        with self._path.open("ab") as file:
            file.write(vectors.astype(np.float16).tobytes())
        self._numbers = np.concatenate([self._numbers, numbers])

    def blocks(self, rows: int) -> Iterator[tuple[I64, F32]]:
        """Numbers and vectors, `rows` at once."""
        for begin in range(0, len(self._numbers), rows):
            numbers = self._numbers[begin : begin + rows]
            at = 2 * self._dimensions * begin
            read = np.fromfile(self._path, np.float16, len(numbers) * self._dimensions, offset=at)
            yield numbers, read.reshape(len(numbers), -1).astype(np.float32)
