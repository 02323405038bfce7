"""What pairs are made of: the records of a synthetic version, or the prompts of any version or file."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
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
    # A row's id does not tell who answered: by its prompt it is known among rows of other models.
    wanted = {_name(prov["orig_id"], turns[0]["content"]): i for i, (prov, turns) in enumerate(_origins(version))}
    for batch in (b for path in paths for b in pq.ParquetFile(path).iter_batches()):
        for record in batch.to_pylist():
            if record["accepted"] and (name := _name(record["id"], record["prompt"])) in wanted:
                yield Source(record["id"], wanted.pop(name), plain(record["messages"][:-1]), record, seed)


def _origins(version: Version) -> Iterator[tuple[Row, list[Row]]]:
    for batch in version.batches(["prov", "messages"]):
        yield from ((row["prov"], row["messages"]) for row in batch.to_pylist())


def _name(id_: str, prompt: str) -> bytes:
    return sha256(f"{id_}\0{prompt}".encode()).digest()[:16]


def sources(source: str, store: Store, seed: int) -> Iterator[Source]:
    """What is known of each prompt of a version or file: its record where it has one, else its row."""
    known: set[bytes] = set()
    if not Path(source).is_file() and records_beside(version := store.open(source), store):
        for found in synthetic(version, store, seed):
            known.add(_name(found.id, found.prompt))
            yield found
    for index, prompt in enumerate(prompts_of(source, store)()):
        if not known or _name(prompt.row["prov"]["orig_id"], prompt.messages[0]["content"]) not in known:
            yield Source(prompt.id, index, prompt.messages, prompt.row, seed)
