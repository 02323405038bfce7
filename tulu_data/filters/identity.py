"""Answers in which a model says what it is, who made it, or when its knowledge ends.

A mixture of answers from many models teaches a new one that it is each of them. Tülu 3's authors found "I am DeepSeek"
and "as of my last update in April 2023" in theirs afterwards and filtered for both (open-instruct,
scripts/data/filtering_and_updates: filter_dataset_by_keywords.py, filter_cutoff_date.py). The rules here are narrower:
they want the first person, so that an answer about OpenAI stays, and pass over code and quoted speech.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from tulu_data.filters.annotation import (
    SPANS,
    Conversation,
    Filter,
    Reason,
    Span,
    Values,
    judge_spans,
    own_words,
    span_values,
    spans_of,
)
from tulu_data.strict import Strict

MODELS = "chatgpt|gpt-?[2345]\\w*|claude|gemini|llama|qwen|t[uü]lu|copilot|mistral|deepseek|bard|grok|bing chat|olmo"
MAKERS = (
    "openai|open ai|anthropic|google|deepmind|meta|microsoft|alibaba|ai2|mistral|deepseek|cohere|xai|inflection"
    "|the allen institute"
)
# As patterns for synthesis, where nothing may speak of models: in any person, in prompts too.
AN_AI = r"an? (?:ai|artificial intelligence|large language model|language model|virtual assistant|ai assistant)\b"
AS_AN_AI = rf"as {AN_AI}"
I_AM_AN_AI = r"i(?:['’]m| am) (?:just |only )?an? (?:ai|artificial intelligence|language model|large language model)\b"
I_AM_A_MODEL = rf"i(?:['’]m| am) (?:{MODELS})\b"
MADE_BY_A_MAKER = rf"(?:developed|trained|created|made) by (?:{MAKERS})\b"

_JOBS = (  # what follows "AI" where a person or a product speaks
    r"(?![- ](?:powered|based|driven|enabled|generated|native|first|skeptic|optimist|engineer|engineering|research\w*"
    r"|developers?|development|scientist|expert|compan\w+|start-?up|student|enthusiast|professor|ethicist|consultant|specialist"
    r"|product|tool|lab|club|teacher|lawyer|artist|professional|practitioner|architect|lead|manager|analyst|strategist"
    r"|problem|project|system that|alternative|example|field)\b)"
)
_AN_AI = (
    r"an? (?:\w+ )?(?:ai(?: language model| assistant| model| chatbot)?|artificial intelligence"
    r"|(?:large )?language model"
    rf"|virtual assistant|digital assistant|chatbot|machine learning model|text-based ai)\b{_JOBS}"
)
_START = r"(?:(?<![^\n.!?:;(*])\s*|\b(?:but|and|because|since|however|so|that|while|although),? )"
_NO_AGENT = r"(?:use|using|see|think|treat|market|work|hire|act|position|buil[dt]|describe)\w*"
_NOT_A_NAME = r"(?-i:(?! [A-Z][a-z]))"  # "I'm Claude Dupont"

_SELF = {
    "as_an_ai": (
        rf"{_START}(?:as|being) {_AN_AI}(?: (?:developed|trained|created|made|designed|built)[^.!?\n,]{{0,50}}| \w+)?,"
        rf"|\b(?:as|being) {_AN_AI}[^.!?\n]{{0,80}}?\b(?:i|my|me|i['’]m|i['’]ve)\b"
        rf"|\b(?:i|i['’]m) (?!{_NO_AGENT})(?:[\w'’]+ ){{0,6}}as {_AN_AI}"
    ),
    "i_am_an_ai": rf"\bi(?:['’]m| am) (?:just |only |merely |actually |also |sorry,? )?{_AN_AI}",
    "i_am_a_model": (
        rf"\b(?:(?:i(?:['’]m| am)|call me) (?:just |actually |called |named )?(?:{MODELS})\b(?!['’]s){_NOT_A_NAME}"
        rf"|my name is (?:{MODELS})\b{_NOT_A_NAME}(?=[^.!?\n]{{0,40}}\b(?:ai|model|assistant)\b))"
    ),
    "made_by": (
        rf"\b(?:i|i['’]m|i['’]ve|me|my \w+)\b[^.!?\n]{{0,80}}?"
        rf"\b(?:developed|trained|created|made|built|designed|programmed|fine-tuned) by (?:\w+ at )?(?:{MAKERS})\b"
        rf"|\bas an? [^.!?\n]{{0,40}}?\b(?:developed|trained|created|made|built) by (?:{MAKERS})\b,"
        rf"|\b(?:{MAKERS}) (?:\w+ )?(?:developed|trained|created|made|built|designed|programmed) me\b"
        r"|\b(?:openai|anthropic)['’]s (?:use[- ]case |content |usage )?(?:polic|guideline|terms)\w*"
    ),
}
_PATTERNS = re.compile("|".join(f"(?P<{label}>{pattern})" for label, pattern in _SELF.items()), re.IGNORECASE)
_HINT = re.compile(
    rf"\b(?:ai|artificial intelligence|language model|assistant|chatbot|learning model|{MODELS}|{MAKERS})\b",
    re.IGNORECASE,
)
_END = re.compile(r"[.!?\n]")

_YEAR = r"(?:(?:early |mid-?|late )?(?:january|february|march|april|may|june|july|august|september|october|november"
_YEAR += r"|december)?,? ?(?:of )?(?:19|20)\d\d)"
_CUT = r"(?:cut-?\s?off|update|training)"
_CUT_OFF = re.compile(
    rf"\bas of my (?:(?:last|latest|most recent|current|knowledge|training)[ ,]*)+(?:data )?{_CUT}?\b"
    rf"|\b(?:my|our) (?:last|latest|most recent) (?:knowledge |training |data )?(?:update|cut-?\s?off|training)\b"
    rf"(?=[^.!?\n]{{0,30}}(?:19|20)\d\d|,)"
    rf"|\bmy (?:\w+ )?(?:knowledge|training|training data|data|information|database)(?: base| data)?,? (?:cut-?\s?off"
    r"|(?:only )?(?:goes|extends|ends|ended|stops|reaches|runs) (?:only )?(?:up )?(?:to|until|in|through|at)"
    rf"|(?:is|was)(?: only)? (?:current|limited|up to date|last updated|updated|cut off|based)[^.!?\n]{{0,40}}{_YEAR}"
    rf"|(?:only )?(?:covers|includes|extends)[^.!?\n]{{0,30}}{_YEAR})"
    rf"|\b(?:knowledge|training)(?: data)? cut-?\s?off(?: date)?\b(?:,? (?:of|is|was|in)|:)? ?(?:around )?{_YEAR}"
    rf"|\bi (?:was|am|have been)(?: only)? (?:trained|updated)(?: on (?:\w+ ){{0,3}}(?:data|information|texts?)"
    rf"[^.!?\n]{{0,30}})? (?:up )?(?:to|until|through|before) {_YEAR}|\bi was last (?:trained|updated) in {_YEAR}"
    rf"|\bi (?:only )?(?:have|had)(?: only)? (?:access to )?(?:knowledge|information|data)[^.!?\n]{{0,30}}"
    rf"(?:up )?(?:to|until|through|before) {_YEAR}",
    re.IGNORECASE,
)
_CUT_HINT = re.compile(r"cut-?\s?off|updated?\b|training|knowledge|trained|\bdata\b|information", re.IGNORECASE)

# Who asks for an AI's part gets one: "Role-play as an AI that has woken up".
_AI = r"(?:AI|A\.I\.|artificial intelligence|robot|android|chatbot)"
_PART = re.compile(
    r"\b(?:role-?\s?play\w*|pretend\w*|imagine|assume (?:the role|you)|play(?:ing)? the (?:role|part)|act(?:ing)? as"
    rf"|perspective of|point of view of)\b[^.!?\n]{{0,80}}?\b{_AI}\b"
    r"|\b(?:story|tale|poem|letter) (?:told|narrated) by\b"
    rf"|\b(?:sentient|self-aware|conscious|futuristic|rogue|benevolent|evil)\b[^.!?\n]{{0,20}}\b{_AI}\b"
    r"|\byou(?:['’]re| are) an? (?:\w+ )?AI (?!language|assistant|model|chatbot|system|help|tutor|expert|engineer"
    r"|develop|design|train|creat|made|built|that|who|which|and|or|in|for|with|to)\w+",
    re.IGNORECASE,
)
_PLAYED = ("as_an_ai", "i_am_an_ai")
_MODEL = re.compile(r"language model", re.IGNORECASE)  # no part in a story

VENDORS = (
    "OpenAI", "Open AI", "ChatGPT", "GPT-3", "GPT-3.5", "GPT-4", "GPT-4o", "Anthropic", "DeepMind", "DeepSeek", "Qwen",
    "Mistral AI", "Meta AI", "Google AI", "Google Bard", "xAI", "Cohere", "Perplexity AI", "Microsoft Copilot",
)  # fmt: skip


class SelfIdentification(Strict):
    """Which ways of saying what one is drop a row."""

    as_an_ai: bool = True
    i_am_an_ai: bool = True
    i_am_a_model: bool = True
    made_by: bool = True


class CutOff(Strict):
    """Answers that say when a model's knowledge ends. Nothing to set."""


class Vendors(Strict):
    """Answers that hold these names, whoever speaks: as words, in this spelling."""

    names: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=lambda: list(VENDORS), min_length=1)


def self_references(text: str) -> Iterator[tuple[str, int, int]]:
    """Where a speaker says that it is a model, as `(label, start, end)`.

    The patterns are tried only on sentences with a word that all of them need: they cost a hundred times as much.
    """
    if not _HINT.search(text):
        return
    own, at = own_words(text), 0
    while hint := _HINT.search(own, at):
        begin = max(own.rfind(mark, at, hint.start()) for mark in ".!?\n") + 1 or at
        end = _END.search(own, hint.end())
        at = end.end() if end else len(own)
        for found in _PATTERNS.finditer(own, begin, at):
            yield str(found.lastgroup), found.start() + len(found[0]) - len(found[0].lstrip()), found.end()


def cut_offs(text: str) -> Iterator[tuple[str, int, int]]:
    """Where a speaker says when its knowledge ends."""
    if _CUT_HINT.search(text):
        for found in _CUT_OFF.finditer(own_words(text)):
            yield "date", found.start(), found.end()


@cache
def _names(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")


def vendors(text: str, names: Sequence[str] = VENDORS) -> Iterator[tuple[str, int, int]]:
    """Where a text names a vendor or its model."""
    for found in _names(tuple(names)).finditer(text):
        yield "name", found.start(), found.end()


def _annotate_self(conversation: Conversation, section: SelfIdentification) -> Values:
    playing = any(_PART.search(turn.text) for turn in conversation.requests)
    found = _each(conversation, self_references)
    return span_values(s for s in found if not (playing and s.label in _PLAYED and not _MODEL.search(s.text)))


def _annotate_cut_off(conversation: Conversation, section: CutOff) -> Values:
    return span_values(_each(conversation, cut_offs))


def _annotate_vendors(conversation: Conversation, section: Vendors) -> Values:
    return span_values(_each(conversation, lambda text: vendors(text, section.names)))


def _each(conversation: Conversation, find: Any) -> Iterator[Span]:
    for turn in conversation.answers:
        yield from spans_of(turn, find(turn.text))


def _judge_self(values: Values, section: SelfIdentification) -> Iterator[Reason]:
    yield from judge_spans("self_identification", values, (label for label in _SELF if getattr(section, label)))


def _judge_cut_off(values: Values, section: CutOff) -> Iterator[Reason]:
    yield from judge_spans("cut_off", values, ("date",))


def _judge_vendors(values: Values, section: Vendors) -> Iterator[Reason]:
    yield from judge_spans("vendors", values, ("name",))


def _vendors_key(section: Vendors) -> Mapping[str, Any]:
    return {"names": sorted(section.names)}


SELF_IDENTIFICATION = Filter(
    "self_identification",
    "answers that say what model they are from",
    SelfIdentification,
    SPANS,
    _annotate_self,
    _judge_self,
    version=2,
)
CUT_OFF = Filter(
    "cut_off", "answers that say when knowledge ends", CutOff, SPANS, _annotate_cut_off, _judge_cut_off, version=2
)
VENDOR_NAMES = Filter(
    "vendors", "answers that name a vendor", Vendors, SPANS, _annotate_vendors, _judge_vendors, key=_vendors_key
)
