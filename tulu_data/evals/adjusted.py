"""Contamination-adjusted scores: a task's samples, joined by instance with what audits say of the training data.

An instance is *dirty* where a pair of it counts by the audit's own policy, in any of the sets that were trained on;
*unclear* where the only pairs that could count are undecided; else *clean*. Both sides are aggregated with the task's
metric, so a macro metric is a macro mean over the subsets that have an instance left. Two such means may be over
different subsets, easy and hard ones: their gap is taken over the subsets that have both (`metrics.gap`).

The curve asks the same of coverage alone: at threshold t clean is what no message covers by more than t (the paper's
rule has t = 0.5, strict; arXiv 2411.15124 §3.2), so at 0 what shares no n-gram at all and at 1 everything. A whole
copy counts as coverage 1, short or not; pairs that a person marked false count nowhere.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tulu_data.errors import InputError, nearest
from tulu_data.evals.metrics import Bools, Difference, Estimate, Values, aggregate, gap
from tulu_data.store import Store

THRESHOLDS = tuple(i / 10 for i in range(11))
FACTS_FILE = "training.json"  # what a trainer leaves beside its model

Seen = Literal["all", "kept"]  # which rows the model saw: of the sets as audited, or without those that were dropped


class Audited(Protocol):
    """What is asked of an audit, with the marks beside it."""

    manifest: dict[str, Any]
    pairs: pa.Table
    rows: pa.Table

    def counts(self) -> Bools:
        """`(pairs,)` which pairs count."""


class Used(NamedTuple):
    """An audit in a folder, and what of it the model was trained on: these sets (None: all), these of their rows."""

    folder: Path
    sets: tuple[str, ...] | None = None
    seen: Seen = "all"


class Overlap(NamedTuple):
    """What audits say of a suite's instances.

    coverage: of instances with a pair, the highest by one message. by_set: dirty instances by training set. floor: up
    to this coverage pairs were not recorded.
    """

    audits: tuple[str, ...]
    suite: str
    seen: Seen
    dirty: frozenset[str]
    unclear: frozenset[str]
    coverage: Mapping[str, float]
    by_set: Mapping[str, frozenset[str]]
    floor: float = 0.0
    notes: tuple[str, ...] = ()


class Point(NamedTuple):
    """The score of what no message covers by more than the threshold."""

    threshold: float
    clean: Estimate


class Adjusted(NamedTuple):
    """A score taken apart. gap: dirty − clean; positive where the model does better on what it may have seen.

    gap_over: the subsets that have instances of both, which the gap is over; `("all",)` of what has none.
    """

    all: Estimate
    clean: Estimate
    dirty: Estimate
    unclear: int
    gap: Difference
    curve: tuple[Point, ...]
    overlap: Overlap
    gap_over: tuple[str, ...] = ()


class NotCovered(InputError):
    """No audit at hand has looked at the suite."""


def adjust(values: Values, overlap: Overlap) -> Adjusted:
    """The scores of all, clean and dirty instances, their gap, and the score by coverage threshold."""
    dirty = np.array([i in overlap.dirty for i in values.ids], np.bool_)
    unclear = np.array([i in overlap.unclear for i in values.ids], np.bool_)
    clean = ~dirty & ~unclear
    apart = gap(values, dirty, clean)
    coverage = np.array([overlap.coverage.get(i, 0.0) for i in values.ids], np.float64)
    curve = tuple(Point(t, aggregate(values, coverage <= t)) for t in THRESHOLDS if t >= overlap.floor)
    return Adjusted(
        aggregate(values),
        aggregate(values, clean),
        aggregate(values, dirty),
        int(unclear.sum()),
        apart.difference,
        curve,
        overlap,
        apart.strata,
    )


def overlap_of(suite: str, digest: str | None, ids: Sequence[str], audits: Sequence[Used], *, whole: bool) -> Overlap:
    """What the audits say of a suite's instances, together.

    digest: of the suite's version that was run. ids: the instances that were asked; whole: they are all that the suite
    has. `NotCovered` where no audit has the suite; `InputError` where one is of another version of it, knows instances
    that the run does not, or does not know a set.
    """
    found = [o for used in audits if (o := _of_one(suite, digest, ids, used, whole=whole)) is not None]
    if not found:
        names = ", ".join(str(used.folder) for used in audits)
        raise NotCovered(f"suite {suite!r}: no audit covers it ({names}); tulu audit DATA --suites {suite}")
    coverage: defaultdict[str, float] = defaultdict(float)
    by_set: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for one in found:
        for name, instances in one.by_set.items():
            by_set[name] |= instances
        for instance, share in one.coverage.items():
            coverage[instance] = max(coverage[instance], share)
    dirty = frozenset[str]().union(*(o.dirty for o in found))
    left = len(audits) - len(found)
    notes = dict.fromkeys(note for o in found for note in o.notes)
    if left:
        notes[f"{left} of {len(audits)} audits do not cover {suite}: their sets are not looked at"] = None
    return Overlap(
        tuple(a for o in found for a in o.audits),
        suite,
        "all" if any(o.seen == "all" for o in found) else "kept",
        dirty,
        frozenset[str]().union(*(o.unclear for o in found)) - dirty,
        dict(coverage),
        dict(by_set),
        max(o.floor for o in found),
        tuple(notes),
    )


def _of_one(suite: str, digest: str | None, ids: Sequence[str], used: Used, *, whole: bool) -> Overlap | None:
    audit = load(used.folder)
    facts = next((s for s in audit.manifest["suites"] if s["id"] == suite), None)
    if facts is None:
        return None
    if digest is None or facts["digest"] != digest:
        ran = "has no version on record" if digest is None else f"is version {digest[:16]}"
        raise InputError(
            f"audit {audit.manifest['id']}: suite {suite!r} is version {facts['digest'][:16]} there, and {ran} in the "
            f"run; audit again with the suite as the run read it (the same --suites-root)"
        )
    sets: dict[str, Any] = audit.manifest["sets"]
    for name in used.sets or ():
        if name not in sets:
            raise InputError(f"audit {audit.manifest['id']}: has no set {name!r}; {nearest(name, sets, noun='set')}")
    found = _joined(audit, suite, used)
    strangers = found.coverage.keys() - set(ids)
    if whole and strangers:
        raise InputError(
            f"audit {audit.manifest['id']}: knows instance {min(strangers)!r} of {suite}, which the run does not"
        )
    return found


def _joined(audit: Audited, suite: str, used: Used) -> Overlap:
    """The pairs of one suite, as verdicts on its instances."""
    manifest = audit.manifest
    pairs = audit.pairs.append_column("counts", pa.array(audit.counts()))
    chosen = pc.field("suite") == suite
    if used.sets is not None:
        chosen &= pc.field("set").isin(list(used.sets))
    names = ["set", "row_index", "instance_id", "exact", "coverage", "judgement", "mark", "counts"]
    gone = _dropped(audit) if used.seen == "kept" else set()
    asked = "semantic" in manifest["policy"]["layers"]
    dirty, unclear = set(), set()
    coverage: defaultdict[str, float] = defaultdict(float)
    of_set: defaultdict[str, set[str]] = defaultdict(set)
    for pair in pairs.filter(chosen).select(names).to_pylist():
        instance = pair["instance_id"]
        if (pair["set"], pair["row_index"]) in gone:
            continue
        if pair["counts"]:
            dirty.add(instance)
            of_set[pair["set"]].add(instance)
        elif pair["mark"] == "false":
            continue
        elif asked and pair["judgement"] == "undecided":
            unclear.add(instance)
        coverage[instance] = max(coverage[instance], 1.0 if pair["exact"] else pair["coverage"])
    known = used.sets if used.sets is not None else tuple(manifest["sets"])
    return Overlap(
        (str(manifest["id"]),),
        suite,
        used.seen,
        frozenset(dirty),
        frozenset(unclear - dirty),
        dict(coverage),
        {name: frozenset(of_set[name]) for name in known},
        float(manifest["settings"]["floor"]),
    )


def _dropped(audit: Audited) -> set[tuple[str, int]]:
    """The rows with a match that left; a set that goes whole loses them all."""
    rows = audit.rows.filter(pc.field("dropped"))
    return set(zip(rows["set"].to_pylist(), rows["row_index"].to_pylist(), strict=True))


def load(folder: Path) -> Audited:
    """The audit in a folder, with the marks beside it; `InputError` in one line where there is none."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return _loaded(folder, tuple((p.name, p.stat().st_mtime_ns) for p in files))


@lru_cache(maxsize=4)
def _loaded(folder: Path, files: tuple[tuple[str, int], ...]) -> Audited:
    """Read once for all tasks of a report; anew where a file of it, the marks above all, has changed."""
    from tulu_data.pipeline import load_audit

    return cast(Audited, load_audit(folder))


# ------------------------------------------------------------ what a checkpoint was trained on


class Trained(NamedTuple):
    """The audits behind a checkpoint and those it started from, and what is not on record, a line each."""

    audits: tuple[Used, ...]
    notes: tuple[str, ...]


def audits_of_checkpoint(model: str, store: Store) -> Trained:
    """The audits of all stages that a checkpoint has been through, first to last, as its `training.json` names them.

    Of their rows those count that were not dropped: the model never saw the others. Rows that a mixture then did not
    take still count, for audits do not know them. A checkpoint without facts, a base model whose data nobody recorded
    and an audit that the store has not are notes, not errors.
    """
    used: list[Used] = []
    notes: list[str] = []
    met: set[Path] = set()
    folder: Path | None = Path(model)
    while folder is not None and folder.resolve() not in met:
        met.add(folder.resolve())
        facts = _facts(folder)
        if facts is None:
            if len(met) == 1:
                notes.append(f"{model}: has no {FACTS_FILE}; its training data is not on record (--audit names audits)")
            break
        data = facts["data"]
        found, missing = _stage(data, store)
        used[:0] = found
        remedy = "name its store with --store, or its folder with --audit"
        notes += [f"{data['ref']}: audit {name} is not in {store.root}; {remedy}" for name in missing]
        if data.get("override"):
            notes.append(f"{data['ref']}: trained on without the check for decontamination ({data['override']})")
        folder, base = _base(folder, str(facts.get("base_model") or ""))
        if folder is None and base:
            notes.append(_unknown(base))
    return Trained(tuple(dict.fromkeys(used)), tuple(notes))


def _facts(folder: Path) -> dict[str, Any] | None:
    path = folder / FACTS_FILE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        facts["data"]["audits"], facts["data"]["ref"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{path}: cannot be read ({type(e).__name__}: {e}); export the model again") from None
    return dict(facts)


def _stage(data: Mapping[str, Any], store: Store) -> tuple[list[Used], list[str]]:
    """The audits of one stage's data with the sets of each that went into it, and those that are missing."""
    ref = str(data["ref"])
    records = store.open(ref).manifest.decontamination if store.has(ref) else []
    used, missing = [], []
    for name in data["audits"]:
        folder = store.root / "audits" / name
        if not (folder / "manifest.json").is_file():
            missing.append(str(name))
            continue
        sets = tuple(dict.fromkeys(str(r["set"]) for r in records if r["audit"] == name))
        used.append(Used(folder, sets or None, "kept"))
    return used, missing


def _base(folder: Path, base: str) -> tuple[Path | None, str]:
    """The checkpoint that training started from, where it is a folder with facts: from the run's place, or from here.

    From here last: another folder of that name may lie where somebody happens to ask.
    """
    for place in (folder.parent, folder.parent.parent, Path()):
        if base and (place / base / FACTS_FILE).is_file():
            return place / base, base
    return None, base


def _unknown(base: str) -> str:
    """What is said of a base that no record was found of: a path is missing; a name may be the hub's, or a path."""
    if Path(base).is_dir():
        return f"{base}: what this base model was trained on is not on record"
    if Path(base).is_absolute() or base.startswith((".", "~")) or base.count("/") > 1:
        return f"{base}: this base checkpoint is not found from here, so what it was trained on is not looked at"
    return (
        f"{base}: what this base model was trained on is not on record; no checkpoint of that name is found from here"
    )
