"""Instances in other words: messages that mean nearly what an instance says, though they share no n-gram with it.

A cascade, from cheap to dear:

1. `ranking`: windows of a message and all instances as sums of word vectors, compared after what all texts have in
   common is taken out, and with how near each instance is to other test items. It sets aside most of a training set.
2. A sentence encoder compares the windows that are left with the instances they are near to: `semantic` is the cosine.
3. A model that is asked, where one is named, settles what remains (`arbiter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam.corpus import Corpus
from decontam.embedding_store import EmbeddingStore
from decontam.evidence import NearPair, in_bytes
from decontam.judging import numbers_shift
from decontam.numerals import agreement, numbers_in
from decontam.ranking import VERSION, Ranked, Ranking, background_digest
from decontam.static_embedding import static_of
from decontam.verdicts import SEMANTIC_RECORDED, Semantic, Settings
from tulu_data.encoders import ENCODER, Encoder, LocalEncoder, encoder_of
from tulu_data.rows import SPECS, Kind, content_messages

I64 = npt.NDArray[np.int64]

CONFIRMED = 3  # windows of a message that the encoder reads
DIGITS = 3  # of a cosine: what an encoder gives for a text differs in the seventh with the texts beside it
ENCODED_CHARS = 2000  # of a text: encoders read no further than a few hundred tokens


class Near(NamedTuple):
    """A text and an instance that are near each other. start, end: the nearest part of the text, in characters.

    numbers: how far this part's numbers are the instance's; None where that has too few.
    """

    text: int
    instance: int
    cosine: float
    numbers: float | None
    start: int
    end: int

    @property
    def margin(self) -> float:
        """The cosine above what is needed with such numbers, but for the threshold itself."""
        return self.cosine - float(numbers_shift(np.array([np.nan if self.numbers is None else self.numbers]))[0])


class Finder:
    """Holds texts against the instances of a corpus. Threads may use it at once."""

    def __init__(self, corpus: Corpus, encoder: Encoder, ranking: Ranking, cache: Path | None = None) -> None:
        self.texts = instance_texts(corpus)
        self.ranking = ranking
        self.encoder = encoder
        self._numbers = [numbers_in(t) for t in self.texts]
        read = [t[:ENCODED_CHARS] for t in self.texts]
        self._store = EmbeddingStore(encoder, [s.digest for s in corpus.suites], corpus.suite_of, read, cache)

    def find(self, texts: Sequence[str]) -> list[Near]:
        """The instances that each text is near to, by text, then instance."""
        ranked = best_windows(self.ranking.near(texts), CONFIRMED)
        if not ranked:
            return []
        parts = [texts[r.text][r.start : r.end][:ENCODED_CHARS] for r in ranked]
        vectors = self.encoder.encode(parts)
        wanted = np.unique([i for r in ranked for i in r.instances])
        instances = self._store.vectors(wanted)
        best: dict[tuple[int, int], Near] = {}
        for r, part, vector in zip(ranked, parts, vectors, strict=True):
            of_window = instances[np.searchsorted(wanted, r.instances)] @ vector
            rounded = np.round(of_window.astype(np.float64), DIGITS).tolist()
            for instance, cosine in zip(r.instances, rounded, strict=True):
                if cosine < SEMANTIC_RECORDED:
                    continue
                near = Near(r.text, instance, cosine, agreement(self._numbers[instance], part), r.start, r.end)
                known = best.get((r.text, instance))
                if known is None or near.margin > known.margin:
                    best[r.text, instance] = near
        return [best[key] for key in sorted(best)]


def finder_of(corpus: Corpus, semantic: Semantic, cache: Path | None = None) -> Finder:
    """What these settings look with; `cache` keeps what is distilled and encoded.

    `UsageError` where the extra is missing; `InputError` where a model cannot be loaded or reached.
    """
    encoder = encoder_of(semantic.encoder)
    return Finder(corpus, encoder, Ranking(static_of(_distilled(encoder), cache), instance_texts(corpus)), cache)


def _distilled(encoder: Encoder) -> LocalEncoder:
    """What the word vectors are distilled from: the encoder, or where that is served the default one."""
    local = encoder if isinstance(encoder, LocalEncoder) else encoder_of(ENCODER)
    assert isinstance(local, LocalEncoder)
    return local


def identity(semantic: Semantic | None) -> dict[str, str] | None:
    """What besides the texts decides which pairs are near: encoder, and the version and background of the ranking."""
    if semantic is None:
        return None
    encoder = encoder_of(semantic.encoder)
    return {
        "encoder": encoder.name,
        "digest": encoder.digest,
        "words": _distilled(encoder).digest,
        "ranking": VERSION,
        "background": background_digest(),
    }


def near_pairs(finder: Finder, kind: Kind, batch: pa.RecordBatch, settings: Settings) -> list[NearPair]:
    """The messages of a batch that are matched, and the instances each is near to."""
    places, texts = [], []
    for i, row in enumerate(batch.select(list(SPECS[kind].message_columns)).to_pylist()):
        for column, m, message in content_messages(kind, row):
            if settings.reads(message["role"]):
                places.append((i, column, m))
                texts.append(message["content"])
    found = []
    for near in finder.find(texts):
        start, end = in_bytes(texts[near.text], (near.start, near.end))
        found.append(NearPair(*places[near.text], near.instance, near.cosine, near.numbers, start, end))
    return found


def best_windows(ranked: Sequence[Ranked], count: int) -> list[Ranked]:
    """Of each text the windows of the highest scores, in order."""
    by_text: dict[int, list[Ranked]] = {}
    for r in ranked:
        by_text.setdefault(r.text, []).append(r)
    return [r for of_text in by_text.values() for r in sorted(of_text, key=lambda r: (-r.score, r.start))[:count]]


def instance_texts(corpus: Corpus) -> list[str]:
    """What each instance says: its fields, then the passage they are about, for that may be cut."""
    listed = corpus.instances.select(["texts", "passage"]).to_pylist()
    return ["\n".join([*i["texts"], *([i["passage"]] if i["passage"] else [])]) for i in listed]
