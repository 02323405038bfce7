"""Options that the commands which read evaluations share, and the audits that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tulu_data.evals.adjusted import Trained, Used
    from tulu_data.evals.results import Model

F = TypeVar("F", bound=Callable[..., Any])


def audit_options(command: F) -> F:
    """`--audit`, `--set` and `--after-drop`, which `trained` reads."""
    for option in (
        click.option(
            "--after-drop", is_flag=True, help="With --audit: the model was trained on what tulu drop left of the sets."
        ),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="NAME",
            help="With --audit: a set that was trained on [default: all].",
        ),
        click.option(
            "--audit",
            "audits",
            multiple=True,
            metavar="AUDIT",
            help="Audit of the training data, a folder or an id in the store [default: those the checkpoint names].",
        ),
    ):
        command = option(command)
    return command


def beside_option(command: F) -> F:
    """`--beside MODEL`."""
    return click.option("--beside", metavar="MODEL", help="Published scores to put beside ours, e.g. tulu3-8b.")(
        command
    )


def leave_out_option(command: F) -> F:
    """`--leave-out TASK`."""
    return click.option("--leave-out", multiple=True, metavar="TASK", help="A task not to compare.")(command)


def trained(model: Model, given: Mapping[str, Any]) -> Trained:
    """The audits that are named, or else those that the checkpoint names. given: the options, as far as known."""
    from tulu_data.errors import UsageError
    from tulu_data.evals.adjusted import Trained, audits_of_checkpoint
    from tulu_data.store import Store

    if given.get("audits"):
        return Trained(tuple(_used(given)), ())
    if given.get("sets") or given.get("after_drop"):
        raise UsageError("--set and --after-drop say what of an audit counts; name it with --audit")
    if "store_root" not in given or model.folder is None:  # of a name on the hub nothing is on record
        return Trained((), ())
    return audits_of_checkpoint(model.folder, Store(given["store_root"]))


def _used(given: Mapping[str, Any]) -> Iterator[Used]:
    from tulu_data.evals.adjusted import Used

    for name in given["audits"]:
        folder = Path(name)
        if not folder.is_dir():
            folder = given["store_root"] / "audits" / name
        yield Used(folder, given["sets"] or None, "kept" if given["after_drop"] else "all")
