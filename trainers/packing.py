"""Which examples share a row of tokens, and which examples a step trains on: both from the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import numpy.typing as npt


def order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch goes through the examples: `(count,)`. The same for the same seed and epoch."""
    digest = sha256(f"{seed}/{epoch}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8])).permutation(count)


@dataclass(frozen=True)
class Steps:
    """The steps of a training: each trains on `batch` examples; the last of an epoch is made full from the next.

    What does not fill a last step of the last epoch is left out.
    """

    count: int
    batch: int
    epochs: int
    seed: int

    @property
    def total(self) -> int:
        """How many steps there are."""
        return self.count * self.epochs // self.batch

    def examples(self, step: int) -> list[int]:
        """The examples of a step, from 0; a step depends on none before it."""
        found: list[int] = []
        position = step * self.batch
        while len(found) < self.batch:
            epoch, start = divmod(position, self.count)
            take = order(self.count, self.seed, epoch)[start : start + self.batch - len(found)]
            found += take.tolist()
            position += len(take)
        return found


def rows(lengths: Sequence[int], capacity: int, micro_batch: int | None = None) -> list[list[int]]:
    """Which sequences share a row of tokens: as `pack` has it, or so many at a time, in their order."""
    if micro_batch is None:
        return pack(lengths, capacity)
    return [list(range(i, min(i + micro_batch, len(lengths)))) for i in range(0, len(lengths), micro_batch)]


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best fit: positions of the lengths in bins that hold `capacity` each, long ones first.

    `ValueError` where one is longer than a bin. Bins and their contents are in the order of the positions.

    >>> pack([5, 3, 4, 2], 8)
    [[0, 1], [2, 3]]
    """
    bins: list[tuple[int, list[int]]] = []  # (room, positions)
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if lengths[i] > capacity:
            raise ValueError(f"a sequence of {lengths[i]:,} tokens does not fit into {capacity:,}")
        fitting = [b for b, (room, _) in enumerate(bins) if room >= lengths[i]]
        if fitting:
            best = min(fitting, key=lambda b: (bins[b][0], b))
            room, held = bins[best]
            bins[best] = (room - lengths[i], [*held, i])
        else:
            bins.append((capacity - lengths[i], [i]))
    return sorted(sorted(held) for _, held in bins)
