"""The page of a training: curves, data, settings and answers as one HTML file; or of several, compared."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainers.curves import (
    BOTTOM,
    COLOURS,
    LEFT,
    METRICS,
    RIGHT,
    TOP,
    WIDTH,
    Floats,
    Panel,
    curve,
    curves_svg,
    figure,
    metrics_of,
    number,
    rules,
    smoothing,
)
from trainers.metrics import METRICS_FILE, SAMPLES_FILE, read
from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.pages import render
from tulu_data.tables import printable

__all__ = ["REPORT_FILE", "curves_svg", "write_page"]

REPORT_FILE = "report.html"
# As trainers.checkpoints and trainers.opening name them; those import torch, which a page has no use for.
STATE_FILE, FACTS_FILE = "state.json", "training.json"

MAX_SAMPLES = 300  # answers that a run has on the page
MAX_CHARS = 8_000  # of a prompt or an answer

KEY_FIGURES = ("loss", "reward", "accuracy", "passed")
STAGES = {
    "sft": "Supervised fine-tuning",
    "dpo": "Preference tuning",
    "reward": "Reward model",
    "rlvr": "Reinforcement learning with verifiable rewards",
}


def write_page(runs: Sequence[Path], output: Path) -> Path:
    """Writes the page of the trainings in these folders, one HTML file that asks nothing of any network; its path.

    A run's own page is `write_page([run], run / REPORT_FILE)`; several runs share its curves. `InputError` where a
    folder has no metrics, or a file of it cannot be read; `StoreError` where the page cannot be written.
    """
    if not runs:
        raise UsageError("page: no run is named; name the folder of a training")
    html = page([Run.open(folder, name) for folder, name in zip(runs, labels(runs), strict=True)])
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(html, encoding="utf-8", errors="replace")
    except OSError as e:
        raise StoreError(f"{output}: cannot be written ({e.strerror}); choose another path") from None
    return output


def labels(runs: Sequence[Path]) -> list[str]:
    """The folders' names; with as much of their paths before them as it takes to tell them apart."""
    paths = [run.resolve() for run in runs]
    for depth in range(1, max(len(p.parts) for p in paths)):
        names = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(p) for p in paths]


# ------------------------------------------------------------ a run, as it lies on disk


class Run(NamedTuple):
    """What a training left behind. facts: empty before its first checkpoint. samples: some of `sampled` answers."""

    name: str
    lines: list[dict[str, Any]]
    facts: dict[str, Any]
    samples: list[dict[str, Any]]
    sampled: int

    @classmethod
    def open(cls, folder: Path, name: str) -> Run:
        """Reads the folder; `InputError` where it has no metrics, or they are not lines of JSON."""
        try:
            lines = read(folder / METRICS_FILE)
        except (OSError, ValueError) as e:
            raise InputError(f"{folder / METRICS_FILE}: cannot be read as lines of JSON ({e})") from None
        if not lines:
            raise InputError(f"{folder}: no step in {METRICS_FILE}; name the folder of a training")
        if not all(isinstance(line, dict) for line in lines):
            raise InputError(f"{folder / METRICS_FILE}: a line is no JSON object; name the folder of a training")
        samples, sampled = _samples(folder / SAMPLES_FILE)
        return cls(name, lines, _facts(folder), samples, sampled)


def _facts(folder: Path) -> dict[str, Any]:
    """What the newest checkpoint says of the training, else the finished model; a damaged file says nothing."""
    numbered = [(int(p.name[5:]), p) for p in folder.glob("step-*") if p.name[5:].isdecimal()]
    checkpoints = [p / STATE_FILE for _, p in sorted(numbered, reverse=True)]
    for path in (*checkpoints, folder / "model" / FACTS_FILE):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _samples(path: Path) -> tuple[list[dict[str, Any]], int]:
    """At most `MAX_SAMPLES` answers of steps evenly over the run, first and last among them, and how many there are."""
    steps = [line["step"] for line in _json_lines(path)]
    if not steps:
        return [], 0
    known = sorted(set(steps))
    count = min(len(known), max(2, MAX_SAMPLES * len(known) // len(steps)))
    kept = {known[round(i * (len(known) - 1) / max(1, count - 1))] for i in range(count)}
    room = dict.fromkeys(kept, max(1, MAX_SAMPLES // len(kept)))
    samples = []
    for line in _json_lines(path):
        if room.get(line["step"], 0):
            room[line["step"]] -= 1
            samples.append(line)
    return samples, len(steps)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are objects with a step; others, such as a torn last one, are passed over."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    yield line
    except FileNotFoundError:
        return


# ------------------------------------------------------------ the page


def page(runs: Sequence[Run]) -> str:
    """The page as HTML."""
    named = [(run.name, run.lines) for run in runs]
    panels = [p for key in metrics_of([run.lines for run in runs]) if (p := Panel.of(named, key))]
    held = [{"r": i, **_sample(line)} for i, run in enumerate(runs) for line in run.samples]
    plot = {"width": WIDTH, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}
    data = {"runs": [run.name for run in runs], "plot": plot, "panels": [_points(p) for p in panels], "samples": held}
    return render("training", data=data, **_view(runs, panels, len(held)))


def _points(panel: Panel) -> dict[str, Any]:
    """What the read-out finds a step's values in."""
    return {
        "x": panel.x,
        "y": panel.y,
        "runs": [
            {
                "r": i,
                "s": _rounded(c.steps),
                "v": _rounded(c.values),
                **({"m": _rounded(c.mean_steps), "n": _rounded(c.means)} if c.window > 1 else {}),
            }
            for i, c in zip(panel.drawn, panel.curves, strict=True)
        ],
    }


def _rounded(values: Floats) -> list[float]:
    return [int(v) if v == int(v) and abs(v) < 1e15 else float(f"{v:.6g}") for v in values.tolist()]


def _sample(line: Mapping[str, Any]) -> dict[str, Any]:
    def text(key: str) -> str:
        value = line.get(key)
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return said if len(said) <= MAX_CHARS else f"{said[:MAX_CHARS]}… ({len(said) - MAX_CHARS:,} more characters)"

    reward = line.get("reward")
    return {
        "s": line["step"],
        "p": text("prompt"),
        "c": text("completion"),
        "v": text("verifier"),
        "t": text("ground_truth"),
        "w": None if reward is None else figure(number(reward)),
        "good": number(reward) > 0,
        "e": line.get("stopped"),
        "d": text("reason") if line.get("reason") else "",
    }


def _view(runs: Sequence[Run], panels: Sequence[Panel], held: int) -> dict[str, Any]:
    """What the template shows."""
    heads = [_head(run, i) for i, run in enumerate(runs)]
    single = len(runs) == 1
    title = heads[0]["title"] if single else f"{len(runs)} trainings compared"
    return {
        "title": title,
        "crumb": ", ".join(printable(run.name) for run in runs),
        "heads": heads,
        "single": single,
        "alarms": [h for h in heads if h["override"] is not None],
        "figures": _table([_figures(run) for run in runs], blank=True),
        "panels": [{"key": printable(p.key), "told": printable(p.told), "height": p.height, **_svg(p)} for p in panels],
        "width": WIDTH,
        "smoothing": smoothing([c for p in panels for c in p.curves]),
        "tables": [
            (name, _table([_flat(part) for part in parts]))
            for name, parts in (
                ("Settings", [_dict(run.facts.get("settings")) for run in runs]),
                ("Data", [{**_dict(run.facts.get("data")), **_dict(run.facts.get("examples"))} for run in runs]),
                ("Environment", [_dict(run.facts.get("environment")) for run in runs]),
            )
            if any(parts)
        ],
        "held": held,
        "sampled": sum(run.sampled for run in runs),
        "rules": _svg_safe(rules()),
    }


def _svg(panel: Panel) -> dict[str, Any]:
    return {"svg": _svg_safe(panel.svg)}


def _svg_safe(markup: str) -> Any:
    """Markup of this module, whose texts are escaped already, as the template takes it."""
    from markupsafe import Markup

    return Markup(markup)


def _head(run: Run, index: int) -> dict[str, Any]:
    """What a run is, and whether its data was checked."""
    facts, data = run.facts, _dict(run.facts.get("data"))
    stage = str(facts.get("stage") or "")
    name = str(_dict(facts.get("settings")).get("name") or run.name)
    total, taken = facts.get("steps"), len(run.lines)
    steps = f"{taken:,} of {total:,} steps" if isinstance(total, int) else f"{taken:,} step{'s' * (taken != 1)}"
    suites, audits = (", ".join(map(str, data.get(key) or ())) for key in ("suites", "audits"))
    if data and data.get("override") is None:
        said = (
            f"Decontaminated against {suites} (audits {audits})"
            if suites
            else "Audited, against no suite of all its sources"
        )
    else:
        said = "Not checked for decontamination" if data else "Nothing is known of its data: it has no checkpoint yet"
    override = data.get("override")
    return {
        "title": printable(name),
        "name": printable(run.name),
        "colour": f"--c:var(--c{index % COLOURS})",
        "stage": printable(STAGES.get(stage, stage) or "Training"),
        "base": printable(str(facts.get("base_model") or "a model that is not known yet")),
        "ref": printable(str(data.get("ref") or "data that is not known yet")),
        "steps": steps,
        "checked": printable(said),
        "tone": "bad" if override is not None else "good" if suites else "warn",
        "override": None if override is None else printable(str(override)),
    }


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# ------------------------------------------------------------ figures and tables


def _figures(run: Run) -> dict[str, str]:
    """What a run came to, by name."""
    told = {}
    for key in KEY_FIGURES:
        if c := curve(run.lines, key):
            first, last = figure(c.means[0]), figure(c.means[-1])
            told[METRICS[key].title] = first if c.total == 1 else f"{first} → {last}"
    tokens = [n for line in run.lines if math.isfinite(n := number(line.get("tokens")))]
    speeds = [n for line in run.lines if math.isfinite(n := number(line.get("tokens_per_s"))) and n > 0]
    if tokens:
        told["Tokens"] = f"{sum(tokens):,.0f}"
    if speeds:
        told["Tokens a second (median)"] = figure(float(f"{statistics.median(speeds):.4g}"))
    if tokens and len(tokens) == len(speeds) == len(run.lines):
        told["Time in steps"] = duration(sum(n / s for n, s in zip(tokens, speeds, strict=True)))
    examples = _dict(run.facts.get("examples"))
    names = {
        "examples": "Rows",
        "longest": "Longest row (tokens)",
        "left_out": "Rows left out",
        "cut": "Rows cut short",
    }
    for key, name in names.items():
        if isinstance(examples.get(key), int):
            told[name] = f"{examples[key]:,}"
    return told


def duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> duration(42.4), duration(605), duration(7_380), duration(200_000)
    ('42 s', '10 min 5 s', '2 h 3 min', '2 d 7 h')
    """
    left = round(seconds)
    parts = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        parts.append((count, unit))
    first = next((i for i, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or len(parts) - first == 1)


def _flat(value: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested settings as lines: `optimiser.learning_rate` → its value."""
    lines: dict[str, str] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            lines |= _flat(inner, f"{before}{key}.")
        else:
            said = "none" if inner is None else json.dumps(inner, ensure_ascii=False)
            lines[f"{before}{key}"] = inner if isinstance(inner, str) else said
    return lines


def _table(columns: Sequence[Mapping[str, str]], *, blank: bool = False) -> list[dict[str, Any]]:
    """Columns side by side, a line for each name that one of them has, marked where they differ (unless `blank`)."""
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        {
            "name": printable(name),
            "cells": [printable(column.get(name, "–")) for column in columns],
            "differs": not blank and len({column.get(name) for column in columns}) > 1,
        }
        for name in names
    ]
