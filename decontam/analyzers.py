"""Analyzers: how text becomes the tokens that are compared. A name and version stand in every audit.

| name | a token is | for |
|---|---|---|
| `unicode` | what stands between separators (of `tulu`, spaces, controls, punctuation); a CJK character | verdicts |
| `tulu` | what stands between the separators of the released code | reproduction |
| `word` | a run of letters and digits | recall after edits of punctuation |

All lower-case first. Folding maps one code point to one code point, so offsets in folded text are offsets in the
original.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tulu_data.errors import UsageError, nearest

TULU_SEPARATORS = ' ,.?!:;()"-\n\\'  # open-instruct, decontamination/index.py: its pattern tokenizer
GENERAL_PUNCTUATION = range(0x2000, 0x2070)  # the Unicode block: spaces, dashes, quotation marks, bullets, joiners
APOSTROPHES = range(0x2018, 0x201C)  # single quotation marks: part of a word, unlike the rest of their block
LAST_SPACE = 0x3000  # no space or control character lies beyond
CJK = (  # one token per character: these scripts put no separator between words
    (0x3005, 0x3007),  # iteration marks and the ideographic zero
    (0x3041, 0x30FF),  # hiragana, katakana
    (0x31F0, 0x31FF),  # katakana extensions
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xAC00, 0xD7A3),  # hangul syllables
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFF66, 0xFF9F),  # half-width katakana
    (0x20000, 0x3FFFF),  # ideographs of planes 2 and 3
)


def lower(text: str) -> str:
    """Each code point in lower case on its own, where that is one code point; same length as `text`.

    `str.lower` differs from this in two places: it makes two code points of İ, and looks at the neighbours of Σ.
    """
    if text.isascii():
        return text.lower()
    return "İ".join(part.replace("Σ", "σ").lower() for part in text.split("İ"))


@dataclass(frozen=True)
class Analyzer:
    """Folds a text, then finds its tokens with one pattern."""

    name: str
    version: str
    pattern: re.Pattern[str]
    folds: Mapping[int, int] = field(default_factory=dict)  # code point → code point, after lower-casing

    def fold(self, text: str) -> str:
        """The text as it is compared, of the same length."""
        lowered = lower(text)
        return lowered if lowered.isascii() or not self.folds else lowered.translate(self.folds)

    def tokens(self, text: str) -> list[str]:
        """The folded tokens in order."""
        return self.pattern.findall(self.fold(text))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token stands in `text`: [start, end) in characters."""
        return [m.span() for m in self.pattern.finditer(self.fold(text))]


def _unicode_separators() -> set[str]:
    spaces = {c for c in map(chr, range(LAST_SPACE + 1)) if c.isspace() or unicodedata.category(c) == "Cc"}
    punctuation = {chr(c) for c in GENERAL_PUNCTUATION if c not in APOSTROPHES}
    return set(TULU_SEPARATORS) | spaces | punctuation


def _class(characters: Iterable[str]) -> str:
    """The inside of a character class that matches these."""
    return re.escape("".join(sorted(characters)))


def _unicode() -> Analyzer:
    cjk = "".join(f"{chr(first)}-{chr(last)}" for first, last in CJK)
    pattern = re.compile(f"[{cjk}]|[^{cjk}{_class(_unicode_separators())}]+")
    return Analyzer("unicode", "unicode/1", pattern, dict.fromkeys(APOSTROPHES, ord("'")))


ANALYZERS: dict[str, Analyzer] = {
    "unicode": _unicode(),
    "tulu": Analyzer("tulu", "tulu/1", re.compile(f"[^{_class(TULU_SEPARATORS)}]+")),
    "word": Analyzer("word", "word/1", re.compile(r"[^\W_]+")),
}


def analyzer_of(name: str) -> Analyzer:
    """The analyzer of that name; `UsageError` with the nearest one."""
    if name not in ANALYZERS:
        raise UsageError(f"analyzer {name!r} is unknown; {nearest(name, ANALYZERS, noun='analyzer')}")
    return ANALYZERS[name]
