"""MATH's flexible rule: Minerva's sentence or the box, else the last two dollar signs."""

import pytest

from tulu_data.verifiers import verify
from tulu_data.verifiers.math_flex import answers_in

MINERVA = "Final Answer: The final answer is ${}$. I hope it is correct."


@pytest.mark.parametrize(
    ("response", "truth", "flex", "strict"),
    [
        (MINERVA.format("9"), "9", True, True),
        (r"so $\boxed{9}$.", "9", True, True),
        (r"so $\boxed{9}$. " + MINERVA.format("9"), "9", True, True),
        # One of two is enough for the flexible rule; the reward takes the box.
        (r"so $\boxed{9}$. " + MINERVA.format("8"), "9", True, True),
        (r"so $\boxed{8}$. " + MINERVA.format("9"), "9", True, False),
        (r"so $\boxed{8}$. " + MINERVA.format("7"), "9", False, False),
        ("so $x = 3$ and then $9$ it is", "9", True, True),
        ("first $9$, then $3$", "9", False, False),
        (r"a box \boxed{8}, and $9$ later", "9", False, False),
        ("nine", "9", False, False),
        ("it is 9", "9", False, False),
        ("9", "9", True, False),  # nothing but the answer
        ("let us see\n9", "9", False, False),
        ("", "9", False, False),
        (r"$\boxed{\frac{1}{\sqrt{2}}}$", r"\frac{\sqrt{2}}{2}", True, True),
        (r"$\boxed{\text{(C)}}$", r"\text{(C)}", True, True),
    ],
)
def test_math_flex(response, truth, flex, strict):
    assert verify("math_flex", response, truth).right is flex
    assert verify("math", response, truth).right is strict


def test_both_marked_answers_are_found():
    assert answers_in(r"$\boxed{8}$. " + MINERVA.format("9")) == ["9", "8"]
    assert answers_in("no\nmathematics") == answers_in("") == []


def test_the_reason_names_both_answers():
    reason = verify("math_flex", r"$\boxed{8}$. " + MINERVA.format("7"), "9").reason
    assert reason == "answered 7 and 8, not 9"
