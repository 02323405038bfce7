"""What `tulu show` and `tulu run` print of a version's composition, and of what became of the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.show_audit import short

if TYPE_CHECKING:
    from tulu_data.funnel import Way
    from tulu_data.manifest import Manifest
    from tulu_data.store import Version

REASONS_SHOWN = 2  # of a part's stage; --json holds all
REASONS_CHARS = 70  # of them together, so that a line fits a hundred columns
HEADS = {"deduplicated": "duplicates", "decontaminated": "overlaps"}  # of stages


def print_sources(described: Manifest) -> None:
    """The sources of a version: rows, shares, tokens and licences, and topics where there are any."""
    from tulu_data.composition import topics_of
    from tulu_data.tables import percent, print_table, printable

    logical, topics = described.logical, topics_of(described)
    header = ["source", "rows", "share", "copies", "characters", "tokens", "licence"]
    rows: list[tuple[Any, ...]] = [
        (name, s.rows, percent(s.rows, logical.rows), s.copies, s.chars, s.tokens, ", ".join(s.licenses))
        for name, s in logical.sources.items()
    ]
    if topics:
        header.insert(1, "topic")
        rows = [(row[0], topics.get(row[0]), *row[1:]) for row in rows]
    print_table(printable(f"{described.name}: {logical.rows:,} {described.kind} rows"), header, rows)


def print_topics(described: Manifest) -> None:
    """The topics of a mixture: rows, tokens, and the shares that were asked for beside those that came out."""
    from tulu_data.composition import parts, topics
    from tulu_data.tables import print_table

    found = topics(described)
    if not any(t.topic for t in found):
        return
    units = {part.unit for part in parts(described)}
    unit = units.pop() if len(units) == 1 else "rows"
    rows = [
        (
            *(t.topic or "none", t.rows, _percent(t.share), t.tokens, _percent(t.token_share)),
            *(_percent(t.asked), _percent(t.achieved), ", ".join(t.parts)),
        )
        for t in found
    ]
    header = ["topic", "rows", "share", "tokens", "of tokens", f"{unit} asked", "achieved", "parts"]
    print_table("By topic", header, rows)


def print_parts(described: Manifest) -> None:
    """The parts of a mixture: what was asked of each, of how many rows, and what came out; nothing of what is none."""
    from tulu_data.composition import parts
    from tulu_data.tables import print_table

    found = parts(described)
    rows = [
        (p.part, p.topic, short(_take(p.take), 40), p.available, p.unit, p.asked, p.achieved, p.rows) for p in found
    ]
    header = ["part", "topic", "take", "available", "unit", "asked", "achieved", "rows"]
    shown = [i for i, name in enumerate(header) if name != "topic" or any(p.topic for p in found)]
    if all(p.unit == "rows" for p in found):
        shown = [i for i in shown if header[i] not in ("unit", "rows")]
    if found:
        print_table("Parts", [header[i] for i in shown], [[row[i] for i in shown] for row in rows])


def print_funnel(version: Version) -> None:
    """What became of the records that were read: a line for each part, a column for each stage; then the reasons."""
    from tulu_data.funnel import stages_of, ways
    from tulu_data.tables import print_table

    found = ways(version)
    stages = stages_of(found)
    mixed = any(way.sampled is not None for way in found)
    header = ["part", "read", *(HEADS.get(stage, stage) for stage in stages), "left", *(["sampled"] if mixed else [])]
    rows = [
        [w.part, w.read, *(w.left_out.get(s) for s in stages), w.remaining, w.sampled][: len(header)] for w in found
    ]
    if found:
        print_table("What became of the records", header, rows)
    told = [(w.part, HEADS.get(s, s), _reasons(w, s)) for w in found for s in stages if w.reasons.get(s)]
    if told:
        print_table("Main reasons", ["part", "stage", "why"], told)


def _reasons(way: Way, stage: str) -> str:
    from tulu_data.funnel import main_reasons

    listed = [(why.removeprefix("overlaps "), f"{rows:,}") for why, rows in main_reasons(way, stage, REASONS_SHOWN)]
    lines = (", ".join(f"{short(why, most)} {rows}" for why, rows in listed) for most in range(REASONS_CHARS, 8, -1))
    return next((line for line in lines if len(line) <= REASONS_CHARS), "")


def print_use(described: Manifest) -> None:
    """What the licences of the rows say of commercial use, in one line. `tulu licenses` says the rest."""
    from tulu_data.composition import licences
    from tulu_data.licenses import verdict
    from tulu_data.tables import printable

    said = verdict(licences(described))
    if said and described.logical.rows:
        click.echo(printable(said[0]))


def _take(take: Mapping[str, Any]) -> str:
    return ", ".join(key if value is True else f"{key} {value}" for key, value in take.items())


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"
