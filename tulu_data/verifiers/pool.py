"""Verification in worker processes with a hard deadline: what hangs or crashes is undecided, and the pool lives on.

A worker is handed some tasks at once and answers one by one; the deadline is each task's own. A worker that misses it
is killed, another takes its place and goes on after the task that was at fault.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple

from tulu_data.errors import TuluError
from tulu_data.executor import default_workers
from tulu_data.verifiers.verdict import Verdict, undecided

AT_ONCE = 16  # tasks handed to a worker: a message costs more than most checks
AHEAD = 8  # such handfuls per worker between the first verdict that is awaited and the last task that is read
START_S = 60.0  # for a worker to start
MEMORY_BYTES = 8 << 30  # of a worker's address space


class Task(NamedTuple):
    """A response to check, by the verifier of that name, against a truth as rows hold it."""

    verifier: str
    response: str
    truth: str


class _Worker:
    """A process, its end of the line, and what it has been handed."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, far = context.Pipe()
        self.process = context.Process(target=_work, args=(far,), daemon=True)
        self.process.start()
        far.close()
        self.ready = False
        self.handed: deque[tuple[int, Task]] = deque()
        self.since = time.monotonic()

    def hand(self, tasks: Iterable[tuple[int, Task]]) -> None:
        self.handed.extend(tasks)
        self.since = time.monotonic()
        if self.ready and self.handed:
            try:
                self.line.send([task for _, task in self.handed])
            except OSError:
                pass  # it has died, which shows when the line is read

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.process.close()
        self.line.close()


class VerifierPool:
    """Checks tasks in `workers` processes; a context manager. `deadline_s` overrides the verifiers' own."""

    def __init__(self, workers: int | None = None, *, deadline_s: float | None = None) -> None:
        self.size = workers or default_workers()
        self.deadline_s = deadline_s
        self._workers: list[_Worker] = []

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def map(self, tasks: Iterable[Task]) -> Iterator[Verdict]:
        """The verdicts, in the order of the tasks, which are read only so far ahead as keeps the workers busy.

        `UsageError` for an unknown verifier and `InputError` for a truth that is not its verifier's, before that task
        is handed on.
        """
        remaining = enumerate(self._sound(tasks))
        done: dict[int, Verdict] = {}
        following = 0
        try:
            while True:
                open_ = self._fill(remaining, following, len(done))
                while following in done:
                    yield done.pop(following)
                    following += 1
                if not open_ and not any(w.handed for w in self._workers):
                    return
                done.update(self._results())
        finally:
            if any(w.handed for w in self._workers):
                self.close()  # left early: what is still being checked is nobody's

    @staticmethod
    def _sound(tasks: Iterable[Task]) -> Iterator[Task]:
        from tulu_data.verifiers.registry import parsed

        for task in tasks:
            parsed(task.verifier, task.truth)
            yield task

    def _fill(self, remaining: Iterator[tuple[int, Task]], following: int, held: int) -> bool:
        """Hands tasks to whoever has none; whether there may be more."""
        while len(self._workers) < self.size:
            self._workers.append(_Worker())
        for worker in self._workers:
            busy = sum(len(w.handed) for w in self._workers)
            if not worker.handed and busy + held < self.size * AT_ONCE * AHEAD:
                some = list(islice(remaining, AT_ONCE))
                if not some:
                    return False
                worker.hand(some)
        return True

    def _results(self) -> dict[int, Verdict]:
        """What has come in, after waiting for something to come or to be overdue."""
        results: dict[int, Verdict] = {}
        waiting = [w for w in self._workers if w.handed]
        if not waiting:
            return results
        left = min(w.since + self._allowed(w) for w in waiting) - time.monotonic()
        ready = set(wait([w.line for w in waiting], timeout=max(0.0, left)))
        for worker in waiting:
            if worker.line in ready:
                results.update(self._heard(worker))
            elif time.monotonic() - worker.since > self._allowed(worker):
                if not worker.ready:
                    raise TuluError(f"verifiers: a worker process did not start within {START_S:g} s")
                results.update(self._replaced(worker, f"no verdict after {self._allowed(worker):g} s"))
        return results

    def _allowed(self, worker: _Worker) -> float:
        if not worker.ready:
            return START_S
        from tulu_data.verifiers.registry import verifier_of

        return self.deadline_s or verifier_of(worker.handed[0][1].verifier).deadline_s

    def _heard(self, worker: _Worker) -> dict[int, Verdict]:
        try:
            said: Verdict | None = worker.line.recv()
        except (EOFError, OSError):
            if not worker.ready:
                raise TuluError("verifiers: a worker process ended while it started") from None
            return self._replaced(worker, "the check ended its process")
        if said is None:  # it is ready for its first tasks
            worker.ready = True
            worker.hand(())
            return {}
        index, _ = worker.handed.popleft()
        worker.since = time.monotonic()
        return {index: said}

    def _replaced(self, worker: _Worker, reason: str) -> dict[int, Verdict]:
        (index, _), *rest = worker.handed
        worker.close()
        fresh = _Worker()
        fresh.hand(rest)
        self._workers[self._workers.index(worker)] = fresh
        return {index: undecided(reason)}


def verify_all(tasks: Iterable[Task], *, workers: int | None = None, deadline_s: float | None = None) -> list[Verdict]:
    """The verdicts of tasks, in order; see `VerifierPool`."""
    with VerifierPool(workers, deadline_s=deadline_s) as pool:
        return list(pool.map(tasks))


def _work(line: Connection[Any, Any]) -> None:
    from tulu_data.verifiers.registry import verify

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # a check that hangs ends with the parent
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    line.send(None)
    while True:
        try:
            tasks = line.recv()
        except EOFError:
            return
        for task in tasks:
            line.send(verify(*task))
