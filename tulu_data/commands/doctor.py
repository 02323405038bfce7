"""`tulu doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from tulu_data.commands.options import example, json_option, store_option


@click.command(epilog=example("tulu doctor"))
@store_option
@json_option
def command(store_root: Path, as_json: bool) -> None:
    """Check this installation and the store; exit 1 when something is broken."""
    from tulu_data.doctor import examine
    from tulu_data.tables import print_json, print_table

    found = examine(store_root)
    if as_json:
        print_json([f._asdict() for f in found])
    else:
        print_table("tulu doctor", ["", "what", "finding"], found)
    if any(f.level == "problem" for f in found):
        click.get_current_context().exit(1)
