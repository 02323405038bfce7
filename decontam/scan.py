"""One message against the index: which instances it overlaps, by how much, and with which tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from decontam.index import Index, IndexedInstance, Tokens, grams
from decontam.verdicts import Layer

Run = tuple[int, int]  # [start, end) in tokens


class Match(NamedTuple):
    """A message overlaps an instance. Runs are maximal and in order."""

    instance: IndexedInstance
    layers: tuple[Layer, ...]  # those that fired, one at least
    coverage: float  # mean over the fields that reach n tokens; 1.0 for a short instance found whole
    covered: int  # tokens, in the fields that the coverage counts
    total: int
    longest_run: int  # tokens in a row that message and field share
    field_coverage: tuple[float, ...]  # by the instance's fields
    message_runs: list[Run]
    field_runs: tuple[list[Run], ...]


class Shared(NamedTuple):
    """A stretch of tokens that a message and a field have in common."""

    at: int  # first token, in the message
    field: int
    start: int  # first token, in the field
    size: int


def scan(index: Index, tokens: Sequence[str], threshold: float) -> list[Match]:
    """The instances that a message of these tokens overlaps, in the index's order."""
    candidates = _shared_grams(index, tokens)
    for instance in _short_candidates(index, tokens):
        candidates.setdefault(instance.number, [])
    matches = (_match(index, index.instances[i], candidates[i], tokens, threshold) for i in sorted(candidates))
    return [m for m in matches if m is not None]


def _shared_grams(index: Index, tokens: Sequence[str]) -> dict[int, list[Shared]]:
    """Instance → every n-gram it shares with the message."""
    found: defaultdict[int, list[Shared]] = defaultdict(list)
    for at, gram in enumerate(grams(tokens, index.n)):
        for posting in index.grams.get(gram, ()):
            found[posting.instance].append(Shared(at, posting.field, posting.start, index.n))
    return found


def _short_candidates(index: Index, tokens: Sequence[str]) -> Iterator[IndexedInstance]:
    """Instances that no n-gram can find and whose words the message holds."""
    yield from index.whole.get(tuple(tokens), ())
    held = set(tokens)
    for token in index.short.keys() & held:
        yield from (instance for words, instance in index.short[token] if words <= held)


def _match(
    index: Index, instance: IndexedInstance, shared: list[Shared], tokens: Sequence[str], threshold: float
) -> Match | None:
    counted = [i for i, f in enumerate(instance.fields) if len(f.tokens) >= index.n]
    starts = [{s.start for s in shared if s.field == i} for i in range(len(instance.fields))]
    covered = [union_size(s, index.n) for s in starts]
    totals = [len(f.tokens) for f in instance.fields]
    coverage = mean_share([(covered[i], totals[i]) for i in counted]) if counted else 0.0
    layers: list[Layer] = []
    # A field that is contained is covered, so the search for whole fields is seldom needed.
    if (coverage == 1 or not counted) and (found := find_whole(index, instance, tokens)) is not None:
        layers.append("exact")
        shared = shared + found
        covered, coverage = totals, 1.0
    if counted and coverage > threshold:
        layers.append("tulu3")
    if not layers:
        return None
    counted = counted or list(range(len(instance.fields)))
    return Match(
        instance,
        tuple(layers),
        coverage,
        sum(covered[i] for i in counted),
        sum(totals[i] for i in counted),
        longest_run(shared),
        tuple(c / t for c, t in zip(covered, totals, strict=True)),
        runs((s.at, s.at + s.size) for s in shared),
        tuple(runs((s.start, s.start + s.size) for s in shared if s.field == i) for i in range(len(instance.fields))),
    )


def mean_share(parts: Sequence[tuple[int, int]]) -> float:
    """The mean of covered / total, correctly rounded: one that is exactly a half never compares as more."""
    if len(parts) == 1:
        return parts[0][0] / parts[0][1]
    return float(sum(Fraction(c, t) for c, t in parts) / len(parts))


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
    """The longest stretch of tokens that stands in the message as it stands in a field."""
    diagonals: defaultdict[tuple[int, int], list[Run]] = defaultdict(list)
    for s in shared:
        diagonals[s.field, s.at - s.start].append((s.at, s.at + s.size))
    return max(end - start for windows in diagonals.values() for start, end in runs(windows))


def find_whole(index: Index, instance: IndexedInstance, tokens: Sequence[str]) -> list[Shared] | None:
    """Where the message holds the whole instance, every field of it; None where it does not.

    An instance under `exact_min_tokens` must be the whole message: its words are contained by chance.
    """
    if len(instance.tokens) < index.exact_min_tokens and tuple(tokens) != instance.tokens:
        return None
    whole = []
    for i, field in enumerate(instance.fields):
        at = find(tokens, field.tokens)
        if at is None:
            return None
        whole.append(Shared(at, i, 0, len(field.tokens)))
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
