"""Runs untrusted Python against tests, in a confined child of a warm process of its own.

What the code does wrong (loops, kills itself, allocates too much, reaches for files or the network) is its failure.
What goes wrong with the sandbox is `SandboxError`, and no judgement of the code.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from tulu_data.errors import TuluError
from tulu_data.verifiers.fork_server import frame

START_S = 30.0  # for the warm process to start, and to answer beyond a task's own deadline


class SandboxError(TuluError):
    """The sandbox does not work here."""


class Limits(NamedTuple):
    """What a run may use. HumanEval's own harness gives 3 s (arXiv 2107.03374, execution.py)."""

    cpu_s: float = 3.0  # processor time: another machine's load does not count
    wall_s: float = 10.0  # for code that sleeps or waits
    memory_bytes: int = 2 << 30  # of address space
    file_bytes: int = 16 << 20  # of one file


LIMITS = Limits()


class Sandbox:
    """A warm process; `run` may be called any number of times, by one thread at a time. It starts when first used."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, code: str, tests: Sequence[str], *, entry_point: str | None = None, limits: Limits = LIMITS) -> str:
        """What fails, in one line; the empty text where the code passes all tests."""
        task = {"code": code, "tests": list(tests), "entry_point": entry_point, **limits._asdict()}
        process = self._running()
        try:
            assert process.stdin is not None
            process.stdin.write(frame(task))
            process.stdin.flush()
            outcome = self._answer(process, time.monotonic() + limits.wall_s + START_S)
        except (OSError, ValueError, struct.error) as e:
            self.close()
            raise SandboxError(f"the sandbox's process is gone: {e}") from None
        if "broken" in outcome:
            raise SandboxError(f"the sandbox does not work here: {outcome['broken']}")
        return str(outcome["failed"])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            command = [sys.executable, "-m", "tulu_data.verifiers.fork_server"]
            path = os.pathsep.join(p for p in sys.path if p)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
        import json

        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        said = b""
        while len(said) < 4 or len(said) < 4 + struct.unpack("<I", said[:4])[0]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise OSError("no answer in time")
            part = os.read(descriptor, 1 << 16)
            if not part:
                raise OSError("it ended")
            said += part
        answer: dict[str, Any] = json.loads(said[4:])
        return answer

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                try:
                    if stream is not None:
                        stream.close()
                except OSError:
                    continue  # what was not written goes nowhere
