"""`tulu diff`."""

from __future__ import annotations

from pathlib import Path

import click

from tulu_data.commands.options import complete_datasets, example, json_option, store_option


@click.command(epilog=example("tulu diff grade_math grade_math-clean"))
@click.argument("a", shell_complete=complete_datasets)
@click.argument("b", shell_complete=complete_datasets)
@click.option("--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Rows to show per side.")
@store_option
@json_option
def command(a: str, b: str, examples: int, store_root: Path, as_json: bool) -> None:
    """Compare versions A and B by the content of their rows."""
    from tulu_data.diff import diff
    from tulu_data.store import Store
    from tulu_data.tables import print_json, print_table

    store = Store(store_root)
    found = diff(store.open(a), store.open(b), examples=examples)
    if as_json:
        print_json(found._asdict())
        return
    click.echo(f"a  {found.a}\nb  {found.b}\n")
    order = "the same rows in the same order" if found.same_order else "different sequences of rows"
    print_table(
        "Rows", ["in both", "only in a", "only in b", "order"], [(found.common, found.only_a, found.only_b, order)]
    )
    if found.sources:
        print_table("Rows per source", ["source", "a", "b"], [(k, *v) for k, v in found.sources.items()])
    if found.settings:
        print_table("Settings and inputs", ["key", "a", "b"], [(k, *map(str, v)) for k, v in found.settings.items()])
    for side, rows in (("a", found.examples_a), ("b", found.examples_b)):
        if rows:
            print_table(f"Only in {side}, first {len(rows)}", ["id", "text"], [(r["id"], r["text"]) for r in rows])
