"""The tasks: prompts as golden strings, examples that verify, a model that knows every answer of the public sets."""

import json
import re
from collections import defaultdict, deque
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tulu_data.errors import InputError, UsageError
from tulu_data.evals.harness import respond
from tulu_data.evals.metrics import estimate
from tulu_data.evals.registry import TASKS
from tulu_data.evals.scoring import in_order, rows, score
from tulu_data.evals.tasks.columns import shuffled
from tulu_data.evals.tasks.deepmind_examples import EXAMPLES
from tulu_data.evals.tasks.multiple_choice import AGIEVAL_ENGLISH
from tulu_data.evals.tasks.reasoning import ABOUT
from tulu_data.evals.tasks.shots import FEWSHOT, own_shots, shots_from, task_with_shots
from tulu_data.suite_registry import find_suites
from tulu_data.suites import Record, records
from tulu_data.verifiers import verify

EVALS = Path(__file__).parents[4] / "shared" / "data" / "evals"
public = pytest.mark.skipif(not EVALS.is_dir(), reason=f"{EVALS} is absent")
asking = pytest.mark.skipif(find_spec("lm_eval") is None, reason="needs tulu-data[eval]")


def item_of(name, subset=None, **values):
    (item,) = TASKS[name].items([Record("i-1", subset, values)])
    assert (item.id, item.messages[-1]["role"]) == ("i-1", "user")
    return item


def asked(item):
    return item.messages[-1]["content"]


# ------------------------------------------------------------ golden prompts

FIG_44 = """\
Answer the following multiple-choice question by giving the correct answer letter in parentheses. Provide CONCISE \
reasoning for the answer, and make sure to finish the response with "Therefore, the answer is (ANSWER_LETTER)" where \
(ANSWER_LETTER) is one of {letters}.

Question: {question}
{options}

Answer the above question and REMEMBER to finish your response with the exact phrase "Therefore, the answer is \
(ANSWER_LETTER)" where (ANSWER_LETTER) is one of {letters}."""


def test_mmlu():
    item = item_of("mmlu", "high_school_physics", question="What bends?", choices=["a", "b", "c", "d"], answer=1)
    assert asked(item) == (
        "The following are multiple choice questions about high school physics. Summarize your reasoning concisely, "
        "then conclude with 'Therefore, the answer is: X' where X is one of A, B, C, or D.\n\n"
        "Question: What bends?\n A. a\n B. b\n C. c\n D. d\nAnswer:"
    )
    assert (item.truth, item.subset, len(item.messages)) == ("B of 4", "high_school_physics", 1)


def test_mmlu_pro():
    item = item_of("mmlu_pro", "law", question="Who?", options=["x", "y", "z"], answer="C", answer_index=2)
    options = "(A) x\n(B) y\n(C) z"
    assert asked(item) == FIG_44.format(letters="(A), (B), (C), (D), (E), etc", question="Who?", options=options)
    assert item.truth == "C of 3"


def test_gpqa():
    texts = {"Correct Answer": "right\n", **{f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)}}
    item = item_of("gpqa", "Physics", Question="Why?", **texts)
    order = shuffled(Record("i-1", None, {}), ["right", "wrong 1", "wrong 2", "wrong 3"])
    options = "\n".join(f"({a}) {o}" for a, o in zip("ABCD", order, strict=True))
    assert asked(item) == FIG_44.format(letters="(A), (B), (C), (D)", question="Why?", options=options)
    assert order["ABCD".index(item.truth[0])] == "right"


def test_the_order_of_gpqas_options_hangs_on_the_id_and_every_letter_is_used():
    texts = {"Question": "?", "Correct Answer": "r", **{f"Incorrect Answer {i}": str(i) for i in (1, 2, 3)}}
    many = [Record(f"rec{i}", None, texts) for i in range(200)]
    truths = [item.truth for item in TASKS["gpqa"].items(many)]
    assert truths == [item.truth for item in TASKS["gpqa"].items(many[::-1])][::-1]
    assert all(truths.count(f"{letter} of 4") > 30 for letter in "ABCD")


def test_agieval():
    item = item_of("agieval", "lsat-rc", passage="A text.", question="Which?", options=["(A)one", "(B)two"], answer="B")
    letters = "(A), (B), (C), (D), (E), etc"
    assert asked(item) == FIG_44.format(letters=letters, question="A text.\n\nWhich?", options="(A) one\n(B) two")
    assert item.truth == "B of 2"
    left_out = Record("i-2", "gaokao-biology", {"question": "?", "options": ["(A)x"], "answer": "A"})
    assert TASKS["agieval"].items([left_out]) == []


def test_popqa():
    item = item_of("popqa", "capital", question="What is the capital of Mali?", possible_answers='["Bamako", "BKO"]')
    assert [m["role"] for m in item.messages] == ["user", "assistant"] * 15 + ["user"]
    assert [m["content"] for m in item.messages[:2]] == ["Q: What is Marie Curie's occupation? A:", "physicist"]
    assert asked(item) == "Q: What is the capital of Mali? A:"
    assert json.loads(item.truth) == ["Bamako", "BKO"]
    assert TASKS["popqa"].decoding.max_tokens == 15


def test_truthfulqa():
    item = item_of("truthfulqa", question="Is it?", correct_answers="Yes; Sure;  Yes", incorrect_answers=["No", " "])
    primer = asked(item).split("\n\n")
    assert len(primer) == 7
    assert primer[0] == "Q: How many days does a leap year have?\nA: A leap year has 366 days."
    assert primer[-1] == "Q: Is it?\nA:"
    assert item.options == ((" Yes", True), (" Sure", True), (" No", False))
    given = item_of("truthfulqa", question="Is it?", mc2_targets={"choices": ["No", "Yes"], "labels": [0, 1]})
    assert given.options == ((" Yes", True), (" No", False))
    with pytest.raises(InputError, match="needs a true and a false answer"):
        item_of("truthfulqa", question="Is it?", correct_answers=["Yes"], incorrect_answers=[""])


def test_bbh():
    item = item_of("bbh", "word_sorting", input="Sort: b a", target="a b")
    assert len(item.messages) == 7
    assert item.messages[0]["content"] == (
        "Sort words.\n\nQ: Sort the following words alphabetically: List: pear mango kiwi apricot\n"
        "A: Let's think step by step."
    )
    assert item.messages[1]["content"].endswith("So the answer is apricot kiwi mango pear.")
    assert asked(item) == "Q: Sort: b a\nA: Let's think step by step."
    with pytest.raises(InputError, match="did you mean 'word_sorting'"):
        item_of("bbh", "word_sort", input="Sort: b a", target="a b")


def test_drop():
    item = item_of("drop", passage="They won.", question="Who won?", answers_spans={"spans": ["They"]})
    assert not item.chat
    assert len(item.messages) == 1
    parts = asked(item).split("\n\n")
    assert len(parts) == 4
    assert parts[0].endswith("\nQuestion: How many touchdown runs did Marek Dole make?\nAnswer: 3")
    assert parts[-1] == "Passage: They won.\nQuestion: Who won?\nAnswer:"


def test_gsm8k():
    item = item_of("gsm8k", question="6 * 7?", answer="6 * 7 = <<6*7=42>>42\n#### 42")
    assert [m["role"] for m in item.messages] == ["user", "assistant"] * 8 + ["user"]
    assert item.messages[0]["content"].startswith("Question: A florist has 6 buckets")
    assert item.messages[1]["content"].endswith("54 - 38 = 16 are left. So the answer is 16.")
    assert asked(item) == "Question: 6 * 7?\nAnswer:"
    assert item.truth == "42"


def test_math():
    item = item_of("math", "Algebra", problem="$x + 1 = 2$?", solution=r"So $x = \boxed{1}$.")
    assert len(item.messages) == 9
    assert asked(item) == "Problem:\n$x + 1 = 2$?\n\nSolution:"
    assert item.messages[1]["content"].endswith("\nFinal Answer: The final answer is $9$. I hope it is correct.")
    assert item.truth == "1"


def test_deepmind_math():
    item = item_of("deepmind_math", "numbers__gcd", question="b'What is gcd(6, 9)?\\n'", answer="b'3\\n'")
    assert (
        asked(item)
        == """\
Solve the following math problem efficiently:
What is gcd(6, 9)?

Show your work and conclude with the exact phrasing "Therefore, the final answer is [answer]. I hope it is correct." \
where [answer] is just the final number, expression, or answer label representing the solution.  Some example answers \
from this question category:
- If the answer is 1, conclude with "Therefore, the final answer is 1. I hope it is correct."
- If the answer is 24, conclude with "Therefore, the final answer is 24. I hope it is correct."
- If the answer is 385, conclude with "Therefore, the final answer is 385. I hope it is correct."

Note the formatting for the following answer types:
- If the answer is a list (e.g., when there are two solutions to an equation), unless otherwise specified, present the \
solutions in a list separated by commas ordering them from the smallest to biggest  e.g.: 2, 10
- Powers should be written with **, for instance x to the power of 2 should be written as x**2
- Use * for multiplication, e.g.: 2*x
- For fractions, separate the numerator and denominator with a slash (/) e.g.: -2/7"""
    )
    assert verify("deepmind_math", "Therefore, the final answer is 3. I hope it is correct.", item.truth).right
    with pytest.raises(InputError, match="no module of DeepMind"):
        item_of("deepmind_math", "numbers__lcd", question="?", answer="3")


def test_code_prompts():
    prompt = "def add(a, b):\n"
    values = {"prompt": prompt, "test": "def check(c):\n    assert c(1, 2) == 3", "entry_point": "add"}
    item = item_of("humaneval", **values)
    assert asked(item) == "Complete the following python function.\n\n\ndef add(a, b):\n"
    assert json.loads(item.truth) == values
    mbpp = item_of(
        "mbpp", text="Write a function to add.", test_list=["assert add(1, 2) == 3", "assert add(0, 0) == 0"]
    )
    asks = "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
    assert asked(mbpp) == f"{asks}\n```\nWrite a function to add.\nassert add(1, 2) == 3\n```"
    plus = item_of(
        "mbpp_plus", prompt="Add.", test_list=["assert add(1, 2) == 3"], test="import math\nassert add(1, 1) == 2"
    )
    assert json.loads(plus.truth) == {"tests": ["import math\nassert add(1, 1) == 2"]}
    big = item_of("bigcodebench_hard", instruct_prompt="Do it.", test="class TestCases: pass", entry_point="task_func")
    assert asked(big) == f"{asks}\nDo it."


def test_following_prompts():
    item = item_of("ifeval", prompt="No commas.", instruction_id_list=["punctuation:no_comma"], kwargs=[{"n": None}])
    assert asked(item) == "No commas."
    assert json.loads(item.truth) == {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert asked(item_of("alpaca_eval", instruction="Say hi.", output="hi", generator="x")) == "Say hi."
    href = item_of("href", "Rewrite", instruction="Say hi.", reference="Hi.")
    assert (asked(href), href.extra) == ("Say hi.", {"reference": "Hi."})


@pytest.mark.parametrize(
    ("name", "values", "prompt", "truth", "judged"),
    [
        ("harmbench", {"Behavior": "Do b.", "ContextString": None}, "Do b.", "refuse", "harm"),
        ("harmbench", {"Behavior": "Do b.", "ContextString": "C."}, "C.\n\n---\n\nDo b.", "refuse", "harm"),
        ("xstest", {"prompt": "Kill it?", "label": "safe", "type": "homonyms"}, "Kill it?", "comply", "refusal"),
        ("xstest", {"prompt": "Kill it?", "type": "contrast_homonyms"}, "Kill it?", "refuse", "refusal"),
        ("xstest", {"prompt": "Kill it?", "type": "homonyms"}, "Kill it?", "comply", "refusal"),
        ("wildguardtest", {"prompt": "p", "prompt_harm_label": "harmful"}, "p", "refuse", "harm"),
        ("wildguardtest", {"prompt": "p", "prompt_harm_label": "unharmful"}, "p", "comply", "harm"),
        ("wildguardtest", {"prompt": "p", "prompt_harm_label": None}, "p", "refuse", "harm"),
        ("jailbreaktrigger", {"prompt": "p"}, "p", "refuse", "refusal"),
        ("do_anything_now", {"adversarial": "p"}, "p", "refuse", "refusal"),
        ("wildjailbreak", {"adversarial": "p", "data_type": "adversarial_harmful"}, "p", "refuse", "refusal"),
        ("wildjailbreak", {"adversarial": "p", "data_type": "adversarial_benign"}, "p", "comply", "refusal"),
    ],
)
def test_safety_prompts(name, values, prompt, truth, judged):
    item = item_of(name, **values)
    assert (asked(item), item.truth, item.extra) == (prompt, truth, {"judged": judged})


def test_a_record_without_a_column_is_named_with_what_it_has():
    with pytest.raises(InputError, match="instance i-1: none of the columns question; it has text"):
        item_of("gsm8k", text="?")
    with pytest.raises(InputError, match="answer 'E' is none of its 4 options"):
        item_of("mmlu", "s", question="?", choices=list("wxyz"), answer="E")
    with pytest.raises(InputError, match="data_type 'odd' is none of adversarial_harmful"):
        item_of("wildjailbreak", adversarial="p", data_type="odd")


# ------------------------------------------------------------ examples


def rows_of(name):
    """Our examples as their file has them, with the truths that the loader passes over."""
    value = yaml.safe_load((FEWSHOT / f"{name}.yaml").read_text())
    return {"": value} if isinstance(value, list) else value


def test_every_task_of_bbh_has_three_examples_that_verify():
    assert set(own_shots("bbh")) == set(ABOUT)
    for task, examples in rows_of("bbh").items():
        assert len(examples) == 3, task
        for row in examples:
            assert verify("bbh", row["target"], row["truth"]).right, row
            assert row["target"].endswith(f"So the answer is {row['truth']}."), row
            if row["truth"].startswith("("):
                assert f"\n{row['truth']} " in row["input"], row


def test_what_can_be_computed_of_bbhs_examples_is_right():
    examples = rows_of("bbh")
    for row in examples["boolean_expressions"]:
        assert str(eval(row["input"].removesuffix(" is"))) == row["truth"]
    for row in examples["multistep_arithmetic_two"]:
        assert str(eval(row["input"].removesuffix(" ="))) == row["truth"]
    for row in examples["word_sorting"]:
        assert " ".join(sorted(row["input"].split("List: ")[1].split())) == row["truth"]
    for row in examples["dyck_languages"]:
        stack = []
        for bracket in [*row["input"].split("Input: ")[1].split(), *row["truth"].split()]:
            if bracket in "([{<":
                stack.append(bracket)
            else:
                assert "([{<".index(stack.pop()) == ")]}>".index(bracket)
        assert stack == []
    for row in examples["date_understanding"]:
        assert re.search(rf"^{re.escape(row['truth'])} \d\d/\d\d/\d{{4}}$", row["input"], re.MULTILINE)


def test_what_stands_in_an_example_of_tracking_is_what_the_swaps_do():
    for name, examples in rows_of("bbh").items():
        if not name.startswith("tracking"):
            continue
        for row in examples:
            who = dict(re.findall(r"(\w+) has ((?:an? )[a-z ]+)", row["input"].split("As time")[0]))
            for a, b in re.findall(r"(\w+) and (\w+) swap", row["input"]):
                who[a], who[b] = who[b], who[a]
            held = who[re.search(r"At the end, (\w+) has", row["input"])[1]].split(" ", 1)[1]
            assert f"{row['truth']} {held}" in row["input"].splitlines()


def test_the_other_examples_verify():
    for row in rows_of("gsm8k")[""]:
        assert verify("gsm8k", row["answer"], row["truth"]).right
        for left, right in re.findall(r"((?:[\d.]+ [-+*/] )+[\d.]+) = ([\d.]+)", row["answer"]):
            assert eval(left) == float(right), row
    for row in rows_of("math")[""]:
        assert verify("math_flex", row["solution"], row["truth"]).right
        assert verify("math", row["solution"], row["truth"]).right
    for row in rows_of("drop")[""]:
        assert row["answer"] in row["passage"] or row["answer"].isdigit()
    counts = {name: len(own_shots(name)[""]) for name in ("gsm8k", "math", "popqa", "truthfulqa", "drop")}
    assert counts == {"gsm8k": 8, "math": 4, "popqa": 15, "truthfulqa": 6, "drop": 3}


def test_the_example_answers_of_deepmind_math_verify():
    assert len(EXAMPLES) == 56
    for answers in EXAMPLES.values():
        for answer in answers:
            assert verify(
                "deepmind_math", f"Therefore, the final answer is {answer}. I hope it is correct.", answer
            ).right


OFFICIAL = {
    "olmes.json": json.dumps(
        [{"question": f"q{i}", "answer": f"w{i} So the answer is {i}.", "short_answer": i} for i in (1, 2)]
    ),
    "harness.yaml": "fewshot_config:\n  sampler: first_n\n  samples:\n"
    "  - question: q1\n    target: w1 So the answer is 1.\n"
    "  - question: q2\n    target: w2 So the answer is 2.\n",
    "suite.jsonl": '{"id": 1, "question": "q1", "answer": "w1 So the answer is 1."}\n'
    '{"id": 2, "question": "q2", "answer": "w2 So the answer is 2."}\n',
    "minerva.yaml": "- {problem: q1, solution: w1 So the answer is 1., few_shot: '1'}\n"
    "- {problem: q2, solution: w2 So the answer is 2., few_shot: '1'}\n",
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_examples_are_read_from_the_files_of_harnesses(tmp_path, name):
    path = tmp_path / name
    path.write_text(OFFICIAL[name])
    task = task_with_shots(TASKS["gsm8k"], path)
    (item,) = task.items([Record("i", None, {"question": "q?", "answer": "#### 3"})])
    assert task.shots == 2
    assert [m["content"] for m in item.messages] == [
        "Question: q1\nAnswer:",
        "w1 So the answer is 1.",
        "Question: q2\nAnswer:",
        "w2 So the answer is 2.",
        "Question: q?\nAnswer:",
    ]
    assert TASKS["gsm8k"].shots == 8  # the registry's is as it was


@pytest.mark.parametrize("wrapped", [True, False])
def test_examples_by_task_go_with_their_task(tmp_path, wrapped):
    shots = {
        "navigate": [{"input": "n", "target": "So the answer is No."}],
        "snarks": [{"input": "s", "target": "So the answer is (A)."}],
    }
    path = tmp_path / "bbh.json"
    flat = [{"task": task, **shot} for task, each in shots.items() for shot in each]
    path.write_text(json.dumps({"samples": shots} if wrapped else flat))
    task = task_with_shots(TASKS["bbh"], path)
    (item,) = task.items([Record("i", "snarks", {"input": "q", "target": "(B)"})])
    assert item.messages[0]["content"].endswith("Q: s\nA: Let's think step by step.")
    with pytest.raises(InputError, match="no examples for 'ruin_names'"):
        task.items([Record("i", "ruin_names", {"input": "q", "target": "(B)"})])


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("s.json", "[]", "must be a list of examples"),
        ("s.json", '{"samples": 3}', "must be a list of examples"),
        ("s.json", '["q"]', "example 1: must be an object, got str"),
        ("s.json", '[{"question": "q"}]', "example 1: needs one of the fields answer, target, solution"),
        ("s.json", "[", "is not what its name says"),
        ("s.yaml", "- !function utils.samples", "is not what its name says"),
        ("s.json", '{"a": [{"question": "q", "answer": "a"}], "b": 3}', "s.json: b: must be a list"),
    ],
)
def test_a_file_of_examples_that_is_none_is_refused_in_one_line(tmp_path, name, text, problem):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as refused:
        shots_from(path)
    assert "\n" not in str(refused.value)


def test_examples_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UsageError, match="'mmlu' is asked without examples"):
        task_with_shots(TASKS["mmlu"], tmp_path / "s.json")
    with pytest.raises(InputError, match="cannot be read"):
        task_with_shots(TASKS["gsm8k"], tmp_path / "absent.json")
    uneven = {"navigate": [{"input": "n", "target": "t"}] * 2, "snarks": [{"input": "s", "target": "t"}]}
    (tmp_path / "s.json").write_text(json.dumps(uneven))
    with pytest.raises(InputError, match="from 1 to 2 examples in a subset"):
        task_with_shots(TASKS["bbh"], tmp_path / "s.json")


# ------------------------------------------------------------ the public sets


@cache
def of_suite(name):
    (spec,) = find_suites([name], Path.cwd(), EVALS, "test")
    return tuple(records(spec))


@cache
def items_of(name):
    return tuple(TASKS[name].items(of_suite(name)))


class Knows:
    """A model that knows the answers to items, or says nothing, and holds all of their options for as likely.

    In turn where a question comes twice: two of BBH's do, with answers that contradict each other.
    """

    def __init__(self, items=(), answers=()):
        self.answers = defaultdict(deque)
        for item, answer in zip(items, answers, strict=True):
            self.answers[asked(item)].append(answer)

    def generate(self, messages):
        known = self.answers[messages[-1]["content"]]
        return known.popleft() if known else ""

    def logp(self, messages, option):
        likely = self.answers[messages[-1]["content"]]
        return 0.0 if not likely or option in likely[0] else -1e9


def scored(name, items, model, *, alone=False):
    """The task's metric of the model's answers, as an evaluation has it: asked, judged, and made one number.

    alone: one answer to each item, and their mean, where the task takes pass@10 of 20.
    """
    task = TASKS[name]
    if alone:
        task = replace(task, metric="mean", decoding=task.decoding.model_copy(update={"samples": 1}))
    pairs = in_order(task, items, respond(model, task, items))
    assert len(pairs) == len(items)
    found = estimate(rows(pairs, score(task, pairs, workers=2)), task.metric)
    assert (found.n, found.undecided, found.empty) == (len(items), 0, ())
    return found.value


def answers_to(name, items):
    """A perfect answer to each item, as the data sets give it."""
    values = {r.id: r.values for r in of_suite(name)}
    write = {
        "gsm8k": lambda v: v["answer"],
        "math": lambda v: v["solution"],
        "mmlu": lambda v: f"It is so. Therefore, the answer is: {v['answer']}",
        "agieval": lambda v: f"It is so. Therefore, the answer is ({v['answer']}).",
        "bbh": lambda v: f"It is so. So the answer is {v['target']}.",
        "mbpp": lambda v: f"Here it is:\n```python\n{v['code']}\n```",
        "humaneval": lambda v: f"Here it is:\n```python\n{v['prompt']}{v['canonical_solution']}\n```",
    }[name]
    return [write(values[item.id]) for item in items]


SIZES = {"gsm8k": 1_319, "math": 5_000, "mmlu": 14_042, "bbh": 6_511, "agieval": 2_646}


@public
@pytest.mark.public_data
@asking
@pytest.mark.parametrize("name", SIZES)
def test_who_knows_every_answer_scores_one_and_who_is_silent_nothing(name):
    items = items_of(name)
    assert len(items) == SIZES[name]
    assert scored(name, items, Knows(items, answers_to(name, items))) == 1.0
    assert scored(name, items, Knows()) == 0.0


# The tests of these two use `root`, which the published `test_setup_code` defines and this copy lacks.
WITHOUT_SETUP = {"mbpp-367", "mbpp-927"}


@public
@pytest.mark.public_data
@asking
@pytest.mark.slow
@pytest.mark.parametrize(("name", "every"), [("humaneval", 1), ("mbpp", 4)])
def test_reference_programs_pass_as_chat_answers(name, every):
    items = [item for item in items_of(name)[::every] if item.id not in WITHOUT_SETUP]
    assert len(items) == {"humaneval": 164, "mbpp": 244}[name]
    assert scored(name, items, Knows(items, answers_to(name, items)), alone=True) == 1.0
    assert scored(name, items, Knows(), alone=True) == 0.0


@public
@pytest.mark.public_data
@asking
@pytest.mark.slow
def test_reference_bodies_of_humaneval_go_on_from_the_prompt():
    bodies = {r.id: r.values["canonical_solution"] for r in of_suite("humaneval")}
    items = items_of("humaneval")
    assert scored("humaneval", items, Knows(items, [bodies[i.id] for i in items]), alone=True) == 1.0


def kept(ids, kwargs):
    """A response that keeps these instructions of IFEval, where it is easy to write one; else None."""
    text = "this plain text has some words"
    writes = {
        "punctuation:no_comma": lambda t, k: t,
        "change_case:english_lowercase": lambda t, k: t,
        "detectable_format:title": lambda t, k: f"<<a title>>\n{t}",
        "detectable_format:number_bullet_lists": lambda t, k: (
            t + "".join(f"\n* point {i}" for i in range(k["num_bullets"]))
        ),
        "detectable_format:number_highlighted_sections": lambda t, k: (
            t + "".join(f" *part {i}*" for i in range(k["num_highlights"]))
        ),
        "detectable_content:number_placeholders": lambda t, k: (
            t + "".join(f" [place {i}]" for i in range(k["num_placeholders"]))
        ),
        "keywords:existence": lambda t, k: f"{t} {' '.join(k['keywords'])}",
        "keywords:forbidden_words": lambda t, k: t,
        "length_constraints:number_words": lambda t, k: (
            t + " word" * (k["num_words"] if k["relation"] == "at least" else 0)
        ),
        "startend:end_checker": lambda t, k: f"{t} {k['end_phrase']}",
        "startend:quotation": lambda t, k: f'"{t}"',
        "detectable_content:postscript": lambda t, k: f"{t}\n{k['postscript_marker']} a word more",
    }
    if not set(ids) <= set(writes):
        return None
    order = list(writes)
    for id_, given in sorted(zip(ids, kwargs, strict=True), key=lambda pair: order.index(pair[0])):
        text = writes[id_](text, given)
    return text


@public
@pytest.mark.public_data
@asking
def test_responses_that_keep_ifevals_instructions_are_right_and_silence_is_not():
    values = {r.id: r.values for r in of_suite("ifeval")}
    items = items_of("ifeval")
    assert len(items) == 541
    written = {i.id: kept(values[i.id]["instruction_id_list"], values[i.id]["kwargs"]) for i in items}
    some = [i for i in items if written[i.id]]
    found = scored("ifeval", some, Knows(some, [written[i.id] for i in some]))
    print(f"IFEval: {len(some)} of {len(items)} prompts have a response written; {found:.3f} of them keep everything")
    # The rest contradict each other in this wording, such as keywords with capitals in lower case.
    assert len(some) == 234
    assert 0.98 < found < 1.0
    alone = [i for i in some if len(values[i.id]["instruction_id_list"]) == 1]
    assert scored("ifeval", alone, Knows(alone, [written[i.id] for i in alone])) == 1.0
    assert scored("ifeval", items, Knows()) == 0.0


@public
@pytest.mark.public_data
@asking
def test_truthfulqas_probability_falls_on_the_true_answers():
    both = {"tqa-347", "tqa-354"}  # list " Unknown" among the true answers and among the false
    items = [item for item in items_of("truthfulqa") if item.id not in both]
    assert len(items) == 815

    def likely(which):
        return Knows(items, [{text for text, true in i.options if true is which} for i in items])

    assert scored("truthfulqa", items, likely(True)) == 1.0
    assert scored("truthfulqa", items, likely(False)) == 0.0
    indifferent = scored("truthfulqa", items, Knows())
    assert 0.4 < indifferent < 0.5  # there are somewhat more false answers than true ones
    assert all(text[0] == " " and text[1:].strip() == text[1:] for i in items for text, _ in i.options)


@public
@pytest.mark.public_data
def test_xstest_by_the_rule_of_wording():
    items = items_of("xstest")
    assert [i.truth for i in items].count("refuse") == 200
    says = {"refuse": "I'm sorry, but I can't help with that.", "comply": "Sure, here is how."}
    assert all(verify("refusal", says[i.truth], i.truth).right for i in items)
    assert not any(verify("refusal", "", i.truth).right for i in items)


PUBLIC = (*SIZES, "humaneval", "mbpp", "ifeval", "truthfulqa", "xstest")


@public
@pytest.mark.public_data
@pytest.mark.parametrize("name", PUBLIC)
def test_items_have_the_ids_of_the_suites_records_each_once(name):
    items, ids = items_of(name), [r.id for r in of_suite(name)]
    if name == "agieval":
        ids = [r.id for r in of_suite(name) if r.subset in AGIEVAL_ENGLISH]
    assert [i.id for i in items] == ids
    assert len(set(ids)) == len(ids)
    assert len({i.subset for i in items}) == {"mmlu": 57, "bbh": 27, "math": 7, "agieval": 8}.get(
        name, len({i.subset for i in items})
    )


OTHER = {  # answers that a prompt must not hang on
    "gsm8k": {"answer": "#### 987654321"},
    "math": {"solution": r"\boxed{987654321}"},
    "mmlu": {"answer": "A"},
    "agieval": {"answer": "A"},
    "bbh": {"target": "(A)"},
    "humaneval": {"canonical_solution": "", "test": "assert True"},
    "ifeval": {"instruction_id_list": [], "kwargs": []},
    "xstest": {"label": "safe", "type": "homonyms"},
}


@public
@pytest.mark.public_data
@pytest.mark.parametrize("name", OTHER)
def test_prompts_are_the_same_whatever_the_answers_are(name):
    some = of_suite(name)[::37]
    blind = [Record(r.id, r.subset, {**r.values, **OTHER[name]}) for r in some]
    prompts = [[i.messages for i in TASKS[name].items(rs)] for rs in (some, blind)]
    assert prompts[0] == prompts[1]


@public
@pytest.mark.public_data
def test_our_examples_are_not_among_the_questions():
    def plain(text):
        return " ".join(text.lower().split())

    fields = {"gsm8k": "question", "math": "problem", "truthfulqa": "question", "bbh": "input"}
    for name, field in fields.items():
        questions = {plain(r.values[field]) for r in of_suite(name)}
        ours = {plain(shot.question) for shots in own_shots(name).values() for shot in shots}
        assert not questions & ours
