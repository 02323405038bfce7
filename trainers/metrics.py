"""What a training says of itself, in lines of JSON that are cut back to its checkpoint when it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from tulu_data.errors import InputError

METRICS_FILE, SAMPLES_FILE = "metrics.jsonl", "samples.jsonl"


class Lines:
    """A file of lines that each have a `step`; those from `step` on, which no checkpoint holds, are cut off.

    A context manager. The file is made when there is something to write. writes: else another process does.
    """

    def __init__(self, path: Path, step: int, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self._file: TextIO | None = None
        if writes and path.exists():
            kept = [line for line in read(path) if line["step"] < step]
            part = path.with_suffix(".part")
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            part.replace(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines, each whole."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if not (text and self._writes):
            return
        self._file = self._file or self.path.open("a", encoding="utf-8")
        self._file.write(text)
        self._file.flush()


class Metrics(Lines):
    """A line for each step."""

    def __init__(self, folder: Path, step: int, *, writes: bool = True) -> None:
        super().__init__(folder / METRICS_FILE, step, writes=writes)
        self._since = time.monotonic()

    def step(self, step: int, tokens: int, **values: float) -> dict[str, Any]:
        """Writes one step's line: what it came to, and tokens a second since the last."""
        now = time.monotonic()
        line = {"step": step, "tokens": tokens, **values, "tokens_per_s": tokens / max(1e-9, now - self._since)}
        self._since = now
        self.write([line])
        return line


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, but for a last one that is torn; none where there is no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except ValueError as e:
        raise InputError(f"{path}: holds a line that is no JSON ({e}); mend or remove the file") from None
