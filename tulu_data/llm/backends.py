"""Backends that ask nobody: what a journal holds, and what a function computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tulu_data.errors import InputError
from tulu_data.llm.client import Tally, Then, Watch
from tulu_data.llm.journal import Journal
from tulu_data.llm.request import Answer, Failure, Request, answer_of


@dataclass
class Replay:
    """Answers from a journal alone; `InputError` for a request that it does not answer."""

    journal: Journal

    def run(self, requests: Iterable[Request], then: Then, *, watch: Watch | None = None) -> Tally:
        """See `Backend`; answers come in the order of the requests."""
        return _in_turn(requests, self.reply, then, watch)

    def reply(self, request: Request) -> Answer:
        """The answer to one request."""
        kept = self.journal.get(request.key)
        if kept is None:
            raise InputError(f"{self.journal.path}: has no answer to request {request.key}; run it with a model first")
        return answer_of(request, kept.reply, endpoint=kept.endpoint, attempts=kept.attempts, usd=kept.usd, kept=True)


@dataclass
class Procedural:
    """Answers that a function computes: no model, no key, no cost. It says of itself what it is.

    answer: request → the text, or None where it has none, which is a failure. version: part of the model's name in
    every answer, `procedural/VERSION`.
    """

    answer: Callable[[Request], str | None]
    version: str

    def run(self, requests: Iterable[Request], then: Then, *, watch: Watch | None = None) -> Tally:
        """See `Backend`; answers come in the order of the requests."""
        return _in_turn(requests, self.reply, then, watch)

    def reply(self, request: Request) -> Answer | Failure:
        """The answer to one request."""
        text = self.answer(request)
        if text is None:
            return Failure(request.key, "there is no procedure for this request", None, 1)
        model = f"procedural/{self.version}"
        raw: dict[str, Any] = {
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0},
        }
        return answer_of(request, raw, endpoint=model, attempts=1, usd=0.0)._replace(ignored=())


def _in_turn(
    requests: Iterable[Request],
    answer: Callable[[Request], Answer | Failure],
    then: Then,
    watch: Watch | None,
) -> Tally:
    tally = Tally()
    following: deque[Request] = deque()
    remaining = iter(requests)
    while True:
        request = following.popleft() if following else next(remaining, None)
        if request is None:
            return tally
        outcome = answer(request)
        tally.count(outcome)
        following.extend(chain(then(request, outcome) or ()))
        if watch is not None:
            watch(tally)
