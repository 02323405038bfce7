"""The index of the suites: every array that the compiled passes read, built from a corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam import building, kernel, reading
from decontam.corpus import NONE, Corpus, analyse_suite, join, short_instances
from decontam.describing import Instances
from decontam.folding import folding_of
from decontam.fuzzy import FUZZY_CANDIDATE, FUZZY_MIN_TOKENS, FUZZY_N
from decontam.reading import I32, U8, U64
from decontam.reference import text_weights
from decontam.suites import Suite
from decontam.text_arrays import addresses_of
from decontam.verdicts import Settings

Frozen = TypeVar("Frozen", bound=tuple[Any, ...])

SEEDS = 8  # of the hash; a second one is needed where two n-grams of a corpus share a 64-bit hash
BITS_PER_TRIGGER = 128  # of a sieve, whose table then fits the nearest cache
BITS_PER_ANCHOR = 8  # of a Bloom filter that is always asked: small enough for the cache, and few false alarms
BITS_PER_GRAM = 16  # of one that is asked rarely: next to no false alarms


class Built(NamedTuple):
    """The arrays of an index: what `kernel.scan` reads, and what the second look needs besides.

    totals, rare_totals: `(texts,)` tokens, and tokens under a rare n-gram. holders, holder_first: the instances that
    text t may lead to are `holders[holder_first[t] : holder_first[t + 1]]`; of_field: 1 where it is a field of that
    instance. tiny, tiny_text: as in `describing.Instances`.
    """

    scan: kernel.Index
    totals: I32
    rare_totals: I32
    holders: I32
    holder_first: I32
    of_field: U8
    tiny: U8
    tiny_text: I32


@dataclass(frozen=True)
class Index:
    """A corpus and the arrays built from it."""

    corpus: Corpus
    built: Built

    def __reduce__(self) -> tuple[Any, ...]:
        # What is derived from addresses must not travel; arrays that arrive are read-only again.
        return _restored, (self.corpus, self.built)

    @cached_property
    def instances(self) -> Instances:
        """The instances as the second look reads them: their addresses hold while this index lives."""
        corpus = self.corpus
        addresses, sizes = addresses_of(self._given)
        tiny, tiny_text = self.built.tiny, self.built.tiny_text
        return frozen(
            Instances(corpus.first_field, corpus.field_text, corpus.passage, addresses, sizes, tiny, tiny_text)
        )

    @cached_property
    def _given(self) -> pa.Array:
        """`(fields,)` the texts of the fields as they were given."""
        texts = self.corpus.instances["texts"].combine_chunks()
        owners = np.repeat(np.arange(len(texts)), np.diff(self.corpus.first_field))
        return texts.values.take(pa.array(texts.offsets.to_numpy()[owners] + self.corpus.field_name))

    @property
    def longest_field_bytes(self) -> int:
        """Bytes of the longest field as it was given."""
        return int(self.instances.sizes.max(initial=0))

    @property
    def most_fields(self) -> int:
        """The most fields that an instance has."""
        return int(np.diff(self.corpus.first_field).max(initial=1))


# ------------------------------------------------------------ building


def index_of(suites: Sequence[Suite], settings: Settings) -> Index:
    """The index of the suites, in memory."""
    return build(join([analysed(s, settings.analyzer) for s in suites]), settings)


def analysed(suite: Suite, analyzer: str) -> Corpus:
    """The corpus of one suite, its texts read by compiled code."""
    return analyse_suite(suite, lambda texts: canonical(analyzer, texts))


def canonical(analyzer: str, texts: Sequence[str]) -> list[bytes]:
    """The canonical forms of texts, compiled."""
    array = pa.array(texts, pa.large_string())
    addresses, sizes = addresses_of(array)
    blob = np.zeros(2 * int(sizes.sum()) + len(sizes) + reading.SLACK, np.uint8)
    ends = np.zeros(len(sizes), np.int64)
    message = new_message(int(sizes.max(initial=0)))
    code = reading.ANALYZER_CODES[analyzer]
    building.write_canonical(addresses, sizes, code, folding_of(analyzer), message, blob, ends)
    whole = blob[: int(ends[-1]) if len(ends) else 0].tobytes()
    return [whole[a:b] for a, b in zip([0, *ends.tolist()], ends.tolist(), strict=False)]


def new_message(max_bytes: int) -> reading.Message:
    """Buffers for messages of at most so many bytes: folding may double them."""
    room = 2 * max_bytes + reading.SLACK
    nowhere = np.zeros(0, np.int32)
    return reading.Message(np.zeros(room, np.uint8), np.zeros(room, np.int32), np.zeros(room, np.uint64), nowhere)


def build(corpus: Corpus, settings: Settings) -> Index:
    """The arrays for a corpus. A hash that two n-grams share is found here, and another seed taken."""
    folding = folding_of(settings.analyzer)
    texts, forms = _texts(corpus, settings.exact_min_tokens)
    weights = np.array(text_weights(corpus) + [0] * (len(forms) - len(corpus.texts)), np.int32)
    message = reading.Message(
        np.zeros(0, np.uint8),
        np.zeros(2 * int(np.diff(texts.first).max(initial=0)) + 2, np.int32),
        np.zeros(int(np.diff(texts.first).max(initial=0)) + 2, np.uint64),
        np.zeros(0, np.int32),
    )
    eligible = weights * ((np.diff(texts.first) >= FUZZY_MIN_TOKENS) & settings.fuzzy)
    for seed in map(np.uint64, range(SEEDS)):
        grams = _grams(texts, weights, settings.n, settings.max_df, seed, message)
        fine = _grams(texts, eligible, FUZZY_N, settings.max_df, seed, message, rare_only=True)
        if grams is not None and fine is not None:
            break
    else:
        raise AssertionError("n-grams share a hash under every seed")
    totals, rare_totals = np.diff(texts.first).astype(np.int32), _rare_totals(texts, grams)
    alone = _texts_alone(corpus, len(forms))
    needed, rare_needed = _needed(totals, alone, settings.floor), _needed(rare_totals, alone, settings.floor)
    suggested = np.ceil(FUZZY_CANDIDATE * _rare_totals(texts, fine)).astype(np.int32)
    triggers = _triggers(corpus, settings, totals)
    looked_for = np.unique(triggers[triggers != NONE])
    long_enough = totals[looked_for] >= kernel.SHORT_TRIGGER
    short, brief = looked_for[long_enough], looked_for[~long_enough]
    tiny, tiny_text = _tiny(corpus, settings, forms)
    numbers = np.array([reading.ANALYZER_CODES[settings.analyzer], int(seed), settings.fuzzy], np.int64)
    scan = kernel.Index(
        folding,
        texts,
        grams._replace(needed=needed, rare_needed=rare_needed),
        fine._replace(needed=suggested, rare_needed=suggested),
        _triggered(texts, short, kernel.SHORT_TRIGGER, seed, message),
        _triggered(texts, brief, int(totals[brief].min(initial=1)) if len(brief) else 1, seed, message),
        _whole(texts, np.unique(tiny_text[tiny == 1]), settings.exact_min_tokens, seed, message),
        numbers,
    )
    holders = _holders(corpus, len(forms), triggers, tiny_text)
    return Index(corpus, frozen(Built(scan, totals, rare_totals, *holders, tiny, tiny_text)))


def _texts(corpus: Corpus, exact_min_tokens: int) -> tuple[kernel.Texts, dict[bytes, int]]:
    """The arrays of all texts, and their numbers: those of the corpus, then tiny instances of several fields."""
    forms = {form: i for i, form in enumerate(corpus.texts)}
    for i in _tiny_instances(corpus, exact_min_tokens):
        forms.setdefault(_joined_form(corpus, i), len(forms))
    ends = np.cumsum([len(f) for f in forms], dtype=np.int64) if forms else np.zeros(0, np.int64)
    blob = np.frombuffer(b"".join(forms) + bytes(reading.SLACK), np.uint8)
    count = sum(f.count(b" ") + 1 for f in forms)
    starts, lengths, text_of = (np.zeros(count, np.int32) for _ in range(3))
    first = np.zeros(len(forms) + 1, np.int32)
    building.split_tokens(blob, ends, starts, lengths, first, text_of)
    return frozen(kernel.Texts(blob, starts, lengths, first, text_of)), forms


def _tiny_instances(corpus: Corpus, exact_min_tokens: int) -> npt.NDArray[np.int64]:
    """Instances with a field and fewer tokens than that in all, the passage included."""
    sizes = np.diff(corpus.first_field)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    tokens = np.bincount(owners, corpus.tokens[corpus.field_text], len(sizes))
    tokens += np.where(corpus.passage == NONE, 0, np.append(corpus.tokens, 0)[corpus.passage])
    return np.flatnonzero((sizes > 0) & (tokens < exact_min_tokens))


def _joined_form(corpus: Corpus, instance: int) -> bytes:
    passage = int(corpus.passage[instance])
    numbers = corpus.field_texts(instance) + ([] if passage == NONE else [passage])
    return b" ".join(corpus.texts[t] for t in numbers)


def _tiny(corpus: Corpus, settings: Settings, forms: Mapping[bytes, int]) -> tuple[U8, I32]:
    tiny = np.zeros(len(corpus.passage), np.uint8)
    tiny_text = np.full(len(corpus.passage), NONE, np.int32)
    for i in _tiny_instances(corpus, settings.exact_min_tokens).tolist():
        tiny[i], tiny_text[i] = 1, forms[_joined_form(corpus, i)]
    return tiny, tiny_text


def anchor_tokens(n: int) -> int:
    """Tokens of a sub-gram: more of them raise fewer false alarms, fewer of them are looked up more rarely."""
    return max(3, n // 2 + 1)


def _grams(
    texts: kernel.Texts,
    weights: I32,
    n: int,
    max_df: int,
    seed: np.uint64,
    message: reading.Message,
    *,
    rare_only: bool = False,
) -> kernel.Grams | None:
    """The n-grams of the texts of weight > 0; None where two of them share a hash. What is needed is left empty."""
    windows = int(np.maximum(0, np.diff(texts.first) - n + 1)[weights > 0].sum())
    keys = np.zeros(_power_of_two(1.25 * windows), np.uint64)  # four of five slots at most are taken
    values = np.zeros(len(keys), np.int32)
    at = np.full(len(texts.starts), NONE, np.int32)
    origin, df, last = (np.zeros(windows, np.int32) for _ in range(3))
    count = building.number_grams(texts, weights, n, seed, message, keys, values, at, origin, df, last)
    if count < 0:
        return None
    offsets, places = np.zeros(count + 1, np.int32), np.zeros(windows, np.int32)
    building.group_places(at, offsets, places)
    rare = (df[:count] <= max_df).astype(np.uint8)
    if rare_only and count:
        at = np.where((at >= 0) & (rare[at] == 1), at, NONE).astype(np.int32)
    anchor = anchor_tokens(n)
    filter_ = np.zeros(_power_of_two(BITS_PER_GRAM * count / 64), np.uint64)
    anchors = np.zeros(_power_of_two(BITS_PER_ANCHOR * count / 64), np.uint64)
    building.fill_filters(texts, at, n, anchor, seed, message, filter_, anchors)
    nothing = np.zeros(0, np.int32)
    shape = np.array([n, anchor, n - anchor + 1], np.int64)
    return kernel.Grams(at, offsets, places, rare, anchors, filter_, keys, values, nothing, nothing, shape)


def _power_of_two(at_least: float) -> int:
    return 1 << max(6, math.ceil(math.log2(max(1.0, at_least))))


def _rare_totals(texts: kernel.Texts, grams: kernel.Grams) -> I32:
    totals = np.zeros(len(texts.first) - 1, np.int32)
    building.union_sizes(texts, grams.at, grams.rare, int(grams.shape[0]), totals)
    return totals


def _texts_alone(corpus: Corpus, count: int) -> npt.NDArray[np.bool_]:
    """`(texts,)` those that are the only field of every instance they belong to: its coverage is theirs."""
    several = np.repeat(np.diff(corpus.first_field) > 1, np.diff(corpus.first_field))
    alone = np.ones(count, np.bool_)
    alone[corpus.field_text[several]] = False
    return alone


def _needed(totals: I32, alone: npt.NDArray[np.bool_], floor: float) -> I32:
    """From how many tokens on a text may matter: one above the floor, and at least one."""
    return np.where(alone, np.floor(totals * floor).astype(np.int32), 0).astype(np.int32) + 1


def _triggers(corpus: Corpus, settings: Settings, totals: I32) -> I32:
    """`(instances,)` the longest text of each instance that no n-gram can find, its passage included; or NONE."""
    triggers = np.full(len(corpus.passage), NONE, np.int32)
    tiny = set(_tiny_instances(corpus, settings.exact_min_tokens).tolist())
    for i in np.flatnonzero(short_instances(corpus, settings.n)).tolist():
        if i not in tiny:
            passage = int(corpus.passage[i])
            texts = corpus.field_texts(i) + ([] if passage == NONE else [passage])
            triggers[i] = max(texts, key=lambda t: totals[t])
    return triggers


def _triggered(texts: kernel.Texts, chosen: I32, size: int, seed: np.uint64, message: reading.Message) -> kernel.Wholes:
    part = max(size - 1, min(size, 2))
    counts = np.zeros(_power_of_two(len(texts.starts) if len(chosen) else 1), np.int32)
    if len(chosen):
        building.count_runs(texts, part, seed, message, counts)
    hashes, ats = np.zeros(len(chosen), np.uint64), np.zeros(len(chosen), np.int32)
    building.hash_triggers(texts, chosen, size, part, seed, message, counts, hashes, ats)
    sieve = np.zeros(_power_of_two(BITS_PER_TRIGGER * len(chosen) / 64), np.uint64)
    building.fill_sieve(texts, chosen, ats, size, part, seed, message, sieve)
    return _filed(chosen, hashes, ats, sieve, [size, part, size - part + 1])


def _whole(texts: kernel.Texts, chosen: I32, size: int, seed: np.uint64, message: reading.Message) -> kernel.Wholes:
    hashes = np.zeros(len(chosen), np.uint64)
    building.hash_whole(texts, chosen, seed, message, hashes)
    return _filed(chosen, hashes, np.zeros(len(chosen), np.int32), np.zeros(1, np.uint64), [size, size, 1])


def _filed(chosen: I32, hashes: U64, ats: I32, sieve: U64, shape: list[int]) -> kernel.Wholes:
    distinct, group = np.unique(hashes, return_inverse=True)
    order = np.argsort(group, kind="stable")
    groups = np.append(0, np.cumsum(np.bincount(group, minlength=len(distinct)))).astype(np.int32)
    keys = np.zeros(_power_of_two(2 * len(distinct)), np.uint64)
    values = np.zeros(len(keys), np.int32)
    building.file_hashes(distinct, keys, values)
    members = chosen[order].astype(np.int32), ats[order].astype(np.int32)
    return kernel.Wholes(sieve, keys, values, groups, *members, np.array(shape, np.int64))


def _holders(corpus: Corpus, count: int, triggers: I32, tiny_text: I32) -> tuple[I32, I32, U8]:
    """`holders`, `holder_first` and `of_field` of `Built`: a text leads to the instances with it as a field, that are
    found by it, or that it is all of.
    """
    width = max(1, len(triggers))
    owners = np.repeat(np.arange(len(triggers)), np.diff(corpus.first_field))
    fields = corpus.field_text.astype(np.int64) * width + owners
    others = [(t.astype(np.int64) * width + np.arange(len(t)))[t != NONE] for t in (triggers, tiny_text)]
    pairs = np.unique(np.concatenate([fields, *others]))
    first = np.append(0, np.cumsum(np.bincount(pairs // width, minlength=count))).astype(np.int32)
    return (pairs % width).astype(np.int32), first, np.isin(pairs, fields).astype(np.uint8)


def _restored(corpus: Corpus, built: Built) -> Index:
    return Index(corpus, frozen(built))


def frozen(value: Frozen) -> Frozen:
    """The same, read-only: mapped arrays are so too, and compiled code is compiled for one of the two."""
    for _, array in flat(value):
        array.flags.writeable = False
    return value


def flat(value: Any, prefix: str = "built") -> list[tuple[str, npt.NDArray[Any]]]:
    """The arrays inside nested named tuples, by their dotted names."""
    if isinstance(value, np.ndarray):
        return [(prefix, value)]
    return [pair for name, inner in value._asdict().items() for pair in flat(inner, f"{prefix}.{name}")]
