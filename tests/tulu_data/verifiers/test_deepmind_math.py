"""DeepMind Mathematics: the sentence of Fig. 45, and answers in Python's way of writing."""

import pytest

from tulu_data.verifiers import verify
from tulu_data.verifiers.deepmind_math import answer_in


def said(answer):
    return f"Some work: 3 + 4 = 7. Therefore, the final answer is {answer}. I hope it is correct."


@pytest.mark.parametrize(
    ("response", "truth", "right"),
    [
        (said("6"), "6", True),
        (said("6") + " " + said("7"), "7", True),  # the last
        (said("6") + " " + said("7"), "6", False),
        (said("6").lower(), "6", True),
        (said("6").replace(" I hope", "\nI hope"), "6", True),
        (said("0.25"), "1/4", True),  # the full stop of the sentence is not the decimal's
        (said("0.25"), "0.2", False),
        (said("-2/7"), "-4/14", True),
        (said("$-2/7$"), "-2/7", True),
        (said(r"\(\frac{1}{2}\)"), "1/2", True),
        (said(r"$\boxed{12}$"), "12", True),
        (said("**12**"), "12", True),
        (said("**2*x**3**"), "2*x**3", True),
        (said("`2*x`"), "2*x", True),
        (said("$2$, $10$"), "2, 10", True),
        (said("1,000,000"), "1000000", True),
        (said("-2900000"), "-2900000", True),
        # expressions
        (said("2*x**2 - 6*x"), "-6*x + 2*x**2", True),
        (said("2x^2 - 6x"), "2*x**2 - 6*x", True),
        (said("z^(-35/2)"), "z**(-35/2)", True),
        (said("1/z**(35/2)"), "z**(-35/2)", True),
        (said("7 - 12*sqrt(5)"), "-12*sqrt(5) + 7", True),
        (said("-6*(w + 1)**2*(w - 2)"), "-6*(w - 2)*(w + 1)**2", True),
        (said("2*x**2"), "2*x**3", False),
        # lists keep their order
        (said("2, 10"), "2, 10", True),
        (said("10, 2"), "2, 10", False),
        (said("-3, 0, 0.5"), "-3, 0, 1/2", True),
        (said("[2, 10]"), "2, 10", True),
        (said("b, a, c"), "b, a, c", True),
        (said("a, b, c"), "b, a, c", False),
        # words, labels, times, digits of other bases
        (said("True"), "True", True),
        (said("yes"), "True", True),
        (said("no"), "False", True),
        (said("false"), "True", False),
        (said("b"), "b", True),
        (said("B"), "b", True),
        (said("a"), "b", False),
        (said("10:42 PM"), "10:42 PM", True),
        (said("10:42 AM"), "10:42 PM", False),
        (said("-5c2"), "-5c2", True),
        (said("-5c3"), "-5c2", False),
        # without the sentence
        ("The final answer is 6.", "6", True),
        ("So the answer is: 6", "6", True),
        (r"We get \boxed{6}", "6", True),
        ("6", "6", True),
        ("I think\nit is 6", "6", False),
        ("", "6", False),
        # the loader's wrapping
        (said("6"), "b'6\\n'", True),
    ],
)
def test_deepmind_math(response, truth, right):
    assert verify("deepmind_math", response, truth).right is right


@pytest.mark.parametrize(
    "answer",
    [
        "$2*x$ and $3*x$",
        "**2** or **3**",
        "`2` or `3`",
        r"\(2\) or \(3\)",
        r"\[2\] or \[3\]",
        "[2] or [3]",
        "$$2$$ or $$3$$",
    ],
)
def test_marks_that_are_no_pair_around_the_whole_stay(answer):
    assert answer_in(said(answer)) == answer


@pytest.mark.parametrize(
    ("answer", "inside"),
    [
        ("$$2$$", "2"),
        ("$**2**$", "2"),
        ("**2*x**3**", "2*x**3"),
        ("2**x", "2**x"),
        (r"\[[2, 3]\]", "2, 3"),
        ("$$", None),
    ],
)
def test_marks_around_the_whole_are_taken_off(answer, inside):
    assert answer_in(said(answer)) == inside


def test_a_corrected_answer_is_the_one_that_counts():
    corrected = "Therefore, the final answer is 3.\nWait, a mistake.\n" + said("5")
    assert answer_in(corrected) == "5"
    assert answer_in("Therefore, the final answer is " * 3_000 + said("5")) == "5"


def test_many_powers_end():
    hard = "x" + "**(y" * 3_000
    assert not verify("deepmind_math", said(hard), "x**2").right
