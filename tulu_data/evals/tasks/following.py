"""Instruction following: IFEval and IFEval-OOD by checks, AlpacaEval 2 and HREF by judges (arXiv 2411.15124 §7)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tulu_data.errors import InputError, UsageError
from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import column, text
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import user
from tulu_data.suites import Record


def ifeval_items(records: Sequence[Record]) -> list[Item]:
    """A prompt as it is; the truth is its instructions with their parameters."""
    return [_ifeval(record) for record in records]


def _ifeval(record: Record) -> Item:
    ids, kwargs = column(record, "instruction_id_list"), column(record, "kwargs")
    if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs):
        raise InputError(f"instance {record.id}: instruction_id_list and kwargs must be lists of equal length")
    # The hub's copy holds every parameter of every instruction, null where it is another's.
    filled = [{k: v for k, v in (each or {}).items() if v is not None} for each in kwargs]
    truth = json.dumps({"instruction_id_list": ids, "kwargs": filled}, ensure_ascii=False)
    return Item(record.id, record.subset, user(text(record, "prompt")), truth)


IFEVAL = Task(
    id="ifeval",
    title="IFEval (prompt level, loose)",
    group="dev",
    suite="ifeval",
    items=ifeval_items,
    verifier="ifeval_loose",
    decoding=Decoding(max_tokens=2_048),
    rules="Right where every instruction of the prompt is kept in one of the eight loose readings: without the first "
    "line, without the last, without asterisks. Verifier: ifeval_loose.",
    published=published("ifeval"),
    note="Without NLTK's data: sentences are counted by a rule, languages told by langdetect.",
)


NO_CHECKERS = (
    "the checkers of its 52 instructions are not in this package; offer a task of your own with them (entry point "
    "tulu_data.evals)"
)


def ifeval_ood_items(records: Sequence[Record]) -> list[Item]:
    """None: `UsageError`, for nothing here could check what they ask for."""
    raise UsageError(f"task 'ifeval_ood': not scored: {NO_CHECKERS}")


IFEVAL_OOD = Task(
    id="ifeval_ood",
    title="IFEval-OOD (prompt level, loose)",
    group="unseen",
    suite="ifeval_ood",
    items=ifeval_ood_items,
    verifier="ifeval_loose",
    decoding=Decoding(max_tokens=2_048),
    rules="Not scored here.",
    published=published("ifeval_ood"),
    note="The checkers of its 52 instructions (Table 47) are not in this package, so it is neither asked nor scored. "
    "The published ones need NLTK's data, a dictionary of syllables and a table of emoji.",
    unscored=NO_CHECKERS,
)

# ------------------------------------------------------------ judges


def alpaca_eval_items(records: Sequence[Record]) -> list[Item]:
    """An instruction as it is; what it is compared with comes with the judge."""
    return [Item(record.id, record.subset, user(text(record, "instruction")), "") for record in records]


ALPACA_EVAL = Task(
    id="alpaca_eval",
    title="AlpacaEval 2 (win rate)",
    group="dev",
    suite="alpaca_eval",
    items=alpaca_eval_items,
    metric="win_rate",
    judge="alpaca_eval",
    decoding=Decoding(max_tokens=8_192),
    rules="A judge says which of two answers is better, the model's or the reference's.",
    published=published("alpaca_eval"),
    note="The paper's reference is GPT-4 Turbo's answers and its judge GPT-4 Turbo. The answers in the suite's file "
    "are those of text_davinci_003, AlpacaEval 1's reference; they are not used.",
)


def href_items(records: Sequence[Record]) -> list[Item]:
    """An instruction as it is; `extra["reference"]` is the answer that a person wrote, where there is one."""
    return [_href(record) for record in records]


def _href(record: Record) -> Item:
    written = column(record, "reference|output", empty=True)
    extra = {} if written is None else {"reference": str(written)}
    return Item(record.id, record.subset, user(text(record, "instruction")), "", extra=extra)


HREF = Task(
    id="href",
    title="HREF (win rate against Llama 3.1 405B)",
    group="unseen",
    suite="href",
    items=href_items,
    metric="win_rate",
    judge="href",
    rules="A judge that sees a written reference says which of two answers is better, the model's or the baseline's.",
    published=published("href"),
    note="The paper scores Open QA and Fact Checking by the similarity of embeddings, the other nine categories by a "
    "judge of 70B. The public split is the development one, not the paper's.",
)
TASKS = (IFEVAL, IFEVAL_OOD, ALPACA_EVAL, HREF)
