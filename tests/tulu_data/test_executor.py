"""Results come in order, few items are in flight, and no worker outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.errors import TuluError
from tulu_data.executor import IN_FLIGHT_PER_WORKER, default_workers, map_in_order

# Functions for workers come from importable modules: a test module is none.


def test_in_process_results_are_those_of_map():
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers()))
    def check(items: list[int]) -> None:
        assert list(map_in_order(str, items)) == list(map(str, items))

    check()


def test_results_of_workers_come_in_the_order_of_the_items():
    sleeps = [0.2, 0.0, 0.1, 0.0, 0.05, 0.0, 0.0]
    assert list(map_in_order(time.sleep, sleeps, workers=2)) == [None] * len(sleeps)
    assert list(map_in_order(abs, range(-50, 0), workers=2)) == list(range(50, 0, -1))
    assert list(map_in_order(abs, [], workers=2)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_is_raised_at_its_items_turn(workers):
    results = map_in_order(int, ["1", "2", "x", "4"], workers=workers)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="invalid literal for int"):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_the_items_is_raised(workers):
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(map_in_order(abs, items(), workers=workers))


def test_few_items_are_read_ahead():
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for i in range(100):
            read += 1
            yield i

    ahead = [read - done for done, _ in enumerate(map_in_order(abs, items(), workers=2))]
    assert max(ahead) <= 2 * IN_FLIGHT_PER_WORKER
    assert read == 100


def test_a_consumer_that_stops_ends_the_workers():
    results = map_in_order(time.sleep, [0.0] * 100, workers=2)
    next(results)
    assert len(psutil.Process().children()) >= 2
    results.close()
    assert [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_initializer_runs_before_the_items(workers, tmp_path):
    folder = tmp_path / "made"
    found = list(
        map_in_order(
            os.listdir, [str(folder)] * 4, workers=workers, initializer=os.makedirs, initargs=(str(folder), 0o777, True)
        )
    )
    assert found == [[]] * 4


def test_a_killed_worker_is_one_line():
    with pytest.raises(TuluError) as caught:
        list(map_in_order(os._exit, [9] * 3, workers=2))
    assert str(caught.value) == "a worker process was killed, perhaps for lack of memory; use fewer workers"


SLEEPERS = """
import time
from tulu_data.executor import map_in_order

if __name__ == "__main__":
    for _ in map_in_order(time.sleep, [0.0, 0.0] + [300.0] * 8, workers=2):
        print("ready", flush=True)
"""


def test_workers_die_with_a_killed_parent(tmp_path):
    script = tmp_path / "sleepers.py"
    script.write_text(SLEEPERS)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        workers = [c for c in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(c.cmdline())]
        assert len(workers) == 2
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []


def test_there_is_at_least_one_worker():
    assert 1 <= default_workers() <= (os.cpu_count() or 1)
