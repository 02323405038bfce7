"""From a version to the rows that pass the filters, with a reason for each that does not.

Worker processes read row groups, annotate the rows that are not known, and judge all; this process keeps the
annotations, writes the rows that stay, and counts. Nothing depends on the number of workers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.errors import RecipeError
from tulu_data.executor import map_with_state
from tulu_data.filters.annotation import Conversation, Reason, Values
from tulu_data.filters.length import Length
from tulu_data.filters.registry import Active, Filters, active
from tulu_data.filters.side_table import Known, SideTable
from tulu_data.manifest import Origin, Step
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Progress, Silent
from tulu_data.rows import DIGEST_BYTES, SPECS, Kind
from tulu_data.store import RowGroup, Store, Version
from tulu_data.tables import printable
from tulu_data.tokens import token_counter

STEP = "filter"
VERSION = 1  # raised when the step keeps other rows for the same settings and annotations
MOST = 0.5  # of a source's rows, strict >: a rule that takes more is told
ENOUGH_ROWS = 20  # shares of smaller sources say nothing
SHOWN = 3  # sources in one line
PIECE_ROWS = 2_048  # a worker's unit: small enough for several workers to share a row group

DROPS = pa.schema(
    [
        pa.field("row_sha", pa.binary(DIGEST_BYTES)),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("step", pa.string()),
        pa.field("reason", pa.string()),  # the first; its rule comes before the colon
        pa.field("others", pa.string()),  # rules that would drop the row as well
        pa.field("span", pa.string()),  # the matched text, where there is one
    ]
)


class FunnelRow(NamedTuple):
    """What one rule does: rows it drops before the rules after it, on its own, and that no other rule drops."""

    rule: str
    first: int
    alone: int
    only: int


class Outcome(NamedTuple):
    """What filtering a version does, or would do."""

    rows_in: int
    rows_out: int
    funnel: list[FunnelRow]


class _State(NamedTuple):
    kind: Kind
    chosen: list[Active]
    exempt: dict[str, list[str]]


class _Piece(NamedTuple):
    part: RowGroup
    first: int  # its first row, within the part
    rows: int
    known: list[Known]  # of each filter


class _Judged(NamedTuple):
    """A piece's rows that leave, by position, with their drops; and per filter what was annotated anew."""

    leaving: npt.NDArray[np.int64]
    drops: pa.Table
    reasons: list[list[str]]  # rules, of each row that leaves
    row_shas: list[bytes]
    new: list[tuple[list[int], list[Values]]]


def filter_version(
    version: Version,
    store: Store,
    name: str,
    settings: Filters,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes under `name` the rows that no filter drops, in order; what was dropped is in `drops/filter.parquet`.

    The step's record holds the settings and the funnel. Errors as in `plan`; `StoreError` where the disk refuses.
    """
    scan = _Scan(version, store, settings)
    with store.build(name, version.kind) as build:
        writer = ShardWriter(build.data, version.kind)
        drops = [DROPS.empty_table()]
        table = pa.table({})
        with scan.judging(workers, progress) as judged:
            for piece, found in judged:
                if piece.first == 0:
                    table = pa.Table.from_batches([piece.part.read()])
                kept = np.ones(piece.rows, np.bool_)
                kept[found.leaving] = False
                writer.write(table.slice(piece.first, piece.rows).filter(pa.array(kept)))
                drops.append(found.drops)
        shards = writer.close()
        dropped = pa.concat_tables(drops)
        outcome = scan.outcome()
        step = Step(
            name=STEP,
            source=version.name,
            params=scan.params() | {"funnel": [row._asdict() for row in outcome.funnel]},
            rows_in=version.rows,
            rows_out=outcome.rows_out,
            parents=[version.ref],
            drops=build.add_table(f"drops/{STEP}.parquet", dropped) if len(dropped) else None,
        )
        return build.publish(
            shards,
            writer.tally.logical(),
            inputs=version.manifest.inputs,
            steps=[*version.manifest.steps, step],
            decontamination=version.manifest.decontamination,
            tokenizer=version.manifest.tokenizer,
            origin=origin,
        )


def plan(
    version: Version, store: Store, settings: Filters, *, workers: int = 1, progress: Progress | None = None
) -> Outcome:
    """What `filter_version` would do; only annotations are written.

    `RecipeError` for settings that the rows cannot meet, `UsageError` and `InputError` where a detector or its model is
    missing.
    """
    scan = _Scan(version, store, settings)
    with scan.judging(workers, progress) as judged:
        for _ in judged:
            pass
    return scan.outcome()


def prepared(settings: Filters, version: Version) -> list[Active]:
    """The filters that are on, ready for the rows of this version; errors as in `plan`."""
    chosen = active(settings)
    for filter_, section in chosen:
        filter_.key(section)
        if isinstance(section, Length) and section.counts_tokens:
            if section.tokenizer is not None:
                token_counter(section.tokenizer)
            elif version.manifest.tokenizer is None or len(SPECS[version.kind].message_columns) > 1:
                why = "count a pair's completions together" if version.manifest.tokenizer else "were not counted"
                raise RecipeError(
                    f"{version.name}: filter.length: its tokens {why}; set length.tokenizer, e.g. to words/1"
                )
    return chosen


class _Scan:
    """One pass over a version: annotations as they are needed, counts as they come."""

    def __init__(self, version: Version, store: Store, settings: Filters) -> None:
        self.version = version
        self.settings = settings
        self.chosen = prepared(settings, version)
        self.tables = [SideTable(store, chosen, version) for chosen in self.chosen]
        self.first: Counter[str] = Counter()
        self.alone: Counter[str] = Counter()
        self.only: Counter[str] = Counter()
        self.of_source: Counter[tuple[str, str]] = Counter()  # (rule, source), each rule alone
        self.examples: dict[str, str] = {}  # of what a rule found
        self.dropped = 0

    @contextmanager
    def judging(self, workers: int, progress: Progress | None) -> Iterator[Iterator[tuple[_Piece, _Judged]]]:
        """The pieces in order, judged; what was annotated is kept even where the caller fails."""
        row_shas = self.version.table(["row_sha"])["row_sha"].combine_chunks()
        for table in self.tables:
            table.look_up(row_shas)
        try:
            with (progress or Silent()).task(f"filter {self.version.name}", self.version.rows) as advance:
                yield self._pieces(workers, advance)
        finally:
            for table in self.tables:
                table.flush()
        for warning in self.warnings():
            (progress or Silent()).note(warning)

    def _pieces(self, workers: int, advance: Any) -> Iterator[tuple[_Piece, _Judged]]:
        state = _State(self.version.kind, self.chosen, self.settings.exempt)
        pieces = list(self._cut())  # a few words each: what is known of them is looked up as they are sent
        items = (piece._replace(known=[t.known(at, piece.rows) for t in self.tables]) for at, piece in pieces)
        judged = map_with_state(_judge_piece, state, items, workers=workers, how="processes")
        for (_, piece), found in zip(pieces, judged, strict=True):
            for table, (positions, values) in zip(self.tables, found.new, strict=True):
                table.add([found.row_shas[i] for i in positions], values)
            self._count(found)
            yield piece, found
            advance(piece.rows)

    def _cut(self) -> Iterator[tuple[int, _Piece]]:
        at = 0
        for part in self.version.parts():
            for first in range(0, part.rows, PIECE_ROWS):
                rows = min(PIECE_ROWS, part.rows - first)
                yield at, _Piece(part, first, rows, [])
                at += rows

    def _count(self, found: _Judged) -> None:
        self.dropped += len(found.reasons)
        drops = zip(found.reasons, found.drops["source"].to_pylist(), found.drops["reason"].to_pylist(), strict=True)
        for rules, source, reason in drops:
            self.first[rules[0]] += 1
            self.alone.update(rules)
            self.of_source.update((rule, source) for rule in rules)
            self.examples.setdefault(rules[0], reason.partition(": ")[2])
            if len(rules) == 1:
                self.only[rules[0]] += 1

    def warnings(self) -> Iterator[str]:
        """A line for each rule that drops most of a source, on its own: what it found, and how to keep the rows."""
        rows = {name: stats.rows for name, stats in self.version.manifest.logical.sources.items()}
        sections = {f.name: section for f, section in self.chosen}
        for rule in self.alone:
            taken = [s for s, n in rows.items() if n >= ENOUGH_ROWS and self.of_source[rule, s] > MOST * n]
            if not taken:
                continue
            dropped, read = sum(self.of_source[rule, s] for s in taken), sum(rows[s] for s in taken)
            more = f" and {len(taken) - SHOWN} more sources" if len(taken) > SHOWN else ""
            example = f", e.g. {self.examples[rule]}" if rule in self.examples else ""
            name, _, key = rule.partition(".")
            switch = f"{rule}: false" if isinstance(getattr(sections[name], key, None), bool) else f"{name}: false"
            yield printable(
                f"warning: {rule} drops {dropped:,} of {read:,} rows of {', '.join(taken[:SHOWN])}{more}{example}; "
                f"where they should stay, set {switch} or exempt: {{{taken[0]}: [{name}]}}"
            )

    def outcome(self) -> Outcome:
        """What was counted, the rules in the order of their filters."""
        order = {chosen.filter.name: i for i, chosen in enumerate(self.chosen)}
        rules = sorted(self.alone, key=lambda rule: (order[rule.partition(".")[0]], rule))
        funnel = [FunnelRow(rule, self.first[rule], self.alone[rule], self.only[rule]) for rule in rules]
        return Outcome(self.version.rows, self.version.rows - self.dropped, funnel)

    def params(self) -> dict[str, Any]:
        """What the step's record says of the filters: settings in full, versions, what annotations depend on."""
        return {
            "filters": {f.name: section.model_dump(mode="json") for f, section in self.chosen},
            "versions": {f.name: f.version for f, _ in self.chosen},
            "depends": {f.name: depends for f, s in self.chosen if (depends := dict(f.key(s)))},
            "exempt": self.settings.exempt,
        }


# ------------------------------------------------------------ in a worker

_read_last: tuple[RowGroup, tuple[str, ...], pa.Table] | None = None  # pieces of one row group come one after another


def _rows_of(piece: _Piece, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    global _read_last  # noqa: PLW0603 - a worker has nowhere else to leave it
    if _read_last is None or _read_last[:2] != (piece.part, columns):
        _read_last = (piece.part, columns, pa.Table.from_batches([piece.part.read(columns)]))
    rows: list[dict[str, Any]] = _read_last[2].slice(piece.first, piece.rows).to_pylist()
    return rows


def _judge_piece(state: _State, piece: _Piece) -> _Judged:
    is_known = all(len(known.positions) == piece.rows for known in piece.known)
    content = () if is_known else (*SPECS[state.kind].message_columns, "n_tokens")
    rows = _rows_of(piece, ("row_sha", "id", "source", *content))
    values, new = _values(state, piece.known, rows)
    leaving, drops, reasons = [], [], []
    for i, row in enumerate(rows):
        exempt = state.exempt.get(row["source"], ())
        of_row = [v[i] for v in values]
        found = list(judge(state.chosen, of_row, exempt))
        if found:
            leaving.append(i)
            reasons.append(list(dict.fromkeys(r.rule for r in found)))
            drops.append(_drop(row, found))
    return _Judged(
        np.array(leaving, np.int64),
        pa.Table.from_pylist(drops, schema=DROPS),
        reasons,
        [row["row_sha"] for row in rows],
        new,
    )


def _values(
    state: _State, known: Sequence[Known], rows: Sequence[dict[str, Any]]
) -> tuple[list[list[Values]], list[tuple[list[int], list[Values]]]]:
    """Per filter the values of all rows; and the positions and values of those that were not known, once each."""
    conversations: dict[int, Conversation] = {}
    every, new = [], []
    for (filter_, section), (positions, before) in zip(state.chosen, known, strict=True):
        values: list[Any] = [None] * len(rows)
        for i, value in zip(positions.tolist(), before.to_pylist(), strict=True):
            values[i] = value
        made: dict[bytes, int] = {}
        for i, row in enumerate(rows):
            if values[i] is not None:
                continue
            twin = made.setdefault(row["row_sha"], i)
            if i not in conversations:
                conversations[i] = Conversation.of(state.kind, row)
            values[i] = values[twin] if twin != i else filter_.annotate(conversations[i], section)
        every.append(values)
        new.append((list(made.values()), [values[i] for i in made.values()]))
    return every, new


def judge(chosen: Sequence[Active], values: Sequence[Values], exempt: Sequence[str] = ()) -> Iterator[Reason]:
    """The reasons to drop a row of these values, in the order of the filters."""
    for (filter_, section), of_filter in zip(chosen, values, strict=True):
        if filter_.name not in exempt:
            yield from filter_.judge(of_filter, section)


def _drop(row: dict[str, Any], found: Sequence[Reason]) -> dict[str, Any]:
    first = found[0]
    others = dict.fromkeys(reason.rule for reason in found if reason.rule != first.rule)
    return {
        "row_sha": row["row_sha"],
        "id": row["id"],
        "source": row["source"],
        "step": STEP,
        "reason": str(first),
        "others": ", ".join(others) or None,
        "span": next((reason.span.text for reason in found if reason.span), None),
    }
