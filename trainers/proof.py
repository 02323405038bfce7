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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from trainers import dpo, reward, rlvr, sft, tiny
from trainers.chat import encode, prompt_tokens
from trainers.engine import Engine, Optimiser
from trainers.host import Host, Place
from trainers.metrics import METRICS_FILE, read
from trainers.opening import open_model
from trainers.page import curves_svg, write_page
from trainers.policy import Answers, Models, Updating, logps_of, of_all, update
from trainers.rollout import Rollout, sample
from tulu_data.errors import GateError
from tulu_data.pipeline import run
from tulu_data.progress import Progress, Silent
from tulu_data.recipe import from_data
from tulu_data.store import Store, writing
from tulu_data.verifiers.registry import verify

SUITE, VERIFIER = "held-out", "gsm8k"
PLANTED = 5  # held-out prompts that each training set is given, for the audit to find
WRONG = 3  # answers that the right one is preferred to
CURVES, PAGE, RESULT = "curves.svg", "rlvr.html", "proof.json"
LEARNS, SHUFFLED = 0.2, 0.1  # a pass rate that learns rises by so much at least; a control's by less than that
RULES: dict[str, Callable[[float, float], bool]] = {  # what a claim says of a number before and after
    "falls to 0": lambda _, after: after == 0,
    "falls by 30 %": lambda before, after: after <= 0.7 * before,
    "is at least 0.8": lambda _, after: after >= 0.8,
    "is at least 0.9": lambda _, after: after >= 0.9,
    "rises by 0.1": lambda before, after: after - before >= 0.1,
    f"rises by {LEARNS}": lambda before, after: after - before >= LEARNS,
    f"rises by less than {SHUFFLED}": lambda before, after: after - before < SHUFFLED,
}
DRAWN = {  # the curves of the picture, by the stage of a run
    "sft": ("loss",),
    "dpo": ("accuracy",),
    "reward": ("accuracy",),
    "rlvr": ("passed", "stopped", "kl"),
}


@dataclass(frozen=True)
class Budget:
    """How much is trained and measured: enough for each claim to hold with room, in some three CPU-minutes."""

    held_out: int = 150  # prompts
    samples: int = 8  # answers to each of them
    start: float = 0.42  # sampled pass rate on training prompts at which supervised fine-tuning is stopped
    sft_first: int = 30  # steps before the first look at it
    sft_every: int = 6  # steps between two looks: it rises by 0.1 in as many
    sft_epochs: int = 8
    dpo_epochs: int = 2
    reward_epochs: int = 3
    rlvr_steps: int = 48
    answers: int = 128  # of a step of PPO or GRPO


# ------------------------------------------------------------ results


class Measured(NamedTuple):
    """A number with what it was made from.

    values: of each held-out prompt or pair. share: the number is the share of them above 0, else their mean.
    """

    values: tuple[float, ...]
    share: bool = False

    @property
    def value(self) -> float:
        """The number."""
        return fmean(v > 0 for v in self.values) if self.share else fmean(self.values)


class Claim(NamedTuple):
    """What a part of the demonstration shows. rule: one of `RULES`."""

    part: str
    what: str
    before: Measured
    after: Measured
    rule: str

    @property
    def holds(self) -> bool:
        """Whether the numbers are as the rule says."""
        return RULES[self.rule](self.before.value, self.after.value)

    def __str__(self) -> str:
        return f"{self.part}: {self.what}, {self.before.value:.3f} → {self.after.value:.3f}, {self.rule}"


class Cost(NamedTuple):
    """What a part took, measuring included. cpu_s: of this process and those that it waited for."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Proof:
    """The claims with their evidence, what each part cost, and the folder of its run."""

    folder: Path
    claims: list[Claim] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all claims do."""
        return all(claim.holds for claim in self.claims)

    def check(self) -> None:
        """`GateError` in one line that names the claims that do not hold."""
        if broken := [str(claim) for claim in self.claims if not claim.holds]:
            count = f"{len(broken)} of {len(self.claims)} claims"
            raise GateError(f"{count}: not so: {'; '.join(broken)}; look at {self.folder / PAGE}")

    def told(self, *, evidence: bool = False) -> dict[str, Any]:
        """As plain data; with the values behind each number where `evidence` is asked for."""

        def claim(c: Claim) -> dict[str, Any]:
            numbers = {"before": c.before.value, "after": c.after.value, "rule": c.rule, "holds": c.holds}
            values = {"values_before": c.before.values, "values_after": c.after.values} if evidence else {}
            return {"part": c.part, "claim": c.what, **numbers, **values}

        return {
            "holds": self.holds,
            "claims": [claim(c) for c in self.claims],
            "costs": {part: cost._asdict() for part, cost in self.costs.items()},
        }


# ------------------------------------------------------------ the task


class Asked(NamedTuple):
    """A prompt, the right answer, and some wrong ones: other digits, whether they are among the three or not."""

    question: str
    right: str
    wrong: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation."""
        return [{"role": "user", "content": self.question}]


class Toy(NamedTuple):
    """The task's prompts, those for training and those held out; and the store with the audited versions."""

    train: list[Asked]
    held_out: list[Asked]
    store: Store


def asked(digits: Sequence[int], rng: random.Random) -> Asked:
    """Eight words, the least that an 8-gram finds. A policy that is half trained says any digit in place of the max."""
    largest = max(digits)
    wrong = rng.sample([str(d) for d in range(10) if d != largest], WRONG)
    return Asked(f"What is the max of {' '.join(map(str, digits))}", str(largest), tuple(wrong))


def publish(folder: Path, seed: int, budget: Budget, progress: Progress) -> tuple[Toy, Claim]:
    """Writes the task's sets, runs them through the pipeline as `tulu run` does, and says what the audit dropped.

    Each set holds some held-out prompts at first; the trainings take what the audit leaves.
    """
    rng = random.Random(seed)
    drawn = [asked(digits, rng) for digits in product(range(10), repeat=3)]
    rng.shuffle(drawn)
    held_out, train = drawn[: budget.held_out], drawn[budget.held_out :]
    mixed = train + held_out[:PLANTED]
    sets: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "answers": ("sft", [{"messages": [*a.messages, _said(a.right)]} for a in mixed]),
        "prompts": ("rlvr", [{"messages": a.messages, "ground_truth": a.right, "verifier": VERIFIER} for a in mixed]),
        "pairs": (
            "preference",
            [
                {"messages": a.messages, "chosen": [_said(a.right)], "rejected": [_said(w)]}
                for a in mixed
                for w in a.wrong
            ],
        ),
    }
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, (_, rows) in sets.items():
        _write_lines(data / f"{name}.jsonl", rows)
    _write_lines(data / f"{SUITE}.jsonl", [{"id": a.question, "question": a.question} for a in held_out])
    suite = {"group": "unseen", "path": f"{SUITE}.jsonl", "fields": ["question"]}
    (data / "suites.yaml").write_text(json.dumps({"suites": {SUITE: suite}}), encoding="utf-8")
    recipe = {
        "name": "proof",
        "sources": {name: {"path": f"{name}.jsonl", "kind": kind} for name, (kind, _) in sets.items()},
        "decontaminate": {"suites": ["suites.yaml"], "fuzzy": False},
    }
    store = Store(folder / "store")
    made = run(from_data(recipe, place="proof", base=data), store, progress=progress)
    unseen = {a.question for a in held_out}
    before, after = (
        tuple(float(question in unseen) for version in versions.values() if version for question in _questions(version))
        for versions in (made.sources, made.clean)
    )
    claim = Claim("audit", "share of training rows that are held out", Measured(before), Measured(after), "falls to 0")
    return Toy(train, held_out, store), claim


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _questions(version: Any) -> Iterator[str]:
    for batch in version.batches(["messages"]):
        yield from (messages[0]["content"] for messages in batch.column("messages").to_pylist())


# ------------------------------------------------------------ what is measured


def passed(model: Path, questions: Sequence[Asked], samples: int, seed: int) -> Measured:
    """Of each prompt the share of its answers, sampled at temperature 1, that come to an end and are right."""
    opened, tokenizer = open_model(str(model))
    found = sample(
        opened,
        [prompt_tokens(tokenizer, a.messages) for a in questions],
        samples=samples,
        max_new_tokens=ANSWER_TOKENS,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
        seed=seed,
        batch=256,
    )

    def right(a: Asked, answer: Rollout) -> bool:
        text = tokenizer.decode(answer.completion, skip_special_tokens=True)
        return answer.stopped and verify(VERIFIER, text, a.right).right

    return Measured(tuple(fmean(right(a, r) for r in answers) for a, answers in zip(questions, found, strict=True)))


def loss(model: Path, questions: Sequence[Asked]) -> Measured:
    """Of each prompt the loss of its right answer, the mean over its tokens and its end, in nats."""
    return Measured(tuple(-float(logps.mean()) for logps in _logps(model, [(a, a.right) for a in questions])))


def preferred(model: Path, reference: Path, questions: Sequence[Asked]) -> Measured:
    """Of each pair the implicit reward of the right answer less that of the wrong one, with β 1, in nats.

    By how much likelier than to the reference the right answer is, less the same of the wrong one: arXiv 2305.18290.
    The reference itself has 0 everywhere.
    """
    sides = [(a, text) for a in questions for w in a.wrong for text in (a.right, w)]
    gains = [
        float(now.sum() - was.sum()) for now, was in zip(_logps(model, sides), _logps(reference, sides), strict=True)
    ]
    return Measured(tuple(r - w for r, w in zip(gains[0::2], gains[1::2], strict=True)), share=True)


def _logps(model: Path, said: Sequence[tuple[Asked, str]]) -> list[torch.Tensor]:
    """The log-probabilities of the tokens of each answer, its end among them: `(tokens,)` each."""
    opened, tokenizer = open_model(str(model))
    host = Host(opened.eval(), CPU)
    rollouts = []
    for a, answer in said:
        tokens = (*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
        rollouts.append(Rollout(prompt_tokens(tokenizer, a.messages), tokens, True, ()))
    return of_all(host, rollouts, ROW_TOKENS, partial(logps_of, host, temperature=1.0))


def scored(model: Path, questions: Sequence[Asked], seed: int) -> Measured:
    """Of each pair by how much a reward model scores the right answer higher; seed: of a head that is drawn."""
    torch.manual_seed(seed)
    opened, tokenizer = reward.open_scorer(str(model), longest=0)
    engine = Engine(opened, tokenizer, Optimiser(), CPU, 1)
    sides = [encode(tokenizer, [*a.messages, _said(text)]) for a in questions for w in a.wrong for text in (a.right, w)]
    with torch.no_grad():
        scores = reward.scores_of(engine, sides)
    return Measured(tuple((scores[0::2] - scores[1::2]).tolist()), share=True)


# ------------------------------------------------------------ the trainings

CPU = Place(device="cpu")
PROMPT_TOKENS, ANSWER_TOKENS, ROW_TOKENS = 64, 3, 4_096


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


PASSED = "held-out sampled pass rate"


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
