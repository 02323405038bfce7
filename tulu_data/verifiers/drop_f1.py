"""DROP: the bag-of-words F1 of the official evaluation (Dua et al. 2019, arXiv 1903.00161 §5 and its script).

Spans are compared as bags of words without case, articles and punctuation, numbers as numbers; a span whose numbers
differ from the true one's scores 0; several spans are paired so that the sum is largest; of several true answers the
best counts.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from functools import cache

from tulu_data.verifiers.verdict import Verdict, shown, wrong

Spans = tuple[str, ...]
MAX_SPANS = 12  # beyond it spans are paired in order: the pairing below takes 2^n steps

_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def bag(text: str) -> frozenset[str]:
    """The words of a span, as they are compared."""
    words = (_normal(word) for word in re.split(r"[ \-\n\t]", text[:10_000]))
    return frozenset(w for w in words if w and w not in _ARTICLES)


def _normal(word: str) -> str:
    lower = word.lower()
    number = _number(lower)
    return lower.translate(_PUNCTUATION) if number is None else str(number)


def _number(text: str) -> float | None:
    text = text.strip("$%€£,.;:!?()'\"").replace(",", "")
    return float(text) if re.fullmatch(r"-?(?:\d{1,300}(?:\.\d*)?|\.\d+)", text) else None


def _is_number(word: str) -> bool:
    return _number(word) is not None


def f1_of(answer: frozenset[str], true: frozenset[str]) -> float:
    """The F1 of two bags; 0 where the true one has numbers and none is in the answer."""
    numbers = {w for w in true if _is_number(w)}
    if numbers and not numbers & {w for w in answer if _is_number(w)}:
        return 0.0
    common = len(answer & true)
    if not answer or not true:
        return float(answer == true)
    precision, recall = common / len(answer), common / len(true)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def spans_f1(answer: Sequence[str], true: Sequence[str]) -> float:
    """The F1 of two lists of spans: the best pairing's mean over the longer list, to two decimals as the script has it.

    >>> spans_f1(["Bears", "the Colts"], ["Colts", "Bears"])
    1.0
    """
    left, right = [bag(a) for a in answer], [bag(t) for t in true]
    if len(left) < len(right):
        scores = [[f1_of(a, t) for a in left] for t in right]
    else:
        scores = [[f1_of(a, t) for t in right] for a in left]
    if not scores or not scores[0]:
        return 0.0
    return round(_best_pairing(scores) / len(scores), 2)


def _best_pairing(scores: list[list[float]]) -> float:
    """The largest sum with each row and column used at most once; there are at least as many rows as columns."""
    rows, columns = len(scores), len(scores[0])
    if columns > MAX_SPANS or rows > 2 * MAX_SPANS:
        return sum(scores[i][i] for i in range(columns))

    @cache
    def best(row: int, free: int) -> float:
        if row == rows:
            return 0.0
        taken = (scores[row][c] + best(row + 1, free & ~(1 << c)) for c in range(columns) if free >> c & 1)
        return max(best(row + 1, free), *taken, 0.0)

    return best(0, (1 << columns) - 1)


def parse(truth: str) -> tuple[Spans, ...]:
    """True answers, any of which will do: text, or JSON of spans `["a", "b"]` or of answers `[["a", "b"], ["c"]]`."""
    text = truth.strip()
    if not text:
        raise ValueError("the answer is empty")
    if not text.startswith("["):
        return ((text,),)
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError(f"not JSON: {shown(text)!r}") from None
    answers = value if value and all(isinstance(v, list) for v in value) else [value]
    if not all(a and all(isinstance(s, str) for s in a) for a in answers):
        raise ValueError(f"not a list of spans: {shown(text)!r}")
    return tuple(tuple(a) for a in answers)


def check(response: str, truth: tuple[Spans, ...]) -> Verdict:
    """The F1 of the response, one span, or several as a JSON list, against the nearest of the true answers."""
    answer = _spans_in(response)
    score = max(spans_f1(answer, true) for true in truth)
    if score >= 1.0:
        return Verdict(score, True, "")
    if not score:
        return wrong(f"answered {shown(response)!r}, not {shown(', '.join(truth[0]))!r}")
    return Verdict(score, True, f"in part: {shown(', '.join(truth[0]))!r} was asked for")


def _spans_in(response: str) -> Spans:
    text = response.strip()
    if text.startswith("["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return (text,)
        if value and isinstance(value, list) and all(isinstance(s, str) for s in value):
            return tuple(value)
    return (text,)
