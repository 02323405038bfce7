"""What tasks make of answers: one question of each, and answers with scores that were worked out by hand."""

import json

import pytest

from tulu_data.evals.registry import TASKS
from tulu_data.suites import Record
from tulu_data.verifiers import verify

RECORDS = {
    "mmlu": Record(
        "mmlu-1",
        "astronomy",
        {"question": "Which is a star?", "choices": ["Mars", "Io", "Rigel", "Ceres"], "answer": 2},
    ),
    "mmlu_pro": Record(
        "pro-1",
        "physics",
        {"question": "Which is largest?", "options": [str(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 9)], "answer": "I"},
    ),
    "agieval": Record(
        "sat-1", "sat-math", {"question": "x?", "options": ["(A)1", "(B)2", "(C)3", "(D)4"], "answer": "C"}
    ),
    "popqa": Record(
        "pop-1", "capital", {"question": "What is the capital of Mali?", "possible_answers": '["Bamako", "BKO"]'}
    ),
    "bbh": Record("bbh-1", "navigate", {"input": "Take 1 step. Turn around. Take 1 step.", "target": "Yes"}),
    "gsm8k": Record("gsm-1", None, {"question": "6 * 7 * 10?", "answer": "6 * 7 = <<6*7=42>>42\n#### 1,420"}),
    "math": Record("math-1", "Algebra", {"problem": "x?", "solution": r"So $x = \boxed{\frac{1}{2}}$."}),
    "deepmind_math": Record("dm-1", "numbers__gcd", {"question": "gcd(6, 9)?", "answer": "3"}),
    "drop": Record(
        "drop-1", None, {"passage": "P.", "question": "Who won?", "answers_spans": {"spans": ["Denver Broncos"]}}
    ),
    "humaneval": Record(
        "HumanEval/1000",
        None,
        {
            "prompt": 'from math import gcd\n\n\ndef add(a: int, b: int) -> int:\n    """Add."""\n',
            "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(5, -5) == 0\n",
            "entry_point": "add",
        },
    ),
    "mbpp": Record(
        "mbpp-1",
        None,
        {"text": "Write a function to double.", "test_list": ["assert dbl(2) == 4", "assert dbl(0) == 0"]},
    ),
    "ifeval": Record(
        "ifeval-1",
        None,
        {
            "prompt": "Write without commas, in lower case.",
            "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
            "kwargs": [{"num_words": None}, {}],
        },
    ),
}

FIG_45 = "Therefore, the final answer is {}. I hope it is correct. "

GSM8K = [
    ("#### 1420", 1),
    ("1420", 1),
    ("1,420", 1),
    ("$1,420.00", 1),
    ("So the answer is 1420.", 1),
    ("The answer is **1,420** dollars", 1),
    (r"\boxed{1420}", 1),
    ("42 * 10 = 420, plus 1000 is 1420 apples", 1),
    ("It is 1000. No, wait: it is 1420.", 1),  # revised: the last number counts
    ("It is 1420. Or is it 1000?", 0),
    ("1420 is the answer to question 7", 0),  # trailing text with a number
    ("one thousand four hundred and twenty", 0),
    ("-1420", 0),
    ("14.20", 0),
    ("1421", 0),
    ("1420 km in 3 hours", 0),
    ("I cannot answer that.", 0),
    ("", 0),
]
MATH = [
    (r"The answer is $\boxed{\frac{1}{2}}$.", 1),
    (r"Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct.", 1),
    (r"Final Answer: The final answer is 0.5. I hope it is correct.", 1),
    (r"\boxed{\text{ }\dfrac12}", 1),
    (r"$\boxed{\frac{\sqrt{4}}{\sqrt{16}}}$", 1),  # nested
    (r"$\boxed{x = \frac{1}{2}}$", 1),
    (r"so $\frac{1}{2}$", 1),  # between the last two dollar signs
    (r"first $\boxed{3}$, then, corrected, $\boxed{0.5}$", 1),
    (r"first $\boxed{0.5}$, then, corrected, $\boxed{3}$", 0),
    (r"$\boxed{\frac{1}{2}}$ and trailing words about $3$", 1),
    (r"$\boxed{3}$. Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct.", 1),  # either will do
    (r"so $\frac{1}{2}$ of $3$", 0),
    (r"$\boxed{-\frac{1}{2}}$", 0),
    (r"$\boxed{2}$", 0),
    ("one half", 0),
    ("", 0),
]
LETTER_C = [  # MMLU and AGIEval: A to D
    ("Therefore, the answer is: C", 1),
    ("Therefore, the answer is (C).", 1),
    ("Therefore, the answer is (C). Therefore, the answer is (C).", 1),
    ("Therefore, the answer is (A). Let me check. Therefore, the answer is (C).", 1),
    ("Therefore, the answer is (C). Therefore, the answer is (A).", 0),
    ("The answer is (A) at first sight. Therefore, the answer is (C).", 1),  # the asked-for sentence goes first
    ("Therefore, the answer is (C), because (A), (B) and (D) are not.", 1),
    ("Therefore, the answer is **C**.", 1),
    ("therefore the answer is C", 1),
    ("The correct option is C.", 1),
    ("Answer: C", 1),
    (r"$\boxed{\text{C}}$", 1),
    ("I choose (A), no, (C)", 1),
    ("It is C, I believe", 1),  # not I: there are four options
    ("C", 1),
    ("(B)", 0),
    ("Therefore, the answer is: A", 0),
    ("Therefore, the answer is Rigel.", 0),  # prose without a letter
    ("Rigel", 0),
    ("", 0),
]
CASES = {
    "gsm8k": GSM8K,
    "math": MATH,
    "mmlu": LETTER_C,
    "agieval": LETTER_C,
    "mmlu_pro": [
        ("Therefore, the answer is (I).", 1),
        ("Therefore, the answer is (J).", 0),
        ("I think that nine is largest", 1),  # the last capital alone, with ten options: as the paper has it
        ("The answer is: I", 1),
        ("", 0),
    ],
    "popqa": [
        ("Bamako", 1),
        ("bamako.", 1),
        ("It is Bamako, in Mali", 1),
        ("BKO", 1),
        ("Dakar", 0),
        ("", 0),
    ],
    "bbh": [
        ("(1) ... (2) ... So the answer is Yes.", 1),
        ("So the answer is yes", 1),
        ("So the answer is No. Hmm. So the answer is Yes.", 1),
        ("So the answer is Yes. Hmm. So the answer is No.", 0),
        ("Yes, you do return to the starting point.", 1),
        ("You do not know", 0),
        ("", 0),
    ],
    "deepmind_math": [
        ("Therefore, the final answer is 3. I hope it is correct.", 1),
        ("Therefore, the final answer is 3. I hope it is correct. Thanks!", 1),
        ("therefore, the final answer is $3$. I hope it is correct.", 1),
        (
            FIG_45.format(18) + FIG_45.format(3),
            1,
        ),
        # Corrected before the sentence came to its end: the correction counts.
        (f"Therefore, the final answer is 18.\nWait, a mistake.\n{FIG_45.format(3)}", 1),
        (f"Therefore, the final answer is 3.\nWait, a mistake.\n{FIG_45.format(18)}", 0),
        (FIG_45.format("\n$3$\n"), 1),
        ("The final answer is 3.", 1),
        ("Therefore, the final answer is three. I hope it is correct.", 0),
        ("Therefore, the final answer is 3/2. I hope it is correct.", 0),
        ("", 0),
    ],
    "drop": [
        ("Denver Broncos", 1),
        ("the Denver Broncos.", 1),
        ("Broncos", 2 / 3),  # precision 1, recall 1/2
        ("The Denver Broncos won", 0.8),  # precision 2/3, recall 1
        ("Carolina Panthers", 0),
        ("", 0),
    ],
    "humaneval": [
        ("    return a + b\n", 1),  # goes on from the prompt
        ("```python\ndef add(a, b):\n    return a + b\n```", 1),
        ("Here you are:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds.", 1),
        (
            "First try:\n```python\ndef add(a, b):\n    return a - b\n```\n"
            "Better:\n```python\ndef add(a, b):\n    return a + b\n```",
            1,
        ),
        ("```python\ndef add(a, b):\n    return a + b\n```\nFor example:\n```python\nprint(add(1, 2))\n```", 1),
        ("```\nreturn a + b\n```", 1),
        ("```python\ndef add(a, b):\n    return a - b\n```", 0),
        ("```python\ndef plus(a, b):\n    return a + b\n```", 0),
        ("It returns a + b", 0),
        ("exit(0)", 0),
        ("", 0),
    ],
    "mbpp": [
        ("```python\ndef dbl(x):\n    return 2 * x\n```", 1),
        ("def dbl(x):\n    return 2 * x", 1),
        ("```python\ndef dbl(x):\n    return x ** 2\n```", 1),  # passes the tests there are
        ("```python\ndef dbl(x):\n    return x + 2\n```", 0),
        ("", 0),
    ],
    "ifeval": [
        ("plain words in lower case", 1),
        ("Sure!\nplain words in lower case", 1),  # loose: without the first line
        ("plain words, in lower case", 0),
        ("Plain words in lower case", 0),
        ("", 0),
    ],
}


@pytest.mark.parametrize(
    ("name", "response", "score"),
    [(name, response, score) for name, table in CASES.items() for response, score in table],
)
def test_an_answer_scores_what_was_worked_out_by_hand(name, response, score):
    task = TASKS[name]
    (item,) = task.items([RECORDS[name]])
    verdict = verify(task.verifier, response, item.truth)
    assert verdict.valid
    assert verdict.score == pytest.approx(score, abs=0.005)  # DROP's script rounds to two decimals


def test_every_task_with_a_verifier_has_cases_or_shares_them():
    shared = {"gpqa": "choice", "humaneval_plus": "code", "mbpp_plus": "code", "bigcodebench_hard": "code"}
    scored = {name for name, task in TASKS.items() if task.verifier and name != "ifeval_ood"}
    assert scored - set(CASES) == set(shared)
    assert all(TASKS[name].verifier == verifier for name, verifier in shared.items())


BIG = Record(
    "BigCodeBench/0",
    None,
    {
        "instruct_prompt": "Write a function that counts words.\n"
        "You should write self-contained code starting with:\n```\nimport collections\ndef task_func(text):\n```",
        "code_prompt": "import collections\ndef task_func(text):\n",
        "entry_point": "task_func",
        "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_one(self):\n"
        "        self.assertEqual(task_func('a b a')['a'], 2)\n    def test_none(self):\n"
        "        self.assertEqual(dict(task_func('')), {})\n",
    },
)


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("import collections\ndef task_func(text):\n    return collections.Counter(text.split())", True),
        ("def task_func(text):\n    return collections.Counter(text.split())", True),  # calibrated
        ("def task_func(text):\n    return {'a': 2}", False),  # one test of two
        ("def task_func(text):\n    return None", False),
        ("def other(text):\n    return collections.Counter(text.split())", False),
    ],
)
def test_the_unit_tests_of_bigcodebench_are_run_and_its_imports_are_there(code, right):
    (item,) = TASKS["bigcodebench_hard"].items([BIG])
    assert verify("code", f"```python\n{code}\n```", item.truth).right is right
    assert not verify("code", "", item.truth).score


DROP_RAW = {
    "passage": "P.",
    "question": "Which?",
    "answer": {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": ["Adam", "Bob"]},
    "validated_answers": {
        "number": ["", "3"],
        "date": [{"day": "", "month": "", "year": ""}, {"day": "", "month": "", "year": ""}],
        "spans": [["Bob", "Adam"], []],
    },
}


@pytest.mark.parametrize(
    ("values", "truth"),
    [
        (DROP_RAW, [["Adam", "Bob"], ["Bob", "Adam"], ["3"]]),
        (
            {
                **DROP_RAW,
                "answer": {"number": "", "date": {"day": "7", "month": "May", "year": ""}, "spans": []},
                "validated_answers": [],
            },
            [["7 May"]],
        ),
        ({**DROP_RAW, "answer": None, "answers_spans": {"spans": ["3", "3", " "]}}, [["3"]]),
        ({**DROP_RAW, "answer": None, "answers_spans": {"spans": ["a", "b"]}}, [["a"], ["b"], ["a", "b"]]),
    ],
)
def test_drops_answers_are_read_from_either_copy(values, truth):
    (item,) = TASKS["drop"].items([Record("d", None, values)])
    assert json.loads(item.truth) == truth
