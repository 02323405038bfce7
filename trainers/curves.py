"""Curves of trainings: a panel for each metric with a line for each run, as SVG of a page's or on its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tulu_data.errors import InputError
from tulu_data.tables import printable

MAX_POINTS = 2_000  # of a curve
SMOOTH_POINTS = 400  # of its smoothed line
SMOOTH_SHARE = 25  # the smoothed line is of means over 1/25 of the run
LARGEST = 1e100  # a larger value counts as infinite: sums and spans of such overflow
FAR = 4  # an axis leaves out the outermost 1 % at each end where they would make it this many times as long
COLOURS = 8
WIDTH, LEFT, RIGHT, TOP, BOTTOM = 380, 54, 368, 46, 168  # of a panel and its plot, in pixels

Floats = npt.NDArray[np.float64]


class Metric(NamedTuple):
    """What a key of `metrics.jsonl` is called, and what its axis is of."""

    title: str
    axis: str


METRICS = {
    "loss": Metric("Loss", "loss of the step"),
    "reward": Metric("Reward", "mean of the answers that were judged"),
    "passed": Metric("Passed", "share of verified answers that are right"),
    "accuracy": Metric("Accuracy", "share of pairs with chosen above rejected"),
    "margin": Metric("Margin", "chosen reward less rejected reward"),
    "chosen_reward": Metric("Chosen reward", "mean over the step’s pairs"),
    "rejected_reward": Metric("Rejected reward", "mean over the step’s pairs"),
    "chosen_score": Metric("Chosen score", "mean over the step’s pairs"),
    "rejected_score": Metric("Rejected score", "mean over the step’s pairs"),
    "kl": Metric("KL from the start", "nats for each token of an answer"),
    "stopped": Metric("Stopped", "share of answers that came to their end"),
    "response_tokens": Metric("Response length", "tokens, mean of the answers"),
    "idle_groups": Metric("Idle groups", "share of prompts without a signal"),
    "invalid": Metric("Not verifiable", "share of answers without a verdict"),
    "sampler_gap": Metric("Sampler gap", "nats for each token, sampler from trainer"),
    "value_loss": Metric("Value loss", "loss of the value model"),
    "explained_variance": Metric("Explained variance", "share of the returns’ variance"),
    "value_clip_fraction": Metric("Value clip fraction", "share of tokens whose value was clipped"),
    "value_grad_norm": Metric("Gradient norm, value model", "before clipping"),
    "clip_fraction": Metric("Clip fraction", "share of tokens whose ratio was clipped"),
    "kl_penalty": Metric("KL in the loss", "nats for each token, mean over the updates"),
    "approx_kl": Metric("Approximate KL", "nats for each token, from the sampling policy"),
    "grad_norm": Metric("Gradient norm", "before clipping"),
    "learning_rate": Metric("Learning rate", "of the step"),
    "tokens": Metric("Tokens", "of the step"),
    "tokens_per_s": Metric("Speed", "tokens a second"),
}

RULES = """
.panel text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--soft)}
.panel .title{font-size:14px;font-weight:650;fill:var(--ink)}.panel .lost{fill:var(--accent);font-weight:600}
.panel .grid{stroke:var(--line);stroke-width:1}.panel .gap{stroke:var(--accent);stroke-width:1.5}
.raw,.mean{fill:none;stroke:var(--c);stroke-linejoin:round;stroke-linecap:round;vector-effect:non-scaling-stroke}
.raw{stroke-width:1;opacity:.34}.mean{stroke-width:2}.panel .dot{fill:var(--c)}.key{stroke:var(--c);stroke-width:3}
"""
LIGHT = ("#b5391f", "#2566a8", "#2f7d4f", "#a06a00", "#7a4bb0", "#0d7f86", "#b03a78", "#5f5b54")
DARK = ("#f0775a", "#74aee8", "#7cc7a0", "#e0b15e", "#b89ae6", "#5cc4c9", "#e58bbb", "#b3ada2")
PAPER = "--paper:#faf9f5;--ink:#1d1c1a;--soft:#5f5b54;--line:#e4e0d6;--accent:#b5391f"
PAPER_DARK = "--paper:#161513;--ink:#edeae3;--soft:#b3ada2;--line:#34312c;--accent:#f0775a"


def _colours(scheme: Sequence[str]) -> str:
    return ";".join(f"--c{i}:{colour}" for i, colour in enumerate(scheme))


def curves_svg(runs: Sequence[tuple[str, Sequence[Mapping[str, float]]]], keys: Sequence[str]) -> str:
    """A picture on its own, light or dark as its reader is: a panel for each key, with a curve for each run.

    runs: a name, and the lines of `metrics.jsonl`, each a mapping with `step`. A key without a number is left out.
    `InputError` where none has one.
    """
    panels = [p for key in keys if (p := Panel.of(runs, key))]
    if not panels:
        raise InputError(f"curves: no run has a number for {', '.join(keys) or 'no key'}")
    columns = min(3, len(panels))
    height = max(p.height for p in panels) + 18
    rows = -(-len(panels) // columns)
    width, whole = columns * (WIDTH + 16) + 16, rows * height + 34
    dark = f"@media (prefers-color-scheme:dark){{svg{{{PAPER_DARK};{_colours(DARK)}}}}}"
    drawn = "".join(
        f'<g class="panel" transform="translate({16 + i % columns * (WIDTH + 16)} {12 + i // columns * height})">'
        f"{panel.svg}</g>"
        for i, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole}" width="{width}" height="{whole}" '
        f'role="img" aria-label="{_safe("; ".join(p.told for p in panels))}">'
        f"<style>svg{{{PAPER};{_colours(LIGHT)}}}{dark}{RULES}</style>"
        f'<rect width="{width}" height="{whole}" rx="10" style="fill:var(--paper)"/>{drawn}'
        f'<g class="panel"><text x="26" y="{whole - 14}">{_safe(smoothing([c for p in panels for c in p.curves]))}'
        "</text></g></svg>"
    )


def rules() -> str:
    """The drawing's rules as a page has them, with colours that the reader's choice of light or dark changes."""
    dark = _colours(DARK)
    return (
        f":root{{{_colours(LIGHT)}}}:root[data-theme=dark]{{{dark}}}"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}{RULES}"
    )


def smoothing(curves: Sequence[Curve]) -> str:
    """How the lines were made, in a sentence."""
    windows = sorted({c.window for c in curves})
    if windows == [1]:
        return "Every value; nothing is smoothed."
    over = f"{windows[0]:,}" if len(windows) == 1 else f"{windows[0]:,} to {windows[-1]:,}"
    said = f"Faint: every value. Bold: the mean of the {over} values around (1/{SMOOTH_SHARE} of the run)."
    if any(c.total > len(c.values) for c in curves):
        said += f" Faint lines are thinned to {MAX_POINTS:,} points: the least and greatest of equal stretches."
    return said


# ------------------------------------------------------------ a metric of a run, as points


class Curve(NamedTuple):
    """A metric of a run, thinned to what can be seen of it: all arrays are finite."""

    steps: Floats  # (points,)
    values: Floats  # (points,)
    part: npt.NDArray[np.int64]  # (points,): rises where a value between two points is not finite
    mean_steps: Floats  # (means,)
    means: Floats  # (means,)
    window: int  # values that a mean is of
    spread: Floats  # (4,): least, 1 % and 99 % quantiles, greatest
    total: int  # finite values
    lost: list[float]  # steps whose value is missing, NaN or infinite


def curve(lines: Sequence[Mapping[str, Any]], key: str) -> Curve | None:
    """The metric `key` of a run's lines; None where no line has a number there. A line without the key is no point."""
    told = [(number(line.get("step", i)), number(line[key])) for i, line in enumerate(lines) if key in line]
    table = np.array(told, dtype=np.float64).reshape(-1, 2)
    table = table[np.isfinite(table[:, 0])]
    finite = np.isfinite(table[:, 1])
    steps, values = table[finite].T
    if not len(values):
        return None
    kept = thinned(values, MAX_POINTS)
    window = len(values) // SMOOTH_SHARE | 1
    spread = np.quantile(values, [0, 0.01, 0.99, 1])
    near = values.clip(*_near(spread))  # one value far off would lift the mean of every window that it is in
    centres = np.unique(np.linspace(0, len(values) - 1, min(len(values), SMOOTH_POINTS)).round().astype(np.int64))
    return Curve(
        steps[kept],
        values[kept],
        np.cumsum(~finite)[finite][kept],
        steps[centres],
        np.array([near[max(0, c - window // 2) : c + window // 2 + 1].mean() for c in centres]),
        window,
        spread,
        len(values),
        table[~finite, 0].tolist(),
    )


def thinned(values: Floats, most: int) -> npt.NDArray[np.int64]:
    """The places of at most `most` values: the first, the last, and the least and greatest of equal stretches."""
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), most // 2).astype(np.int64)
    stretches = list(pairwise(edges))
    ends = [0, len(values) - 1]
    lows = [a + int(values[a:b].argmin()) for a, b in stretches]
    highs = [a + int(values[a:b].argmax()) for a, b in stretches]
    return np.unique(np.array(ends + lows + highs, dtype=np.int64))


def number(value: Any) -> float:
    """A value of a line as a number: NaN where it is none; infinite where it is too large to draw."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    if -LARGEST < value < LARGEST:
        return float(value)
    return math.inf if value > 0 else -math.inf if value < 0 else math.nan


def metrics_of(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """The keys that have a number in some line: the known ones in the order of `METRICS`, then the others."""
    found = {
        key: None
        for lines in runs
        for line in lines
        for key, value in line.items()
        if key != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return [key for key in METRICS if key in found] + [key for key in found if key not in METRICS]


# ------------------------------------------------------------ drawing


class Panel(NamedTuple):
    """A metric's drawing. drawn: places of the runs that have it; x, y: what the axes span."""

    key: str
    svg: str
    height: int
    told: str
    drawn: list[int]
    curves: list[Curve]
    x: tuple[float, float]
    y: tuple[float, float]

    @classmethod
    def of(cls, runs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], key: str) -> Panel | None:
        """The panel of `key`; None where no run has a number there."""
        found = [(i, c) for i, (_, lines) in enumerate(runs) if (c := curve(lines, key))]
        if not found:
            return None
        curves = [c for _, c in found]
        x = (float(min(c.steps[0] for c in curves)), float(max(c.steps[-1] for c in curves)))
        y = _span(curves)
        metric = METRICS.get(key, Metric(key, "value"))
        parts = [
            f'<text class="title" x="10" y="16">{_safe(_short(metric.title, 40))}</text>',
            f'<text x="10" y="33">{_safe(_short(metric.axis, 60))}</text>',
            _axes(x, y),
            *(_drawn(i, c, x, y) for i, c in found),
        ]
        height = BOTTOM + 36
        notes = []
        for i, c in found:
            name = runs[i][0] if len(runs) > 1 else ""
            height += 17
            parts.append(_row(i, c, name, height))
            notes += [f"{name} {note}".strip() for note in _notes(c, y)]
        for note in notes:
            height += 16
            parts.append(f'<text class="lost" x="10" y="{height}">{_safe(note)}</text>')
        told = f"{metric.title}: " + ", ".join(f"{runs[i][0]} {_stats(c)}" for i, c in found)
        return cls(key, "".join(parts), height + 8, told, [i for i, _ in found], curves, x, y)


def _span(curves: Sequence[Curve]) -> tuple[float, float]:
    """What the axis of values spans."""
    table = np.stack([c.spread for c in curves])
    least, greatest = _near(np.concatenate([table[:, :2].min(0), table[:, 2:].max(0)]))
    if least == greatest:
        room = abs(least) / 10 or 1.0
        return least - room, greatest + room
    return least, greatest


def _near(spread: Floats) -> tuple[float, float]:
    """From the least to the greatest value, but for few that lie so far off that they would flatten the rest."""
    least, low, high, greatest = (float(v) for v in spread)
    room = high - low
    if 0 < FAR * room < greatest - least:
        return max(least, low - room / 2), min(greatest, high + room / 2)
    return least, greatest


def _place(value: Any, span: tuple[float, float], start: int, end: int) -> Any:
    """In tenths of a pixel, whole: paths stay short. Beyond the span is at its end."""
    share = (value - span[0]) / ((span[1] - span[0]) or 1)
    return np.rint(10 * (start + np.clip(share, 0, 1) * (end - start))).astype(np.int64)


def _path(
    steps: Floats, values: Floats, part: npt.NDArray[np.int64], x: tuple[float, float], y: tuple[float, float]
) -> str:
    xs, ys = _place(steps, x, LEFT, RIGHT), _place(values, y, BOTTOM, TOP)
    moves = []
    for i in range(len(xs)):
        if i and part[i] == part[i - 1]:
            moves.append(f"l{xs[i] - xs[i - 1]} {ys[i] - ys[i - 1]}")
        else:
            moves.append(f"M{xs[i]} {ys[i]}h0")  # h0: a point between two gaps is seen as a dot
    return "".join(moves)


def _drawn(index: int, c: Curve, x: tuple[float, float], y: tuple[float, float]) -> str:
    """A run's lines, the dot at its end, and a stroke where a value is not finite."""
    raw = _path(c.steps, c.values, c.part, x, y)
    mean = _path(c.mean_steps, c.means, np.zeros(len(c.means), np.int64), x, y)
    lines = (
        f'<path class="raw" d="{raw}"/><path class="mean" d="{mean}"/>'
        if c.window > 1
        else f'<path class="mean" d="{raw}"/>'
    )
    right, last = _place(c.mean_steps[-1], x, LEFT, RIGHT) / 10, _place(c.means[-1], y, BOTTOM, TOP) / 10
    places = sorted({int(p) // 10 for p in _place(np.array(c.lost), x, LEFT, RIGHT)})
    gaps = "".join(f"M{p} {BOTTOM - 5}v5" for p in places)
    return (
        f'<g style="--c:var(--c{index % COLOURS})"><g transform="scale(.1)">{lines}</g>'
        f'<circle class="dot" cx="{right}" cy="{last}" r="3"/></g>'
        + (f'<path class="gap" d="{gaps}"/>' if gaps else "")
    )


def _axes(x: tuple[float, float], y: tuple[float, float]) -> str:
    parts = []
    for tick in _ticks(y, 3):
        at = _place(tick, y, BOTTOM, TOP) / 10
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{figure(tick)}</text>')
    for tick in _ticks(x, 4, whole=True) if x[1] > x[0] else [x[0]]:
        at = _place(tick, x, LEFT, RIGHT) / 10
        parts.append(f'<text x="{at}" y="{BOTTOM + 16}" text-anchor="middle">{figure(tick)}</text>')
    parts.append(f'<path class="grid" d="M{LEFT} {BOTTOM}H{RIGHT}"/>')
    parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 30}" text-anchor="middle">step</text>')
    return "".join(parts)


def _ticks(span: tuple[float, float], about: int, *, whole: bool = False) -> list[float]:
    """At least `about` round numbers within the span where it has them: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10((span[1] - span[0]) / about))
    found: list[float] = []
    for step in (10 * power, 5 * power, 2 * power, power):
        if whole and step < 1:
            break
        first, last = math.ceil(span[0] / step - 1e-9), math.floor(span[1] / step + 1e-9)
        found = [float(f"{i * step:.12g}") for i in range(first, last + 1)]
        if len(found) >= about:
            break
    return found or [span[0]]


def _row(index: int, c: Curve, name: str, y: int) -> str:
    """Least, greatest and last value under the plot; with the run's colour and name where there are several."""
    if not name:
        return f'<text x="10" y="{y}">{_stats(c)}</text>'
    return (
        f'<path class="key" style="--c:var(--c{index % COLOURS})" d="M10 {y - 4}h14"/>'
        f'<text x="30" y="{y}">{_safe(_short(name, 20))}</text>'
        f'<text x="{RIGHT}" y="{y}" text-anchor="end">{_stats(c)}</text>'
    )


def _stats(c: Curve) -> str:
    return f"min {figure(c.spread[0])} · max {figure(c.spread[3])} · last {figure(c.values[-1])}"


def _notes(c: Curve, y: tuple[float, float]) -> list[str]:
    notes = []
    if c.lost:
        steps = f"{len(c.lost):,} step{'s' * (len(c.lost) != 1)}"
        notes.append(f"not a finite number at {steps}, first at step {figure(c.lost[0])}")
    if c.spread[0] < y[0] or c.spread[3] > y[1]:
        notes.append("values beyond the axis: the bold line has them at its edge")
    return notes


def figure(value: float) -> str:
    """A number for people, with four digits that count.

    >>> figure(0.123456), figure(3e-7), figure(12345.6)
    ('0.1235', '3e-7', '12,346')
    """
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if (value == int(value) and abs(value) < 1e7) or 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    mantissa, _, power = f"{value:.4g}".partition("e")
    return f"{mantissa}e{int(power)}" if power else mantissa


def _safe(text: str) -> str:
    return escape(printable(text))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
