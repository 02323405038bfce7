"""Direct preference optimisation: configuration, loss, step, loop.

A step trains on `batch` pairs, packed whole into rows of `pack_tokens` tokens without padding. The reference's
log-probabilities are computed once, before training, and kept on disk. Tülu 3's values are the defaults: the
length-normalised loss with β 5 (arXiv 2411.15124 §5, 8B).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator

from trainers import lora, preparing
from trainers import loss as losses
from trainers.attention import packed
from trainers.chat import in_loss
from trainers.checkpoints import flush, weights_digest
from trainers.engine import Added, Engine, Optimiser
from trainers.looping import Told, alone, loop, told
from trainers.opening import open_model
from trainers.packing import pack
from trainers.pairs import Pair, Pairs, pairs_of
from trainers.preparing import Training
from tulu_data.manifest import canonical_json
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store

REFERENCE_FILE = "reference.npz"
AT_ONCE = 1_024  # pairs packed together for the reference: packing takes the square of them
SHOWN = ("accuracy", "margin", "chosen_reward", "rejected_reward")


class Recipe(Training):
    """A training on pairs; the model is the reference too."""

    held_together: ClassVar[int] = 2  # a pair's answers

    stage: Literal["dpo"]
    turns: Literal["all", "last"] = Field(
        default="all", description="assistant turns whose tokens count: it changes dpo_norm, and not dpo"
    )
    loss: Literal["dpo_norm", "dpo", "simpo"] = "dpo_norm"
    beta: float = Field(default=5.0, gt=0)
    gamma: float = Field(default=1.0, description="simpo: the margin")
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    optimiser: Optimiser = Optimiser(learning_rate=5e-7, warmup=0.1)

    @model_validator(mode="after")
    def _one_loss(self) -> Recipe:
        strange, whose = ("label_smoothing", "dpo_norm and dpo") if self.loss == "simpo" else ("gamma", "simpo")
        if strange in self.model_fields_set:
            raise ValueError(f"{strange}: is a setting of {whose}, and loss is {self.loss}; leave it out")
        return self


Prepared = preparing.Prepared[Recipe, Pairs]


class Trained(NamedTuple):
    """What a training came to. accuracies: share of a step's pairs whose chosen answer has the higher reward."""

    model: Path
    steps: int
    losses: list[float]
    accuracies: list[float]


def prepare(recipe: Recipe, store: Store, *, allow: str | None = None, progress: Progress | None = None) -> Prepared:
    """Opens the data and the model; errors as in `preparing.prepare`."""
    return preparing.prepare(
        recipe,
        store,
        partial(open_model, recipe.model, longest=recipe.max_length),
        partial(pairs_of, max_length=recipe.max_length, turns=recipe.turns, progress=progress),
        allow=allow,
        progress=progress,
    )


# ------------------------------------------------------------ log-probabilities


class Sums(NamedTuple):
    """Summed log-probabilities of the trained tokens, and how many they are: `(pairs,)` each."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor


def sums_of(engine: Engine, pairs: Sequence[Pair]) -> Sums:
    """The pairs in one packed row: chosen, rejected, chosen, …"""
    sides = [side for pair in pairs for side in pair]
    row = packed([s.tokens for s in sides], engine.device)
    trainable = torch.from_numpy(in_loss(sides)).to(engine.device)
    hidden = engine.model.base_model(**row.arguments).last_hidden_state[0]
    nll = losses.token_nll(hidden, engine.model.get_output_embeddings().weight, row.tokens[0], trainable)
    sums = -losses.segment_sums(nll, trainable, row.starts)
    counts = torch.tensor([s.trained for s in sides], device=engine.device)
    return Sums(sums[0::2], sums[1::2], counts[0::2], counts[1::2])


class Reference(NamedTuple):
    """The reference's summed log-probabilities: `(pairs,)` each, in the order of the pairs."""

    chosen: torch.Tensor
    rejected: torch.Tensor


def reference_of(prepared: Prepared, folder: Path, *, progress: Progress | None = None) -> Reference | None:
    """What the untrained model says of every pair, from `folder` where it was computed before; None for simpo.

    Kept under the digests of what decides it: weights, configuration, and the pairs as tokens.
    """
    if prepared.recipe.loss == "simpo":
        return None
    recipe, engine = prepared.recipe, prepared.engine
    config = engine.model.config.to_dict()
    config.pop("_name_or_path", None)
    weights = lora.merged(engine.model, engine.weights())
    decides = {"model": weights_digest(weights), "config": json.dumps(config, sort_keys=True, default=str)}
    decides |= {"pairs": pairs_digest(prepared.examples.kept), "dtype": recipe.place.dtype}
    name = engine.ranks.share(sha256(canonical_json(decides)).hexdigest()[:16])
    path = folder / f"{name}-{REFERENCE_FILE}"
    if engine.ranks.share(path.exists()):
        kept = np.load(path)
        return Reference(torch.from_numpy(kept["chosen"]), torch.from_numpy(kept["rejected"]))
    found = live_reference(prepared, progress=progress)
    if not engine.ranks.first:
        return found
    part = path.with_suffix(".part.npz")
    np.savez(part, chosen=found.chosen.numpy(), rejected=found.rejected.numpy())
    flush(part)
    part.rename(path)
    return found


def live_reference(prepared: Prepared, *, progress: Progress | None = None) -> Reference:
    """What the model as it stands says of every pair."""
    engine, pairs = prepared.engine, prepared.examples.kept
    chosen, rejected = torch.empty(len(pairs)), torch.empty(len(pairs))
    with (progress or Silent()).task("reference", len(pairs)) as advance:
        for start in range(0, len(pairs), AT_ONCE):
            some = pairs[start : start + AT_ONCE]
            rows = pack([p.tokens for p in some], prepared.recipe.capacity)
            found = engine.evaluate([partial(sums_of, engine, [some[i] for i in held]) for held in rows])
            for held, sums in zip(rows, found, strict=True):
                at = [start + i for i in held]
                chosen[at], rejected[at] = sums.chosen, sums.rejected
            advance(len(some))
    return Reference(chosen, rejected)


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """sha256 over the pairs as they are trained on, tokens and masks, in hex."""
    h = sha256()
    for side in (side for pair in pairs for side in pair):
        h.update(len(side.tokens).to_bytes(8))
        h.update(side.tokens.astype(np.int64).tobytes() + side.trainable.tobytes())
    return h.hexdigest()


# ------------------------------------------------------------ the step and the loop


def preference(recipe: Recipe, sums: Sums, reference: Reference | None) -> losses.Preference:
    """The recipe's loss of some pairs."""
    if reference is None:
        means = (sums.chosen / sums.chosen_tokens, sums.rejected / sums.rejected_tokens)
        return losses.simpo(*means, beta=recipe.beta, gamma=recipe.gamma)
    beta, smoothing = recipe.beta, recipe.label_smoothing
    logps = (sums.chosen, sums.rejected, reference.chosen.to(sums.chosen), reference.rejected.to(sums.rejected))
    if recipe.loss == "dpo":
        return losses.dpo(*logps, beta=beta, label_smoothing=smoothing)
    counts = (sums.chosen_tokens, sums.rejected_tokens)
    return losses.dpo_norm(*logps, *counts, beta=beta, label_smoothing=smoothing)


def micro_batches(prepared: Prepared, indices: Sequence[int], reference: Reference | None) -> list[Callable[[], Added]]:
    """A step's pairs in packed rows."""
    pairs = [prepared.examples.kept[i] for i in indices]
    found: list[Callable[[], Added]] = []
    for held in prepared.rows([p.tokens for p in pairs]):
        at = [indices[i] for i in held]
        own = None if reference is None else Reference(reference.chosen[at], reference.rejected[at])
        found.append(partial(added, prepared, [pairs[i] for i in held], own, len(pairs)))
    return found


def added(prepared: Prepared, pairs: Sequence[Pair], reference: Reference | None, batch: int) -> Added:
    """What one packed row adds to a step of `batch` pairs: the mean over pairs is minimised."""
    found = preference(prepared.recipe, sums_of(prepared.engine, pairs), reference)
    chosen, rejected = found.chosen_rewards, found.rejected_rewards
    values = ((chosen > rejected).float(), chosen - rejected, chosen, rejected)
    return Added(found.losses.sum() / batch, {n: v.sum() / batch for n, v in zip(SHOWN, values, strict=True)})


def train(
    recipe: Recipe,
    store: Store,
    output: Path,
    *,
    allow: str | None = None,
    progress: Progress | None = None,
    until: int | None = None,
) -> Trained:
    """Trains, from the newest checkpoint in `output` where there is one; see `sft.train`."""
    progress = progress or Silent()
    prepared = prepare(recipe, store, allow=allow, progress=progress)
    with alone(output, prepared):
        reference = reference_of(prepared, output, progress=progress)

        def take(step: int) -> Told:
            indices = prepared.steps.examples(step)
            done = prepared.engine.step(step, micro_batches(prepared, indices, reference))
            return told(sum(prepared.examples.kept[i].tokens for i in indices), done)

        looped = loop(prepared, output, take, progress=progress, until=until)
    return Trained(looped.model, looped.steps, looped.series("loss"), looped.series("accuracy"))
