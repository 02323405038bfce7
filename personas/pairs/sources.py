"""What pairs are made of: the records of a synthetic version, or the prompts of any version or file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from personas.pairs.pair import Source, plain
from personas.record import RECORDS_FILE
from tulu_data.errors import InputError
from tulu_data.llm.completing import prompts_of
from tulu_data.rows import Row
from tulu_data.store import Store, Version


def records_beside(version: Version, store: Store) -> Path | None:
    """The records of a synthetic version, or of the one that a version was filtered from; None where it has none."""
    if any(info.path == RECORDS_FILE for info in version.manifest.files):
        return version.side_file(RECORDS_FILE)
    for step in reversed(version.manifest.steps):
        for parent in step.parents:
            if store.has(parent) and (found := records_beside(store.open(parent), store)) is not None:
                return found
    return None


def synthetic(version: Version, store: Store, seed: int) -> Iterator[Source]:
    """The rows of a synthetic version with their records, in order; `InputError` where it has no records."""
    path = records_beside(version, store)
    if path is None:
        raise InputError(f"{version.ref}: has no {RECORDS_FILE}, so it was not made by tulu synth; name one that was")
    wanted = {prov["orig_id"]: i for i, prov in enumerate(_column(version, "prov"))}
    for batch in pq.ParquetFile(path).iter_batches():
        for record in batch.to_pylist():
            if record["accepted"] and record["id"] in wanted:
                turns = plain(record["messages"][:-1])
                yield Source(record["id"], wanted[record["id"]], turns, record, seed)


def _column(version: Version, name: str) -> Iterator[Row]:
    for batch in version.batches([name]):
        yield from batch.column(name).to_pylist()


def sources(source: str, store: Store, seed: int) -> Iterator[Source]:
    """What is known of each prompt of a version or file: its record where it has one, else its row."""
    if not Path(source).is_file():
        version = store.open(source)
        if records_beside(version, store) is not None:
            yield from synthetic(version, store, seed)
            return
    for index, prompt in enumerate(prompts_of(source, store)()):
        yield Source(prompt.id, index, prompt.messages, prompt.row, seed)
