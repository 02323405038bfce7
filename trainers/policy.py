"""What answers and their rewards do to a policy: the updates of PPO and of GRPO.

Both start from what the policy was when it answered. Its log-probabilities are computed again here, for a sampler's own
are those of another program; how far the two are apart is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field

from trainers.attention import packed
from trainers.engine import Added, Engine, Optimiser, Stepped
from trainers.host import Host
from trainers.loss import (
    Kind,
    Normalisation,
    gae,
    grpo_advantages,
    grpo_policy,
    kl_rewards,
    ppo_policy,
    ppo_value,
    token_nll,
    whiten,
)
from trainers.packing import order, pack
from trainers.rollout import Rollout
from tulu_data.strict import Strict


class Updating(Strict):
    """How answers move the policy. The defaults are Tülu 3's (arXiv 2411.15124 §6, 8B)."""

    algorithm: Literal["ppo", "grpo"] = "ppo"
    seed: int = 1
    temperature: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.05, ge=0, description="weight of the KL from the model at the start")
    updates: int = Field(default=4, ge=1, description="passes over the answers of a step")
    minibatches: int = Field(default=1, ge=1, description="updates of a pass")
    clip: float = Field(default=0.2, gt=0, description="of the ratio to the policy that answered")
    gamma: float = Field(default=1.0, ge=0, le=1, description="ppo: discount")
    lam: float = Field(default=0.95, ge=0, le=1, description="ppo: of the generalised advantage estimate")
    value_clip: float = Field(default=0.2, gt=0, description="ppo: of the values, from what they were")
    value_weight: float = Field(default=0.1, gt=0, description="ppo: of the value loss")
    value_optimiser: Optimiser | None = Field(default=None, description="ppo: else as optimiser")
    advantage: Kind = Field(default="grpo", description="grpo: grpo, or dr_grpo")
    normalisation: Normalisation = Field(default="sequence", description="grpo: or token (DAPO), fixed (Dr. GRPO)")
    max_prompt_length: int = Field(default=2_048, ge=1, description="tokens; longer prompts are left out")
    response_length: int = Field(default=2_048, ge=1, description="tokens of an answer")
    pack_tokens: int | None = Field(
        default=None, ge=2, description="tokens of a packed row; else as long as a row may be"
    )

    @property
    def longest(self) -> int:
        """Tokens of a prompt with its answer."""
        return self.max_prompt_length + self.response_length

    @property
    def capacity(self) -> int:
        """Tokens of a packed row."""
        return self.pack_tokens or self.longest


NOTHING = {"loss": 0.0, "grad_norm": 0.0, "learning_rate": 0.0}  # of a step whose answers could not be verified


class Models(NamedTuple):
    """policy, and for PPO value, are trained. reference: the policy at the start; None without a KL."""

    policy: Engine
    value: Engine | None
    reference: Host | None


class Answers(NamedTuple):
    """The answers of a step, prompt by prompt. rewards: None where a verification could not be made."""

    rollouts: list[Rollout]
    rewards: list[float | None]
    samples: int  # answers to a prompt


def update(models: Models, answers: Answers, step: int, settings: Updating) -> dict[str, float]:
    """Moves the policy by a step's answers; the step's measures."""
    return {"ppo": ppo, "grpo": grpo}[settings.algorithm](models, answers, step, settings)


# ------------------------------------------------------------ what models say of answers


class Padded(NamedTuple):
    """A number for each token of some answers, `(answers, longest)`, and where there is one."""

    values: torch.Tensor
    mask: torch.Tensor


def padded(parts: Sequence[torch.Tensor], device: torch.device | str = "cpu") -> Padded:
    """Numbers of answers of several lengths → a table, 0 behind their ends."""
    values = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    lengths = torch.tensor([len(p) for p in parts])
    mask = torch.arange(values.shape[1]) < lengths[:, None]
    return Padded(values.to(device), mask.to(device))


def answered(rollouts: Sequence[Rollout], device: torch.device) -> torch.Tensor:
    """Where the tokens of the answers are in a packed row: `(time,)`."""
    flags = [i >= len(r.prompt) for r in rollouts for i in range(len(r.prompt) + len(r.completion))]
    return torch.tensor(flags, device=device)


def logps_of(host: Host, rollouts: Sequence[Rollout], temperature: float) -> torch.Tensor:
    """The log-probability of each token of the answers, in one packed row: `(tokens of all answers,)`."""
    model = host.model
    row = packed([r.prompt + r.completion for r in rollouts], host.device)
    hidden = model.base_model(**row.arguments).last_hidden_state[0] / temperature
    head = model.get_output_embeddings().weight
    return -token_nll(hidden, head, row.tokens[0], answered(rollouts, host.device))


def values_of(host: Host, rollouts: Sequence[Rollout]) -> torch.Tensor:
    """The value of the state that each token of the answers was chosen in: `(tokens of all answers,)`, fp32."""
    row = packed([r.prompt + r.completion for r in rollouts], host.device)
    hidden = host.model.base_model(**row.arguments).last_hidden_state[0]
    before = answered(rollouts, host.device)[1:].nonzero().squeeze(1)
    with torch.autocast(host.device.type, enabled=False):  # half a precision would move values in steps of the clip
        values: torch.Tensor = hidden[before].float() @ host.model.score.weight.float().T
    return values.squeeze(1)


def of_all(
    host: Host, rollouts: Sequence[Rollout], capacity: int, told: Callable[[Sequence[Rollout]], torch.Tensor]
) -> list[torch.Tensor]:
    """What `told` gives for the tokens of each answer, `(its tokens,)` each, without gradients, on the CPU."""
    rows = pack([len(r.prompt) + len(r.completion) for r in rollouts], capacity)
    found = host.evaluate([partial(told, [rollouts[i] for i in held]) for held in rows])
    parts: dict[int, torch.Tensor] = {}
    for held, values in zip(rows, found, strict=True):
        parts |= zip(held, values.split([len(rollouts[i].completion) for i in held]), strict=True)
    return [parts[i] for i in range(len(rollouts))]


# ------------------------------------------------------------ the updates


def passes(count: int, step: int, settings: Updating) -> Iterator[list[int]]:
    """The answers of each update of a step."""
    for i in range(settings.updates):
        chosen = list(range(count))
        if settings.minibatches > 1:
            chosen = order(count, settings.seed, step * settings.updates + i).tolist()
        ends = [count * k // settings.minibatches for k in range(settings.minibatches + 1)]
        yield from (sorted(chosen[a:b]) for a, b in pairwise(ends) if a < b)


def ppo(models: Models, answers: Answers, step: int, settings: Updating) -> dict[str, float]:
    """Proximal policy optimisation with a value model (arXiv 1707.06347), as Tülu 3 has it.

    The reward stands on an answer's last token, the KL from the reference is taken off at each; answers that could not
    be verified are left out. Advantages are whitened over all tokens of the step.
    """
    assert models.value is not None
    kept = [i for i, reward in enumerate(answers.rewards) if reward is not None]
    if not kept:
        return NOTHING
    rollouts = [answers.rollouts[i] for i in kept]
    say = partial(of_all, rollouts=rollouts, capacity=settings.capacity)
    before = say(models.policy, told=partial(logps_of, models.policy, temperature=settings.temperature))
    first = before
    if models.reference is not None:
        first = say(models.reference, told=partial(logps_of, models.reference, temperature=settings.temperature))
    valued = say(models.value, told=partial(values_of, models.value))
    (old, mask), reference, values = padded(before), padded(first).values, padded(valued).values
    scores = torch.tensor([answers.rewards[i] or 0.0 for i in kept])
    rewards = kl_rewards(old, reference, scores, mask.sum(1) - 1, settings.beta)
    advantages, returns = gae(rewards, values, settings.gamma, settings.lam, mask)
    fixed = Fixed(rollouts, old, whiten(advantages, mask), values, returns)
    policies, critics = [], []
    for chosen in passes(len(kept), step, settings):
        policies.append(models.policy.step(step, policy_rows(models.policy, fixed, chosen, settings)))
        critics.append(models.value.step(step, value_rows(models.value, fixed, chosen, settings)))
    error = (returns - values)[mask]
    kl = {} if models.reference is None else {"kl": float((old - reference)[mask].mean())}
    return {
        **summed(policies),
        **kl,
        "value_loss": summed(critics)["loss"],
        "value_clip_fraction": summed(critics)["value_clip_fraction"],
        "value_grad_norm": critics[-1].grad_norm,
        "explained_variance": 1 - float(error.var(correction=0) / returns[mask].var(correction=0).clamp(min=1e-8)),
        "sampler_gap": gap(rollouts, before),
    }


class Fixed(NamedTuple):
    """What does not change while the answers of a step are gone through: `(answers, longest)` each."""

    rollouts: list[Rollout]
    old: torch.Tensor
    advantages: torch.Tensor
    values: torch.Tensor
    returns: torch.Tensor


def policy_rows(engine: Engine, fixed: Fixed, chosen: Sequence[int], settings: Updating) -> list[Callable[[], Added]]:
    """An update's answers in packed rows, as the policy's loss has them."""
    tokens = sum(len(fixed.rollouts[i].completion) for i in chosen)

    def added(held: list[int]) -> Added:
        rollouts = [fixed.rollouts[i] for i in held]
        found = logps_of(engine, rollouts, settings.temperature)
        logps, old, advantages, mask = table(rollouts, found, fixed.old[held], fixed.advantages[held])
        policy = ppo_policy(logps, old, advantages, mask, settings.clip, tokens=tokens)
        return Added(policy.loss, measures(policy, float(mask.sum()) / tokens))

    return [partial(added, held) for held in rows_of(fixed.rollouts, chosen, settings.capacity)]


def value_rows(engine: Engine, fixed: Fixed, chosen: Sequence[int], settings: Updating) -> list[Callable[[], Added]]:
    """An update's answers in packed rows, as the value model's loss has them."""
    tokens = sum(len(fixed.rollouts[i].completion) for i in chosen)

    def added(held: list[int]) -> Added:
        rollouts = [fixed.rollouts[i] for i in held]
        values, old, returns, mask = table(
            rollouts, values_of(engine, rollouts), fixed.values[held], fixed.returns[held]
        )
        value = ppo_value(values, old, returns, mask, settings.value_clip, tokens=tokens)
        share = float(mask.sum()) / tokens
        return Added(settings.value_weight * value.loss, {"value_clip_fraction": share * value.clip_fraction})

    return [partial(added, held) for held in rows_of(fixed.rollouts, chosen, settings.capacity)]


def grpo(models: Models, answers: Answers, step: int, settings: Updating) -> dict[str, float]:
    """Group-relative policy optimisation (arXiv 2402.03300), with the normalisations of DAPO and Dr. GRPO.

    The advantage of an answer is its reward among those to its prompt; the KL from the reference (k3) is in the loss.
    Answers that could not be verified are left out.
    """
    rollouts = answers.rollouts
    groups = [answers.rewards[i : i + answers.samples] for i in range(0, len(rollouts), answers.samples)]
    advantages = grpo_advantages(groups, settings.advantage)
    kept = [i for i, reward in enumerate(answers.rewards) if reward is not None]
    if not kept:
        return NOTHING
    rollouts = [rollouts[i] for i in kept]
    say = partial(of_all, rollouts=rollouts, capacity=settings.capacity)
    before = say(models.policy, told=partial(logps_of, models.policy, temperature=settings.temperature))
    reference = None
    if models.reference is not None:
        first = say(models.reference, told=partial(logps_of, models.reference, temperature=settings.temperature))
        reference = padded(first).values
    fixed = Grouped(rollouts, padded(before).values, advantages.flatten()[kept], reference)
    done = [
        models.policy.step(step, grouped_rows(models.policy, fixed, chosen, settings))
        for chosen in passes(len(rollouts), step, settings)
    ]
    idle = float((advantages == 0).all(1).float().mean())
    kl = {} if reference is None else {"kl": float((fixed.old - reference)[padded(before).mask].mean())}
    return {**summed(done), **kl, "idle_groups": idle, "sampler_gap": gap(rollouts, before)}


class Grouped(NamedTuple):
    """What does not change while the answers of a step are gone through. advantages: `(answers,)`, else as `Fixed`."""

    rollouts: list[Rollout]
    old: torch.Tensor
    advantages: torch.Tensor
    reference: torch.Tensor | None


def grouped_rows(
    engine: Engine, fixed: Grouped, chosen: Sequence[int], settings: Updating
) -> list[Callable[[], Added]]:
    """An update's answers in packed rows, as GRPO's loss has them."""
    tokens = sum(len(fixed.rollouts[i].completion) for i in chosen)
    over = {"sequence": len(chosen), "token": tokens, "fixed": len(chosen) * settings.response_length}
    how: dict[str, Any] = {"normalisation": settings.normalisation, "over": over[settings.normalisation]}

    def added(held: list[int]) -> Added:
        rollouts = [fixed.rollouts[i] for i in held]
        beside = [fixed.old[held]] if fixed.reference is None else [fixed.old[held], fixed.reference[held]]
        logps, *others, mask = table(rollouts, logps_of(engine, rollouts, settings.temperature), *beside)
        policy = grpo_policy(logps, others[0], fixed.advantages[held].to(logps.device), mask, settings.clip, **how)
        share = float(mask.sum()) / tokens
        if fixed.reference is None:
            return Added(policy.loss, measures(policy, share))
        difference = (others[1] - logps) * mask
        kl = (difference.exp() - difference - 1) * mask  # k3; arXiv 2402.03300 eq. 4
        per_answer = kl.sum(1) / mask.sum(1) if settings.normalisation == "sequence" else kl.sum(1)
        told = {**measures(policy, share), "kl_penalty": kl.detach().sum() / tokens}
        return Added(policy.loss + settings.beta * per_answer.sum() / how["over"], told)

    return [partial(added, held) for held in rows_of(fixed.rollouts, chosen, settings.capacity)]


# ------------------------------------------------------------ tables and measures


def rows_of(rollouts: Sequence[Rollout], chosen: Sequence[int], capacity: int) -> list[list[int]]:
    """Which of the chosen answers share a packed row."""
    lengths = [len(rollouts[i].prompt) + len(rollouts[i].completion) for i in chosen]
    return [[chosen[i] for i in held] for held in pack(lengths, capacity)]


def table(rollouts: Sequence[Rollout], found: torch.Tensor, *fixed: torch.Tensor) -> list[torch.Tensor]:
    """`(tokens of all answers,)` → `(answers, longest)`, the same cut of what is fixed, and the mask."""
    parts = torch.split(found, [len(r.completion) for r in rollouts])
    now, mask = padded(parts, found.device)
    return [now, *(f[:, : now.shape[1]].to(now.device) for f in fixed), mask]


def measures(policy: Any, share: float) -> dict[str, torch.Tensor]:
    """What a row's policy loss tells, by its share of the update's tokens."""
    return {name: share * getattr(policy, name).detach() for name in ("clip_fraction", "approx_kl")}


def summed(done: Sequence[Stepped]) -> dict[str, float]:
    """The measures of a step's updates: their mean; of rates and norms the last."""
    told = {name: sum(d.told[name] for d in done) / len(done) for name in done[0].told}
    loss = sum(d.loss for d in done) / len(done)
    return {"loss": loss, **told, "grad_norm": done[-1].grad_norm, "learning_rate": done[-1].learning_rate}


def gap(rollouts: Sequence[Rollout], logps: Sequence[torch.Tensor]) -> float:
    """How far the sampler's log-probabilities are from the trainer's: the mean over tokens, in nats."""
    sampled = torch.tensor([value for r in rollouts for value in r.logps])
    return float((torch.cat(list(logps)) - sampled).abs().mean())
