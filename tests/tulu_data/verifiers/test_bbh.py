"""BIG-Bench Hard's answers: what is taken for one, by the form of the task's answers."""

import pytest

from tulu_data.verifiers import verify
from tulu_data.verifiers.bbh import answered, parse


@pytest.mark.parametrize(
    ("response", "truth", "right"),
    [
        # letters
        ("Not (A). So the answer is (C).", "(C)", True),
        ("So the answer is (A). Wait, no. So the answer is (C).", "(C)", True),
        ("So the answer is (C). That is, not (A).", "(C)", True),
        ("So the answer is **(C)**.", "(C)", True),
        ("So the answer is: (C)", "(C)", True),
        ("so the answer is C.", "(C)", True),
        ("So the answer is $(C)$", "(C)", True),
        ("Therefore, the answer is (C) red.", "(C)", True),
        ("Answer: (C)", "(C)", True),
        ("The answer, as far as I can see, is the one in (C).", "(C)", True),
        ("It must be (C)", "(C)", True),
        ("It must be C", "(C)", True),
        ("(C)", "(C)", True),
        ("So the answer is (A).", "(C)", False),
        ("So the answer is Cat.", "(C)", False),
        ("I'm not sure", "(C)", False),
        ("", "(C)", False),
        ("So the answer is (Q).", "(Q)", True),
        # words of a closed set
        ("So the answer is Yes.", "Yes", True),
        ("So the answer is yes", "Yes", True),
        ("So the answer is YES!", "Yes", True),
        ("So the answer is no.", "Yes", False),
        ("I do not know", "No", False),
        ("Nobody can tell.", "No", False),
        ("No, they do not return.", "No", True),
        ("not ( True ) is False, so False and True is False. So the answer is False.", "False", True),
        ("So the answer is True.", "False", False),
        ("So the answer is invalid.", "valid", False),
        ("So the answer is invalid.", "invalid", True),
        ("The argument is deductively valid.", "valid", True),
        # numbers
        ("So the answer is -50.", "-50", True),
        ("So the answer is 50.", "-50", False),
        ("So the answer is -11,520.", "-11520", True),
        ("2 + 1 + 3 = 6. So the answer is 6.", "6", True),
        ("2 + 1 + 3 = 6", "6", True),
        ("So the answer is six.", "6", False),
        ("So the answer is **24** apples, of 30.", "24", True),
        ("So the answer is 240.", "24", False),
        # brackets
        ("So the answer is ] >.", "] >", True),
        ("So the answer is ]>", "] >", True),
        ("So the answer is > ].", "] >", False),
        ("So the answer is `} ] )`.", "} ] )", True),
        ("Input: [ ( [ { } )\nSo the answer is ] ].", "] ]", True),
        ("", "]", False),
        # sorted words
        ("So the answer is ant bee cow.", "ant bee cow", True),
        ("So the answer is ant, bee, cow.", "ant bee cow", True),
        ("So the answer is: Ant Bee Cow", "ant bee cow", True),
        ("ant bee cow", "ant bee cow", True),
        ("The list is sorted as ant bee cow", "ant bee cow", False),
        ("So the answer is bee ant cow.", "ant bee cow", False),
        ("So the answer is ant bee cow dog.", "ant bee cow", False),
        ("So the answer is it&t o'connor you've.", "it&t o'connor you've", True),
        # the three targets that are an option's text
        ("So the answer is Monsters, Inc.", "Monsters, Inc", True),
        ("So the answer is (B) Monsters, Inc.", "Monsters, Inc", True),
        ("So the answer is dearth, wind, & fire.", "dearth, wind, & fire", True),
        ("So the answer is (B).", "Monsters, Inc", False),
    ],
)
def test_bbh(response, truth, right):
    assert verify("bbh", response, truth).right is right


def test_the_reason_says_what_was_answered():
    assert verify("bbh", "So the answer is (B).", "(C)").reason == "answered (B), not (C)"
    assert verify("bbh", "Hard to say", "12").reason == "no answer of the asked-for form in the response"


def test_after_the_asked_for_sentence_nothing_else_counts():
    form = parse("Yes").form
    assert answered("The answer is no. So the answer is yes. No more.", form) == "yes"
    assert answered("no yes no", form) == "no"
