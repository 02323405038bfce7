"""Completions of prompts, drawn from a model in training: batched, left-padded, with a cache of keys and values.

What a completion becomes hangs on the seed, the number of its prompt and its own index, and not on what it is sampled
beside: every row has a random generator of its own. Only rounding knows of the batch. A matrix product of another shape
differs in its last bits, and where the best two tokens are as close, the other one is picked: with logits off by 1e-2,
as in bf16, for 4 tokens in 1,000; in fp32 in proportion. Hence Gumbel noise, not the cumulative distribution, where the
errors of a whole vocabulary add up: 8 in 1,000 with logits off by 1e-6, at 128,256 words of Zipf's frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name


class Rollout(NamedTuple):
    """A completion of a prompt.

    completion: with the eos where it was emitted. stopped: an eos ends it. logps: of each token of the completion, as
    it was sampled: at the temperature, and at temperature 1 where that is 0.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    stopped: bool
    logps: tuple[float, ...]


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int,
    max_new_tokens: int,
    eos: int,
    pad: int,
    seed: int,
    temperature: float = 1.0,
    batch: int = 64,
    numbers: Sequence[int] | None = None,
) -> list[list[Rollout]]:
    """`samples` completions of each prompt, in order. Greedy, and all alike, at temperature 0.

    seed: another one for each step of a training, or the same numbers pick again. batch: completions sampled at once.
    numbers: of the prompts, else their positions; processes that share a step's prompts give each the number it has
    among all, and sample what one process would. A smaller `max_new_tokens` cuts completions and changes none. Devices
    of another kind have other random numbers. `ValueError` for what cannot be sampled.
    """
    numbers = range(len(prompts)) if numbers is None else numbers
    check(model, prompts, numbers, samples, max_new_tokens, eos=eos, pad=pad, temperature=temperature, batch=batch)
    how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "eos": eos, "pad": pad, "temperature": temperature}
    with sampling(model):
        complete = partial(_complete, model, **how)
        return in_batches(complete, prompts, numbers, samples=samples, seed=seed, batch=batch, device=model.device)


def check(
    model: Any,
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    samples: int,
    max_new_tokens: int,
    *,
    eos: int,
    pad: int,
    temperature: float,
    batch: int,
) -> None:
    """`ValueError` in one line for what cannot be sampled."""
    if pad == eos:
        raise ValueError(f"pad and eos are both {eos}: what trains on it could not tell an end from padding")
    if len(numbers) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts have {len(numbers)} numbers; give each its own")
    if min(samples, max_new_tokens, batch) < 1:
        raise ValueError(f"samples {samples}, max_new_tokens {max_new_tokens}, batch {batch}: each must be at least 1")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}; it must be 0 or more, and finite")
    positions = getattr(model.config, "max_position_embeddings", None)
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {i} is empty: nothing predicts its first token")
        if positions is not None and len(prompt) + max_new_tokens > positions:
            raise ValueError(
                f"prompt {i} has {len(prompt):,} tokens, with max_new_tokens {max_new_tokens:,} more than the model's "
                f"{positions:,} positions; lower max_new_tokens"
            )


# ------------------------------------------------------------ what samplers share


def in_batches(
    complete: Callable[[Sequence[Sequence[int]], list[torch.Generator]], list[Rollout]],
    prompts: Sequence[Sequence[int]],
    numbers: Sequence[int],
    *,
    samples: int,
    seed: int,
    batch: int,
    device: torch.device,
) -> list[list[Rollout]]:
    """`samples` rollouts of each prompt, from what completes a batch of prompts with a generator each."""
    rows = [(i, j) for i in range(len(prompts)) for j in range(samples)]
    rows.sort(key=lambda row: -len(prompts[row[0]]))  # little padding, and what needs most memory comes first
    found: dict[tuple[int, int], Rollout] = {}
    for start in range(0, len(rows), batch):
        held = rows[start : start + batch]
        generators = [torch.Generator(device).manual_seed(seed_of(seed, numbers[i], j)) for i, j in held]
        found.update(zip(held, complete([prompts[i] for i, _ in held], generators), strict=True))
    return [[found[i, j] for j in range(samples)] for i in range(len(prompts))]


@contextmanager
def sampling(model: Any) -> Iterator[None]:
    """Without gradients and dropout, under an attention that takes padding and a cache; the model's own afterwards."""
    training, used = model.training, model.config._attn_implementation
    try:
        model.eval()
        model.config._attn_implementation = "sdpa"
        with torch.no_grad():
            yield
    finally:
        model.config._attn_implementation = used
        model.train(training)


def seed_of(seed: int, number: int, sample: int) -> int:
    """Of what a completion's tokens are drawn with: 64 bits from the step's seed, the prompt's number, the sample's."""
    return int.from_bytes(sha256(f"{seed}/{number}/{sample}".encode()).digest()[:8])


# ------------------------------------------------------------ one batch


def _complete(
    model: Any,
    prompts: Sequence[Sequence[int]],
    generators: list[torch.Generator],
    *,
    max_new_tokens: int,
    eos: int,
    pad: int,
    temperature: float,
) -> list[Rollout]:
    """One completion of each prompt. A row that has stopped leaves the batch."""
    from transformers import DynamicCache

    tokens, mask = left_padded(prompts, pad, model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = {_cache_name(model): DynamicCache(config=model.config)}
    picked: list[list[tuple[int, float]]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))  # the prompts that go on
    for _ in range(max_new_tokens):
        known = {"input_ids": tokens, "attention_mask": mask, "position_ids": positions, **cache}
        logits = model(**known, use_cache=True, logits_to_keep=1).logits[:, -1]
        chosen, logps = choose(logits, [generators[row] for row in rows], temperature)
        for row, token, logp in zip(rows, chosen.tolist(), logps.tolist(), strict=True):
            picked[row].append((token, logp))
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        going = (chosen != eos).nonzero().squeeze(1)
        if not len(going):
            break
        if len(going) < len(rows):
            rows = [rows[i] for i in going.tolist()]
            tokens, mask, positions = tokens[going], mask[going], positions[going]
            for held in cache.values():
                held.batch_select_indices(going)
        mask = F.pad(mask, (0, 1), value=1)
    return [rollout(prompt, tokens, eos) for prompt, tokens in zip(prompts, picked, strict=True)]


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts that end together, and where they are: `(prompts, longest)` both."""
    longest = max(map(len, prompts))
    tokens = [[*[pad] * (longest - len(p)), *p] for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)


def _cache_name(model: Any) -> str:
    """What the model calls the cache; transformers renamed it within 5."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def choose(
    logits: torch.Tensor, generators: Sequence[torch.Generator], temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token of each row and its log-probability: logits `(rows, words)` → `(rows,)` both."""
    logps = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    scores = logps
    if temperature:
        noise = torch.empty(logits.shape, dtype=torch.float64, device=logits.device)
        for row, generator in zip(noise, generators, strict=True):
            row.exponential_(generator=generator)
        scores = logps - noise.log()  # the largest is at a token as often as its probability says
    chosen = scores.argmax(dim=-1)
    return chosen, logps.gather(1, chosen[:, None]).squeeze(1)


def rollout(prompt: Sequence[int], picked: Sequence[tuple[int, float]], eos: int) -> Rollout:
    """Of the tokens that were picked, with their log-probabilities."""
    completion = tuple(token for token, _ in picked)
    return Rollout(tuple(prompt), completion, completion[-1] == eos, tuple(logp for _, logp in picked))
