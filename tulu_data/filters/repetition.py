"""How much of an answer repeats itself: the measures of MassiveText, over prose.

The measures are those of Gopher's repetition rules (arXiv 2112.11446, Table A1): the share of characters in lines and
paragraphs that stand there before, in the most frequent word 2-, 3- and 4-gram, and in word 5- to 10-grams that stand
there before. Its limits (0.20; 0.20, 0.18, 0.16; 0.15 to 0.10) are for web pages. Answers hold tables, lists, worked
sums and songs, which pass them rightly: 2 to 9 % of GSM8K's longer solutions do. The limits here are for answers that
are stuck, and above what songs and unfenced code reach (0.45 of word 10-grams).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from tulu_data.filters.annotation import Conversation, Filter, Reason, Values, without_code
from tulu_data.strict import Strict

MIN_WORDS = 50  # Gopher's shortest document; shorter texts have no rate to speak of
TOP, REPEATED = (2, 3, 4), tuple(range(5, 11))

FORM = pa.struct(
    [
        pa.field("words", pa.int64()),
        pa.field("lines", pa.float64()),
        pa.field("paragraphs", pa.float64()),
        *(pa.field(f"top_{n}gram", pa.float64()) for n in TOP),
        *(pa.field(f"repeated_{n}grams", pa.float64()) for n in REPEATED),
    ]
)


class Repetition(Strict):
    """Limits, as shares of an answer's characters; of several answers the worst counts. None is no limit."""

    min_words: int = Field(default=MIN_WORDS, ge=0)
    lines: float | None = Field(default=0.5, ge=0, le=1)
    paragraphs: float | None = Field(default=0.5, ge=0, le=1)
    top: dict[int, float] = Field(default={2: 0.5, 3: 0.5, 4: 0.5}, description="limit by n of the top n-gram")
    repeated: dict[int, float] = Field(default={5: 0.6, 10: 0.5}, description="limit by n of repeated n-grams")

    @field_validator("top", "repeated")
    @classmethod
    def _known(cls, limits: dict[int, float], info: ValidationInfo) -> dict[int, float]:
        known = TOP if info.field_name == "top" else REPEATED
        for n, limit in limits.items():
            if n not in known or not 0 <= limit <= 1:
                raise ValueError(f"{{{n}: {limit}}}: n is 2 to 4 for top and 5 to 10 for repeated, the limit a share")
        return limits


def repeated_share(text: str, *, n: int, min_words: int) -> float:
    """The share of a text's word n-grams that stand in it before; 0 for texts of fewer words."""
    words = text.lower().split()
    if len(words) < min_words:
        return 0.0
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return 1 - len(grams) / grams.total()


def duplicate_share(blocks: Sequence[str]) -> float:
    """The share of characters in blocks that stand there before."""
    seen: set[str] = set()
    total = again = 0
    for block in filter(None, (b.strip() for b in blocks)):
        total += len(block)
        again += len(block) if block in seen else 0
        seen.add(block)
    return again / total if total else 0.0


def top_share(words: Sequence[str], n: int) -> float:
    """The share of characters in the most frequent word n-gram, of those that occur more than once."""
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    if not grams:
        return 0.0
    times = max(grams.values())
    if times == 1:
        return 0.0
    longest = max(sum(map(len, gram)) for gram, count in grams.items() if count == times)
    return min(1.0, longest * times / sum(map(len, words)))  # occurrences may overlap


def again_share(words: Sequence[str], n: int) -> float:
    """The share of characters in word n-grams that stand there before, each character counted once."""
    seen: set[tuple[str, ...]] = set()
    covered, upto = 0, 0
    for i, gram in enumerate(zip(*(words[k:] for k in range(n)), strict=False)):
        if gram in seen:
            covered += sum(map(len, words[max(i, upto) : i + n]))
            upto = i + n
        else:
            seen.add(gram)
    return covered / sum(map(len, words)) if covered else 0.0


def measure(text: str) -> Mapping[str, float]:
    """All measures of a text's prose; those of n-grams are 0 for fewer than 2 n words."""
    prose = without_code(text)
    words = prose.lower().split()
    found: dict[str, float] = {"words": len(words), "lines": duplicate_share(prose.split("\n"))}
    found["paragraphs"] = duplicate_share(prose.split("\n\n"))
    found |= {f"top_{n}gram": top_share(words, n) for n in TOP}
    share = 1.0
    for n in REPEATED:
        share = again_share(words, n) if share else 0.0  # what repeats n + 1 words repeats n
        found[f"repeated_{n}grams"] = share
    return found


def annotate(conversation: Conversation, section: Repetition) -> Values:
    """The largest of every measure over the answers that are long enough."""
    values: Values = dict.fromkeys((field.name for field in FORM), 0.0)
    values["words"] = 0
    for turn in conversation.answers:
        if len(turn.text) < 2 * section.min_words or len(turn.text.split()) < section.min_words:
            continue
        measured = measure(turn.text)
        if measured["words"] >= section.min_words:
            values = {name: max(values[name], value) for name, value in measured.items()}
    return values


def judge(values: Values, section: Repetition) -> Iterator[Reason]:
    """A reason for each limit that is passed: `repetition.lines: 0.84 > 0.50`."""
    limits = {"lines": section.lines, "paragraphs": section.paragraphs}
    limits |= {f"top_{n}gram": limit for n, limit in sorted(section.top.items())}
    limits |= {f"repeated_{n}grams": limit for n, limit in sorted(section.repeated.items())}
    for name, limit in limits.items():
        if limit is not None and values[name] > limit:
            yield Reason(f"repetition.{name}", f"{values[name]:.2f} > {limit:.2f}")


def _key(section: Repetition) -> Mapping[str, int]:
    return {"min_words": section.min_words}


FILTER = Filter("repetition", "answers that repeat themselves", Repetition, FORM, annotate, judge, key=_key)
