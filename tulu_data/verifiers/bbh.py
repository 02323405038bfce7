"""BIG-Bench Hard: the answer that a chain of thought ends in.

The paper's later rule (`bbh:cot-v1` of its harness; arXiv 2411.15124 v5, Tables 5 and 6): the form of a task's answers
is looked for right after "so the answer is", else after "answer is", "answer:", "answer", else anywhere; the last match
of the first pattern that matches counts. Compared without case and punctuation, except for brackets, which are nothing
else. The earlier rule took what follows "the answer is " alone; the change moved single models by up to 55 points.

The form is told from the truth, for a task's truths all look alike: `(C)`, `Yes`, `True`, `valid`, `-12`, `] }`, words.
Unlike the original, yes, no, true and valid are whole words ("no" is not in "know"), a letter may lack its parentheses
after "answer is", numbers may have separators, and sorted words may have commas between them.
"""

from __future__ import annotations

import re
import string
from typing import NamedTuple

from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong


class Form(NamedTuple):
    """How answers of a kind look: right after "answer is", and elsewhere (empty where they stand nowhere else)."""

    after: str
    elsewhere: str


class Answer(NamedTuple):
    """A truth with the form of its kind."""

    text: str
    form: Form


_LETTER = Form(r"\(?[A-Z](?:\)|(?![\w'’]))", r"\([A-Z]\)")
_NUMBER = r"-?\d(?:[\d,]*\d)?(?!\d)"
_CLOSERS = r"[\])}>](?:[\])}> ]*[\])}>])?"
# Sorted words: apostrophes, hyphens and ampersands are in them; in running text such words are everywhere.
_WORDS = Form(r"(?i:[a-z'&-]+(?:,? [a-z'&-]+)*)", "")
_KINDS: tuple[tuple[str, Form], ...] = (  # what a truth looks like → the form of answers
    (r"\([A-Z]\)", _LETTER),
    *((f"(?i:{w})", Form(rf"\b(?i:{w})\b", rf"\b(?i:{w})\b")) for w in ("yes|no", "true|false", "valid|invalid")),
    (r"-?\d+", Form(_NUMBER, _NUMBER)),
    (_CLOSERS, Form(_CLOSERS, _CLOSERS)),
    (r"[a-z'&-]+(?: [a-z'&-]+)*", _WORDS),
)
_MARKS = r"[\s*_`\"'$]*(?:\\[(\[])?\s*"  # markdown, quotes and LaTeX before an answer
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def parse(truth: str) -> Answer:
    """An answer as the data set has it: `(C)`, `Yes`, `False`, `invalid`, `-12`, `] }`, `ant bee cow`."""
    text = truth.strip()
    if not text:
        raise ValueError("the answer is empty")
    for looks, form in _KINDS:
        if re.fullmatch(looks, text):
            return Answer(text, form)
    return Answer(text, Form(re.escape(text), re.escape(text)))  # three targets are an option's text, not its letter


def answered(response: str, form: Form) -> str | None:
    """What a response answers, in that form; None where nothing in it has the form.

    >>> answered("It is not (A). So the answer is **(C)**.", parse("(A)").form)
    '(C)'
    """
    patterns = [rf"(?i:so the answer is):?{_MARKS}({form.after})", rf"(?i:answer is):?{_MARKS}({form.after})"]
    if form is _WORDS:
        patterns += [rf"(?i:answer):{_MARKS}({form.after})", rf"\A\s*({form.after})[.\s]*\Z"]
    else:
        patterns += [
            rf"(?i:answer):.*?({form.elsewhere})",
            rf"(?i:answer)\b.*?({form.elsewhere})",
            f"({form.elsewhere})",
        ]
    if form is _LETTER:
        patterns.append(r"\b([A-Z])\b(?!['’])")
    for pattern in patterns:
        found = re.findall(pattern, response)
        if found:
            return str(found[-1])
    return None


def _plain(text: str) -> str:
    bare = text.translate(_PUNCTUATION)
    if not bare.strip():
        return "".join(text.split())  # brackets
    return ("-" if text.startswith("-") else "") + " ".join(bare.lower().split())


def check(response: str, truth: Answer) -> Verdict:
    """Whether the response's answer is the true one."""
    answer = answered(response, truth.form)
    if answer is None:
        return wrong("no answer of the asked-for form in the response")
    if _plain(answer) == _plain(truth.text):
        return RIGHT
    return wrong(f"answered {shown(answer)}, not {shown(truth.text)}")
