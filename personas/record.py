"""What a run knows of each row it tried to make: the table beside a synthetic version, with the rejected rows too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personas.planning import Plan
from personas.skill import Ask, Draft, Item, Rejected, Reply
from tulu_data.ingestion import EXCERPT_CHARS, REJECTS
from tulu_data.llm.request import Answer
from tulu_data.rows import MESSAGES, Row

RECORDS_FILE = "synth.parquet"

REQUEST = pa.struct(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("key", pa.string(), nullable=False),  # of the request, in the journal
        pa.field("model", pa.string()),  # as the server calls what answered
        pa.field("endpoint", pa.string(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("usd", pa.float64()),  # null where no price is known
        pa.field("ignored", pa.list_(pa.string()), nullable=False),  # parameters that were not honoured
    ]
)
CONSTRAINT = pa.struct(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kwargs", pa.string(), nullable=False),  # JSON
        pa.field("text", pa.string(), nullable=False),
        pa.field("kept", pa.bool_()),  # null where it was not checked
        pa.field("lacks", pa.string()),
    ]
)
RECORD = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("accepted", pa.bool_(), nullable=False),
        pa.field("reject_reason", pa.string()),
        pa.field("reject_detail", pa.string()),
        pa.field("messages", MESSAGES),
        pa.field("prompt", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("license", pa.string()),
        pa.field("verifier", pa.string()),
        pa.field("ground_truth", pa.string()),  # exactly what the verifier takes
        pa.field("verified", pa.bool_()),  # null where it was voted for, or cannot be shown
        pa.field("evidence", pa.string()),
        pa.field("vote_k", pa.int32()),
        pa.field("vote_agreement", pa.int32()),
        pa.field("vote_answers", pa.list_(pa.string())),
        pa.field("skill", pa.string(), nullable=False),
        pa.field("skill_version", pa.int32(), nullable=False),
        pa.field("prompts_digest", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("family", pa.string()),  # of a procedure
        pa.field("persona_id", pa.string(), nullable=False),
        pa.field("persona", pa.string(), nullable=False),
        pa.field("persona_source", pa.string(), nullable=False),
        pa.field("persona_parent", pa.string()),
        pa.field("persona_license", pa.string()),
        pa.field("constraints", pa.list_(CONSTRAINT), nullable=False),
        pa.field("flags", pa.string(), nullable=False),  # JSON
        pa.field("model_asked", pa.string(), nullable=False),
        pa.field("model", pa.string()),  # of the answer
        pa.field("endpoint", pa.string()),
        pa.field("params", pa.string(), nullable=False),  # JSON
        pa.field("finish_reason", pa.string()),
        pa.field("request_key", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("usd", pa.float64()),
        pa.field("requests", pa.list_(REQUEST), nullable=False),
    ]
)

Told = tuple[Ask, Answer]


def record_of(plan: Plan, item: Item, source: str, told: Sequence[Told], outcome: Draft | Rejected) -> Row:
    """A row's record, whether it holds or not."""
    drafted = isinstance(outcome, Draft)
    known: Mapping[str, Any] = vars(outcome) if isinstance(outcome, Draft) else outcome.known
    reply: Reply | None = known.get("response")
    votes, persona, prompt = known.get("votes"), item.persona, known.get("prompt")
    answers = [answer for _, answer in told]
    return {
        "id": item.id,
        "index": item.index,
        "accepted": drafted,
        "reject_reason": None if isinstance(outcome, Draft) else outcome.reason,
        "reject_detail": None if isinstance(outcome, Draft) else outcome.detail,
        "messages": _messages(prompt, reply),
        "prompt": prompt,
        "source": source,
        "license": persona.license,
        "verifier": known.get("verifier"),
        "ground_truth": known.get("truth"),
        "verified": known.get("verified"),
        "evidence": known.get("evidence"),
        "vote_k": votes.k if votes else None,
        "vote_agreement": votes.agreement if votes else None,
        "vote_answers": list(votes.answers) if votes else None,
        "skill": plan.skill.name,
        "skill_version": plan.skill.version,
        "prompts_digest": plan.prompts.digest,
        "seed": item.seed,
        "language": item.language,
        "family": item.family,
        "persona_id": persona.id,
        "persona": persona.text,
        "persona_source": persona.source,
        "persona_parent": persona.parent,
        "persona_license": persona.license,
        "constraints": [_constraint(c) for c in known.get("constraints") or ()],
        "flags": json.dumps(known.get("flags") or {}, ensure_ascii=False, sort_keys=True),
        "model_asked": plan.model_name,
        "model": reply.answer.model if reply else None,
        "endpoint": reply.answer.endpoint if reply else None,
        "params": json.dumps(plan.params, ensure_ascii=False, sort_keys=True),
        "finish_reason": reply.finish_reason if reply else None,
        "request_key": reply.answer.key if reply else None,
        "prompt_tokens": _total(a.usage.prompt for a in answers),
        "completion_tokens": _total(a.usage.completion for a in answers),
        "attempts": sum(a.attempts for a in answers),
        "usd": _total(a.usd for a in answers),
        "requests": [request_row(ask, answer) for ask, answer in told],
    }


def _messages(prompt: str | None, reply: Reply | None) -> list[Row] | None:
    if prompt is None:
        return None
    answered = [] if reply is None else [{"role": "assistant", "content": reply.text}]
    return [{"role": "user", "content": prompt}, *answered]


def _total(numbers: Iterable[float | None]) -> Any:
    """The sum; None where one is not known or there are none."""
    listed = list(numbers)
    return sum(n for n in listed if n is not None) if listed and None not in listed else None


def rejects_of(path: Path, flag: str) -> pa.Table | None:
    """The rows of a table that its column `flag` does not accept, as a version's rejects; None where all are."""
    columns = ["id", "index", flag, "reject_reason", "reject_detail", "prompt"]
    rejects = [
        {
            "place": f"{path.name}: {record['id']}",
            "record": record["index"],
            "reason": ": ".join(filter(None, (record["reject_reason"], record["reject_detail"]))),
            "excerpt": (record["prompt"] or "")[:EXCERPT_CHARS],
        }
        for batch in pq.ParquetFile(path).iter_batches(columns=columns)
        for record in batch.to_pylist()
        if not record[flag]
    ]
    return pa.Table.from_pylist(rejects, REJECTS) if rejects else None


def _constraint(told: Mapping[str, Any]) -> Row:
    kwargs = json.dumps(told["kwargs"], ensure_ascii=False, sort_keys=True)
    return {"kept": None, "lacks": None, **told, "kwargs": kwargs}


def request_row(ask: Ask, answer: Answer) -> Row:
    """One answered request, as records hold it."""
    return {
        "stage": ask.stage,
        "sample": ask.sample,
        "key": answer.key,
        "model": answer.model,
        "endpoint": answer.endpoint,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.usage.prompt,
        "completion_tokens": answer.usage.completion,
        "attempts": answer.attempts,
        "usd": answer.usd,
        "ignored": list(answer.ignored),
    }
