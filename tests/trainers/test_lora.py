"""LoRA: adapters alone learn, and what is left behind is a plain model that says what the adapted one said."""

import json
import os
import random
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from trainers import dpo, lora, reward, rlvr, sft
from trainers.checkpoints import checkpoints
from trainers.lora import Lora
from trainers.opening import open_model
from tulu_data.errors import UsageError
from tulu_data.parquet import ShardWriter
from tulu_data.rows import finish, to_table
from tulu_data.store import Store

pytest.importorskip("peft")

TRAINERS = {"sft": sft, "dpo": dpo, "reward": reward, "rlvr": rlvr}
STAGES = ["sft", "dpo", "reward", "rlvr"]
RECORD = {
    "audit": "ta1-0123456789abcdef", "policy": "rows", "layers": ["exact"], "verdict": "clean", "n": 8,
    "analyzer": "unicode", "rows_in": 24, "rows_dropped": 0,
    "suites": [{"id": "toy", "group": "dev", "instances": 1, "flagged": 0, "rows_dropped": 0}],
}  # fmt: skip
FAST = {"learning_rate": 1e-2, "warmup": 0.0, "max_grad_norm": 1.0}
SMALL = {"rank": 4, "alpha": 8.0}


def publish(store, name, kind, rows):
    with store.build(name, kind) as build:
        writer = ShardWriter(build.data, kind)
        writer.write(to_table(kind, [finish(kind, row, source=name) for row in rows]))
        return build.publish(writer.close(), writer.tally.logical(), decontamination=[{"set": name, **RECORD}])


def turn(role, content):
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    """A folder with a store, and a reward model beside."""
    folder = tmp_path_factory.mktemp("lora")
    store = Store(folder / "store")
    rng = random.Random(1)
    said = [("?" * rng.randint(1, 9), "ab" * rng.randint(1, 12)) for _ in range(24)]
    publish(store, "said", "sft", [{"messages": [turn("user", q), turn("assistant", a)]} for q, a in said])
    pairs = [
        {"messages": [turn("user", q)], "chosen": [turn("assistant", a)], "rejected": [turn("assistant", f"no{a}")]}
        for q, a in said
    ]
    publish(store, "pairs", "preference", pairs)
    asked = [{"messages": [turn("user", str(d))], "ground_truth": "7", "verifier": "gsm8k"} for d in range(4)]
    publish(store, "digits", "rlvr", asked)
    whole = settings("reward", tiny_llama, lora=None)
    reward.train(reward.Recipe(**whole), store, folder / "scorer", until=1)
    return folder


def settings(stage, model, **given):
    common = {"name": "toy", "stage": stage, "model": str(model), "suites": ["toy"], "optimiser": FAST, "lora": SMALL}
    own = {
        "sft": {"mixture": "said", "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2},
        "dpo": {"mixture": "pairs", "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2},
        "reward": {"mixture": "pairs", "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2},
        "rlvr": {"mixture": "digits", "batch": 4, "samples": 3, "episodes": 36, "max_prompt_length": 40,
                 "response_length": 4, "beta": 0.1, "save_every": 2, "updates": 2, "algorithm": "grpo"},
    }  # fmt: skip
    return {**common, **own[stage], **given}


def ppo(place, model, **given):
    scorer = str(place / "scorer" / "model")
    own = {"algorithm": "ppo", "samples": 1, "episodes": 12, "reward_model": scorer}
    return settings("rlvr", model, **{**own, **given})


@pytest.fixture(autouse=True)
def _judged_by_a_rule(monkeypatch):
    monkeypatch.setattr(rlvr, "reward_of", lambda recipe, rollout, verdict: rollout.completion[0] % 5 / 4)


def recipe(chosen):
    return TRAINERS[chosen["stage"]].Recipe(**chosen)


def train(chosen, place, output, **given):
    return TRAINERS[chosen["stage"]].train(recipe(chosen), Store(place / "store"), output, **given)


def trained(chosen, place, output, monkeypatch):
    """Trains; what was prepared, with the models in memory as they ended, and the folder of the exported one."""
    trainer, held = TRAINERS[chosen["stage"]], []
    prepare = trainer.prepare
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "prepare", lambda *a, **k: held.append(prepare(*a, **k)) or held[-1])
        folder = train(chosen, place, output).model
    return held[0], folder


def base_of(stage, folder):
    kind = AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM
    return kind.from_pretrained(folder)


def lines(output):
    told = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in told]


def logits(model, *, used="sdpa"):
    """Of some tokens; under an attention that takes them without packing."""
    held = model.config._attn_implementation
    model.config._attn_implementation = used
    try:
        with torch.no_grad():
            return model.eval()(input_ids=torch.tensor([[5, 80, 81, 200, 7, 33]])).logits
    finally:
        model.config._attn_implementation = held


# ------------------------------------------------------------ what learns, and what is left


@pytest.mark.parametrize("stage", STAGES)
def test_adapters_alone_learn_and_the_model_that_is_left_is_plain_and_says_the_same(
    place, tiny_llama, tmp_path, stage, monkeypatch
):
    prepared, folder = trained(settings(stage, tiny_llama), place, tmp_path / "out", monkeypatch)
    model = prepared.engine.model
    names = lora.trained(model)
    assert len(names) == 2 * 7 * 2 + (stage == "reward")  # two for each matrix of two layers
    assert [n for n in names if ".lora_" not in n] == (["score.weight"] if stage == "reward" else [])
    before = load_file(tiny_llama / "model.safetensors")
    for name, parameter in model.named_parameters():
        plain = name.replace(".base_layer.", ".")
        if plain in before:
            assert torch.equal(parameter, before[plain]), name
    moved = [name for name, p in model.named_parameters() if ".lora_B." in name and p.abs().max() > 0]
    assert len(moved) == 14
    held = prepared.engine.optimizer.state_dict()["state"]
    assert len(held) == len(names)  # no moments of what is frozen

    assert not list(folder.glob("adapter*"))
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it would fail
    plain = base_of(stage, folder)
    expected = set(before) - {"lm_head.weight"} | {"score.weight"} if stage == "reward" else set(before)
    assert set(load_file(folder / "model.safetensors")) == expected
    torch.testing.assert_close(logits(plain), logits(model), atol=1e-5, rtol=0)
    assert (logits(plain) - logits(base_of(stage, tiny_llama))).abs().max() > 1e-3


def test_what_ppo_learns_is_in_adapters_of_both_models(place, tiny_llama, tmp_path, monkeypatch):
    prepared, folder = trained(ppo(place, tiny_llama), place, tmp_path / "out", monkeypatch)
    value = prepared.models.value.model
    assert [n for n in lora.trained(value) if ".lora_" not in n] == ["score.weight"]
    plain = AutoModelForSequenceClassification.from_pretrained(checkpoints(tmp_path / "out")[-1] / "value")
    torch.testing.assert_close(logits(plain), logits(value), atol=1e-5, rtol=0)
    policy = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(logits(policy), logits(prepared.engine.model), atol=1e-5, rtol=0)
    first = load_file(place / "scorer" / "model" / "model.safetensors")
    assert torch.equal(value.get_parameter("model.norm.weight"), first["model.norm.weight"])
    assert not torch.equal(value.score.weight, first["score.weight"])


@pytest.mark.parametrize("stage", STAGES)
def test_before_the_first_step_it_is_the_base(place, tiny_llama, stage):
    prepared = TRAINERS[stage].prepare(recipe(settings(stage, tiny_llama)), Store(place / "store"))
    model = prepared.engine.model
    merged = lora.merged(model, prepared.engine.weights())
    before = load_file(tiny_llama / "model.safetensors")
    assert set(merged) - {"score.weight"} == set(before) - ({"lm_head.weight"} if stage == "reward" else set())
    assert all(torch.equal(tensor, before[name]) for name, tensor in merged.items() if name != "score.weight")
    if stage != "reward":
        torch.testing.assert_close(logits(model), logits(base_of(stage, tiny_llama)), atol=1e-6, rtol=0)


def test_the_scale_is_alpha_by_rank_in_the_model_and_in_what_is_left(tiny_llama):
    differences = []
    for alpha in (4.0, 12.0):
        torch.manual_seed(0)
        model = open_model(str(tiny_llama)).model
        lora.inject(model, Lora(rank=4, alpha=alpha))
        weights = dict(model.state_dict())
        weights |= {name: torch.full_like(w, 0.01) for name, w in weights.items() if ".lora_B." in name}
        name = "model.layers.1.mlp.down_proj"
        difference = lora.merged(model, weights)[f"{name}.weight"] - weights[f"{name}.base_layer.weight"]
        learnt = weights[f"{name}.lora_B.default.weight"] @ weights[f"{name}.lora_A.default.weight"]
        torch.testing.assert_close(difference, alpha / 4 * learnt, atol=1e-6, rtol=0)
        differences.append(difference)
    torch.testing.assert_close(differences[1], 3 * differences[0], atol=1e-6, rtol=0)


# ------------------------------------------------------------ going on


@pytest.mark.parametrize("stage", [*STAGES, "ppo"])
def test_a_training_that_was_stopped_goes_on_to_the_bit(place, tiny_llama, tmp_path, stage):
    chosen = ppo(place, tiny_llama) if stage == "ppo" else settings(stage, tiny_llama)
    if stage in ("sft", "reward"):
        chosen["lora"] = {**SMALL, "dropout": 0.2}
    whole = train(chosen, place, tmp_path / "whole")
    train(chosen, place, tmp_path / "out", until=1)
    gone_on = train(chosen, place, tmp_path / "out")
    ours, theirs = ((folder / "model.safetensors").read_bytes() for folder in (gone_on.model, whole.model))
    assert ours == theirs
    assert lines(tmp_path / "out") == lines(tmp_path / "whole")


PROGRAM = """
import json, sys
from pathlib import Path
from trainers import dpo, ranks, reward, rlvr, sft
from tulu_data.store import Store
TRAINERS = {"sft": sft, "dpo": dpo, "reward": reward, "rlvr": rlvr}
rlvr.reward_of = lambda recipe, rollout, verdict: rollout.completion[0] % 5 / 4

if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        trainer = TRAINERS[job["settings"]["stage"]]
        recipe = trainer.Recipe(**job["settings"])
        trainer.train(recipe, Store(job["store"]), Path(job["output"]), until=job.get("until"))
    ranks.leave()
"""


def in_two_processes(place, jobs):
    program, todo = place / "program.py", place / "jobs.json"
    program.write_text(PROGRAM)
    todo.write_text(json.dumps([{"store": str(place / "store"), **job} for job in jobs]))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, str(program), str(todo)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_go_on_to_the_bit(place, tiny_llama, tmp_path):
    every = {
        "sft": settings("sft", tiny_llama, lora={**SMALL, "dropout": 0.2}),
        "ppo": ppo(place, tiny_llama),
    }
    jobs = []
    for name, chosen in every.items():
        jobs.append({"settings": chosen, "output": str(tmp_path / f"whole-{name}")})
        jobs.append({"settings": chosen, "output": str(tmp_path / f"out-{name}"), "until": 1})
        jobs.append({"settings": chosen, "output": str(tmp_path / f"out-{name}")})
    jobs.append({"settings": every["ppo"], "output": str(tmp_path / "left"), "until": 1})
    in_two_processes(place, jobs)
    train(every["ppo"], place, tmp_path / "left")  # what two left, one takes up
    for a, b in zip(lines(tmp_path / "left"), lines(tmp_path / "whole-ppo"), strict=True):
        assert a == pytest.approx(b, abs=1e-3, rel=1e-2)
    for name, chosen in every.items():
        out, whole = tmp_path / f"out-{name}", tmp_path / f"whole-{name}"
        ours, theirs = ((o / "model" / "model.safetensors").read_bytes() for o in (out, whole))
        assert ours == theirs, name
        assert lines(out) == lines(whole), name
        if name == "sft":  # what is dropped hangs on the process
            continue
        train(chosen, place, tmp_path / f"one-{name}")
        alone = load_file(tmp_path / f"one-{name}" / "model" / "model.safetensors")
        found = load_file(whole / "model" / "model.safetensors")
        assert set(alone) == set(found)
        for key, tensor in alone.items():
            torch.testing.assert_close(found[key], tensor, atol=2e-3, rtol=0)
        for a, b in zip(lines(whole), lines(tmp_path / f"one-{name}"), strict=True):
            assert a == pytest.approx(b, abs=1e-3, rel=1e-2)


def test_the_reference_of_dpo_is_the_base_also_where_it_goes_on(place, tiny_llama, tmp_path):
    store = Store(place / "store")
    whole = dpo.live_reference(dpo.prepare(recipe(settings("dpo", tiny_llama, lora=None)), store))
    chosen = settings("dpo", tiny_llama)
    adapted = dpo.live_reference(dpo.prepare(recipe(chosen), store))
    torch.testing.assert_close(adapted.chosen, whole.chosen, atol=1e-5, rtol=0)
    torch.testing.assert_close(adapted.rejected, whole.rejected, atol=1e-5, rtol=0)
    first = train(chosen, place, tmp_path / "out", until=2)
    assert first.losses[0] == pytest.approx(0.693147, abs=1e-6)
    (kept,) = (tmp_path / "out").glob(f"*{dpo.REFERENCE_FILE}")
    written = kept.stat().st_mtime_ns
    train(chosen, place, tmp_path / "out")
    assert [p.stat().st_mtime_ns for p in (tmp_path / "out").glob(f"*{dpo.REFERENCE_FILE}")] == [written]


def test_other_adapters_are_another_recipe(place, tiny_llama, tmp_path):
    train(settings("sft", tiny_llama), place, tmp_path / "out", until=1)
    for other in (None, {**SMALL, "rank": 8}):
        with pytest.raises(UsageError, match="of another training"):
            train(settings("sft", tiny_llama, lora=other), place, tmp_path / "out")


# ------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("nowhere", "not found in the base model"),
        (["nowhere"], "not found in the base model"),
        ("(", "not found in the base model"),
        ([], "No `target_modules` passed"),
        (["norm"], "is not supported"),
        (["q_proj", "lm_head"], "lm_head is the head, whose matrix the losses take as it is; leave it out"),
        ("embed_tokens", "model.embed_tokens is a Embedding, not a Linear; leave it out"),
    ],
    ids=str,
)
def test_targets_that_cannot_be_are_one_line(place, tiny_llama, tmp_path, targets, message):
    with pytest.raises(UsageError) as wrong:
        train(settings("sft", tiny_llama, lora={**SMALL, "targets": targets}), place, tmp_path / "out")
    assert str(wrong.value).startswith("lora.targets: ")
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert not (tmp_path / "out").exists()


def test_the_score_is_trained_whole_and_given_no_adapter(place, tiny_llama):
    chosen = settings("reward", tiny_llama, lora={**SMALL, "targets": ["score"]})
    with pytest.raises(UsageError, match="score is the head"):
        reward.prepare(recipe(chosen), Store(place / "store"))


@pytest.mark.parametrize("targets", ["q_proj", ["q_proj"]])
def test_a_module_is_named_alone_or_in_a_list(tiny_llama, targets):
    model = open_model(str(tiny_llama)).model
    lora.inject(model, Lora(rank=2, targets=targets))
    assert len(lora.trained(model)) == 4
    assert all(".q_proj.lora_" in name for name in lora.trained(model))


def test_peft_that_is_missing_is_one_line(place, tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as wrong:
        train(settings("sft", tiny_llama), place, tmp_path / "out")
    assert str(wrong.value) == "lora: peft is not installed; pip install 'tulu-data[lora]', or leave lora out"
    assert not (tmp_path / "out").exists()


def test_tied_embeddings_stay_tied(place, tiny_llama, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tied = tmp_path / "tied"
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tied)
    LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_llama, tie_word_embeddings=True)).save_pretrained(tied)
    folder = train(settings("sft", tied), place, tmp_path / "out").model
    assert set(load_file(folder / "model.safetensors")) == set(load_file(tied / "model.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
