"""`tulu eval report` and `tulu eval compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, store_option
from tulu_data.evals.options import audit_options, beside_option, leave_out_option, trained

if TYPE_CHECKING:
    from tulu_data.evals.report import Report
    from tulu_data.evals.results import Run
    from tulu_data.evals.task import Task

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("report", epilog=example("tulu eval report my-scores --beside tulu3-8b"))
@click.argument("outputs", nargs=-1, required=True, metavar="OUT…")
@audit_options
@beside_option
@click.option("--curve", is_flag=True, help="Also the score by coverage threshold.")
@leave_out_option
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@store_option
@json_option
def report_command(outputs: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Show scores, with and without contaminated instances.

    Several runs must have been asked and scored alike; --leave-out TASK where one was not.
    """
    from tulu_data.evals.results import common_tasks, open_run

    runs = [open_run(output) for output in outputs]
    common_tasks(runs, given["leave_out"])
    show([run.without(given["leave_out"]) for run in runs], given=given, as_json=as_json)


def show_run(folder: Path, store_root: Path, *, as_json: bool, n_rows: int | None = None) -> None:
    """One run as `tulu show` prints it: its report and the first samples of each task."""
    from tulu_data.evals.report import plain, report
    from tulu_data.evals.results import open_run
    from tulu_data.tables import print_json, printable

    run = open_run(folder)
    given = {"store_root": store_root}
    if n_rows is None:
        show([run], given=given, as_json=as_json)
        return
    samples = {task: run.samples(task).slice(0, n_rows).to_pylist() for task in run.tasks}
    if as_json:
        known = trained(run.facts.model, given)
        print_json({"report": plain(report(run, {}, audits=known.audits, notes=known.notes)), "samples": samples})
        return
    show([run], given=given, as_json=False)
    for task, listed in samples.items():
        for sample in listed:
            score = "not scored" if sample["score"] is None else f"{sample['score']:.2f}"
            click.secho(printable(f"\n{task}  {sample['instance_id']}  {score}  {sample['reason']}"), bold=True)
            for message in json.loads(sample["messages"]):
                click.echo(printable(f"[{message['role']}] {message['content']}"))
            for label in ("response", "extracted", "truth"):
                if sample[label]:
                    click.echo(printable(f"[{label}] {sample[label]}"))


def show(runs: Sequence[Run], *, given: dict[str, Any], as_json: bool) -> None:
    """Prints reports of runs. given: the options of `tulu eval report`, as far as they are known."""
    from tulu_data.evals.report import markdown, notes_of, plain, report, table_of
    from tulu_data.tables import print_json, print_table

    tasks = {t.id: t for t in tasks_of(())} if given.get("beside") else {}
    reports = []
    for run in runs:
        known = trained(run.facts.model, given)
        reports.append(report(run, tasks, audits=known.audits, beside=given.get("beside"), notes=known.notes))
    if as_json:
        print_json(plain(reports[0] if len(reports) == 1 else reports))
        return
    for found in reports:
        header, rows = table_of(found)
        title = f"{found.model}  ({found.folder})"
        if given.get("markdown"):
            click.echo(markdown(title, header, rows, notes_of(found)))
            continue
        if not rows:
            click.echo(f"{title}: nothing is scored yet")
        else:
            print_table(title, header, rows)
        if given.get("curve"):
            _print_curves(found)
        for note in notes_of(found):
            click.echo(note)


def _print_curves(found: Report) -> None:
    from tulu_data.evals.report import percents
    from tulu_data.tables import print_table

    for line in found.lines:
        if line.adjusted:
            rows = [(f"{p.threshold:.1f}", f"{p.clean.n:,}", percents(p.clean)) for p in line.adjusted.curve]
            print_table(f"{line.title}, by coverage", ["covered at most", "n", "score"], rows)


@click.command("compare", epilog=example("tulu eval compare my-sft-scores my-dpo-scores"))
@click.argument("a", type=FOLDER)
@click.argument("b", type=FOLDER)
@audit_options
@leave_out_option
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@store_option
@json_option
def compare_command(a: Path, b: Path, as_json: bool, **given: Any) -> None:
    """Hold run B against run A.

    Instance by instance, so that what both share cancels; where audits are known, on the instances that are clean too.
    Runs whose prompts, rules or decoding differ are refused.
    """
    from tulu_data.evals.report import compare, differs, markdown, percents, plain
    from tulu_data.evals.results import open_run
    from tulu_data.tables import print_json, print_table

    runs = open_run(a), open_run(b)
    known = [trained(run.facts.model, given) for run in runs]
    found = compare(*runs, leave_out=given["leave_out"], audits=(known[0].audits, known[1].audits))
    if as_json:
        print_json(plain(found))
        return
    header = ["task", "n", "A", "B", "B − A", "z", "B better", "A better"]
    notes = [*dict.fromkeys([*known[0].notes, *known[1].notes]), *found.notes]
    for title, pairs in ((f"{b} against {a}", found.all), (f"On instances {found.clean_for}", found.clean)):
        rows = [
            [
                p.title,
                f"{p.n:,}",
                percents(p.first),
                percents(p.second),
                *differs(p.difference),
                f"{p.wins:,}",
                f"{p.losses:,}",
            ]
            for p in pairs
        ]
        if rows and given["markdown"]:
            click.echo(markdown(title, header, rows, ()))
        elif rows:
            print_table(title, header, rows)
    for note in notes:
        click.echo(note)


def tasks_of(names: Sequence[str]) -> list[Task]:
    """The tasks behind names, or all."""
    from tulu_data.evals.registry import find_tasks

    return list(find_tasks(names))
