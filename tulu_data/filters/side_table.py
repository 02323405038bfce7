"""Values of rows kept beside them, by row digest: a row is annotated once, in whatever version it stands.

    <store>/annotations/<filter>-<key>/<id>.parquet     row_sha, values

The key is a hash of the filter's name and version, the row kind and what else its values depend on: where that is the
rows' own token counts, which no digest covers, the bytes of the version's shards. Files are only
added; one that cannot be read is left out, and its rows are annotated again. Removing the folder costs time only.
In memory a version's annotations take about 40 bytes a row and filter, plus what was found; a file is read at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tulu_data.filters.annotation import Values
from tulu_data.filters.registry import Active
from tulu_data.manifest import canonical_json
from tulu_data.parquet import write_table
from tulu_data.rows import DIGEST_BYTES
from tulu_data.store import Store, Version

FOLDER = "annotations"
FLUSH_ROWS = 50_000  # a killed run loses what came after the last flush
KEY_HEX = 16


class Known(NamedTuple):
    """Some rows of a part that were annotated before: their positions in it, and their values."""

    positions: npt.NDArray[np.int64]
    values: pa.Array


class SideTable:
    """The values of one filter; `look_up` once, then `known` for part after part, and `add` what was not known."""

    def __init__(self, store: Store, chosen: Active, version: Version) -> None:
        self.store = store
        self.filter = chosen.filter
        what = {
            "filter": chosen.filter.name,
            "version": chosen.filter.version,
            "kind": version.kind,
            "depends": chosen.filter.key(chosen.section),
            "form": str(chosen.filter.form),
        }
        if chosen.filter.reads_tokens(chosen.section):
            what["counts"] = [shard.sha256 for shard in version.manifest.shards]
        key = sha256(canonical_json(what)).hexdigest()[:KEY_HEX]
        self.folder = store.root / FOLDER / f"{chosen.filter.name}-{key}"
        self.schema = pa.schema([pa.field("row_sha", pa.binary(DIGEST_BYTES)), pa.field("values", chosen.filter.form)])
        self._known: pa.Array = pa.nulls(0, chosen.filter.form)
        self._where: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._new: list[pa.Table] = []

    def look_up(self, row_shas: pa.Array) -> None:
        """Finds the rows of these digests, in order; a row that is not known has the position -1."""
        self._where = np.full(len(row_shas), -1, np.int64)
        left, values = np.arange(len(row_shas)), [pa.nulls(0, self.filter.form)]
        for path in sorted(self.folder.glob("*.parquet")):
            table = _read(path, self.schema) if len(left) else None
            if table is None:
                continue
            found = pc.index_in(row_shas.take(pa.array(left)), value_set=table["row_sha"].combine_chunks())
            at = np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)
            used, order = np.unique(at[at >= 0], return_inverse=True)
            self._where[left[at >= 0]] = sum(map(len, values)) + order
            values.append(table["values"].combine_chunks().take(pa.array(used)))
            left = left[at < 0]
        self._known = pa.concat_arrays(values)

    @property
    def missing(self) -> int:
        """How many of the rows looked up are still to be annotated."""
        return int((self._where < 0).sum())

    def known(self, first: int, rows: int) -> Known:
        """What is known of so many rows from there on."""
        where = self._where[first : first + rows]
        positions = np.flatnonzero(where >= 0)
        return Known(positions, self._known.take(pa.array(where[positions])))

    def add(self, row_shas: Sequence[bytes], values: Sequence[Values]) -> None:
        """Takes new values; they are on disk after the next flush."""
        if row_shas:
            self._new.append(pa.table([list(row_shas), list(values)], schema=self.schema))
        if sum(map(len, self._new)) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes new values as one more file, whole or not at all."""
        if not self._new:
            return
        table = pa.concat_tables(self._new).combine_chunks()
        name = sha256(b"".join(table["row_sha"].to_pylist())).hexdigest()[:KEY_HEX]
        with self.store.writing():
            temp = self.store.temp_folder(f"annotations-{self.filter.name}")
            try:
                write_table(temp / "values.parquet", table)
                self.folder.mkdir(parents=True, exist_ok=True)
                (temp / "values.parquet").replace(self.folder / f"{name}.parquet")
            finally:
                self.store.discard(temp)
        self._new = []


def _read(path: Path, schema: pa.Schema) -> Any:
    try:
        return pq.read_table(path).cast(schema)
    except (OSError, pa.ArrowException):
        return None
