"""`tulu mix`."""

from __future__ import annotations

from collections.abc import Iterable
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
    from tulu_data.mixture import Part
    from tulu_data.store import Store


@click.command(
    epilog=example("tulu mix grade_math-clean:all general_chat-clean:count=100,cap=90 -o my-mixture --seed 7")
)
@click.argument("parts", nargs=-1, required=True, shell_complete=complete_datasets)
@click.option("-o", "--name", required=True, help="Name of the mixture.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses the rows and their order.")
@click.option("--size-rows", type=int, help="Rows of the mixture, shared out by weight, or with --scale by all parts.")
@click.option("--size-tokens", type=int, help="The same in tokens.")
@click.option("--scale", is_flag=True, help="All parts grow or shrink to the size and keep their shares.")
@click.option(
    "--emphasize",
    multiple=True,
    metavar="TOPIC:AMOUNT",
    help="times=F or share=F of the mixture for a topic, e.g. Math:times=2; repeatable. A part's topic is that of its "
    "sources, as the recipe that made them states it.",
)
@click.option("--expect-rows", type=int, help="Fail (exit 3) unless the mixture has this many rows.")
@click.option("--dry-run", is_flag=True, help="Print the plan.")
@store_option
@workers_option
@quiet_option
@json_option
def command(
    parts: tuple[str, ...],
    name: str,
    seed: int,
    size_rows: int | None,
    size_tokens: int | None,
    scale: bool,
    emphasize: tuple[str, ...],
    expect_rows: int | None,
    dry_run: bool,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Mix versions. Each part is DATASET:TAKE, where TAKE is one of

    \b
      all   count=N   fraction=F   tokens=N   weight=W

    and, after commas, any of repeat=K, cap=N, floor=N, stratify=COLUMN, where=SQL (which comes last).
    """
    from tulu_data import mixture as mixing
    from tulu_data.commands.show import print_version
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.shares import Emphasis
    from tulu_data.store import Store
    from tulu_data.strict import validate
    from tulu_data.tables import print_json, print_table

    store = Store(store_root)
    chosen = [_part(store, text) for text in parts]
    size = {k: v for k, v in (("rows", size_rows), ("tokens", size_tokens)) if v is not None}
    if scale and not size:
        raise click.UsageError("--scale: to which size? add --size-rows or --size-tokens")
    how: dict[str, Any] = {
        "seed": seed,
        "size": validate(mixing.Size, size | {"scale": scale}, "--size") if size else None,
        "topics": {
            topic: validate(Emphasis, given, f"--emphasize {topic}")
            for topic, given in parse_emphases(emphasize).items()
        },
    }
    if dry_run:
        planned = mixing.plan(chosen, **how)
        mixing.check_expectations(planned, mixing.Expect(rows=expect_rows))
        rows = [(p.part.version.ref, p.available, len(p.rows), p.tokens) for p in planned.parts]
        if as_json:
            print_json([dict(zip(("part", "available", "rows", "tokens"), r, strict=True)) for r in rows])
        else:
            print_table(f"Mixture {name}, as planned", ["part", "available", "rows", "tokens"], rows)
        return
    version = mixing.mix(
        store,
        name,
        chosen,
        **how,
        expect=mixing.Expect(rows=expect_rows),
        workers=workers or default_workers(),
        progress=for_stderr(quiet=quiet),
    )
    print_version(version, as_json=as_json)


def _part(store: Store, text: str) -> Part:
    from tulu_data.composition import topics_of
    from tulu_data.mixture import Part
    from tulu_data.strict import validate
    from tulu_data.take import Take

    ref, colon, spec = text.partition(":")
    if not colon:
        raise click.UsageError(f"{text}: say how much, e.g. {text}:all or {text}:count=1000")
    version = store.open(ref)
    topic_of = topics_of(version.manifest)
    topics = {topic_of.get(source) for source in version.manifest.logical.sources}
    take = validate(Take, parse_take(spec), text)
    if take.of is not None:
        raise click.UsageError(f"{text}: of says which source a recipe's part is of; here the part is {ref} itself")
    return Part(version.name, version, take, take.topic or (topics.pop() if len(topics) == 1 else None))


def parse_emphases(texts: Iterable[str]) -> dict[str, dict[str, float]]:
    """`Math:times=2` as the recipe's `topics` would hold it.

    >>> parse_emphases(["Math:times=2", "Precise IF:share=0.1"])
    {'Math': {'times': 2.0}, 'Precise IF': {'share': 0.1}}
    """
    found: dict[str, dict[str, float]] = {}
    for text in texts:
        topic, _, amount = text.rpartition(":")
        key, _, value = amount.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = None
        if not topic or key not in ("times", "share") or number is None:
            raise click.UsageError(f"--emphasize {text}: write TOPIC:times=F or TOPIC:share=F, e.g. Math:times=1.5")
        if topic in found:
            raise click.UsageError(f"--emphasize {text}: {topic!r} is emphasised twice; give it once")
        found[topic] = {key: number}
    return found


def parse_take(spec: str) -> dict[str, Any]:
    """`count=100,repeat=2` as the mapping a recipe would hold.

    >>> parse_take("count=100,where=n_turns = 2, or so")
    {'count': 100, 'where': 'n_turns = 2, or so'}
    """
    import yaml

    head, comma, predicate = spec.partition("where=")
    take: dict[str, Any] = {}
    for item in filter(None, (piece.strip() for piece in head.split(","))):
        key, eq, value = item.partition("=")
        if not eq and key != "all":
            raise click.UsageError(
                f"{spec}: {key!r} says no amount; write all, count=N, fraction=F, tokens=N or weight=W"
            )
        if key in take:
            raise click.UsageError(f"{spec}: {key!r} is given twice; give it once")
        try:
            take[key] = yaml.safe_load(value) if eq else True
        except yaml.YAMLError:
            raise click.UsageError(f"{spec}: {value!r} is no value for {key}; write a number or a name") from None
    if comma:
        take["where"] = predicate
    return take
