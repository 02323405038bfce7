"""RLVR's answers from vLLM, with weights that follow the policy's. Extra `[vllm]`.

Written against vLLM 0.33 and never run with it, for want of a GPU: the tests hold its calls to that version's
signatures. Weights go through vLLM's own weight transfer: by CUDA IPC to an engine on the policy's GPU, by NCCL to a
server on others (trainers/vllm_engines.py). The random numbers are vLLM's; every completion has a seed of its own, and
rounding alone knows of the batch, which vLLM makes as requests come in.

Of several processes each has its own engine on its own GPU, and all update together: vLLM's sender gathers over them.
A server is updated by one process, while none samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import zip_longest
from typing import Any, Protocol

import torch

from trainers import lora
from trainers.rollout import Rollout, rollout, seed_of
from tulu_data.errors import TuluError, UsageError

BUFFER = 1 << 30  # bytes in which weights travel, vLLM's own default; a larger tensor needs a larger one

Asked = tuple[list[int], dict[str, Any]]  # a prompt, and how it is completed
Answered = tuple[Sequence[int], Sequence[float], str | None]  # tokens, their log-probabilities, why it ended


class Engine(Protocol):
    """What completes prompts, and takes the steps of a weight transfer as vLLM's VLLMWeightSyncClient."""

    def complete(self, asked: Sequence[Asked]) -> list[Answered]:
        """One completion each."""
        ...

    def transfer_info(self, buffer: int) -> Any:
        """What vLLM's sender is made from. buffer: bytes in which weights travel."""
        ...

    def replacing(self, send: Callable[[], None]) -> None:
        """Calls `send` while nothing is sampled, and forgets what the old weights made of prompts."""
        ...

    def close(self) -> None:
        """Ends what the engine holds."""
        ...


def params_of(eos: int, max_new_tokens: int, temperature: float, seed: int) -> dict[str, Any]:
    """Of one completion, in names that SamplingParams and /v1/completions share; a model's own defaults are ruled out.

    With `ignore_eos` and one stop token nothing that the model or its generation_config calls an end stops it.
    """
    off = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    off |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
    stop = {"ignore_eos": True, "stop_token_ids": [eos], "max_tokens": max_new_tokens}
    return {"temperature": temperature, "seed": seed >> 1, "logprobs": 0, **stop, **off}  # >>: a seed is an int64


def rollout_of(prompt: Sequence[int], answered: Answered, eos: int) -> Rollout:
    """What vLLM finished; `TuluError` where it was cut off by neither the eos nor the length."""
    tokens, logps, finish = answered
    if finish not in ("stop", "length") or not tokens or (finish == "stop") != (tokens[-1] == eos):
        raise TuluError(
            f"vLLM finished an answer of {len(tokens)} tokens with {finish!r}; see its log, and run it again"
        )
    return rollout(prompt, list(zip(tokens, logps, strict=True)), eos)


class VLLMSampler:
    """See `samplers.Sampler`. via: what completes prompts, and takes the steps of a weight transfer."""

    def __init__(self, via: Engine, policy: Any, eos: int) -> None:
        self.via, self.policy, self.eos = via, policy, eos

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
        """See `samplers.Sampler`. `TuluError` in one line where vLLM does not answer, or not whole."""
        if len(numbers) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts have {len(numbers)} numbers; give each its own")
        asked = [
            (list(p), params_of(self.eos, max_new_tokens, temperature, seed_of(seed, n, j)))
            for p, n in zip(prompts, numbers, strict=True)
            for j in range(samples)
        ]
        done = self.via.complete(asked)
        found = [rollout_of(p, answer, self.eos) for (p, _), answer in zip(asked, done, strict=True)]
        return [found[i : i + samples] for i in range(0, len(found), samples)]

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `samplers.Sampler`; of a policy with adapters the merged ones (`lora.merged`).

        `UsageError` where vLLM is not installed here: it also sends what a server takes. `TuluError` for other weights
        than the policy's.
        """
        given = list(weights)
        # Before the transfer: one that breaks off leaves vLLM's workers waiting for the rest.
        for due, came in zip_longest(self._declared.items(), given):
            if _named(due) != _named(came):
                raise TuluError(
                    f"weights {_named(came)} came where {_named(due)} was due; give the sampler all, in order"
                )
        source = self._transfer.source
        source.weights = given
        try:
            self.via.replacing(self._transfer.send_weights)
        finally:
            source.weights = ()  # a copy of a policy in pieces is as large as the policy

    @cached_property
    def _declared(self) -> dict[str, torch.Tensor]:
        return declared(self.policy)

    @cached_property
    def _transfer(self) -> Any:
        """vLLM's own sender, which does the handshake once; it takes weights as `declared` has them."""
        installed()
        from vllm.distributed.weight_transfer import ParamMeta, WeightSource, WeightTransferTrainerFactory

        due, device = self._declared, next(self.policy.parameters()).device

        class Weights(WeightSource):  # type: ignore[misc]
            weights: Sequence[tuple[str, torch.Tensor]] = ()

            @cached_property
            def metadata(self) -> Any:
                return [ParamMeta(name, empty.dtype, tuple(empty.shape)) for name, empty in due.items()]

            def iter_full(self) -> Iterator[tuple[str, torch.Tensor]]:
                # Weights of several processes are gathered on the CPU, and NCCL knows GPUs alone.
                return ((name, tensor.detach().to(device, due[name].dtype)) for name, tensor in self.weights)

        largest = max(empty.numel() * empty.element_size() for empty in due.values())
        info = self.via.transfer_info(max(BUFFER, largest))
        return WeightTransferTrainerFactory.trainer_init(info, client=self.via, source=Weights())

    def close(self) -> None:
        """Ends the transfer, and with it an engine of this process; a server goes on."""
        if "_transfer" in self.__dict__:
            self._transfer.shutdown()
        self.via.close()


def declared(policy: Any) -> dict[str, torch.Tensor]:
    """A policy's weights as a sampler is given them, whole and merged with its adapters; their data is not there."""
    state = policy.state_dict()
    return lora.merged(policy, {n: torch.empty(t.shape, dtype=t.dtype, device="meta") for n, t in state.items()})


def _named(one: tuple[str, torch.Tensor] | None) -> str:
    return "nothing" if one is None else f"{one[0]} {tuple(one[1].shape)}"


def installed() -> None:
    """`UsageError` where vLLM is not."""
    if find_spec("vllm") is None:
        raise UsageError("vLLM is not installed; pip install 'tulu-data[vllm]' on a machine with a GPU")
