"""`tulu train all`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, quiet_option, store_option, workers_option

if TYPE_CHECKING:
    from trainers.plan_run import Made


@click.command("all", epilog=example("tulu train all tiny -o tiny-model --dry-run"))
@click.argument("plan")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the stages and the model.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key: --set stages.dpo.beta=2 (a stage, its name or number), --set data.NAME.seed=7.",
)
@click.option("--allow-undecontaminated", "allow", metavar="REASON", help="Train all the same; it is recorded.")
@click.option("--dry-run", is_flag=True, help="Print the plan: what is there, what would be made and trained.")
@store_option
@workers_option
@quiet_option
@json_option
def all_command(plan: str, overrides: tuple[str, ...], dry_run: bool, as_json: bool, **options: Any) -> None:
    """Make the data and train the stages of PLAN (a YAML file, or the name of a bundled plan), in turn.

    The same command again skips what is there and goes on where it was stopped, to the bit; a stage whose settings,
    data or models have changed is trained in a folder of its own. The last policy is OUTPUT/model. Data that was not
    decontaminated is refused with exit code 3.
    """
    from trainers import ranks
    from trainers.plan import load_plan
    from trainers.plan_run import run_plan, told
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store, writing
    from tulu_data.tables import print_json

    with writing(options["output"], "--output"):
        made = run_plan(
            load_plan(plan, overrides),
            Store(options["store_root"]),
            options["output"],
            workers=options["workers"] or default_workers(),
            allow=options["allow"],
            progress=for_stderr(quiet=options["quiet"] or as_json or not ranks.first()),
            dry_run=dry_run,
        )
    ranks.leave()
    if not ranks.first():
        return
    if as_json:
        print_json(told(made))
    else:
        _print(made)


def _print(made: Made) -> None:
    from tulu_data.tables import print_table

    steps = [
        (run.recipe, s.step, s.status, s.result, s.rows, round(s.seconds, 1)) for run in made.data for s in run.steps
    ]
    if steps:
        print_table(f"Data of {made.plan}", ["recipe", "step", "", "result", "rows", "s"], steps)
    header = ["stage", "", "trains on", "steps", "measure", "first", "last", "model", "s"]
    stages = [
        (
            r.stage,
            r.status,
            r.mixture,
            r.steps,
            r.measure,
            _figure(r.first),
            _figure(r.last),
            _shown(r.model),
            round(r.seconds, 1),
        )
        for r in made.stages
    ]
    print_table(f"Stages of {made.plan}", header, stages)
    if made.model is not None:
        click.echo(
            f"{made.model}  is {made.model.resolve().parent.name}; answer with it: transformers serve {made.model}"
        )


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _shown(path: Path | None) -> str | None:
    return None if path is None else str(path)
