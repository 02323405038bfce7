"""`tulu diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tulu_data.commands.options import complete_datasets, example, json_option, store_option

if TYPE_CHECKING:
    from tulu_data.diff import Diff

PARTS_SHOWN = 3  # of those in which a setting differs alike


@click.command(epilog=example("tulu diff grade_math grade_math-clean --page diff.html"))
@click.argument("a", shell_complete=complete_datasets)
@click.argument("b", shell_complete=complete_datasets)
@click.option("--examples", type=click.IntRange(min=0), default=3, show_default=True, help="Rows to show per side.")
@click.option(
    "--page",
    "page_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all of it as one HTML page.",
)
@click.option(
    "--page-rows",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    help="Rows in the page: only in A, only in B, and changed, as many of each.",
)
@store_option
@json_option
def command(
    a: str, b: str, examples: int, page_path: Path | None, page_rows: int, store_root: Path, as_json: bool
) -> None:
    """Compare versions A and B: the content of their rows, what they are made of, how they were made.

    A row has changed where its id is in both with other content; a common row has moved where it must be taken out and
    put elsewhere for the rest to be in one order.
    """
    from tulu_data.diff import diff
    from tulu_data.store import Store
    from tulu_data.tables import print_json

    store = Store(store_root)
    one, other = store.open(a), store.open(b)
    found = diff(one, other, examples=examples)
    if page_path is not None:
        from tulu_data import pages
        from tulu_data.diff_page import page

        pages.write(page_path, page(one, other, rows=page_rows), option="--page")
    if as_json:
        print_json(found.as_dict() | ({"page": str(page_path)} if page_path else {}))
        return
    _print(found)
    if page_path is not None:
        click.echo(page_path)


def _print(found: Diff) -> None:
    from tulu_data.diff import grouped
    from tulu_data.tables import print_table, printable

    click.echo(f"a  {printable(found.a)}\nb  {printable(found.b)}\n")
    order = "the same rows in the same order" if found.same_order else "different sequences of rows"
    if found.same_rows and not found.same_order:
        order = "the same rows in another order"
    print_table(
        "Rows",
        ["in both", "moved", "only in a", "only in b", "changed", "order"],
        [(found.common, found.moved, found.only_a, found.only_b, found.changed, order)],
    )
    if found.sources:
        print_table("Rows per source", ["source", "a", "b"], [(k, *v) for k, v in found.sources.items()])
    _print_composition(found)
    if found.recipe:
        print_table("Keys of the recipes", ["key", "a", "b"], [(k, *map(_value, v)) for k, v in found.recipe.items()])
    if found.settings:
        rows = [(s.key, _parts(s.parts), _value(s.a), _value(s.b)) for s in grouped(found.settings)]
        print_table("Settings and inputs", ["key", "of", "a", "b"], rows)
    for side, listed in (("a", found.examples_a), ("b", found.examples_b)):
        if listed:
            print_table(f"Only in {side}, first {len(listed)}", ["id", "text"], [(r["id"], r["text"]) for r in listed])


def _print_composition(found: Diff) -> None:
    from tulu_data.tables import percent, print_table

    total_a, total_b = (sum(getattr(c, side).rows for c in found.by_source) for side in ("a", "b"))
    for name, listed in (("topic", found.by_topic), ("licence", found.by_license)):
        if any(c.a.rows != c.b.rows for c in listed):
            rows = [
                (c.name or "none", c.a.rows, percent(c.a.rows, total_a), c.b.rows, percent(c.b.rows, total_b))
                for c in listed
            ]
            print_table(f"Rows per {name}", [name, "a", "share", "b", "share"], rows)


def _parts(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= PARTS_SHOWN else f"{len(names)} parts"


def _value(value: object) -> str:
    return "" if value is None else str(value)
