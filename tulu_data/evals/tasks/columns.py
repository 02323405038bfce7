"""What a suite's columns hold, whatever copy it comes from."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tulu_data.errors import InputError
from tulu_data.suites import Record

LETTERS = "ABCDEFGHIJ"


def column(record: Record, names: str, *, empty: bool = False) -> Any:
    """The value of the first of the columns `a|b|c.d` that is there; `InputError` where there is none.

    empty: whether null and "" will do; otherwise the next column is tried.
    """
    for name in names.split("|"):
        value: Any = record.values
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None and value != "":
            return value
    if empty:
        return None
    has = ", ".join(record.values) or "none"
    raise InputError(f"instance {record.id}: none of the columns {names.replace('|', ', ')}; it has {has}")


def text(record: Record, names: str) -> str:
    """The text in a column."""
    value = column(record, names)
    if not isinstance(value, str):
        raise InputError(f"instance {record.id}: {names} must be text, got {type(value).__name__}")
    return value


def texts(record: Record, names: str) -> list[str]:
    """The texts in a column: a list, or the JSON text of one."""
    value = column(record, names)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            raise InputError(f"instance {record.id}: {names} is not JSON") from None
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(v, str) for v in value):
        raise InputError(f"instance {record.id}: {names} must be a list of texts")
    return list(value)


def letter_truth(record: Record, names: str, options: Sequence[str]) -> str:
    """The verifier `choice`'s truth of a column that holds a letter or its number from 0."""
    value = column(record, names)
    letter = LETTERS[value] if isinstance(value, int) and value in range(len(options)) else str(value).strip("() ")
    if letter not in LETTERS[: len(options)] or len(letter) != 1:
        raise InputError(f"instance {record.id}: {names} {value!r} is none of its {len(options)} options")
    return f"{letter} of {len(options)}"


def lettered(options: Sequence[str], form: str) -> str:
    """Options as lines, by a form such as `({letter}) {option}`."""
    return "\n".join(form.format(letter=a, option=o) for a, o in zip(LETTERS, options, strict=False))


def shuffled(record: Record, options: Sequence[str]) -> list[str]:
    """The options in an order that depends on the instance's id alone."""
    order = list(options)
    random.Random(hashlib.sha256(record.id.encode()).digest()).shuffle(order)
    return order
