"""`tulu pairs`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from personas.commands import backend_of
from tulu_data.commands.model_options import model_options, plain
from tulu_data.commands.options import example, json_option, quiet_option, store_option, workers_option

if TYPE_CHECKING:
    from personas.pairs.running import PairJob

F = TypeVar("F", bound=Callable[..., Any])


def _common(command: F) -> F:
    for option in (
        json_option,
        quiet_option,
        workers_option,
        store_option,
        click.option(
            "--dry-run", is_flag=True, help="Print the first request and how many rows there are; ask nobody."
        ),
        click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder of the run."),
        click.option("--name", help="Of the version [default: SOURCE-METHOD]."),
        click.option("--prompts", type=click.Path(file_okay=False), help="Folder of prompts of your own."),
        click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other pairs."),
        click.option("-n", "--n", "n", type=click.IntRange(min=1), help="The first so many rows only."),
        click.argument("source"),
    ):
        command = option(command)
    return command


def _backend(command: F) -> F:
    command = model_options(command)
    command = click.option("--model", help="As the server calls it.")(command)
    return click.option(
        "--backend",
        type=click.Choice(["procedural", "openai", "vllm"]),
        help="Who answers: procedures, a server, vLLM here [default: procedural; openai with --model].",
    )(command)


@click.group(epilog=example("tulu pairs relax instructions"))
def pairs_command() -> None:
    """Make preference pairs of a version's rows: by a dropped constraint, a verifier, or a judge."""


@pairs_command.command("relax", epilog=example("tulu pairs relax instructions"))
@_common
@_backend
def relax_command(source: str, **options: Any) -> None:
    """Chosen keeps all constraints; rejected answers the prompt without one of them, and breaks it.

    SOURCE is a version of tulu synth precise-if. Rows with one constraint give no pair.
    """
    _run("relax", source, options, {})


@pairs_command.command("verified", epilog=example("tulu pairs verified instructions --samples 2"))
@_common
@_backend
@click.option("--samples", type=click.IntRange(min=2), default=4, show_default=True, help="Answers to a prompt.")
def verified_command(source: str, samples: int, **options: Any) -> None:
    """Of several answers to a prompt, one that its verifier takes against one that it does not.

    SOURCE is a version of tulu synth, an rlvr version, or a file with ground_truth and verifier. With --model the
    answers are that model's: on-policy, where it is the one in training.
    """
    _run("verified", source, options, {"samples": samples})


@pairs_command.command(
    "judge",
    epilog=example(
        "tulu pairs judge instructions --pool a --pool b --judge c --dry-run --base-url http://127.0.0.1:8000/v1"
    ),
)
@_common
@model_options
@click.option("--pool", multiple=True, metavar="NAME[@URL]", help="A model that answers; give several.")
@click.option("--judge", required=True, metavar="NAME[@URL]", help="The model that rates.")
@click.option("--on-policy", metavar="NAME[@URL]", help="The model in training: one side of every pair is its answer.")
@click.option("--texts", type=click.IntRange(min=2), default=4, show_default=True, help="Answers to a prompt.")
@click.option(
    "--both-orders", is_flag=True, help="Rate twice, the texts turned round; tells the judge's position bias."
)
def judge_command(
    source: str, pool: tuple[str, ...], judge: str, on_policy: str | None, texts: int, both_orders: bool, **options: Any
) -> None:
    """Models from a pool answer, a judge rates by four aspects; the best against a lower one.

    SOURCE is any version or file with prompts. The options of a request, and a budget, hold for each model; the
    judge's temperature is 0.
    """
    shared = plain(options)
    section = {
        "models": [_named(text, shared) for text in pool],
        "judge": {**_named(judge, shared), "temperature": 0.0},
        "on_policy": _named(on_policy, shared) if on_policy else None,
        "texts": texts,
        "both_orders": both_orders,
    }
    _run("judge", source, options, section)


def _named(text: str, shared: Mapping[str, Any]) -> dict[str, Any]:
    """A model as NAME or NAME@URL."""
    name, at, url = text.rpartition("@http")
    return {**shared, "model": name, "base_url": f"http{url}"} if at else {**shared, "model": text}


def _run(method: str, source: str, options: dict[str, Any], own: Mapping[str, Any]) -> None:
    from personas.pairs import running
    from personas.pairs.step import job_of, validate
    from tulu_data.errors import TuluError
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store, check_name
    from tulu_data.tables import print_json

    store = Store(options["store_root"])
    section = _section(method, source, options, own)
    name = options["name"] or f"{_name_of(source)}-{method}"
    check_name(name)
    job = job_of(validate(section, f"tulu pairs {method}", Path.cwd()), name, store, of=source)
    if options["dry_run"]:
        _show_plan(job, as_json=options["as_json"])
        return
    try:
        ran = running.run(
            job,
            store,
            options["output"] or running.folder_of(store, job),
            workers=options["workers"] or default_workers(),
            progress=for_stderr(quiet=options["quiet"]),
            quiet=options["quiet"],
            origin=_origin(job, section, name),
        )
    except TuluError:
        if job.work.models:
            click.echo(f"to go on: {shlex.join(['tulu', *sys.argv[1:]])}", err=True)
        raise
    if options["as_json"]:
        print_json({**ran.summary, "folder": str(ran.folder)})
        return
    from personas.showing import print_pairs

    print_pairs(ran.summary, ran.folder)


def _origin(job: Any, section: Mapping[str, Any], name: str) -> Any:
    """How to make the pairs again, from what made the version they are of; None where no recipe did."""
    from tulu_data.manifest import Origin

    origin = job.parent.manifest.origin if job.parent is not None else None
    if origin is None or job.parent.name not in origin.recipe["sources"]:
        return None
    recipe = {
        "name": f"{name}-pairs",
        **{k: origin.recipe[k] for k in ("seed",) if k in origin.recipe},
        "sources": {
            job.parent.name: origin.recipe["sources"][job.parent.name],
            name: {"pairs": {**section, "of": job.parent.name}},
        },
    }
    return Origin(recipe=recipe, root=origin.root, step=f"pairs:{name}")


def _section(method: str, source: str, options: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "method": method,
        "of": source,
        **{k: options[k] for k in ("n", "seed")},
        "prompts": str(Path(options["prompts"]).resolve()) if options["prompts"] else None,
        "backend": None if method == "judge" else backend_of(options),
        **own,
    }
    return {k: v for k, v in given.items() if v is not None}


def _name_of(source: str) -> str:
    stem = Path(source.partition("@")[0]).name.partition(".")[0]
    return "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "-" for c in stem).strip("-") or "pairs"


def _show_plan(job: PairJob, *, as_json: bool) -> None:
    from personas.pairs.estimate import estimate, first_request
    from tulu_data.tables import print_json, print_table

    first, costs = first_request(job.work), estimate(job)
    if as_json:
        print_json({"request": first and first.body, "rows": job.work.n, "models": [c._asdict() for c in costs]})
        return
    if first is not None:
        click.echo("The first request:")
        print_json(first.body)
    rows = [
        (c.route or "model", c.model, c.requests, c.prompt_tokens, c.completion_tokens, _money(c.usd)) for c in costs
    ]
    header = ["asked", "model", "requests", "prompt tokens, about", "completion tokens, about", "USD, about"]
    print_table(f"\n{job.work.n:,} rows of {job.of}", header, rows or [("procedures", "-", 0, 0, 0, "0.00")])


def _money(usd: float | None) -> str:
    return "not known" if usd is None else f"{usd:,.2f}"
