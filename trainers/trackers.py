"""A training's metrics in TensorBoard, Weights & Biases or Trackio as well, where asked.

`metrics.jsonl` stays the record; a tracker is a view of it. Nothing is imported that is not named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tulu_data.errors import UsageError, nearest

PROJECT = "tulu-data"
ID_HEX = 16


class Tracker(Protocol):
    """Takes a training's metrics, step by step."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One step's values by name, a `step` among them left out; steps rise."""

    def close(self) -> None:
        """Brings what was written to where it goes. Nothing may be written after it."""


class Identity(NamedTuple):
    """What a run is called elsewhere. id: the same whenever this recipe goes on in this folder."""

    name: str
    id: str


def identity(run: Path, facts: Mapping[str, Any]) -> Identity:
    """Of the training in `run`, by the digest of its recipe and data (`facts["recipe"]`) and its folder."""
    folder = run.resolve()
    name = str(facts.get("settings", {}).get("name") or folder.name)
    return Identity(name, sha256(f"{facts.get('recipe', '')}\0{folder}".encode()).hexdigest()[:ID_HEX])


def open_trackers(names: Sequence[str], run: Path, facts: Mapping[str, Any]) -> list[Tracker]:
    """The trackers of these names, each once, for the training in the folder `run`.

    facts: what `opening.described` says of the training; it becomes the configuration that a tracker shows.
    `UsageError` for a name that is unknown, a package that is not installed, or a service that turns the run away.
    """
    modules = check(names)
    chosen = [TRACKERS[name] for name in modules]
    opened: list[Tracker] = []
    try:
        for entry, module in zip(chosen, modules.values(), strict=True):
            opened.append(entry.open(module, run, facts))
    except BaseException:
        for tracker in opened:
            tracker.close()
        raise
    return opened


def check(names: Sequence[str]) -> dict[str, Any]:
    """The trackers' modules by name, each once; `UsageError` for a name that is unknown or not installed."""
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"tracker {name!r}: unknown; {nearest(name, TRACKERS, noun='tracker')}")
    return {name: _imported(TRACKERS[name]) for name in dict.fromkeys(names)}


class _TensorBoard:
    """Event files in `RUN/tensorboard`."""

    def __init__(self, module: Any, run: Path, facts: Mapping[str, Any]) -> None:
        self._open, self._folder = module.SummaryWriter, run / "tensorboard"
        self._writer: Any = None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is None:
            # The first step that comes is where the training starts or goes on: later ones on file are void.
            self._writer = self._open(log_dir=str(self._folder), purge_step=step)
        for name, value in _without_step(values).items():
            self._writer.add_scalar(name, value, global_step=step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _Wandb:
    """A run of Weights & Biases. Steps that it has already stay as they are: a training repeats them to the bit."""

    def __init__(self, module: Any, run: Path, facts: Mapping[str, Any]) -> None:
        name, known = identity(run, facts)
        given = {"project": PROJECT, "name": name, "id": known, "resume": "allow", "dir": str(run)}
        try:
            # A run that goes on may do so in another environment, which is part of the facts.
            self._run = module.init(**given, config=dict(facts), allow_val_change=True)
        except module.Error as e:
            raise UsageError(f"tracker wandb: {_reason(e)}; run `wandb login`, or set WANDB_MODE=offline") from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(_without_step(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """A run of Trackio, which knows runs by name alone; so the name holds the id."""

    def __init__(self, module: Any, run: Path, facts: Mapping[str, Any]) -> None:
        name, known = identity(run, facts)
        try:
            with redirect_stdout(sys.stderr):  # it prints, and stdout is the command's result
                self._run = module.init(project=PROJECT, name=f"{name}-{known[:8]}", resume="allow", config=dict(facts))
        except (ValueError, OSError) as e:
            raise UsageError(f"tracker trackio: {_reason(e)}; mend its settings, or leave it out") from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(_without_step(values), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._run.finish()


class _Entry(NamedTuple):
    module: str
    package: str  # that pip installs
    open: Callable[[Any, Path, Mapping[str, Any]], Tracker]


TRACKERS = {
    "tensorboard": _Entry("torch.utils.tensorboard", "tensorboard", _TensorBoard),
    "wandb": _Entry("wandb", "wandb", _Wandb),
    "trackio": _Entry("trackio", "trackio", _Trackio),
}


def _without_step(values: Mapping[str, float]) -> dict[str, float]:
    """A line of `metrics.jsonl` has its step, which is no curve; Trackio would warn of the name."""
    return {name: value for name, value in values.items() if name != "step"}


def _imported(entry: _Entry) -> Any:
    try:
        return import_module(entry.module)
    except ImportError as e:
        if isinstance(e, ModuleNotFoundError) and e.name == entry.package:
            raise UsageError(f"tracker {entry.package}: not installed; pip install {entry.package}") from None
        raise UsageError(
            f"tracker {entry.package}: cannot be imported ({_reason(e)}); pip install --upgrade {entry.package}"
        ) from None


def _reason(error: Exception) -> str:
    said = str(error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__
