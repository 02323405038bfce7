"""Evaluation suites: declared in YAML, read into instances whose texts are matched.

root: ../data                    # where relative paths start; itself relative to this file
collections:
  grade-school: [gsm8k, mawps]   # one name for several suites, or for other collections
suites:
  gsm8k:
    group: dev                   # dev | unseen | safety
    path: evals/gsm8k.jsonl.gz   # or hub: org/name[/config][@revision], with split, and configs where it has several
    instance_id: id              # "#" for the position; left out: the column id, or else the position
    fields: [question]           # what is matched; lists are joined by line breaks, null is left out
    answer: answer               # never matched: says whether a match leaks it too
    passage: passage             # never matched alone: a question that stands in public text with its passage
  mawps:
    like: gsm8k                  # everything as in that suite of the registry or of this file, but for
    path: evals/mawps.json

A column is named as it is called; `a|b` takes the first that the records have, `a|` leaves it out where they have none;
`a.b.0` reaches into nested values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from tulu_data.errors import InputError, RecipeError, nearest
from tulu_data.manifest import canonical_json
from tulu_data.strict import Strict, load_yaml, validate

Group = Literal["dev", "unseen", "safety"]

DEFAULT_ID = "id"
DEFAULT_SPLIT = "test"
POSITION = "#"  # in place of a column of ids
SAVED_ID, SAVED_SUBSET = "instance_id", "subset"  # columns of a copy that was saved from here


class Declared(Strict):
    """One suite as its file declares it, under its id."""

    group: Group
    path: str | None = Field(default=None, description="files, a folder or a glob, relative to root")
    hub: str | None = Field(default=None, description="org/name[/config][@revision] on the Hugging Face hub")
    configs: list[str] = Field(default_factory=list, description="with hub: its configs, one after the other")
    data_files: list[str] = Field(default_factory=list, description="with hub: files of its repository to read instead")
    split: str | None = Field(default=None, description="with hub; test where it is left out")
    fields: list[str] = Field(min_length=1, description="columns whose text is matched")
    instance_id: str | None = Field(default=None, description="column; left out: id, or else the position")
    answer: str | None = None
    passage: str | None = Field(default=None, description="column of a text that the question is about")
    subset: str | None = None
    license: str | None = None
    instances: int | None = Field(default=None, ge=1, description="how many there should be")
    note: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Declared:
        if (self.path is None) == (self.hub is None):
            raise ValueError("takes exactly one of path, hub")
        if self.path is not None and self.split is not None:
            raise ValueError("split goes with hub; remove it, or let path name the files of that split")
        if self.path is not None and (self.configs or self.data_files):
            raise ValueError("configs and data_files go with hub; remove them, or let path name the files")
        if self.data_files and (self.configs or self.split):
            raise ValueError("data_files are read as they are; remove configs and split")
        if len(set(self.fields)) < len(self.fields):
            raise ValueError("fields: names a column twice")
        if self.passage in self.fields:
            raise ValueError(f"passage: {self.passage} is one of fields already; leave it out of one of them")
        return self


class SuitesFile(Strict):
    """A suites file."""

    root: str = "."
    collections: dict[str, list[str]] = Field(default_factory=dict)
    suites: dict[str, Declared] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_members(self) -> SuitesFile:
        for name, members in self.collections.items():
            if name in self.suites:
                raise ValueError(f"collections.{name}: is the name of a suite too; rename one")
            for member in members:
                if member not in self.suites and member not in self.collections:
                    known = nearest(member, [*self.suites, *self.collections], noun="suite")
                    raise ValueError(f"collections.{name}: no suite {member!r}; {known}")
            self.members(name)
        return self

    def members(self, name: str, above: tuple[str, ...] = ()) -> list[str]:
        """The suites behind the name of a suite or collection, each once; `ValueError` for one that holds itself."""
        if name in self.suites:
            return [name]
        if name in above:
            raise ValueError(f"collections.{name}: holds itself ({' > '.join([*above, name])}); take it out of one")
        found = [m for member in self.collections[name] for m in self.members(member, (*above, name))]
        return list(dict.fromkeys(found))


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


class SuitesTable(NamedTuple):
    """A suites file, read: where its relative paths start, and what it declares."""

    place: str
    root: Path
    file: SuitesFile

    def specs(self, name: str | None = None) -> list[SuiteSpec]:
        """All suites, in order, or those behind the name of a suite or collection."""
        ids = list(self.file.suites) if name is None else self.file.members(name)
        return [SuiteSpec(i, _source(self.file.suites[i], self.root), self.file.suites[i]) for i in ids]


def load_table(
    path: str | Path, *, root: Path | None = None, known: Mapping[str, Declared] | None = None
) -> SuitesTable:
    """What a suites file declares; `RecipeError` in one line.

    Its relative paths start at `root`, or else at the root that the file names. `known` are suites that `like` may name
    besides those of the file.
    """
    path = Path(path)
    data = load_yaml(path)
    if isinstance(data.get("suites"), dict):
        data = data | {"suites": _completed(data["suites"], known or {}, str(path))}
    file = validate(SuitesFile, data, str(path))
    return SuitesTable(str(path), root or path.parent / Path(file.root).expanduser(), file)


def load_suites(path: str | Path, *, root: Path | None = None) -> list[SuiteSpec]:
    """The suites that a YAML file declares, in its order; see `load_table`."""
    return load_table(path, root=root).specs()


_OF_A_PLACE = ("path", "hub", "configs", "data_files", "split", "instances")


def _completed(suites: dict[str, Any], known: Mapping[str, Declared], place: str) -> dict[str, Any]:
    """The suites with everything that `like` brings. A place of its own takes the other's away, split included."""
    whole: dict[str, Any] = {}
    for name, given in suites.items():
        if not isinstance(given, dict) or "like" not in given:
            whole[name] = given
            continue
        model = given["like"]
        base = known[model].model_dump(exclude_unset=True) if model in known else whole.get(model, suites.get(model))
        if not isinstance(base, dict) or "like" in base:
            options = nearest(str(model), [*known, *suites], noun="suite")
            raise RecipeError(f"{place}: suites.{name}.like: no suite {model!r} to take after; {options}")
        own = {k: v for k, v in given.items() if k != "like"}
        moved = {"path", "hub"} & own.keys()
        base = {k: v for k, v in base.items() if not moved or k not in _OF_A_PLACE}
        whole[name] = base | own
    return whole


def _source(declared: Declared, root: Path) -> str:
    if declared.hub is None:
        return str(root / str(declared.path))
    return f"hub:{declared.hub}" + (f" ({len(declared.configs)} configs)" if declared.configs else "")


def in_file(spec: SuiteSpec, path: str | Path) -> SuiteSpec:
    """The suite as a local file has it: one that was saved from here, or a copy with other ids or without subsets."""
    ids = spec.declared.instance_id
    own = [] if ids == POSITION else [*([ids] if ids else []), DEFAULT_ID]
    identity = "|".join([SAVED_ID, *own, POSITION])
    declared = spec.declared.model_copy(
        update={"path": str(path), "hub": None, "configs": [], "data_files": [], "split": None, "instance_id": identity}
        | {"subset": spec.declared.subset or f"{SAVED_SUBSET}|"}
    )
    return SuiteSpec(spec.id, str(path), declared)


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


class _Record(NamedTuple):
    place: str
    config: str | None  # where a suite has several
    values: Mapping[str, Any]


def _records(spec: SuiteSpec) -> Iterator[_Record]:
    if spec.declared.hub is not None:
        yield from _hub_records(spec.declared)
        return
    from tulu_data import read

    yield from _file_records(read.expand(spec.source))


def _file_records(paths: Iterable[str | Path]) -> Iterator[_Record]:
    from tulu_data import read

    for path in paths:
        for raw in read.read(path):
            if raw.problem is not None:
                raise InputError(raw.problem if raw.problem.startswith(raw.place) else f"{raw.place}: {raw.problem}")
            if not isinstance(raw.record, Mapping):
                raise InputError(f"{raw.place}: must be an object of columns, got {type(raw.record).__name__}")
            yield _Record(raw.place, None, raw.record)


def _hub_records(declared: Declared) -> Iterator[_Record]:
    from tulu_data.hub import hub, hub_files
    from tulu_data.read import decode

    if declared.data_files:
        yield from _file_records(hub_files(f"hub:{declared.hub}", declared.data_files))
        return
    name, at, revision = str(declared.hub).partition("@")
    split = declared.split or DEFAULT_SPLIT
    configs: list[str | None] = [*declared.configs] or [None]
    for config in configs:
        uri = f"hub:{name}/{config}{at}{revision}" if config else f"hub:{name}{at}{revision}"
        for chunk in hub(f"{uri}#{split}").chunks:
            for raw in decode(chunk):
                yield _Record(raw.place, config, raw.record)


def _instances(declared: Declared, records: Sequence[_Record]) -> list[Instance]:
    column = _id_column(declared, records)
    counts: Counter[str | None] = Counter()
    found = []
    for record in records:
        if column == POSITION:
            identity = f"{record.config or ''}{POSITION}{counts[record.config]}"
            counts[record.config] += 1
        else:
            identity = _identity(record, column)
        found.append(_instance(declared, record, identity))
    return found


def _id_column(declared: Declared, records: Sequence[_Record]) -> str:
    """The column of ids: the first of those named that the records have."""
    if declared.instance_id is None:
        return DEFAULT_ID if any(DEFAULT_ID in r.values for r in records) else POSITION
    names = declared.instance_id.split("|")
    return next((n for n in names if n == POSITION or any(n in r.values for r in records)), names[0])


def _identity(record: _Record, column: str) -> str:
    if column not in record.values:
        seen = ", ".join(map(str, record.values)) or "none"
        remedy = "name another with instance_id, or leave instance_id and the column id out: they are numbered then"
        raise InputError(f"{record.place}: has no field {column!r}; fields seen: {seen}; {remedy}")
    identity = record.values[column]
    if not isinstance(identity, str | int) or identity == "":
        raise InputError(f"{record.place}: {column} is {identity!r}; an instance id must be text or a whole number")
    return str(identity)


def _instance(declared: Declared, record: _Record, identity: str) -> Instance:
    texts = [(_called(name, record), _text_of(name, record)) for name in declared.fields]
    subset = _column(record, declared.subset) if declared.subset else None
    subset = record.config if subset is None else subset
    return Instance(
        identity,
        None if subset is None else str(subset),
        tuple(FieldText(name, text) for name, text in texts if text is not None),
        _text_of(declared.answer, record),
        _text_of(declared.passage, record),
    )


def _text_of(name: str | None, record: _Record) -> str | None:
    return _text(_column(record, name), f"{record.place}: {name}") if name else None


_MISSING = object()


def _column(record: _Record, name: str) -> Any:
    """A value of the record by the name of its column; see the module."""
    for one in name.split("|"):
        value = None if not one else _reach(record.values, one)
        if value is not _MISSING:
            return value
    seen = ", ".join(map(str, record.values)) or "none"
    raise InputError(f"{record.place}: has no field {name!r}; fields seen: {seen}")


def _called(name: str, record: _Record) -> str:
    """The name of a field, of several that are named the one that the record has."""
    return next((one for one in name.split("|") if one and _reach(record.values, one) is not _MISSING), name)


def _reach(values: Any, path: str) -> Any:
    if isinstance(values, Mapping) and path in values:
        return values[path]
    first, dot, rest = path.partition(".")
    if not dot:
        return _MISSING
    if isinstance(values, Mapping) and first in values:
        return _reach_into(values[first], rest)
    return _MISSING


def _reach_into(value: Any, path: str) -> Any:
    first, dot, rest = path.partition(".")
    if first.isdigit() and isinstance(value, list | tuple):
        if int(first) >= len(value):
            return _MISSING
        return _reach_into(value[int(first)], rest) if dot else value[int(first)]
    return _reach(value, path)


def _text(value: Any, place: str) -> str | None:
    """Text of a column: lists are joined by line breaks, numbers written out, null is None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "\n".join(t for t in (_text(v, place) for v in value) if t is not None)
    raise InputError(f"{place} must be text or a list of texts, got {type(value).__name__}")
