"""GSM8K, MATH and DeepMind Mathematics (arXiv 2411.15124, Table 24 and Fig. 45)."""

from __future__ import annotations

from collections.abc import Sequence

from tulu_data.errors import InputError
from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import column, text
from tulu_data.evals.tasks.deepmind_examples import EXAMPLES
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import Shot, WithShots, turns, user
from tulu_data.suites import Record
from tulu_data.verifiers.grade_math import MARK
from tulu_data.verifiers.math_answer import boxed


def gsm8k_item(record: Record, shots: Sequence[Shot]) -> Item:
    """A word problem after examples as turns."""
    messages = turns(
        shots, lambda s: f"Question: {s.question}\nAnswer:", f"Question: {text(record, 'question')}\nAnswer:"
    )
    # Of the reference solution only what stands after its mark: the rest is no truth.
    return Item(record.id, record.subset, messages, text(record, "answer").rsplit(MARK, 1)[-1].strip())


GSM8K = Task(
    id="gsm8k",
    title="GSM8K (8-shot, CoT)",
    group="dev",
    suite="gsm8k",
    items=WithShots(gsm8k_item, "gsm8k"),
    verifier="gsm8k",
    shots=8,
    rules="The last number of the response, as an exact fraction, without separators and currency. Verifier: gsm8k.",
    published=published("gsm8k"),
    note="The examples are our own, in the form of Wei et al. 2022. `gsm8k::tulu` begins the model's answer with "
    "'Answer:'; here it ends the question.",
)


def math_item(record: Record, shots: Sequence[Shot]) -> Item:
    """A problem after examples as turns; the truth is what the reference solution boxes."""
    messages = turns(
        shots, lambda s: f"Problem:\n{s.question}\n\nSolution:", f"Problem:\n{text(record, 'problem')}\n\nSolution:"
    )
    solution = text(record, "solution")
    return Item(record.id, record.subset, messages, boxed(solution) or solution)


MATH = Task(
    id="math",
    title="MATH (4-shot, CoT, flex)",
    group="dev",
    suite="math",
    items=WithShots(math_item, "math"),
    verifier="math_flex",
    metric="macro",
    shots=4,
    decoding=Decoding(max_tokens=1_024),
    rules="What 'final answer is … I hope it is correct' says and what the last \\boxed holds: right if one is. "
    "Without either, the text between the last two dollar signs, else a response of one line. "
    "Compared as mathematics. Verifier: math_flex.",
    published=published("math"),
    note="The examples are our own, in the form of Minerva's. The mean over the seven types. The original compares "
    "normalised strings and SymPy expressions.",
)

# ------------------------------------------------------------ Fig. 45

FIG_45 = """Solve the following math problem efficiently:
{problem}

Show your work and conclude with the exact phrasing "Therefore, the final answer is [answer]. I hope it is correct." \
where [answer] is just the final number, expression, or answer label representing the solution.  Some example answers \
from this question category:
{examples}

Note the formatting for the following answer types:
- If the answer is a list (e.g., when there are two solutions to an equation), unless otherwise specified, present the \
solutions in a list separated by commas ordering them from the smallest to biggest  e.g.: 2, 10
- Powers should be written with **, for instance x to the power of 2 should be written as x**2
- Use * for multiplication, e.g.: 2*x
- For fractions, separate the numerator and denominator with a slash (/) e.g.: -2/7"""
FIG_45_EXAMPLE = (
    '- If the answer is {answer}, conclude with "Therefore, the final answer is {answer}. I hope it is correct."'
)


def deepmind_math_items(records: Sequence[Record]) -> list[Item]:
    """A problem with example answers of its module, which is the subset."""
    return [_deepmind_math(record) for record in records]


def _deepmind_math(record: Record) -> Item:
    module = record.subset or str(column(record, "category|module"))
    if module not in EXAMPLES:
        raise InputError(f"instance {record.id}: {module!r} is no module of DeepMind Mathematics, such as numbers__gcd")
    examples = "\n".join(FIG_45_EXAMPLE.format(answer=answer) for answer in EXAMPLES[module])
    prompt = FIG_45.format(problem=_unwrapped(text(record, "question")), examples=examples)
    return Item(record.id, module, user(prompt), text(record, "answer"))


def _unwrapped(question: str) -> str:
    """The question without the `b'…\\n'` that the data set's loader leaves around it."""
    text = question.strip()
    return text[2:-1].removesuffix("\\n").strip() if text.startswith("b'") and text.endswith("'") else text


DEEPMIND_MATH = Task(
    id="deepmind_math",
    title="DeepMind Mathematics (0-shot, CoT)",
    group="unseen",
    suite="deepmind_math",
    items=deepmind_math_items,
    verifier="deepmind_math",
    metric="macro",
    decoding=Decoding(max_tokens=2_048),
    rules="(?i)Therefore, the final answer is (.*?)\\. I hope it is correct — the last match; else 'answer is …' to "
    "the end of its line; else \\boxed; else a response of one line. Equal as text without case, or as mathematics, "
    "lists item by item. Verifier: deepmind_math.",
    published=published("deepmind_math"),
    note="Fig. 45. The three example answers of each module are our own. Compared without SymPy. Mean over modules.",
)
TASKS = (GSM8K, MATH, DEEPMIND_MATH)
