"""From an audit to the rows that stay, the record that a cleaned version carries, and the list of what left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from decontam import judging
from decontam.auditing import Part, RowSource
from decontam.judging import set_reason
from decontam.result import Audit
from tulu_data.errors import InputError
from tulu_data.executor import map_with_state
from tulu_data.manifest import Origin, Step
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Progress, Silent
from tulu_data.store import Store, Version

STEP = "decontaminate"
READERS = 2  # threads that decode ahead of the one that encodes

DROPS = pa.schema(
    [
        pa.field("row_sha", pa.binary(32)),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("step", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("suite", pa.string()),
        pa.field("instance_id", pa.string()),
        pa.field("span", pa.string()),  # the matched text, with some around it
        pa.field("score", pa.float64()),  # coverage, similarity of an edited copy, or cosine
    ]
)


def drop(
    audit: Audit,
    version: Version,
    store: Store,
    name: str,
    *,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes under `name` the rows that the audit's policy keeps, in order, with the decontamination record.

    What was dropped is kept in `drops/decontaminate.parquet`. `InputError` where the audit was made of other rows.
    """
    gone = leaving(audit, version)
    record = decontamination_record(audit, version.name, sorted(version.manifest.logical.sources))
    drops = drops_table(audit, version)
    progress = progress or Silent()
    with store.build(name, version.kind) as build:
        writer = ShardWriter(build.data, version.kind)
        with progress.task(f"drop {version.name}", version.rows) as advance:
            parts = map_with_state(_kept_rows, gone, version.parts(), workers=READERS, how="threads")
            for rows, table in parts:  # in order; row groups are read and filtered while others are written
                writer.write(table)
                advance(rows)
        shards = writer.close()
        step = Step(
            name=STEP,
            source=version.name,
            params={"audit": audit.id, "policy": record["policy"], "layers": record["layers"]},
            rows_in=version.rows,
            rows_out=sum(s.rows for s in shards),
            parents=[version.ref],
            drops=build.add_table(f"drops/{STEP}.parquet", drops) if len(drops) else None,
        )
        return build.publish(
            shards,
            writer.tally.logical(),
            inputs=version.manifest.inputs,
            steps=[*version.manifest.steps, step],
            decontamination=[*version.manifest.decontamination, record],
            tokenizer=version.manifest.tokenizer,
            origin=origin,
        )


def _kept_rows(gone: Leaving, part: Part) -> tuple[int, pa.Table]:
    """How many rows a part has, and those that stay."""
    table = pa.Table.from_batches([part.read()])
    return len(table), table.filter(pa.array(kept_mask(gone, table["row_sha"])))


class Leaving(NamedTuple):
    """Which rows of a set leave: all of them, or those of these digests."""

    whole: bool
    row_shas: pa.Array


def leaving(audit: Audit, rows: RowSource) -> Leaving:
    """What the audit drops of a set; `InputError` where it was made of other rows."""
    facts = audit.set_facts(rows.name)
    if facts["digest"] != rows.digest:
        made_of, given = facts["digest"][:16], rows.digest[:16]
        raise InputError(f"{rows.name}: audit {audit.id} was made of {made_of}, not of {given}; run tulu audit again")
    return Leaving(facts["verdict"] == "drop set", _dropped(audit, rows.name)["row_sha"].combine_chunks())


def kept_mask(gone: Leaving, row_shas: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which rows stay, by their `row_sha`: `(rows,)`."""
    if gone.whole:
        return np.zeros(len(row_shas), np.bool_)
    kept = pc.invert(pc.is_in(row_shas, value_set=gone.row_shas))
    return np.asarray(kept.to_numpy(zero_copy_only=False), np.bool_)


def decontamination_record(audit: Audit, set_name: str, sources: Sequence[str]) -> dict[str, Any]:
    """What a cleaned version says of how it was cleaned: plain data for its manifest. sources: of the set's rows."""
    facts = audit.set_facts(set_name)
    settings, policy = audit.manifest["settings"], audit.manifest["policy"]
    flagged = {e["suite"]: e for e in audit.evals.filter(pc.field("set") == set_name).to_pylist()}
    rows = _rows_by_suite(audit, set_name)
    return {
        "audit": audit.id,
        "engine": audit.manifest["engine"],
        "analyzer": audit.manifest["analyzer"],
        **settings,
        **policy,
        "set": set_name,
        "sources": list(sources),
        "digest": facts["digest"],
        "verdict": facts["verdict"],
        "marks": audit.manifest["marks"],
        "encoder": audit.manifest["semantic"],
        "judge": audit.manifest["judge"],
        "rows_in": facts["rows"],
        "rows_dropped": facts["dropped"],
        "suites": [
            {k: suite[k] for k in ("id", "group", "digest", "instances")}
            | {k: flagged[suite["id"]][k] for k in ("flagged", "contaminated", "verdict")}
            | {"rows_dropped": rows.get(suite["id"], 0)}
            for suite in audit.manifest["suites"]
        ],
    }


def _rows_by_suite(audit: Audit, set_name: str) -> Counter[str]:
    """How many of the rows that leave overlap each suite."""
    dropped = set(_dropped(audit, set_name)["row_index"].to_pylist())
    pairs = audit.pairs.filter(pa.array(audit.counts())).filter(pc.field("set") == set_name)
    cells = set(zip(pairs["suite"].to_pylist(), pairs["row_index"].to_pylist(), strict=True))
    return Counter(suite for suite, row in cells if row in dropped)


def drops_table(audit: Audit, rows: RowSource) -> pa.Table:
    """The rows that leave, in order, one entry each, with the pair that overlaps most where there is a match."""
    matched = _matched_drops(audit, rows.name)
    if audit.set_facts(rows.name)["verdict"] != "drop set":
        return pa.Table.from_pylist(list(matched.values()), schema=DROPS)
    fatal = audit.evals.filter((pc.field("set") == rows.name) & (pc.field("verdict") == "drop set"))
    reason = set_reason(fatal["suite"].to_pylist())
    tables, first = [DROPS.empty_table()], 0
    for part in rows.parts():
        batch = part.read(["row_sha", "id", "source"])
        bare = [row | {"step": STEP, "reason": reason} for row in batch.to_pylist()]
        entries = [matched.get(first + i, row) for i, row in enumerate(bare)]
        tables.append(pa.Table.from_pylist(entries, schema=DROPS))
        first += len(entries)
    return pa.concat_tables(tables)


def _matched_drops(audit: Audit, set_name: str) -> dict[int, dict[str, Any]]:
    """By index in the set, the entries of the rows that leave and match something."""
    reasons = {r["row_index"]: r["reason"] for r in _dropped(audit, set_name).to_pylist()}
    evals = audit.evals.filter((pc.field("set") == set_name) & pc.field("verdict").isin(judging.DROPS))
    acting = set(evals["suite"].to_pylist())

    def weight(pair: dict[str, Any]) -> tuple[bool, float]:
        return pair["suite"] in acting and pair["counts"], degree(pair)

    worst: dict[int, dict[str, Any]] = {}
    counted = audit.pairs.append_column("counts", pa.array(audit.counts()))
    for pair in counted.filter(pc.field("set") == set_name).to_pylist():
        row = pair["row_index"]
        if row in reasons and (row not in worst or weight(pair) > weight(worst[row])):
            worst[row] = pair
    return {
        row: {
            "row_sha": pair["row_sha"],
            "id": pair["row_id"],
            "source": pair["row_source"],
            "step": STEP,
            "reason": reasons[row],
            "suite": pair["suite"],
            "instance_id": pair["instance_id"],
            "span": pair["train_snippet"],
            "score": degree(pair),
        }
        for row, pair in worst.items()
    }


def degree(pair: Mapping[str, Any]) -> float:
    """How near a pair is, by whatever says most: coverage, the similarity of an edited copy, the cosine of meanings."""
    return float(max(pair["coverage"], pair["fuzzy"] or 0.0, pair["semantic"] or 0.0))


def _dropped(audit: Audit, set_name: str) -> pa.Table:
    return audit.rows.filter((pc.field("set") == set_name) & pc.field("dropped"))
