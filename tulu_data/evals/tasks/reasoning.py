"""BIG-Bench Hard (arXiv 2411.15124, Table 24): three examples with reasoning as turns, for each of 27 tasks."""

from __future__ import annotations

from collections.abc import Sequence

from tulu_data.errors import InputError, nearest
from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import text
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import Shot, WithShots, turns
from tulu_data.suites import Record

ABOUT = {  # a task → what stands before its first example
    "boolean_expressions": "Evaluate a Boolean expression.",
    "causal_judgement": "Answer questions about what caused what, and what was intended.",
    "date_understanding": "Infer a date from its context.",
    "disambiguation_qa": "Say what a pronoun stands for in a sentence.",
    "dyck_languages": "Close the open brackets of a sequence in the right order.",
    "formal_fallacies": "Tell deductively valid arguments from fallacies.",
    "geometric_shapes": "Name the shape that an SVG path draws.",
    "hyperbaton": "Order adjectives as English does.",
    "logical_deduction_five_objects": "Deduce the order of five objects.",
    "logical_deduction_seven_objects": "Deduce the order of seven objects.",
    "logical_deduction_three_objects": "Deduce the order of three objects.",
    "movie_recommendation": "Recommend a movie that is like those in a list.",
    "multistep_arithmetic_two": "Solve arithmetic problems of several steps.",
    "navigate": "Follow instructions and say whether you end where you began.",
    "object_counting": "Count the objects of a kind.",
    "penguins_in_a_table": "Answer questions about a table of penguins.",
    "reasoning_about_colored_objects": "Answer simple questions about the colors of objects.",
    "ruin_names": "Find the humorous edit of the name of a movie or an artist.",
    "salient_translation_error_detection": "Find the kind of error in a translation from German to English.",
    "snarks": "Say which of two statements is sarcastic.",
    "sports_understanding": "Say whether a made-up sentence about sports is plausible.",
    "temporal_sequences": "Say when somebody could have gone somewhere.",
    "tracking_shuffled_objects_five_objects": "Track five objects that change hands.",
    "tracking_shuffled_objects_seven_objects": "Track seven objects that change hands.",
    "tracking_shuffled_objects_three_objects": "Track three objects that change hands.",
    "web_of_lies": "Tell from a chain of statements whether somebody tells the truth.",
    "word_sorting": "Sort words.",
}


def bbh_item(record: Record, shots: Sequence[Shot]) -> Item:
    """A question of a task after the task's examples, the first of them below what the task is about."""
    task = record.subset or ""
    if task not in ABOUT:
        raise InputError(f"instance {record.id}: no task {record.subset!r} in BBH; {nearest(task, ABOUT, noun='task')}")
    messages = list(turns(shots, lambda s: _ask(s.question), _ask(text(record, "input"))))
    messages[0] = {"role": "user", "content": f"{ABOUT[task]}\n\n{messages[0]['content']}"}
    return Item(record.id, task, tuple(messages), text(record, "target"))


def _ask(question: str) -> str:
    return f"Q: {question}\nA: Let's think step by step."


BBH = Task(
    id="bbh",
    title="BIG-Bench Hard (3-shot, CoT)",
    group="dev",
    suite="bbh",
    items=WithShots(bbh_item, "bbh"),
    verifier="bbh",
    metric="macro",
    shots=3,
    decoding=Decoding(max_tokens=512),
    rules="The task's form of answer ((X), yes or no, true or false, valid or invalid, a number, brackets, words) "
    "right after 'so the answer is', else after 'answer is', 'answer:', 'answer', else anywhere; the last match. "
    "Without case and punctuation. Verifier: bbh.",
    published=published("bbh"),
    note="Examples and task descriptions are our own. The extraction is the paper's later one (`bbh:cot-v1::tulu`), to "
    "be compared with `paper-v5`; the model card's scores were made with the earlier one.",
)
TASKS = (BBH,)
