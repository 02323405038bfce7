"""What a family is: a parametrised kind of task with a computed answer, set in a persona's world."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Scene(NamedTuple):
    """What of a persona a task may name.

    persona: as a noun phrase without a full stop, "a beekeeper who sells honey at a market". topic: what it is busy
    with, "keeping bees". items: two plural nouns that can be counted and packed, "jars of honey", "hive frames". place:
    with its preposition, "at the farmers' market". name: a first name.
    """

    persona: str
    topic: str
    items: tuple[str, str]
    place: str
    name: str


@dataclass(frozen=True)
class Made:
    """A task that was made, not asked of a model.

    prompt: the task. response: a good answer, in the form that the skill asks for. truth: what the skill's verifier
    takes. wrong: an answer like `response` that is wrong. numbers: what was drawn, from which an oracle can find the
    truth in another way. tests, entry_point: of a code task.
    """

    prompt: str
    response: str
    truth: str
    wrong: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    tests: tuple[str, ...] = ()
    entry_point: str | None = None


@dataclass(frozen=True)
class Family:
    """A kind of task. make: all chance comes from `rng`, so the same state gives the same task."""

    name: str
    make: Callable[[random.Random, Scene], Made]
