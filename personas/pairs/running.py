"""A run that makes pairs: asks, checks, writes every attempt down, and publishes the pairs as a version."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personas import talking
from personas.pairs.judging import position_bias
from personas.pairs.pair import PROCEDURAL, Pair, PairWork, Source
from personas.record import REQUEST, rejects_of, request_row
from personas.runs import held, short_hash
from personas.skill import Rejected
from tulu_data.errors import InputError, TuluError
from tulu_data.ingestion import REJECTS_FILE
from tulu_data.llm.report import reporting
from tulu_data.llm.spec import Asked, asking
from tulu_data.manifest import Input, Origin, Step
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Row, check, finish, to_table
from tulu_data.store import Store, Version, writing
from tulu_data.tokens import token_counter

PAIRS_FILE = "pairs.parquet"
RUN_FILE = "pairs.json"
FORMAT = "tulu-pairs/1"

PAIRS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # of the source
        pa.field("index", pa.int64(), nullable=False),
        pa.field("made", pa.bool_(), nullable=False),
        pa.field("reject_reason", pa.string()),
        pa.field("reject_detail", pa.string()),
        pa.field("method", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("chosen", pa.string()),
        pa.field("rejected", pa.string()),
        pa.field("chosen_model", pa.string()),
        pa.field("rejected_model", pa.string()),
        pa.field("chosen_rating", pa.float64()),
        pa.field("rejected_rating", pa.float64()),
        pa.field("evidence", pa.string(), nullable=False),  # JSON
        pa.field("requests", pa.list_(REQUEST), nullable=False),
    ]
)


@dataclass(frozen=True)
class PairJob:
    """Pairs to be made. of: the source as it is named. parent: the version of it, where it is one."""

    work: PairWork
    name: str
    of: str
    settings: Mapping[str, Any]
    parent: Version | None = None
    tokenizer: str | None = None

    @property
    def folder_name(self) -> str:
        """Of the run in the store. More rows, more samples and edited prompts go on where the answers are."""
        asked = {r: [s.backend, s.model, s.request_params, s.urls, s.engine] for r, s in self.work.models.items()}
        told = [self.of, self.parent.ref if self.parent else None, self.settings["seed"], asked]
        return f"pairs-{self.work.method}-{short_hash(told)}"

    @property
    def digest(self) -> str:
        """Names all that the pairs depend on."""
        own = {k: v for k, v in self.settings.items() if k not in ("backend", "models", "judge", "on_policy")}
        return short_hash([self.folder_name, self.work.n, own])


def folder_of(store: Store, job: PairJob) -> Path:
    """Where a run's files are, unless somewhere else is named."""
    return store.root / "runs" / job.folder_name


@dataclass
class RanPairs:
    """What a run came to."""

    folder: Path
    version: Version
    summary: dict[str, Any]


def run(
    job: PairJob,
    store: Store,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
    origin: Origin | None = None,
) -> RanPairs:
    """Makes the pairs and publishes them as a version called `job.name`.

    Errors as in `runs.run`; `InputError` where not one pair is made.
    """
    work, progress = job.work, progress or Silent()
    if not work.models:
        look_up = talking.from_procedures(work.reply, PROCEDURAL.partition("/")[2])
        with held(folder):
            return _publish(job, store, folder, look_up, workers, progress, origin)
    with held(folder), ExitStack() as stack:
        asked: dict[str, Asked] = {}
        for route, spec in work.models.items():
            asked[route] = stack.enter_context(asking(spec, folder / _folder(route)))
        journals = {route: a.journal for route, a in asked.items()}
        failures: talking.Failures = {}
        try:
            with reporting(work.label, None, quiet=quiet) as watch:
                failures = talking.generate(work, {route: a.backend for route, a in asked.items()}, watch=watch)
        except TuluError:
            _write(job, folder, talking.from_journals(journals, {}), workers, progress)
            raise
        return _publish(job, store, folder, talking.from_journals(journals, failures), workers, progress, origin)


def _folder(route: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in route) or "."


def _write(
    job: PairJob,
    folder: Path,
    look_up: talking.Lookup,
    workers: int | None,
    progress: Progress,
    accept: Callable[[Sequence[Row]], None] | None = None,
) -> dict[str, Any]:
    """Writes every attempt and the summary; gives the summary."""
    part = folder / f".{PAIRS_FILE}.part"
    counts: dict[str, int] = {}
    tried = made = waiting = 0
    evidence: list[Mapping[str, Any]] = []
    paid: dict[str, Row] = {}
    with writing(folder, "-o"):
        with pq.ParquetWriter(part, PAIRS, compression="zstd") as writer:
            for rows in talking.settled(job.work, look_up, workers=workers, progress=progress):
                waiting += sum(row.waits for row in rows)
                records = [_record(job, row) for row in rows if not row.waits]
                writer.write_table(pa.Table.from_pylist(records, PAIRS))
                tried += len(records)
                for record in records:
                    made += record["made"]
                    if not record["made"]:
                        counts[record["reject_reason"]] = counts.get(record["reject_reason"], 0) + 1
                    paid.update((r["key"] + r["endpoint"], r) for r in record["requests"])
                evidence += [e for e in (json.loads(r["evidence"]) for r in records) if "judgements" in e]
                if accept is not None:
                    accept([r for r in records if r["made"]])
        part.replace(folder / PAIRS_FILE)
        bias = position_bias(evidence)
        told = {
            "format": FORMAT,
            "method": job.work.method,
            "name": job.name,
            "of": job.parent.ref if job.parent else job.of,
            "settings": dict(job.settings),
            "tried": tried,
            "made": made,
            "rejected": dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))),
            "waiting": waiting,
            "requests": len(paid) if job.work.models else 0,
            "prompt_tokens": sum(r["prompt_tokens"] or 0 for r in paid.values()),
            "completion_tokens": sum(r["completion_tokens"] or 0 for r in paid.values()),
            "usd": sum(r["usd"] or 0.0 for r in paid.values()),
            "unpriced": sum(r["usd"] is None for r in paid.values()),
            "position_bias": bias._asdict() if bias else None,
            "version": None,
        }
        _write_summary(folder, told)
    return told


def _write_summary(folder: Path, told: Mapping[str, Any]) -> None:
    (folder / RUN_FILE).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _record(job: PairJob, row: talking.Row) -> Row:
    source: Source = row.item
    outcome = row.outcome
    if isinstance(outcome, Pair) and (
        problem := check("preference", _content(source, outcome.chosen.text, outcome.rejected.text))
    ):
        outcome = Rejected("no row", problem)
    pair = outcome if isinstance(outcome, Pair) else None
    return {
        "id": source.id,
        "index": source.index,
        "made": pair is not None,
        "reject_reason": None if pair else outcome.reason,
        "reject_detail": None if pair else outcome.detail,
        "method": job.work.method,
        "prompt": source.prompt,
        "license": source.row.get("license"),
        "chosen": pair.chosen.text if pair else None,
        "rejected": pair.rejected.text if pair else None,
        "chosen_model": pair.chosen.model if pair else None,
        "rejected_model": pair.rejected.model if pair else None,
        "chosen_rating": pair.chosen.rating if pair else None,
        "rejected_rating": pair.rejected.rating if pair else None,
        "evidence": json.dumps(pair.evidence if pair else outcome.known, ensure_ascii=False, sort_keys=True),
        "requests": [request_row(ask, answer) for ask, answer in row.told],
    }


def _content(source: Source, chosen: str, rejected: str) -> Row:
    return {
        "messages": [dict(m) for m in source.messages],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def _publish(
    job: PairJob,
    store: Store,
    folder: Path,
    look_up: talking.Lookup,
    workers: int | None,
    progress: Progress,
    origin: Origin | None,
) -> RanPairs:
    sources = {s.index: s for s in job.work.items()}
    with store.build(job.name, "preference") as build:
        writer = ShardWriter(build.data, "preference")
        told = _write(
            job, folder, look_up, workers, progress,
            lambda records: writer.write(to_table("preference", _rows(job, records, sources))),
        )  # fmt: skip
        if not told["made"]:
            why = ", ".join(f"{count:,} × {reason}" for reason, count in told["rejected"].items())
            raise InputError(
                f"{job.name}: not one pair was made of {told['tried']:,} rows ({why}); see {folder / PAIRS_FILE}"
            )
        shards = writer.close()
        (build.folder / PAIRS_FILE).write_bytes((folder / PAIRS_FILE).read_bytes())
        build.add_file(PAIRS_FILE, told["tried"])
        if (rejects := rejects_of(folder / PAIRS_FILE, "made")) is not None:
            build.add_table(REJECTS_FILE, rejects)
        step = Step(
            name="pairs",
            source=job.name,
            params={"method": job.work.method, "of": told["of"], **job.settings},
            rows_in=told["tried"],
            rows_out=told["made"],
            parents=[job.parent.ref] if job.parent else [],
            drops=REJECTS_FILE if told["rejected"] else None,
        )
        ids = "\n".join(s.id for s in sources.values())
        given = Input(
            uri=f"pairs:{job.parent.ref if job.parent else Path(job.of).name}",
            sha256=job.parent.digest if job.parent else sha256(ids.encode()).hexdigest(),
            bytes=sum(len(s.prompt.encode()) for s in sources.values()),
            records=told["tried"],
            rows=told["made"],
            rejected=told["rejected"],
        )
        version = build.publish(
            shards, writer.tally.logical(), inputs=[given], steps=[step], tokenizer=job.tokenizer, origin=origin
        )
    told["version"] = version.ref
    _write_summary(folder, told)
    return RanPairs(folder, version, told)


def _rows(job: PairJob, records: Sequence[Row], sources: Mapping[int, Source]) -> Iterator[Row]:
    count_tokens = token_counter(job.tokenizer) if job.tokenizer else None
    sides = ("chosen_model", "rejected_model", "chosen_rating", "rejected_rating")
    for record in records:
        source = sources[record["index"]]
        row = {
            **_content(source, record["chosen"], record["rejected"]),
            **{k: record[k] for k in sides},
            "subset": record["method"],
            "license": record["license"],
            "tags": [record["method"]],
            "prov": {"orig_id": source.id, "orig_index": source.index, "converter": f"pairs/{record['method']}/1"},
        }
        yield finish("preference", row, source=job.name, count_tokens=count_tokens)
