"""The one writer of dataset shards: how rows are cut into row groups and shards, and written as Parquet.

The cut depends on the rows alone (their number and lengths, in order), never on the batches in which they
arrive, so the same rows give the same layout. Bytes are the same where the writer fingerprint is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data.errors import StoreError
from tulu_data.manifest import ShardInfo
from tulu_data.rows import SPECS, Kind, order_id
from tulu_data.tally import Tally

GROUP_ROWS = 8_192
GROUP_CHARS = 32 << 20  # a group of long rows closes early, so that its buffers stay small
SHARD_ROWS = 16 * GROUP_ROWS
SHARD_CHARS = 128 << 20
ZSTD_LEVEL = 3

# Columns with few distinct values. Dictionary pages for text would be built, overflow, and be thrown away.
_LOW_CARDINALITY = (
    *(f"{c}.list.element.role" for c in ("messages", "chosen", "rejected")),
    *("source", "subset", "license", "tags.list.element", "verifier", "chosen_model", "rejected_model"),
    *("prov.ingest_id", "prov.converter", "prov.ops.list.element"),
)
_STATISTICS = ("id", "source", "n_turns", "n_chars", "n_tokens")


def writer_fingerprint() -> str:
    """What must be equal for equal rows to give equal bytes."""
    return f"pyarrow-{pa.__version__}/zstd-{ZSTD_LEVEL}/groups-{GROUP_ROWS}-{GROUP_CHARS}/1"


def group_sizes(n_chars: npt.NDArray[np.int64], *, last: bool = True) -> list[int]:
    """Rows per row group for rows of these lengths, in order.

    With `last=False` more rows may follow, and a group that they could still join is left out.
    """
    total = np.cumsum(n_chars, dtype=np.int64)
    sizes: list[int] = []
    start = 0
    while start < len(total):
        limit = (total[start - 1] if start else 0) + GROUP_CHARS
        by_chars = int(np.searchsorted(total, limit, side="right"))
        end = max(start + 1, min(start + GROUP_ROWS, by_chars))
        if end == len(total) and not last and end < start + GROUP_ROWS:
            break
        sizes.append(end - start)
        start = end
    return sizes


def _is_full(rows: int, chars: int) -> bool:
    return rows >= SHARD_ROWS or chars >= SHARD_CHARS


def shard_layout(n_chars: npt.NDArray[np.int64]) -> list[list[int]]:
    """Row groups per shard for a whole dataset, each group by its rows. Empty data is one empty shard."""
    shards: list[list[int]] = [[]]
    rows = chars = start = 0
    for size in group_sizes(n_chars):
        if _is_full(rows, chars):
            shards.append([])
            rows = chars = 0
        shards[-1].append(size)
        rows += size
        chars += int(n_chars[start : start + size].sum())
        start += size
    return shards


def _hf_features(schema: pa.Schema) -> dict[str, Any]:
    """The `datasets` feature spec of a schema, so that `load_dataset` is typed without inference."""

    def feature(t: pa.DataType) -> Any:
        if pa.types.is_list(t):
            return {"feature": feature(t.value_type), "_type": "List"}
        if pa.types.is_struct(t):
            return {t.field(i).name: feature(t.field(i).type) for i in range(t.num_fields)}
        name = "float64" if pa.types.is_float64(t) else str(t)
        return {"dtype": name, "_type": "Value"}

    return {f.name: feature(f.type) for f in schema}


def shard_name(index: int, count: int, split: str = "train") -> str:
    """The file name that the Hugging Face hub reads: `train-00000-of-00004.parquet`."""
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


class _ShardFile:
    """One open Parquet file and the digests of the rows written to it."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        self.rows = 0
        self.chars = 0
        self.tally = Tally()
        spec = SPECS[kind]
        self._identity = {"kind": kind, "schema": spec.schema_name}
        features = {"info": {"features": _hf_features(spec.schema)}}
        schema = spec.schema.with_metadata({"huggingface": json.dumps(features)})
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=list(_LOW_CARDINALITY),
            write_statistics=list(_STATISTICS),
            write_page_checksum=True,
        )

    def write_group(self, table: pa.Table) -> None:
        # Pages are cut per chunk: in one chunk the bytes do not depend on the batches in which rows arrived.
        self._writer.write_table(table.combine_chunks(), row_group_size=max(1, len(table)))
        self.tally.add(table)
        self.rows += len(table)
        self.chars += _chars(table)

    def close(self) -> ShardInfo:
        identity = order_id(self.tally.digests())
        self._writer.add_key_value_metadata({"tulu": json.dumps(self._identity | {"order_id": identity})})
        self._writer.close()
        fsync(self.path)
        return ShardInfo(
            path=f"{self.path.parent.name}/{self.path.name}",
            rows=self.rows,
            bytes=self.path.stat().st_size,
            sha256=file_sha256(self.path),
            order_id=identity,
        )


def write_shard(path: Path, kind: Kind, groups: Iterable[pa.Table]) -> tuple[ShardInfo, Tally]:
    """Writes one shard from its row groups, flushed to disk; gives what was written and its counts."""
    shard = _ShardFile(path, kind)
    for group in groups:
        shard.write_group(group)
    return shard.close(), shard.tally


class ShardWriter:
    """Rows in, in any batches; shards out, cut as `shard_layout` cuts. Holds one row group and one batch at most."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self.kind = kind
        self._schema = SPECS[kind].schema
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._pending_chars = 0
        self._open: _ShardFile | None = None
        self._shards: list[ShardInfo] = []
        self.tally = Tally()

    def write(self, table: pa.Table) -> None:
        """Takes rows in the kind's schema."""
        if len(table) == 0:
            return
        self._pending.append(table)
        self._pending_rows += len(table)
        self._pending_chars += _chars(table)
        if self._pending_rows >= GROUP_ROWS or self._pending_chars > GROUP_CHARS:
            self._drain(last=False)

    def close(self) -> list[ShardInfo]:
        """Writes what is left and names the shards by their final count."""
        self._drain(last=True)
        if not self._open and not self._shards:
            self._open = self._new_shard()
        self._close_shard()
        for i, shard in enumerate(self._shards):
            path = f"{self.folder.name}/{shard_name(i, len(self._shards))}"
            (self.folder.parent / shard.path).rename(self.folder.parent / path)
            self._shards[i] = shard.model_copy(update={"path": path})
        return self._shards

    def _close_shard(self) -> None:
        if self._open:
            self._shards.append(self._open.close())
            self.tally.merge(self._open.tally)
            self._open = None

    def _new_shard(self) -> _ShardFile:
        return _ShardFile(self.folder / f"part-{len(self._shards):05d}.parquet", self.kind)

    def _drain(self, *, last: bool) -> None:
        if not self._pending:
            return
        table = pa.concat_tables(self._pending)
        start = 0
        for size in group_sizes(table["n_chars"].to_numpy(), last=last):
            if self._open and _is_full(self._open.rows, self._open.chars):
                self._close_shard()
            self._open = self._open or self._new_shard()
            self._open.write_group(table.slice(start, size))
            start += size
        rest = table.slice(start)
        self._pending = [rest] if len(rest) else []
        self._pending_rows = len(rest)
        self._pending_chars = _chars(rest)


def _chars(table: pa.Table) -> int:
    return int(table["n_chars"].to_numpy().sum())


def read_batches(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of shards in order, one batch a row group."""
    for path in paths:
        for i in range(row_groups(path).num_row_groups):
            yield from read_group(path, i, columns).combine_chunks().to_batches()


def row_groups(path: Path) -> pq.FileMetaData:
    """The footer of a shard; `StoreError` where the file is gone or damaged."""
    with _reading(path):
        return pq.read_metadata(path)


def read_group(path: Path, group: int, columns: Sequence[str] | None = None) -> pa.Table:
    """One row group of a shard, its page checksums verified; `StoreError` where the file is gone or damaged."""
    with _reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read_row_group(group, columns=columns, use_threads=False)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise StoreError(f"{path}: cannot be read ({reason}); tulu verify says what is damaged") from None


def write_table(path: Path, table: pa.Table) -> None:
    """A side table (rejects, drops, audit pairs) as one Parquet file, flushed to disk."""
    pq.write_table(table, path, compression="zstd", compression_level=ZSTD_LEVEL)
    fsync(path)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    h = sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def fsync(path: Path) -> None:
    """Flushes a file, or a folder's entries, to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
