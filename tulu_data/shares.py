"""More maths, less of many languages: topics' shares of a mixture, and what each part then gives.

topics: {Math: {times: 1.5}, Multilingual: {share: 0.05}}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from tulu_data.errors import RecipeError, nearest
from tulu_data.strict import Strict
from tulu_data.take import exact


class Emphasis(Strict):
    """A topic's share of the mixture: `share` is that share, `times` a multiple of what it is without."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    share: float | None = Field(default=None, ge=0, le=1, description="of the mixture's rows, or of its tokens")
    times: float | None = Field(default=None, ge=0, description="the share that the takes give it, so many times")

    @model_validator(mode="after")
    def _one(self) -> Emphasis:
        if (self.share is None) == (self.times is None):
            raise ValueError("takes exactly one of share, times")
        return self


def shares_by_topic(
    base: Mapping[str, int], topic_of: Mapping[str, str | None], wanted: Mapping[str, Emphasis]
) -> dict[str, Fraction]:
    """Each part's share of the mixture, summing to 1. `base`: rows or tokens that each part gives without emphasis.

    The topics that `wanted` does not name share the rest as they did before; within a topic so do its parts.
    `RecipeError` for a topic that no part has, for one that has nothing to give, and for shares that do not add up.
    """
    check_topics(wanted, [topic_of.get(part) for part in base])
    total = sum(base.values())
    by_topic: dict[str | None, int] = defaultdict(int)
    for part, amount in base.items():
        by_topic[topic_of.get(part)] += amount
    if not total:
        raise RecipeError("mix: the takes give nothing, and shares start from what they give; raise one")
    share: dict[str | None, Fraction] = {
        topic: _share(topic, emphasis, Fraction(by_topic[topic], total)) for topic, emphasis in wanted.items()
    }
    rest = 1 - sum(share.values(), Fraction(0))
    others = sum(amount for topic, amount in by_topic.items() if topic not in wanted)
    if rest < 0:
        raise RecipeError(f"topics: the shares sum to {_told(1 - rest)}; lower them to 1 or less")
    if rest and not others:
        raise RecipeError(
            f"topics: the shares of all topics sum to {_told(1 - rest)}; leave one out: it takes the rest"
        )
    found = {}
    for part, amount in base.items():
        own = topic_of.get(part)
        found[part] = _of(amount, by_topic[own], share[own]) if own in share else _of(amount, others, rest)
    return found


def check_topics(wanted: Mapping[str, Emphasis], topics: Iterable[str | None]) -> None:
    """`RecipeError` for what is wrong whatever the counts: a topic that no part has, shares that sum to more than 1.

    `topics`: those of the mixture's parts.
    """
    known = {topic for topic in topics if topic is not None}
    for topic in wanted:
        if topic not in known:
            has = nearest(topic, known, noun="topic") if known else "give its sources a 'topic'"
            raise RecipeError(f"topics.{topic}: no part of the mixture has this topic; {has}")
    total = sum((exact(e.share) for e in wanted.values() if e.share is not None), Fraction(0))
    if total > 1:
        raise RecipeError(f"topics: the shares sum to {_told(total)}; lower them to 1 or less")


def _share(topic: str, emphasis: Emphasis, before: Fraction) -> Fraction:
    share = exact(emphasis.share) if emphasis.share is not None else exact(emphasis.times or 0) * before
    if share and not before:
        raise RecipeError(f"topics.{topic}: its parts give nothing, so nothing can be shared out; raise their takes")
    return share


def _of(amount: int, total: int, share: Fraction) -> Fraction:
    return share * Fraction(amount, total) if total else Fraction(0)


def _told(share: Fraction) -> str:
    return f"{float(share):.4g}"


def check_share(
    part: str, topic: str | None, amount: int, available: int, repeat: int, unit: Literal["rows", "tokens"] = "rows"
) -> None:
    """`RecipeError` where a part's share is more than its source has, so many times over."""
    if amount <= available * repeat:
        return
    times = f" × repeat {repeat}" if repeat > 1 else ""
    remedy = f"set its 'repeat: {-(-amount // available)}', or ask for less" if available else "it is empty"
    of_topic = f" of {topic}" if topic else ""
    raise RecipeError(
        f"mix.{part}: its share{of_topic} is {amount:,} {unit}, the source has {available:,}{times}; {remedy}"
    )


def apportion(total: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole numbers that sum to `total`, by largest remainder; ties go to the earlier name."""
    due = {name: total * share for name, share in shares.items()}
    rows = {name: int(x) for name, x in due.items()}
    by_remainder = sorted(shares, key=lambda name: (rows[name] - due[name], name))
    for name in by_remainder[: total - sum(rows.values())]:
        rows[name] += 1
    return rows
