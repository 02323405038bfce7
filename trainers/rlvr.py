"""Reinforcement learning with verifiable rewards, by GRPO: configuration, rollouts, rewards, loss, step, loop.

A step samples several answers to each of `batch` prompts, lets the prompts' verifiers judge them, and moves the policy
once towards those that are better than their group (arXiv 2402.03300). Rewards are Tülu 3's (arXiv 2411.15124 §6): 10
times the verifier's score, replaced by -10 where an answer does not come to its end. A verification that could not be
made is no zero: that answer is left out of its group.

One update a rollout: the policy that is updated is the one that sampled, so the ratio is 1 and nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field

from trainers import gate
from trainers.attention import packed
from trainers.chat import prompt_tokens
from trainers.engine import Engine, Optimiser, Place
from trainers.looping import Batch, loop
from trainers.loss import Kind, Normalisation, grpo_advantages, grpo_policy, token_nll
from trainers.opening import open_model
from trainers.packing import Steps, pack
from trainers.preparing import digest_of
from trainers.rollout import Rollout, sample
from tulu_data.errors import InputError, TuluError, UsageError
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, Version
from tulu_data.strict import Strict
from tulu_data.verifiers.pool import Task, VerifierPool
from tulu_data.verifiers.registry import parsed
from tulu_data.verifiers.verdict import Verdict

CLIP = 0.2  # arXiv 2411.15124 §6; without effect while a rollout has one update


class Recipe(Strict):
    """A training on prompts whose answers can be verified."""

    name: str
    stage: Literal["rlvr"]
    model: str = Field(description="folder, or name in the hub's cache")
    mixture: str = Field(description="name, or name@version, of rlvr rows in the store")
    suites: list[str] = Field(default_factory=list, description="that the mixture must have been audited against")
    source: str = Field(default="", description="where the numbers are from")
    seed: int = 1
    algorithm: Literal["grpo"] = "grpo"
    batch: int = Field(default=32, ge=1, description="prompts of a step")
    samples: int = Field(default=8, ge=2, description="answers to a prompt")
    episodes: int = Field(default=100_000, ge=1, description="answers in all")
    max_prompt_length: int = Field(default=2_048, ge=1, description="tokens; longer prompts are left out")
    response_length: int = Field(default=2_048, ge=1, description="tokens of an answer")
    temperature: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.05, ge=0, description="weight of the KL from the model at the start")
    reward: float = Field(default=10.0, description="of a right answer")
    no_end: float = Field(default=-10.0, description="reward in place of it where the answer does not end")
    advantage: Kind = "grpo"
    normalisation: Normalisation = "sequence"
    pack_tokens: int | None = Field(
        default=None, ge=2, description="tokens of a packed row; else as long as a row may be"
    )
    sample_batch: int = Field(default=64, ge=1, description="answers that are sampled at once")
    optimiser: Optimiser = Optimiser(learning_rate=3e-7, warmup=0.0, max_grad_norm=1.0)
    place: Place = Place()
    save_every: int = Field(default=50, ge=1, description="steps")

    @property
    def longest(self) -> int:
        """Tokens of a prompt with its answer."""
        return self.max_prompt_length + self.response_length

    @property
    def capacity(self) -> int:
        """Tokens of a packed row."""
        return self.pack_tokens or self.longest


class Prompt(NamedTuple):
    """What is answered, and how an answer is judged."""

    tokens: tuple[int, ...]
    verifier: str
    truth: str


class Prompts(NamedTuple):
    """A version's rows as prompts, and how many were too long."""

    kept: list[Prompt]
    too_long: int

    def counts(self) -> dict[str, int]:
        """For people and metrics."""
        longest = max((len(p.tokens) for p in self.kept), default=0)
        return {"examples": len(self.kept), "left_out": self.too_long, "longest": longest}


class Trained(NamedTuple):
    """What a training came to. passed: by step, the share of verified answers that were right."""

    model: Path
    steps: int
    losses: list[float]
    passed: list[float]


class Prepared(NamedTuple):
    """Everything a training needs, found to be in order before the first step."""

    recipe: Recipe
    version: Version
    cleared: gate.Cleared
    engine: Engine
    reference: Any  # the model at the start; None without a KL
    examples: Prompts
    steps: Steps
    digest: str


def prepare(recipe: Recipe, store: Store, *, allow: str | None = None, progress: Progress | None = None) -> Prepared:
    """Opens the data and the model; errors as in `sft.prepare`, and for a verifier or truth that is unknown."""
    if recipe.capacity < recipe.longest:
        raise UsageError(
            f"pack_tokens is {recipe.capacity:,}, and a prompt with its answer may have {recipe.longest:,}; raise it"
        )
    version = store.open(recipe.mixture)
    cleared = gate.clear(version, recipe.suites, store, allow=allow, progress=progress)
    torch.manual_seed(recipe.seed)
    model, tokenizer = open_model(recipe.model, longest=recipe.longest)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise UsageError(
            f"model {recipe.model}: its padding token is its end-of-sequence token; give it one of its own"
        )
    prompts = prompts_of(version, tokenizer, longest=recipe.max_prompt_length)
    count, size = recipe.episodes // (recipe.batch * recipe.samples), len(prompts.kept)
    if not count:
        raise UsageError(
            f"episodes is {recipe.episodes:,}, and a step takes {recipe.batch * recipe.samples:,}; raise it"
        )
    steps = Steps(size, recipe.batch, -(-count * recipe.batch // size), recipe.seed)
    engine = Engine(model, tokenizer, recipe.optimiser, recipe.place, count)
    reference = open_model(recipe.model).model.to(engine.device).eval() if recipe.beta else None
    return Prepared(recipe, version, cleared, engine, reference, prompts, steps, digest_of(recipe, version))


def prompts_of(version: Version, tokenizer: Any, *, longest: int) -> Prompts:
    """The rows of an rlvr version; `InputError` for one whose verifier or truth is unknown."""
    if version.kind != "rlvr":
        raise InputError(f"{version.ref}: holds {version.kind} rows; this trains on rlvr rows")
    kept: list[Prompt] = []
    too_long = 0
    for batch in version.batches(["id", "messages", "ground_truth", "verifier"]):
        for row in batch.to_pylist():
            try:
                parsed(row["verifier"], row["ground_truth"])
            except TuluError as e:
                raise InputError(f"{version.ref}: {row['id']}: {e}") from None
            tokens = prompt_tokens(tokenizer, row["messages"])
            if len(tokens) > longest:
                too_long += 1
            else:
                kept.append(Prompt(tokens, row["verifier"], row["ground_truth"]))
    if not kept:
        raise InputError(f"{version.ref}: no prompt fits into {longest:,} tokens; raise max_prompt_length")
    return Prompts(kept, too_long)


# ------------------------------------------------------------ rollouts and rewards


class Judged(NamedTuple):
    """The answers of a step with their rewards and advantages, prompt by prompt."""

    rollouts: list[Rollout]
    rewards: list[float | None]  # None where the verification could not be made
    advantages: torch.Tensor  # (answers,)
    told: dict[str, float]


def judged(prepared: Prepared, step: int, pool: VerifierPool) -> Judged:
    """Samples a step's answers and has them verified."""
    recipe, engine = prepared.recipe, prepared.engine
    tokenizer = engine.tokenizer
    prompts = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
    with engine.computing():
        groups = sample(
            engine.model,
            [p.tokens for p in prompts],
            samples=recipe.samples,
            max_new_tokens=recipe.response_length,
            eos=tokenizer.eos_token_id,
            pad=tokenizer.pad_token_id,
            seed=int.from_bytes(sha256(f"{recipe.seed}/{step}".encode()).digest()[:6]),
            temperature=recipe.temperature,
            batch=recipe.sample_batch,
        )
    rollouts = [r for group in groups for r in group]
    tasks = [
        Task(prompt.verifier, tokenizer.decode(r.completion, skip_special_tokens=True), prompt.truth)
        for prompt, group in zip(prompts, groups, strict=True)
        for r in group
    ]
    verdicts = list(pool.map(tasks))
    rewards = [reward_of(recipe, r, v) for r, v in zip(rollouts, verdicts, strict=True)]
    table = [rewards[i : i + recipe.samples] for i in range(0, len(rewards), recipe.samples)]
    advantages = grpo_advantages(table, recipe.advantage)
    return Judged(rollouts, rewards, advantages.flatten(), told_of(rollouts, verdicts, rewards, advantages))


def reward_of(recipe: Recipe, rollout: Rollout, verdict: Verdict) -> float | None:
    """The reward of an answer; None where it could not be judged."""
    if not rollout.stopped:
        return recipe.no_end
    return recipe.reward * verdict.score if verdict.valid else None


def told_of(
    rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], rewards: Sequence[float | None], advantages: torch.Tensor
) -> dict[str, float]:
    """A step's measures: reward, share right among those verified, share that ended, that could not be verified, …"""
    valid = [v for v in verdicts if v.valid]
    known = [r for r in rewards if r is not None]
    return {
        "reward": sum(known) / max(1, len(known)),
        "passed": sum(v.right for v in valid) / max(1, len(valid)),
        "stopped": sum(r.stopped for r in rollouts) / len(rollouts),
        "invalid": 1 - len(valid) / len(verdicts),
        "idle_groups": float((advantages == 0).all(1).float().mean()),
        "response_tokens": sum(len(r.completion) for r in rollouts) / len(rollouts),
    }


# ------------------------------------------------------------ the step and the loop


def logps_of(engine: Engine, model: Any, rollouts: Sequence[Rollout], temperature: float) -> torch.Tensor:
    """The log-probability of each completion token: `(rollouts, longest completion)`, 0 behind their ends."""
    row = packed([r.prompt + r.completion for r in rollouts], engine.device)
    answered = [i >= len(r.prompt) for r in rollouts for i in range(len(r.prompt) + len(r.completion))]
    trainable = torch.tensor(answered, device=engine.device)
    hidden = model.base_model(**row.arguments).last_hidden_state[0] / temperature
    values = -token_nll(hidden, model.get_output_embeddings().weight, row.tokens[0], trainable)
    found = values.new_zeros(len(rollouts), max(len(r.completion) for r in rollouts))
    at = [(i, t) for i, r in enumerate(rollouts) for t in range(len(r.completion))]
    rows, times = torch.tensor(at, device=engine.device).T
    return found.index_put((rows, times), values)


def micro_batches(prepared: Prepared, found: Judged) -> Iterator[Callable[[], torch.Tensor]]:
    """A step's answers in packed rows."""
    recipe = prepared.recipe
    over = {
        "sequence": len(found.rollouts),
        "token": sum(len(r.completion) for r in found.rollouts),
        "fixed": len(found.rollouts) * recipe.response_length,
    }[recipe.normalisation]
    for held in pack([len(r.prompt) + len(r.completion) for r in found.rollouts], recipe.capacity):
        yield partial(row_loss, prepared, found, held, over)


def row_loss(prepared: Prepared, found: Judged, held: Sequence[int], over: int) -> torch.Tensor:
    """What one packed row adds to a step's loss."""
    recipe, engine = prepared.recipe, prepared.engine
    rollouts = [found.rollouts[i] for i in held]
    logps = logps_of(engine, engine.model, rollouts, recipe.temperature)
    mask = torch.zeros_like(logps)
    sampled = torch.zeros_like(logps)
    for i, r in enumerate(rollouts):
        mask[i, : len(r.completion)] = 1
        sampled[i, : len(r.completion)] = torch.tensor(r.logps)
    advantages = found.advantages[list(held)].to(logps.device)
    how: dict[str, Any] = {"normalisation": recipe.normalisation, "over": over}
    policy = grpo_policy(logps, logps.detach(), advantages, mask, CLIP, **how)
    share = float(mask.sum()) / sum(len(r.completion) for r in found.rollouts)
    gap = ((logps.detach() - sampled).abs() * mask).sum() / mask.sum()
    found.told["sampler_gap"] = found.told.get("sampler_gap", 0.0) + share * float(gap)
    if prepared.reference is None:
        return policy.loss
    with torch.no_grad():
        reference = logps_of(engine, prepared.reference, rollouts, recipe.temperature)
    difference = (reference - logps) * mask
    kl = (difference.exp() - difference - 1) * mask  # k3; arXiv 2402.03300 eq. 4
    found.told["kl"] = found.told.get("kl", 0.0) + share * float(kl.detach().sum() / mask.sum())
    per_answer = kl.sum(1) / mask.sum(1) if recipe.normalisation == "sequence" else kl.sum(1)
    return policy.loss + recipe.beta * per_answer.sum() / over


def train(
    recipe: Recipe,
    store: Store,
    output: Path,
    *,
    allow: str | None = None,
    progress: Progress | None = None,
    until: int | None = None,
) -> Trained:
    """Trains, from the newest checkpoint in `output` where there is one; see `sft.train`."""
    progress = progress or Silent()
    prepared = prepare(recipe, store, allow=allow, progress=progress)
    output.mkdir(parents=True, exist_ok=True)
    with VerifierPool() as pool:

        def batch_of(step: int) -> Batch:
            found = judged(prepared, step, pool)
            tokens = sum(len(r.prompt) + len(r.completion) for r in found.rollouts)
            return Batch(micro_batches(prepared, found), tokens, lambda done: {"loss": done.loss, **found.told})

        model, last, lines = loop(prepared, output, batch_of, progress=progress, until=until)
    return Trained(model, last, [x["loss"] for x in lines], [x["passed"] for x in lines])
