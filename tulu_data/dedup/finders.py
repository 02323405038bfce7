"""Duplicates by other means: what a plug-in of the entry point group `tulu_data.dedup` gives.

    [project.entry-points."tulu_data.dedup"]
    meaning = "my_package.nearness:FINDER"

A finder is asked after the exact and near stages, about the rows that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tulu_data.dedup import documents
from tulu_data.dedup.near import Leaders
from tulu_data.dedup.settings import EXACTS, What
from tulu_data.errors import UsageError, nearest
from tulu_data.plugins import with_others
from tulu_data.store import Version

I64 = npt.NDArray[np.int64]

GROUP = "tulu_data.dedup"
Pair = tuple[int, int, float]  # two texts by number, from 0, and how alike they are


@dataclass(frozen=True)
class Finder:
    """Finds pairs of texts that are alike.

    digest: what identifies its scores (of a model's weights, say). pairs: takes texts, which may be read more than
    once, and a threshold; gives pairs with a score of the threshold or more, each once, in any order.
    """

    digest: str
    pairs: Callable[[Callable[[], Iterator[str]], float], Iterable[Pair]]


def finder_of(name: str) -> Finder:
    """The finder of that name; `UsageError` where none is installed, `InputError` where it cannot be loaded."""
    found = with_others({}, GROUP, Finder)
    if name not in found:
        raise UsageError(f"finder {name!r} is not installed; {nearest(name, found, noun='finder')}")
    if name in (*EXACTS, "near"):
        raise UsageError(f"finder {name!r}: has the name of another kind of duplicate; rename the entry point")
    return found[name]


def leaders(finder: Finder, versions: Sequence[Version], ranked: I64, what: What, threshold: float) -> Leaders:
    """Who leaves for whom: in the order of `ranked`, rows that are alike one before them that stays."""
    rows = np.sort(ranked)
    total = sum(v.rows for v in versions)
    rank = np.empty(total, np.int64)
    rank[ranked] = np.arange(len(ranked))

    def texts() -> Iterator[str]:
        at = taken = 0
        for version in versions:
            documents.check(version.kind, what, version.name)
            for batch in version.batches(documents.columns_of(version.kind, what)):
                end = int(np.searchsorted(rows, at + len(batch)))
                for row in batch.take(rows[taken:end] - at).to_pylist():
                    yield "\n".join(m["content"] for m in documents.messages_of(version.kind, row, what))
                at, taken = at + len(batch), end

    by_rank: list[tuple[int, int, float]] = []
    for a, b, score in finder.pairs(texts, threshold):
        earlier, later = sorted((int(rank[rows[a]]), int(rank[rows[b]])))
        by_rank.append((later, earlier, score))
    leader, best = np.arange(total), np.full(total, -np.inf)
    for later, earlier, score in sorted(by_rank):
        row, kept = ranked[later], ranked[earlier]
        if leader[kept] == kept and score > best[row]:
            leader[row], best[row] = kept, score
    return Leaders(leader, np.where(np.isinf(best), 1.0, best))
