"""The processes of a training, one for each device: who computes which rows, and what they tell each other.

Every process runs the same program on the same data and knows the whole step; only the rows of the step are shared out.
`torchrun`, or anything that sets its variables, starts them; without it there is one process, and nothing here is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
from torch import distributed

T = TypeVar("T")
TIMEOUT = timedelta(days=1)  # one process makes data, samples or verifies while the others wait; torchrun ends all


class Ranks(NamedTuple):
    """This process among all. rank: from 0. size: how many there are."""

    rank: int
    size: int

    @property
    def first(self) -> bool:
        """This process is the one that writes."""
        return self.rank == 0

    def deal(self, rows: Sequence[T]) -> Iterator[tuple[T, bool]]:
        """This process's rows. All get as many: one that would get fewer gets the first row again, not to be counted.

        Models in pieces need it, for their processes compute together or not at all.
        """
        for start in range(0, len(rows), self.size):
            mine = start + self.rank
            yield (rows[mine], True) if mine < len(rows) else (rows[0], False)

    def gather(self, found: Sequence[T], count: int) -> list[T]:
        """What each process found of its rows → that of all `count` rows, in their order, in every process."""
        if self.size == 1:
            return list(found)
        parts: list[list[T]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(parts, list(found))
        return [parts[i % self.size][i // self.size] for i in range(count)]

    def total(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sums over all processes, which must have the same names."""
        if self.size == 1:
            return dict(values)
        parts: list[dict[str, float]] = [{} for _ in range(self.size)]
        distributed.all_gather_object(parts, dict(values))
        return {name: sum(part[name] for part in parts) for name in values}

    def share(self, value: T) -> T:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier()


def here(*, cuda: bool) -> Ranks:
    """This process among those that were started with it; they are made known to each other at the first call."""
    if world() == 1:
        return Ranks(0, 1)
    if not distributed.is_initialized():
        if cuda:
            torch.cuda.set_device(local())
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=TIMEOUT)
    return Ranks(distributed.get_rank(), world())


def local() -> int:
    """The number of this process on its machine, from 0: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def first() -> bool:
    """This process writes; asked before processes know each other."""
    return world() == 1 or int(os.environ.get("RANK", "0")) == 0


def world() -> int:
    """How many processes there are in all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def beside() -> int:
    """How many processes there are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def leave() -> None:
    """Parts from the others, at the end of a training."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
