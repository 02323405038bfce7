"""The page of evaluations: the report's table, and behind each task what decided its score, down to single samples.

A task's samples are a block of their own, compressed, that the reader's browser unpacks when the task is chosen: a page
with all of MMLU opens as fast as a small one. What bounds a page is its text in all (`MAX_TEXT`): tasks share it
evenly, what one does not need goes to the others, and within a task instances that are dirty, not judged or not right
come first. The page says what it left out.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tulu_data.errors import StoreError, UsageError
from tulu_data.evals.adjusted import Used
from tulu_data.evals.metrics import Estimate, Values, aggregate, values_of
from tulu_data.evals.page_samples import Samples
from tulu_data.evals.page_table import Column, Part, merged, view
from tulu_data.evals.report import report
from tulu_data.evals.results import Run, TaskRun, common_tasks, differing, open_run
from tulu_data.evals.task import Decoding
from tulu_data.pages import packed, render

MAX_TEXT = 60_000_000  # characters of samples in a page; its file then has up to 24 MB

METRICS = {
    "mean": "mean of the instances",
    "macro": "mean of the subsets’ means",
    "pass_at_10": "pass@10, estimated from all samples of an instance",
    "mc2": "probability on the right options, mean of the instances",
    "win_rate": "mean of the instances; 1 is a win, 0.5 a draw",
}


def write_page(
    runs: Sequence[Run | Path],
    output: Path,
    *,
    audits: Sequence[Sequence[Used]] = (),
    beside: str | None = None,
    leave_out: Sequence[str] = (),
    notes: Sequence[str] = (),
    max_text: int = MAX_TEXT,
) -> Path:
    """Writes the page of runs, side by side where there are several, as one HTML file that loads nothing; its path.

    audits: of each run's training data, in the order of the runs. beside: the model whose published scores stand beside
    ours. leave_out: tasks to leave out. max_text: characters of samples. `UsageError` where runs were not asked or
    scored alike, or nothing is published of `beside`; `InputError` where a run or an audit cannot be read, or they do
    not fit; `StoreError` where the page cannot be written.

        write_page([Path("my-scores")], Path("scores.html"), audits=[[Used(Path("my-audit"))]], beside="tulu3-8b")
    """
    if not runs:
        raise UsageError("eval page: no run is named; name the folder of an evaluation")
    opened = [run if isinstance(run, Run) else open_run(run) for run in runs]
    html = page(opened, audits=audits, beside=beside, leave_out=leave_out, notes=notes, max_text=max_text)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(html, encoding="utf-8", errors="replace")
    except OSError as e:
        raise StoreError(f"{output}: cannot be written ({e.strerror}); choose another path") from None
    return output


def page(
    runs: Sequence[Run],
    *,
    audits: Sequence[Sequence[Used]] = (),
    beside: str | None = None,
    leave_out: Sequence[str] = (),
    notes: Sequence[str] = (),
    max_text: int = MAX_TEXT,
) -> str:
    """The page as HTML; see `write_page`."""
    from tulu_data.evals.registry import tasks

    common_tasks(runs, leave_out)
    known = tasks() if beside else {}
    columns = [
        Column(name, run, report(run, known, audits=used, beside=beside))
        for name, run, used in zip(_names(runs), _without(runs, leave_out), audits or [()] * len(runs), strict=True)
    ]
    parts = _parts(columns)
    read = [_read(part, columns) for part in parts]
    shares = _shares([sum(samples.sizes) for samples, _ in read], max_text)
    kept = [samples.kept(share) for (samples, _), share in zip(read, shares, strict=True)]
    data = {
        "runs": [c.name for c in columns],
        "tasks": [
            _task(part, samples, values, places, columns)
            for part, (samples, values), places in zip(parts, read, kept, strict=True)
        ],
    }
    blocks = [packed(samples.data(places)) for (samples, _), places in zip(read, kept, strict=True)]
    return render("evaluation", data=data, blocks=blocks, **view(columns, parts, beside, notes))


def _names(runs: Sequence[Run]) -> list[str]:
    """The models; with their folders where one model has several runs."""
    models = [run.facts.model.name for run in runs]
    return models if len(set(models)) == len(models) else [f"{run.facts.model.name} ({run.folder})" for run in runs]


def _without(runs: Sequence[Run], leave_out: Sequence[str]) -> list[Run]:
    """The runs as if they had not these tasks: what does not compare must not be in an average either."""
    left = [{k: v for k, v in run.tasks.items() if k not in leave_out} for run in runs]
    return [r._replace(facts=r.facts.model_copy(update={"tasks": t})) for r, t in zip(runs, left, strict=True)]


def _parts(columns: Sequence[Column]) -> list[Part]:
    """The tasks of all runs. A run lacks one that it was asked otherwise than the others."""
    parts = []
    for name in dict.fromkeys(name for c in columns for name in c.run.tasks):
        facts = [c.run.tasks.get(name) for c in columns]
        lead = next((f for f in facts if f and f.status == "scored"), None) or next(f for f in facts if f)
        odd = [f is not None and _other(lead, f) for f in facts]
        parts.append(
            Part(
                name,
                tuple(None if out else f for f, out in zip(facts, odd, strict=True)),
                tuple(None if out else c.line(name) for c, out in zip(columns, odd, strict=True)),
                tuple(f"{c.name}: asked otherwise, and not shown here" for c, o in zip(columns, odd, strict=True) if o),
            )
        )
    return parts


def _other(lead: TaskRun, facts: TaskRun) -> bool:
    if lead.status == facts.status == "scored":
        return bool(differing(lead, facts))
    return (lead.digests.prompts, lead.digests.truths) != (facts.digests.prompts, facts.digests.truths)


def _read(part: Part, columns: Sequence[Column]) -> tuple[Samples, list[Values | None]]:
    """The task's samples in all runs that have it, and the values of those that scored it."""
    tables = [c.run.samples(part.id) if f else None for f, c in zip(part.facts, columns, strict=True)]
    overlaps = [line.adjusted.overlap if line and line.adjusted else None for line in part.lines]
    values = [
        values_of(table, facts.metric) if table is not None and facts and facts.status == "scored" else None
        for table, facts in zip(tables, part.facts, strict=True)
    ]
    return Samples.of(tables, overlaps), values


def _shares(sizes: Sequence[int], total: int) -> list[int]:
    """The total shared evenly; what one does not need goes to the others."""
    shares = [0] * len(sizes)
    for done, i in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        shares[i] = min(sizes[i], total // (len(sizes) - done))
        total -= shares[i]
    return shares


# ------------------------------------------------------------ a task, as the browser takes it


def _task(
    part: Part, samples: Samples, values: list[Values | None], kept: Sequence[int], columns: Sequence[Column]
) -> dict[str, Any]:
    """Its facts, its score by coverage and by subset."""
    curves = [
        [[p.threshold, *_numbers(p.clean)] for p in line.adjusted.curve] if line and line.adjusted else None
        for line in part.lines
    ]
    return {
        "id": part.id,
        "title": part.first.title,
        "group": part.first.group,
        "about": part.first.note,
        "curves": curves if any(curves) else None,
        "subsets": _subsets(samples, values),
        "macro": part.first.metric == "macro",
        "facts": _facts(part),
        "notes": merged(columns, part.lines, part),
        "instances": len(samples.rows),
        "held": samples.told(kept),
    }


def _numbers(estimate: Estimate) -> list[float | int | None]:
    return [estimate.n, estimate.value, estimate.stderr]


def _subsets(samples: Samples, values: list[Values | None]) -> list[dict[str, Any]]:
    """The scores by subset, where there is more than one: by run [n, value, stderr], and how many are dirty by it."""
    names = list(dict.fromkeys(s for s in samples.subsets.values() if s is not None))
    if len(names) < 2 or all(of_run is None for of_run in values):
        return []
    dirty: defaultdict[str | None, list[int]] = defaultdict(lambda: [0] * len(values))
    for row in samples.rows:
        for place, of in enumerate(row["d"]):
            dirty[row["u"]][place] += bool(of and of[0] == 1)
    by_run = [_by_subset(of_run, samples.subsets) if of_run else {} for of_run in values]
    return [
        {"name": name, "runs": [_numbers(run[name]) if name in run else None for run in by_run], "dirty": dirty[name]}
        for name in names
    ]


def _by_subset(values: Values, subset_of: Mapping[str, str | None]) -> dict[str, Estimate]:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for i, instance in enumerate(values.ids):
        if (name := subset_of[instance]) is not None:
            places[name].append(i)
    return {
        name: aggregate(Values(tuple(values.ids[i] for i in of), values.values[of], np.zeros(len(of), int), ("all",)))
        for name, of in places.items()
    }


def _facts(part: Part) -> list[dict[str, Any]]:
    """What decided the score: a line each, with one cell where the runs agree."""
    told = [_told(facts) if facts else {} for facts in part.facts]
    lines = []
    for name in dict.fromkeys(name for one in told for name in one):
        cells = [one.get(name, "") for one in told]
        same = len({c for c, f in zip(cells, part.facts, strict=True) if f}) == 1
        lines.append({"name": name, "cells": [next(c for c in cells if c)] if same and any(cells) else cells})
    return [line for line in lines if any(line["cells"])]


def _told(facts: TaskRun) -> dict[str, str]:
    each = facts.decoding.samples if facts.rows > facts.items else 1
    asked = f"{facts.items:,} of {facts.instances:,} instances"
    return {
        "metric": METRICS[facts.metric],
        "rules": facts.rules,
        "scored by": facts.verifier or (f"judge: {facts.judge}" if facts.judge else facts.why or "its options"),
        "asked": asked + (f", {each} answers each" if each > 1 else "") + (", a limit" if facts.limit else ""),
        "shots": f"{facts.shots}" if facts.shots else "none",
        "decoding": _decoding(facts.decoding) if facts.metric != "mc2" else "none: the options are weighed",
        "could not be judged": f"{facts.undecided:,} of {facts.rows:,} answers" if facts.undecided else "",
        "harness": f"{facts.harness}, tulu-data {facts.tulu_data}",
        "suite": f"{facts.suite}, {facts.digests.suite or 'version not known'}",
        "prompts sha256": facts.digests.prompts,
        "truths sha256": facts.digests.truths,
        "rules sha256": facts.digests.rules,
        "decoding sha256": facts.digests.decoding,
        "samples sha256": facts.samples_sha256,
    }


def _decoding(decoding: Decoding) -> str:
    how = f"temperature {decoding.temperature:g}, top-p {decoding.top_p:g}" if decoding.temperature else "greedy"
    stop = f"; stops at {', '.join(json.dumps(s, ensure_ascii=False) for s in decoding.stop)}" if decoding.stop else ""
    return f"{how}, at most {decoding.max_tokens:,} tokens{stop}"
