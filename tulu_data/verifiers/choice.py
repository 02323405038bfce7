"""Multiple choice: the letter a response settles on, by the paper's chain of patterns.

arXiv 2411.15124, appendix, Fig. 44 and its text: the asked-for sentence first (its last occurrence), then variants of
"answer is", then the last letter in parentheses, then the last capital that stands alone.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong

LETTERS = "ABCDEFGHIJ"  # MMLU-Pro has ten options

_MARKS = r"[\s*_`$\\{(\[]*"  # markdown, LaTeX and brackets around a letter
_BOXED = r"(?:\\boxed\s*\{\s*)?(?:\\text(?:bf)?\s*\{\s*)?"


class Choice(NamedTuple):
    """The true letter among those of the options."""

    letter: str
    letters: str = LETTERS


@cache
def chain(letters: str = LETTERS) -> tuple[re.Pattern[str], ...]:
    """The patterns for options with these letters, in the order in which they are tried."""
    letter = rf"{_MARKS}{_BOXED}{_MARKS}([{letters}])(?![\w'’])"
    return (
        re.compile(rf"Therefore, the answer is:?{letter}"),
        re.compile(
            rf"(?i:\b(?:best|correct|final|right)?\s*(?:answer|option|choice)\s*(?:choice|option)?\s*"
            rf"(?:is|:|=|would be)+(?:\s*(?:option|choice|letter))?\s*:?){letter}"
        ),
        re.compile(rf"\\boxed\s*\{{{letter}"),
        re.compile(rf"\(([{letters}])\)"),
        re.compile(rf"(?<![\w'’])([{letters}])(?![\w'’])"),
    )


def chosen(response: str, letters: str = LETTERS) -> str | None:
    """The letter that the response settles on: the last match of the first pattern that matches.

    >>> chosen("(A) is too small. Therefore, the answer is (C).")
    'C'
    """
    for pattern in chain(letters):
        found = pattern.findall(response)
        if found:
            return str(found[-1])
    return None


def parse(truth: str) -> Choice:
    """A letter, with or without parentheses; `B of 4` where there are four options.

    With their number the word "I" is no answer to a question with options A to D.
    """
    said, _, many = truth.partition(" of ")
    letter = said.strip().strip("().").upper()
    number = int(many) if many.strip().isdecimal() else 0 if many else len(LETTERS)
    if number not in range(2, len(LETTERS) + 1):
        raise ValueError(f"not from 2 to {len(LETTERS)} options: {shown(truth)!r}")
    letters = LETTERS[:number]
    if len(letter) != 1 or letter not in letters:
        raise ValueError(f"not a letter of {letters[0]}–{letters[-1]}: {shown(truth)!r}")
    return Choice(letter, letters)


def check(response: str, truth: Choice) -> Verdict:
    """Whether the response settles on the true letter."""
    letter = chosen(response, truth.letters)
    if letter is None:
        return wrong("no letter in the response")
    return RIGHT if letter == truth.letter else wrong(f"answered {letter}, not {truth.letter}")
