"""What the trainers that go through a version in epochs share: their settings, and what is in order before a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from pydantic import Field, field_validator

from trainers import gate, lora, packing, trackers
from trainers.checkpoints import weights_digest
from trainers.engine import Engine, Optimiser
from trainers.host import Place
from trainers.looping import NOT_DECIDING
from trainers.lora import Lora
from trainers.opening import Opened
from trainers.packing import Steps
from trainers.ranks import first, world
from tulu_data.errors import UsageError
from tulu_data.manifest import canonical_json
from tulu_data.progress import Progress
from tulu_data.store import Store, Version
from tulu_data.strict import Strict


class Run(Strict):
    """Settings of every training. Every number of the recipes that ship names its source."""

    name: str
    model: str = Field(description="folder, or name in the hub's cache")
    mixture: str = Field(description="name, or name@version, in the store")
    suites: list[str] = Field(default_factory=list, description="that the mixture must have been audited against")
    source: str = Field(default="", description="where the numbers are from")
    lora: Lora | None = None
    optimiser: Optimiser = Optimiser()
    place: Place = Place()
    track: list[str] = Field(default_factory=list, description="tensorboard, wandb, trackio: who is told besides")
    save_every: int = Field(default=200, ge=1, description="steps between checkpoints")
    keep: int | None = Field(default=2, ge=1, description="checkpoints that stay; null: all")

    @field_validator("optimiser", mode="before")
    @classmethod
    def _rest_is_the_stages(cls, given: Any) -> Any:
        """What a recipe leaves out of its optimiser is as the stage has it, not as another stage has."""
        own = cls.model_fields["optimiser"].default
        return {**own.model_dump(), **given} if isinstance(given, dict) else given


class Training(Run):
    """Settings of every trainer but RLVR's."""

    held_together: ClassVar[int] = 1  # sequences of up to max_length tokens that must share a packed row

    seed: int = 123
    batch: int = Field(default=128, ge=1, description="examples of a step")
    epochs: int = Field(default=1, ge=1)
    max_length: int = Field(default=2_048, ge=2, description="tokens of a conversation; longer ones are cut")
    pack_tokens: int | None = Field(default=None, ge=2, description="tokens of a packed row; else as few as may be")
    micro_batch: int | None = Field(default=None, ge=1, description="examples of a row, in place of pack_tokens")
    accumulation: int | None = Field(default=None, ge=1, description="rows of a process in a step; it is checked")

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

    @property
    def engines(self) -> dict[str, Engine]:
        """The one model that is trained."""
        return {"": self.engine}

    @property
    def total(self) -> int:
        """Steps."""
        return self.engine.total

    def rows(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which examples of a step share a row."""
        micro_batch = split(self.recipe, self.engine.ranks.size)
        return packing.rows(lengths, self.recipe.capacity, micro_batch)


def split(recipe: Training, processes: int) -> int | None:
    """The examples of a row, where a recipe says how its batch is split; `UsageError` where that does not come out."""
    micro, times = recipe.micro_batch, recipe.accumulation
    if micro is None and times is None:
        return None
    if recipe.pack_tokens is not None:
        raise UsageError("pack_tokens and micro_batch or accumulation both say what shares a row; leave one out")
    micro = micro or max(1, recipe.batch // (processes * (times or 1)))
    times = times or max(1, recipe.batch // (processes * micro))
    if processes * micro * times != recipe.batch:
        raise UsageError(
            f"batch is {recipe.batch:,}, and processes × micro_batch × accumulation, "
            f"{processes} × {micro:,} × {times:,}, are {processes * micro * times:,}; change one of them"
        )
    return micro


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
    split(recipe, world())
    version, cleared = data_of(recipe, store, allow=allow, progress=progress)
    torch.manual_seed(recipe.seed)
    model, tokenizer = opened()
    origin = weights_digest(model.state_dict()) if first() else ""
    if recipe.lora is not None:
        lora.inject(model, recipe.lora)
    examples = read(version, tokenizer)
    tell_what_is_left_out(examples.counts(), progress)
    steps = Steps(len(examples.kept), recipe.batch, recipe.epochs, recipe.seed)
    if not steps.total:
        count = f"{recipe.epochs:,} × {len(examples.kept):,} examples"
        raise UsageError(f"batch is {recipe.batch:,}, and {count} fill none; lower it")
    engine = Engine(model, tokenizer, recipe.optimiser, recipe.place, steps.total)
    digest = digest_of(recipe, version, engine.ranks.share(origin))
    return Prepared(recipe, version, cleared, engine, examples, steps, digest)


def data_of(recipe: Run, store: Store, *, allow: str | None, progress: Progress | None) -> tuple[Version, gate.Cleared]:
    """A training's version and what is known of it; what can be known before it is read is in order then."""
    trackers.check(recipe.track)
    recipe.place.torch_device  # noqa: B018 - it raises where there is none
    version = store.open(recipe.mixture)
    return version, gate.clear(version, recipe.suites, store, allow=allow, progress=progress)


def tell_what_is_left_out(counts: Mapping[str, int], progress: Progress | None) -> None:
    """Rows that are not trained on, or not whole."""
    told = {
        "left_out": "are left out",
        "identical": "of these are pairs that are one answer once they are cut",
        "unended": "of these lose an answer's end",
        "cut": "of the others lose their end",
    }
    if progress and (said := [f"{counts[k]:,} {what}" for k, what in told.items() if counts.get(k)]):
        progress.note(
            f"of {counts['examples'] + counts['left_out']:,} rows {', '.join(said)}: too long, or nothing in the loss"
        )


def digest_of(recipe: Strict, version: Version, *origins: str) -> str:
    """16 hex digits over the data, the settings that decide what comes out, and the models at the start."""
    decides = recipe.model_dump(mode="json", exclude=NOT_DECIDING)
    return sha256(canonical_json({**decides, "data": version.digest, "models": list(origins)})).hexdigest()[:16]
