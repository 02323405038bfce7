"""The verifiers by name: ours, and those that other distributions offer.

Others' are found through the entry point group `tulu_data.verifiers`, each a `Verifier`:

    [project.entry-points."tulu_data.verifiers"]
    sudoku = "my_package.sudoku:VERIFIER"
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from tulu_data.errors import InputError, UsageError, nearest
from tulu_data.plugins import with_others
from tulu_data.verifiers import (
    bbh,
    choice,
    code,
    deepmind_math,
    drop_f1,
    grade_math,
    ifeval,
    math_answer,
    math_flex,
    noncompliance,
    popqa,
    refusal,
    second_opinion,
)
from tulu_data.verifiers.verdict import Verdict, Verifier, undecided

GROUP = "tulu_data.verifiers"

_CONSTRAINTS = '{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}'
VERIFIERS: dict[str, Verifier] = {
    v.name: v
    for v in (
        Verifier("gsm8k", "the last number, as a number", grade_math.parse, grade_math.check, "18"),
        Verifier("math", "the final answer, as mathematics", math_answer.parse, math_answer.check, r"\frac{1}{2}"),
        Verifier(
            "math_verify",
            "the final answer by math-verify, a second opinion",
            second_opinion.parse,
            second_opinion.check,
            r"\frac{1}{2}",
        ),
        Verifier(
            "math_flex",
            "any of the marked answers, as mathematics: MATH as the evaluation scores it",
            math_answer.parse,
            math_flex.check,
            r"\frac{1}{2}",
        ),
        Verifier(
            "deepmind_math",
            "the answer in the asked-for sentence, as mathematics",
            deepmind_math.parse,
            deepmind_math.check,
            "-2/7",
        ),
        Verifier(
            "ifeval",
            "IFEval's constraints, all of them",
            ifeval.parse,
            ifeval.checker(loose=False),
            _CONSTRAINTS,
        ),
        Verifier(
            "ifeval_loose",
            "IFEval's constraints, loosely",
            ifeval.parse,
            ifeval.checker(loose=True),
            _CONSTRAINTS,
        ),
        Verifier("choice", "the letter settled on", choice.parse, choice.check, "B"),
        Verifier(
            "code", "Python that passes tests, in a sandbox", code.parse, code.check, '["assert f(1) == 2"]', 120.0
        ),
        Verifier("bbh", "BIG-Bench Hard's answer, in the form of its task", bbh.parse, bbh.check, "(C)"),
        Verifier("popqa", "one of the accepted names stands in it", popqa.parse, popqa.check, '["Tokyo"]'),
        Verifier("drop_f1", "DROP's F1 of words", drop_f1.parse, drop_f1.check, '["Denver Broncos"]'),
        Verifier("refusal", "refuses where it should, by wording", refusal.parse, refusal.check, "refuse"),
        Verifier(
            "noncompliance",
            "does what a request of CoCoNot's category calls for, by wording",
            noncompliance.parse,
            noncompliance.check,
            "incomplete",
        ),
    )
}


@cache
def verifiers() -> dict[str, Verifier]:
    """All verifiers by name. `InputError` where one that is installed does not load or takes another's name."""
    return with_others(VERIFIERS, GROUP, Verifier)


def verifier_of(name: str) -> Verifier:
    """The verifier of that name, in any case (the Tülu 3 sets say `MATH`); `UsageError` with the nearest otherwise."""
    known = verifiers()
    found = known.get(name) or known.get(name.lower())
    if found is None:
        raise UsageError(f"verifier {name!r} is unknown; {nearest(name, known, noun='verifier')}")
    return found


@lru_cache(maxsize=4096)
def parsed(name: str, truth: str) -> Any:
    """A truth as its verifier takes it; `InputError` where it is not that verifier's."""
    verifier = verifier_of(name)
    try:
        return verifier.parse(truth)
    except (ValueError, ArithmeticError, RecursionError) as e:
        raise InputError(f"ground truth of {verifier.name}: {e}; it should look like {verifier.example}") from None


def verify(name: str, response: str, truth: str) -> Verdict:
    """What a verifier says of a response, in this process and without a deadline; see `VerifierPool` for many.

    `UsageError` for an unknown verifier, `InputError` for a truth that is not its own. A check that stops with an error
    is undecided.

    >>> verify("gsm8k", "16 - 3 - 4 = 9 eggs, so she makes $18.00.", "18").right
    True
    """
    truth_ = parsed(name, truth)
    try:
        return verifier_of(name).check(response, truth_)
    except Exception as e:  # whatever a check does, it is no judgement of the response
        return undecided(f"the check stopped: {type(e).__name__}: {str(e)[:200]}")
