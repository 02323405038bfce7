"""What the suites' instances look like as tokens, and where to find them: the plain form of the index.

Everything is a dict of tuples of tokens, so nothing is hashed by hand and no match can be false.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from sys import intern
from typing import NamedTuple

from decontam.analyzers import Analyzer
from decontam.suites import Group, Instance, Suite

Tokens = tuple[str, ...]


class IndexedField(NamedTuple):
    """One matched text of an instance and its tokens; never without tokens."""

    name: str
    text: str
    tokens: Tokens


@dataclass(frozen=True)
class IndexedInstance:
    """A test item as it is matched. `fields` are those that hold a token, in declared order."""

    number: int  # its place in the index
    suite: str
    group: Group
    source: Instance
    fields: tuple[IndexedField, ...]

    @property
    def tokens(self) -> Tokens:
        """The tokens of all fields in a row."""
        return tuple(t for f in self.fields for t in f.tokens)

    def is_short(self, n: int) -> bool:
        """Whether no field reaches `n` tokens: no n-gram can match it."""
        return all(len(f.tokens) < n for f in self.fields)


def analyse(suites: Sequence[Suite], analyzer: Analyzer) -> list[IndexedInstance]:
    """Every instance of every suite as tokens, in order."""
    pairs = ((suite, instance) for suite in suites for instance in suite.instances)
    return [_analyse(number, suite, instance, analyzer) for number, (suite, instance) in enumerate(pairs)]


def _analyse(number: int, suite: Suite, instance: Instance, analyzer: Analyzer) -> IndexedInstance:
    # Interned tokens are compared by identity first, and each is held in memory once.
    fields = (IndexedField(f.name, f.text, tuple(map(intern, analyzer.tokens(f.text)))) for f in instance.fields)
    return IndexedInstance(number, suite.id, suite.group, instance, tuple(f for f in fields if f.tokens))


class Posting(NamedTuple):
    """One occurrence of an n-gram in the suites."""

    instance: int
    field: int  # its place in the instance's `fields`
    start: int  # token


def grams(tokens: Sequence[str], n: int) -> Iterator[Tokens]:
    """The n-grams of a token sequence, in order.

    >>> list(grams(["a", "b", "c"], 2))
    [('a', 'b'), ('b', 'c')]
    """
    return zip(*(tokens[i:] for i in range(n)), strict=False)


class Index:
    """Finds the instances that share anything with a message.

    grams: n-gram → where it occurs; covers every instance with a field of `n` tokens or more.
    short: first token → instances under `n` tokens a field that begin with it, each with the words it is made of.
    whole: all tokens of an instance → those instances, where they are fewer than `exact_min_tokens`.
    """

    def __init__(self, instances: Sequence[IndexedInstance], n: int, exact_min_tokens: int) -> None:
        self.instances = instances
        self.n = n
        self.exact_min_tokens = exact_min_tokens
        self.grams: defaultdict[Tokens, list[Posting]] = defaultdict(list)
        self.short: defaultdict[str, list[tuple[frozenset[str], IndexedInstance]]] = defaultdict(list)
        self.whole: defaultdict[Tokens, list[IndexedInstance]] = defaultdict(list)
        for instance in instances:
            self._add(instance)

    def _add(self, instance: IndexedInstance) -> None:
        for number, field in enumerate(instance.fields):
            for start, gram in enumerate(grams(field.tokens, self.n)):
                self.grams[gram].append(Posting(instance.number, number, start))
        if not instance.fields:
            return
        if len(instance.tokens) < self.exact_min_tokens:
            self.whole[instance.tokens].append(instance)
        elif instance.is_short(self.n):
            self.short[instance.tokens[0]].append((frozenset(instance.tokens), instance))
