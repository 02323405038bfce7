"""Verification of Arrow tables, and of the records that people have in files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from tulu_data.errors import InputError, TuluError, nearest
from tulu_data.verifiers.pool import Task, VerifierPool
from tulu_data.verifiers.verdict import Verdict

VERDICT = pa.schema(
    [
        pa.field("score", pa.float64(), nullable=False),
        pa.field("valid", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


class Columns(NamedTuple):
    """Where a table or record has what is checked; `verifier` is a column, unless `fixed` names one for all."""

    response: str = "response"
    truth: str = "ground_truth"
    verifier: str = "verifier"
    fixed: str | None = None


def verify_table(
    table: pa.Table,
    *,
    response: str = "response",
    truth: str = "ground_truth",
    verifier: str = "verifier",
    workers: int | None = None,
    deadline_s: float | None = None,
) -> pa.Table:
    """The table with the columns `score`, `valid`, `reason`; a null response is the empty one.

    `InputError` where a column is missing, or a truth is null or not its verifier's: it names the row.
    """
    for name in (response, truth, verifier):
        if name not in table.column_names:
            raise InputError(f"column {name!r} is missing; {nearest(name, table.column_names, noun='column')}")
    columns = [table[name].to_pylist() for name in (verifier, response, truth)]
    tasks = (Task(v, r or "", t) for v, r, t in zip(*columns, strict=True))
    with VerifierPool(workers, deadline_s=deadline_s) as pool:
        verdicts = list(pool.map(placed((f"row {i}", task) for i, task in enumerate(tasks))))
    return with_verdicts(table, verdicts)


def with_verdicts(table: pa.Table, verdicts: Sequence[Verdict]) -> pa.Table:
    """A table with its verdicts as columns."""
    for i, column in enumerate(VERDICT):
        table = table.append_column(column, pa.array([v[i] for v in verdicts], column.type))
    return table


def placed(tasks: Iterable[tuple[str, Task]]) -> Iterator[Task]:
    """The tasks; what is wrong with one is raised with its place."""
    from tulu_data.verifiers.registry import parsed

    for place, task in tasks:
        for what, value in (("ground truth", task.truth), ("verifier", task.verifier)):
            if not value:
                raise InputError(f"{place}: the {what} is missing")
        try:
            parsed(task.verifier, task.truth)
        except TuluError as e:
            raise type(e)(f"{place}: {e}") from None
        yield task


def task_of(record: Mapping[str, Any], columns: Columns) -> Task:
    """What is checked of a record: its response is a text, or the last assistant turn of its messages.

    `ValueError` that names what is missing.
    """
    if columns.fixed is None and columns.verifier not in record:
        raise ValueError(f"no field {columns.verifier!r}; name the verifier with --verifier")
    verifier = columns.fixed or record[columns.verifier]
    if columns.truth not in record:
        raise ValueError(f"no field {columns.truth!r}; {nearest(columns.truth, record, noun='field')}")
    truth = record[columns.truth]
    if isinstance(truth, list | dict):
        import json

        truth = json.dumps(truth)
    elif isinstance(truth, int | float) and not isinstance(truth, bool):
        truth = str(truth)
    return Task(verifier, _response(record, columns.response), truth)


def _response(record: Mapping[str, Any], name: str) -> str:
    said = record.get(name)
    if said is None and name not in record and isinstance(record.get("messages"), list):
        said = record["messages"]
    elif name not in record:
        raise ValueError(f"no field {name!r} and no messages; {nearest(name, record, noun='field')}")
    if isinstance(said, list):
        turns = [m.get("content") for m in said if isinstance(m, dict) and m.get("role") == "assistant"]
        if not turns:
            raise ValueError("no assistant turn in the messages")
        said = turns[-1]
    return said if isinstance(said, str) else ""


@dataclass
class Summary:
    """Counts of one verifier's verdicts, and how often a second verifier differs."""

    rows: int = 0
    right: int = 0
    partial: int = 0
    wrong: int = 0
    undecided: int = 0
    score: float = 0.0  # the sum over valid rows
    differs: int = 0
    compared: int = 0

    def add(self, verdict: Verdict, second: Verdict | None = None) -> None:
        """Counts a verdict."""
        self.rows += 1
        if not verdict.valid:
            self.undecided += 1
        else:
            self.score += verdict.score
            kind = "right" if verdict.right else "partial" if verdict.score else "wrong"
            setattr(self, kind, getattr(self, kind) + 1)
        if second is not None and verdict.valid and second.valid:
            self.compared += 1
            self.differs += verdict.right != second.right

    @property
    def mean(self) -> float | None:
        """The mean score of the rows that could be checked; None of none."""
        checked = self.rows - self.undecided
        return self.score / checked if checked else None
