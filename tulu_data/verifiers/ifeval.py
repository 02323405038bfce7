"""Instruction following: whether a response keeps all constraints of a prompt, strictly or loosely.

The loose reading (arXiv 2311.07911 §2.2) also accepts the response without its first line, without its last, without
asterisks, and every combination of these: each instruction may hold in another of the eight.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tulu_data.errors import nearest
from tulu_data.verifiers.instructions import INSTRUCTIONS, parameters
from tulu_data.verifiers.verdict import Verdict, shown


class Constraint(NamedTuple):
    """An instruction with its parameters."""

    id: str
    kwargs: Mapping[str, Any]

    def missing(self, response: str) -> str:
        """What the response lacks; empty where it keeps the constraint. An empty response keeps none."""
        if not response.strip():
            return "the response is empty"
        return INSTRUCTIONS[self.id].check(response, **self.kwargs)


def variants(response: str) -> Iterator[str]:
    """The eight readings of the loose criterion, the response itself first."""
    lines = response.split("\n")
    for cut in (lines, lines[1:], lines[:-1], lines[1:-1]):
        text = response if cut is lines else "\n".join(cut).strip()
        yield text
        yield text.replace("*", "")


def followed(response: str, constraints: Sequence[Constraint], *, loose: bool) -> list[str]:
    """For each constraint what is missing, empty where it is kept."""
    readings = list(variants(response)) if loose else [response]
    missing = []
    for constraint in constraints:
        lacks = [constraint.missing(reading) for reading in readings[:1]]
        if lacks[0] and any(not constraint.missing(reading) for reading in readings[1:]):
            lacks[0] = ""
        missing.append(lacks[0])
    return missing


def parse(truth: str) -> tuple[Constraint, ...]:
    """Constraints from IFEval's form or Tülu 3's.

    `{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}` (also `instruction_id`, in a list of one, and as
    a Python literal), or `{"func_name": "verify_paragraph_count", "N": 3}` of the RLVR sets.
    """
    value = _value(truth)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise ValueError(f"not an object with instruction_id_list and kwargs: {shown(truth)!r}")
    if "func_name" in value:
        return (_tulu(value),)
    ids = value.get("instruction_id_list", value.get("instruction_id"))
    kwargs = value.get("kwargs")
    if not isinstance(ids, list) or not ids:
        raise ValueError("instruction_id_list is missing or empty")
    kwargs = [{}] * len(ids) if kwargs is None else kwargs
    if not isinstance(kwargs, list) or len(kwargs) != len(ids):
        raise ValueError(f"kwargs must be a list of {len(ids)}, one for each instruction")
    return tuple(Constraint(i, parameters(i, k or {})) for i, k in zip(ids, kwargs, strict=True))


def _value(truth: str) -> Any:
    try:
        return json.loads(truth)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(truth.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"not JSON: {shown(truth)!r}") from None


# Tülu 3's RLVR constraints: its function → the instruction, and its parameters' names there. Read as the same
# instructions: keywords are counted inside words too, and words are runs of \w.
_EXACTLY = {"relation": "exactly"}
TULU: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "verify_keywords": ("keywords:existence", {"keyword_list": "keywords"}, {}),
    "verify_keyword_frequency": ("keywords:frequency", {"word": "keyword", "N": "frequency"}, _EXACTLY),
    "validate_forbidden_words": ("keywords:forbidden_words", {"forbidden_words": "forbidden_words"}, {}),
    "verify_letter_frequency": (
        "keywords:letter_frequency",
        {"letter": "letter", "N": "let_frequency"},
        {"let_relation": "exactly"},
    ),
    "validate_response_language": ("language:response_language", {"language": "language"}, {}),
    "verify_paragraph_count": ("length_constraints:number_paragraphs", {"N": "num_paragraphs"}, {"divider": "* * *"}),
    "validate_word_constraint": (
        "length_constraints:number_words",
        {"N": "num_words", "quantifier": "relation"},
        {},
    ),
    "verify_sentence_constraint": (
        "length_constraints:number_sentences",
        {"N": "num_sentences", "quantifier": "relation"},
        {},
    ),
    "validate_paragraphs": (
        "length_constraints:nth_paragraph_first_word",
        {"N": "num_paragraphs", "first_word": "first_word", "i": "nth_paragraph"},
        {},
    ),
    "verify_postscript": ("detectable_content:postscript", {"postscript_marker": "postscript_marker"}, {}),
    "validate_placeholders": ("detectable_content:number_placeholders", {"N": "num_placeholders"}, {}),
    "verify_bullet_points": ("detectable_format:number_bullet_lists", {"N": "num_bullets"}, {}),
    "validate_title": ("detectable_format:title", {}, {}),
    "validate_choice": ("detectable_format:constrained_response", {"options": "options"}, {}),
    "validate_highlighted_sections": ("detectable_format:number_highlighted_sections", {"N": "num_highlights"}, {}),
    "validate_sections": (
        "detectable_format:multiple_sections",
        {"N": "num_sections", "section_splitter": "section_spliter"},
        {},
    ),
    "validate_json_format": ("detectable_format:json_format", {}, {}),
    "validate_repeat_prompt": ("combination:repeat_prompt", {"original_prompt": "prompt_to_repeat"}, {}),
    "validate_two_responses": ("combination:two_responses", {}, {}),
    "validate_uppercase": ("change_case:english_capital", {}, {}),
    "validate_lowercase": ("change_case:english_lowercase", {}, {}),
    "validate_frequency_capital_words": (
        "change_case:capital_word_frequency",
        {"N": "capital_frequency", "quantifier": "capital_relation"},
        {},
    ),
    "validate_end": ("startend:end_checker", {"end_phrase": "end_phrase"}, {}),
    "validate_quotation": ("startend:quotation", {}, {}),
    "validate_no_commas": ("punctuation:no_comma", {}, {}),
}


def _tulu(value: Mapping[str, Any]) -> Constraint:
    """A constraint of Tülu 3's RLVR sets; the rows carry every parameter's name, most of them null."""
    name = value["func_name"]
    if name not in TULU:
        raise ValueError(f"func_name {name!r} is unknown; {nearest(str(name), TULU, noun='function')}")
    id_, names, fixed = TULU[name]
    kwargs = {names[k]: v for k, v in value.items() if k in names}
    return Constraint(id_, parameters(id_, {**kwargs, **fixed}))


def checker(*, loose: bool) -> Callable[[str, Sequence[Constraint]], Verdict]:
    """A check of all constraints; its score is 1 where all are kept, else 0: IFEval's prompt level."""

    def check(response: str, truth: Sequence[Constraint]) -> Verdict:
        missing = followed(response, truth, loose=loose)
        reasons = [f"{c.id}: {shown(m)}" for c, m in zip(truth, missing, strict=True) if m]
        return Verdict(float(not reasons), True, "; ".join(reasons))

    return check
