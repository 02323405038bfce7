"""What counts as a duplicate, between which rows, and which of them stays: a recipe's `dedup` section."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field, model_validator

from tulu_data.encoders import ENCODER
from tulu_data.strict import Strict

Exact = Literal["row", "prompt", "last_turn"]
EXACTS: tuple[Exact, ...] = get_args(Exact)  # from the narrowest to the widest: each holds those before it
What = Literal["prompt", "conversation", "answer"]
WHATS: tuple[What, ...] = get_args(What)
Scope = Literal["within", "across"]

MAX_PERMUTATIONS = 1024
MEANING_SIMILARITY = 0.9  # cosine; see docs/duplicates.md
MEANING: dict[str, Any] = {"threshold": MEANING_SIMILARITY, "encoder": ENCODER}  # what is meant where it is left out
RECALL = 0.99  # bands that would find fewer of the pairs at the threshold are refused


class Near(Strict):
    """Near duplicates: rows whose sets of word n-grams have a Jaccard similarity of `threshold` or more.

    The defaults are those most data sets were deduplicated with (arXiv 2107.06499, arXiv 2406.17557); 32 bands of 4
    find a pair at 0.8 with probability 1 - 5e-8, at 0.7 with 0.9998, at 0.5 with 0.87. What they find is verified.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    threshold: float = Field(default=0.8, gt=0, le=1, description="Jaccard similarity from which rows are duplicates")
    ngram: int = Field(default=5, ge=1, le=64, description="words of a shingle")
    permutations: int = Field(default=128, ge=1, le=MAX_PERMUTATIONS, description="numbers of a signature")
    bands: int = Field(default=32, ge=1, description="parts of a signature; rows that agree in one are compared")
    what: What = Field(default="conversation", description="the text of a row: prompt, conversation or answer")

    @property
    def band_rows(self) -> int:
        """Numbers of one band."""
        return self.permutations // self.bands

    def found(self, similarity: float) -> float:
        """The probability that two rows of this similarity are compared: 1 - (1 - sʳ)ᵇ (Leskovec et al., Mining of
        Massive Datasets, §3.4.2).
        """
        return float(1.0 - (1.0 - similarity**self.band_rows) ** self.bands)

    @model_validator(mode="after")
    def _bands_fit(self) -> Near:
        if self.permutations % self.bands:
            raise ValueError(
                f"bands: {self.bands} do not divide {self.permutations} permutations; choose one of "
                f"{', '.join(str(b) for b in range(1, self.permutations + 1) if self.permutations % b == 0)}"
            )
        if (found := self.found(self.threshold)) < RECALL:
            raise ValueError(
                f"bands: {self.bands} of {self.band_rows} find {found:.0%} of the pairs at {self.threshold}; take more "
                "bands or a higher threshold"
            )
        return self


class ByFinder(Strict):
    """Duplicates that a finder finds: `meaning`, or a plug-in of the group `tulu_data.dedup`."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    finder: str = Field(min_length=1, description="meaning, or the name of an entry point")
    threshold: float = Field(description="score from which rows are duplicates; of meaning a cosine")
    what: What = Field(default="prompt", description="the text of a row: prompt, conversation or answer")
    encoder: str | None = Field(
        default=None, min_length=1, description="of meaning: a sentence-transformers model, or URL#model of a server"
    )

    @model_validator(mode="before")
    @classmethod
    def _as_the_finder_has_it(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("finder") == "meaning":
            return data | {key: value for key, value in MEANING.items() if data.get(key) is None}
        return data

    @model_validator(mode="after")
    def _is_a_cosine(self) -> ByFinder:
        if self.finder == "meaning" and not 0 < self.threshold <= 1:
            raise ValueError(f"threshold: {self.threshold:g} is no cosine; give one above 0 and up to 1")
        return self


class Settings(Strict):
    """Which duplicates leave, and which rows stay for them.

    Of rows that are duplicates of each other the one stays whose source or version comes first in `priority` (those
    not listed come last), then the one with the most characters, then the one whose id comes first.
    """

    exact: list[Exact] = Field(default=["row"], description="row: same content; prompt; last_turn: same last question")
    near: Near | None = Field(default=None, description="near duplicates by words")
    similar: list[ByFinder] = Field(default=[], description="duplicates that plug-ins find, in this order")
    scope: Scope = Field(default="within", description="each version alone, or all together")
    priority: list[str] = Field(default=[], description="sources or versions, from the one to keep first")

    @model_validator(mode="before")
    @classmethod
    def _near_is_a_section(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("near"), bool):
            return data | {"near": {} if data["near"] else None}
        return data

    @model_validator(mode="after")
    def _asks_for_something(self) -> Settings:
        if not self.exact and self.near is None and not self.similar:
            raise ValueError("looks for no duplicates; give exact, near or similar")
        for name in ("exact", "priority"):
            listed = getattr(self, name)
            twice = [v for i, v in enumerate(listed) if v in listed[:i]]
            if twice:
                raise ValueError(f"{name}: {twice[0]!r} is listed twice; remove one")
        return self

    @property
    def widest(self) -> Exact | None:
        """The exact kind that holds all that were asked for."""
        return max(self.exact, key=EXACTS.index, default=None)
