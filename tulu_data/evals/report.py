"""Reports: our columns beside the paper's, each with its error and what is left of it on clean instances.

Scores are percent here. The averages are the paper's (arXiv 2411.15124, Tables 5 and 33): over the 12 columns of its
development suite, of which safety is one, the macro average of six accuracies; and over its 7 unseen ones. One that
lacks a column is an average of what is there, says so, and stands beside published scores of the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tulu_data.errors import InputError, UsageError, nearest
from tulu_data.evals.adjusted import Adjusted, NotCovered, Overlap, Used, adjust, overlap_of
from tulu_data.evals.metrics import Difference, Estimate, Values, aggregate, average, difference, estimate, values_of
from tulu_data.evals.results import STUB, Run, TaskRun, common_tasks
from tulu_data.evals.task import Task

# Published scores that the task's own settings do not stand for, by task and source: the extraction changed between.
OTHERWISE_PUBLISHED = {
    ("bbh", "card-2024-11"): "card-2024-11 extracted BBH's answers in an earlier way; compare with paper-v5",
}


class Line(NamedTuple):
    """A column of the paper's tables. members: tasks that it is made of, one or six. published: percent, by source.

    adjusted: None without an audit of the suite; of a column of several tasks `clean` alone is known. notes: what
    keeps the score from being the paper's, in this run. about: what the task does otherwise than the paper, always.
    pass_at_1: where the estimate is pass@10. comparable: with what was published, as far as the run can tell. whole: of
    an average, that it has all its columns.
    """

    id: str
    title: str
    group: str
    members: int
    estimate: Estimate
    clean: Estimate | None
    adjusted: Adjusted | None
    published: Mapping[str, float]
    notes: tuple[str, ...]
    about: str = ""
    pass_at_1: Estimate | None = None
    comparable: bool = True
    whole: bool = True


class Report(NamedTuple):
    """A run's tasks, its averages, and what is not scored, with the reason."""

    model: str
    folder: str
    lines: tuple[Line, ...]
    averages: tuple[Line, ...]
    unscored: Mapping[str, str]
    beside: str | None
    notes: tuple[str, ...]


def report(
    run: Run,
    tasks: Mapping[str, Task],
    *,
    audits: Sequence[Used] = (),
    beside: str | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """The report of a run. tasks: of the registry, for what was published; beside: the model to stand beside.

    `UsageError` where nothing is published of that model; `InputError` where an audit is of another suite version.
    """
    if beside is not None:
        _check_beside(beside, tasks)
    lines = []
    for name, facts in run.tasks.items():
        if facts.status == "scored":
            lines.append(_line(run, facts, _published(tasks.get(name), beside), audits))
    unscored = {name: facts.why or facts.status for name, facts in run.tasks.items() if facts.status != "scored"}
    unscored |= _never(run)
    return Report(
        run.facts.model.name,
        str(run.folder),
        tuple(lines),
        tuple(_averages(lines, beside)),
        unscored,
        beside,
        tuple(notes),
    )


def _never(run: Run) -> dict[str, str]:
    """The tasks that nothing here scores, of collections whose others were all run."""
    from tulu_data.evals.registry import COLLECTIONS, TASKS

    found: dict[str, str] = {}
    for members in COLLECTIONS.values():
        never = {name: TASKS[name].unscored for name in members if TASKS[name].unscored}
        if set(members) - set(never) <= set(run.tasks):
            found |= never
    return found


def _check_beside(beside: str, tasks: Mapping[str, Task]) -> None:
    known = {model for task in tasks.values() for models in task.published.values() for model in models}
    if beside not in known:
        raise UsageError(f"--beside {beside!r}: nothing is published of it; {nearest(beside, known, noun='model')}")


def _published(task: Task | None, beside: str | None) -> dict[str, float]:
    if task is None or beside is None:
        return {}
    return {source: models[beside] for source, models in task.published.items() if beside in models}


def _line(run: Run, facts: TaskRun, published: Mapping[str, float], audits: Sequence[Used]) -> Line:
    samples = run.samples(facts.id)
    values = values_of(samples, facts.metric)
    notes = _apart_from_the_papers(facts)
    comparable = not notes and facts.judge != STUB
    if facts.shots_from:
        notes.append(f"examples of {facts.shots_from}, not the package's")
    notes += _otherwise_published(facts.id, published)
    if facts.judge is not None:
        notes.append(f"judge: {facts.judge}")
    first = estimate(samples, facts.metric, k=1) if facts.metric == "pass_at_10" else None
    if first is not None:
        notes.append(f"pass@1 {percents(first)}")
    if facts.undecided:
        notes.append(f"{facts.undecided:,} of {facts.rows:,} responses could not be judged and are left out")
    adjusted = None
    if audits:
        try:
            adjusted = adjust(values, overlap_in(facts, values, audits))
            notes += _said(adjusted, values.ids)
        except NotCovered:
            notes.append("not audited: no audit covers its suite")
    whole = aggregate(values)
    clean = adjusted.clean if adjusted else None
    return Line(
        facts.id,
        facts.title,
        facts.group,
        1,
        whole,
        clean,
        adjusted,
        published,
        tuple(notes),
        facts.note,
        first,
        comparable,
    )


def _apart_from_the_papers(facts: TaskRun) -> list[str]:
    """Why a score does not stand beside published ones, a line each."""
    notes = []
    if facts.limit is not None:
        some = f"{facts.limit:,} items of each subset" if facts.metric == "macro" else f"{facts.items:,} items"
        notes.append(f"the first {some} only: not comparable")
    notes += [f"not comparable: {what}" for what in facts.changed]
    if facts.metric == "win_rate":
        notes.append("plain win rate over both orders, without length control: not the paper's")
    return notes


def _otherwise_published(task: str, published: Mapping[str, float]) -> list[str]:
    known = ((source, OTHERWISE_PUBLISHED.get((task, source))) for source in published)
    return [f"not comparable: {what}" for _, what in known if what]


def overlap_in(facts: TaskRun, values: Values, audits: Sequence[Used]) -> Overlap:
    """What audits say of the instances of a task's run; see `overlap_of`."""
    whole = facts.limit is None and facts.items == facts.instances
    return overlap_of(facts.suite, facts.digests.suite, values.ids, audits, whole=whole)


def _said(adjusted: Adjusted, asked: Sequence[str]) -> list[str]:
    notes = list(adjusted.overlap.notes)
    counted = {name: len(found.intersection(asked)) for name, found in adjusted.overlap.by_set.items()}
    by_set = {name: count for name, count in counted.items() if count}
    if by_set:
        notes.append("dirty by set: " + ", ".join(f"{name} {count:,}" for name, count in by_set.items()))
    if adjusted.unclear:
        notes.append(f"{adjusted.unclear:,} instances are neither clean nor dirty: the audit left them undecided")
    if adjusted.dirty.n and adjusted.clean.n and (adjusted.clean.empty or adjusted.dirty.empty):
        notes.append(f"gap: over the {len(adjusted.gap_over)} subsets that have both")
    for side, found in (("clean", adjusted.clean), ("dirty", adjusted.dirty)):
        if found.empty and found.n:
            notes.append(f"{side}: {len(found.empty)} subsets have no instance left and are left out of the mean")
    return notes


# ------------------------------------------------------------ averages


def _averages(lines: Sequence[Line], beside: str | None) -> list[Line]:
    """The safety column and the paper's averages, of as many columns as there are, from two on."""
    from tulu_data.evals.registry import COLLECTIONS

    columns = {line.id: line for line in lines}

    def mean(name: str, title: str, group: str, *more: str) -> Line | None:
        return _mean(name, title, group, {n: columns.get(n) for n in (*COLLECTIONS[name], *more)}, beside)

    safety = mean("safety", "Safety (average)", "safety")
    if safety is not None:
        columns["safety"] = safety
    dev = mean("tulu3-dev", "Tülu 3 dev average", "dev", "safety")
    unseen = mean("tulu3-unseen", "Tülu 3 unseen average", "unseen")
    return [line for line in (safety, dev, unseen) if line is not None]


def _mean(name: str, title: str, group: str, wanted: Mapping[str, Line | None], beside: str | None) -> Line | None:
    there = [line for line in wanted.values() if line is not None]
    if len(there) < 2:
        return None  # the column says it already
    notes = []
    whole = len(there) == len(wanted) and all(line.whole for line in there)
    if not whole:
        lacks = ", ".join(n for n, line in wanted.items() if line is None) if len(there) > len(wanted) // 2 else ""
        without = f", without {lacks}" if lacks else ""
        notes.append(f"{len(there)} of {len(wanted)} columns{without}: not the paper's average")
    if odd := [line.id for line in there if not (line.comparable and line.whole)]:
        notes.append(f"holds scores that are not the paper's: {', '.join(odd)}")
    notes += [note for line in there for note in _otherwise_published(line.id, line.published)]
    clean = [line.clean for line in there if line.clean is not None]
    of_clean = average(clean) if len(clean) == len(there) else None
    published = _printed(name, beside) if whole and beside else _mean_of_published(there)
    whole_mean = average([line.estimate for line in there])
    return Line(
        name,
        title,
        group,
        len(there),
        whole_mean,
        of_clean,
        None,
        published,
        tuple(notes),
        comparable=whole and not odd,
        whole=whole,
    )


def _printed(name: str, beside: str) -> dict[str, float]:
    """An average as the tables print it: they round each column first, so it is not to be computed."""
    from tulu_data.evals.tasks.published import AVERAGES

    return {source: models[beside] for source, models in AVERAGES[name].items() if beside in models}


def _mean_of_published(there: Sequence[Line]) -> dict[str, float]:
    """The mean of the same columns, by the sources that have them all."""
    sources = set.intersection(*(set(line.published) for line in there))
    return {s: sum(line.published[s] for line in there) / len(there) for s in sorted(sources)}


# ------------------------------------------------------------ as people and programs read them


def table_of(found: Report) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a report, averages last; with the columns that it has something to say in."""
    lines = [*found.lines, *found.averages]
    sources = sorted({s for line in lines for s in line.published})
    audited = any(line.clean is not None for line in lines)
    header = ["task", "n", "score", *(f"{found.beside} ({s})" for s in sources)]
    header += ["clean", "n clean", "dirty", "n dirty", "gap", "z"] if audited else []
    rows = []
    for line in lines:
        size = f"{line.members} columns" if line in found.averages else f"{line.estimate.n:,}"
        row = [line.title, size, percents(line.estimate)]
        row += [f"{line.published[s]:.1f}" if s in line.published else "" for s in sources]
        if audited:
            row += [*sides(line)]
        rows.append(row)
    return header, rows


def sides(line: Line | None) -> list[str]:
    """Clean and dirty with their numbers, the gap and its z; empty where nothing is known."""
    if line is None or line.adjusted is None:
        return [percents(line.clean) if line and line.clean else "", "", "", "", "", ""]
    clean, dirty, gap = line.adjusted.clean, line.adjusted.dirty, line.adjusted.gap
    shown = [percents(clean), f"{clean.n:,}", percents(dirty), f"{dirty.n:,}"]
    return [*shown, *differs(gap)]


def percents(estimate: Estimate) -> str:
    """Percent, with the standard error; `-` of nothing."""
    if estimate.value is None:
        return "-"
    return f"{100 * estimate.value:.1f}" + ("" if estimate.stderr is None else f" ± {100 * estimate.stderr:.1f}")


def differs(gap: Difference) -> list[str]:
    """A difference in points with its error, and its z."""
    if gap.value is None:
        return ["", ""]
    error = "" if gap.stderr is None else f" ± {100 * gap.stderr:.1f}"
    return [f"{100 * gap.value:+.1f}{error}", "" if gap.z is None else f"{gap.z:+.1f}"]


def notes_of(found: Report) -> list[str]:
    """What is to be said of the scores, a line each."""
    said = [
        "±: standard error, closed form; samples of one instance count as one",
        *(["gap ±, z: were clean and dirty dealt out at random within each subset"] if _has_gap(found) else ()),
        *found.notes,
        *(f"{line.title}: {n}" for line in (*found.lines, *found.averages) for n in line.notes),
    ]
    return said + [f"{name}: not scored: {why}" for name, why in found.unscored.items()]


def _has_gap(found: Report) -> bool:
    return any(line.adjusted is not None and line.adjusted.gap.value is not None for line in found.lines)


def markdown(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A table with its notes, for a README or a model card."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] + ["---:"] * (len(header) - 1), *rows)]
    return "\n".join([f"## {title}", "", *lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def plain(value: Any) -> Any:
    """A report or comparison as JSON has it: named fields, sets as sorted lists."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(getattr(value, name)) for name in value._fields}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


# ------------------------------------------------------------ two runs


class Paired(NamedTuple):
    """One task in two runs, instance by instance. difference: second − first; wins: where the second is better."""

    task: str
    title: str
    n: int
    first: Estimate
    second: Estimate
    difference: Difference
    wins: int
    losses: int


class Comparison(NamedTuple):
    """Two runs over the tasks that both have: over all instances, and over those that are clean, if audits say.

    clean_for: whom they are clean for: both, or the one whose training data is on record.
    """

    first: str
    second: str
    all: tuple[Paired, ...]
    clean: tuple[Paired, ...]
    notes: tuple[str, ...]
    clean_for: str = ""


def compare(
    first: Run,
    second: Run,
    *,
    leave_out: Sequence[str] = (),
    audits: tuple[Sequence[Used], Sequence[Used]] = ((), ()),
) -> Comparison:
    """The second run against the first, paired by instance: the errors that both share cancel.

    `UsageError` where prompts, rules or decoding differ, or no task is common. audits: of either run's training data.
    """
    names = common_tasks([first, second], leave_out)
    if not names:
        raise UsageError(f"{first.folder} and {second.folder}: have no scored task in common")
    both, clean, notes = [], [], []
    for name in names:
        facts = first.tasks[name]
        sides = [values_of(run.samples(name), facts.metric) for run in (first, second)]
        if sides[0].ids != sides[1].ids:
            raise InputError(f"task {name}: the runs hold other instances under the same prompts; run one again")
        both.append(_paired(facts, sides[0], sides[1], np.ones(len(sides[0].ids), np.bool_)))
        if first.tasks[name].harness != second.tasks[name].harness:
            notes.append(f"{name}: {first.tasks[name].harness} and {second.tasks[name].harness} answered")
        if not (audits[0] or audits[1]):
            continue
        try:
            found = [overlap_in(facts, sides[0], used) for used in audits if used]
        except NotCovered as e:
            notes.append(f"{name}: {e}")
            continue
        notes += [f"{name}: {note}" for note in dict.fromkeys(n for o in found for n in o.notes)]
        seen = frozenset[str]().union(*(o.dirty | o.unclear for o in found))
        clean.append(_paired(facts, sides[0], sides[1], np.array([i not in seen for i in sides[0].ids], np.bool_)))
    return Comparison(
        str(first.folder), str(second.folder), tuple(both), tuple(clean), tuple(notes), _clean_for(audits)
    )


def _clean_for(audits: tuple[Sequence[Used], Sequence[Used]]) -> str:
    known, unknown = (("A", "B") if audits[0] else ("B", "A")) if bool(audits[0]) != bool(audits[1]) else ("", "")
    if known:
        return f"clean for {known}; {unknown}'s training data is not on record"
    return "clean for both" if audits[0] else ""


def _paired(facts: TaskRun, first: Values, second: Values, chosen: Any) -> Paired:
    gain = second.values - first.values
    known = chosen & ~np.isnan(gain)
    apart = aggregate(first._replace(values=gain), known)
    return Paired(
        facts.id,
        facts.title,
        apart.n,
        aggregate(first, known),
        aggregate(second, known),
        Difference(None, None, None) if apart.value is None else difference(apart.value, apart.stderr),
        int((gain[known] > 0).sum()),
        int((gain[known] < 0).sum()),
    )
