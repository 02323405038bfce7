"""k samples: which answer most of them give, by the verifier's own comparison."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from personas.skill import Checks, Rejected, Reply, Votes, check
from tulu_data.verifiers.pool import Task
from tulu_data.verifiers.verdict import Verdict


class Elected(NamedTuple):
    """The reply that is taken, its answer, and the votes."""

    reply: Reply
    answer: str
    votes: Votes


def vote(
    verifier: str, prompt: str, replies: Sequence[Reply], answer_of: Callable[[str], str | None]
) -> Generator[Checks, list[Verdict], Elected]:
    """The answer that more than half of the replies give, and the first reply that gives it; else `Rejected`.

    A reply that was cut off, or gives no answer, has no vote.
    """
    answers = tuple(None if r.finish_reason == "length" else answer_of(r.text) for r in replies)
    candidates = list(dict.fromkeys(a for a in answers if a is not None))
    if not candidates:
        cut = sum(r.finish_reason == "length" for r in replies)
        raise Rejected(
            "truncated" if cut == len(replies) else "no answer",
            f"none of {len(replies)} solutions ends in an answer",
            prompt=prompt,
            response=replies[0],
        )
    voters = [i for i, a in enumerate(answers) if a is not None]
    pairs = [(i, c) for i in voters for c in range(len(candidates))]
    verdicts = yield from check(*(Task(verifier, replies[i].text, candidates[c]) for i, c in pairs))
    agree: list[set[int]] = [set() for _ in candidates]
    for (i, c), verdict in zip(pairs, verdicts, strict=True):
        if verdict.right:
            agree[c].add(i)
    best = max(range(len(candidates)), key=lambda c: (len(agree[c]), -c))
    votes = Votes(len(replies), len(agree[best]), answers)
    if 2 * votes.agreement <= votes.k:
        raise Rejected(
            "no majority",
            f"{votes.agreement} of {votes.k} agree: {', '.join(map(str, answers))}",
            prompt=prompt,
            response=replies[0],
            votes=votes,
        )
    return Elected(replies[min(agree[best])], candidates[best], votes)
