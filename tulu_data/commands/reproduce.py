"""`tulu reproduce`."""

from __future__ import annotations

from pathlib import Path

import click

from tulu_data.commands.options import (
    complete_datasets,
    example,
    json_option,
    quiet_option,
    store_option,
    workers_option,
)

FAILED = 3


@click.command(epilog=example("tulu reproduce quickstart -o elsewhere"))
@click.argument("ref", metavar="VERSION|MANIFEST", shell_complete=complete_datasets)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Store to build in; not the one that holds the version.",
)
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Where the inputs lie now.")
@store_option
@workers_option
@quiet_option
@json_option
def command(
    ref: str, output: Path, root: Path | None, store_root: Path, workers: int | None, quiet: bool, as_json: bool
) -> None:
    """Build a version again in another store, from its recipe and inputs, and compare; exit 3 if it differs."""
    from tulu_data import manifest
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.reproduce import reproduce
    from tulu_data.store import Store
    from tulu_data.tables import print_json

    if output.resolve() == store_root.resolve():
        raise click.UsageError(f"{output}: holds the version already; give another folder with -o")
    described = manifest.load(Path(ref)) if ref.endswith(".json") else Store(store_root).open(ref).manifest
    made = reproduce(
        described, Store(output), root=root, workers=workers or default_workers(), progress=for_stderr(quiet=quiet)
    )
    report: dict[str, str | bool | None] = {
        "version": described.ref,
        "made": made.version.ref,
        "same inputs": made.same_inputs,
        "same rows": made.same_rows,
        "same version": made.same_version,
        "same bytes": made.same_bytes,
    }
    if as_json:
        print_json(report | {"changed_inputs": made.changed_inputs})
    else:
        words = {True: "yes", False: "NO", None: "not compared (another writer version)"}
        for key, value in report.items():
            click.echo(f"{key:13} {value if isinstance(value, str) else words[value]}")
        for uri in made.changed_inputs:
            click.echo(f"changed input {uri}")
    if not made.holds:
        click.get_current_context().exit(FAILED)
