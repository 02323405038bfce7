"""What a person looks at: both texts of a pair, with the words that match marked and mere wording told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from decontam.analyzers import analyzer_of
from decontam.evidence import Span, in_bytes
from decontam.result import Audit

Kind = Literal["match", "wording", "similar"]
Gram = tuple[str, ...]

TELLING_CHARS = 4  # shorter words say nothing of what a text means; numbers always do


class Run(NamedTuple):
    """A stretch of a text in characters, [start, end).

    match: under an n-gram that both texts hold and few test texts do. wording: under n-grams that many hold. similar:
    where both texts share no n-gram, words that an alignment finds in both, or that both hold.
    """

    start: int
    end: int
    kind: Kind


class Side(NamedTuple):
    """A text with its runs, sorted and apart; `cut_before`, `cut_after`: it is the middle of a longer one."""

    name: str
    text: str
    runs: list[Run]
    cut_before: bool = False
    cut_after: bool = False


class Match(NamedTuple):
    """A pair, side by side."""

    train: Side
    fields: list[Side]
    passage: str | None
    answer: str | None


class Highlighter:
    """Marks the pairs of an audit, from what the audit keeps alone."""

    def __init__(self, audit: Audit) -> None:
        self._settings = audit.settings
        self._analyzer = analyzer_of(audit.settings.analyzer)
        self._pairs = audit.pairs
        self._messages = audit.messages
        self._instances = audit.instances
        self._message_at = _places(audit.messages, ("set", "row_index", "column", "message"))
        self._instance_at = _places(audit.instances, ("suite", "instance_id"))
        self._instance = lru_cache(maxsize=256)(self._read_instance)

    def match(self, pair: int) -> Match:
        """The pair in this row of the audit's pairs."""
        found = self._pairs.slice(pair, 1).to_pylist()[0]
        at = self._message_at[found["set"], found["row_index"], found["column"], found["message"]]
        message = self._messages.slice(at, 1).to_pylist()[0]
        instance, grams = self._instance(self._instance_at[found["suite"], found["instance_id"]])
        start, text = message["start"], message["text"]
        spans = [(s["start"] - start, s["end"] - start) for s in found["train_spans"]]
        n_gram = found["longest_run"] >= self._settings.n or found["exact"]
        held = {
            f["field"]: [(s["start"], s["end"]) for s in found["eval_spans"] if s["field"] == f["field"]]
            for f in instance["fields"]
        }
        if not spans and not any(held.values()):
            spans, held = self._shared_words(found, message, instance)
        train = Side(
            found["role"],
            text,
            list(self._runs(text, spans, grams, n_gram=n_gram)),
            start > 0,
            start + len(text.encode()) < message["bytes"],
        )
        fields = [
            Side(f["field"], f["text"], list(self._runs(f["text"], held[f["field"]], grams, n_gram=n_gram)))
            for f in instance["fields"]
        ]
        return Match(train, fields, instance["passage"], instance["answer"])

    def _read_instance(self, at: int) -> tuple[dict[str, Any], set[Gram]]:
        """An instance, and the n-grams of its fields that are wording."""
        instance = self._instances.slice(at, 1).to_pylist()[0]
        grams = {
            gram
            for f in instance["fields"]
            for span in f["wording"]
            for gram in self._grams(self._tokens(f["text"], (span["start"], span["end"])))
        }
        return instance, grams

    def _grams(self, tokens: Sequence[tuple[str, Span]]) -> Iterator[Gram]:
        words = [word for word, _ in tokens]
        return zip(*(words[k:] for k in range(self._settings.n)), strict=False)

    def _tokens(self, text: str, span: Span) -> list[tuple[str, Span]]:
        """The tokens of a span of bytes, each with its place in the text in characters."""
        data = text.encode()
        first, last = max(0, span[0]), min(len(data), span[1])
        part = data[first:last].decode(errors="replace")
        start = len(data[:first].decode(errors="replace"))
        places = [(start + a, start + b) for a, b in self._analyzer.spans(part)]
        return list(zip(self._analyzer.tokens(part), places, strict=True))

    def _runs(self, text: str, spans: Sequence[Span], wording: set[Gram], *, n_gram: bool) -> Iterator[Run]:
        for span in spans:
            tokens = self._tokens(text, span)
            if not n_gram:
                kinds: list[Kind] = ["similar"] * len(tokens)
            else:
                kinds = self._kinds(tokens, wording)
            yield from _merged(tokens, kinds)

    def _kinds(self, tokens: Sequence[tuple[str, Span]], wording: set[Gram]) -> list[Kind]:
        """A word is wording where every n-gram over it is; a stretch without an n-gram is a short text, found whole."""
        grams = list(self._grams(tokens))
        kinds: list[Kind] = ["wording" if grams else "match"] * len(tokens)
        for at, gram in enumerate(grams):
            if gram not in wording:
                kinds[at : at + self._settings.n] = ["match"] * self._settings.n
        return kinds

    def _shared_words(
        self, found: dict[str, Any], message: dict[str, Any], instance: dict[str, Any]
    ) -> tuple[list[Span], dict[str, list[Span]]]:
        """Where the words stand that tell something and that both texts hold: of texts near in meaning alone."""
        near = found["semantic_span"] or {"start": message["start"], "end": message["start"] + len(message["text"])}
        part = (near["start"] - message["start"], near["end"] - message["start"])
        texts = [message["text"], *(f["text"] for f in instance["fields"])]
        tokens = [self._tokens(texts[0], part), *(self._tokens(t, (0, len(t.encode()))) for t in texts[1:])]
        said = {word for word, _ in tokens[0]}
        asked = {word for of_field in tokens[1:] for word, _ in of_field}
        both = {w for w in said & asked if len(w) >= TELLING_CHARS or any(c.isdigit() for c in w)}
        spans = [
            [in_bytes(text, place) for word, place in of_text if word in both]
            for text, of_text in zip(texts, tokens, strict=True)
        ]
        names = [f["field"] for f in instance["fields"]]
        return spans[0], dict(zip(names, spans[1:], strict=True))


def _merged(tokens: Sequence[tuple[str, Span]], kinds: Sequence[Kind]) -> Iterator[Run]:
    """Neighbours of one kind as one run."""
    start = 0
    for i in range(1, len(tokens) + 1):
        if i == len(tokens) or kinds[i] != kinds[start]:
            yield Run(tokens[start][1][0], tokens[i - 1][1][1], kinds[start])
            start = i


def _places(table: pa.Table, columns: Sequence[str]) -> dict[tuple[Any, ...], int]:
    keys = zip(*(table[c].to_pylist() for c in columns), strict=True)
    return {key: at for at, key in enumerate(keys)}
