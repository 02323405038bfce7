"""A task's samples as a page holds them: by instance, what each run answered; what prompts share is held once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import pyarrow as pa

from tulu_data.evals.adjusted import Overlap

MAX_CHARS = 6_000  # of one text; what is longer loses its middle, for questions and answers stand at the end
LEAD = 400  # a beginning that all prompts of a subset share is shown once and folded, from this length on
KINDS = ("dirty or unclear", "not judged", "wrong or right in part", "right")  # in the order in which they are kept

Rows = list[dict[str, Any]]


class Samples(NamedTuple):
    """A task's instances with what each run answered. shots, leads: texts that many prompts share, each once.

    sizes: characters of each row. kinds: of each row, its place in `KINDS`. subsets: by instance id.
    """

    rows: Rows
    sizes: list[int]
    kinds: list[int]
    shots: list[Any]
    leads: list[str]
    sets: list[str]
    subsets: dict[str, str | None]

    @classmethod
    def of(cls, tables: Sequence[pa.Table | None], overlaps: Sequence[Overlap | None]) -> Samples:
        """Of each run's samples, and what audits say of its instances; None where it lacks the task, or an audit."""
        found: dict[str, dict[str, Any]] = {}
        sets: dict[str, int] = {}
        for place, (table, overlap) in enumerate(zip(tables, overlaps, strict=True)):
            if table is not None:
                _gather(found, table, place, len(tables))
            for name, row in found.items() if overlap else ():
                row["d"][place] = _seen(name, overlap, sets) if overlap else None
        rows = list(found.values())
        subsets = {row["i"]: row["u"] for row in rows}
        shots, leads = _folded(rows)
        sizes = [_size(row) for row in rows]
        return cls(rows, sizes, [_kind(row) for row in rows], shots, leads, list(sets), subsets)

    def kept(self, share: int) -> list[int]:
        """Places of the rows that fit into so many characters: by kind, then in the suite's order."""
        places = []
        for i in sorted(range(len(self.rows)), key=lambda i: (self.kinds[i], i)):
            share -= self.sizes[i]
            if share < 0:
                break
            places.append(i)
        return sorted(places)

    def data(self, kept: Sequence[int]) -> dict[str, Any]:
        """What the browser unpacks."""
        return {"shots": self.shots, "leads": self.leads, "sets": self.sets, "rows": [self.rows[i] for i in kept]}

    def told(self, kept: Sequence[int]) -> str:
        """What the page holds of the instances, in a sentence; empty where it is all."""
        if len(kept) == len(self.rows):
            return ""
        there, of_all = (
            [sum(self.kinds[i] == k for i in some) for k in range(len(KINDS))] for some in (kept, range(len(self.rows)))
        )
        sides = (
            f"all {a:,} {name}" if a == b else f"{a:,} of {b:,} {name}"
            for a, b, name in zip(there, of_all, KINDS, strict=True)
            if b
        )
        return f"The page holds {len(kept):,} of {len(self.rows):,} instances, to stay small: {', '.join(sides)}."


def _gather(found: dict[str, dict[str, Any]], table: pa.Table, place: int, runs: int) -> None:
    for row in table.to_pylist():
        extra = json.loads(row["extra"])
        options = extra.pop("options", None)
        entry = found.get(row["instance_id"])
        if entry is None:
            entry = found[row["instance_id"]] = {
                "i": row["instance_id"],
                "u": row["subset"],
                "m": [[m["role"], m["content"]] for m in json.loads(row["messages"])],
                "t": cut(row["truth"]),
                "o": options,
                "d": [None] * runs,
                "r": [[] for _ in range(runs)],
            }
        logps = [float(f"{p:.6g}") if isfinite(p) else None for p in row["logps"]]
        said = json.dumps(extra, ensure_ascii=False, indent=1) if extra else ""
        extracted = None if row["extracted"] is None else cut(row["extracted"])
        entry["r"][place].append(
            [cut(row["response"]), extracted, row["score"], cut(row["reason"]), logps or None, cut(said)]
        )


def _seen(instance: str, overlap: Overlap, sets: dict[str, int]) -> list[Any]:
    """0 clean, 1 dirty, 2 unclear; the coverage; the training sets, by their places in `sets`."""
    state = 1 if instance in overlap.dirty else 2 if instance in overlap.unclear else 0
    by = [sets.setdefault(name, len(sets)) for name, dirty in overlap.by_set.items() if instance in dirty]
    return [state, round(overlap.coverage.get(instance, 0.0), 4), by]


def _folded(rows: Rows) -> tuple[list[Any], list[str]]:
    """Takes out of the prompts what they share: earlier turns, and a long common beginning of a subset's last turns."""
    shots: dict[str, int] = {}
    listed: list[Any] = []
    leads: list[str] = []
    by_subset: defaultdict[str | None, Rows] = defaultdict(list)
    for row in rows:
        by_subset[row["u"]].append(row)
        head = 1 if row["m"][0][0] == "system" else 0
        turns = [[role, cut(text)] for role, text in row["m"][head:-1]]
        key = json.dumps(turns)
        if turns and key not in shots:
            shots[key] = len(listed)
            listed.append(turns)
        row["h"] = shots.get(key)
        row["m"] = [*row["m"][:head], row["m"][-1]] if len(row["m"]) > head else row["m"]
    for some in by_subset.values():
        lead = _beginning([row["m"][-1][1] for row in some])
        lead = lead[: lead.rfind("\n\n") + 2] if "\n\n" in lead else ""
        shared = len(lead) >= LEAD
        if shared:
            leads.append(cut(lead.rstrip()))
        for row in some:
            *head, (role, text) = row["m"]
            own = text[len(lead) :] if shared else text
            row["l"] = len(leads) - 1 if shared else None
            row["m"] = [*([r, cut(t)] for r, t in head), [role, cut(own)]]
    return listed, leads


def _beginning(texts: Sequence[str]) -> str:
    """What several texts have in common at their start."""
    if len(texts) < 2:
        return ""
    low, high = min(texts), max(texts)
    return low[: next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]


def cut(text: str, most: int = MAX_CHARS) -> str:
    """A text of at most about `most` characters: a longer one loses its middle, and says how much.

    >>> cut("abcdefgh", 4)
    'ab\\n… 4 more characters …\\ngh'
    """
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} more characters …\n{text[-half:]}"


def _size(row: dict[str, Any]) -> int:
    answers = sum(len(text or "") for run in row["r"] for a in run for text in (a[0], a[1], a[3], a[5]))
    options = sum(len(o[0]) for o in row["o"] or ())
    return 200 + answers + options + len(row["t"]) + sum(len(text) for _, text in row["m"])


def _kind(row: dict[str, Any]) -> int:
    if any(d and d[0] for d in row["d"]):
        return 0
    scores = [answer[2] for run in row["r"] for answer in run]
    return 1 if None in scores else 3 if min(scores, default=0.0) >= 1.0 else 2
