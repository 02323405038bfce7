"""`tulu licenses`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
    from tulu_data.tables import print_json, printable

    asked = _of(what, Store(store_root))
    found = uses(asked.sources)
    lines = verdict(found)
    if as_json:
        listed = [use.as_dict() for use in found]
        print_json({"of": asked.title, "licenses": listed, "use": lines, "differ": asked.differing, "made": asked.made})
        return
    _print(asked.title, found)
    if asked.made:
        lines.append(f"Still to be made, with the licences of what they are made from: {', '.join(asked.made)}.")
    for line in [*lines, *(f"{name}: {text}" for name, text in asked.differing.items())]:
        click.echo(printable(line))


class _Asked(NamedTuple):
    """What is reported on: rows by source and licence, where copies of a source disagree, what is still to be made."""

    title: str
    sources: dict[str, dict[str, int | None]]
    differing: dict[str, str]
    made: list[str]


def _of(what: str, store: Store) -> _Asked:
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
    return _Asked(version.ref, sources, _differing(stated, sources), [])


def _of_recipe(what: str) -> _Asked:
    from tulu_data import recipe as recipes
    from tulu_data.outline import outline
    from tulu_data.tally import UNSTATED

    recipe = recipes.load(what).recipe
    rows: dict[str, int | None] = {name: spec.rows for name, spec in recipe.sources.items()}
    source_of = {name: name for name in recipe.sources}
    if recipe.mix:
        source_of = recipe.part_sources
        has = {name: rows[source] for name, source in source_of.items()}
        planned = outline(recipe.mix, has, size=recipe.size, topics=recipe.topics, topic_of=recipe.part_topics)
        rows = {part.name: part.rows for part in planned.parts}
    sources: dict[str, dict[str, int | None]] = defaultdict(dict)
    for name, count in rows.items():
        source = source_of[name]
        license_ = recipe.sources[source].license or UNSTATED
        before = sources[source].get(license_, 0)
        sources[source][license_] = None if count is None or before is None else before + count
    stated = {name: [s.model_dump() for s in spec.stated] for name, spec in recipe.sources.items()}
    made = [name for name in sources if recipe.sources[name].made]
    return _Asked(f"{recipe.name}, as planned", dict(sources), _differing(stated, sources), made)


def _differing(stated: Mapping[str, list[Any]], sources: Mapping[str, Any]) -> dict[str, str]:
    from tulu_data.licenses import Stated, disagreement

    found = {name: disagreement([Stated.model_validate(s) for s in said]) for name, said in stated.items()}
    return {name: text for name, text in found.items() if text is not None and name in sources}


def _print(title: str, found: list[LicenseUse]) -> None:
    from tulu_data.tables import percent, print_table

    counts = [use.rows for use in found if use.rows is not None]
    total = sum(counts) if len(counts) == len(found) else None
    rows = [
        (
            use.license,
            use.rows,
            None if total is None else percent(use.rows or 0, total),
            ", ".join(use.demands) if use.known else "not known",
            ", ".join(use.sources),
            use.url,
        )
        for use in found
    ]
    print_table(f"Licences of {title}", ["licence", "rows", "share", "demands", "sources", "terms"], rows)
