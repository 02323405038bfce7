"""Map a function over work items, in this process or in several: results come in order, few items are in flight.

| how | for |
|---|---|
| `processes` | Python that holds the interpreter's lock |
| `threads` | compiled code that lets go of it; the state is shared, not copied |
| `ray` | several machines (extra `[ray]`): one task an item, retried when its node dies |
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Literal, TypeVar, get_args

from tulu_data.errors import TuluError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
State = TypeVar("State")

How = Literal["processes", "threads", "ray"]
HOWS: tuple[How, ...] = get_args(How)

IN_FLIGHT_PER_WORKER = 3  # enough to keep workers busy, few enough to bound memory
RAY_RETRIES = 5  # of a task whose node or process died


def default_workers() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = 1,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """`function(item)` for each item, in the order of the items.

    With `workers > 1` in that many spawned processes (so `function` and the items must pickle); `initializer` runs
    once in each. At most `IN_FLIGHT_PER_WORKER` items per worker are read ahead. An exception in `function` is
    raised here, at its item's turn; `TuluError` where a worker was killed. Workers end with this process, even when
    it is killed.
    """
    if workers <= 1:
        if initializer:
            initializer(*initargs)
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (initializer, initargs)) as pool:
        try:
            yield from _in_order(lambda item: pool.submit(function, item), items, workers)
        except BrokenProcessPool:
            raise TuluError("a worker process was killed, perhaps for lack of memory; use fewer workers") from None


def map_with_state(
    function: Callable[[State, Item], Result],
    state: State,
    items: Iterable[Item],
    *,
    workers: int = 1,
    how: How = "processes",
) -> Iterator[Result]:
    """`function(state, item)` for each item, in the order of the items; see `map_in_order`.

    Threads share `state`; a process gets a copy of it once; Ray keeps one copy on each node. `UsageError` where Ray
    is asked for and missing.
    """
    if how == "ray":
        yield from _map_in_ray(function, state, items, workers)
    elif workers <= 1:
        yield from (function(state, item) for item in items)
    elif how == "threads":
        with ThreadPoolExecutor(workers) as pool:
            yield from _in_order(lambda item: pool.submit(function, state, item), items, workers)
    else:
        calls = ((function, item) for item in items)
        yield from map_in_order(_call_with_state, calls, workers=workers, initializer=_keep, initargs=(state,))


_state: Any = None  # of a worker process


def _keep(state: Any) -> None:
    global _state  # noqa: PLW0603 - an initializer has nowhere else to leave it
    _state = state


def _call_with_state(call: tuple[Callable[[Any, Any], Any], Any]) -> Any:
    function, item = call
    return function(_state, item)


def _in_order(submit: Callable[[Item], Future[Result]], items: Iterable[Item], workers: int) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) >= workers * IN_FLIGHT_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _map_in_ray(
    function: Callable[[State, Item], Result], state: State, items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """One Ray task an item. Tasks that die with their node are run again, so each item has one result."""
    if find_spec("ray") is None:
        raise UsageError("executor ray: Ray is not installed; pip install 'tulu-data[ray]', or choose another executor")
    import ray

    started = not ray.is_initialized()
    if started:
        # RAY_ADDRESS names a cluster; without it one is started here. All CPUs are never reserved.
        cpus = None if "RAY_ADDRESS" in os.environ else workers
        ray.init(num_cpus=cpus, log_to_driver=False, logging_level=logging.WARNING)
    try:
        task = ray.remote(num_cpus=1, max_retries=RAY_RETRIES)(function)
        shared = ray.put(state)
        remaining = iter(items)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        in_flight = max(workers, int(resources.get("CPU", 1))) * IN_FLIGHT_PER_WORKER
        waiting = deque(task.remote(shared, item) for item in islice(remaining, in_flight))
        while waiting:
            try:
                result = ray.get(waiting.popleft())
            except ray.exceptions.RayTaskError as e:
                if isinstance(e.cause, TuluError):
                    raise e.cause from None
                raise
            yield result
            waiting.extend(task.remote(shared, item) for item in islice(remaining, 1))
    finally:
        if started:
            ray.shutdown()


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer:
        initializer(*initargs)


def _end_with_parent() -> None:
    # A worker holds its own end of the task queue, so a killed parent would leave it waiting for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
