"""What a filter is: a function of a row that gives values, and a judge that holds the values against thresholds.

Values depend on a row's content alone (and on what `Filter.key` names), so they are kept beside the rows, by digest;
another threshold judges them again without another look at the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from tulu_data.rows import Kind, content_messages
from tulu_data.strict import Strict

Values = dict[str, Any]

SHOWN_CHARS = 160  # of a matched text, as the side table and the list of drops keep it
SPANS_KEPT = 8  # of one row and one filter: enough to judge it, and to show why

SPAN = pa.struct(
    [
        pa.field("label", pa.string()),
        pa.field("column", pa.string()),
        pa.field("message", pa.int32()),  # its index in that column
        pa.field("start", pa.int64()),  # characters into the message
        pa.field("end", pa.int64()),
        pa.field("text", pa.string()),
    ]
)
SPANS = pa.struct([pa.field("found", pa.list_(SPAN))])  # of filters whose values are the places they found


class Turn(NamedTuple):
    """One message of a row: where it stands, who says it, what is said."""

    column: str
    message: int  # its index in that column
    role: str
    text: str
    calls: bool = False  # whether it calls a tool, and so may say nothing


@dataclass(frozen=True)
class Conversation:
    """A row as filters see it."""

    kind: Kind
    turns: tuple[Turn, ...]
    tokens: int | None = None  # as the row's own column has them

    @classmethod
    def of(cls, kind: Kind, row: Mapping[str, Any]) -> Conversation:
        """The conversation in a row of that kind."""
        turns = (
            Turn(column, i, m["role"], m["content"] or "", bool(m.get("tool_calls")))
            for column, i, m in content_messages(kind, row)
        )
        return cls(kind, tuple(turns), row.get("n_tokens"))

    @cached_property
    def answers(self) -> tuple[Turn, ...]:
        """What a model would learn to say. Rejected answers are no model's example: they may refuse and repeat."""
        return tuple(t for t in self.turns if t.role == "assistant" and t.column != "rejected")

    @cached_property
    def requests(self) -> tuple[Turn, ...]:
        """What users say."""
        return tuple(t for t in self.turns if t.role == "user")


class Span(NamedTuple):
    """A place in a row, and what it is an example of."""

    label: str
    column: str
    message: int
    start: int
    end: int
    text: str

    def values(self) -> Values:
        """As the side table holds it."""
        return self._asdict()


class Reason(NamedTuple):
    """Why a row is dropped: `rule` is `filter.threshold`, `detail` what was found and what is allowed."""

    rule: str
    detail: str
    span: Span | None = None

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def _nothing(section: Any) -> Mapping[str, Any]:
    return {}


def _never(section: Any) -> bool:
    return False


@dataclass(frozen=True)
class Filter:
    """A named filter. Its functions are module-level ones: worker processes get them by name.

    `annotate(conversation, section)` gives the values, a mapping in the form of `form`; `judge(values, section)` the
    reasons to drop the row. `section` is the filter's part of the recipe, an instance of `settings`. `key(section)`
    names what the values depend on beside the row; raise `version` when `annotate` gives others for the same row.
    `reads_tokens(section)` says whether the values hold the row's own token count, which is no part of its digest;
    `is_idle(section)` whether these settings could drop no row at all.
    """

    name: str
    about: str
    settings: type[Strict]
    form: pa.StructType
    annotate: Callable[[Conversation, Any], Values]
    judge: Callable[[Values, Any], Iterator[Reason]]
    version: int = 1
    key: Callable[[Any], Mapping[str, Any]] = _nothing
    reads_tokens: Callable[[Any], bool] = _never
    is_idle: Callable[[Any], bool] = _never


def spans_of(turn: Turn, found: Iterable[tuple[str, int, int]]) -> Iterator[Span]:
    """Places in a turn, as `(label, start, end)`, with the text there."""
    for label, start, end in found:
        text = " ".join(turn.text[start : min(end, start + SHOWN_CHARS)].split())
        yield Span(label, turn.column, turn.message, start, end, text)


def span_values(found: Iterable[Span]) -> Values:
    """Spans as values: the first of every label, then others in their order, `SPANS_KEPT` at most."""
    listed = list(found)
    first = {span.label: span for span in reversed(listed)}
    leading = [span for span in listed if first[span.label] is span]
    rest = [span for span in listed if first[span.label] is not span]
    kept = leading + rest[: max(0, SPANS_KEPT - len(leading))]
    return {"found": [span.values() for span in kept]}


def found_spans(values: Values) -> list[Span]:
    """The spans among a filter's values."""
    return [Span(**{k: entry[k] for k in Span._fields}) for entry in values.get("found") or ()]


def judge_spans(name: str, values: Values, labels: Iterable[str]) -> Iterator[Reason]:
    """One reason for each of these labels that was found: the first place of it."""
    wanted = dict.fromkeys(labels)
    for span in found_spans(values):
        if span.label in wanted:
            del wanted[span.label]
            yield Reason(f"{name}.{span.label}", f"{place(span)} has {span.text!r}", span)


def place(span: Span) -> str:
    """Where a span is: `messages[1]`."""
    return f"{span.column}[{span.message}]"


# ------------------------------------------------------------ text that is not the speaker's own

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_QUOTED = re.compile(  # a single mark opens where no letter stands before it, and closes where none follows
    r'"[^"\n]{2,400}"|“[^”]{2,400}”|«[^»]{2,400}»|„[^“”]{2,400}[“”]|^>.*$'
    r"|(?<![\w'])'(?! )(?:[^'\n]|(?<=\w)'(?=\w)){2,400}'(?![\w'])|‘[^‘\n]{2,400}?’(?!\w)",
    re.MULTILINE,
)
_MOSTLY = 0.8  # an answer in quotation marks as a whole is the speaker's own


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])


def without_code(text: str) -> str:
    """The text with code blanked out; places stay where they are."""
    return _CODE.sub(_blank, text) if "`" in text else text


def without_quotes(text: str) -> str:
    """The text with quoted speech blanked out, unless it is quoted as a whole; places stay where they are."""
    blanked = _QUOTED.sub(_blank, text)
    return blanked if len(blanked.split()) > (1 - _MOSTLY) * len(text.split()) else text


def own_words(text: str) -> str:
    """What a speaker says in its own voice: the text without code and quoted speech."""
    return without_quotes(without_code(text))
