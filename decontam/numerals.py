"""The numbers of a text, however they are written: what a reworded problem keeps, and another of its kind does not."""

from __future__ import annotations

import re

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
    found = set()
    for word in _PATTERN.findall(text.lower()):
        if not word[0].isdigit():
            found.update([_WORDS[word]] if word in _WORDS else [])
        else:
            plain = word.replace(",", "")
            found.add(plain.rstrip("0").rstrip(".") if "." in plain else plain)
    return frozenset(found)


def share_held(wanted: frozenset[str], text: str) -> float | None:
    """The share of some numbers that a text holds; None where they are too few to say anything."""
    if len(wanted) < MIN_NUMBERS:
        return None
    return len(wanted & numbers_in(text)) / len(wanted)
