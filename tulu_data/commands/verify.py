"""`tulu verify`."""

from __future__ import annotations

from pathlib import Path

import click

from tulu_data.commands.options import (
    complete_datasets,
    example,
    json_option,
    quiet_option,
    store_option,
    workers_option,
)

FAILED = 3


@click.command(epilog=example("tulu verify quickstart --level 2"))
@click.argument("refs", nargs=-1, required=True, metavar="VERSION...", shell_complete=complete_datasets)
@click.option(
    "--level",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="1: sizes and hashes of files. 2: every row again. 3: rebuild from the inputs and compare.",
)
@store_option
@workers_option
@quiet_option
@json_option
def command(
    refs: tuple[str, ...], level: int, store_root: Path, workers: int | None, quiet: bool, as_json: bool
) -> None:
    """Check that each VERSION holds what its manifest says; exit 3 and name what does not."""
    from tulu_data.executor import default_workers
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store
    from tulu_data.tables import print_json
    from tulu_data.verify import verify

    store = Store(store_root)
    found = {}
    for ref in refs:
        version = store.open(ref)
        count = workers or default_workers()
        found[version.ref] = verify(version, level, workers=count, progress=for_stderr(quiet=quiet))
        if as_json:
            continue
        for problem in found[version.ref]:
            click.echo(f"{problem.place}: {problem.message}")
        if not found[version.ref]:
            click.echo(f"{version.ref}: verified at level {level}, {version.rows:,} rows")
    if as_json:
        print_json({ref: [p._asdict() for p in problems] for ref, problems in found.items()})
    if any(found.values()):
        click.get_current_context().exit(FAILED)
