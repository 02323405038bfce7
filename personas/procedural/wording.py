"""The words and the notation that the mathematical families share.

Two tasks of a family must not read alike, or deduplication takes one of them; so a scene is introduced in many ways.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isqrt
from typing import Any, NamedTuple

from personas.procedural.family import Made, Scene


class Words(NamedTuple):
    """A scene, ready for sentences.

    who: "Imani, a beekeeper who sells honey," before a verb. a, b: the two things. at, here: the place inside and at
    the start of a sentence. hello, intro: a sentence that introduces the persona, without the place and perhaps with
    it. posed: one that does so and poses a puzzle.
    """

    name: str
    who: str
    topic: str
    a: str
    b: str
    at: str
    here: str
    hello: str
    intro: str
    posed: str


def words(rng: random.Random, scene: Scene) -> Words:
    """The scene's words, with an introduction drawn."""
    name, persona, topic, at = scene.name, scene.persona, scene.topic, scene.place
    who, here = f"{name}, {persona},", at[:1].upper() + at[1:]
    hellos = (
        f"{name} is {persona}.",
        f"Meet {name}, {persona}.",
        f"{who} thinks a lot about {topic}.",
        f"This is a page from the notebook of {name}, {persona}.",
        f"Anyone interested in {topic} should meet {name}, {persona}.",
    )
    intros = (
        *hellos,
        f"{here}, people know {name} as {persona}.",
        f"It is an ordinary day {at} for {name}, {persona}.",
    )
    posed = (
        f"{who} sets this puzzle {at}.",
        f"While reading about {topic}, {who} comes across a question.",
        f"A quiz on {topic} ends with a question for {name}, {persona}.",
        f"{who} collects problems like the following one.",
        f"{here}, somebody asks {name}, {persona}, for help with a problem.",
        f"In a book about {topic}, {who} finds a riddle.",
        f"For a newsletter about {topic}, {who} wrote the following problem.",
    )
    drawn = (rng.choice(hellos), rng.choice(intros), rng.choice(posed))
    return Words(name, who, topic, *scene.items, at, here, *drawn)


class Answer(NamedTuple):
    """A way to an answer, and the answer."""

    ways: Sequence[str]
    value: str


def made(
    rng: random.Random, form: str, prompts: Sequence[str], right: Answer, slip: Answer, numbers: Mapping[str, Any]
) -> Made:
    """A task in one of its wordings; `form` is the last line of an answer, with `{}` for the value."""
    prompt = rng.choice(prompts)
    response, wrong = (f"{rng.choice(a.ways)}\n{form.replace('{}', a.value)}" for a in (right, slip))
    return Made(prompt=prompt, response=response, truth=right.value, wrong=wrong, numbers=numbers)


def listed(values: Sequence[object]) -> str:
    """Several values as a phrase.

    >>> listed((3, 5, 8))
    '3, 5 and 8'
    """
    return f"{', '.join(str(v) for v in values[:-1])} and {values[-1]}"


def latex(value: int | Fraction) -> str:
    r"""A rational number in LaTeX.

    >>> latex(Fraction(-3, 7)), latex(Fraction(4))
    ('-\\frac{3}{7}', '4')
    """
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    return f"{'-' if value < 0 else ''}\\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def radical(square: Fraction | int) -> str:
    r"""The root of a positive rational number, with the smallest radicand and no root in the denominator.

    >>> radical(432), radical(Fraction(27, 4)), radical(49)
    ('12\\sqrt{3}', '\\frac{3\\sqrt{3}}{2}', '7')
    """
    square = Fraction(square)
    under = square.numerator * square.denominator
    out = next(k for k in range(isqrt(under), 0, -1) if under % (k * k) == 0)
    factor, under = Fraction(out, square.denominator), under // (out * out)
    if under == 1:
        return latex(factor)
    top = f"{factor.numerator if factor.numerator > 1 else ''}\\sqrt{{{under}}}"
    return top if factor.denominator == 1 else f"\\frac{{{top}}}{{{factor.denominator}}}"


def polynomial(coefficients: Sequence[int], variable: str = "x") -> str:
    """A polynomial in LaTeX, highest power first.

    >>> polynomial((1, -4, 0, 7))
    'x^3 - 4x^2 + 7'
    """
    terms: list[str] = []
    for power, c in zip(range(len(coefficients) - 1, -1, -1), coefficients, strict=True):
        if c:
            size = "" if abs(c) == 1 and power else str(abs(c))
            letter = "" if not power else variable if power == 1 else f"{variable}^{power}"
            sign = ("-" if c < 0 else "") if not terms else " - " if c < 0 else " + "
            terms.append(f"{sign}{size}{letter}")
    return "".join(terms) or "0"
