"""A part's way into a version as one line: what was read, what each stage left out and why, what was sampled.

The counts are the manifest's. Reasons are read beside it: in the versions that the steps made, as far as the store
still holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tulu_data import composition
from tulu_data.composition import MIX, Funnel
from tulu_data.mixture_funnel import kind_of_reason, made_by
from tulu_data.store import Store, Version

STAGES = ("rejected", "filtered", "deduplicated", "decontaminated")
STAGE_OF = {
    "ingest": "rejected",
    "synth": "rejected",
    "pairs": "rejected",
    "filter": "filtered",
    "dedup": "deduplicated",
    "decontaminate": "decontaminated",
}


class Way(NamedTuple):
    """One part's way. `left_out` has the stages that it went through, with None where a count cannot be told."""

    part: str
    topic: str | None
    read: int  # records, before anything was made of them
    left_out: dict[str, int | None]
    remaining: int  # rows before any were sampled
    sampled: int | None  # None where nothing was mixed
    reasons: dict[str, dict[str, int]]  # by stage; the most frequent first

    def as_dict(self) -> dict[str, Any]:
        """Plain, for JSON."""
        return self._asdict()


def ways(version: Version) -> list[Way]:
    """The way of each part of a mixture, by name; of what is no mixture its own."""
    mixed = composition.mix_step(version.manifest) is not None
    return [_way(funnel, version, mixed=mixed) for funnel in composition.funnels(version.manifest)]


def _way(funnel: Funnel, version: Version, *, mixed: bool) -> Way:
    left_out: dict[str, int | None] = {}
    reasons: dict[str, Counter[str]] = {}
    for i, stage in enumerate(funnel.stages):
        if name := STAGE_OF.get(stage.step):
            before = left_out.get(name, 0)
            left_out[name] = None if before is None or stage.left_out is None else before + stage.left_out
            reasons.setdefault(name, Counter()).update(_reasons(funnel, i, version))
    return Way(
        part=funnel.part,
        topic=funnel.topic,
        read=sum(s.rows_in for s in funnel.stages if not s.parents and s.step != MIX),
        left_out=left_out,
        remaining=funnel.stages[-1].rows_in if mixed else funnel.rows,
        sampled=funnel.rows if mixed else None,
        reasons={name: dict(_ordered(counts)) for name, counts in reasons.items() if counts},
    )


def stages_of(listed: Sequence[Way]) -> list[str]:
    """The stages that any of these ways went through, in order."""
    return [stage for stage in STAGES if any(stage in way.left_out for way in listed)]


def _ordered(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# ------------------------------------------------------------ why


def _reasons(funnel: Funnel, at: int, version: Version) -> Mapping[str, int]:
    """Why rows did not come out of a stage: reason → rows. Empty where that is not on record any more."""
    stage = funnel.stages[at]
    if stage.step == "filter":
        return {rule["rule"]: rule["first"] for rule in stage.params.get("funnel", ()) if rule["first"]}
    made = _made(funnel, at, version) if stage.drops else None
    if made is None:
        return {}
    if stage.step == "ingest":
        counts: Counter[str] = Counter()
        for given in made.manifest.inputs:
            counts.update(given.rejected)
        return counts
    return _of_file(made, stage.step, stage.drops or "")


def _of_file(version: Version, step: str, path: str) -> Mapping[str, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        column = pq.read_table(version.side_file(path), columns=["reason"])["reason"]
    except (OSError, pa.ArrowException):
        return {}  # reasons are told where they can be; `tulu verify` names what is damaged
    counts: Counter[str] = Counter()
    for entry in column.value_counts().to_pylist():
        why = str(entry["values"])
        counts[why if step == "decontaminate" else kind_of_reason(step, why)] += entry["counts"]
    return counts


def _made(funnel: Funnel, at: int, version: Version) -> Version | None:
    """The version that a stage made: one that a later stage read, the part's own, or this very one."""
    later = [ref for stage in funnel.stages[at + 1 :] for ref in stage.parents]
    if not later and funnel.version is None:
        return version
    store = Store(version.path.parent)
    found = (made_by(funnel.stages[at], ref, store) for ref in dict.fromkeys([*later, funnel.version]) if ref)
    return next((made for made in found if made is not None), None)


def main_reasons(way: Way, stage: str, most: int) -> list[tuple[str, int]]:
    """The `most` frequent reasons of a stage; what the others left out stands together, last."""
    counts = list(way.reasons.get(stage, {}).items())
    shown, rest = counts[:most], counts[most:]
    if len(rest) == 1:  # one more is as short as to say that there is one
        return counts
    return [*shown, (f"{len(rest)} other reasons", sum(n for _, n in rest))] if rest else shown
