"""DeepMind Mathematics: the answer in the sentence that the paper's prompt asks for, as mathematics.

arXiv 2411.15124, Fig. 45 and its text: the last "Therefore, the final answer is [answer]. I hope it is correct.";
compared as text without case, else as expressions. Without the sentence, the looser "the final answer is …", then the
last `\\boxed`, then a response of one line. Answers are Python-like (`x**2`, `-2/7`, `2, 10`), and the order of a list
counts, for sorting is among the questions. The original compares with SymPy; ours by the verifier `math`'s comparison,
which also takes LaTeX.
"""

from __future__ import annotations

import re

from tulu_data.verifiers.math_answer import boxed
from tulu_data.verifiers.math_equal import math_equal
from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong

# An answer may go over lines, but not over a sentence that begins anew: of a corrected answer the correction counts.
SENTENCE = re.compile(
    r"(?i)therefore, the final answer is:?\s*((?:(?!final answer is).)*?)\.?\s*I hope it is correct", re.DOTALL
)
LOOSER = re.compile(r"(?i)(?:final )?answer is:?\s*([^\n]+)")
# One pair around the whole; `$2*x$ and $3*x$` is in none. A `**` between two operands is a power, not a mark.
_MARKS = (
    r"\$\$?([^$]*)\$?\$",
    r"\\\(((?:(?!\\[()]).)*)\\\)",
    r"\\\[((?:(?!\\[\[\]]).)*)\\\]",
    r"\*\*((?:[^*]|\*(?!\*)|(?<=[\w)])\*\*(?=[\w(-]))*)\*\*",
    r"`([^`]*)`",
    r"\[([^\[\]]*)\]",
)
_SAME_WORD = {"yes": "true", "no": "false"}
MAX_POWERS = 50  # brackets after `**` are matched one by one


def answer_in(response: str) -> str | None:
    """The final answer of a response; None where there is none.

    >>> answer_in("2*x = 6. Therefore, the final answer is 3. I hope it is correct.")
    '3'
    """
    tail = response[-10_000:]
    said = SENTENCE.findall(tail) or LOOSER.findall(tail)
    if said:
        return _bare(said[-1]) or None
    held = boxed(tail)
    if held:
        return held
    lines = tail.strip().splitlines()
    return _bare(lines[0]) or None if len(lines) == 1 else None


def _bare(answer: str) -> str:
    """An answer without full stop, markdown and LaTeX's delimiters, and out of its box."""
    text = answer.strip().removesuffix(".").strip()
    for marks in _MARKS:
        inside = re.fullmatch(marks, text, re.DOTALL)
        text = inside[1].strip() if inside else text
    return boxed(text) or text


def _as_latex(text: str) -> str:
    """Python's powers in LaTeX's way: `x**(-1/2)` as `x^{-1/2}`."""
    for _ in range(MAX_POWERS):
        m = re.search(r"\*\*\s*(\(|-?[\w.]+)", text)
        if m is None:
            break
        end = _closing(text, m.end()) if m[1] == "(" else m.end()
        inside = text[m.end() : end - 1] if m[1] == "(" else m[1]
        text = f"{text[: m.start()]}^{{{inside}}}{text[end:]}"
    return text


def _closing(text: str, at: int) -> int:
    depth = 1
    while at < len(text) and depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return at


def _items(text: str) -> list[str]:
    """The items of a list; a comma between digits that group by threes separates nothing."""
    return [item.strip() for item in re.split(r",(?!\d{3}(?:\D|$))|,\s+", text)]


def parse(truth: str) -> str:
    """An answer; the loader of the data set leaves `b'…\\n'` around it, which is taken off."""
    text = re.sub(r"^b'(.*?)(?:\\n)?'$", r"\1", truth.strip()).strip()
    if not text:
        raise ValueError("the answer is empty")
    return text


def check(response: str, truth: str) -> Verdict:
    """Whether the response's final answer is the true one."""
    answer = answer_in(response)
    if answer is None:
        return wrong("no final answer: no 'the final answer is', no \\boxed")
    said, true = answer.lower(), truth.lower()
    if said == true or _SAME_WORD.get(said) == true:
        return RIGHT
    given, asked = _items(answer), _items(truth)
    # A single letter is an option's label or a digit of some base, never a variable to be renamed.
    letters = any(re.fullmatch(r"[A-Za-z]", item) for item in asked)
    if len(given) == len(asked) and not letters:
        pairs = zip(given, asked, strict=True)
        if all(a.lower() == t.lower() or math_equal(_as_latex(a), _as_latex(t)) for a, t in pairs):
            return RIGHT
    return wrong(f"answered {shown(answer)}, not {shown(truth)}")
