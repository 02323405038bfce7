"""What a run will make: its items, drawn one by one from the personas and a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from personas.languages import LANGUAGES
from personas.persona import Persona
from personas.procedural.scenes import scene_of
from personas.prompts import Prompts
from personas.skill import MOST_SAMPLES, Ask, Asks, Draft, Item, Skill, Talk, item_id
from tulu_data.errors import UsageError, nearest
from tulu_data.llm.request import Request

CHARS_PER_TOKEN = 4.0  # of English text, for an estimate before anything is asked
ANSWER_TOKENS = 400  # of an answer whose longest length is not given, for the same estimate
PER_PERSONA = 10  # rows of one persona at most, unless more are allowed
PROCEDURAL_VERSION = "1"  # raised when a procedure says something else for the same item


@dataclass(frozen=True)
class Plan:
    """The rows to be made: `n` items of a skill.

    model: who is asked, None for the procedures. params: of every request. options: the skill's own.
    """

    skill: Skill
    personas: Sequence[Persona]
    prompts: Prompts
    n: int
    seed: int = 0
    model: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    language: str = "en"
    per_persona: int = PER_PERSONA
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """`UsageError` in one line where the plan cannot be carried out."""
        most = len(self.personas) * self.per_persona
        if self.n > most:
            raise UsageError(
                f"n is {self.n:,}, and {len(self.personas):,} personas with {self.per_persona:,} rows each allow "
                f"{most:,}; give more personas, or a larger --per-persona"
            )
        if self.language not in LANGUAGES:
            raise UsageError(
                f"language {self.language!r} is unknown; {nearest(self.language, LANGUAGES, noun='language')}"
            )
        if self.model is None and self.language != "en":
            raise UsageError(f"language {self.language!r}: the procedural backend writes English alone; name a --model")
        if self.model is None and self.skill.answer is None:
            raise UsageError(f"{self.skill.name}: has no procedure; name a --model")
        if self.samples_asked > MOST_SAMPLES:
            raise UsageError(
                f"{self.skill.name}: samples is {self.samples_asked:,}, at most {MOST_SAMPLES:,}; ask for fewer"
            )
        if self.samples_asked < self.skill.least_samples:
            least = self.skill.least_samples
            raise UsageError(
                f"{self.skill.name}: samples is {self.samples_asked}, and {least} must agree; ask for more"
            )
        for name in self.options:
            if name not in self.skill.options:
                known = nearest(name, self.skill.options, noun="option")
                raise UsageError(f"{self.skill.name}: option {name!r} is unknown; {known}")
        if self.samples_asked > 1 and self.model is not None and self.params.get("temperature") == 0:
            raise UsageError(
                f"temperature 0 gives {self.samples_asked} times the same solution, which is no vote; "
                "raise it, or ask for --samples 1"
            )
        if self.model is not None and self.params.get("temperature") == 0 and self._asks_again():
            raise UsageError(
                f"temperature 0 gives a persona the same row each time, and n is {self.n:,} for "
                f"{len(self.personas):,} personas; raise it, or give more personas"
            )
        next(self.items(1), None)  # draws what the options say

    def _asks_again(self) -> bool:
        """Whether a persona's second row begins with the question of its first: nothing else was drawn for it."""
        turns = len(self.personas) * (2 if self.skill.twins else 1)
        if self.n <= turns:
            return False
        first, second = (next(self.talk(self._item(self._order(), index))) for index in (0, turns))
        assert isinstance(first, Asks)
        assert isinstance(second, Asks)
        return [a.messages for a in first.asks] == [a.messages for a in second.asks]

    def _order(self) -> list[Persona]:
        """The personas as a run goes through them."""
        return sorted(self.personas, key=lambda p: sha256(f"{self.seed}/{p.id}".encode()).digest())

    @property
    def samples_asked(self) -> int:
        """Solutions of a row."""
        return self.samples or self.skill.samples

    @property
    def model_name(self) -> str:
        """Who answers, as rows say it."""
        return self.model or f"procedural/{PROCEDURAL_VERSION}"

    @property
    def label(self) -> str:
        """What the progress says."""
        return self.skill.name

    def talk(self, item: Item) -> Talk[Draft]:
        """The row of an item."""
        return self.skill.talk(item)

    def items(self, count: int | None = None) -> Iterator[Item]:
        """The items in order; each hangs on its persona, its index and the seed alone."""
        order = self._order()
        for index in range(self.n if count is None else min(count, self.n)):
            yield self._item(order, index)

    def _item(self, order: Sequence[Persona], index: int) -> Item:
        skill = self.skill
        turn, is_twin = divmod(index, 2) if skill.twins else (index, 0)
        persona = order[turn % len(order)]
        own = item_id(skill.name, skill.version, persona.id, index, self.seed)
        shared = item_id(skill.name, skill.version, persona.id, turn, self.seed) if skill.twins else own
        rng = random.Random(f"{shared}/draw")
        scene = scene_of(persona, rng)
        drawn = skill.draw(rng, scene, self.options) if skill.draw is not None else None
        samples = self.samples_asked
        item = Item(own, index, self.seed, persona, self.prompts, self.language, samples, drawn, is_twin=bool(is_twin))
        if self.model is not None:
            return replace(item, again=turn // len(order))
        # A procedure's solutions are all as good as one; programs are asked for as often as must pass.
        item = replace(item, samples=min(samples, skill.made_samples))
        if skill.make is not None:
            name, made = skill.make(rng, item, scene)
            return replace(item, family=name, made=made)
        family = skill.families[(turn + turn // len(order)) % len(skill.families)]  # another one each time round
        return replace(item, family=family.name, made=family.make(rng, scene))

    def request(self, item: Item, ask: Ask) -> Request:
        """A question as it is sent; its tag is the item and the question."""
        return Request(self.model_name, ask.messages, self.params, ask.sample, (item, ask))

    def answer(self, request: Request) -> str | None:
        """What a procedure says to a request."""
        item, ask = request.tag
        return self.skill.answer(item, ask.stage, ask.sample) if self.skill.answer is not None else None
