"""The compiled engine: batches of rows in, pairs out, with Python only where something was found."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import string_at
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from decontam import describing, kernel
from decontam.corpus import NONE, Corpus, repeats
from decontam.evidence import ANSWER_MIN_TOKENS, FOUND, longest_span, severity, snippet
from decontam.fuzzy import Alignment, Run, align_fields
from decontam.index import Index, new_message
from decontam.reference import mean_share, runs
from decontam.text_arrays import addresses_of
from decontam.verdicts import FUZZY_RECORDED, Settings
from tulu_data.errors import InputError
from tulu_data.rows import SPECS, Kind

ROOM = 1 << 16  # reports that fit beside those of one message, before they are taken away

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


class Turns(NamedTuple):
    """The messages of a batch, by row, then column, then place: `(turns,)` each."""

    addresses: npt.NDArray[np.uint64]
    sizes: I64
    row: I64
    column: I64  # its place in the kind's message columns
    place: I64
    roles: pa.Array
    alive: list[pa.Array]  # what the addresses point into

    def text(self, turn: int) -> str:
        """The content of a message."""
        return string_at(int(self.addresses[turn]), int(self.sizes[turn])).decode()


class Pairs(NamedTuple):
    """Pairs that a scan suggests, by turn, then instance: `(pairs,)` each. suggested: as an edited copy."""

    turn: I64
    instance: I64
    suggested: Bools


class CompiledEngine:
    """Scans with `kernel`, looks again with `describing`. One instance serves any number of threads."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self.index = index
        self.corpus: Corpus = index.corpus
        self.settings = settings
        self.facts = _Facts(index)
        self.instances = index.instances
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()

    def scan_batch(self, name: str, kind: Kind, batch: pa.RecordBatch, first: int) -> pa.Table:
        """Every pair of a batch of rows; see `Engine`. `InputError` where a text is not UTF-8."""
        turns = turns_of(kind, batch)
        read = self._read(turns)
        with self._worker(int(turns.sizes.max(initial=0))) as worker:
            pairs = worker.scan(turns, read, lambda t, at: _not_utf8(name, kind, turns, first, t, at))
            if not len(pairs.turn):
                return FOUND.empty_table()
            found = worker.describe(turns, pairs, self.instances)
            return _Table(self, name, kind, batch, first, turns, pairs, found, worker).table()

    def _read(self, turns: Turns) -> I64:
        """The turns whose role is matched."""
        if self.settings.roles == "all":
            return np.arange(len(turns.sizes))
        return np.flatnonzero(pc.equal(turns.roles, self.settings.roles).to_numpy(zero_copy_only=False))

    @contextmanager
    def _worker(self, max_bytes: int) -> Iterator[_Worker]:
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker(self.index, self.settings)
        worker.make_room(max_bytes)
        yield worker
        with self._lock:
            self._idle.append(worker)


def _not_utf8(name: str, kind: Kind, turns: Turns, first: int, turn: int, byte: int) -> InputError:
    place = f"{SPECS[kind].message_columns[turns.column[turn]]}[{turns.place[turn]}].content"
    return InputError(f"{name}: row {first + turns.row[turn]}: {place} is not UTF-8 at byte {byte}; re-encode it")


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

    message: kernel.Message
    state: kernel.State
    near: kernel.State
    seen: describing.Traced
    field: describing.Traced
    common: describing.Common
    described: describing.Described


class _Worker:
    """The buffers of one thread, and the kernel's calls."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self.index = index
        self.settings = settings
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
        room = 2 * self.max_bytes + kernel.SLACK  # of folded bytes, and so of tokens
        texts, grams, fine = self.scan_index.texts, self.scan_index.grams, self.scan_index.fine
        field_room = 2 * self.longest_field + kernel.SLACK
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
        return Pairs(keys // width, keys % width, np.isin(keys, suggested, assume_unique=True))

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


class _Facts:
    """Facts of the instances that pairs are joined with."""

    def __init__(self, index: Index) -> None:
        corpus = index.corpus
        self.table = corpus.instances
        suites = corpus.suite_of
        self.suite = pa.array([s.id for s in corpus.suites], pa.string()).take(pa.array(suites))
        self.group = pa.array([s.group for s in corpus.suites], pa.string()).take(pa.array(suites))
        self.field_counts = np.diff(corpus.first_field).astype(np.int64)
        names = corpus.instances["names"].to_pylist()
        owners = np.repeat(np.arange(len(names)), self.field_counts).tolist()
        self.field_names = pa.array(
            [names[i][f] for i, f in zip(owners, corpus.field_name.tolist(), strict=True)], pa.string()
        )
        self.repeats = pa.array(repeats(corpus), pa.string())
        self.answer = np.where(np.append(corpus.tokens, 0)[corpus.answer] >= ANSWER_MIN_TOKENS, corpus.answer, NONE)
        self.passage = corpus.passage
        self.totals = index.built.totals[corpus.field_text].astype(np.int64)
        self.rare_totals = index.built.rare_totals[corpus.field_text].astype(np.int64)

    def field_texts(self, instance: int, corpus: Corpus) -> list[str]:
        """The texts of the fields that hold a token, as they were given."""
        given = self.table["texts"][instance].as_py()
        return [given[int(corpus.field_name[f])] for f in corpus.fields_of(instance)]


class _Table:
    """Joins what was found about pairs with the rows and instances they are of, into the table `FOUND`."""

    def __init__(
        self,
        engine: CompiledEngine,
        name: str,
        kind: Kind,
        batch: pa.RecordBatch,
        first: int,
        turns: Turns,
        pairs: Pairs,
        found: describing.Described,
        worker: _Worker,
    ) -> None:
        self.engine, self.name, self.kind, self.batch, self.first = engine, name, kind, batch, first
        self.turns, self.pairs, self.found, self.worker = turns, pairs, found, worker
        self.settings, self.corpus, self.facts = engine.settings, engine.corpus, engine.facts
        self.counts = self.facts.field_counts[pairs.instance]
        self.ends = np.cumsum(self.counts)
        self.pair_of = np.repeat(np.arange(len(pairs.turn)), self.counts)  # of each field
        self.field = np.arange(len(self.pair_of)) - np.repeat(self.ends - self.counts, self.counts)
        self.field += self.corpus.first_field[pairs.instance][self.pair_of]  # its number

    def table(self) -> pa.Table:
        """The pairs that are worth a record."""
        exact = self.found.exact.astype(np.bool_)
        covered, totals = self.found.covered.astype(np.int64), self.facts.totals[self.field]
        counted = totals >= self.settings.n
        coverage = np.where(exact, 1.0, self._means(covered, totals, counted))
        rare, rare_totals = self.found.rare.astype(np.int64), self.facts.rare_totals[self.field]
        telling = counted & (rare_totals > 0)
        informative = self._means(rare, rare_totals, telling)
        fuzzy, aligned = self._fuzzy(exact)
        kept = np.flatnonzero((np.maximum(coverage, informative) > self.settings.floor) | ~np.isnan(fuzzy))
        reported = counted | ~self._any(counted)[self.pair_of]
        spans = self._spans(kept, aligned)
        answer, passage = self._row_holds(kept)
        numbers = {
            "exact": pa.array(exact[kept]),
            "coverage": pa.array(coverage[kept]),
            "covered_tokens": self._sums(covered, reported, kept),
            "total_tokens": self._sums(totals, reported, kept),
            "informative": pa.array(informative[kept]),
            "informative_covered": self._sums(rare, telling, kept),
            "informative_total": self._sums(rare_totals, telling, kept),
            "fuzzy": pa.array(fuzzy[kept], from_pandas=True),
            "field_coverage": self._field_coverage(covered / totals, kept),
            "severity": pa.array([severity(a) for a in answer], pa.string()),
            "answer_found": pa.array(answer, pa.bool_()),
            "passage_found": pa.array(passage, pa.bool_()),
        }
        columns = self._row_columns(kept) | self._instance_columns(kept) | numbers | spans
        return pa.table([columns[f.name].cast(f.type) for f in FOUND], schema=FOUND)

    # -------------------------------------------------------- numbers

    def _any(self, of_fields: Bools) -> Bools:
        return np.bincount(self.pair_of, of_fields, len(self.counts)) > 0

    def _sums(self, values: I64, chosen: Bools, kept: I64) -> pa.Array:
        sums = np.bincount(self.pair_of, np.where(chosen, values, 0), len(self.counts))
        return pa.array(sums[kept].astype(np.int32))

    def _means(self, parts: I64, totals: I64, chosen: Bools) -> F64:
        """`mean_share` of the chosen fields of each pair."""
        times = np.bincount(self.pair_of, chosen, len(self.counts))
        alone = chosen & (times[self.pair_of] == 1)
        means = np.zeros(len(self.counts))
        means[self.pair_of[alone]] = parts[alone] / totals[alone]
        for pair in np.flatnonzero(times > 1).tolist():
            fields = range(self.ends[pair] - self.counts[pair], self.ends[pair])
            means[pair] = mean_share([(int(parts[f]), int(totals[f])) for f in fields if chosen[f]])
        return means

    # -------------------------------------------------------- edited copies

    def _fuzzy(self, exact: Bools) -> tuple[F64, dict[int, list[Alignment]]]:
        """The similarity of each pair, NaN where there is none, and the alignments behind it."""
        fuzzy = np.full(len(exact), np.nan)
        aligned: dict[int, list[Alignment]] = {}
        if not self.settings.fuzzy:
            return fuzzy, aligned
        fuzzy[exact] = 1.0
        tokens: list[bytes] = []
        previous = -1
        for pair in np.flatnonzero(self.pairs.suggested & ~exact).tolist():
            turn = int(self.pairs.turn[pair])
            if turn != previous:
                tokens, previous = self._trace(turn).tokens, turn
            similarity, found = self._align(tokens, int(self.pairs.instance[pair]))
            if similarity >= FUZZY_RECORDED:
                fuzzy[pair], aligned[pair] = similarity, found
        return fuzzy, aligned

    def _trace(self, turn: int) -> Traced:
        return self.worker.trace(int(self.turns.addresses[turn]), int(self.turns.sizes[turn]))

    def _align(self, tokens: Sequence[bytes], instance: int) -> tuple[float, list[Alignment]]:
        return align_fields(tokens, [self.corpus.texts[t].split(b" ") for t in self.corpus.field_texts(instance)])

    # -------------------------------------------------------- places

    def _spans(self, kept: I64, aligned: dict[int, list[Alignment]]) -> dict[str, pa.Array]:
        """Spans, snippets and the longest run of the kept pairs. Where no n-gram is shared an alignment gives them."""
        message_ends = np.cumsum(self.found.message_runs)
        field_ends = np.cumsum(self.found.field_runs)
        train: list[list[list[int]]] = []
        held: list[list[list[list[int]]]] = []
        longest, train_snippets, eval_snippets = [], [], []
        text, previous = "", -1
        message_spans, field_spans = self.found.message_spans.tolist(), self.found.field_spans.tolist()
        for pair in kept.tolist():
            turn, instance = int(self.pairs.turn[pair]), int(self.pairs.instance[pair])
            if turn != previous:
                text, previous = self.turns.text(turn), turn
            fields = range(self.ends[pair] - self.counts[pair], self.ends[pair])
            field_texts = self.facts.field_texts(instance, self.corpus)
            in_message = message_spans[message_ends[pair] - self.found.message_runs[pair] : message_ends[pair]]
            in_fields = [field_spans[field_ends[f] - self.found.field_runs[f] : field_ends[f]] for f in fields]
            run = int(self.found.longest[pair])
            if not in_message:
                in_message, in_fields, run = self._alignment_spans(turn, instance, aligned[pair])
            train.append(in_message)
            held.append(in_fields)
            longest.append(run)
            train_snippets.append(snippet(*longest_span([text], [in_message])))
            eval_snippets.append(snippet(*longest_span(field_texts, in_fields)))
        return {
            "longest_run": pa.array(longest, pa.int32()),
            "train_spans": _span_lists([len(spans) for spans in train], [s for spans in train for s in spans]),
            "eval_spans": self._eval_spans(kept, held),
            "train_snippet": pa.array(train_snippets, pa.string()),
            "eval_snippet": pa.array(eval_snippets, pa.string()),
        }

    def _alignment_spans(
        self, turn: int, instance: int, alignments: Sequence[Alignment]
    ) -> tuple[list[list[int]], list[list[list[int]]], int]:
        """Where an edited copy stands in the message, in each field, and its longest run."""
        in_message = self._trace(turn).bytes_of(runs(r for a in alignments for r in a.message_runs))
        in_fields = []
        for number, alignment in zip(self.corpus.fields_of(instance), alignments, strict=True):
            instances = self.engine.instances
            field = self.worker.trace(int(instances.addresses[number]), int(instances.sizes[number]))
            in_fields.append(field.bytes_of(runs(alignment.text_runs)))
        return in_message, in_fields, max(end - start for a in alignments for start, end in a.message_runs)

    def _eval_spans(self, kept: I64, held: list[list[list[list[int]]]]) -> pa.Array:
        numbers = [
            int(self.corpus.first_field[self.pairs.instance[pair]]) + f
            for pair, in_fields in zip(kept.tolist(), held, strict=True)
            for f, spans in enumerate(in_fields)
            for _ in spans
        ]
        flat = [s for in_fields in held for spans in in_fields for s in spans]
        counts = [sum(map(len, in_fields)) for in_fields in held]
        return _span_lists(counts, flat, self.facts.field_names.take(pa.array(numbers, pa.int64())))

    def _field_coverage(self, shares: F64, kept: I64) -> pa.Array:
        chosen = np.isin(self.pair_of, kept)
        names = self.facts.field_names.take(pa.array(self.field[chosen]))
        values = pa.StructArray.from_arrays([names, pa.array(shares[chosen])], ["field", "coverage"])
        return pa.ListArray.from_arrays(_offsets(self.counts[kept].tolist()), values)

    # -------------------------------------------------------- rows and instances

    def _row_columns(self, kept: I64) -> dict[str, pa.Array]:
        turn = self.pairs.turn[kept]
        row = self.turns.row[turn]
        rows = pa.array(row)
        columns = pa.array(SPECS[self.kind].message_columns, pa.string())
        return {
            "set": pa.repeat(pa.scalar(self.name, pa.string()), len(kept)),
            "row_id": self.batch.column("id").take(rows),
            "row_sha": self.batch.column("row_sha").take(rows),
            "row_index": pa.array(row + self.first),
            "column": columns.take(pa.array(self.turns.column[turn])),
            "message": pa.array(self.turns.place[turn]),
            "role": self.turns.roles.take(pa.array(turn)),
            "row_source": self.batch.column("source").take(rows),
        }

    def _instance_columns(self, kept: I64) -> dict[str, pa.Array]:
        instance = pa.array(self.pairs.instance[kept])
        return {
            "suite": self.facts.suite.take(instance),
            "group": self.facts.group.take(instance),
            "subset": self.facts.table["subset"].take(instance).combine_chunks(),
            "repeats": self.facts.repeats.take(instance),
            "instance_id": self.facts.table["id"].take(instance).combine_chunks(),
        }

    def _row_holds(self, kept: I64) -> tuple[list[bool | None], list[bool | None]]:
        """Whether the row of each kept pair holds the instance's answer, and its passage; None: not asked."""
        instance, row = self.pairs.instance[kept], self.turns.row[self.pairs.turn[kept]]
        said = np.asarray(pc.equal(self.turns.roles, "assistant").to_numpy(zero_copy_only=False), np.bool_)
        answer = self._holds(row, self.facts.answer[instance], np.flatnonzero(said), with_truth=True)
        passage = self._holds(row, self.facts.passage[instance], np.arange(len(said)), with_truth=False)
        return answer, passage

    def _holds(self, row: I64, text: npt.NDArray[Any], turns: I64, *, with_truth: bool) -> list[bool | None]:
        asked = np.flatnonzero(text != NONE)
        if not len(asked):
            return [None] * len(row)
        addresses, sizes, owner = self.turns.addresses[turns], self.turns.sizes[turns], self.turns.row[turns]
        if with_truth and self.kind == "rlvr":
            truth = addresses_of(self.batch.column("ground_truth"))
            addresses, sizes = np.append(addresses, truth[0]), np.append(sizes, truth[1])
            owner = np.append(owner, np.arange(len(truth[0])))
        order = np.argsort(owner, kind="stable")
        first = np.searchsorted(owner[order], row[asked], side="left")
        counts = np.searchsorted(owner[order], row[asked], side="right") - first
        place = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        pair = np.repeat(np.arange(len(asked)), counts)
        by_turn = np.argsort(place, kind="stable")
        self.worker.make_room(int(sizes.max(initial=0)))
        held = self.worker.holds(
            addresses[order], sizes[order], place[by_turn], text[asked][pair[by_turn]].astype(np.int64)
        )
        any_held = np.bincount(pair[by_turn], held, len(asked)) > 0
        found: list[bool | None] = [None] * len(row)
        for k, value in zip(asked.tolist(), any_held.tolist(), strict=True):
            found[k] = value
        return found


def _offsets(counts: Sequence[int]) -> pa.Array:
    return pa.array(np.append(0, np.cumsum(counts)), pa.int32())


def _span_lists(counts: Sequence[int], spans: Sequence[Sequence[int]], names: pa.Array | None = None) -> pa.Array:
    """A list of spans for each pair, with the name of a field for each where there are names."""
    ends = [pa.array([s[k] for s in spans], pa.int64()) for k in (0, 1)]
    arrays, labels = ([names, *ends], ["field", "start", "end"]) if names is not None else (ends, ["start", "end"])
    return pa.ListArray.from_arrays(_offsets(counts), pa.StructArray.from_arrays(arrays, labels))
