"""The loop that the trainers share: from the newest checkpoint to the last step, with a line for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trainers.engine import Stepped, checkpoints
from trainers.metrics import Metrics
from trainers.opening import Prepared, described, finish
from tulu_data.progress import Progress


class Batch(NamedTuple):
    """What a step trains on. told: after the step, its metrics by name."""

    micro_batches: Iterable[Callable[[], torch.Tensor]]
    tokens: int
    told: Callable[[Stepped], Mapping[str, float]]


class Looped(NamedTuple):
    """Where the model is, the last step, and the lines of the steps that were taken now."""

    model: Path
    steps: int
    lines: list[dict[str, Any]]


def loop(
    prepared: Prepared, output: Path, batch_of: Callable[[int], Batch], *, progress: Progress, until: int | None
) -> Looped:
    """Trains from the newest checkpoint in `output`, where there is one, to `until` or the end."""
    engine, recipe = prepared.engine, prepared.recipe
    total = engine.total
    facts = described(prepared)
    found = checkpoints(output)
    first = engine.load(found[-1], prepared.digest) if found else 0
    if found:
        progress.note(f"goes on from {found[-1]}")
    last = min(until or total, total)
    lines = []
    with Metrics(output, first) as metrics, progress.task(f"{recipe.stage} {recipe.name}", last - first) as advance:
        for step in range(first, last):
            batch = batch_of(step)
            done = engine.step(step, batch.micro_batches)
            rates = {"grad_norm": done.grad_norm, "learning_rate": done.learning_rate}
            lines.append(metrics.write(step, batch.tokens, **batch.told(done), **rates))
            advance(1)
            if (step + 1) % recipe.save_every == 0 or step + 1 == last:
                engine.save(output, step + 1, facts)
    return Looped(finish(output, prepared, facts), last, lines)
