"""A demonstration on a CPU that the trainers learn: claims, each with what was measured before and after.

A Llama of one layer, made on the spot, is to say the largest of three digits. 150 of the 1,000 prompts are held out:
they are a suite, the training data is audited against it, and everything here is measured on them alone. Supervised
fine-tuning is stopped early, where about half of the sampled answers are right, so that the others have room.

It says that the trainers learn. It says nothing of how well they would do on a real model.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import torch

from trainers import dpo, reward, rlvr, sft, tiny
from trainers.curves import curves_svg
from trainers.engine import Optimiser
from trainers.metrics import METRICS_FILE, read
from trainers.page import write_page
from trainers.policy import Answers, Models, Updating, update
from trainers.proof_claims import CURVES, LEARNS, PAGE, RESULT, SHUFFLED, Claim, Cost, Proof
from trainers.proof_task import (
    ANSWER_TOKENS,
    CPU,
    PROMPT_TOKENS,
    ROW_TOKENS,
    SUITE,
    Budget,
    Toy,
    loss,
    passed,
    preferred,
    publish,
    scored,
)
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, writing

PASSED = "held-out sampled pass rate"
DRAWN = {  # the curves of the picture, by the stage of a run
    "sft": ("loss",),
    "dpo": ("accuracy",),
    "reward": ("accuracy",),
    "rlvr": ("passed", "stopped", "kl"),
}


# ------------------------------------------------------------ the trainings


def settings(model: Path, mixture: str, seed: int, rate: float, **own: Any) -> dict[str, Any]:
    """What all recipes here have."""
    optimiser = Optimiser(learning_rate=rate, warmup=0.1, max_grad_norm=1.0)
    common = {"model": str(model), "mixture": f"{mixture}-clean", "suites": [SUITE], "seed": seed, "place": CPU}
    return {**common, "optimiser": optimiser, "pack_tokens": ROW_TOKENS, "save_every": 10_000, **own}


def imitate(toy: Toy, base: Path, output: Path, seed: int, budget: Budget, progress: Progress) -> Path:
    """Supervised fine-tuning on right answers, stopped as soon as so many sampled answers are right; the model."""
    own = {"name": "sft", "stage": "sft", "batch": 16, "epochs": budget.sft_epochs, "loss": "token_mean"}
    recipe = sft.Recipe(**settings(base, "answers", seed, 3e-3, max_length=PROMPT_TOKENS, **own))
    until = budget.sft_first
    while True:
        trained = sft.train(recipe, toy.store, output, progress=progress, until=until)
        share = passed(trained.model, toy.train[: budget.held_out], 2, seed).value
        if share >= budget.start or trained.steps < until:
            return trained.model
        until += budget.sft_every


def prefer(toy: Toy, start: Path, output: Path, seed: int, budget: Budget, progress: Progress) -> Path:
    """DPO on right answers over wrong ones; the model."""
    own = {"name": "dpo", "stage": "dpo", "loss": "dpo", "beta": 0.1, "batch": 32, "epochs": budget.dpo_epochs}
    recipe = dpo.Recipe(**settings(start, "pairs", seed, 2e-3, max_length=PROMPT_TOKENS, **own))
    return dpo.train(recipe, toy.store, output, progress=progress).model


def judge(toy: Toy, start: Path, output: Path, seed: int, budget: Budget, progress: Progress) -> Path:
    """A reward model on the same pairs; its folder."""
    own = {"name": "reward", "stage": "reward", "batch": 16, "epochs": budget.reward_epochs}
    recipe = reward.Recipe(**settings(start, "pairs", seed, 2e-3, max_length=PROMPT_TOKENS, **own))
    return reward.train(recipe, toy.store, output, progress=progress).model


def reinforce(start: Path, scorer: Path, algorithm: str, seed: int, budget: Budget) -> rlvr.Recipe:
    """PPO on one answer to a prompt, or GRPO on eight; the same number of answers."""
    common = {
        "name": algorithm,
        "stage": "rlvr",
        "algorithm": algorithm,
        "beta": 0.01,
        "max_prompt_length": PROMPT_TOKENS,
    }
    if algorithm == "ppo":
        critic = Optimiser(learning_rate=1e-3, warmup=0.0, max_grad_norm=1.0)
        samples, rate = 1, 1e-3
        common |= {"updates": 4, "reward_model": str(scorer), "value_optimiser": critic}
    else:
        samples, rate = 8, 2e-3
        common |= {"updates": 2}
    size = {"batch": budget.answers // samples, "samples": samples, "response_length": ANSWER_TOKENS}
    episodes = budget.rlvr_steps * budget.answers
    return rlvr.Recipe(**settings(start, "prompts", seed, rate, episodes=episodes, **common, **size))


def train_shuffled(recipe: rlvr.Recipe, store: Store, output: Path, *, progress: Progress) -> Path:
    """`rlvr.train` with the rewards of a step dealt out anew among all its answers; the model's folder.

    As many answers are rewarded as would have been, and steps, groups and KL are as they are there; what a reward has
    to do with its answer is all that is missing. Truths exchanged among the prompts would be no such control: one
    could still learn from them which digit is most often the largest.
    """

    def move(models: Models, answers: Answers, step: int, settings: Updating) -> dict[str, float]:
        return update(models, shuffled(answers, recipe.seed, step), step, settings)

    return rlvr.train(recipe, store, output, progress=progress, move=move).model


def shuffled(answers: Answers, seed: int, step: int) -> Answers:
    """The same answers, each with the reward of another that the seed and the step choose."""
    rewards = list(answers.rewards)
    random.Random(int.from_bytes(sha256(f"{seed}/{step}".encode()).digest()[:8])).shuffle(rewards)
    return answers._replace(rewards=rewards)


# ------------------------------------------------------------ the demonstration


def prove(
    output: Path, *, seeds: int = 2, seed: int = 0, budget: Budget | None = None, progress: Progress | None = None
) -> Proof:
    """Trains from nothing with every trainer, on one thread of the CPU, and measures each before and after.

    seeds: trainings by PPO, and by GRPO; of each there is one more on shuffled rewards. seed: of all that is random.
    The same command goes on where it was stopped. The claims are returned whether they hold or not: `Proof.check`.
    Errors as in `sft.train`; `StoreError` where `output` cannot be written.
    """
    budget, progress = budget or Budget(), progress or Silent()
    proof = Proof(output)
    with writing(output, "--output"), one_thread():
        with proof_part(proof, "audit"):
            toy, claim = publish(output, seed, budget, progress)
            base = tiny.write_model(output / "base", seed=seed, layers=1, positions=128)
        proof.claims.append(claim)
        start, scorer = imitated(proof, toy, base, seed, budget, progress)
        reinforced(proof, toy, start, scorer, range(seed + 1, seed + 1 + seeds), budget, progress)
        draw(output)
        (output / RESULT).write_text(json.dumps(proof.told(evidence=True), indent=1) + "\n", encoding="utf-8")
    return proof


@contextmanager
def one_thread() -> Iterator[None]:
    """Two threads of torch on a busy machine can be many times slower than one, and round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def proof_part(proof: Proof, part: str) -> Iterator[None]:
    """Notes what a part cost."""
    cpu, wall = sum(os.times()[:4]), time.monotonic()
    yield
    proof.costs[part] = Cost(sum(os.times()[:4]) - cpu, time.monotonic() - wall)


def imitated(proof: Proof, toy: Toy, base: Path, seed: int, budget: Budget, progress: Progress) -> tuple[Path, Path]:
    """Supervised fine-tuning, then DPO and a reward model on what came of it; the first's model and the last's."""
    folder, unseen = proof.folder, toy.held_out
    with proof_part(proof, "sft"):
        start = imitate(toy, base, folder / "sft", seed, budget, progress)
        losses = loss(base, unseen), loss(start, unseen)
    proof.claims.append(Claim("sft", "held-out loss, nats a token", *losses, "falls by 30 %"))
    with proof_part(proof, "dpo"):
        model = prefer(toy, start, folder / "dpo", seed, budget, progress)
        pairs = preferred(start, start, unseen), preferred(model, start, unseen)
        rates = passed(start, unseen, budget.samples, seed), passed(model, unseen, budget.samples, seed)
    proof.claims.append(Claim("dpo", "held-out accuracy of implicit rewards", *pairs, "is at least 0.9"))
    proof.claims.append(Claim("dpo", PASSED, *rates, "rises by 0.1"))
    with proof_part(proof, "reward"):
        scorer = judge(toy, start, folder / "reward", seed, budget, progress)
        accuracies = scored(start, unseen, seed), scored(scorer, unseen, seed)
    proof.claims.append(Claim("reward", "held-out accuracy of pairs", *accuracies, "is at least 0.8"))
    return start, scorer


def reinforced(
    proof: Proof, toy: Toy, start: Path, scorer: Path, seeds: Sequence[int], budget: Budget, progress: Progress
) -> None:
    """PPO and GRPO with each seed, and with the first on shuffled rewards."""
    before = passed(start, toy.held_out, budget.samples, 0)
    for algorithm, seed in product(("ppo", "grpo"), (*seeds, None)):
        recipe = reinforce(start, scorer, algorithm, seeds[0] if seed is None else seed, budget)
        part = f"{algorithm} {'shuffled' if seed is None else seed}"
        output = proof.folder / part.replace(" ", "-")
        with proof_part(proof, part):
            if seed is None:
                model = train_shuffled(recipe, toy.store, output, progress=progress)
            else:
                model = rlvr.train(recipe, toy.store, output, progress=progress).model
            after = passed(model, toy.held_out, budget.samples, 0)
        rule = f"rises by less than {SHUFFLED}" if seed is None else f"rises by {LEARNS}"
        proof.claims.append(Claim(part, PASSED, before, after, rule))


def draw(folder: Path) -> None:
    """The picture of all runs, and the page that compares those of PPO and GRPO."""
    runs = sorted(p.parent for p in folder.glob(f"*/{METRICS_FILE}"))
    runs.sort(key=lambda p: p.name.partition("-")[0] in DRAWN)  # the few runs of other stages last: colours repeat
    shown = []
    for run_ in runs:
        keys = DRAWN.get(run_.name, DRAWN["rlvr"])
        lines = [{k: line[k] for k in ("step", *keys) if k in line} for line in read(run_ / METRICS_FILE)]
        shown.append((run_.name, lines))
    panels = list(dict.fromkeys(key for drawn in DRAWN.values() for key in drawn))
    (folder / CURVES).write_text(curves_svg(shown, panels), encoding="utf-8")
    write_page([r for r in runs if r.name not in DRAWN], folder / PAGE)
