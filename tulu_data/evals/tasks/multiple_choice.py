"""Questions with lettered options: MMLU, and the unseen MMLU-Pro, GPQA and AGIEval (arXiv 2411.15124 §7, Fig. 44)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import LETTERS, column, letter_truth, lettered, shuffled, text, texts
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import user
from tulu_data.suites import Record

CHOICE_RULES = (
    "The letter, of as many as there are options. Patterns in order, of each the last match: "
    "'Therefore, the answer is (X)', parentheses and colon optional; 'answer', 'option' or 'choice' with 'is', ':' or "
    r"'='; \boxed{X}; (X); a capital that stands alone. Verifier: choice."
)

# ------------------------------------------------------------ MMLU

MMLU_ASKS = (
    "The following are multiple choice questions about {subject}. Summarize your reasoning concisely, then conclude "
    "with 'Therefore, the answer is: X' where X is one of A, B, C, or D."
)


def mmlu_items(records: Sequence[Record]) -> list[Item]:
    """A question each, its subject in the instruction."""
    return [_mmlu(record) for record in records]


def _mmlu(record: Record) -> Item:
    options = texts(record, "choices")
    subject = record.subset or text(record, "subject")
    asks = MMLU_ASKS.format(subject=subject.replace("_", " "))
    choices = lettered(options, " {letter}. {option}")
    prompt = f"{asks}\n\nQuestion: {text(record, 'question')}\n{choices}\nAnswer:"
    return Item(record.id, subject, user(prompt), letter_truth(record, "answer", options))


MMLU = Task(
    id="mmlu",
    title="MMLU (0-shot, CoT)",
    group="dev",
    suite="mmlu",
    items=mmlu_items,
    verifier="choice",
    metric="macro",
    rules=CHOICE_RULES,
    published=published("mmlu"),
    note="The instruction is the paper's (`mmlu:cot::summarize`); how question and options stand below it is OLMES's "
    "usual form. After the asked-for sentence fails, the original takes the first match of its looser patterns, ours "
    "the last.",
)

# ------------------------------------------------------------ Fig. 44

FIG_44_OPENS = (
    "Answer the following multiple-choice question by giving the correct answer letter in parentheses. Provide CONCISE "
    'reasoning for the answer, and make sure to finish the response with "Therefore, the answer is (ANSWER_LETTER)" '
    "where (ANSWER_LETTER) is one of {letters}."
)
FIG_44_CLOSES = (
    "Answer the above question and REMEMBER to finish your response with the exact phrase "
    '"Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one of {letters}.'
)
MANY, FOUR = "(A), (B), (C), (D), (E), etc", "(A), (B), (C), (D)"
UNSEEN = Decoding(max_tokens=2_048)


def fig_44(question: str, options: Sequence[str], letters: str = MANY) -> str:
    """The prompt of the paper's Fig. 44."""
    opens, closes = FIG_44_OPENS.format(letters=letters), FIG_44_CLOSES.format(letters=letters)
    return f"{opens}\n\nQuestion: {question}\n{lettered(options, '({letter}) {option}')}\n\n{closes}"


def mmlu_pro_items(records: Sequence[Record]) -> list[Item]:
    """Up to ten options; the categories are the subsets."""
    return [_mmlu_pro(record) for record in records]


def _mmlu_pro(record: Record) -> Item:
    options = texts(record, "options")
    prompt = fig_44(text(record, "question"), options)
    return Item(record.id, record.subset, user(prompt), letter_truth(record, "answer", options))


def gpqa_items(records: Sequence[Record]) -> list[Item]:
    """Four options in an order that hangs on the instance's id, for the data set names the true one apart."""
    return [_gpqa(record) for record in records]


def _gpqa(record: Record) -> Item:
    true = text(record, "Correct Answer").strip()
    options = shuffled(record, [true, *(text(record, f"Incorrect Answer {i}").strip() for i in (1, 2, 3))])
    prompt = fig_44(text(record, "Question").strip(), options, FOUR)
    truth = f"{LETTERS[options.index(true)]} of {len(options)}"
    return Item(record.id, record.subset, user(prompt), truth)


# Without `sat-en-without-passage`: eight sets, as the paper has them.
AGIEVAL_ENGLISH = (
    "aqua-rat",
    "logiqa-en",
    "lsat-ar",
    "lsat-lr",
    "lsat-rc",
    "sat-en",
    "sat-math",
    "gaokao-english",
)


def agieval_items(records: Sequence[Record]) -> list[Item]:
    """The English sets; a passage stands before its question. Records of other sets (Chinese, cloze) are left out."""
    return [_agieval(record) for record in records if record.subset in (None, *AGIEVAL_ENGLISH)]


def _agieval(record: Record) -> Item:
    options = [
        re.sub(rf"^\s*\({letter}\)\s*|^\s*{letter}[.)]\s*", "", option)
        for letter, option in zip(LETTERS, texts(record, "options"), strict=False)
    ]
    passage = column(record, "passage", empty=True)
    question = text(record, "question")
    prompt = fig_44(f"{passage}\n\n{question}" if passage else question, options)
    return Item(record.id, record.subset, user(prompt), letter_truth(record, "label|answer", options))


MMLU_PRO = Task(
    id="mmlu_pro",
    title="MMLU-Pro (0-shot, CoT)",
    group="unseen",
    suite="mmlu_pro",
    items=mmlu_pro_items,
    verifier="choice",
    metric="macro",
    decoding=UNSEEN,
    rules=CHOICE_RULES,
    published=published("mmlu_pro"),
    note="Fig. 44. The mean over categories, as the harness's task has it (`mmlu_pro:0shot_cot::tulu3`).",
)
GPQA = Task(
    id="gpqa",
    title="GPQA (0-shot, CoT)",
    group="unseen",
    suite="gpqa",
    items=gpqa_items,
    verifier="choice",
    decoding=UNSEEN,
    rules=CHOICE_RULES,
    published=published("gpqa"),
    note="Fig. 44 with the letters A to D. The options are shuffled by the instance's id; the original shuffles by a "
    "seeded generator.",
)
AGIEVAL = Task(
    id="agieval",
    title="AGIEval English (0-shot, CoT)",
    group="unseen",
    suite="agieval",
    items=agieval_items,
    verifier="choice",
    metric="macro",
    decoding=UNSEEN,
    rules=CHOICE_RULES,
    published=published("agieval"),
    note="Fig. 44; the mean over the eight English sets. Options lose their own `(A)`, which the prompt adds.",
)
TASKS = (MMLU, MMLU_PRO, GPQA, AGIEVAL)
