"""The language of requests and answers, told on samples of their prose.

| detector | what it needs | remarks |
|---|---|---|
| `langdetect` | nothing more | 55 languages, weak on short texts; English prose is told by its function words |
| `lingua` | `pip install lingua-language-detector` | 75 languages, better on short texts |
| `fasttext` | `pip install fasttext` and `model:`, the file lid.176.bin of fasttext.cc | 176 languages, the fastest |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field, model_validator

from tulu_data.errors import InputError, UsageError
from tulu_data.filters.annotation import Conversation, Filter, Reason, Turn, Values
from tulu_data.parquet import file_sha256
from tulu_data.strict import Strict

Detector = Literal["langdetect", "lingua", "fasttext"]
PACKAGES: dict[Detector, str] = {
    "langdetect": "langdetect",
    "lingua": "lingua-language-detector",
    "fasttext": "fasttext",
}

MIN_LETTERS = 60  # texts below are too short to tell
MIN_FOREIGN = 20  # letters that are not Latin tell more
SAMPLES, SAMPLE_CHARS = 3, 160  # from the beginning, the middle and the end: detectors take time by the character
CONFIDENCE = 0.8  # below it nothing is said; langdetect's own answer wavers there
SYMBOLS = 0.2  # share of digits and marks from which a text is formulas or code; prose has 0.05
CODE = 0.5  # share of a text in lines of code above which other short lines are taken to be of the code too
SENTENCE_WORDS = 6
ENGLISH_SHARE = 0.15  # of words that are English function words; 0.3 is usual
DOUBT = 0.08  # from here on langdetect is not believed when it says another language: those stay under it
ENGLISH_WORDS = 10

LATIN_END = "\u024f"  # the last letter of Latin Extended-B

_NO_PROSE = re.compile(  # the bounds keep what is never closed from being looked for over and over
    r"```.*?(?:```|\Z)|\$\$.{0,2000}?\$\$|\$[^$\n]*\$|\\\[.{0,2000}?\\\]|\\\(.{0,2000}?\\\)|`[^`\n]*`", re.DOTALL
)
_ADDRESS = re.compile(r"https?://\S+|[^\s@]{1,64}@\S+")
# Code outside of fences, by its lines: langdetect takes it for French.
_CODE_LINE = re.compile(
    r"^[ \t]*+(?:.*[;{}]|.*[)\w\]]:|[)\]}>].*|<[/!\w].*|(?://|/\*|\*/|#!|@\w|#include).*"
    r"|(?:def|class|import|from|return|const|let|var|function|public|private|static|for|while|if|elif|else|try|except"
    r"|print|package|using|namespace|SELECT|INSERT|UPDATE|CREATE|FROM|WHERE|async|await|raise|assert)\b.*[(){}=<>\[\]:*].*"
    r"|(?:import|from|package|using|return|require) [\w.*, ]++|[\w.\[\]\"']++ *(?:[-+*/|&]?=|:=|=>|->|\+\+|--).*"
    r"|[\w'\"-]++ ?: (?:true|false|null|None|[\d.]++|'[^'\n]*'|\"[^\"\n]*\"|\{\}),?"
    r"|[\w.]+\(.*\)?)[ \t]*$",
    re.MULTILINE,
)
_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>")  # of a chat template
# Names in code, paths and calls: langdetect takes a few of them for Latvian or German.
_NAME = re.compile(r"[^\s_(){}=<>\[\]\\/|$#]*[_(){}=<>\[\]\\/|$#]\S*|\b[A-Za-z]+[a-z][A-Z]\w*|\b[a-z]\w*\.[a-z]\w*")
_WORD = re.compile(r"[^\W\d_]+")
# Function words that other languages do not have among theirs ("in", "was" and "of" are Dutch, "at" and "for" Danish).
_ENGLISH = frozenset(
    "the and that with this you are from have not they which would there their what about when can your how these "
    "been will who its were does each than because should could my our he she his him them then while into only "
    "some more most other such if or by did out just like between after before where why through any many much "
    "very but".split()
)

FORM = pa.struct(
    [
        pa.field(name, kind)
        for name, kind in (
            ("prompt", pa.string()),
            ("prompt_confidence", pa.float64()),
            ("answer", pa.string()),
            ("answer_confidence", pa.float64()),
        )
    ]
)


class Language(Strict):
    """Which languages stay. Without `keep` nothing is dropped for its language, unless `same` is set."""

    keep: list[str] | None = Field(default=None, min_length=1, description="codes such as en, de, zh")
    prompts: bool = Field(default=False, description="hold requests against `keep` as well")
    same: bool = Field(default=False, description="the answer must be in the request's language")
    detector: Detector = "langdetect"
    model: str | None = Field(default=None, description="the file of the fasttext model")
    confidence: float = Field(default=CONFIDENCE, ge=0, le=1)

    @model_validator(mode="after")
    def _codes(self) -> Language:
        for code in self.keep or ():
            if not re.fullmatch(r"[a-z]{2,3}(-[a-z]+)?", code):
                raise ValueError(f"keep: {code!r} is no language code; write ISO 639-1 codes in small letters, e.g. en")
        if (self.model is not None) != (self.detector == "fasttext"):
            said = "needs model, the path of lid.176.bin" if self.model is None else "takes no model; leave it out"
            raise ValueError(f"detector {self.detector} {said}")
        return self

    @property
    def reads_prompts(self) -> bool:
        """Whether the language of requests matters."""
        return self.prompts or self.same


class Told(NamedTuple):
    """A language and how sure the detector is."""

    code: str
    confidence: float


def prose_of(text: str) -> str:
    """The text without marked code and formulas in TeX."""
    return _NO_PROSE.sub(" ", text)


def letters(text: str) -> int:
    """How many letters a text has."""
    return sum(c.isalpha() for c in text)


def sample(text: str) -> str:
    """`SAMPLES` cuts of `SAMPLE_CHARS` from the beginning, the middle and the end of a long text, else all of it."""
    if len(text) <= SAMPLES * SAMPLE_CHARS:
        return text
    step = (len(text) - SAMPLE_CHARS) // (SAMPLES - 1)
    return " ".join(text[i * step : i * step + SAMPLE_CHARS] for i in range(SAMPLES))


def english_share(text: str) -> float:
    """The share of a text's words that are English function words; 0 where there are too few words to tell."""
    words = _WORD.findall(text.lower())
    return sum(w in _ENGLISH for w in words) / len(words) if len(words) >= ENGLISH_WORDS else 0.0


def _has_prose(text: str) -> bool:
    symbols = sum(c.isascii() and not c.isalpha() and not c.isspace() for c in text)
    if symbols > SYMBOLS * len(text):
        return False
    words = _NAME.sub(" ", text)
    return letters(words) >= MIN_LETTERS or sum(c.isalpha() and c > LATIN_END for c in text) >= MIN_FOREIGN


def _visible(text: str) -> int:
    return sum(map(len, text.split()))


def tell(text: str, detector: Detector = "langdetect", model: str | None = None) -> Told | None:
    """The language of a text's prose, without addresses and lines of code; None where there is too little of it.

    Deterministic. `UsageError` where the detector is not installed, `InputError` where its model cannot be read.
    """
    whole = _TOKEN.sub(" ", _ADDRESS.sub(" ", prose_of(text)))
    uncoded = _CODE_LINE.sub(" ", whole)
    if _visible(uncoded) < (1 - CODE) * _visible(whole):
        uncoded = "\n".join(line for line in uncoded.split("\n") if len(_WORD.findall(line)) >= SENTENCE_WORDS)
    prose = sample(uncoded)
    if not _has_prose(prose):
        return None
    english = english_share(prose) if detector == "langdetect" else 0.0
    if english >= ENGLISH_SHARE:
        return Told("en", 1.0)
    told = detector_of(detector, model)(" ".join(prose.split()))
    return None if told and told.code != "en" and english >= DOUBT else told


@cache
def detector_of(name: Detector, model: str | None = None) -> Callable[[str], Told | None]:
    """The function that tells languages; errors as in `tell`."""
    return {"langdetect": _langdetect, "lingua": _lingua, "fasttext": _fasttext}[name](model)


def _langdetect(model: str | None) -> Callable[[str], Told | None]:
    from langdetect import DetectorFactory, LangDetectException, detect_langs

    DetectorFactory.seed = 0

    def detect(text: str) -> Told | None:
        try:
            first = detect_langs(text)[0]
        except (LangDetectException, IndexError):
            return None
        return Told(str(first.lang), round(float(first.prob), 4))

    return detect


def _lingua(model: str | None) -> Callable[[str], Told | None]:
    try:
        lingua: Any = import_module("lingua")
    except ImportError:
        raise UsageError("language.detector lingua needs: pip install lingua-language-detector") from None
    detector = lingua.LanguageDetectorBuilder.from_all_languages().build()

    def detect(text: str) -> Told | None:
        ranked = detector.compute_language_confidence_values(text)
        if not ranked:
            return None
        return Told(ranked[0].language.iso_code_639_1.name.lower(), round(float(ranked[0].value), 4))

    return detect


def _fasttext(model: str | None) -> Callable[[str], Told | None]:
    path = Path(model or "")
    if not path.is_file():
        raise InputError(f"{model}: no such language model; get lid.176.bin from fasttext.cc, or use another detector")
    try:
        fasttext: Any = import_module("fasttext")
    except ImportError:
        raise UsageError("language.detector fasttext needs: pip install fasttext") from None
    try:
        loaded = fasttext.load_model(str(path))
    except ValueError as e:
        raise InputError(f"{model}: is no fasttext model ({e}); get lid.176.bin from fasttext.cc again") from None

    def detect(text: str) -> Told | None:
        found, shares = loaded.predict(text)
        return Told(found[0].removeprefix("__label__"), round(min(1.0, float(shares[0])), 4)) if found else None

    return detect


def _said(turns: Sequence[Turn]) -> str:
    return "\n".join(turn.text for turn in turns)


def annotate(conversation: Conversation, section: Language) -> Values:
    """The language of what is answered and, where that matters, of what users say, with confidences."""
    answer = tell(_said(conversation.answers), section.detector, section.model)
    prompt = tell(_said(conversation.requests), section.detector, section.model) if section.reads_prompts else None
    return {
        "prompt": prompt and prompt.code,
        "prompt_confidence": prompt and prompt.confidence,
        "answer": answer and answer.code,
        "answer_confidence": answer and answer.confidence,
    }


def is_one_of(code: str, kept: Sequence[str]) -> bool:
    """Whether a language is among the kept ones; `zh` keeps `zh-cn`."""
    return any(code == k or code.partition("-")[0] == k for k in kept)


def judge(values: Values, section: Language) -> Iterator[Reason]:
    """A reason where the language is told with confidence and is another."""
    sure = {
        who: values[who] for who in ("prompt", "answer") if (values[f"{who}_confidence"] or 0.0) >= section.confidence
    }
    for who, code in sure.items():
        if section.keep is not None and (who == "answer" or section.prompts) and not is_one_of(code, section.keep):
            yield Reason("language.keep", f"the {who} is in {code!r}, not in {', '.join(section.keep)}")
    if section.same and len(sure) == 2 and not is_one_of(sure["answer"], (sure["prompt"].partition("-")[0],)):
        yield Reason("language.same", f"the prompt is in {sure['prompt']!r}, the answer in {sure['answer']!r}")


def _key(section: Language) -> Mapping[str, Any]:
    detector_of(section.detector, section.model)  # what is missing is told before any work is done
    model = file_sha256(Path(section.model)) if section.model is not None else None
    return {
        "detector": section.detector,
        "release": _release(PACKAGES[section.detector]),
        "model": model,
        "prompts": section.reads_prompts,
    }


def _release(package: str) -> str | None:
    """The installed release of a detector: another may tell another language."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # installed under another name
        return None


def _is_idle(section: Language) -> bool:
    return section.keep is None and not section.same


FILTER = Filter(
    "language",
    "the language of answers and requests",
    Language,
    FORM,
    annotate,
    judge,
    version=2,
    key=_key,
    is_idle=_is_idle,
)
