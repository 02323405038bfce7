"""What a version's page reads of its rows: lengths of all, texts of few.

Of every row `source`, `license`, `row_sha`, `n_turns`, `n_chars` and `n_tokens` are read, one row group at a time, and
36 bytes kept; of the rows that are shown whole texts, from the row groups they stand in. Which rows those are hangs on
their digests alone: the smallest hash ranks, so many of each source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tulu_data.executor import map_with_state
from tulu_data.progress import Progress
from tulu_data.rows import SPECS, Kind, Row, digest_matrix
from tulu_data.store import RowGroup, Store, Version
from tulu_data.take import keys, ranked, salt
from tulu_data.tally import UNSTATED

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

TEXT_CHARS = 2_000  # of one text in a page
ROW_CHARS = 8_000  # of one row in a page; messages beyond are counted, not shown
READERS = 2  # threads that decode row groups
LENGTHS = ("n_turns", "n_chars", "n_tokens")
ABOUT = ("id", "source", "subset", "license", "tags", "prov", "row_sha", "n_turns", "n_chars", "n_tokens")
OF_A_PAIR = ("chosen_model", "rejected_model", "chosen_rating", "rejected_rating")
OF_A_TRUTH = ("ground_truth", "verifier", "constraint")


class Columns(NamedTuple):
    """Of every row, in order: its source as an index into `names`, the first 8 bytes of its digest, its lengths.

    license_tokens: by licence as the rows spell it.
    """

    names: list[str]
    source: npt.NDArray[np.int32]
    words: U64
    turns: I64
    chars: I64
    tokens: I64 | None  # None unless all rows are counted
    license_tokens: dict[str, int]


def read_columns(version: Version, progress: Progress) -> Columns:
    """The lengths and digests of a version's rows: no text is decoded."""
    names = list(version.manifest.logical.sources)
    place = pa.array(names, pa.string())
    lists: dict[str, list[npt.NDArray[Any]]] = {key: [np.empty(0, np.int64)] for key in LENGTHS}
    source, words = [np.empty(0, np.int32)], [np.empty(0, np.uint64)]
    license_tokens: dict[str, int] = {}
    with progress.task(f"lengths of {version.name}", version.rows) as advance:
        for batch in version.batches(["source", "license", "row_sha", *LENGTHS]):
            found = pc.index_in(batch["source"], value_set=place)
            source.append(found.to_numpy(zero_copy_only=False).astype(np.int32))
            words.append(first_words(batch["row_sha"]))
            for key in LENGTHS:  # a null is a row whose tokens were not counted
                lists[key].append(pc.fill_null(batch[key], -1).to_numpy(zero_copy_only=False).astype(np.int64))
            _add_by_license(license_tokens, batch)
            advance(len(batch))
    whole = {key: np.concatenate(listed) for key, listed in lists.items()}
    tokens = whole["n_tokens"]
    return Columns(
        names,
        np.concatenate(source),
        np.concatenate(words),
        whole["n_turns"],
        whole["n_chars"],
        tokens if len(tokens) and tokens.min() >= 0 else None,
        license_tokens,
    )


def _add_by_license(counts: dict[str, int], batch: pa.RecordBatch) -> None:
    groups = (
        pa.Table.from_batches([batch.select(["license", "n_tokens"])])
        .group_by("license")
        .aggregate([("n_tokens", "sum")])
    )
    for name, tokens in zip(groups["license"].to_pylist(), groups["n_tokens_sum"].to_pylist(), strict=True):
        key = name if name is not None else UNSTATED
        counts[key] = counts.get(key, 0) + (tokens or 0)


def first_words(digests: pa.Array | pa.ChunkedArray) -> U64:
    """The first 8 bytes of digests as numbers: `(rows,)`."""
    return np.ascontiguousarray(digest_matrix(digests)[:, :8]).view(np.uint64).ravel()


def by_rank(words: U64) -> I64:
    """Rows in the order of their hash rank for a page: `(rows,)` ordinals, smallest first."""
    none = np.zeros(len(words), np.int64)
    return ranked(keys(words, none, salt(0, "page")), words, none)


def sample(columns: Columns, rows: int) -> I64:
    """Ordinals of `rows` rows, as many of each source as it has of an equal share, ascending."""
    order = by_rank(columns.words)
    sources = columns.source[order]
    sizes = np.bincount(sources, minlength=len(columns.names))
    quota = quotas(sizes.tolist(), rows)
    chosen = [order[sources == i][:n] for i, n in enumerate(quota) if n]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def quotas(sizes: Sequence[int], total: int) -> list[int]:
    """`total` shared out evenly; what a small one lacks goes to the others.

    >>> quotas([2, 100, 100], 20)
    [2, 9, 9]
    """
    found = [0] * len(sizes)
    left = total
    ascending = sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
    for done, i in enumerate(ascending):
        found[i] = min(sizes[i], left // (len(sizes) - done))
        left -= found[i]
    return found


# ------------------------------------------------------------ whole rows


def rows_at(version: Version, ordinals: I64) -> list[Row]:
    """The rows at these places (ascending), as a page shows them: with their texts, and what is known of them."""
    spec = SPECS[version.kind]
    held = {*OF_A_PAIR, *OF_A_TRUTH} & set(spec.schema.names)
    columns = (*ABOUT, *spec.message_columns, *sorted(held))
    taken = map_with_state(_take, columns, _wanted(version.parts(), ordinals), workers=READERS, how="threads")
    return [shown_row(version.kind, row) for rows in taken for row in rows]


class _Wanted(NamedTuple):
    part: RowGroup
    rows: I64  # within the part


def _wanted(parts: Iterable[RowGroup], ordinals: I64) -> Iterator[_Wanted]:
    at = 0
    for part in parts:
        low, high = np.searchsorted(ordinals, [at, at + part.rows])
        if high > low:
            yield _Wanted(part, ordinals[low:high] - at)
        at += part.rows


def _take(columns: Sequence[str], wanted: _Wanted) -> list[Row]:
    rows: list[Row] = pa.Table.from_batches([wanted.part.read(columns)]).take(pa.array(wanted.rows)).to_pylist()
    return rows


def rows_of(version: Version, digests: Iterable[bytes]) -> dict[bytes, Row]:
    """The rows of these digests that the version holds, by digest; of equal rows the first."""
    wanted = pa.array(sorted(set(digests)), pa.binary(32))
    found: dict[int, int] = {}
    at = 0
    for batch in version.batches(["row_sha"]) if len(wanted) else ():
        hits = pc.index_in(batch["row_sha"], value_set=wanted)
        for i in np.flatnonzero(hits.is_valid().to_numpy(zero_copy_only=False)).tolist():
            found.setdefault(hits[i].as_py(), at + i)
        at += len(batch)
    places = sorted((place, which) for which, place in found.items())
    rows = rows_at(version, np.array([place for place, _ in places], np.int64))
    return {wanted[which].as_py(): row for (_, which), row in zip(places, rows, strict=True)}


def shown_row(kind: Kind, row: Row) -> Row:
    """A row as a page holds it: texts clipped, what is empty left out, digests as text."""
    budget = [ROW_CHARS]
    texts = {c: _messages(row[c], budget) for c in SPECS[kind].message_columns}
    told = {key: row[key] for key in OF_A_PAIR if row.get(key) is not None}
    told |= {key: clipped(row[key]) for key in OF_A_TRUTH if row.get(key) is not None}
    prov = {k: v for k, v in (row["prov"] or {}).items() if v not in (None, [], 0) or k == "orig_index"}
    return {
        "i": row["id"],
        "s": row["source"],
        "u": row["subset"],
        "l": row["license"],
        "t": row["tags"] or [],
        "h": row["row_sha"].hex(),
        "n": [row["n_turns"], row["n_chars"], row["n_tokens"]],
        "x": texts,
        "k": told,
        "p": prov,
    }


def _messages(messages: Sequence[Row], budget: list[int]) -> list[list[Any]]:
    """[role, text, characters left out, tool calls or null] of each message; at the end [null, messages left out]."""
    found: list[list[Any]] = []
    for i, m in enumerate(messages):
        if budget[0] <= 0:
            found.append([None, len(messages) - i])
            break
        text = m["content"][: min(TEXT_CHARS, budget[0])]
        budget[0] -= len(text)
        calls = m.get("tool_calls")
        found.append([m["role"], text, len(m["content"]) - len(text), calls[:TEXT_CHARS] if calls else None])
    return found


def clipped(text: str | None, limit: int = TEXT_CHARS) -> str | None:
    """At most so many characters, with a sign where there were more."""
    return text if text is None or len(text) <= limit else text[:limit] + " …"


# ------------------------------------------------------------ side files


def side_rows(file: pq.ParquetFile, ordinals: I64) -> list[Row]:
    """The rows at these places (ascending) of a side file, one row group at a time."""
    found: list[Row] = []
    at = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        low, high = np.searchsorted(ordinals, [at, at + rows])
        if high > low:
            found += file.read_row_group(group).take(pa.array(ordinals[low:high] - at)).to_pylist()
        at += rows
    return found


def stored(store: Store, ref: str) -> Version | None:
    """The version `name@tv1-…` where the store holds it whole enough to be opened, else None."""
    from tulu_data.errors import StoreError

    try:
        return store.open_build(ref, None)
    except StoreError:
        return None
