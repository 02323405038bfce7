"""The losses, as functions of tensors: no model, no optimiser, no configuration.

Likelihoods of packed rows and supervised losses first, then preferences, then policies. Masks are true (or 1) where a
token counts; what stands elsewhere is never read, be it NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.utils.checkpoint import checkpoint

CHUNK = 1_024  # positions whose logits exist at once: 8,192 tokens of 128,256 words in fp32 are 4.2 GB
EPSILON = 1e-8  # beside a standard deviation or a variance; open-instruct, TRL
Reduction = Literal["sum", "token_mean"]
Kind = Literal["grpo", "dr_grpo"]
Normalisation = Literal["sequence", "token", "fixed"]


def token_nll(
    hidden: torch.Tensor, head: torch.Tensor, tokens: torch.Tensor, trainable: torch.Tensor, *, chunk: int = CHUNK
) -> torch.Tensor:
    """The negative log-likelihood of each trained token: `(trained,)`, fp32, in order.

    hidden: `(time, size)`, the state at each position. head: `(words, size)`. tokens, trainable: `(time,)`; a token is
    predicted by the position before it, so the first is never trained. Logits exist for `chunk` positions at a time;
    where there are more, they are computed again in the backward pass. Where no token is trained, the gradients are
    zeros, not missing.
    """
    at = trainable[1:].nonzero().squeeze(1)
    states, wanted = hidden[:-1][at], tokens[1:][at]
    if len(states) <= chunk:
        return _nll(states, head, wanted)
    parts = [
        checkpoint(_nll, s, head, w, use_reentrant=False)
        for s, w in zip(torch.split(states, chunk), torch.split(wanted, chunk), strict=True)
    ]
    return torch.cat([p for p in parts if isinstance(p, torch.Tensor)])


def _nll(states: torch.Tensor, head: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy((states @ head.T).float(), wanted, reduction="none")


def segment_sums(values: torch.Tensor, trainable: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Sums of `values` (one for each trained token, as `token_nll` gives them) by segment: `(segments,)`.

    trainable: `(time,)`; the first token of a segment must not be trained. starts: `(segments + 1,)`.
    """
    at = trainable[1:].nonzero().squeeze(1) + 1
    segment = torch.bucketize(at, starts[1:-1].to(at.dtype), right=True)
    return values.new_zeros(len(starts) - 1).index_add(0, segment, values)


def sft(nll: torch.Tensor, *, reduction: Reduction, tokens: int, batch: int) -> torch.Tensor:
    """What one micro-batch adds to a step's loss; the step's loss is the sum over its micro-batches, however cut.

    nll: `(trained,)`, of any number of examples. tokens, batch: trained tokens and examples of the whole step, counted
    before the first backward pass.

    sum: over the tokens of an example, averaged over the step's examples. This is what Tülu 3's sum loss (arXiv
    2411.15124 §4.3.2) comes to in its released code: cross-entropy summed per device, one example on each, averaged
    over accumulation steps and ranks. token_mean: over the step's trained tokens.
    """
    return nll.sum() / (batch if reduction == "sum" else tokens)


# ------------------------------------------------------------ preferences


class Preference(NamedTuple):
    """A loss for each pair and the implicit rewards, `(pairs,)` each; only the losses carry gradients."""

    losses: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


def dpo(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    ref_chosen: torch.Tensor,
    ref_rejected: torch.Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Preference:
    """−log σ(β (log π/π_ref of chosen − of rejected)), of summed log-probabilities `(pairs,)`; arXiv 2305.18290 eq. 7.

    label_smoothing: the share of pairs thought to be labelled the wrong way round; its cDPO.
    """
    chosen_rewards, rejected_rewards = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    margin = chosen_rewards - rejected_rewards
    losses = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    return Preference(losses, chosen_rewards.detach(), rejected_rewards.detach())


def dpo_norm(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    ref_chosen: torch.Tensor,
    ref_rejected: torch.Tensor,
    chosen_tokens: torch.Tensor,
    rejected_tokens: torch.Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Preference:
    """`dpo` of log-probabilities per token: each sum `(pairs,)`, the reference's too, over its trained tokens' number.

    chosen_tokens, rejected_tokens: `(pairs,)`, at least 1. Tülu 3's, with β 5: arXiv 2411.15124 §5.1.2.
    """
    return dpo(
        chosen / chosen_tokens,
        rejected / rejected_tokens,
        ref_chosen / chosen_tokens,
        ref_rejected / rejected_tokens,
        beta=beta,
        label_smoothing=label_smoothing,
    )


def simpo(chosen_mean: torch.Tensor, rejected_mean: torch.Tensor, *, beta: float, gamma: float) -> Preference:
    """−log σ(β chosen − β rejected − γ), of log-probabilities per token `(pairs,)`; arXiv 2405.14734 eq. 6.

    gamma is the margin itself, not its ratio to beta, which other code takes.
    """
    chosen_rewards, rejected_rewards = beta * chosen_mean, beta * rejected_mean
    losses = -F.logsigmoid(chosen_rewards - rejected_rewards - gamma)
    return Preference(losses, chosen_rewards.detach(), rejected_rewards.detach())


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """−log σ(chosen − rejected) of a reward model's scores: `(pairs,)`; arXiv 2203.02155 eq. 1."""
    return -F.logsigmoid(chosen - rejected)


# ------------------------------------------------------------ policies


class Policy(NamedTuple):
    """A policy's loss, and two measures over the tokens of this call, without gradients.

    clip_fraction: the share of tokens whose loss is the clipped one, and so has no gradient. approx_kl: the mean of
    ½ (log π/π_old)², to second order the KL from the old policy (http://joschu.net/blog/kl-approx.html, k2).
    """

    loss: torch.Tensor
    clip_fraction: torch.Tensor
    approx_kl: torch.Tensor


class Value(NamedTuple):
    """A value model's loss, and the share of tokens whose loss is the clipped one."""

    loss: torch.Tensor
    clip_fraction: torch.Tensor


class Estimate(NamedTuple):
    """Both `(batch, time)`, 0 outside the mask."""

    advantages: torch.Tensor
    returns: torch.Tensor


def kl_rewards(
    logp: torch.Tensor, ref_logp: torch.Tensor, scores: torch.Tensor, last: torch.Tensor, beta: float
) -> torch.Tensor:
    """Rewards of completions, `(batch, time)`: −β (logp − ref_logp) at each token (k1), and the score at the last.

    logp, ref_logp: `(batch, time)`, completions from position 0. scores: `(batch,)`. last: `(batch,)`, where the
    end-of-sequence token stands, or the last token where there is none; what follows is 0. arXiv 2411.15124 §6.2.
    (TRL, and the released code after it, put the score one position later where a row has room.)
    """
    inside = torch.arange(logp.shape[1], device=logp.device) <= last[:, None]
    rewards = torch.where(inside, -beta * (logp - ref_logp), 0.0)
    return rewards.scatter_add(1, last[:, None], scores[:, None].to(rewards.dtype))


def gae(rewards: torch.Tensor, values: torch.Tensor, gamma: float, lam: float, mask: torch.Tensor) -> Estimate:
    """Advantages Σ (γλ)^k δ_{t+k}, δ_t = r_t + γ V_{t+1} − V_t, and returns, advantage + value; arXiv 1506.02438.

    rewards, values, mask: `(batch, time)`. Steps are the tokens in the mask, as if the others were not there; after the
    last one the value is 0.
    """
    keep = mask.bool()
    advantage = following = torch.zeros_like(values[:, 0])
    advantages = []
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = torch.where(keep[:, t], delta + gamma * lam * advantage, advantage)
        following = torch.where(keep[:, t], values[:, t], following)
        advantages.append(advantage)
    found = torch.stack(advantages[::-1], dim=1)
    return Estimate(torch.where(keep, found, 0.0), torch.where(keep, found + values, 0.0))


def whiten(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`(batch, time)` with mean 0 and variance 1 (of a sample: n − 1) over the mask, and 0 outside it."""
    keep = mask.bool()
    centred = torch.where(keep, x - _mean(x, keep), 0.0)
    variance = centred.square().sum() / (keep.sum() - 1).clamp(min=1)
    return centred * torch.rsqrt(variance + EPSILON)


def ppo_policy(
    logp: torch.Tensor,
    old_logp: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
    *,
    tokens: int | None = None,
) -> Policy:
    """The clipped surrogate, max(−A r, −A clip(r, 1 ± clip)), averaged over the mask; arXiv 1707.06347 eq. 7.

    logp, old_logp, advantages, mask: `(batch, time)`. tokens: of the whole step; then the losses of its micro-batches
    add up to the step's.
    """
    keep = mask.bool()
    losses, clip_fraction, approx_kl = _surrogate(logp, old_logp, advantages, keep, clip)
    return Policy(_mean(losses, keep, tokens), clip_fraction, approx_kl)


def ppo_value(
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
    *,
    tokens: int | None = None,
) -> Value:
    """½ max((V − R)², (V held within old V ± clip − R)²), averaged over the mask; open-instruct, TRL.

    values, old_values, returns, mask: `(batch, time)`. tokens: as in `ppo_policy`.
    """
    keep = mask.bool()
    error = torch.where(keep, values - returns, 0.0).square()
    held = torch.clamp(values, old_values - clip, old_values + clip)
    clipped = torch.where(keep, held - returns, 0.0).square()
    return Value(0.5 * _mean(torch.maximum(error, clipped), keep, tokens), _mean((clipped > error).float(), keep))


def grpo_advantages(scores: torch.Tensor | Sequence[Sequence[float | None]], kind: Kind = "grpo") -> torch.Tensor:
    """Scores of the samples of each prompt, `(groups, samples)`, → their advantages, fp32.

    grpo: (score − mean) / standard deviation (of a population) of its group, arXiv 2402.03300 §4.1.2. dr_grpo: score −
    mean, arXiv 2503.20783 §3.2. A score that is NaN or None is invalid: it is left out of both, and its advantage is 0.
    A group whose scores are all the same has advantage 0 exactly.
    """
    if not isinstance(scores, torch.Tensor):
        scores = torch.tensor([[math.nan if s is None else s for s in group] for group in scores])
    scores = scores.float().double()  # so the mean of equal scores is exact
    valid = ~scores.isnan()
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = torch.where(valid, scores, 0.0).sum(1, keepdim=True) / count
    centred = torch.where(valid, scores - mean, 0.0)
    if kind == "dr_grpo":
        return centred.float()
    return (centred / ((centred.square().sum(1, keepdim=True) / count).sqrt() + EPSILON)).float()


def grpo_policy(
    logp: torch.Tensor,
    old_logp: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    clip: float,
    *,
    normalisation: Normalisation,
    over: int | None = None,
) -> Policy:
    """The clipped surrogate of completions whose tokens share an advantage; no KL term.

    logp, old_logp, mask: `(batch, time)`. advantages: `(batch,)`. over: what the sum over the step is divided by; with
    it the losses of a step's micro-batches add up to the step's, without it these completions are the step.

    sequence: the mean over completions of the mean over their tokens; over: completions. arXiv 2402.03300 eq. 3.
    token: the mean over all tokens; over: tokens. DAPO, arXiv 2503.14476 eq. 8.
    fixed: the sum over a constant; over, required: completions × the longest allowed. Dr. GRPO, arXiv 2503.20783.
    """
    keep = mask.bool()
    losses, clip_fraction, approx_kl = _surrogate(logp, old_logp, advantages[:, None], keep, clip)
    if normalisation == "token":
        loss = _mean(losses, keep, over)
    elif normalisation == "sequence":
        loss = (losses.sum(1) / keep.sum(1).clamp(min=1)).sum() / (over or len(logp))
    elif over is None:
        raise ValueError("normalisation 'fixed' needs `over`: completions × the longest allowed")
    else:
        loss = losses.sum() / over
    return Policy(loss, clip_fraction, approx_kl)


def _surrogate(
    logp: torch.Tensor, old_logp: torch.Tensor, advantages: torch.Tensor, keep: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses `(batch, time)`, 0 outside the mask; clip fraction; approximate KL."""
    difference = torch.where(keep, logp - old_logp, 0.0)
    advantages = torch.where(keep, advantages, 0.0)
    ratio = difference.exp()
    free, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    measures = _mean((clipped > free).float(), keep), _mean(0.5 * difference.detach().square(), keep)
    return torch.maximum(free, clipped), *measures


def _mean(x: torch.Tensor, keep: torch.Tensor, count: int | None = None) -> torch.Tensor:
    total = torch.where(keep, x, 0.0).sum()
    return total / keep.sum().clamp(min=1) if count is None else total / count
