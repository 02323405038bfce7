"""GSM8K: the last number of the response against the true one, as numbers.

The rule of Tülu 3's RLVR and evaluation (arXiv 2411.15124 §6, Table 24: exact match of the last number). Compared
exactly, as fractions: `18.0` is 18 and `1,000` is 1000, but 0.333 is not 1/3.
"""

from __future__ import annotations

import re
from fractions import Fraction

from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong

MARK = "####"  # before the answer in the dataset's own solutions

# A sign belongs to the number that it touches, unless something it could subtract from stands before it. Digits are
# bounded, for
# turning very long ones into a number takes time that is quadratic.
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,400})"
_NUMBER = re.compile(
    rf"(?:(?<![\w.)\]])(?<![\d)\]] )[-−–+]\$?)?"
    rf"(?:{_DIGITS}(?:\.\d{{1,400}})?|\.\d{{1,400}})(?:\s?/\s?\d{{1,400}}(?![\d.]))?"
)


def last_number(text: str) -> Fraction | None:
    """The last number in a text; None where there is none.

    >>> last_number("He pays 2 * $1,500.50 = $3,001.0 in all.")
    Fraction(3001, 1)
    """
    last = None
    for last in _NUMBER.finditer(text):  # noqa: B007
        pass
    return None if last is None else _value(last[0])


def _value(literal: str) -> Fraction | None:
    plain = re.sub(r"[\s,$+]", "", literal).replace("−", "-").replace("–", "-")
    numerator, slash, denominator = plain.partition("/")
    value = Fraction(numerator)
    if not slash:
        return value
    return value / int(denominator) if int(denominator) else None


def parse(truth: str) -> Fraction:
    """A number, or a solution that ends in `#### number`."""
    answer = truth.rsplit(MARK, 1)[-1].strip()
    found = list(_NUMBER.finditer(answer))
    value = _value(found[0][0]) if len(found) == 1 else None
    if value is None:
        raise ValueError(f"not one number: {shown(answer)!r}")
    return value


def check(response: str, truth: Fraction) -> Verdict:
    """Whether the last number of the response is the true one."""
    answer = last_number(response)
    if answer is None:
        return wrong("no number in the response")
    return RIGHT if answer == truth else wrong(f"answered {_plain(answer)}, not {_plain(truth)}")


def _plain(value: Fraction) -> str:
    if value.denominator == 1:
        return shown(value.numerator)
    decimal = float(value) if abs(value) < 10**300 else None
    return shown(decimal if decimal is not None and Fraction(str(decimal)) == value else value)
