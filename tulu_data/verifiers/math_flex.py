"""MATH as the evaluation scores it: any of the answers that a response marks is the true one.

The paper's "flex" exact match (arXiv 2411.15124, Table 24; `minerva_math::tulu` of its harness): what Minerva's
sentence "Final Answer: The final answer is … I hope it is correct." says and what the last `\\boxed` holds, both where
both are there; without either, the text between the last two dollar signs, else a response of one line. `math`, the
reward, takes one answer alone, for a policy that is rewarded for any of several learns to give several.
"""

from __future__ import annotations

from tulu_data.verifiers.math_answer import MAX_ANSWER, after_minerva, boxed, last_math
from tulu_data.verifiers.math_equal import math_equal
from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong


def answers_in(response: str) -> list[str]:
    """The answers that a response marks; none, one or two.

    >>> answers_in(r"So $x = \\boxed{2}$. Final Answer: The final answer is $2$. I hope it is correct.")
    ['2', '2']
    """
    tail = response[-MAX_ANSWER:]
    marked = [answer for answer in (after_minerva(tail), boxed(tail)) if answer]
    if marked:
        return marked
    last = last_math(tail) or (tail.strip() if "\n" not in tail.strip() else None)
    return [last] if last else []


def check(response: str, truth: str) -> Verdict:
    """Whether one of the response's answers is the true one."""
    answers = answers_in(response)
    if not answers:
        return wrong("no final answer: no \\boxed, no 'final answer is', no $…$, more than a line")
    if any(math_equal(answer, truth) for answer in answers):
        return RIGHT
    return wrong(f"answered {shown(' and '.join(dict.fromkeys(answers)))}, not {shown(truth)}")
