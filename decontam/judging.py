"""A policy applied to what a scan found: layers that fire, verdicts on sets, rows that leave. No text is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from decontam.verdicts import (
    COPY_SIMILARITY,
    LAYERS,
    MOST_NUMBERS,
    MOST_NUMBERS_SHIFT,
    OTHER_NUMBERS,
    OTHER_NUMBERS_SHIFT,
    SAME_NUMBERS_SHIFT,
    Layer,
    Policy,
    Settings,
    Verdict,
    is_contaminated,
    worst,
)

DROPS: tuple[Verdict, ...] = ("drop rows", "drop set")

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

EVALS = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("suite", pa.string()),
        pa.field("group", pa.string()),
        pa.field("instances", pa.int64()),
        pa.field("short_instances", pa.int64()),  # no field reaches n tokens: only the exact layer sees them
        pa.field("unmatchable", pa.int64()),  # hold nothing but separators
        pa.field("flagged", pa.int64()),  # by the chosen layers
        *(pa.field(f"flagged_{layer}", pa.int64()) for layer in LAYERS),  # whatever the marks say
        pa.field("undecided", pa.int64()),  # that do not count, since the model that was asked gave no answer
        pa.field("with_answer", pa.int64()),  # of the flagged, those whose answer leaks too
        pa.field("share", pa.float64()),  # flagged / instances
        pa.field("contaminated", pa.bool_()),  # the 2 % rule, whatever the policy
        pa.field("verdict", pa.string()),  # what the policy does
    ]
)
ROWS = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("row_id", pa.string()),
        pa.field("row_sha", pa.binary(32)),
        pa.field("row_index", pa.int64()),
        pa.field("dropped", pa.bool_()),
        pa.field("reason", pa.string()),  # null for a row that is kept
        pa.field("suites", pa.list_(pa.string())),  # that it shares anything with
        pa.field("severity", pa.string()),  # the worst of the pairs that count; null where none does
        pa.field("coverage", pa.float64()),  # the highest
    ]
)


class Judged(NamedTuple):
    """What a policy makes of the pairs."""

    layers: pa.Array  # list<string> by pair: those that fire, chosen or not
    evals: pa.Table
    rows: pa.Table
    dropped: dict[str, int]  # by set, of sets that are dropped whole all rows
    verdicts: dict[str, Verdict]
    flagged: int  # instances
    flagged_distinct: int  # counting instances that repeat each other once


def judge(
    pairs: pa.Table,
    suites: Sequence[Mapping[str, Any]],
    sets: Mapping[str, int],
    settings: Settings,
    policy: Policy,
    marks: pa.Array | None = None,
) -> Judged:
    """Applies a policy to pairs, in the order of a scan. `suites` are those of a manifest, `sets` their rows by name.

    `marks`, `(pairs,)` "true", "false" or null, are what a person said of each: a pair that is marked false never
    counts, one that is marked true always does.

    `ValueError` where the scan has not recorded what the policy asks for.
    """
    policy.check_against(settings)
    fires = layers_of(pairs, settings, policy)
    counts = np.any([fires[layer] for layer in policy.layers], axis=0) if len(pairs) else np.zeros(0, np.bool_)
    if marks is not None:
        counts = (counts | _says(marks, "true")) & ~_says(marks, "false")
    undecided = _undecided(pairs, policy) & ~counts
    if marks is not None:
        undecided &= ~_says(marks, "false")
    evals = _evals(pairs, suites, list(sets), policy, fires, counts, undecided)
    rows = _rows(pairs, evals, counts)
    verdicts = {name: worst(e["verdict"] for e in evals if e["set"] == name) for name in sets}
    gone = {name: sum(r["dropped"] for r in rows if r["set"] == name) for name in sets}
    flagged = {k for k, c in zip(_identities(pairs, ("suite", "instance_id")), counts.tolist(), strict=True) if c}
    return Judged(
        _layer_lists(fires, len(pairs)),
        pa.Table.from_pylist(evals, schema=EVALS),
        pa.Table.from_pylist(rows, schema=ROWS),
        {name: sets[name] if verdicts[name] == "drop set" else gone[name] for name in sets},
        verdicts,
        len(flagged),
        len(_distinct(pairs, counts)),
    )


def layers_of(pairs: pa.Table, settings: Settings, policy: Policy) -> dict[Layer, Bools]:
    """Which layers fire for each pair: `(pairs,)` each."""
    exact = _column(pairs, "exact").astype(np.bool_)
    # A run of n tokens is a shared n-gram; an instance that is found whole without one is too short to have any.
    shares = _column(pairs, "longest_run") >= settings.n
    telling = _column(pairs, "informative_covered")
    similarity = np.nan_to_num(_column(pairs, "fuzzy"), nan=-1.0)
    whole = telling == _column(pairs, "informative_total")
    enough = whole | (telling >= policy.informative_min_tokens) | (similarity >= COPY_SIMILARITY)
    return {
        "exact": exact,
        "tulu3": shares & (_column(pairs, "coverage") > policy.threshold),
        "informative": (_column(pairs, "informative") > policy.informative_threshold) & enough,
        "fuzzy": similarity >= policy.fuzzy_threshold,
        "semantic": _near(pairs, policy),
        "any": shares,
    }


def _near(pairs: pa.Table, policy: Policy) -> Bools:
    """What a model said that was asked; otherwise, and where it gave no answer, the cosine."""
    cosine = np.nan_to_num(_column(pairs, "semantic"), nan=-1.0)
    said = pairs["judgement"]
    threshold = policy.semantic_threshold + numbers_shift(_column(pairs, "numbers"))
    near: Bools = cosine >= threshold
    return (near & ~_says(said, "different")) | _says(said, "same")


def numbers_shift(numbers: F64) -> F64:
    """How much more cosine pairs need, or less, for what their numbers say; nothing where there are too few."""
    known = np.nan_to_num(numbers, nan=(MOST_NUMBERS + OTHER_NUMBERS) / 2)
    shifts = [SAME_NUMBERS_SHIFT, MOST_NUMBERS_SHIFT, OTHER_NUMBERS_SHIFT]
    return np.select([known >= 1, known >= MOST_NUMBERS, known < OTHER_NUMBERS], shifts, 0.0)


def _undecided(pairs: pa.Table, policy: Policy) -> Bools:
    said = _says(pairs["judgement"], "undecided")
    return said if "semantic" in policy.layers else np.zeros_like(said)


def _says(values: pa.Array | pa.ChunkedArray, wanted: str) -> Bools:
    return np.asarray(pc.fill_null(pc.equal(values, wanted), False).to_numpy(zero_copy_only=False), np.bool_)


def _column(pairs: pa.Table, name: str) -> Any:
    return pairs[name].to_numpy()


def _layer_lists(fires: Mapping[Layer, Bools], count: int) -> pa.Array:
    table = np.stack([fires[layer] for layer in LAYERS], axis=1) if count else np.zeros((0, len(LAYERS)), np.bool_)
    offsets = np.append(0, np.cumsum(table.sum(axis=1))).astype(np.int32)
    names = pa.array(LAYERS, pa.string()).take(pa.array(np.nonzero(table)[1]))
    return pa.ListArray.from_arrays(pa.array(offsets), names)


def _identities(pairs: pa.Table, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(pairs[c].to_pylist() for c in columns), strict=True))


def _distinct(pairs: pa.Table, counts: Bools) -> set[Any]:
    names = _identities(pairs, ("suite", "instance_id", "repeats"))
    return {repeats or f"{suite}/{instance}" for (suite, instance, repeats), c in zip(names, counts, strict=True) if c}


# ------------------------------------------------------------ evals


def _evals(
    pairs: pa.Table,
    suites: Sequence[Mapping[str, Any]],
    sets: Sequence[str],
    policy: Policy,
    fires: Mapping[Layer, Bools],
    counts: Bools,
    undecided: Bools,
) -> list[dict[str, Any]]:
    """One entry per training set × suite."""
    cells = _Cells(pairs, sets, [s["id"] for s in suites])
    by_layer = {layer: cells.instances(fires[layer]) for layer in LAYERS}
    flagged = cells.instances(counts)
    open_questions = cells.instances(undecided)
    leaked = cells.instances(counts & (pairs["severity"].to_numpy(zero_copy_only=False) == "question+answer"))
    entries = []
    for cell, (name, suite) in enumerate((n, s) for n in sets for s in suites):
        count, size = int(flagged[cell]), suite["instances"]
        contaminated = is_contaminated(count, size, policy.set_threshold)
        entries.append(
            {
                "set": name,
                "suite": suite["id"],
                "group": suite["group"],
                "instances": size,
                "short_instances": suite["short"],
                "unmatchable": suite["unmatchable"],
                "flagged": count,
                **{f"flagged_{layer}": int(by_layer[layer][cell]) for layer in LAYERS},
                "undecided": int(open_questions[cell]),
                "with_answer": int(leaked[cell]),
                "share": count / size,
                "contaminated": contaminated,
                "verdict": policy.verdict(
                    suite["group"], flagged=count, contaminated=contaminated, undecided=int(open_questions[cell])
                ),
            }
        )
    return entries


class _Cells:
    """The grid of sets × suites, by number."""

    def __init__(self, pairs: pa.Table, sets: Sequence[str], suites: Sequence[str]) -> None:
        self.count = len(sets) * len(suites)
        of_set, of_suite = _numbers(pairs["set"], sets), _numbers(pairs["suite"], suites)
        self.cell = of_set * len(suites) + of_suite
        self.instance = pairs["instance_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        self.width = int(self.instance.max(initial=0)) + 1

    def instances(self, chosen: Bools) -> I64:
        """`(cells,)` how many instances have a chosen pair."""
        keys = np.unique(self.cell[chosen] * self.width + self.instance[chosen])
        return np.bincount(keys // self.width, minlength=self.count).astype(np.int64)


def _numbers(column: pa.ChunkedArray, names: Sequence[str]) -> I64:
    place = {name: i for i, name in enumerate(names)}
    encoded = column.combine_chunks().dictionary_encode()
    numbers = np.array([place[name] for name in encoded.dictionary.to_pylist()], np.int64)
    indices = encoded.indices.to_numpy()
    return numbers[indices] if len(indices) else np.zeros(0, np.int64)


# ------------------------------------------------------------ rows


def _rows(pairs: pa.Table, evals: Sequence[Mapping[str, Any]], counts: Bools) -> list[dict[str, Any]]:
    """One entry per row that shares anything with an instance."""
    columns = ["set", "row_index", "row_id", "row_sha", "suite", "severity", "coverage"]
    listed = pairs.select(columns).to_pylist()
    for pair, count in zip(listed, counts.tolist(), strict=True):
        pair["counts"] = count
    acting = {(e["set"], e["suite"]) for e in evals if e["verdict"] in DROPS}
    fatal: dict[str, list[str]] = {}
    for e in evals:
        if e["verdict"] == "drop set":
            fatal.setdefault(e["set"], []).append(e["suite"])
    entries = []
    for (name, index), group in groupby(listed, key=lambda p: (p["set"], p["row_index"])):
        of_row = list(group)
        hits = {p["suite"] for p in of_row if p["counts"]}
        causes = sorted(suite for suite in hits if (name, suite) in acting)
        reason = f"overlaps {', '.join(causes)}" if causes else None
        if name in fatal:
            reason = set_reason(fatal[name])
        entries.append(
            {
                "set": name,
                "row_id": of_row[0]["row_id"],
                "row_sha": of_row[0]["row_sha"],
                "row_index": index,
                "dropped": reason is not None,
                "reason": reason,
                "suites": sorted({p["suite"] for p in of_row}),
                "severity": max((p["severity"] for p in of_row if p["counts"]), default=None),
                "coverage": max(p["coverage"] for p in of_row),
            }
        )
    return entries


def set_reason(suites: Sequence[str]) -> str:
    """Why a row of a set that is dropped whole leaves."""
    return f"its set is dropped: contaminated by {', '.join(sorted(suites))}"
