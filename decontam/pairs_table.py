"""Pairs as a table: what the compiled passes found, joined with the rows and instances that it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from decontam import describing
from decontam.corpus import NONE, repeats
from decontam.evidence import ANSWER_MIN_TOKENS, FOUND, SPAN, NearPair, severity
from decontam.fuzzy import Alignment, align_fields
from decontam.index import Index
from decontam.reading import I32
from decontam.reference import mean_share, runs
from decontam.snippets import snippets, starts_of
from decontam.text_arrays import addresses_of
from decontam.verdicts import FUZZY_RECORDED, Settings
from decontam.worker import I64, Bools, Pairs, Traced, Turns, Worker
from tulu_data.rows import SPECS, Kind

F64 = npt.NDArray[np.float64]


class Facts:
    """Facts of the instances that pairs are joined with."""

    def __init__(self, index: Index) -> None:
        self.corpus = corpus = index.corpus
        self.instances = index.instances
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


def with_near(pairs: Pairs, turns: Turns, near: Sequence[NearPair], kind: Kind, instances: int) -> Pairs:
    """The pairs of a scan and those that are near in meaning, in order."""
    if not near:
        return pairs
    columns = {name: place for place, name in enumerate(SPECS[kind].message_columns)}
    places = zip(turns.row.tolist(), turns.column.tolist(), turns.place.tolist(), strict=True)
    turn_of = {place: turn for turn, place in enumerate(places)}
    own = np.array([turn_of[n.row, columns[n.column], n.message] * instances + n.instance for n in near], np.int64)
    scanned = pairs.turn * instances + pairs.instance
    keys = np.union1d(scanned, own)
    entry = np.full(len(keys), NONE)
    entry[np.searchsorted(keys, own)] = np.arange(len(own))
    suggested = np.isin(keys, scanned[pairs.suggested], assume_unique=True)
    return Pairs(keys // instances, keys % instances, suggested, entry)


class PairsTable:
    """Joins what was found about pairs with the rows and instances they are of, into the table `FOUND`."""

    def __init__(
        self,
        facts: Facts,
        settings: Settings,
        name: str,
        kind: Kind,
        batch: pa.RecordBatch,
        first: int,
        turns: Turns,
        pairs: Pairs,
        found: describing.Described,
        worker: Worker,
        near: Sequence[NearPair],
    ) -> None:
        self.near = near
        self.facts, self.settings, self.corpus, self.instances = facts, settings, facts.corpus, facts.instances
        self.name, self.kind, self.batch, self.first = name, kind, batch, first
        self.turns, self.pairs, self.found, self.worker = turns, pairs, found, worker
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
        is_near = self.pairs.near != NONE
        kept = np.flatnonzero((np.maximum(coverage, informative) > self.settings.floor) | ~np.isnan(fuzzy) | is_near)
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
            **self._meanings(kept),
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

    # -------------------------------------------------------- meaning

    def _meanings(self, kept: I64) -> dict[str, pa.Array]:
        near = [self.near[i] if i != NONE else None for i in self.pairs.near[kept].tolist()]
        spans = [{"start": n.start, "end": n.end} if n else None for n in near]
        return {
            "semantic": pa.array([n.cosine if n else None for n in near], pa.float64()),
            "numbers": pa.array([n.numbers if n else None for n in near], pa.float64()),
            "semantic_span": pa.array(spans, SPAN),
            "judgement": pa.nulls(len(kept), pa.string()),
        }

    # -------------------------------------------------------- places

    def _spans(self, kept: I64, aligned: Mapping[int, Sequence[Alignment]]) -> dict[str, pa.Array]:
        """Spans, snippets and the longest run of the kept pairs. Where no n-gram is shared an alignment gives them."""
        places = self._places(aligned)
        pairs, fields = np.zeros(len(self.counts), np.bool_), np.zeros(len(self.field), np.bool_)
        pairs[kept] = True
        fields[pairs[self.pair_of]] = True
        turn, number = self.pairs.turn[kept], self.field[fields]
        in_message, in_field = places.message_runs[kept], places.field_runs[fields]
        message_spans = places.message_spans[np.repeat(pairs, places.message_runs)]
        field_spans = places.field_spans[np.repeat(fields, places.field_runs)]
        of_pair = np.bincount(self.pair_of, places.field_runs * fields, len(self.counts))[kept].astype(np.int64)
        given = self.instances
        return {
            "longest_run": pa.array(places.longest[kept]),
            "train_spans": _span_lists(in_message, message_spans),
            "eval_spans": _span_lists(
                of_pair, field_spans, self.facts.field_names.take(pa.array(np.repeat(number, in_field)))
            ),
            "train_snippet": snippets(
                self.turns.addresses[turn], self.turns.sizes[turn], np.ones_like(turn), in_message, message_spans
            ),
            "eval_snippet": snippets(
                given.addresses[number], given.sizes[number], self.counts[kept], in_field, field_spans
            ),
        }

    def _places(self, aligned: Mapping[int, Sequence[Alignment]]) -> _Places:
        """Where the pairs match: as described, and by alignment where nothing is described and there is one."""
        found = self.found
        message_runs, field_runs = found.message_runs.astype(np.int64), found.field_runs.astype(np.int64)
        longest = found.longest.copy()
        only = [pair for pair in sorted(aligned) if not message_runs[pair]]
        if not only:
            return _Places(message_runs, found.message_spans, field_runs, found.field_spans, longest)
        by_message = np.isin(np.arange(len(message_runs)), only)
        in_message, in_fields = [], []
        for pair in only:
            alignments = aligned[pair]
            message, fields = self._alignment_spans(pair, alignments)
            message_runs[pair] = len(message)
            first = self.ends[pair] - self.counts[pair]
            field_runs[first : first + len(fields)] = [len(f) for f in fields]
            longest[pair] = max(end - start for a in alignments for start, end in a.message_runs)
            in_message += message
            in_fields += [span for f in fields for span in f]
        return _Places(
            message_runs,
            _filled(found.message_spans, in_message, np.repeat(by_message, message_runs)),
            field_runs,
            _filled(found.field_spans, in_fields, np.repeat(by_message[self.pair_of], field_runs)),
            longest,
        )

    def _alignment_spans(
        self, pair: int, alignments: Sequence[Alignment]
    ) -> tuple[list[list[int]], list[list[list[int]]]]:
        """Where an edited copy stands in the message, and in each field."""
        in_message = self._trace(int(self.pairs.turn[pair])).bytes_of(
            runs(r for a in alignments for r in a.message_runs)
        )
        in_fields = []
        fields = self.corpus.fields_of(int(self.pairs.instance[pair]))
        for number, alignment in zip(fields, alignments, strict=True):
            field = self.worker.trace(int(self.instances.addresses[number]), int(self.instances.sizes[number]))
            in_fields.append(field.bytes_of(runs(alignment.text_runs)))
        return in_message, in_fields

    def _field_coverage(self, shares: F64, kept: I64) -> pa.Array:
        chosen = np.isin(self.pair_of, kept)
        names = self.facts.field_names.take(pa.array(self.field[chosen]))
        values = pa.StructArray.from_arrays([names, pa.array(shares[chosen])], ["field", "coverage"])
        return pa.ListArray.from_arrays(_offsets(self.counts[kept]), values)

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


class _Places(NamedTuple):
    """Where pairs match: runs of each pair `(pairs,)` and of each field `(fields,)`, `(runs, 2)` bytes, longest run."""

    message_runs: I64
    message_spans: I64
    field_runs: I64
    field_spans: I64
    longest: I32


def _filled(described: I64, aligned: Sequence[Sequence[int]], is_aligned: Bools) -> I64:
    """Spans that were described and those of alignments, each where `is_aligned` says."""
    spans = np.zeros((len(is_aligned), 2), np.int64)
    spans[~is_aligned] = described
    spans[is_aligned] = np.array(aligned, np.int64).reshape(-1, 2)
    return spans


def _offsets(counts: I64) -> pa.Array:
    return pa.array(starts_of(counts), pa.int32())


def _span_lists(counts: I64, spans: I64, names: pa.Array | None = None) -> pa.Array:
    """A list of spans for each pair, with the name of a field for each where there are names."""
    ends = [pa.array(np.ascontiguousarray(spans[:, k])) for k in (0, 1)]
    arrays, labels = ([names, *ends], ["field", "start", "end"]) if names is not None else (ends, ["start", "end"])
    return pa.ListArray.from_arrays(_offsets(counts), pa.StructArray.from_arrays(arrays, labels))
