"""The evidence of an audit: pairs of a message and an instance that have something in common, and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from decontam.verdicts import Severity
from tulu_data.rows import SPECS, Kind

SNIPPET_CHARS = 300
ANSWER_MIN_TOKENS = 2  # a letter or a number stands in any text: finding it says nothing

SPAN = pa.struct([pa.field("start", pa.int64()), pa.field("end", pa.int64())])  # UTF-8 bytes, [start, end)
FIELD_SPAN = pa.struct([pa.field("field", pa.string()), *SPAN])
FIELD_COVERAGE = pa.struct([pa.field("field", pa.string()), pa.field("coverage", pa.float64())])

FOUND = pa.schema(
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
        pa.field(
            "repeats", pa.string()
        ),  # suite/id of an earlier instance with the same text; null where it is the first
        pa.field("exact", pa.bool_()),  # the message holds the instance in one piece
        pa.field("coverage", pa.float64()),
        pa.field("covered_tokens", pa.int32()),
        pa.field("total_tokens", pa.int32()),
        pa.field("informative", pa.float64()),  # coverage by n-grams that few test texts hold
        pa.field("informative_covered", pa.int32()),
        pa.field("informative_total", pa.int32()),
        pa.field("fuzzy", pa.float64()),  # share of the words found in order; null: nothing suggests an edited copy
        pa.field("semantic", pa.float64()),  # cosine of their embeddings; null: not near, or not looked for
        pa.field("numbers", pa.float64()),  # shared over all numbers of that part and of the instance; null: too few
        pa.field("semantic_span", SPAN),  # the part of the message that is nearest; null where semantic is
        pa.field("judgement", pa.string()),  # of a model that was asked: same | different | undecided
        pa.field("field_coverage", pa.list_(FIELD_COVERAGE)),
        pa.field("longest_run", pa.int32()),  # tokens
        pa.field("severity", pa.string()),  # question | question+answer
        pa.field("answer_found", pa.bool_()),  # null where there is no answer that could be told from chance
        pa.field("passage_found", pa.bool_()),  # null where there is no passage
        pa.field("train_spans", pa.list_(SPAN)),  # in the message
        pa.field("eval_spans", pa.list_(FIELD_SPAN)),  # in the text of the field
        pa.field("train_snippet", pa.string()),
        pa.field("eval_snippet", pa.string()),
    ]
)
"""What a scan finds; a policy adds `layers` and `mark`."""

MESSAGES = pa.schema(
    [
        pa.field("set", pa.string()),
        pa.field("row_index", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("message", pa.int32()),
        pa.field("text", pa.string()),  # of a long message the part around its matches
        pa.field("start", pa.int64()),  # of that part, in bytes of the message
        pa.field("bytes", pa.int64()),  # of the whole message
    ]
)
"""The messages that have a pair, each once: with `INSTANCES`, all that a person needs to see a match."""

INSTANCES = pa.schema(
    [
        pa.field("suite", pa.string()),
        pa.field("instance_id", pa.string()),
        pa.field(
            "fields",
            pa.list_(
                pa.struct(
                    [
                        pa.field("field", pa.string()),
                        pa.field("text", pa.string()),
                        pa.field("wording", pa.list_(SPAN)),  # n-grams that too many test texts hold to be informative
                    ]
                )
            ),
        ),
        pa.field("answer", pa.string()),
        pa.field("passage", pa.string()),
    ]
)
"""The instances that have a pair, each once, whole."""

Span = tuple[int, int]  # [start, end)


class NearPair(NamedTuple):
    """A message of a batch that is near to an instance in meaning. start, end: its nearest part, in bytes."""

    row: int  # in the batch
    column: str
    message: int
    instance: int
    cosine: float
    numbers: float | None
    start: int
    end: int


def columns_of(kind: Kind) -> list[str]:
    """The columns of a training set that an audit reads."""
    extra = ["ground_truth"] if kind == "rlvr" else []
    return ["id", "row_sha", "source", *SPECS[kind].message_columns, *extra]


def severity(answer_found: bool | None) -> Severity:
    """A leaked answer makes a leaked question worse; that none is found is no excuse."""
    return "question+answer" if answer_found else "question"


def longest_span(texts: Sequence[str], spans: Sequence[Sequence[Sequence[int]]]) -> tuple[str, Span]:
    """The text with the longest span, and that span in characters; the first of several. `spans` go with `texts`."""
    best, best_span = texts[0], (0, 0)
    for text, of_text in zip(texts, spans, strict=True):
        for span in of_text:
            found = in_characters(text, span)
            if found[1] - found[0] > best_span[1] - best_span[0]:
                best, best_span = text, found
    return best, best_span


def in_characters(text: str, span: Sequence[int]) -> Span:
    """A span of bytes as a span of characters."""
    if text.isascii():
        return span[0], span[1]
    data = text.encode()
    start = len(data[: span[0]].decode())
    return start, start + len(data[span[0] : span[1]].decode())


def in_bytes(text: str, span: Span) -> Span:
    """A span of characters as a span of bytes."""
    if text.isascii():
        return span
    start = len(text[: span[0]].encode())
    return start, start + len(text[span[0] : span[1]].encode())


def snippet(text: str, span: Span) -> str:
    """The text around a span of characters, the span in its middle: `SNIPPET_CHARS` characters at most, `…` where it
    is cut.
    """
    if len(text) <= SNIPPET_CHARS:
        return text
    room = SNIPPET_CHARS - 2
    margin = max(0, room - (span[1] - span[0])) // 2
    left = min(max(0, span[0] - margin), len(text) - room)
    right = left + room
    return ("…" if left else "") + text[left:right] + ("…" if right < len(text) else "")
