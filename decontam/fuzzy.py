"""Edited copies: whether most words of an instance stand in one place of a message, in their order.

Every sixth word replaced, and no 8-gram is left. What is left are short n-grams, so these find the candidates: texts
half of whose tokens lie under `FUZZY_N`-grams that the message shares, of those that few texts hold. A candidate is
confirmed by aligning its words with the place of the message that shares the most n-grams with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from rapidfuzz.distance import LCSseq

Token = TypeVar("Token", str, bytes)
Run = tuple[int, int]  # [start, end) in tokens

FUZZY_N = 5  # tokens: every sixth word replaced leaves one such n-gram in each gap
FUZZY_CANDIDATE = 0.5  # share of a text's tokens under rare n-grams that the message shares
FUZZY_MIN_TOKENS = 10  # shorter texts share this much by chance: a third of all false alarms had 8 tokens
MARGIN = 0.25  # of the text's length: how far an edit may have moved its words


class Alignment(NamedTuple):
    """The longest common subsequence of a text and a part of a message, as runs of equal tokens."""

    similarity: int  # tokens of the text that were found
    message_runs: list[Run]
    text_runs: list[Run]


def align_fields(message: Sequence[Token], fields: Sequence[Sequence[Token]]) -> tuple[float, list[Alignment]]:
    """The share of the fields' words that are found, of fields that are long enough, and the alignment of each."""
    long = [len(f) >= FUZZY_MIN_TOKENS for f in fields]
    aligned = [align(message, f) if fits else Alignment(0, [], []) for f, fits in zip(fields, long, strict=True)]
    words = sum(len(f) for f, fits in zip(fields, long, strict=True) if fits)
    return sum(a.similarity for a in aligned) / words, aligned


def align(message: Sequence[Token], text: Sequence[Token]) -> Alignment:
    """The text's words, in order, in the part of the message that shares the most n-grams with it.

    >>> align("say the quick red fox jumps over it".split(), "the quick brown fox jumps over".split()).text_runs
    [(0, 2), (3, 6)]
    """
    found = locate(message, text)
    if found is None:
        return Alignment(0, [], [])
    start, end = found
    part = message[start:end]
    blocks = [
        (start + op.src_start, start + op.src_end, op.dest_start, op.dest_end)
        for op in LCSseq.opcodes(part, text)
        if op.tag == "equal"
    ]
    return Alignment(sum(b[1] - b[0] for b in blocks), [(b[0], b[1]) for b in blocks], [(b[2], b[3]) for b in blocks])


def locate(message: Sequence[Token], text: Sequence[Token]) -> Run | None:
    """Where the text would stand: the stretch of its length that holds the most of its n-grams, and some around it.

    None where the message holds none of them.
    """
    n = min(FUZZY_N, len(text))
    place = {gram: at for at, gram in reversed(list(enumerate(_grams(text, n))))}  # the first place of each
    hits = [(i, place[gram]) for i, gram in enumerate(_grams(message, n)) if gram in place]
    if not hits:
        return None
    best, most, tail = 0, 0, 0
    for head in range(len(hits)):
        while hits[head][0] - hits[tail][0] >= len(text):
            tail += 1
        if head - tail + 1 > most:
            best, most = tail, head - tail + 1
    start = hits[best][0] - hits[best][1]
    margin = int(MARGIN * len(text))
    return max(0, start - margin), start + len(text) + margin


def _grams(tokens: Sequence[Token], n: int) -> Iterator[tuple[Token, ...]]:
    return zip(*(tokens[k:] for k in range(n)), strict=False)
