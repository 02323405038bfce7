"""Grade-school math: a word problem, the number that most of k solutions give, and a program that computes it again."""

from __future__ import annotations

from personas.procedural import grade_math
from personas.skill import Draft, Item, Rejected, Skill, Talk, after, ask, check, computed, made_answer, truth_value
from personas.voting import vote
from tulu_data.verifiers.grade_math import MARK, last_number
from tulu_data.verifiers.pool import Task

MARKER = "Math problem:"  # arXiv 2411.15124, Figure 34


def talk(item: Item) -> Talk[Draft]:
    """Problem → k solutions and a program → the majority's number, which the program must return too."""
    (said,) = yield from ask(item.ask("prompt"))
    problem = after(said, MARKER)
    with_program = item.made is None and item.drawn["program"]
    asks = [item.ask("solve", problem=problem, sample=i) for i in range(item.samples)]
    replies = yield from ask(*asks, *([item.ask("program", problem=problem)] if with_program else []))
    if item.made is not None:
        return (yield from computed("gsm8k", item.made, problem, replies[0]))
    elected = yield from vote("gsm8k", problem, replies[: item.samples], marked)
    if not with_program:
        return Draft(problem, elected.reply, "gsm8k", elected.answer, None, "vote", votes=elected.votes)
    (verdict,) = yield from check(Task("code", replies[-1].text, program_truth(elected.answer)))
    if not verdict.right:
        raise Rejected("program disagrees", verdict.reason, prompt=problem, response=elected.reply, votes=elected.votes)
    return Draft(problem, elected.reply, "gsm8k", elected.answer, True, "program", votes=elected.votes)


def marked(text: str) -> str | None:
    """The number after the last `####`; None where there is none."""
    _, mark, tail = text.rpartition(MARK)
    number = last_number(tail) if mark else None
    return None if number is None else str(number)


def program_truth(answer: str) -> str:
    """Tests of a program `solution()` that returns the answer, to within a rounding error."""
    import json

    test = (
        "from fractions import Fraction\n"
        f"wanted = Fraction({answer!r})\n"
        "assert abs(Fraction(solution()) - wanted) <= Fraction(1, 10**6) * max(1, abs(wanted))"
    )
    return json.dumps({"tests": [test], "entry_point": "solution"})


SKILL = Skill(
    name="grade-math",
    version=1,
    about="word problems; the majority of k solutions, computed again by a program",
    stages={"prompt": (), "solve": ("problem",), "program": ("problem",)},
    talk=talk,
    requests=lambda samples: 2 + samples,
    families=grade_math.FAMILIES,
    draw=lambda rng, scene, options: {"program": truth_value(options, "program", default=True)},
    answer=made_answer(MARKER),
    samples=3,
    options={"program": "whether a program computes the answer again [true]"},
)
