"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft, put into a model that stays what it is. Extra `[lora]`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from pydantic import Field
from torch import nn

from tulu_data.errors import UsageError
from tulu_data.strict import Strict

BESIDE, BELOW = ".lora_", ".base_layer."  # in the names of parameters: peft's
ALL = "all-linear"


class Lora(Strict):
    """Which matrices are given adapters, and of what size."""

    rank: int = Field(default=64, ge=1)
    alpha: float = Field(default=16.0, gt=0, description="what they learn is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = Field(default=ALL, description="names of modules; all-linear: all but the head")


def inject(model: Any, settings: Lora) -> None:
    """Freezes a model but for new adapters in it, and for a score head. `UsageError` where that cannot be."""
    if find_spec("peft") is None:
        raise UsageError("lora: peft is not installed; pip install 'tulu-data[lora]', or leave lora out")
    from peft import LoraConfig, inject_adapter_in_model

    score = getattr(model, "score", None)
    named = [settings.targets] if isinstance(settings.targets, str) else list(settings.targets)
    how: dict[str, Any] = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    how["target_modules"] = ALL if named == [ALL] else named  # a string is a pattern to peft, of whole names
    if named == [ALL] and score is not None:
        how["exclude_modules"] = ["score"]
    try:
        inject_adapter_in_model(LoraConfig(**how), model)
    except ValueError as e:
        raise UsageError(f"lora.targets: {str(e).splitlines()[0]}") from None
    words = model.get_output_embeddings()
    for name, module in model.named_modules():
        if not hasattr(module, "base_layer"):
            continue
        if module is words or name == "score":
            raise UsageError(f"lora.targets: {name} is the head, whose matrix the losses take as it is; leave it out")
        if not isinstance(module.base_layer, nn.Linear):
            raise UsageError(
                f"lora.targets: {name} is a {type(module.base_layer).__name__}, not a Linear; leave it out"
            )
    if score is not None:
        score.requires_grad_(True)


def there(model: Any) -> bool:
    """It was given adapters."""
    return any(BESIDE in name for name, _ in model.named_parameters())


def trained(model: Any) -> list[str]:
    """The parameters that are not frozen."""
    return [name for name, p in model.named_parameters() if p.requires_grad]


def merged(model: Any, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the model as it is without adapters, with what they learnt added."""
    found = {}
    for name, tensor in weights.items():
        if BESIDE in name:
            continue
        module, below, kind = name.partition(BELOW)
        if below and kind == "weight":
            first, second = (weights[f"{module}.lora_{side}.default.weight"] for side in "AB")
            tensor = tensor + model.get_submodule(module).scaling["default"] * (second @ first)  # noqa: PLW2901
        found[f"{module}.{kind}" if below else name] = tensor
    return found
