"""Precise instruction following: constraints are drawn first, and an answer must keep them all.

The prompt must hold every parameter word for word, for what it lost nobody could follow. `ifeval` is the verifier, its
verdict per constraint is kept.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from personas.composing import compose
from personas.constraints import KINDS, lost, read_constraint, sample_constraints, truth_of, wording
from personas.procedural.family import Made, Scene
from personas.skill import Draft, Item, Rejected, Skill, Talk, after, ask, check, made_answer
from tulu_data.errors import UsageError
from tulu_data.verifiers.ifeval import Constraint
from tulu_data.verifiers.pool import Task

MARKER = "User instruction:"  # arXiv 2411.15124, Figure 31


class Asked(NamedTuple):
    """Constraints, and the words that each is asked for in."""

    constraints: tuple[Constraint, ...]
    words: tuple[str, ...]

    def told(self) -> list[dict[str, Any]]:
        """As a row holds them."""
        pairs = zip(self.constraints, self.words, strict=True)
        return [{"id": c.id, "kwargs": dict(c.kwargs), "text": words} for c, words in pairs]


def draw(rng: random.Random, scene: Scene, options: Mapping[str, Any]) -> Asked:
    """1 to 3 constraints, or `max_constraints` at most."""
    listed = options.get("constraints") or []
    if not isinstance(listed, list | tuple) or not all(isinstance(c, str | Constraint) for c in listed):
        raise UsageError(f"constraints must be a list of ID or ID=JSON, got {listed!r}")
    given = [read_constraint(c) if isinstance(c, str) else c for c in listed]
    fixed = [c for c in given if isinstance(c, Constraint)]
    pool = [c for c in given if isinstance(c, str)] or ([] if fixed else list(KINDS))
    most = options.get("max_constraints", 3)
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise UsageError(f"max_constraints must be a whole number from 1, got {most!r}")
    count = max(len(fixed), rng.randint(1, min(most, len(fixed) + len(pool))))
    constraints = tuple(_some(rng, scene, count, pool, fixed))
    return Asked(constraints, tuple(wording(rng, c) for c in constraints))


def _some(
    rng: random.Random, scene: Scene, count: int, pool: Sequence[str], fixed: Sequence[Constraint]
) -> Sequence[Constraint]:
    while True:
        try:
            return sample_constraints(rng, scene, count=count, pool=pool, fixed=fixed)
        except UsageError:
            if count <= max(1, len(fixed)):
                raise
            count -= 1  # some types go with few others


def talk(item: Item) -> Talk[Draft]:
    """Instruction with all parameters → answer → every checker."""
    asked: Asked = item.drawn
    constraints, told = asked.constraints, asked.told()
    (said,) = yield from ask(item.ask("prompt", constraints=asked.words))
    prompt = after(said, MARKER)
    if missing := lost(prompt, constraints):
        raise Rejected("lost parameter", "; ".join(missing), prompt=prompt, constraints=told)
    (reply,) = yield from ask(item.ask("solve", prompt=prompt))
    verdicts = yield from check(*(Task("ifeval", reply.text, truth_of([c])) for c in constraints))
    told = [{**t, "kept": v.right, "lacks": v.reason} for t, v in zip(told, verdicts, strict=True)]
    broken = [v.reason for v in verdicts if not v.right]
    if broken:
        raise Rejected("constraint", "; ".join(broken), prompt=prompt, response=reply, constraints=told)
    return Draft(prompt, reply, "ifeval", truth_of(constraints), True, "checked", constraints=told)


# ------------------------------------------------------------ without a model

TASKS = (
    "Write a short message in the voice of {persona}, to a newcomer who asks about {topic}.",
    "I am {persona}. Give me advice on {topic} that I can use {place}.",
    "Explain {topic} to a child who has come along {place} and has just seen {b}.",
    "{name}, {persona}, has to speak about {topic} for two minutes. Write what to say.",
    "Tell me what to do with too many {a} and too few {b}. I am {persona}.",
    "Write a notice to be hung up {place}: it is about {topic} and about who looks after the {a}.",
    "Imagine {persona}. Describe one ordinary day of this person, with {a} and {b} in it.",
    "What should somebody know about {topic} before they buy their first {a}? Answer as {persona} would.",
    "Write a letter from {name} {place} to an old friend. {name} is {persona}.",
    "Help {name}, {persona}, to thank the people who brought {b} last week.",
    "Give an honest opinion: are {a} worth their price for someone who cares about {topic}? I ask as {persona}.",
    "Draft a short speech for the day on which {name} hands over the {a} {place}; {name} is {persona}.",
)


def make(rng: random.Random, item: Item, scene: Scene) -> tuple[str, Made | None]:
    """A request with its constraints said, and an answer put together to keep them; None where none was found."""
    asked: Asked = item.drawn
    number = rng.randrange(len(TASKS))
    task = TASKS[number].format(
        persona=scene.persona, topic=scene.topic, place=scene.place, name=scene.name, a=scene.items[0], b=scene.items[1]
    )
    repeats = [c.id == "combination:repeat_prompt" for c in asked.constraints]
    words = [w for w, first in zip(asked.words, repeats, strict=True) if not first]
    first = [w for w, first in zip(asked.words, repeats, strict=True) if first]  # is the task itself
    response = compose(asked.constraints, scene, rng)
    wrong = compose(asked.constraints, scene, rng, broken=asked.constraints[0])
    family = f"task-{number + 1}" if not first else "repeat-prompt"
    if response is None:
        return family, None
    return family, Made(" ".join([*(first or [task]), *words]), response, truth_of(asked.constraints), wrong or "")


SKILL = Skill(
    name="precise-if",
    version=1,
    about="instructions with 1-3 of IFEval's 25 constraints; every checker passes",
    stages={"prompt": ("constraints",), "solve": ("prompt",), "relax": ("prompt", "constraint")},
    talk=talk,
    draw=draw,
    make=make,
    answer=made_answer(MARKER),
    checks_language=False,  # a constraint may ask for another
    options={
        "constraints": "types to draw from, or constraints with parameters that every row has",
        "max_constraints": "constraints of a row at most [3]",
    },
)
