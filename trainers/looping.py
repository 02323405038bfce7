"""The loop that the trainers share: from the newest checkpoint to the last step, with a line for each."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from trainers import checkpoints
from trainers.engine import Stepped
from trainers.metrics import SAMPLES_FILE, Lines, Metrics
from trainers.opening import Prepared, described, finish
from trainers.page import REPORT_FILE, write_page
from trainers.ranks import Ranks
from trainers.trackers import open_trackers
from tulu_data.errors import StoreError
from tulu_data.progress import Progress

LOCK_FILE = ".lock"
ROUNDING = ("place", "pack_tokens", "micro_batch", "accumulation", "sampler")  # settings that change no more than that


class Told(NamedTuple):
    """What a step trained on, in tokens, and its measures by name. samples: some of what it sampled, to be read."""

    tokens: int
    values: Mapping[str, float]
    samples: Sequence[Mapping[str, Any]] = ()


class Looped(NamedTuple):
    """Where the model is, the last step, and the lines of the steps that were taken now."""

    model: Path
    steps: int
    lines: list[dict[str, Any]]

    def series(self, name: str) -> list[float]:
        """A measure, step by step."""
        return [line[name] for line in self.lines]


def told(tokens: int, done: Stepped, **instead: float) -> Told:
    """Of a step that was one update. instead: measures that it has not, or that are to be told otherwise."""
    rates = {"grad_norm": done.grad_norm, "learning_rate": done.learning_rate}
    return Told(tokens, {"loss": done.loss, **done.told, **rates, **instead})


def loop(
    prepared: Prepared, output: Path, take: Callable[[int], Told], *, progress: Progress, until: int | None
) -> Looped:
    """Trains from the newest checkpoint in `output`, where there is one, to `until` or the end. take: one step.

    Within `alone`.
    """
    recipe, engines, ranks = prepared.recipe, prepared.engines, prepared.engines[""].ranks
    facts = described(prepared)
    lines = []
    with ExitStack() as open_:
        found = checkpoints.checkpoints(output)
        first = going_on(found[-1], prepared, progress) if found else 0
        last = max(first, prepared.total if until is None else min(until, prepared.total))
        trackers = open_trackers(recipe.track, output, facts) if ranks.first else []
        for tracker in trackers:
            open_.callback(tracker.close)
        metrics = open_.enter_context(Metrics(output, first, writes=ranks.first))
        sampled = open_.enter_context(Lines(output / SAMPLES_FILE, first, writes=ranks.first))
        advance = open_.enter_context(progress.task(f"{recipe.stage} {recipe.name}", last - first))
        for step in range(first, last):
            tokens, values, samples = take(step)
            lines.append(metrics.step(step, tokens, **values))
            sampled.write(samples)
            for tracker in trackers:
                tracker.write(step, lines[-1])
            advance(1)
            if (step + 1) % recipe.save_every == 0 or step + 1 == last:
                checkpoints.save(output, step + 1, facts, engines)
        model = finish(output, prepared, facts)
        if ranks.first:
            write_page([output], output / REPORT_FILE)
    return Looped(model, last, lines)


def going_on(checkpoint: Path, prepared: Prepared, progress: Progress) -> int:
    """Takes over a checkpoint; its step."""
    state = checkpoints.load(checkpoint, prepared.digest, prepared.engines)
    settings = prepared.recipe.model_dump(mode="json")
    before = {**flat(state["settings"]), "processes": state.get("processes")}
    now = {**flat(settings), "processes": prepared.engines[""].ranks.size}
    progress.note(f"goes on from {checkpoint}")
    if changed := [f"{k} was {before[k]}, is {v}" for k, v in now.items() if before.get(k) != v]:
        progress.note(f"not to the bit: {'; '.join(changed)}")
    return int(state["step"])


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `ROUNDING`, those within others by `a.b`."""
    found: dict[str, Any] = {}
    for name in ROUNDING:
        value = settings.get(name)
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


@contextmanager
def alone(output: Path, ranks: Ranks) -> Iterator[None]:
    """While no other training of this machine writes into a folder, which is made; `StoreError` where one does."""
    output.mkdir(parents=True, exist_ok=True)
    if not ranks.first:
        yield
        return
    with (output / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"{output}: another training writes here; wait for it, or choose another --output"
            ) from None
        yield
