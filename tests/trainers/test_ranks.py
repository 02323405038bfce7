"""Two processes compute what one does: the same gradients, the same training, the same checkpoints."""

import json
import os
import random
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from trainers import dpo, reward, rlvr, sft
from trainers.checkpoints import checkpoints
from trainers.ranks import Ranks
from tulu_data.parquet import ShardWriter
from tulu_data.rows import finish, to_table
from tulu_data.store import Store

TRAINERS = {"sft": sft, "dpo": dpo, "reward": reward, "rlvr": rlvr}
RECORD = {
    "audit": "ta1-0123456789abcdef", "policy": "rows", "layers": ["exact"], "verdict": "clean", "n": 8,
    "analyzer": "unicode", "rows_in": 40, "rows_dropped": 0,
    "suites": [{"id": "toy", "group": "dev", "instances": 1, "flagged": 0, "rows_dropped": 0}],
}  # fmt: skip
FAST = {"learning_rate": 1e-3, "warmup": 0.0, "max_grad_norm": 1.0}


def publish(store, name, kind, rows):
    with store.build(name, kind) as build:
        writer = ShardWriter(build.data, kind)
        writer.write(to_table(kind, [finish(kind, row, source=name) for row in rows]))
        return build.publish(writer.close(), writer.tally.logical(), decontamination=[{"set": name, **RECORD}])


def turn(role, content):
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_llama):
    """A folder with a store of rows of very different lengths, and a model with tied embeddings beside."""
    folder = tmp_path_factory.mktemp("ranks")
    store = Store(folder / "store")
    rng = random.Random(1)
    said = [("?" * rng.randint(1, 9), "ab" * rng.randint(1, 12)) for _ in range(24)]
    publish(store, "said", "sft", [{"messages": [turn("user", q), turn("assistant", a)]} for q, a in said])
    pairs = [
        {"messages": [turn("user", q)], "chosen": [turn("assistant", a)], "rejected": [turn("assistant", f"no{a}")]}
        for q, a in said
    ]
    publish(store, "pairs", "preference", pairs)
    asked = [{"messages": [turn("user", str(d))], "ground_truth": "7", "verifier": "gsm8k"} for d in range(5)]
    publish(store, "digits", "rlvr", asked)
    torch.manual_seed(0)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder / "tied")
    config = LlamaConfig.from_pretrained(tiny_llama, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder / "tied")
    scorer = settings("reward", tiny_llama)
    reward.train(reward.Recipe(**scorer), store, folder / "scorer", until=1)
    return folder


def settings(stage, model, **given):
    common = {"name": "toy", "stage": stage, "model": str(model), "suites": ["toy"], "optimiser": FAST}
    own = {
        "sft": {"mixture": "said", "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2},
        "dpo": {"mixture": "pairs", "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2},
        "reward": {"mixture": "pairs", "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2},
        "rlvr": {"mixture": "digits", "batch": 5, "samples": 3, "episodes": 45, "max_prompt_length": 40,
                 "response_length": 4, "beta": 0.1, "save_every": 2, "updates": 2},
    }  # fmt: skip
    return {**common, **own[stage], **given}


PROGRAM = """
import json, sys
from pathlib import Path
import torch
from trainers import ranks
from trainers import dpo, reward, rlvr, sft
from tulu_data.store import Store
TRAINERS = {"sft": sft, "dpo": dpo, "reward": reward, "rlvr": rlvr}

def gradient(settings, store, output):
    trainer = TRAINERS[settings["stage"]]
    prepared = trainer.prepare(trainer.Recipe(**settings), store)
    engine = prepared.engine
    engine.optimizer.step = lambda: None
    examples = [prepared.examples.kept[i] for i in prepared.steps.examples(0)]
    told = engine.step(0, trainer.micro_batches(prepared, examples))
    whole = {n: p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad
             for n, p in engine.model.named_parameters()}
    if ranks.first():
        torch.save({"gradient": whole, "loss": told.loss, "norm": told.grad_norm, "told": dict(told.told)}, output)

if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        store, output = Store(job["store"]), Path(job["output"])
        if job["what"] == "gradient":
            gradient(job["settings"], store, output)
        else:
            trainer = TRAINERS[job["settings"]["stage"]]
            trainer.train(trainer.Recipe(**job["settings"]), store, output, until=job.get("until"))
    ranks.leave()
"""


def run(place, jobs, processes=2):
    """Does the jobs one after another, in so many processes."""
    program, todo = place / "program.py", place / "jobs.json"
    program.write_text(PROGRAM)
    todo.write_text(json.dumps([{"store": str(place / "store"), **job} for job in jobs]))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launcher, str(program), str(todo)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def lines(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def same(ours, theirs, *, atol):
    """The metrics of two trainings, and the models that they left."""
    for a, b in zip(lines(ours), lines(theirs), strict=True):
        assert {k: v for k, v in a.items() if k != "tokens_per_s"} == pytest.approx(
            {k: v for k, v in b.items() if k != "tokens_per_s"}, abs=1e-4, rel=1e-3
        )
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (ours, theirs))
    assert set(a) == set(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=atol, rtol=0)


def every(place, model):
    """A training of each kind, by name."""
    ppo = {"reward_model": str(place / "scorer" / "model"), "samples": 1, "batch": 5, "episodes": 15}
    return {
        "sft": settings("sft", model),
        "tied": settings("sft", place / "tied"),
        "dpo": settings("dpo", model),
        "reward": settings("reward", model),
        "grpo": settings("rlvr", model, algorithm="grpo"),
        "ppo": settings("rlvr", model, **ppo),
    }


@pytest.fixture(scope="module")
def two(place, tiny_llama):
    """What two processes made of it all, started once: a start takes long. The folder."""
    gradients = [
        {"what": "gradient", "output": str(place / f"{loss}-{micro}"),
         "settings": settings("sft", tiny_llama, loss=loss, micro_batch=micro)}
        for loss in ("sum", "token_mean") for micro in (1, 2, 4)
    ]  # fmt: skip
    trainings = [
        {"what": "train", "output": str(place / f"two-{name}"), "settings": chosen}
        for name, chosen in every(place, tiny_llama).items()
    ]
    longer = settings("sft", tiny_llama, epochs=2)
    stopped = [
        {"what": "train", "output": str(place / "whole"), "settings": longer},
        {"what": "train", "output": str(place / "again"), "settings": longer, "until": 3},
        {"what": "train", "output": str(place / "given"), "settings": longer, "until": 3},
    ]
    run(place, [*gradients, *trainings, *stopped])
    return place


def test_micro_batches_and_processes_give_the_same_gradients(two, tiny_llama):
    for loss in ("sum", "token_mean"):
        alone = []
        for micro in (1, 2, 8):
            recipe = sft.Recipe(**settings("sft", tiny_llama, loss=loss, micro_batch=micro))
            prepared = sft.prepare(recipe, Store(two / "store"))
            prepared.engine.optimizer.step = lambda: None
            examples = [prepared.examples.kept[i] for i in prepared.steps.examples(0)]
            rows = sft.micro_batches(prepared, examples)
            assert len(rows) == 8 // micro
            prepared.engine.step(0, rows)
            alone.append({n: p.grad for n, p in prepared.engine.model.named_parameters()})
        for found in [*alone[1:], *(torch.load(two / f"{loss}-{micro}")["gradient"] for micro in (1, 2, 4))]:
            for name, gradient in alone[0].items():
                torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_every_trainer_does_in_two_processes_what_it_does_in_one(two, tiny_llama):
    for name, chosen in every(two, tiny_llama).items():
        trainer = TRAINERS[chosen["stage"]]
        trainer.train(trainer.Recipe(**chosen), Store(two / "store"), two / f"one-{name}")
        same(two / f"two-{name}", two / f"one-{name}", atol=2e-4)


def test_what_two_processes_left_one_takes_up_and_the_other_way_round(two, tiny_llama):
    chosen, store = settings("sft", tiny_llama, epochs=2), Store(two / "store")
    sft.train(sft.Recipe(**chosen), store, two / "given")
    same(two / "given", two / "whole", atol=2e-4)
    sft.train(sft.Recipe(**chosen), store, two / "taken", until=3)
    run(two, [
        {"what": "train", "output": str(two / "again"), "settings": chosen},
        {"what": "train", "output": str(two / "taken"), "settings": chosen},
    ])  # fmt: skip
    same(two / "taken", two / "whole", atol=2e-4)
    ours, theirs = ((two / name / "model" / "model.safetensors").read_bytes() for name in ("again", "whole"))
    assert ours == theirs  # two processes that were stopped go on to the bit
    assert json.loads((checkpoints(two / "whole")[-1] / "state.json").read_text())["processes"] == 2


def test_rows_are_dealt_evenly_and_what_was_found_comes_back_in_order():
    rows = list("abcde")
    dealt = [list(Ranks(rank, 3).deal(rows)) for rank in range(3)]
    assert dealt[0] == [("a", True), ("d", True)]
    assert dealt[2] == [("c", True), ("a", False)]
    assert sorted(row for part in dealt for row, counts in part if counts) == rows
