"""Near duplicates of rows: signatures → texts, each once → candidates → who stays, in the order of preference.

Two engines answer the same question: the compiled one below, which works from disk, and `reference`, which is
datasketch in memory, for comparison and where Numba cannot be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from tulu_data.dedup import banding
from tulu_data.dedup.settings import Near
from tulu_data.dedup.signatures import SignatureFile, folder_of, keys_of, sign_version
from tulu_data.dedup.verify import Sets, Settled, settle
from tulu_data.errors import UsageError, nearest
from tulu_data.progress import Progress
from tulu_data.store import Version

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]

EngineName = Literal["auto", "compiled", "datasketch"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
BUDGET_BYTES = 512 << 20
BYTES_A_ROW = 200  # digests, order of preference, ids and numbers of each row, at their peak
BYTES_A_PART = 160 << 20  # one part of a version while it is signed: Arrow, words and shingles


def memory_bytes(rows: int, budget_bytes: int = BUDGET_BYTES, workers: int = 1) -> int:
    """The most memory that a search with the compiled engine takes beside the program itself: 200 bytes for each row
    of the versions that are compared at once, the budget, and 160 MiB for each worker. `benchmarks/dedup.py` holds
    what is used against it. Pairs and signatures go to disk: 8 bytes a pair, 150 and 8 for each shingle a row.
    """
    return BYTES_A_ROW * rows + budget_bytes + workers * BYTES_A_PART


class Work(NamedTuple):
    """What a search may use. scans: the folder of signatures, kept for a killed run. spill: a folder for pairs."""

    scans: Path
    spill: Path
    workers: int
    budget_bytes: int
    progress: Progress


class Leaders(NamedTuple):
    """leader: `(rows,)` the row for which each leaves, or itself. score: `(rows,)` the Jaccard similarity to it."""

    leader: I64
    score: F64


class NearEngine(Protocol):
    """Finds the near duplicates among some rows of versions, which are numbered through."""

    name: str

    def leaders(self, versions: Sequence[Version], near: Near, ranked: I64, work: Work) -> Leaders:
        """Who leaves for whom. ranked: the rows that are looked at, the one to keep first at the front."""

    def scores(self, versions: Sequence[Version], near: Near, pairs: I64, work: Work) -> F64:
        """`(pairs,)` the similarities of pairs of rows `(pairs, 2)`; NaN where one has no words."""


def engine_of(name: str) -> NearEngine:
    """The engine of that name; `auto` is the compiled one where Numba is installed."""
    if name not in ENGINES:
        raise UsageError(f"engine {name!r} is unknown; {nearest(name, ENGINES, noun='engine')}")
    if name == "compiled" or (name == "auto" and find_spec("numba") is not None):
        return Compiled()
    from tulu_data.dedup.reference import Reference

    return Reference()


class Compiled:
    """MinHash on Arrow's buffers with Numba; see `NearEngine`.

    Memory: see `memory_bytes`.
    """

    name = "compiled"

    def leaders(self, versions: Sequence[Version], near: Near, ranked: I64, work: Work) -> Leaders:
        """See `NearEngine`."""
        files = self._files(versions, near, work)
        sets = Sets(files)
        grouped = _grouped(files, sets, ranked)
        row_of = ranked[grouped.places]
        with work.progress.task("compare near duplicates"):
            found = candidates(files, near, row_of, len(sets.sizes), work)
            settled = settle(found, row_of, sets, near.threshold, work.budget_bytes)
        return _of_rows(ranked, row_of, grouped.of_row, settled, len(sets.sizes))

    def scores(self, versions: Sequence[Version], near: Near, pairs: I64, work: Work) -> F64:
        """See `NearEngine`."""
        from tulu_data.dedup.verify import blocks, scores_of

        sets = Sets(self._files(versions, near, work))
        scores = np.full(len(pairs), np.nan)
        known = np.flatnonzero((sets.sizes[pairs] > 0).all(axis=1))
        packed = pairs[known, 0].astype(np.uint64) << np.uint64(32) | pairs[known, 1].astype(np.uint64)
        at = 0
        for some, places, gathered in blocks(packed, np.arange(len(sets.sizes)), sets, work.budget_bytes):
            scores[known[at : at + len(some)]] = scores_of(some, places, gathered, 0.0)
            at += len(some)
        return scores

    def _files(self, versions: Sequence[Version], near: Near, work: Work) -> list[SignatureFile]:
        return [
            file
            for version in versions
            for file in sign_version(
                version, near, folder_of(work.scans, version, near), workers=work.workers, progress=work.progress
            )
        ]


class _Grouped(NamedTuple):
    """Texts: rows with the same words are one. places: `(texts,)` where in `ranked` the first row of each stands,
    ascending. of_row: `(ranked,)` the text of each row, -1 of those without words.
    """

    places: I64
    of_row: I64


def _grouped(files: Sequence[SignatureFile], sets: Sets, ranked: I64) -> _Grouped:
    worded = np.flatnonzero(sets.sizes[ranked] > 0)
    digests = np.concatenate([np.zeros((0, 2), np.uint64), *(f.digests() for f in files)])[ranked[worded]]
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: of one digest the first in rank comes first
    digests = digests[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (digests[1:] != digests[:-1]).any(axis=1)
    firsts = worded[order[begins]]
    number = np.empty(len(firsts), np.int64)
    number[np.argsort(firsts)] = np.arange(len(firsts))
    of_row = np.full(len(ranked), -1, np.int64)
    of_row[worded[order]] = number[np.cumsum(begins) - 1]
    return _Grouped(np.sort(firsts), of_row)


def candidates(files: Sequence[SignatureFile], near: Near, row_of: I64, rows: int, work: Work) -> banding.Candidates:
    """The pairs of texts that agree in a band. row_of: `(texts,)` the row of each text."""
    text_of = np.full(rows, -1, np.int32)
    text_of[row_of] = np.arange(len(row_of), dtype=np.int32)

    def keys(band: int) -> Iterator[tuple[I32, U32]]:
        begin = 0
        for part in keys_of(files, band):
            texts = text_of[begin : begin + len(part)]
            begin += len(part)
            yield texts[texts >= 0], part[texts >= 0]

    return banding.candidates(keys, near.bands, len(row_of), work.spill, work.budget_bytes)


def _of_rows(ranked: I64, row_of: I64, text_of: I64, settled: Settled, rows: int) -> Leaders:
    """From texts to rows: a row with the words of another that stays leaves for it, with similarity 1."""
    leader, score = np.arange(rows), np.ones(rows)
    worded = text_of >= 0
    text, row = text_of[worded], ranked[worded]
    stays = settled.leader[text] == text
    leader[row] = row_of[settled.leader[text]]
    score[row] = np.where(stays, 1.0, settled.score[text])
    return Leaders(leader, score)
