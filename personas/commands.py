"""`tulu synth` and `tulu personas`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.model_options import model_options, plain
from tulu_data.commands.options import example, json_option, quiet_option, store_option, workers_option

if TYPE_CHECKING:
    from personas.runs import Job, Ran


@click.command(epilog=example("tulu synth grade-math --n 20 --name word-problems"))
@click.argument("skill", required=False)
@click.option("-n", "--n", "n", type=click.IntRange(min=1), default=100, show_default=True, help="Rows that are tried.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other rows.")
@click.option(
    "--backend",
    type=click.Choice(["procedural", "openai", "vllm"]),
    help="Who answers: procedures, a server, vLLM here [default: procedural; openai with --model].",
)
@click.option("--model", help="As the server calls it.")
@model_options
@click.option("--personas", default="sample", show_default=True, help="Files, or hub:org/name; else the sample.")
@click.option("--persona-field", help="Column that holds the persona [default: persona, text, description].")
@click.option("--persona-license", help="Of the personas, carried on every row [default: as they say].")
@click.option("--per-persona", type=click.IntRange(min=1), default=10, show_default=True, help="Rows of one persona.")
@click.option("--prompts", type=click.Path(file_okay=False), help="Folder with SKILL/STAGE.md of your own.")
@click.option(
    "--write-prompts", type=click.Path(file_okay=False, path_type=Path), help="Copy the prompts there and stop."
)
@click.option("--language", default="en", show_default=True, help="Of prompts and answers, e.g. de.")
@click.option("--samples", type=click.IntRange(min=1), help="Solutions of a row [default: the skill's].")
@click.option(
    "--constraint",
    "constraints",
    multiple=True,
    metavar="ID[=JSON]",
    help="precise-if: a type to draw, or one with parameters for all rows.",
)
@click.option("--harmful", is_flag=True, help="safety: also requests that would harm somebody.")
@click.option("--option", "options", multiple=True, metavar="KEY=JSON", help="Another option of the skill.")
@click.option(
    "--kind", type=click.Choice(["sft", "rlvr", "prompt"]), default="sft", show_default=True, help="Of the rows."
)
@click.option("--keyword", "keywords", multiple=True, help="Reject rows with this word [default: makers of models].")
@click.option(
    "--near", type=click.FloatRange(0, 1, min_open=True), help="Similarity of duplicate prompts [default: 0.7]."
)
@click.option("--name", help="Of the version [default: the skill's].")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run [default: in the store].",
)
@click.option("--dry-run", is_flag=True, help="Print the first request and an estimate; ask nobody.")
@store_option
@workers_option
@quiet_option
@json_option
def synth_command(skill: str | None, dry_run: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Make rows of SKILL from personas; without SKILL, list the skills.

    Every answer is checked by the verifier that RLVR will use, and rows that fail are kept apart with the reason. The
    same command goes on where it was stopped: what was answered is not asked again. The accepted rows are a version in
    the store.
    """
    from personas import runs
    from personas.step import prompts_of
    from tulu_data.errors import TuluError
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store, check_name
    from tulu_data.tables import print_json

    if skill is None:
        _list_skills(as_json=as_json)
        return
    if options["write_prompts"] is not None:
        from personas import prompts
        from personas.skills import skill_of

        for path in prompts.write(prompts_of(skill_of(skill)), options["write_prompts"]):
            click.echo(str(path))
        return
    store = Store(options["store_root"])
    job, data = _job(skill, options)
    check_name(job.name)
    if dry_run:
        _show_plan(job, as_json=as_json)
        return
    folder = options["output"] or runs.folder_of(store, job)
    try:
        ran = runs.run(
            job,
            store,
            folder,
            workers=options["workers"] or default_workers(),
            progress=for_stderr(quiet=quiet),
            quiet=quiet,
            origin=data,
        )
    except TuluError:
        if job.spec is not None:
            click.echo(f"to go on: {shlex.join(['tulu', *sys.argv[1:]])}", err=True)
        raise
    if as_json:
        print_json({**ran.summary, "folder": str(ran.folder)})
        return
    _show(ran)


def _job(skill: str, options: Mapping[str, Any]) -> tuple[Job, Any]:
    """The options as a job, by way of a recipe of one source: so the version can be reproduced."""
    from personas.step import job_of, validate
    from tulu_data.manifest import Origin

    given = {
        "skill": skill,
        "n": options["n"],
        "seed": options["seed"],
        "backend": backend_of(options),
        "options": _skill_options(options),
        "keywords": list(options["keywords"]) or None,
        **{k: options[k] for k in ("kind", "personas", "persona_field", "persona_license", "per_persona", "prompts")},
        **{k: options[k] for k in ("language", "samples", "near")},
    }
    section = {k: v for k, v in given.items() if v is not None}
    name = options["name"] or skill
    job = job_of(validate(section, "tulu synth", Path.cwd()), name)
    recipe = {"name": f"{name}-synth", "sources": {name: {"synth": section}}}
    return job, Origin(recipe=recipe, root=str(Path.cwd()), step=f"synth:{name}")


def backend_of(options: Mapping[str, Any]) -> Any:
    """Who answers, as a recipe says it; `UsageError` where --backend and --model do not fit."""
    from tulu_data.errors import UsageError

    model = options["model"]
    backend = options["backend"] or ("openai" if model else "procedural")
    if (backend == "procedural") != (model is None):
        raise UsageError(
            "--backend procedural asks no model; leave out --model" if model else f"--backend {backend}: name a --model"
        )
    return backend if model is None else {backend: {"model": model, **plain(options)}}


def _skill_options(options: Mapping[str, Any]) -> dict[str, Any]:
    from tulu_data.errors import UsageError

    given: dict[str, Any] = {}
    for text in options["options"]:
        name, _, value = text.partition("=")
        try:
            given[name] = json.loads(value)
        except ValueError:
            raise UsageError(f"--option {text!r}: write it as KEY=JSON, e.g. max_constraints=2") from None
    if options["constraints"]:
        given["constraints"] = list(options["constraints"])
    if options["harmful"]:
        given["harmful"] = True
    return given


def _list_skills(*, as_json: bool) -> None:
    from personas.skills import skills
    from tulu_data.tables import print_json, print_table

    rows = [(s.name, s.version, len(s.families) or "-", s.samples, s.about) for s in skills().values()]
    if as_json:
        print_json([dict(zip(("skill", "version", "families", "samples", "about"), r, strict=True)) for r in rows])
        return
    print_table("Skills", ["skill", "version", "families", "samples", "what a row is"], rows)


def _show_plan(job: Job, *, as_json: bool) -> None:
    from personas.planning import ANSWER_TOKENS, CHARS_PER_TOKEN
    from tulu_data.llm.request import Usage
    from tulu_data.tables import print_json, print_table

    plan = job.plan
    item = next(plan.items(1))
    step = next(plan.skill.talk(item))
    first = plan.request(item, step.asks[0])  # type: ignore[union-attr]  # a row asks before it checks
    requests = plan.n * plan.skill.requests(plan.samples_asked)
    rest = [t.text for stage, t in plan.prompts.templates.items() if stage != "prompt"]
    longest = plan.params.get("max_tokens") or ANSWER_TOKENS
    chars = sum(len(str(m["content"])) for m in first.messages)
    later = (sum(map(len, rest)) / max(1, len(rest)) if rest else 0) + ANSWER_TOKENS * CHARS_PER_TOKEN
    prompt_tokens = round((plan.n * chars + (requests - plan.n) * later) / CHARS_PER_TOKEN)
    price = job.spec.known_price if job.spec else None
    usd = price.of(Usage(prompt_tokens, requests * longest)) if price else None
    if plan.model is None:
        requests = prompt_tokens = longest = 0
        usd = 0.0
    told = {
        "rows": plan.n,
        "requests": requests,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": requests * longest,
        "usd": usd,
    }
    if as_json:
        print_json({"request": first.body, **told})
        return
    click.echo("The first request:")
    print_json(first.body)
    print_table(
        "\nPlan",
        ["rows", "requests", "prompt tokens, about", "completion tokens, about", "USD, about"],
        [(plan.n, requests, prompt_tokens, requests * longest, "not known" if usd is None else f"{usd:,.2f}")],
    )
    if plan.model is not None and "max_tokens" not in plan.params:
        click.echo(f"An answer is taken to be {ANSWER_TOKENS} tokens long; with --max-tokens the cost has a limit.")


def _show(ran: Ran) -> None:
    from personas.showing import print_summary

    print_summary(ran.summary, ran.folder)


# ------------------------------------------------------------ personas


@click.group(epilog=example("tulu personas sample --n 3"))
def personas_command() -> None:
    """Look at personas, and make more of them."""


@personas_command.command("sample", epilog=example("tulu personas sample --n 3 --seed 7"))
@click.argument("source", default="sample")
@click.option("-n", "--n", "n", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws others.")
@click.option("--persona-field", "field", help="Column that holds the persona [default: persona, text, description].")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write them there as JSONL.")
@json_option
def sample_command(source: str, n: int, seed: int, field: str | None, output: Path | None, as_json: bool) -> None:
    """Draw personas from SOURCE: files, hub:org/name, or the sample that ships with the package."""
    import random

    from personas.persona import as_records, read_personas
    from tulu_data.errors import UsageError
    from tulu_data.tables import print_json

    known = read_personas(source, field=field)
    if n > len(known):
        raise UsageError(f"n is {n:,}, and {source} holds {len(known):,} personas; ask for fewer")
    drawn = random.Random(seed).sample(known, n)
    if output is not None:
        _write_jsonl(output, as_records(drawn))
        click.echo(f"{n:,} personas in {output}")
    elif as_json:
        print_json(as_records(drawn))
    else:
        for persona in drawn:
            click.echo(f"{persona.id}  {persona.text}")


@personas_command.command(
    "expand", epilog=example("tulu personas expand data.jsonl --method text --model gpt-4o-mini -o run --dry-run")
)
@click.argument("source", default="sample")
@click.option(
    "--method",
    type=click.Choice(["text", "persona"]),
    default="persona",
    show_default=True,
    help="From texts: who would read or write them; from personas: who is close to them.",
)
@click.option("--model", required=True, help="As the server calls it.")
@model_options
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run."
)
@click.option("--persona-field", "field", help="Column that holds the text or persona.")
@click.option("--each", type=click.IntRange(min=1), default=3, show_default=True, help="Personas asked for from each.")
@click.option("--limit", type=click.IntRange(min=1), help="The first so many texts or personas only.")
@click.option(
    "--near",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.7,
    show_default=True,
    help="Similarity from which one is a duplicate.",
)
@click.option("--license", "license_", help="Of the personas that are made [default: of what they are made from].")
@click.option("--dry-run", is_flag=True, help="Print the first request and how many there are; ask nobody.")
@quiet_option
@json_option
def expand_command(source: str, output: Path, dry_run: bool, quiet: bool, as_json: bool, **options: Any) -> None:
    """Make personas from SOURCE by a model, without near duplicates, into OUTPUT/personas.jsonl.

    From texts (a web page, a question, a row of data) or from personas. The same command goes on where it was stopped.
    """
    from personas.expanding import Expansion, expand
    from personas.persona import as_records
    from tulu_data.commands.model_options import spec_of
    from tulu_data.errors import TuluError
    from tulu_data.llm.report import reporting
    from tulu_data.llm.spec import asking
    from tulu_data.tables import print_json, print_table

    spec = spec_of(options["model"], options)
    plan = Expansion.of(
        source,
        spec,
        method=options["method"],
        field=options["field"],
        each=options["each"],
        limit=options["limit"],
        license_=options["license_"],
    )
    requests = list(plan.requests())
    if dry_run:
        print_json({"request": requests[0].body, "requests": len(requests)})
        return
    try:
        with asking(spec, output) as asked, reporting(spec.model, len(requests), quiet=quiet) as watch:
            found = expand(plan, asked, near=options["near"], watch=watch)
    except TuluError:
        click.echo(f"to go on: {shlex.join(['tulu', *sys.argv[1:]])}", err=True)
        raise
    _write_jsonl(output / "personas.jsonl", as_records(found.personas))
    told = {"personas": len(found.personas), "rejected": found.rejected, "file": str(output / "personas.jsonl")}
    if as_json:
        print_json(told)
        return
    print_table(
        str(output / "personas.jsonl"), ["personas", "rejected"], [(len(found.personas), sum(found.rejected.values()))]
    )
    for reason, count in found.rejected.items():
        click.echo(f"{count:,} × {reason}")


def _write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    from tulu_data.store import writing

    with writing(path.parent, "-o"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(r, ensure_ascii=False) for r in records)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
