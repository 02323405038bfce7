"""Snippets of many texts at once, compiled: the same as `evidence.snippet`, a thousand times a millisecond."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam.compiling import entry, inner
from decontam.evidence import SNIPPET_CHARS
from decontam.reading import NONE_YET, U
from decontam.simd import load_byte

I64 = npt.NDArray[np.int64]

CUT = "…".encode()


@inner
def _characters(address, start, end):
    """How many characters begin among the bytes [start, end) of a text."""
    count = NONE_YET
    for i in range(start, end):
        count += load_byte(address + U(i)) & 0xC0 != 0x80
    return count


@inner
def _byte_of(address, start, size, characters):
    """The byte at which a text goes on after so many characters from byte `start` on."""
    i = start
    while i < size and (characters > 0 or load_byte(address + U(i)) & 0xC0 == 0x80):
        characters -= load_byte(address + U(i)) & 0xC0 != 0x80
        i += 1
    if characters > 0:
        return size
    while i < size and load_byte(address + U(i)) & 0xC0 == 0x80:
        i += 1
    return i


@entry
def _cut(addresses, sizes, text_first, span_first, spans, limit, chosen, cuts):
    """For each group of texts the one with the longest span, and the bytes [start, end) to show of it."""
    for p in range(len(text_first) - 1):
        best, at, longest = text_first[p], NONE_YET, NONE_YET
        for t in range(text_first[p], text_first[p + 1]):
            for k in range(span_first[t], span_first[t + 1]):
                length = _characters(addresses[t], spans[k, 0], spans[k, 1])
                if length > longest:
                    best, at, longest = t, spans[k, 0], length
        address, size = addresses[best], sizes[best]
        total = _characters(address, NONE_YET, size)
        start, end = NONE_YET, size
        if total > limit:
            room = limit - 2  # of each cut a mark is left
            margin = max(0, room - longest) // 2
            left = min(max(0, _characters(address, NONE_YET, at) - margin), total - room)
            start = _byte_of(address, NONE_YET, size, left)
            end = _byte_of(address, start, size, room)
        chosen[p], cuts[p, 0], cuts[p, 1] = best, start, end


@entry
def _copy(addresses, sizes, chosen, cuts, mark, ends, blob):
    """Writes the snippets one behind the other, with `mark` where a text is cut, and where each of them ends."""
    o = NONE_YET
    for p in range(len(chosen)):
        start, end = cuts[p, 0], cuts[p, 1]
        if start > 0:
            for byte in mark:
                blob[o] = byte
                o += 1
        for i in range(start, end):
            blob[o] = load_byte(addresses[chosen[p]] + U(i))
            o += 1
        if end < sizes[chosen[p]]:
            for byte in mark:
                blob[o] = byte
                o += 1
        ends[p + 1] = o


def snippets(
    addresses: npt.NDArray[np.uint64], sizes: I64, text_counts: I64, span_counts: I64, spans: npt.NDArray[Any]
) -> pa.Array:
    """The snippet of each group of texts around the longest of their spans; the first text's where there is none.

    addresses, sizes, span_counts: `(texts,)`; text_counts: `(groups,)` consecutive texts; spans: `(spans, 2)` bytes.
    """
    chosen = np.zeros(len(text_counts), np.int64)
    cuts = np.zeros((len(text_counts), 2), np.int64)
    _cut(addresses, sizes, starts_of(text_counts), starts_of(span_counts), spans, SNIPPET_CHARS, chosen, cuts)
    ends = np.zeros(len(chosen) + 1, np.int64)
    blob = np.zeros(int((cuts[:, 1] - cuts[:, 0]).sum()) + 2 * len(CUT) * len(chosen), np.uint8)
    _copy(addresses, sizes, chosen, cuts, np.frombuffer(CUT, np.uint8), ends, blob)
    offsets, data = pa.py_buffer(ends), pa.py_buffer(blob[: ends[-1]])
    return pa.LargeStringArray.from_buffers(len(chosen), offsets, data)


def starts_of(counts: I64) -> I64:
    """Where each of consecutive groups begins, and the end of the last: `(groups + 1,)`."""
    return np.append(0, np.cumsum(counts)).astype(np.int64)
