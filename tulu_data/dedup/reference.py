"""The reference engine: datasketch's MinHash and LSH in memory, Python's sets to verify. Slow, and obviously right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tulu_data.dedup import documents
from tulu_data.dedup.near import Leaders, Work
from tulu_data.dedup.settings import Near
from tulu_data.dedup.words import shingles, word_hash, words
from tulu_data.store import Version

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

Set = frozenset[int]


def shingle_set(texts: Sequence[str], ngram: int) -> Set:
    """The shingles of a text in pieces."""
    return frozenset(shingles([word_hash(w) for text in texts for w in words(text)], ngram))


def jaccard(a: Set, b: Set) -> float:
    """Of two sets that are not both empty."""
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def shingle_sets(versions: Sequence[Version], near: Near) -> Iterator[Set]:
    """The sets of all rows, in order."""
    for version in versions:
        documents.check(version.kind, near.what, version.name)
        for batch in version.batches(documents.columns_of(version.kind, near.what)):
            for row in batch.to_pylist():
                yield shingle_set(list(documents.texts_of(version.kind, row, near.what)), near.ngram)


class Reference:
    """See `near.NearEngine`; holds the sets of all rows."""

    name = "datasketch"

    def leaders(self, versions: Sequence[Version], near: Near, ranked: I64, work: Work) -> Leaders:
        """See `near.NearEngine`."""
        from datasketch import MinHash, MinHashLSH

        with work.progress.task("read texts"):
            sets = list(shingle_sets(versions, near))
        index: Any = MinHashLSH(num_perm=near.permutations, params=(near.bands, near.band_rows))
        leader, score = np.arange(len(sets)), np.ones(len(sets))
        with work.progress.task("compare near duplicates", len(ranked)) as advance:
            for place, row in enumerate(ranked.tolist()):
                advance(1)
                if not sets[row]:
                    continue
                signature: Any = MinHash(num_perm=near.permutations, hashfunc=_low_half)
                signature.update_batch(list(sets[row]))
                found = [(-jaccard(sets[row], sets[ranked[p]]), p) for p in index.query(signature)]
                similarity, first = min(found, default=(0.0, -1))
                if -similarity >= near.threshold:
                    leader[row], score[row] = ranked[first], -similarity
                else:
                    index.insert(place, signature, check_duplication=False)
        return Leaders(leader, score)

    def scores(self, versions: Sequence[Version], near: Near, pairs: I64, work: Work) -> F64:
        """See `near.NearEngine`."""
        wanted = set(pairs.ravel().tolist())
        sets = {i: s for i, s in enumerate(shingle_sets(versions, near)) if i in wanted}
        return np.array(
            [jaccard(sets[a], sets[b]) if sets[a] and sets[b] else np.nan for a, b in pairs.tolist()], np.float64
        )


def _low_half(shingle: int) -> int:
    return shingle & 0xFFFFFFFF
