"""A synthesis run on disk: the journal, the records, the page, and the version that is published from them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personas import synth, talking
from personas.duplicates import NEAR
from personas.filters import Filters
from personas.persona import Persona
from personas.planning import PROCEDURAL_VERSION, Plan
from personas.record import RECORD, RECORDS_FILE, rejects_of
from tulu_data.errors import InputError, StoreError, TuluError
from tulu_data.ingestion import REJECTS_FILE
from tulu_data.llm.report import reporting
from tulu_data.llm.spec import ModelSpec, asking
from tulu_data.manifest import Input, Origin, Step
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Kind, Row, finish, to_table
from tulu_data.store import Store, Version, writing
from tulu_data.tokens import token_counter

FORMAT = "tulu-synth/1"
RUN_FILE = "run.json"
LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Job:
    """A plan, who is asked, and what becomes of the rows. personas: the source of the plan's, as it was named."""

    plan: Plan
    name: str
    personas: str
    spec: ModelSpec | None = None
    kind: Kind = "sft"
    filters: Filters = field(default_factory=Filters)
    near: float = NEAR
    tokenizer: str | None = None

    @property
    def folder_name(self) -> str:
        """Of the run in the store. More rows, more samples and edited prompts go on where the answers are."""
        plan = self.plan
        told = [
            plan.skill.version, self.personas, digest_of(plan.personas), plan.seed, plan.model_name, dict(plan.params),
            plan.language, dict(plan.options), self.spec.urls if self.spec else None,
        ]  # fmt: skip
        return f"{plan.skill.name}-{short_hash(told)}"

    @property
    def digest(self) -> str:
        """Names all that the rows depend on, but for the filters."""
        plan = self.plan
        return short_hash([self.folder_name, plan.prompts.digest, plan.n, plan.samples_asked, plan.per_persona])


def short_hash(told: Any) -> str:
    """12 hex digits over plain data."""
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def digest_of(personas: Sequence[Persona]) -> str:
    """sha256 over all that is known of the personas, in order, in hex."""
    return sha256("\n".join(json.dumps(p) for p in personas).encode()).hexdigest()


def folder_of(store: Store, job: Job) -> Path:
    """Where a run's files are, unless somewhere else is named."""
    return store.root / "runs" / job.folder_name


@dataclass
class Ran:
    """What a run came to. version is None where not one row was accepted."""

    folder: Path
    version: Version | None
    summary: dict[str, Any]


def run(
    job: Job,
    store: Store,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
    origin: Origin | None = None,
) -> Ran:
    """Makes the rows and publishes those that are accepted as a version called `job.name`.

    `Stopped` (with all that was answered kept, and the records of the rows that are whole written) where the budget is
    spent, the key is refused or Ctrl-C was pressed; `InputError` where no row is accepted.
    """
    job.plan.check()
    if job.spec is None:
        look_up = talking.from_procedures(job.plan.answer, PROCEDURAL_VERSION)
        with held(folder):
            return _publish(job, store, folder, look_up, workers, progress, origin)
    total = job.plan.n * job.plan.skill.requests(job.plan.samples_asked)
    with held(folder), asking(job.spec, folder) as asked:
        journals = {"": asked.journal}
        try:
            with reporting(job.plan.model_name, total, quiet=quiet) as watch:
                failures = talking.generate(job.plan, {"": asked.backend}, watch=watch)
        except TuluError:
            _tell(folder, _write_records(job, folder, talking.from_journals(journals, {}), workers, progress))
            raise
        return _publish(job, store, folder, talking.from_journals(journals, failures), workers, progress, origin)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Makes a run's folder, and keeps other processes from it; `StoreError` where one writes it."""
    with writing(folder, "-o"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreError(f"{folder}: another process writes this run; wait for it, or choose another -o") from None
    try:
        yield
    finally:
        os.close(lock)


def _write_records(
    job: Job,
    folder: Path,
    look_up: talking.Lookup,
    workers: int | None,
    progress: Progress | None,
    accept: Any = None,
) -> dict[str, Any]:
    """Writes the records into the run's folder; gives what they come to."""
    target, part = folder / RECORDS_FILE, folder / f".{RECORDS_FILE}.part"
    summary = _Summary(job)
    with writing(folder, "-o"):
        with pq.ParquetWriter(part, RECORD, compression="zstd") as writer:
            for kept in synth.records(
                job.plan, look_up, job.name, filters=job.filters, near=job.near, workers=workers, progress=progress
            ):
                writer.write_table(pa.Table.from_pylist(kept.records, RECORD))
                summary.add(kept)
                if accept is not None:
                    accept(kept.records)
        part.replace(target)
    return summary.told()


def _tell(folder: Path, summary: Mapping[str, Any]) -> None:
    """Writes the run's summary and page."""
    from personas.page import write_page

    with writing(folder, "-o"):
        (folder / RUN_FILE).write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page(folder, summary)


class _Summary:
    """What a run came to, counted as its records are written."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.records = self.accepted = self.waiting = 0
        self.reasons: dict[str, int] = {}
        self.met: set[bytes] = set()  # requests, which rows may share
        self.prompt_tokens = self.completion_tokens = self.unpriced = 0
        self.usd = 0.0
        self.ignored: dict[str, int] = {}

    def add(self, kept: synth.Kept) -> None:
        self.waiting += kept.waiting
        for record in kept.records:
            self.records += 1
            self.accepted += record["accepted"]
            for request in record["requests"]:
                self._count(request)
        for reason, count in synth.reasons(kept.records).items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count

    def _count(self, request: Mapping[str, Any]) -> None:
        key = bytes.fromhex(request["key"])
        if key in self.met:
            return
        self.met.add(key)
        self.prompt_tokens += request["prompt_tokens"] or 0
        self.completion_tokens += request["completion_tokens"] or 0
        self.usd += request["usd"] or 0.0
        self.unpriced += request["usd"] is None
        for name in request["ignored"]:
            self.ignored[name] = self.ignored.get(name, 0) + 1

    def told(self) -> dict[str, Any]:
        plan = self.job.plan
        return {
            "format": FORMAT,
            "skill": plan.skill.name,
            "skill_version": plan.skill.version,
            "prompts_digest": plan.prompts.digest,
            "name": self.job.name,
            "kind": self.job.kind,
            "n": plan.n,
            "seed": plan.seed,
            "language": plan.language,
            "samples": plan.samples_asked,
            "options": dict(plan.options),
            "personas": self.job.personas,
            "personas_known": len(plan.personas),
            "model": plan.model_name,
            "endpoints": self.job.spec.urls if self.job.spec else [],
            "params": dict(plan.params),
            "records": self.records,
            "accepted": self.accepted,
            "rejected": dict(sorted(self.reasons.items(), key=lambda r: (-r[1], r[0]))),
            "waiting": self.waiting,
            "requests": len(self.met),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "usd": self.usd,
            "unpriced": self.unpriced,
            "ignored": self.ignored,
            "version": None,
        }


def _publish(
    job: Job,
    store: Store,
    folder: Path,
    look_up: talking.Lookup,
    workers: int | None,
    progress: Progress | None,
    origin: Origin | None,
) -> Ran:
    with store.build(job.name, job.kind) as build:
        writer = ShardWriter(build.data, job.kind)
        summary = _write_records(
            job,
            folder,
            look_up,
            workers,
            progress or Silent(),
            lambda records: writer.write(to_table(job.kind, _rows(job, records))),
        )
        if not summary["accepted"]:
            _tell(folder, summary)
            why = ", ".join(f"{count:,} × {reason}" for reason, count in summary["rejected"].items())
            raise InputError(
                f"{job.name}: not one of {summary['records']:,} rows was accepted ({why}); "
                f"look with: tulu show {folder}"
            )
        shards = writer.close()
        (build.folder / RECORDS_FILE).write_bytes((folder / RECORDS_FILE).read_bytes())
        build.add_file(RECORDS_FILE, summary["records"])
        if (rejects := rejects_of(folder / RECORDS_FILE, "accepted")) is not None:
            build.add_table(REJECTS_FILE, rejects)
        version = build.publish(
            shards,
            writer.tally.logical(),
            inputs=[_input(job, summary)],
            steps=[_step(job, summary)],
            tokenizer=job.tokenizer,
            origin=origin,
        )
    summary["version"] = version.ref
    _tell(folder, summary)
    return Ran(folder, version, summary)


def _rows(job: Job, records: list[Row]) -> Iterator[Row]:
    """The accepted records as rows of the job's kind."""
    skill = job.plan.skill
    count_tokens = token_counter(job.tokenizer) if job.tokenizer else None
    for i, record in enumerate(r for r in records if r["accepted"]):
        prompt, response = record["messages"]
        row: Row = {
            "messages": [prompt, response] if job.kind == "sft" else [prompt],
            "subset": record["family"] or skill.name,
            "license": record["license"],
            "tags": [skill.name, *([record["evidence"]] if record["evidence"] else [])],
            "prov": {
                "orig_id": record["id"],
                "orig_index": record["index"],
                "converter": f"synth/{skill.name}/{skill.version}",
            },
        }
        if job.kind == "rlvr":
            if record["verifier"] is None:
                raise InputError(f"{job.name}: row {i} has no verifier, so it is no rlvr row; publish it as sft")
            row |= {"verifier": record["verifier"], "ground_truth": record["ground_truth"]}
            row["constraint"] = " ".join(c["text"] for c in record["constraints"]) or None
        yield finish(job.kind, row, source=job.name, count_tokens=count_tokens)


def _input(job: Job, summary: Mapping[str, Any]) -> Input:
    personas = job.plan.personas
    return Input(
        uri=f"personas:{job.personas}",
        sha256=digest_of(personas),
        bytes=sum(len(p.text.encode()) for p in personas),
        records=summary["records"],
        rows=summary["accepted"],
        rejected=dict(summary["rejected"]),
    )


def _step(job: Job, summary: Mapping[str, Any]) -> Step:
    names = (
        "skill",
        "skill_version",
        "prompts_digest",
        "n",
        "seed",
        "language",
        "samples",
        "options",
        "model",
        "params",
    )
    return Step(
        name="synth",
        source=job.name,
        params={**{k: summary[k] for k in names}, "near": job.near, "keywords": list(job.filters.keywords)},
        rows_in=summary["records"],
        rows_out=summary["accepted"],
        drops=REJECTS_FILE if summary["rejected"] else None,
    )
