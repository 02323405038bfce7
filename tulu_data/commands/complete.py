"""`tulu complete`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, quiet_option, store_option

if TYPE_CHECKING:
    from tulu_data.llm.client import Tally
    from tulu_data.llm.completing import Plan
    from tulu_data.llm.prices import Price

CHARS_PER_TOKEN = 4.0  # of English text, for an estimate before anything is asked


@click.command(epilog=example("tulu complete data.jsonl --model gpt-4o-mini -o answers --dry-run"))
@click.argument("source")
@click.option("--model", required=True, help="As the server calls it.")
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run."
)
@click.option(
    "--base-url", multiple=True, help="Server, http://HOST:PORT/v1; several share the work [default: OpenAI]."
)
@click.option("--key-env", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the key.")
@click.option(
    "-n", "--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Answers to each prompt."
)
@click.option("--temperature", type=float, help="[default: the server's]")
@click.option("--top-p", type=float, help="[default: the server's]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Of an answer [default: the server's].")
@click.option("--seed", type=int, help="Sample k is asked with seed + k.")
@click.option("--param", "params", multiple=True, metavar="KEY=JSON", help="Another parameter of the request.")
@click.option("--system", help="System message for prompts that have none.")
@click.option("--limit", type=click.IntRange(min=1), help="The first so many prompts only.")
@click.option("--max-in-flight", type=click.IntRange(min=1), default=256, show_default=True, help="Requests at once.")
@click.option(
    "--rpm", type=click.FloatRange(min=0, min_open=True), help="Requests a minute [default: as the server says]."
)
@click.option(
    "--tpm", type=click.FloatRange(min=0, min_open=True), help="Tokens a minute [default: as the server says]."
)
@click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="Seconds for one try.")
@click.option("--deadline", "deadline_s", type=float, default=900.0, show_default=True, help="Seconds for all tries.")
@click.option("--tries", type=click.IntRange(min=1), default=6, show_default=True, help="For a request; a 429 is none.")
@click.option("--budget-usd", type=click.FloatRange(min=0, min_open=True), help="Stop before more is spent.")
@click.option("--budget-tokens", type=click.IntRange(min=1), help="Stop before more are used.")
@click.option("--price", metavar="IN,OUT", help="USD per million tokens [default: a dated table].")
@click.option("--same-model", is_flag=True, help="The run goes on at another server of the same model.")
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

    plan = _plan(source, options)
    price = _price(options["price"], options["model"])
    requests, chars = characters(plan.requests())
    if dry_run:
        _show_plan(plan, requests, chars, price, as_json=as_json)
        return
    if options["batch"]:
        _batch(plan, output, price, options, as_json=as_json)
        return
    try:
        tally, folder = _run(plan, output, price, requests, options, quiet=quiet)
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


def _plan(source: str, options: dict[str, Any]) -> Plan:
    import json

    from tulu_data.errors import UsageError
    from tulu_data.llm.completing import Plan, prompts_of
    from tulu_data.store import Store

    params = {k: options[k] for k in ("temperature", "top_p", "max_tokens") if options[k] is not None}
    for given in options["params"]:
        name, equals, text = given.partition("=")
        try:
            params[name] = json.loads(text)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(f"--param {given!r}: write it as KEY=JSON, e.g. stop='[\"###\"]'")
    prompts = prompts_of(source, Store(options["store_root"]), limit=options["limit"])
    return Plan(prompts, options["model"], params, options["samples"], options["seed"], options["system"])


def _price(text: str | None, model: str) -> Price | None:
    from tulu_data.errors import UsageError
    from tulu_data.llm.prices import Price, price_of

    if text is None:
        return price_of(model)
    try:
        prompt, completion = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--price {text!r}: write it as IN,OUT in USD per million tokens, e.g. 0.15,0.60") from None
    return Price(prompt, completion)


def _run(
    plan: Plan, output: Path, price: Price | None, requests: int, options: dict[str, Any], *, quiet: bool
) -> tuple[Tally, Path]:
    from tulu_data.errors import UsageError
    from tulu_data.llm.client import Budget, Client
    from tulu_data.llm.completing import complete
    from tulu_data.llm.endpoint import DEFAULT_URL, Endpoint
    from tulu_data.llm.journal import Journal
    from tulu_data.llm.report import reporting

    if options["budget_usd"] and price is None:
        raise UsageError(f"--budget-usd: the price of {plan.model!r} is not known; give --price IN,OUT")
    urls = options["base_url"] or (DEFAULT_URL,)
    share = -(-options["max_in_flight"] // len(urls))
    key = os.environ.get(options["key_env"])
    endpoints = [Endpoint(u, key, share, options["rpm"], options["tpm"]) for u in urls]
    limits = {k: options[k] for k in ("tries", "timeout_s", "deadline_s")}
    with Journal(output, [e.url for e in endpoints], same_model=options["same_model"]) as journal:
        client = Client(endpoints, journal, Budget(options["budget_usd"], options["budget_tokens"]), price, **limits)
        with reporting(plan.model, requests, quiet=quiet) as watch:
            return complete(plan, client, journal, output, watch=watch), output


def _batch(plan: Plan, output: Path, price: Price | None, options: dict[str, Any], *, as_json: bool) -> None:
    from tulu_data.errors import UsageError
    from tulu_data.llm.completing import write_answers
    from tulu_data.llm.endpoint import DEFAULT_URL, Endpoint
    from tulu_data.llm.journal import Journal
    from tulu_data.llm.openai_batch import Batches
    from tulu_data.tables import print_json, print_table

    urls = options["base_url"] or (DEFAULT_URL,)
    if len(urls) > 1:
        raise UsageError("--batch: name one --base-url")
    endpoint = Endpoint(urls[0], os.environ.get(options["key_env"]))
    with Journal(output, [endpoint.url], same_model=options["same_model"]) as journal:
        batches = Batches(output, endpoint, journal, price)
        done = {"submit": lambda: batches.submit(plan.requests()), "poll": batches.poll, "fetch": batches.fetch}
        count = done[options["batch"]]()
        answers = 0
        if options["batch"] == "fetch":
            answers = write_answers(plan, journal, output, {f.key: f for f in batches.failures})
    if as_json:
        failures = [f._asdict() for f in batches.failures]
        print_json({"batches": batches.known, "answers": answers, "failures": failures})
        return
    rows = [(b["batch"], b["requests"], b["status"], b["fetched"]) for b in batches.known]
    print_table("Batches", ["batch", "requests", "status", "fetched"], rows)
    if options["batch"] == "submit":
        click.echo(f"submitted {count:,} requests; later: the same command with --batch poll, then --batch fetch")
    if options["batch"] == "fetch":
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
