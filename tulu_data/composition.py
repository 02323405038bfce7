"""What a version is made of, and what became of its sources' rows on the way: views of a manifest, as tables.

Cards, pages and the terminal show these. Nothing is read but the manifest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tulu_data.licenses import LicenseUse, uses
from tulu_data.manifest import Manifest, Step

MIX = "mix"


class SourceShare(NamedTuple):
    """What one source (the rows' column `source`) has of a version: shares are of its rows and of its tokens."""

    source: str
    topic: str | None
    rows: int
    share: float
    copies: int
    chars: int
    tokens: int | None
    token_share: float | None
    licenses: dict[str, int]


class TopicShare(NamedTuple):
    """What the parts of one topic have of a mixture; `asked` is the share that was asked for, in the same unit as
    `achieved`: rows, or tokens where every part was asked for those.
    """

    topic: str | None
    parts: tuple[str, ...]
    rows: int
    share: float
    tokens: int | None
    token_share: float | None
    asked: float | None
    achieved: float | None


class PartShare(NamedTuple):
    """One part of a mixture, as it was asked for and as it came out. `unit` is what `asked` counts: rows or tokens."""

    part: str
    topic: str | None
    version: str
    sources: tuple[str, ...]  # of that version
    take: dict[str, Any]
    available: int
    unit: str
    asked: int
    achieved: int | None  # in that unit
    rows: int
    share: float
    chars: int
    tokens: int | None


class Stage(NamedTuple):
    """One step on a source's way. `left_out`: rows that went in and did not come out; None where that cannot be told.

    drops: the side file with what was left out, in the folder of the version that the step made.
    """

    step: str
    rows_in: int
    rows_out: int
    left_out: int | None
    drops: str | None
    params: dict[str, Any]
    parents: tuple[str, ...] = ()  # versions that it read: the first gave the rows


class Funnel(NamedTuple):
    """A source's way into a version, from what was read to what is in it."""

    part: str
    topic: str | None
    version: str | None  # the version that was mixed; None where the funnel is the version's own
    stages: tuple[Stage, ...]

    @property
    def rows(self) -> int:
        """What came out at the end."""
        return self.stages[-1].rows_out if self.stages else 0


def mix_step(manifest: Manifest) -> Step | None:
    """The step that mixed the version; None where it is no mixture, or was changed since."""
    last = manifest.steps[-1] if manifest.steps else None
    return last if last is not None and last.name == MIX and "parts" in last.params else None


def topics_of(manifest: Manifest) -> dict[str, str]:
    """The topic of each source that has one, as the mixtures on the version's way, or its recipe, name it.

    A source whose rows were mixed under several topics has none.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for step in manifest.steps:
        if step.name == MIX:
            for part in step.params.get("parts", {}).values():
                for name in part.get("sources", ()) if part.get("topic") else ():
                    found[name].add(part["topic"])
    recipe = (manifest.origin.recipe if manifest.origin else {}).get("sources", {})
    for name in manifest.logical.sources:
        topic = (recipe.get(name) or {}).get("topic")
        if topic and name not in found:
            found[name].add(topic)
    return {name: next(iter(found[name])) for name in manifest.logical.sources if len(found[name]) == 1}


def sources(manifest: Manifest) -> list[SourceShare]:
    """The sources of a version, those with the most rows first."""
    logical, topics = manifest.logical, topics_of(manifest)
    listed = [
        SourceShare(
            source=name,
            topic=topics.get(name),
            rows=s.rows,
            share=_share(s.rows, logical.rows),
            copies=s.copies,
            chars=s.chars,
            tokens=s.tokens,
            token_share=None if s.tokens is None or logical.tokens is None else _share(s.tokens, logical.tokens),
            licenses=dict(s.licenses),
        )
        for name, s in logical.sources.items()
    ]
    return sorted(listed, key=lambda s: (-s.rows, s.source))


def shares(manifest: Manifest) -> list[SourceShare]:
    """The sources of a version; those of which a mixture took several parts by part, each with its own topic."""
    listed = parts(manifest)
    of_source: dict[str, list[PartShare]] = defaultdict(list)
    for part in listed:
        if len(part.sources) == 1:
            of_source[part.sources[0]].append(part)
    tokens, found = manifest.logical.tokens, []
    for source in sources(manifest):
        own = of_source[source.source]
        if len(own) < 2 or source.copies or sum(p.rows for p in own) != source.rows:
            found.append(source)
            continue
        found += [
            source._replace(
                source=p.part,
                topic=p.topic,
                rows=p.rows,
                share=p.share,
                copies=0,
                chars=p.chars,
                tokens=p.tokens,
                token_share=None if p.tokens is None or tokens is None else _share(p.tokens, tokens),
            )
            for p in own
        ]
    return sorted(found, key=lambda s: (-s.rows, s.source))


def parts(manifest: Manifest) -> list[PartShare]:
    """The parts of a mixture by name; none of what is no mixture, or was mixed before these were recorded."""
    step = mix_step(manifest)
    listed = step.params["parts"].items() if step else ()
    total = step.rows_out if step else 0
    return [_part(name, p, total) for name, p in sorted(listed) if "asked" in p]


def _part(name: str, p: Mapping[str, Any], total: int) -> PartShare:
    [(unit, asked)] = p["asked"].items()
    return PartShare(
        part=name,
        topic=p["topic"],
        version=p["version"],
        sources=tuple(p["sources"]),
        take=p["take"],
        available=p["available"],
        unit=unit,
        asked=asked,
        achieved=p[unit],
        rows=p["rows"],
        share=_share(p["rows"], total),
        chars=p["chars"],
        tokens=p["tokens"],
    )


def topics(manifest: Manifest) -> list[TopicShare]:
    """The topics of a mixture, those with the most rows first; what has no topic stands together, last."""
    by_topic: dict[str | None, list[PartShare]] = defaultdict(list)
    listed = parts(manifest)
    for part in listed:
        by_topic[part.topic].append(part)
    rows, tokens = sum(p.rows for p in listed), _sum(p.tokens for p in listed)
    units = {p.unit for p in listed}
    asked = sum(p.asked for p in listed) if len(units) == 1 else None
    achieved = _sum(p.achieved for p in listed)
    found = []
    for topic, own in by_topic.items():
        own_tokens, own_achieved = _sum(p.tokens for p in own), _sum(p.achieved for p in own)
        found.append(
            TopicShare(
                topic=topic,
                parts=tuple(p.part for p in own),
                rows=sum(p.rows for p in own),
                share=_share(sum(p.rows for p in own), rows),
                tokens=own_tokens,
                token_share=None if own_tokens is None or tokens is None else _share(own_tokens, tokens),
                asked=None if asked is None else _share(sum(p.asked for p in own), asked),
                achieved=None
                if asked is None or achieved is None or own_achieved is None
                else _share(own_achieved, achieved),
            )
        )
    return sorted(found, key=lambda t: (t.topic is None, -t.rows, t.topic or ""))


def licences(manifest: Manifest) -> list[LicenseUse]:
    """The licences of a version's rows, the most rows first."""
    return uses({name: s.licenses for name, s in manifest.logical.sources.items()})


def funnels(manifest: Manifest) -> list[Funnel]:
    """The way of each part of a mixture, by name; of what is no mixture its own, under its name."""
    step = mix_step(manifest)
    if step is None or not all("steps" in p for p in step.params["parts"].values()):
        return [Funnel(manifest.name, None, None, _stages(manifest.steps))] if step is None else []
    found = []
    for name, p in sorted(step.params["parts"].items()):
        first, end = p["steps"]
        own = manifest.steps[first:end]
        taken = Stage(MIX, own[-1].rows_out if own else p["available"], p["rows"], None, None, {"take": p["take"]})
        left = taken.rows_in - taken.rows_out
        found.append(
            Funnel(
                name, p["topic"], p["version"], (*_stages(own), taken._replace(left_out=left if left >= 0 else None))
            )
        )
    return found


def _stages(steps: Sequence[Step]) -> tuple[Stage, ...]:
    return tuple(Stage(s.name, s.rows_in, s.rows_out, _left_out(s), s.drops, s.params, tuple(s.parents)) for s in steps)


def _left_out(step: Step) -> int | None:
    if step.name == "ingest":  # a record that is read may become several rows: the rejects are counted for themselves
        return step.params.get("rejected") if step.drops else 0
    left = step.rows_in - step.rows_out
    return left if left >= 0 else None


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _sum(numbers: Iterable[int | None]) -> int | None:
    listed = list(numbers)
    return None if None in listed else sum(n for n in listed if n is not None)
