"""Builds a version again from its recipe and inputs, elsewhere, and says what came out the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from tulu_data import recipe as recipes
from tulu_data.errors import StoreError
from tulu_data.manifest import Input, Manifest, Origin
from tulu_data.parquet import writer_fingerprint
from tulu_data.pipeline import SOURCES, Run, run
from tulu_data.progress import Progress
from tulu_data.store import Store, Version


class Reproduction(NamedTuple):
    """A rebuilt version against its manifest. `None` where a comparison does not apply."""

    version: Version
    same_inputs: bool
    same_rows: bool  # as a bag
    same_version: bool  # rows, order and shards
    same_bytes: bool | None  # None when the files were written by another version of the writer
    changed_inputs: list[str]

    @property
    def holds(self) -> bool:
        """Whether the version came out the same."""
        return self.same_version and self.same_bytes is not False


def reproduce(
    described: Manifest,
    store: Store,
    *,
    root: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Reproduction:
    """Runs the recorded recipe into `store`; `root` replaces the folder that the inputs were found in.

    Raises `StoreError` for a version that carries no recipe, and what the pipeline raises when inputs are gone.
    """
    origin = described.origin
    if origin is None:
        raise StoreError(f"{described.ref}: was not made by a recipe, so it cannot be made again; use a recipe")
    if model := _model_in(_sources_of(origin)):
        raise StoreError(
            f"{described.ref}: was made from the answers of {model}, which another run would pay for and not repeat; "
            "check it with tulu verify, or run its recipe in a store that has the run's journal"
        )
    base = root or Path(origin.root)
    loaded = recipes.from_data({**origin.recipe, "root": str(base.resolve())}, place=described.ref, base=base)
    made = _result(run(loaded, store, workers=workers, progress=progress, until=origin.step), origin.step)
    changed = _changed(described.inputs, made.manifest.inputs)
    same_writer = described.writer == writer_fingerprint()
    return Reproduction(
        version=made,
        same_inputs=not changed,
        same_rows=made.manifest.logical.set_id == described.logical.set_id,
        same_version=made.digest == described.digest,
        same_bytes=[s.sha256 for s in made.manifest.shards] == [s.sha256 for s in described.shards]
        if same_writer
        else None,
        changed_inputs=changed,
    )


def _sources_of(origin: Origin) -> Any:
    """The sources that a step needs, as the recipe has them; all of them where the step comes after the sources."""
    sources = origin.recipe.get("sources") or {}
    action, _, name = origin.step.partition(":")
    if action not in SOURCES:
        return sources
    source = sources.get(name) or {}
    return [source, sources.get((source.get("pairs") or {}).get("of"))]  # pairs are of a source that is no pairs


def _model_in(section: Any) -> str | None:
    """The first model that a part of a recipe names; None where none is asked."""
    if isinstance(section, Mapping):
        if isinstance(section.get("model"), str):
            return str(section["model"])
        section = list(section.values())
    return next(filter(None, map(_model_in, section)), None) if isinstance(section, list) else None


def _changed(then: Sequence[Input], now: Sequence[Input]) -> list[str]:
    """The inputs whose content differs, by the order in which the recipe reads them; added and lost ones too."""
    pairs = zip_longest(then, now)
    return [(a or b).uri for a, b in pairs if a is None or b is None or a.sha256 != b.sha256]


def _result(finished: Run, step: str) -> Version:
    action, _, name = step.partition(":")
    later = {"filter": finished.filtered, "dedup": finished.unique, "drop": finished.clean}
    found = {**later, "mix": {"": finished.mixture}, **dict.fromkeys(SOURCES, finished.sources)}
    version = found[action][name]
    assert version is not None
    return version
