"""What a version's page shows of duplicates: how many of each kind, how large their clusters, and some to look at.

The clusters' table is read whole; texts of the rows that are shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tulu_data.dedup import result
from tulu_data.dedup.publishing import REASONS
from tulu_data.dedup.result import Duplicates
from tulu_data.errors import StoreError
from tulu_data.manifest import Manifest
from tulu_data.mixture_samples import by_rank, first_words, rows_at, stored
from tulu_data.rows import Row
from tulu_data.store import Store

I64 = npt.NDArray[np.int64]

LARGEST = 12  # clusters shown for their size
FAINTEST = 10  # ... of each scored kind, for the least likeness
OF_A_KIND = 12  # ... of each kind, by hash rank
MEMBERS = 6  # rows of a cluster that are shown beside the one kept
SIZES = ((2, 2), (3, 3), (4, 5), (6, 10), (11, 30), (31, 100), (101, None))  # rows in a cluster


def searches(manifest: Manifest) -> list[str]:
    """The searches for duplicates on a version's way, by id."""
    return list(dict.fromkeys(s.params["duplicates"] for s in manifest.steps if "duplicates" in s.params))


def clusters(ids: Sequence[str], store: Store) -> dict[str, Any] | None:
    """The searches' results together; None where there was none. `missing`: those that the store no longer holds."""
    if not ids:
        return None
    found = [(id_, result.load(store.root / "duplicates" / id_)) for id_ in ids]
    held = [d for _, d in found if d is not None]
    sizes, kinds = np.zeros(0, np.int64), dict[str, int]()
    for one in held:
        sizes = np.concatenate([sizes, np.bincount(one.clusters["cluster"].to_numpy())])
        for entry in pc.value_counts(one.clusters["kind"].drop_null()).to_pylist():
            kinds[entry["values"]] = kinds.get(entry["values"], 0) + entry["counts"]
    shown = [cluster for one in held for cluster in _shown(one, store)]
    return {
        "missing": [id_ for id_, d in found if d is None],
        "ids": [d.id for d in held],
        "settings": _settings(held),
        "clusters": len(sizes),
        "rows": int(sizes.sum()),
        "leaving": int(sizes.sum()) - len(sizes),
        "kinds": [
            (REASONS.get(k, f"alike by {k}"), k, n) for k, n in sorted(kinds.items(), key=lambda e: (-e[1], e[0]))
        ],
        "sizes": _histogram(sizes),
        "shown": shown,
    }


def _settings(held: Sequence[Duplicates]) -> list[dict[str, Any]]:
    """What was looked for, and over how many sources: searches within sources that looked for the same stand as one."""
    alike: dict[str, list[Duplicates]] = defaultdict(list)
    for one in held:
        alike[_looked_for(one) + ("" if one.settings.scope == "within" else one.id)].append(one)
    found = []
    for searches_alike in alike.values():
        first, count = searches_alike[0], sum(len(d.versions) for d in searches_alike)
        sources = "one source" if count == 1 else f"{count:,} sources"
        within = "within each of" if first.settings.scope == "within" and count > 1 else first.settings.scope
        words = f"{_looked_for(first)}; {within} {sources}"
        found.append({"words": words, "ids": [d.id for d in searches_alike]})
    return found


def _looked_for(found: Duplicates) -> str:
    given = found.settings
    exact = [f"exact {kind.replace('_', ' ')}" for kind in given.exact]
    near = [f"near ≥ {given.near.threshold:g} by words"] if given.near is not None else []
    others = [f"{s.finder} ≥ {s.threshold:g}" for s in given.similar]
    return ", ".join([*exact, *near, *others])


def _histogram(sizes: I64) -> list[dict[str, Any]]:
    bars: list[dict[str, Any]] = []
    for low, high in SIZES:
        inside = sizes[(sizes >= low) & (sizes <= (high or sizes.max(initial=low)))]
        words = f"{low}" if low == high else f"{low} – {high}" if high else f"over {low - 1}"
        bars.append({"words": words, "clusters": len(inside), "rows": int(inside.sum())})
    most = max((b["clusters"] for b in bars), default=0) or 1
    while bars and not bars[-1]["clusters"]:
        bars.pop()
    return [b | {"width": round(100 * b["clusters"] / most, 2)} for b in bars]


# ------------------------------------------------------------ some to look at


def _shown(found: Duplicates, store: Store) -> list[dict[str, Any]]:
    """Clusters to look at: the largest, of each scored kind those least alike, and of each kind some by hash rank."""
    table = found.clusters
    if not len(table):
        return []
    cluster = table["cluster"].to_numpy()
    begins = np.searchsorted(cluster, np.arange(cluster[-1] + 1))
    chosen: dict[int, str] = {}
    sizes = np.bincount(cluster)
    for number in np.lexsort((np.arange(len(sizes)), -sizes))[:LARGEST].tolist():
        chosen.setdefault(number, "among the largest")
    rank = by_rank(first_words(table["row_sha"]))
    kinds, scores = table["kind"], pc.fill_null(table["score"], np.inf).to_numpy()
    for kind in sorted(set(kinds.drop_null().to_pylist())):
        is_kind = pc.fill_null(pc.equal(kinds, kind), fill_value=False).to_numpy(zero_copy_only=False)
        faint = np.flatnonzero(is_kind & (scores < 1))
        faint = faint[np.lexsort((faint, scores[faint]))]
        for rows, why, most in ((faint, "least alike", FAINTEST), (rank[is_kind[rank]], "by chance", OF_A_KIND)):
            for number in list(dict.fromkeys(n for n in cluster[rows].tolist() if n not in chosen))[:most]:
                chosen[number] = why
    members = {n: _members(int(begins[n]), int(sizes[n]), scores) for n in chosen}
    rows = _texts(found, table, np.array(sorted({m for listed in members.values() for m in listed}), np.int64), store)
    return [
        {
            "n": int(sizes[n]),
            "w": chosen[n],
            "k": sorted({rows[m]["k"] for m in listed[1:]}),
            "m": [rows[m] for m in listed],
        }
        for n, listed in members.items()
    ]


def _members(first: int, size: int, scores: npt.NDArray[np.float64]) -> list[int]:
    """The row that is kept, then those that leave for it, the least alike first."""
    leave = np.arange(first + 1, first + size)
    return [first, *leave[np.lexsort((leave, scores[leave]))][:MEMBERS].tolist()]


def _texts(found: Duplicates, table: pa.Table, places: I64, store: Store) -> dict[int, dict[str, Any]]:
    """By place in the table: id, source, kind and score, and the row's texts where the store still has it."""
    listed = table.take(pa.array(places)).to_pylist()
    refs = {v["name"]: v["ref"] for v in found.versions}
    wanted: dict[str, set[int]] = defaultdict(set)
    for row in listed:
        wanted[row["version"]].add(row["row_index"])
    texts = {name: _read(store, refs.get(name, ""), sorted(rows)) for name, rows in wanted.items()}
    return {
        place: {
            "i": row["id"],
            "s": row["source"],
            "v": refs.get(row["version"], row["version"]),
            "k": row["kind"],
            "c": None if row["score"] is None else round(row["score"], 4),
            "x": texts[row["version"]].get(row["row_index"]),
        }
        for place, row in zip(places.tolist(), listed, strict=True)
    }


def _read(store: Store, ref: str, rows: Sequence[int]) -> Mapping[int, Row]:
    version = stored(store, ref)
    if version is None:
        return {}
    try:
        return dict(zip(rows, rows_at(version, np.array(rows, np.int64)), strict=True))
    except (StoreError, ValueError):
        return {}
