"""Makes the rows of a plan: asks, then checks, then filters; the records come from the journal alone.

What was answered is in the journal, so a run that is stopped goes on where it was; and since every row is drawn from
its item, and checked and filtered in the items' order, the records have the same content however the answers came in
and however many processes checked them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from personas.duplicates import NEAR, Seen
from personas.filters import Filters
from personas.planning import PROCEDURAL_VERSION, Plan
from personas.record import Told, record_of
from personas.skill import Asks, Checks, Draft, Item, Rejected, Reply, Talk
from tulu_data.errors import InputError
from tulu_data.llm.backends import Procedural
from tulu_data.llm.client import Backend, Tally, Watch
from tulu_data.llm.journal import Journal
from tulu_data.llm.request import Answer, Failure, Request, answer_of
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Row
from tulu_data.rows import check as row_problem
from tulu_data.verifiers.pool import Task, VerifierPool
from tulu_data.verifiers.verdict import Verdict, undecided

BLOCK = 1_000  # items that are checked together
Lookup = Callable[[Request], Answer | Failure | None]


# ------------------------------------------------------------ asking


def generate(plan: Plan, backend: Backend, *, watch: Watch | None = None) -> tuple[Tally, dict[str, Failure]]:
    """Asks everything that the plan's rows ask; the answers are in the backend's journal.

    A row's next question is asked as soon as its last is answered. What failed is given by the request's key.
    """
    asking = _Asking(plan)
    tally = backend.run(asking.first(), asking.then, watch=watch)
    return tally, asking.failures


class _Asking:
    """The rows that are under way, each with the replies that it still waits for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failures: dict[str, Failure] = {}
        self.open: dict[int, tuple[Talk, list[Request], list[Reply | None]]] = {}

    def first(self) -> Iterator[Request]:
        for item in self.plan.items():
            yield from self.go_on(item, self.plan.skill.talk(item), None)

    def then(self, request: Request, outcome: Answer | Failure) -> list[Request]:
        item, ask = request.tag
        if isinstance(outcome, Failure):
            self.failures[request.key] = outcome
            self.open.pop(item.index, None)
            return []
        if item.index not in self.open:
            return []  # another of its requests has failed
        talk, requests, replies = self.open[item.index]
        at = next(i for i, r in enumerate(requests) if r.key == request.key and replies[i] is None)
        replies[at] = reply_of(outcome)
        if any(r is None for r in replies):
            return []
        del self.open[item.index]
        return self.go_on(item, talk, replies)

    def go_on(self, item: Item, talk: Talk, replies: Any) -> list[Request]:
        try:
            step = next(talk) if replies is None else talk.send(replies)
        except (StopIteration, Rejected):
            return []
        if isinstance(step, Checks):
            return []  # everything is asked
        requests = [self.plan.request(item, a) for a in step.asks]
        self.open[item.index] = (talk, requests, [None] * len(requests))
        return requests


def reply_of(answer: Answer) -> Reply:
    """An answer as rows are sent it."""
    return Reply((answer.text or "").strip(), answer.finish_reason, answer)


def from_journal(journal: Journal, failures: Mapping[str, Failure]) -> Lookup:
    """Answers as a journal holds them, and the failures of the run; None for what was not asked yet."""

    def look_up(request: Request) -> Answer | Failure | None:
        kept = journal.get(request.key)
        if kept is None:
            return failures.get(request.key)
        told = {"endpoint": kept.endpoint, "attempts": kept.attempts, "usd": kept.usd}
        return answer_of(request, kept.reply, kept=True, **told)

    return look_up


def from_procedures(plan: Plan) -> Lookup:
    """Answers that the skill's procedures compute."""
    return Procedural(plan.answer, PROCEDURAL_VERSION).reply


# ------------------------------------------------------------ checking


@dataclass
class _Row:
    """A row on its way: what it was told, what it wants next, and what came of it."""

    item: Item
    talk: Talk
    told: list[Told] = field(default_factory=list)
    tasks: tuple[Task, ...] = ()
    outcome: Draft | Rejected | None = None  # None too where it waits for an answer that is not there yet
    waits: bool = False

    def go_on(self, value: Any, plan: Plan, look_up: Lookup) -> None:
        """Runs until the row wants checks, waits, or is over."""
        try:
            step = next(self.talk) if value is None else self.talk.send(value)
            while isinstance(step, Asks):
                replies = self._replies(step, plan, look_up)
                if replies is None:
                    self.waits = True
                    return
                step = self.talk.send(replies)
            self.tasks = step.tasks
        except StopIteration as over:
            self.outcome = over.value
        except Rejected as rejected:
            self.outcome = rejected

    def _replies(self, step: Asks, plan: Plan, look_up: Lookup) -> list[Reply] | None:
        found = [look_up(plan.request(self.item, ask)) for ask in step.asks]
        for outcome in found:
            if isinstance(outcome, Failure):
                raise Rejected("request failed", outcome.reason)
        answers = [a for a in found if isinstance(a, Answer)]
        if len(answers) < len(found):
            return None
        self.told += zip(step.asks, answers, strict=True)
        return [reply_of(a) for a in answers]


class Kept(NamedTuple):
    """The records of a block, in order, and how many rows wait for answers."""

    records: list[Row]
    waiting: int


def records(
    plan: Plan,
    look_up: Lookup,
    source: str,
    *,
    filters: Filters | None = None,
    near: float = NEAR,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Kept]:
    """The rows' records, a block at a time: checked in worker processes, then filtered, in the items' order."""
    filters, progress = filters or Filters(), progress or Silent()
    seen = (Seen(near), Seen(near))  # a twin may be like its twin, and not like another's
    items = plan.items()
    with VerifierPool(workers) as pool, progress.task(f"check {plan.skill.name}", plan.n) as advance:
        while block := list(islice(items, BLOCK)):
            rows = [_Row(item, plan.skill.talk(item)) for item in block]
            _settle(rows, plan, look_up, pool)
            made = [_filtered(plan, row, source, filters, seen) for row in rows if not row.waits]
            yield Kept(made, sum(row.waits for row in rows))
            advance(len(block))


def _settle(rows: list[_Row], plan: Plan, look_up: Lookup, pool: VerifierPool) -> None:
    """Runs all rows to their end; what they want checked at the same time is checked together."""
    for row in rows:
        row.go_on(None, plan, look_up)
    while checking := [row for row in rows if row.outcome is None and not row.waits]:
        verdicts = iter(_verdicts([t for row in checking for t in row.tasks], pool))
        for row in checking:
            row.go_on(list(islice(verdicts, len(row.tasks))), plan, look_up)


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


def _filtered(plan: Plan, row: _Row, source: str, filters: Filters, seen: tuple[Seen, Seen]) -> Row:
    outcome = row.outcome
    assert outcome is not None
    if isinstance(outcome, Draft):
        try:
            _pass(plan, row.item, outcome, filters, seen[row.item.is_twin])
        except Rejected as rejected:
            rejected.known = vars(outcome)
            outcome = rejected
    return record_of(plan, row.item, source, row.told, outcome)


def _pass(plan: Plan, item: Item, draft: Draft, filters: Filters, seen: Seen) -> None:
    """`Rejected` where a draft does not pass the filters, is no row, or was there before."""
    skill = plan.skill
    filters.check(
        draft.prompt,
        draft.response,
        language=item.language,
        checks_language=skill.checks_language,
        refuses_rightly=skill.refuses,
    )
    turns = [{"role": "user", "content": draft.prompt}, {"role": "assistant", "content": draft.response.text}]
    if problem := row_problem("sft", {"messages": turns}):
        raise Rejected("no row", problem)
    if earlier := seen.add(item.id, draft.prompt):
        near = "" if earlier.similarity == 1 else "near-"
        raise Rejected(f"{near}duplicate prompt", f"{earlier.similarity:.0%} of {earlier.id}")


def reasons(records_: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many records were rejected for each reason, the most frequent first."""
    counts: dict[str, int] = {}
    for record in records_:
        if not record["accepted"]:
            counts[record["reject_reason"]] = counts.get(record["reject_reason"], 0) + 1
    return dict(sorted(counts.items(), key=lambda c: (-c[1], c[0])))
