"""What the demonstration that the trainers learn claims, with the numbers behind each claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from tulu_data.errors import GateError

CURVES, PAGE, RESULT = "curves.svg", "rlvr.html", "proof.json"
LEARNS, SHUFFLED = 0.2, 0.1  # a pass rate that learns rises by so much at least; a control's by less than that
RULES: dict[str, Callable[[float, float], bool]] = {  # what a claim says of a number before and after
    "falls to 0": lambda _, after: after == 0,
    "falls by 30 %": lambda before, after: after <= 0.7 * before,
    "is at least 0.8": lambda _, after: after >= 0.8,
    "is at least 0.9": lambda _, after: after >= 0.9,
    "rises by 0.1": lambda before, after: after - before >= 0.1,
    f"rises by {LEARNS}": lambda before, after: after - before >= LEARNS,
    f"rises by less than {SHUFFLED}": lambda before, after: after - before < SHUFFLED,
}


class Measured(NamedTuple):
    """A number with what it was made from.

    values: of each held-out prompt or pair. share: the number is the share of them above 0, else their mean.
    """

    values: tuple[float, ...]
    share: bool = False

    @property
    def value(self) -> float:
        """The number."""
        return fmean(v > 0 for v in self.values) if self.share else fmean(self.values)


class Claim(NamedTuple):
    """What a part of the demonstration shows. rule: one of `RULES`."""

    part: str
    what: str
    before: Measured
    after: Measured
    rule: str

    @property
    def holds(self) -> bool:
        """Whether the numbers are as the rule says."""
        return RULES[self.rule](self.before.value, self.after.value)

    def __str__(self) -> str:
        return f"{self.part}: {self.what}, {self.before.value:.3f} → {self.after.value:.3f}, {self.rule}"


class Cost(NamedTuple):
    """What a part took, measuring included. cpu_s: of this process and those that it waited for."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Proof:
    """The claims with their evidence, what each part cost, and the folder of its run."""

    folder: Path
    claims: list[Claim] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether all claims do."""
        return all(claim.holds for claim in self.claims)

    def check(self) -> None:
        """`GateError` in one line that names the claims that do not hold."""
        if broken := [str(claim) for claim in self.claims if not claim.holds]:
            count = f"{len(broken)} of {len(self.claims)} claims"
            raise GateError(f"{count}: not so: {'; '.join(broken)}; look at {self.folder / PAGE}")

    def told(self, *, evidence: bool = False) -> dict[str, Any]:
        """As plain data; with the values behind each number where `evidence` is asked for."""

        def claim(c: Claim) -> dict[str, Any]:
            numbers = {"before": c.before.value, "after": c.after.value, "rule": c.rule, "holds": c.holds}
            values = {"values_before": c.before.values, "values_after": c.after.values} if evidence else {}
            return {"part": c.part, "claim": c.what, **numbers, **values}

        return {
            "holds": self.holds,
            "claims": [claim(c) for c in self.claims],
            "costs": {part: cost._asdict() for part, cost in self.costs.items()},
        }
