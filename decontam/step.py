"""The `decontaminate` section of a recipe: which suites, which settings, and the steps that the pipeline runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from decontam import dropping
from decontam.auditing import audit as run_audit
from decontam.result import ENGINE, Audit
from decontam.suites import Suite, SuiteSpec, load_suites, read_suites
from decontam.verdicts import Settings
from tulu_data.errors import RecipeError, nearest
from tulu_data.manifest import Origin
from tulu_data.progress import Progress
from tulu_data.recipe import BUNDLED
from tulu_data.store import Store, Version
from tulu_data.strict import validate as validate_strict

VERSION = 1  # raise when a step gives other rows or tables for the same input


class Section(Settings):
    """The settings of an audit, and the suites it is made against."""

    suites: list[str] = Field(min_length=1, description="suites files, or names of bundled ones; FILE#ID takes one")
    suites_root: str | None = Field(default=None, description="where the suites' paths start, instead of their files")


class Prepared(NamedTuple):
    """A section whose suites have been read: a fault in them shows before any training row is."""

    settings: Settings
    suites: list[Suite]


def validate(data: Mapping[str, Any], place: str, root: Path, *, under: str = "decontaminate") -> Prepared:
    """The section of a recipe, its suites read; relative paths start at `root`.

    `RecipeError` at `place`, whose keys stand below the key `under`.
    """
    section = validate_strict(Section, data, place, under=under)
    settings = Settings(**section.model_dump(exclude={"suites", "suites_root"}))
    base = None if section.suites_root is None else root / Path(section.suites_root).expanduser()
    at = f"{place}: {under}.suites" if under else f"{place}: suites"
    specs = [spec for name in section.suites for spec in find_suites(name, root, base, at)]
    return Prepared(settings, read_suites(specs))


def find_suites(name: str, root: Path, base: Path | None, place: str) -> list[SuiteSpec]:
    """The suites behind a file, a bundled name, or either with `#id`."""
    source, _, wanted = name.partition("#")
    known = bundled_suites()
    path = root / Path(source).expanduser()
    if not path.is_file():
        if source not in known:
            raise RecipeError(f"{place}: no suites file {source!r}; {nearest(source, known, noun='bundled one')}")
        path = known[source]
    specs = load_suites(path, root=base)
    if not wanted:
        return specs
    chosen = [spec for spec in specs if spec.id == wanted]
    if not chosen:
        ids = nearest(wanted, [spec.id for spec in specs], noun="suite")
        raise RecipeError(f"{place}: {source} has no suite {wanted!r}; {ids}")
    return chosen


def bundled_suites() -> dict[str, Path]:
    """The suites files that ship with the package, by name."""
    return {p.stem: p for p in BUNDLED.glob("suites/*.yaml")} | {
        p.parent.name: p for p in BUNDLED.glob("*/suites.yaml")
    }


def fingerprint(prepared: Prepared) -> dict[str, Any]:
    """Plain data that changes with the settings and with the content of any suite."""
    return {
        "engine": ENGINE,
        "settings": prepared.settings.model_dump(mode="json"),
        "suites": [[suite.id, suite.group, suite.digest] for suite in prepared.suites],
    }


def audit(prepared: Prepared, versions: Sequence[Version], store: Store, *, workers: int, progress: Progress) -> Path:
    """Audits the versions together and saves the result under `audits/` of the store; its folder."""
    found = run_audit(versions, prepared.suites, prepared.settings, workers=workers, progress=progress)
    folder = store.root / "audits" / found.id
    if not folder.is_dir():
        with store.writing():
            folder.parent.mkdir(parents=True, exist_ok=True)
            found.save(folder)
    return folder


def drop(
    audit_folder: Path,
    version: Version,
    store: Store,
    name: str,
    *,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes under `name` the rows of a version that a saved audit's policy keeps."""
    return dropping.drop(Audit.load(audit_folder), version, store, name, progress=progress, origin=origin)


def flagged(audit_folder: Path) -> int:
    """How many pairs of set and suite overlap."""
    evals = Audit.load(audit_folder).evals
    return sum(1 for n in evals["flagged"].to_pylist() if n)


def copy_audit(audit_folder: Path, target: Path) -> None:
    """Saves a stored audit to a folder of the user's as well; `InputError` where something else is there."""
    Audit.load(audit_folder).save(target)
