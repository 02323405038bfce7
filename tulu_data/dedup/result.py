"""What a search for duplicates found: the clusters, the settings, and the counts that follow from them."""

from __future__ import annotations

import errno
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tulu_data.dedup.clusters import CLUSTERS
from tulu_data.dedup.settings import EXACTS, Settings
from tulu_data.parquet import write_table
from tulu_data.store import Store

FORMAT = "tulu-duplicates/1"
MANIFEST, TABLE = "duplicates.json", "clusters.parquet"


@dataclass(frozen=True)
class Duplicates:
    """id: of the rows and settings. versions: name, ref, digest and rows of each. clusters: `clusters.CLUSTERS`."""

    id: str
    settings: Settings
    versions: list[dict[str, Any]]
    clusters: pa.Table

    @property
    def counts(self) -> list[dict[str, Any]]:
        """Of each version: rows, how many leave by each kind, how many are kept."""
        gone = self.clusters.filter(pc.invert(self.clusters["kept"]))
        found = Counter(zip(gone["version"].to_pylist(), gone["kind"].to_pylist(), strict=True))
        kinds = self.kinds
        counts = []
        for version in self.versions:
            by_kind = {kind: found[version["name"], kind] for kind in kinds}
            kept = version["rows"] - sum(by_kind.values())
            counts.append({"version": version["ref"], "rows": version["rows"], **by_kind, "kept": kept})
        return counts

    @property
    def kinds(self) -> list[str]:
        """The kinds of duplicates that were looked for, and those that others hold: from the narrowest on."""
        widest = self.settings.widest
        exact = EXACTS[: EXACTS.index(widest) + 1] if widest else ()
        near = ["near"] if self.settings.near is not None else []
        return [*exact, *near, *(s.finder for s in self.settings.similar)]

    def leaving(self, name: str) -> pa.Table:
        """The rows of a version that leave, in row order, each beside the one it leaves for: the columns of
        `CLUSTERS`, `kept_id` and `kept_version`.
        """
        stays = self.clusters.filter(self.clusters["kept"]).select(["cluster", "id", "version"])
        stays = stays.rename_columns(["cluster", "kept_id", "kept_version"])
        gone = self.clusters.filter(pc.and_(pc.invert(self.clusters["kept"]), pc.equal(self.clusters["version"], name)))
        return gone.join(stays, "cluster").sort_by("row_index")

    def kept_mask(self, name: str, rows: int) -> npt.NDArray[np.bool_]:
        """`(rows,)` which rows of a version stay."""
        kept = np.ones(rows, np.bool_)
        kept[self.leaving(name)["row_index"].to_numpy()] = False
        return kept

    @property
    def manifest(self) -> dict[str, Any]:
        """Id, settings, versions and counts as plain data."""
        return {
            "format": FORMAT,
            "id": self.id,
            "settings": self.settings.model_dump(),
            "versions": self.versions,
            "counts": self.counts,
            "clusters": int(pc.sum(self.clusters["kept"]).as_py() or 0),
        }


def save(found: Duplicates, temp: Path, folder: Path, store: Store) -> None:
    """Writes a result to `temp` and renames it to `folder`. One that is damaged there is replaced; one that another
    search has put there meanwhile is the same, and stays.
    """
    temp.mkdir(parents=True)
    write_table(temp / TABLE, found.clusters)
    (temp / MANIFEST).write_text(json.dumps(found.manifest, indent=1) + "\n", encoding="utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and load(folder) is None:
        store.discard(folder)
    try:
        temp.rename(folder)
    except OSError as e:
        if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def load(folder: Path) -> Duplicates | None:
    """The result in a folder; None where there is none, or it is damaged or of another format."""
    import pyarrow.parquet as pq

    try:
        described = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        clusters = pq.read_table(folder / TABLE)
        if described["format"] != FORMAT or clusters.schema != CLUSTERS:
            return None
        return Duplicates(
            described["id"], Settings.model_validate(described["settings"]), described["versions"], clusters
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
