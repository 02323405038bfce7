"""Supervised fine-tuning: configuration, loss, step, loop.

A step trains on `batch` conversations, packed into as few rows of `pack_tokens` tokens as they need; they do not see
each other. Tülu 3's values are the defaults (arXiv 2411.15124 §4, 8B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import Field

from trainers import preparing
from trainers.attention import packed
from trainers.chat import Example, in_loss
from trainers.engine import Added, Engine, Stepped
from trainers.looping import Told, alone, loop, told
from trainers.loss import Reduction, token_nll
from trainers.loss import sft as sft_loss
from trainers.opening import Examples, examples_of, open_model
from trainers.preparing import Training
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store


class Recipe(Training):
    """A training on conversations."""

    stage: Literal["sft"]
    epochs: int = Field(default=2, ge=1)
    max_length: int = Field(default=4_096, ge=2, description="tokens of a conversation; longer ones are cut")
    turns: Literal["all", "last"] = "all"
    loss: Reduction = "sum"


Prepared = preparing.Prepared[Recipe, Examples]


class Trained(NamedTuple):
    """What a training came to. model: the folder of the checkpoint to use."""

    model: Path
    steps: int
    losses: list[float]


def prepare(recipe: Recipe, store: Store, *, allow: str | None = None, progress: Progress | None = None) -> Prepared:
    """Opens the data and the model; errors as in `preparing.prepare`."""
    return preparing.prepare(
        recipe,
        store,
        partial(open_model, recipe.model, longest=recipe.max_length),
        partial(examples_of, max_length=recipe.max_length, turns=recipe.turns, progress=progress),
        allow=allow,
        progress=progress,
    )


def micro_batches(prepared: Prepared, examples: Sequence[Example]) -> list[Callable[[], Added]]:
    """A step's examples in packed rows, each a function that gives what the row adds to the step."""
    tokens, size = sum(e.trained for e in examples), len(examples)
    rows = [[examples[i] for i in held] for held in prepared.rows([len(e.tokens) for e in examples])]
    return [partial(added, prepared.engine, prepared.recipe.loss, row, tokens, size) for row in rows]


def added(engine: Engine, reduction: Reduction, examples: Sequence[Example], tokens: int, batch: int) -> Added:
    """What one packed row adds to a step of `batch` examples with `tokens` trained tokens."""
    row = packed([e.tokens for e in examples], engine.device)
    trainable = torch.from_numpy(in_loss(examples)).to(engine.device)
    hidden = engine.model.base_model(**row.arguments).last_hidden_state[0]
    nll = token_nll(hidden, engine.model.get_output_embeddings().weight, row.tokens[0], trainable)
    return Added(sft_loss(nll, reduction=reduction, tokens=tokens, batch=batch), {})


def train(
    recipe: Recipe,
    store: Store,
    output: Path,
    *,
    allow: str | None = None,
    progress: Progress | None = None,
    until: int | None = None,
) -> Trained:
    """Trains, from the newest checkpoint in `output` where there is one; the model is `output/model`.

    until: stops after that step with a checkpoint. Errors as in `prepare`.
    """
    progress = progress or Silent()
    prepared = prepare(recipe, store, allow=allow, progress=progress)

    def take(step: int) -> Told:
        examples = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
        done = prepared.engine.step(step, micro_batches(prepared, examples))
        return told(sum(len(e.tokens) for e in examples), done, loss=per_token(done, recipe.loss, examples))

    with alone(output, prepared):
        looped = loop(prepared, output, take, progress=progress, until=until)
    return Trained(looped.model, looped.steps, looped.series("loss"))


def per_token(done: Stepped, reduction: Reduction, examples: Sequence[Example]) -> float:
    """A step's loss as the mean over its trained tokens, whatever was minimised: comparable between runs."""
    if reduction == "token_mean":
        return done.loss
    return done.loss * len(examples) / sum(e.trained for e in examples)
