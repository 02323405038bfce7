"""Results on stdout: tables for people, JSON for pipes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

# C0 and C1 but line feed and tab, DEL, line and paragraph separators, bidi embeddings, overrides and isolates
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
WIDE = 200  # columns of a table that goes to a file or a pipe


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table with numbers to the right, thousands separated, and a blank line after it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    listed = [list(row) for row in rows]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # close together: eighty columns hold most tables whole
        pad_edge=False,
        show_edge=False,
    )
    for i, name in enumerate(header):
        numeric = bool(listed) and all(isinstance(row[i], int | float | None) for row in listed)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in listed:
        table.add_row(*(cell(value) for value in row))
    Console(width=None if sys.stdout.isatty() else WIDE, markup=False, highlight=False).print(table)
    click.echo()


def printable(text: str) -> str:
    """Text from data, safe to print: control characters and bidi overrides are shown, not obeyed.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _UNSAFE.sub(lambda m: m.group().encode("unicode_escape").decode(), text)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.1f}"
    return printable(str(value))


def percent(part: int, whole: int) -> str:
    """A share with two digits after the point; `-` of nothing."""
    return f"{100 * part / whole:.2f} %" if whole else "-"
