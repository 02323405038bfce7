"""What samples RLVR's answers: one distribution, one dependence on seeds, and weights that can be replaced."""

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import AutoTokenizer, LlamaForCausalLM

from trainers import attention
from trainers.samplers import GenerateSampler, Sampling, TorchSampler, open_sampler

RECIPES = Path(__file__).parents[2] / "recipes" / "training"
PAD, EOS, WORDS = 0, 1, 258
SCALE = 8.0  # of the weights: as they are made, attention hardly matters to the logits
OF_PROCESS = {"torch": TorchSampler, "generate": GenerateSampler}


def opened(folder, seed=None):
    attention.register()
    made = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention.NAME)
    random = torch.Generator().manual_seed(seed or 0)
    with torch.no_grad():
        for parameter in [*made.model.layers.parameters(), made.lm_head.weight]:
            parameter.mul_(SCALE if parameter.ndim > 1 else 1.0)
            if seed:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=random))
    return made.train()


@pytest.fixture(scope="module")
def model(tiny_llama):
    return opened(tiny_llama)


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return AutoTokenizer.from_pretrained(tiny_llama)


def prompts_of(lengths=(5, 21, 1, 12), seed=1):
    numbers = np.random.default_rng(seed)
    return [numbers.integers(2, WORDS, n).tolist() for n in lengths]


def drawn(sampler, prompts=None, **given):
    prompts = prompts_of() if prompts is None else prompts
    how = {"numbers": range(len(prompts)), "samples": 3, "max_new_tokens": 8, "seed": 7, "temperature": 1.0}
    return sampler.sample(prompts, **{**how, **given})


def flat(groups):
    return list(chain.from_iterable(groups))


def completions(groups):
    return [[r.completion for r in group] for group in groups]


def frequent(groups):
    """A token that many completions hold: taken for the eos, it ends them at all lengths."""
    return Counter(t for r in flat(groups) for t in set(r.completion[2:])).most_common(1)[0][0]


def full_logps(model, rollout, temperature):
    """Of a row alone, in one pass without cache or padding."""
    tokens = [*rollout.prompt, *rollout.completion]
    with torch.no_grad():
        logits = model(**attention.packed([tokens]).arguments).logits[0]
    logps = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
    return [float(logps[i - 1, tokens[i]]) for i in range(len(rollout.prompt), len(tokens))]


# ------------------------------------------------------------ in this process


@pytest.fixture(params=OF_PROCESS)
def make(request, model):
    """A sampler of each kind; `of`: another model's, `eos`: another end."""

    def made(of=model, eos=EOS, batch=5):
        return OF_PROCESS[request.param](of, eos, PAD, batch)

    return made


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_log_probabilities_are_those_of_a_full_forward_pass(make, model, temperature):
    found = drawn(make(), temperature=temperature)
    assert [r.prompt for r, *_ in found] == [tuple(p) for p in prompts_of()]
    for rollout in flat(found):
        assert len(rollout.logps) == len(rollout.completion)
        assert rollout.logps == pytest.approx(full_logps(model, rollout, temperature), abs=1e-4)


def test_completions_hang_on_seed_number_and_sample_and_not_on_what_they_are_beside(make):
    prompts = prompts_of()
    found = completions(drawn(make(), prompts))
    for share in ([2, 0], [3], [1]):
        part = drawn(make(batch=2), [prompts[i] for i in share], numbers=share)
        assert completions(part) == [found[i] for i in share]
    same = [prompts[0]] * 3
    every = [*drawn(make(), same), *drawn(make(), same, seed=8), *drawn(make(), same, numbers=[7, 8, 9])]
    assert len(set(flat(completions(every)))) == 27


def test_completions_stop_at_the_eos_alone_and_say_so(make):
    free = drawn(make(eos=10_000))
    assert not any(r.stopped for r in flat(free))
    stop = frequent(free)
    ends = set()
    for whole, cut in zip(flat(free), flat(drawn(make(eos=stop))), strict=True):
        end = whole.completion.index(stop) + 1 if stop in whole.completion else None
        assert cut.completion == whole.completion[:end]
        assert len(cut.logps) == len(cut.completion)
        assert cut.stopped == (end is not None)
        ends.add(end)
    assert None in ends
    assert len(ends) > 2


def test_the_models_generation_config_has_no_effect_and_is_left_alone(make, model):
    found = drawn(make())
    held = model.generation_config
    own = type(held)(
        do_sample=True, top_k=1, top_p=0.1, temperature=0.1, repetition_penalty=9.0, min_new_tokens=8, max_length=3,
        num_beams=2, no_repeat_ngram_size=1, suppress_tokens=list(range(200)), eos_token_id=[1, 2, 3, 4],
    )  # fmt: skip
    model.generation_config = own
    try:
        assert drawn(make()) == found
        assert model.generation_config is own
    finally:
        model.generation_config = held


def test_mode_attention_and_random_state_are_as_before(make, model):
    before = torch.get_rng_state()
    drawn(make())
    assert model.training
    assert model.config._attn_implementation == attention.NAME
    assert torch.equal(torch.get_rng_state(), before)


def test_update_changes_what_is_sampled_to_what_the_weights_sample(make, tiny_llama):
    mine, other = opened(tiny_llama), opened(tiny_llama, seed=3)
    sampler = make(of=mine)
    before = completions(drawn(sampler))
    sampler.update(other.state_dict().items())
    assert completions(drawn(sampler)) == completions(drawn(make(of=other))) != before
    sampler.update(mine.state_dict().items())  # its own
    assert completions(drawn(sampler)) == completions(drawn(make(of=other)))
    sampler.close()


def test_tied_weights_come_under_either_name(tiny_llama):
    tied = opened(tiny_llama)
    tied.lm_head.weight = tied.model.embed_tokens.weight
    one = {n: t.clone() + 1 for n, t in tied.state_dict().items() if n != "lm_head.weight"}
    TorchSampler(tied, EOS, PAD).update(one.items())
    assert torch.equal(tied.lm_head.weight, one["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update(extra=torch.zeros(2)), r"weights extra of shape \(2,\): the sampler's model has no such"),
        (lambda w: w.update({"model.norm.weight": torch.zeros(3)}), r"shape \(3,\): .* has one of shape \(64,\)"),
        (lambda w: w.pop("model.norm.weight"), "weights of model.norm.weight are missing, and of 0 others"),
    ],
)
def test_weights_of_another_model_are_refused_in_one_line(make, tiny_llama, change, said):
    weights = {n: t.clone() for n, t in opened(tiny_llama).state_dict().items()}
    change(weights)
    with pytest.raises(ValueError, match=said) as caught:
        make(of=opened(tiny_llama)).update(weights.items())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"numbers": [1]}, "4 prompts have 1 numbers"), ({"samples": 0}, "at least 1"), ({"temperature": -1.0}, "is -1")],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(make, given, said):
    with pytest.raises(ValueError, match=said):
        drawn(make(), **given)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_torch_and_generate_sample_the_same(model, temperature):
    stop = frequent(drawn(TorchSampler(model, 10_000, PAD), temperature=temperature))
    one, two = (drawn(kind(model, stop, PAD, 5), temperature=temperature) for kind in OF_PROCESS.values())
    assert completions(one) == completions(two)
    assert len(set(map(str, completions(one)))) == len(one)
    if not temperature:
        assert all(len(set(group)) == 1 for group in completions(one))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_generate_samples_from_the_softmax_of_the_logits(model, temperature):
    count, prompt = 4_000, prompts_of((9,))[0]
    [group] = drawn(
        GenerateSampler(model, EOS, PAD, 1_000), [prompt], samples=count, max_new_tokens=1, temperature=temperature
    )
    seen = np.bincount([r.completion[0] for r in group], minlength=WORDS)
    with torch.no_grad():
        logits = model(**attention.packed([prompt]).arguments).logits[0, -1].double()

    def surprise(at):
        """Chi-square over the tokens expected five times or more, the rest as one; in standard deviations."""
        expected = count * torch.softmax(logits / at, dim=-1).numpy()
        often = expected >= 5
        wanted, got = (np.append(x[often], x[~often].sum()) for x in (expected, seen))
        return (float(((got - wanted) ** 2 / wanted).sum()) - often.sum()) / np.sqrt(2 * often.sum())

    assert abs(surprise(temperature)) < 4
    assert surprise(temperature * 2) > 10  # and would be seen to be another


# ------------------------------------------------------------ settings


def test_settings_open_their_sampler(model, tokenizer):
    for backend, kind in OF_PROCESS.items():
        found = open_sampler(Sampling(backend=backend, batch=3), model, tokenizer, model_name="m", longest=64)
        assert found == kind(model, EOS, PAD, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"server": "http://a"}, "server is for backend vllm, and backend is torch; remove one of them"),
        ({"backend": "generate", "engine": {"a": 1}}, "engine is for backend vllm, and backend is generate"),
        ({"backend": "vllm", "batch": 8}, "batch is for backends torch and generate"),
        ({"backend": "vllm", "server": "http://a", "engine": {"a": 1}}, "engine is for vllm in this process"),
        ({"backend": "vllm", "server": "localhost:8000"}, "write it as http://HOST:PORT"),
        ({"backend": "vllm", "engine": {"model": "a"}}, "engine sets model, which the trainer sets"),
        (
            {"backend": "vllm", "engine": {"tensor_parallel_size": 2}},
            "engine sets tensor_parallel_size, and an engine here has its process's one GPU; name a server",
        ),
        ({"backend": "sglang"}, "'torch', 'generate' or 'vllm'"),
        ({"batch": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_one_line(given, said):
    with pytest.raises(ValidationError) as caught:
        Sampling(**given)
    [error] = caught.value.errors()
    assert said in error["msg"]
    assert "\n" not in error["msg"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_bundled_rlvr_recipes_leave_the_models_in_training_room(path):
    """An engine beside the models sleeps while they are trained; a model that one GPU does not hold is served."""
    data = yaml.safe_load(path.read_text())
    if data["stage"] != "rlvr":
        return
    settings = Sampling(**data["sampler"])
    assert settings.backend == "vllm"
    if "8b" in path.stem:
        assert settings.engine["gpu_memory_utilization"] <= 0.5
        assert settings.engine["enable_sleep_mode"]
    else:
        assert settings.server
    assert data["save_every"] == (25 if "405b" in path.stem else 10)
    assert "never run" in path.read_text().partition("\nname:")[0]
