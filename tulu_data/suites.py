"""Evaluation suites: declared in YAML, read into records that audits match and evaluations ask.

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
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from tulu_data.errors import InputError, RecipeError, nearest
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


class Record(NamedTuple):
    """An instance of a suite as its file has it, under the id and the subset that audits know it by."""

    id: str
    subset: str | None
    values: Mapping[str, Any]


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


def records(spec: SuiteSpec) -> list[Record]:
    """Every instance, in the file's order; `InputError` for a record without id or subset, a repeated id, or none."""
    try:
        found = [Record(one.id, subset_of(spec.declared, one), one.values) for one in identified(spec)]
    except InputError as e:
        raise InputError(f"suite {spec.id!r}: {e}") from None
    check_ids(spec.id, [r.id for r in found], spec.source)
    return found


def check_ids(suite: str, ids: Sequence[str], source: str) -> None:
    """`InputError` where there is no instance, or two share an id."""
    if not ids:
        raise InputError(f"suite {suite!r}: {source} holds no instance; check the path and the split")
    instance_id, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise InputError(f"suite {suite!r}: has {times} instances {instance_id!r}; name a unique instance_id")


class Identified(NamedTuple):
    """A record under the id of its instance. config: where the suite has several; place: for messages."""

    id: str
    place: str
    config: str | None
    values: Mapping[str, Any]


def identified(spec: SuiteSpec) -> Iterator[Identified]:
    """The records of a suite, each identified as it is reached; `InputError`, without the suite's name."""
    read = list(_placed(spec))
    id_column = _id_column(spec.declared, read)
    counts: Counter[str | None] = Counter()
    for record in read:
        if id_column == POSITION:
            identity = f"{record.config or ''}{POSITION}{counts[record.config]}"
            counts[record.config] += 1
        else:
            identity = _identity(record, id_column)
        yield Identified(identity, *record)


class _Placed(NamedTuple):
    place: str
    config: str | None  # where a suite has several
    values: Mapping[str, Any]


def _placed(spec: SuiteSpec) -> Iterator[_Placed]:
    if spec.declared.hub is not None:
        yield from _hub_records(spec.declared)
        return
    from tulu_data import read

    yield from _file_records(read.expand(spec.source))


def _file_records(paths: Iterable[str | Path]) -> Iterator[_Placed]:
    from tulu_data import read

    for path in paths:
        for raw in read.read(path):
            if raw.problem is not None:
                raise InputError(raw.problem if raw.problem.startswith(raw.place) else f"{raw.place}: {raw.problem}")
            if not isinstance(raw.record, Mapping):
                raise InputError(f"{raw.place}: must be an object of columns, got {type(raw.record).__name__}")
            yield _Placed(raw.place, None, raw.record)


def _hub_records(declared: Declared) -> Iterator[_Placed]:
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
                yield _Placed(raw.place, config, raw.record)


def _id_column(declared: Declared, records: Sequence[_Placed]) -> str:
    """The column of ids: the first of those named that the records have."""
    if declared.instance_id is None:
        return DEFAULT_ID if any(DEFAULT_ID in r.values for r in records) else POSITION
    names = declared.instance_id.split("|")
    return next((n for n in names if n == POSITION or any(n in r.values for r in records)), names[0])


def _identity(record: _Placed, id_column: str) -> str:
    if id_column not in record.values:
        seen = ", ".join(map(str, record.values)) or "none"
        remedy = "name another with instance_id, or leave instance_id and the column id out: they are numbered then"
        raise InputError(f"{record.place}: has no field {id_column!r}; fields seen: {seen}; {remedy}")
    identity = record.values[id_column]
    if not isinstance(identity, str | int) or identity == "":
        raise InputError(f"{record.place}: {id_column} is {identity!r}; an instance id must be text or a whole number")
    return str(identity)


def subset_of(declared: Declared, record: Identified) -> str | None:
    """The declared column, or else the config; `InputError` where the record has no such column."""
    subset = column(record.values, declared.subset, record.place) if declared.subset else None
    subset = record.config if subset is None else subset
    return None if subset is None else str(subset)


def column(values: Mapping[str, Any], name: str, place: str) -> Any:
    """A value of a record by the name of its column, see the module; `InputError` at `place` where there is none."""
    for one in name.split("|"):
        value = None if not one else _reach(values, one)
        if value is not _MISSING:
            return value
    seen = ", ".join(map(str, values)) or "none"
    raise InputError(f"{place}: has no field {name!r}; fields seen: {seen}")


def column_name(values: Mapping[str, Any], name: str) -> str:
    """What a column is called, of several names the one that the record has."""
    return next((one for one in name.split("|") if one and _reach(values, one) is not _MISSING), name)


_MISSING = object()


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
