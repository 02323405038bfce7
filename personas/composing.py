"""Answers that keep given constraints, made without a model; and such that break one of them and keep the others.

An answer is put together from plain sentences after what the constraints ask for, then held against the checks
themselves. Where it fails it is put together again, longer or shorter, by another draw.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from personas.procedural.family import Scene
from personas.stock import LETTER_WORDS, STOCKS, Stock
from tulu_data.verifiers.ifeval import Constraint

ATTEMPTS = 80
_FLIPPED = {
    "at least": "less than",
    "less than": "at least",
    "at most": "at least",
    "exactly": "less than",
    "around": "less than",
}
_RELATIONS = ("relation", "let_relation", "capital_relation")
_COUNTS = ("frequency", "let_frequency", "num_sentences", "num_words", "capital_frequency")
SEPARATOR = "******"  # between two responses


def compose(
    constraints: Sequence[Constraint], scene: Scene, rng: random.Random, *, broken: Constraint | None = None
) -> str | None:
    """An answer that keeps all constraints but `broken`, which it does not keep; None where none was found."""
    kept = [c for c in constraints if c is not broken]
    for attempt in range(ATTEMPTS):
        plan = _plan(kept, broken)
        if plan.language not in STOCKS:
            return None
        text = _written(plan, scene, random.Random(rng.random()), attempt)
        if any(c.missing(text) for c in kept):
            continue
        if broken is None or broken.missing(text):
            return text
    return None


@dataclass
class _Plan:
    """What the constraints ask for. Limits are (at least, less than)."""

    sentences: tuple[int, int | None] = (0, None)
    words: tuple[int, int | None] = (0, None)
    paragraphs: int = 0
    divider: str = "\n\n"
    first_word: tuple[int, str] | None = None
    keywords: list[str] = field(default_factory=list)
    letters: tuple[str, int] | None = None
    rare: str = ""  # a letter to keep away from
    capitals: int = 0
    placeholders: int = 0
    highlights: int = 0
    bullets: int = 0
    sections: tuple[str, int] | None = None
    title: bool = False
    postscript: str | None = None
    end: str | None = None
    quoted: bool = False
    commas: bool = False
    case: str = ""
    language: str = "en"
    whole: Constraint | None = None  # one that shapes the whole answer


def _plan(kept: Sequence[Constraint], broken: Constraint | None) -> _Plan:
    plan = _Plan()
    for constraint in kept:
        _ask(plan, constraint.id.partition(":")[2], constraint.kwargs, constraint)
    if broken is not None:
        _break(plan, broken)
    return plan


def _ask(plan: _Plan, name: str, kwargs: Mapping[str, Any], constraint: Constraint) -> None:  # noqa: PLR0915 - a table
    match name:
        case "existence":
            plan.keywords += kwargs["keywords"]
        case "frequency" if kwargs["relation"] != "less than":
            plan.keywords += [kwargs["keyword"]] * kwargs["frequency"]
        case "letter_frequency":
            if kwargs["let_relation"] in ("less than", "at most"):
                plan.rare = kwargs["letter"]
            else:
                plan.letters = (kwargs["letter"], kwargs["let_frequency"])
        case "response_language":
            plan.language = kwargs["language"]
        case "number_sentences":
            plan.sentences = _limits(kwargs["relation"], kwargs["num_sentences"])
        case "number_words":
            plan.words = _limits(kwargs["relation"], kwargs["num_words"])
        case "number_paragraphs":
            plan.paragraphs, plan.divider = kwargs["num_paragraphs"], f"\n\n{kwargs.get('divider', '***')}\n\n"
        case "nth_paragraph_first_word":
            plan.paragraphs = kwargs["num_paragraphs"]
            plan.first_word = (kwargs["nth_paragraph"], kwargs["first_word"])
        case "number_placeholders":
            plan.placeholders = kwargs["num_placeholders"]
        case "postscript":
            plan.postscript = kwargs["postscript_marker"]
        case "number_bullet_lists":
            plan.bullets = kwargs["num_bullets"]
        case "number_highlighted_sections":
            plan.highlights = kwargs["num_highlights"]
        case "multiple_sections":
            plan.sections = (kwargs["section_spliter"], kwargs["num_sections"])
        case "title":
            plan.title = True
        case "end_checker":
            plan.end = kwargs["end_phrase"]
        case "quotation":
            plan.quoted = True
        case "english_capital" | "english_lowercase":
            plan.case = name
        case "capital_word_frequency" if kwargs["capital_relation"] != "less than":
            plan.capitals = kwargs["capital_frequency"]
        case "constrained_response" | "json_format" | "two_responses" | "repeat_prompt":
            plan.whole = constraint


def _limits(relation: str, count: int) -> tuple[int, int | None]:
    return {
        "at least": (count, None),
        "less than": (1, count),
        "at most": (1, count + 1),
    }.get(relation, (count, count + 1))


def _break(plan: _Plan, broken: Constraint) -> None:
    """What breaks a constraint beyond leaving it out: the opposite relation, or what it forbids."""
    name, kwargs = broken.id.partition(":")[2], dict(broken.kwargs)
    if name == "forbidden_words":
        plan.keywords.append(kwargs["forbidden_words"][0])
    elif name == "no_comma":
        plan.commas = True
    for relation in _RELATIONS:
        if relation in kwargs:
            if kwargs[relation] == "at most":
                kwargs.update({count: kwargs[count] + 1 for count in _COUNTS if count in kwargs})
            kwargs[relation] = _FLIPPED[kwargs[relation]]
            _ask(plan, name, kwargs, broken)


def _written(plan: _Plan, scene: Scene, rng: random.Random, attempt: int) -> str:
    if plan.whole is not None:
        return _whole(plan, plan.whole, scene, rng, attempt)
    text = _document(plan, scene, rng, attempt)
    if plan.capitals:
        text = _with_capitals(text, plan.capitals, rng)
    if plan.case:
        text = text.upper() if plan.case == "english_capital" else text.lower()
    return f'"{text}"' if plan.quoted else text


def _whole(plan: _Plan, whole: Constraint, scene: Scene, rng: random.Random, attempt: int) -> str:
    rest = _Plan(**{**vars(plan), "whole": None})
    if whole.id == "detectable_format:constrained_response":
        return str(rng.choice(whole.kwargs.get("options") or ["My answer is maybe."]))
    text = _document(rest, scene, rng, attempt)
    if whole.id == "detectable_format:json_format":
        topic = {"topic": scene.topic} if attempt % 2 == 0 else {}  # it may hold a forbidden word
        return json.dumps({**topic, "answer": text}, indent=2, ensure_ascii=False)
    if whole.id == "combination:two_responses":
        return f"{text}\n\n{SEPARATOR}\n\n{_document(rest, scene, rng, attempt)}"
    return f"{whole.kwargs['prompt_to_repeat']}\n\n{text}"


# ------------------------------------------------------------ the document


def _document(plan: _Plan, scene: Scene, rng: random.Random, attempt: int) -> str:
    stock = STOCKS[plan.language]
    paragraphs = _paragraphs(plan, _sentences(plan, stock, scene, rng, attempt), rng)
    last = paragraphs[-1]
    last += [f"* {_phrase(stock, plan, rng)}" for _ in range(plan.bullets)]
    if plan.sections is not None:
        name, count = plan.sections
        for i in range(1, count + 1):
            last += [f"{name} {i}", _closing(_sentence(stock, plan, rng, 4), plan)]
    title = f"<<{_phrase(stock, plan, rng)}>>"
    if plan.title and plan.first_word is not None and plan.first_word[0] == 1:
        paragraphs[0].append(title)
    elif plan.title:
        paragraphs[0].insert(0, title)
    if plan.postscript is not None:
        last.append(f"{plan.postscript} {_closing(_lower(_sentence(stock, plan, rng, 4)), plan)}")
    if plan.end is not None:
        last[-1] += f" {plan.end}"
    return plan.divider.join("\n".join(lines) for lines in paragraphs)


def _paragraphs(plan: _Plan, sentences: list[str], rng: random.Random) -> list[list[str]]:
    """The sentences in paragraphs, each a list of lines; every paragraph has one at least."""
    count = plan.paragraphs or (min(len(sentences), rng.choice((1, 2, 3))) if len(sentences) > 3 else 1)
    while len(sentences) < count:  # a paragraph may be part of a sentence
        longest = max(range(len(sentences)), key=lambda i: len(sentences[i].split()))
        words = sentences[longest].split()
        half = max(1, len(words) // 2)
        sentences[longest : longest + 1] = [" ".join(words[:half]), " ".join(words[half:]) or "so"]
    cuts = [len(sentences) * i // count for i in range(count + 1)]
    lines = [[" ".join(sentences[a:b])] for a, b in pairwise(cuts)]
    if plan.first_word is not None:
        nth, word = plan.first_word
        lines[nth - 1][0] = f"{word.capitalize()} {lines[nth - 1][0][:1].lower()}{lines[nth - 1][0][1:]}"
    return lines


def _sentences(plan: _Plan, stock: Stock, scene: Scene, rng: random.Random, attempt: int) -> list[str]:
    """As many as asked for, of a length that keeps the limits on words; keywords, letters and marks go into them."""
    least, less = plan.sentences
    count = least + rng.randint(0, 2) if least > 1 else rng.randint(3, 6)
    extra = len({*plan.keywords}) + (plan.letters is not None)
    count = max(count, plan.paragraphs)
    if less is not None:
        count = max(1, min(count, less - 1 - attempt // 8))
    length = _length(plan, count, attempt)
    made = [_sentence(stock, plan, rng, length) for _ in range(max(1, count - (extra if less is None else 0)))]
    if plan.language == "en" and attempt % 2 == 0 and (plan.words[1] is None or plan.words[1] > 60):
        made[0] = f"With {scene.topic} patience pays and {_lower(made[0])}"
    _put_keywords(made, plan, rng, less is not None)
    _put_marks(made, plan, rng)
    text = " ".join(made).lower()
    if plan.letters is not None:
        letter, wanted = plan.letters
        missing = wanted - text.count(letter)
        if missing > 0:
            made[-1] = f"{made[-1].rstrip('.')} {_letters(letter, missing, rng)}."
    least_words, _ = plan.words
    while sum(len(re.findall(r"\w+", s)) for s in made) < least_words + (attempt // 10):
        at = rng.randrange(len(made))
        made[at] = f"{made[at].rstrip('.')} {stock.joiner} {_lower(_sentence(stock, plan, rng, length))}"
    if plan.commas:
        made[0] = f"First, {_lower(made[0])}"
    return made


def _length(plan: _Plan, count: int, attempt: int) -> int:
    """Words of a sentence."""
    least, less = plan.words
    if less is not None:
        return max(2, min(9, (less - 12 - 4 * attempt) // max(1, count + plan.bullets)))
    short = plan.rare or attempt > ATTEMPTS // 2
    return max(-(-least // count), 3 if short else 7)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _sentence(stock: Stock, plan: _Plan, rng: random.Random, words: int) -> str:
    """A sentence of about so many words."""
    shortest = sorted(len(c.split()) for c in stock.clauses)[1]
    fitting = [c for c in stock.clauses if len(c.split()) <= max(words, shortest)]
    if plan.rare:
        fitting = sorted(fitting, key=lambda c: c.count(plan.rare))[: max(3, len(fitting) // 3)]
    parts = [rng.choice(fitting)]
    while sum(len(p.split()) + 1 for p in parts) < words - 3 and len(parts) < 12:
        parts.append(rng.choice(fitting))
    said = f" {stock.joiner} ".join(dict.fromkeys(parts))
    return f"{said[:1].upper()}{said[1:]}."


def _closing(sentence: str, plan: _Plan) -> str:
    """Without its full stop where sentences are limited."""
    return sentence if plan.sentences[1] is None else sentence.rstrip(".")


def _phrase(stock: Stock, plan: _Plan, rng: random.Random) -> str:
    return _sentence(stock, plan, rng, 3).rstrip(".")


def _put_keywords(made: list[str], plan: _Plan, rng: random.Random, no_more: bool) -> None:
    """Each keyword as often as it is asked for, in sentences of its own unless those are limited."""
    for word in dict.fromkeys(plan.keywords):
        times = plan.keywords.count(word)
        said = f"{rng.choice(('think of the', 'remember the', 'look for the'))} {word}" + f" and one more {word}" * (
            times - 1
        )
        if no_more:
            made[-1] = f"{made[-1].rstrip('.')} and {said}."
        else:
            made.insert(rng.randrange(len(made) + 1), f"{said[:1].upper()}{said[1:]}.")


def _put_marks(made: list[str], plan: _Plan, rng: random.Random) -> None:
    for i in range(plan.highlights):
        at = i % len(made)
        words = made[at].rstrip(".").split()
        spot = min(len(words) - 1, 1 + i // len(made))
        word = words[spot] if "*" not in words[spot] else "now"
        tail = words[spot + 1 :] if word != "now" else words[spot:]
        made[at] = " ".join([*words[:spot], f"*{word}*", *tail]) + "."
    for i in range(plan.placeholders):
        at = i % len(made)
        made[at] = f"{made[at].rstrip('.')} [{rng.choice(('name', 'date', 'address', 'place'))}]."


def _letters(letter: str, missing: int, rng: random.Random) -> str:
    """Words that hold a letter so often in all."""
    said: list[str] = []
    words = LETTER_WORDS.get(letter) or [letter]
    while "".join(said).count(letter) < missing:
        said.append(rng.choice(words))
    return " ".join(said)


def _with_capitals(text: str, count: int, rng: random.Random) -> str:
    spots = [m.span() for m in re.finditer(r"(?<![\w<\[*])[a-zA-Z]{4,}(?![\w\]*])", text)]
    for start, end in rng.sample(spots, min(count, len(spots))):
        text = text[:start] + text[start:end].upper() + text[end:]
    return text
