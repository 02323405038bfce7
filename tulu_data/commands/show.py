"""`tulu show`, and the views of versions and audits that other commands print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import complete_datasets, example, json_option, store_option

if TYPE_CHECKING:
    import pyarrow as pa

    from tulu_data.manifest import Manifest, Step
    from tulu_data.store import Store, Version


PAIRS_SHOWN, DROPS_SHOWN = 20, 50  # in a table; --json holds all
AUDIT_TABLES = ("evals.parquet", "pairs.parquet", "rows.parquet")
LAYERS = ("exact", "tulu3", "informative", "fuzzy", "semantic", "any")  # of an audit
LAYER_HEADS = {"informative": "inform", "semantic": "mean"}  # short: eighty columns hold most tables
PAIR_COLUMNS = ("row_id", "suite", "instance_id", "layers", "coverage", "train_snippet", "eval_snippet")


@click.command(epilog=example("tulu show quickstart --rows 2"))
@click.argument("what", required=False, shell_complete=complete_datasets)
@click.option(
    "--rows",
    "n_rows",
    type=click.IntRange(min=0),
    help="Also print the first N rows; of an audit, N pairs [default: 20; 0: all]; of an evaluation, N of each task.",
)
@click.option("--drops", is_flag=True, help="Print what was left out of a version on the way, with reasons.")
@click.option("--set", "set_name", metavar="NAME", help="Of an audit: this training set only.")
@click.option("--suite", metavar="ID", help="Of an audit: this suite only.")
@store_option
@json_option
def command(
    what: str | None,
    n_rows: int | None,
    drops: bool,
    set_name: str | None,
    suite: str | None,
    store_root: Path,
    as_json: bool,
) -> None:
    """Show WHAT: a dataset name, name@version, a folder of a version, an audit, a run or an evaluation; without it, the
    store.

    Of a run --rows prints its rows as one reads them: persona, prompt, answer, verdict, cost; --drops those rejected.
    """
    from tulu_data.store import Store

    given = {
        "--rows": n_rows is not None,
        "--drops": drops,
        "--set": set_name is not None,
        "--suite": suite is not None,
    }
    store = Store(store_root)
    if what is None:
        _refuse(given, "the store", of="name a dataset or an audit to show")
        _print_store(store, as_json=as_json)
        return
    if _is_evaluation(Path(what)):
        from tulu_data.evals.report_commands import show_run

        _refuse(given, "an evaluation", "--rows", of="give it with an audit")
        show_run(Path(what), store_root, as_json=as_json, n_rows=n_rows)
        return
    run = _run_folder(store, what)
    if run is not None:
        _refuse(given, "a run", "--rows", "--drops", of="give it with an audit")
        _print_run(run, as_json=as_json, n_rows=n_rows, rejected=True if drops else None)
        return
    audit = _audit_folder(store, what)
    if audit is not None:
        _refuse(given, "an audit", "--rows", "--set", "--suite", of="give it with a dataset")
        print_audit(audit, as_json=as_json, n_pairs=n_rows, set_name=set_name, suite=suite)
        return
    version = store.open(what)
    _refuse(given, "a dataset", "--rows", "--drops", of="give it with an audit")
    print_version(version, as_json=as_json, n_rows=n_rows, drops=drops)


def _is_evaluation(folder: Path) -> bool:
    """Whether the run in a folder is one of evaluations: other runs have a run.json too."""
    import json

    try:
        told = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and str(told.get("format")).startswith("tulu-eval/")


def _run_folder(store: Store, what: str) -> Path | None:
    """The folder of a run, as it is named or among the store's."""
    from tulu_data.cli import VIEWS

    folders = (Path(what), store.root / "runs" / what)
    return next((f for f in folders if any((f / name).is_file() for name in VIEWS)), None)


def _print_run(folder: Path, **how: Any) -> None:
    from tulu_data.cli import VIEWS

    target = next(target for name, target in VIEWS.items() if (folder / name).is_file())
    module, _, function = target.partition(":")
    getattr(import_module(module), function)(folder, **how)


def _refuse(given: Mapping[str, bool], noun: str, *taken: str, of: str) -> None:
    from tulu_data.errors import UsageError

    for option, is_given in given.items():
        if is_given and option not in taken:
            raise UsageError(f"{option}: does not apply to {noun}; leave it out, or {of}")


def print_version(
    version: Version, *, as_json: bool, history: bool = True, n_rows: int | None = None, drops: bool = False
) -> None:
    """What a version holds and, with `history`, how it came about; then its id, what was left out, and rows.

    As JSON: the manifest; with rows or drops asked for, `{"manifest": …, "rows": […], "drops": {path: […]}}`.
    """
    from tulu_data.tables import percent, print_json, print_table, printable

    described = version.manifest
    if as_json:
        print_json(_version_json(version, n_rows=n_rows, drops=drops))
        return
    logical = described.logical
    sources = [
        (name, s.rows, percent(s.rows, logical.rows), s.copies, s.chars, s.tokens, ", ".join(s.licenses))
        for name, s in logical.sources.items()
    ]
    header = ["source", "rows", "share", "copies", "characters", "tokens", "licence"]
    print_table(printable(f"{version.name}: {logical.rows:,} {described.kind} rows"), header, sources)
    if history:
        _print_history(described)
    click.echo(f"{printable(version.ref)}  {version.path}")
    if drops:
        _print_drops(version)
    for row in _first_rows(version, n_rows or 0):
        click.secho(f"\n{printable(row['id'])}", bold=True)
        for label, text in _labelled(row):
            click.echo(printable(f"[{label}] {text}"))


def _version_json(version: Version, *, n_rows: int | None, drops: bool) -> dict[str, Any]:
    manifest = version.manifest.model_dump()
    if n_rows is None and not drops:
        return manifest
    shown: dict[str, Any] = {"manifest": manifest}
    if n_rows is not None:
        shown["rows"] = _plain(list(_first_rows(version, n_rows)))
    if drops:
        files = version.manifest.files
        shown["drops"] = {
            f.path: _plain(_read_table(version.side_file(f.path), "tulu verify").to_pylist()) for f in files
        }
    return shown


def _plain(value: Any) -> Any:
    """The value with digests as hex, for JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _print_history(described: Manifest) -> None:
    from tulu_data.tables import print_table

    steps = [(s.name, s.source, s.rows_in, s.rows_out, _left_out(described, s)) for s in described.steps]
    print_table("Steps", ["step", "source", "rows in", "rows out", "left out"], steps)
    if described.decontamination:
        records = [
            (r["set"], r["rows_in"], r["rows_dropped"], r["policy"], ", ".join(s["id"] for s in r["suites"]))
            for r in described.decontamination
        ]
        print_table("Decontaminated", ["set", "rows in", "dropped", "policy", "against"], records)


def _left_out(described: Manifest, step: Step) -> int | None:
    """What a step left out, where that can be told: a record may become several rows, and a mixture repeats rows."""
    if step.name == "ingest" and sum(s.name == "ingest" for s in described.steps) == 1:
        return sum(sum(given.rejected.values()) for given in described.inputs)
    left = step.rows_in - step.rows_out
    return left if left >= 0 else None


# ------------------------------------------------------------ audits


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


def _audit_folder(store: Store, what: str) -> Path | None:
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
        print_json({"manifest": manifest, "evals": evals.to_pylist(), "pairs": _plain(shown.to_pylist())})
        return
    print_evals(evals)
    _print_short(evals, manifest)
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


def _print_short(evals: pa.Table, manifest: Mapping[str, Any]) -> None:
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
        return _short(value)
    if column == "layers":
        return " ".join(value)
    return f"{value:.2f}" if column == "coverage" else value


def _read_table(path: Path, remedy: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tulu_data.errors import InputError

    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; run {remedy}") from None
    except (OSError, pa.ArrowException) as e:
        raise InputError(f"{path}: cannot be read ({str(e).splitlines()[0]}); run {remedy}") from None


def _short(text: str | None, limit: int = 80) -> str:
    flat = " ".join((text or "").split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


# ------------------------------------------------------------ the store, drops and rows


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
    from tulu_data.tables import print_table, printable

    for info in version.manifest.files:
        found = _read_table(version.side_file(info.path), "tulu verify").slice(0, DROPS_SHOWN)
        columns = [c for c in found.column_names if c not in ("row_sha", "record")]
        rows = [[_short(str(r[c])) if r[c] is not None else None for c in columns] for r in found.to_pylist()]
        first = f", the first {DROPS_SHOWN} (the rest: --json)" if info.rows > DROPS_SHOWN else ""
        print_table(printable(f"{info.path}: {info.rows:,} rows{first}"), columns, rows)


def _first_rows(version: Version, count: int) -> Iterator[dict[str, Any]]:
    for batch in version.batches() if count else ():
        yield from batch.slice(0, count).to_pylist()
        count -= min(count, len(batch))
        if not count:
            return


def _labelled(row: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(m["role"], m["content"]) for m in row["messages"]]
    for side in ("chosen", "rejected"):
        found += [(side, m["content"]) for m in row.get(side) or []]
    found += [(key, row[key]) for key in ("ground_truth", "verifier") if row.get(key)]
    return found
