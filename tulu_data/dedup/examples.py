"""Clusters to look at: the row that stays, those that leave for it, and where their texts part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from tulu_data.dedup.documents import columns_of
from tulu_data.dedup.result import Duplicates
from tulu_data.rows import Kind
from tulu_data.store import Version

MOST_ROWS = 5  # of a cluster: the one that stays, and those least like it
CONTEXT_WORDS = 6  # before the first and after the last word that differs
MOST_WORDS = 40  # of each side of a difference


class Member(NamedTuple):
    """A row of a cluster. kind and score: None of the one that stays; score also where none is known."""

    id: str
    version: str
    row_index: int
    kind: str | None
    score: float | None
    text: str


class Example(NamedTuple):
    """A cluster: how many rows it has, the one that stays, and some that leave."""

    cluster: int
    rows: int
    kept: Member
    leave: list[Member]


def examples(found: Duplicates, versions: Sequence[Version], count: int) -> list[Example]:
    """Some clusters with texts: those with the least similarity come first, as they are the first to doubt; of equal
    ones the larger. versions: those that were searched.
    """
    scores = pc.fill_null(found.clusters["score"], 1.0)
    table = found.clusters.append_column("sure", scores).group_by("cluster", use_threads=False)
    sizes = table.aggregate([("sure", "min"), ("cluster", "count")])
    order = [("sure_min", "ascending"), ("cluster_count", "descending"), ("cluster", "ascending")]
    chosen = sizes.sort_by(order).slice(0, count)["cluster"].to_pylist()
    shown = {number: _least_alike(found, number) for number in chosen}
    texts = _texts(versions, {(r["version"], r["row_index"]) for rows in shown.values() for r in rows})
    size_of = dict(zip(sizes["cluster"].to_pylist(), sizes["cluster_count"].to_pylist(), strict=True))
    made = []
    for number, rows in shown.items():
        kept, *leave = (
            Member(**{f: r[f] for f in Member._fields[:-1]}, text=texts[r["version"], r["row_index"]]) for r in rows
        )
        made.append(Example(number, size_of[number], kept, leave))
    return made


def _least_alike(found: Duplicates, cluster: int) -> list[dict[str, Any]]:
    """The row that stays, then those that leave, the least alike first."""
    rows: list[dict[str, Any]] = found.clusters.filter(pc.equal(found.clusters["cluster"], cluster)).to_pylist()
    rows.sort(key=lambda r: (not r["kept"], 1.0 if r["score"] is None else r["score"]))  # stable
    return rows[:MOST_ROWS]


def _texts(versions: Sequence[Version], wanted: set[tuple[str, int]]) -> dict[tuple[str, int], str]:
    texts = {}
    for version in versions:
        of_version = np.array(sorted(row for name, row in wanted if name == version.name), np.int64)
        first = 0
        for part in version.parts():
            here = of_version[(of_version >= first) & (of_version < first + part.rows)]
            if len(here):
                batch = part.read(columns_of(version.kind, "conversation"))
                for row, record in zip(here.tolist(), batch.take(here - first).to_pylist(), strict=True):
                    texts[version.name, row] = "\n".join(_lines(version.kind, record))
            first += part.rows
    return texts


def _lines(kind: Kind, row: dict[str, Any]) -> Iterator[str]:
    """A row as one reads it: the label of each message, what it says, the tools it calls."""
    for column in columns_of(kind, "conversation"):
        for message in row[column]:
            said = " ".join(t for t in (message["content"], message["tool_calls"]) if t)
            yield f"[{message['role'] if column == 'messages' else column}] {said}"


def excerpt(text: str) -> str:
    """Its first words, in one line."""
    words = text.split()
    return _clipped(words, 0, min(len(words), MOST_WORDS))


def difference(kept: str, other: str) -> tuple[str, str] | None:
    """Where two texts part: each from a few words before the first that differs to a few after the last, cut where that
    is long; None where their words are the same.

    >>> difference("[user] What is two and two?", "[user] What is two and three?")
    ('[user] What is two and two?', '[user] What is two and three?')
    """
    a, b = kept.split(), other.split()
    if a == b:
        return None
    shorter = min(len(a), len(b))
    same = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    after = next((i for i in range(shorter - same) if a[-1 - i] != b[-1 - i]), shorter - same)
    return _clipped(a, same, len(a) - after), _clipped(b, same, len(b) - after)


def _clipped(words: list[str], begin: int, end: int) -> str:
    low, high = max(0, begin - CONTEXT_WORDS), min(len(words), end + CONTEXT_WORDS, begin + MOST_WORDS)
    return f"{'… ' if low else ''}{' '.join(words[low:high])}{' …' if high < len(words) else ''}"
