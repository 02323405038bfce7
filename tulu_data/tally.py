"""Counting rows as they are written: digests in order, and per source rows, duplicates, lengths and licences."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.manifest import Logical, SourceStats
from tulu_data.rows import DIGEST_BYTES, digest_matrix, order_id, set_id
from tulu_data.take import repeated

UNSTATED = "unstated"  # the licence of rows whose source states none


class _Counts:
    def __init__(self) -> None:
        self.rows = 0
        self.chars = 0
        self.tokens = 0
        self.rows_with_tokens = 0
        self.licenses: dict[str, int] = defaultdict(int)


class Tally:
    """An accumulator over tables in a row schema; 36 bytes a row. Tallies of consecutive rows can be merged."""

    def __init__(self) -> None:
        self._digests: list[npt.NDArray[np.uint8]] = []
        self._codes: list[npt.NDArray[np.uint32]] = []  # the source of each row, as an index into _sources
        self._sources: dict[str, _Counts] = {}

    def add(self, table: pa.Table) -> None:
        """Counts the rows of `table`, which follow those counted before."""
        self._digests.append(digest_matrix(table["row_sha"]))
        encoded = table["source"].combine_chunks().dictionary_encode()
        self._codes.append(self._recode(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()])
        groups = table.group_by(["source", "license"]).aggregate(
            [("n_chars", "sum"), ("n_tokens", "sum"), ("n_tokens", "count"), ([], "count_all")]
        )
        for group in groups.to_pylist():
            counts = self._sources[group["source"]]
            counts.rows += group["count_all"]
            counts.chars += group["n_chars_sum"]
            counts.tokens += group["n_tokens_sum"] or 0
            counts.rows_with_tokens += group["n_tokens_count"]
            counts.licenses[group["license"] or UNSTATED] += group["count_all"]

    def merge(self, other: Tally) -> None:
        """Counts the rows of `other`, which follow those counted here."""
        self._digests += other._digests
        recode = self._recode(list(other._sources))
        self._codes += [recode[codes] for codes in other._codes]
        for name, theirs in other._sources.items():
            ours = self._sources[name]
            ours.rows += theirs.rows
            ours.chars += theirs.chars
            ours.tokens += theirs.tokens
            ours.rows_with_tokens += theirs.rows_with_tokens
            for license_, rows in theirs.licenses.items():
                ours.licenses[license_] += rows

    def digests(self) -> npt.NDArray[np.uint8]:
        """The row digests so far, in order: `(rows, 32)` bytes."""
        whole = np.concatenate(self._digests) if self._digests else np.empty((0, DIGEST_BYTES), np.uint8)
        self._digests = [whole]
        return whole

    def logical(self) -> Logical:
        """The identities and counts of all rows so far."""
        digests = self.digests()
        unique = self._unique_per_source(digests)
        sources = {
            name: SourceStats(
                rows=c.rows,
                unique=unique[name],
                copies=c.rows - unique[name],
                chars=c.chars,
                tokens=c.tokens if c.rows_with_tokens == c.rows else None,
                licenses=dict(sorted(c.licenses.items())),
            )
            for name, c in sorted(self._sources.items())
        }
        tokens = [s.tokens for s in sources.values()]
        return Logical(
            rows=len(digests),
            chars=sum(s.chars for s in sources.values()),
            tokens=sum(t for t in tokens if t is not None) if None not in tokens else None,
            set_id=set_id(digests),
            order_id=order_id(digests),
            sources=sources,
        )

    def _recode(self, names: list[str]) -> npt.NDArray[np.uint32]:
        for name in names:
            self._sources.setdefault(name, _Counts())
        position = {name: i for i, name in enumerate(self._sources)}
        return np.array([position[name] for name in names], np.uint32)

    def _unique_per_source(self, digests: npt.NDArray[np.uint8]) -> dict[str, int]:
        if len(digests) == 0:
            return dict.fromkeys(self._sources, 0)
        codes = np.concatenate(self._codes)
        rows = repeated(np.ascontiguousarray(digests.view(np.uint64)[:, 0]))
        words = digests[rows].view(np.uint64)
        of_source = codes[rows]
        order = np.lexsort((words[:, 1], words[:, 0], of_source))  # 128 bits tell digests apart
        of_source, words = of_source[order], words[order]
        same = (of_source[1:] == of_source[:-1]) & (words[1:, :2] == words[:-1, :2]).all(axis=1)
        unique = np.bincount(codes, minlength=len(self._sources))
        unique -= np.bincount(of_source[1:][same], minlength=len(self._sources))
        return {name: int(n) for name, n in zip(self._sources, unique, strict=True)}
