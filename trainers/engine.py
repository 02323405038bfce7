"""One device, one model: micro-batches to a step, steps to checkpoints, and back to the bit.

A step's learning rate hangs on its number alone, its examples on the seed, and everything else that it changes is in
the checkpoint: a training that was stopped anywhere goes on as if it had not been.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from safetensors import SafetensorError

from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.strict import Strict

STATE_FILE, TENSORS_FILE = "state.json", "training.pt"
KEPT = 2  # checkpoints


class Optimiser(Strict):
    """AdamW with a linear schedule, as Tülu 3 has it (arXiv 2411.15124 §4 and §5)."""

    learning_rate: float = Field(default=5e-6, gt=0)
    warmup: float = Field(default=0.03, ge=0, le=1, description="share of the steps")
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_grad_norm: float | None = Field(default=None, gt=0)


class Place(Strict):
    """Where and how exactly it is computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of the matrix products")
    gradient_checkpointing: bool = False

    @property
    def torch_device(self) -> torch.device:
        """The device; `UsageError` where CUDA is asked for and absent."""
        there = torch.cuda.is_available()
        if self.device == "cuda" and not there:
            raise UsageError("device: cuda is asked for, and this torch sees no GPU; use cpu or auto")
        return torch.device("cuda" if there and self.device != "cpu" else "cpu")


def learning_rate(step: int, total: int, settings: Optimiser) -> float:
    """Of a step, from 0: up from nothing over the warm-up, then down to nothing, both linear."""
    warm = int(total * settings.warmup + 0.999999)
    if step < warm:
        return settings.learning_rate * step / max(1, warm)
    return settings.learning_rate * max(0.0, (total - step) / max(1, total - warm))


class Stepped(NamedTuple):
    """What a step did. grad_norm: before clipping."""

    loss: float
    grad_norm: float
    learning_rate: float


@dataclass
class Engine:
    """A model and its optimiser on one device."""

    model: Any
    tokenizer: Any
    settings: Optimiser
    place: Place
    total: int  # steps

    def __post_init__(self) -> None:
        self.device = self.place.torch_device
        self.model.to(self.device)
        if self.place.gradient_checkpointing:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            eps=self.settings.eps,
            weight_decay=self.settings.weight_decay,
        )

    def computing(self) -> AbstractContextManager[Any]:
        """Matrix products in the place's dtype; weights and their sums stay fp32."""
        if self.place.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def step(self, number: int, micro_batches: Iterable[Callable[[], torch.Tensor]]) -> Stepped:
        """One step: the sum of what the micro-batches give, each gone backwards through before the next."""
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for compute in micro_batches:
            with self.computing():
                loss = compute()
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        if self.settings.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        rate = learning_rate(number, self.total, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return Stepped(total, float(norm), rate)

    # -------------------------------------------------------- on disk

    def save(self, folder: Path, step: int, facts: Mapping[str, Any]) -> Path:
        """Writes `folder/step-N` whole or not at all: model, tokenizer, optimiser, random states, and `facts`."""
        target, part = folder / f"step-{step:07d}", folder / f".step-{step:07d}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            export(self.model, self.tokenizer, part)
            torch.save({"optimizer": self.optimizer.state_dict(), "random": _random_states()}, part / TENSORS_FILE)
            (part / STATE_FILE).write_text(json.dumps({"step": step, **facts}, indent=2, ensure_ascii=False) + "\n")
            flush(part)
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            flush(folder, deep=False)
        except (OSError, RuntimeError, SafetensorError) as e:  # torch and safetensors have their own for a full disk
            raise StoreError(f"{target}: cannot be written: {_reason(e)}; make room and run it again") from None
        for old in checkpoints(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def load(self, checkpoint: Path, recipe: str) -> int:
        """Goes on from a checkpoint; its step. `UsageError` where another recipe or other data made it."""
        try:
            state: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text())
            tensors = torch.load(checkpoint / TENSORS_FILE, map_location="cpu", weights_only=True)
            weights = _weights(checkpoint, self.model) if state.get("recipe") == recipe else {}
        except (OSError, ValueError, RuntimeError, UnpicklingError, EOFError, SafetensorError) as e:
            raise InputError(
                f"{checkpoint}: cannot be read ({_reason(e)}); remove it to go on from the one before"
            ) from None
        if state.get("recipe") != recipe:
            raise UsageError(f"{checkpoint}: belongs to another recipe or other data; choose another --output")
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(tensors["optimizer"])
        _restore(tensors["random"])
        return int(state["step"])


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / STATE_FILE).is_file())


def export(model: Any, tokenizer: Any, folder: Path) -> None:
    """A plain Hugging Face checkpoint, the chat template in its tokenizer, without this package's attention."""
    used = model.config._attn_implementation
    model.config._attn_implementation = "sdpa"
    try:
        model.save_pretrained(folder)
    finally:
        model.config._attn_implementation = used
    tokenizer.save_pretrained(folder)


def _weights(checkpoint: Path, model: Any) -> dict[str, torch.Tensor]:
    return type(model).from_pretrained(checkpoint, dtype=torch.float32).state_dict()  # type: ignore[no-any-return]


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(said).splitlines()[0]


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _restore(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if "cuda" in states:
        torch.cuda.set_rng_state_all([s.cpu() for s in states["cuda"]])


def flush(path: Path, *, deep: bool = True) -> None:
    """Brings a file, or a folder with what is in it, to the disk."""
    for inner in path.iterdir() if deep and path.is_dir() else ():
        flush(inner)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
