"""The numbers of a text, however they are written: what a reworded problem keeps, and another of its kind does not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from decontam.analyzers import lower

MIN_NUMBERS = 3  # distinct ones: fewer agree by chance

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_WORDS = {word: str(value) for value, word in enumerate(_ONES.split())}
_WORDS |= {
    word: str(10 * value)
    for value, word in enumerate(("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 3)
}
_WORDS |= {"hundred": "100", "thousand": "1000", "dozen": "12", "half": "1/2", "third": "1/3", "quarter": "1/4"}
_WORDS |= {"twice": "2", "double": "2", "thrice": "3", "triple": "3"}

_PATTERN = re.compile(r"\d[\d,]*(?:\.\d+)?|[a-z]+")


def numbers_in(text: str) -> frozenset[str]:
    """The distinct numbers of a text, in one spelling.

    >>> sorted(numbers_in("Twice a day he pays $1,250.50 for a dozen, 3.0 of them"))
    ['12', '1250.5', '2', '3']
    """
    return frozenset(value for _, value in numbers_at(text))


def numbers_at(text: str) -> Iterator[tuple[int, str]]:
    """Each number of a text with the character at which it begins."""
    for found in _PATTERN.finditer(lower(text)):
        word = found[0]
        if not word[0].isdigit():
            if word in _WORDS:
                yield found.start(), _WORDS[word]
            continue
        plain = word.replace(",", "")
        yield found.start(), plain.rstrip("0").rstrip(".") if "." in plain else plain


def agreement(asked: frozenset[str], text: str) -> float | None:
    """How far the numbers of a text are those that an instance asks about: shared ones over all of either.

    None where the instance has too few to say anything.
    """
    if len(asked) < MIN_NUMBERS:
        return None
    found = numbers_in(text)
    return len(asked & found) / len(asked | found)
