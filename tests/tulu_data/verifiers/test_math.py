"""Final answers: where they stand, and when two of them are the same."""

import random
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tulu_data.verifiers import verify
from tulu_data.verifiers.math_answer import answer_in
from tulu_data.verifiers.math_equal import math_equal

SAME = [
    ("18.0", "18"),
    ("1,000", "1000"),
    ("10,\\!000", "10000"),
    ("1{,}000", "1000"),
    ("0.5", "\\frac12"),
    ("½", "0.5"),
    ("\\dfrac{3}{4}", "\\tfrac{3}{4}"),
    ("1/2", "\\frac{1}{2}"),
    ("3\\frac{1}{4}", "\\frac{13}{4}"),
    ("3 1/4", "3.25"),
    ("-\\frac{1}{2}", "\\frac{-1}{2}"),
    ("0.\\overline{3}", "\\frac13"),
    ("x+1", "1+x"),
    ("(x+1)^2", "x^2+2x+1"),
    ("\\frac{x}{2}", "0.5x"),
    ("\\frac{1}{x+1}", "1/(x+1)"),
    ("a_1+a_2", "a_2 + a_1"),
    ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt 3}"),
    ("3√2", "3\\sqrt{2}"),
    ("\\sqrt[3]{-8}", "-2"),
    ("5!", "120"),
    ("\\binom{5}{2}", "10"),
    ("2^{10}", "1024"),
    ("\\log_2 8", "3"),
    ("e^{i\\pi}", "-1"),
    ("\\cos x \\sin x", "\\frac{\\sin(2x)}{2}"),
    ("|x|", "\\lvert x\\rvert"),
    ("\\lfloor 7/2 \\rfloor", "3"),
    ("5\\text{ cm}", "5"),
    ("5 cm", "5"),
    ("440\\text{ cm}^2", "440"),
    ("12 \\text{ square units}", "12"),
    ("25 \\text{ feet}", "25 ft"),
    ("90^\\circ", "90"),
    ("90^{\\circ}", "90"),
    ("50\\%", "50"),
    ("\\$1,234.50", "1234.5"),
    ("x=5", "5"),
    ("k = \\pm 2", "-2,2"),
    ("1 \\pm \\sqrt{2}", "1+\\sqrt2, 1-\\sqrt2"),
    ("2,1", "1,2"),
    ("x=2, x=1", "1,2"),
    ("x=1, y=2", "y=2, x=1"),
    ("|x|", "\\sqrt{x^2}"),
    ("\\sqrt{ab}", "\\sqrt a\\sqrt b"),
    ("7 \\text{ or } -3", "-3, 7"),
    ("\\{1,2\\}", "\\{2, 1\\}"),
    ("\\left(1,\\frac{1}{2}\\right)", "(1, 0.5)"),
    ("x \\in [1,2]", "[1,2]"),
    ("x\\ge 3", "[3,\\infty)"),
    ("1<x\\le 2", "(1,2]"),
    ("3 > x", "x < 3"),
    ("(-\\infty,2)\\cup(3,\\infty)", "(3,\\infty) \\cup (-\\infty,2)"),
    ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{bmatrix} 1 & 2 \\\\ 3 & 4 \\end{bmatrix}"),
    ("y=2x+1", "y - 2x = 1"),
    ("f(x)=x^2", "x^2"),
    ("3:1", "3 : 1"),
    ("101_2", "101_{2}"),
    ("12", "12_8"),
    ("\\text{Tuesday}", "Tuesday"),
    ("\\text{(B)}", "B"),
    ("(A)", "A"),
    ("(1)x^{4}+(-4)x^{4}+(-2)x^{4}+(5)x^{4}", "(5)x^{4}+(1)x^{4}+(-4)x^{4}+(-2)x^{4}"),
    ("0.1x+0.2x-0.3x", "0"),
    ("\\sqrt{x}\\sqrt{x}-x", "0"),
    ("\\sin^2 x+\\cos^2 x-1", "0"),
    ("1+\\sqrt2-\\sqrt2-1", "0"),
    ("0x=0", "y-y=0"),
]
DIFFERENT = [
    ("17", "18"),
    ("-5", "5"),
    ("0.333", "\\frac13"),
    ("3.14", "\\pi"),
    ("\\sqrt{2}", "1.414"),
    ("1.0000001", "1"),
    ("1000001", "1000000"),
    ("10^{400}+1", "10^{400}"),
    ("1 000", "1"),
    ("\\frac{1}{2}", "2"),
    ("3\\frac14", "\\frac34"),
    ("5", "5i"),
    ("x^2", "x^3"),
    ("2x", "2y"),
    ("2 x", "2 y"),
    ("(1,2)", "(2,1)"),
    ("[1,2]", "(1,2)"),
    ("0,1", "(0,1]"),
    ("1,2", "1,2,3"),
    ("x<3", "x\\le 3"),
    ("x<3", "x>3"),
    ("y=2x+1", "y=2x+2"),
    ("\\begin{pmatrix}1&2\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ("\\infty", "-\\infty"),
    ("\\emptyset", "\\{0\\}"),
    ("5 m", "5 cm"),
    ("x=1,y=2", "x=2,y=1"),
    ("|x|", "x"),
    ("e", "2.718281828"),
    ("\\frac{1}{0}", "\\infty"),
    ("12_8", "12_7"),
    ("10^{-12}x", "0"),
    ("\\sqrt{x}+10^{-9}-\\sqrt{x}", "0"),
    ("\\sqrt2-1.41421", "0"),
    ("east", "seat"),
    ("\\text{Monday}", "\\text{Tuesday}"),
    ("A", "B"),
    ("", "5"),
    ("", ""),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_answer(a, b):
    assert math_equal(a, b)
    assert math_equal(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_another_answer(a, b):
    assert not math_equal(a, b)
    assert not math_equal(b, a)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("so $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("$\\boxed{1}$, no: $\\boxed{2}$", "2"),
        ("\\boxed{\\text{a \\{b\\} c}}", "\\text{a \\{b\\} c}"),
        ("\\boxed 5", "5"),
        ("\\fbox{7}", "7"),
        ("\\boxed{3", "3"),
        ("Final Answer: The final answer is $\\frac{3}{4}$. I hope it is correct.", "\\frac{3}{4}"),
        ("The final answer is 12. I hope it is correct.", "12"),
        ("We get $x = 3$ and then $y = 4$.", "y = 4"),
        ("We get \\(x\\) and \\[ y = 4 \\]", "y = 4"),
        ("It is 4", None),
        ("", None),
    ],
)
def test_where_the_answer_stands(response, answer):
    assert answer_in(response) == answer


def test_a_verdict_says_why():
    assert verify("math", "It is 4", "4").reason == "no final answer: no \\boxed, no 'final answer is', no $…$"
    assert verify("math", "\\boxed{3}", "4").reason == "answered 3, not 4"
    assert verify("math", "\\boxed{4.0}", "Thus it is \\boxed{4}.").right


fractions = st.fractions(max_denominator=999).filter(lambda f: abs(f) < 10**6)


@given(fractions, fractions)
def test_fractions_are_equal_exactly_when_their_values_are(a, b):
    forms = [lambda f: f"\\frac{{{f.numerator}}}{{{f.denominator}}}", lambda f: f"{f.numerator}/{f.denominator}"]
    for left in forms:
        for right in forms:
            assert math_equal(left(a), right(b)) == (a == b)


def polynomial(rng):
    return [(rng.randint(-9, 9), rng.randint(0, 4)) for _ in range(rng.randint(1, 4))]


def written(terms):
    text = "+".join(f"({c})x^{{{p}}}" for c, p in terms)
    return text or "0"


@given(st.integers(0, 10**9))
@example(67958)  # terms that cancel to nothing
def test_polynomials_are_equal_exactly_when_their_coefficients_are(seed):
    rng = random.Random(seed)
    a, b = polynomial(rng), polynomial(rng)
    shuffled = sorted(a, key=lambda _: rng.random())

    def coefficients(terms):
        sums = {}
        for c, p in terms:
            sums[p] = sums.get(p, Fraction(0)) + c
        return {p: c for p, c in sums.items() if c}

    assert math_equal(written(a), written(shuffled))
    assert math_equal(written(a), written(b)) == (coefficients(a) == coefficients(b))


HOSTILE = [
    "{" * 10_000 + "5" + "}" * 10_000,
    "\\frac{" * 3_000,
    "(" * 900 + "1" + ")" * 900,
    "\\sqrt{" * 300 + "1" + "}" * 300,
    "9" * 1_999,
    "9^{9^{9^{9}}}",
    "1000!!!!!",
    "-" * 1_999 + "1",
    "|" * 1_999,
    "x^" * 900 + "x",
    "(1+x)^{100000}",
    "1/" * 900 + "2",
    "\\binom{1000}{500}^{100}",
    "\\begin{pmatrix}" * 100,
    "1,2," * 400 + "3",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: t[:12])
def test_hostile_answers_are_wrong_and_raise_nothing(text):
    assert not verify("math", f"\\boxed{{{text}}}", "5").right
    assert verify("math", f"\\boxed{{{text}}}", "5").valid
