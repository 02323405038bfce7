"""`tulu complete`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.model_options import model_options, spec_of
from tulu_data.commands.options import example, json_option, quiet_option, store_option

if TYPE_CHECKING:
    from tulu_data.llm.client import Tally
    from tulu_data.llm.completing import Plan
    from tulu_data.llm.prices import Price
    from tulu_data.llm.spec import ModelSpec

CHARS_PER_TOKEN = 4.0  # of English text, for an estimate before anything is asked


@click.command(epilog=example("tulu complete data.jsonl --model gpt-4o-mini -o answers --dry-run"))
@click.argument("source")
@click.option("--model", required=True, help="As the server calls it.")
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run."
)
@click.option(
    "-n", "--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Answers to each prompt."
)
@model_options
@click.option("--seed", type=int, help="Sample k is asked with seed + k.")
@click.option("--system", help="System message for prompts that have none.")
@click.option("--limit", type=click.IntRange(min=1), help="The first so many prompts only.")
@click.option(
    "--batch",
    type=click.Choice(["submit", "poll", "fetch"]),
    help="Use OpenAI's Batch API, a step at a time: half the price, within a day.",
)
@click.option("--dry-run", is_flag=True, help="Print the first request and an estimate; ask nobody.")
@store_option
@quiet_option
@json_option
def command(source: str, output: Path, dry_run: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Let a model answer the prompts of SOURCE: a file, or a version in the store.

    Answers are kept as they come (journal.jsonl). Run the same command again to go on after a stop, a kill or a crash:
    what is answered is not asked again. The result is answers.parquet in the folder of the run.
    """
    from tulu_data.errors import TuluError
    from tulu_data.llm.completing import characters
    from tulu_data.tables import print_json

    spec = spec_of(options["model"], options)
    plan, price = _plan(source, spec, options), spec.known_price
    requests, chars = characters(plan.requests())
    if dry_run:
        _show_plan(plan, requests, chars, price, as_json=as_json)
        return
    if options["batch"]:
        _batch(plan, spec, output, options["batch"], as_json=as_json)
        return
    try:
        tally, folder = _run(plan, spec, output, requests, quiet=quiet)
    except TuluError:
        again = shlex.join(["tulu", *sys.argv[1:]])
        click.echo(f"to go on: {again}", err=True)
        raise
    if as_json:
        print_json(
            {k: v for k, v in vars(tally).items() if k != "started"} | {"answers": str(folder / "answers.parquet")}
        )
        return
    _show(tally, folder)


def _plan(source: str, spec: ModelSpec, options: dict[str, Any]) -> Plan:
    from tulu_data.llm.completing import Plan, prompts_of
    from tulu_data.store import Store

    prompts = prompts_of(source, Store(options["store_root"]), limit=options["limit"])
    return Plan(prompts, spec.model, spec.request_params, options["samples"], options["seed"], options["system"])


def _run(plan: Plan, spec: ModelSpec, output: Path, requests: int, *, quiet: bool) -> tuple[Tally, Path]:
    from tulu_data.llm.completing import complete
    from tulu_data.llm.report import reporting
    from tulu_data.llm.spec import asking

    with asking(spec, output) as asked, reporting(plan.model, requests, quiet=quiet) as watch:
        return complete(plan, asked.backend, asked.journal, output, watch=watch), output


def _batch(plan: Plan, spec: ModelSpec, output: Path, step: str, *, as_json: bool) -> None:
    from tulu_data.errors import UsageError
    from tulu_data.llm.completing import write_answers
    from tulu_data.llm.endpoint import Endpoint
    from tulu_data.llm.journal import Journal
    from tulu_data.llm.openai_batch import Batches
    from tulu_data.tables import print_json, print_table

    if len(spec.urls) > 1:
        raise UsageError("--batch: name one --base-url")
    endpoint = Endpoint(spec.urls[0], os.environ.get(spec.key_env))
    with Journal(output, [endpoint.url], same_model=spec.same_model) as journal:
        batches = Batches(output, endpoint, journal, spec.known_price)
        done = {"submit": lambda: batches.submit(plan.requests()), "poll": batches.poll, "fetch": batches.fetch}
        count = done[step]()
        answers = 0
        if step == "fetch":
            answers = write_answers(plan, journal, output, {f.key: f for f in batches.failures})
    if as_json:
        failures = [f._asdict() for f in batches.failures]
        print_json({"batches": batches.known, "answers": answers, "failures": failures})
        return
    rows = [(b["batch"], b["requests"], b["status"], b["fetched"]) for b in batches.known]
    print_table("Batches", ["batch", "requests", "status", "fetched"], rows)
    if step == "submit":
        click.echo(f"submitted {count:,} requests; later: the same command with --batch poll, then --batch fetch")
    if step == "fetch":
        click.echo(f"fetched {count:,} answers; {answers:,} in {output / 'answers.parquet'}")
        click.echo(f"{len(batches.failures):,} without an answer; --batch submit asks for them again")


def _show_plan(plan: Plan, requests: int, chars: int, price: Price | None, *, as_json: bool) -> None:
    from tulu_data.llm.request import Usage
    from tulu_data.tables import print_json, print_table

    first = next(plan.requests())
    tokens = round(chars / CHARS_PER_TOKEN)
    longest = plan.params.get("max_tokens")
    usd = price.of(Usage(tokens, requests * longest)) if price and longest else None
    if as_json:
        print_json({"request": first.body, "requests": requests, "prompt_tokens": tokens, "usd_at_most": usd})
        return
    click.echo("The first request:")
    print_json(first.body)
    cost = "not known" if price is None else f"{price.prompt:g} in, {price.completion:g} out per million tokens"
    print_table(
        "\nPlan",
        ["requests", "prompt tokens, about", "USD at most, about", "price in USD"],
        [(requests, tokens, "-" if usd is None else f"{usd:,.2f}", cost)],
    )
    if price and not longest:
        click.echo("Without --max-tokens an answer has no longest length, and the plan no highest cost.")


def _show(tally: Tally, folder: Path) -> None:
    from tulu_data.tables import print_table

    print_table(
        str(folder),
        ["answers", "kept", "asked", "failed", "requests sent", "429s", "prompt tokens", "completion tokens", "USD"],
        [
            (
                tally.answered + tally.kept,
                tally.kept,
                tally.answered,
                tally.failed,
                tally.sent,
                tally.held_back,
                tally.prompt_tokens,
                tally.completion_tokens,
                f"{tally.usd:,.4f}" if not tally.unpriced else f"not known of {tally.unpriced:,}",
            )
        ],
    )
    for name, count in tally.ignored.items():
        click.echo(f"the server did not honour {name} in {count:,} answers")
    if tally.reasons:
        worst = sorted(tally.reasons.items(), key=lambda r: -r[1])[:10]
        print_table("Failures, in failures.jsonl", ["requests", "reason"], [(n, r) for r, n in worst])
