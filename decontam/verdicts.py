"""From matches to what is done about them: the settings of an audit, the 2 % rule and the policies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from pydantic import Field, field_validator

from decontam.suites import Group
from tulu_data.strict import Strict

Layer = Literal["exact", "tulu3"]
Roles = Literal["user", "assistant", "all"]
Policy = Literal["rows", "tulu3", "none"]
Verdict = Literal["clean", "drop rows", "drop set"]

LAYERS: tuple[Layer, ...] = get_args(Layer)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # from mild to severe

NGRAM = 8  # tokens; arXiv 2411.15124 §3.2
COVERAGE = 0.5  # share of a test instance's tokens, strict >; arXiv 2411.15124 §3.2
SET_SHARE = 0.02  # share of a suite's instances, strict >; arXiv 2411.15124 §3.2
# Containment of fewer words is chance. Measured on the prompts of seven public sets (FLAN-CoT, T0, GPTeacher, OASST,
# HH, GSM8K train) against ten suites, questions alone: 299 prompts hold a question of 1 to 4 tokens ("inflation", "who
# are you", "what do you do") and 2 of them ask it; 26 hold one of 5 to 7 tokens and 12 of them ask it.
EXACT_MIN_TOKENS = 5


class Settings(Strict):
    """Everything that decides an audit's outcome besides the texts. The defaults are the paper's."""

    analyzer: Literal["unicode", "tulu", "word"] = "unicode"
    n: int = Field(default=NGRAM, ge=3, le=32, description="tokens of an n-gram")
    threshold: float = Field(default=COVERAGE, ge=0, le=1, description="an instance overlaps a row above this share")
    set_threshold: float = Field(default=SET_SHARE, ge=0, le=1, description="a set is contaminated above this share")
    exact_min_tokens: int = Field(default=EXACT_MIN_TOKENS, ge=1, description="shorter ones match whole messages only")
    layers: tuple[Layer, ...] = Field(default=LAYERS, min_length=1, description="the layers that count")
    roles: Roles = Field(default="user", description="whose turns are matched")
    policy: Policy = "rows"

    @field_validator("layers")
    @classmethod
    def _in_order(cls, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return tuple(layer for layer in LAYERS if layer in layers)

    def reads(self, role: str) -> bool:
        """Whether turns of this role are matched."""
        return self.roles in ("all", role)


def is_contaminated(flagged: int, instances: int, set_threshold: float) -> bool:
    """The 2 % rule: whether a set overlaps more than that share of a suite's instances."""
    return flagged / instances > set_threshold


def verdict(policy: Policy, group: Group, *, flagged: int, contaminated: bool) -> Verdict:
    """What the policy does to a training set because of one suite.

    rows: every row matched by a chosen layer is dropped.
    tulu3: the paper. A set contaminated by an unseen suite is dropped; by a dev or safety suite it loses the
        matching rows; a set that is not contaminated keeps all its rows.
    none: nothing is dropped; the tables still say what was found.
    """
    if policy == "rows" and flagged:
        return "drop rows"
    if policy == "tulu3" and contaminated:
        return "drop set" if group == "unseen" else "drop rows"
    return "clean"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe verdict; clean where there is none."""
    return max(verdicts, key=VERDICTS.index, default="clean")
