"""The loop that the trainers share: from the newest checkpoint to the last step, with a line for each."""

from __future__ import annotations

import fcntl
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from trainers import checkpoints
from trainers.engine import Stepped
from trainers.metrics import SAMPLES_FILE, Lines, Metrics
from trainers.opening import Prepared, described, finish
from trainers.page import REPORT_FILE, write_page
from trainers.trackers import open_trackers
from tulu_data.errors import StoreError, TuluError, UsageError
from tulu_data.progress import Progress

LOCK_FILE = ".lock"
# Settings that do not change what is computed, but how it is rounded: a training may go on with others.
ROUNDING = ("place", "pack_tokens", "micro_batch", "accumulation", "sampler")
# Settings that do not say what comes out, but for rounding; models are told by their weights.
NOT_DECIDING = {"save_every", "keep", "name", "source", "track", "model", "reward_model", *ROUNDING}


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

    Within `alone`. Where it is asked to stop (SIGTERM, SIGINT) it ends the step, saves, and raises `Stopped`.
    """
    recipe, engines, ranks = prepared.recipe, prepared.engines, prepared.engines[""].ranks
    facts = described(prepared)
    lines = []
    with ExitStack() as open_:
        found = checkpoints.checkpoints(output)
        first = saved = going_on(found[-1], prepared, progress) if found else 0
        last = max(first, prepared.total if until is None else min(until, prepared.total))
        trackers = open_trackers(recipe.track, output, facts) if ranks.first else []
        for tracker in trackers:
            open_.callback(tracker.close)
        metrics = open_.enter_context(Metrics(output, first, writes=ranks.first))
        sampled = open_.enter_context(Lines(output / SAMPLES_FILE, first, writes=ranks.first))
        asked = open_.enter_context(asked_to_stop())
        advance = open_.enter_context(progress.task(f"{recipe.stage} {recipe.name}", last - first))
        for step in range(first, last):
            updates = prepared.engines[""].updates
            try:
                tokens, values, samples = take(step)
            except TuluError:
                if ranks.size == 1 and prepared.engines[""].updates == updates and saved < step:
                    checkpoints.save(output, step, facts, engines, keep=recipe.keep)  # nothing moved yet
                raise
            lines.append(metrics.step(step, tokens, **values))
            sampled.write(samples)
            for tracker in trackers:
                tracker.write(step, lines[-1])
            advance(1)
            stop = ranks.total({"stop": float(bool(asked))})["stop"] > 0
            if stop or (step + 1) % recipe.save_every == 0 or step + 1 == last:
                checkpoints.save(output, step + 1, facts, engines, keep=recipe.keep)
                saved = step + 1
            if stop and step + 1 < last:
                raise Stopped(
                    f"{output}: stopped after step {step + 1:,}, as asked; the same command goes on from there"
                )
        model = finish(output, prepared, facts, last)
        if ranks.first:
            write_page([output], output / REPORT_FILE)
    return Looped(model, last, lines)


class Stopped(TuluError):
    """A training ended early because it was asked to."""

    exit_code = 130


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """The signals that came, noted instead of obeyed; a second SIGINT is obeyed. Only a main thread hears any."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, _: FrameType | None) -> None:
        if number in came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_same(output: Path, prepared: Prepared) -> None:
    """`UsageError`, which names what differs, where the newest checkpoint in a folder is of another training."""
    found = checkpoints.checkpoints(output)
    if not found:
        return
    state = checkpoints.state_of(found[-1])
    if state.get("recipe") == prepared.digest:
        return
    before, now = (flat(s) for s in (state.get("settings", {}), prepared.recipe.model_dump(mode="json")))
    deciding = {k: v for k, v in now.items() if k.partition(".")[0] not in NOT_DECIDING}
    differ = [f"{k} was {before.get(k)}, is {v}" for k, v in deciding.items() if before.get(k) != v]
    said = "; ".join(differ) or "its data, or the model that it starts from"
    raise UsageError(f"{found[-1]}: of another training ({said}); choose another --output")


def going_on(checkpoint: Path, prepared: Prepared, progress: Progress) -> int:
    """Takes over a checkpoint; its step."""
    state = checkpoints.load(checkpoint, prepared.engines)
    settings = prepared.recipe.model_dump(mode="json")
    before = {**flat(state["settings"]), "processes": state.get("processes")}
    now = {**flat(settings), "processes": prepared.engines[""].ranks.size}
    progress.note(f"goes on from {checkpoint}")
    changed = [f"{k} was {before.get(k)}, is {v}" for k, v in now.items() if before.get(k) != v and rounding(k)]
    if changed:
        progress.note(f"not to the bit: {'; '.join(changed)}")
    return int(state["step"])


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, those within others by `a.b`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def rounding(name: str) -> bool:
    """Whether a setting is one that a training may go on with another value of."""
    return name.partition(".")[0] in (*ROUNDING, "processes")


@contextmanager
def alone(output: Path, prepared: Prepared) -> Iterator[None]:
    """While no other training of this machine writes into a folder, which is made.

    `StoreError` where one does, `UsageError` where the folder has another training's checkpoints.
    """
    output.mkdir(parents=True, exist_ok=True)
    check_same(output, prepared)
    if not prepared.engines[""].ranks.first:
        yield
        return
    with (output / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{output}: another training writes here; wait for it, or choose another --output"
            ) from None
        except OSError as e:
            raise StoreError(f"{output}: cannot be locked ({e.strerror}); choose another --output") from None
        yield
