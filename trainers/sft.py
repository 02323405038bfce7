"""Supervised fine-tuning: configuration, loss, step, loop.

A step trains on `batch` conversations, packed into as few rows of `pack_tokens` tokens as they need; they do not see
each other. Tülu 3's values are the defaults (arXiv 2411.15124 §4, 8B).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import Field

from trainers import gate
from trainers.attention import packed
from trainers.chat import Example
from trainers.engine import Engine, Optimiser, Place, Stepped
from trainers.looping import Batch, loop
from trainers.loss import Reduction, token_nll
from trainers.loss import sft as sft_loss
from trainers.opening import Examples, examples_of, open_model
from trainers.packing import Steps, pack
from tulu_data.errors import UsageError
from tulu_data.manifest import canonical_json
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, Version
from tulu_data.strict import Strict


class Recipe(Strict):
    """A training. Every number of the recipes that ship names its source."""

    name: str
    stage: Literal["sft"]
    model: str = Field(description="folder, or name in the hub's cache")
    mixture: str = Field(description="name, or name@version, in the store")
    suites: list[str] = Field(default_factory=list, description="that the mixture must have been audited against")
    source: str = Field(default="", description="where the numbers are from")
    seed: int = 123
    batch: int = Field(default=128, ge=1, description="conversations of a step")
    epochs: int = Field(default=2, ge=1)
    max_length: int = Field(default=4_096, ge=2, description="tokens of a conversation; longer ones are cut")
    pack_tokens: int | None = Field(default=None, ge=2, description="tokens of a packed row; else max_length")
    turns: Literal["all", "last"] = "all"
    loss: Reduction = "sum"
    optimiser: Optimiser = Optimiser()
    place: Place = Place()
    save_every: int = Field(default=200, ge=1, description="steps")

    @property
    def capacity(self) -> int:
        """Tokens of a packed row."""
        return self.pack_tokens or self.max_length


class Trained(NamedTuple):
    """What a training came to. model: the folder of the checkpoint to use."""

    model: Path
    steps: int
    losses: list[float]


class Prepared(NamedTuple):
    """Everything a training needs, found to be in order before the first step."""

    recipe: Recipe
    version: Version
    cleared: gate.Cleared
    engine: Engine
    examples: Examples
    steps: Steps
    digest: str  # of the recipe and the data


def prepare(recipe: Recipe, store: Store, *, allow: str | None = None, progress: Progress | None = None) -> Prepared:
    """Opens the data and the model.

    `GateError` for data that was not decontaminated, `UsageError` or `InputError` for what cannot be trained.
    """
    if recipe.capacity < recipe.max_length:
        raise UsageError(
            f"pack_tokens is {recipe.capacity:,}, less than max_length {recipe.max_length:,}; "
            "raise the one or lower the other"
        )
    version = store.open(recipe.mixture)
    cleared = gate.clear(version, recipe.suites, store, allow=allow, progress=progress)
    torch.manual_seed(recipe.seed)
    model, tokenizer = open_model(recipe.model, longest=recipe.max_length)
    examples = examples_of(version, tokenizer, max_length=recipe.max_length, turns=recipe.turns, progress=progress)
    steps = Steps(len(examples.kept), recipe.batch, recipe.epochs, recipe.seed)
    if not steps.total:
        raise UsageError(
            f"batch is {recipe.batch:,}, and {recipe.epochs:,} × {len(examples.kept):,} examples fill none; lower it"
        )
    engine = Engine(model, tokenizer, recipe.optimiser, recipe.place, steps.total)
    told = recipe.model_dump(mode="json", exclude={"place", "save_every", "name", "source"})
    digest = sha256(canonical_json({**told, "data": version.digest})).hexdigest()[:16]
    return Prepared(recipe, version, cleared, engine, examples, steps, digest)


def micro_batches(prepared: Prepared, examples: Sequence[Example]) -> Iterator[Callable[[], torch.Tensor]]:
    """A step's examples in packed rows, each a function that gives what the row adds to the step's loss."""
    recipe, engine = prepared.recipe, prepared.engine
    tokens = sum(e.trained for e in examples)
    for held in pack([len(e.tokens) for e in examples], recipe.capacity):
        yield partial(row_loss, engine, recipe.loss, [examples[i] for i in held], tokens, len(examples))


def row_loss(
    engine: Engine, reduction: Reduction, examples: Sequence[Example], tokens: int, batch: int
) -> torch.Tensor:
    """What one packed row adds to a step of `batch` examples with `tokens` trained tokens."""
    row = packed([e.tokens for e in examples], engine.device)
    # The first token of a segment has no context: it is predicted by nothing, whatever stands before it in the row.
    trainable = torch.tensor([t and i > 0 for e in examples for i, t in enumerate(e.trainable)], device=engine.device)
    hidden = engine.model.base_model(**row.arguments).last_hidden_state[0]
    nll = token_nll(hidden, engine.model.get_output_embeddings().weight, row.tokens[0], trainable)
    return sft_loss(nll, reduction=reduction, tokens=tokens, batch=batch)


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
    output.mkdir(parents=True, exist_ok=True)

    def batch_of(step: int) -> Batch:
        examples = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
        tokens = sum(len(e.tokens) for e in examples)
        return Batch(
            micro_batches(prepared, examples), tokens, lambda done: {"loss": per_token(done, recipe.loss, examples)}
        )

    model, steps, lines = loop(prepared, output, batch_of, progress=progress, until=until)
    return Trained(model, steps, [line["loss"] for line in lines])


def per_token(done: Stepped, reduction: Reduction, examples: Sequence[Example]) -> float:
    """A step's loss as the mean over its trained tokens, whatever was minimised: comparable between runs."""
    if reduction == "token_mean":
        return done.loss
    return done.loss * len(examples) / sum(e.trained for e in examples)
