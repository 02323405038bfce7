"""What a pair is, and the work of making many."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Any, Literal

from personas.skill import Ask, Reply, Talk
from tulu_data.llm.request import Request
from tulu_data.llm.spec import ModelSpec

Method = Literal["relax", "verified", "judge"]
PROCEDURAL = "procedural/1"


@dataclass(frozen=True)
class Source:
    """A prompt that pairs are made of.

    id: of its row. messages: up to the user's last turn. row: what else is known, by the columns of its record or row.
    """

    id: str
    index: int
    messages: tuple[Mapping[str, Any], ...]
    row: Mapping[str, Any]
    seed: int = 0

    def rng(self, purpose: str) -> random.Random:
        """Chance that hangs on the row, the seed and the purpose alone."""
        return random.Random(sha256(f"{self.seed}/{self.id}/{purpose}".encode()).hexdigest())

    @property
    def prompt(self) -> str:
        """The user's last turn."""
        return str(self.messages[-1]["content"])


@dataclass(frozen=True)
class Side:
    """One completion of a pair. model: who wrote it. rating: None where nobody rated it."""

    text: str
    model: str | None
    rating: float | None = None

    @classmethod
    def of(cls, reply: Reply, rating: float | None = None) -> Side:
        """A reply as a side."""
        return cls(reply.text, reply.answer.model, rating)


@dataclass
class Pair:
    """Two completions, the better one first, and what shows it (JSON)."""

    chosen: Side
    rejected: Side
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PairWork:
    """Pairs to be made of sources by one method; see `talking.Work`.

    models: who is asked, by route; without any, `answer` computes what they would say.
    """

    method: Method
    sources: Callable[[], Iterator[Source]]  # may be read more than once
    n: int
    make: Callable[[Source], Talk[Pair]]
    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    answer: Callable[[Source, Ask], str | None] | None = None
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # further ones, by stage

    @property
    def label(self) -> str:
        """What the progress says."""
        return f"pairs {self.method}"

    def items(self) -> Iterator[Source]:
        """The sources, in order."""
        return islice(self.sources(), self.n)

    def talk(self, item: Source) -> Talk[Pair]:
        """How a pair comes about."""
        return self.make(item)

    def request(self, item: Source, ask: Ask) -> Request:
        """A question as it is sent to the model of its route."""
        spec = self.models.get(ask.route)
        if spec is None:
            return Request(PROCEDURAL, ask.messages, {}, ask.sample, (item, ask))
        params = {**spec.request_params, **self.params.get(ask.stage, {})}
        return Request(spec.model, ask.messages, params, ask.sample, (item, ask))

    def reply(self, request: Request) -> str | None:
        """What is computed in place of a model's answer."""
        item, ask = request.tag
        return self.answer(item, ask) if self.answer is not None else None


def plain(messages: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Messages as a model's API takes them."""
    return tuple({k: v for k, v in m.items() if v is not None} for m in messages)
