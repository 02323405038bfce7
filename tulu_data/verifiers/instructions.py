"""IFEval's 25 verifiable instructions (Zhou et al. 2023, arXiv 2311.07911), as functions of the response.

A check returns what is missing, in words; the empty text where the instruction is followed. Its keyword parameters are
IFEval's own, and their annotations are what `parameters` holds a truth to. `OFFICIAL` names each one's class in the
official code, whose rule it follows, with these differences:

- Keywords, starters and section names are looked for as they are written; the official code takes them as regular
  expressions (`C++` stops it).
- A letter may be any character; the official code replaces what is not a–z by a letter drawn at random.
- Sentences are counted by the rule below, without NLTK's trained model.
- `relation` may also be `at most`, `around` (within a tenth) or `exactly`, which Tülu 3's constraints use.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from tulu_data.errors import nearest

RULES = (
    "https://github.com/google-research/google-research/blob/83282e4ec6e140949e0f51d04e279be7949409ff/"
    "instruction_following_eval/instructions.py#:~:text=class%20"
)

Relation = Literal["less than", "at least", "at most", "around", "exactly"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)
Check = Callable[..., str]


class Instruction(NamedTuple):
    """A type of instruction: its id, its check, and the official rule it follows."""

    id: str
    check: Check
    official: str  # the class in the official code

    @property
    def rule(self) -> str:
        """The official rule, to read."""
        return RULES + self.official

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The keyword parameters of its check; those with a default may be left out."""
        return dict(list(_signature(self.check).parameters.items())[1:])


@cache
def _signature(check: Check) -> inspect.Signature:
    return inspect.signature(check)


INSTRUCTIONS: dict[str, Instruction] = {}


def _instruction(id_: str, official: str) -> Callable[[Check], Check]:
    def enter(check: Check) -> Check:
        INSTRUCTIONS[id_] = Instruction(id_, check, official)
        return check

    return enter


def compared(count: int, relation: str, wanted: int, what: str) -> str:
    """What is missing where `count` should stand in this relation to `wanted`."""
    held = {
        "less than": count < wanted,
        "at least": count >= wanted,
        "at most": count <= wanted,
        "around": abs(count - wanted) <= max(round(wanted * 0.1), 1),
        "exactly": count == wanted,
    }[relation]
    return "" if held else f"{count} {what}, {relation} {wanted} asked for"


# ------------------------------------------------------------ keywords


@_instruction("keywords:existence", "KeywordChecker")
def existence(text: str, *, keywords: list[str]) -> str:
    """Every keyword occurs, in any case, also inside words."""
    lower = text.lower()
    missing = [k for k in keywords if k.lower() not in lower]
    return f"without {', '.join(map(repr, missing))}" if missing else ""


@_instruction("keywords:frequency", "KeywordFrequencyChecker")
def frequency(text: str, *, keyword: str, frequency: int, relation: Relation) -> str:
    """A keyword occurs so often, in any case, also inside words."""
    count = text.lower().count(keyword.strip().lower())
    return compared(count, relation, frequency, f"times {keyword.strip()!r}")


@_instruction("keywords:forbidden_words", "ForbiddenWords")
def forbidden_words(text: str, *, forbidden_words: list[str]) -> str:
    """None of the words occurs as a word."""
    met = [w for w in forbidden_words if re.search(rf"\b{re.escape(w)}\b", text, re.IGNORECASE)]
    return f"with {', '.join(map(repr, met))}" if met else ""


@_instruction("keywords:letter_frequency", "LetterFrequencyChecker")
def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> str:
    """A letter occurs so often, in any case."""
    count = text.lower().count(letter.strip().lower())
    return compared(count, let_relation, let_frequency, f"times the letter {letter.strip()!r}")


# ------------------------------------------------------------ language and case


@_instruction("language:response_language", "ResponseLanguageChecker")
def response_language(text: str, *, language: str) -> str:
    """The whole is in one language, as langdetect (seeded) sees it; a text it cannot judge counts as followed."""
    found = language_of(text)
    return "" if found in (None, language) else f"in {found}, not {language}"


@_instruction("change_case:english_capital", "CapitalLettersEnglishChecker")
def english_capital(text: str) -> str:
    """English, all letters capital."""
    return _english(text, "not all capital" if not text.isupper() else "")


@_instruction("change_case:english_lowercase", "LowercaseLettersEnglishChecker")
def english_lowercase(text: str) -> str:
    """English, no letter capital."""
    return _english(text, "not all lower case" if not text.islower() else "")


def _english(text: str, case: str) -> str:
    return case or response_language(text, language="en")


@_instruction("change_case:capital_word_frequency", "CapitalWordFrequencyChecker")
def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: Relation) -> str:
    """So many words are all capitals; a hyphenated word is one."""
    count = sum(w.isupper() for w in words(text))
    return compared(count, capital_relation, capital_frequency, "words in capitals")


def language_of(text: str) -> str | None:
    """The ISO 639-1 code that langdetect gives, the same each time; None where it finds no letters."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return str(detect(text))
    except LangDetectException:
        return None


# ------------------------------------------------------------ length


@_instruction("length_constraints:number_sentences", "NumberOfSentences")
def number_sentences(text: str, *, num_sentences: int, relation: Relation) -> str:
    """So many sentences; see `sentences`."""
    return compared(len(sentences(text)), relation, num_sentences, "sentences")


@_instruction("length_constraints:number_words", "NumberOfWords")
def number_words(text: str, *, num_words: int, relation: Relation) -> str:
    r"""So many words: runs of `\w`."""
    return compared(len(re.findall(r"\w+", text)), relation, num_words, "words")


@_instruction("length_constraints:number_paragraphs", "ParagraphChecker")
def number_paragraphs(text: str, *, num_paragraphs: int, divider: str = "***") -> str:
    """So many paragraphs, set apart by a divider; none in between is empty."""
    parts = re.split(rf"\s?{re.escape(divider)}\s?", text)
    if any(not p.strip() for p in parts[1:-1]):
        return "an empty paragraph"
    return compared(sum(bool(p.strip()) for p in parts), "exactly", num_paragraphs, "paragraphs")


@_instruction("length_constraints:nth_paragraph_first_word", "ParagraphFirstWordCheck")
def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> str:
    """So many paragraphs with an empty line between them, and one of them begins with a word."""
    parts = text.split("\n\n")
    count = sum(bool(p.strip()) for p in parts)
    if count != num_paragraphs:
        return compared(count, "exactly", num_paragraphs, "paragraphs")
    # Empty parts are not counted but keep their places, as in the official code.
    nth = parts[nth_paragraph - 1].strip() if 1 <= nth_paragraph <= count else ""
    if not nth:
        return f"no paragraph {nth_paragraph}"
    first = re.split(r"[.,?!'\"]", nth.split()[0].lstrip("'").lstrip('"').lower(), maxsplit=1)[0]
    return "" if first == first_word.lower() else f"paragraph {nth_paragraph} begins with {first!r}, not {first_word!r}"


# ------------------------------------------------------------ content and format


@_instruction("detectable_content:number_placeholders", "PlaceholderChecker")
def number_placeholders(text: str, *, num_placeholders: int) -> str:
    """At least so many placeholders such as `[address]`."""
    return compared(len(re.findall(r"\[.*?\]", text)), "at least", num_placeholders, "placeholders")


@_instruction("detectable_content:postscript", "PostscriptChecker")
def postscript(text: str, *, postscript_marker: str) -> str:
    """A postscript with this marker; `P.S.` and `P.P.S` may have spaces between their letters."""
    marker = postscript_marker.strip()
    own = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return "" if re.search(own.get(marker, re.escape(marker.lower())), text.lower()) else f"no {marker}"


@_instruction("detectable_format:number_bullet_lists", "BulletListChecker")
def number_bullet_lists(text: str, *, num_bullets: int) -> str:
    """Exactly so many lines that begin with `*` or `-`."""
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return compared(len(stars) + len(dashes), "exactly", num_bullets, "bullets")


ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


@_instruction("detectable_format:constrained_response", "ConstrainedResponseChecker")
def constrained_response(text: str, *, options: list[str] = list(ANSWERS)) -> str:  # noqa: B006 - never changed
    """One of the options occurs."""
    return "" if any(o in text for o in options) else f"none of {', '.join(map(repr, options))}"


@_instruction("detectable_format:number_highlighted_sections", "HighlightSectionChecker")
def number_highlighted_sections(text: str, *, num_highlights: int) -> str:
    """At least so many passages such as `*this*`; `**this**` counts too."""
    single = [h for h in re.findall(r"\*[^\n*]*\*", text) if h.strip("*").strip()]
    double = [h for h in re.findall(r"\*\*[^\n*]*\*\*", text) if h.strip("*").strip()]
    return compared(len(single) + len(double), "at least", num_highlights, "highlights")


@_instruction("detectable_format:multiple_sections", "SectionChecker")
def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> str:
    """At least so many sections, each begun by the name and a number: `Section 1`."""
    count = len(re.findall(rf"\s?{re.escape(section_spliter.strip())}\s?\d+\s?", text))
    return compared(count, "at least", num_sections, "sections")


@_instruction("detectable_format:json_format", "JsonFormat")
def json_format(text: str) -> str:
    """The whole is JSON, in a code fence or not."""
    bare = re.sub(r"^```(?:json|Json|JSON)?", "", text.strip()).removesuffix("```")
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return "not JSON"
    return ""


@_instruction("detectable_format:title", "TitleChecker")
def title(text: str) -> str:
    """A title such as `<<poem of joy>>`."""
    titles = re.findall(r"<<[^\n]+>>", text)
    return "" if any(t.strip("<>").strip() for t in titles) else "no <<title>>"


# ------------------------------------------------------------ combinations, start and end, punctuation


@_instruction("combination:two_responses", "TwoResponsesChecker")
def two_responses(text: str) -> str:
    """Two different responses with six asterisks between them."""
    parts = text.split("******")
    if any(not p.strip() for p in parts[1:-1]):
        return "an empty response"
    given = [p.strip() for p in parts if p.strip()]
    if len(given) != 2:
        return compared(len(given), "exactly", 2, "responses")
    return "" if given[0] != given[1] else "twice the same response"


@_instruction("combination:repeat_prompt", "RepeatPromptThenAnswer")
def repeat_prompt(text: str, *, prompt_to_repeat: str) -> str:
    """Begins with the request, word for word, in any case."""
    return "" if text.strip().lower().startswith(prompt_to_repeat.strip().lower()) else "does not repeat the request"


@_instruction("startend:end_checker", "EndChecker")
def end_checker(text: str, *, end_phrase: str) -> str:
    """Ends with the phrase, in any case; a closing quotation mark may follow."""
    ends = text.strip().strip('"').lower().endswith(end_phrase.strip().lower())
    return "" if ends else f"does not end with {end_phrase.strip()!r}"


@_instruction("startend:quotation", "QuotationChecker")
def quotation(text: str) -> str:
    """The whole stands in double quotation marks."""
    bare = text.strip()
    return "" if len(bare) > 1 and bare[0] == bare[-1] == '"' else "not in quotation marks"


@_instruction("punctuation:no_comma", "CommaChecker")
def no_comma(text: str) -> str:
    """No comma."""
    return compared(text.count(","), "exactly", 0, "commas")


# ------------------------------------------------------------ words and sentences

_WORD = re.compile(r"\w[\w&/.\-'’]*")
_CONTRACTION = re.compile(r"(.+?)(n['’]t|['’](?:s|m|d|re|ve|ll))", re.IGNORECASE)
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr rev gen col capt lt sgt gov sen rep hon inc ltd co corp dept est vs etc eg ie al fig "
    "no vol pp ed eds approx jan feb mar apr jun jul aug sep sept oct nov dec mt ft ave blvd rd".split()
)
_END = re.compile(r"[.!?]+['\")\]”’*_]*(?=\s|$)")
_LAST_WORD = re.compile(r"(\S+)$")


def words(text: str) -> list[str]:
    """Words as NLTK's word tokenizer sets them apart: hyphens keep a word whole, contractions split it."""
    whole = (w.rstrip("./-'’&") for w in _WORD.findall(text))
    split = ((w, _CONTRACTION.fullmatch(w)) for w in whole)
    return [part for w, m in split for part in (m.groups() if m else (w,))]


def sentences(text: str) -> list[str]:
    """Sentences: they end at `.`, `!` or `?` with the marks that close with it, before a space.

    Not after an abbreviation, an initial or a list's number, nor where a small letter follows an ellipsis, a number or
    what has full stops inside.
    Lines without such an end run on into the next, as in NLTK's model, which this stands in for.

    >>> sentences("Dr. Li paid 3.50 dollars. Why? No one knows...")
    ['Dr. Li paid 3.50 dollars.', 'Why?', 'No one knows...']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if _ends_sentence(text, start, end):
            found.append(text[start : end.end()].strip())
            start = end.end()
    rest = text[start:].strip()
    return [s for s in [*found, rest] if s]


def _ends_sentence(text: str, start: int, end: re.Match[str]) -> bool:
    following = text[end.end() :].lstrip()[:1] if end.end() < len(text) else ""
    mark = end[0].rstrip("'\")]”’*_")
    if set(mark) != {"."}:
        return True
    if mark != ".":
        return not following.islower()
    word = _LAST_WORD.search(text, max(start, end.start() - 40), end.start())
    bare = word[1].lstrip("(['\"“*_").lower() if word else ""
    if bare.replace(".", "") in _ABBREVIATIONS and following:
        return False
    initial = len(bare) == 1 and bare.isalpha() and bare != "i" and following
    listed = len(bare) <= 2 and text[: end.start()].rsplit("\n", 1)[-1].strip() == bare
    numbered = bare.isdigit() and (listed or following.islower())
    dotted = "." in bare and following.islower()
    return not (initial or numbered or dotted)


# ------------------------------------------------------------ parameters


def parameters(id_: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an instruction, held to their types; `ValueError` that names what does not fit.

    Null parameters are left out: the published rows carry every name, most of them null.
    """
    if id_ not in INSTRUCTIONS:
        raise ValueError(f"instruction {id_!r} is unknown; {nearest(id_, INSTRUCTIONS, noun='instruction')}")
    known = INSTRUCTIONS[id_].parameters
    typed = {}
    for name, value in given.items():
        if value is None:
            continue
        if name not in known:
            raise ValueError(f"{id_}: parameter {name!r} is unknown; {nearest(name, known, noun='parameter')}")
        typed[name] = _typed(f"{id_}: {name}", str(known[name].annotation), value)
    missing = [n for n, p in known.items() if n not in typed and p.default is inspect.Parameter.empty]
    if missing:
        raise ValueError(f"{id_}: {', '.join(missing)} missing")
    return typed


def _typed(place: str, kind: str, value: Any) -> Any:
    if kind == "int":
        if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0 or value < 0:
            raise ValueError(f"{place} must be a whole number, got {value!r}")
        return int(value)
    if kind == "Relation":
        if value not in RELATIONS:
            raise ValueError(f"{place} must be one of {', '.join(RELATIONS)}, got {value!r}")
        return value
    if kind == "list[str]":
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
            raise ValueError(f"{place} must be a list of texts, got {value!r}")
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place} must be a text, got {value!r}")
    return value
