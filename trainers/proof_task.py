"""The toy task of the demonstration: its sets, audited and cleaned, and what is measured on the held-out prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from trainers import reward
from trainers.chat import encode, prompt_tokens
from trainers.engine import Engine, Optimiser
from trainers.host import Host, Place
from trainers.opening import open_model
from trainers.policy import logps_of, of_all
from trainers.proof_claims import Claim, Measured
from trainers.rollout import Rollout, sample
from tulu_data.pipeline import run
from tulu_data.progress import Progress
from tulu_data.recipe import from_data
from tulu_data.store import Store
from tulu_data.verifiers.registry import verify

SUITE, VERIFIER = "held-out", "gsm8k"
PLANTED = 5  # held-out prompts that each training set is given, for the audit to find
WRONG = 3  # answers that the right one is preferred to
CPU = Place(device="cpu")
PROMPT_TOKENS, ANSWER_TOKENS, ROW_TOKENS = 64, 3, 4_096


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
