"""A model where it is computed: whole on one device, or in pieces on those of several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import nn

from trainers import attention, ranks
from tulu_data.errors import TuluError, UsageError
from tulu_data.strict import Strict

T = TypeVar("T")
NO_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # in what plain errors say


class Place(Strict):
    """Where and how exactly it is computed."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of the matrix products")
    gradient_checkpointing: bool = False

    @property
    def torch_device(self) -> torch.device:
        """The device of this process; `UsageError` where CUDA is asked for and absent."""
        there = torch.cuda.is_available()
        if self.device == "cuda" and not there:
            raise UsageError("device: cuda is asked for, and this torch sees no GPU; use cpu or auto")
        if not there or self.device == "cpu":
            return torch.device("cpu")
        return torch.device("cuda", ranks.local() if "LOCAL_RANK" in os.environ else torch.cuda.current_device())


class OutOfMemory(TuluError):
    """A device's memory does not hold a step."""


class Host:
    """A model on its device.

    With several processes its parameters lie in pieces on all of them (FSDP2) and are gathered block by block where
    they are used; so whatever computes with the model is a function, called by `run`, `evaluate` or an engine's step.
    """

    def __init__(self, model: Any, place: Place) -> None:
        self.place = place
        self.device = place.torch_device
        if self.device.type == "cuda" and place.dtype == "bfloat16" and (problem := attention.varlen_problem()):
            raise UsageError(problem)
        self.ranks = ranks.here(cuda=self.device.type == "cuda")
        self.model = model
        self._root = _Calling(model)
        with self.within_memory():
            if self.ranks.size == 1:
                model.to(self.device)
            else:
                self._in_pieces()

    def computing(self) -> AbstractContextManager[Any]:
        """Matrix products in the place's dtype; weights and their sums stay fp32."""
        if self.place.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @contextmanager
    def within_memory(self) -> Iterator[None]:
        """`OutOfMemory`, which says what to lower, where the device's memory ends."""
        try:
            yield
        except (torch.OutOfMemoryError, RuntimeError) as e:
            if not isinstance(e, torch.OutOfMemoryError) and not any(sign in str(e) for sign in NO_MEMORY):
                raise
            raise OutOfMemory(
                f"{self.device}: its memory does not hold a step; set place.gradient_checkpointing=true or "
                "place.dtype=bfloat16 and go on from the last checkpoint, or start again in another --output with less "
                "pack_tokens, micro_batch, max_length, response_length or sampler.batch, or with lora"
            ) from None

    def run(self, compute: Callable[[], T]) -> T:
        """What a function of the model gives."""
        with self.computing(), self.within_memory():
            found: T = self._root(compute)
        return found

    def evaluate(self, rows: Sequence[Callable[[], Any]]) -> list[Any]:
        """What functions of the model give, without gradients and dropout, on the CPU; processes share them out."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                found = [_to_cpu(self.run(compute)) for compute, _ in self.ranks.deal(rows)]
        finally:
            self.model.train(training)
        return self.ranks.gather(found, len(rows))

    def weights(self, *, everywhere: bool = False) -> dict[str, torch.Tensor]:
        """The whole parameters by name. With several processes: on the CPU, and empty but in the first or `everywhere`.

        All processes must ask together.
        """
        if self.ranks.size == 1:
            return dict(self.model.state_dict())
        wanted, found = everywhere or self.ranks.first, dict[str, torch.Tensor]()
        one: dict[int, str] = {}  # tied parameters are one, and a checkpoint has them once
        ids = {name: id(p) for name, p in self.model.named_parameters(remove_duplicate=False)}
        for name, piece in self.model.state_dict().items():
            first = one.setdefault(ids.get(name, id(piece)), name)
            if first == name:
                whole = piece.full_tensor() if hasattr(piece, "full_tensor") else piece
                found |= {name: whole.cpu()} if wanted else {}
            elif wanted:
                found[name] = found[first]
        return found

    def take(self, weights: Mapping[str, torch.Tensor], *, strict: bool = True) -> None:
        """Puts whole parameters in place; those of the first process count. strict: all of them must be there."""
        if self.ranks.size == 1:
            self.model.load_state_dict(weights, strict=strict)
            return
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        how = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=strict)
        set_model_state_dict(self.model, dict(weights) if self.ranks.first else {}, options=how)

    def _in_pieces(self) -> None:
        """Only the first process needs the weights; in the others the model may be empty."""
        from torch import distributed
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        model, first = self.model, self.ranks.first
        weights = {name: tensor.detach() for name, tensor in model.state_dict().items()} if first else {}
        buffers = [buffer.clone() for buffer in model.buffers()] if first else []
        model.to("meta")  # the weights above keep theirs
        model.tie_weights()
        half = torch.bfloat16 if self.place.dtype == "bfloat16" else None
        how: dict[str, Any] = {
            "mesh": init_device_mesh(self.device.type, (self.ranks.size,)),
            "mp_policy": MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32),
        }
        blocks = set(model._no_split_modules or ())
        for block in [m for m in model.modules() if type(m).__name__ in blocks]:
            fully_shard(block, **how)
        fully_shard(self._root, **how)
        model.to_empty(device=self.device)
        for i, buffer in enumerate(model.buffers()):  # a model's state has not those of its positions
            if first:
                buffer.copy_(buffers[i])
            distributed.broadcast(buffer, 0)
        self.take(weights)


class _Calling(nn.Module):
    """Calls what it is given: a root whose hooks, which gather the pieces, run around any use of the model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()


def _to_cpu(found: Any) -> Any:
    if isinstance(found, torch.Tensor):
        return found.float().cpu()
    return type(found)(*map(_to_cpu, found)) if isinstance(found, tuple) else found
