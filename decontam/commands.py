"""`tulu audit` and `tulu drop`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tulu_data.commands.options import (
    complete_datasets,
    example,
    json_option,
    quiet_option,
    store_option,
    workers_option,
)

if TYPE_CHECKING:
    from tulu_data.progress import Progress
    from tulu_data.store import Store, Version


@click.command(epilog=example("tulu audit grade_math data.jsonl --suites quickstart"))
@click.argument("train", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option(
    "--suites",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Suites file, or a bundled name; FILE#ID takes one suite.",
)
@click.option("--suites-root", help="Where the suites' relative paths start [default: their file].")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the tables [default: in the store].",
)
@click.option("--analyzer", default="unicode", show_default=True, help="unicode, tulu or word.")
@click.option("-n", "ngram", type=int, default=8, show_default=True, help="Tokens of an n-gram.")
@click.option(
    "--threshold", type=float, default=0.5, show_default=True, help="Overlap above this share of an instance's tokens."
)
@click.option(
    "--set-threshold",
    type=float,
    default=0.02,
    show_default=True,
    help="A set is contaminated above this share of a suite's instances.",
)
@click.option(
    "--exact-min-tokens",
    type=int,
    default=5,
    show_default=True,
    help="Instances of fewer tokens match whole messages only.",
)
@click.option("--layers", default="exact,tulu3", show_default=True, help="Layers that count.")
@click.option("--roles", default="user", show_default=True, help="Turns to match: user, assistant or all.")
@click.option("--policy", default="rows", show_default=True, help="What drop will do: rows, tulu3 or none.")
@click.option("--gate", is_flag=True, help="Exit 3 when anything overlaps.")
@store_option
@workers_option
@quiet_option
@json_option
def audit_command(
    train: tuple[str, ...],
    suites: tuple[str, ...],
    suites_root: str | None,
    output: Path | None,
    analyzer: str,
    ngram: int,
    threshold: float,
    set_threshold: float,
    exact_min_tokens: int,
    layers: str,
    roles: str,
    policy: str,
    gate: bool,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find which rows of TRAIN overlap which evaluation instances.

    TRAIN are dataset names, versions, or raw files and hub:org/name, which are read into the store first;
    NAME=PATH names one.
    """
    from decontam import step
    from tulu_data.commands.show import print_audit
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store

    section = {
        "suites": list(suites),
        "suites_root": suites_root,
        "analyzer": analyzer,
        "n": ngram,
        "threshold": threshold,
        "set_threshold": set_threshold,
        "exact_min_tokens": exact_min_tokens,
        "layers": layers.split(","),
        "roles": roles,
        "policy": policy,
    }
    prepared = step.validate(section, "tulu audit", Path.cwd(), under="")
    store, progress = Store(store_root), for_stderr(quiet=quiet)
    count = workers or default_workers()
    versions = _open_all(store, train, count, progress)
    folder = step.audit(prepared, versions, store, workers=count, progress=progress)
    if output is not None:
        step.copy_audit(folder, output)
    print_audit(output or folder, as_json=as_json)
    if gate:
        step.check_gate(output or folder)


@click.command(epilog=example("tulu drop grade_math --audit audit -o grade_math-checked"))
@click.argument("what", metavar="VERSION", shell_complete=complete_datasets)
@click.option(
    "--audit", "audit_folder", required=True, type=click.Path(path_type=Path), help="An audit's folder or id."
)
@click.option("-o", "--name", help="Name of the cleaned dataset [default: NAME-clean].")
@store_option
@quiet_option
@json_option
def drop_command(what: str, audit_folder: Path, name: str | None, store_root: Path, quiet: bool, as_json: bool) -> None:
    """Publish VERSION without the rows that the audit's policy drops, with the decontamination record."""
    from decontam import step
    from tulu_data.commands.show import print_version
    from tulu_data.progress import for_stderr
    from tulu_data.recipe import CLEAN
    from tulu_data.store import Store

    store = Store(store_root)
    version = store.open(what)
    folder = audit_folder if audit_folder.is_dir() else store.root / "audits" / audit_folder
    made = step.drop(
        folder,
        version,
        store,
        name or f"{version.name}{CLEAN}",
        progress=for_stderr(quiet=quiet),
    )
    print_version(made, as_json=as_json)


def _open_all(store: Store, train: Sequence[str], workers: int, progress: Progress) -> list[Version]:
    from tulu_data.errors import UsageError

    given: dict[str, str] = {}
    versions = []
    for what in train:
        version = _open_or_ingest(store, what, workers, progress)
        if version.name in given:
            both = f"{given[version.name]}, {what}"
            raise UsageError(f"{both}: both are the training set {version.name!r}; name a raw one apart: NAME=PATH")
        given[version.name] = what
        versions.append(version)
    return versions


def _open_or_ingest(store: Store, what: str, workers: int, progress: Progress) -> Version:
    """A version of the store, or one made of raw files; a name in the store goes before a file."""
    from tulu_data.commands.ingest import ingest_raw

    name, equals, place = what.partition("=")
    if equals and "/" not in name and not Path(what).exists():
        return ingest_raw(store, (place,), name=name, workers=workers, progress=progress)
    raw = what.startswith("hub:") or Path(what).exists() or any(c in what for c in "*?[")
    known = store.latest(what) is not None or "@tv1-" in what or (Path(what) / "manifest.json").is_file()
    if raw and not known:
        return ingest_raw(store, (what,), workers=workers, progress=progress)
    return store.open(what)
