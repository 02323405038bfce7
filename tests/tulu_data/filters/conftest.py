"""Rows for filter tests, and precision and recall over a table of labelled ones."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from tulu_data.filters.annotation import Conversation, Reason
from tulu_data.filters.registry import FILTERS

Case = tuple[bool, str, str]  # whether the row should be dropped, the request, the answer


class Measured(NamedTuple):
    precision: float
    recall: float
    wrongly_dropped: list[str]
    missed: list[str]


@pytest.fixture(scope="session")
def reasons_for() -> Callable[..., list[Reason]]:
    """The reasons of one filter to drop a row of these turns, the first of them the user's."""

    def reasons(name: str, *turns: str, **settings: Any) -> list[Reason]:
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
        section = FILTERS[name].settings(**settings)
        values = FILTERS[name].annotate(Conversation.of("sft", {"messages": messages}), section)
        return list(FILTERS[name].judge(values, section))

    return reasons


@pytest.fixture(scope="session")
def measure(reasons_for) -> Callable[..., Measured]:
    """Precision and recall of one filter over labelled rows; printed, with what it got wrong."""

    def measured(name: str, cases: Sequence[Case], **settings: Any) -> Measured:
        found = [(case, reasons_for(name, *case[1:], **settings)) for case in cases]
        hits = sum(bool(reasons) for (label, *_), reasons in found if label)
        wrong = [f"{a[:70]!r} by {reasons[0]}" for (label, _, a), reasons in found if reasons and not label]
        missed = [a[:70] for (label, _, a), reasons in found if label and not reasons]
        positives = sum(label for label, *_ in cases)
        assert min(positives, len(cases) - positives) >= 5
        assert len(cases) >= 15
        result = Measured(hits / ((hits + len(wrong)) or 1), hits / positives, wrong, missed)
        print(f"{name}: {len(cases)} rows, precision {result.precision:.2f}, recall {result.recall:.2f}")
        print("".join(f"  wrongly dropped: {w}\n" for w in wrong) + "".join(f"  missed: {m}\n" for m in missed))
        return result

    return measured
