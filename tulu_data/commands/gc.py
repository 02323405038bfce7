"""`tulu gc`."""

from __future__ import annotations

from pathlib import Path

import click

from tulu_data.commands.options import example, json_option, store_option


@click.command(epilog=example("tulu gc --unreferenced --dry-run"))
@click.option("--unreferenced", is_flag=True, help="Also versions that no name leads to.")
@click.option(
    "--audits", is_flag=True, help="Also audits that no kept version records; trained models may still name them."
)
@click.option("--dry-run", is_flag=True, help="Only list what would go.")
@store_option
@json_option
def command(unreferenced: bool, audits: bool, dry_run: bool, store_root: Path, as_json: bool) -> None:
    """Remove what killed builds left behind and, if asked, versions that no name stands for any more.

    Without --audits all audits are kept: a checkpoint leads to its audits by their names, for its clean scores.
    """
    from tulu_data.gc import collect
    from tulu_data.store import Store
    from tulu_data.tables import print_json, print_table

    found = collect(Store(store_root), unreferenced=unreferenced, audits=audits, dry_run=dry_run)
    if as_json:
        print_json([r._asdict() for r in found])
    elif found:
        title = "Would remove" if dry_run else "Removed"
        print_table(title, ["path", "why", "bytes"], [(str(r.path), r.reason, r.bytes) for r in found])
    else:
        click.echo(f"{store_root}: nothing to remove")
