"""`tulu dedup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import (
    complete_datasets,
    example,
    json_option,
    quiet_option,
    store_option,
    workers_option,
)

if TYPE_CHECKING:
    from tulu_data.dedup import Duplicates
    from tulu_data.dedup.examples import Example, Member
    from tulu_data.store import Version

LIGHT = "Light edits only: of texts in which one word in twenty differs, most have a similarity below 0.75."


@click.command(epilog=example("tulu dedup grade_math general_chat --near 0.8 --across"))
@click.argument("versions", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option(
    "--exact",
    default="row",
    show_default=True,
    metavar="KINDS",
    help="Of row, prompt, last_turn, with commas; or none.",
)
@click.option(
    "--near",
    type=float,
    metavar="SIMILARITY",
    help=f"Also near duplicates: from this Jaccard similarity of word 5-grams on, e.g. 0.8. {LIGHT}",
)
@click.option(
    "--what",
    type=click.Choice(["prompt", "conversation", "answer"]),
    help="The text that --near compares [default: conversation].",
)
@click.option("--ngram", type=int, help="Words of a shingle [default: 5].")
@click.option(
    "--finder",
    "finders",
    multiple=True,
    metavar="NAME=SCORE",
    help="Also what another finder finds: meaning (or meaning=0.9: from this cosine on), or a plug-in; repeatable.",
)
@click.option("--encoder", metavar="MODEL", help="Of --finder meaning: a sentence-transformers model, or URL#model.")
@click.option("--across", is_flag=True, help="Compare the rows of all versions, not those of each alone.")
@click.option(
    "--priority", default="", metavar="NAMES", help="Sources or versions whose rows stay, first to last, with commas."
)
@click.option("-o", "--name", help="Name of what is published, of one version [default: NAME-unique].")
@click.option("--dry-run", is_flag=True, help="Only find and count; what is found is kept for the run that publishes.")
@click.option("--show", type=click.IntRange(min=1), metavar="N", help="Also print N clusters, the least alike first.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "compiled", "datasketch"]),
    default="auto",
    show_default=True,
    help="Of --near; datasketch is slow, and in memory.",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="For candidate pairs and their texts; more goes to disk. The result does not depend on it.",
)
@store_option
@workers_option
@quiet_option
@json_option
def command(
    versions: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    show: int | None,
    engine: Any,
    memory_mb: int,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Publish VERSIONS without duplicate rows.

    Of rows that are duplicates the one stays that comes first in --priority, then the longest, then the one whose id
    comes first. What left, and for which row: tulu show NAME-unique --drops.
    """
    from tulu_data.dedup import Settings, find_in_store, publish_unique
    from tulu_data.dedup.examples import examples
    from tulu_data.errors import UsageError
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store
    from tulu_data.strict import validate

    if name is not None and len(versions) > 1:
        raise UsageError(f"--name {name}: names one version, and {len(versions)} are given; leave it out")
    settings = validate(Settings, settings_section(**given), "tulu dedup")
    store, progress = Store(store_root), for_stderr(quiet=quiet)
    opened = [store.open(v) for v in versions]
    found = find_in_store(
        opened,
        settings,
        store,
        workers=workers or default_workers(),
        engine=engine,
        budget_bytes=memory_mb << 20,
        progress=progress,
    )
    made = [] if dry_run else [publish_unique(found, v, store, name, progress=progress) for v in opened]
    print_duplicates(found, made, examples(found, opened, show) if show else None, as_json=as_json)


def settings_section(
    *,
    exact: str,
    near: float | None,
    what: str | None,
    ngram: int | None,
    finders: tuple[str, ...],
    encoder: str | None,
    across: bool,
    priority: str,
) -> dict[str, Any]:
    """The options as the `dedup` section of a recipe.

    >>> options = {"what": None, "ngram": None, "finders": (), "encoder": None, "across": True, "priority": ""}
    >>> settings_section(exact="row,prompt", near=0.8, **options)["near"]
    {'threshold': 0.8}
    """
    options = {"what": what, "ngram": ngram}
    chosen = {key: value for key, value in options.items() if value is not None}
    if near is None and chosen:
        raise click.UsageError(f"--{next(iter(chosen))} is about near duplicates; give --near, e.g. --near 0.8")
    similar = [_finder(text) for text in finders]
    by_meaning = [s for s in similar if s["finder"] == "meaning"]
    if encoder is not None and not by_meaning:
        raise click.UsageError("--encoder is about meaning; give --finder meaning")
    for section in by_meaning:
        section["encoder"] = encoder
    return {
        "exact": [] if exact == "none" else _names(exact),
        "near": None if near is None else {"threshold": near, **chosen},
        "similar": similar,
        "scope": "across" if across else "within",
        "priority": _names(priority),
    }


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _finder(text: str) -> dict[str, Any]:
    name, given, score = text.partition("=")
    if name == "meaning" and not given:
        return {"finder": name}  # it has a default
    try:
        return {"finder": name, "threshold": float(score)}
    except ValueError:
        raise click.UsageError(f"--finder {text}: say from which score on, e.g. {name}=0.9") from None


def print_duplicates(
    found: Duplicates, made: list[Version], shown: list[Example] | None = None, *, as_json: bool = False
) -> None:
    """Counts by version and kind, some clusters, then what was published; as JSON the result's manifest, the versions
    made, and the clusters under `shown`.
    """
    from tulu_data.tables import print_json, print_table, printable

    if as_json:
        extra = {} if shown is None else {"shown": [_as_dict(cluster) for cluster in shown]}
        print_json({**found.manifest, "published": [v.ref for v in made], **extra})
        return
    counts = found.counts
    header = ["version", "rows", *found.kinds, "kept"]
    print_table(f"Duplicates, {found.settings.scope} versions", header, [list(c.values()) for c in counts])
    for cluster in shown or ():
        _print_cluster(cluster)
    for version in made:
        click.echo(f"{printable(version.ref)}  {version.path}")


def _as_dict(cluster: Example) -> dict[str, Any]:
    leave = [member._asdict() for member in cluster.leave]
    return cluster._asdict() | {"kept": cluster.kept._asdict(), "leave": leave}


def _print_cluster(cluster: Example) -> None:
    """The row that stays, then each that leaves, with what differs: - of the one that stays, + of the other."""
    from tulu_data.dedup.examples import difference, excerpt
    from tulu_data.tables import printable

    kept = cluster.kept
    click.secho(f"Cluster {cluster.cluster}: {cluster.rows:,} rows; {_place(kept)} stays", bold=True)
    click.echo(f"  {printable(excerpt(kept.text))}")
    for member in cluster.leave:
        score = "" if member.score is None else f" {member.score:.3f}"
        parts = difference(kept.text, member.text)
        click.echo(f"  {member.kind}{score}: {_place(member)} leaves{'' if parts else ', with the same words'}")
        for sign, text in zip("-+", parts or (), strict=False):
            click.echo(f"    {sign} {printable(text)}")
    hidden = cluster.rows - 1 - len(cluster.leave)
    click.echo(f"  and {hidden:,} more, at least as alike\n" if hidden else "")


def _place(member: Member) -> str:
    from tulu_data.tables import printable

    return printable(f"{member.id} of {member.version}")
