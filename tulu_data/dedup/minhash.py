"""Signatures: what near duplicates are likely to share, small enough to sort. Texts → band keys and shingle sets.

The plain definition (`signature`, `band_keys`) and the compiled one (`sign`) give the same bits. A signature holds for
each permutation i the least aᵢ·x + bᵢ modulo 2³² over the lower halves x of the shingles: with a random odd aᵢ that is
a permutation of 32-bit numbers. Shingles are mixed well, so one multiplication is enough: the share of equal
numbers estimates the Jaccard similarity without bias, and with the spread of independent permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tulu_data.dedup.documents import Documents
from tulu_data.dedup.settings import MAX_PERMUTATIONS, Near
from tulu_data.dedup.words import MASK, mix, table

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

SIGNING = 2  # raise when the same text gets other words, shingles or keys: kept signatures are then made again
LARGEST = 0xFFFFFFFF  # the signature of a text without shingles


class Signed(NamedTuple):
    """What is kept of texts.

    digests: `(texts, 2)` of their words. keys: `(bands, texts)`. sizes: `(texts,)` how many different shingles; 0 where
    there are no words. shingles: `(sum of sizes,)` text after text, unordered.
    """

    digests: U64
    keys: U32
    sizes: I32
    shingles: U64


@cache
def permutations() -> tuple[U32, U32]:
    """The odd multipliers and the addends, `(MAX_PERMUTATIONS,)` each, from splitmix64 of 1, 2, 3, …"""
    drawn = [mix(i * 0x9E3779B97F4A7C15 & MASK) for i in range(1, MAX_PERMUTATIONS + 1)]
    factors = np.array([d >> 32 | 1 for d in drawn], np.uint32)
    addends = np.array([d & 0xFFFFFFFF for d in drawn], np.uint32)
    return factors, addends


def signature(shingles: Sequence[int], count: int) -> list[int]:
    """`count` numbers of 32 bits: the plain definition."""
    factors, addends = (a[:count].tolist() for a in permutations())
    return [
        min(((x & 0xFFFFFFFF) * a + b & 0xFFFFFFFF for x in shingles), default=LARGEST)
        for a, b in zip(factors, addends, strict=True)
    ]


def band_keys(numbers: Sequence[int], bands: int) -> list[int]:
    """32 bits for each band of a signature: rows share one where the band's numbers are equal, and seldom otherwise."""
    rows = len(numbers) // bands
    keys = []
    for band in range(bands):
        h = band
        for number in numbers[band * rows : (band + 1) * rows]:
            h = mix(h << 32 & MASK ^ h >> 32 ^ number)
        keys.append(h >> 32)
    return keys


def sign(documents: Documents, near: Near) -> Signed:
    """The signatures of texts; releases the interpreter's lock, so threads may sign at once. Bytes that are not UTF-8
    separate words.
    """
    from tulu_data.dedup import kernel

    factors, addends = (a[: near.permutations] for a in permutations())
    count = len(documents)
    digests, sizes = np.zeros((count, 2), np.uint64), np.zeros(count, np.int32)
    keys = np.zeros((near.bands, count), np.uint32)
    # A word takes a byte at least, so a text has no more words, and no more shingles, than bytes: buffers never end.
    ends = np.concatenate([[0], np.cumsum(documents.sizes)])[documents.first]
    longest = int(np.diff(ends).max(initial=0))
    scratch = kernel.Scratch(
        np.empty(longest + 1, np.uint64),
        np.empty(1 << max(4, int(2 * longest + 1).bit_length()), np.uint64),
        np.empty(near.permutations, np.uint32),
    )
    numbers = np.array([near.ngram, near.bands, near.band_rows], np.int64)
    found = np.empty(int(ends[-1]) + 1, np.uint64)  # the system gives memory for what is written of it
    used = kernel.sign(
        *(documents.addresses, documents.sizes, documents.first, table(), factors, addends, numbers, scratch),
        *(digests, keys, sizes, found),
    )
    return Signed(digests, keys, sizes, found[:used].copy())
