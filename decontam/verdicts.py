"""From matches to what is done about them: what is compared (`Settings`), what counts and what is dropped (`Policy`).

Settings decide what a scan finds and cannot be changed afterwards. A policy is applied to what was found, so another
threshold or layer needs no new scan (`Audit.judged`).

| layer | fires when |
|---|---|
| `exact` | the whole text of the instance, its passage included, stands in the message |
| `tulu3` | more than half of the instance's tokens share an 8-gram with the message: the paper's verdict |
| `informative` | the same without the n-grams that many test texts share, and by more than one n-gram |
| `fuzzy` | three quarters of the instance's words stand in one place of the message, in order |
| `semantic` | message and instance mean nearly the same, by their embeddings or by a model that was asked |
| `any` | one n-gram is shared: the rule of GPT-3 and open-r1 |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from tulu_data.encoders import ENCODER
from tulu_data.strict import Strict
from tulu_data.suites import Group

Layer = Literal["exact", "tulu3", "informative", "fuzzy", "semantic", "any"]
Roles = Literal["user", "assistant", "all"]
Action = Literal["rows", "tulu3", "any", "none"]
Verdict = Literal["clean", "undecided", "drop rows", "drop set"]
Severity = Literal["question", "question+answer"]

LAYERS: tuple[Layer, ...] = get_args(Layer)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # from mild to severe
LAYERS_OF: dict[Action, tuple[Layer, ...]] = {  # what counts where a policy names no layers
    "rows": ("exact", "informative"),
    "tulu3": ("tulu3",),
    "any": ("any",),
    "none": ("exact", "informative"),
}

NGRAM = 8  # tokens; arXiv 2411.15124 §3.2
COVERAGE = 0.5  # share of a test instance's tokens, strict >; arXiv 2411.15124 §3.2
SET_SHARE = 0.02  # share of a suite's instances, strict >; arXiv 2411.15124 §3.2
MAX_DF = 3  # distinct test texts; an n-gram in more of them is wording ("which of the following statements is true")
# A single shared 8-gram is most of a short question and says little: of 107 pairs of public sets above one half that
# are no copies (not contained, under 0.75 aligned) all cover fewer tokens; benchmarks/detection.py.
INFORMATIVE_MIN_TOKENS = 12
COPY_SIMILARITY = 0.9  # from this share of the words on, fewer covered tokens are enough: a short question, edited
# Containment of fewer words is chance. Measured on the prompts of seven public sets (FLAN-CoT, T0, GPTeacher, OASST,
# HH, GSM8K train) against ten suites, questions alone: 299 prompts hold a question of 1 to 4 tokens ("inflation", "who
# are you", "what do you do") and 2 of them ask it; 26 hold one of 5 to 7 tokens and 12 of them ask it.
EXACT_MIN_TOKENS = 5
FUZZY_SIMILARITY = 0.75  # share of an instance's words found in order; benchmarks/detection.py
FUZZY_RECORDED = 0.65  # what is less similar leaves no evidence
SEMANTIC_SIMILARITY = 0.78  # cosine of sentence embeddings; benchmarks/rephrasing.py
# A reworded problem keeps its numbers, another one of its kind has others. How much more cosine is needed, by how many
# of all the numbers of both are shared: chosen on rewordings and GSM8K's training questions, benchmarks/rephrasing.py
SAME_NUMBERS_SHIFT = -0.13
MOST_NUMBERS, MOST_NUMBERS_SHIFT = 0.6, -0.08
OTHER_NUMBERS, OTHER_NUMBERS_SHIFT = 0.3, 0.08
SEMANTIC_RECORDED = 0.65  # what is less near leaves no evidence, and no model is asked about it


class Semantic(Strict):
    """How messages are compared by meaning."""

    encoder: str = ENCODER


class Settings(Strict):
    """What is compared with what: everything besides the texts that decides which pairs a scan finds."""

    analyzer: Literal["unicode", "tulu", "word"] = "unicode"
    n: int = Field(default=NGRAM, ge=3, le=32, description="tokens of an n-gram")
    max_df: int = Field(default=MAX_DF, ge=1, description="an n-gram in more distinct test texts is not informative")
    exact_min_tokens: int = Field(default=EXACT_MIN_TOKENS, ge=1, description="shorter ones match whole messages only")
    fuzzy: bool = Field(default=True, description="also look for edited instances")
    semantic: Semantic | None = Field(default=None, description="also look for instances in other words")
    floor: float = Field(default=0.0, ge=0, lt=1, description="pairs of no higher coverage leave no evidence")
    roles: Roles = Field(default="user", description="whose turns are matched")

    @field_validator("semantic", mode="before")
    @classmethod
    def _yes_or_no(cls, given: Any) -> Any:
        """`true` stands for the default encoder."""
        return {True: {}, False: None}[given] if isinstance(given, bool) else given

    def reads(self, role: str) -> bool:
        """Whether turns of this role are matched."""
        return self.roles in ("all", role)


class Policy(Strict):
    """What counts as an overlap, and what is done about it. The numbers are the paper's where it has them.

    rows: every row that a chosen layer matches is dropped.
    tulu3: the paper. A set contaminated by an unseen suite is dropped; by a dev or safety suite it loses the
        matching rows; a set that is not contaminated keeps all its rows.
    any: a row that shares one n-gram with any instance is dropped.
    none: nothing is dropped; the tables still say what was found.
    """

    policy: Action = "rows"
    layers: tuple[Layer, ...] = Field(default=LAYERS_OF["rows"], min_length=1, description="the layers that count")
    threshold: float = Field(default=COVERAGE, ge=0, le=1, description="tulu3: an instance overlaps above this share")
    informative_threshold: float = Field(default=COVERAGE, ge=0, le=1, description="the same of informative")
    informative_min_tokens: int = Field(
        default=INFORMATIVE_MIN_TOKENS,
        ge=1,
        description="informative: from so many covered tokens on, or all there are",
    )
    fuzzy_threshold: float = Field(
        default=FUZZY_SIMILARITY, ge=FUZZY_RECORDED, le=1, description="fuzzy: from this share of the words on"
    )
    semantic_threshold: float = Field(
        default=SEMANTIC_SIMILARITY, ge=SEMANTIC_RECORDED, le=1, description="semantic: from this cosine on"
    )
    set_threshold: float = Field(default=SET_SHARE, ge=0, le=1, description="a set is contaminated above this share")

    @model_validator(mode="before")
    @classmethod
    def _layers_of_the_policy(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("layers") is None:
            action = data.get("policy", "rows")
            return {k: v for k, v in data.items() if k != "layers"} | {"layers": LAYERS_OF.get(action, LAYERS)}
        return data

    @field_validator("layers")
    @classmethod
    def _in_order(cls, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return tuple(layer for layer in LAYERS if layer in layers)

    def check_against(self, settings: Settings) -> Self:
        """This policy; `ValueError` where a scan with these settings has not recorded what it asks for."""
        if "fuzzy" in self.layers and not settings.fuzzy:
            raise ValueError("layers: fuzzy was not looked for (fuzzy: false); scan with fuzzy, or leave the layer out")
        if "semantic" in self.layers and settings.semantic is None:
            raise ValueError("layers: semantic was not looked for; scan with semantic, or leave the layer out")
        if settings.floor == 0:
            return self
        remedy = f"pairs up to a coverage of {settings.floor:g} (floor) were not recorded; scan with a lower floor"
        if "any" in self.layers:
            raise ValueError(f"layers: any needs every pair; {remedy}")
        for key in ("threshold", "informative_threshold"):
            if getattr(self, key) < settings.floor:
                raise ValueError(f"{key} is {getattr(self, key):g}; {remedy}")
        return self

    def verdict(self, group: Group, *, flagged: int, contaminated: bool, undecided: int) -> Verdict:
        """What is done to a training set because of one suite; undecided pairs never make it clean."""
        if self.policy in ("rows", "any") and flagged:
            return "drop rows"
        if self.policy == "tulu3" and contaminated:
            return "drop set" if group == "unseen" else "drop rows"
        return "undecided" if undecided and self.policy != "none" else "clean"


def is_contaminated(flagged: int, instances: int, set_threshold: float) -> bool:
    """The 2 % rule: whether a set overlaps more than that share of a suite's instances."""
    return flagged / instances > set_threshold


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe verdict; clean where there is none."""
    return max(verdicts, key=VERDICTS.index, default="clean")
