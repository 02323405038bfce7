"""Suites as audits match them: the records of a declared suite (`tulu_data.suites`) as texts, answers and passages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from tulu_data.errors import InputError, RecipeError
from tulu_data.manifest import canonical_json
from tulu_data.suites import (
    Declared,
    Group,
    Identified,
    SuiteSpec,
    check_ids,
    column,
    column_name,
    identified,
    subset_of,
)


class FieldText(NamedTuple):
    """One matched text of an instance."""

    name: str
    text: str


class Instance(NamedTuple):
    """One test item. `answer` is never matched: it only tells whether a match leaks it too.

    `passage` is what the fields ask about. It is no evidence alone, for it stands in public text; a short question
    that many passages share is none without it.
    """

    id: str
    subset: str | None
    fields: tuple[FieldText, ...]
    answer: str | None
    passage: str | None = None


@dataclass(frozen=True)
class Suite:
    """A suite in memory. `digest` identifies its content: ids, subsets, texts, answers, passages."""

    id: str
    group: Group
    source: str
    instances: tuple[Instance, ...]
    digest: str


def read_suites(specs: Iterable[SuiteSpec]) -> list[Suite]:
    """Every suite, read; `RecipeError` where two files declare one id."""
    specs = list(specs)
    first: dict[str, SuiteSpec] = {}
    for spec in specs:
        if spec.id in first:
            raise RecipeError(
                f"suite {spec.id!r} is declared twice: {first[spec.id].source}, {spec.source}; rename one"
            )
        first[spec.id] = spec
    return [read_suite(spec) for spec in specs]


def read_suite(spec: SuiteSpec) -> Suite:
    """One suite; `InputError` for a record without a declared column, a repeated id, or no instance at all."""
    try:
        instances = [_instance(spec.declared, record) for record in identified(spec)]
    except InputError as e:
        raise InputError(f"suite {spec.id!r}: {e}") from None
    return suite_of(spec.id, spec.declared.group, instances, source=spec.source)


def suite_of(name: str, group: Group, instances: Sequence[Instance], *, source: str = "memory") -> Suite:
    """A suite from instances in memory; `InputError` where there is none, or two share an id."""
    check_ids(name, [i.id for i in instances], source)
    h = sha256(b"tulu-suite/2\0")
    for i in instances:
        h.update(canonical_json([i.id, i.subset, [[f.name, f.text] for f in i.fields], i.answer, i.passage]) + b"\n")
    return Suite(name, group, source, tuple(instances), h.hexdigest())


def _instance(declared: Declared, record: Identified) -> Instance:
    texts = [(column_name(record.values, name), _text_of(name, record)) for name in declared.fields]
    return Instance(
        record.id,
        subset_of(declared, record),
        tuple(FieldText(name, text) for name, text in texts if text is not None),
        _text_of(declared.answer, record),
        _text_of(declared.passage, record),
    )


def _text_of(name: str | None, record: Identified) -> str | None:
    return _text(column(record.values, name, record.place), f"{record.place}: {name}") if name else None


def _text(value: Any, place: str) -> str | None:
    """Text of a column: lists are joined by line breaks, numbers written out, null is None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "\n".join(t for t in (_text(v, place) for v in value) if t is not None)
    raise InputError(f"{place} must be text or a list of texts, got {type(value).__name__}")
