"""Clusters: a row that stays, and the rows that leave for it, as a table that says why.

A row leaves for one that it is a duplicate of, and that stays: chains are not followed. Where a is like b and b like
c, but a is not like c, a and c stay. Joining all that hangs together would drop rows unlike any that is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.store import Version

I64 = npt.NDArray[np.int64]

CLUSTERS = pa.schema(
    [
        pa.field("cluster", pa.int64(), nullable=False),  # from 0, in the order in which rows are preferred
        pa.field("version", pa.string(), nullable=False),
        pa.field("row_index", pa.int64(), nullable=False),  # in the version
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("row_sha", pa.binary(32), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("kind", pa.string()),  # row, prompt, last_turn, near or a finder's name; null of the one kept
        pa.field("score", pa.float64()),  # Jaccard similarity to the one kept, or what the finder gave
    ]
)


def table(
    versions: Sequence[Version],
    leader: I64,
    ranked: I64,
    kind: npt.NDArray[np.object_],
    score: npt.NDArray[np.float64],
) -> pa.Table:
    """The clusters of more than one row; see `CLUSTERS`. leader, kind, score: `(rows,)`; each leader stays."""
    members = np.flatnonzero(leader != np.arange(len(leader)))
    rank = np.empty(len(ranked), np.int64)
    rank[ranked] = np.arange(len(ranked))
    kept = np.unique(leader[members])
    kept = kept[np.argsort(rank[kept])]
    cluster = np.full(len(leader), -1, np.int64)
    cluster[kept] = np.arange(len(kept))
    rows = np.concatenate([kept, members])
    rows = rows[np.lexsort((rank[rows], cluster[leader[rows]]))]  # the one kept is the first in rank
    is_kept = leader[rows] == rows
    identity, version, index = _identities(versions, rows)
    columns = {
        "cluster": pa.array(cluster[leader[rows]]),
        "version": pa.array(version, pa.string()),
        "row_index": pa.array(index),
        **{name: identity[name] for name in ("id", "source", "row_sha")},
        "kept": pa.array(is_kept),
        "kind": pa.array([None if k else kind[r] for r, k in zip(rows.tolist(), is_kept, strict=True)], pa.string()),
        "score": pa.array(score[rows], mask=is_kept | np.isnan(score[rows])),
    }
    return pa.table(columns).cast(CLUSTERS)


def _identities(versions: Sequence[Version], rows: I64) -> tuple[pa.Table, list[str], I64]:
    """Who rows are, in the order given: id, source and digest; the version's name; the place in it."""
    begins = np.concatenate([[0], np.cumsum([v.rows for v in versions])]).astype(np.int64)
    ascending = np.sort(rows)
    found = [CLUSTERS.empty_table().select(["id", "source", "row_sha"])]
    at = 0
    for version in versions:
        for batch in version.batches(["id", "source", "row_sha"]):
            low, high = np.searchsorted(ascending, [at, at + len(batch)])
            chosen = pa.Table.from_batches([batch]).take(pa.array(ascending[low:high] - at))
            found.append(chosen.select(["id", "source", "row_sha"]).cast(found[0].schema))
            at += len(batch)
    whole = pa.concat_tables(found).take(pa.array(np.searchsorted(ascending, rows)))
    of_version = np.searchsorted(begins, rows, side="right") - 1
    return whole, [versions[v].name for v in of_version.tolist()], rows - begins[of_version]


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The clusters of several searches, numbered through."""
    found, first = [CLUSTERS.empty_table()], 0
    for one in tables:
        numbers = one["cluster"].to_numpy() + first
        found.append(one.set_column(0, CLUSTERS.field("cluster"), pa.array(numbers)))
        first = int(numbers.max(initial=first - 1)) + 1
    return pa.concat_tables(found)
