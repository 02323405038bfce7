"""`tulu ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, quiet_option, store_option, workers_option
from tulu_data.commands.rejects import print_rejects

if TYPE_CHECKING:
    from tulu_data.progress import Progress
    from tulu_data.store import Store, Version


def _list_adapters(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value:
        return
    from tulu_data.adapters import ADAPTERS
    from tulu_data.tables import print_table

    rows = [(a.name, a.kind, a.description) for a in ADAPTERS.values()]
    print_table("Adapters, in the order of detection", ["adapter", "kind", "reads"], rows)
    ctx.exit()


@click.command(epilog=example("tulu ingest data.jsonl --name my-data --license odc-by"))
@click.argument("inputs", nargs=-1, required=True)
@click.option("--name", help="Name of the dataset [default: of the first input].")
@click.option("--adapter", help="Shape of the records [default: found by looking].")
@click.option("--kind", type=click.Choice(["sft", "prompt", "preference", "rlvr"]), help="Kind of rows to make.")
@click.option("--license", "license_", help="Licence of rows that state none, e.g. odc-by.")
@click.option("--tokenizer", help="Count tokens: words/1, a tokenizer.json, or hub:org/name.")
@click.option("--format", "format_", help="File format [default: found by looking].")
@click.option("--header/--no-header", default=None, help="CSV/TSV: the first row names the columns.")
@click.option("--columns", help="CSV/TSV without header: column names, separated by commas.")
@click.option(
    "--list-adapters",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_adapters,
    help="List the shapes that can be read.",
)
@store_option
@workers_option
@quiet_option
@json_option
def command(
    inputs: tuple[str, ...],
    name: str | None,
    adapter: str | None,
    kind: str | None,
    license_: str | None,
    tokenizer: str | None,
    format_: str | None,
    header: bool | None,
    columns: str | None,
    store_root: Path,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read INPUTS (files, folders, globs, or hub:org/name@revision) into a version of canonical rows.

    Formats: JSON, JSONL, CSV, TSV, Parquet, Arrow, text; .gz and .zst. Records that are no rows go to
    rejects.parquet in the version, with place and reason.
    """
    from tulu_data.commands.show import print_version
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store

    version = ingest_raw(
        Store(store_root),
        inputs,
        name=name,
        tokenizer=tokenizer,
        workers=workers or default_workers(),
        progress=for_stderr(quiet=quiet),
        adapter=adapter,
        kind=kind,
        license=license_,
        format=format_,
        header=header,
        columns=columns.split(",") if columns else None,
    )
    if not as_json:
        print_rejects([version])
    print_version(version, as_json=as_json)


def ingest_raw(
    store: Store,
    inputs: tuple[str, ...],
    *,
    name: str | None = None,
    tokenizer: str | None = None,
    workers: int,
    progress: Progress,
    **source: Any,
) -> Version:
    """Runs a recipe of one source, so that the version can be reproduced; `source` are keys of a recipe's source."""
    from tulu_data import recipe as recipes
    from tulu_data.pipeline import run
    from tulu_data.store import check_name

    hub = [i for i in inputs if i.startswith("hub:")]
    if hub and len(inputs) > 1:
        raise click.UsageError(f"{hub[0]}: give one hub dataset, or files, not both")
    name = name or _name_of(inputs[0])
    check_name(name)
    place = {"hub": hub[0]} if hub else {"path": list(inputs)}
    given = {key: value for key, value in source.items() if value is not None}
    data = {"name": f"{name}-ingest", "tokenizer": tokenizer, "sources": {name: place | given}}
    loaded = recipes.from_data(data, place="tulu ingest", base=Path.cwd())
    version = run(loaded, store, workers=workers, progress=progress, until=f"ingest:{name}").sources[name]
    assert version is not None
    return version


def _name_of(spec: str) -> str:
    text = spec.removeprefix("hub:").split("@")[0].split("#")[0].rstrip("/")
    stem = Path(text).name.split(".")[0]
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "-_" else "-" for c in stem).strip("-")
    return name or "data"
