"""What became of the rows that were read: the funnel of each part, and why each stage dropped what it dropped.

Counts come from the manifest; reasons and examples from the drops files of the versions on the way, as far as the
store still holds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data.composition import MIX, Funnel, PartShare, Stage
from tulu_data.errors import StoreError
from tulu_data.ingestion import reason_class
from tulu_data.manifest import Manifest
from tulu_data.mixture_samples import by_rank, clipped, first_words, rows_of, side_rows, stored
from tulu_data.rows import Row
from tulu_data.store import Store, Version

I64 = npt.NDArray[np.int64]

EXAMPLES = 10  # of one stage of one part
ALL_EXAMPLES = 400  # ... of all, as far as two of each stage allow
REASONS = 40  # of one stage of one part that are listed
SPAN_CHARS = 600

LOSSES = {  # step → what it leaves out, and why, in a few words
    "ingest": ("rejected", "records that are no rows"),
    "filter": ("filtered", "dropped by a quality filter"),
    "dedup": ("duplicates", "equal or nearly equal to a row that stays"),
    "decontaminate": ("overlap", "share text with an evaluation suite"),
    MIX: ("left over", "not asked for"),
}
SHADES = {"ingest": "lost0", "filter": "lost1", "dedup": "lost2", "decontaminate": "lost3", MIX: "left"}


class Dropped(NamedTuple):
    """What a stage of a part dropped. note: why there are no examples, or why they have no texts.

    again: another part takes from the same version, and stands before this one with the same rows.
    """

    part: str
    step: str
    rows: int
    reasons: list[tuple[str, int]]
    examples: list[dict[str, Any]]
    note: str | None
    again: bool = False


# ------------------------------------------------------------ the counts


def linear(funnels: Sequence[Funnel]) -> list[Funnel]:
    """The funnels from the last mixture on their way on: before it several sources' rows ran side by side."""
    found = []
    for funnel in funnels:
        mixed = [i for i, s in enumerate(funnel.stages) if s.step == MIX and "take" not in s.params]
        found.append(funnel._replace(stages=funnel.stages[mixed[-1] + 1 :] if mixed else funnel.stages))
    return found


class Losses(NamedTuple):
    """What all parts lost: records or rows read, rows dropped, rows that were not asked for."""

    read: int
    dropped: int
    left_over: int


def losses(funnels: Sequence[Funnel], parts: Sequence[PartShare] = ()) -> Losses:
    """Over all parts; a version that two parts take from counts once, and so does a row that `parts` repeat."""
    available = {p.part: p.available for p in parts}
    own = {f.version or f.part: f for f in funnels if f.stages}
    taken: Counter[str] = Counter()
    for f in funnels:
        if f.stages:
            taken[f.version or f.part] += min(f.rows, available.get(f.part, f.rows))
    dropped = sum(s.left_out or 0 for f in own.values() for s in f.stages if s.step != MIX)
    mixed = {key: f.stages[-1] for key, f in own.items() if f.stages[-1].step == MIX}
    left = sum(max(0, stage.rows_in - taken[key]) for key, stage in mixed.items())
    return Losses(sum(f.stages[0].rows_in for f in own.values()), dropped, left)


def funnel_view(funnels: Sequence[Funnel], shown: Sequence[Dropped]) -> dict[str, Any]:
    """The table of the funnel: a row for each part, a column for each stage that left anything out anywhere."""
    steps = [s.step for f in funnels for s in f.stages]
    known = [step for step in LOSSES if step in steps]
    others = [step for step in dict.fromkeys(steps) if step not in LOSSES and _lost(funnels, step)]
    columns = [step for step in (*known[:1], *others, *known[1:]) if step != MIX]
    columns += [MIX] if MIX in steps else []
    pickable = {(d.part, d.step): d for d in shown}
    return {
        "columns": [_column(step) for step in columns],
        "rows": [{"index": i, **_row(f, columns, pickable)} for i, f in enumerate(funnels) if f.stages],
        "legend": [{"words": LOSSES[s][0], "shade": SHADES[s]} for s in columns if s in LOSSES and _lost(funnels, s)],
    }


def _lost(funnels: Sequence[Funnel], step: str) -> bool:
    return any(s.left_out for f in funnels for s in f.stages if s.step == step)


def _column(step: str) -> dict[str, str]:
    words, note = LOSSES.get(step, (step, f"left out by the step {step}"))
    return {"step": step, "words": words, "note": note}


def _row(funnel: Funnel, columns: Sequence[str], pickable: dict[tuple[str, str], Dropped]) -> dict[str, Any]:
    lost: Counter[str] = Counter()
    for stage in funnel.stages:
        lost[stage.step] += stage.left_out or 0
    whole = funnel.rows + sum(lost.values()) or 1
    segments: list[dict[str, Any]] = [
        {"shade": "kept", "width": 100 * funnel.rows / whole, "words": f"{funnel.rows:,} in it"}
    ]
    segments += [
        {"shade": SHADES.get(step, "lost1"), "width": 100 * n / whole, "words": f"{n:,} {_column(step)['words']}"}
        for step, n in sorted(lost.items(), key=lambda e: e[0] != MIX)
        if n
    ]
    return {
        "part": funnel.part,
        "topic": funnel.topic,
        "read": funnel.stages[0].rows_in,
        "rows": funnel.rows,
        "segments": [s | {"width": round(s["width"], 3)} for s in segments],
        "cells": [
            {
                "step": step,
                "n": lost[step],
                "has": any(s.step == step for s in funnel.stages),
                "share": lost[step] / whole,
                "pick": (funnel.part, step) in pickable,
            }
            for step in columns
        ],
    }


# ------------------------------------------------------------ what was dropped


def dropped(funnels: Sequence[Funnel], version: Version, store: Store) -> list[Dropped]:
    """Of each stage that keeps a list of what it left out: the reasons, and examples, so many of each reason."""
    listed = [(f, i) for f in funnels for i, s in enumerate(f.stages) if s.drops and s.left_out]
    most = max(2, min(EXAMPLES, ALL_EXAMPLES // max(1, len(listed))))
    found: list[Dropped] = []
    first: dict[tuple[str, int], Dropped] = {}
    for funnel, i in listed:
        key = funnel.version or funnel.part, i
        if key in first:
            found.append(first[key]._replace(part=funnel.part, again=True))
        else:
            first[key] = _dropped(funnel, i, version, store, most)
            found.append(first[key])
    return found


def _dropped(funnel: Funnel, at: int, version: Version, store: Store, most: int) -> Dropped:
    stage = funnel.stages[at]
    ref = _made(funnel, at)
    made = version if ref is None else made_by(stage, ref, store)
    bare = Dropped(funnel.part, stage.step, stage.left_out or 0, _reasons_on_record(stage), [], None)
    if made is None:
        return bare._replace(note=f"The store no longer holds {ref}, which lists them.")
    try:
        with pq.ParquetFile(made.side_file(stage.drops or "")) as file:
            keys, order = _keys(file, stage.step)
            chosen = np.sort(spread(keys, order, most))
            entries = side_rows(file, chosen)
        counted = Counter(keys).most_common()
        texts, note = _texts(stage, entries, store)
    except (StoreError, OSError, pa.ArrowException):
        return bare._replace(note=f"The list of them in {made.ref} cannot be read.")
    examples = [_example(keys[at], e, texts, made.manifest) for at, e in zip(chosen, entries, strict=True)]
    ordered = sorted(counted, key=lambda e: (-e[1], e[0]))[:REASONS]
    return bare._replace(reasons=ordered, examples=examples, note=note)


def _made(funnel: Funnel, at: int) -> str | None:
    """The version that a stage made: the one the next stage read, the one that was mixed, or this very version."""
    after = funnel.stages[at + 1] if at + 1 < len(funnel.stages) else None
    return after.parents[0] if after is not None and after.parents else funnel.version


def made_by(stage: Stage, ref: str, store: Store) -> Version | None:
    """The version that the store holds under this name and that this very stage made, whichever of its histories."""
    folder = store.root / ref
    for build in (None, *sorted(path.parent.name for path in folder.glob("builds/*/manifest.json"))):
        try:
            version = store.open_build(ref, build)
        except StoreError:
            continue
        steps = version.manifest.steps if version is not None else []
        if steps and (steps[-1].name, steps[-1].params, steps[-1].drops) == (stage.step, stage.params, stage.drops):
            return version
    return None


def _reasons_on_record(stage: Stage) -> list[tuple[str, int]]:
    """What the manifest itself says of reasons: filters count theirs there."""
    return [(rule["rule"], rule["first"]) for rule in stage.params.get("funnel", ()) if rule["first"]]


def _keys(file: pq.ParquetFile, step: str) -> tuple[list[str], I64]:
    """The reason of each entry, without its particulars, and the entries by hash rank."""
    names = set(file.schema_arrow.names)
    table = file.read(columns=sorted(names & {"row_sha", "suite" if step == "decontaminate" else "reason"}))
    column = table["suite" if step == "decontaminate" else "reason"].combine_chunks().dictionary_encode()
    words = [kind_of_reason(step, value) for value in column.dictionary.to_pylist()]
    keys = ["the whole set goes" if code is None else words[code] for code in column.indices.to_pylist()]
    if "row_sha" in names:
        return keys, by_rank(first_words(table["row_sha"]))
    return keys, by_rank(np.arange(len(keys), dtype=np.uint64))


def kind_of_reason(step: str, reason: str) -> str:
    """A reason without its particulars; of an overlap, `reason` is the suite."""
    if step in ("filter", "synth", "pairs"):
        return reason.partition(":")[0]
    return {"ingest": reason_class(reason), "decontaminate": f"overlaps {reason}"}.get(step, reason)


def spread(keys: Sequence[str], order: I64, most: int) -> I64:
    """The places of `most` entries, of every reason its first before any second; `order` says who is first."""
    met: Counter[str] = Counter()
    turns = np.empty(len(order), np.int64)
    for i, place in enumerate(order.tolist()):
        turns[i] = met[keys[place]]
        met[keys[place]] += 1
    return order[np.argsort(turns, kind="stable")][:most]


def _texts(stage: Stage, entries: Sequence[Row], store: Store) -> tuple[dict[bytes, Row], str | None]:
    """The rows behind entries, by digest, from the version that the stage read."""
    digests = [e["row_sha"] for e in entries if "row_sha" in e]
    if not digests or not stage.parents:
        return {}, None
    parent = stored(store, stage.parents[0])
    if parent is None:
        return {}, f"The store no longer holds {stage.parents[0]}, where their texts stood."
    try:
        return rows_of(parent, digests), None
    except StoreError:
        return {}, f"{stage.parents[0]}, where their texts stand, cannot be read."


def _example(key: str, entry: Row, texts: dict[bytes, Row], made: Manifest) -> dict[str, Any]:
    if "place" in entry:  # what was read, or made, and is no row
        place, reason = entry["place"], entry["reason"]
        if not place.startswith("hub:"):
            place = PurePosixPath(place).name
        for given in made.inputs:  # folders are nobody's business
            reason = reason.replace(f"{PurePosixPath(given.uri).parent}/", "")
        return {"i": place, "r": key, "w": reason, "d": [], "z": clipped(entry["excerpt"]), "x": None}
    return {
        "i": entry["id"],
        "r": key,
        "w": entry["reason"],
        "d": list(_details(entry)),
        "z": clipped(entry.get("span"), SPAN_CHARS),
        "x": texts.get(entry["row_sha"]),
    }


def _details(entry: Row) -> Iterator[list[str]]:
    for key, words in (
        ("kept_id", "stays for it"),
        ("kept_version", "in"),
        ("suite", "suite"),
        ("instance_id", "instance"),
        ("others", "other rules that would drop it"),
    ):
        if entry.get(key):
            yield [words, entry[key]]
    if entry.get("score") is not None:
        yield ["likeness", f"{entry['score']:.3f}"]
