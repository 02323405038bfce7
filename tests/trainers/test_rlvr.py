"""GRPO with verifiable rewards: it learns what is rewarded, nothing from shuffled rewards, and goes on to the bit."""

import json
import random

import pytest
import torch

from trainers import rlvr, sft
from trainers.engine import Optimiser
from trainers.rollout import Rollout
from tulu_data.errors import GateError, InputError, UsageError
from tulu_data.parquet import ShardWriter
from tulu_data.rows import finish, to_table
from tulu_data.store import Store
from tulu_data.verifiers.verdict import Verdict

RECORD = {
    "audit": "ta1-0123456789abcdef", "policy": "rows", "layers": ["exact"], "verdict": "clean", "n": 8,
    "analyzer": "unicode", "rows_in": 90, "rows_dropped": 0,
    "suites": [{"id": "toy", "group": "dev", "instances": 1, "flagged": 0, "rows_dropped": 0}],
}  # fmt: skip


def publish(store, name, kind, rows):
    with store.build(name, kind) as build:
        writer = ShardWriter(build.data, kind)
        writer.write(to_table(kind, [finish(kind, row, source=name) for row in rows]))
        records = [{"set": name, **RECORD}]
        return build.publish(writer.close(), writer.tally.logical(), decontamination=records)


def turn(role, content):
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def start(tmp_path_factory, tiny_llama):
    """A store with prompts whose right answer is always 7, and a model that answers with some digit and an end."""
    folder = tmp_path_factory.mktemp("rlvr")
    store = Store(folder / "store")
    rng = random.Random(0)
    said = [(str(i % 10), str(rng.randint(0, 9))) for i in range(480)]
    publish(store, "babble", "sft", [{"messages": [turn("user", q), turn("assistant", a)]} for q, a in said])
    asked = [{"messages": [turn("user", str(d))], "ground_truth": "7", "verifier": "gsm8k"} for d in range(10)]
    publish(store, "digits", "rlvr", asked)
    recipe = sft.Recipe(
        name="babble", stage="sft", model=str(tiny_llama), mixture="babble", suites=["toy"], batch=16, epochs=4,
        max_length=64, pack_tokens=512, loss="token_mean", optimiser=Optimiser(learning_rate=3e-3), save_every=1000,
    )  # fmt: skip
    return store, sft.train(recipe, store, folder / "sft").model


def recipe(model, **given):
    own = {
        "name": "toy", "stage": "rlvr", "model": str(model), "mixture": "digits", "suites": ["toy"], "batch": 10,
        "samples": 8, "episodes": 80 * 40, "max_prompt_length": 40, "response_length": 4, "beta": 0.0,
        "pack_tokens": 1024, "save_every": 1000,
        "optimiser": Optimiser(learning_rate=1e-3, warmup=0.0, max_grad_norm=1.0),
    }  # fmt: skip
    return rlvr.Recipe(**{**own, **given})


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_it_learns_what_is_rewarded(start, tmp_path):
    store, model = start
    trained = rlvr.train(recipe(model), store, tmp_path / "out")
    first, last = sum(trained.passed[:3]) / 3, sum(trained.passed[-3:]) / 3
    assert first < 0.5
    assert last >= first + 0.2
    line = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["stopped"] > 0.9
    assert line["invalid"] == 0.0
    assert line["sampler_gap"] < 1e-3


def test_it_learns_nothing_from_shuffled_rewards(start, tmp_path, monkeypatch):
    store, model = start
    judged = rlvr.grpo_advantages

    def shuffled(table, kind):
        flat = [score for group in table for score in group]
        random.Random(len(flat) + int(sum(s or 0 for s in flat))).shuffle(flat)
        return judged([flat[i : i + len(table[0])] for i in range(0, len(flat), len(table[0]))], kind)

    monkeypatch.setattr(rlvr, "grpo_advantages", shuffled)
    trained = rlvr.train(recipe(model), store, tmp_path / "out")
    assert sum(trained.passed[-3:]) / 3 < sum(trained.passed[:3]) / 3 + 0.2


def test_a_training_that_was_stopped_goes_on_to_the_bit(start, tmp_path):
    store, model = start
    few = recipe(model, episodes=80 * 4, beta=0.05)
    whole = rlvr.train(few, store, tmp_path / "whole")
    rlvr.train(few, store, tmp_path / "stopped", until=1)
    rlvr.train(few, store, tmp_path / "stopped", until=3)
    gone_on = rlvr.train(few, store, tmp_path / "stopped")
    assert weights(gone_on.model) == weights(whole.model)


@pytest.mark.parametrize("normalisation", ["sequence", "token", "fixed"])
def test_a_step_does_not_hang_on_how_its_answers_are_packed(start, normalisation):
    store, model = start
    gradients = []
    for capacity in (44, 200, 1024):
        prepared = rlvr.prepare(recipe(model, pack_tokens=capacity, normalisation=normalisation, beta=0.1), store)
        with rlvr.VerifierPool(1) as pool:
            found = rlvr.judged(prepared, 0, pool)
        with torch.no_grad():
            prepared.engine.model.get_output_embeddings().weight.mul_(1.01)  # so that there is a KL
        for row in rlvr.micro_batches(prepared, found):
            row().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in prepared.engine.model.parameters()]))
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=1e-5, rtol=1e-3)


def test_an_answer_without_an_end_is_worth_what_the_recipe_says_and_an_unverified_one_nothing_at_all():
    own = recipe("x")
    ended, cut = Rollout((1,), (2, 3), True, (0.0, 0.0)), Rollout((1,), (2, 3), False, (0.0, 0.0))
    right, wrong, undecided = Verdict(1.0, True, ""), Verdict(0.0, True, "no"), Verdict(0.0, False, "it hung")
    assert rlvr.reward_of(own, ended, right) == 10.0
    assert rlvr.reward_of(own, ended, wrong) == 0.0
    assert rlvr.reward_of(own, cut, right) == -10.0
    assert rlvr.reward_of(own, ended, undecided) is None
    told = rlvr.told_of([ended, cut], [right, undecided], [10.0, None], torch.tensor([[1.0, 0.0]]))
    assert (told["passed"], told["invalid"], told["stopped"], told["reward"]) == (1.0, 0.5, 0.5, 10.0)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"mixture": "babble"}, InputError, "holds sft rows; this trains on rlvr rows"),
        ({"episodes": 70}, UsageError, "episodes is 70, and a step takes 80; raise it"),
        ({"pack_tokens": 20}, UsageError, "pack_tokens is 20, and a prompt with its answer may have 44"),
        ({"max_prompt_length": 3}, InputError, "no prompt fits into 3 tokens; raise max_prompt_length"),
        ({"response_length": 900, "pack_tokens": None}, UsageError, "the model has 512 positions"),
        ({"suites": ["gpqa"]}, GateError, "was not audited against gpqa"),
    ],
)
def test_what_cannot_be_trained_is_one_line(start, tmp_path, given, error, message):
    store, model = start
    with pytest.raises(error) as wrong:
        rlvr.train(recipe(model, **given), store, tmp_path / "out")
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_an_unknown_verifier_or_truth_is_found_before_training(start, tmp_path):
    _, model = start
    store = Store(tmp_path)
    row = {"messages": [turn("user", "1")], "ground_truth": "1", "verifier": "gsm9k"}
    publish(store, "odd", "rlvr", [row])
    with pytest.raises(InputError, match="did you mean 'gsm8k'"):
        rlvr.prepare(recipe(model, mixture="odd", batch=1, episodes=8), store)
    publish(store, "odd", "rlvr", [{**row, "verifier": "gsm8k", "ground_truth": "no number"}])
    with pytest.raises(InputError, match="not one number"):
        rlvr.prepare(recipe(model, mixture="odd", batch=1, episodes=8), store)


def test_a_padding_token_that_is_the_end_is_refused(start, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    store, model = start
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "m")
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(tmp_path / "m")
    with pytest.raises(UsageError, match="its padding token is its end-of-sequence token"):
        rlvr.prepare(recipe(tmp_path / "m"), store)
