"""`tulu show`, and the views of versions and audits that other commands print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import complete_datasets, example, json_option, store_option
from tulu_data.commands.show_audit import audit_folder, plain, print_audit, print_evals, short
from tulu_data.commands.show_mixture import print_funnel, print_parts, print_sources, print_topics, print_use

if TYPE_CHECKING:
    import pyarrow as pa

    from tulu_data.manifest import Manifest, Step
    from tulu_data.store import Store, Version

__all__ = ["command", "print_audit", "print_evals", "print_version"]

DROPS_SHOWN = 50  # in a table; --json holds all


@click.command(epilog=example("tulu show quickstart --rows 2"))
@click.argument("what", required=False, shell_complete=complete_datasets)
@click.option(
    "--rows",
    "n_rows",
    type=click.IntRange(min=0),
    help="Also print the first N rows; of an audit, N pairs [default: 20; 0: all]; of an evaluation, N of each task.",
)
@click.option("--drops", is_flag=True, help="Print what was left out of a version on the way, with reasons.")
@click.option("--funnel", is_flag=True, help="Print what became of the records: what each stage left out, and why.")
@click.option("--set", "set_name", metavar="NAME", help="Of an audit: this training set only.")
@click.option("--suite", metavar="ID", help="Of an audit: this suite only.")
@store_option
@json_option
def command(
    what: str | None,
    n_rows: int | None,
    drops: bool,
    funnel: bool,
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
        "--funnel": funnel,
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
    audit = audit_folder(store, what)
    if audit is not None:
        _refuse(given, "an audit", "--rows", "--set", "--suite", of="give it with a dataset")
        print_audit(audit, as_json=as_json, n_pairs=n_rows, set_name=set_name, suite=suite)
        return
    version = store.open(what)
    _refuse(given, "a dataset", "--rows", "--drops", "--funnel", of="give it with an audit")
    print_version(version, as_json=as_json, n_rows=n_rows, drops=drops, funnel=funnel)


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
    version: Version,
    *,
    as_json: bool,
    history: bool = True,
    n_rows: int | None = None,
    drops: bool = False,
    funnel: bool = False,
) -> None:
    """What a version holds and, with `history`, how it came about; then its id, what was left out, and rows.

    As JSON: the manifest; with more asked for, `{"manifest": …, "rows": […], "drops": {path: […]}, "funnel": […]}`.
    """
    from tulu_data.tables import print_json, printable

    described = version.manifest
    if as_json:
        print_json(_version_json(version, n_rows=n_rows, drops=drops, funnel=funnel))
        return
    print_sources(described)
    print_topics(described)
    if history:
        print_parts(described)
        if not funnel:
            _print_steps(described)
    if funnel:
        print_funnel(version)
    if history:
        _print_records(described)
        print_use(described)
    click.echo(f"{printable(version.ref)}  {version.path}")
    if drops:
        _print_drops(version)
    for row in _first_rows(version, n_rows or 0):
        click.secho(f"\n{printable(row['id'])}", bold=True)
        for label, text in _labelled(row):
            click.echo(printable(f"[{label}] {text}"))


def _version_json(version: Version, *, n_rows: int | None, drops: bool, funnel: bool) -> dict[str, Any]:
    manifest = version.manifest.model_dump()
    if n_rows is None and not drops and not funnel:
        return manifest
    shown: dict[str, Any] = {"manifest": manifest}
    if n_rows is not None:
        shown["rows"] = plain(list(_first_rows(version, n_rows)))
    if drops:
        files = version.manifest.files
        shown["drops"] = {
            f.path: plain(_read_table(version.side_file(f.path), "tulu verify").to_pylist()) for f in files
        }
    if funnel:
        from tulu_data.funnel import ways

        shown["funnel"] = [way.as_dict() for way in ways(version)]
    return shown


def _print_steps(described: Manifest) -> None:
    from tulu_data.tables import print_table

    steps = [(s.name, s.source, s.rows_in, s.rows_out, _left_out(described, s)) for s in described.steps]
    print_table("Steps", ["step", "source", "rows in", "rows out", "left out"], steps)


def _print_records(described: Manifest) -> None:
    from tulu_data.tables import print_table

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
        found = _read_table(version.side_file(info.path), "tulu verify", most=DROPS_SHOWN)
        columns = [c for c in found.column_names if c not in ("row_sha", "record")]
        rows = [[short(str(r[c])) if r[c] is not None else None for c in columns] for r in found.to_pylist()]
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


def _read_table(path: Path, remedy: str, *, most: int | None = None) -> pa.Table:
    """A side file, or its first `most` rows, with no more of it read. `InputError` where it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tulu_data.errors import InputError

    try:
        if most is None:
            return pq.read_table(path)
        with pq.ParquetFile(path) as file:
            first = next(file.iter_batches(batch_size=most), None)
            return pa.Table.from_batches([] if first is None else [first], file.schema_arrow)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; run {remedy}") from None
    except (OSError, pa.ArrowException) as e:
        raise InputError(f"{path}: cannot be read ({str(e).splitlines()[0]}); run {remedy}") from None
