"""Versions → their duplicates → versions without them.

    found = find_duplicates(versions, Settings(near=Near(), scope="across"), work=folder)
    found.clusters, found.counts                 # which rows, for which, and why
    publish_unique(found, version, store, "chat-unique")

The stages go one after the other, each over the rows that the one before leaves: exact, near, then plug-ins. Where a
later stage takes away the row that another left for, that one stands again and all stages are gone through once more:
a row leaves only for one that it is a duplicate of, and that stays. What is found depends on the rows alone, not on
their order, workers, budget or interruptions.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.dedup import clusters, documents, exact, finders, signatures
from tulu_data.dedup.minhash import SIGNING
from tulu_data.dedup.near import BUDGET_BYTES, EngineName, Leaders, NearEngine, Work, engine_of
from tulu_data.dedup.result import Duplicates, load, save
from tulu_data.dedup.settings import ByFinder, Exact, Settings
from tulu_data.errors import UsageError
from tulu_data.manifest import ID_HEX, canonical_json
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, Version

VERSION = 2  # raise when the same rows and settings give other clusters
FOLDER = "duplicates"  # of a store: results
LOCK = "duplicates.lock"  # of `scans`: shared by searches that run

I64 = npt.NDArray[np.int64]


def duplicates_id(versions: Sequence[Version], settings: Settings, engine: EngineName = "auto") -> str:
    """`td1-` and 16 hex digits of what a result depends on: the rows with their ids and sources, the settings, and the
    engine: two may differ in a pair that one's bands miss.
    """
    given = sorted([v.name, v.manifest.build_id()] for v in versions)
    found_by = [finders.finder_of(s).digest(s) for s in settings.similar]
    content = {
        "versions": given,
        "settings": settings.model_dump(),
        "finders": found_by,
        "dedup": [VERSION, SIGNING],
        "engine": engine_of(engine).name if settings.near is not None else None,
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
    for version in versions:
        for compared in (settings.near, *settings.similar):
            if compared is not None:
                documents.check(version.kind, compared.what, version.name)
    identity = duplicates_id(versions, settings, engine)
    ordered = sorted(versions, key=lambda v: v.name)  # the same clusters whatever the order in which they are named
    at = Work(work, spill or work / "pairs", workers, budget_bytes, progress)
    groups = [ordered] if settings.scope == "across" else [[v] for v in ordered]
    tables = [_clusters(group, settings, engine_of(engine), at) for group in groups]
    facts = [{"name": v.name, "ref": v.ref, "digest": v.digest, "rows": v.rows} for v in ordered]
    return Duplicates(identity, settings, facts, clusters.joined(tables))


def _clusters(versions: Sequence[Version], settings: Settings, engine: NearEngine, work: Work) -> pa.Table:
    with work.progress.task("compare digests"):
        rows = exact.read_rows(versions, settings.exact, settings.priority)
    found = _Found(rows, settings.widest)
    stages = _stages(versions, settings, engine, work, rows)
    for stage in stages:
        found.take(*stage(found.standing()))
    while found.stand_again():
        # The exact stage goes last: of many rows with one prompt it would leave but one to compare in each round.
        for stage in (*stages[1:], stages[0]):
            found.take(*stage(found.standing()))
    unknown = found.close()
    if settings.near is not None and len(unknown):
        pairs = np.stack([unknown, found.leader[unknown]], axis=1)
        found.score[unknown] = engine.scores(versions, settings.near, pairs, work)
    return clusters.table(versions, found.leader, rows.ranked, found.kind, found.score)


Stage = Callable[[I64], tuple[Leaders, str]]  # rows in order of preference → which leave for which, and why


def _stages(
    versions: Sequence[Version], settings: Settings, engine: NearEngine, work: Work, rows: exact.RowTable
) -> list[Stage]:
    """The exact stage, which finds nothing where no kind is asked for, then the others in their order."""

    def by_digest(standing: I64) -> tuple[Leaders, str]:
        total, widest = len(rows.ranked), settings.widest
        leader = np.arange(total) if widest is None else exact.leaders(rows.digests[widest], standing)
        return Leaders(leader, np.ones(total)), str(widest)

    def by_words(standing: I64) -> tuple[Leaders, str]:
        assert settings.near is not None
        return engine.leaders(versions, settings.near, standing, work), "near"

    def by_finder(by: ByFinder, standing: I64) -> tuple[Leaders, str]:
        return finders.leaders(by, versions, standing, work), by.finder

    return [by_digest, *([by_words] if settings.near else []), *(partial(by_finder, by) for by in settings.similar)]


class _Found:
    """leader, kind, score: `(rows,)` the row for which each leaves, or itself; why; and how alike they are."""

    def __init__(self, rows: exact.RowTable, widest: Exact | None) -> None:
        self._rows, self._widest = rows, widest
        everyone = np.arange(len(rows.ranked))
        # The first in rank of each content decides for it: what is the same is like the same rows.
        self._first = everyone if widest is None else exact.leaders(rows.digests["row"], rows.ranked)
        self._own = np.flatnonzero(self._first == everyone)
        self.leader: I64 = self._first.copy()
        self.kind = np.full(len(everyone), None, np.object_)
        self.score = np.ones(len(everyone))

    def standing(self) -> I64:
        """The rows that stay so far, the one to keep first at the front."""
        ranked = self._rows.ranked
        stays: I64 = ranked[self.leader[ranked] == ranked]
        return stays

    def take(self, found: Leaders, kind: str) -> None:
        """Those leave that a stage found."""
        gone = np.flatnonzero(found.leader != np.arange(len(found.leader)))
        self.leader[gone], self.score[gone], self.kind[gone] = found.leader[gone], found.score[gone], kind

    def stand_again(self) -> bool:
        """Rows whose leader has left itself stay, to be compared once more; whether there are any."""
        lost = self._own[self.leader[self.leader[self._own]] != self.leader[self._own]]
        self.leader[lost] = lost
        return len(lost) > 0

    def close(self) -> I64:
        """Lets rows of one content go where the first of them went, and names the narrowest kind that holds between a
        row and the one that stays. Which rows have no similarity yet: those that share no more than a prompt with it.
        """
        first = self._first
        self.leader, self.kind, self.score = self.leader[first], self.kind[first], self.score[first]
        gone = np.flatnonzero(self.leader != np.arange(len(self.leader)))
        kinds = exact.kinds_of(self._rows, gone, self.leader[gone], self._widest)
        named = kinds != None  # noqa: E711 - of each element
        self.kind[gone[named]] = kinds[named]
        self.score[gone[named]] = np.where(kinds[named] == "row", 1.0, np.nan)
        unknown: I64 = gone[named & (kinds != "row")]
        return unknown


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
    scans, folder = store.root / "scans", store.root / FOLDER / duplicates_id(versions, settings, engine)
    kept = load(folder)
    if kept is not None:
        return kept
    with store.writing(), _using(scans) as others:
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
        if settings.near is not None and not others():
            for made in {signatures.folder_of(scans, version, settings.near) for version in versions}:
                if made.exists():
                    store.discard(made)
    return found


@contextmanager
def _using(scans: Path) -> Iterator[Callable[[], bool]]:
    """Marks the signatures of a store as read by this search; gives whether another reads some, so none may go."""
    scans.mkdir(parents=True, exist_ok=True)
    with (scans / LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)

        def others() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

        yield others
