"""`tulu ablate`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import click

from tulu_data.commands.mix import parse_emphases
from tulu_data.commands.options import (
    complete_recipes,
    example,
    json_option,
    quiet_option,
    store_option,
    workers_option,
)

if TYPE_CHECKING:
    from tulu_data.ablation import Base, Change, Counts, Variant
    from tulu_data.pipeline import Run
    from tulu_data.progress import Progress
    from tulu_data.recipe import Loaded
    from tulu_data.store import Store


@click.command(epilog=example("tulu ablate quickstart --without grade_math --each source -o ablations"))
@click.argument("recipe", shell_complete=complete_recipes)
@click.option(
    "--without",
    multiple=True,
    metavar="NAME",
    help="Leave out a source of the mix, a topic, or what a pattern names: 'persona_*'. A+B leave together. "
    "Repeatable: each is a variant.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Keep this alone; named as for --without. Repeatable.")
@click.option("--each", type=click.Choice(["source", "topic"]), help="Leave out each in turn.")
@click.option(
    "--emphasize",
    multiple=True,
    metavar="TOPIC:AMOUNT",
    help="Give a topic times=F or share=F of the mixture, e.g. Math:times=2; with + several together. Repeatable.",
)
@click.option(
    "--same-size",
    is_flag=True,
    help="What is left out is made up for by the other parts, in proportion; else the mixture shrinks.",
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder for the recipes.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of RECIPE, as in tulu run."
)
@click.option("--force", is_flag=True, help="Write over other files of the same names.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--run", "run_all", is_flag=True, help="Also run the base and every variant into the store.")
@store_option
@workers_option
@quiet_option
@json_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    out: Path,
    same_size: bool,
    force: bool,
    dry_run: bool,
    run_all: bool,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Write variants of RECIPE for experiments with its mixture, and print what each would hold.

    One file for the base and one for each variant, each a recipe of its own: tulu run DIR/NAME-without-X.yaml. Steps
    before the mix are shared, so that after the first run only mixes are made.
    """
    from tulu_data import recipe as recipes
    from tulu_data.ablation import Base, counts
    from tulu_data.errors import UsageError
    from tulu_data.executor import default_workers
    from tulu_data.pipeline import run
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store

    if dry_run and run_all:
        raise UsageError("--dry-run writes nothing, so there is nothing to --run; give one of them")
    if not any(asked.values()):
        raise UsageError("tulu ablate: says no variant; give --without, --only, --each or --emphasize")
    store = Store(store_root)
    how: _How = {"workers": workers or default_workers(), "progress": for_stderr(quiet=quiet or as_json)}
    data, loaded, changes = _read(recipe, overrides, **asked)
    first = run(loaded, store, **how) if run_all else None  # before the plans, so that they count what there is
    base = Base(data, loaded, counts(run(loaded, store, dry_run=True), loaded.recipe))
    planned = _plan(base, changes, out, store, same_size=same_size)
    texts = _texts(planned, _command_line(recipe, overrides, asked, same_size, out))
    if not dry_run:
        _write(texts, out, force=force)
    results = [_as_json(base, p, out) for p in planned]
    if first is not None:
        rest = [run(recipes.load(out / f"{p.variant.name}.yaml"), store, **how) for p in planned[1:]]
        results = [result | _made(ran, first) for result, ran in zip(results, [first, *rest], strict=True)]
    _print(base.recipe.name, results, as_json=as_json, ran=run_all)


class Planned(NamedTuple):
    """A variant, and what its plan tells."""

    variant: Variant
    counts: Counts
    to_run: tuple[str, ...]  # the steps that are not in the store yet
    topic_of: dict[str, str | None]


class _How(TypedDict):
    """How a recipe runs; its result does not depend on it."""

    workers: int
    progress: Progress


def _read(
    recipe: str,
    overrides: Sequence[str],
    *,
    without: Sequence[str],
    only: Sequence[str],
    each: Literal["source", "topic"] | None,
    emphasize: Sequence[str],
) -> tuple[dict[str, Any], Loaded, list[Change]]:
    """The recipe in its plain form, the same read, and the changes that are asked for."""
    from tulu_data import ablation
    from tulu_data import recipe as recipes

    data, folder = recipes.read(recipe, overrides)
    loaded = recipes.from_data(data, place=recipe, base=folder)
    emphases = [parse_emphases(text.split("+")) for text in emphasize]
    changes = ablation.changes(loaded.recipe, without=without, only=only, each=each, emphases=emphases)
    return data, loaded, changes


def _plan(base: Base, changes: Sequence[Change], out: Path, store: Store, *, same_size: bool) -> list[Planned]:
    """The base and its variants, each planned; `TuluError` in one line, with the name of the variant."""
    from tulu_data import ablation
    from tulu_data.errors import TuluError

    found = [_planned(ablation.unchanged(base, out), out, store)]
    for change in changes:
        try:
            variant = ablation.variant(base, change, out, same_size=same_size)
            first = _planned(variant, out, store)
            variant = ablation.expecting(base, variant, first.counts)
            found.append(first._replace(variant=variant))
        except TuluError as e:
            raise type(e)(f"{base.recipe.name} {change.says}: {e}") from None
    return found


def _planned(variant: Variant, out: Path, store: Store) -> Planned:
    from tulu_data import ablation
    from tulu_data import recipe as recipes
    from tulu_data.pipeline import run

    loaded = recipes.from_data(variant.data, place=str(out / f"{variant.name}.yaml"), base=out)
    planned = run(loaded, store, dry_run=True)
    to_run = tuple(s.step for s in planned.steps if s.status == "to run")
    return Planned(variant, ablation.counts(planned, loaded.recipe), to_run, loaded.recipe.part_topics)


def _command_line(recipe: str, overrides: Sequence[str], asked: Mapping[str, Any], same_size: bool, out: Path) -> str:
    """The command that writes the same files."""
    words = ["tulu", "ablate", recipe]
    for option, values in (("without", asked["without"]), ("only", asked["only"])):
        words += [word for value in values for word in (f"--{option}", value)]
    words += ["--each", asked["each"]] if asked["each"] else []
    words += [word for value in asked["emphasize"] for word in ("--emphasize", value)]
    words += ["--same-size"] if same_size else []
    words += [word for value in overrides for word in ("--set", value)]
    return shlex.join([*words, "-o", str(out)])


def _texts(planned: Sequence[Planned], command_line: str) -> dict[str, str]:
    from tulu_data.ablation import as_yaml

    return {f"{p.variant.name}.yaml": as_yaml(p.variant, command_line) for p in planned}


def _write(texts: Mapping[str, str], out: Path, *, force: bool) -> None:
    """Writes the files, all or none; `UsageError` where another stands under one of the names."""
    from tulu_data.errors import UsageError

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is no folder; choose another for -o")
    held = {name for name in texts if (out / name).exists()}
    same = {name for name in held if _holds(out / name, texts[name])}
    if not force and held != same:
        path = out / min(held - same)
        raise UsageError(f"{path}: holds something else; choose another folder, or write over it with --force")
    out.mkdir(parents=True, exist_ok=True)
    temporary = {out / n: out / f".{n}.tmp-{os.getpid()}" for n in texts if force or n not in same}
    try:
        for path, temp in temporary.items():
            temp.write_text(texts[path.name], encoding="utf-8")
        for path, temp in temporary.items():
            temp.replace(path)
    finally:
        for temp in temporary.values():
            temp.unlink(missing_ok=True)


def _holds(path: Path, text: str) -> bool:
    """Whether the file is this recipe: its comments, which name the command that wrote it, may be others."""
    import yaml

    try:
        return bool(yaml.safe_load(path.read_text(encoding="utf-8")) == yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False


def _made(ran: Run, base: Run) -> dict[str, Any]:
    """What a run made, and how many rows it shares with the base's mixture."""
    from tulu_data import composition
    from tulu_data.diff import diff

    assert ran.mixture is not None
    assert base.mixture is not None
    told = diff(base.mixture, ran.mixture, examples=0)
    return {
        "version": ran.mixture.ref,
        "rows": ran.mixture.rows,
        "topics": {t.topic or "": t.rows for t in composition.topics(ran.mixture.manifest)},
        "steps_run": [s.step for s in ran.steps if s.status == "done"],
        "in_base": told.common,
        "not_in_base": told.only_b,
    }


def _as_json(base: Base, planned: Planned, out: Path) -> dict[str, Any]:
    by_topic: dict[str, int | None] = dict.fromkeys(topic or "" for topic in base.recipe.part_topics.values())
    for topic in by_topic:
        rows = [n for name, n in planned.counts.rows.items() if (planned.topic_of[name] or "") == topic]
        by_topic[topic] = None if None in rows else sum(n for n in rows if n is not None)
    return {
        "name": planned.variant.name,
        "file": str(out / f"{planned.variant.name}.yaml"),
        "parts": list(planned.counts.rows),
        "planned": planned.counts.total,
        "planned_topics": by_topic,
        "to_run": list(planned.to_run),
        "notes": list(planned.variant.notes),
    }


def _print(name: str, results: Sequence[dict[str, Any]], *, as_json: bool, ran: bool) -> None:
    from tulu_data.tables import print_json, print_table, printable

    if as_json:
        print_json(results)
        return
    topics = list(results[0]["planned_topics"])
    header = ["recipe", "parts", "rows", *(topic or "no topic" for topic in topics)]
    rows = [
        [r["name"], len(r["parts"]), r["planned"], *(r["planned_topics"][t] for t in topics), _steps(r["to_run"])]
        for r in results
    ]
    print_table(f"Variants of {name}, as planned", [*header, "to run"], rows)
    if ran:
        rows = [
            [
                *(r["version"], len(r["parts"]), r["rows"]),
                *(r["topics"].get(topic, 0) for topic in topics),
                *(r["in_base"], r["not_in_base"], _steps(r["steps_run"])),
            ]
            for r in results
        ]
        header[0] = "version"
        print_table(f"Variants of {name}, as made", [*header, "in the base", "not in it", "ran"], rows)
    for r in results:
        for note in r["notes"]:
            click.echo(f"{printable(r['name'])}: {printable(note)}.")


def _steps(steps: Sequence[str]) -> str:
    return ", ".join(steps) if len(steps) <= 2 else f"{len(steps)} steps"
