"""`tulu run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import (
    complete_recipes,
    example,
    json_option,
    quiet_option,
    store_option,
    workers_option,
)
from tulu_data.commands.rejects import print_rejects

if TYPE_CHECKING:
    from tulu_data.pipeline import Run


@click.command(epilog=example("tulu run quickstart --set seed=7 --dry-run"))
@click.argument("recipe", shell_complete=complete_recipes)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: --set mix.flan.count=500")
@click.option("--page/--no-page", default=True, help="Write the mixture and its audits as HTML pages.")
@click.option("--dry-run", is_flag=True, help="Print the plan: what is cached, what would run, how many rows.")
@store_option
@workers_option
@quiet_option
@json_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    page: bool,
    dry_run: bool,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run RECIPE (a YAML file, or the name of a bundled recipe) into the store.

    Steps whose inputs have not changed are skipped, so a killed run continues and a second run does nothing.
    """
    from tulu_data import recipe as recipes
    from tulu_data.executor import default_workers
    from tulu_data.pipeline import run
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store
    from tulu_data.tables import print_json

    result = run(
        recipes.load(recipe, overrides),
        Store(store_root),
        workers=workers or default_workers(),
        progress=for_stderr(quiet=quiet or as_json),
        dry_run=dry_run,
        pages=page,
    )
    if as_json:
        print_json(_as_json(result))
    else:
        _print(result, dry_run=dry_run)


def _as_json(result: Run) -> dict[str, Any]:
    from tulu_data.pipeline import load_audit

    return {
        "recipe": result.recipe,
        "steps": [step._asdict() for step in result.steps],
        "audit": str(result.audit) if result.audit else None,
        "evals": load_audit(result.audit).evals.to_pylist() if result.audit else None,
        "mixture": result.mixture.ref if result.mixture else None,
        "rows": result.mixture.rows if result.mixture else None,
        "page": str(result.page) if result.page else None,
        "plan": _plan(result),
    }


def _plan(result: Run) -> dict[str, Any] | None:
    """The mixture of a dry run: exact where its sources are there, else by what they say they hold."""
    header = ("part", "available", "rows", "tokens")
    if result.plan:
        planned = result.plan
        counted = [(p.part.name, p.available, len(p.rows), p.tokens) for p in planned.parts]
        return {"exact": True, "rows": planned.rows, "parts": [dict(zip(header, p, strict=True)) for p in counted]}
    if result.outline:
        listed = [dict(zip(header, (*p, None), strict=True)) for p in result.outline.parts]
        return {"exact": False, "rows": result.outline.rows, "parts": listed}
    return None


def _print(result: Run, *, dry_run: bool) -> None:
    from tulu_data.pipeline import load_audit
    from tulu_data.tables import print_table

    rows = [(s.step, s.status, s.result, s.rows, round(s.seconds, 1)) for s in result.steps]
    print_table(f"{'Plan' if dry_run else 'Steps'} of {result.recipe}", ["step", "", "result", "rows", "s"], rows)
    if dry_run and result.description:
        click.echo(f"{result.description}\n")
    print_rejects([v for v in result.sources.values() if v is not None])
    if result.audit:
        from tulu_data.commands.show import print_evals

        print_evals(load_audit(result.audit).evals, overlaps_only=True)
        click.echo(f"Every match: tulu page {result.audit}\n")
    planned = _plan(result)
    if planned:
        _print_plan(planned, cleaned_first=bool(result.outline and result.outline.before))
    if result.mixture:
        from tulu_data.commands.show import print_version

        print_version(result.mixture, as_json=False, history=False)
    if result.page:
        click.echo(result.page)


def _print_plan(planned: dict[str, Any], *, cleaned_first: bool) -> None:
    from tulu_data.tables import percent, print_table

    total = planned["rows"]
    rows = [
        (p["part"], p["available"], p["rows"], percent(p["rows"] or 0, total or 0), p["tokens"])
        for p in planned["parts"]
    ]
    title = "Mixture, as planned" if planned["exact"] else "Mixture, by what its sources say they hold"
    print_table(title, ["part", "available", "rows", "share", "tokens"], [*rows, ("total", None, total, None, None)])
    if total is None:
        click.echo("The total is open: some counts are known only when the rows are read.")
    if cleaned_first:
        click.echo("Counts of the sources as they are read: filters, duplicates and the audit take rows away.")
