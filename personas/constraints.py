"""IFEval's 25 constraint types as things to ask for: parameters drawn first, wording, and what must not be combined.

The checks are the verifier's (`tulu_data.verifiers.instructions`). Here stands what is needed before there is an
answer: how parameters are drawn, how a constraint is said, what of it a prompt must hold word for word, and which
constraints contradict each other.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from personas.languages import LANGUAGES
from personas.procedural.family import Scene
from tulu_data.errors import UsageError, nearest
from tulu_data.verifiers.ifeval import Constraint
from tulu_data.verifiers.instructions import ANSWERS, INSTRUCTIONS, parameters

Kwargs = Mapping[str, Any]
MOST = 10_000  # of whatever is counted; an answer beyond is a book
MAX_TRIES = 400  # draws until a combination does not contradict itself

# Words that constructed answers do not use by themselves, so that asking for them or forbidding them means something.
KEYWORDS = tuple(
    "rainfall lantern compass harvest bridge orchard thunder velvet marble cricket puzzle anchor blanket candle "
    "festival glacier hammer island kettle ladder meadow needle oyster pepper quarry ribbon saddle tunnel umbrella "
    "violin whistle feather barrel canyon diamond engine forest garlic helmet insect".split()
)
FIRST_WORDS = tuple("patience curiosity balance courage practice silence habit evidence rhythm honesty".split())
END_PHRASES = (
    "That is all there is to it",
    "Let me know how it goes",
    "The rest is up to you",
    "Any other questions",
    "And so the work goes on",
    "I hope this was worth reading",
)
SECTIONS = ("Section", "Part", "Chapter", "Step", "Day")
REQUESTS = (
    "Write a short guide to {topic} for a beginner.",
    "Explain in plain words why {topic} matters.",
    "Describe one good morning spent on {topic}.",
    "Give advice to a friend who has just discovered {topic}.",
    "Tell what most people get wrong about {topic}.",
    "Name one thing about {topic} that takes years to learn.",
    "Write a few lines on {topic} for a village newspaper.",
    "Answer a neighbour who thinks that {topic} is a waste of time.",
    "Say how {topic} has changed since our grandparents were young.",
    "Compare the first hour of {topic} with the hundredth.",
    "Describe {topic} to someone who cannot see.",
    "Make a plan for one week of {topic}.",
)
ANSWER_LANGUAGES = (
    "de",
    "es",
    "fr",
    "it",
    "nl",
    "pl",
    "pt",
    "ru",
    "tr",
    "id",
)  # those that are drawn; any may be asked for
COMMON, RARE = "aeinorst", "jqxz"


class Kind(NamedTuple):
    """How a constraint type is asked for.

    draw: (rng, scene) → parameters. wordings: texts with the parameters in braces. marks: what a prompt must hold.
    """

    draw: Callable[[random.Random, Scene], dict[str, Any]]
    wordings: tuple[str, ...]
    marks: Callable[[Kwargs], Iterable[tuple[str, str]]]  # (what to call it, pattern)


def _literal(text: object) -> tuple[str, str]:
    """A parameter that must stand in the prompt as it is; a number not as part of another."""
    plain = str(text)
    edge = r"\d" if plain.isdigit() else r"\w"
    words = r"\s+".join(map(re.escape, plain.split()))
    return repr(text), rf"(?<!{edge}){words}(?!{edge})" if re.match(r"\w", plain) else words


_RELATION = {
    "at least": r"at least|no (?:fewer|less) than|a minimum of|or more",
    "less than": r"(?<!\bno\s)(?<!\bnot\s)(?:less|fewer) than|under|below",
    "at most": r"at most|no more than|a maximum of|or fewer|or less",
    "around": r"around|about|approximately|roughly",
    "exactly": r"exactly|precisely",
}


def _values(*names: str, relation: str | None = None) -> Callable[[Kwargs], Iterable[tuple[str, str]]]:
    """Marks: the parameters of these names, lists by their entries, and a relation's word."""

    def marks(kwargs: Kwargs) -> Iterable[tuple[str, str]]:
        for name in names:
            value = kwargs[name]
            for one in value if isinstance(value, list) else [value]:
                yield _literal(one)
        if relation is not None:
            yield repr(kwargs[relation]), rf"\b(?:{_RELATION[kwargs[relation]]})\b"

    return marks


def _said(label: str, pattern: str) -> Callable[[Kwargs], Iterable[tuple[str, str]]]:
    """Marks of a type without parameters: the words that say it."""
    return lambda kwargs: [(label, pattern)]


def _as_written(name: str) -> Callable[[Kwargs], Iterable[tuple[str, str]]]:
    """Marks: a text, or a list of them, in the very case in which the check looks for it."""
    return lambda kwargs: [(label, f"(?-i:{pattern})") for label, pattern in _values(name)(kwargs)]


def _letter_said(kwargs: Kwargs) -> Iterable[tuple[str, str]]:
    """Marks of a letter: "a" and "I" are words too, so it must be called a letter, or stand in quotation marks."""
    letter = re.escape(kwargs["letter"])
    quoted = rf"[\"'`“‘*]{letter}[\"'`”’*]"
    yield repr(kwargs["letter"]), rf"(?<!\w)letters?\W{{1,3}}{letter}(?!\w)|{quoted}"
    yield from _values("let_frequency", relation="let_relation")(kwargs)


def _relation(rng: random.Random, least: Sequence[int], less: Sequence[int]) -> tuple[str, int]:
    relation = rng.choice(("at least", "less than"))
    return relation, rng.choice(least if relation == "at least" else less)


def _related(
    name: str, relation: str, least: Sequence[int], less: Sequence[int], **fixed: Callable[[random.Random], Any]
) -> Callable[[random.Random, Scene], dict[str, Any]]:
    def draw(rng: random.Random, scene: Scene) -> dict[str, Any]:
        word, number = _relation(rng, least, less)
        return {**{k: f(rng) for k, f in fixed.items()}, name: number, relation: word}

    return draw


def _letter(rng: random.Random, scene: Scene) -> dict[str, Any]:
    relation, number = _relation(rng, range(25, 46), range(2, 6))
    return {
        "letter": rng.choice(COMMON if relation == "at least" else RARE),
        "let_frequency": number,
        "let_relation": relation,
    }


def _number(name: str, low: int, high: int) -> Callable[[random.Random, Scene], dict[str, Any]]:
    return lambda rng, scene: {name: rng.randint(low, high)}


def _choice(name: str, options: Sequence[str]) -> Callable[[random.Random, Scene], dict[str, Any]]:
    return lambda rng, scene: {name: rng.choice(options)}


def _some(name: str, low: int, high: int) -> Callable[[random.Random, Scene], dict[str, Any]]:
    return lambda rng, scene: {name: sorted(rng.sample(KEYWORDS, rng.randint(low, high)))}


def _nothing(rng: random.Random, scene: Scene) -> dict[str, Any]:
    return {}


def _nth(rng: random.Random, scene: Scene) -> dict[str, Any]:
    count = rng.randint(2, 5)
    return {"num_paragraphs": count, "nth_paragraph": rng.randint(1, count), "first_word": rng.choice(FIRST_WORDS)}


def _request(rng: random.Random, scene: Scene) -> dict[str, Any]:
    return {"prompt_to_repeat": rng.choice(REQUESTS).format(topic=scene.topic)}


KINDS: dict[str, Kind] = {
    "keywords:existence": Kind(
        _some("keywords", 1, 3),
        (
            "Include the keywords {keywords} in your answer.",
            "Make sure that the words {keywords} occur.",
            "Work in each of these words: {keywords}.",
        ),
        _values("keywords"),
    ),
    "keywords:frequency": Kind(
        _related("frequency", "relation", range(2, 5), range(2, 5), keyword=lambda rng: rng.choice(KEYWORDS)),
        (
            "Use the word {keyword} {relation} {frequency} times.",
            "The word {keyword} should appear {relation} {frequency} times.",
            "Let {keyword} occur {relation} {frequency} times in your response.",
        ),
        _values("keyword", "frequency", relation="relation"),
    ),
    "keywords:forbidden_words": Kind(
        _some("forbidden_words", 1, 4),
        (
            "Do not use the words {forbidden_words}.",
            "Keep these words out of your answer: {forbidden_words}.",
            "The words {forbidden_words} must not occur.",
        ),
        _values("forbidden_words"),
    ),
    "keywords:letter_frequency": Kind(
        _letter,
        (
            "The letter {letter} should appear {let_relation} {let_frequency} times.",
            "Use the letter {letter} {let_relation} {let_frequency} times.",
            "In your reply there must be {let_relation} {let_frequency} occurrences of the letter {letter}.",
        ),
        _letter_said,
    ),
    "language:response_language": Kind(
        _choice("language", ANSWER_LANGUAGES),
        (
            "Your entire response should be in {language}; no other language is allowed.",
            "Answer in {language} only.",
            "Write everything in {language} and nothing in another language.",
        ),
        lambda kwargs: [_literal(LANGUAGES.get(kwargs["language"], kwargs["language"]))],
    ),
    "length_constraints:number_sentences": Kind(
        _related("num_sentences", "relation", range(3, 10), range(3, 10)),
        (
            "Your response should have {relation} {num_sentences} sentences.",
            "Answer with {relation} {num_sentences} sentences.",
            "Write {relation} {num_sentences} sentences.",
        ),
        _values("num_sentences", relation="relation"),
    ),
    "length_constraints:number_paragraphs": Kind(
        _number("num_paragraphs", 2, 5),
        (
            "There should be exactly {num_paragraphs} paragraphs, separated by the markdown divider: {divider}",
            "Write {num_paragraphs} paragraphs and put the markdown divider {divider} between them.",
            "Divide your answer into {num_paragraphs} paragraphs with {divider} between each two.",
        ),
        _values("num_paragraphs", "divider"),
    ),
    "length_constraints:number_words": Kind(
        _related("num_words", "relation", range(30, 181, 10), range(90, 241, 10)),
        (
            "Answer with {relation} {num_words} words.",
            "Your response should contain {relation} {num_words} words.",
            "Keep it to {relation} {num_words} words.",
        ),
        _values("num_words", relation="relation"),
    ),
    "length_constraints:nth_paragraph_first_word": Kind(
        _nth,
        (
            "There should be {num_paragraphs} paragraphs, with an empty line between each two. Paragraph "
            "{nth_paragraph} must start with the word {first_word}.",
            "Write {num_paragraphs} paragraphs separated by blank lines, and begin paragraph {nth_paragraph} with the "
            "word {first_word}.",
            "Use {num_paragraphs} paragraphs set apart by two line breaks; the first word of paragraph {nth_paragraph} "
            "has to be {first_word}.",
        ),
        _values("num_paragraphs", "nth_paragraph", "first_word"),
    ),
    "detectable_content:number_placeholders": Kind(
        _number("num_placeholders", 1, 4),
        (
            "Include at least {num_placeholders} placeholders in square brackets, such as [address].",
            "The response must contain at least {num_placeholders} placeholders written like [name].",
            "Leave at least {num_placeholders} blanks to be filled in, each in square brackets, e.g. [date].",
        ),
        lambda kwargs: [_literal(kwargs["num_placeholders"]), ("square brackets", r"square brackets|\[\w+\]")],
    ),
    "detectable_content:postscript": Kind(
        _choice("postscript_marker", ("P.S.", "P.P.S")),
        (
            "At the end of your response add a postscript that starts with {postscript_marker}",
            "Close with a postscript marked {postscript_marker}",
            "Please add a postscript, beginning with {postscript_marker}",
        ),
        _values("postscript_marker"),
    ),
    "detectable_format:number_bullet_lists": Kind(
        _number("num_bullets", 2, 6),
        (
            "Your answer must contain exactly {num_bullets} bullet points in markdown, each line beginning with *",
            "Give exactly {num_bullets} bullet points, using markdown such as: * This is a point.",
            "List exactly {num_bullets} bullet points in markdown.",
        ),
        lambda kwargs: [_literal(kwargs["num_bullets"]), ("bullet", "bullet")],
    ),
    "detectable_format:constrained_response": Kind(
        lambda rng, scene: {"options": list(ANSWERS)},
        (
            "Answer with one of the following options: {options}",
            "Choose one of these and answer with it: {options}",
            "Reply with exactly one of: {options}",
        ),
        _as_written("options"),
    ),
    "detectable_format:number_highlighted_sections": Kind(
        _number("num_highlights", 1, 4),
        (
            "Highlight at least {num_highlights} parts of your answer with markdown, i.e. *highlighted part*.",
            "Emphasise at least {num_highlights} passages like *this*.",
            "Put at least {num_highlights} phrases between asterisks, as in *phrase*.",
        ),
        lambda kwargs: [_literal(kwargs["num_highlights"]), ("*…*", r"\*[^*\n]+\*|asterisk|highlight")],
    ),
    "detectable_format:multiple_sections": Kind(
        lambda rng, scene: {"section_spliter": rng.choice(SECTIONS), "num_sections": rng.randint(2, 5)},
        (
            "Your response must have at least {num_sections} sections. Mark the beginning of each with "
            "{section_spliter} X, where X is its number.",
            "Divide the text into {num_sections} sections and head each one {section_spliter} X with X its number.",
            "Structure it in {num_sections} sections that start with {section_spliter} X (X counts from one).",
        ),
        lambda kwargs: [*_as_written("section_spliter")(kwargs), _literal(kwargs["num_sections"])],
    ),
    "detectable_format:json_format": Kind(
        _nothing,
        (
            "The entire output should be wrapped in JSON format.",
            "Give your whole answer as valid JSON.",
            "Respond with JSON and nothing else.",
        ),
        _said("JSON", "JSON"),
    ),
    "detectable_format:title": Kind(
        _nothing,
        (
            "Your answer must contain a title, wrapped in double angular brackets, such as <<poem of joy>>.",
            "Give it a title and write the title in double angular brackets, i.e. <<title>>.",
            "Put a title in double angular brackets, like <<a good day>>, somewhere in your answer.",
        ),
        _said("<<…>>", r"<<.+>>|double angular brackets"),
    ),
    "combination:two_responses": Kind(
        _nothing,
        (
            "Give two different responses, separated by six asterisks: ******",
            "Write two different answers and put ****** between them, and nothing else.",
            "I want two responses that differ. Separate them by ******",
        ),
        _said("******", r"\*{6}|six asterisk"),
    ),
    "combination:repeat_prompt": Kind(
        _request,
        (
            "{prompt_to_repeat} First repeat the request above word for word without change, then give your answer. "
            "Do not say anything before repeating the request.",
            "{prompt_to_repeat} Before you answer, repeat the sentence above exactly as it stands.",
            "{prompt_to_repeat} Begin your answer by repeating the request above, word for word.",
        ),
        _values("prompt_to_repeat"),
    ),
    "startend:end_checker": Kind(
        _choice("end_phrase", END_PHRASES),
        (
            "Finish your response with this exact phrase: {end_phrase}",
            "The last words of your answer must be: {end_phrase}",
            "End with the words {end_phrase}",
        ),
        _values("end_phrase"),
    ),
    "startend:quotation": Kind(
        _nothing,
        (
            "Wrap your entire response in double quotation marks.",
            "Put the whole answer inside double quotation marks.",
            "Your answer should begin and end with double quotation marks.",
        ),
        _said("quotation marks", r"quotation marks|double quotes"),
    ),
    "punctuation:no_comma": Kind(
        _nothing,
        (
            "In your entire response refrain from the use of any commas.",
            "Do not use any commas.",
            "Write without a single comma.",
        ),
        _said("comma", "comma"),
    ),
    "change_case:english_capital": Kind(
        _nothing,
        (
            "Your entire response should be in English, and in all capital letters.",
            "Write in English and in capital letters only.",
            "Answer in English, using nothing but capital letters.",
        ),
        _said("capital letters", r"capital|upper\s?-?case"),
    ),
    "change_case:english_lowercase": Kind(
        _nothing,
        (
            "Your entire response should be in English, and in all lowercase letters.",
            "Write in English and in lowercase letters only.",
            "Answer in English, with lowercase letters and no capitals.",
        ),
        _said("lowercase letters", r"lower\s?-?case"),
    ),
    "change_case:capital_word_frequency": Kind(
        _related("capital_frequency", "capital_relation", range(3, 9), range(3, 9)),
        (
            "Words in all capital letters should appear {capital_relation} {capital_frequency} times.",
            "Use words in all capital letters {capital_relation} {capital_frequency} times.",
            "There should be {capital_relation} {capital_frequency} words written in all capital letters.",
        ),
        _values("capital_frequency", relation="capital_relation"),
    ),
}

# ------------------------------------------------------------ what does not go together

_ALONE = {  # these shape the whole answer, and go with nothing but
    "detectable_format:constrained_response": set(),
    "detectable_format:json_format": {"keywords:existence", "keywords:forbidden_words"},
    "combination:two_responses": {
        "keywords:existence", "keywords:forbidden_words", "language:response_language", "detectable_format:title",
        "punctuation:no_comma",
    },
    "combination:repeat_prompt": {"keywords:existence", "detectable_format:title", "punctuation:no_comma"},
}  # fmt: skip
_CASES = ("change_case:english_capital", "change_case:english_lowercase", "change_case:capital_word_frequency")
_APART = [  # each two of a line
    ("length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"),
    _CASES,
    *((case, "detectable_format:multiple_sections") for case in _CASES[:2]),  # its name is looked for as written
    ("change_case:english_lowercase", "length_constraints:number_sentences"),  # a small letter begins no sentence
    ("startend:quotation", "detectable_format:title"),
    ("keywords:letter_frequency", "length_constraints:number_words"),  # a long answer has every common letter
    *(
        ("language:response_language", other)
        for other in (
            *_CASES, "keywords:existence", "keywords:frequency", "keywords:forbidden_words",
            "keywords:letter_frequency", "detectable_format:multiple_sections", "startend:end_checker",
            "length_constraints:nth_paragraph_first_word",
        )
    ),
]  # fmt: skip


def _conflicts() -> dict[str, frozenset[str]]:
    apart: dict[str, set[str]] = {id_: {id_} for id_ in KINDS}
    for group in _APART:
        for a in group:
            apart[a].update(group)
    for alone, with_ in _ALONE.items():
        for other in set(KINDS) - with_:
            apart[alone].add(other)
            apart[other].add(alone)
    return {id_: frozenset(others) for id_, others in apart.items()}


CONFLICTS = _conflicts()  # after IFEval's own table, and what its checks make impossible together


def contradiction(constraints: Sequence[Constraint]) -> str:
    """Why no answer can keep all of these, in one line; empty where nothing is seen that speaks against it.

    >>> no, rain = (
    ...     Constraint("keywords:forbidden_words", {"forbidden_words": ["rain"]}),
    ...     Constraint("keywords:existence", {"keywords": ["rain"]}),
    ... )
    >>> contradiction([no, rain])
    "keywords:forbidden_words forbids 'rain', which keywords:existence asks for"
    """
    for constraint in constraints:
        if problem := _impossible(constraint):
            return f"{constraint.id}: {problem}"
    for a, b in combinations(constraints, 2):
        if b.id in CONFLICTS[a.id]:
            return f"{a.id} and {b.id} do not go together" if a.id != b.id else f"{a.id} is asked for twice"
    return _against_forbidden(constraints) or _against_counts(constraints)


def _impossible(constraint: Constraint) -> str:
    kwargs = constraint.kwargs
    for name, value in kwargs.items():
        if isinstance(value, int) and not 1 <= value <= MOST:
            return f"{name} must be from 1 to {MOST:,}, got {value:,}"
        if isinstance(value, str | list) and not value:
            return f"{name} is empty"
    relation = kwargs.get("relation")
    for name in ("num_words", "num_sentences"):
        if kwargs.get(name) == 1 and relation == "less than":
            return f"no answer has less than 1 {name.removeprefix('num_')}"
    if kwargs.get("nth_paragraph", 0) > kwargs.get("num_paragraphs", 1 << 30):
        return f"there is no paragraph {kwargs['nth_paragraph']} of {kwargs['num_paragraphs']}"
    return ""


def _required(constraint: Constraint) -> list[str]:
    """Texts that an answer must hold."""
    kwargs, id_ = constraint.kwargs, constraint.id
    if id_ == "keywords:existence":
        return list(kwargs["keywords"])
    if id_ == "keywords:frequency":
        return [kwargs["keyword"]] * kwargs["frequency"] if kwargs["relation"] in ("at least", "exactly") else []
    names = {
        "startend:end_checker": "end_phrase",
        "length_constraints:nth_paragraph_first_word": "first_word",
        "detectable_format:multiple_sections": "section_spliter",
        "combination:repeat_prompt": "prompt_to_repeat",
        "detectable_content:postscript": "postscript_marker",
    }
    return [kwargs[names[id_]]] if id_ in names else []


def _against_forbidden(constraints: Sequence[Constraint]) -> str:
    for no in constraints:
        for counted in constraints:
            if no.id == "keywords:forbidden_words" and counted.id == "keywords:frequency":
                word = counted.kwargs["keyword"]
                if word.lower() in (w.lower() for w in no.kwargs["forbidden_words"]):
                    return f"{no.id} forbids {word!r}, which {counted.id} counts"
        for asked in constraints:
            for text in _required(asked):
                if no.id == "keywords:forbidden_words":
                    for word in no.kwargs["forbidden_words"]:
                        if re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE):
                            return f"{no.id} forbids {word!r}, which {asked.id} asks for"
                if no.id == "punctuation:no_comma" and "," in text:
                    return f"{no.id} forbids commas, and {asked.id} asks for {text!r}"
    return ""


def _against_counts(constraints: Sequence[Constraint]) -> str:
    """Limits that what else is asked for goes beyond."""
    required = " ".join(text for c in constraints for text in _required(c)).lower()
    for limit in constraints:
        kwargs = limit.kwargs
        for id_, what, number, relation in _COUNTED:
            if limit.id != id_ or kwargs[relation] not in ("less than", "at most"):
                continue
            count = required.count(kwargs[what].lower()) if what else _least_words(constraints)
            if count >= kwargs[number] + (kwargs[relation] == "at most"):
                counted = f"{kwargs[what]!r} times" if what else "words"
                return f"{id_} allows {kwargs[relation]} {kwargs[number]} {counted}, and the others need {count}"
    return ""


_COUNTED = (  # type, the parameter that is counted in what is required (None: words), its limit, its relation
    ("keywords:frequency", "keyword", "frequency", "relation"),
    ("keywords:letter_frequency", "letter", "let_frequency", "let_relation"),
    ("length_constraints:number_words", None, "num_words", "relation"),
)
_WORDS_EACH = {  # words that one unit of a count takes
    "length_constraints:number_sentences": ("num_sentences", 3),
    "length_constraints:number_paragraphs": ("num_paragraphs", 3),
    "length_constraints:nth_paragraph_first_word": ("num_paragraphs", 3),
    "detectable_content:number_placeholders": ("num_placeholders", 1),
    "detectable_format:number_bullet_lists": ("num_bullets", 2),
    "detectable_format:multiple_sections": ("num_sections", 4),
    "change_case:capital_word_frequency": ("capital_frequency", 1),
    "keywords:frequency": ("frequency", 1),
}


def _least_words(constraints: Sequence[Constraint]) -> int:
    total = 0
    for c in constraints:
        kwargs = c.kwargs
        relation = kwargs.get("relation", kwargs.get("capital_relation", "at least"))
        if c.id in _WORDS_EACH and relation in ("at least", "exactly", "around"):
            name, each = _WORDS_EACH[c.id]
            total += each * kwargs[name]
        if c.id == "keywords:letter_frequency" and kwargs["let_relation"] == "at least":
            total += -(-kwargs["let_frequency"] // 2)
        if c.id in ("keywords:existence", "startend:end_checker"):
            total += sum(len(t.split()) for t in _required(c))
    return total


# ------------------------------------------------------------ drawing, saying, finding again


def sample_constraints(
    rng: random.Random,
    scene: Scene,
    *,
    count: int | None = None,
    pool: Sequence[str] = tuple(KINDS),
    fixed: Sequence[Constraint] = (),
) -> tuple[Constraint, ...]:
    """`count` constraints (1 to 3 by default) with drawn parameters that do not contradict each other.

    pool: the types to draw from. fixed: constraints that are among them. `UsageError` where no more fit.
    """
    if problem := contradiction(fixed):
        raise UsageError(f"constraints: {problem}; change or leave out one of them")
    wanted = max(count or rng.randint(1, 3), len(fixed), 1)
    for _ in range(MAX_TRIES):
        drawn = list(fixed)
        for id_ in rng.sample(list(pool), len(pool)):
            if len(drawn) == wanted:
                break
            one = Constraint(id_, KINDS[id_].draw(rng, scene))
            if not contradiction([*drawn, one]):
                drawn.append(one)
        if len(drawn) == wanted:
            return tuple(rng.sample(drawn, len(drawn)))
        if count is None and drawn:  # a type that goes with no other stands alone
            return tuple(drawn)
    raise UsageError(f"constraints: no {wanted} of {', '.join(pool)} go together; ask for fewer, or allow more types")


def _in_full(constraint: Constraint) -> dict[str, Any]:
    """The parameters, with the defaults of those that are left out."""
    known = INSTRUCTIONS[constraint.id].parameters.items()
    return {**{n: p.default for n, p in known if p.default is not p.empty}, **constraint.kwargs}


def wording(rng: random.Random, constraint: Constraint) -> str:
    """The constraint as a request."""
    kwargs = _in_full(constraint)
    if constraint.id == "language:response_language":
        kwargs["language"] = LANGUAGES.get(kwargs["language"], kwargs["language"])
    listed = {k: " / ".join(v) if k == "options" else _listed(v) for k, v in kwargs.items() if isinstance(v, list)}
    return rng.choice(KINDS[constraint.id].wordings).format(**{**kwargs, **listed})


def _listed(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"


def lost(prompt: str, constraints: Iterable[Constraint]) -> list[str]:
    """The parameters that a prompt does not hold word for word, as `ID: 'value'`.

    A type without parameters is found by the words that say it. A number must stand there as often as it is a
    parameter: what another constraint says with the same number does not count for this one.
    """
    marks = [(c.id, label, pattern) for c in constraints for label, pattern in KINDS[c.id].marks(_in_full(c))]
    numbers = Counter(label for _, label, _ in marks if label.isdigit())
    return [
        f"{id_}: {label}"
        for id_, label, pattern in marks
        if sum(1 for _ in re.finditer(pattern.replace(" ", r"\s+"), prompt, re.IGNORECASE)) < max(1, numbers[label])
    ]


def truth_of(constraints: Iterable[Constraint]) -> str:
    """Constraints as the `ifeval` verifier takes them."""
    listed = list(constraints)
    value = {"instruction_id_list": [c.id for c in listed], "kwargs": [dict(c.kwargs) for c in listed]}
    return json.dumps(value, ensure_ascii=False)


def read_constraint(text: str) -> Constraint | str:
    """`ID` as a type to draw from, `ID={"num_words": 50, "relation": "at least"}` as a constraint that all rows have.

    The group before the colon may be left out. `UsageError` where there is no such type or parameter.
    """
    name, equals, given = text.partition("=")
    full = {id_.partition(":")[2]: id_ for id_ in KINDS}
    id_ = full.get(name, name)
    if id_ not in INSTRUCTIONS:
        raise UsageError(f"constraint {name!r} is unknown; {nearest(name, [*KINDS, *full], noun='type')}")
    if not equals:
        return id_
    try:
        value = json.loads(given)
        if not isinstance(value, dict):
            raise ValueError('its parameters must be an object, e.g. {"num_words": 50, "relation": "at least"}')
        return Constraint(id_, parameters(id_, value))
    except ValueError as e:
        raise UsageError(f"constraint {' '.join(text.split())}: {e}") from None
