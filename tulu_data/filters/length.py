"""Length in characters, turns and tokens. No limit unless one is set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pydantic import Field, model_validator

from tulu_data.filters.annotation import Conversation, Filter, Reason, Turn, Values
from tulu_data.rows import SPECS
from tulu_data.strict import Strict
from tulu_data.tokens import token_counter, tokenizer_digest

MEASURES = ("chars", "turns", "tokens", "prompt_chars", "answer_chars")
FORM = pa.struct([pa.field(name, pa.int64()) for name in MEASURES])


class Length(Strict):
    """Limits, all inclusive. Of a pair the longer completion counts; an answer's length is that of the last one."""

    min_chars: int | None = Field(default=None, ge=0)
    max_chars: int | None = Field(default=None, ge=0)
    min_turns: int | None = Field(default=None, ge=0)
    max_turns: int | None = Field(default=None, ge=0)
    min_tokens: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    min_prompt_chars: int | None = Field(default=None, ge=0)
    max_prompt_chars: int | None = Field(default=None, ge=0)
    min_answer_chars: int | None = Field(default=None, ge=0)
    max_answer_chars: int | None = Field(default=None, ge=0)
    tokenizer: str | None = Field(default=None, description="else the one that the rows were counted with")

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        for measure in MEASURES:
            low, high = getattr(self, f"min_{measure}"), getattr(self, f"max_{measure}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{measure}: {low:,} is more than max_{measure} {high:,}; no row could stay")
        return self

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens matter."""
        return self.min_tokens is not None or self.max_tokens is not None


def _of_longest(conversation: Conversation, size: Any) -> int:
    """The size of the prompt and of the largest completion: what a trainer has to hold at once."""
    totals: dict[str, int] = {}
    for turn in conversation.turns:
        totals[turn.column] = totals.get(turn.column, 0) + size(turn)
    return totals.pop("messages", 0) + max(totals.values(), default=0)


def annotate(conversation: Conversation, section: Length) -> Values:
    """The lengths; tokens only where a limit asks for them."""

    def chars(turn: Turn) -> int:
        return len(turn.text)

    tokens = conversation.tokens
    if section.tokenizer is not None and section.counts_tokens:
        count = token_counter(section.tokenizer)
        tokens = _of_longest(conversation, lambda turn: count(turn.text))
    elif len(SPECS[conversation.kind].message_columns) > 1:
        tokens = None  # the row's own count adds both completions
    answer = conversation.answers[-1] if conversation.answers else None
    return {
        "chars": _of_longest(conversation, chars),
        "turns": _of_longest(conversation, lambda turn: 1),
        "tokens": tokens,
        "prompt_chars": sum(map(chars, conversation.turns)) - sum(map(chars, _completion(conversation))),
        "answer_chars": len(answer.text) if answer else None,
    }


def _completion(conversation: Conversation) -> list[Turn]:
    """What answers the prompt: the last answer of a conversation, both sides of a pair."""
    aside = [t for t in conversation.turns if t.column != "messages"]
    return aside or [t for t in conversation.turns[-1:] if t.role == "assistant"]


def judge(values: Values, section: Length) -> Iterator[Reason]:
    """A reason for each limit that is passed: `length.max_tokens: 5,210 > 4,096`."""
    for measure in MEASURES:
        value = values[measure]
        if value is None:
            continue
        low, high = getattr(section, f"min_{measure}"), getattr(section, f"max_{measure}")
        if low is not None and value < low:
            yield Reason(f"length.min_{measure}", f"{value:,} < {low:,}")
        if high is not None and value > high:
            yield Reason(f"length.max_{measure}", f"{value:,} > {high:,}")


def _key(section: Length) -> Mapping[str, Any]:
    return {"tokenizer": tokenizer_digest(section.tokenizer) if section.counts_tokens else None}


def _reads_tokens(section: Length) -> bool:
    return section.counts_tokens and section.tokenizer is None


def _is_idle(section: Length) -> bool:
    limits = section.model_dump(exclude={"tokenizer"})
    return all(limit is None for limit in limits.values())


FILTER = Filter(
    "length",
    "characters, turns, tokens",
    Length,
    FORM,
    annotate,
    judge,
    key=_key,
    reads_tokens=_reads_tokens,
    is_idle=_is_idle,
)
