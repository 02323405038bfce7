"""What `tulu show`, `tulu audit` and `tulu run` print of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from tulu_data.store import Store

PAIRS_SHOWN = 20  # in a table; --json holds all
AUDIT_TABLES = ("evals.parquet", "pairs.parquet", "rows.parquet")
LAYERS = ("exact", "tulu3", "informative", "fuzzy", "semantic", "any")  # of an audit
LAYER_HEADS = {"informative": "inform", "semantic": "mean"}  # short: eighty columns hold most tables
PAIR_COLUMNS = ("row_id", "suite", "instance_id", "layers", "coverage", "train_snippet", "eval_snippet")


def print_evals(evals: pa.Table, *, overlaps_only: bool = False) -> None:
    """An audit's verdicts per training set and suite; with `overlaps_only` those without a match are only counted."""
    from tulu_data.tables import percent, print_table

    listed = evals.to_pylist()
    layers = [layer for layer in LAYERS if layer != "semantic" or any(e["flagged_semantic"] for e in listed)]
    found = [
        (
            e["set"],
            e["suite"],
            f"{e['flagged']:,}/{e['instances']:,}",
            percent(e["flagged"], e["instances"]),
            *(e[f"flagged_{layer}"] for layer in layers),
            e["verdict"],
        )
        for e in listed
        if not overlaps_only or any(e[f"flagged_{layer}"] for layer in layers)
    ]
    if found:
        heads = [LAYER_HEADS.get(layer, layer) for layer in layers]
        header = ["set", "suite", "overlap", "share", *heads, "verdict"]
        print_table("Audit: evaluation instances that overlap each set", header, found)
    if len(found) < len(listed):
        click.echo(f"No overlap in {len(listed) - len(found)} of {len(listed)} pairs of set and suite.")


def audit_folder(store: Store, what: str) -> Path | None:
    """The folder of an audit, as it is named or among the store's; None where it is none."""
    for folder in (Path(what), store.root / "audits" / what):
        if any((folder / name).is_file() for name in AUDIT_TABLES):
            return folder
    return None


def print_audit(
    folder: Path,
    *,
    as_json: bool,
    n_pairs: int | None = None,
    set_name: str | None = None,
    suite: str | None = None,
) -> None:
    """An audit's verdicts, the suites that repeat each other, and the first of its pairs; its folder comes last.

    `n_pairs` limits the pairs, 0 for all: 20 in the table and all as JSON where it is None.
    """
    from tulu_data.pipeline import load_audit
    from tulu_data.tables import print_json

    audit = load_audit(folder)
    manifest, evals, pairs = audit.manifest, audit.evals, audit.pairs
    for column, wanted in (("set", set_name), ("suite", suite)):
        if wanted is not None:
            evals, pairs = _only(folder, column, wanted, evals, pairs)
    if as_json:
        shown = pairs.slice(0, n_pairs or None)
        print_json({"manifest": manifest, "evals": evals.to_pylist(), "pairs": plain(shown.to_pylist())})
        return
    print_evals(evals)
    _printshort(evals, manifest)
    _print_repeats(manifest, suite)
    _print_pairs(pairs, PAIRS_SHOWN if n_pairs is None else n_pairs)
    marks = manifest["marks"]
    if marks:
        click.echo(f"Reviewed: {marks['true']:,} pairs are marked true, {marks['false']:,} false.")
    click.echo(folder)


def _only(folder: Path, column: str, wanted: str, evals: pa.Table, pairs: pa.Table) -> tuple[pa.Table, pa.Table]:
    import pyarrow.compute as pc

    from tulu_data.errors import UsageError, nearest

    known = dict.fromkeys(evals[column].to_pylist())
    if wanted not in known:
        raise UsageError(f"{folder}: --{column} {wanted!r} is not in this audit; {nearest(wanted, known, noun=column)}")
    chosen = pc.field(column) == wanted
    return evals.filter(chosen), pairs.filter(chosen)


def _printshort(evals: pa.Table, manifest: Mapping[str, Any]) -> None:
    sizes = {e["suite"]: (e["short_instances"], e["instances"]) for e in evals.to_pylist()}
    short, count = (sum(size[k] for size in sizes.values()) for k in (0, 1))
    if short:
        n = manifest["settings"]["n"]
        click.echo(f"{short:,} of {count:,} instances have no field of {n} tokens: only the layer exact sees them.\n")


def _print_repeats(manifest: Mapping[str, Any], suite: str | None) -> None:
    from tulu_data.tables import print_table

    sizes = {s["id"]: s["instances"] for s in manifest["suites"]}
    inside = {s["id"]: s.get("repeated", 0) for s in manifest["suites"]}
    rows = [(name, "itself", f"{count:,}/{sizes[name]:,}") for name, count in inside.items() if count]
    for overlap in manifest["suite_overlaps"]:
        (a, b), (of_a, of_b) = overlap["suites"], overlap["equal"]
        rows += [(a, b, f"{of_a:,}/{sizes[a]:,}"), (b, a, f"{of_b:,}/{sizes[b]:,}")]
    shown = [row for row in rows if suite is None or suite in row[:2]]
    if shown:
        print_table("Repeated instances", ["suite", "repeats", "equal instances"], shown)
    totals = manifest["totals"]
    click.echo(
        f"Of all suites {totals['flagged']:,} of {totals['instances']:,} instances overlap; "
        f"counting a repeated one once, {totals['flagged_distinct']:,} of {totals['distinct']:,}.\n"
    )


def _print_pairs(pairs: pa.Table, count: int) -> None:
    from tulu_data.tables import print_table

    listed = pairs.select(list(PAIR_COLUMNS)).slice(0, count or None).to_pylist()
    rows = [[_pair_cell(c, p[c]) for c in PAIR_COLUMNS] for p in listed]
    if len(rows) < len(pairs):
        print_table(f"First {len(rows)} of {len(pairs):,} pairs", PAIR_COLUMNS, rows)
        click.echo("The rest: --rows 0 shows all, --set NAME or --suite ID some, --json every column.")
    elif rows:
        print_table(f"All {len(rows):,} pairs", PAIR_COLUMNS, rows)


def _pair_cell(column: str, value: Any) -> Any:
    if column.endswith("snippet"):
        return short(value)
    if column == "layers":
        return " ".join(value)
    return f"{value:.2f}" if column == "coverage" else value


# ------------------------------------------------------------ values, as tables and JSON show them


def short(text: str | None, limit: int = 80) -> str:
    """A text as one line of at most `limit` characters."""
    flat = " ".join((text or "").split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def plain(value: Any) -> Any:
    """The value with digests as hex, for JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value
