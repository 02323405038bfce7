"""Sampling with a cache, padding and a shrinking batch gives what one row alone and a full forward pass give."""

from collections import Counter
from contextlib import contextmanager
from itertools import chain

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from trainers import attention
from trainers.rollout import choose, sample

PAD, EOS, NEVER = 0, 1, 10_000  # NEVER: no token of the model, so that nothing stops
WORDS = 258
LENGTHS = (5, 31, 1, 12, 12, 3)
SCALE = 8.0  # of the weights: as they are made, attention hardly matters to the logits


@pytest.fixture(scope="module")
def model(tiny_llama):
    """In training, under the attention of packed rows, with a dropout that would be seen if it were on."""
    attention.register()
    made = LlamaForCausalLM.from_pretrained(
        tiny_llama, dtype=torch.float32, attn_implementation=attention.NAME, attention_dropout=0.5
    )
    with torch.no_grad():
        for parameter in made.model.layers.parameters():
            parameter.mul_(SCALE if parameter.ndim > 1 else 1.0)
        made.lm_head.weight.mul_(SCALE)
    return made.train()


def prompts_of(lengths=LENGTHS, seed=1):
    numbers = np.random.default_rng(seed)
    return [numbers.integers(2, WORDS, n).tolist() for n in lengths]


def drawn(model, prompts, **given):
    settings = {"samples": 2, "max_new_tokens": 12, "eos": NEVER, "pad": PAD, "seed": 7, **given}
    return sample(model, prompts, **settings)


def completions(rollouts):
    return [[r.completion for r in group] for group in rollouts]


def flat(groups):
    return list(chain.from_iterable(groups))


def full_logits(model, tokens):
    """Of a row alone, without cache, padding or dropout: `(time, words)`."""
    model.eval()
    with torch.no_grad():
        logits = model(**attention.packed([tokens]).arguments).logits[0]
    model.train()
    return logits


def full_logps(model, rollout, temperature):
    tokens = [*rollout.prompt, *rollout.completion]
    logps = torch.log_softmax(full_logits(model, tokens) / temperature, dim=-1)
    return [float(logps[i - 1, tokens[i]]) for i in range(len(rollout.prompt), len(tokens))]


@contextmanager
def spied(model, look):
    handle = model.register_forward_pre_hook(lambda _, __, given: look(given), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def frequent(rollouts, start=3):
    """A token that many completions hold, from their position `start` on."""
    counts = Counter(t for group in rollouts for r in group for t in set(r.completion[start:]))
    return counts.most_common(1)[0][0]


# ------------------------------------------------------------ what is sampled


def test_greedy_is_what_transformers_generates(model):
    prompts = prompts_of()
    found = drawn(model, prompts, temperature=0.0, samples=1, max_new_tokens=20)
    stop = frequent(found, start=2)
    stopping = drawn(model, prompts, temperature=0.0, samples=1, max_new_tokens=20, eos=stop)
    model.eval()
    model.config._attn_implementation = "sdpa"
    try:
        for prompt, [free], [stopped] in zip(prompts, found, stopping, strict=True):
            for rollout, eos in ((free, None), (stopped, stop)):
                out = model.generate(
                    torch.tensor([prompt]),
                    attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                    do_sample=False,
                    max_new_tokens=20,
                    eos_token_id=eos,
                    pad_token_id=PAD,
                )
                assert rollout.completion == tuple(out[0, len(prompt) :].tolist())
    finally:
        model.config._attn_implementation = attention.NAME
        model.train()
    assert len(set(map(str, completions(found)))) == len(prompts)  # they are not all alike


def test_greedy_completions_of_a_prompt_are_alike(model):
    for one, two in drawn(model, prompts_of(), temperature=0.0):
        assert one == two


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_log_probabilities_are_those_of_a_full_forward_pass(model, temperature):
    for group in drawn(model, prompts_of(), temperature=temperature):
        for rollout in group:
            assert len(rollout.logps) == len(rollout.completion)
            assert rollout.logps == pytest.approx(full_logps(model, rollout, temperature or 1.0), abs=1e-4)


def test_positions_are_counted_from_the_prompts_first_token():
    """A Llama would not tell: it knows only how far apart tokens are."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=WORDS, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3)
    config.pad_token_id, config.bos_token_id, config.eos_token_id = PAD, None, None
    learned = GPT2LMHeadModel(config)
    for rollout in flat(drawn(learned, prompts_of())):
        tokens = torch.tensor([[*rollout.prompt, *rollout.completion]])
        learned.eval()
        with torch.no_grad():
            logps = torch.log_softmax(learned(tokens).logits[0], dim=-1)
        wanted = logps[range(len(rollout.prompt) - 1, tokens.shape[1] - 1), list(rollout.completion)]
        assert rollout.logps == pytest.approx(wanted.tolist(), abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.7, 1.5])
def test_first_tokens_are_distributed_as_the_model_says(model, temperature):
    count, prompt = 4_000, prompts_of((9,))[0]
    [group] = drawn(model, [prompt], samples=count, max_new_tokens=1, temperature=temperature, batch=1_000)
    seen = np.bincount([r.completion[0] for r in group], minlength=WORDS)

    def surprise(at):
        """Chi-square over the tokens expected five times or more, the rest as one; in standard deviations."""
        expected = count * torch.softmax(full_logits(model, prompt)[-1].double() / at, dim=-1).numpy()
        often = expected >= 5
        wanted, got = (np.append(x[often], x[~often].sum()) for x in (expected, seen))
        return (float(((got - wanted) ** 2 / wanted).sum()) - often.sum()) / np.sqrt(2 * often.sum())

    assert abs(surprise(temperature)) < 4
    assert surprise(temperature * 2) > 10  # and would be seen to be another


# ------------------------------------------------------------ what it hangs on


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_batch_changes_no_completion(model, batch):
    prompts = prompts_of()
    stop = frequent(drawn(model, prompts, samples=4))
    one = drawn(model, prompts, samples=4, eos=stop, batch=5)
    other = drawn(model, prompts, samples=4, eos=stop, batch=batch)
    assert completions(one) == completions(other)
    for a, b in zip(flat(one), flat(other), strict=True):
        assert a.logps == pytest.approx(b.logps, abs=1e-4)


def test_rounding_seldom_changes_a_token_of_a_large_vocabulary():
    """The control picks by the cumulative distribution: an error anywhere before a token moves it."""
    rows, words, random = 400, 20_000, torch.Generator().manual_seed(0)
    logits = -(torch.randperm(words, generator=random) + 1.0).log()
    rounded = logits + 1e-4 * torch.randn(words, generator=random)
    uniforms = torch.rand(20_000, generator=random, dtype=torch.float64)

    def drawn_with_noise(from_):
        return choose(from_.expand(rows, words), [torch.Generator().manual_seed(i) for i in range(rows)], 1.0)[0]

    def drawn_cumulatively(from_):
        return torch.searchsorted(from_.double().softmax(-1).cumsum(-1), uniforms)

    def changed(draw):
        return float((draw(logits) != draw(rounded)).double().mean())

    assert changed(drawn_with_noise) <= 1 / rows
    assert changed(drawn_cumulatively) > 4 / rows


def test_greedy_completions_move_with_their_prompts(model):
    prompts, order = prompts_of(), [3, 0, 5, 1, 4, 2]
    found = drawn(model, prompts, temperature=0.0)
    permuted = drawn(model, [prompts[i] for i in order], temperature=0.0)
    assert completions(permuted) == completions([found[i] for i in order])


def test_other_prompts_change_no_completion(model):
    prompts = prompts_of()
    found = completions(drawn(model, prompts))
    assert completions(drawn(model, prompts[:2])) == found[:2]
    assert completions(drawn(model, [*prompts, *prompts_of((40, 2), seed=2)]))[: len(prompts)] == found
    others = prompts_of((2, 50, 8, 1, 6, 20), seed=3)
    for i, prompt in enumerate(prompts):
        assert completions(drawn(model, [*others[:i], prompt, *others[i + 1 :]]))[i] == found[i]


def test_more_samples_or_tokens_change_no_completion(model):
    few = completions(drawn(model, prompts_of()))
    more = completions(drawn(model, prompts_of(), samples=5, max_new_tokens=20))
    assert [[c[:12] for c in group[:2]] for group in more] == few


def test_the_seed_the_prompt_and_the_sample_each_change_completions(model):
    same = [prompts_of((9,))[0]] * 3
    found = drawn(model, same)
    assert found == drawn(model, same)
    everything = flat(completions(found) + completions(drawn(model, same, seed=8)))
    assert len(set(everything)) == len(everything)


def test_completions_hang_on_the_numbers_of_their_prompts_and_not_on_positions(model):
    prompts = prompts_of()
    found = completions(drawn(model, prompts))
    shares = [[4, 1], [0, 5, 2], [3]]
    for share in shares:
        assert completions(drawn(model, [prompts[i] for i in share], numbers=share)) == [found[i] for i in share]
    assert completions(drawn(model, prompts, numbers=range(1, len(prompts) + 1))) != found


def test_torchs_own_random_state_is_left_alone(model):
    before = torch.get_rng_state()
    torch.manual_seed(5)
    found = drawn(model, prompts_of())
    torch.set_rng_state(before)
    assert drawn(model, prompts_of()) == found
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------ where it ends


def test_completions_stop_at_the_eos_and_are_otherwise_the_same(model):
    prompts = prompts_of()
    free = drawn(model, prompts, samples=8, max_new_tokens=24)
    assert not any(r.stopped for group in free for r in group)
    assert {len(r.completion) for group in free for r in group} == {24}
    stop = frequent(free)
    stopping = drawn(model, prompts, samples=8, max_new_tokens=24, eos=stop)
    ends = set()
    for whole, cut in zip(flat(free), flat(stopping), strict=True):
        end = whole.completion.index(stop) + 1 if stop in whole.completion else None
        assert cut.completion == whole.completion[:end]
        assert cut.stopped == (end is not None)
        assert cut.prompt == whole.prompt
        ends.add(end)
    assert len(ends) > 3
    assert None in ends


def test_an_eos_in_the_prompt_stops_nothing(model):
    prompt = [5, EOS, 6, EOS]
    [[rollout]] = drawn(model, [prompt], samples=1, eos=EOS, temperature=0.0)
    assert rollout.prompt == tuple(prompt)
    assert rollout.completion == drawn(model, [prompt], samples=1, temperature=0.0)[0][0].completion


def test_an_eos_as_the_last_token_has_stopped(model):
    [[free]] = drawn(model, [[5, 6, 7]], samples=1)
    first = free.completion.index(free.completion[4])
    [[rollout]] = drawn(model, [[5, 6, 7]], samples=1, eos=free.completion[4], max_new_tokens=first + 1)
    assert rollout.stopped
    assert len(rollout.completion) == first + 1


def test_rows_that_have_stopped_cost_nothing(model):
    stop = frequent(drawn(model, prompts_of(), samples=8))
    rows = []
    with spied(model, lambda given: rows.append(len(given["input_ids"]))):
        found = drawn(model, prompts_of(), samples=8, eos=stop)
    assert sum(rows) == sum(len(r.completion) for group in found for r in group)


def test_prompts_of_a_length_are_sampled_together(model):
    shapes = []
    with spied(model, lambda given: shapes.append(tuple(given["input_ids"].shape))):
        found = drawn(model, prompts_of((3, 9, 3, 9)), samples=1, max_new_tokens=1, batch=2)
    assert sorted(shapes) == [(2, 3), (2, 9)]
    assert [len(r.prompt) for [r] in found] == [3, 9, 3, 9]


# ------------------------------------------------------------ what it leaves behind


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("implementation", [attention.NAME, "eager"])
def test_mode_and_attention_are_as_before(model, training, implementation):
    seen = []

    def look(given):
        seen.append((model.training, model.config._attn_implementation, torch.is_grad_enabled()))
        if len(seen) > 2:
            raise RuntimeError("out of memory")

    model.train(training)
    model.config._attn_implementation = implementation
    try:
        drawn(model, prompts_of())
        assert (model.training, model.config._attn_implementation) == (training, implementation)
        with spied(model, look), pytest.raises(RuntimeError, match="out of memory"):
            drawn(model, prompts_of())
        assert (model.training, model.config._attn_implementation) == (training, implementation)
        assert torch.is_grad_enabled()
    finally:
        model.train()
        model.config._attn_implementation = attention.NAME
    assert set(seen) == {(False, "sdpa", False)}


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("prompts", "given", "said"),
    [
        ([[5]], {"eos": PAD}, "pad and eos are both 0"),
        ([[5], []], {}, "prompt 1 is empty"),
        ([[5], [5] * 501], {}, "prompt 1 has 501 tokens, with max_new_tokens 12 more than the model's 512 positions"),
        ([[5]], {"temperature": -1.0}, "temperature is -1.0"),
        ([[5]], {"temperature": float("nan")}, "temperature is nan"),
        ([[5]], {"samples": 0}, "each must be at least 1"),
        ([[5]], {"max_new_tokens": 0}, "each must be at least 1"),
        ([[5]], {"batch": 0}, "each must be at least 1"),
        ([[5], [6]], {"numbers": [0]}, "2 prompts have 1 numbers; give each its own"),
    ],
)
def test_what_cannot_be_sampled_is_refused_in_one_line(model, prompts, given, said):
    with pytest.raises(ValueError, match=said) as caught:
        drawn(model, prompts, **given)
    assert "\n" not in str(caught.value)


def test_every_position_of_the_model_can_be_used(model):
    [[rollout]] = drawn(model, [[5] * 500], samples=1)
    assert len(rollout.completion) == 12


def test_no_prompts_give_no_rollouts(model):
    assert drawn(model, []) == []
