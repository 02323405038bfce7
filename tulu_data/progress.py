"""Progress on stderr: a bar with rate and time left on a terminal, one line per finished task elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """What long jobs report to."""

    def task(self, description: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """A running task; the function it gives takes how much more is done, in the units of `total`."""

    def note(self, message: str) -> None:
        """One line of news."""


class Silent:
    """Reports nothing: the default of the Python API."""

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Ignores what is reported."""
        yield lambda _: None

    def note(self, message: str) -> None:
        """Ignores the message."""


class Lines:
    """One line per finished task, with its seconds: for logs and pipes."""

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Prints the description when the task ends."""
        start = time.monotonic()
        yield lambda _: None
        print(f"{description}  {time.monotonic() - start:.1f} s", file=sys.stderr)  # noqa: T201

    def note(self, message: str) -> None:
        """Prints the message."""
        print(message, file=sys.stderr)  # noqa: T201


class Bars:
    """Live bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Shows one bar while the task runs and leaves it, complete, when it ends."""
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as bar:
            task = bar.add_task(description, total=total)
            yield lambda n: bar.advance(task, n)
            bar.update(task, total=bar.tasks[0].completed or 1, completed=bar.tasks[0].completed or 1)

    def note(self, message: str) -> None:
        """Prints the message above the bars."""
        self._console.print(message, markup=False, highlight=False)


def for_stderr(*, quiet: bool = False) -> Progress:
    """Bars on a terminal, lines in a log, nothing when `quiet`."""
    if quiet:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()
