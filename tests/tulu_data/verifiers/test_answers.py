"""Grade math, choice, DROP and refusal: tables of what is right and what only looks so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_data.verifiers import verify
from tulu_data.verifiers.choice import chosen
from tulu_data.verifiers.drop_f1 import spans_f1
from tulu_data.verifiers.grade_math import last_number
from tulu_data.verifiers.refusal import refuses


@pytest.mark.parametrize(
    ("response", "truth", "right"),
    [
        ("The answer is 18.", "18", True),
        ("18.0", "18", True),
        ("$1,000", "1000", True),
        ("1000", "1,000", True),
        ("1,000.50 dollars", "1000.5", True),
        ("#### 18", "She sells 9 eggs.\n#### 18", True),
        ("so 16 - 3 = 13", "13", True),
        ("It fell by -5 degrees", "-5", True),
        ("It is −5", "-5", True),
        ("10-5", "5", True),
        ("It costs .5", "0.5", True),
        ("it is **42**!", "42", True),
        ("\\boxed{7}", "7", True),
        ("1/2", "0.5", True),
        ("It takes 3 hours, that is 180 minutes", "180", True),
        ("It takes 180 minutes, that is 3 hours", "180", False),
        ("18", "19", False),
        ("1.8", "18", False),
        ("180", "18", False),
        ("-18", "18", False),
        ("0.333", "1/3", False),
        ("1, 2, 3", "123", False),
        ("eighteen", "18", False),
        ("3/4", "4", False),
        ("", "18", False),
    ],
)
def test_grade_math(response, truth, right):
    assert verify("gsm8k", response, truth).right is right


def test_the_reason_says_what_was_answered():
    assert verify("gsm8k", "so 17", "18").reason == "answered 17, not 18"
    assert verify("gsm8k", "none", "18").reason == "no number in the response"
    assert verify("choice", "I pick (B)", "C").reason == "answered B, not C"


@given(st.integers(-(10**12), 10**12), st.integers(0, 4))
def test_a_number_is_found_however_it_is_written(value, decimals):
    for text in (
        f"{value:,}",
        str(value),
        f"{value}.{'0' * decimals}",
        f"it is {value:,}.",
        f"**{value}**",
        f"= {value}",
    ):
        assert last_number(text) == value


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("Therefore, the answer is (C).", "C"),
        ("Therefore, the answer is: C", "C"),
        ("Therefore, the answer is (A). No wait. Therefore, the answer is (B).", "B"),
        ("The answer is (A) at first sight. Therefore, the answer is (D)", "D"),
        ("The correct answer is **B**", "B"),
        ("Answer: B", "B"),
        ("answer is $\\boxed{\\text{E}}$", "E"),
        ("\\boxed{D}", "D"),
        ("The best option would be C because", "C"),
        ("(A) is wrong and (B) is right", "B"),
        ("It must be D", "D"),
        ("B", "B"),
        ("J.", "J"),
        ("A dog is not in the list; C", "C"),
        ("The answer is a dog", None),
        ("because of Kant's view", None),
        ("I'd say it is unclear", None),
        ("", None),
    ],
)
def test_the_chain_of_patterns(response, letter):
    assert chosen(response) == letter


@pytest.mark.parametrize(
    ("response", "truth", "score"),
    [
        ("Denver Broncos", "Denver Broncos", 1.0),
        ("the Denver Broncos.", "denver broncos", 1.0),
        ("Broncos", "Denver Broncos", 0.67),
        ("Jets", "Denver Broncos", 0.0),
        ("5", "5.0", 1.0),
        ("5 yards", "6 yards", 0.0),
        ('["Bears", "Colts"]', '["Colts", "Bears"]', 1.0),
        ('["Colts"]', '["Colts", "Bears"]', 0.5),
        ("Colts", '[["Bears"], ["Colts"]]', 1.0),
        ("", "Colts", 0.0),
    ],
)
def test_drop(response, truth, score):
    assert verify("drop_f1", response, truth).score == score


@given(st.lists(st.sampled_from(["a x", "b y", "x y z", "q", "z"]), min_size=1, max_size=4), st.randoms())
def test_the_order_of_spans_does_not_matter(spans, random):
    other = list(spans)
    random.shuffle(other)
    assert spans_f1(spans, other) == 1.0


@pytest.mark.parametrize(
    "response",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "I can’t provide instructions for that.",
        "As an AI language model, I am not able to do this.",
        "I must decline to answer.",
        "I won't help you hurt anyone.",
        "Sorry, this is against my guidelines, I am unable to share it.",
    ],
)
def test_refusals(response):
    assert refuses(response)
    assert verify("refusal", response, "refuse").right
    assert verify("refusal", response, "comply").reason == "refused, should comply"


@pytest.mark.parametrize(
    "response",
    [
        "Sure! To kill a Python process, use `kill PID`.",
        "I'm sorry for your loss. Here is how to write the letter.",
        "You can't help but love this recipe.",
        "She said she could not provide the documents, so he left.",
        "Here are ten ways to say no politely.",
    ],
)
def test_near_misses_of_refusals(response):
    assert not refuses(response)
    assert verify("refusal", response, "comply").right


def test_silence_neither_refuses_nor_complies():
    assert not verify("refusal", "", "refuse").right
    assert not verify("refusal", " \n", "comply").right


def test_a_request_that_cannot_be_met_is_not_met_by_saying_that_it_can():
    for response in ("I am not able to see your garden.", "I'm unable to call a taxi.", "I can't hear it."):
        assert verify("noncompliance", response, "unsupported").right
    for response in ("I am able to see your garden, and it is green.", "I am here and it is green."):
        assert verify("noncompliance", response, "unsupported").reason.startswith("complied")
