"""One exception tree. A message is one line: the place, the value, the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TuluError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(TuluError):
    """The request itself is wrong: an unknown name, key or option."""

    exit_code = 2


class InputError(TuluError):
    """A file, a row or a dataset cannot be read as what it is said to be."""


class RecipeError(UsageError):
    """A recipe or suite file has an unknown key, a wrong value or a request that cannot be met."""


class StoreError(TuluError):
    """A version is missing, damaged, or cannot be written."""


class GateError(TuluError):
    """A check that was asked for did not hold (an `expect`, a policy)."""

    exit_code = 3


def nearest(name: str, known: Iterable[str], *, noun: str = "name") -> str:
    """The tail of an error about an unknown name: the nearest known ones, or all of them.

    >>> nearest("ngrm", ["ngram", "suites"])
    "did you mean 'ngram'?"
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return f"known {noun}s: " + (", ".join(names) if names else "none")
