"""The messages of a batch where they lie, and the compiled passes over them with the buffers of one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from decontam import describing, kernel, reading
from decontam.fuzzy import Run
from decontam.index import Index, new_message
from decontam.text_arrays import addresses_of
from tulu_data.errors import InputError
from tulu_data.rows import SPECS, Kind

ROOM = 1 << 16  # reports that fit beside those of one message, before they are taken away

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


class Turns(NamedTuple):
    """The messages of a batch, by row, then column, then place: `(turns,)` each."""

    addresses: npt.NDArray[np.uint64]
    sizes: I64
    row: I64
    column: I64  # its place in the kind's message columns
    place: I64
    roles: pa.Array
    alive: list[pa.Array]  # what the addresses point into


class Pairs(NamedTuple):
    """Pairs that a scan suggests, by turn, then instance: `(pairs,)` each. suggested: as an edited copy.

    near: which entry of the pairs that are near in meaning it is; -1 for the others.
    """

    turn: I64
    instance: I64
    suggested: Bools
    near: I64


def turns_of(kind: Kind, batch: pa.RecordBatch) -> Turns:
    """The messages of a batch where they lie: only their order is computed."""
    parts = [_turns_of_column(number, batch.column(name)) for number, name in enumerate(SPECS[kind].message_columns)]
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([p.row for p in parts]), kind="stable")
    addresses, sizes, row, column, place = (np.concatenate([p[k] for p in parts])[order] for k in range(5))
    roles = pa.concat_arrays([p.roles for p in parts]).take(pa.array(order))
    return Turns(addresses, sizes, row, column, place, roles, [a for p in parts for a in p.alive])


def _turns_of_column(number: int, lists: pa.Array) -> Turns:
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    messages = lists.flatten()
    roles, contents = messages.field("role"), messages.field("content")
    addresses, sizes = addresses_of(contents)
    row = np.repeat(np.arange(len(lists)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Turns(addresses, sizes, row, np.full(len(row), number), place, roles, [messages, contents])


class Traced(NamedTuple):
    """A text's tokens, and `(tokens, 2)` the bytes [start, end) of each."""

    tokens: list[bytes]
    spans: I64

    def bytes_of(self, token_runs: Iterable[Run]) -> list[list[int]]:
        """Runs of tokens as spans of bytes."""
        return [[int(self.spans[start, 0]), int(self.spans[end - 1, 1])] for start, end in token_runs]


class _Buffers(NamedTuple):
    """What grows with the longest message."""

    message: reading.Message
    state: kernel.State
    near: kernel.State
    seen: describing.Traced
    field: describing.Traced
    common: describing.Common
    described: describing.Described


class Worker:
    """The buffers of one thread, and the kernel's calls."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.scan_index = index.built.scan
        self.longest_field = index.longest_field_bytes
        self.max_bytes = -1
        self.counts = np.zeros(7, np.int64)  # of both kernels: they share the stamps
        self.buffers: _Buffers

    def make_room(self, max_bytes: int) -> None:
        """Makes the buffers fit messages of at most so many bytes."""
        if max_bytes <= self.max_bytes:
            return
        self.max_bytes = max(2 * self.max_bytes, max_bytes)
        self.counts[:] = 0
        room = 2 * self.max_bytes + reading.SLACK  # of folded bytes, and so of tokens
        texts, grams, fine = self.scan_index.texts, self.scan_index.grams, self.scan_index.fine
        field_room = 2 * self.longest_field + reading.SLACK
        field_tokens = int(np.diff(texts.first).max(initial=0)) + 2
        i32 = np.int32
        self.buffers = _Buffers(
            new_message(self.max_bytes),
            _state(texts, grams, room),
            _state(texts, fine, room),
            describing.Traced(new_message(self.max_bytes), np.zeros(room, i32)),
            describing.Traced(new_message(self.longest_field), np.zeros(field_room, i32)),
            describing.Common(
                head=np.zeros(len(grams.rare), i32),
                head_at=np.zeros(len(grams.rare), np.int64),
                before=np.zeros(field_tokens, i32),
                run_at=np.zeros(field_tokens, i32),
                run_size=np.zeros(field_tokens, i32),
                message_end=np.zeros(room, i32),
                field_end=np.zeros(field_tokens, i32),
            ),
            _described(room + ROOM, (field_tokens + 1) * self.index.most_fields + ROOM),
        )

    def scan(self, turns: Turns, read: I64, fail: Callable[[int, int], InputError]) -> Pairs:
        """The pairs that may matter among the turns to be read; `fail(turn, byte)` is raised for one not UTF-8."""
        addresses, sizes = turns.addresses[read], turns.sizes[read]
        b, counts = self.buffers, self.counts
        found: list[tuple[I64, I64]] = []
        near: list[tuple[I64, I64]] = []
        at = 0
        while at < len(sizes):
            kernel.scan(addresses, sizes, at, self.scan_index, b.message, b.state, b.near, counts)
            at = int(counts[0])
            if counts[5] >= 0:
                raise fail(int(read[at]), int(counts[5]))
            found.append(self._reported(read, b.state, int(counts[1])))
            near.append(self._reported(read, b.near, int(counts[2])))
        return self._pairs(found, near)

    @staticmethod
    def _reported(read: I64, state: kernel.State, count: int) -> tuple[I64, I64]:
        return read[state.found_message[:count]], state.found_text[:count].astype(np.int64)

    def _pairs(self, found: list[tuple[I64, I64]], near: list[tuple[I64, I64]]) -> Pairs:
        width = max(1, len(self.index.corpus.passage))
        suggested = np.unique(self._keys(near, width, fields_only=True))
        keys = np.union1d(self._keys(found, width, fields_only=False), suggested)
        return Pairs(keys // width, keys % width, np.isin(keys, suggested, assume_unique=True), np.full(len(keys), -1))

    def _keys(self, found: list[tuple[I64, I64]], width: int, *, fields_only: bool) -> I64:
        """One number for each turn and instance that a text leads to, or that has it as a field."""
        if not found:
            return np.zeros(0, np.int64)
        turn, text = (np.concatenate([f[k] for f in found]) for k in (0, 1))
        first, holders, of_field = (getattr(self.index.built, n) for n in ("holder_first", "holders", "of_field"))
        counts = (first[text + 1] - first[text]).astype(np.int64)
        start = np.repeat(first[text], counts)
        place = start + np.arange(len(start)) - np.repeat(np.cumsum(counts) - counts, counts)
        keys = np.repeat(turn, counts) * width + holders[place]
        return np.asarray(keys[of_field[place] == 1] if fields_only else keys, np.int64)

    def describe(self, turns: Turns, pairs: Pairs, instances: describing.Instances) -> describing.Described:
        """Everything about each pair."""
        b, counts = self.buffers, self.counts
        parts: list[describing.Described] = []
        written: tuple[npt.NDArray[Any], ...] = b.described
        at = 0
        while at < len(pairs.turn):
            pairs_of = (turns.addresses, turns.sizes, pairs.turn, pairs.instance, at)
            buffers = (b.seen, b.field, b.state, b.common, b.described, counts)
            describing.describe(*pairs_of, self.scan_index, instances, *buffers)
            done = int(counts[0]) - at
            fields, message_spans, field_spans = int(counts[1]), int(counts[2]), int(counts[3])
            ends = (done, done, done, fields, fields, fields, message_spans, field_spans)
            parts.append(describing.Described._make(a[:end].copy() for a, end in zip(written, ends, strict=True)))
            at = int(counts[0])
        return describing.Described._make(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def trace(self, address: int, size: int) -> Traced:
        """A text, of a message or a field, as tokens and where they stand."""
        b = self.buffers
        buffers = b.seen if size <= self.max_bytes else b.field
        room = len(buffers.origin)
        blob, spans = np.zeros(2 * room, np.uint8), np.zeros((room, 2), np.int64)
        tokens, end = describing.trace(np.uint64(address), size, self.scan_index, buffers, blob, spans)
        return Traced(blob[:end].tobytes().split(b" ") if tokens else [], spans[:tokens])

    def holds(self, addresses: npt.NDArray[np.uint64], sizes: I64, turn: I64, text: I64) -> Bools:
        """Whether each text in memory holds a text of the suites: `(pairs,)`, sorted by `turn`."""
        held = np.zeros(len(turn), np.bool_)
        describing.holds(addresses, sizes, turn, text, self.scan_index, self.buffers.message, held)
        return held


def _state(texts: kernel.Texts, grams: kernel.Grams, room: int) -> kernel.State:
    count = len(texts.first)
    capacity = 2 * count + ROOM
    return kernel.State(
        np.zeros(room, np.int32),
        np.zeros(len(grams.rare), np.int64),
        np.zeros(len(texts.starts) // 64 + 2, np.uint64),
        np.zeros(count, np.int32),
        np.zeros(count, np.int64),
        np.zeros(capacity, np.int32),
        np.zeros(capacity, np.int32),
    )


def _described(message_room: int, field_room: int) -> describing.Described:
    return describing.Described(
        exact=np.zeros(ROOM, np.uint8),
        longest=np.zeros(ROOM, np.int32),
        message_runs=np.zeros(ROOM, np.int32),
        covered=np.zeros(ROOM, np.int32),
        rare=np.zeros(ROOM, np.int32),
        field_runs=np.zeros(ROOM, np.int32),
        message_spans=np.zeros((message_room, 2), np.int64),
        field_spans=np.zeros((field_room, 2), np.int64),
    )
