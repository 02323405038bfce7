"""The form of a code task: a kind is data, and `make` draws a task of it.

The data are wordings, rules, the solution's text with two relatives (a second way, a slip), and a twin in Python that
says what the tests expect. `$word` stands for what the scene or the draw gives.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from string import Template
from typing import Any

from personas.procedural.family import Family, Made, Scene

Drawn = Mapping[str, Any]

MAX_TESTS = 8


@dataclass(frozen=True)
class Kind:
    """A kind of function to write.

    names: of the function; `$noun` is one of the scene's items. signature: after the name. openings: what is to be
    done. rules: each in several wordings, the first of them first, the others in any order. notes: what is said before
    the reference and before the second solution. slip: what of the reference is replaced, and by what, to make it
    wrong. draw: the parameters and the pieces of code and text that follow from them. twin: (drawn, *arguments) → what
    the function returns. inputs: arguments, the worked example first, among them one that shows the slip. imports: of
    the reference and of the second solution.
    """

    names: tuple[str, ...]
    signature: str
    openings: tuple[str, ...]
    rules: tuple[tuple[str, ...], ...]
    notes: tuple[str, str]
    reference: str
    second: str
    slip: tuple[str, str]
    draw: Callable[[random.Random], dict[str, Any]]
    twin: Callable[..., Any]
    inputs: Callable[[random.Random, Scene, Drawn], list[tuple[Any, ...]]]
    imports: tuple[str, str] = ("", "")


def family(name: str, kind: Kind) -> Family:
    """The family that makes tasks of a kind."""
    return Family(name, partial(make, kind))


def make(kind: Kind, rng: random.Random, scene: Scene) -> Made:
    """A task of a kind, with tests whose values the twin gives."""
    drawn = kind.draw(rng)
    name = rng.choice(kind.names).replace("$noun", noun_of(rng.choice(scene.items)))
    slots = {**drawn, **slots_of(scene), "fn": name}
    header = f"def {name}{_filled(kind.signature, slots)}"
    calls: dict[str, Any] = {}
    for arguments in kind.inputs(rng, scene, drawn):
        call = f"{name}({', '.join(map(repr, arguments))})"
        if call not in calls:
            calls[call] = kind.twin(drawn, *arguments)
    tests = tuple(f"assert {call} == {value!r}" for call, value in calls.items())[:MAX_TESTS]
    old, new = kind.slip
    lead = rng.choice(_LEADS)
    notes = [_filled(f"{lead} {note}", slots) for note in kind.notes]

    def answer(nth: int, body: str) -> str:
        imports = f"{kind.imports[nth]}\n\n\n" if kind.imports[nth] else ""
        return f"{notes[nth]}\n\n```python\n{imports}{header}:\n{_filled(body, slots)}\n```"

    return Made(
        prompt=_prompt(rng, kind, slots, header, next(iter(calls.items()))),
        response=answer(0, kind.reference),
        truth=json.dumps({"tests": list(tests), "entry_point": name}, ensure_ascii=False),
        wrong=answer(0, kind.reference.replace(old, new, 1)),
        numbers={**drawn, "second": answer(1, kind.second)},
        tests=tests,
        entry_point=name,
    )


_LEADS = (
    "Here is `$fn`.",
    "The function `$fn` below does this.",
    "This solution follows the rules as stated.",
    "Here is a short version for $name.",
    "This is one way to do it.",
)
_HEADERS = (
    "Use exactly this signature: `{}`.",
    "Its signature is `{}`.",
    "Keep to the header `{}`.",
    "It should be defined as `{}`.",
    "The function is declared as `{}`.",
)
_EXAMPLES = (
    "For example, `{}` returns `{}`.",
    "Worked example: `{}` should give `{}`.",
    "To check your work: `{}` evaluates to `{}`.",
    "One call and its result: `{}` is `{}`.",
    "So `{}` must produce `{}`.",
)


def _prompt(rng: random.Random, kind: Kind, slots: Mapping[str, Any], header: str, example: tuple[str, Any]) -> str:
    opening = _filled(rng.choice(kind.openings), slots)
    first, *others = (_filled(rng.choice(rule), slots) for rule in kind.rules)
    rng.shuffle(others)
    rules = [first, *others]
    said, listed = " ".join(rules), "\n".join(f"- {rule}" for rule in rules)
    signature = rng.choice(_HEADERS).format(header)
    shown = rng.choice(_EXAMPLES).format(example[0], repr(example[1]))
    return rng.choice(
        (
            f"{opening} {signature}\n\n{said}\n\n{shown}",
            f"{opening}\n\n{listed}\n\n{signature} {shown}",
            f"{opening} {said} {signature} {shown}",
            f"{opening}\n\n{signature} These rules hold:\n{listed}\n\n{shown}",
        )
    )


def _filled(text: str, slots: Mapping[str, Any]) -> str:
    return Template(text).substitute(slots)


def slots_of(scene: Scene) -> dict[str, str]:
    """What wordings may name of a scene: `$persona`, `$topic`, `$a` and `$b` (the items), `$place`, `$name`."""
    a, b = scene.items
    return {"persona": scene.persona, "topic": scene.topic, "a": a, "b": b, "place": scene.place, "name": scene.name}


def noun_of(item: str) -> str:
    """The head of a plural noun, fit for a function's name.

    >>> noun_of("jars of honey"), noun_of("hive frames")
    ('jars', 'frames')
    """
    head = re.split(r" (?:of|for|with|in|from|to|on|without|by|per|and)\b", item)[0].split() or [""]
    plain = unicodedata.normalize("NFKD", head[-1].lower()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "items"


def things(scene: Scene) -> list[str]:
    """Names for the data of a task, all different: the scene's items first."""
    return list(dict.fromkeys((*scene.items, "paper labels", "spare lids", "empty boxes", "old jars", "glass beads")))
