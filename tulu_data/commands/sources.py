"""`tulu sources`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from tulu_data.commands.options import example, json_option

if TYPE_CHECKING:
    from tulu_data.sources import NamedSource


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from tulu_data.sources import registry

    names = [*registry().collections, *registry().sources]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(epilog=example("tulu sources tulu3/numinamath_tir"))
@click.argument("names", nargs=-1, shell_complete=_complete)
@click.option("--collection", "collections", multiple=True, metavar="NAME", help="A collection, such as tulu3-sft.")
@json_option
def command(names: tuple[str, ...], collections: tuple[str, ...], as_json: bool) -> None:
    """List public datasets, those of NAMES and collections, or all; one alone in detail.

    A recipe takes one by name: `sources: {no_robots: {source: tulu3/no_robots}}`.
    """
    from tulu_data.errors import UsageError, nearest
    from tulu_data.sources import find_sources, registry
    from tulu_data.tables import print_json

    known = registry().collections
    for name in collections:
        if name not in known:
            raise UsageError(f"--collection {name}: no such collection; {nearest(name, known, noun='collection')}")
    found = find_sources([*names, *collections])
    if as_json:
        print_json([_as_dict(source) for source in found])
    elif len(found) == 1:
        _print_one(found[0])
    else:
        _print_table(found)
        if not names and not collections:
            listed = ", ".join(f"{name} ({len(members)})" for name, members in known.items())
            click.echo(f"Collections: {listed}")


def _as_dict(source: NamedSource) -> dict[str, Any]:
    declared = source.declared
    return {
        "name": source.name,
        **declared.model_dump(),
        "kind": declared.kind,
        "license": declared.license,
        "disagreement": declared.disagreement,
    }


def _print_table(found: list[NamedSource]) -> None:
    from tulu_data.tables import print_table

    rows = [
        (
            name,
            d.topic,
            d.kind,
            d.rows,
            next((n for key, n in d.paper.items() if key != "pool"), None),
            f"{d.license or 'unstated'}{' *' if d.disagreement else ''}",
            "yes" if d.decontaminated else "",
            d.hub,
        )
        for name, d in found
    ]
    header = ["source", "topic", "kind", "rows", "paper", "licence", "clean", "hub"]
    print_table(f"{len(found)} sources", header, rows)
    if any(d.disagreement for _, d in found):
        click.echo(
            "* copies do not state the same licence, and the strictest is shown: tulu sources NAME tells both.\n"
        )


def _print_one(source: NamedSource) -> None:
    name, declared = source
    click.secho(name, bold=True)
    pinned = declared.revision or "none is pinned: the newest is read, and the manifest says which that was"
    lines = [
        ("hub", declared.hub),
        ("revision", pinned),
        ("made of", declared.origin),
        ("topic", declared.topic),
        ("kind", f"{declared.kind}, by adapter {declared.adapter}"),
        ("rows", "not known" if declared.rows is None else f"{declared.rows:,}"),
        ("paper", ", ".join(f"{key} {count:,}" for key, count in declared.paper.items()) or None),
        ("cleaned", f"against {declared.decontaminated}" if declared.decontaminated else "not, as far as is known"),
        ("licence", declared.license or "not stated"),
        *(("", f"{stated}") for stated in declared.licenses),
        ("note", declared.note),
    ]
    for label, text in lines:
        if text is not None:
            click.echo(f"{label:9} {text}")
    click.echo(f"\nIn a recipe: sources: {{{name.split('/')[-1]}: {{source: {name}}}}}")
