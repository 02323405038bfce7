"""IF-relax: the answer that keeps all constraints, against an answer to the prompt without one of them.

arXiv 2411.15124 §5.2 has the rejected answer come from a rewritten prompt, and checks neither. Here both are checked:
the chosen answer keeps all constraints, and the rejected one breaks the one that was dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from personas.composing import compose
from personas.constraints import lost, truth_of
from personas.languages import language_name
from personas.pairs.pair import Pair, Side, Source
from personas.persona import Persona
from personas.procedural.scenes import scene_of
from personas.prompts import Prompts
from personas.skill import Ask, Rejected, Talk, after, ask, check
from personas.skills.precise_if import MARKER
from tulu_data.verifiers.ifeval import Constraint
from tulu_data.verifiers.pool import Task

LEAST = 2  # constraints of a prompt from which one can be dropped


def constraints_of(row: Mapping[str, Any]) -> list[tuple[Constraint, str]]:
    """A record's constraints, with the words that they were asked for in."""
    return [(Constraint(c["id"], json.loads(c["kwargs"])), c["text"]) for c in row["constraints"]]


def relax(source: Source, prompts: Prompts) -> Talk[Pair]:
    """Drops one constraint, drawn by the seed → a rewritten prompt → its answer → both answers are checked."""
    told = constraints_of(source.row)
    if len(told) < LEAST:
        raise Rejected("too few constraints", f"{len(told)}, {LEAST} are needed")
    dropped, words = dropped_of(source)
    kept = [c for c, _ in told if c != dropped]
    answer = str(source.row["messages"][-1]["content"])
    values = {
        "prompt": source.prompt,
        "constraint": words,
        "persona": source.row["persona"],
        "language": language_name(source.row["language"]),
    }
    (rewritten,) = yield from ask(Ask("relax", prompts["relax"].messages(values)))
    relaxed = after(rewritten, MARKER)
    if missing := lost(relaxed, kept):
        raise Rejected("lost parameter", "; ".join(missing))
    (reply,) = yield from ask(Ask("solve", ({"role": "user", "content": relaxed},)))
    if reply.finish_reason == "length":
        raise Rejected("truncated", "the answer to the relaxed prompt was cut off")
    whole, one, others = yield from check(
        Task("ifeval", answer, truth_of(c for c, _ in told)),
        Task("ifeval", reply.text, truth_of([dropped])),
        Task("ifeval", reply.text, truth_of(kept)),
    )
    if not whole.right:
        raise Rejected("chosen breaks a constraint", whole.reason)
    if one.right or not one.valid:
        raise Rejected(
            "rejected keeps all", f"the answer without {dropped.id} keeps it all the same" if one.right else one.reason
        )
    evidence = {
        "dropped": {"id": dropped.id, "kwargs": dict(dropped.kwargs), "text": words},
        "relaxed_prompt": relaxed,
        "rejected_lacks": one.reason,
        "rejected_keeps_others": others.right,
    }
    return Pair(Side(answer, source.row["model"]), Side.of(reply), evidence)


def dropped_of(source: Source) -> tuple[Constraint, str]:
    """The constraint that is dropped, and its words; the request that was to be repeated is not among them."""
    constraint, words = source.rng("drop").choice(constraints_of(source.row))
    return constraint, words.replace(constraint.kwargs.get("prompt_to_repeat", "\0"), "").strip()


def answer(source: Source, question: Ask) -> str | None:
    """What stands in for a model: the prompt without the constraint's words, and an answer that breaks it."""
    dropped, words = dropped_of(source)
    if question.stage == "relax":
        return f"{MARKER} {' '.join(source.prompt.replace(words, ' ').split()) or source.prompt}"
    rng = source.rng("solve")
    row = source.row
    scene = scene_of(Persona(row["persona_id"], row["persona"], row["persona_source"]), rng)
    constraints = [c for c, _ in constraints_of(row)]
    return compose(constraints, scene, rng, broken=next(c for c in constraints if c == dropped))
