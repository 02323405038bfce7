"""What a word is to the search for near duplicates: the definition in Python, and the table that compiled code reads.

A word is a run of letters, digits, underscores and combining marks, in lower case. A symbol that carries meaning in
mathematics or code (`+`, `<`, `{`, `√`) is a word of its own, or `2 + 2` and `2 - 2` would be the same; so is a
character of a script that is written without spaces. White space and the punctuation of prose only separate words.
Texts are not normalised: a letter and its accent as one code point or two are different words.

Hashes are numbers modulo 2⁶⁴, and defined here once:

    word       FNV-1a over its code points, then `mix` (splitmix64's finaliser)
    n words    the polynomial w₀·Bⁿ⁻¹ + … + wₙ₋₁ over their hashes, then `mix` with what is hashed: a shingle or a text
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]

SEPARATORS = "\"'`.,;:?"  # of ASCII's printable characters; the others that are no letter or digit stand alone
UNSPACED = (  # scripts written without spaces: Thai and Lao, Myanmar, Khmer, kana, Han
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)

TABLE_SIZE = 0x20000  # code points from here to UNSPACED's end are Han; those after it separate words
HAN_END = 0x40000
SEPARATOR = 0  # entries of the table: this, or a code point in lower case, or that and ALONE
ALONE = 1 << 31

MASK = (1 << 64) - 1
FNV_OFFSET, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3  # of 64-bit FNV-1a, here over code points
BASE = 0xD6E8FEB86659FD93  # odd, of the polynomial over the hashes of words
SECOND_BASE = 0x9E3779B97F4A7C15  # of the second half of a text's digest
SHINGLE, WHOLE, DIGEST = 0x5348, 0x5748, 0x4447  # what a hash stands for


def fold(char: str) -> int:
    """The entry of a character in the table: `SEPARATOR`, its lower case, or its lower case with `ALONE`."""
    point = ord(char)
    category = unicodedata.category(char)
    is_symbol = category[0] == "S" or (char.isascii() and category[0] == "P" and char != "_")
    if char in SEPARATORS or not (is_symbol or category[0] in "LNM" or char == "_"):
        return SEPARATOR
    lower = char.lower()
    folded = ord(lower) if len(lower) == 1 else point  # one code point of two would be no table
    alone = is_symbol or any(first <= point <= last for first, last in UNSPACED)
    return folded | ALONE if alone else folded


@cache
def table() -> U32:
    """`(TABLE_SIZE,)` the entry of each code point; some tens of milliseconds, then kept."""
    entries = np.array([fold(chr(point)) for point in range(TABLE_SIZE)], np.uint32)
    entries.flags.writeable = False
    return entries


def words(text: str) -> list[str]:
    """The words of a text, in order.

    >>> words("Is 2+2 = four?")
    ['is', '2', '+', '2', '=', 'four']
    """
    entries = table()
    spaced: list[str] = []
    for char in text:
        point = ord(char)
        beyond = point | ALONE if point < HAN_END else SEPARATOR
        entry = int(entries[point]) if point < TABLE_SIZE else beyond
        if entry == SEPARATOR:
            spaced.append(" ")
        elif entry & ALONE:
            spaced.append(f" {chr(entry & ~ALONE)} ")
        else:
            spaced.append(chr(entry))
    return re.findall("[^ ]+", "".join(spaced))


def mix(h: int) -> int:
    """The finaliser of splitmix64 (Steele et al., OOPSLA 2014): a bijection that spreads every bit over all."""
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & MASK
    h = (h ^ h >> 27) * 0x94D049BB133111EB & MASK
    return h ^ h >> 31


def word_hash(word: str) -> int:
    """64 bits of one word."""
    h = FNV_OFFSET
    for char in word:
        h = (h ^ ord(char)) * FNV_PRIME & MASK
    return mix(h)


def polynomial(hashes: Iterable[int], base: int = BASE) -> int:
    """The polynomial over the hashes of words, modulo 2⁶⁴."""
    total = 0
    for h in hashes:
        total = (total * base + h) & MASK
    return total


def shingles(hashes: Sequence[int], ngram: int) -> list[int]:
    """The different shingles of a text of these word hashes, in order of appearance.

    A text of fewer words than a shingle has one, the whole text, or all short texts would be alike; one without words
    has none.
    """
    if not hashes:
        return []
    if len(hashes) < ngram:
        return [mix(polynomial(hashes) ^ WHOLE)]
    windows = (hashes[i : i + ngram] for i in range(len(hashes) - ngram + 1))
    return list(dict.fromkeys(mix(polynomial(window) ^ SHINGLE) for window in windows))


def digest(hashes: Sequence[int]) -> tuple[int, int]:
    """128 bits of the sequence of words: texts that differ in separators and case alone share it."""
    return (
        mix(polynomial(hashes) ^ DIGEST ^ len(hashes) << 32),
        mix(polynomial(hashes, SECOND_BASE) ^ DIGEST ^ len(hashes) << 32),
    )
