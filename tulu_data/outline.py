"""A mixture's plan before its sources are there: how many rows each part gives, by what its source says it holds.

Nothing is read: `mixture.plan` says which rows, this says how many. A count that hangs on the rows themselves
(`tokens`, `weight`, a `where`) is left open, and so is the total then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from tulu_data.errors import GateError, RecipeError
from tulu_data.mixture import Expect, Size
from tulu_data.take import Take, exact


class PartOutline(NamedTuple):
    """One part: the rows that its source has, and those that it gives; None where only reading it tells."""

    name: str
    available: int | None
    rows: int | None


@dataclass(frozen=True)
class Outline:
    """The parts of a mixture by count. `before` says that the sources are to be decontaminated first."""

    parts: tuple[PartOutline, ...]
    size: int | None
    before: bool

    @property
    def rows(self) -> int | None:
        """Rows of the mixture; None where a part leaves them open."""
        if self.size is not None:
            return self.size
        counts = [p.rows for p in self.parts]
        return None if None in counts else sum(c for c in counts if c is not None)

    def check(self, expect: Expect) -> None:
        """`GateError` for the first expectation that cannot be met; what is left open is not held against it."""
        by_part = {p.name: p.rows for p in self.parts}
        claims = [("rows", expect.rows, self.rows)]
        claims += [(f"parts.{name}", rows, by_part.get(name)) for name, rows in expect.parts.items()]
        for key, expected, planned in claims:
            if expected is not None and planned is not None and expected != planned and not self.before:
                raise GateError(f"expect.{key}: {expected:,} expected, the plan has {planned:,}; nothing was read")


def outline(
    takes: Mapping[str, Take], available: Mapping[str, int | None], *, size: Size | None = None, before: bool = False
) -> Outline:
    """The plan of `takes` over sources of `available` rows.

    `RecipeError` for a part that asks for more rows than its source has.
    """
    parts = tuple(
        PartOutline(name, available.get(name), _rows(name, take, available.get(name))) for name, take in takes.items()
    )
    return Outline(parts, size.rows if size else None, before)


def _rows(name: str, take: Take, available: int | None) -> int | None:
    """As `take.select` counts them."""
    wanted = _wanted(take, available)
    if take.where is not None and take.amount != "count":
        return None
    if wanted is None:
        return None
    if take.cap is not None:
        wanted = min(wanted, take.cap)
    if take.floor is not None:
        wanted = max(wanted, take.floor)
    if available is not None and wanted > available * take.repeat:
        times = f" × repeat {take.repeat}" if take.repeat > 1 else ""
        raise RecipeError(
            f"mix.{name}.{take.amount}: {wanted:,} rows asked, the source states {available:,}{times}; lower it, or "
            "raise 'repeat'"
        )
    return wanted


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
