"""What came of a plan's rows, as records: checked, then filtered, in the items' order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from personas import talking
from personas.duplicates import NEAR, Seen
from personas.filters import Filters
from personas.planning import Plan
from personas.record import record_of
from personas.skill import Draft, Item, Rejected
from personas.talking import Lookup
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Row
from tulu_data.rows import check as row_problem


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
    filters = filters or Filters()
    seen = (Seen(near), Seen(near))  # a twin may be like its twin, and not like another's
    for rows in talking.settled(plan, look_up, workers=workers, progress=progress or Silent()):
        made = [_filtered(plan, row, source, filters, seen) for row in rows if not row.waits]
        yield Kept(made, sum(row.waits for row in rows))


def _filtered(plan: Plan, row: talking.Row, source: str, filters: Filters, seen: tuple[Seen, Seen]) -> Row:
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
