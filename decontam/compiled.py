"""The compiled engine: batches of rows in, pairs out, with Python only where something was found."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from decontam.corpus import NONE, Corpus
from decontam.evidence import FOUND, NearPair
from decontam.index import Index
from decontam.pairs_table import Facts, PairsTable, with_near
from decontam.verdicts import Settings
from decontam.worker import I64, Pairs, Turns, Worker, turns_of
from tulu_data.errors import InputError
from tulu_data.rows import SPECS, Kind

PAIRS_AT_ONCE = 1 << 17  # one message may pair with thousands of instances that share its wording


class CompiledEngine:
    """Scans with `kernel`, looks again with `describing`. One instance serves any number of threads."""

    def __init__(self, index: Index, settings: Settings) -> None:
        self.index = index
        self.corpus: Corpus = index.corpus
        self.settings = settings
        self.facts = Facts(index)
        self._idle: list[Worker] = []
        self._lock = threading.Lock()

    def scan_batch(
        self, name: str, kind: Kind, batch: pa.RecordBatch, first: int, near: Sequence[NearPair] = ()
    ) -> pa.Table:
        """Every pair of a batch of rows; see `Engine`. `InputError` where a text is not UTF-8."""
        turns = turns_of(kind, batch)
        read = self._read(turns)
        with self._worker(int(turns.sizes.max(initial=0))) as worker:
            pairs = worker.scan(turns, read, lambda t, at: _not_utf8(name, kind, turns, first, t, at))
            pairs = with_near(pairs, turns, near, kind, len(self.corpus.passage))
            tables = [FOUND.empty_table()]
            for start in range(0, len(pairs.turn), PAIRS_AT_ONCE):
                some = Pairs._make(a[start : start + PAIRS_AT_ONCE] for a in pairs)
                found = worker.describe(turns, some, self.facts.instances)
                joined = PairsTable(
                    self.facts, self.settings, name, kind, batch, first, turns, some, found, worker, near
                )
                tables.append(joined.table())
            return pa.concat_tables(tables)

    def wording(self, text: int) -> list[int]:
        """Where n-grams begin that many texts hold; see `Engine`."""
        scan = self.index.built.scan
        of_text = scan.grams.at[scan.texts.first[text] : scan.texts.first[text + 1]]
        starts = np.flatnonzero(of_text != NONE)
        return [int(s) for s in starts[scan.grams.rare[of_text[starts]] == 0]]

    def _read(self, turns: Turns) -> I64:
        """The turns whose role is matched."""
        if self.settings.roles == "all":
            return np.arange(len(turns.sizes))
        return np.flatnonzero(pc.equal(turns.roles, self.settings.roles).to_numpy(zero_copy_only=False))

    @contextmanager
    def _worker(self, max_bytes: int) -> Iterator[Worker]:
        with self._lock:
            worker = self._idle.pop() if self._idle else Worker(self.index)
        worker.make_room(max_bytes)
        yield worker
        with self._lock:
            self._idle.append(worker)


def _not_utf8(name: str, kind: Kind, turns: Turns, first: int, turn: int, byte: int) -> InputError:
    place = f"{SPECS[kind].message_columns[turns.column[turn]]}[{turns.place[turn]}].content"
    return InputError(f"{name}: row {first + turns.row[turn]}: {place} is not UTF-8 at byte {byte}; re-encode it")
