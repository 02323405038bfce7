"""An audit: training sets × suites → pairs, evals and rows tables, with everything that is needed to question them."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from decontam.analyzers import Analyzer, analyzer_of
from decontam.evidence import PAIRS, columns_of, scan_batch
from decontam.index import Index, IndexedInstance, Tokens, analyse
from decontam.result import ENGINE, EVALS, FORMAT, ROWS, Audit
from decontam.suites import Suite
from decontam.verdicts import Settings, Verdict, is_contaminated, verdict, worst
from tulu_data.errors import UsageError
from tulu_data.executor import map_in_order
from tulu_data.manifest import canonical_json
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Kind


class RowSource(Protocol):
    """A training set: rows of one kind, read in order as often as asked. A version of the store is one."""

    @property
    def name(self) -> str:
        """What the audit calls it."""

    @property
    def kind(self) -> Kind:
        """The kind of its rows."""

    @property
    def digest(self) -> str:
        """What identifies its content, in hex."""

    @property
    def rows(self) -> int | None:
        """How many rows it holds, where that is known before reading."""

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Its rows in the kind's schema; `columns` limits what is decoded."""


def audit(
    sets: Sequence[RowSource],
    suites: Sequence[Suite],
    settings: Settings | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Audit:
    """Holds every row of the training sets against every instance of the suites (arXiv 2411.15124 §3.2).

    Streams: memory holds the index and the pairs found. The result does not depend on `workers`.
    `UsageError` where two sets, or two suites, share a name.
    """
    settings = settings or Settings()
    _check_names("training set", [s.name for s in sets])
    _check_names("suite", [s.id for s in suites])
    started = time.perf_counter()
    analyzer = analyzer_of(settings.analyzer)
    instances = analyse(suites, analyzer)
    counts, pairs = _scan_sets(sets, instances, settings, workers, progress or Silent())
    evals = _evals(sets, suites, instances, pairs, settings)
    verdicts = {name: worst(e["verdict"] for e in of_set) for name, of_set in _by_set(evals).items()}
    rows = _rows(pairs, evals, settings)
    manifest = {
        "format": FORMAT,
        "id": audit_id(sets, suites, settings),
        "engine": ENGINE,
        "analyzer": analyzer.version,
        "settings": settings.model_dump(mode="json"),
        "suites": _suite_facts(suites, instances, settings),
        "sets": _set_facts(sets, counts, rows, verdicts),
        "suite_overlaps": suite_overlaps(instances, settings.n),
        "totals": _totals(instances, pairs, settings),
        "seconds": round(time.perf_counter() - started, 3),
    }
    return Audit(
        manifest,
        pairs,
        pa.Table.from_pylist(evals, schema=EVALS),
        pa.Table.from_pylist(rows, schema=ROWS),
    )


def _check_names(noun: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise UsageError(f"{noun} {name!r} is given {times} times; rename or remove the others")


def audit_id(sets: Sequence[RowSource], suites: Sequence[Suite], settings: Settings) -> str:
    """The id that an audit of these gets: it needs their digests alone, and reads no row."""
    content = {
        "engine": ENGINE,
        "analyzer": analyzer_of(settings.analyzer).version,
        "settings": settings.model_dump(mode="json"),
        "suites": [[s.id, s.group, s.digest] for s in suites],
        "sets": [[s.name, s.kind, s.digest] for s in sets],
    }
    return f"ta1-{sha256(canonical_json(content)).hexdigest()[:16]}"


# ------------------------------------------------------------ scanning


class _Task(NamedTuple):
    name: str
    kind: Kind
    batch: pa.RecordBatch
    first: int  # index in the set of the batch's first row


class _Scanned(NamedTuple):
    name: str
    rows: int
    pairs: pa.Table


@dataclass(frozen=True)
class _Scanner:
    """What scans a batch: built once in each process, since the index is large."""

    index: Index
    analyzer: Analyzer
    settings: Settings

    @staticmethod
    def build(instances: Sequence[IndexedInstance], settings: Settings) -> _Scanner:
        index = Index(instances, settings.n, settings.exact_min_tokens)
        return _Scanner(index, analyzer_of(settings.analyzer), settings)

    def scan(self, task: _Task) -> _Scanned:
        pairs = scan_batch(self.index, self.analyzer, self.settings, task.name, task.kind, task.batch, first=task.first)
        return _Scanned(task.name, task.batch.num_rows, pairs)


_scanner: _Scanner | None = None  # of a worker process


def _start_worker(instances: Sequence[IndexedInstance], settings: Settings) -> None:
    global _scanner  # noqa: PLW0603 - an initializer has nowhere else to leave it
    _scanner = _Scanner.build(instances, settings)


def _scan_in_worker(task: _Task) -> _Scanned:
    assert _scanner is not None
    return _scanner.scan(task)


def _scan_all(
    tasks: Iterator[_Task], instances: Sequence[IndexedInstance], settings: Settings, workers: int
) -> Iterator[_Scanned]:
    if workers <= 1:
        return map(_Scanner.build(instances, settings).scan, tasks)
    shared = (instances, settings)
    return map_in_order(_scan_in_worker, tasks, workers=workers, initializer=_start_worker, initargs=shared)


def _tasks(sets: Sequence[RowSource]) -> Iterator[_Task]:
    for source in sets:
        first = 0
        for batch in source.batches(columns_of(source.kind)):
            yield _Task(source.name, source.kind, batch, first)
            first += batch.num_rows


def _scan_sets(
    sets: Sequence[RowSource],
    instances: Sequence[IndexedInstance],
    settings: Settings,
    workers: int,
    progress: Progress,
) -> tuple[dict[str, int], pa.Table]:
    """Rows per set, and all pairs in order."""
    known = [s.rows for s in sets]
    total = None if None in known else sum(n for n in known if n is not None)
    counts = {s.name: 0 for s in sets}
    tables = [PAIRS.empty_table()]
    with progress.task("audit", total) as advance:
        for done in _scan_all(_tasks(sets), instances, settings, workers):
            counts[done.name] += done.rows
            tables.append(done.pairs)
            advance(done.rows)
    return counts, pa.concat_tables(tables).combine_chunks()


# ------------------------------------------------------------ tables


def _by_set(evals: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {name: list(of_set) for name, of_set in groupby(evals, key=lambda e: str(e["set"]))}


def _evals(
    sets: Sequence[RowSource],
    suites: Sequence[Suite],
    instances: Sequence[IndexedInstance],
    pairs: pa.Table,
    settings: Settings,
) -> list[dict[str, Any]]:
    """One entry per training set × suite."""
    flagged: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)  # set, suite, layer → instance ids
    for pair in pairs.select(["set", "suite", "instance_id", "layers"]).to_pylist():
        for layer in pair["layers"]:
            flagged[pair["set"], pair["suite"], layer].add(pair["instance_id"])
    facts = {s["id"]: s for s in _suite_facts(suites, instances, settings)}
    entries = []
    for source in sets:
        for suite in suites:
            chosen = set().union(*(flagged[source.name, suite.id, layer] for layer in settings.layers))
            size = len(suite.instances)
            contaminated = is_contaminated(len(chosen), size, settings.set_threshold)
            entries.append(
                {
                    "set": source.name,
                    "suite": suite.id,
                    "group": suite.group,
                    "instances": size,
                    "short_instances": facts[suite.id]["short"],
                    "unmatchable": facts[suite.id]["unmatchable"],
                    "flagged": len(chosen),
                    "flagged_exact": len(flagged[source.name, suite.id, "exact"]),
                    "flagged_tulu3": len(flagged[source.name, suite.id, "tulu3"]),
                    "share": len(chosen) / size,
                    "contaminated": contaminated,
                    "verdict": verdict(settings.policy, suite.group, flagged=len(chosen), contaminated=contaminated),
                }
            )
    return entries


def _rows(pairs: pa.Table, evals: Sequence[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """One entry per row that matches anything."""
    columns = ["set", "row_index", "row_id", "row_sha", "suite", "layers", "coverage"]
    matched = pairs.select(columns).to_pylist()
    acting = {(e["set"], e["suite"]) for e in evals if e["verdict"] != "clean"}
    fatal = {(e["set"], e["suite"]) for e in evals if e["verdict"] == "drop set"}
    entries = []
    for (name, index), group in groupby(matched, key=lambda p: (p["set"], p["row_index"])):
        of_row = list(group)
        hits = {p["suite"] for p in of_row if set(settings.layers) & set(p["layers"])}
        causes = sorted(suite for suite in hits if (name, suite) in acting)
        against = sorted(suite for of_set, suite in fatal if of_set == name)
        reason = f"overlaps {', '.join(causes)}" if causes else None
        if against:
            reason = set_reason(against)
        entries.append(
            {
                "set": name,
                "row_id": of_row[0]["row_id"],
                "row_sha": of_row[0]["row_sha"],
                "row_index": index,
                "dropped": reason is not None,
                "reason": reason,
                "suites": sorted({p["suite"] for p in of_row}),
                "coverage": max(p["coverage"] for p in of_row),
            }
        )
    return entries


def set_reason(suites: Sequence[str]) -> str:
    """Why a row of a set that is dropped whole leaves."""
    return f"its set is dropped: contaminated by {', '.join(sorted(suites))}"


# ------------------------------------------------------------ manifest


def _suite_facts(
    suites: Sequence[Suite], instances: Sequence[IndexedInstance], settings: Settings
) -> list[dict[str, Any]]:
    short = Counter(i.suite for i in instances if i.fields and i.is_short(settings.n))
    unmatchable = Counter(i.suite for i in instances if not i.fields)
    times = Counter((i.suite, i.tokens) for i in instances if i.fields)
    repeated: Counter[str] = Counter()  # instances of the same tokens as an earlier one of their suite
    for (suite, _), n in times.items():
        repeated[suite] += n - 1
    return [
        {
            "id": s.id,
            "group": s.group,
            "digest": s.digest,
            "source": s.source,
            "instances": len(s.instances),
            "short": short[s.id],
            "unmatchable": unmatchable[s.id],
            "repeated": repeated[s.id],
        }
        for s in suites
    ]


def _set_facts(
    sets: Sequence[RowSource],
    counts: dict[str, int],
    rows: Sequence[dict[str, Any]],
    verdicts: dict[str, Verdict],
) -> dict[str, dict[str, Any]]:
    dropped = Counter(r["set"] for r in rows if r["dropped"])
    return {
        s.name: {
            "kind": s.kind,
            "digest": s.digest,
            "rows": counts[s.name],
            "dropped": counts[s.name] if verdicts[s.name] == "drop set" else dropped[s.name],
            "verdict": verdicts[s.name],
        }
        for s in sets
    }


def suite_overlaps(instances: Sequence[IndexedInstance], n: int) -> list[dict[str, Any]]:
    """Suites that repeat each other: pairs with, for each side, how many instances have an equal in the other.

    Equal are two instances of the same tokens, or whose first fields of `n` tokens or more are the same: a question
    that one suite gives with options and another without is one question.
    """
    holders: defaultdict[Tokens, set[str]] = defaultdict(set)
    for instance in instances:
        for key in _equality_keys(instance, n):
            holders[key].add(instance.suite)
    equal: Counter[tuple[str, str]] = Counter()
    for instance in instances:
        others = set().union(*(holders[key] for key in _equality_keys(instance, n))) - {instance.suite}
        equal.update((instance.suite, other) for other in others)
    return [{"suites": [a, b], "equal": [equal[a, b], equal[b, a]]} for a, b in sorted(equal) if a < b]


def _equality_keys(instance: IndexedInstance, n: int) -> set[Tokens]:
    firsts = {f.tokens for f in instance.fields[:1] if len(f.tokens) >= n}
    return firsts | ({instance.tokens} if instance.fields else set())


def _totals(instances: Sequence[IndexedInstance], pairs: pa.Table, settings: Settings) -> dict[str, int]:
    """Instances over all suites; `distinct` counts those of equal tokens once."""
    keys = {(i.suite, i.source.id): i.tokens for i in instances}
    chosen = set(settings.layers)
    flagged = {
        (p["suite"], p["instance_id"])
        for p in pairs.select(["suite", "instance_id", "layers"]).to_pylist()
        if chosen & set(p["layers"])
    }
    return {
        "instances": len(keys),
        "distinct": len(set(keys.values())),
        "flagged": len(flagged),
        "flagged_distinct": len({keys[f] for f in flagged}),
        "pairs": len(pairs),
    }
