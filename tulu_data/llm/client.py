"""The client: requests from a lazy iterator, answered by one or several endpoints, each paid for once.

A fixed number of workers pull from the iterator; nothing waits for a batch. An answer is in the journal before it
counts, and a request that the journal answers is not sent. What a request's answer leads to (a solution to a problem)
is asked as soon as it is known.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tulu_data.errors import InputError, TuluError, UsageError
from tulu_data.llm.endpoint import Endpoint, Trouble
from tulu_data.llm.journal import Entry, Journal
from tulu_data.llm.limiter import rest
from tulu_data.llm.prices import Price, price_of
from tulu_data.llm.request import Answer, Failure, Request, answer_of

TRIES = 6  # of one request; a 429 is no try
TIMEOUT_S = 300.0  # of one try
DEADLINE_S = 900.0  # of one request, all its tries; waiting for the endpoint's limits does not count
BACKOFF_S = 0.5  # at first; doubles, with full jitter, up to
LONGEST_BACKOFF_S = 30.0
GIVE_UP = 8  # requests that fail, or tries that nobody takes, before any answer: then it is not the rows' fault
DRAIN_S = 60.0  # for what is under way when the run is stopped

Then = Callable[[Request, Answer | Failure], Iterable[Request] | None]


class Stopped(TuluError):
    """The run ended before its requests did; what was answered is kept."""


class Interrupted(Stopped):
    """Ctrl-C."""

    exit_code = 130


class Backend(Protocol):
    """Who answers requests: an endpoint, a journal, a function."""

    def run(self, requests: Iterable[Request], then: Then, *, watch: Watch | None = None) -> Tally:
        """Answers all; `then` is called with each as it comes, and may return further requests."""


class Watch(Protocol):
    """Sees how a run goes."""

    def __call__(self, tally: Tally) -> None:
        """Called after every answer or failure."""


@dataclass
class Budget:
    """When to stop: before more is spent than this, as far as what is under way can be foreseen."""

    usd: float | None = None
    tokens: int | None = None


@dataclass
class Tally:
    """What a run has come to."""

    answered: int = 0
    kept: int = 0  # from the journal
    failed: int = 0
    sent: int = 0  # requests, with those that came to nothing
    held_back: int = 0  # 429s
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0  # answers whose price is not known
    ignored: dict[str, int] = field(default_factory=dict)  # parameters that were not honoured → answers
    reasons: dict[str, int] = field(default_factory=dict)  # of failures
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Requests that are over."""
        return self.answered + self.kept + self.failed

    def count(self, outcome: Answer | Failure) -> None:
        """Counts what came of a request."""
        if isinstance(outcome, Failure):
            self.failed += 1
            self.reasons[outcome.reason] = self.reasons.get(outcome.reason, 0) + 1
            return
        for name in outcome.ignored:
            self.ignored[name] = self.ignored.get(name, 0) + 1
        if outcome.kept:
            self.kept += 1
            return
        self.answered += 1
        self.prompt_tokens += outcome.usage.prompt or 0
        self.completion_tokens += outcome.usage.completion or 0
        self.usd += outcome.usd or 0.0
        self.unpriced += outcome.usd is None


@dataclass
class Client:
    """Asks endpoints. All of them serve the same models, and the one least busy is asked.

    price: USD per million tokens, where the table does not know the model or knows it wrongly.
    """

    endpoints: Sequence[Endpoint]
    journal: Journal | None = None
    budget: Budget = field(default_factory=Budget)
    price: Price | None = None
    tries: int = TRIES
    timeout_s: float = TIMEOUT_S
    deadline_s: float = DEADLINE_S

    def run(self, requests: Iterable[Request], then: Then, *, watch: Watch | None = None) -> Tally:
        """Answers all requests; see `Backend`.

        Answers come in any order. `Stopped` where the key, the quota or the model is refused, nobody answers, or the
        budget is spent; `Interrupted` on Ctrl-C, after what was under way has come in (a second Ctrl-C does not wait).
        """
        return asyncio.run(_Run(self, iter(requests), then, watch).all())

    def price_for(self, model: str) -> Price | None:
        """What the model's tokens cost."""
        return self.price or price_of(model)


class _Run:
    """One run: its workers and what they share."""

    def __init__(self, client: Client, requests: Iterator[Request], then: Then, watch: Watch | None) -> None:
        if not client.endpoints:
            raise UsageError("no endpoint to ask")
        self.client, self.requests, self.then, self.watch = client, requests, then, watch
        self.tally = Tally()
        self.next: deque[Request] = deque()  # what answers have led to
        self.stop: TuluError | None = None
        self.hurry = asyncio.Event()  # set when nothing more is sent: nobody sleeps on
        self.bug: BaseException | None = None
        self.under_way = 0
        self.taken = 0
        self.asking: dict[str, asyncio.Future[Answer | Failure | None]] = {}  # by key; equal requests wait for one
        self.idle: deque[asyncio.Future[None]] = deque()
        self.unreached = 0  # tries that nobody took

    async def all(self) -> Tally:
        endpoints = self.client.endpoints
        for endpoint in endpoints:
            await endpoint.open(self.client.timeout_s)
        workers = [asyncio.create_task(self.work()) for _ in range(sum(e.max_in_flight for e in endpoints))]
        restore = self.on_interrupt(workers)
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        finally:
            restore()
            for endpoint in endpoints:
                await endpoint.close()
        if self.bug is not None:
            raise self.bug
        if self.stop is not None:
            raise self.stop
        return self.tally

    def on_interrupt(self, workers: list[asyncio.Task[None]]) -> Callable[[], None]:
        """The first Ctrl-C lets what is under way come in, the second does not."""
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            for worker in workers:
                worker.cancel()

        def interrupted() -> None:
            if self.stop is not None:
                cancel()
                return
            self.halt(Interrupted("stopped by Ctrl-C; what was answered is kept"))
            loop.call_later(DRAIN_S, cancel)

        try:
            loop.add_signal_handler(signal.SIGINT, interrupted)
        except (ValueError, NotImplementedError, RuntimeError):
            return lambda: None  # not the main thread: the signal goes elsewhere
        return lambda: (loop.remove_signal_handler(signal.SIGINT), None)[1]

    def halt(self, why: TuluError) -> None:
        """Nothing more is sent."""
        self.stop = self.stop or why
        self.hurry.set()
        self.wake(all_=True)

    def wake(self, *, all_: bool = False) -> None:
        while self.idle:
            future = self.idle.popleft()
            if not future.done():
                future.set_result(None)
                if not all_:
                    return

    async def work(self) -> None:
        while (request := await self.take()) is not None:
            try:
                outcome = await self.outcome_of(request)
                if outcome is not None:
                    self.over(request, outcome)
            except TuluError as e:
                self.halt(e)
            except Exception as e:
                self.bug = self.bug or e
                self.halt(Stopped("an error in the program"))
            finally:
                self.under_way -= 1
                if not self.under_way:
                    self.wake(all_=True)  # nothing more can come of what was under way

    async def take(self) -> Request | None:
        """The next request; None where there will be none."""
        while self.stop is None:
            if self.next:
                self.under_way += 1
                return self.next.popleft()
            try:
                request = next(self.requests, None)
            except TuluError as e:
                self.halt(e)
                return None
            if request is not None:
                self.under_way += 1
                self.taken += 1
                if self.taken % 64 == 0:
                    await asyncio.sleep(0)  # answers from the journal never wait; others want their turn
                return request
            if not self.under_way:
                return None
            future = asyncio.get_running_loop().create_future()
            self.idle.append(future)
            await future
        return None

    def over(self, request: Request, outcome: Answer | Failure) -> None:
        self.tally.count(outcome)
        if isinstance(outcome, Failure) and self.tally.failed >= GIVE_UP and self.tally.done == self.tally.failed:
            self.halt(Stopped(f"the first {GIVE_UP} requests all fail ({outcome.reason}); mend that first"))
        for further in self.then(request, outcome) or ():
            self.next.append(further)
            self.wake()
        if self.watch is not None:
            self.watch(self.tally)

    async def outcome_of(self, request: Request) -> Answer | Failure | None:
        """What came of a request; None where the run was stopped before it was sent. Equal ones are sent once."""
        other = self.asking.get(request.key)
        if other is not None:
            outcome = await asyncio.shield(other)
            return outcome._replace(kept=True) if isinstance(outcome, Answer) else outcome
        mine = self.asking[request.key] = asyncio.get_running_loop().create_future()
        outcome = None
        try:
            outcome = await self.kept_or_sent(request)
            return outcome
        finally:
            del self.asking[request.key]
            mine.set_result(outcome)

    async def kept_or_sent(self, request: Request) -> Answer | Failure | None:
        kept = self.client.journal.get(request.key) if self.client.journal is not None else None
        if kept is not None:
            return answer_of(
                request, kept.reply, endpoint=kept.endpoint, attempts=kept.attempts, usd=kept.usd, kept=True
            )
        rng = random.Random(request.key)
        spent_s, tried = 0.0, 0
        while True:
            endpoint = min(self.client.endpoints, key=lambda e: e.limiter.load(asyncio.get_running_loop().time()))
            await endpoint.limiter.acquire(self.hurry)
            start = time.monotonic()
            failed: Trouble
            try:
                if self.stop is not None or not self.affordable():
                    return None
                tried += 1
                return await self.ask(
                    request, endpoint, tried, min(self.client.timeout_s, self.client.deadline_s - spent_s)
                )
            except Trouble as trouble:
                failed = trouble
                spent_s += time.monotonic() - start
                self.troubled(endpoint, trouble, rng, start)
                if trouble.meaning == "stop":
                    raise Stopped(f"{endpoint.url}: {trouble.reason}; what was answered is kept") from None
                if trouble.meaning == "later":
                    tried -= 1
                elif trouble.meaning == "never" or tried >= self.client.tries or spent_s >= self.client.deadline_s:
                    return Failure(request.key, trouble.reason, trouble.status, tried)
            finally:
                endpoint.limiter.release()
            if failed.meaning == "again":  # after a 429 the whole endpoint waits
                pause = rng.uniform(0, min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** (tried - 1)))
                spent_s += pause
                await rest(pause, self.hurry)

    async def ask(self, request: Request, endpoint: Endpoint, tried: int, timeout_s: float) -> Answer:
        self.tally.sent += 1
        reply = await endpoint.post(request.path, request.body, timeout_s=timeout_s)
        try:
            answer = answer_of(request, reply.body, endpoint=endpoint.url, attempts=tried, usd=None)
        except ValueError as e:
            raise Trouble("again", str(e)) from None
        price = self.client.price_for(request.model)
        answer = answer._replace(usd=price.of(answer.usage) if price else None)
        endpoint.limiter.told(reply.headers)
        endpoint.limiter.answered(answer.usage.total)
        if self.client.journal is not None:
            self.client.journal.keep(Entry(request.key, endpoint.url, tried, answer.usd, reply.body))
        return answer

    def troubled(self, endpoint: Endpoint, trouble: Trouble, rng: random.Random, sent_at: float) -> None:
        """Tells the limiter what a failed try means for the endpoint."""
        now = time.monotonic()  # the loop's clock too
        limiter = endpoint.limiter
        if trouble.meaning == "later" or trouble.status == 503:
            self.tally.held_back += trouble.meaning == "later"
            limiter.overloaded(now, sent_at, trouble.retry_after_s, rng)
        elif trouble.status == 408:
            limiter.slow_down()
        elif trouble.broken:
            limiter.failed(now)
            self.unreached += trouble.unreached
            if self.unreached >= GIVE_UP * len(self.client.endpoints) and not self.tally.answered:
                raise Stopped(f"{endpoint.url}: nobody answers ({trouble.reason}); is the address right?")

    def affordable(self) -> bool:
        """Whether another request fits the budget, if it and those under way cost what the others did."""
        tally, budget = self.tally, self.client.budget
        under_way = sum(e.limiter.in_flight for e in self.client.endpoints)
        for unit, limit, spent in (
            ("USD", budget.usd, tally.usd),
            ("tokens", budget.tokens, tally.prompt_tokens + tally.completion_tokens),
        ):
            if limit is None:
                continue
            if unit == "USD" and tally.unpriced:
                self.halt(
                    InputError("the price of an answer is not known, so a budget in USD cannot be kept; give --price")
                )
                return False
            if spent + under_way * (spent / max(1, tally.answered)) > limit or spent >= limit:
                self.halt(
                    Stopped(f"the budget of {limit:,g} {unit} is spent ({spent:,.4g}); what was answered is kept")
                )
                return False
        return True
