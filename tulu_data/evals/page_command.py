"""`tulu eval page`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tulu_data.commands.options import example, store_option
from tulu_data.evals.options import audit_options, beside_option, leave_out_option, trained


@click.command("page", epilog=example("tulu eval page my-scores --beside tulu3-8b -o my-scores.html"))
@click.argument("outputs", nargs=-1, required=True, metavar="OUT…")
@audit_options
@beside_option
@leave_out_option
@click.option(
    "--max-text",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="Million characters of samples in the page; 60 make a file of up to 24 MB.",
)
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The HTML file.")
@store_option
def page_command(outputs: tuple[str, ...], output: Path, max_text: int, **given: Any) -> None:
    """Write runs as one self-contained HTML page: the scores, and behind each task every sample.

    Several runs stand side by side; they must have been asked and scored alike, or --leave-out TASK.
    """
    from tulu_data.evals.page import write_page
    from tulu_data.evals.results import open_run

    runs = [open_run(out) for out in outputs]
    known = [trained(run.facts.model, given) for run in runs]
    notes = dict.fromkeys(note for one in known for note in one.notes)
    write_page(
        runs,
        output,
        audits=[one.audits for one in known],
        beside=given["beside"],
        leave_out=given["leave_out"],
        notes=list(notes),
        max_text=max_text * 1_000_000,
    )
    click.echo(output)
