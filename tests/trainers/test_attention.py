"""Packed rows give what separate sequences give: logits, losses and gradients, with a control that shows the leak."""

import inspect

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trainers import attention, loss

WORDS, TOLERANCE, LEAK = 50, 1e-5, 1e-2
LENGTHS = (7, 1, 12, 5)
REFUSED = "one packed row, its segments' starts, and no mask or cache"


def make_model(heads=4, shared_heads=4, implementation=attention.NAME):
    """A random Llama of two layers in fp32. Its weights are large enough for attention to matter."""
    attention.register()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=shared_heads,
        max_position_embeddings=128,
        initializer_range=0.2,
        attn_implementation=implementation,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).float()


@pytest.fixture(params=[4, 2, 1], ids=lambda n: f"{n} key heads")
def model(request):
    return make_model(shared_heads=request.param)


def sequences(lengths=LENGTHS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(WORDS, (n,), generator=generator).tolist() for n in lengths]


def trainable(length):
    """A prompt, then an answer: the first token is never trained."""
    return torch.arange(length) >= max(1, length // 3)


def negative_log_likelihoods(model, row, mask):
    hidden = model.model(**row.arguments).last_hidden_state[0]
    return loss.token_nll(hidden, model.lm_head.weight, row.tokens[0], mask, chunk=4)


def gradients(model, total):
    model.zero_grad()
    total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def worst(a, b):
    return float((a - b).detach().abs().max())


def test_a_packed_row_says_where_its_segments_begin():
    row = attention.packed([[5, 6, 7], [8], [9, 10]])
    assert row.tokens.tolist() == [[5, 6, 7, 8, 9, 10]]
    assert row.positions.tolist() == [[0, 1, 2, 0, 0, 1]]
    assert row.starts.tolist() == [0, 3, 4, 6]
    assert row.starts.dtype == torch.int32
    assert row.longest == 3
    assert row.arguments["use_cache"] is False
    assert "attention_mask" not in row.arguments


def test_packed_logits_are_those_of_separate_sequences(model):
    examples = sequences()
    alone = make_model(shared_heads=model.config.num_key_value_heads, implementation="sdpa")
    alone.load_state_dict(model.state_dict())
    together = model(**attention.packed(examples).arguments).logits[0]
    separate = torch.cat([alone(torch.tensor([e])).logits[0] for e in examples])
    assert worst(together, separate) < TOLERANCE
    assert worst(separate[:3], separate[3:6]) > LEAK  # logits are not all alike


def test_packed_losses_and_gradients_are_the_sums_of_separate_ones(model):
    examples = sequences()
    masks = [trainable(len(e)) for e in examples]
    row = attention.packed(examples)
    nll = negative_log_likelihoods(model, row, torch.cat(masks))
    sums = loss.segment_sums(nll, torch.cat(masks), row.starts)
    together = gradients(model, nll.sum())
    total, separate = 0.0, {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for i, (example, mask) in enumerate(zip(examples, masks, strict=True)):
        alone = negative_log_likelihoods(model, attention.packed([example]), mask).sum()
        assert alone.item() == pytest.approx(sums[i].item(), rel=TOLERANCE)
        total += alone.item()
        for name, gradient in gradients(model, alone).items():
            separate[name] += gradient
    assert nll.sum().item() == pytest.approx(total, rel=TOLERANCE)
    assert all(g.any() for g in separate.values())
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, separate[name], atol=TOLERANCE, rtol=TOLERANCE)


def test_what_stands_in_one_segment_does_not_reach_another(model):
    first, second, third = sequences((6, 6, 6))
    other = sequences((6,), seed=2)[0]
    logits = model(**attention.packed([first, second, third]).arguments).logits[0]
    changed = model(**attention.packed([first, other, third]).arguments).logits[0]
    assert torch.equal(logits[:6], changed[:6])
    assert torch.equal(logits[12:], changed[12:])
    assert worst(logits[6:12], changed[6:12]) > LEAK


@pytest.mark.parametrize("positions", [False, True], ids=["tokens alone", "tokens and positions"])
def test_the_control_leaks(positions):
    """The same row under plain attention: what this package must never do. transformers gives no warning."""
    row = attention.packed(sequences())
    isolated = make_model()
    plain = make_model(implementation="sdpa")
    plain.load_state_dict(isolated.state_dict())
    arguments = {"input_ids": row.tokens} | ({"position_ids": row.positions} if positions else {})
    leaked = plain(**arguments).logits[0]
    logits = isolated(**row.arguments).logits[0]
    assert worst(leaked[: LENGTHS[0]], logits[: LENGTHS[0]]) < TOLERANCE  # nothing stands before the first
    assert worst(leaked[LENGTHS[0] :], logits[LENGTHS[0] :]) > LEAK


def test_a_row_without_its_segments_is_refused():
    model = make_model()
    row = attention.packed(sequences())
    with pytest.raises(ValueError, match=REFUSED):
        model(input_ids=row.tokens, position_ids=row.positions, use_cache=False)


@pytest.mark.parametrize("wrong", ["mask", "starts", "rows", "cache"])
def test_the_hook_refuses_what_is_not_one_packed_row(wrong):
    heads = torch.zeros(2 if wrong == "rows" else 1, 4, 6, 8)
    starts = None if wrong == "starts" else torch.tensor([0, 2, 6], dtype=torch.int32)
    mask = torch.ones(1, 1, 6, 6, dtype=torch.bool) if wrong == "mask" else None
    before = torch.zeros(1, 4, 9, 8) if wrong == "cache" else heads
    with pytest.raises(ValueError, match=REFUSED):
        attention.segments(None, heads, before, before, mask, cu_seq_lens_q=starts)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"sliding_window": 3}, "4 tokens are more than its 3"), ({"softcap": 50.0}, "softcap"), ({"s_aux": 0}, "s_aux")],
)
def test_the_hook_refuses_to_leave_out_what_a_model_asks_for(asked, reason):
    heads, starts = torch.zeros(1, 4, 6, 8), torch.tensor([0, 2, 6], dtype=torch.int32)
    with pytest.raises(ValueError, match=reason):
        attention.segments(None, heads, heads, heads, None, cu_seq_lens_q=starts, max_length_q=4, **asked)


def test_a_window_that_no_segment_reaches_changes_nothing():
    heads, starts = torch.randn(1, 4, 6, 8), torch.tensor([0, 2, 6], dtype=torch.int32)
    plain, _ = attention.segments(None, heads, heads, heads, None, cu_seq_lens_q=starts, max_length_q=4)
    window = {"sliding_window": 4, "softcap": None}
    found, _ = attention.segments(None, heads, heads, heads, None, cu_seq_lens_q=starts, max_length_q=4, **window)
    assert torch.equal(found, plain)


def test_the_scaling_of_a_model_is_kept():
    query, key, value = (torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    starts = torch.tensor([0, 5], dtype=torch.int32)
    found, _ = attention.segments(None, query, key, value, None, scaling=0.7, cu_seq_lens_q=starts)
    scores = (query @ key.transpose(2, 3) * 0.7).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    torch.testing.assert_close(found, (scores.softmax(-1) @ value).transpose(1, 2), atol=1e-6, rtol=1e-5)


class OnCuda(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True


@pytest.mark.parametrize(("dtype", "kernel"), [(torch.bfloat16, True), (torch.float32, False)])
def test_the_kernel_gets_one_half_precision_and_never_fp32(monkeypatch, dtype, kernel):
    given = []
    monkeypatch.setattr(attention, "_varlen", lambda *arguments: given.append([x.dtype for x in arguments[:3]]))
    query, key, value = (
        torch.randn(1, 2, 3, 4).as_subclass(OnCuda) for _ in range(3)
    )  # under autocast: fp32 after RoPE
    starts = torch.tensor([0, 1, 3], dtype=torch.int32)
    out, _ = attention.segments(None, query, key, value.to(dtype), None, cu_seq_lens_q=starts, max_length_q=2)
    assert given == ([[torch.bfloat16] * 3] if kernel else [])
    assert (out is None) == kernel


def test_dropout_that_the_kernel_would_leave_out_is_refused():
    heads = torch.randn(1, 2, 3, 4, dtype=torch.bfloat16).as_subclass(OnCuda)
    starts = torch.tensor([0, 3], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"no dropout in half precision on CUDA, and it is 0\.1"):
        attention.segments(None, heads, heads, heads, None, dropout=0.1, cu_seq_lens_q=starts)


def of_torch_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    """The kernel's arguments there."""


def test_a_torch_whose_kernel_lacks_what_is_asked_of_it_is_named_with_the_remedy(monkeypatch):
    from torch.nn.attention import varlen

    assert attention.varlen_problem() is None  # the call's arguments are those of the torch that is here
    monkeypatch.setattr(varlen, "varlen_attn", of_torch_2_10)
    said = attention.varlen_problem()
    assert "varlen has no scale, window_size, enable_gqa; pip install -U 'torch>=2.12'" in said
    monkeypatch.setattr(attention, "KERNEL", "torch.nn.attention.gone")
    assert "gone is not there; pip install -U 'torch>=2.12'" in attention.varlen_problem()


def test_the_kernel_is_called_as_this_torch_has_it(monkeypatch):
    from torch.nn.attention import varlen

    given, held = {}, inspect.signature(varlen.varlen_attn)

    def kernel(*arguments, **named):
        given.update(held.bind(*arguments, **named).arguments)
        return arguments[0]

    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    query, key = (torch.randn(1, n, 3, 8).bfloat16().as_subclass(OnCuda) for n in (4, 2))
    starts = torch.tensor([0, 1, 3], dtype=torch.int32)
    attention.segments(None, query, key, key, None, scaling=0.5, cu_seq_lens_q=starts, max_length_q=2)
    assert (given["window_size"], given["enable_gqa"], given["scale"], given["max_q"]) == ((-1, 0), True, 0.5, 2)
    assert given["query"].shape == (3, 4, 8)
    assert given["key"].shape == (3, 2, 8)
