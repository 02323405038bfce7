"""Math and algebra: a problem from a persona's world, and the answer that most of k solutions give.

A majority is evidence, no proof: such rows say "vote", and `verified` stays null. Where a procedure made the problem,
its answer is computed and the row says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from personas.procedural import algebra, mathematics
from personas.procedural.family import Family
from personas.skill import Draft, Item, Rejected, Skill, Talk, after, ask, computed, made_answer
from personas.voting import vote
from tulu_data.verifiers.math_answer import answer_in

MARKER = "Math problem:"  # arXiv 2411.15124, Figure 33
MAX_PARTS = 2  # sub-problems; the paper's prompt allows no more


def talk(item: Item) -> Talk[Draft]:
    """Problem → k solutions → the majority's answer."""
    (said,) = yield from ask(item.ask("prompt"))
    problem = after(said, MARKER)
    if parts(problem) > MAX_PARTS:
        raise Rejected("too many parts", f"{parts(problem)} sub-problems, at most {MAX_PARTS}", prompt=problem)
    replies = yield from ask(*(item.ask("solve", problem=problem, sample=i) for i in range(item.samples)))
    if item.made is not None:
        return (yield from computed("math", item.made, problem, replies[0]))
    elected = yield from vote("math", problem, replies, answer_in)
    return Draft(problem, elected.reply, "math", elected.answer, None, "vote", votes=elected.votes)


def parts(problem: str) -> int:
    """How many sub-problems are marked, as (a), (b) … or i), ii) …; 1 where none are.

    >>> parts("Find (a) the sum, (b) the product and (c) the mean.")
    3
    """
    letters = re.findall(r"(?<![\w)])\(?([a-h]|i{1,3}|iv|v)\)(?=\s)", problem)
    return max(1, len(set(letters)))


def _skill(name: str, about: str, families: Sequence[Family]) -> Skill:
    return Skill(
        name=name,
        version=1,
        about=about,
        stages={"prompt": (), "solve": ("problem",)},
        talk=talk,
        families=families,
        answer=made_answer(MARKER),
        samples=3,
    )


MATH = _skill("math", "challenging problems; the majority of k solutions", mathematics.FAMILIES)
ALGEBRA = _skill("algebra", "intermediate algebra; the majority of k solutions", algebra.FAMILIES)
