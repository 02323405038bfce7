"""`tulu push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import complete_datasets, example, json_option, quiet_option, store_option

if TYPE_CHECKING:
    from tulu_data.pushing import Parcel, Pushed


@click.command(epilog=example("tulu push quickstart -o quickstart-dataset"))
@click.argument("ref", metavar="VERSION", shell_complete=complete_datasets)
@click.argument("repo", metavar="[ORG/NAME]", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new or empty folder: written there as it would be pushed.",
)
@click.option("--dry-run", is_flag=True, help="List what would go where, with sizes; write and send nothing.")
@click.option("--public", is_flag=True, help="A dataset that is made on the hub is for all to see [default: private].")
@click.option("--with-drops", is_flag=True, help="Also what was left out on the way: rejects, drops, with their texts.")
@click.option(
    "--pages",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of HTML pages that go along, as pages/.",
)
@click.option("--allow-unknown-license", is_flag=True, help="Also rows whose licence is not known.")
@store_option
@quiet_option
@json_option
def command(
    ref: str,
    repo: str | None,
    output: Path | None,
    dry_run: bool,
    public: bool,
    with_drops: bool,
    pages: Path | None,
    allow_unknown_license: bool,
    store_root: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Put VERSION on the Hugging Face hub as the dataset ORG/NAME: card, Croissant, manifest and rows, in one commit
    that is tagged with the version id. Without ORG/NAME nothing leaves this machine.

    A damaged version, and one with licences that are not known or that its recipe forbids, is refused before anything
    is sent.
    """
    from tulu_data import pushing
    from tulu_data.errors import UsageError
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store
    from tulu_data.tables import print_json, printable

    if repo is None and output is None and not dry_run:
        raise UsageError("push: say where to: ORG/NAME on the hub, -o DIR, or --dry-run to look first")
    repo = pushing.check_repo(repo) if repo else None
    progress = for_stderr(quiet=quiet)
    version = Store(store_root).open(ref)
    pushing.check_may_go(version, allow_unknown=allow_unknown_license, progress=progress)
    parcel = pushing.pack(version, repo=repo, with_drops=with_drops, pages=pages)
    if paths := pushing.local_paths(version.manifest):
        places = "1 place" if len(paths) == 1 else f"{len(paths):,} places"
        progress.note(f"note: manifest.json names {places} on this machine, e.g. {printable(paths[0])}")
    if dry_run:
        _print_plan(parcel, repo, output, as_json=as_json)
        return
    told: dict[str, Any] = {"version": version.ref, "files": len(parcel.files), "bytes": parcel.size}
    if output is not None:
        told |= {"folder": str(output), "written": pushing.write_folder(parcel.files, output)}
    if repo is not None:
        told |= {"hub": _send(parcel, repo, private=not public, quiet=quiet)._asdict()}
    if as_json:
        print_json(told)
    else:
        _print(told)


def _send(parcel: Parcel, repo: str, *, private: bool, quiet: bool) -> Pushed:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from tulu_data import pushing

    if quiet:
        disable_progress_bars()
    return pushing.push(parcel, repo, HfApi(), private=private)


def _print_plan(parcel: Parcel, repo: str | None, output: Path | None, *, as_json: bool) -> None:
    from tulu_data.tables import print_json, print_table, printable

    places = [*([str(output)] if output else []), *([f"hub:{repo}"] if repo else [])]
    ref = parcel.described.ref
    if as_json:
        listed = [{"path": file.path, "bytes": file.size} for file in parcel.files]
        print_json({"version": ref, "to": places, "files": listed})
        return
    print_table(printable(ref), ["file", "bytes"], [(file.path, file.size) for file in parcel.files])
    where = " and ".join(places) or "nowhere: give ORG/NAME or -o DIR"
    click.echo(f"{len(parcel.files):,} files, {parcel.size:,} bytes, would go to {where}")


def _print(told: dict[str, Any]) -> None:
    what = f"{told['version']}: {told['files']:,} files, {told['bytes']:,} bytes"
    if "folder" in told:
        click.echo(f"{what}, {'written to' if told['written'] else 'there already in'} {told['folder']}")
    if "hub" in told:
        hub = told["hub"]
        click.echo(f"{what}, {'pushed to' if hub['new'] else 'there already:'} {hub['url']}")
        click.echo(f'load_dataset("{hub["repo"]}", revision="{hub["tag"]}")')
