"""The first stage of nearness: which windows of a text may be an instance in other words, by word vectors alone.

The cosine of two sums of word vectors says little, for all texts are near each other. So it is calibrated three times:

- Vectors are *whitened* halfway against a background of general text: what all texts have in common is taken out.
- From the cosine goes half of how near the instance is to its tenth-nearest other text: an item of a dense subject
  (criminal law, projectile motion) is near to everything on it, and must be nearer than that.
- The words that both hold, weighted by how rarely texts hold them, must make up a good part of the instance's.

Of a window that holds most numbers of an instance less of both is asked.

A text that is not set aside is no find: the encoder decides.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from decontam.analyzers import lower
from decontam.numerals import MIN_NUMBERS, numbers_at, numbers_in
from decontam.static_embedding import WORD, StaticEmbedding
from decontam.windows import windows_of
from tulu_data.encoders import unit
from tulu_data.recipe import BUNDLED

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

RANKED = 0.3  # calibrated cosine, among a thousand instances
RANKED_PER_DECADE = 0.1  # more among ten times as many: the nearest of more is nearer by chance
SHARED = 0.35  # weighted share of an instance's words
NUMBERED, NUMBERED_PER_DECADE = 0.07, 0.05  # calibrated cosine of a window with an instance's numbers
NUMBERED_SHARED = 0.22
NUMBERS_HELD = 0.75  # share of an instance's numbers
CANDIDATES = 5  # instances of a window
BLOCK = 256  # texts at once
COLUMNS = 2048  # instances at once: they, and the scores of a block of texts, stay in the cache
MIN_WORDS = 10  # of an instance: shorter ones are near to much that merely has their topic
NEIGHBOUR = 10  # which of the nearest other texts an instance is measured by
NEIGHBOURHOOD = 0.8  # no more is taken for it: items made from one template are near each other
SAMPLED = 4096  # instances among which neighbours are looked for
BACKGROUND_WORDS = 6
STEM = 5  # letters: "painted" and "painting" are one word
VERSION = "ranking/1"  # raise it when other windows come out


class Ranked(NamedTuple):
    """A window of a text that may be an instance in other words; start, end in characters."""

    text: int
    start: int
    end: int
    score: float
    instances: list[int]


class Ranking:
    """Instances as calibrated static vectors."""

    def __init__(self, static: StaticEmbedding, texts: Sequence[str]) -> None:
        self.static = static
        raw, sizes = self._whole(texts)
        self.kept = np.flatnonzero(sizes >= MIN_WORDS)
        self.place = {instance: place for place, instance in enumerate(self.kept.tolist())}
        general = background_texts()
        background, _ = self._whole(general)
        self.mean, self.whitener = whitening(background)
        instances = self._calibrated(raw[self.kept])
        near_others = neighbourhoods(instances, self._calibrated(background))
        # With a one behind each vector, one product gives the calibrated cosines.
        self._rows = np.column_stack([instances, -near_others])
        self._columns = [self._rows[i : i + COLUMNS].T.copy() for i in range(0, len(self._rows), COLUMNS)]
        decades = math.log10(max(1.0, len(self.kept) / 1000))
        self.ranked, self.numbered = RANKED + decades * RANKED_PER_DECADE, NUMBERED + decades * NUMBERED_PER_DECADE
        self.stems = [stems_of(texts[i]) for i in self.kept.tolist()]
        known = [*self.stems, *map(stems_of, general)]
        holders = Counter(stem for stems in known for stem in stems)
        self.weights = {stem: math.log((len(known) + 1) / (df + 1)) for stem, df in holders.items()}
        self.numbers = NumberIndex([numbers_in(texts[i]) for i in self.kept.tolist()])
        self.totals = [sum(self.weights[s] for s in stems) for stems in self.stems]

    def near(self, texts: Sequence[str]) -> list[Ranked]:
        """The windows of texts that are not set aside, by text."""
        if not len(self.kept):
            return []
        return [
            ranked._replace(text=first + ranked.text)
            for first in range(0, len(texts), BLOCK)
            for ranked in self._near(list(texts[first : first + BLOCK]))
        ]

    def _near(self, texts: list[str]) -> Iterator[Ranked]:
        words = self.static.words(texts)
        windows = windows_of(texts, words)
        vectors = self._calibrated(unit(self.static.vectors(words, windows.start, windows.end)))
        rows = np.column_stack([vectors, np.ones(len(vectors), np.float32)])
        high = self._high(rows)
        parsed: dict[int, _Parsed] = {}
        for w, (text, start, end) in enumerate(zip(*(a.tolist() for a in windows), strict=True)):
            if text not in parsed:
                parsed[text] = _Parsed(texts[text], list(numbers_at(texts[text])))
            of_text = parsed[text]
            if w not in high and len(of_text.numbers) < MIN_NUMBERS:
                continue
            first = int(words.first[text])
            span = of_text.span(start - first, end - first)
            candidates = self._candidates(rows[w], high.get(w), of_text, span)
            if candidates:
                score = float((self._rows[[self.place[i] for i in candidates]] @ rows[w]).max())
                yield Ranked(text, *span, score, candidates)

    def _high(self, rows: F32) -> dict[int, tuple[I64, F32]]:
        """Windows with a high score: the instances (of those kept) that have one, and these scores."""
        found: dict[int, list[tuple[I64, F32]]] = {}
        for number, columns in enumerate(self._columns):
            scores = rows @ columns
            for w in np.flatnonzero(scores.max(axis=1) >= self.ranked).tolist():
                high = np.flatnonzero(scores[w] >= self.ranked)
                found.setdefault(w, []).append((high + number * COLUMNS, scores[w, high]))
        return {w: (np.concatenate([h for h, _ in p]), np.concatenate([s for _, s in p])) for w, p in found.items()}

    def _candidates(self, row: F32, high: tuple[I64, F32] | None, text: _Parsed, span: tuple[int, int]) -> list[int]:
        """The instances that a window may be, by their vectors and words, or by their numbers."""
        numbered = self.numbers.held(text.numbers_in(span))
        if len(numbered):
            scores = self._rows[numbered] @ row
            numbered = numbered[scores >= self.numbered][np.argsort(-scores[scores >= self.numbered], kind="stable")]
        if high is None and not len(numbered):
            return []
        stems = stems_of(text.text[span[0] : span[1]])
        best = high[0][np.argsort(-high[1], kind="stable")[:CANDIDATES]].tolist() if high else []
        found = {int(self.kept[i]) for i in best if self._share(i, stems) >= SHARED}
        found |= {int(self.kept[i]) for i in numbered[:CANDIDATES].tolist() if self._share(i, stems) >= NUMBERED_SHARED}
        return sorted(found)

    def _share(self, instance: int, stems: frozenset[str]) -> float:
        total = self.totals[instance]
        return sum(self.weights[s] for s in self.stems[instance] & stems) / total if total else 0.0

    def _whole(self, texts: Sequence[str]) -> tuple[F32, I64]:
        """`(texts, dimensions)` the vector of each text, not calibrated, and `(texts,)` its words."""
        vectors, sizes = np.zeros((len(texts), self.static.dimensions), np.float32), np.zeros(len(texts), np.int64)
        for first in range(0, len(texts), BLOCK):
            words = self.static.words(texts[first : first + BLOCK])
            of_block = np.diff(words.first)
            full = np.flatnonzero(of_block)
            sizes[first : first + BLOCK] = of_block
            vectors[first + full] = unit(self.static.vectors(words, words.first[full], words.first[full + 1]))
        return vectors, sizes

    def _calibrated(self, vectors: F32) -> F32:
        return unit((vectors - self.mean) @ self.whitener)


class _Parsed:
    """A text of a batch: where its words and its numbers stand."""

    def __init__(self, text: str, numbers: list[tuple[int, str]]) -> None:
        self.text = text
        self.numbers = numbers
        self._spans: list[tuple[int, int]] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The words `[start, end)` in characters."""
        if self._spans is None:
            self._spans = [m.span() for m in WORD.finditer(lower(self.text))]
        return self._spans[start][0], self._spans[end - 1][1]

    def numbers_in(self, span: tuple[int, int]) -> frozenset[str]:
        """The numbers of a part."""
        return frozenset(value for at, value in self.numbers if span[0] <= at < span[1])


class NumberIndex:
    """Which of the instances' numbers a text holds."""

    def __init__(self, numbers: Sequence[frozenset[str]]) -> None:
        enough = [i for i, n in enumerate(numbers) if len(n) >= MIN_NUMBERS]
        holders: dict[str, list[int]] = {}
        for i in enough:
            for value in numbers[i]:
                holders.setdefault(value, []).append(i)
        self._holders = {value: np.array(of_value, np.int64) for value, of_value in holders.items()}
        self._needed = np.full(len(numbers), np.iinfo(np.int64).max)
        self._needed[enough] = [max(MIN_NUMBERS, math.ceil(NUMBERS_HELD * len(numbers[i]))) for i in enough]

    def held(self, numbers: frozenset[str]) -> I64:
        """The instances most of whose numbers are among these."""
        lists = [self._holders[value] for value in sorted(numbers) if value in self._holders]
        if len(lists) < MIN_NUMBERS:
            return np.zeros(0, np.int64)
        counts = np.bincount(np.concatenate(lists), minlength=len(self._needed))
        return np.flatnonzero(counts >= self._needed)


def whitening(background: F32) -> tuple[F32, F32]:
    """`(dimensions,)` the mean, and `(dimensions, dimensions)` what evens out the directions halfway."""
    mean = background.mean(axis=0)
    covariance = np.cov((background - mean).T.astype(np.float64))
    covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    return mean, np.asarray(vectors @ np.diag(values**-0.25) @ vectors.T, np.float32)


def neighbourhoods(instances: F32, background: F32) -> F32:
    """`(instances,)` half of the cosine with the `NEIGHBOUR`-th nearest other text, `NEIGHBOURHOOD` at most."""
    step = max(1, math.ceil(len(instances) / SAMPLED))
    others = np.concatenate([instances[::step], background])
    rank = max(1, round(NEIGHBOUR / step))
    found = np.zeros(len(instances), np.float32)
    for first in range(0, len(instances), BLOCK):
        scores = instances[first : first + BLOCK] @ others.T
        for row, instance in enumerate(range(first, first + len(scores))):
            if instance % step == 0:
                scores[row, instance // step] = -1.0  # itself
        found[first : first + len(scores)] = np.partition(scores, -rank, axis=1)[:, -rank]
    return np.asarray(np.minimum(found, NEIGHBOURHOOD) / 2, np.float32)


def stems_of(text: str) -> frozenset[str]:
    """The words of a text, cut to stems; numbers whole.

    >>> sorted(stems_of("Painted 12,500 walls"))
    ['12', '500', 'paint', 'walls']
    """
    words = re.findall(r"\w+", lower(text))
    return frozenset(w if w[0].isdigit() else w[:STEM] for w in words)


def background_texts() -> list[str]:
    """General texts that come with the package: the sample data of the quickstart."""
    files = sorted((BUNDLED / "quickstart" / "data").iterdir())
    texts = [t for path in files for t in _strings(path.read_text(encoding="utf-8", errors="replace"))]
    return sorted({t for t in texts if len(t.split()) >= BACKGROUND_WORDS})


def background_digest() -> str:
    """What identifies the background."""
    return sha256("\0".join(background_texts()).encode()).hexdigest()[:16]


def _strings(content: str) -> Iterator[str]:
    try:
        yield from _texts_in(json.loads(content))
    except ValueError:
        for line in content.splitlines():
            try:
                yield from _texts_in(json.loads(line))
            except ValueError:
                continue  # some lines of the sample are broken on purpose


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(inner)
