"""`tulu filter`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from tulu_data.filters.explaining import Explanation, Said
    from tulu_data.filters.filtering import Outcome
    from tulu_data.filters.registry import Filters
    from tulu_data.store import Version

AROUND = 300  # characters of a long turn that are shown before and after what was found


@click.command(epilog=example("tulu filter general_chat --set length.max_chars=20000 --set pii=true --dry-run"))
@click.argument("dataset", metavar="VERSION", shell_complete=complete_datasets)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with the settings, or a recipe with a `filter` section.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, e.g. language.keep=[en], pii=true, refusals=false. Over those of --config.",
)
@click.option("--name", help="Name of the result [default: the dataset's, with -filtered].")
@click.option("--dry-run", is_flag=True, help="Print what would be dropped by which filter, and publish nothing.")
@click.option("--explain", metavar="ROW_ID", help="Print what every filter says of one row, and where.")
@store_option
@workers_option
@quiet_option
@json_option
def command(
    dataset: str,
    config: Path | None,
    overrides: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    explain: str | None,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Publish VERSION without the rows that quality filters drop, each with its reason.

    On unless turned off: roles, templates, refusals (of harmless requests), self_identification, cut_off, repetition.
    Off unless turned on: length, language, vendors, pii, and filters of other packages.
    """
    from tulu_data.errors import UsageError
    from tulu_data.executor import default_workers
    from tulu_data.filters import explaining, filtering
    from tulu_data.progress import for_stderr
    from tulu_data.recipe import FILTERED
    from tulu_data.store import Store
    from tulu_data.tables import print_json

    store = Store(store_root)
    settings = _settings(config, overrides)
    version = store.open(dataset)
    progress = for_stderr(quiet=quiet)
    for warning in _unknown_sources(settings, version):
        progress.note(warning)
    if explain is not None:
        if dry_run or name is not None:
            raise UsageError("--explain: looks at one row and publishes nothing; leave out --dry-run and --name")
        found = explaining.explain(version, explain, settings)
        if as_json:
            print_json(_explanation_json(found))
        else:
            _print_explanation(found)
        return
    how: dict[str, Any] = {"workers": workers or default_workers(), "progress": progress}
    if dry_run:
        outcome, ref = filtering.plan(version, store, settings, **how), None
    else:
        name = name or f"{version.name}{FILTERED}"
        made = filtering.filter_version(version, store, name, settings, **how)
        step = made.manifest.steps[-1]
        funnel = [filtering.FunnelRow(**row) for row in step.params["funnel"]]
        outcome, ref = filtering.Outcome(step.rows_in, step.rows_out, funnel), made.ref
    if as_json:
        print_json({"from": version.ref, "version": ref, **_outcome_json(outcome)})
        return
    print_funnel(version.name, outcome)
    click.echo(f"{ref}  {made.path}" if ref else "Nothing was published: --dry-run.")


def _settings(config: Path | None, overrides: Sequence[str]) -> Filters:
    from tulu_data.errors import RecipeError
    from tulu_data.filters.registry import validate
    from tulu_data.recipe import set_key
    from tulu_data.strict import load_yaml

    data: dict[str, Any] = load_yaml(config) if config else {}
    if "filter" in data:
        if not isinstance(data["filter"], dict):
            raise RecipeError(f"{config}: filter: must be a mapping of filters to settings, got {data['filter']!r}")
        data = data["filter"]
    for override in overrides:
        _make_room(data, override)
        set_key(data, override)
    return validate(data, str(config) if config else "--set")


def _make_room(data: dict[str, Any], override: str) -> None:
    """Lets `--set pii=true --set pii.answers_only=true` say both."""
    head = override.partition("=")[0].partition(".")
    if head[1] and isinstance(data.get(head[0]), bool):
        data[head[0]] = {}


def _unknown_sources(settings: Filters, version: Version) -> Iterator[str]:
    """A warning for each exempt source that the version does not have: a slip, or of another version of a recipe."""
    from tulu_data.errors import nearest

    sources = version.manifest.logical.sources
    for source in settings.exempt:
        if source not in sources:
            known = nearest(source, sources, noun="source")
            yield f"warning: exempt.{source}: {version.name} has no such source; {known}"


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    funnel = [row._asdict() for row in outcome.funnel]
    return {"rows_in": outcome.rows_in, "rows_out": outcome.rows_out, "funnel": funnel}


def print_funnel(name: str, outcome: Outcome) -> None:
    """How many rows each rule drops: first, alone, and with no other."""
    from tulu_data.tables import percent, print_table, printable

    rows = [
        (row.rule, row.first, percent(row.first, outcome.rows_in), row.alone, row.only)
        for row in sorted(outcome.funnel, key=lambda r: -r.first)
    ]
    dropped = outcome.rows_in - outcome.rows_out
    title = f"{name}: {outcome.rows_in:,} rows, {dropped:,} dropped, {outcome.rows_out:,} stay"
    if rows:
        print_table(printable(title), ["rule", "drops first", "share", "drops alone", "drops only"], rows)
    else:
        click.echo(printable(title) + "\n")


# ------------------------------------------------------------ one row


def _print_explanation(found: Explanation) -> None:
    from tulu_data.tables import print_table, printable

    click.secho(printable(f"{found.row['id']}  ({found.row['source']})"), bold=True)
    for turn in found.turns:
        label = turn.role if turn.column == "messages" else turn.column
        click.echo(f"\n[{label}] ", nl=False)
        spans = found.spans(turn)
        for text, is_match in _shortened(found, turn, spans):
            shown = printable(text)
            click.echo(click.style(f"⟦{shown}⟧", fg="red", bold=True) if is_match and shown else shown, nl=False)
        click.echo()
    click.echo()
    print_table(
        "Filters", ["filter", "on", "would drop", "found"], [(s.filter, s.on, _why(s), _values(s)) for s in found.said]
    )
    reasons = found.reasons
    click.echo(printable(f"dropped by {reasons[0]}") if reasons else "stays")


def _shortened(found: Explanation, turn: Any, spans: list[Any]) -> list[tuple[str, bool]]:
    """The pieces of a turn, long ones without a match cut down to what stands next to one."""
    from tulu_data.filters.explaining import marked

    pieces = list(marked(turn, spans))
    shown = []
    for i, (text, is_match) in enumerate(pieces):
        if not is_match and len(text) > 2 * AROUND:
            head = "" if i == 0 and len(pieces) > 1 else text[:AROUND]
            tail = "" if i == len(pieces) - 1 else text[-AROUND:]
            text = f"{head} … {tail}"  # noqa: PLW2901 - what is shown of it
        shown.append((text, is_match))
    return shown


def _why(said: Said) -> str:
    return "; ".join(dict.fromkeys(map(str, said.reasons)))


def _values(said: Said) -> str:
    """The values that are not empty, in short."""
    shown = []
    for key, value in said.values.items():
        if key == "found":
            shown += sorted({entry["label"] for entry in value})
        elif isinstance(value, float):
            shown += [f"{key} {value:.2f}"] if value else []
        elif value is not None:
            shown.append(f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}")
    return ", ".join(shown)


def _explanation_json(found: Explanation) -> dict[str, Any]:
    reasons = found.reasons
    return {
        "id": found.row["id"],
        "dropped_by": str(reasons[0]) if reasons else None,
        "filters": [
            {"filter": s.filter, "on": s.on, "reasons": [*map(str, s.reasons)], "values": s.values} for s in found.said
        ],
    }
