"""Public datasets by name: where the hub has them, under which licence, how they are read, and what is known of them.

The registry (`recipes/sources/registry.yaml`) holds every dataset of Tülu 3's mixtures and sets that people mix in.
In a recipe `{source: tulu3/no_robots}` stands for the keys of the entry; keys beside it go before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

import tulu_data
from tulu_data.adapters import ADAPTERS
from tulu_data.errors import RecipeError, UsageError, nearest
from tulu_data.licenses import Stated, disagreement, strictest
from tulu_data.rows import Kind
from tulu_data.strict import Strict, load_yaml, validate

REGISTRY = Path(tulu_data.__file__).parent.parent / "recipes" / "sources" / "registry.yaml"

Topic = Literal["General", "Knowledge", "Math", "Coding", "Safety", "Multilingual", "IF", "Mixture"]
Count = Literal["pool", "sft", "dpo", "pref-8b", "pref-70b", "rlvr"]  # of arXiv 2411.15124, Tables 7, 15, 22

_OF_THE_COPY = ("hub", "revision", "rows")  # what is said of the registry's copy, and of no other


class Declared(Strict):
    """One public dataset, under its name."""

    hub: str = Field(description="org/name[/config][#split] on the Hugging Face hub")
    revision: str | None = Field(default=None, description="the commit that is pinned; None: none is known")
    adapter: str
    topic: Topic
    licenses: list[Stated] = Field(min_length=1, description="what each copy that was read says")
    rows: int | None = Field(default=None, ge=1, description="of the hub's copy, where they are known")
    paper: dict[Count, int] = Field(default_factory=dict, description="counts in the paper's mixtures")
    decontaminated: str | None = Field(default=None, description="against what; None: not, as far as is known")
    origin: str | None = Field(default=None, description="the dataset that this one was made of")
    note: str | None = None

    @model_validator(mode="after")
    def _known_adapter(self) -> Declared:
        if self.adapter not in ADAPTERS:
            raise ValueError(f"adapter: no adapter {self.adapter!r}; {nearest(self.adapter, ADAPTERS, noun='adapter')}")
        return self

    @property
    def kind(self) -> Kind:
        """The kind of its rows."""
        return ADAPTERS[self.adapter].kind

    @property
    def license(self) -> str | None:
        """The strictest licence that a copy states; None where none states one."""
        return strictest(self.licenses)

    @property
    def disagreement(self) -> str | None:
        """What copies say, in one line, where they do not say the same."""
        return disagreement(self.licenses)

    def spec(self) -> dict[str, Any]:
        """The keys of a recipe's source that stand for this dataset."""
        keys = {
            "hub": self.hub,
            "revision": self.revision,
            "adapter": self.adapter,
            "license": self.license,
            "rows": self.rows,
            "topic": self.topic,
        }
        given: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
        if self.disagreement:
            given["stated"] = [s.model_dump(exclude_none=True) for s in self.licenses]
        return given


class SourcesFile(Strict):
    """The registry's file."""

    collections: dict[str, list[str]] = Field(default_factory=dict)
    sources: dict[str, Declared] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_members(self) -> SourcesFile:
        for name, members in self.collections.items():
            if name in self.sources:
                raise ValueError(f"collections.{name}: is the name of a source too; rename one")
            for member in members:
                if member not in self.sources:
                    known = nearest(member, self.sources, noun="source")
                    raise ValueError(f"collections.{name}: no source {member!r}; {known}")
        return self


class NamedSource(NamedTuple):
    """A dataset of the registry under its name."""

    name: str
    declared: Declared


@cache
def registry() -> SourcesFile:
    """The datasets and collections that ship with the package."""
    return load_sources(REGISTRY)


def load_sources(path: str | Path) -> SourcesFile:
    """A file of sources; `RecipeError` in one line."""
    return validate(SourcesFile, load_yaml(path), str(path))


def find_sources(names: Iterable[str] = ()) -> list[NamedSource]:
    """The datasets behind names of sources and collections, each once; all of them without a name.

    `UsageError` with the nearest names for an unknown one.
    """
    known = registry()
    found: dict[str, Declared] = {}
    for name in names or known.sources:
        for member in known.collections.get(name, [name]):
            if member not in known.sources:
                options = _options(name, [*known.sources, *known.collections])
                raise UsageError(f"{name}: no such source or collection; {options}")
            found[member] = known.sources[member]
    return [NamedSource(name, declared) for name, declared in found.items()]


def _options(name: str, known: Iterable[str]) -> str:
    """What may have been meant: a name that ends like it (`aya`), else the nearest; they are too many to list all."""
    names = sorted(known)
    close = [n for n in names if n.endswith(f"/{name}")] or get_close_matches(name, names)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}tulu sources lists them"


def completed(sources: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A recipe's sources, with what the registry says of those that are given by `source: NAME`.

    A place of the recipe's own takes away the revision and the count of the registry's copy; adapter, licence and topic
    stay.
    `RecipeError` at `place` for a name that the registry lacks.
    """
    return {name: _completed(name, given, place) for name, given in sources.items()}


def _completed(name: str, given: Any, place: str) -> Any:
    if not isinstance(given, Mapping) or "source" not in given:
        return given
    wanted, known, at = given["source"], registry(), f"{place}: sources.{name}.source"
    if not isinstance(wanted, str):
        raise RecipeError(f"{at}: must be the name of a source, got {wanted!r}; tulu sources lists them")
    if wanted in known.collections:
        raise RecipeError(f"{at}: {wanted!r} is a collection: name one of its members")
    if wanted not in known.sources:
        raise RecipeError(f"{at}: no source {wanted!r}; {_options(wanted, known.sources)}")
    base = known.sources[wanted].spec()
    own = {key: value for key, value in given.items() if key != "source"}
    if own.get("path") is not None or own.get("hub") is not None:
        base = {key: value for key, value in base.items() if key not in _OF_THE_COPY}
    if "license" in own:
        base.pop("stated", None)
    if "revision" in own:
        base.pop("rows", None)
    return base | own
