"""An audit: training sets × suites → pairs, evals and rows tables, with everything that is needed to question them.

The work is cut into shards, one for each part of a set that can be read alone. A shard's pairs are written as one
file by rename, so the file says that the shard is done: a killed audit goes on where it was, and the merged tables do
not depend on workers, executors or interruptions.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from decontam.analyzers import analyzer_of
from decontam.corpus import Corpus, repeats, suite_facts, suite_overlaps
from decontam.engine import EngineName, EngineSource, compiled_before, source_of
from decontam.evidence import FOUND, INSTANCES, MESSAGES, columns_of
from decontam.nearness import identity, near_pairs
from decontam.result import ENGINE, FORMAT, Audit, Scan, judged
from decontam.suites import Suite
from decontam.texts import instances_of, messages_of
from decontam.verdicts import Policy, Settings
from tulu_data.errors import UsageError
from tulu_data.executor import How, map_with_state
from tulu_data.manifest import canonical_json
from tulu_data.parquet import write_table
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Kind


class Part(Protocol):
    """Rows of a set that can be read alone, in another process too."""

    @property
    def rows(self) -> int:
        """How many."""

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The rows; `columns` limits what is decoded."""


class RowSource(Protocol):
    """A training set: rows of one kind, in order. A version of the store is one."""

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
    def rows(self) -> int:
        """How many rows it holds."""

    def parts(self) -> Iterator[Part]:
        """Its rows in order, in the kind's schema."""


def audit(
    sets: Sequence[RowSource],
    suites: Sequence[Suite],
    settings: Settings | None = None,
    policy: Policy | None = None,
    *,
    workers: int = 1,
    executor: How | None = None,
    engine: EngineName = "auto",
    cache: Path | None = None,
    work: Path | None = None,
    before: Mapping[str, ScannedSet] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Holds every row of the training sets against every instance of the suites (arXiv 2411.15124 §3.2).

    Streams: memory holds the index and the pairs found. The tables depend on none of the keywords:
        executor: threads where the engine is compiled, processes where it is the reference; or Ray.
        cache: a folder in which the index of the suites is kept, and found again.
        work: a folder for what is done of this audit; a killed one is continued from there. It is left for the caller
            to remove.
        before: what an earlier audit found of some of these very sets (`scanned_sets`); they are not scanned again.
    `UsageError` where two sets, or two suites, share a name; `RecipeError` for a policy that needs other settings;
    `InputError` where a text is not UTF-8.
    """
    settings, policy, progress = settings or Settings(), policy or Policy(), progress or Silent()
    _check_names("training set", [s.name for s in sets])
    _check_names("suite", [s.id for s in suites])
    started = time.perf_counter()
    with progress.task("index", sum(len(s.instances) for s in suites)) as advance:
        if not compiled_before(engine):
            progress.note("compiling the scanner for this machine: once, some ten seconds")
        source = source_of(suites, settings, cache=cache, which=engine)
        corpus = source.engine().corpus
        if settings.semantic is not None:
            progress.note(
                f"semantic: {settings.semantic.encoder}; its word vectors are distilled once, some 20 seconds"
            )
            source.finder()
        advance(len(corpus.instances))
    empty = _manifest(sets, suites, settings, corpus)
    _warn(empty["suites"], settings, progress)
    # A policy that cannot be applied shows before any row is read.
    judged(empty, Scan(FOUND.empty_table(), MESSAGES.empty_table(), INSTANCES.empty_table()), policy)
    how = executor or ("threads" if source.compiled else "processes")
    pairs, messages = _scan(sets, source, before or {}, workers=workers, how=how, work=work, progress=progress)
    instances = instances_of(corpus, pairs, settings, source.engine().wording)
    found = Scan(pairs, messages, instances)
    return judged(empty | {"seconds": round(time.perf_counter() - started, 3)}, found, policy)


def _check_names(noun: str, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise UsageError(f"{noun} {name!r} is given {times} times; rename or remove the others")


def _warn(suites: Sequence[dict[str, Any]], settings: Settings, progress: Progress) -> None:
    """What a user may not expect of their suites, a line each."""
    for s in suites:
        if s["unmatchable"]:
            progress.note(
                f"suite {s['id']!r}: {s['unmatchable']:,} of {s['instances']:,} instances hold nothing but separators "
                "and cannot match; look at its fields"
            )
        if s["short"] == s["instances"] - s["unmatchable"]:
            progress.note(
                f"suite {s['id']!r}: no instance has a field of {settings.n} tokens, so n-grams find none of it and "
                "only whole texts do; choose a smaller n for coverage"
            )


def scan_id(sets: Sequence[RowSource], suites: Sequence[Suite], settings: Settings) -> str:
    """`ts1-` and 16 hex digits: of what a scan of these finds. It needs their digests alone, and reads no row."""
    content = _held_against(suites, settings) | {"sets": [[s.name, s.kind, s.digest] for s in sets]}
    return f"ts1-{sha256(canonical_json(content)).hexdigest()[:16]}"


def _held_against(suites: Sequence[Suite], settings: Settings) -> dict[str, Any]:
    """What the pairs of a set depend on, beside the set."""
    return {
        "engine": ENGINE,
        "analyzer": analyzer_of(settings.analyzer).version,
        "settings": settings.model_dump(mode="json"),
        "semantic": identity(settings.semantic),
        "suites": [[s.id, s.group, s.digest] for s in suites],
    }


class ScannedSet(NamedTuple):
    """What a scan found of one set: pairs, and the messages they are about."""

    pairs: pa.Table
    messages: pa.Table


def scanned_sets(
    earlier: Iterable[Audit], sets: Sequence[RowSource], suites: Sequence[Suite], settings: Settings
) -> dict[str, ScannedSet]:
    """Of the sets those that one of the earlier audits held against the same suites in the same way."""
    wanted, found = _held_against(suites, settings), dict[str, ScannedSet]()
    for audit in earlier:
        m = audit.manifest
        same = {k: m[k] for k in ("engine", "analyzer", "settings", "semantic")}
        if same | {"suites": [[s["id"], s["group"], s["digest"]] for s in m["suites"]]} != wanted:
            continue
        bare = audit.bare().scan
        for s in sets:
            facts = m["sets"].get(s.name)
            if facts and (facts["kind"], facts["digest"]) == (s.kind, s.digest):
                of_set = pc.field("set") == s.name
                found[s.name] = ScannedSet(bare.pairs.filter(of_set), bare.messages.filter(of_set))
    return found


def _manifest(sets: Sequence[RowSource], suites: Sequence[Suite], settings: Settings, corpus: Corpus) -> dict[str, Any]:
    """What is known before a row is read; `judged` adds what a policy makes of the pairs."""
    return {
        "format": FORMAT,
        "id": None,
        "scan": scan_id(sets, suites, settings),
        "engine": ENGINE,
        "analyzer": analyzer_of(settings.analyzer).version,
        "settings": settings.model_dump(mode="json"),
        "semantic": identity(settings.semantic),
        "policy": None,
        "judge": None,
        "suites": [
            facts | {"source": s.source} for facts, s in zip(suite_facts(corpus, settings.n), suites, strict=True)
        ],
        "sets": {s.name: {"kind": s.kind, "digest": s.digest, "rows": s.rows} for s in sets},
        "suite_overlaps": suite_overlaps(corpus, settings.n),
        "totals": {
            "instances": len(corpus.instances),
            "distinct": sum(r is None for r in repeats(corpus)),
        },
        "seconds": 0.0,
    }


# ------------------------------------------------------------ shards


class _Shard(NamedTuple):
    name: str
    kind: Kind
    part: Part
    first: int  # index in the set of the part's first row
    done: Path | None  # where its pairs are written

    @property
    def messages(self) -> Path | None:
        """Where the messages with a pair are written, before the pairs."""
        return self.done.with_suffix(".messages.parquet") if self.done else None


class _Scanned(NamedTuple):
    set: str
    rows: int
    pairs: pa.Table | None  # None where they are in the shard's files
    messages: pa.Table | None


@dataclass(frozen=True)
class _Shards:
    """The shards of an audit, made anew whenever they are asked for."""

    sets: Sequence[RowSource]
    without: Collection[str]  # sets that need no scan
    work: Path | None

    def __iter__(self) -> Iterator[_Shard]:
        for number, source in enumerate(self.sets):
            if source.name in self.without:
                continue
            first = 0
            for k, part in enumerate(source.parts()):
                done = self.work / f"{number:03d}-{k:06d}.parquet" if self.work else None
                yield _Shard(source.name, source.kind, part, first, done)
                first += part.rows


def _scan(
    sets: Sequence[RowSource],
    source: EngineSource,
    before: Mapping[str, ScannedSet],
    *,
    workers: int,
    how: How,
    work: Path | None,
    progress: Progress,
) -> tuple[pa.Table, pa.Table]:
    """All pairs, and the messages they are about, in order."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
    shards = _Shards(sets, before, work)
    found = {s.name: [before[s.name]] if s.name in before else [] for s in sets}
    with progress.task("audit", sum(s.rows for s in sets if s.name not in before)) as advance:
        for done in map_with_state(_scan_shard, source, shards, workers=workers, how=how):
            if done.pairs is not None and done.messages is not None:
                found[done.set].append(ScannedSet(done.pairs, done.messages))
            advance(done.rows)
    for shard in shards if work is not None else ():
        tables = pq.read_table(shard.done, schema=FOUND), pq.read_table(shard.messages, schema=MESSAGES)
        found[shard.name].append(ScannedSet(*tables))
    ordered = [part for s in sets for part in found[s.name]]
    pairs = pa.concat_tables([FOUND.empty_table(), *(part.pairs for part in ordered)])
    messages = pa.concat_tables([MESSAGES.empty_table(), *(part.messages for part in ordered)])
    return pairs.combine_chunks(), messages.combine_chunks()


def _scan_shard(source: EngineSource, shard: _Shard) -> _Scanned:
    if _is_done(shard.messages, MESSAGES) and _is_done(shard.done, FOUND):
        return _Scanned(shard.name, shard.part.rows, None, None)
    pairs, messages = scan_part(source, shard.name, shard.kind, shard.part, shard.first)
    if shard.done is None or shard.messages is None:
        return _Scanned(shard.name, shard.part.rows, pairs, messages)
    _write_whole(shard.messages, messages)
    _write_whole(shard.done, pairs)
    return _Scanned(shard.name, shard.part.rows, None, None)


def scan_part(source: EngineSource, name: str, kind: Kind, part: Part, first: int) -> tuple[pa.Table, pa.Table]:
    """The pairs of one part of a set, and the messages they are about."""
    batch = part.read(columns_of(kind))
    finder = source.finder()
    near = near_pairs(finder, kind, batch, source.settings) if finder else []
    pairs = source.engine().scan_batch(name, kind, batch, first, near)
    return pairs, messages_of(name, batch, first, pairs)


def _write_whole(path: Path, table: pa.Table) -> None:
    temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        write_table(temp, table)
        temp.rename(path)
    finally:
        temp.unlink(missing_ok=True)


def _is_done(path: Path | None, schema: pa.Schema) -> bool:
    """Whether a shard's file is whole: one that a disk has damaged is made again."""
    if path is None:
        return False
    try:
        return bool(pq.read_schema(path).equals(schema))
    except (OSError, pa.ArrowException):
        return False
