"""What a training may start from, and what it leaves: heads, windows, padding, cards, names that are none."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from trainers import attention, opening, reward, tiny
from trainers.checkpoints import export
from trainers.engine import Engine, Optimiser
from trainers.host import Place
from tulu_data.errors import InputError, RecipeError, UsageError

SMALL = {
    "vocab_size": 258, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 512, "pad_token_id": None, "eos_token_id": 1,
    "bos_token_id": None,
}  # fmt: skip


@pytest.fixture
def scorer(tiny_llama, tmp_path):
    """A reward model, as a training leaves it in its folder."""
    opened = reward.open_scorer(str(tiny_llama), longest=0)
    folder = tmp_path / "rew" / "model"
    opened.model.save_pretrained(folder)
    opened.tokenizer.save_pretrained(folder)
    return folder


def refused(error, call, *args, **given):
    with pytest.raises(error) as wrong:
        call(*args, **given)
    assert "\n" not in str(wrong.value)
    return str(wrong.value)


# ------------------------------------------------------------ heads


def test_a_classifier_is_no_language_model(scorer):
    said = refused(InputError, opening.open_model, str(scorer))
    assert said == (
        f"model {scorer}: its weights lack lm_head.weight of a LlamaForCausalLM; name a model that has them"
    )


def test_a_checkpoint_that_lacks_weights_is_refused(tiny_llama, scorer, tmp_path):
    from safetensors.torch import save_file

    for folder, lost, kept in ((tiny_llama, "layers.1", {}), (scorer, "score", {"score.weight"})):
        there = shutil.copytree(folder, tmp_path / lost)
        weights = load_file(there / "model.safetensors")
        save_file({k: v for k, v in weights.items() if lost not in k}, there / "model.safetensors", {"format": "pt"})
        said = refused(InputError, reward.open_scorer, str(there), longest=0)
        assert "its weights lack " in said
        assert ("more" in said) == (not kept)


def test_a_score_is_drawn_for_a_language_model_where_it_may_be_and_kept_where_it_is(tiny_llama, scorer):
    said = refused(InputError, reward.open_scorer, str(tiny_llama), longest=0, drawn=False)
    assert said == f"reward_model {tiny_llama}: has no score head; train it with: tulu train reward"
    own = load_file(scorer / "model.safetensors")["score.weight"]
    assert torch.equal(reward.open_scorer(str(scorer), longest=0, drawn=False).model.score.weight, own)


def test_tied_weights_are_not_missing(tiny_llama, tmp_path):
    LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    assert opening.open_model(str(tmp_path)).model.config.tie_word_embeddings


# ------------------------------------------------------------ lengths


def test_a_window_that_is_shorter_than_a_conversation_is_refused_before_training(tiny_llama, tmp_path):
    MistralForCausalLM(MistralConfig(**SMALL, sliding_window=32)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    said = refused(UsageError, opening.open_model, str(tmp_path), longest=33)
    assert said == (
        "max_length is 33, and the model's attention has a window of 32 tokens, which is not done here; lower it"
    )
    model = opening.open_model(str(tmp_path), longest=32).model
    with torch.no_grad():
        assert model(**attention.packed([list(range(32)), [5]]).arguments).logits.shape == (1, 33, 258)


def test_a_window_counts_where_a_layer_has_it():
    plain = LlamaConfig(**SMALL)
    assert opening.limit_of(plain) == (512, "the model has 512 positions")
    plain.sliding_window = 16
    assert opening.limit_of(plain).tokens == 16
    plain.layer_types = ["full_attention"]
    assert opening.limit_of(plain).tokens == 512


# ------------------------------------------------------------ padding


def unpadded(folder, *spare, model=True):
    """A model whose tokenizer holds spare words and has no padding token."""
    made = tiny.byte_tokenizer()
    made.add_special_tokens({"additional_special_tokens": list(spare)})
    made.pad_token = None
    made.save_pretrained(folder)
    state = json.loads((folder / "tokenizer.json").read_text())
    text = json.dumps(state).replace(json.dumps(tiny.PAD), json.dumps("<other>"))
    (folder / "tokenizer.json").write_text(text)
    if model:
        LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": len(made)})).save_pretrained(folder)
    return folder


def test_a_model_without_padding_is_given_a_spare_word_and_passes_it_on(tmp_path):
    spare = ["<unk>", "<|reserved_special_token_0|>", "<|finetune_right_pad_id|>"]
    base = unpadded(tmp_path / "base", *spare)
    assert AutoTokenizer.from_pretrained(base).pad_token is None
    opened = opening.open_model(str(base))
    assert opened.tokenizer.pad_token == "<|finetune_right_pad_id|>"
    assert opened.model.config.pad_token_id == opened.tokenizer.pad_token_id == opened.tokenizer.get_vocab()[spare[2]]
    assert len(opened.tokenizer) == opened.model.get_input_embeddings().num_embeddings  # nothing was added
    export(engine_of(opened), tmp_path, opened.model.state_dict())
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.pad_token_id == opened.tokenizer.pad_token_id
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] == again.pad_token_id
    assert reward.open_scorer(str(tmp_path), longest=0).model.config.pad_token_id == again.pad_token_id


def engine_of(opened, dtype="float32"):
    return Engine(*opened, Optimiser(), Place(device="cpu", dtype=dtype), 1)


def test_padding_that_is_missing_and_padding_that_is_the_end_are_told_apart(tmp_path):
    base = unpadded(tmp_path / "base")
    opened = opening.open_model(str(base))  # well for sft and dpo
    assert opened.tokenizer.pad_token is None
    said = refused(UsageError, reward.open_scorer, str(base), longest=0)
    assert said == f"model {base}: its tokenizer has no padding token, nor a spare one to be it; add one"
    opened.tokenizer.pad_token = opened.tokenizer.eos_token
    said = refused(UsageError, opening.padding_of, opened.tokenizer, "x")
    assert said == "model x: its padding token is its end-of-sequence token; give it one of its own"


def test_the_end_is_never_taken_as_padding(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(unpadded(tmp_path, "<unk>", model=False))
    tokenizer.eos_token = "<unk>"
    with pytest.raises(UsageError, match="has no padding token"):
        opening.padding_of(tokenizer, "x")


@pytest.mark.parametrize("stage", ["reward", "rlvr"])
def test_a_plan_says_that_padding_is_missing_before_anything_is_made(tmp_path, make_version, stage):
    from trainers.plan import check, load_plan
    from tulu_data.progress import Silent
    from tulu_data.store import Store

    store = Store(tmp_path / "store")
    make_version(store, "talk", ["a"], "sft")
    make_version(store, "more", ["b"], {"reward": "preference", "rlvr": "rlvr"}[stage])
    unpadded(tmp_path / "base")
    last = {"mixture": "more", "max_length": 64} if stage == "reward" else GRPO
    stages = [{"stage": "sft", "mixture": "talk", "max_length": 64}, {"stage": stage, **last}]
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps({"name": "toy", "model": "base", "stages": stages}))
    with pytest.raises(RecipeError, match=r"stages\[1\]: model .*base: its tokenizer has no padding token") as wrong:
        check(load_plan(plan), store, processes=1, allow="a toy", progress=Silent())
    assert "\n" not in str(wrong.value)


GRPO = {"mixture": "more", "algorithm": "grpo", "samples": 2, "max_prompt_length": 32, "response_length": 32}


# ------------------------------------------------------------ names


def test_the_folder_of_a_training_is_told_from_its_model(scorer):
    run = scorer.parent
    for call, given in ((opening.open_model, {}), (reward.open_scorer, {"longest": 0, "drawn": False})):
        said = refused(InputError, call, str(run), **given)
        assert said == f"model {run}: is the folder of a training; name {scorer}"


@pytest.mark.parametrize("name", ["runs/tulu3-8b-sft/model", "./sft", "../sft", "/nowhere"])
def test_a_path_that_leads_nowhere_is_not_looked_for_in_the_hub(name):
    said = refused(InputError, opening.open_model, name)
    assert said == f"model {name}: no such folder; train it first, or name a folder or a model of the hub"


# ------------------------------------------------------------ what is left behind


FACTS = {"stage": "sft", "base_model": "org/base", "steps": 9_000}
DATA = {"ref": "x@tv1-0", "audits": ["ta1-0"], "suites": ["toy"], "override": None}


def test_a_card_names_a_model_of_the_hub_and_of_a_folder_its_name(tmp_path):
    told = opening.card("mine", {**FACTS, "data": DATA}, 1_000)
    assert told.startswith("---\nbase_model: org/base\ntags: [tulu-data, sft]\n---\n")
    assert "SFT of `org/base` on `x@tv1-0`, 1,000 steps. Decontaminated against toy (audits ta1-0)." in told
    assert "9,000 steps" in opening.card("mine", {**FACTS, "data": DATA})
    (tmp_path / "sft" / "model").mkdir(parents=True)
    for folder, name in ((tmp_path / "sft" / "model", "sft/model"), (tmp_path / "sft", "sft")):
        told = opening.card("mine", {**FACTS, "data": DATA, "base_model": str(folder)})
        assert told.startswith("---\ntags: [tulu-data, sft]\n---\n")
        assert f"SFT of `{name}` on" in told
        assert str(tmp_path) not in told


def test_a_card_says_that_no_suite_was_asked_for():
    told = opening.card("mine", {**FACTS, "data": {**DATA, "suites": []}})
    assert "Decontaminated (audits ta1-0); no suite was asked for." in told


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_is_left_in_the_dtype_that_it_was_computed_in(tiny_llama, tmp_path, tied):
    LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=tied)).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "base")
    opened = opening.open_model(str(tmp_path / "base"))
    engine, held = engine_of(opened, "bfloat16"), opened.model.config.dtype
    export(engine, tmp_path / "made", engine.weights(), dtype="bfloat16")
    export(engine, tmp_path / "kept", engine.weights())
    half, whole = (load_file(tmp_path / f / "model.safetensors") for f in ("made", "kept"))
    assert half.keys() == whole.keys()
    assert {w.dtype for w in half.values()} == {torch.bfloat16}
    assert {w.dtype for w in whole.values()} == {torch.float32}
    for name, weight in whole.items():
        assert torch.equal(weight.to(torch.bfloat16), half[name])
    assert json.loads((tmp_path / "made" / "config.json").read_text())["dtype"] == "bfloat16"
    assert json.loads((tmp_path / "kept" / "config.json").read_text())["dtype"] == "float32"
    assert opened.model.config.dtype == held or str(opened.model.config.dtype).endswith("float32")
    assert opened.model.dtype == torch.float32
    assert LlamaForCausalLM.from_pretrained(tmp_path / "made", dtype="auto").dtype == torch.bfloat16
