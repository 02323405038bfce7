"""Duplicates by other means: `meaning`, and what plug-ins of the entry point group `tulu_data.dedup` give.

    [project.entry-points."tulu_data.dedup"]
    sound = "my_package.sounds:FINDER"

A finder is asked after the exact and near stages, about the rows that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tulu_data.dedup import documents, meaning
from tulu_data.dedup.near import Leaders, Work
from tulu_data.dedup.settings import EXACTS, ByFinder, What
from tulu_data.errors import UsageError, nearest
from tulu_data.plugins import with_others
from tulu_data.store import Version

I64 = npt.NDArray[np.int64]

GROUP = "tulu_data.dedup"
Read = Callable[[], Iterator[str]]  # the same texts each time it is called
Pair = tuple[int, int, float]  # two texts by number, from 0, and how alike they are


@dataclass(frozen=True)
class Finder:
    """Finds texts that are alike.

    digest: what identifies its scores under some settings (of a model's weights, say). leaders: takes texts and their
    numbers in the order of preference; gives by text the one for which it leaves, which stays and comes before it, or
    itself, and how alike they are: `from_pairs` makes that of pairs. encodes: it takes an `encoder`.
    """

    digest: Callable[[ByFinder], str]
    leaders: Callable[[Read, I64, ByFinder, Work], Leaders]
    encodes: bool = False


FINDERS = {"meaning": Finder(meaning.digest, meaning.leaders, encodes=True)}


def finder_of(by: ByFinder) -> Finder:
    """The finder that is asked for; `UsageError` where none of the name is installed or it takes no encoder,
    `InputError` where it cannot be loaded.
    """
    found, name = with_others(FINDERS, GROUP, Finder), by.finder
    if name not in found:
        raise UsageError(f"finder {name!r} is not installed; {nearest(name, found, noun='finder')}")
    if name in (*EXACTS, "near"):
        raise UsageError(f"finder {name!r}: has the name of another kind of duplicate; rename the entry point")
    if by.encoder is not None and not found[name].encodes:
        raise UsageError(f"finder {name!r}: takes no encoder, got {by.encoder!r}; leave it out")
    return found[name]


def leaders(by: ByFinder, versions: Sequence[Version], ranked: I64, work: Work) -> Leaders:
    """Who leaves for whom. ranked: the rows that are looked at, the one to keep first at the front."""
    rows = np.sort(ranked)
    found = finder_of(by).leaders(lambda: texts_of(versions, rows, by.what), np.searchsorted(rows, ranked), by, work)
    leader, score = np.arange(sum(v.rows for v in versions)), np.ones(sum(v.rows for v in versions))
    leader[rows], score[rows] = rows[found.leader], found.score
    return Leaders(leader, score)


def texts_of(versions: Sequence[Version], rows: I64, what: What) -> Iterator[str]:
    """The texts of some rows of versions that are numbered through, in ascending order."""
    at = taken = 0
    for version in versions:
        documents.check(version.kind, what, version.name)
        for batch in version.batches(documents.columns_of(version.kind, what)):
            end = int(np.searchsorted(rows, at + len(batch)))
            for row in batch.take(rows[taken:end] - at).to_pylist():
                yield "\n".join(documents.texts_of(version.kind, row, what))
            at, taken = at + len(batch), end


def from_pairs(pairs: Iterable[Pair], ranked: I64) -> Leaders:
    """Who leaves for whom, of all pairs that are alike, in any order and in memory: in the order of `ranked`, a text
    leaves for the one it is most like of those before it that stay, of several for the first.
    """
    rank = np.empty(len(ranked), np.int64)
    rank[ranked] = np.arange(len(ranked))
    by_rank: list[tuple[int, int, float]] = []
    for a, b, score in pairs:
        earlier, later = sorted((int(rank[a]), int(rank[b])))
        by_rank.append((later, earlier, score))
    leader, best = np.arange(len(ranked)), np.full(len(ranked), -np.inf)
    for later, earlier, score in sorted(by_rank):
        text, kept = ranked[later], ranked[earlier]
        if leader[kept] == kept and score > best[text]:
            leader[text], best[text] = kept, score
    return Leaders(leader, np.where(np.isinf(best), 1.0, best))
