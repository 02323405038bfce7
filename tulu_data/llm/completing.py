"""Prompts → a model's answers, as a table: the plan, the run, and the table from the journal.

The table is made from the journal alone, in the order of the plan; so it has the same bytes whether the run was stopped
in between or not, and can be made again without asking anybody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data import adapters
from tulu_data.errors import InputError, StoreError
from tulu_data.llm.client import Backend, Tally, Watch
from tulu_data.llm.journal import Journal
from tulu_data.llm.request import Answer, Failure, Request, answer_of
from tulu_data.read import read
from tulu_data.rows import MESSAGES
from tulu_data.store import Store

SNIFFED = 200  # records of a file by which its shape is found
BATCH = 1_000  # rows of the table at once
ANSWERS_FILE = "answers.parquet"
FAILURES_FILE = "failures.jsonl"

ANSWERS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # of the prompt
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("messages", MESSAGES, nullable=False),  # the prompt, and the response as the last turn
        pa.field("response", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("refusal", pa.string()),
        pa.field("ground_truth", pa.string()),
        pa.field("verifier", pa.string()),
        pa.field("source", pa.string()),
        pa.field("license", pa.string()),
        pa.field("model_asked", pa.string(), nullable=False),
        pa.field("model", pa.string()),  # as the server calls what answered
        pa.field("endpoint", pa.string(), nullable=False),
        pa.field("params", pa.string(), nullable=False),  # JSON
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("usd", pa.float64()),
        pa.field("ignored", pa.list_(pa.string()), nullable=False),  # parameters that were not honoured
        pa.field("key", pa.string(), nullable=False),  # of the request, in the journal
    ]
)


class Prompt(NamedTuple):
    """A conversation that a model shall go on with, and what its row carries along."""

    id: str
    messages: tuple[Mapping[str, Any], ...]
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is asked: each prompt `samples` times. seed: sample k is asked with seed + k. system: put before prompts."""

    prompts: Callable[[], Iterator[Prompt]]  # may be read more than once
    model: str
    params: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 1
    seed: int | None = None
    system: str | None = None

    def requests(self) -> Iterator[Request]:
        """The requests, in order; read lazily. Their tags are the prompts."""
        for prompt in self.prompts():
            messages = prompt.messages
            if self.system and messages[0]["role"] != "system":
                messages = ({"role": "system", "content": self.system}, *messages)
            for sample in range(self.samples):
                seeded = {} if self.seed is None else {"seed": self.seed + sample}
                yield Request(self.model, messages, {**self.params, **seeded}, sample, prompt)


def prompts_of(source: str, store: Store, *, limit: int | None = None) -> Callable[[], Iterator[Prompt]]:
    """The prompts of a file that `ingest` could read, or of a version in the store: up to the last user turn."""

    def prompts() -> Iterator[Prompt]:
        rows = _rows_of_file(Path(source)) if Path(source).is_file() else _rows_of_version(source, store)
        met = 0
        for place, row in rows:
            messages = list(row["messages"])
            while messages and messages[-1]["role"] != "user":
                messages.pop()
            if not messages:
                raise InputError(f"{place}: no user turn to answer")
            plain = tuple({k: v for k, v in m.items() if v is not None} for m in messages)
            yield Prompt(str(row.get("id") or place), plain, row)
            met += 1
        if not met:
            raise InputError(f"{source}: holds no prompts")

    return lambda: islice(prompts(), limit)


def _rows_of_version(ref: str, store: Store) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for batch in store.open(ref).batches():
        for row in batch.to_pylist():
            yield f"{ref}:{row['id']}", row


def _rows_of_file(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    records = read(path)
    head = list(islice(records, SNIFFED))
    try:
        adapter = adapters.adapter(adapters.sniff([r.record for r in head if r.problem is None]).adapter)
    except InputError as e:
        raise InputError(f"{path.name}: {e}") from None
    for raw in chain(head, records):
        if raw.problem is not None:
            raise InputError(f"{raw.place}: {raw.problem}")
        try:
            rows = adapters.convert(adapter, raw.record)
        except adapters.AdapterError as e:
            raise InputError(f"{raw.place}: {e}") from None
        named = raw.record.get("id") if isinstance(raw.record, dict) else None
        for i, row in enumerate(rows):
            own = f"{named if isinstance(named, str | int) else raw.place}{f'#{i}' if i else ''}"
            yield raw.place, {**row, "id": own}


def complete(plan: Plan, backend: Backend, journal: Journal, folder: Path, *, watch: Watch | None = None) -> Tally:
    """Runs a plan and writes `answers.parquet`, and `failures.jsonl` where requests failed.

    A run that is stopped writes what it has, and raises `Stopped`.
    """
    failures: dict[str, Failure] = {}

    def keep(request: Request, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Failure):
            failures[request.key] = outcome

    try:
        return backend.run(plan.requests(), keep, watch=watch)
    finally:
        write_answers(plan, journal, folder, failures)


def write_answers(plan: Plan, journal: Journal, folder: Path, failures: Mapping[str, Failure]) -> int:
    """The answers that the journal has, in the order of the plan; how many they are. Replaces both files at once."""
    target, part = folder / ANSWERS_FILE, folder / f".{ANSWERS_FILE}.part"
    count = 0
    try:
        with pq.ParquetWriter(part, ANSWERS, compression="zstd") as writer:
            remaining = _answered(plan.requests(), journal)
            while rows := list(islice(remaining, BATCH)):
                writer.write_table(pa.Table.from_pylist(rows, ANSWERS))
                count += len(rows)
        part.replace(target)
        _write_failures(folder / FAILURES_FILE, plan, failures)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StoreError(f"{target}: cannot be written: {e.strerror or e}") from None
    return count


def _write_failures(path: Path, plan: Plan, failures: Mapping[str, Failure]) -> None:
    path.unlink(missing_ok=True)
    if failures:
        lines = [
            {"id": r.tag.id, "sample": r.sample, **failures[r.key]._asdict()}
            for r in plan.requests()
            if r.key in failures
        ]
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _answered(requests: Iterable[Request], journal: Journal) -> Iterator[dict[str, Any]]:
    for request in requests:
        kept = journal.get(request.key)
        if kept is None:
            continue
        answer = answer_of(request, kept.reply, endpoint=kept.endpoint, attempts=kept.attempts, usd=kept.usd, kept=True)
        row = request.tag.row
        yield {
            "id": request.tag.id,
            "sample": request.sample,
            "messages": [*request.messages, {"role": "assistant", "content": answer.text or ""}],
            "response": answer.text,
            "finish_reason": answer.finish_reason,
            "refusal": answer.refusal,
            **{name: row.get(name) for name in ("ground_truth", "verifier", "source", "license")},
            "model_asked": request.model,
            "model": answer.model,
            "endpoint": answer.endpoint,
            "params": json.dumps(request.params, sort_keys=True, ensure_ascii=False),
            "prompt_tokens": answer.usage.prompt,
            "completion_tokens": answer.usage.completion,
            "usd": answer.usd,
            "ignored": list(answer.ignored),
            "key": request.key,
        }


def characters(requests: Sequence[Request] | Iterator[Request]) -> tuple[int, int]:
    """How many requests there are, and the characters of their messages."""
    count = chars = 0
    for request in requests:
        count += 1
        chars += sum(len(str(m.get("content") or "")) for m in request.messages)
    return count, chars
