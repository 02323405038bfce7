"""`tulu export`."""

from __future__ import annotations

from pathlib import Path

import click

from tulu_data.commands.options import complete_datasets, example, store_option


@click.command(epilog=example("tulu export quickstart --layout trl -o quickstart-trl.parquet"))
@click.argument("ref", metavar="VERSION", shell_complete=complete_datasets)
@click.option("--layout", required=True, help="trl or open-instruct.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .parquet or .jsonl file.",
)
@store_option
def command(ref: str, layout: str, output: Path, store_root: Path) -> None:
    """Write VERSION in the columns that TRL or open-instruct read."""
    from tulu_data.export import export
    from tulu_data.store import Store

    rows = export(Store(store_root).open(ref), layout, output)
    click.echo(f"{output}: {rows:,} rows")
