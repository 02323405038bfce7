"""Where a training is computed, and what ends or changes one: memory, no numbers, places, other processes."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from trainers import dpo, looping, opening, reward, rlvr, sft
from trainers.attention import packed
from trainers.checkpoints import checkpoints
from trainers.engine import Added, Diverged, Engine
from trainers.host import OutOfMemory, Place
from trainers.looping import LOCK_FILE
from trainers.page import REPORT_FILE
from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Silent
from tulu_data.rows import finish, to_table
from tulu_data.store import Store

RECORD = {
    "audit": "ta1-0123456789abcdef", "policy": "rows", "layers": ["exact"], "verdict": "clean", "n": 8,
    "analyzer": "unicode", "rows_in": 48, "rows_dropped": 0,
    "suites": [{"id": "toy", "group": "dev", "instances": 1, "flagged": 0, "rows_dropped": 0}],
}  # fmt: skip
FAST = {"learning_rate": 3e-3, "warmup": 0.1}
TRAINERS = {"sft": sft, "dpo": dpo, "reward": reward}
STEPS = 6


def publish(store, name, kind, rows):
    with store.build(name, kind) as build:
        writer = ShardWriter(build.data, kind)
        writer.write(to_table(kind, [finish(kind, row, source=name) for row in rows]))
        return build.publish(writer.close(), writer.tally.logical(), decontamination=[{"set": name, **RECORD}])


def turn(role, content):
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """`said`, of answers to imitate, and `pairs`."""
    store = Store(tmp_path_factory.mktemp("host") / "store")
    rng = random.Random(0)
    said = [("?" * rng.randint(1, 9), "ab" * rng.randint(1, 9)) for _ in range(8 * STEPS)]
    publish(store, "said", "sft", [{"messages": [turn("user", q), turn("assistant", a)]} for q, a in said])
    pairs = [
        {"messages": [turn("user", q)], "chosen": [turn("assistant", a)], "rejected": [turn("assistant", f"no{a}")]}
        for q, a in said
    ]
    publish(store, "pairs", "preference", pairs)
    return store


def settings(model, **given):
    stage = given.get("stage", "sft")
    own = {
        "name": "toy", "stage": "sft", "model": str(model), "mixture": "said" if stage == "sft" else "pairs",
        "suites": ["toy"], "batch": 8, "epochs": 1, "max_length": 64, "save_every": 2, "optimiser": FAST,
    }  # fmt: skip
    return {**own, **given}


def recipe(model, **given):
    chosen = settings(model, **given)
    return TRAINERS[chosen["stage"]].Recipe(**chosen)


def prepared_of(store, model, **given):
    chosen = recipe(model, **given)
    return TRAINERS[chosen.stage].prepare(chosen, store)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def lines(output):
    told = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in told]


def rows_of(prepared, step=0):
    """The packed rows of a step."""
    chosen = prepared.steps.examples(step)
    if prepared.recipe.stage == "dpo":
        return dpo.micro_batches(prepared, chosen, dpo.live_reference(prepared))
    return TRAINERS[prepared.recipe.stage].micro_batches(prepared, [prepared.examples.kept[i] for i in chosen])


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self):
        self.held = []

    def note(self, message):
        self.held.append(message)


@pytest.fixture(scope="module")
def whole(store, tiny_llama, tmp_path_factory):
    """A training that nothing befell."""
    output = tmp_path_factory.mktemp("whole") / "out"
    sft.train(recipe(tiny_llama), store, output)
    return output


def failing(monkeypatch, fail, *, step):
    """From that step on, the rows of a step are what `fail` gives of them."""
    cut, called = sft.micro_batches, []

    def instead(*args):
        called.append(args)
        rows = cut(*args)
        return rows if len(called) <= step else [lambda row=row: fail(row()) for row in rows]

    monkeypatch.setattr(sft, "micro_batches", instead)


# ------------------------------------------------------------ memory

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total capacity of 1 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] data. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def full(error):
    def fail(*_):
        raise error

    return fail


class _Backward(torch.autograd.Function):
    """Fails on the way back."""

    @staticmethod
    def forward(ctx, x, error):
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ctx.error


@pytest.mark.parametrize("error", FULL, ids=["torch", "cpu", "cuda", "cublas"])
def test_memory_that_ends_is_one_line_that_says_what_to_lower(store, tiny_llama, error, monkeypatch):
    engine = prepared_of(store, tiny_llama).engine
    weight = engine.model.model.norm.weight
    monkeypatch.setattr(engine.optimizer, "step", full(error))
    for attempt in (
        lambda: engine.run(full(error)),
        lambda: engine.evaluate([full(error)]),
        lambda: engine.step(0, [full(error)]),
        lambda: engine.step(0, [lambda: Added(_Backward.apply(weight.sum(), error), {})]),
        lambda: engine.step(0, [lambda: Added(weight.sum(), {})]),  # AdamW's moments are made then
    ):
        with pytest.raises(OutOfMemory) as ended:
            attempt()
        for word in ("cpu: ", "place.gradient_checkpointing=true", "pack_tokens", "micro_batch", "sampler.batch"):
            assert word in str(ended.value)
        assert "\n" not in str(ended.value)


def test_an_error_of_another_kind_stays_what_it_is(store, tiny_llama):
    engine = prepared_of(store, tiny_llama).engine
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as error:
        engine.step(0, [full(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))])
    assert not isinstance(error.value, OutOfMemory)


def test_a_training_whose_memory_ended_goes_on_to_the_bit(store, tiny_llama, tmp_path, whole, monkeypatch):
    failing(monkeypatch, full(FULL[0]), step=3)
    with pytest.raises(OutOfMemory):
        sft.train(recipe(tiny_llama), store, tmp_path / "out")
    assert [p.name for p in checkpoints(tmp_path / "out")] == ["step-0000002", "step-0000003"]  # before it failed
    monkeypatch.undo()
    gone_on = sft.train(recipe(tiny_llama), store, tmp_path / "out")
    assert weights(gone_on.model) == weights(whole / "model")
    assert lines(tmp_path / "out") == lines(whole)


# ------------------------------------------------------------ numbers that are none


def test_a_loss_or_a_gradient_that_is_no_number_moves_nothing(store, tiny_llama):
    engine = prepared_of(store, tiny_llama).engine
    before = [p.detach().clone() for p in engine.model.parameters()]
    weight = engine.model.model.norm.weight
    for loss in (
        lambda: weight.sum() * float("nan"),
        lambda: weight.sum() * float("inf"),
        lambda: (weight * 0).sum().sqrt(),  # 0, and its gradient 0 × ∞
    ):
        with pytest.raises(Diverged) as wrong:
            engine.step(7, [lambda loss=loss: Added(loss(), {})])
        assert str(wrong.value).startswith("step 7: the loss is ")
        assert "learning_rate" in str(wrong.value)
        assert "\n" not in str(wrong.value)
    assert all(torch.equal(a, b) for a, b in zip(before, engine.model.parameters(), strict=True))
    assert not engine.optimizer.state


def test_a_training_that_diverged_leaves_its_last_checkpoint_whole(store, tiny_llama, tmp_path, whole, monkeypatch):
    failing(monkeypatch, lambda found: found._replace(loss=found.loss * float("nan")), step=4)
    with pytest.raises(Diverged, match="step 4: the loss is nan"):
        sft.train(recipe(tiny_llama), store, tmp_path / "out")
    assert [p.name for p in checkpoints(tmp_path / "out")] == ["step-0000002", "step-0000004"]
    assert len(lines(tmp_path / "out")) == 4
    assert not (tmp_path / "out" / "model").exists()
    monkeypatch.undo()
    assert weights(sft.train(recipe(tiny_llama), store, tmp_path / "out").model) == weights(whole / "model")


def test_what_a_training_that_diverged_is_told_to_change_makes_it_another_one(store, tiny_llama, tmp_path):
    sft.train(recipe(tiny_llama), store, tmp_path / "out", until=2)
    with pytest.raises(UsageError, match="choose another --output"):
        sft.train(recipe(tiny_llama, optimiser={**FAST, "max_grad_norm": 1.0}), store, tmp_path / "out")


def test_what_differs_from_the_training_of_a_folder_is_named(store, tiny_llama, tmp_path):
    sft.train(recipe(tiny_llama), store, tmp_path / "out", until=2)
    with pytest.raises(UsageError) as other:
        sft.train(recipe(tiny_llama, seed=5, save_every=7), store, tmp_path / "out")
    assert "of another training (seed was 123, is 5); choose another --output" in str(other.value)
    state = checkpoints(tmp_path / "out")[-1] / "state.json"
    state.write_text(state.read_text().replace('"recipe": "', '"recipe": "0'))
    with pytest.raises(UsageError, match="its data, or the model that it starts from"):
        sft.train(recipe(tiny_llama), store, tmp_path / "out")


@pytest.mark.parametrize("stage", [sft, dpo, reward, rlvr])
def test_what_a_recipe_leaves_out_of_its_optimiser_is_as_its_stage_has_it(stage):
    given = {"name": "x", "stage": stage.__name__.partition(".")[2], "model": "m", "mixture": "m"}
    more = {"reward_model": "r"} if stage is rlvr else {}
    own = stage.Recipe.model_fields["optimiser"].default
    found = stage.Recipe(**given, **more, optimiser={"learning_rate": 1e-4}).optimiser
    assert found == own.model_copy(update={"learning_rate": 1e-4})


def test_a_value_optimiser_that_is_given_in_part_is_as_the_policys_else():
    given = {"name": "x", "stage": "rlvr", "model": "m", "mixture": "m", "reward_model": "r"}
    found = rlvr.Recipe(**given, optimiser={"eps": 1e-6}, value_optimiser={"learning_rate": 1e-4})
    assert found.value_optimiser == found.optimiser.model_copy(update={"learning_rate": 1e-4})
    assert found.optimiser.max_grad_norm == 1.0


def test_a_training_that_is_asked_to_stop_saves_after_its_step_and_goes_on_to_the_bit(
    store, tiny_llama, tmp_path, monkeypatch
):
    whole = sft.train(recipe(tiny_llama, save_every=100), store, tmp_path / "whole")
    step = Engine.step

    def asked(self, number, rows):
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, rows)

    monkeypatch.setattr(Engine, "step", asked)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(looping.Stopped, match="stopped after step 2, as asked; the same command goes on"):
        sft.train(recipe(tiny_llama, save_every=100), store, tmp_path / "out")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert [p.name for p in checkpoints(tmp_path / "out")] == ["step-0000002"]
    monkeypatch.undo()
    again = sft.train(recipe(tiny_llama, save_every=100), store, tmp_path / "out")
    assert weights(again.model) == weights(whole.model)


def test_checkpoints_stay_as_many_as_are_asked_for(store, tiny_llama, tmp_path):
    sft.train(recipe(tiny_llama, save_every=1, keep=None), store, tmp_path / "all")
    assert len(checkpoints(tmp_path / "all")) == STEPS
    sft.train(recipe(tiny_llama, save_every=1, keep=1), store, tmp_path / "one")
    assert len(checkpoints(tmp_path / "one")) == 1


# ------------------------------------------------------------ one output, one training


def test_a_second_training_into_the_same_output_is_refused(store, tiny_llama, tmp_path):
    output = tmp_path / "out"
    sft.train(recipe(tiny_llama), store, output, until=2)
    before = {p: p.read_bytes() for p in output.rglob("*") if p.is_file()}
    with looping.alone(output, sft.prepare(recipe(tiny_llama), store)), pytest.raises(StoreError) as busy:
        sft.train(recipe(tiny_llama), store, output)
    assert str(busy.value) == f"{output}: another training writes here; wait for it, or choose another --output"
    assert {p: p.read_bytes() for p in output.rglob("*") if p.is_file()} == before
    assert sft.train(recipe(tiny_llama), store, output).steps == STEPS  # the first has left


PROGRAM = """
import json, sys
from pathlib import Path
from trainers import ranks, sft
from tulu_data.errors import TuluError
from tulu_data.store import Store

if __name__ == "__main__":
    chosen, store, output = json.loads(Path(sys.argv[1]).read_text())
    try:
        sft.train(sft.Recipe(**chosen), Store(store), Path(output))
    except TuluError as e:
        sys.exit(f"refused: {e}")
    ranks.leave()
"""


@pytest.mark.slow
def test_where_one_of_two_processes_is_refused_the_other_does_not_wait_for_it(store, tiny_llama, tmp_path):
    output, program, given = tmp_path / "out", tmp_path / "program.py", tmp_path / "given.json"
    output.mkdir()
    program.write_text(PROGRAM)
    given.write_text(json.dumps([settings(tiny_llama), str(store.root), str(output)]))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with (output / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, *launcher, str(program), str(given)],
            capture_output=True, text=True, check=False, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert done.returncode != 0
    assert f"refused: {output}: another training writes here" in done.stderr
    assert not checkpoints(output)


# ------------------------------------------------------------ going on elsewhere


def test_a_place_that_changed_is_noted_where_it_goes_on(store, tiny_llama, tmp_path, whole):
    sft.train(recipe(tiny_llama), store, tmp_path / "out", until=3)
    notes = Notes()
    elsewhere = recipe(tiny_llama, place={"device": "cpu", "gradient_checkpointing": True})
    sft.train(elsewhere, store, tmp_path / "out", progress=notes)
    assert notes.held == [
        f"goes on from {tmp_path / 'out' / 'step-0000003'}",
        "not to the bit: place.device was auto, is cpu; place.gradient_checkpointing was False, is True",
    ]
    for ours, theirs in zip(lines(tmp_path / "out"), lines(whole), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4, rel=1e-3)


def test_another_number_of_processes_is_noted_where_it_goes_on(store, tiny_llama, tmp_path):
    sft.train(recipe(tiny_llama), store, tmp_path / "out", until=3)
    state = checkpoints(tmp_path / "out")[-1] / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "processes": 8}))
    notes = Notes()
    sft.train(recipe(tiny_llama), store, tmp_path / "out", progress=notes)
    assert notes.held[1:] == ["not to the bit: processes was 8, is 1"]


def test_a_place_that_is_the_same_is_not_noted(store, tiny_llama, tmp_path):
    sft.train(recipe(tiny_llama), store, tmp_path / "out", until=3)
    notes = Notes()
    sft.train(recipe(tiny_llama), store, tmp_path / "out", progress=notes)
    assert notes.held == [f"goes on from {tmp_path / 'out' / 'step-0000003'}"]


def test_metrics_and_samples_behind_the_checkpoint_are_cut_where_it_goes_on(store, tiny_llama, tmp_path, whole):
    output = tmp_path / "out"
    sft.train(recipe(tiny_llama), store, output, until=2)
    stray = [{"step": step, "tokens": 1, "loss": 0.0, "tokens_per_s": 1.0} for step in (2, 3)]
    with (output / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in stray) + '{"step": 4, "los')
    answers = [{"step": step, "prompt": "?"} for step in (0, 1, 1, 2, 3)]
    (output / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
    sft.train(recipe(tiny_llama), store, output)
    assert lines(output) == lines(whole)
    kept = [json.loads(line)["step"] for line in (output / "samples.jsonl").read_text().splitlines()]
    assert kept == [0, 1, 1]


def test_what_is_told_of_a_training_that_was_further_already_is_where_its_model_is(store, tiny_llama, tmp_path):
    sft.train(recipe(tiny_llama), store, tmp_path / "out", until=4)
    before = weights(tmp_path / "out" / "model")
    again = sft.train(recipe(tiny_llama), store, tmp_path / "out", until=2)
    assert again.steps == 4
    assert weights(again.model) == before
    assert len(lines(tmp_path / "out")) == 4


def test_the_page_of_a_training_is_written_at_its_end(whole):
    page = (whole / REPORT_FILE).read_text()
    assert 'data-key="loss"' in page
    assert f"{STEPS} of {STEPS} steps" in page


# ------------------------------------------------------------ trackers


def test_a_tracker_is_told_of_every_step(store, tiny_llama, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "out"
    sft.train(recipe(tiny_llama, track=["tensorboard"]), store, output, until=3)
    sft.train(recipe(tiny_llama, track=["tensorboard"]), store, output)
    assert list((output / "tensorboard").glob("events.out.tfevents.*"))
    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    told = [(e.step, e.value) for e in events.Scalars("loss")]
    assert told == [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in lines(output)]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (["tensorbord"], "tracker 'tensorbord': unknown; did you mean 'tensorboard'?"),
        (["wandb"], "tracker wandb: not installed; pip install wandb"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_is_trained_or_cut(
    store, tiny_llama, tmp_path, track, message, monkeypatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it fails
    for output in (tmp_path / "new", tmp_path / "begun"):
        if output.name == "begun":
            sft.train(recipe(tiny_llama), store, output, until=3)
            with (output / "metrics.jsonl").open("a") as file:
                file.write('{"step": 3}\n')
        before = {p.name: p.read_bytes() for p in output.rglob("*") if p.is_file()}
        with pytest.raises(UsageError) as wrong:
            sft.train(recipe(tiny_llama, track=track), store, output)
        assert message in str(wrong.value)
        after = {p.name: p.read_bytes() for p in output.rglob("*") if p.is_file() and p.name != LOCK_FILE}
        before.pop(LOCK_FILE, None)
        assert after == before


# ------------------------------------------------------------ what cannot be


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tiny_llama, tmp_path):
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.add_tokens(["<tool>", "</tool>"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError) as wrong:
        opening.open_model(str(tmp_path))
    assert str(wrong.value) == f"model {tmp_path}: its tokenizer has 260 tokens, the model 258; resize it"


@pytest.mark.parametrize(
    ("processes", "given", "said"),
    [
        (1, {"micro_batch": 3}, "1 × 3 × 2, are 6"),
        (1, {"micro_batch": 16}, "1 × 16 × 1, are 16"),
        (1, {"accumulation": 3}, "1 × 2 × 3, are 6"),
        (1, {"micro_batch": 2, "accumulation": 2}, "1 × 2 × 2, are 4"),
        (2, {"micro_batch": 8}, "2 × 8 × 1, are 16"),
        (2, {"micro_batch": 2, "accumulation": 4}, "2 × 2 × 4, are 16"),
        (3, {"accumulation": 1}, "3 × 2 × 1, are 6"),
    ],
)
def test_a_batch_that_its_parts_do_not_make_is_one_line(store, tiny_llama, monkeypatch, processes, given, said):
    monkeypatch.setenv("WORLD_SIZE", str(processes))  # before any process is waited for
    with pytest.raises(UsageError) as wrong:
        prepared_of(store, tiny_llama, **given)
    parts = f"batch is 8, and processes × micro_batch × accumulation, {said}; change one of them"
    assert str(wrong.value) == parts


@pytest.mark.parametrize("given", [{"micro_batch": 2}, {"accumulation": 4}, {"micro_batch": 2, "accumulation": 4}])
def test_a_batch_that_its_parts_make_is_split_so(store, tiny_llama, given):
    prepared = prepared_of(store, tiny_llama, **given)
    assert prepared.rows([9] * 8) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("given", [{"micro_batch": 2}, {"accumulation": 4}])
def test_two_ways_to_say_what_shares_a_row_are_refused(store, tiny_llama, given):
    with pytest.raises(UsageError, match="pack_tokens and micro_batch or accumulation both say what shares a row"):
        prepared_of(store, tiny_llama, pack_tokens=128, **given)


# ------------------------------------------------------------ how it is computed


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_gradient_checkpointing_changes_neither_loss_nor_gradient(store, tiny_llama, stage):
    found = []
    for checkpointing in (False, True):
        place = Place(gradient_checkpointing=checkpointing)
        prepared = prepared_of(store, tiny_llama, stage=stage, place=place, pack_tokens=256)
        engine = prepared.engine
        assert engine.model.model.layers[0].gradient_checkpointing == checkpointing
        engine.optimizer.step = lambda: None
        done = engine.step(0, rows_of(prepared))
        gradients = [p.grad for p in engine.model.parameters() if p.grad is not None]
        found.append((done.loss, done.grad_norm, torch.cat([g.flatten() for g in gradients])))
    assert found[1][:2] == pytest.approx(found[0][:2], abs=1e-6)
    torch.testing.assert_close(found[1][2], found[0][2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("stage", ["sft", "dpo", "reward"])
def test_half_precision_trains_near_full_on_a_cpu(store, tiny_llama, tmp_path, stage):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        chosen = recipe(tiny_llama, stage=stage, place=Place(device="cpu", dtype=dtype))
        losses[dtype] = TRAINERS[stage].train(chosen, store, tmp_path / dtype, until=4).losses
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05, abs=0.02)
    assert losses["bfloat16"] != losses["float32"]  # it was computed otherwise
    state = torch.load(checkpoints(tmp_path / "bfloat16")[-1] / "training.pt", weights_only=True)["optimizer"]["state"]
    assert all(held["exp_avg"].dtype == torch.float32 for held in state.values())


def test_evaluating_gives_numbers_on_the_cpu_and_leaves_the_mode_as_it_was(store, tiny_llama):
    engine = prepared_of(store, tiny_llama).engine
    modes = []

    def compute():
        modes.append(engine.model.training)
        row = packed([[5, 6, 7], [8, 9]], engine.device)
        return engine.model.base_model(**row.arguments).last_hidden_state[0].bfloat16()

    for training in (True, False):
        engine.model.train(training)
        found = engine.evaluate([compute, compute])
        assert engine.model.training == training
        assert [f.shape for f in found] == [(5, 64)] * 2
        assert all(f.device.type == "cpu" and f.dtype == torch.float32 and not f.requires_grad for f in found)
        with pytest.raises(ZeroDivisionError):
            engine.evaluate([lambda: 1 // 0])
        assert engine.model.training == training
    assert not any(modes)
    (pair,) = engine.evaluate([lambda: Added(torch.ones(2), {"kept": 1})])
    assert isinstance(pair, Added)


def test_a_gpu_is_taken_by_its_number_on_the_machine(monkeypatch):
    there = SimpleNamespace(is_available=lambda: True, current_device=lambda: 0)
    monkeypatch.setattr(torch, "cuda", there)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert Place().torch_device == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Place(device="cuda").torch_device == torch.device("cuda", 3)
    assert Place(device="cpu").torch_device == torch.device("cpu")
