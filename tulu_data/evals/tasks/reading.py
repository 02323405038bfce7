"""DROP (arXiv 2411.15124, Table 24): a passage and a question, completed without a chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tulu_data.errors import InputError
from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import column, text
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import Shot, WithShots, user
from tulu_data.suites import Record


def drop_item(record: Record, shots: Sequence[Shot]) -> Item:
    """The examples and the question as one text."""
    texts = [f"Passage: {s.passage}\nQuestion: {s.question}\nAnswer: {s.answer}" for s in shots]
    asked = f"Passage: {text(record, 'passage')}\nQuestion: {text(record, 'question')}\nAnswer:"
    truth = json.dumps(_answers(record), ensure_ascii=False)
    return Item(record.id, record.subset, user("\n\n".join([*texts, asked])), truth, chat=False)


def _answers(record: Record) -> list[list[str]]:
    """The accepted answers, each a list of spans.

    A record of the authors' form holds them apart (`answer`, `validated_answers`). The hub's `answers_spans` has put
    the spans of all annotators into one list: there each span is an answer, and so are all of them together.
    """
    if isinstance(column(record, "answer", empty=True), Mapping):
        answers = [column(record, "answer"), *_validated(column(record, "validated_answers", empty=True))]
        found = [spans for answer in answers if (spans := _spans(answer))]
    else:
        spans = list(dict.fromkeys(str(s).strip() for s in column(record, "answers_spans.spans") if str(s).strip()))
        found = [[span] for span in spans] + ([spans] if len(spans) > 1 else [])
    if not found:
        raise InputError(f"instance {record.id}: no answer is filled")
    return [list(spans) for spans in dict.fromkeys(map(tuple, found))]


def _validated(value: Any) -> list[Mapping[str, Any]]:
    """Answers of further annotators: a list, or columns of equal length as the hub writes lists of objects."""
    if isinstance(value, Mapping):
        keys = [key for key in ("number", "date", "spans") if key in value]
        return [dict(zip(keys, row, strict=True)) for row in zip(*(value[key] for key in keys), strict=True)]
    return list(value or [])


def _spans(answer: Mapping[str, Any]) -> list[str]:
    """The official reading: a number, or spans, or the filled parts of a date."""
    number = str(answer.get("number") or "").strip()
    if number:
        return [number]
    spans = [s.strip() for s in answer.get("spans") or [] if s.strip()]
    date = answer.get("date") or {}
    parts = [str(date.get(part) or "").strip() for part in ("day", "month", "year")]
    return spans or ([" ".join(p for p in parts if p)] if any(parts) else [])


DROP = Task(
    id="drop",
    title="DROP (3-shot)",
    group="dev",
    suite="drop",
    items=WithShots(drop_item, "drop"),
    verifier="drop_f1",
    shots=3,
    decoding=Decoding(max_tokens=100, stop=("\n\n", "Passage:", "Question:")),
    rules="The whole response as one span, without its case, articles and punctuation; F1 of words against the nearest "
    "accepted answer. Verifier: drop_f1.",
    published=published("drop"),
    note="Three examples of our own for all questions, where `drop::llama3` draws three of the train split. The length "
    "limit is ours. Where a copy has put all annotators' spans into one list (ucinlp/drop), any one span of an "
    "answer of several is taken too, which is lenient; a copy with `answer` and `validated_answers` is exact.",
)
TASKS = (DROP,)
