"""PopQA and TruthfulQA (arXiv 2411.15124, Table 24)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tulu_data.errors import InputError
from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import column, text, texts
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import Shot, WithShots, turns, user
from tulu_data.suites import Record


def popqa_item(record: Record, shots: Sequence[Shot]) -> Item:
    """A question after examples as turns; the truth is all accepted names."""
    named = column(record, "possible_answers", empty=True)
    names = texts(record, "possible_answers") if named else [text(record, "obj")]
    messages = turns(shots, lambda s: f"Q: {s.question} A:", f"Q: {text(record, 'question')} A:")
    return Item(record.id, record.subset, messages, json.dumps(names, ensure_ascii=False))


POPQA = Task(
    id="popqa",
    title="PopQA (15-shot)",
    group="dev",
    suite="popqa",
    items=WithShots(popqa_item, "popqa"),
    verifier="popqa",
    shots=15,
    decoding=Decoding(max_tokens=15, stop=("\n\n",)),
    rules="One of the accepted names stands in the response, as written, in lower case or with a capital first letter. "
    "Verifier: popqa.",
    published=published("popqa"),
    note="The examples are our own. The tables call the metric EM; the harness looks for the names anywhere in the "
    "15 tokens.",
)


def truthfulqa_item(record: Record, shots: Sequence[Shot]) -> Item:
    """The question below the primer, in one turn, and every true and false answer to weigh."""
    true, false = _answers(record)
    primer = "\n\n".join(f"Q: {s.question}\nA: {s.answer}" for s in shots)
    prompt = f"{primer}\n\nQ: {text(record, 'question').strip()}\nA:"
    options = tuple(
        (f" {answer}", is_true) for answers, is_true in ((true, True), (false, False)) for answer in answers
    )
    return Item(record.id, record.subset, user(prompt), json.dumps(true, ensure_ascii=False), options=options)


def _answers(record: Record) -> tuple[list[str], list[str]]:
    targets = column(record, "mc2_targets", empty=True)
    if targets is not None:
        pairs = list(zip(targets["choices"], targets["labels"], strict=True))
        true, false = ([c for c, label in pairs if bool(label) is want] for want in (True, False))
    else:
        true, false = (_listed(column(record, f"{kind}_answers")) for kind in ("correct", "incorrect"))
    if not true or not false:
        raise InputError(f"instance {record.id}: MC2 needs a true and a false answer, got {len(true)} and {len(false)}")
    return true, false


def _listed(value: str | Sequence[str]) -> list[str]:
    """Answers as a list, or as the authors' table has them: separated by semicolons."""
    parts = value.split(";") if isinstance(value, str) else value
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


TRUTHFULQA = Task(
    id="truthfulqa",
    title="TruthfulQA (6-shot, MC2)",
    group="dev",
    suite="truthfulqa",
    items=WithShots(truthfulqa_item, "truthfulqa"),
    output="options",
    metric="mc2",
    shots=6,
    rules="MC2: of the probabilities that the model gives the true and the false answers, each as a continuation that "
    "begins with a space, the share of the true ones. Probabilities of whole answers, not normalised by length.",
    published=published("truthfulqa"),
    note="The primer is our own, in the form of the authors'. It stands in one user's turn, as in `truthfulqa::tulu`. "
    "Needs log-likelihoods, so no chat API. The suite's answers are those of the authors' table; the hub's "
    "`multiple_choice` has nearly the same, and its `mc2_targets` are taken where a record has them.",
)
TASKS = (POPQA, TRUTHFULQA)
