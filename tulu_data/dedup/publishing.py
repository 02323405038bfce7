"""From duplicates to versions without them, each with the record of what left and for which row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tulu_data.dedup.result import Duplicates
from tulu_data.errors import InputError
from tulu_data.executor import map_with_state
from tulu_data.manifest import Origin, Step
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Progress, Silent
from tulu_data.recipe import UNIQUE
from tulu_data.store import RowGroup, Store, Version

STEP = "dedup"
SCORE_DIGITS = 4  # in the list of what left; the clusters hold all
READERS = 2  # threads that decode ahead of the one that encodes
REASONS = {
    "row": "same content",
    "prompt": "same prompt",
    "last_turn": "same last question",
    "near": "near duplicate",
}

DROPS = pa.schema(
    [
        pa.field("row_sha", pa.binary(32)),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("step", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("kept_id", pa.string()),  # the row that stays for it
        pa.field("kept_version", pa.string()),
        pa.field("score", pa.float64()),  # Jaccard similarity to that row, or what a finder gave
    ]
)


def publish_unique(
    found: Duplicates,
    version: Version,
    store: Store,
    name: str | None = None,
    *,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes the rows of a version that stay, in order, under `name` (NAME-unique by default).

    What left is kept in `drops/dedup.parquet`. `InputError` where the duplicates are of other rows.
    """
    facts = next((v for v in found.versions if v["name"] == version.name), None)
    if facts is None or facts["digest"] != version.digest:
        given = facts["ref"] if facts else ", ".join(v["ref"] for v in found.versions)
        raise InputError(f"{version.ref}: duplicates {found.id} are those of {given}; run tulu dedup again")
    kept = found.kept_mask(version.name, version.rows)
    drops = drops_table(found, version.name)
    progress = progress or Silent()
    with store.build(name or f"{version.name}{UNIQUE}", version.kind) as build:
        writer = ShardWriter(build.data, version.kind)
        with progress.task(f"drop duplicates of {version.name}", version.rows) as advance:
            parts = map_with_state(_kept_rows, kept, _places(version), workers=READERS, how="threads")
            for rows, table in parts:  # in order; row groups are read and filtered while others are written
                writer.write(table)
                advance(rows)
        shards = writer.close()
        others = [v["ref"] for v in found.versions if found.settings.scope == "across" and v["ref"] != version.ref]
        step = Step(
            name=STEP,
            source=version.name,
            params={"duplicates": found.id, **found.settings.model_dump()},
            rows_in=version.rows,
            rows_out=sum(s.rows for s in shards),
            parents=[version.ref, *others],
            drops=build.add_table(f"drops/{STEP}.parquet", drops) if len(drops) else None,
        )
        return build.publish(
            shards,
            writer.tally.logical(),
            inputs=version.manifest.inputs,
            steps=[*version.manifest.steps, step],
            decontamination=version.manifest.decontamination,
            tokenizer=version.manifest.tokenizer,
            origin=origin,
        )


class _Place(NamedTuple):
    first: int
    part: RowGroup


def _places(version: Version) -> list[_Place]:
    places, first = [], 0
    for part in version.parts():
        places.append(_Place(first, part))
        first += part.rows
    return places


def _kept_rows(kept: npt.NDArray[np.bool_], place: _Place) -> tuple[int, pa.Table]:
    """How many rows a part has, and those that stay."""
    table = pa.Table.from_batches([place.part.read()])
    return len(table), table.filter(pa.array(kept[place.first : place.first + len(table)]))


def drops_table(found: Duplicates, name: str) -> pa.Table:
    """The rows of a version that leave, in row order; see `DROPS`."""
    gone = found.leaving(name)
    reasons = [REASONS.get(kind, f"alike by {kind}") for kind in gone["kind"].to_pylist()]
    columns = {
        **{c: gone[c] for c in ("row_sha", "id", "source", "kept_id", "kept_version")},
        "score": pc.round(gone["score"], SCORE_DIGITS),
        "step": pa.array([STEP] * len(gone), pa.string()),
        "reason": pa.array(reasons, pa.string()),
    }
    return pa.table({f.name: columns[f.name] for f in DROPS}).cast(DROPS)
