"""The instances of the suites as what is compared: distinct token sequences, numbered. Both engines start from it.

A text is kept in its *canonical* form: its folded tokens, joined by one space. No token holds a space, so two texts
have the same tokens exactly where their canonical forms are equal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam.suites import Suite
from tulu_data.suites import Group

I32 = npt.NDArray[np.int32]

NONE = -1  # in place of a text's number: there is none, or it holds no token

INSTANCES = pa.schema(
    [
        pa.field("suite", pa.int32()),  # its place among the suites
        pa.field("id", pa.string()),
        pa.field("subset", pa.string()),
        pa.field("names", pa.list_(pa.string())),  # of its fields
        pa.field("texts", pa.list_(pa.string())),
        pa.field("answer", pa.string()),
        pa.field("passage", pa.string()),
    ]
)

Canonical = Callable[[Sequence[str]], list[bytes]]  # texts → their canonical forms


class SuiteFacts(NamedTuple):
    """A suite without its instances."""

    id: str
    group: Group
    digest: str
    instances: int


@dataclass(frozen=True)
class Corpus:
    """Instances and the distinct texts they are made of.

    instances: the table `INSTANCES`. texts: canonical forms, by number. tokens: `(texts,)` how many each has.
    The fields that hold a token are numbered over all instances: those of instance i are
    `first_field[i] : first_field[i + 1]`; field_name `(fields,)` is their place in the instance's `names`, field_text
    `(fields,)` their text. passage, answer: `(instances,)` a text or NONE.
    """

    suites: tuple[SuiteFacts, ...]
    instances: pa.Table
    texts: list[bytes]
    tokens: I32
    first_field: I32
    field_name: I32
    field_text: I32
    passage: I32
    answer: I32

    def fields_of(self, instance: int) -> range:
        """The numbers of an instance's fields."""
        return range(int(self.first_field[instance]), int(self.first_field[instance + 1]))

    def field_texts(self, instance: int) -> list[int]:
        """The texts of an instance's fields."""
        return [int(t) for t in self.field_text[self.first_field[instance] : self.first_field[instance + 1]]]

    @cached_property
    def identities(self) -> list[tuple[int, ...]]:
        """What makes each instance itself: the texts of its fields and its passage. Empty where it holds no token."""
        passages = self.passage.tolist()
        fields = [tuple(self.field_texts(i)) for i in range(len(passages))]
        return [(*texts, passage) if texts else () for texts, passage in zip(fields, passages, strict=True)]

    @property
    def suite_of(self) -> I32:
        """`(instances,)` the place of the suite."""
        return np.asarray(self.instances["suite"].to_numpy(), np.int32)


def analyse_suite(suite: Suite, canonical: Canonical) -> Corpus:
    """The corpus of one suite."""
    strings: list[str] = []
    for i in suite.instances:
        strings += [f.text for f in i.fields]
        strings += [i.passage or "", i.answer or ""]
    numbers: dict[bytes, int] = {b"": NONE}
    of_string = iter([numbers.setdefault(c, len(numbers) - 1) for c in canonical(strings)])
    first, names, texts, passages, answers = [0], [], [], [], []
    for instance in suite.instances:
        for place in range(len(instance.fields)):
            text = next(of_string)
            if text != NONE:
                names.append(place)
                texts.append(text)
        first.append(len(texts))
        passages.append(next(of_string))
        answers.append(next(of_string))
    forms = list(numbers)[1:]
    return Corpus(
        (SuiteFacts(suite.id, suite.group, suite.digest, len(suite.instances)),),
        _instances(suite),
        forms,
        np.array([c.count(b" ") + 1 for c in forms], np.int32),
        *(np.array(a, np.int32) for a in (first, names, texts, passages, answers)),
    )


def _instances(suite: Suite) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "suite": [0] * len(suite.instances),
        "id": [i.id for i in suite.instances],
        "subset": [i.subset for i in suite.instances],
        "names": [[f.name for f in i.fields] for i in suite.instances],
        "texts": [[f.text for f in i.fields] for i in suite.instances],
        "answer": [i.answer for i in suite.instances],
        "passage": [i.passage for i in suite.instances],
    }
    return pa.table(columns, schema=INSTANCES)


def join(parts: Sequence[Corpus]) -> Corpus:
    """The corpus of several suites: a text that they share has one number."""
    numbers: dict[bytes, int] = {}
    renumbered = [_lookup([numbers.setdefault(c, len(numbers)) for c in p.texts]) for p in parts]
    sizes = np.cumsum([0, *(len(p.field_text) for p in parts)])
    forms = list(numbers)
    tables = [
        p.instances.set_column(0, INSTANCES.field(0), pa.array(np.full(len(p.instances), k, np.int32)))
        for k, p in enumerate(parts)
    ]
    return Corpus(
        tuple(p.suites[0] for p in parts),
        pa.concat_tables([INSTANCES.empty_table(), *tables]).combine_chunks(),
        forms,
        np.array([c.count(b" ") + 1 for c in forms], np.int32),
        np.concatenate(
            [np.zeros(1, np.int32), *(p.first_field[1:] + k for p, k in zip(parts, sizes, strict=False))]
        ).astype(np.int32),
        _joined(p.field_name for p in parts),
        _joined(new[p.field_text] for new, p in zip(renumbered, parts, strict=True)),
        _joined(new[p.passage] for new, p in zip(renumbered, parts, strict=True)),
        _joined(new[p.answer] for new, p in zip(renumbered, parts, strict=True)),
    )


def _lookup(numbers: Sequence[int]) -> I32:
    """Old number → new; NONE, which is the last entry, stays."""
    return np.array([*numbers, NONE], np.int32)


def _joined(arrays: Iterable[I32]) -> I32:
    return np.concatenate([np.empty(0, np.int32), *arrays])


# ------------------------------------------------------------ facts of a manifest


def short_instances(corpus: Corpus, n: int) -> npt.NDArray[np.bool_]:
    """`(instances,)` those with a field, none of which reaches `n` tokens: no n-gram can match them."""
    sizes = np.diff(corpus.first_field)
    longest = np.zeros(len(sizes), np.int32)
    np.maximum.at(longest, np.repeat(np.arange(len(sizes)), sizes), corpus.tokens[corpus.field_text])
    return np.asarray((sizes > 0) & (longest < n))


def suite_facts(corpus: Corpus, n: int) -> list[dict[str, Any]]:
    """What a manifest says of each suite."""
    suites = corpus.suite_of
    short = np.bincount(suites[short_instances(corpus, n)], minlength=len(corpus.suites))
    times = Counter((s, i) for s, i in zip(suites.tolist(), corpus.identities, strict=True))
    unmatchable, repeated = Counter[int](), Counter[int]()
    for (suite, identity), count in times.items():
        if identity:
            repeated[suite] += count - 1  # instances equal to an earlier one of their suite
        else:
            unmatchable[suite] += count
    return [
        {
            "id": s.id,
            "group": s.group,
            "digest": s.digest,
            "instances": s.instances,
            "short": int(short[k]),
            "unmatchable": unmatchable[k],
            "repeated": repeated[k],
        }
        for k, s in enumerate(corpus.suites)
    ]


def suite_overlaps(corpus: Corpus, n: int) -> list[dict[str, Any]]:
    """Suites that repeat each other: pairs with, for each side, how many instances have an equal in the other.

    Equal are two instances of the same texts and passage, or whose first fields of `n` tokens or more, and passages,
    are the same: a question that one suite gives with options and another without is one question.
    """
    keys = [_equality_keys(corpus, i, identity, n) for i, identity in enumerate(corpus.identities)]
    suites = corpus.suite_of.tolist()
    holders: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
    for suite, of_instance in zip(suites, keys, strict=True):
        for key in of_instance:
            holders[key].add(suite)
    equal: Counter[tuple[str, str]] = Counter()
    for suite, of_instance in zip(suites, keys, strict=True):
        others = set().union(*(holders[key] for key in of_instance)) - {suite}
        equal.update((corpus.suites[suite].id, corpus.suites[other].id) for other in others)
    return [{"suites": [a, b], "equal": [equal[a, b], equal[b, a]]} for a, b in sorted(equal) if a < b]


def _equality_keys(corpus: Corpus, instance: int, identity: tuple[int, ...], n: int) -> set[tuple[int, ...]]:
    if not identity:
        return set()
    first = identity[0]
    alone = {(first, int(corpus.passage[instance]))} if corpus.tokens[first] >= n else set()
    return alone | {identity}


def repeats(corpus: Corpus) -> list[str | None]:
    """`suite/id` of the first instance with the same texts and passage, by instance; None for the first itself."""
    suites, ids = corpus.suite_of.tolist(), corpus.instances["id"].to_pylist()
    first: dict[tuple[int, ...], str] = {}
    found: list[str | None] = []
    for i, identity in enumerate(corpus.identities):
        name = f"{corpus.suites[suites[i]].id}/{ids[i]}"
        earlier = first.setdefault(identity, name) if identity else name
        found.append(None if earlier == name else earlier)
    return found
