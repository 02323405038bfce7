"""The pairs of a preference version as tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainers.chat import Example, Turns, encode, truncated
from tulu_data.errors import InputError
from tulu_data.progress import Progress, Silent
from tulu_data.store import Version

SIDES = ("chosen", "rejected")


class Pair(NamedTuple):
    """The two conversations of a row, each the prompt with one answer."""

    chosen: Example
    rejected: Example

    @property
    def tokens(self) -> int:
        """Of both."""
        return len(self.chosen.tokens) + len(self.rejected.tokens)


class Pairs(NamedTuple):
    """A version's rows as pairs. cut: those kept with an answer that lost its end.

    untrained, identical, unended: rows left out for want of a trained token, for both answers are the same as they are
    trained on, and for an answer that lost its end where none may.
    """

    kept: list[Pair]
    untrained: int
    cut: int
    identical: int
    unended: int

    def counts(self) -> dict[str, int]:
        """For people and metrics."""
        longest = max((max(len(p.chosen.tokens), len(p.rejected.tokens)) for p in self.kept), default=0)
        told = {"examples": len(self.kept), "left_out": self.untrained + self.identical + self.unended}
        told |= {"identical": self.identical, "unended": self.unended, "cut": self.cut, "longest": longest}
        trained = sum(p.chosen.trained + p.rejected.trained for p in self.kept)
        return {**told, "tokens": sum(p.tokens for p in self.kept), "trained_tokens": trained}


def pairs_of(
    version: Version,
    tokenizer: Any,
    *,
    max_length: int,
    turns: Turns = "all",
    ends: bool = False,
    progress: Progress | None = None,
) -> Pairs:
    """The rows of a preference version as pairs; one without a trained token in either answer is left out.

    So is one whose answers are the same within `max_length`: it has a loss, and no gradient. ends: each answer must
    have its end, where it is scored.
    """
    if version.kind != "preference":
        raise InputError(f"{version.ref}: holds {version.kind} rows; this trains on preference rows")
    kept: list[Pair] = []
    untrained = cut = identical = unended = 0
    with (progress or Silent()).task(f"tokenize {version.name}", version.rows) as advance:
        for batch in version.batches(["messages", "chosen", "rejected"]):
            for row in batch.to_pylist():
                sides = [encode(tokenizer, row["messages"] + row[side], turns=turns) for side in SIDES]
                long = any(len(s.tokens) > max_length for s in sides)
                pair = Pair(*(truncated(s, max_length) for s in sides))
                if not (pair.chosen.trained and pair.rejected.trained):
                    untrained += 1
                elif long and ends:
                    unended += 1
                elif pair.chosen == pair.rejected:
                    identical += 1
                else:
                    cut += long
                    kept.append(pair)
            advance(len(batch))
    if not kept:
        what = "two whole answers that differ" if ends else "two answers that differ, with trained tokens in both,"
        raise InputError(f"{version.ref}: no row has {what} within {max_length:,} tokens; raise max_length")
    return Pairs(kept, untrained, cut, identical, unended)
