"""SFT and DPO from a version to a checkpoint: exact, resumable to the bit, and only on data that was checked."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer, GraniteConfig, Lfm2Config, LlamaConfig

from trainers import dpo, gate, opening, reward, rlvr, sft
from trainers.checkpoints import checkpoints
from trainers.engine import Optimiser, learning_rate
from trainers.host import Place
from tulu_data.cli import cli
from tulu_data.errors import GateError, InputError, RecipeError, StoreError, TuluError, UsageError
from tulu_data.mixture import Part, mix
from tulu_data.parquet import ShardWriter
from tulu_data.rows import finish, to_table
from tulu_data.store import Store
from tulu_data.strict import validate
from tulu_data.take import Take

RECORD = {
    "audit": "ta1-0123456789abcdef", "policy": "rows", "layers": ["exact"], "verdict": "clean", "n": 8,
    "analyzer": "unicode", "rows_in": 90, "rows_dropped": 0,
    "suites": [{"id": i, "group": "dev", "instances": 1, "flagged": 0, "rows_dropped": 0} for i in ("toy", "other")],
}  # fmt: skip
FAST = Optimiser(learning_rate=3e-3, warmup=0.1)


def publish(store, name, kind, rows, record=RECORD):
    with store.build(name, kind) as build:
        writer = ShardWriter(build.data, kind)
        writer.write(to_table(kind, [finish(kind, row, source=name) for row in rows]))
        records = [{"set": name, **record}] if record else []
        return build.publish(writer.close(), writer.tally.logical(), decontamination=records)


def turn(role, content):
    return {"role": role, "content": content}


@pytest.fixture
def store(tmp_path):
    """The maximum of three digits: `sums` to imitate, `pairs` where it is chosen over the minimum."""
    store = Store(tmp_path / "store")
    rng = random.Random(0)
    drawn = [[rng.randint(0, 9) for _ in range(3)] for _ in range(90)]
    asked = [(" ".join(map(str, d)), str(max(d)), str(min(d))) for d in drawn]
    publish(store, "sums", "sft", [{"messages": [turn("user", q), turn("assistant", a)]} for q, a, _ in asked])
    pairs = [
        {"messages": [turn("user", q)], "chosen": [turn("assistant", a)], "rejected": [turn("assistant", b)]}
        for q, a, b in asked
        if a != b
    ]
    publish(store, "pairs", "preference", pairs)
    return store


def recipe(stage, base, **given):
    common = {"name": "toy", "stage": stage, "model": str(base), "suites": ["toy"], "optimiser": FAST}
    own = {"mixture": "sums" if stage == "sft" else "pairs", "max_length": 64}
    return TRAINERS[stage].Recipe(**{**common, "batch": 16, "epochs": 1, "save_every": 2, **own, **given})


TRAINERS = {"sft": sft, "dpo": dpo, "reward": reward}


def run(stage, store, base, output, *, until=None, allow=None, **given):
    return TRAINERS[stage].train(recipe(stage, base, **given), store, output, until=until, allow=allow)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def lines(output):
    told = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_s"} for line in told]


# ------------------------------------------------------------ exactness


@pytest.mark.parametrize("reduction", ["sum", "token_mean"])
def test_a_step_does_not_hang_on_how_its_examples_are_packed(store, tiny_llama, reduction):
    gradients = []
    for capacity in (64, 128, 400):
        prepared = sft.prepare(recipe("sft", tiny_llama, pack_tokens=capacity, loss=reduction), store)
        examples = [prepared.examples.kept[i] for i in prepared.steps.examples(0)]
        engine = prepared.engine
        engine.model.zero_grad()
        rows = list(sft.micro_batches(prepared, examples))
        total = 0.0
        for row in rows:
            loss = row().loss
            loss.backward()
            total += float(loss.detach())
        gradients.append((len(rows), total, torch.cat([p.grad.flatten() for p in engine.model.parameters()])))
    assert len({rows for rows, _, _ in gradients}) == 3
    for _, total, gradient in gradients[1:]:
        assert total == pytest.approx(gradients[0][1], abs=1e-5)
        torch.testing.assert_close(gradient, gradients[0][2], atol=1e-6, rtol=1e-4)


def test_a_step_of_pairs_does_not_hang_on_how_they_are_packed(store, tiny_llama):
    totals, gradients = [], []
    for capacity in (128, 600):
        prepared = dpo.prepare(recipe("dpo", tiny_llama, pack_tokens=capacity), store)
        reference = dpo.Reference(*(torch.linspace(-9, -3, len(prepared.examples.kept)) * k for k in (1.0, 1.1)))
        prepared.engine.model.zero_grad()
        told = {}
        for row in dpo.micro_batches(prepared, prepared.steps.examples(0), reference):
            loss, values = row()
            loss.backward()
            told = {k: told.get(k, 0.0) + float(v) for k, v in values.items()}
        totals.append(told)
        gradients.append(torch.cat([p.grad.flatten() for p in prepared.engine.model.parameters()]))
    assert totals[0] == pytest.approx(totals[1], abs=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_the_reference_that_is_kept_is_the_live_one_and_is_computed_once(store, tiny_llama, tmp_path, monkeypatch):
    prepared = dpo.prepare(recipe("dpo", tiny_llama), store)
    kept = dpo.reference_of(prepared, tmp_path)
    live = dpo.live_reference(prepared)
    assert torch.equal(kept.chosen, live.chosen)
    assert torch.equal(kept.rejected, live.rejected)
    monkeypatch.setattr(dpo, "live_reference", None)  # would fail if it were called
    assert torch.equal(dpo.reference_of(prepared, tmp_path).chosen, kept.chosen)
    monkeypatch.undo()
    with torch.no_grad():
        prepared.engine.model.get_output_embeddings().weight.add_(0.01)
    assert not torch.equal(dpo.reference_of(prepared, tmp_path).chosen, kept.chosen)  # other weights, another file


def test_the_reference_that_is_kept_is_not_taken_for_that_of_other_tokens_or_another_configuration(
    store, tiny_llama, tmp_path
):
    prepared = dpo.prepare(recipe("dpo", tiny_llama), store)
    dpo.reference_of(prepared, tmp_path)
    first, *rest = prepared.examples.kept
    ended = replace(first.chosen, tokens=np.append(first.chosen.tokens[:-1], np.int32(5)))  # by another tokenizer
    other = replace(prepared, examples=prepared.examples._replace(kept=[first._replace(chosen=ended), *rest]))
    assert torch.equal(dpo.reference_of(other, tmp_path).chosen, dpo.live_reference(other).chosen)
    prepared.engine.model.config.rms_norm_eps = 1e-2
    dpo.reference_of(prepared, tmp_path)
    assert len(list(tmp_path.glob("*reference.npz"))) == 3


def test_pairs_that_are_the_same_once_they_are_cut_are_left_out_and_counted(store, tiny_llama, tmp_path):
    asked = [turn("user", "?")]
    answers = [("12345 yes", "12345 no"), ("same", "same"), ("1", "2"), ("1", "2 and a long rest"), ("a", "b")]
    rows = [
        {"messages": asked, "chosen": [turn("assistant", a)], "rejected": [turn("assistant", b)]} for a, b in answers
    ]
    publish(store, "cut", "preference", rows)
    longest = len("<|user|>\n?\n<|assistant|>\n12345")
    given = {"mixture": "cut", "max_length": longest, "batch": 1}
    counts = dpo.prepare(recipe("dpo", tiny_llama, **given), store).examples.counts()
    told = ("examples", "left_out", "identical", "unended", "cut")
    assert [counts[k] for k in told] == [3, 2, 2, 0, 1]
    prepared = reward.prepare(recipe("reward", tiny_llama, **given), store)
    counts = prepared.examples.counts()
    assert [counts[k] for k in told] == [2, 3, 1, 2, 0]
    eos = prepared.engine.tokenizer.eos_token_id
    assert all(side.tokens[-1] == eos for pair in prepared.examples.kept for side in pair)
    with pytest.raises(InputError, match="no row has two whole answers that differ within 20 tokens; raise max_length"):
        reward.prepare(recipe("reward", tiny_llama, **{**given, "max_length": 20}), store)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "simpo", "label_smoothing": 0.1}, "label_smoothing: is a setting of dpo_norm and dpo, and loss is"),
        ({"gamma": 0.5}, "gamma: is a setting of simpo, and loss is dpo_norm; leave it out"),
        ({"loss": "dpo", "gamma": 1.0}, "gamma: is a setting of simpo, and loss is dpo; leave it out"),
    ],
)
def test_a_setting_of_another_loss_is_refused(given, message):
    with pytest.raises(RecipeError, match=message) as wrong:
        validate(dpo.Recipe, {"name": "a", "stage": "dpo", "model": "m", "mixture": "x", **given}, "my.yaml")
    assert "\n" not in str(wrong.value)


def test_a_reference_does_not_hang_on_how_many_pairs_are_packed_at_once(store, tiny_llama, monkeypatch):
    prepared = dpo.prepare(recipe("dpo", tiny_llama), store)
    whole = dpo.live_reference(prepared)
    monkeypatch.setattr(dpo, "AT_ONCE", 7)
    torch.testing.assert_close(dpo.live_reference(prepared).rejected, whole.rejected, atol=1e-4, rtol=1e-5)


def test_the_first_loss_of_dpo_is_log_2(store, tiny_llama, tmp_path):
    trained = run("dpo", store, tiny_llama, tmp_path / "out", until=1)
    assert trained.losses[0] == pytest.approx(0.693147, abs=1e-6)


def test_all_and_last_turns_differ_where_lengths_are_divided_by_and_not_else(tiny_llama, tmp_path):
    store = Store(tmp_path / "s")
    asked = [turn("user", "1 2"), turn("assistant", "2, of course"), turn("user", "3 1")]
    rows = [{"messages": [*asked, turn("user", f"{i} 4")][-1:] if i % 2 else asked, "chosen": [turn("assistant", "4!")],
             "rejected": [turn("assistant", "no, one")]} for i in range(4)]  # fmt: skip
    publish(store, "pairs", "preference", rows)
    margins = {}
    for turns in ("all", "last"):
        for kind in ("dpo", "dpo_norm"):
            prepared = dpo.prepare(recipe("dpo", tiny_llama, turns=turns, loss=kind, batch=4, max_length=200), store)
            reference = dpo.live_reference(prepared)
            with torch.no_grad():
                prepared.engine.model.get_output_embeddings().weight.mul_(1.5)
                sums = dpo.sums_of(prepared.engine, prepared.examples.kept)
            found = dpo.preference(prepared.recipe, sums, reference)
            margins[turns, kind] = found.chosen_rewards - found.rejected_rewards
    torch.testing.assert_close(margins["all", "dpo"], margins["last", "dpo"], atol=1e-4, rtol=1e-4)
    assert (margins["all", "dpo_norm"] - margins["last", "dpo_norm"]).abs().max() > 1e-3


def test_the_schedule_rises_and_falls_in_straight_lines():
    settings = Optimiser(learning_rate=1.0, warmup=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == 0.0
    assert rates[5] == pytest.approx(0.5)
    assert max(rates) == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert learning_rate(100, 100, settings) == 0.0


# ------------------------------------------------------------ stopping and going on


@pytest.mark.parametrize(("stage", "stops"), [("sft", (1, 3)), ("dpo", (2, 3)), ("reward", (3,))])
def test_a_training_that_was_stopped_goes_on_to_the_bit(store, tiny_llama, tmp_path, stage, stops):
    whole = run(stage, store, tiny_llama, tmp_path / "whole")
    for stop in stops:
        output = tmp_path / f"stopped-{stop}"
        run(stage, store, tiny_llama, output, until=stop)
        run(stage, store, tiny_llama, output, until=stop)  # nothing is left to do
        gone_on = run(stage, store, tiny_llama, output)
        assert weights(gone_on.model) == weights(whole.model)
        assert lines(output) == lines(tmp_path / "whole")
        last = [torch.load(checkpoints(o)[-1] / "training.pt", weights_only=True) for o in (output, tmp_path / "whole")]
        assert last[0]["optimizer"]["param_groups"] == last[1]["optimizer"]["param_groups"]
        for a, b in zip(*(x["optimizer"]["state"].values() for x in last), strict=True):
            assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_kill_while_a_checkpoint_is_written_costs_the_steps_since_the_last_one_and_nothing_else(
    store, tiny_llama, tmp_path, monkeypatch
):
    whole = run("sft", store, tiny_llama, tmp_path / "whole")
    output = tmp_path / "killed"

    class Killed(BaseException):
        pass

    rename = Path.rename

    def killed(self, target):
        if self.name.startswith(".step-0000004"):
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Killed):
        run("sft", store, tiny_llama, output)
    monkeypatch.undo()
    assert [p.name for p in checkpoints(output)] == ["step-0000002"]
    assert (output / ".step-0000004.part").exists()
    assert weights(run("sft", store, tiny_llama, output).model) == weights(whole.model)
    assert lines(output) == lines(tmp_path / "whole")


def test_a_checkpoint_of_another_recipe_or_of_other_data_is_refused(store, tiny_llama, tmp_path):
    run("sft", store, tiny_llama, tmp_path / "out", until=1)
    with pytest.raises(UsageError, match="of another training"):
        run("sft", store, tiny_llama, tmp_path / "out", seed=5)


def test_a_damaged_checkpoint_is_named(store, tiny_llama, tmp_path):
    run("sft", store, tiny_llama, tmp_path / "out", until=2)
    (checkpoints(tmp_path / "out")[-1] / "training.pt").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read") as bad:
        run("sft", store, tiny_llama, tmp_path / "out")
    assert "\n" not in str(bad.value)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "training.pt"])
def test_a_checkpoint_that_lost_the_end_of_a_file_is_named(store, tiny_llama, tmp_path, file):
    run("sft", store, tiny_llama, tmp_path / "out", until=2)
    damaged = checkpoints(tmp_path / "out")[-1] / file
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(InputError, match="step-0000002: cannot be read"):
        run("sft", store, tiny_llama, tmp_path / "out")


def test_a_training_of_tied_embeddings_goes_on_to_the_bit(store, tiny_llama, tmp_path):
    tied = plain(tiny_llama, tmp_path / "tied", LlamaConfig(**SMALL, tie_word_embeddings=True))
    whole = run("sft", store, tied, tmp_path / "whole")
    run("sft", store, tied, tmp_path / "out", until=3)
    assert weights(run("sft", store, tied, tmp_path / "out").model) == weights(whole.model)
    assert lines(tmp_path / "out") == lines(tmp_path / "whole")


def test_a_kill_while_the_model_is_exported_leaves_the_one_before(store, tiny_llama, tmp_path, monkeypatch):
    before = weights(run("sft", store, tiny_llama, tmp_path / "out", until=2).model)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "card", killed)
    with pytest.raises(KeyboardInterrupt):
        run("sft", store, tiny_llama, tmp_path / "out")
    monkeypatch.undo()
    assert weights(tmp_path / "out" / "model") == before
    assert weights(run("sft", store, tiny_llama, tmp_path / "out").model) != before
    assert not list((tmp_path / "out").glob(".model*"))


def test_a_kill_while_metrics_are_cut_loses_none(store, tiny_llama, tmp_path, monkeypatch):
    run("sft", store, tiny_llama, tmp_path / "out", until=2)
    before = lines(tmp_path / "out")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run("sft", store, tiny_llama, tmp_path / "out")
    assert lines(tmp_path / "out") == before


def test_a_full_disk_is_one_line(store, tiny_llama, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file\nand a trace")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match="cannot be written: PytorchStreamWriter failed writing file; make room"):
        run("sft", store, tiny_llama, tmp_path / "out", until=1)


# ------------------------------------------------------------ it learns


def test_a_reward_model_scores_the_chosen_answer_higher_and_is_a_plain_classifier(store, tiny_llama, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    trained = run("reward", store, tiny_llama, tmp_path / "reward", epochs=14)
    assert trained.losses[0] == pytest.approx(0.69, abs=0.15)
    assert sum(trained.accuracies[-10:]) / 10 >= 0.9
    prepared = reward.prepare(recipe("reward", trained.model), store)
    pair = prepared.examples.kept[0]
    with torch.no_grad():
        packed = reward.scores_of(prepared.engine, [*prepared.examples.kept[1], *pair])[2:]
    model, tokenizer = (x.from_pretrained(trained.model) for x in (AutoModelForSequenceClassification, AutoTokenizer))
    assert tokenizer.pad_token_id == model.config.pad_token_id
    with torch.no_grad():
        alone = [float(model(input_ids=torch.from_numpy(side.tokens)[None].long()).logits) for side in pair]
    assert packed.tolist() == pytest.approx(alone, abs=1e-4)  # its own head was kept, and the score is read at the end


def test_sft_lowers_the_loss_and_dpo_tells_the_pairs_apart(store, tiny_llama, tmp_path):
    trained = run("sft", store, tiny_llama, tmp_path / "sft", epochs=8, loss="token_mean")
    assert trained.losses[-1] < 0.6 * trained.losses[0]
    moved = run("dpo", store, trained.model, tmp_path / "dpo", epochs=12)
    assert sum(moved.accuracies[-10:]) / 10 >= 0.9
    simpo = run("dpo", store, trained.model, tmp_path / "simpo", epochs=4, loss="simpo", beta=2.0, gamma=0.5)
    assert simpo.losses[-1] < simpo.losses[0]
    assert not list((tmp_path / "simpo").glob("*reference*"))


# ------------------------------------------------------------ the gate


def test_data_without_a_record_or_without_a_suite_is_refused_and_the_override_is_on_record(store, tiny_llama, tmp_path):
    rows = [{"messages": [turn("user", "1"), turn("assistant", "1")]} for _ in range(1)]
    publish(store, "bare", "sft", rows, record=None)
    with pytest.raises(GateError, match="bare has no decontamination record; audit and drop it first"):
        run("sft", store, tiny_llama, tmp_path / "a", mixture="bare", batch=1)
    with pytest.raises(GateError, match="sums was not audited against humaneval"):
        run("sft", store, tiny_llama, tmp_path / "a", suites=["toy", "humaneval"])
    assert not (tmp_path / "a").exists()
    output = tmp_path / "b"
    trained = run("sft", store, tiny_llama, output, mixture="bare", batch=1, allow="a toy")
    assert "Trained without the check for decontamination: a toy (bare has" in (trained.model / "README.md").read_text()
    for told in (trained.model / "training.json", checkpoints(output)[-1] / "state.json"):
        assert json.loads(told.read_text())["data"]["override"] == "a toy (bare has no decontamination record)"


def test_a_part_of_a_mixture_does_not_pass_on_the_record_of_another_with_its_source(store, tiny_llama, tmp_path):
    clean, raw = (
        [{"messages": [turn("user", f"{i} {k}"), turn("assistant", "1")]} for i in range(20)] for k in ("clean", "raw")
    )
    known = publish(store, "web", "sft", clean)
    bare = publish(store, "web", "sft", raw, record=None)
    few = publish(store, "web", "sft", raw[:9], record={**RECORD, "suites": RECORD["suites"][:1]})

    def mixed(name, *versions):
        mix(store, name, [Part(f"part{i}", v, Take(all=True)) for i, v in enumerate(versions)])
        return {"mixture": name, "batch": 8}

    run("sft", store, tiny_llama, tmp_path / "good", until=1, **mixed("good", known))
    with pytest.raises(GateError, match=r"in its part web@tv1-.*, web has no decontamination record"):
        run("sft", store, tiny_llama, tmp_path / "out", **mixed("bad", known, bare))
    suites = ["toy", "other"]
    with pytest.raises(GateError, match=r"in its part web@tv1-.*, web was not audited against other"):
        run("sft", store, tiny_llama, tmp_path / "out", suites=suites, **mixed("short", few, known))
    nested = mixed("nested", store.open("good"), store.open("bad"))
    with pytest.raises(GateError, match=r"in its part bad@tv1-.*, in its part web@tv1-"):
        run("sft", store, tiny_llama, tmp_path / "out", **nested)


def test_an_override_without_a_reason_is_refused(store, tiny_llama, tmp_path):
    for allow in ("", " "):
        with pytest.raises(UsageError, match="the reason is empty"):
            run("sft", store, tiny_llama, tmp_path / "a", allow=allow)


def test_a_tampered_shard_is_refused_even_where_the_check_is_left_out(store, tiny_llama, tmp_path):
    shard = store.open("sums").shards[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(bytes(data))
    with pytest.raises(GateError, match="sums@tv1-"):
        run("sft", store, tiny_llama, tmp_path / "a", allow="whatever")


def test_the_model_that_is_left_is_a_plain_checkpoint_with_template_and_card(store, tiny_llama, tmp_path):
    trained = run("sft", store, tiny_llama, tmp_path / "out", until=2)
    model, tokenizer = (x.from_pretrained(trained.model) for x in (AutoModelForCausalLM, AutoTokenizer))
    assert model.config._attn_implementation == "sdpa"
    chat = [turn("user", "1 2 3"), turn("assistant", "3")]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|user|>\n1 2 3\n<|assistant|>\n3<eos>"
    asked = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert model.generate(**asked, max_new_tokens=3, do_sample=False).shape[1] > asked["input_ids"].shape[1]
    card = (trained.model / "README.md").read_text()
    assert "Decontaminated against other, toy (audits ta1-0123456789abcdef)." in card
    assert store.open("sums").ref in card


def test_a_training_in_half_precision_leaves_half_and_goes_on_from_whole(store, tiny_llama, tmp_path):
    trained = run("sft", store, tiny_llama, tmp_path / "out", until=1, place=Place(device="cpu", dtype="bfloat16"))
    told = [
        json.loads((f / "config.json").read_text())["dtype"] for f in (trained.model, *checkpoints(tmp_path / "out"))
    ]
    assert told == ["bfloat16", "float32"]
    model = AutoModelForCausalLM.from_pretrained(trained.model, dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


# ------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("stage", "given", "error", "message"),
    [
        ("sft", {"max_length": 4096}, UsageError, "max_length is 4,096, and the model has 512 positions; lower it"),
        ("sft", {"batch": 500}, UsageError, "batch is 500, and 1 × 90 examples fill none; lower it"),
        ("sft", {"max_length": 4}, InputError, "no row has a trained token within 4 tokens; raise max_length"),
        (
            "sft",
            {"pack_tokens": 20},
            UsageError,
            "pack_tokens is 20, and what shares a row may have 64, 1 × max_length",
        ),
        ("sft", {"mixture": "pairs"}, InputError, "holds preference rows; this trains on sft rows"),
        ("dpo", {"mixture": "sums"}, InputError, "holds sft rows; this trains on preference rows"),
        (
            "dpo",
            {"pack_tokens": 100},
            UsageError,
            "pack_tokens is 100, and what shares a row may have 128, 2 × max_length",
        ),
        ("sft", {"mixture": "summs"}, StoreError, "did you mean 'sums'"),
        ("sft", {"model": "/nowhere"}, InputError, "model /nowhere: no such folder; train it first, or name a"),
    ],
)
def test_what_cannot_be_trained_is_one_line_before_the_first_step(
    store, tiny_llama, tmp_path, stage, given, error, message
):
    with pytest.raises(error) as wrong:
        run(stage, store, tiny_llama, tmp_path / "out", **given)
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert not (tmp_path / "out").exists()


SMALL = {
    "vocab_size": 258, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 512, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": None,
}  # fmt: skip


def plain(tiny_llama, folder, config):
    """A random model of that configuration, with the tokenizer of `tiny_llama`."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GraniteConfig(**SMALL, logits_scaling=8.0), "changes its logits after their matrix"),
        (Lfm2Config(**SMALL, layer_types=["conv", "full_attention"], initializer_range=0.2), "see each other"),
    ],
    ids=["granite", "lfm2"],
)
def test_a_model_whose_losses_would_be_wrong_is_refused(store, tiny_llama, tmp_path, config, message):
    with pytest.raises(InputError, match=message):
        run("sft", store, plain(tiny_llama, tmp_path / "m", config), tmp_path / "out")


def test_a_damaged_model_is_one_line(store, tiny_llama, tmp_path):
    folder = plain(tiny_llama, tmp_path / "m", LlamaConfig(**SMALL))
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="m: cannot be opened"):
        run("sft", store, folder, tmp_path / "out")


def test_a_reward_model_whose_padding_is_the_end_is_refused(store, tiny_llama, tmp_path):
    folder = plain(tiny_llama, tmp_path / "m", LlamaConfig(**SMALL))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    with pytest.raises(UsageError, match="its padding token is its end-of-sequence token"):
        run("reward", store, folder, tmp_path / "out")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_that_is_asked_for_and_absent_is_one_line(store, tiny_llama, tmp_path):
    with pytest.raises(UsageError, match="this torch sees no GPU; use cpu or auto"):
        run("sft", store, tiny_llama, tmp_path / "out", place=Place(device="cuda"))


# ------------------------------------------------------------ the command line


def write(path, stage, model, **more):
    lines_ = [f"name: toy\nstage: {stage}\nmodel: {model}\nmixture: {'sums' if stage == 'sft' else 'pairs'}"]
    lines_ += ["batch: 16\nepochs: 1\nmax_length: 64\nsuites: [toy]", *(f"{k}: {v}" for k, v in more.items())]
    path.write_text("\n".join(lines_) + "\n")
    return path


def tulu(*args):
    return CliRunner().invoke(cli, list(map(str, args)))


def test_the_commands_train_look_and_refuse(store, tiny_llama, tmp_path):
    where = ("--store", store.root, "-q")
    for stage in TRAINERS:
        path = write(tmp_path / f"{stage}.yaml", stage, tiny_llama)
        looked = json.loads(tulu("train", "check", path, *where, "--json").output)
        assert looked["steps"] > 1
        assert looked["trained_tokens"] < looked["tokens"]
        assert "decontaminated against other, toy" in tulu("train", "check", path, *where).output
        done = tulu(
            "train", stage, path, *where, "-o", tmp_path / stage, "--set", "optimiser.learning_rate=0.001", "--json"
        )
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["steps"] == looked["steps"]
    (tmp_path / "file").touch()
    blocked = tulu("train", "sft", tmp_path / "sft.yaml", *where, "-o", tmp_path / "file" / "out")
    assert isinstance(blocked.exception, StoreError)
    assert "choose another place with --output" in str(blocked.exception)
    wrong = write(tmp_path / "wrong.yaml", "sft", tiny_llama, bach=3)
    for command, error, message in (
        (["sft", wrong, "-o", "x"], RecipeError, "bach: unknown key; did you mean 'batch'?"),
        (["dpo", tmp_path / "sft.yaml", "-o", "x"], RecipeError, "stage: is 'sft'; run it with: tulu train sft"),
        (
            ["sft", tmp_path / "sft.yaml", "-o", "x", "--set", "learning_rate=1"],
            RecipeError,
            "learning_rate: unknown key; did you mean 'optimiser.learning_rate'?",
        ),
        (["sft", tmp_path / "sft.yaml", "-o", "x", "--set", "stage=ppo"], RecipeError, "stage: is 'ppo'"),
        (["sft", tmp_path / "sft.yaml", "-o", "x", "--set", "suites=[gpqa]"], GateError, "not audited against gpqa"),
    ):
        refused = tulu("train", *command, *where)
        assert isinstance(refused.exception, error)
        assert isinstance(refused.exception, TuluError)
        assert message in str(refused.exception)


def test_the_package_needs_neither_torch_nor_polars_nor_datasets_until_it_trains():
    program = (
        "import sys, trainers, trainers.commands, trainers.gate, trainers.packing, trainers.chat\n"
        "print([m for m in ('torch', 'transformers', 'polars', 'datasets') if m in sys.modules])\n"
        "import trainers.sft, trainers.dpo\n"
        "print([m for m in ('polars', 'datasets') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes" / "training").glob("*.yaml")), ids=str)
def test_the_bundled_recipes_are_valid_and_name_suites_that_there_are(path):
    import yaml

    from tulu_data.suite_registry import find_suites

    data = yaml.safe_load(path.read_text())
    loaded = {**TRAINERS, "rlvr": rlvr}[data["stage"]].Recipe(**data)
    assert loaded.name == path.stem
    sources = {"tulu3-70b-rlvr-card": "card", "tulu3-8b-grpo": "open-instruct", "quickstart-sft": ""}
    assert loaded.source == sources.get(path.stem, "paper")
    found = find_suites(loaded.suites, path.parent, None, path.name)
    assert gate.ids(loaded.suites) == [suite.id for suite in found]


def test_a_mixture_that_was_audited_as_a_whole_passes(tmp_path):
    from trainers import gate
    from tulu_data.manifest import Step

    store = Store(tmp_path)
    rows = [finish("sft", {"messages": [turn("user", "1"), turn("assistant", a)]}, source=a) for a in ("b", "c")]

    def made(*steps):
        with store.build("mixed-clean", "sft") as build:
            writer = ShardWriter(build.data, "sft")
            writer.write(to_table("sft", rows))
            done = [Step(name=s, rows_in=2, rows_out=2) for s in steps]
            records = [{"set": "mixed", **RECORD}]
            return build.publish(writer.close(), writer.tally.logical(), steps=done, decontamination=records)

    assert gate.clear(made("mix", "decontaminate"), ["toy"], store).suites == ("other", "toy")
    with pytest.raises(GateError, match="was not audited against gpqa"):
        gate.clear(made("mix", "decontaminate"), ["gpqa"], store)
    with pytest.raises(GateError, match="b has no decontamination record"):
        gate.clear(made("mix"), ["toy"], Store(tmp_path))
