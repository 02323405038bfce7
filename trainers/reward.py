"""Reward model: configuration, loss, step, loop.

A language model's body with a score for each conversation, read at its last token; the chosen one of a pair should have
the higher (Bradley-Terry). Tülu 3's values are the defaults (arXiv 2411.15124 §6). The value network of PPO starts from
such a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field

from trainers import preparing, ranks
from trainers.attention import packed
from trainers.chat import Example
from trainers.engine import Added, Engine, Optimiser
from trainers.looping import Told, alone, loop, told
from trainers.loss import bradley_terry
from trainers.opening import Opened, config_of, open_model, padding_of
from trainers.pairs import Pair, Pairs, pairs_of
from trainers.preparing import Training
from tulu_data.errors import InputError
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store


class Recipe(Training):
    """A training on pairs."""

    held_together: ClassVar[int] = 2  # a pair's answers

    stage: Literal["reward"]
    batch: int = Field(default=256, ge=1, description="pairs of a step")
    optimiser: Optimiser = Optimiser(learning_rate=3e-6, warmup=0.0)


Prepared = preparing.Prepared[Recipe, Pairs]


class Trained(NamedTuple):
    """What a training came to. accuracies: share of a step's pairs whose chosen answer has the higher score."""

    model: Path
    steps: int
    losses: list[float]
    accuracies: list[float]


def prepare(recipe: Recipe, store: Store, *, allow: str | None = None, progress: Progress | None = None) -> Prepared:
    """Opens the data and the model; errors as in `preparing.prepare`."""
    return preparing.prepare(
        recipe,
        store,
        partial(open_scorer, recipe.model, longest=recipe.max_length),
        partial(pairs_of, max_length=recipe.max_length, ends=True, progress=progress),
        allow=allow,
        progress=progress,
    )


def open_scorer(name: str, *, longest: int, drawn: bool = True) -> Opened:
    """A model with a score in place of its words.

    A head that a language model has not is drawn with a standard deviation of 1/√(size + 1), as the released code has
    it, or is an `InputError` where it shall not be `drawn`; a reward model keeps its own.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    classified = any("SequenceClassification" in a for a in config_of(name).architectures or ())
    if not (classified or drawn):
        raise InputError(f"reward_model {name}: has no score head; train it with: tulu train reward")
    head = None if classified else "score"
    said = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # it would report the head that is drawn here
    try:
        opened = open_model(name, longest=longest, kind=AutoModelForSequenceClassification, labels=1, drawn=head)
    finally:
        logging.set_verbosity(said)
    model = opened.model
    model.config.pad_token_id = padding_of(opened.tokenizer, name)
    if not classified and ranks.first():
        torch.nn.init.normal_(model.score.weight, std=(model.config.hidden_size + 1) ** -0.5)
    return opened


def scores_of(engine: Engine, sides: Sequence[Example]) -> torch.Tensor:
    """The score of each conversation, read at its last token: `(conversations,)`, fp32."""
    row = packed([s.tokens for s in sides], engine.device)
    hidden = engine.model.base_model(**row.arguments).last_hidden_state[0]
    ends = row.starts[1:].long() - 1
    with torch.autocast(engine.device.type, enabled=False):  # half a precision would blur which score is higher
        scores: torch.Tensor = hidden[ends].float() @ engine.model.score.weight.float().T
    return scores.squeeze(1)


def micro_batches(prepared: Prepared, pairs: Sequence[Pair]) -> list[Callable[[], Added]]:
    """A step's pairs in packed rows."""
    rows = prepared.rows([p.tokens for p in pairs])
    return [partial(added, prepared.engine, [pairs[i] for i in held], len(pairs)) for held in rows]


def added(engine: Engine, pairs: Sequence[Pair], batch: int) -> Added:
    """What one packed row adds to a step of `batch` pairs: the mean over pairs is minimised."""
    scores = scores_of(engine, [side for pair in pairs for side in pair])
    chosen, rejected = scores[0::2], scores[1::2]
    values = {"accuracy": (chosen > rejected).float(), "chosen_score": chosen, "rejected_score": rejected}
    measures = {name: value.detach().sum() / batch for name, value in values.items()}
    return Added(bradley_terry(chosen, rejected).sum() / batch, measures)


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

    def take(step: int) -> Told:
        pairs = [prepared.examples.kept[i] for i in prepared.steps.examples(step)]
        return told(sum(p.tokens for p in pairs), prepared.engine.step(step, micro_batches(prepared, pairs)))

    with alone(output, prepared):
        looped = loop(prepared, output, take, progress=progress, until=until)
    return Trained(looped.model, looped.steps, looped.series("loss"), looped.series("accuracy"))
