"""What the plan of a mixture needs of each part: first words of digests, lengths, strata, ordinals. No text.

Full digests and ids are read only of rows whose first word repeats.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tulu_data.errors import RecipeError
from tulu_data.rows import SPECS, digest_matrix
from tulu_data.store import Version
from tulu_data.take import Candidates, Take, occurrences, repeated

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


class Part(NamedTuple):
    """One source of a mixture, under the name that the mixture gives it. `topic`: what its rows teach."""

    name: str
    version: Version
    take: Take
    topic: str | None = None


class PartColumns(NamedTuple):
    """What the plan needs of one part; of every row of the version, but for `kept`."""

    part: Part
    kept: I64 | None  # ordinals of the rows that the predicate keeps; None: all
    words: U64  # first 8 bytes of the row digest
    occurrence: I64
    n_chars: I64
    n_tokens: I64 | None
    stratum: I64 | None

    @property
    def available(self) -> int:
        """Rows that may be taken."""
        return len(self.words if self.kept is None else self.kept)

    def candidates(self) -> Candidates:
        """The rows that may be taken."""
        if self.kept is None:
            row = np.arange(len(self.words), dtype=np.int64)
            return Candidates(row, self.words, self.occurrence, self.n_tokens, self.stratum)
        return Candidates(
            row=self.kept,
            sha=self.words[self.kept],
            occurrence=self.occurrence[self.kept],
            n_tokens=None if self.n_tokens is None else self.n_tokens[self.kept],
            stratum=None if self.stratum is None else self.stratum[self.kept],
        )


def read_columns(part: Part) -> PartColumns:
    """The columns of a part's version; `RecipeError` where its take cannot be applied to them."""
    stratify, version = part.take.stratify, part.version
    schema = SPECS[version.kind].schema
    if stratify and not _is_plain(schema, stratify):
        plain = ", ".join(f.name for f in schema if _is_plain(schema, f.name))
        raise RecipeError(f"mix.{part.name}.stratify: {stratify!r} is no plain column; one of {plain}")
    words, n_chars, n_tokens = _words_and_lengths(version)
    return PartColumns(
        part=part,
        kept=None if part.take.where is None else _where(part, part.take.where),
        words=words,
        occurrence=_occurrence_in_version(version, words),
        n_chars=n_chars,
        n_tokens=n_tokens,
        stratum=_codes(version.table([stratify])[stratify]) if stratify else None,
    )


def _words_and_lengths(version: Version) -> tuple[U64, I64, I64 | None]:
    """First words of the digests, characters, and tokens where every row has them counted."""
    words = np.empty(version.rows, np.uint64)
    n_chars, n_tokens = np.empty((2, version.rows), np.int64)
    counted, start = True, 0
    for batch in version.batches(["row_sha", "n_chars", "n_tokens"]):
        end = start + len(batch)
        words[start:end] = digest_matrix(batch["row_sha"]).view("<u8")[:, 0]
        n_chars[start:end] = batch["n_chars"].to_numpy()
        counted = counted and batch["n_tokens"].null_count == 0
        if counted:
            n_tokens[start:end] = batch["n_tokens"].to_numpy()
        start = end
    return words, n_chars, n_tokens if counted else None


def _occurrence_in_version(version: Version, words: U64) -> I64:
    """Counts equal rows by id, so that which of them is the first does not depend on where they stand."""
    occurrence = np.zeros(len(words), np.int64)
    rows = repeated(words)
    if len(rows):
        rank = pc.rank(picked(version, "id", rows), tiebreaker="first").to_numpy().astype(np.int64)
        occurrence[rows] = occurrences(digest_matrix(picked(version, "row_sha", rows)), rank)
    return occurrence


def picked(version: Version, column: str, rows: I64) -> pa.ChunkedArray:
    """The values of a column at ascending ordinals."""
    found = []
    start = 0
    for batch in version.batches([column]):
        first, last = np.searchsorted(rows, [start, start + len(batch)])
        found.append(batch[column].take(pa.array(rows[first:last] - start)))
        start += len(batch)
    return pa.chunked_array(found)


def _is_plain(schema: pa.Schema, column: str) -> bool:
    index = schema.get_field_index(column)
    return index >= 0 and not pa.types.is_nested(schema.field(index).type)


def _codes(column: pa.ChunkedArray) -> I64:
    indices = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
    codes: I64 = indices.to_numpy().astype(np.int64)
    return codes


def _where(part: Part, where: str) -> I64:
    """Ordinals of the rows that the predicate keeps."""
    import polars as pl

    place = f"mix.{part.name}.where"
    try:
        predicate = pl.sql_expr(where).alias("keep")
        scan = pl.scan_parquet(part.version.shards, glob=False, hive_partitioning=False)
        # with_columns, not select: a predicate without columns (`true`) must give a value for every row.
        frame = scan.with_columns(predicate).select("keep").collect(engine="streaming")
    except pl.exceptions.PolarsError as e:
        reason = str(e).splitlines()[0]
        raise RecipeError(f"{place}: {where!r} cannot be evaluated ({reason}); see the row columns") from None
    if frame["keep"].dtype != pl.Boolean:
        raise RecipeError(f"{place}: {where!r} gives {frame['keep'].dtype}, not true or false")
    return np.flatnonzero(frame["keep"].fill_null(False).to_numpy()).astype(np.int64)
