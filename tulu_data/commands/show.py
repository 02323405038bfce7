"""`tulu show`, and the views of versions and audits that other commands print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import complete_datasets, example, json_option, store_option

if TYPE_CHECKING:
    import pyarrow as pa

    from tulu_data.manifest import Manifest
    from tulu_data.store import Store, Version


@click.command(epilog=example("tulu show quickstart --rows 2"))
@click.argument("what", required=False, shell_complete=complete_datasets)
@click.option("--rows", "n_rows", type=click.IntRange(min=0), default=0, help="Also print the first N rows.")
@click.option("--drops", is_flag=True, help="Print what was left out on the way, with reasons.")
@store_option
@json_option
def command(what: str | None, n_rows: int, drops: bool, store_root: Path, as_json: bool) -> None:
    """Show WHAT: a dataset name, name@version, a version's folder, an audit's folder; without it, the store."""
    from tulu_data.store import Store

    store = Store(store_root)
    if what is None:
        _print_store(store, as_json=as_json)
        return
    audit = _audit_folder(store, what)
    if audit is not None:
        print_audit(audit, as_json=as_json)
        return
    version = store.open(what)
    print_version(version, as_json=as_json)
    if drops:
        _print_drops(version)
    if n_rows:
        _print_rows(version, n_rows)


def print_version(version: Version, *, as_json: bool, history: bool = True) -> None:
    """What a version holds and, with `history`, how it came about; its id comes last."""
    from tulu_data.tables import percent, print_json, print_table

    described = version.manifest
    if as_json:
        print_json(described.model_dump())
        return
    logical = described.logical
    sources = [
        (name, s.rows, percent(s.rows, logical.rows), s.copies, s.chars, s.tokens, ", ".join(s.licenses))
        for name, s in logical.sources.items()
    ]
    header = ["source", "rows", "share", "copies", "characters", "tokens", "licence"]
    print_table(f"{version.name}: {logical.rows:,} {described.kind} rows", header, sources)
    if history:
        _print_history(described)
    click.echo(f"{version.ref}  {version.path}")


def _print_history(described: Manifest) -> None:
    from tulu_data.tables import print_table

    steps = [(s.name, s.source, s.rows_in, s.rows_out, s.rows_in - s.rows_out) for s in described.steps]
    print_table("Steps", ["step", "source", "rows in", "rows out", "left out"], steps)
    if described.decontamination:
        records = [
            (r["set"], r["rows_in"], r["rows_dropped"], r["policy"], ", ".join(s["id"] for s in r["suites"]))
            for r in described.decontamination
        ]
        print_table("Decontaminated", ["set", "rows in", "dropped", "policy", "against"], records)


def print_evals(evals: pa.Table, *, overlaps_only: bool = False) -> None:
    """An audit's verdicts per training set and suite; with `overlaps_only` in short, those without a match counted."""
    from tulu_data.tables import percent, print_table

    title = "Audit: evaluation instances that overlap each set"
    listed = evals.to_pylist()
    shares = [percent(e["flagged"], e["instances"]) for e in listed]
    if not overlaps_only:
        columns = {
            **dict.fromkeys(("set", "suite", "group", "instances")),
            "short_instances": "short",
            "flagged": "overlap",
            "flagged_exact": "exact",
            "flagged_tulu3": "tulu3",
            "contaminated": "> 2 %",
            "verdict": None,
        }
        rows = [[e[c] for c in columns] + [share] for e, share in zip(listed, shares, strict=True)]
        print_table(title, [name or c for c, name in columns.items()] + ["share"], rows)
        return
    found = [
        (
            e["set"],
            e["suite"],
            e["group"],
            f"{e['flagged']:,}/{e['instances']:,}",
            share,
            e["flagged_exact"],
            e["flagged_tulu3"],
            e["verdict"],
        )
        for e, share in zip(listed, shares, strict=True)
        if e["flagged"] or e["flagged_exact"] or e["flagged_tulu3"]
    ]
    if found:
        print_table(title, ["set", "suite", "group", "overlap", "share", "exact", "tulu3", "verdict"], found)
    if len(found) < len(listed):
        click.echo(f"No overlap in {len(listed) - len(found)} of {len(listed)} pairs of set and suite.")


def _audit_folder(store: Store, what: str) -> Path | None:
    for folder in (Path(what), store.root / "audits" / what):
        if (folder / "evals.parquet").is_file():
            return folder
    return None


def print_audit(folder: Path, *, as_json: bool) -> None:
    """An audit's verdicts, the suites that repeat each other, and the first of its pairs; its folder comes last."""
    import pyarrow.parquet as pq

    from tulu_data.tables import print_json, print_table

    evals = pq.read_table(folder / "evals.parquet")
    pairs = pq.read_table(folder / "pairs.parquet")
    if as_json:
        print_json({"evals": evals.to_pylist(), "pairs": pairs.drop_columns(["row_sha"]).to_pylist()})
        return
    print_evals(evals)
    columns = ["row_id", "suite", "instance_id", "coverage", "train_snippet", "eval_snippet"]
    listed = pairs.select(columns).slice(0, 20).to_pylist()
    rows = [[_short(p[c]) if c.endswith("snippet") else p[c] for c in columns] for p in listed]
    print_table(f"First {len(rows)} of {len(pairs):,} pairs", columns, rows)
    click.echo(folder)


def _short(text: str | None, limit: int = 80) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _print_store(store: Store, *, as_json: bool) -> None:
    from tulu_data.tables import print_json, print_table

    listed = [
        {
            "version": v.ref,
            "kind": v.kind,
            "rows": v.rows,
            "bytes": sum(s.bytes for s in v.manifest.shards),
            "latest": store.latest(v.name) == v.ref,
            "created": v.manifest.created_at,
        }
        for v in store.versions()
    ]
    if as_json:
        print_json(listed)
    elif listed:
        print_table(str(store.root), list(listed[0]), [list(v.values()) for v in listed])
    else:
        click.echo(f"{store.root}: no versions yet; try: tulu run quickstart")


def _print_drops(version: Version) -> None:
    import pyarrow.parquet as pq

    from tulu_data.tables import print_table

    for info in version.manifest.files:
        found = pq.read_table(version.side_file(info.path)).slice(0, 50)
        columns = [c for c in found.column_names if c not in ("row_sha", "record")]
        rows = [[_short(str(r[c])) if r[c] is not None else None for c in columns] for r in found.to_pylist()]
        print_table(f"{info.path}: {info.rows:,} rows", columns, rows)


def _print_rows(version: Version, count: int) -> None:
    left = count
    for batch in version.batches():
        for row in batch.slice(0, left).to_pylist():
            click.secho(f"\n{row['id']}", bold=True)
            for label, message in _labelled(row):
                click.echo(f"[{label}] {message}")
        left -= min(left, len(batch))
        if not left:
            return


def _labelled(row: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(m["role"], m["content"]) for m in row["messages"]]
    for side in ("chosen", "rejected"):
        found += [(side, m["content"]) for m in row.get(side) or []]
    found += [(key, row[key]) for key in ("ground_truth", "verifier") if row.get(key)]
    return found
