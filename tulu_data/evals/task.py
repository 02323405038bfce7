"""What a task is, and the items and answers that pass between its parts.

    suite (the registry that audits read) → items: prompts with their truths
    items → a harness and a model → responses
    responses → verifiers, judges → scores → metrics

An item's id is the id of the suite's instance: by it scores are joined to what an audit says of the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import Field

from tulu_data.strict import Strict
from tulu_data.suites import Group, Record

Output = Literal["generate", "options"]  # text, or the log-likelihood of each option
Metric = Literal["mean", "macro", "pass_at_10", "mc2", "win_rate"]
Judge = Literal["safety", "alpaca_eval", "href"]


class Decoding(Strict):
    """How a model answers. The defaults are greedy, with the paper's general length."""

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=4_096, ge=1)
    stop: tuple[str, ...] = ()
    samples: int = Field(default=1, ge=1, description="responses to an item")


GREEDY = Decoding()


class Item(NamedTuple):
    """One instance of a suite as a model sees it.

    messages: turns of `role` and `content`, the shots before the question where they are turns of their own; the last
    is the user's. chat: false where the text goes to the model as it is, without its chat template (DROP); it is the
    last message's content then. truth: as the task's verifier takes it. options: what an `options` task weighs, each
    with whether it is right. extra: what a judge or a page needs besides.
    """

    id: str
    subset: str | None
    messages: tuple[Mapping[str, str], ...]
    truth: str
    chat: bool = True
    options: tuple[tuple[str, bool], ...] = ()
    extra: Mapping[str, Any] = {}


class Response(NamedTuple):
    """What a model gave for an item. text: of a `generate` task. logps: of an `options` task, one for each option."""

    id: str
    sample: int
    text: str
    logps: tuple[float, ...] = ()


@dataclass(frozen=True)
class Task:
    """One column of the paper's tables.

    suite: of the suites registry. items: the suite's records → what is asked, in the records' order. verifier: of
    `tulu_data.verifiers`, or None where a judge scores or options are weighed. shots: how many, for people; they are in
    the items. published: percent, by source (`card-2024-11`, `paper-v5`) and model. rules: what beside the prompts
    decides a score (extraction, regexes), in words; hashed with a run. note: what differs from the original, and why.
    unscored: why it cannot be scored here at all, where that is so; then it is not asked.
    """

    id: str
    title: str
    group: Group
    suite: str
    items: Callable[[Sequence[Record]], list[Item]]
    verifier: str | None = None
    output: Output = "generate"
    metric: Metric = "mean"
    judge: Judge | None = None
    shots: int = 0
    decoding: Decoding = GREEDY
    rules: str = ""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""
    unscored: str = ""
