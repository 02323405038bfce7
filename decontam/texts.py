"""The texts behind the pairs, as an audit keeps them: it can be read, judged and shown where the rows are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from decontam.analyzers import analyzer_of
from decontam.corpus import Corpus
from decontam.evidence import INSTANCES, MESSAGES, Span, in_bytes
from decontam.reference import runs
from decontam.verdicts import Settings

EXCERPT_BYTES = 4000  # a longer message is kept in part
MARGIN_BYTES = 500  # before the first match

Place = tuple[int, str, int]  # row index, column, message


def messages_of(name: str, batch: pa.RecordBatch, first: int, pairs: pa.Table) -> pa.Table:
    """The messages of a batch that its pairs are about; `first` is the index in the set of the batch's first row."""
    spans = _spans_of(pairs)
    contents = {column: _contents(batch, column) for column in {column for _, column, _ in spans}}
    entries = []
    for (row, column, message), of_message in sorted(spans.items(), key=lambda s: s[0]):
        offsets, texts = contents[column]
        data = texts[offsets[row - first] + message].as_buffer().to_pybytes()
        start, end = excerpt(data, of_message)
        entries.append(
            {
                "set": name,
                "row_index": row,
                "column": column,
                "message": message,
                "text": data[start:end].decode(),
                "start": start,
                "bytes": len(data),
            }
        )
    return pa.Table.from_pylist(entries, schema=MESSAGES)


def _spans_of(pairs: pa.Table) -> dict[Place, list[Span]]:
    """By message, where its pairs match: the strongest pair's longest span first."""
    listed = pairs.select(["row_index", "column", "message", "coverage", "train_spans", "semantic_span"]).to_pylist()
    found: dict[Place, list[Span]] = {}
    for pair in sorted(listed, key=lambda p: -p["coverage"]):
        spans = [(s["start"], s["end"]) for s in pair["train_spans"]]
        if pair["semantic_span"] is not None:
            spans.append((pair["semantic_span"]["start"], pair["semantic_span"]["end"]))
        of_message = found.setdefault((pair["row_index"], pair["column"], pair["message"]), [])
        of_message += sorted(spans, key=lambda s: s[0] - s[1])
    return found


def _contents(batch: pa.RecordBatch, column: str) -> tuple[Sequence[int], pa.Array]:
    """Where the messages of each row begin, and the texts of all of them."""
    lists = batch.column(column)
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.append(0, np.cumsum(counts)).tolist(), lists.flatten().field("content")


def excerpt(data: bytes, spans: Sequence[Span]) -> Span:
    """Which bytes of a text to keep: all of them, all spans with a margin, or what begins before the first of `spans`.

    Never within a character.
    """
    if len(data) <= EXCERPT_BYTES:
        return 0, len(data)
    first = min((s for s, _ in spans), default=0)
    last = max((e for _, e in spans), default=0)
    if last - first + 2 * MARGIN_BYTES > EXCERPT_BYTES:
        first = spans[0][0]
    start = max(0, min(first - MARGIN_BYTES, len(data) - EXCERPT_BYTES))
    end = min(len(data), start + EXCERPT_BYTES)
    return _character_start(data, start, 1), _character_start(data, end, -1)


def _character_start(data: bytes, at: int, step: int) -> int:
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += step
    return at


def instances_of(
    corpus: Corpus, pairs: pa.Table, settings: Settings, common_starts: Callable[[int], Sequence[int]]
) -> pa.Table:
    """The instances that pairs are about. `common_starts(text)` are the tokens at which wording begins."""
    analyzer = analyzer_of(settings.analyzer)
    wanted = set(zip(pairs["suite"].to_pylist(), pairs["instance_id"].to_pylist(), strict=True))
    suites, ids = corpus.suite_of.tolist(), corpus.instances["id"].to_pylist()
    entries = []
    for number, (suite, instance_id) in enumerate(zip(suites, ids, strict=True)):
        if (corpus.suites[suite].id, instance_id) not in wanted:
            continue
        given = corpus.instances.slice(number, 1).to_pylist()[0]
        fields_of = corpus.fields_of(number)
        wording = {int(corpus.field_name[f]): common_starts(int(corpus.field_text[f])) for f in fields_of}
        fields = [
            {"field": name, "text": text, "wording": _wording(text, wording.get(place, ()), settings.n, analyzer.spans)}
            for place, (name, text) in enumerate(zip(given["names"], given["texts"], strict=True))
        ]
        entries.append(
            {
                "suite": corpus.suites[suite].id,
                "instance_id": instance_id,
                "fields": fields,
                "answer": given["answer"],
                "passage": given["passage"],
            }
        )
    return pa.Table.from_pylist(entries, schema=INSTANCES)


def _wording(text: str, starts: Iterable[int], n: int, spans_of: Callable[[str], list[Span]]) -> list[dict[str, Any]]:
    stretches = runs((s, s + n) for s in starts)
    if not stretches:
        return []
    places = spans_of(text)
    found = [in_bytes(text, (places[a][0], places[b - 1][1])) for a, b in stretches]
    return [{"start": a, "end": b} for a, b in found]
