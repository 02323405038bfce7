"""The reference engine: every definition of an audit in plain Python, slow and easy to check.

It is the oracle that tests hold the compiled engine against, and what runs where there is no compiler. Everything is
a dict of tuples of tokens, so nothing is hashed by hand and no match can be false.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from decontam.analyzers import Analyzer, analyzer_of
from decontam.corpus import NONE, Corpus
from decontam.fuzzy import FUZZY_CANDIDATE, FUZZY_MIN_TOKENS, FUZZY_N, Alignment, Run, align_fields
from decontam.verdicts import FUZZY_RECORDED, Settings

Tokens = tuple[str, ...]


def canonical(analyzer: Analyzer, texts: Sequence[str]) -> list[bytes]:
    """The canonical forms of texts: their tokens, joined by a space."""
    return [" ".join(analyzer.tokens(t)).encode() for t in texts]


def tokens_of(form: bytes) -> Tokens:
    """The tokens of a canonical form; none of the empty one."""
    return tuple(form.decode().split(" ")) if form else ()


def grams(tokens: Sequence[str], n: int) -> Iterator[Tokens]:
    """The n-grams of a token sequence, in order.

    >>> list(grams(["a", "b", "c"], 2))
    [('a', 'b'), ('b', 'c')]
    """
    return zip(*(tokens[i:] for i in range(n)), strict=False)


class Posting(NamedTuple):
    """One occurrence of an n-gram in the texts."""

    text: int
    start: int  # token


class GramIndex:
    """n-gram → where it occurs, and in how many distinct texts."""

    def __init__(self, texts: Sequence[Tokens], weights: Sequence[int], n: int, max_df: int) -> None:
        """`weights[t]` is how many distinct test texts text t stands for; 0 leaves it out."""
        self.n = n
        self.postings: defaultdict[Tokens, list[Posting]] = defaultdict(list)
        counts: defaultdict[Tokens, int] = defaultdict(int)
        for number, tokens in enumerate(texts):
            if weights[number]:
                for start, gram in enumerate(grams(tokens, n)):
                    self.postings[gram].append(Posting(number, start))
                for gram in set(grams(tokens, n)):
                    counts[gram] += weights[number]
        self.rare = {gram for gram, df in counts.items() if df <= max_df}

    def rare_starts(self, tokens: Tokens) -> list[int]:
        """Where the n-grams begin that few texts hold."""
        return [i for i, gram in enumerate(grams(tokens, self.n)) if gram in self.rare]


def text_weights(corpus: Corpus) -> list[int]:
    """How many distinct test texts each text is: one for each passage it is asked about, none where it is no field."""
    passages: list[set[int]] = [set() for _ in corpus.texts]
    for instance, passage in enumerate(corpus.passage.tolist()):
        for text in corpus.field_texts(instance):
            passages[text].add(passage)
    return [len(p) for p in passages]


class ReferenceIndex:
    """Finds the instances that share anything with a message.

    short: first token → instances under `n` tokens a field that begin with it, each with the words it is made of.
    whole: all tokens of an instance → those instances, where they are fewer than `exact_min_tokens`.
    """

    def __init__(self, corpus: Corpus, settings: Settings) -> None:
        self.corpus = corpus
        self.settings = settings
        self.analyzer = analyzer_of(settings.analyzer)
        self.texts = [tokens_of(form) for form in corpus.texts]
        weights = text_weights(corpus)
        self.grams = GramIndex(self.texts, weights, settings.n, settings.max_df)
        eligible = [w if len(t) >= FUZZY_MIN_TOKENS else 0 for w, t in zip(weights, self.texts, strict=True)]
        self.fine = GramIndex(self.texts, eligible, FUZZY_N, settings.max_df)
        self.instances_of: defaultdict[int, list[int]] = defaultdict(list)  # text → those with it as a field
        self.short: defaultdict[str, list[tuple[frozenset[str], int]]] = defaultdict(list)
        self.whole: defaultdict[Tokens, list[int]] = defaultdict(list)
        for instance in range(len(corpus.passage)):
            self._add(instance)

    def _add(self, instance: int) -> None:
        fields = self.fields(instance)
        for text in set(self.corpus.field_texts(instance)):
            self.instances_of[text].append(instance)
        if not fields:
            return
        tokens = self.all_tokens(instance)
        if len(tokens) < self.settings.exact_min_tokens:
            self.whole[tokens].append(instance)
        elif all(len(f) < self.settings.n for f in fields):
            self.short[tokens[0]].append((frozenset(tokens), instance))

    def fields(self, instance: int) -> list[Tokens]:
        """The tokens of each field."""
        return [self.texts[t] for t in self.corpus.field_texts(instance)]

    def passage(self, instance: int) -> Tokens:
        """The tokens of the passage; none where there is none."""
        number = int(self.corpus.passage[instance])
        return () if number == NONE else self.texts[number]

    def all_tokens(self, instance: int) -> Tokens:
        """The tokens of all fields, then of the passage."""
        return (*(t for f in self.fields(instance) for t in f), *self.passage(instance))

    @cached_property
    def answers(self) -> list[Tokens]:
        """The tokens of each instance's answer."""
        return [() if a == NONE else self.texts[a] for a in self.corpus.answer.tolist()]


class Shared(NamedTuple):
    """A stretch of tokens that a message and a field have in common."""

    at: int  # first token, in the message
    field: int
    start: int  # first token, in the field
    size: int


class Match(NamedTuple):
    """What a message and an instance have in common. Runs are maximal, of tokens, and in order."""

    instance: int
    exact: bool
    coverage: float  # mean over the fields that reach n tokens; 1.0 where an instance without such is found whole
    covered: int  # tokens, in the fields that the coverage counts
    total: int
    informative: float  # the same of n-grams that few texts hold
    informative_covered: int
    informative_total: int
    fuzzy: float | None  # share of the words that an alignment finds; None where nothing suggests an edited copy
    longest_run: int  # tokens in a row that message and field share
    field_coverage: tuple[float, ...]
    message_runs: list[Run]
    field_runs: tuple[list[Run], ...]


def scan(index: ReferenceIndex, tokens: Sequence[str], near: Collection[int] = ()) -> list[Match]:
    """Every instance that a message of these tokens has something in common with, by number; those in `near` too."""
    shared = _shared_grams(index.grams, tokens)
    edited = _edited(index, tokens) if index.settings.fuzzy else set()
    candidates = {i for text in {*shared, *edited} for i in index.instances_of[text]}
    candidates.update(_short_candidates(index, tokens), near)
    matches = (_match(index, i, shared, edited, tokens, near=i in near) for i in sorted(candidates))
    return [m for m in matches if m is not None]


def _shared_grams(grams_of: GramIndex, tokens: Sequence[str]) -> dict[int, list[Shared]]:
    """Text → every n-gram it shares with the message; `field` is 0."""
    found: defaultdict[int, list[Shared]] = defaultdict(list)
    for at, gram in enumerate(grams(tokens, grams_of.n)):
        for posting in grams_of.postings.get(gram, ()):
            found[posting.text].append(Shared(at, 0, posting.start, grams_of.n))
    return found


def _edited(index: ReferenceIndex, tokens: Sequence[str]) -> set[int]:
    """The texts that short n-grams suggest the message holds an edited copy of."""
    found = set()
    held = set(grams(tokens, FUZZY_N))
    for text in {p.text for gram in held & index.fine.rare for p in index.fine.postings[gram]}:
        starts = index.fine.rare_starts(index.texts[text])
        total = union_size(starts, FUZZY_N)
        common = [s for s in starts if index.texts[text][s : s + FUZZY_N] in held]
        if union_size(common, FUZZY_N) >= FUZZY_CANDIDATE * total:
            found.add(text)
    return found


def _short_candidates(index: ReferenceIndex, tokens: Sequence[str]) -> Iterator[int]:
    """Instances that no n-gram can find and whose words the message holds."""
    yield from index.whole.get(tuple(tokens), ())
    held = set(tokens)
    for token in index.short.keys() & held:
        yield from (instance for words, instance in index.short[token] if words <= held)


def _match(
    index: ReferenceIndex,
    instance: int,
    shared_by_text: dict[int, list[Shared]],
    edited: set[int],
    tokens: Sequence[str],
    *,
    near: bool,
) -> Match | None:
    n = index.settings.n
    fields = index.fields(instance)
    texts = index.corpus.field_texts(instance)
    shared = [s._replace(field=f) for f, text in enumerate(texts) for s in shared_by_text.get(text, ())]
    starts = [{s.start for s in shared if s.field == f} for f in range(len(fields))]
    covered = [union_size(s, n) for s in starts]
    totals = [len(f) for f in fields]
    counted = [f for f, total in enumerate(totals) if total >= n]
    coverage = mean_share([(covered[f], totals[f]) for f in counted])
    rare = [set(index.grams.rare_starts(f)) for f in fields]
    rare_totals = [union_size(r, n) for r in rare]
    rare_covered = [union_size(r & s, n) for r, s in zip(rare, starts, strict=True)]
    telling = [f for f in counted if rare_totals[f]]
    informative = mean_share([(rare_covered[f], rare_totals[f]) for f in telling])
    # A field that is contained is covered, so the search for whole fields is seldom needed.
    found = find_whole(index, instance, tokens) if coverage == 1 or not counted else None
    if found is not None:
        shared, covered, coverage = shared + found, totals, 1.0
    fuzzy, aligned = _fuzzy(index, fields, any(t in edited for t in texts), found is not None, tokens)
    if max(coverage, informative) <= index.settings.floor and fuzzy is None and not near:
        return None
    reported = counted or list(range(len(fields)))
    message_runs = runs((s.at, s.at + s.size) for s in shared)
    field_runs = [runs((s.start, s.start + s.size) for s in shared if s.field == f) for f in range(len(fields))]
    longest = longest_run(shared)
    if not shared:
        message_runs = runs(r for a in aligned for r in a.message_runs)
        field_runs = [runs(a.text_runs) for a in aligned] or [[] for _ in fields]
        longest = max((end - start for a in aligned for start, end in a.message_runs), default=0)
    return Match(
        instance,
        found is not None,
        coverage,
        sum(covered[f] for f in reported),
        sum(totals[f] for f in reported),
        informative,
        sum(rare_covered[f] for f in telling),
        sum(rare_totals[f] for f in telling),
        fuzzy,
        longest,
        tuple(c / t for c, t in zip(covered, totals, strict=True)),
        message_runs,
        tuple(field_runs),
    )


def _fuzzy(
    index: ReferenceIndex, fields: Sequence[Tokens], suggested: bool, exact: bool, tokens: Sequence[str]
) -> tuple[float | None, list[Alignment]]:
    """The similarity, None where it is not worth a record, and the alignment of each field."""
    if not index.settings.fuzzy:
        return None, []
    if exact:
        return 1.0, []
    if not suggested:
        return None, []
    similarity, aligned = align_fields(tokens, fields)
    return (similarity, aligned) if similarity >= FUZZY_RECORDED else (None, [])


def mean_share(parts: Sequence[tuple[int, int]]) -> float:
    """The mean of covered / total, correctly rounded: one that is exactly a half never compares as more. 0 of none."""
    if len(parts) == 1:
        return parts[0][0] / parts[0][1]
    return float(sum((Fraction(c, t) for c, t in parts), Fraction(0)) / max(1, len(parts)))


def union_size(starts: Iterable[int], size: int) -> int:
    """How many tokens the windows of `size` tokens at `starts` cover together."""
    return sum(end - start for start, end in runs((s, s + size) for s in starts))


def runs(windows: Iterable[Run]) -> list[Run]:
    """The union of windows as maximal runs, in order.

    >>> runs([(4, 7), (0, 2), (6, 9)])
    [(0, 2), (4, 9)]
    """
    merged: list[Run] = []
    for start, end in sorted(set(windows)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def longest_run(shared: Iterable[Shared]) -> int:
    """The longest stretch of tokens that stands in the message as it stands in a field; 0 of nothing."""
    diagonals: defaultdict[tuple[int, int], list[Run]] = defaultdict(list)
    for s in shared:
        diagonals[s.field, s.at - s.start].append((s.at, s.at + s.size))
    return max((end - start for windows in diagonals.values() for start, end in runs(windows)), default=0)


def find_whole(index: ReferenceIndex, instance: int, tokens: Sequence[str]) -> list[Shared] | None:
    """Where the message holds the whole instance, every field of it and its passage; None where it does not.

    An instance under `exact_min_tokens` must be the whole message: its words are contained by chance.
    """
    everything = index.all_tokens(instance)
    if len(everything) < index.settings.exact_min_tokens and tuple(tokens) != everything:
        return None
    passage = index.passage(instance)
    if passage and find(tokens, passage) is None:
        return None
    whole = []
    for i, field in enumerate(index.fields(instance)):
        at = find(tokens, field)
        if at is None:
            return None
        whole.append(Shared(at, i, 0, len(field)))
    return whole


def find(tokens: Sequence[str], wanted: Tokens) -> int | None:
    """Where `wanted`, which is not empty, first stands in `tokens`.

    >>> find(["a", "b", "a", "c"], ("a", "c"))
    2
    """
    at, last = -1, len(tokens) - len(wanted)
    while True:
        try:
            at = tokens.index(wanted[0], at + 1, last + 1)
        except ValueError:
            return None
        if tuple(tokens[at : at + len(wanted)]) == wanted:
            return at
