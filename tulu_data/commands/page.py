"""`tulu page`."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import complete_datasets, example, quiet_option, store_option

if TYPE_CHECKING:
    from tulu_data.progress import Progress
    from tulu_data.store import Store, Version

FILE = "mixture.html"  # in a folder


@click.command(epilog=example("tulu page quickstart -o quickstart.html"))
@click.argument("what", shell_complete=complete_datasets)
@click.option(
    "-o",
    "--output",
    help="The file; of a version also a folder (with a / at its end, or there already), which takes the pages of its "
    "audits too [default: NAME.html, or AUDIT/audit.html].",
)
@click.option("--rows", type=click.IntRange(min=0), default=500, show_default=True, help="Rows in a version's page.")
@click.option(
    "--max-pairs", type=click.IntRange(min=0), default=50_000, show_default=True, help="Pairs in an audit's page."
)
@store_option
@quiet_option
@click.pass_context
def command(
    ctx: click.Context, what: str, output: str | None, rows: int, max_pairs: int, store_root: Path, quiet: bool
) -> None:
    """Write WHAT, a version or an audit's folder or id, as one self-contained HTML page.

    Of a version: what is in it, what was thrown away and why, whether it may be published. Of an audit: every match
    side by side.
    """
    from tulu_data.errors import StoreError
    from tulu_data.mixture_pages import audit_file, audits_of
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store

    store, progress = Store(store_root), for_stderr(quiet=quiet)
    rest: dict[str, Any] = {"max_pairs": max_pairs, "store_root": store_root, "quiet": quiet}
    if _audit_folder(store, what) is not None:
        if output is not None and Path(output).is_dir():
            raise click.BadParameter(f"{output!r} is a folder; name the file", param_hint="-o")
        ctx.invoke(_of_audit(), audit=Path(what), output=Path(output) if output else None, **rest)
        return
    try:
        version = store.open(what)
    except StoreError as e:
        raise StoreError(f"{e}; an audit goes by its folder or id") from None
    path = Path(output or f"{version.name}.html")
    if output is not None and (output.endswith("/") or path.is_dir()):
        for audit in audits_of(version):
            folder = _audit_folder(store, audit)
            if folder is None:
                progress.note(f"the store no longer holds audit {audit}: there is no page of it to link to")
            else:
                ctx.invoke(_of_audit(), audit=folder, output=path / audit_file(audit), **rest)
        path /= FILE
    click.echo(_write(version, store, path, rows, progress))


def _write(version: Version, store: Store, path: Path, rows: int, progress: Progress) -> Path:
    """The page, with links to the pages of audits that lie beside it; its path."""
    from tulu_data.mixture_page import page
    from tulu_data.mixture_pages import beside
    from tulu_data.pages import write

    links = partial(beside, path.parent)
    return write(path, page(version, store, audit_href=links, rows=rows, progress=progress))


def _audit_folder(store: Store, what: str) -> Path | None:
    """The folder of an audit, where this is one or its id; a damaged one too."""
    path = Path(what)
    folder = path if path.is_dir() else store.root / "audits" / path.name
    return folder if (folder / "evals.parquet").is_file() or (folder.is_dir() and what.startswith("ta1-")) else None


def _of_audit() -> click.Command:
    from tulu_data.cli import PAGES

    module, _, attribute = PAGES["audit"].partition(":")
    found: click.Command = getattr(import_module(module), attribute)
    return found
