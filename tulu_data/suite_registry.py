"""Suites by name: those that ship with the package, their collections, and files of the user's.

| a name like | is |
|---|---|
| `gsm8k`, `tulu3` | a suite or a collection of the registry (`recipes/suites/registry.yaml`) |
| `my-suites.yaml` | every suite of a file; `my-suites.yaml#gsm8k` one suite or collection of it |
| `quickstart`, `public` | a file that ships with the package, likewise |
| `gsm8k=evals/gsm.parquet` | a suite of the registry, read from a file instead of the hub |

A folder of local copies (`suites_root`) goes before the hub: it holds `gsm8k.jsonl`, `gsm8k.parquet` or a folder
`gsm8k`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from tulu_data.errors import RecipeError, nearest
from tulu_data.recipe import BUNDLED
from tulu_data.suites import SuiteSpec, SuitesTable, in_file, load_table

REGISTRY = BUNDLED / "suites" / "registry.yaml"


@cache
def registry() -> SuitesTable:
    """The suites and collections that ship with the package."""
    return load_table(REGISTRY)


def bundled_suites() -> dict[str, Path]:
    """The suites files that ship with the package, by name."""
    files = {p.stem: p for p in BUNDLED.glob("suites/*.yaml") if p != REGISTRY}
    return files | {p.parent.name: p for p in BUNDLED.glob("*/suites.yaml")}


def find_suites(names: Iterable[str], root: Path, base: Path | None, place: str) -> list[SuiteSpec]:
    """The suites behind names, each once; `RecipeError` at `place`.

    Files are relative to `root`; `base` is a folder of local copies, and where the paths of suites files start.
    """
    specs = [spec for name in names for spec in _behind(name, root, base, place)]
    found: dict[str, SuiteSpec] = {}
    for spec in specs:
        if found.setdefault(spec.id, spec) != spec:
            both = f"{found[spec.id].source}, {spec.source}"
            raise RecipeError(f"{place}: suite {spec.id!r} is declared twice: {both}; rename one, or leave it out")
    return list(found.values())


def _behind(name: str, root: Path, base: Path | None, place: str) -> list[SuiteSpec]:
    suite, equals, path = name.partition("=")
    if equals and suite in registry().file.suites:
        return [in_file(spec, root / Path(path).expanduser()) for spec in registry().specs(suite)]
    source, _, wanted = name.partition("#")
    files = bundled_suites()
    own = root / Path(source).expanduser()
    if own.is_file() or source in files:
        table = load_table(own if own.is_file() else files[source], root=base, known=registry().file.suites)
        return _of_file(table, wanted or None, place, source)
    known = [*registry().file.suites, *registry().file.collections]
    if name in known:
        return [_local(spec, base) for spec in registry().specs(name)]
    problem = f"no suites file, suite or collection {source!r}"
    raise RecipeError(f"{place}: {problem}; {nearest(source, [*known, *files], noun='one')} (tulu suites lists them)")


def _of_file(table: SuitesTable, wanted: str | None, place: str, source: str) -> list[SuiteSpec]:
    known = [*table.file.suites, *table.file.collections]
    if wanted is not None and wanted not in known:
        raise RecipeError(f"{place}: {source} has no suite {wanted!r}; {nearest(wanted, known, noun='suite')}")
    return table.specs(wanted)


def _local(spec: SuiteSpec, base: Path | None) -> SuiteSpec:
    """The suite in the folder of local copies, where that has it."""
    if base is None:
        return spec
    copies = local_copies(spec.id, base)
    return in_file(spec, copies[0]) if copies else spec._replace(source=_pathless(spec, base))


def _pathless(spec: SuiteSpec, base: Path) -> str:
    return spec.source if spec.declared.hub is not None else str(base / str(spec.declared.path))


def local_copies(suite: str, base: Path) -> Sequence[Path]:
    """Where a folder of local copies has a suite: a file of any format that can be read, or a folder, of its name."""
    from tulu_data.read import holds_records

    names = [p for p in sorted(base.glob(f"{suite}.*")) if p.name.partition(".")[0] == suite and holds_records(p.name)]
    return [*names, *([base / suite] if (base / suite).is_dir() else [])]
