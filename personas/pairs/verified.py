"""Verifier pairs: of n answers to a prompt, one that the verifier takes against one that it does not."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any

from personas.composing import compose
from personas.mutating import mutants
from personas.pairs.pair import Pair, Side, Source
from personas.persona import Persona
from personas.procedural.scenes import scene_of
from personas.skill import Ask, Rejected, Talk, ask, check
from tulu_data.errors import TuluError
from tulu_data.verifiers.code import code_in
from tulu_data.verifiers.code import parse as parse_tests
from tulu_data.verifiers.ifeval import Constraint
from tulu_data.verifiers.ifeval import parse as parse_constraints
from tulu_data.verifiers.pool import Task
from tulu_data.verifiers.registry import parsed

SAMPLES = 4


def verified(source: Source, samples: int = SAMPLES) -> Talk[Pair]:
    """n answers → the verifier → one right and one wrong, drawn by the seed.

    An answer that was cut off is neither: it would teach to be short, not to be right.
    """
    verifier, truth = source.row.get("verifier"), source.row.get("ground_truth")
    if not verifier or not truth:
        raise Rejected("no truth", "the row has no verifier and ground truth")
    try:
        parsed(verifier, truth)
    except TuluError as e:
        raise Rejected("no truth", str(e)) from None
    replies = yield from ask(*(Ask("complete", source.messages, i) for i in range(samples)))
    whole = [r for r in replies if r.finish_reason != "length" and r.text]
    if not whole:
        raise Rejected("truncated", f"all {samples} answers were cut off or are empty")
    verdicts = yield from check(*(Task(verifier, r.text, truth) for r in whole))
    right = [r for r, v in zip(whole, verdicts, strict=True) if v.right]
    wrong = [(r, v.reason) for r, v in zip(whole, verdicts, strict=True) if v.valid and not v.right]
    if not right or not wrong:
        found = f"{len(right)} of {len(whole)} answers are right"
        raise Rejected("all right" if right else "none right", found)
    rng = source.rng("pair")
    chosen, (rejected, reason) = rng.choice(right), rng.choice(wrong)
    evidence = {
        "verifier": verifier,
        "ground_truth": truth,
        "right": len(right),
        "answers": len(whole),
        "rejected": reason,
    }
    return Pair(Side.of(chosen, 1.0), Side.of(rejected, 0.0), evidence)


def answer(source: Source, question: Ask) -> str | None:
    """What stands in for a model: the row's own answer, and copies of it with a slip.

    Whether they are right is for the verifier to say, as of any model's.
    """
    turns = list(source.row.get("messages") or [])
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        return None
    good = str(turns[-1]["content"])
    rng = source.rng(f"answer/{question.sample}")
    return good if question.sample % 2 == 0 else slipped(good, source.row, rng)


def slipped(good: str, row: Mapping[str, Any], rng: random.Random) -> str | None:
    """An answer with a slip, after what its verifier looks at; None where none is known."""
    verifier, truth = row["verifier"], row["ground_truth"]
    if verifier == "code":
        tests = parse_tests(truth)
        copies = mutants(code_in(good, tests))
        return f"```python\n{rng.choice(copies)}\n```" if copies else None
    if verifier == "ifeval":
        constraints: list[Constraint] = list(parse_constraints(truth))
        who = Persona(row.get("persona_id") or "", row.get("persona") or "Someone", "")
        return compose(constraints, scene_of(who, rng), rng, broken=rng.choice(constraints))
    if verifier == "gsm8k":
        head, mark, tail = good.rpartition("####")
        return f"{head}{mark} {_off(tail.strip(), rng)}" if mark else None
    if verifier == "math":
        found = re.search(r"\$([^$]+)\$(?=[^$]*\Z)", good)
        return (
            None
            if found is None
            else f"{good[: found.start()]}${found[1]} + {rng.randint(1, 9)}$" + good[found.end() :]
        )
    return None


def _off(number: str, rng: random.Random) -> str:
    try:
        return json.dumps(json.loads(number) + rng.choice((-3, -2, -1, 1, 2, 3, 10)))
    except ValueError:
        return f"{number}1"
