"""What a training says of itself, a line of JSON for each step; and what it shows on the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

METRICS_FILE = "metrics.jsonl"


class Metrics:
    """Lines by step; a context manager. Those that no checkpoint holds are cut off when a training goes on."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / METRICS_FILE
        kept = [line for line in read(folder) if line["step"] < step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        part.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        self._since = time.monotonic()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def write(self, step: int, tokens: int, **values: float) -> dict[str, Any]:
        """One step's line: what it came to, and tokens a second since the last."""
        now = time.monotonic()
        line = {"step": step, "tokens": tokens, **values, "tokens_per_s": tokens / max(1e-9, now - self._since)}
        self._since = now
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        return line


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of a training, but for a last one that is torn."""
    try:
        lines = (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]
