"""Multiple choice: the letter a response settles on, by the paper's chain of patterns.

arXiv 2411.15124, appendix, Fig. 44 and its text: the asked-for sentence first (its last occurrence), then variants of
"answer is", then the last letter in parentheses, then the last capital that stands alone.
"""

from __future__ import annotations

import re

from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong

LETTERS = "ABCDEFGHIJ"  # MMLU-Pro has ten options

_MARKS = r"[\s*_`$\\{(\[]*"  # markdown, LaTeX and brackets around a letter
_BOXED = r"(?:\\boxed\s*\{\s*)?(?:\\text(?:bf)?\s*\{\s*)?"
_LETTER = rf"{_MARKS}{_BOXED}{_MARKS}([{LETTERS}])(?![\w'’])"
CHAIN: tuple[re.Pattern[str], ...] = (
    re.compile(rf"Therefore, the answer is:?{_LETTER}"),
    re.compile(
        rf"(?i:\b(?:best|correct|final|right)?\s*(?:answer|option|choice)\s*(?:choice|option)?\s*(?:is|:|=|would be)+"
        rf"(?:\s*(?:option|choice|letter))?\s*:?){_LETTER}"
    ),
    re.compile(rf"\\boxed\s*\{{{_LETTER}"),
    re.compile(rf"\(([{LETTERS}])\)"),
    re.compile(rf"(?<![\w'’])([{LETTERS}])(?![\w'’])"),
)


def chosen(response: str) -> str | None:
    """The letter that the response settles on: the last match of the first pattern that matches.

    >>> chosen("(A) is too small. Therefore, the answer is (C).")
    'C'
    """
    for pattern in CHAIN:
        letters = pattern.findall(response)
        if letters:
            return str(letters[-1])
    return None


def parse(truth: str) -> str:
    """A letter, with or without parentheses."""
    letter = truth.strip().strip("().").upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise ValueError(f"not a letter of {LETTERS[0]}–{LETTERS[-1]}: {shown(truth)!r}")
    return letter


def check(response: str, truth: str) -> Verdict:
    """Whether the response settles on the true letter."""
    letter = chosen(response)
    if letter is None:
        return wrong("no letter in the response")
    return RIGHT if letter == truth else wrong(f"answered {letter}, not {truth}")
