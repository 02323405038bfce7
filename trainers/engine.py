"""A model in training: packed rows to a step, with AdamW.

A step's learning rate hangs on its number alone, its examples on the seed, and everything else that it changes is in
the checkpoint: a training that was stopped anywhere goes on as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import Field

from trainers.host import Host, Place
from tulu_data.errors import TuluError
from tulu_data.strict import Strict


class Optimiser(Strict):
    """AdamW with a linear schedule, as Tülu 3 has it (arXiv 2411.15124 §4 and §5)."""

    learning_rate: float = Field(default=5e-6, gt=0)
    warmup: float = Field(default=0.03, ge=0, le=1, description="share of the steps")
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    max_grad_norm: float | None = Field(default=None, gt=0)


def learning_rate(step: int, total: int, settings: Optimiser) -> float:
    """Of a step, from 0: up from nothing over the warm-up, then down to nothing, both linear."""
    warm = int(total * settings.warmup + 0.999999)
    if step < warm:
        return settings.learning_rate * step / max(1, warm)
    return settings.learning_rate * max(0.0, (total - step) / max(1, total - warm))


class Added(NamedTuple):
    """What a packed row adds to a step: to its loss, and to its measures by name, without gradients."""

    loss: torch.Tensor
    told: Mapping[str, torch.Tensor]


class Stepped(NamedTuple):
    """What a step did. grad_norm: before clipping. told: the measures of its rows, added up."""

    loss: float
    grad_norm: float
    learning_rate: float
    told: Mapping[str, float]


class Diverged(TuluError):
    """A loss or a gradient is no number."""


class Engine(Host):
    """A model and its optimiser. total: the steps of the training."""

    def __init__(self, model: Any, tokenizer: Any, settings: Optimiser, place: Place, total: int) -> None:
        if place.gradient_checkpointing:
            renamed = getattr(model, "activation_checkpointing_enable", None)  # within transformers 5
            (renamed or model.gradient_checkpointing_enable)({"use_reentrant": False})
        super().__init__(model, place)
        self.tokenizer, self.settings, self.total = tokenizer, settings, total
        self.updates = 0  # made by this process
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )

    def parameters(self) -> list[torch.nn.Parameter]:
        """Those that are trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def step(self, number: int, rows: Sequence[Callable[[], Added]]) -> Stepped:
        """One update by the sum of what the rows add, each gone backwards through before the next.

        `Diverged` where that is no number; the weights are as they were before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums = {"loss": 0.0}
        for compute, counts in self.ranks.deal(rows):
            loss, told = self.run(compute)
            with self.within_memory():
                own = loss * (self.ranks.size if counts else 0)  # gradients are averaged over the processes
                own.backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": loss, **told}.items():
                sums[name] = sums.get(name, 0.0) + (float(value.detach()) if counts else 0.0)
        sums = self.ranks.total(sums)
        total = torch.nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        norm = _whole(total)
        if not (math.isfinite(sums["loss"]) and math.isfinite(norm)):
            raise Diverged(
                f"step {number}: the loss is {sums['loss']:.4g} and its gradient's norm {norm:.4g} "
                f"({type(self.model).__name__}); lower the optimiser's learning_rate or max_grad_norm, and start again "
                "in another --output"
            )
        if self.settings.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), self.settings.max_grad_norm, total)
        rate = learning_rate(number, self.total, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.updates += 1
        with self.within_memory():  # the first step makes AdamW's moments
            self.optimizer.step()
        return Stepped(sums.pop("loss"), norm, rate, sums)


def _whole(norm: Any) -> float:
    """A norm that may be one of pieces."""
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
