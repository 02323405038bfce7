"""What RLVR's answers are sampled with: this package's own sampler, transformers' `generate`, or vLLM.

Every sampler draws from the same distribution, softmax(logits / temperature) over all tokens, stops at the eos alone,
and gives the log-probability of each token as it was sampled. What a completion becomes hangs on the seed, the number
of its prompt within the step and its own index: processes that share a step's prompts sample what one process would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, Self

import torch
from pydantic import Field, model_validator

from trainers.rollout import Rollout, choose, in_batches, left_padded, rollout, sample, sampling
from trainers.rollout import check as check_asked
from tulu_data.strict import Strict

HELD = ("model", "weight_transfer_config", "logprobs_mode")  # of `vllm.LLM`'s arguments: trainers/vllm_engines.py's own
WIDE = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")  # likewise: an engine on several GPUs


class Sampling(Strict):
    """What samples, and how. A combination that means nothing is refused."""

    backend: Literal["torch", "generate", "vllm"] = "torch"
    batch: int = Field(default=64, ge=1, description="answers sampled at once; torch and generate")
    engine: dict[str, Any] = Field(
        default_factory=dict, description="what vllm.LLM takes besides the model; vllm beside each process, on its GPU"
    )
    server: str | None = Field(default=None, description="base URL of a running vllm serve, else in this process; vllm")

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.backend != "vllm":
            for name in ("server", "engine"):
                if getattr(self, name):
                    raise ValueError(f"{name} is for backend vllm, and backend is {self.backend}; remove one of them")
        elif "batch" in self.model_fields_set:
            raise ValueError("batch is for backends torch and generate; vllm makes its own batches, so remove it")
        if self.server is None:
            if held := sorted(set(self.engine) & set(HELD)):
                raise ValueError(f"engine sets {', '.join(held)}, which the trainer sets; remove it")
            if wide := [name for name in WIDE if self.engine.get(name, 1) != 1]:
                raise ValueError(f"engine sets {wide[0]}, and an engine here has its process's one GPU; name a server")
            return self
        if self.engine:
            raise ValueError("engine is for vllm in this process, and server names a running one; remove one of them")
        if not self.server.startswith(("http://", "https://")):
            raise ValueError(f"server is {self.server!r}; write it as http://HOST:PORT")
        return self


class Sampler(Protocol):
    """Samples completions of prompts, from weights that can be replaced."""

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        numbers: Sequence[int],
        samples: int,
        max_new_tokens: int,
        seed: int,
        temperature: float,
    ) -> list[list[Rollout]]:
        """`samples` completions of up to `max_new_tokens` tokens of each prompt, in the prompts' order.

        prompts: token ids. numbers: of each prompt within the step, over all processes. seed: the step's. At
        temperature 0 greedy, with log-probabilities at temperature 1. `ValueError` for what cannot be sampled.
        """
        ...

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Takes over the policy's weights: full tensors under their state-dict names, all of them and in its order."""
        ...

    def close(self) -> None:
        """Gives back what the sampler holds."""
        ...


def check(settings: Sampling) -> None:
    """Before models are opened: `UsageError` in one line where vLLM is not installed, or its server does not answer."""
    if settings.backend != "vllm":
        return
    from trainers.vllm_engines import reached
    from trainers.vllm_sampler import installed

    installed()  # it also sends what a server takes
    if settings.server is not None:
        reached(settings.server)


def open_sampler(settings: Sampling, model: Any, tokenizer: Any, *, model_name: str, longest: int) -> Sampler:
    """The sampler that the settings name, ready for prompts with their answers of up to `longest` tokens.

    model: the policy, which torch and generate sample from themselves. vLLM opens `model_name`, a folder or a name in
    the hub's cache, or finds it served: where the policy is no longer what that holds, `update` comes first.
    `UsageError` in one line where vLLM is not there, or is not as the settings say.
    """
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if settings.backend == "torch":
        return TorchSampler(model, eos, pad, settings.batch)
    if settings.backend == "generate":
        return GenerateSampler(model, eos, pad, settings.batch)
    from trainers.vllm_engines import Colocated, Served
    from trainers.vllm_sampler import VLLMSampler

    how: dict[str, Any] = {"model_name": model_name, "longest": longest}
    if settings.server is None:
        return VLLMSampler(Colocated(settings.engine, device=model.device, **how), model, eos)
    return VLLMSampler(Served(settings.server, **how), model, eos)


# ------------------------------------------------------------ in this process


@dataclass
class TorchSampler:
    """`rollout.sample`: rows that have stopped leave the batch. model: the policy, or another with its weights."""

    model: Any
    eos: int
    pad: int
    batch: int = 64

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        numbers: Sequence[int],
        samples: int,
        max_new_tokens: int,
        seed: int,
        temperature: float,
    ) -> list[list[Rollout]]:
        """See `Sampler`."""
        given: dict[str, Any] = {"samples": samples, "max_new_tokens": max_new_tokens, "seed": seed}
        own: dict[str, Any] = {"eos": self.eos, "pad": self.pad, "batch": self.batch}
        return sample(self.model, prompts, numbers=numbers, temperature=temperature, **given, **own)

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `Sampler`. Weights that are the model's own already cost nothing."""
        take_over(self.model, weights)

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class GenerateSampler:
    """transformers' `model.generate`, for models whose cache or positions only it knows how to drive.

    Tokens are drawn by `rollout.choose`, row by row, in place of `generate`'s own draw from one generator for a whole
    batch, which would make a completion hang on what it is sampled beside. So completions are `TorchSampler`'s, up to
    rounding. The model's generation_config has no part in it. Rows that have stopped are computed to the batch's end.
    """

    model: Any
    eos: int
    pad: int
    batch: int = 64

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        numbers: Sequence[int],
        samples: int,
        max_new_tokens: int,
        seed: int,
        temperature: float,
    ) -> list[list[Rollout]]:
        """See `Sampler`."""
        own: dict[str, Any] = {"eos": self.eos, "pad": self.pad, "batch": self.batch}
        check_asked(self.model, prompts, numbers, samples, max_new_tokens, temperature=temperature, **own)
        complete = partial(self._complete, max_new_tokens=max_new_tokens, temperature=temperature)
        with sampling(self.model), _own_generation_config(self.model):
            how: dict[str, Any] = {"samples": samples, "seed": seed, "batch": self.batch, "device": self.model.device}
            return in_batches(complete, prompts, numbers, **how)

    def _complete(
        self,
        prompts: Sequence[Sequence[int]],
        generators: list[torch.Generator],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> list[Rollout]:
        from transformers import GenerationConfig, LogitsProcessorList

        tokens, mask = left_padded(prompts, self.pad, self.model.device)
        drawn = _Drawn(generators, temperature)
        # Greedy, for the draw has left one token to choose from.
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=self.eos, pad_token_id=self.pad
        )
        self.model.generate(
            tokens, attention_mask=mask, generation_config=settings, logits_processor=LogitsProcessorList([drawn])
        )
        rows = zip(torch.stack(drawn.tokens, 1).tolist(), torch.stack(drawn.logps, 1).tolist(), strict=True)
        picked = [list(zip(of_row, logps, strict=True)) for of_row, logps in rows]  # a row goes on behind its end
        ends = [next((i + 1 for i, (t, _) in enumerate(row) if t == self.eos), len(row)) for row in picked]
        return [rollout(p, row[:end], self.eos) for p, row, end in zip(prompts, picked, ends, strict=True)]

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `TorchSampler`."""
        take_over(self.model, weights)

    def close(self) -> None:
        """Nothing is held."""


class _Drawn:
    """A logits processor that draws the token of each row and rules out all others."""

    def __init__(self, generators: Sequence[torch.Generator], temperature: float) -> None:
        self.generators, self.temperature = generators, temperature
        self.tokens: list[torch.Tensor] = []  # (rows,), a step each
        self.logps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens, logps = choose(scores, self.generators, self.temperature)
        self.tokens.append(tokens)
        self.logps.append(logps)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


@contextmanager
def _own_generation_config(model: Any) -> Iterator[None]:
    """Without the model's generation_config, which would fill in what is not set: penalties, bans, forced tokens."""
    from transformers import GenerationConfig

    held = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model.generation_config = held


def take_over(model: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Copies weights into a model's; `ValueError` where one is unknown, of another shape, or left out.

    A tensor that the model shares between two names, as tied embeddings are, may come under either.
    """
    held: Mapping[str, torch.Tensor] = model.state_dict()
    done: set[int] = set()
    for name, tensor in weights:
        into = held.get(name)
        if into is None or into.shape != tensor.shape:
            there = "no such tensor" if into is None else f"one of shape {tuple(into.shape)}"
            raise ValueError(f"weights {name} of shape {tuple(tensor.shape)}: the sampler's model has {there}")
        if into.data_ptr() != tensor.data_ptr():
            with torch.no_grad():
                into.copy_(tensor)
        done.add(into.data_ptr())
    if missing := [name for name, tensor in held.items() if tensor.data_ptr() not in done]:
        raise ValueError(f"weights of {missing[0]} are missing, and of {len(missing) - 1} others; give all of them")
