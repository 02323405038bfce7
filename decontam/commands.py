"""`tulu audit`, `tulu judge` and `tulu drop`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tulu_data.commands.options import (
    complete_datasets,
    example,
    json_option,
    quiet_option,
    store_option,
    suites_root_option,
    workers_option,
)

if TYPE_CHECKING:
    from decontam.engine import EngineName
    from tulu_data.executor import How
    from tulu_data.progress import Progress
    from tulu_data.store import Store, Version


HOWS = ("threads", "processes", "ray")
ENGINES = ("auto", "compiled", "reference")

F = TypeVar("F", bound=Callable[..., Any])


def policy_options(command: F) -> F:
    """The options of a policy: what counts as an overlap, and what drop will do."""
    options = [
        click.option(
            "--policy", default="rows", show_default=True, help="What drop will do: rows, tulu3, any or none."
        ),
        click.option("--layers", help="Layers that count, separated by commas [default: those of the policy]."),
        click.option(
            "--threshold", type=float, default=0.5, show_default=True, help="tulu3 fires above this coverage."
        ),
        click.option(
            "--informative-threshold",
            type=float,
            default=0.5,
            show_default=True,
            help="informative fires above this coverage.",
        ),
        click.option(
            "--informative-min-tokens",
            type=int,
            default=12,
            show_default=True,
            help="... and from so many covered tokens on, or all there are.",
        ),
        click.option(
            "--fuzzy-threshold",
            type=float,
            default=0.75,
            show_default=True,
            help="fuzzy fires from this similarity on.",
        ),
        click.option(
            "--semantic-threshold",
            type=float,
            default=0.78,
            show_default=True,
            help="semantic fires from this cosine on; less where the numbers agree, more where they do not.",
        ),
        click.option(
            "--set-threshold",
            type=float,
            default=0.02,
            show_default=True,
            help="A set is contaminated above this share of a suite's instances.",
        ),
        click.option("--gate", is_flag=True, help="Exit 3 when anything overlaps."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


POLICY_KEYS = (
    *("policy", "layers", "threshold", "informative_threshold", "informative_min_tokens"),
    *("fuzzy_threshold", "semantic_threshold", "set_threshold"),
)


def policy_section(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a policy as keys of a recipe's section."""
    section = {key: given[key] for key in POLICY_KEYS if given[key] is not None}
    if "layers" in section:
        section["layers"] = section["layers"].split(",")
    return section


@click.command(epilog=example("tulu audit grade_math data.jsonl --suites quickstart"))
@click.argument("train", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option(
    "--suites",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Suite, collection or file of them, e.g. tulu3, gsm8k, my.yaml, my.yaml#gsm8k, gsm8k=FILE; see tulu suites.",
)
@suites_root_option
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the tables [default: in the store].",
)
@click.option("--analyzer", default="unicode", show_default=True, help="unicode, tulu or word.")
@click.option("-n", "n", type=int, default=8, show_default=True, help="Tokens of an n-gram.")
@click.option(
    "--max-df",
    type=int,
    default=3,
    show_default=True,
    help="An n-gram in more distinct test texts is not informative.",
)
@click.option(
    "--exact-min-tokens",
    type=int,
    default=5,
    show_default=True,
    help="Instances of fewer tokens match whole messages only.",
)
@click.option("--fuzzy/--no-fuzzy", default=True, show_default=True, help="Look for edited instances too.")
@click.option("--semantic", is_flag=True, help="Look for instances in other words too (extra 'semantic').")
@click.option(
    "--encoder",
    help="With --semantic: a sentence-transformers model, its folder, or URL#model [default: all-MiniLM-L6-v2].",
)
@click.option("--judge-url", help="Ask a model about pairs near in meaning: an OpenAI-compatible endpoint.")
@click.option("--judge-model", help="With --judge-url: the model's name.")
@click.option(
    "--floor",
    type=float,
    default=0.0,
    show_default=True,
    help="Leave no evidence of pairs of no higher coverage.",
)
@click.option("--roles", default="user", show_default=True, help="Turns to match: user, assistant or all.")
@policy_options
@click.option(
    "--executor",
    type=click.Choice(HOWS),
    help="Where the work runs [default: threads, or processes for the reference engine].",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="Both give the same tables; the reference is plain Python.",
)
@store_option
@workers_option
@quiet_option
@json_option
def audit_command(
    train: tuple[str, ...],
    suites: tuple[str, ...],
    suites_root: str | None,
    output: Path | None,
    gate: bool,
    executor: How | None,
    engine: EngineName,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find which rows of TRAIN overlap which evaluation instances.

    TRAIN are dataset names, versions, or raw files and hub:org/name, which are read into the store first;
    NAME=PATH names one. A killed audit goes on where it was; another policy of a finished one reads nothing again.
    """
    from decontam import step
    from tulu_data.commands.show import print_audit
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store

    settings = {key: given[key] for key in ("analyzer", "n", "max_df", "exact_min_tokens", "fuzzy", "floor", "roles")}
    section = {
        "suites": list(suites),
        "suites_root": suites_root,
        **settings,
        **_meaning(given),
        **policy_section(given),
    }
    prepared = step.validate(section, "tulu audit", Path.cwd(), under="")
    store, progress = Store(store_root), for_stderr(quiet=quiet)
    count = workers or default_workers()
    versions = _open_all(store, train, count, progress)
    folder = step.audit(prepared, versions, store, workers=count, progress=progress, executor=executor, engine=engine)
    if output is not None:
        step.copy_audit(folder, output)
    print_audit(output or folder, as_json=as_json)
    if gate:
        step.check_gate(output or folder)


def _meaning(given: dict[str, Any]) -> dict[str, Any]:
    """The options about meaning as keys of a recipe's section."""
    from tulu_data.errors import UsageError

    if given["encoder"] and not given["semantic"]:
        raise UsageError("--encoder: goes with --semantic; add it, or leave the encoder out")
    if bool(given["judge_url"]) != bool(given["judge_model"]):
        raise UsageError("--judge-url and --judge-model: are given together or not at all")
    section: dict[str, Any] = {}
    if given["semantic"]:
        section["semantic"] = {"encoder": given["encoder"]} if given["encoder"] else {}
    if given["judge_url"]:
        section["judge"] = {"url": given["judge_url"], "model": given["judge_model"]}
    return section


@click.command(epilog=example("tulu judge audit --policy tulu3"))
@click.argument("audit", type=click.Path(path_type=Path))
@policy_options
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the tables [default: in the store].",
)
@store_option
@json_option
def judge_command(audit: Path, gate: bool, output: Path | None, store_root: Path, as_json: bool, **given: Any) -> None:
    """Apply another policy to AUDIT, a finished audit's folder or id, without reading any row again."""
    from decontam import step
    from decontam.verdicts import Policy
    from tulu_data.commands.show import print_audit
    from tulu_data.store import Store
    from tulu_data.strict import validate

    store = Store(store_root)
    policy = validate(Policy, policy_section(given), "tulu judge")
    folder = step.judge(step.open_audit(store, audit)[0], policy, store, output)
    print_audit(folder, as_json=as_json)
    if gate:
        step.check_gate(folder)


@click.command(epilog=example("tulu page audit"))
@click.argument("audit", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file [default: AUDIT/audit.html]."
)
@click.option("--max-pairs", type=click.IntRange(min=0), default=50_000, show_default=True, help="Pairs in the page.")
@store_option
@quiet_option
def page_command(audit: Path, output: Path | None, max_pairs: int, store_root: Path, quiet: bool) -> None:
    """Write AUDIT, an audit's folder or id, as one self-contained HTML page with every match side by side."""
    from decontam import step
    from decontam.page import page
    from tulu_data import pages
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store

    folder, found = step.open_audit(Store(store_root), audit)
    path = output or folder / "audit.html"
    pages.write(path, page(found, max_pairs=max_pairs, progress=for_stderr(quiet=quiet)))
    click.echo(path)


@click.command(epilog=example("tulu drop grade_math --audit audit -o grade_math-checked"))
@click.argument("what", metavar="VERSION", shell_complete=complete_datasets)
@click.option(
    "--audit", "audit_folder", required=True, type=click.Path(path_type=Path), help="An audit's folder or id."
)
@click.option("-o", "--name", help="Name of the cleaned dataset [default: NAME-clean].")
@store_option
@quiet_option
@json_option
def drop_command(what: str, audit_folder: Path, name: str | None, store_root: Path, quiet: bool, as_json: bool) -> None:
    """Publish VERSION without the rows that the audit's policy drops, with the decontamination record."""
    from decontam import step
    from tulu_data.commands.show import print_version
    from tulu_data.progress import for_stderr
    from tulu_data.recipe import CLEAN
    from tulu_data.store import Store

    store = Store(store_root)
    version = store.open(what)
    made = step.drop(
        step.open_audit(store, audit_folder)[0],
        version,
        store,
        name or f"{version.name}{CLEAN}",
        progress=for_stderr(quiet=quiet),
    )
    print_version(made, as_json=as_json)


def _open_all(store: Store, train: Sequence[str], workers: int, progress: Progress) -> list[Version]:
    from tulu_data.errors import UsageError

    given: dict[str, str] = {}
    versions = []
    for what in train:
        version = _open_or_ingest(store, what, workers, progress)
        if version.name in given:
            both = f"{given[version.name]}, {what}"
            raise UsageError(f"{both}: both are the training set {version.name!r}; name a raw one apart: NAME=PATH")
        given[version.name] = what
        versions.append(version)
    return versions


def _open_or_ingest(store: Store, what: str, workers: int, progress: Progress) -> Version:
    """A version of the store, or one made of raw files; a name in the store goes before a file."""
    from tulu_data.commands.ingest import ingest_raw

    name, equals, place = what.partition("=")
    if equals and "/" not in name and not Path(what).exists():
        return ingest_raw(store, (place,), name=name, workers=workers, progress=progress)
    raw = what.startswith("hub:") or Path(what).exists() or any(c in what for c in "*?[")
    known = store.latest(what) is not None or "@tv1-" in what or (Path(what) / "manifest.json").is_file()
    if raw and not known:
        return ingest_raw(store, (what,), workers=workers, progress=progress)
    return store.open(what)
