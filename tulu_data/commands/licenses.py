"""`tulu licenses`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import complete_datasets, example, json_option, store_option

if TYPE_CHECKING:
    from tulu_data.licenses import LicenseUse
    from tulu_data.store import Store


@click.command(epilog=example("tulu licenses quickstart"))
@click.argument("what", shell_complete=complete_datasets)
@store_option
@json_option
def command(what: str, store_root: Path, as_json: bool) -> None:
    """Report what WHAT may be used for, by the licences of its rows: a version, or a recipe before it has run.

    Of a recipe the counts are those of its plan, and the licences those that its sources state. Not legal advice.
    """
    from tulu_data.licenses import uses, verdict
    from tulu_data.store import Store
    from tulu_data.tables import print_json

    title, sources, differing = _of(what, Store(store_root))
    found = uses(sources)
    if as_json:
        print_json({"of": title, "licenses": [u.as_dict() for u in found], "use": verdict(found), "differ": differing})
        return
    _print(title, found)
    for line in [*verdict(found), *(f"{name}: {text}" for name, text in differing.items())]:
        click.echo(line)


def _of(what: str, store: Store) -> tuple[str, dict[str, dict[str, int | None]], dict[str, str]]:
    """A title, rows by source and licence, and where copies of a source disagree."""
    from tulu_data.errors import StoreError
    from tulu_data.recipe import bundled

    is_recipe = Path(what).suffix in (".yaml", ".yml") or (what in bundled() and store.latest(what) is None)
    if is_recipe:
        return _of_recipe(what)
    try:
        version = store.open(what)
    except StoreError as e:
        raise StoreError(f"{e}, or name a recipe") from None
    logical = version.manifest.logical
    origin = version.manifest.origin
    stated = {} if origin is None else {n: s.get("stated", []) for n, s in origin.recipe.get("sources", {}).items()}
    sources: dict[str, dict[str, int | None]] = {n: {**s.licenses} for n, s in logical.sources.items()}
    return version.ref, sources, _differing(stated, sources)


def _of_recipe(what: str) -> tuple[str, dict[str, dict[str, int | None]], dict[str, str]]:
    from tulu_data import recipe as recipes
    from tulu_data.outline import outline
    from tulu_data.tally import UNSTATED

    recipe = recipes.load(what).recipe
    rows: dict[str, int | None] = {name: spec.rows for name, spec in recipe.sources.items()}
    if recipe.mix:
        rows = {part.name: part.rows for part in outline(recipe.mix, rows, size=recipe.size).parts}
    sources: dict[str, dict[str, int | None]] = defaultdict(dict)
    for name, count in rows.items():
        sources[name][recipe.sources[name].license or UNSTATED] = count
    stated = {name: [s.model_dump() for s in spec.stated] for name, spec in recipe.sources.items()}
    return f"{recipe.name}, as planned", dict(sources), _differing(stated, sources)


def _differing(stated: Mapping[str, list[Any]], sources: Mapping[str, Any]) -> dict[str, str]:
    from tulu_data.licenses import Stated, disagreement

    found = {name: disagreement([Stated.model_validate(s) for s in said]) for name, said in stated.items()}
    return {name: text for name, text in found.items() if text is not None and name in sources}


def _print(title: str, found: list[LicenseUse]) -> None:
    from tulu_data.tables import percent, print_table, printable

    total = sum(use.rows or 0 for use in found)
    rows = [
        (
            use.license,
            use.rows,
            percent(use.rows or 0, total),
            ", ".join(use.demands) if use.known else "not known",
            ", ".join(use.sources),
            use.url,
        )
        for use in found
    ]
    print_table(printable(f"Licences of {title}"), ["licence", "rows", "share", "demands", "sources", "terms"], rows)
