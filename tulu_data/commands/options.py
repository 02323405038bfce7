"""Options that several commands share, and completion of dataset names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_STORE = "tulu-store"


def store_option(command: F) -> F:
    """`--store DIR`, also from TULU_STORE."""
    return click.option(
        "--store",
        "store_root",
        envvar="TULU_STORE",
        default=DEFAULT_STORE,
        show_default=True,
        show_envvar=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of versions.",
    )(command)


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def quiet_option(command: F) -> F:
    """`-q`."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")(command)


def workers_option(command: F) -> F:
    """`-j N`; the result does not depend on it."""
    return click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=1),
        default=None,
        help="Processes or threads [default: the CPUs of this machine]. The result does not depend on it.",
    )(command)


def suites_root_option(command: F) -> F:
    """`--suites-root DIR`, also from TULU_SUITES_ROOT."""
    return click.option(
        "--suites-root",
        envvar="TULU_SUITES_ROOT",
        show_envvar=True,
        help="Folder of local copies of suites (ID.jsonl, …), and where the paths of suites files start.",
    )(command)


def complete_datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names and versions in the store."""
    root = Path(ctx.params.get("store_root") or DEFAULT_STORE)
    names = {p.name for p in root.glob("*@tv1-*")}
    names |= {name.partition("@")[0] for name in names}
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of bundled recipes, or files."""
    from tulu_data.recipe import bundled

    names = [CompletionItem(name) for name in sorted(bundled()) if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def example(text: str) -> str:
    """A command's closing example, kept on one line by click; a test runs every one of them."""
    return f"\b\nExample: {text}"
