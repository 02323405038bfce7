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


def records_beside(version: Version, store: Store) -> list[Path]:
    """The records of a synthetic version, or of all those that a version was filtered or mixed from."""
    if any(info.path == RECORDS_FILE for info in version.manifest.files):
        return [version.side_file(RECORDS_FILE)]
    parents = dict.fromkeys(parent for step in version.manifest.steps for parent in step.parents)
    found = [records_beside(store.open(parent), store) for parent in parents if store.has(parent)]
    return list(dict.fromkeys(path for paths in found for path in paths))


def synthetic(version: Version, store: Store, seed: int) -> Iterator[Source]:
    """The rows of a synthetic version with their records, in order; `InputError` where it has no records."""
    paths = records_beside(version, store)
    if not paths:
        raise InputError(f"{version.ref}: has no {RECORDS_FILE}, so it was not made by tulu synth; name one that was")
    wanted = {prov["orig_id"]: i for i, prov in enumerate(_column(version, "prov"))}
    for batch in (b for path in paths for b in pq.ParquetFile(path).iter_batches()):
        for record in batch.to_pylist():
            if record["accepted"] and record["id"] in wanted:
                turns = plain(record["messages"][:-1])
                yield Source(record["id"], wanted.pop(record["id"]), turns, record, seed)


def _column(version: Version, name: str) -> Iterator[Row]:
    for batch in version.batches([name]):
        yield from batch.column(name).to_pylist()


def sources(source: str, store: Store, seed: int) -> Iterator[Source]:
    """What is known of each prompt of a version or file: its record where it has one, else its row."""
    known: set[str] = set()
    if not Path(source).is_file() and records_beside(version := store.open(source), store):
        for found in synthetic(version, store, seed):
            known.add(found.id)
            yield found
    for index, prompt in enumerate(prompts_of(source, store)()):
        if not known or prompt.row["prov"]["orig_id"] not in known:
            yield Source(prompt.id, index, prompt.messages, prompt.row, seed)
