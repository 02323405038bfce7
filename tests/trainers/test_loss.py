"""The losses against closed forms, numbers by hand and slow loops in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812 - its usual name

from trainers import loss

TIME, SIZE, WORDS = 23, 8, 13


def logsigmoid(x):
    return -math.log1p(math.exp(-x))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(seed=0, share=0.6):
    """States, head, tokens and mask of a row; the first token is not trained."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(TIME, SIZE, generator=generator).requires_grad_()
    head = torch.randn(WORDS, SIZE, generator=generator).requires_grad_()
    tokens = torch.randint(WORDS, (TIME,), generator=generator)
    trainable = torch.rand(TIME, generator=generator) < share
    trainable[0] = False
    return hidden, head, tokens, trainable


# ------------------------------------------------------------ likelihoods


@pytest.mark.parametrize("chunk", [1, 2, 5, TIME - 1, 1_024])
def test_likelihoods_and_gradients_are_those_of_all_logits_at_once(chunk):
    hidden, head, tokens, trainable = case()
    wanted = F.cross_entropy((hidden @ head.T)[:-1][trainable[1:]], tokens[1:][trainable[1:]], reduction="none")
    weights = torch.linspace(0.1, 1, len(wanted))  # so that an order that is wrong shows in the gradients
    expected = torch.autograd.grad((wanted * weights).sum(), (hidden, head))
    found = loss.token_nll(hidden, head, tokens, trainable, chunk=chunk)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    for a, b in zip(torch.autograd.grad((found * weights).sum(), (hidden, head)), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_a_likelihood_is_that_of_the_token_given_the_state_before_it():
    hidden, head, tokens, trainable = case()
    expected = []
    for t in range(1, TIME):
        if trainable[t]:
            logits = [sum(h * w for h, w in zip(hidden[t - 1].tolist(), row, strict=True)) for row in head.tolist()]
            expected.append(math.log(sum(math.exp(x) for x in logits)) - logits[int(tokens[t])])
    assert loss.token_nll(hidden, head, tokens, trainable).tolist() == pytest.approx(expected, abs=1e-5)


def test_half_precision_states_give_single_precision_likelihoods():
    hidden, head, tokens, trainable = case()
    assert loss.token_nll(hidden.bfloat16(), head.bfloat16(), tokens, trainable).dtype == torch.float32


def test_a_row_without_a_trained_token_gives_0_and_zero_gradients():
    hidden, head, tokens, _ = case()
    nll = loss.token_nll(hidden, head, tokens, torch.zeros(TIME, dtype=torch.bool))
    assert nll.shape == (0,)
    assert nll.dtype == torch.float32
    total = loss.sft(nll, reduction="sum", tokens=1, batch=1)
    assert total.item() == 0
    total.backward()
    assert not hidden.grad.any()
    assert not head.grad.any()


@given(st.lists(st.lists(st.booleans(), max_size=5), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_sums_by_segment_are_those_of_a_loop(segments):
    masks = [[False, *mask] for mask in segments]
    trainable = torch.tensor([t for mask in masks for t in mask])
    starts = torch.tensor([0, *torch.tensor([len(m) for m in masks]).cumsum(0).tolist()], dtype=torch.int32)
    values = random(int(trainable.sum()))
    left, expected = iter(values.tolist()), []
    for mask in masks:
        expected.append(sum(next(left) for trained in mask if trained))
    assert loss.segment_sums(values, trainable, starts).tolist() == pytest.approx(expected)


# ------------------------------------------------------------ supervised


def parts(count, per):
    """Examples in micro-batches of `per`."""
    return [range(i, i + per) for i in range(0, count, per)]


@pytest.mark.parametrize("reduction", ["sum", "token_mean"])
def test_a_step_is_the_same_however_it_is_cut_into_micro_batches(reduction):
    lengths = [1, 2, 3, 5, 8, 13, 4, 0]
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    head = torch.randn(WORDS, SIZE, generator=torch.Generator().manual_seed(5)).requires_grad_()
    rows = [torch.randn(n + 1, SIZE, generator=torch.Generator().manual_seed(n)) for n in lengths]
    results = []
    for per in (1, 2, 8):
        head.grad, total = None, 0.0
        for examples in parts(len(lengths), per):
            hidden = torch.cat([rows[i] for i in examples])
            trainable = torch.cat([torch.tensor([False] + [True] * lengths[i]) for i in examples])
            tokens = torch.cat([torch.arange(lengths[i] + 1) % WORDS for i in examples])
            nll = loss.token_nll(hidden, head, tokens, trainable, chunk=3)
            part = loss.sft(nll, reduction=reduction, tokens=ends[-1], batch=len(lengths))
            part.backward()
            total += part.item()
        results.append((total, head.grad.clone()))
    for total, gradient in results[1:]:
        assert total == pytest.approx(results[0][0], rel=1e-6)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-6, rtol=1e-6)


def test_sum_is_per_example_and_token_mean_per_token():
    nll = torch.tensor([1.0, 2.0, 3.0, 6.0])  # two examples
    assert loss.sft(nll, reduction="sum", tokens=4, batch=2).item() == 6
    assert loss.sft(nll, reduction="token_mean", tokens=4, batch=2).item() == 3


def test_the_sum_is_what_the_released_code_comes_to():
    """Summed cross-entropy per device, one example on each, averaged over 2 accumulation steps and 3 ranks."""
    examples = [random(n, seed=n).abs() for n in (3, 1, 4, 2, 7, 5)]
    ranks = [examples[:2], examples[2:4], examples[4:]]
    released = sum(sum(nll.sum() / 2 for nll in rank) for rank in ranks) / 3
    ours = sum(loss.sft(nll, reduction="sum", tokens=22, batch=6) for nll in examples)
    assert ours.item() == pytest.approx(released.item())


# ------------------------------------------------------------ preferences

PAIRS = tuple(-random(4, seed=seed).abs() * 30 for seed in range(4))  # chosen, rejected and the reference's
TOKENS = torch.tensor([3, 10, 7, 1]), torch.tensor([8, 2, 7, 20])


def test_dpo_is_its_formula():
    found = loss.dpo(*PAIRS, beta=0.1)
    for i in range(4):
        c, r, rc, rr = (float(x[i]) for x in PAIRS)
        assert float(found.losses[i]) == pytest.approx(-logsigmoid(0.1 * ((c - rc) - (r - rr))))
        assert float(found.chosen_rewards[i]) == pytest.approx(0.1 * (c - rc))
        assert float(found.rejected_rewards[i]) == pytest.approx(0.1 * (r - rr))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_equal_policies_lose_log_2(label_smoothing):
    chosen, rejected, *_ = PAIRS
    equal = {"beta": 5.0, "label_smoothing": label_smoothing}
    for found in (
        loss.dpo(chosen, rejected, chosen, rejected, **equal),
        loss.dpo_norm(chosen, rejected, chosen, rejected, *TOKENS, **equal),
    ):
        assert found.losses.tolist() == pytest.approx([math.log(2)] * 4)
        assert not found.chosen_rewards.any()


def test_label_smoothing_is_the_mean_over_both_labellings():
    chosen, rejected, ref_chosen, ref_rejected = PAIRS
    right = loss.dpo(*PAIRS, beta=0.1).losses
    wrong = loss.dpo(rejected, chosen, ref_rejected, ref_chosen, beta=0.1).losses
    smooth = loss.dpo(*PAIRS, beta=0.1, label_smoothing=0.2).losses
    torch.testing.assert_close(smooth, 0.8 * right + 0.2 * wrong)


def test_the_gradient_of_dpo_raises_the_chosen_and_lowers_the_rejected():
    policy = [x.clone().requires_grad_() for x in PAIRS[:2]]
    found = loss.dpo(*policy, *PAIRS[2:], beta=0.1)
    assert not found.chosen_rewards.requires_grad
    assert not found.rejected_rewards.requires_grad
    found.losses.sum().backward()
    for i in range(4):  # arXiv 2305.18290 §4: β σ(reward of rejected − of chosen)
        expected = 0.1 / (1 + math.exp(float(found.chosen_rewards[i] - found.rejected_rewards[i])))
        assert float(policy[0].grad[i]) == pytest.approx(-expected)
        assert float(policy[1].grad[i]) == pytest.approx(expected)


def test_dpo_norm_divides_the_reference_too():
    found = loss.dpo_norm(*PAIRS, *TOKENS, beta=5.0)
    for i in range(4):
        c, r, rc, rr = (float(x[i]) for x in PAIRS)
        margin = 5 * ((c - rc) / int(TOKENS[0][i]) - (r - rr) / int(TOKENS[1][i]))
        assert float(found.losses[i]) == pytest.approx(-logsigmoid(margin))


def test_length_tells_dpo_norm_and_not_dpo():
    """Chosen won 1 and rejected won 3 over the reference, over other numbers of tokens."""
    sums = [torch.tensor([x]) for x in (-10.0, -8.0, -11.0, -11.0)]
    short, long = torch.tensor([5]), torch.tensor([50])
    margins = [1 / 5 - 3 / 5, 1 / 5 - 3 / 50, 1 / 50 - 3 / 5]
    for margin, lengths in zip(margins, [(short, short), (short, long), (long, short)], strict=True):
        found = loss.dpo_norm(*sums, *lengths, beta=5.0)
        assert found.losses.item() == pytest.approx(-logsigmoid(5 * margin))
    torch.testing.assert_close(loss.dpo_norm(*sums, short, short, beta=5.0).losses, loss.dpo(*sums, beta=1.0).losses)


def test_simpo_is_its_formula():
    chosen, rejected = torch.tensor([-0.5, -1.0]), torch.tensor([-0.7, -0.4])
    found = loss.simpo(chosen, rejected, beta=2.0, gamma=0.5)
    assert found.losses.tolist() == pytest.approx([-logsigmoid(0.4 - 0.5), -logsigmoid(-1.2 - 0.5)])
    assert found.chosen_rewards.tolist() == pytest.approx([-1.0, -2.0])
    assert found.rejected_rewards.tolist() == pytest.approx([-1.4, -0.8])
    even = loss.simpo(chosen, chosen, beta=2.0, gamma=0.0)
    assert even.losses.tolist() == pytest.approx([math.log(2)] * 2)


def test_bradley_terry_is_the_log_odds_of_the_right_choice():
    losses = loss.bradley_terry(torch.tensor([1.0, 0.0, -200.0]), torch.tensor([0.0, 0.0, 0.0]))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(2), 200])


# ------------------------------------------------------------ rewards and advantages


def test_the_divergence_is_charged_at_each_token_and_the_score_paid_at_the_last():
    logp = torch.tensor([[-1.0, -2.0, -3.0, math.nan], [-1.0, -1.0, -1.0, -1.0]])
    ref_logp = torch.tensor([[-1.5, -1.0, -3.0, 0.0], [-2.0, -2.0, -2.0, -2.0]])
    found = loss.kl_rewards(logp, ref_logp, torch.tensor([10, -10]), torch.tensor([2, 3]), 0.5)
    expected = [[-0.25, 0.5, 10.0, 0.0], [-0.5, -0.5, -0.5, -10.5]]
    torch.testing.assert_close(found, torch.tensor(expected))


def slow_gae(rewards, values, gamma, lam):
    """The definition, O(time²), of one row."""
    following = [*values, 0.0][1:]
    deltas = [r + gamma * after - v for r, v, after in zip(rewards, values, following, strict=True)]
    return [sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(deltas))]


@given(
    st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4),
    st.sampled_from([(1.0, 0.95), (1.0, 1.0), (0.9, 0.5), (0.9, 0.0)]),
    st.integers(0, 1_000),
)
@settings(max_examples=200, deadline=None)
def test_advantages_are_those_of_the_definition_over_the_tokens_in_the_mask(mask, discounts, seed):
    rewards, values = random(len(mask), 6, seed=seed), random(len(mask), 6, seed=seed + 1)
    keep = torch.tensor(mask)
    unread = torch.where(keep, 0.0, math.nan)  # nothing outside the mask is read
    found = loss.gae(rewards + unread, values + unread, *discounts, keep)
    for i in range(len(mask)):
        expected = slow_gae(rewards[i][keep[i]].tolist(), values[i][keep[i]].tolist(), *discounts)
        assert found.advantages[i][keep[i]].tolist() == pytest.approx(expected)
        returns = [a + v for a, v in zip(expected, values[i][keep[i]].tolist(), strict=True)]
        assert found.returns[i][keep[i]].tolist() == pytest.approx(returns)
    assert not found.advantages[~keep].any()
    assert not found.returns[~keep].any()


def test_without_discount_returns_are_the_rewards_to_come():
    rewards, values = random(2, 5), random(2, 5, seed=1)
    found = loss.gae(rewards, values, 1.0, 1.0, torch.ones(2, 5))
    torch.testing.assert_close(found.returns, rewards.flip(1).cumsum(1).flip(1))


def test_whitened_values_have_mean_0_and_variance_1_over_the_mask():
    x, mask = random(5, 7) * 3 + 2, random(5, 7, seed=1) > 0
    found = loss.whiten(torch.where(mask, x, math.nan), mask)
    assert found[mask].mean().item() == pytest.approx(0, abs=1e-9)
    assert found[mask].var().item() == pytest.approx(1, abs=1e-6)
    assert not found[~mask].any()


@pytest.mark.parametrize("kept", [0, 1])
def test_too_few_values_to_whiten_are_0(kept):
    mask = torch.arange(4)[None] < kept
    assert not loss.whiten(random(1, 4), mask).any()


# ------------------------------------------------------------ PPO


def test_at_the_first_pass_the_loss_is_minus_the_mean_advantage():
    logp, advantages, mask = random(3, 5), random(3, 5, seed=1), random(3, 5, seed=2) > 0
    policy = logp.clone().requires_grad_()
    found = loss.ppo_policy(policy, logp, advantages, mask, 0.2)
    assert found.loss.item() == pytest.approx(-advantages[mask].mean().item())
    assert found.clip_fraction == 0
    assert found.approx_kl == 0
    found.loss.backward()  # the policy gradient
    torch.testing.assert_close(policy.grad, torch.where(mask, -advantages / mask.sum(), 0.0))


def slow_surrogate(logp, old_logp, advantage, clip):
    ratio = math.exp(logp - old_logp)
    return -min(advantage * ratio, advantage * min(max(ratio, 1 - clip), 1 + clip))


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"),
    [(1.5, 1.0, True), (0.5, 1.0, False), (1.5, -1.0, False), (0.5, -1.0, True), (1.1, 1.0, False), (0.9, -1, False)],
)
def test_only_a_step_that_went_far_enough_in_the_right_direction_is_clipped(ratio, advantage, clipped):
    logp = torch.tensor([[math.log(ratio)]]).requires_grad_()
    found = loss.ppo_policy(logp, torch.zeros(1, 1), torch.tensor([[float(advantage)]]), torch.ones(1, 1), 0.2)
    found.loss.backward()
    assert found.clip_fraction == float(clipped)
    assert bool(logp.grad == 0) is clipped
    assert found.loss.item() == pytest.approx(slow_surrogate(math.log(ratio), 0.0, advantage, 0.2))
    assert found.approx_kl.item() == pytest.approx(math.log(ratio) ** 2 / 2)


def test_the_policy_loss_is_that_of_a_loop_and_padding_is_not_read():
    logp, old, advantages, mask = (*(random(4, 6, seed=s) for s in (0, 1, 2)), random(4, 6, seed=3) > 0)
    at = mask.nonzero().tolist()
    wanted = [slow_surrogate(*(float(x[i, t]) for x in (logp, old, advantages)), 0.2) for i, t in at]
    policy = torch.where(mask, logp, -math.inf).requires_grad_()
    found = loss.ppo_policy(policy, torch.where(mask, old, -math.inf), advantages, mask, 0.2)
    assert found.loss.item() == pytest.approx(sum(wanted) / len(wanted))
    found.loss.backward()
    assert policy.grad.isfinite().all()
    assert not policy.grad[~mask].any()


def test_micro_batches_of_a_step_add_up():
    batch = (*(random(4, 6, seed=s) for s in (0, 1, 2)), random(4, 6, seed=3) > 0)
    tokens = int(batch[-1].sum())
    for function in (loss.ppo_policy, loss.ppo_value):
        whole = function(*batch, 0.2).loss
        split = [function(*(x[[i]] for x in batch), 0.2, tokens=tokens).loss for i in range(4)]
        assert sum(split).item() == pytest.approx(whole.item())


def test_the_value_loss_is_that_of_a_loop():
    values, old, returns, mask = (*(random(4, 6, seed=s) for s in (0, 1, 2)), random(4, 6, seed=3) > 0)
    wanted, clipped = [], 0
    for i, t in mask.nonzero().tolist():
        v, o, r = (float(x[i, t]) for x in (values, old, returns))
        free, held = (v - r) ** 2, (min(max(v, o - 0.2), o + 0.2) - r) ** 2
        wanted.append(max(free, held) / 2)
        clipped += held > free
    unread = torch.where(mask, 0.0, math.nan)
    found = loss.ppo_value(values + unread, old, returns + unread, mask, 0.2)
    assert found.loss.item() == pytest.approx(sum(wanted) / len(wanted))
    assert found.clip_fraction.item() == pytest.approx(clipped / len(wanted))
    assert 0 < clipped < len(wanted)


def test_a_value_that_moved_far_towards_the_return_is_held_back():
    ones = torch.ones(1, 1)
    for value, gradient in ((0.9, False), (0.1, True), (-0.9, True)):  # from 0, with the return at 1
        values = torch.full((1, 1), value).requires_grad_()
        loss.ppo_value(values, 0 * ones, ones, ones, 0.2).loss.backward()
        assert bool(values.grad != 0) is gradient


# ------------------------------------------------------------ GRPO


def test_advantages_of_a_group_by_hand():
    found = loss.grpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 10.0], [1.0, 2.0, 3.0, 4.0]]))
    root = math.sqrt(3)
    assert found[0].tolist() == pytest.approx([-1 / root, -1 / root, -1 / root, root], abs=1e-6)
    assert found[1].tolist() == pytest.approx([x / math.sqrt(1.25) for x in (-1.5, -0.5, 0.5, 1.5)], abs=1e-6)


def test_dr_grpo_leaves_out_the_deviation():
    found = loss.grpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 10.0]]), kind="dr_grpo")
    assert found.tolist() == [[-2.5, -2.5, -2.5, 7.5]]


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
def test_a_group_of_equal_scores_has_no_advantage_at_all(kind):
    for score in (0.1, 0.7, 10.0, 1e-3, -0.3):
        for samples in (1, 2, 3, 7, 48):
            scores = torch.full((2, samples + 1), score, dtype=torch.float64)
            scores[1, 0] = math.nan
            assert not loss.grpo_advantages(scores, kind).any()


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
def test_an_invalid_score_is_left_out_and_has_no_advantage(kind):
    found = loss.grpo_advantages([[0.0, None, 10.0, 0.0, 2.0], [None, 5.0, None, None, None], [None] * 5], kind)
    valid = loss.grpo_advantages([[0.0, 10.0, 0.0, 2.0]], kind)
    assert found[0].tolist() == [valid[0, 0], 0, *valid[0, 1:]]
    assert not found[1:].any()
    nan = torch.tensor([[0.0, math.nan, 10.0, 0.0, 2.0]])
    assert torch.equal(loss.grpo_advantages(nan, kind), found[:1])


LENGTHS = (1, 4, 3)
MASK = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
ADVANTAGES = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("normalisation", "over", "expected"),
    [
        ("sequence", None, -(2 - 1 + 0.5) / 3),
        ("token", None, -(2 * 1 - 1 * 4 + 0.5 * 3) / 8),
        ("fixed", 3 * 16, -(2 * 1 - 1 * 4 + 0.5 * 3) / 48),
    ],
)
def test_normalisations_at_the_first_pass_by_hand(normalisation, over, expected):
    logp = random(3, 5)
    found = loss.grpo_policy(logp, logp, ADVANTAGES, MASK, 0.2, normalisation=normalisation, over=over)
    assert found.loss.item() == pytest.approx(expected)
    assert found.clip_fraction == 0


@pytest.mark.parametrize(("normalisation", "over"), [("sequence", 3), ("token", 8), ("fixed", 48)])
def test_normalisations_are_those_of_loops_and_micro_batches_add_up(normalisation, over):
    logp, old = random(3, 5), random(3, 5, seed=1)
    each = [
        [slow_surrogate(float(logp[i, t]), float(old[i, t]), float(ADVANTAGES[i]), 0.2) for t in range(n)]
        for i, n in enumerate(LENGTHS)
    ]
    weight = {"sequence": lambda n: 1 / n / 3, "token": lambda n: 1 / 8, "fixed": lambda n: 1 / 48}[normalisation]
    expected = sum(x * weight(len(row)) for row in each for x in row)
    options = {"normalisation": normalisation, "over": over}
    whole = loss.grpo_policy(logp, old, ADVANTAGES, MASK, 0.2, **options)
    assert whole.loss.item() == pytest.approx(expected)
    assert 0 < whole.clip_fraction < 1
    split = [loss.grpo_policy(*(x[[i]] for x in (logp, old, ADVANTAGES, MASK)), 0.2, **options) for i in range(3)]
    assert sum(p.loss for p in split).item() == pytest.approx(expected)


def test_an_empty_completion_adds_nothing_and_no_advantage_no_gradient():
    logp = random(2, 5).requires_grad_()
    mask = torch.tensor([[False] * 5, [True] * 5])
    for normalisation in ("sequence", "token"):
        advantages = torch.tensor([3.0, 0.0])
        found = loss.grpo_policy(logp, logp.detach(), advantages, mask, 0.2, normalisation=normalisation)
        assert found.loss == 0
        found.loss.backward()
        assert not logp.grad.any()


def test_a_fixed_normalisation_needs_its_constant():
    logp = random(3, 5)
    with pytest.raises(ValueError, match="needs `over`"):
        loss.grpo_policy(logp, logp, ADVANTAGES, MASK, 0.2, normalisation="fixed")
