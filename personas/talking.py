"""Runs rows that talk: what they ask goes to models, what they want checked to the verifiers.

Two passes. `generate` asks everything and keeps the answers in journals; `settled` runs the same rows again on what the
journals hold, and checks. So a run that is stopped goes on where it was, a parser that was mended costs nothing, and
what comes out depends neither on the order in which answers came nor on the number of processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from personas.skill import Ask, Asks, Checks, Rejected, Reply, Talk
from tulu_data.errors import InputError
from tulu_data.llm.backends import Procedural
from tulu_data.llm.client import Backend, Watch
from tulu_data.llm.journal import Journal
from tulu_data.llm.request import Answer, Failure, Request, answer_of
from tulu_data.progress import Progress
from tulu_data.verifiers.pool import Task, VerifierPool
from tulu_data.verifiers.verdict import Verdict, undecided

BLOCK = 1_000  # rows that are checked together
_LONE = re.compile("[\ud800-\udfff]")
Lookup = Callable[[Request], Answer | Failure | None]
Failures = dict[tuple[str, str], Failure]  # by the request's route and key


class Work(Protocol):
    """Rows to be run: a plan of synthesis, or of pairs."""

    @property
    def label(self) -> str:
        """What the progress says."""

    @property
    def n(self) -> int:
        """How many rows there are."""

    def items(self) -> Iterator[Any]:
        """What each row starts from; has an `index`, and is the same each time."""

    def talk(self, item: Any) -> Talk[Any]:
        """A row."""

    def request(self, item: Any, ask: Ask) -> Request:
        """A question as it is sent; its tag is (item, ask)."""


# ------------------------------------------------------------ asking


def generate(work: Work, backends: Mapping[str, Backend], *, watch: Watch | None = None) -> Failures:
    """Asks everything that the rows ask, each question of the backend of its route; the answers are in their journals.

    A row's next question is asked as soon as its last is answered, where the same backend answers it; else when that
    backend's turn comes. What failed is given by route and key.
    """
    asking = _Asking(work)
    routes = list(backends)
    first = routes[0]
    backends[first].run(asking.on(first, asking.first()), asking.then, watch=watch)
    while waiting := [route for route in routes if asking.later.get(route)]:
        route = waiting[0]
        backends[route].run(asking.on(route, asking.later.pop(route)), asking.then, watch=watch)
    return asking.failures


class _Asking:
    """The rows that are under way, each with the replies that it still waits for."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.route = ""
        self.failures: Failures = {}
        self.later: dict[str, list[Request]] = {}  # questions by the route that is not being run
        self.open: dict[int, tuple[Talk[Any], list[Request], list[Reply | None]]] = {}

    def on(self, route: str, requests: Iterable[Request]) -> Iterator[Request]:
        """Those of the requests that this route answers; the others wait. What a lost row still asks is left out."""
        self.route = route
        for request in requests:
            item, ask = request.tag
            if item.index not in self.open:
                continue  # another of its requests has failed
            if ask.route == route:
                yield request
            else:
                self.later.setdefault(ask.route, []).append(request)

    def first(self) -> Iterator[Request]:
        for item in self.work.items():
            yield from self.go_on(item, self.work.talk(item), None)

    def then(self, request: Request, outcome: Answer | Failure) -> Iterable[Request]:
        item, _ = request.tag
        if isinstance(outcome, Failure):
            self.failures[_name(request)] = outcome
            self.open.pop(item.index, None)
            return []
        if item.index not in self.open:
            return []  # another of its requests has failed
        talk, requests, replies = self.open[item.index]
        at = next(i for i, r in enumerate(requests) if replies[i] is None and _name(r) == _name(request))
        replies[at] = reply_of(outcome)
        if any(r is None for r in replies):
            return []
        del self.open[item.index]
        return list(self.on(self.route, self.go_on(item, talk, replies)))

    def go_on(self, item: Any, talk: Talk[Any], replies: Any) -> list[Request]:
        try:
            step = next(talk) if replies is None else talk.send(replies)
        except (StopIteration, Rejected):
            return []
        if isinstance(step, Checks):
            return []  # everything is asked
        requests = [self.work.request(item, a) for a in step.asks]
        self.open[item.index] = (talk, requests, [None] * len(requests))
        return requests


def _name(request: Request) -> tuple[str, str]:
    """Tells requests apart; two servers may call two models by one name."""
    return request.tag[1].route, request.key


def reply_of(answer: Answer) -> Reply:
    """An answer as rows are sent it; half a character, which no request or file can hold, is `\ufffd`."""
    return Reply(_LONE.sub("\ufffd", answer.text or "").strip(), answer.finish_reason, answer)


def from_journals(journals: Mapping[str, Journal], failures: Mapping[tuple[str, str], Failure]) -> Lookup:
    """Answers as the journals of the routes hold them, and the failures of the run; None for what was not asked yet."""

    def look_up(request: Request) -> Answer | Failure | None:
        kept = journals[request.tag[1].route].get(request.key)
        if kept is None:
            return failures.get(_name(request))
        return answer_of(request, kept.reply, endpoint=kept.endpoint, attempts=kept.attempts, usd=kept.usd, kept=True)

    return look_up


def from_procedures(answer: Callable[[Request], str | None], version: str) -> Lookup:
    """Answers that a function computes."""
    return Procedural(answer, version).reply


# ------------------------------------------------------------ checking


@dataclass
class Row:
    """A row on its way: what it was told, what it wants checked next, and what came of it."""

    item: Any
    talk: Talk[Any]
    told: list[tuple[Ask, Answer]] = field(default_factory=list)
    tasks: tuple[Task, ...] = ()
    outcome: Any = None  # a draft or `Rejected`; None too where it waits for an answer that is not there yet
    waits: bool = False

    def go_on(self, value: Any, work: Work, look_up: Lookup) -> None:
        """Runs until the row wants checks, waits, or is over."""
        try:
            step = next(self.talk) if value is None else self.talk.send(value)
            while isinstance(step, Asks):
                replies = self._replies(step, work, look_up)
                if replies is None:
                    self.waits = True
                    return
                step = self.talk.send(replies)
            self.tasks = step.tasks
        except StopIteration as over:
            self.outcome = over.value
        except Rejected as rejected:
            self.outcome = rejected

    def _replies(self, step: Asks, work: Work, look_up: Lookup) -> list[Reply] | None:
        found = [look_up(work.request(self.item, ask)) for ask in step.asks]
        for outcome in found:
            if isinstance(outcome, Failure):
                raise Rejected("request failed", outcome.reason)
        answers = [a for a in found if isinstance(a, Answer)]
        if len(answers) < len(found):
            return None
        self.told += zip(step.asks, answers, strict=True)
        return [reply_of(a) for a in answers]


def settled(work: Work, look_up: Lookup, *, workers: int | None, progress: Progress) -> Iterator[list[Row]]:
    """The rows in their order, a block at a time, with what came of them; checked in worker processes."""
    items = work.items()
    with VerifierPool(workers) as pool, progress.task(f"check {work.label}", work.n) as advance:
        while block := list(islice(items, BLOCK)):
            rows = [Row(item, work.talk(item)) for item in block]
            _settle(rows, work, look_up, pool)
            yield rows
            advance(len(block))


def _settle(rows: list[Row], work: Work, look_up: Lookup, pool: VerifierPool) -> None:
    """Runs all rows to their end; what they want checked at the same time is checked together."""
    for row in rows:
        row.go_on(None, work, look_up)
    while checking := [row for row in rows if row.outcome is None and not row.waits]:
        verdicts = iter(_verdicts([t for row in checking for t in row.tasks], pool))
        for row in checking:
            row.go_on(list(islice(verdicts, len(row.tasks))), work, look_up)


def _verdicts(tasks: list[Task], pool: VerifierPool) -> list[Verdict]:
    """What the verifiers say; a truth that is not its verifier's (a model wrote it) is undecided."""
    sound = [_problem(task) for task in tasks]
    checked = pool.map(task for task, problem in zip(tasks, sound, strict=True) if problem is None)
    return [next(checked) if problem is None else undecided(problem) for problem in sound]


def _problem(task: Task) -> str | None:
    from tulu_data.verifiers.registry import parsed

    try:
        parsed(task.verifier, task.truth)
    except InputError as e:
        return str(e)
    return None
