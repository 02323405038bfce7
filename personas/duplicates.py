"""Prompts that were there before, exactly or nearly: MinHash finds candidates, the true Jaccard similarity decides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

NEAR = 0.7  # Jaccard similarity of word 3-grams from which two prompts are near duplicates
PERMUTATIONS = 128
GRAM = 3
_WORD = re.compile(r"\w+")


class Earlier(NamedTuple):
    """The earlier text that a text is like; 1.0 where they are equal but for case, marks and white space."""

    id: str
    similarity: float


class Seen:
    """Texts so far, each of which is unlike all before it. near: the similarity from which a text is a duplicate."""

    def __init__(self, near: float = NEAR) -> None:
        from datasketch import MinHashLSH

        self.near = near
        # Rather candidates too many than a near duplicate missed: the true similarity decides. At `near` itself one in
        # a hundred is missed, a tenth above it one in a thousand; and near 1 there would be no bands.
        self._index: Any = MinHashLSH(threshold=0.9 * near, num_perm=PERMUTATIONS, weights=(0.1, 0.9))
        self._grams: dict[str, frozenset[int]] = {}
        self._exact: dict[bytes, str] = {}

    def add(self, id_: str, text: str) -> Earlier | None:
        """The earlier text that this one is like; where there is none, this one is kept and None given."""
        words = _WORD.findall(text.casefold())
        digest = sha256(" ".join(words).encode()).digest()
        if digest in self._exact:
            return Earlier(self._exact[digest], 1.0)
        grams, signature = _signed(words)
        likest = max(
            (Earlier(other, _jaccard(grams, self._grams[other])) for other in self._index.query(signature)),
            key=lambda e: (e.similarity, e.id),
            default=None,
        )
        if likest is not None and likest.similarity >= self.near:
            return likest
        self._exact[digest] = id_
        self._grams[id_] = grams
        self._index.insert(id_, signature)
        return None


def _signed(words: list[str]) -> tuple[frozenset[int], Any]:
    from datasketch import MinHash

    grams = {" ".join(words[i : i + GRAM]).encode() for i in range(max(1, len(words) - GRAM + 1))}
    signature = MinHash(num_perm=PERMUTATIONS)
    signature.update_batch(sorted(grams))
    return frozenset(int.from_bytes(sha256(g).digest()[:8]) for g in grams), signature


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b)


def near_duplicates(texts: Iterable[str], *, near: float = NEAR) -> int:
    """How many texts are like an earlier one."""
    seen = Seen(near)
    return sum(seen.add(str(i), text) is not None for i, text in enumerate(texts))


def distinct_share(texts: Iterable[str], n: int = 2) -> float:
    """distinct-n: different word n-grams over all word n-grams (arXiv 1510.03055); 0 where there are none."""
    *_, last = distinct_curve(texts, n) or [(0, 0.0)]
    return last[1]


def distinct_curve(texts: Iterable[str], n: int = 2, *, points: int = 40) -> list[tuple[int, float]]:
    """How distinct-n falls as texts are added, as (texts so far, share), at `points` numbers of texts."""
    listed = list(texts)
    marks = {max(1, round(len(listed) * i / points)) for i in range(1, points + 1)} if listed else set()
    found: set[tuple[str, ...]] = set()
    total, curve = 0, []
    for count, text in enumerate(listed, 1):
        grams = list(_grams(text, n))
        found.update(grams)
        total += len(grams)
        if count in marks:
            curve.append((count, len(found) / total if total else 0.0))
    return curve


def _grams(text: str, n: int) -> Iterator[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))
