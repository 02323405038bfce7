"""PPO and GRPO on verifiable rewards: they learn what is rewarded, not what is shuffled, and go on to the bit."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from trainers import policy, reward, rlvr, sft
from trainers.engine import Optimiser
from trainers.policy import Answers
from trainers.rollout import Rollout
from tulu_data.errors import GateError, InputError, TuluError, UsageError
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
    liked = [(q, a, b) for (q, a), (_, b) in pairwise(said) if a != b]
    pairs = [{"messages": [turn("user", q)], "chosen": [turn("assistant", a)], "rejected": [turn("assistant", b)]}
             for q, a, b in liked]  # fmt: skip
    publish(store, "liked", "preference", pairs)
    recipe = sft.Recipe(
        name="babble", stage="sft", model=str(tiny_llama), mixture="babble", suites=["toy"], batch=16, epochs=4,
        max_length=64, pack_tokens=512, loss="token_mean", optimiser=Optimiser(learning_rate=3e-3), save_every=1000,
    )  # fmt: skip
    model = sft.train(recipe, store, folder / "sft").model
    scored = reward.Recipe(
        name="liked", stage="reward", model=str(model), mixture="liked", suites=["toy"], batch=16, max_length=64,
        save_every=1000,
    )  # fmt: skip
    reward.train(scored, store, model.parent / "scorer", until=2)
    return store, model


def scorer(model):
    return str(model.parent / "scorer" / "model")


def recipe(model, **given):
    if given.get("algorithm") == "ppo":
        own = {"updates": 4, "samples": 1, "batch": 80, "reward_model": scorer(model), "value_optimiser": CRITIC}
        return recipe_of(model, **{**own, **given})
    return recipe_of(model, **{"algorithm": "grpo", "updates": 1, "samples": 8, "batch": 10, **given})


CRITIC = Optimiser(learning_rate=3e-3, warmup=0.0, max_grad_norm=1.0)


def recipe_of(model, **given):
    own = {
        "name": "toy", "stage": "rlvr", "model": str(model), "mixture": "digits", "suites": ["toy"],
        "episodes": 80 * 40, "max_prompt_length": 40, "response_length": 4, "beta": 0.0,
        "pack_tokens": 1024, "save_every": 1000,
        "optimiser": Optimiser(learning_rate=1e-3, warmup=0.0, max_grad_norm=1.0),
    }  # fmt: skip
    return rlvr.Recipe(**{**own, **given})


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def lines(output):
    told = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in told]


def judged(prepared, step=0):
    sampler = rlvr.sampler_of(prepared)
    with rlvr.VerifierPool(1) as pool:
        return rlvr.judged(prepared, step, sampler, pool)


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_it_learns_what_is_rewarded(start, tmp_path, algorithm):
    store, model = start
    steps = {"ppo": 12, "grpo": 40}[algorithm]
    trained = rlvr.train(recipe(model, algorithm=algorithm, episodes=80 * steps), store, tmp_path / "out")
    first, last = sum(trained.passed[:3]) / 3, sum(trained.passed[-3:]) / 3
    assert first < 0.5
    assert last >= first + 0.2
    line = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["stopped"] > 0.9
    assert line["invalid"] == 0.0
    assert line["sampler_gap"] < 1e-3


def test_it_learns_nothing_from_shuffled_rewards(start, tmp_path, monkeypatch):
    store, model = start
    judged = policy.grpo_advantages

    def shuffled(table, kind):
        flat = [score for group in table for score in group]
        random.Random(len(flat) + int(sum(s or 0 for s in flat))).shuffle(flat)
        return judged([flat[i : i + len(table[0])] for i in range(0, len(flat), len(table[0]))], kind)

    monkeypatch.setattr(policy, "grpo_advantages", shuffled)
    trained = rlvr.train(recipe(model), store, tmp_path / "out")
    assert sum(trained.passed[-3:]) / 3 < sum(trained.passed[:3]) / 3 + 0.1


@pytest.mark.parametrize("given", [{"algorithm": "ppo"}, {"updates": 2, "minibatches": 2}], ids=["ppo", "grpo"])
def test_a_training_that_was_stopped_goes_on_to_the_bit(start, tmp_path, given):
    store, model = start
    few = recipe(model, episodes=80 * 4, beta=0.05, **given)
    whole = rlvr.train(few, store, tmp_path / "whole")
    rlvr.train(few, store, tmp_path / "stopped", until=1)
    rlvr.train(few, store, tmp_path / "stopped", until=3)
    gone_on = rlvr.train(few, store, tmp_path / "stopped")
    assert weights(gone_on.model) == weights(whole.model)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    samples = [(tmp_path / name / "samples.jsonl").read_text() for name in ("stopped", "whole")]
    assert samples[0] == samples[1]
    assert len(samples[0].splitlines()) == 4 * rlvr.SHOWN


@pytest.mark.parametrize("normalisation", ["sequence", "token", "fixed"])
def test_a_step_does_not_hang_on_how_its_answers_are_packed(start, normalisation, monkeypatch):
    store, model = start
    gradients = []
    for capacity in (44, 200, 1024):
        prepared = rlvr.prepare(recipe(model, pack_tokens=capacity, normalisation=normalisation, beta=0.1), store)
        answers = judged(prepared).answers
        with torch.no_grad():
            prepared.engine.model.get_output_embeddings().weight.mul_(1.01)  # so that there is a KL
        gradients.append(gradient_of(prepared, answers, monkeypatch))
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=1e-5, rtol=1e-3)


class Moved(Exception):
    pass


def gradient_of(prepared, answers, monkeypatch):
    """Of the policy, at the first update of a step."""
    engine = prepared.engine

    def stop(*_, **__):
        raise Moved

    monkeypatch.setattr(engine.optimizer, "step", stop)
    monkeypatch.setattr(torch.nn.utils, "clip_grads_with_norm_", lambda *_: None)
    with pytest.raises(Moved):
        policy.update(prepared.models, answers, 0, prepared.recipe)
    monkeypatch.undo()
    return torch.cat([p.grad.flatten() for p in engine.model.parameters()])


def test_a_step_of_ppo_does_not_hang_on_how_its_answers_are_packed(start, monkeypatch):
    store, model = start
    gradients = []
    for capacity in (44, 200, 1024):
        prepared = rlvr.prepare(recipe(model, algorithm="ppo", pack_tokens=capacity, beta=0.1), store)
        gradients.append(gradient_of(prepared, judged(prepared).answers, monkeypatch))
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_the_first_update_of_a_step_is_at_ratio_one_and_later_ones_are_not(start, algorithm):
    store, model = start
    first = rlvr.prepare(recipe(model, algorithm=algorithm, updates=1, beta=0.1), store)
    told = policy.update(first.models, judged(first).answers, 0, first.recipe)
    assert told["approx_kl"] == pytest.approx(0.0, abs=1e-12)
    assert told["clip_fraction"] == 0.0
    assert told["kl"] == pytest.approx(0.0, abs=1e-7)  # the reference is the policy at the start
    assert told["sampler_gap"] < 1e-3
    again = rlvr.prepare(recipe(model, algorithm=algorithm, updates=4, beta=0.1), store)
    assert policy.update(again.models, judged(again).answers, 0, again.recipe)["approx_kl"] > 1e-9


def test_ppo_is_what_its_definition_says_answer_by_answer(start, monkeypatch):
    """One answer at a time, unpacked: KL and score in the reward, advantages by their sum, whitening, the loss."""
    store, model = start
    prepared = rlvr.prepare(recipe(model, algorithm="ppo", batch=6, episodes=12, beta=0.3, updates=1), store)
    answers = judged(prepared).answers
    answers.rewards[2] = None  # it could not be verified
    engine, value, reference = prepared.models
    with torch.no_grad():
        engine.model.get_output_embeddings().weight.mul_(1.2)  # away from the reference
    rows = []
    for rollout, score in zip(answers.rollouts, answers.rewards, strict=True):
        if score is None:
            continue
        tokens = torch.tensor([rollout.prompt + rollout.completion])
        at = range(len(rollout.prompt) - 1, tokens.shape[1] - 1)
        plain = [m.config.__setattr__("_attn_implementation", "sdpa") or m for m in (engine.model, reference.model)]
        logps = [m(input_ids=tokens).logits[0].log_softmax(-1) for m in plain]
        value.model.config._attn_implementation = "sdpa"
        states = value.model.base_model(input_ids=tokens).last_hidden_state[0]
        own, ref = ([lp[t, tokens[0, t + 1]] for t in at] for lp in logps)
        values = [(states[t] @ value.model.score.weight[0]).item() for t in at]
        gains = [-0.3 * (o - r).item() for o, r in zip(own, ref, strict=True)]
        gains[-1] += score
        advantages = [
            sum(0.95**k * (gains[t + k] + (values[t + k + 1] if t + k + 1 < len(at) else 0.0) - values[t + k])
                for k in range(len(at) - t))
            for t in range(len(at))
        ]  # fmt: skip
        rows += list(zip(own, advantages, strict=True))
    found = torch.tensor([a for _, a in rows])
    white = (found - found.mean()) / (found.var() + 1e-8).sqrt()
    loss = -sum(a * (lp - lp.detach()).exp() for a, (lp, _) in zip(white, rows, strict=True)) / len(rows)
    engine.model.zero_grad()
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in engine.model.parameters()])
    for host in prepared.models:
        host.model.config._attn_implementation = "segments"
    engine.model.zero_grad()
    torch.testing.assert_close(gradient_of(prepared, answers, monkeypatch), expected, atol=2e-4, rtol=1e-3)


def test_a_training_that_nothing_verifies_stops_and_says_so(start, tmp_path, monkeypatch):
    store, model = start
    monkeypatch.setattr(rlvr, "reward_of", lambda *_: None)
    with pytest.raises(TuluError, match="step 2: no answer of 3 steps in a row could be verified"):
        rlvr.train(recipe(model, episodes=80 * 6), store, tmp_path / "out")


def test_a_setting_of_the_other_algorithm_may_be_taken_back():
    assert recipe(Path("m/model"), reward_model=None).algorithm == "grpo"


def test_where_nothing_could_be_verified_nothing_moves(start):
    store, model = start
    for algorithm in ("ppo", "grpo"):
        prepared = rlvr.prepare(recipe(model, algorithm=algorithm, episodes=160), store)
        before = [p.clone() for p in prepared.engine.model.parameters()]
        answers = judged(prepared).answers
        policy.update(
            prepared.models, Answers(answers.rollouts, [None] * len(answers.rollouts), answers.samples), 0,
            prepared.recipe,
        )  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(before, prepared.engine.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pack_tokens": 20}, "pack_tokens is 20, and a prompt with its answer may have 44; raise it"),
        ({"algorithm": "ppo", "reward_model": None}, "reward_model: ppo's value model starts from one"),
        ({"algorithm": "ppo", "normalisation": "token"}, "normalisation: is a setting of grpo, and algorithm is ppo"),
        ({"lam": 0.9}, "lam: is a setting of ppo, and algorithm is grpo; leave it out"),
        ({"samples": 1}, "samples: is 1, and grpo compares answers to a prompt; take 2 or more"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        recipe(Path("m/model"), **given)


def test_a_reward_model_of_another_tokenizer_is_refused(start, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    store, model = start
    other = AutoTokenizer.from_pretrained(scorer(model))
    other.add_tokens(["never"])
    other.save_pretrained(tmp_path)
    scoring = AutoModelForSequenceClassification.from_pretrained(scorer(model))
    scoring.resize_token_embeddings(len(other))
    scoring.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="its tokenizer is not that of"):
        rlvr.prepare(recipe(model, algorithm="ppo", reward_model=str(tmp_path)), store)


def test_an_answer_without_an_end_is_worth_what_the_recipe_says_and_an_unverified_one_nothing_at_all():
    own = recipe("x")
    ended, cut = Rollout((1,), (2, 3), True, (0.0, 0.0)), Rollout((1,), (2, 3), False, (0.0, 0.0))
    right, wrong, undecided = Verdict(1.0, True, ""), Verdict(0.0, True, "no"), Verdict(0.0, False, "it hung")
    assert rlvr.reward_of(own, ended, right) == 10.0
    assert rlvr.reward_of(own, ended, wrong) == 0.0
    assert rlvr.reward_of(own, cut, right) == -10.0
    assert rlvr.reward_of(own, ended, undecided) is None
    told = rlvr.told_of([ended, cut], [right, undecided], [10.0, None])
    assert (told["passed"], told["invalid"], told["stopped"], told["reward"]) == (1.0, 0.5, 0.5, 10.0)
    unended = rlvr.told_of([cut, ended], [right, right], [-10.0, 10.0])
    assert unended["passed"] == 0.5  # right, but without an end


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"mixture": "babble"}, InputError, "holds sft rows; this trains on rlvr rows"),
        ({"episodes": 70}, UsageError, "episodes is 70, and a step takes 80; raise it"),
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
