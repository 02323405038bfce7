"""Parquet and Arrow IPC files as chunks, and their rows as raw records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data.chunk import CHUNK_BYTES, CHUNK_RECORDS, Chunk, Raw
from tulu_data.unpack import first_line

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"  # how the files start


def table_format(path: Path) -> Literal["parquet", "arrow"] | None:
    """What kind of table a file starts like, if any."""
    with path.open("rb") as f:
        start = f.read(8)
    if start.startswith(PARQUET):
        return "parquet"
    return "arrow" if start.startswith((ARROW_FILE, ARROW_STREAM)) else None


def _batch_rows(rows: int, size: int) -> int:
    """How many rows of a table of this many rows and bytes make one batch."""
    return max(1, min(CHUNK_RECORDS, CHUNK_BYTES * rows // max(1, size)))


def parquet_chunks(path: Path, name: str) -> Iterator[Chunk]:
    """The row groups, by their addresses: a worker reads its own, batch by batch."""
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        start = 0
        for i, group in enumerate(groups):
            batch = _batch_rows(group.num_rows, group.total_byte_size)
            yield Chunk(name, "parquet", start, 0, group.num_rows, (str(path), i, batch))
            start += group.num_rows


def arrow_chunks(path: Path, name: str) -> Iterator[Chunk]:
    """Slices of the record batches, each with its schema: the shards of `datasets` are such streams."""
    start = 0
    try:
        with pa.memory_map(str(path)) as source:
            is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
            source.seek(0)
            reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)
            for batch in batches:
                step = _batch_rows(batch.num_rows, batch.nbytes)
                for at in range(0, batch.num_rows, step):
                    part = batch.slice(at, step)
                    yield Chunk(name, "arrow", start, 0, part.num_rows, _ipc_bytes(part))
                    start += part.num_rows
    except (OSError, pa.ArrowException) as e:
        if not start:
            raise
        yield Chunk(name, "records", start, 0, 1, (_lost(name, start, e),))


def _ipc_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _lost(name: str, index: int, e: Exception) -> Raw:
    why = f"the table is damaged from here on ({first_line(e)}); the rows before are kept, get the file again"
    return Raw(f"{name}:row {index}", index, None, why)


def decode_table(chunk: Chunk) -> Iterator[Raw]:
    """The rows of a Parquet or Arrow chunk; damage ends them with a problem."""
    index = chunk.first
    try:
        for batch in _batches(chunk):
            for record in batch.to_pylist():
                yield Raw(f"{chunk.name}:row {index}", index, record, None)
                index += 1
    except (OSError, ValueError, pa.ArrowException) as e:
        yield _lost(chunk.name, index, e)


def _batches(chunk: Chunk) -> Iterator[pa.RecordBatch]:
    if chunk.form == "arrow":
        yield from pa.ipc.open_stream(chunk.payload)
        return
    path, group, batch_rows = chunk.payload
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        yield from file.iter_batches(batch_rows, row_groups=[group])
