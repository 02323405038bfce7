"""The `tulu` command: one lazy group. The table below holds the help, so `tulu --help` imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from tulu_data import __version__
from tulu_data.errors import TuluError, nearest


class Entry(NamedTuple):
    """A command: where it is defined, and its one line in `tulu --help`."""

    target: str  # "module:attribute"
    help: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("tulu_data.commands.run:command", "Run a recipe: ingest, audit, drop, mix, publish."),
    "ingest": Entry("tulu_data.commands.ingest:command", "Read raw files or a hub dataset into a version of rows."),
    "filter": Entry("tulu_data.commands.filter:command", "Publish a version without what quality filters drop."),
    "dedup": Entry(
        "tulu_data.commands.dedup:command", "Find and drop duplicate rows, exact and near, within or across versions."
    ),
    "suites": Entry("decontam.suites_command:command", "List evaluation suites, preview and save them."),
    "audit": Entry("decontam.commands:audit_command", "Find which rows overlap which evaluation instances."),
    "judge": Entry("decontam.commands:judge_command", "Apply another policy to a finished audit, without a rescan."),
    "review": Entry("decontam.review_commands:review_command", "Go through an audit's matches and mark them."),
    "compare": Entry("decontam.review_commands:compare_command", "Show what changed between two audits."),
    "page": Entry("tulu_data.commands.page:command", "Write a version or an audit as one HTML page."),
    "drop": Entry("decontam.commands:drop_command", "Publish a version without the rows an audit flagged."),
    "mix": Entry("tulu_data.commands.mix:command", "Mix versions by count, share, tokens or weight."),
    "ablate": Entry("tulu_data.commands.ablate:command", "Write variants of a recipe: without a source, more maths."),
    "train": Entry("trainers.commands:train_command", "Fine-tune, or optimise preferences, on a mixture."),
    "show": Entry("tulu_data.commands.show:command", "Show the store, a version, its rows, an audit or a run."),
    "sources": Entry("tulu_data.commands.sources:command", "List public datasets: where they are, licences, counts."),
    "licenses": Entry("tulu_data.commands.licenses:command", "Report what a mixture may be used for."),
    "diff": Entry("tulu_data.commands.diff:command", "Compare two versions, row by row."),
    "verify": Entry("tulu_data.commands.verify:command", "Check that a version holds what its manifest says."),
    "personas": Entry("personas.commands:personas_command", "Look at personas, and make more of them."),
    "synth": Entry("personas.commands:synth_command", "Make prompts and checked answers from personas."),
    "pairs": Entry("personas.pairs.commands:pairs_command", "Make preference pairs, by constraint, verifier or judge."),
    "complete": Entry("tulu_data.commands.complete:command", "Let a model answer prompts; resumable, with a budget."),
    "verify-answers": Entry(
        "tulu_data.commands.verify_answers:command", "Check responses against true answers: maths, code, constraints."
    ),
    "reproduce": Entry("tulu_data.commands.reproduce:command", "Build a version again and compare."),
    "export": Entry("tulu_data.commands.export:command", "Write a version as TRL or open-instruct read it."),
    "push": Entry("tulu_data.commands.push:command", "Put a version on the Hugging Face hub, or in a folder."),
    "eval": Entry("tulu_data.evals.commands:eval_command", "Evaluate models, with and without contaminated instances."),
    "gc": Entry("tulu_data.commands.gc:command", "Remove leftovers and, if asked, unreferenced versions."),
    "doctor": Entry("tulu_data.commands.doctor:command", "Check this installation and the store."),
    "completion": Entry("tulu_data.commands.completion:command", "Print the shell completion script."),
}

PAGES = {"audit": "decontam.commands:page_command"}  # what writes the pages of other packages' things

VIEWS = {  # a file that tells a run's folder → what `tulu show` prints it with
    "run.json": "personas.showing:print_run",
    "pairs.json": "personas.showing:print_pairs_run",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's order: the order of a row's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns one command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Names the nearest command for an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}; {nearest(args[0], COMMANDS, noun='command')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the table without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


EPILOG = """\b
Exit codes: 0 done · 1 error · 2 wrong usage or recipe · 3 a check failed (expect, verify, --gate).
Example: tulu run quickstart
"""


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tulu")
def cli() -> None:
    """Curate, decontaminate and mix post-training data; every output is a version that can be made again."""


def main(args: Sequence[str] | None = None) -> Any:
    """Runs the command line. A `TuluError` is one line on stderr; anything else is a bug and keeps its traceback."""
    try:
        return cli.main(args=args, prog_name="tulu")
    except TuluError as e:
        click.echo(f"error: {e}", err=True)
        sys.exit(e.exit_code)
