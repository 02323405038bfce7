"""Exact duplicates: rows of one digest, and the order in which rows are preferred.

| kind | rows are duplicates where | digest |
|---|---|---|
| `row` | all content is equal | `row_sha` |
| `prompt` | the conversation up to the last user turn is, but for case and white space | `prompt_sha` |
| `last_turn` | the last user turn alone is, whatever came before | folded as `prompt_sha` is |

Each kind holds the one before it. `last_turn` also takes every "Go on." for one question: it is for single turns.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.dedup.settings import EXACTS, Exact
from tulu_data.errors import UsageError, nearest
from tulu_data.rows import digest_matrix
from tulu_data.store import Version

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

WORDS = 2  # of 64 bits, of a digest, that tell rows apart
COLUMNS = ["id", "source", "row_sha", "prompt_sha", "n_chars"]


class RowTable(NamedTuple):
    """What exact duplicates and the order of preference need to know of the rows of versions, numbered through.

    digests: by kind, `(rows, 2)`. ranked: `(rows,)` all rows, the one to keep first at the front.
    """

    digests: dict[Exact, U64]
    ranked: I64


def last_turn_sha(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """The digest of the last user turn (of the last message where there is none), folded as `rows.prompt_sha` folds.

    sha256("td1-last-turn", 00, text).
    """
    last = next((m for m in reversed(messages) if m["role"] == "user"), messages[-1])
    folded = " ".join(unicodedata.normalize("NFC", last["content"]).casefold().split())
    return sha256(b"td1-last-turn\0" + folded.encode()).digest()


def read_rows(versions: Sequence[Version], kinds: Sequence[Exact], priority: Sequence[str]) -> RowTable:
    """Reads the digests of rows and ranks them. priority: sources and versions, from the one to keep first."""
    places = {name: i for i, name in enumerate(priority)}
    digests: dict[Exact, list[U64]] = {kind: [] for kind in dict.fromkeys(("row", "prompt", *kinds))}
    tables = []
    for version in versions:
        for batch in version.batches([*COLUMNS, *(["messages"] if "last_turn" in digests else [])]):
            for kind, found in digests.items():
                found.append(_digests(batch, kind))
            tables.append(_preference(batch, version.name, places))
    ranked = _ranked(pa.concat_tables(tables)) if tables else np.zeros(0, np.int64)
    whole = {kind: np.concatenate(d) if d else np.zeros((0, WORDS), np.uint64) for kind, d in digests.items()}
    return RowTable(whole, ranked)


def check_priority(versions: Sequence[Version], priority: Sequence[str]) -> None:
    """`UsageError` for a name that is neither a source nor a version."""
    known = {v.name for v in versions} | {source for v in versions for source in v.manifest.logical.sources}
    for name in priority:
        if name not in known:
            tail = nearest(name, known, noun="source or version")
            raise UsageError(f"priority: {name!r} is neither a source nor a version here; {tail}")


def _digests(batch: pa.RecordBatch, kind: Exact) -> U64:
    if kind == "last_turn":
        whole = b"".join(last_turn_sha(messages) for messages in batch.column("messages").to_pylist())
        matrix = np.frombuffer(whole, np.uint8).reshape(-1, 32)
    else:
        matrix = digest_matrix(batch.column(f"{kind}_sha"))
    return matrix.view(np.uint64)[:, :WORDS].copy()


def _preference(batch: pa.RecordBatch, version: str, places: Mapping[str, int]) -> pa.Table:
    encoded = batch.column("source").dictionary_encode()
    of_version = places.get(version, len(places))
    of_source = [min(places.get(s, len(places)), of_version) for s in encoded.dictionary.to_pylist()]
    columns = {
        "priority": pa.array(np.array(of_source, np.int32)[encoded.indices.to_numpy()]),
        "n_chars": batch.column("n_chars"),
        "id": batch.column("id").cast(pa.large_string()),
        "row_sha": batch.column("row_sha").cast(pa.large_binary()),
        "version": pa.array([version] * len(batch)).dictionary_encode().cast(pa.string()),
    }
    return pa.table(columns)


def _ranked(table: pa.Table) -> I64:
    import pyarrow.compute as pc

    keys = [(name, "descending" if name == "n_chars" else "ascending") for name in table.column_names]
    return np.asarray(pc.sort_indices(table, sort_keys=keys).to_numpy(), np.int64)


def leaders(digests: U64, ranked: I64) -> I64:
    """`(rows,)` the row for which each leaves, the first in rank of its digest, or itself. digests: `(rows, 2)`;
    ranked: the rows that are looked at.
    """
    mine = digests[ranked]
    order = np.lexsort((mine[:, 1], mine[:, 0]))  # stable: of one digest the first in rank comes first
    mine = mine[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (mine[1:] != mine[:-1]).any(axis=1)
    rows = ranked[order]
    leader = np.arange(len(digests))
    leader[rows] = rows[begins][np.cumsum(begins) - 1]
    return leader


def kinds_of(table: RowTable, rows: I64, others: I64, widest: Exact | None) -> npt.NDArray[np.object_]:
    """The narrowest exact kind, up to the widest, in which each row is a duplicate of the other; None where none is."""
    kinds = np.full(len(rows), None, np.object_)
    for kind in reversed(EXACTS[: EXACTS.index(widest) + 1] if widest else ()):
        if kind in table.digests:
            digests = table.digests[kind]
            kinds[(digests[rows] == digests[others]).all(axis=1)] = kind
    return kinds
