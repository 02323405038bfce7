"""The text of a row as near duplicates see it: which of its messages, and where they stand in Arrow's memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.dedup.settings import What
from tulu_data.errors import UsageError
from tulu_data.rows import SPECS, Kind

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def check(kind: Kind, what: What, name: str) -> None:
    """`UsageError` where rows of this kind have no such text."""
    if what == "answer" and kind in ("prompt", "rlvr"):
        raise UsageError(f"{name}: rows of kind {kind} hold no answers; compare what: prompt")


def columns_of(kind: Kind, what: What) -> list[str]:
    """The message columns that the text is taken from."""
    spec = SPECS[kind].message_columns
    if what == "prompt":
        return ["messages"]
    return list(spec[1:]) if what == "answer" and len(spec) > 1 else list(spec)


def messages_of(kind: Kind, row: Mapping[str, Any], what: What) -> Iterator[Mapping[str, Any]]:
    """The messages that make up the text of one row, in order. Their words follow each other.

    The prompt is what comes up to the last user turn, the answer what follows it (of preferences: both completions).
    System messages are left out: rows under one long system prompt are not alike because of it.
    """
    for column in columns_of(kind, what):
        messages = row[column]
        last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
        if what == "prompt":
            messages = messages[: last + 1]
        elif what == "answer" and column == "messages":
            messages = messages[last + 1 :]
        yield from (m for m in messages if m["role"] != "system")


def texts_of(kind: Kind, row: Mapping[str, Any], what: What) -> Iterator[str]:
    """The pieces that make up the text of one row, in order: what its messages say, and the tools that they call."""
    for message in messages_of(kind, row, what):
        yield message["content"]
        if message.get("tool_calls"):
            yield message["tool_calls"]


class Documents(NamedTuple):
    """Texts in memory, each in pieces. The addresses hold while `held` lives.

    addresses, sizes: `(pieces,)` of UTF-8 bytes. first: `(texts + 1,)` at which piece each text begins.
    """

    addresses: U64
    sizes: I64
    first: I64
    held: Any

    def __len__(self) -> int:
        return len(self.first) - 1


def documents_of(kind: Kind, batch: pa.RecordBatch, what: What) -> Documents:
    """The texts of a batch of rows, without a copy: what `texts_of` gives of each row."""
    parts = [_pieces(batch.column(column), what, column) for column in columns_of(kind, what)]
    rows = np.concatenate([p.rows for p in parts])
    order = np.argsort(rows, kind="stable")  # a row's columns one after the other
    counts = np.bincount(rows, minlength=len(batch))
    return Documents(
        np.concatenate([p.addresses for p in parts])[order],
        np.concatenate([p.sizes for p in parts])[order],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        batch,
    )


class _Pieces(NamedTuple):
    rows: I64
    addresses: U64
    sizes: I64


def _pieces(messages: pa.ListArray, what: What, column: str) -> _Pieces:
    entries = messages.flatten()
    offsets = messages.offsets.to_numpy().astype(np.int64)
    offsets -= offsets[0]
    lengths = np.diff(offsets)
    rows = np.repeat(np.arange(len(messages)), lengths)
    role = entries.field("role").dictionary_encode()
    codes = role.indices.to_numpy()
    names = role.dictionary.to_pylist()
    is_user = codes == names.index("user") if "user" in names else np.zeros(len(codes), np.bool_)
    chosen = codes != names.index("system") if "system" in names else np.ones(len(codes), np.bool_)
    if what == "prompt" or (what == "answer" and column == "messages"):
        place = np.arange(len(codes))
        last = np.full(len(messages), -1, np.int64)
        np.maximum.at(last, rows[is_user], place[is_user])
        last = np.where(last < 0, offsets[1:] - 1, last)  # where no user speaks, all of it is the prompt
        in_prompt = place <= last[rows]
        chosen &= in_prompt if what == "prompt" else ~in_prompt
    said, calls = entries.field("content"), entries.field("tool_calls")
    texts = [said, calls] if calls.null_count < len(calls) else [said]
    addresses, sizes = (np.stack(a, axis=1)[chosen].ravel() for a in zip(*map(addresses_of, texts), strict=True))
    return _Pieces(np.repeat(rows[chosen], len(texts)), addresses, sizes)  # a message's calls follow what it says


def addresses_of(texts: pa.StringArray) -> tuple[U64, I64]:
    """Where each text stands in memory, and its bytes: `(texts,)` each; 0 bytes for null."""
    _, offset_buffer, data = texts.buffers()
    if len(texts) == 0 or offset_buffer is None:
        return np.zeros(len(texts), np.uint64), np.zeros(len(texts), np.int64)
    raw = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    sizes = np.diff(raw)
    if texts.null_count:
        sizes = np.where(texts.is_valid().to_numpy(zero_copy_only=False), sizes, 0)
    return (raw[:-1] + (data.address if data is not None else 0)).astype(np.uint64), sizes


def documents_of_texts(texts: pa.StringArray) -> Documents:
    """Plain texts, one piece each."""
    addresses, sizes = addresses_of(texts)
    return Documents(addresses, sizes, np.arange(len(texts) + 1, dtype=np.int64), texts)
