"""The Tülu chat format: how a conversation becomes tokens, and which of them are trained.

    <|system|>\n…\n<|user|>\n…\n<|assistant|>\n…<eos>\n<|user|>\n…

No token before the first turn, a newline between turns, none at the end (the released tokenizers' template; arXiv
2411.15124, Table 13). Trained are the contents of assistant turns and the end-of-sequence token of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|assistant|>\n' if messages else '<|assistant|>\n' }}{% endif %}"
)
ROLE = "<|{role}|>\n"
Turns = Literal["all", "last"]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A conversation as tokens. trainable: per token, whether it is in the loss; `(time,)` each.

    Arrays, for a version's tokens are all held at once: 5 bytes each, where Python's own take 48.
    """

    tokens: npt.NDArray[np.int32]
    trainable: npt.NDArray[np.bool_]

    @property
    def trained(self) -> int:
        """Tokens in the loss: the first token of a sequence is predicted by none, and never one of them."""
        return int(np.count_nonzero(self.trainable[1:]))

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def __eq__(self, other: object) -> bool:
        """Of the same tokens, of which the same are trained."""
        if not isinstance(other, Example):
            return NotImplemented
        return np.array_equal(self.tokens, other.tokens) and np.array_equal(self.trainable, other.trainable)


class Piece(NamedTuple):
    """A run of text between two end-of-sequence tokens, with the spans of it that are trained."""

    text: str
    spans: tuple[tuple[int, int], ...]
    ends: bool  # an end-of-sequence token follows
    end_trained: bool


def pieces(messages: Sequence[Mapping[str, Any]], *, turns: Turns = "all") -> Iterator[Piece]:
    """The render of a conversation, cut where its end-of-sequence tokens stand.

    They are put in as tokens, not as text: what a message writes about them stays text.
    """
    last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    text, spans = "", []
    for i, message in enumerate(messages):
        text += ("\n" if i else "") + ROLE.format(role=message["role"])
        start = len(text)
        text += str(message["content"])
        if message["role"] != "assistant":
            continue
        trained = turns == "all" or i == last
        if trained:
            spans.append((start, len(text)))
        yield Piece(text, tuple(spans), True, trained)
        text, spans = "", []
    if text:
        yield Piece(text, (), False, False)


def encode(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, turns: Turns = "all") -> Example:
    """A conversation as tokens with their mask. `tokenizer`: a fast one of transformers, with an eos token.

    A token that begins before an assistant's content and reaches into it is not trained.
    """
    tokens: list[int] = []
    trainable: list[bool] = []
    for piece in pieces(messages, turns=turns):
        encoded = tokenizer(
            piece.text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        tokens += encoded["input_ids"]
        for start, end in encoded["offset_mapping"]:
            trainable.append(any(a <= start and end <= b and start < end for a, b in piece.spans))
        if piece.ends:
            tokens.append(tokenizer.eos_token_id)
            trainable.append(piece.end_trained)
    return Example(np.array(tokens, np.int32), np.array(trainable, np.bool_))


def prompt_tokens(tokenizer: Any, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """A conversation that ends with the user, as tokens, up to where the assistant's answer begins."""
    *before, last = pieces(messages)
    if last.ends:
        raise ValueError("the conversation ends with the assistant; there is nothing to answer")
    asked = Piece(f"{last.text}\n{ROLE.format(role='assistant')}", (), False, False)
    tokens: list[int] = []
    for piece in (*before, asked):
        tokens += tokenizer(piece.text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if piece.ends:
            tokens.append(tokenizer.eos_token_id)
    return tuple(tokens)


def truncated(example: Example, longest: int) -> Example:
    """The first `longest` tokens."""
    if len(example.tokens) <= longest:
        return example
    # Copied: a view would keep the whole.
    return Example(example.tokens[:longest].copy(), example.trainable[:longest].copy())


def in_loss(examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    """Which tokens of examples in one packed row are in the loss: `(time,)`.

    The first token of each has no context: it is predicted by nothing, whatever stands before it in the row.
    """
    mask = np.concatenate([e.trainable for e in examples])
    lengths = [len(e.trainable) for e in examples]
    mask[np.cumsum([0, *lengths[:-1]])] = False
    return mask
