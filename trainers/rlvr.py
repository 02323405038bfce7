"""Reinforcement learning with verifiable rewards: configuration, rollouts, rewards, step, loop.

A step samples answers to `batch` prompts, lets the prompts' verifiers judge them, and moves the policy towards those
that are right: by PPO with a value model, as Tülu 3 has it (arXiv 2411.15124 §6), or by GRPO. The reward is 10 times
the verifier's score, replaced by -10 where an answer does not come to its end. A verification that could not be made is
no zero: that answer is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

from trainers import gate, lora, ranks, samplers
from trainers.chat import prompt_tokens
from trainers.checkpoints import weights_digest
from trainers.engine import Engine, Optimiser
from trainers.host import Host
from trainers.looping import Told, alone, loop
from trainers.opening import Opened, open_model, padding_of
from trainers.packing import Steps
from trainers.policy import Answers, Models, Updating, update
from trainers.preparing import Run, data_of, digest_of, tell_what_is_left_out
from trainers.reward import open_scorer
from trainers.rollout import Rollout
from trainers.samplers import Sampler, Sampling, open_sampler
from tulu_data.errors import InputError, TuluError, UsageError
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, Version
from tulu_data.verifiers.pool import Task, VerifierPool
from tulu_data.verifiers.registry import parsed
from tulu_data.verifiers.verdict import Verdict

SHOWN = 4  # answers of a step that are kept to be read
LOST = 3  # steps without a verified answer, after which a training stops
OWN = {  # settings that mean something to one algorithm only
    "ppo": ("reward_model", "gamma", "lam", "value_clip", "value_weight", "value_optimiser"),
    "grpo": ("advantage", "normalisation"),
}


class Recipe(Updating, Run):
    """A training on prompts whose answers can be verified."""

    stage: Literal["rlvr"]
    reward_model: str | None = Field(default=None, description="ppo: what the value model starts from")
    batch: int = Field(default=224, ge=1, description="prompts of a step")
    samples: int = Field(default=1, ge=1, description="answers to a prompt; grpo needs several")
    episodes: int = Field(default=100_000, ge=1, description="answers in all")
    reward: float = Field(default=10.0, description="of a right answer")
    no_end: float = Field(default=-10.0, description="reward in place of it where the answer does not end")
    sampler: Sampling = Sampling()
    optimiser: Optimiser = Optimiser(learning_rate=3e-7, warmup=0.0, max_grad_norm=1.0)
    save_every: int = Field(default=10, ge=1, description="steps between checkpoints")

    @field_validator("value_optimiser", mode="before")
    @classmethod
    def _rest_is_the_policys(cls, given: Any, info: ValidationInfo) -> Any:
        own = info.data.get("optimiser", cls.model_fields["optimiser"].default)
        return {**own.model_dump(), **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _one_algorithm(self) -> Recipe:
        other = "grpo" if self.algorithm == "ppo" else "ppo"
        if strange := [n for n in OWN[other] if n in self.model_fields_set and getattr(self, n) is not None]:
            raise ValueError(f"{strange[0]}: is a setting of {other}, and algorithm is {self.algorithm}; leave it out")
        if self.algorithm == "ppo" and self.reward_model is None:
            raise ValueError("reward_model: ppo's value model starts from one; train it with: tulu train reward")
        if self.lora is not None and self.lora.dropout:
            raise ValueError("lora.dropout: a policy that drops out is not the one that answered; set it to 0")
        if self.algorithm == "grpo" and self.samples < 2:
            raise ValueError(f"samples: is {self.samples}, and grpo compares answers to a prompt; take 2 or more")
        if self.pack_tokens is not None and self.capacity < self.longest:
            raise ValueError(
                f"pack_tokens is {self.capacity:,}, and a prompt with its answer may have {self.longest:,}; raise it"
            )
        return self


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
    """What a training came to, by step. passed: the share of answers that came to their end and were right."""

    model: Path
    steps: int
    losses: list[float]
    rewards: list[float]
    passed: list[float]


@dataclass(frozen=True)
class Prepared:
    """Everything a training needs, found to be in order before the first step."""

    recipe: Recipe
    version: Version
    cleared: gate.Cleared
    models: Models
    examples: Prompts
    steps: Steps
    digest: str

    @property
    def engine(self) -> Engine:
        """The policy."""
        return self.models.policy

    @property
    def engines(self) -> dict[str, Engine]:
        """The policy, and PPO's value model."""
        return {"": self.engine} if self.models.value is None else {"": self.engine, "value": self.models.value}

    @property
    def total(self) -> int:
        """Steps."""
        return self.engine.total


def prepare(recipe: Recipe, store: Store, *, allow: str | None = None, progress: Progress | None = None) -> Prepared:
    """Opens the data and the models; errors as in `sft.prepare`, and for a verifier or truth that is unknown."""
    version, cleared = data_of(recipe, store, allow=allow, progress=progress)
    torch.manual_seed(recipe.seed)
    opened = open_model(recipe.model, longest=recipe.longest)
    tokenizer = opened.tokenizer
    padding_of(tokenizer, recipe.model)
    prompts = prompts_of(version, tokenizer, longest=recipe.max_prompt_length)
    tell_what_is_left_out(prompts.counts(), progress)
    count, size = recipe.episodes // (recipe.batch * recipe.samples), len(prompts.kept)
    if not count:
        raise UsageError(
            f"episodes is {recipe.episodes:,}, and a step takes {recipe.batch * recipe.samples:,}; raise it"
        )
    steps = Steps(size, recipe.batch, -(-count * recipe.batch // size), recipe.seed)
    models, origins = models_of(recipe, opened, count)
    digest = digest_of(recipe, version, *models.policy.ranks.share(origins))
    return Prepared(recipe, version, cleared, models, prompts, steps, digest)


def models_of(recipe: Recipe, opened: Opened, steps: int) -> tuple[Models, list[str]]:
    """The policy, PPO's value model, the reference where there is a KL; and the digests of those at the start."""
    model, tokenizer = opened
    scorer = (
        None if recipe.reward_model is None else open_scorer(recipe.reward_model, longest=recipe.longest, drawn=False)
    )
    if scorer is not None and scorer.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise InputError(f"reward_model {recipe.reward_model}: its tokenizer is not that of {recipe.model}")
    trained = [model] if scorer is None else [model, scorer.model]
    origins = [weights_digest(m.state_dict()) for m in trained] if ranks.first() else []
    for each in trained:
        without_dropout(each)
        if recipe.lora is not None:
            lora.inject(each, recipe.lora)
    policy = Engine(model, tokenizer, recipe.optimiser, recipe.place, steps)
    value = None
    if scorer is not None:
        value = Engine(scorer.model, tokenizer, recipe.value_optimiser or recipe.optimiser, recipe.place, steps)
    reference = Host(open_model(recipe.model).model.eval(), recipe.place) if recipe.beta else None
    return Models(policy, value, reference), origins


def without_dropout(model: Any) -> None:
    """A policy that drops out is not the one that answered: the ratio between them would not be 1."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0


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
    """The answers of a step, what their verifiers said, and the step's measures."""

    answers: Answers
    verdicts: list[Verdict]
    told: dict[str, float]


def sampler_of(prepared: Prepared) -> Sampler:
    """What samples a training's answers. A policy in pieces is copied whole for it, on each process's device."""
    recipe, engine = prepared.recipe, prepared.engine
    model = engine.model
    if engine.ranks.size > 1 and recipe.sampler.backend != "vllm":
        model = open_model(recipe.model, everywhere=True).model.to(engine.device)
    how: dict[str, Any] = {"model_name": recipe.model, "longest": recipe.longest}
    return open_sampler(recipe.sampler, model, engine.tokenizer, **how)


def judged(prepared: Prepared, step: int, sampler: Sampler, pool: VerifierPool) -> Judged:
    """Samples a step's answers and has them verified; each process does its share of the prompts."""
    recipe, engine = prepared.recipe, prepared.engine
    prompts = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
    if engine.ranks.size > 1 or recipe.sampler.backend == "vllm":  # else it samples from the policy itself
        alone = recipe.sampler.server is not None  # a server is told once
        weights = engine.weights(everywhere=not alone)
        if engine.ranks.first or not alone:
            sampler.update(lora.merged(engine.model, weights).items())
        engine.ranks.wait()
    mine = range(engine.ranks.rank, len(prompts), engine.ranks.size)
    with engine.computing(), engine.within_memory():
        groups = sampler.sample(
            [prompts[i].tokens for i in mine],
            numbers=mine,
            samples=recipe.samples,
            max_new_tokens=recipe.response_length,
            seed=int.from_bytes(sha256(f"{recipe.seed}/{step}".encode()).digest()[:6]),
            temperature=recipe.temperature,
        )
    tasks = [task_of(prepared, prompts[i], r) for i, group in zip(mine, groups, strict=True) for r in group]
    said = list(pool.map(tasks))
    own = [(group, said[i * recipe.samples :][: recipe.samples]) for i, group in enumerate(groups)]
    found = engine.ranks.gather(own, len(prompts))
    rollouts = [r for group, _ in found for r in group]
    verdicts = [v for _, told in found for v in told]
    rewards = [reward_of(recipe, r, v) for r, v in zip(rollouts, verdicts, strict=True)]
    return Judged(Answers(rollouts, rewards, recipe.samples), verdicts, told_of(rollouts, verdicts, rewards))


def task_of(prepared: Prepared, prompt: Prompt, rollout: Rollout) -> Task:
    """An answer for its verifier."""
    text = prepared.engine.tokenizer.decode(rollout.completion, skip_special_tokens=True)
    return Task(prompt.verifier, text, prompt.truth)


def reward_of(recipe: Recipe, rollout: Rollout, verdict: Verdict) -> float | None:
    """The reward of an answer; None where it could not be judged."""
    if not rollout.stopped:
        return recipe.no_end
    return recipe.reward * verdict.score if verdict.valid else None


def told_of(
    rollouts: Sequence[Rollout], verdicts: Sequence[Verdict], rewards: Sequence[float | None]
) -> dict[str, float]:
    """A step's measures: reward; the shares that ended and are right, that ended, that were not verified; length."""
    valid = [v for v in verdicts if v.valid]
    known = [r for r in rewards if r is not None]
    right = sum(r.stopped and v.right for r, v in zip(rollouts, verdicts, strict=True))
    return {
        "reward": sum(known) / max(1, len(known)),
        "passed": right / max(1, len(known)),
        "stopped": sum(r.stopped for r in rollouts) / len(rollouts),
        "invalid": 1 - len(valid) / len(verdicts),
        "response_tokens": sum(len(r.completion) for r in rollouts) / len(rollouts),
    }


def shown(prepared: Prepared, step: int, found: Judged) -> list[dict[str, Any]]:
    """Some answers of a step, for people."""
    tokenizer, answers = prepared.engine.tokenizer, found.answers
    prompts = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
    some = range(0, len(answers.rollouts), max(1, len(answers.rollouts) // SHOWN))[:SHOWN]
    return [
        {
            "step": step,
            "prompt": tokenizer.decode(answers.rollouts[i].prompt),
            "completion": tokenizer.decode(answers.rollouts[i].completion),
            "verifier": prompts[i // answers.samples].verifier,
            "ground_truth": prompts[i // answers.samples].truth,
            "reward": answers.rewards[i],
            "stopped": answers.rollouts[i].stopped,
            "reason": found.verdicts[i].reason,
        }
        for i in some
    ]


class Unverified:
    """Steps in a row of whose answers none could be verified: they train nothing, and something is wrong."""

    def __init__(self) -> None:
        self.steps = 0

    def note(self, step: int, found: Judged) -> None:
        """`TuluError` after `LOST` such steps, with what a verifier said."""
        self.steps = self.steps + 1 if all(reward is None for reward in found.answers.rewards) else 0
        if self.steps == LOST:
            reason = next((v.reason for v in found.verdicts if not v.valid), "")
            raise TuluError(f"step {step}: no answer of {LOST} steps in a row could be verified ({reason})")


# ------------------------------------------------------------ the loop


def train(
    recipe: Recipe,
    store: Store,
    output: Path,
    *,
    allow: str | None = None,
    progress: Progress | None = None,
    until: int | None = None,
    move: Callable[[Models, Answers, int, Updating], dict[str, float]] = update,
) -> Trained:
    """Trains, from the newest checkpoint in `output` where there is one; see `sft.train`.

    move: what a step's answers do to the policy; another one is an experiment, and not what the checkpoints tell.
    """
    samplers.check(recipe.sampler)
    progress = progress or Silent()
    prepared = prepare(recipe, store, allow=allow, progress=progress)
    workers = max(1, (os.cpu_count() or 1) // ranks.beside())
    unverified = Unverified()
    with alone(output, prepared), closing(sampler_of(prepared)) as sampler, VerifierPool(workers) as pool:

        def take(step: int) -> Told:
            found = judged(prepared, step, sampler, pool)
            tokens = sum(len(r.prompt) + len(r.completion) for r in found.answers.rollouts)
            unverified.note(step, found)
            moved = move(prepared.models, found.answers, step, recipe)
            return Told(tokens, {**moved, **found.told}, shown(prepared, step, found))

        looped = loop(prepared, output, take, progress=progress, until=until)
    return Trained(looped.model, looped.steps, looped.series("loss"), looped.series("reward"), looped.series("passed"))
