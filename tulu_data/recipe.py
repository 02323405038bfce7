"""A recipe: inert YAML → strict frozen models. Hashed, never executed; an unknown key names the nearest one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

import tulu_data
from tulu_data.errors import RecipeError, UsageError, nearest
from tulu_data.licenses import LicensePolicy, Stated
from tulu_data.mixture import Expect, Size, check_size
from tulu_data.read import Format
from tulu_data.rows import Kind
from tulu_data.shares import Emphasis, check_topics
from tulu_data.sources import completed
from tulu_data.store import check_name
from tulu_data.strict import Strict, load_yaml, validate
from tulu_data.take import Take

FILTERED, UNIQUE, CLEAN = "-filtered", "-unique", "-clean"  # what the names of a source's later versions end with
BUNDLED = Path(tulu_data.__file__).parent.parent / "recipes"  # beside the package, in a checkout and in a wheel


MADE = ("synth", "pairs")  # sources that are made, not read
PLACES = ("path", "hub", *MADE)
ABOUT = ("path", "hub", "revision", "sha256", "rows", "stated", "topic")  # keys that do not say how rows are read


class SourceSpec(Strict):
    """A raw dataset: where it is and, where looking at it is not enough, how to read it; or how it is made.

    In a recipe `source: NAME` stands for what the registry knows of a public dataset (`tulu sources`); keys beside it
    go before the registry's.
    """

    path: str | list[str] | None = Field(default=None, description="files, folders or globs, relative to root")
    hub: str | None = Field(default=None, description="org/name[/config][@revision][#split] on the Hugging Face hub")
    synth: dict[str, Any] | None = Field(default=None, description="rows to be made; read by the personas package")
    pairs: dict[str, Any] | None = Field(default=None, description="pairs to be made of a source; likewise")
    revision: str | None = Field(default=None, description="with hub: the commit that must be read")
    sha256: str | list[str] | None = Field(default=None, description="with path: of the file, or of each in order")
    rows: int | None = Field(default=None, ge=0, description="how many rows there should be; plans count with it")
    topic: str | None = Field(default=None, description="what the rows teach, by which a mixture may be weighed")
    stated: list[Stated] = Field(default_factory=list, description="what copies say of the licence, where they differ")
    kind: Kind | None = None
    adapter: str | None = None
    license: str | None = None
    format: Format | None = None
    header: bool | None = None
    columns: list[str] | None = None

    @property
    def made(self) -> str | None:
        """The key that says how the rows are made; None where they are read."""
        return next((place for place in MADE if getattr(self, place) is not None), None)

    @model_validator(mode="after")
    def _one_place(self) -> SourceSpec:
        if sum(getattr(self, place) is not None for place in PLACES) != 1:
            raise ValueError(f"takes exactly one of {', '.join(PLACES)}")
        about = {*PLACES, "rows", "topic"}
        read = [k for k in self.model_fields_set if k not in about and getattr(self, k) not in (None, [])]
        if self.made and read:
            raise ValueError(f"{read[0]}: says how a file is read, and this source is made")
        if self.revision is not None and self.hub is None:
            raise ValueError("revision: goes with hub; for files, sha256 pins what they hold")
        if self.sha256 is not None and self.path is None:
            raise ValueError("sha256: goes with path; a hub dataset is pinned by its revision")
        return self


class Recipe(Strict):
    """One pipeline: sources (read or made) → filter → duplicates → audit → drop → mix."""

    name: str
    description: str = ""
    seed: int = 0
    root: str = Field(default=".", description="where relative paths start; itself relative to the recipe's file")
    tokenizer: str | None = None
    sources: dict[str, SourceSpec] = Field(min_length=1)
    licenses: LicensePolicy = LicensePolicy()
    filter: dict[str, Any] | None = Field(default=None, description="quality filters; read by tulu_data.filters")
    dedup: dict[str, Any] | None = Field(default=None, description="duplicates; read by tulu_data.dedup")
    decontaminate: dict[str, Any] | None = None  # read by the decontam package
    mix: dict[str, Take] | None = None
    topics: dict[str, Emphasis] = Field(
        default_factory=dict, description="shares of the mixture, by topic of its sources"
    )
    size: Size | None = None
    expect: Expect | None = None

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        for name in (self.name, *self.sources):
            try:
                check_name(name)
            except UsageError as e:
                raise ValueError(str(e)) from None
        endings = {FILTERED: self.filter, UNIQUE: self.dedup, CLEAN: self.decontaminate}
        results = [
            f"{name}{ending}" for ending, section in endings.items() if section is not None for name in self.sources
        ]
        made = [self.name, *self.sources, *results]
        for name, times in Counter(made).items():
            if times > 1:
                raise ValueError(f"two results would be called {name!r}; rename the recipe or a source")
        said = next((key for key in ("size", "topics", "expect") if getattr(self, key)), None)
        if self.mix is None and said:
            raise ValueError(f"{said}: says something of a mixture, and there is no mix")
        if self.mix is not None and not self.mix:
            raise ValueError("mix: names no source; name at least one, or leave 'mix' out")
        mix = self.mix or {}
        for name in self.expect.parts if self.expect else ():
            if name not in mix:
                raise ValueError(f"expect.parts.{name}: no such part; {nearest(name, mix, noun='part')}")
        for name, take in mix.items():
            source, place = take.of or name, f"mix.{name}.of" if take.of else f"mix.{name}"
            if source not in self.sources:
                raise ValueError(f"{place}: no such source; {nearest(source, self.sources, noun='source')}")
            if take.of and name in self.sources and name != take.of:
                raise ValueError(f"mix.{name}.of: {name!r} is itself a source; give the part a name of its own")
        return self

    @model_validator(mode="after")
    def _mixture(self) -> Recipe:
        """What no count of rows can mend fails here, not after the steps before the mix."""
        mix = self.mix or {}
        try:
            check_size(mix, self.size, self.topics)
            check_topics(self.topics, self.part_topics.values())
        except RecipeError as e:
            raise ValueError(str(e)) from None
        return self

    @property
    def part_sources(self) -> dict[str, str]:
        """The source of each part of the mixture."""
        return {name: take.of or name for name, take in (self.mix or {}).items()}

    @property
    def part_topics(self) -> dict[str, str | None]:
        """The topic of each part of the mixture: its own, or its source's."""
        mix, sources = self.mix or {}, self.part_sources
        return {name: take.topic or self.sources[sources[name]].topic for name, take in mix.items()}


@dataclass(frozen=True)
class Loaded:
    """A recipe and where it came from. `root` is absolute."""

    recipe: Recipe
    place: str
    root: Path

    def resolve(self, path: str) -> Path:
        """A path of the recipe, from the recipe's root."""
        return self.root / path


def load(spec: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """The recipe in a file, or the bundled one of that name; `overrides` are `a.b=value` with YAML values.

    A `root` that is overridden starts at the current folder; the recipe's own starts at its file.
    """
    data, base = read(spec, overrides)
    return from_data(data, place=str(spec), base=base)


def read(spec: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Path]:
    """The plain form of a recipe, as its file and the overrides have it, and the folder where its root starts."""
    path = find(spec)
    data = load_yaml(path)
    for override in overrides:
        set_key(data, override)
    return data, Path.cwd() if any(o.startswith("root=") for o in overrides) else path.parent


def from_data(data: Mapping[str, Any], *, place: str, base: Path) -> Loaded:
    """A recipe from its plain form; `base` is where a relative `root` starts.

    Sources by name are looked up here, once: the recipe that a version records holds what they stood for.
    """
    if isinstance(data.get("sources"), Mapping):
        data = {**data, "sources": completed(data["sources"], place)}
    recipe = validate(Recipe, data, place)
    return Loaded(recipe, place, (base / Path(recipe.root).expanduser()).resolve())


def find(spec: str | Path) -> Path:
    """A recipe's file: as given, or among the bundled ones."""
    path = Path(spec)
    if path.is_file():
        return path
    names = bundled()
    if str(spec) in names:
        return names[str(spec)]
    if path.suffix in (".yaml", ".yml") or path.is_dir():
        raise RecipeError(f"{spec}: no such recipe file")
    raise RecipeError(f"{spec}: no such recipe; {nearest(str(spec), names, noun='bundled recipe')}")


def bundled() -> dict[str, Path]:
    """The recipes that ship with the package, by name."""
    flat = {p.stem: p for p in BUNDLED.glob("*.yaml")}
    return flat | {p.parent.name: p for p in BUNDLED.glob("*/recipe.yaml")}


def set_key(data: dict[str, Any], override: str) -> None:
    """Applies `a.b.c=value` to nested mappings, in place; the value is read as YAML."""
    path, eq, text = override.partition("=")
    if not eq or not path:
        raise UsageError(f"--set {override}: write it as key.key=value")
    *parents, last = path.split(".")
    node: Any = data
    for key in parents:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise UsageError(f"--set {override}: {key!r} is {node!r}, which has no keys")
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {override}: {text!r} is not a YAML value; quote it") from None
