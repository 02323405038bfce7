"""Versions → their duplicates → versions without them.

    found = find_duplicates(versions, Settings(near=Near(), scope="across"), work=folder)
    found.clusters, found.counts                 # which rows, for which, and why
    publish_unique(found, version, store, "chat-unique")

The stages go one after the other, each over the rows that the one before leaves: exact, near, then plug-ins. What is
found depends on the rows alone, not on their order, workers, budget or interruptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.dedup import clusters, exact, finders, signatures
from tulu_data.dedup.minhash import SIGNING
from tulu_data.dedup.near import BUDGET_BYTES, EngineName, Leaders, NearEngine, Work, engine_of
from tulu_data.dedup.result import Duplicates, load, save
from tulu_data.dedup.settings import Settings
from tulu_data.errors import UsageError
from tulu_data.manifest import ID_HEX, canonical_json
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, Version

VERSION = 1  # raise when the same rows and settings give other clusters
FOLDER = "duplicates"  # of a store: results

I64 = npt.NDArray[np.int64]


def duplicates_id(versions: Sequence[Version], settings: Settings) -> str:
    """`td1-` and 16 hex digits of what a result depends on: the rows with their ids and sources, and the settings."""
    given = sorted([v.name, v.manifest.build_id()] for v in versions)
    found_by = [finders.finder_of(s.finder).digest for s in settings.similar]
    content = {
        "versions": given,
        "settings": settings.model_dump(),
        "finders": found_by,
        "dedup": [VERSION, SIGNING],
    }
    return f"td1-{sha256(canonical_json(content)).hexdigest()[:ID_HEX]}"


def find_duplicates(
    versions: Sequence[Version],
    settings: Settings | None = None,
    *,
    work: Path,
    spill: Path | None = None,
    workers: int = 1,
    engine: EngineName = "auto",
    budget_bytes: int = BUDGET_BYTES,
    progress: Progress | None = None,
) -> Duplicates:
    """The duplicates within each version, or across all of them, and which row stays for which.

    Signatures are kept in `work`, from which a killed run goes on; it is left for the caller to remove. Pairs that do
    not fit into `budget_bytes` of memory go to `spill`, a folder that no other search uses (the default is one below
    `work`). The result depends on versions and settings alone.
    `UsageError` where two versions share a name, for a name in `priority` that nobody has, for `what: answer` where
    rows hold none, for an engine or finder that is not there.
    """
    settings, progress = settings or Settings(), progress or Silent()
    names = [v.name for v in versions]
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise UsageError(f"{twice}: is given twice; name each dataset once")
    exact.check_priority(versions, settings.priority)
    ordered = sorted(versions, key=lambda v: v.name)  # the same clusters whatever the order in which they are named
    at = Work(work, spill or work / "pairs", workers, budget_bytes, progress)
    groups = [ordered] if settings.scope == "across" else [[v] for v in ordered]
    tables = [_clusters(group, settings, engine_of(engine), at) for group in groups]
    facts = [{"name": v.name, "ref": v.ref, "digest": v.digest, "rows": v.rows} for v in ordered]
    return Duplicates(duplicates_id(versions, settings), settings, facts, clusters.joined(tables))


def _clusters(versions: Sequence[Version], settings: Settings, engine: NearEngine, work: Work) -> pa.Table:
    with work.progress.task("compare digests"):
        rows = exact.read_rows(versions, settings.exact, settings.priority)
    total = len(rows.ranked)
    kind = np.full(total, None, np.object_)
    leader, score = np.arange(total), np.ones(total)
    if settings.widest is not None:
        leader = exact.leaders(rows.digests[settings.widest], rows.ranked)
        gone = np.flatnonzero(leader != np.arange(total))
        kind[gone] = list(exact.kinds_of(rows, np.stack([gone, leader[gone]], axis=1)))

    def stage(found: Leaders, name: str) -> None:
        gone = np.flatnonzero(found.leader != np.arange(total))
        leader[gone], score[gone], kind[gone] = found.leader[gone], found.score[gone], name

    def left() -> I64:
        stays: I64 = leader == np.arange(total)
        return rows.ranked[stays[rows.ranked]]

    if settings.near is not None:
        stage(engine.leaders(versions, settings.near, left(), work), "near")
    for by in settings.similar:
        with work.progress.task(f"compare by {by.finder}"):
            found = finders.leaders(finders.finder_of(by.finder), versions, left(), by.what, by.threshold)
        stage(found, by.finder)
    whole = clusters.resolve(leader)
    _score_the_rest(versions, settings, engine, work, rows, kind, score, leader, whole)
    return clusters.table(versions, whole, rows.ranked, kind, score)


def _score_the_rest(
    versions: Sequence[Version],
    settings: Settings,
    engine: NearEngine,
    work: Work,
    rows: exact.RowTable,
    kind: npt.NDArray[np.object_],
    score: npt.NDArray[np.float64],
    leader: I64,
    whole: I64,
) -> None:
    """The similarity, to the row that stays, of rows that left by an exact kind, or for one that left later itself."""
    gone = np.flatnonzero(whole != np.arange(len(whole)))
    same = (rows.digests["row"][gone] == rows.digests["row"][whole[gone]]).all(axis=1)
    score[gone[same]] = 1.0
    scored = np.isin(kind[gone], ["row", "prompt", "last_turn"]) | (whole[gone] != leader[gone])
    unknown = gone[~same & scored]
    score[unknown] = np.nan
    if settings.near is not None and len(unknown):
        pairs = np.stack([unknown, whole[unknown]], axis=1)
        score[unknown] = engine.scores(versions, settings.near, pairs, work)


def find_in_store(
    versions: Sequence[Version],
    settings: Settings,
    store: Store,
    *,
    workers: int = 1,
    engine: EngineName = "auto",
    budget_bytes: int = BUDGET_BYTES,
    progress: Progress | None = None,
) -> Duplicates:
    """`find_duplicates`, or what the store holds of it. The result is kept under `duplicates/`; signatures stand under
    `scans/` until then, so a killed run goes on.
    """
    scans, folder = store.root / "scans", store.root / FOLDER / duplicates_id(versions, settings)
    kept = load(folder)
    if kept is not None:
        return kept
    with store.writing():
        temp = store.temp_folder("dedup")
        try:
            found = find_duplicates(
                versions,
                settings,
                work=scans,
                spill=temp / "pairs",
                workers=workers,
                engine=engine,
                budget_bytes=budget_bytes,
                progress=progress,
            )
            save(found, temp / "result", folder, store)
        finally:
            store.discard(temp)
        if settings.near is not None:
            for made in {signatures.folder_of(scans, version, settings.near) for version in versions}:
                if made.exists():
                    store.discard(made)
    return found
