"""How a run goes, on stderr: a live line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tulu_data.llm.client import Tally, Watch

EVERY_S = 15.0  # between lines in a log
REDRAW_S = 0.2


def line(tally: Tally, total: int | None, seconds: float) -> str:
    """Done, failed, requests a second, tokens, USD, time left."""
    asked = tally.answered + tally.failed
    rate = asked / seconds if seconds > 0 else 0.0
    parts = [
        f"{tally.done:,}" + (f" of {total:,}" if total is not None else "") + " done",
        f"{tally.failed:,} failed",
        f"{rate:.1f}/s",
        f"{tally.prompt_tokens:,} + {tally.completion_tokens:,} tokens",
        f"${tally.usd:,.4f}" + (f" and {tally.unpriced:,} without a price" if tally.unpriced else ""),
    ]
    if tally.kept:
        parts.insert(1, f"{tally.kept:,} of them kept")
    if total is not None and rate and tally.done < total:
        left = int((total - tally.done) / rate)
        parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
    return " · ".join(parts)


@contextmanager
def reporting(description: str, total: int | None, *, quiet: bool) -> Iterator[Watch | None]:
    """Something for a run to report to, while it lasts."""
    if quiet:
        yield None
        return
    start = time.monotonic()
    last = [Tally()]
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        def shown() -> Text:
            return Text(f"{description}: {line(last[0], total, time.monotonic() - start)}")

        with Live(console=Console(stderr=True), get_renderable=shown, refresh_per_second=1 / REDRAW_S):
            yield lambda tally: last.__setitem__(0, tally)
        return
    spoken = [start]

    def say(tally: Tally) -> None:
        last[0] = tally
        now = time.monotonic()
        if now - spoken[0] >= EVERY_S:
            spoken[0] = now
            print(f"{description}: {line(tally, total, now - start)}", file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield say
    finally:
        print(f"{description}: {line(last[0], total, time.monotonic() - start)}", file=sys.stderr, flush=True)  # noqa: T201
