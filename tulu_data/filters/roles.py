"""Turns that are out of order, say nothing, or are missing.

Rows that came through `tulu ingest` keep the order already; what remains to be found there are turns of characters that
one cannot see.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pyarrow as pa

from tulu_data.filters.annotation import SPAN, Conversation, Filter, Reason, Span, Turn, Values, judge_spans, spans_of
from tulu_data.rows import NEXT_ROLES
from tulu_data.strict import Strict

FORM = pa.struct([pa.field("order", pa.string()), pa.field("answers", pa.int32()), pa.field("found", pa.list_(SPAN))])
UNSEEN = ("C", "Z")  # Unicode categories: controls, format characters, separators


class Roles(Strict):
    """Which faults drop a row."""

    order: bool = True
    empty: bool = True
    assistant_missing: bool = True


def is_empty(text: str) -> bool:
    """Whether nothing can be seen of a text: white space, zero-width and control characters."""
    return not text.isascii() and all(unicodedata.category(c)[0] in UNSEEN for c in text) if text.strip() else True


def _order(conversation: Conversation) -> str | None:
    previous: str | None = None
    end_of_prompt: str | None = None
    column = "messages"
    for turn in conversation.turns:
        if turn.column != column:
            # both completions of a pair follow the prompt's last turn
            end_of_prompt = previous if column == "messages" else end_of_prompt
            previous, column = end_of_prompt, turn.column
        if turn.role not in NEXT_ROLES.get(previous, ()):
            return f"{turn.column}[{turn.message}]: {turn.role} {f'after {previous}' if previous else 'comes first'}"
        previous = turn.role
    return None


def _empty(turn: Turn) -> Iterator[Span]:
    if turn.role != "tool" and not turn.calls and is_empty(turn.text):  # a tool may print nothing
        yield from spans_of(turn, [("empty", 0, len(turn.text))])


def annotate(conversation: Conversation, section: Roles) -> Values:
    """The first fault in the order of roles, how many assistant turns there are, and the empty turns."""
    found = [span.values() for turn in conversation.turns for span in _empty(turn)]
    expected = conversation.kind in ("sft", "preference")
    answers = sum(t.role == "assistant" for t in conversation.turns) if expected else None
    return {"order": _order(conversation), "answers": answers, "found": found[:1]}


def judge(values: Values, section: Roles) -> Iterator[Reason]:
    """A reason for each fault that the section names."""
    if section.order and values["order"] is not None:
        yield Reason("roles.order", values["order"])
    if section.assistant_missing and values["answers"] == 0:
        yield Reason("roles.assistant_missing", "no turn is the assistant's")
    if section.empty:
        yield from judge_spans("roles", values, ("empty",))


FILTER = Filter("roles", "turns out of order, empty or missing", Roles, FORM, annotate, judge)
