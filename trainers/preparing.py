"""What the trainers that go through a version in epochs share: their settings, and what is in order before a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from pydantic import Field

from trainers import gate
from trainers.engine import Engine, Optimiser, Place
from trainers.opening import Opened
from trainers.packing import Steps
from tulu_data.errors import UsageError
from tulu_data.manifest import canonical_json
from tulu_data.progress import Progress
from tulu_data.store import Store, Version
from tulu_data.strict import Strict

NOT_DECIDING = {"place", "save_every", "name", "source", "sample_batch"}  # settings that do not name a training


class Training(Strict):
    """Settings of every trainer but RLVR's. Every number of the recipes that ship names its source."""

    held_together: ClassVar[int] = 1  # sequences of up to max_length tokens that must share a packed row

    name: str
    model: str = Field(description="folder, or name in the hub's cache")
    mixture: str = Field(description="name, or name@version, in the store")
    suites: list[str] = Field(default_factory=list, description="that the mixture must have been audited against")
    source: str = Field(default="", description="where the numbers are from")
    seed: int = 123
    batch: int = Field(default=128, ge=1, description="examples of a step")
    epochs: int = Field(default=1, ge=1)
    max_length: int = Field(default=2_048, ge=2, description="tokens of a conversation; longer ones are cut")
    pack_tokens: int | None = Field(default=None, ge=2, description="tokens of a packed row; else as few as may be")
    optimiser: Optimiser = Optimiser()
    place: Place = Place()
    save_every: int = Field(default=200, ge=1, description="steps")

    @property
    def capacity(self) -> int:
        """Tokens of a packed row."""
        return self.pack_tokens or self.held_together * self.max_length


class Held(Protocol):
    """What is trained on."""

    @property
    def kept(self) -> Sequence[Any]:
        """The examples."""

    def counts(self) -> dict[str, int]:
        """For people and metrics."""


R = TypeVar("R", bound=Training)
E = TypeVar("E", bound=Held)


@dataclass(frozen=True)
class Prepared(Generic[R, E]):
    """Everything a training needs, found to be in order before the first step. digest: of the recipe and the data."""

    recipe: R
    version: Version
    cleared: gate.Cleared
    engine: Engine
    examples: E
    steps: Steps
    digest: str


def prepare(
    recipe: R,
    store: Store,
    opened: Callable[[], Opened],
    read: Callable[[Version, Any], E],
    *,
    allow: str | None,
    progress: Progress | None,
) -> Prepared[R, E]:
    """Opens the data and the model. opened: gives the model; read: (version, tokenizer) → the examples.

    `GateError` for data that was not decontaminated, `UsageError` or `InputError` for what cannot be trained.
    """
    least = recipe.held_together * recipe.max_length
    if recipe.capacity < least:
        raise UsageError(
            f"pack_tokens is {recipe.capacity:,}, and what shares a row may have {least:,}, {recipe.held_together} × "
            "max_length; raise the one or lower the other"
        )
    version = store.open(recipe.mixture)
    cleared = gate.clear(version, recipe.suites, store, allow=allow, progress=progress)
    torch.manual_seed(recipe.seed)
    model, tokenizer = opened()
    examples = read(version, tokenizer)
    steps = Steps(len(examples.kept), recipe.batch, recipe.epochs, recipe.seed)
    if not steps.total:
        count = f"{recipe.epochs:,} × {len(examples.kept):,} examples"
        raise UsageError(f"batch is {recipe.batch:,}, and {count} fill none; lower it")
    engine = Engine(model, tokenizer, recipe.optimiser, recipe.place, steps.total)
    return Prepared(recipe, version, cleared, engine, examples, steps, digest_of(recipe, version))


def digest_of(recipe: Strict, version: Version) -> str:
    """16 hex digits over the data and the settings that decide what comes out."""
    told = recipe.model_dump(mode="json", exclude=NOT_DECIDING)
    return sha256(canonical_json({**told, "data": version.digest})).hexdigest()[:16]
