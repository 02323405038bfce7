"""Responses → scores: by the task's verifier in worker processes, or by the probability of the right options.

What could not be verified (a check that hung or crashed) has no score: it is counted, and never as wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, isnan
from typing import Any, NamedTuple

import pyarrow as pa

from tulu_data.errors import InputError, UsageError
from tulu_data.evals.results import SAMPLES
from tulu_data.evals.task import Item, Response, Task
from tulu_data.verifiers import bbh, choice, deepmind_math, grade_math, math_answer, math_flex, pool

MIN_LOGP = -1e30  # what a server's -inf is taken for


class Judgement(NamedTuple):
    """What came of one response. score: 0 to 1, None where it could not be judged. said: what a judge replied."""

    score: float | None
    reason: str
    extracted: str | None = None
    said: Mapping[str, Any] = {}


def in_order(task: Task, items: Sequence[Item], responses: Iterable[Response]) -> list[tuple[Item, Response]]:
    """The responses with their items, by item and sample.

    `InputError` where an item lacks a sample, or a response is nobody's or there twice.
    """
    found: dict[tuple[str, int], Response] = {}
    known = {item.id for item in items}
    for response in responses:
        key = (response.id, response.sample)
        if response.id not in known:
            raise InputError(f"task {task.id}: a response to {response.id!r}, which was not asked")
        if key in found:
            raise InputError(f"task {task.id}: two responses to {response.id!r}, sample {response.sample}")
        found[key] = response
    pairs = []
    samples = samples_of(task)
    for item in items:
        for sample in range(samples):
            if (item.id, sample) not in found:
                raise InputError(f"task {task.id}: no response to {item.id!r}, sample {sample}")
            pairs.append((item, found[item.id, sample]))
    if len(pairs) < len(found):
        raise InputError(f"task {task.id}: {len(found):,} responses where {len(pairs):,} were asked for")
    return pairs


def samples_of(task: Task) -> int:
    """Responses to an item; options are weighed once."""
    return 1 if task.output == "options" else task.decoding.samples


def score(task: Task, pairs: Sequence[tuple[Item, Response]], *, workers: int | None = None) -> list[Judgement]:
    """What came of each response, in order, by the task's verifier or by its options.

    `UsageError` for a task that a judge scores; `InputError` where a truth is not its verifier's, or the
    log-likelihoods do not fit the options.
    """
    if task.output == "options":
        return [_weighed(task, item, response) for item, response in pairs]
    if task.verifier is None:
        raise UsageError(f"task {task.id}: is scored by a judge, not by a verifier")
    return verified(task.verifier, pairs, truth=lambda item: item.truth, workers=workers)


def verified(
    verifier: str,
    pairs: Sequence[tuple[Item, Response]],
    *,
    truth: Callable[[Item], str],
    workers: int | None = None,
) -> list[Judgement]:
    """What a verifier says of each response; `truth` is what it takes of the item."""
    extract = EXTRACTED.get(verifier.lower())
    checks = (pool.Task(verifier, response.text, truth(item)) for item, response in pairs)
    with pool.VerifierPool(workers) as workers_:
        return [
            Judgement(
                verdict.score if verdict.valid else None,
                verdict.reason,
                extract(response.text, truth(item)) if extract and verdict.valid else None,
            )
            for verdict, (item, response) in zip(workers_.map(checks), pairs, strict=True)
        ]


def _number(response: str, truth: str) -> str | None:
    found = grade_math.last_number(response)
    return None if found is None else str(found)


# (response, truth) → what a verifier takes for the answer. Only of checks that came to an end: these have no deadline.
EXTRACTED: dict[str, Callable[[str, str], str | None]] = {
    "gsm8k": _number,
    "choice": lambda response, truth: choice.chosen(response, choice.parse(truth).letters),
    "math": lambda response, truth: math_answer.answer_in(response),
    "math_flex": lambda response, truth: " | ".join(math_flex.answers_in(response)) or None,
    "deepmind_math": lambda response, truth: deepmind_math.answer_in(response),
    "bbh": lambda response, truth: bbh.answered(response, bbh.parse(truth).form),
}


def _weighed(task: Task, item: Item, response: Response) -> Judgement:
    if len(response.logps) != len(item.options):
        raise InputError(
            f"task {task.id}: {len(response.logps)} log-likelihoods for the {len(item.options)} options of {item.id!r}"
        )
    value = mc2(response.logps, [right for _, right in item.options])
    best = max(range(len(response.logps)), key=response.logps.__getitem__, default=None)
    reason = "no option has a likelihood" if value is None else ""
    return Judgement(value, reason, None if best is None or value is None else item.options[best][0])


def mc2(logps: Sequence[float], right: Sequence[bool]) -> float | None:
    """The probability mass on the right options, of all options: TruthfulQA's MC2 (arXiv 2109.07958, §3.2).

    logps: of each option, summed over its tokens. None where one is no number, or there is no right option.

    >>> round(mc2([-1.0, -1.0, -1.0], [True, True, False]), 4)
    0.6667
    """
    if not any(right) or any(isnan(p) for p in logps):
        return None
    top = max(logps)
    if top < MIN_LOGP:
        return None
    mass = [exp(p - top) for p in logps]
    return sum(m for m, r in zip(mass, right, strict=True) if r) / sum(mass)


def rows(pairs: Sequence[tuple[Item, Response]], judgements: Sequence[Judgement]) -> pa.Table:
    """A row for each response, in the `SAMPLES` schema."""
    return pa.Table.from_pylist(
        [_row(item, response, said) for (item, response), said in zip(pairs, judgements, strict=True)], SAMPLES
    )


def unscored(pairs: Sequence[tuple[Item, Response]], reason: str) -> pa.Table:
    """The same before anything was judged."""
    return rows(pairs, [Judgement(None, reason)] * len(pairs))


def _row(item: Item, response: Response, said: Judgement) -> dict[str, Any]:
    extra = {**item.extra, **({"options": [list(o) for o in item.options]} if item.options else {}), **said.said}
    return {
        "instance_id": item.id,
        "subset": item.subset,
        "sample": response.sample,
        "messages": json.dumps([dict(m) for m in item.messages], ensure_ascii=False),
        "truth": item.truth,
        "response": _sound(response.text),
        "extracted": None if said.extracted is None else _sound(said.extracted),
        "score": said.score,
        "reason": _sound(said.reason),
        "logps": list(response.logps),
        "extra": _sound(json.dumps(extra, ensure_ascii=False, default=str)),
    }


def _sound(text: str) -> str:
    """Text that a file can hold: a server may cut an answer inside a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def responses_of(samples: pa.Table) -> list[Response]:
    """The responses that rows were made of."""
    columns = (samples[name].to_pylist() for name in ("instance_id", "sample", "response", "logps"))
    return [Response(i, s, text, tuple(logps)) for i, s, text, logps in zip(*columns, strict=True)]
