"""The table of a page of evaluations: scores of all runs and published ones, and what is left of each on clean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tulu_data.evals.report import Line, Paired, Report, compare, differs, percents, sides
from tulu_data.evals.results import Run, TaskRun, common_tasks
from tulu_data.tables import printable

# Of what an audit says, and a task's own view has, the table has no room for these: the score is what it is without.
DETAILS = ("dirty by set", "neither clean nor dirty", "gap: over", "have no instance left", "audits do not cover")


class Column(NamedTuple):
    """A run on the page. report: over the tasks that are on it."""

    name: str
    run: Run
    report: Report

    def line(self, task: str) -> Line | None:
        """What the report says of a task; None where it is not scored."""
        return next((line for line in (*self.report.lines, *self.report.averages) if line.id == task), None)


class Part(NamedTuple):
    """A task on the page. facts, lines: by run; None where the run lacks it, or has it not scored."""

    id: str
    facts: tuple[TaskRun | None, ...]
    lines: tuple[Line | None, ...]
    notes: tuple[str, ...]

    @property
    def first(self) -> TaskRun:
        """The facts of the first run that has it."""
        return next(f for f in self.facts if f is not None)


def view(columns: Sequence[Column], parts: Sequence[Part], beside: str | None, notes: Sequence[str]) -> dict[str, Any]:
    """The report's table: scores of all runs and published ones side by side, then what is left of each on clean."""
    table = Table.of(columns, parts)
    groups = [("score", table.heads(beside))]
    for place in table.audited:
        sides = ["clean", "n clean", "dirty", "n dirty", "gap", "z"]
        groups.append(("clean and dirty" if len(columns) == 1 else f"{columns[place].name}, clean and dirty", sides))
    rows = [table.row(part.lines, part, i) for i, part in enumerate(parts)]
    for name in dict.fromkeys(line.id for c in columns for line in c.report.averages):
        rows.append(table.row([c.line(name) for c in columns]))
    unscored = sum(all(line is None for line in part.lines) for part in parts)
    return {
        "title": printable(columns[0].report.model if len(columns) == 1 else f"{len(columns)} models evaluated"),
        "crumb": ", ".join(printable(c.name) for c in columns),
        "sentence": printable(_sentence(columns, parts, unscored)),
        "chips": _chips(parts, unscored),
        "groups": [{"title": printable(t), "columns": [printable(n) for n in names]} for t, names in groups],
        "rows": rows,
        "notes": [printable(note) for note in (*notes, *_elsewhere(columns))],
        "runs": [_run_facts(c) for c in columns],
        "beside": beside,
    }


def merged(columns: Sequence[Column], lines: Sequence[Line | None], part: Part | None = None) -> list[tuple[str, str]]:
    """What is to be said of a task or an average, each note once, with the run that it is of; "" where it is of all."""
    facts = part.facts if part else [None] * len(lines)
    by_run = {
        c.name: line.notes if line else (f"not scored: {f.why or f.status}",) if f else ()
        for c, line, f in zip(columns, lines, facts, strict=True)
        if line or f
    }
    notes = dict.fromkeys(note for said in by_run.values() for note in said)
    whose = {note: [name for name, said in by_run.items() if note in said] for note in notes}
    found = [(who, n) for n, names in whose.items() for who in ([""] if len(names) == len(by_run) else names)]
    return found + [("", note) for note in (part.notes if part else ())]


class Table(NamedTuple):
    """What its rows are made with.

    sources: of published scores. audited: places of runs. pairs: by task, each later run against the first.
    """

    columns: Sequence[Column]
    sources: list[str]
    audited: list[int]
    pairs: list[dict[str, Paired]]

    @classmethod
    def of(cls, columns: Sequence[Column], parts: Sequence[Part]) -> Table:
        """The table of these runs."""
        lines = [(c, line) for c in columns for line in (*c.report.lines, *c.report.averages)]
        return cls(
            columns,
            sorted({s for _, line in lines for s in line.published}),
            [i for i, c in enumerate(columns) if any(of is c and line.clean is not None for of, line in lines)],
            [_paired(columns, parts, place) for place in range(1, len(columns))],
        )

    def heads(self, beside: str | None) -> list[str]:
        """What the score columns are called."""
        first, *others = (c.name for c in self.columns)
        names = [first, *others] if others else ["ours"]
        return names + [f"{beside} ({s})" for s in self.sources] + [h for o in others for h in (f"{o} − {first}", "z")]

    def row(self, lines: Sequence[Line | None], part: Part | None = None, index: int | None = None) -> dict[str, Any]:
        """The row of a task; of an average, which has neither part nor index."""
        known = [line for line in lines if line is not None]
        title = part.first.title if part else known[0].title
        sizes = " / ".join(dict.fromkeys(f"{line.estimate.n if part else line.members:,}" for line in known))
        told = merged(self.columns, lines, part)
        said = [f"{who}: {note}" if who else note for who, note in told if not any(word in note for word in DETAILS)]
        return {
            "task": index,
            "title": printable(title),
            "group": part.first.group if part else "",
            "size": (sizes or f"{part.first.items:,}") if part else f"{sizes} columns",
            "groups": [
                self._scores(lines, part),
                *(sides(lines[place]) for place in self.audited),
            ],
            "notes": [printable(note) for note in said],
        }

    def _scores(self, lines: Sequence[Line | None], part: Part | None) -> list[str]:
        first = next((line for line in lines if line is not None), None)
        scores = [percents(line.estimate) if line else _why(part, i) for i, line in enumerate(lines)]
        scores += [f"{first.published[s]:.1f}" if first and s in first.published else "" for s in self.sources]
        for by_task in self.pairs:
            scores += differs(by_task[part.id].difference) if part and part.id in by_task else ["", ""]
        return scores


def _paired(columns: Sequence[Column], parts: Sequence[Part], place: int) -> dict[str, Paired]:
    """A run against the first, by task, over the tasks that compare."""
    first, second = columns[0].run, columns[place].run
    apart = [p.id for p in parts if p.facts[0] is None or p.facts[place] is None]
    leave_out = [name for name in apart if name in first.tasks or name in second.tasks]
    if not common_tasks([first, second], leave_out):
        return {}
    return {pair.task: pair for pair in compare(first, second, leave_out=leave_out).all}


def _elsewhere(columns: Sequence[Column]) -> list[str]:
    """The tasks of a collection that no run can have, with the reason."""
    said = {name: why for c in columns for name, why in c.report.unscored.items() if name not in c.run.tasks}
    return [f"{name}: not scored: {why}" for name, why in said.items()]


def _why(part: Part | None, place: int) -> str:
    """What stands where a score would."""
    return "not scored" if part and part.facts[place] else "–"


def _sentence(columns: Sequence[Column], parts: Sequence[Part], unscored: int) -> str:
    tasks = f"{len(parts)} task{'s' * (len(parts) != 1)}"
    scored = f"{tasks}, {len(parts) - unscored} of them scored" if unscored else f"{tasks}, all scored"
    answered = sum(f.rows for part in parts for f in part.facts if f)
    by = ", ".join(dict.fromkeys(c.run.facts.model.backend for c in columns))
    return f"{scored}; {answered:,} answers by {by}."


def _chips(parts: Sequence[Part], unscored: int) -> list[tuple[str, str]]:
    """What to know before reading a score: (tone, words)."""
    facts = [f for part in parts for f in part.facts if f]
    scored = [[line for line in part.lines if line] for part in parts]
    audited = sum(all(line.adjusted for line in lines) for lines in scored if lines)
    apart = sum(not all(line.comparable and line.whole for line in lines) for lines in scored)
    of = len(parts) - unscored
    chips = []
    if of:
        words = "audited" if audited == of else f"{audited} of {of} audited" if audited else "not audited"
        chips.append(("good" if audited == of else "warn", words))
    if unscored:
        chips.append(("warn", f"{unscored} not scored"))
    if apart:
        chips.append(("warn", f"{apart} not comparable with published scores"))
    if any((f.judge or "").startswith("stub") for f in facts):
        chips.append(("warn", "judge: stub"))
    return chips


def _run_facts(column: Column) -> list[tuple[str, str]]:
    model = column.run.facts.model
    facts = {"model": model.name, "identity": model.identity, "backend": model.backend, "server": model.base_url or ""}
    facts |= {"folder": column.report.folder}
    lines = {line.adjusted.overlap.audits: None for line in column.report.lines if line.adjusted}
    facts |= {"audits": ", ".join(dict.fromkeys(a for audits in lines for a in audits))}
    return [(name, printable(value)) for name, value in facts.items() if value]
