"""Parts of a message that may be a test item: as long as items are, from the start of a sentence to the end of one."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from decontam.analyzers import lower
from decontam.static_embedding import WORD, Words

I64 = npt.NDArray[np.int64]

SIZES = (32, 96)  # words, punctuation counted: a short question, a word problem, a task with its examples
WHOLE = 96  # words: a message of no more is one window
WHOLE_TOO = 256  # words: up to these the message is a window, beside its parts
BREAK = re.compile(r"(?<=[.?!。？！])\s+|\s*\n\s*")


class Windows(NamedTuple):
    """Windows of texts, by text: `(windows,)`. start, end: in words of all texts; text: whose."""

    text: I64
    start: I64
    end: I64


def windows_of(texts: list[str], words: Words) -> Windows:
    """The windows of each text; none of a text without a word."""
    parts: list[list[int]] = []
    for number, text in enumerate(texts):
        first, end = int(words.first[number]), int(words.first[number + 1])
        count = end - first
        if not count:
            continue
        if count <= WHOLE_TOO:
            parts.append([number, first, end])
        if count > WHOLE:
            parts += [[number, first + a, first + b] for a, b in _parts(text, count)]
    found = np.array(parts, np.int64).reshape(-1, 3)
    return Windows(found[:, 0], found[:, 1], found[:, 2])


def _parts(text: str, count: int) -> list[tuple[int, int]]:
    """Windows of a long text in its words: from each sentence on, as many sentences as make up each size."""
    starts = np.array([m.start() for m in WORD.finditer(lower(text))], np.int64)
    breaks = np.unique(np.searchsorted(starts, [m.end() for m in BREAK.finditer(text)]))
    edges = np.concatenate([[0], breaks[(breaks > 0) & (breaks < count)], [count]])
    found: set[tuple[int, int]] = set()
    for size in SIZES:
        enough = np.searchsorted(edges, edges[:-1] + size)
        ends = edges[np.minimum(enough, len(edges) - 1)]
        for start, end in zip(edges[:-1].tolist(), ends.tolist(), strict=True):
            if end - start >= size // 2 and end - start < count:  # what is less is the tail of a window before
                found.update(_cut(start, end, size))
    return sorted(found)


def _cut(start: int, end: int, size: int) -> list[tuple[int, int]]:
    """A window, or pieces of one that has no end of a sentence in reach."""
    if end - start <= 2 * size:
        return [(start, end)]
    return [(at, min(at + size, end)) for at in range(start, end, size // 2)]
