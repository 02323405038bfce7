"""Arrow text columns as addresses in memory: what the scanner reads, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

INLINE_BYTES = 12  # a string view of up to this many bytes holds them itself


def addresses_of(array: pa.Array) -> tuple[U64, I64]:
    """Where each text of an array stands in memory, and its bytes: `(texts,)` each; 0 bytes for null.

    Takes strings and binary with 32-bit or 64-bit offsets, string views, and dictionaries of these; slices too.
    The addresses hold while the array lives. `TypeError` for any other type.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        addresses, sizes = addresses_of(array.dictionary)
        places = pc.fill_null(array.indices, 0).to_numpy().astype(np.int64)
        if not len(addresses):
            return np.zeros(len(array), np.uint64), np.zeros(len(array), np.int64)
        return addresses[places], np.where(_valid(array), sizes[places], 0)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view_addresses(array)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return _offset_addresses(array, np.dtype(np.int64))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _offset_addresses(array, np.dtype(np.int32))
    raise TypeError(f"text expected, got {kind}")


def _valid(array: pa.Array) -> Any:
    return array.is_valid().to_numpy(zero_copy_only=False)


def _offset_addresses(array: pa.Array, offset_type: np.dtype[Any]) -> tuple[U64, I64]:
    _, offset_buffer, data = array.buffers()
    if len(array) == 0 or offset_buffer is None:
        return np.zeros(len(array), np.uint64), np.zeros(len(array), np.int64)
    offsets = np.frombuffer(offset_buffer, offset_type)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    sizes = np.diff(offsets)
    if array.null_count:
        sizes = np.where(_valid(array), sizes, 0)
    base = data.address if data is not None else 0
    return (offsets[:-1] + base).astype(np.uint64), sizes


def _view_addresses(array: pa.Array) -> tuple[U64, I64]:
    """Each view is 16 bytes: its size, then the bytes themselves, or four of them, a buffer's number and a place."""
    _, views, *data = array.buffers()
    if len(array) == 0 or views is None:
        return np.zeros(len(array), np.uint64), np.zeros(len(array), np.int64)
    words = np.frombuffer(views, np.int32).reshape(-1, 4)[array.offset : array.offset + len(array)]
    sizes = words[:, 0].astype(np.int64)
    here = views.address + 16 * (array.offset + np.arange(len(array))) + 4
    bases = np.array([b.address for b in data] or [0], np.int64)
    inline = sizes <= INLINE_BYTES
    elsewhere = bases[np.where(inline, 0, words[:, 2])] + words[:, 3]
    if array.null_count:
        sizes = np.where(_valid(array), sizes, 0)
    return np.where(inline, here, elsewhere).astype(np.uint64), sizes
