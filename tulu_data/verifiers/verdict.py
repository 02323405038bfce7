"""What a verifier says, and what a verifier is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

SHOWN = 80  # characters of an answer in a reason


class Verdict(NamedTuple):
    """What came of checking one response.

    score: 0 … 1. valid: whether the check came to an end; where it did not (a hang, a crash) the score is 0 but is no
    judgement of the response: leave the row out, never count it as wrong. reason: one line, for people.
    """

    score: float
    valid: bool
    reason: str

    @property
    def right(self) -> bool:
        """Whether the response is entirely right."""
        return self.valid and self.score >= 1.0


RIGHT = Verdict(1.0, True, "")


def wrong(reason: str) -> Verdict:
    """A response that was checked and is wrong."""
    return Verdict(0.0, True, reason)


def undecided(reason: str) -> Verdict:
    """A response that could not be checked."""
    return Verdict(0.0, False, reason)


@dataclass(frozen=True)
class Verifier:
    """A pure check of a response against a truth.

    parse: the truth as rows hold it (text) → what `check` takes; `ValueError` where it is not this verifier's.
    check: (response, parsed truth) → verdict; it does no I/O but for `code`, which runs what it checks in a sandbox.
    example: a truth, for help and for error messages. deadline_s: after it a worker that checks one response is killed.
    """

    name: str
    about: str
    parse: Callable[[str], Any]
    check: Callable[[str, Any], Verdict]
    example: str
    deadline_s: float = 10.0


def shown(text: object) -> str:
    """A value in a reason: one line, cut to `SHOWN` characters."""
    line = " ".join(str(text)[: SHOWN * 4].split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
