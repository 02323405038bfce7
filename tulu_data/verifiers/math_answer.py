"""MATH: the final answer of a solution, and whether it is the true one.

Where the answer stands, by the paper's flexible rule (arXiv 2411.15124 §6 and Table 24): the last `\\boxed{…}`, else
what follows Minerva's "Final Answer: The final answer is", else the text between the last two dollar signs.
"""

from __future__ import annotations

import re

from tulu_data.verifiers.latex import braced
from tulu_data.verifiers.math_equal import math_equal
from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong

_BOX = re.compile(r"\\f?boxed\s*|\\fbox\s*")
_MINERVA = re.compile(
    r"final answer is:?\s*(.*?)(?:\.?\s*I hope (?:it|this) is correct|\n\n|$)", re.IGNORECASE | re.DOTALL
)
_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
MAX_ANSWER = 10_000  # characters in which the last answer is looked for, from the end


def answer_in(response: str) -> str | None:
    """The final answer of a response, without what marks it; None where there is none.

    >>> answer_in(r"Thus $x = 2$, so the sum is $\\boxed{\\frac{1}{2}}$.")
    '\\\\frac{1}{2}'
    """
    tail = response[-MAX_ANSWER:]
    return boxed(tail) or after_minerva(tail) or last_math(tail)


def boxed(text: str) -> str | None:
    """What the last `\\boxed` holds."""
    last = None
    for last in _BOX.finditer(text):  # noqa: B007
        pass
    if last is None:
        return None
    inside, _ = braced(text, last.end())
    return inside.strip() or None


def after_minerva(text: str) -> str | None:
    """What follows the last "final answer is", without dollar signs."""
    at = text.lower().rfind("final answer is")
    m = _MINERVA.match(text, at) if at >= 0 else None
    if m is None:
        return None
    said = m[1].strip().rstrip(".").strip()
    return last_math(said) or said.strip("$ ") or None


def last_math(text: str) -> str | None:
    """What the last `$…$`, `$$…$$`, `\\(…\\)` or `\\[…\\]` holds."""
    found = [next(g for g in m.groups() if g is not None) for m in _MATH.finditer(text)]
    return found[-1].strip() or None if found else None


def parse(truth: str) -> str:
    """An answer, or a whole solution whose last `\\boxed` holds it."""
    answer = boxed(truth) if re.search(r"\\f?box", truth) else truth.strip().strip("$").strip()
    if not answer:
        raise ValueError(f"no answer: {shown(truth)!r}")
    return answer


def check(response: str, truth: str) -> Verdict:
    """Whether the response's final answer is the true one."""
    answer = answer_in(response)
    if answer is None:
        return wrong("no final answer: no \\boxed, no 'final answer is', no $…$")
    return RIGHT if math_equal(answer, truth) else wrong(f"answered {shown(answer)}, not {shown(truth)}")
