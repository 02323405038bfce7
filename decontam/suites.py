"""Evaluation suites: declared in YAML, read into instances whose texts are matched.

root: ../data                    # where relative paths start; itself relative to this file
suites:
  gsm8k:
    group: dev                   # dev | unseen | safety
    path: evals/gsm8k.jsonl.gz   # or hub: org/name@revision, with split
    instance_id: id              # left out: the column id, or else the position (#0, #1, …)
    fields: [question]           # what is matched; lists are joined by line breaks, null is left out
    answer: answer               # never matched: says whether a match leaks it too
    passage: passage             # never matched alone: a question that stands in public text with its passage
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from tulu_data.errors import InputError, RecipeError
from tulu_data.manifest import canonical_json
from tulu_data.strict import Strict, load_yaml, validate

Group = Literal["dev", "unseen", "safety"]

DEFAULT_ID = "id"
DEFAULT_SPLIT = "test"


class Declared(Strict):
    """One suite as its file declares it, under its id."""

    group: Group
    path: str | None = Field(default=None, description="files, a folder or a glob, relative to root")
    hub: str | None = Field(default=None, description="org/name[/config][@revision] on the Hugging Face hub")
    split: str | None = Field(default=None, description="with hub; test where it is left out")
    fields: list[str] = Field(min_length=1, description="columns whose text is matched")
    instance_id: str | None = Field(default=None, description="column; left out: id, or else the position")
    answer: str | None = None
    passage: str | None = Field(default=None, description="column of a text that the question is about")
    subset: str | None = None
    license: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Declared:
        if (self.path is None) == (self.hub is None):
            raise ValueError("takes exactly one of path, hub")
        if self.path is not None and self.split is not None:
            raise ValueError("split goes with hub; remove it, or let path name the files of that split")
        if len(set(self.fields)) < len(self.fields):
            raise ValueError("fields: names a column twice")
        if self.passage in self.fields:
            raise ValueError(f"passage: {self.passage} is one of fields already; leave it out of one of them")
        return self


class SuitesFile(Strict):
    """A suites file."""

    root: str = "."
    suites: dict[str, Declared] = Field(min_length=1)


class SuiteSpec(NamedTuple):
    """A declared suite with its id and where it is: a path or glob, or `hub:org/name@revision`."""

    id: str
    source: str
    declared: Declared


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


def load_suites(path: str | Path, *, root: Path | None = None) -> list[SuiteSpec]:
    """The suites that a YAML file declares, in its order; `RecipeError` in one line.

    Their relative paths start at `root`, or else at the root that the file names.
    """
    path = Path(path)
    declared = validate(SuitesFile, load_yaml(path), str(path))
    root = root or path.parent / Path(declared.root).expanduser()
    return [SuiteSpec(name, _source(d, root), d) for name, d in declared.suites.items()]


def _source(declared: Declared, root: Path) -> str:
    return f"hub:{declared.hub}" if declared.hub is not None else str(root / str(declared.path))


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
        instances = _instances(spec.declared, list(_records(spec)))
    except InputError as e:
        raise InputError(f"suite {spec.id!r}: {e}") from None
    return suite_of(spec.id, spec.declared.group, instances, source=spec.source)


def suite_of(name: str, group: Group, instances: Sequence[Instance], *, source: str = "memory") -> Suite:
    """A suite from instances in memory; `InputError` where there is none, or two share an id."""
    if not instances:
        raise InputError(f"suite {name!r}: {source} holds no instance; check the path and the split")
    instance_id, times = Counter(i.id for i in instances).most_common(1)[0]
    if times > 1:
        raise InputError(f"suite {name!r}: has {times} instances {instance_id!r}; name a unique instance_id")
    h = sha256(b"tulu-suite/2\0")
    for i in instances:
        h.update(canonical_json([i.id, i.subset, [[f.name, f.text] for f in i.fields], i.answer, i.passage]) + b"\n")
    return Suite(name, group, source, tuple(instances), h.hexdigest())


def _records(spec: SuiteSpec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, record) of a suite's source."""
    if spec.source.startswith("hub:"):
        yield from _hub_records(spec)
        return
    from tulu_data import read

    for path in read.expand(spec.source):
        for raw in read.read(path):
            if raw.problem is not None:
                raise InputError(raw.problem if raw.problem.startswith(raw.place) else f"{raw.place}: {raw.problem}")
            if not isinstance(raw.record, Mapping):
                raise InputError(f"{raw.place}: must be an object of columns, got {type(raw.record).__name__}")
            yield raw.place, raw.record


def _hub_records(spec: SuiteSpec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    from tulu_data.hub import hub
    from tulu_data.read import decode

    for chunk in hub(f"{spec.source}#{spec.declared.split or DEFAULT_SPLIT}").chunks:
        for raw in decode(chunk):
            yield raw.place, raw.record


def _instances(declared: Declared, records: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Instance]:
    column = declared.instance_id or DEFAULT_ID
    if declared.instance_id is None and not any(column in record for _, record in records):
        return [_instance(declared, place, record, f"#{i}") for i, (place, record) in enumerate(records)]
    return [_instance(declared, place, record, _identity(record, column, place)) for place, record in records]


def _identity(record: Mapping[str, Any], column: str, place: str) -> str:
    if column not in record:
        seen = ", ".join(map(str, record)) or "none"
        remedy = "name another with instance_id, or leave instance_id and the column id out: they are numbered then"
        raise InputError(f"{place}: has no field {column!r}; fields seen: {seen}; {remedy}")
    identity = record[column]
    if not isinstance(identity, str | int) or identity == "":
        raise InputError(f"{place}: {column} is {identity!r}; an instance id must be text or a whole number")
    return str(identity)


def _instance(declared: Declared, place: str, record: Mapping[str, Any], identity: str) -> Instance:
    texts = [(name, _text(_column(record, name, place), f"{place}: {name}")) for name in declared.fields]
    answer = _column(record, declared.answer, place) if declared.answer else None
    passage = _column(record, declared.passage, place) if declared.passage else None
    subset = _column(record, declared.subset, place) if declared.subset else None
    return Instance(
        identity,
        None if subset is None else str(subset),
        tuple(FieldText(name, text) for name, text in texts if text is not None),
        _text(answer, f"{place}: {declared.answer}"),
        _text(passage, f"{place}: {declared.passage}"),
    )


def _column(record: Mapping[str, Any], name: str, place: str) -> Any:
    if name not in record:
        raise InputError(f"{place}: has no field {name!r}; fields seen: {', '.join(map(str, record)) or 'none'}")
    return record[name]


def _text(value: Any, place: str) -> str | None:
    """Text of a column: lists are joined by line breaks, numbers written out, null is None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "\n".join(t for t in (_text(v, place) for v in value) if t is not None)
    raise InputError(f"{place} must be text or a list of texts, got {type(value).__name__}")
