"""Matches as rows of the `pairs` table: byte offsets, snippets, and whether the answer leaked with the question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from decontam.analyzers import Analyzer
from decontam.index import Index
from decontam.scan import Match, Run, find, scan
from decontam.verdicts import Settings
from tulu_data.rows import SPECS, Kind, content_messages

SNIPPET_CHARS = 300
ANSWER_MIN_TOKENS = 2  # a letter or a number stands in any text: finding it says nothing

SPAN = pa.struct([pa.field("start", pa.int64()), pa.field("end", pa.int64())])  # UTF-8 bytes, [start, end)
FIELD_SPAN = pa.struct([pa.field("field", pa.string()), *SPAN])
FIELD_COVERAGE = pa.struct([pa.field("field", pa.string()), pa.field("coverage", pa.float64())])

PAIRS = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("row_id", pa.string()),
        pa.field("row_sha", pa.binary(32)),
        pa.field("row_index", pa.int64()),  # in the set, from 0
        pa.field("column", pa.string()),  # messages | chosen | rejected
        pa.field("message", pa.int32()),  # index in that column
        pa.field("role", pa.string()),
        pa.field("row_source", pa.string()),
        pa.field("suite", pa.string()),
        pa.field("group", pa.string()),
        pa.field("subset", pa.string()),
        pa.field("instance_id", pa.string()),
        pa.field("layers", pa.list_(pa.string())),  # all that fired, chosen or not
        pa.field("coverage", pa.float64()),
        pa.field("covered_tokens", pa.int32()),
        pa.field("total_tokens", pa.int32()),
        pa.field("field_coverage", pa.list_(FIELD_COVERAGE)),
        pa.field("longest_run", pa.int32()),  # tokens
        pa.field("answer_found", pa.bool_()),  # null where there is no answer that could be told from chance
        pa.field("train_spans", pa.list_(SPAN)),  # in the message
        pa.field("eval_spans", pa.list_(FIELD_SPAN)),  # in the text of the field
        pa.field("train_snippet", pa.string()),
        pa.field("eval_snippet", pa.string()),
    ]
)


def columns_of(kind: Kind) -> list[str]:
    """The columns of a training set that an audit reads."""
    extra = ["ground_truth"] if kind == "rlvr" else []
    return ["id", "row_sha", "source", *SPECS[kind].message_columns, *extra]


def scan_batch(
    index: Index, analyzer: Analyzer, settings: Settings, name: str, kind: Kind, batch: pa.RecordBatch, first: int
) -> pa.Table:
    """Every pair of a batch of rows, in order; `first` is the index in the set of the batch's first row."""
    pairs = (
        {"set": name, "row_index": first + i} | pair
        for i, row in enumerate(batch.to_pylist())
        for pair in _row_pairs(index, analyzer, settings, kind, row)
    )
    return pa.Table.from_pylist(list(pairs), schema=PAIRS)


def _row_pairs(
    index: Index, analyzer: Analyzer, settings: Settings, kind: Kind, row: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    answers = _Answers(analyzer, kind, row)
    for column, i, message in content_messages(kind, row):
        if not settings.reads(message["role"]):
            continue
        text = message["content"]
        for match in scan(index, analyzer.tokens(text), settings.threshold):
            yield {
                "row_id": row["id"],
                "row_sha": row["row_sha"],
                "row_source": row["source"],
                "column": column,
                "message": i,
                "role": message["role"],
                "answer_found": answers.hold(match.instance.source.answer),
            } | _describe(match, analyzer, text)


class _Answers:
    """What a row answers: its assistant turns, completions and ground truth, as tokens once they are asked for."""

    def __init__(self, analyzer: Analyzer, kind: Kind, row: Mapping[str, Any]) -> None:
        self._analyzer = analyzer
        self._kind = kind
        self._row = row

    @cached_property
    def _texts(self) -> list[list[str]]:
        said = [m["content"] for _, _, m in content_messages(self._kind, self._row) if m["role"] == "assistant"]
        truth = self._row.get("ground_truth")
        return [self._analyzer.tokens(t) for t in (*said, *([truth] if truth else []))]

    def hold(self, answer: str | None) -> bool | None:
        """Whether one of the texts contains the answer; None where finding it would be no evidence."""
        wanted = tuple(self._analyzer.tokens(answer or ""))
        if len(wanted) < ANSWER_MIN_TOKENS:
            return None
        return any(find(tokens, wanted) is not None for tokens in self._texts)


class Span(NamedTuple):
    """Part of a text, [start, end) in characters."""

    start: int
    end: int


def _describe(match: Match, analyzer: Analyzer, text: str) -> dict[str, Any]:
    instance = match.instance
    train = spans_of(match.message_runs, analyzer, text)
    held = [spans_of(r, analyzer, f.text) for r, f in zip(match.field_runs, instance.fields, strict=True)]
    eval_spans = [(f, s) for f, spans in zip(instance.fields, held, strict=True) for s in spans]
    best, best_span = max(eval_spans, key=lambda e: _length(e[1]))
    return {
        "suite": instance.suite,
        "group": instance.group,
        "subset": instance.source.subset,
        "instance_id": instance.source.id,
        "layers": match.layers,
        "coverage": match.coverage,
        "covered_tokens": match.covered,
        "total_tokens": match.total,
        "field_coverage": [
            {"field": f.name, "coverage": c} for f, c in zip(instance.fields, match.field_coverage, strict=True)
        ],
        "longest_run": match.longest_run,
        "train_spans": [_bytes(text, s) for s in train],
        "eval_spans": [{"field": f.name} | _bytes(f.text, s) for f, s in eval_spans],
        "train_snippet": snippet(text, max(train, key=_length)),
        "eval_snippet": snippet(best.text, best_span),
    }


def spans_of(token_runs: Sequence[Run], analyzer: Analyzer, text: str) -> list[Span]:
    """Where runs of tokens stand in `text`, from the first character of each to its last."""
    places = analyzer.spans(text)
    return [Span(places[start][0], places[end - 1][1]) for start, end in token_runs]


def _length(span: Span) -> int:
    return span.end - span.start


def _bytes(text: str, span: Span) -> dict[str, int]:
    start = len(text[: span.start].encode())
    return {"start": start, "end": start + len(text[span.start : span.end].encode())}


def snippet(text: str, span: Span) -> str:
    """The text around a span, the span in its middle: `SNIPPET_CHARS` characters at most, `…` where it is cut."""
    if len(text) <= SNIPPET_CHARS:
        return text
    room = SNIPPET_CHARS - 2
    margin = max(0, room - _length(span)) // 2
    left = min(max(0, span.start - margin), len(text) - room)
    right = left + room
    return ("…" if left else "") + text[left:right] + ("…" if right < len(text) else "")
