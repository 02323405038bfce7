"""A mixture's plan before its sources are there: how many rows each part gives, by what its source says it holds.

Nothing is read: `mixture.plan` says which rows, this says how many. A count that hangs on the rows themselves
(`tokens`, a `where`, a size in tokens) is left open, and so is the total then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from tulu_data.errors import GateError, RecipeError
from tulu_data.mixture import Expect, Size, check_size
from tulu_data.shares import Emphasis, apportion, check_share, check_topics, shares_by_topic
from tulu_data.take import Take, exact

Counts = Mapping[str, int | None]


class PartOutline(NamedTuple):
    """One part: the rows that its source has, and those that it gives; None where only reading it tells."""

    name: str
    available: int | None
    rows: int | None


@dataclass(frozen=True)
class Outline:
    """The parts of a mixture by count. `before` says that steps are to come that take rows from the sources."""

    parts: tuple[PartOutline, ...]
    size: int | None  # of the whole, where it is known without the parts
    before: bool

    @property
    def rows(self) -> int | None:
        """Rows of the mixture; None where a part leaves them open."""
        counts = [p.rows for p in self.parts]
        return self.size if None in counts else sum(c for c in counts if c is not None)

    def check(self, expect: Expect) -> None:
        """`GateError` for the first expectation that cannot be met; what is left open is not held against it."""
        by_part = {p.name: p.rows for p in self.parts}
        claims = [("rows", expect.rows, self.rows)]
        claims += [(f"parts.{name}", rows, by_part.get(name)) for name, rows in expect.parts.items()]
        for key, expected, planned in claims:
            if expected is not None and planned is not None and expected != planned and not self.before:
                raise GateError(f"expect.{key}: {expected:,} expected, the plan has {planned:,}; nothing was read")


def outline(
    takes: Mapping[str, Take],
    available: Counts,
    *,
    size: Size | None = None,
    topics: Mapping[str, Emphasis] | None = None,
    topic_of: Mapping[str, str | None] | None = None,
    before: bool = False,
) -> Outline:
    """The plan of `takes` over sources of `available` rows.

    `RecipeError` for a part that asks for more rows than its source has, and for shares that cannot be met.
    """
    topics, topic_of = topics or {}, topic_of or {}
    check_size(takes, size, topics)
    check_topics(topics, [topic_of.get(name) for name in takes])
    scale = size is not None and size.scale
    counts: dict[str, int | None] = {name: _rows(name, take, available.get(name)) for name, take in takes.items()}
    counts |= _by_weight(takes, available, counts, size)
    if topics or scale:
        counts = _by_topic(takes, available, counts, size, topics, topic_of)
    bounded = any(take.cap is not None or take.floor is not None for take in takes.values())
    parts = tuple(PartOutline(name, available.get(name), rows) for name, rows in counts.items())
    return Outline(parts, size.rows if size and not bounded else None, before)


def _rows(name: str, take: Take, available: int | None) -> int | None:
    """As `take.select` counts them."""
    wanted = _wanted(take, available)
    if wanted is None or (take.where is not None and take.amount != "count"):
        return None
    return _asked(name, take, wanted, available)


def _wanted(take: Take, available: int | None) -> int | None:
    if take.amount == "count":
        return take.count
    if available is None:
        return None
    if take.amount == "all":
        return available * take.repeat
    if take.amount == "fraction":
        return math.floor(exact(take.fraction or 0) * available * take.repeat + Fraction(1, 2))
    return None


def _asked(name: str, take: Take, wanted: int, available: int | None) -> int:
    """`wanted` within `cap` and `floor`, where the source has as many."""
    wanted = wanted if take.cap is None else min(wanted, take.cap)
    wanted = wanted if take.floor is None else max(wanted, take.floor)
    if available is not None and wanted > available * take.repeat:
        times = f" × repeat {take.repeat}" if take.repeat > 1 else ""
        raise RecipeError(
            f"mix.{name}.{take.amount}: {wanted:,} rows asked, the source states {available:,}{times}; lower it, or "
            "raise 'repeat'"
        )
    return wanted


# ------------------------------------------------------------ shares, as `mixture` counts them


def _by_weight(
    takes: Mapping[str, Take], available: Counts, counts: Counts, size: Size | None
) -> dict[str, int | None]:
    """The rows of the parts with a weight: their shares of what the others leave of the size, or without a size of
    the largest mixture that keeps the weights. None where a part that counts with them is open.
    """
    weights = {name: exact(take.weight) for name, take in takes.items() if take.weight is not None}
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    rows: Mapping[str, int]
    if size is None:
        most = [_most(takes[name], available.get(name)) for name in shares]
        if not most or None in most:
            return dict.fromkeys(shares)
        budget = min((m or 0) / share for m, share in zip(most, shares.values(), strict=True))
        rows = {name: int(budget * share) for name, share in shares.items()}
    else:
        others = [rows for name, rows in counts.items() if name not in shares]
        if not shares or size.rows is None or None in others:
            return dict.fromkeys(shares)
        taken = sum(rows or 0 for rows in others)
        if taken > size.rows:
            raise RecipeError(f"size.rows: {size.rows:,} is less than the {taken:,} of the other parts")
        rows = apportion(size.rows - taken, shares)
    return {name: _asked(name, takes[name], n, available.get(name)) for name, n in rows.items()}


def _most(take: Take, available: int | None) -> int | None:
    return None if available is None or take.where is not None else available * take.repeat


def _by_topic(
    takes: Mapping[str, Take],
    available: Counts,
    counts: Counts,
    size: Size | None,
    topics: Mapping[str, Emphasis],
    topic_of: Mapping[str, str | None],
) -> dict[str, int | None]:
    """The rows of all parts where topics, or a size to scale to, share them out anew."""
    base = {name: rows for name, rows in counts.items() if rows is not None}
    total = sum(base.values()) if size is None else size.rows
    if len(base) < len(counts) or total is None:
        return dict.fromkeys(counts)
    rows = apportion(total, shares_by_topic(base, topic_of, topics))
    for name, n in rows.items():
        held = available.get(name)
        if held is not None:
            check_share(name, topic_of.get(name), n, held, takes[name].repeat)
    return {name: _asked(name, takes[name], n, available.get(name)) for name, n in rows.items()}
