"""The compiled reader: a text in memory → folded bytes → tokens → hashes of everything before each token."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from decontam.compiling import inlined, inner
from decontam.folding import ISOLATED, PAGE_BITS, SEPARATOR
from decontam.simd import (
    BLOCK,
    PAGE,
    copy_block,
    count_ones,
    load_byte,
    load_word,
    store_byte,
    trailing_zeros,
    tulu_words,
    unicode_words,
    word_words,
)

I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

U = np.uint64
NONE_YET = np.int64(0)  # a bare 0 is a type of its own to the compiler
ZERO, ONE, ALL = U(0), U(1), U(0xFFFFFFFFFFFFFFFF)
LOW_HALF = U(0xFFFFFFFF)
MIX = U(0x9E3779B97F4A7C15)  # odd, with mixed bits
BASE = U(0xD6E8FEB86659FD93)  # of the polynomial over the hashes of tokens

ANALYZER_CODES = {"unicode": 0, "tulu": 1, "word": 2}
SLACK = 192  # bytes or entries past the end of a buffer that block-wise steps may touch
EDGES_AT_ONCE = 8
PAGE_MASK = (1 << PAGE_BITS) - 1
SPACE = 0x20


class Message(NamedTuple):
    """Buffers for one message: folded bytes, token edges (start, end, start, …), prefix hashes.

    nowhere: an empty array, in place of an origin that nobody asks for.
    """

    folded: U8
    edges: I32
    prefix: U64
    nowhere: I32


# ------------------------------------------------------------ fold


@inner
def _copy_ascii(source, size, target):
    """Copies a text up to its first byte that is not ASCII, or its end; how many bytes. May write 64 bytes more."""
    i = 0
    while i < size:
        left = size - i
        at = source + U(i)
        if left >= BLOCK or np.int64(at & U(PAGE - 1)) <= PAGE - BLOCK:
            other = copy_block(at, target + U(i))
            if left < BLOCK:
                other &= (ONE << U(left)) - ONE
            if other != ZERO:
                return i + trailing_zeros(other)
            i += BLOCK
        else:  # a memory page ends within the next 64 bytes and so does the text: what lies behind may not be ours
            return i + _copy_ascii_bytes(at, left, target + U(i))
    return size


@inner
def _copy_ascii_bytes(source, size, target):
    for i in range(size):
        byte = load_byte(source + U(i))
        if byte >= 0x80:
            return i
        store_byte(target + U(i), byte)
    return size


@inner
def _decode(at, left):
    """(bytes, code point) of the character at an address with its high bit set; 0 bytes where it is not UTF-8."""
    lead = load_byte(at)
    width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if lead < 0xC2 or lead > 0xF4 or width > left:
        return 0, 0
    point = lead & (0x7F >> width)
    for k in range(1, width):
        byte = load_byte(at + U(k))
        if byte & 0xC0 != 0x80:
            return 0, 0
        point = point << 6 | byte & 0x3F
    too_long = (width == 3 and point < 0x800) or (width == 4 and point < 0x10000)
    if too_long or 0xD800 <= point < 0xE000 or point > 0x10FFFF:
        return 0, 0
    return width, point


@inner
def _encode(point, out, o):
    """Writes a code point as UTF-8 at `out[o]`; where it ends."""
    if point < 0x80:
        out[o] = point
        return o + 1
    if point < 0x800:
        out[o] = 0xC0 | point >> 6
    elif point < 0x10000:
        out[o] = 0xE0 | point >> 12
    else:
        out[o] = 0xF0 | point >> 18
        o += 1
        out[o] = 0x80 | point >> 12 & 0x3F
    if point >= 0x800:
        o += 1
        out[o] = 0x80 | point >> 6 & 0x3F
    out[o + 1] = 0x80 | point & 0x3F
    return o + 2


@inner
def fold(source, size, folding, out, origin):
    """Folds a text into `out`; how many bytes, or -1 - i where it is not UTF-8 from byte i on.

    ASCII letters keep their case: `tokenise` lowers them. `origin`, where it is not empty, gets the byte of the text
    from which each byte of `out` came. `out` must hold twice `size`, and `SLACK`.
    """
    target = U(out.ctypes.data)
    trace = len(origin) > 0
    i = o = 0
    while i < size:
        plain = _copy_ascii(source + U(i), size - i, target + U(o))
        if trace:
            for k in range(plain):
                origin[o + k] = i + k
        i += plain
        o += plain
        while i < size and load_byte(source + U(i)) >= 0x80:
            width, point = _decode(source + U(i), size - i)
            if width == 0:
                return -1 - i
            change = folding.changes[folding.pages[point >> PAGE_BITS] << PAGE_BITS | point & PAGE_MASK]
            began = o
            if change == SEPARATOR:
                out[o] = SPACE
                o += 1
            elif change == ISOLATED:
                out[o] = SPACE
                o = _encode(point, out, o + 1)
                out[o] = SPACE
                o += 1
            else:
                o = _encode(point + change, out, o)
            if trace:
                for k in range(began, o):
                    origin[k] = i
            i += width
    return o


# ------------------------------------------------------------ tokenise


@inner
def tokenise(folded, size, analyzer, edges):
    """Lower-cases `size` folded bytes in place and writes where tokens start and end; how many tokens."""
    base = U(folded.ctypes.data)
    n = i = 0
    carry = ZERO
    while i < size:
        if analyzer == 0:
            words = unicode_words(base + U(i))
        elif analyzer == 1:
            words = tulu_words(base + U(i))
        else:
            words = word_words(base + U(i))
        left = size - i
        if left < BLOCK:
            words &= (ONE << U(left)) - ONE
        edge = words ^ (words << ONE | carry)
        carry = words >> U(63)
        at = n
        n += count_ones(edge)
        while edge != ZERO:  # eight at a time: no branch for each, and what is written past the last is overwritten
            for k in range(EDGES_AT_ONCE):
                edges[at + k] = i + trailing_zeros(edge)
                edge &= edge - ONE
            at += EDGES_AT_ONCE
        i += BLOCK
    if n & 1:
        edges[n] = size
        n += 1
    return n >> 1


# ------------------------------------------------------------ hash


@inlined
def mix(h):
    """Spreads what tells two hashes apart over all of their bits."""
    h *= MIX
    return h ^ (h >> U(32))


@inlined
def _token_hash(at, size, seed):
    """Of `size` > 0 bytes. One multiplication for up to 8 of them, which most words are. Reads 8 bytes at a time."""
    if size <= 8:
        return mix(load_word(at) << U(64 - 8 * size) ^ U(size) ^ seed)
    return _long_token_hash(at, size, seed)


@inner
def _long_token_hash(at, size, seed):
    h = seed ^ U(size)
    done = 0
    while done < size:
        word = load_word(at + U(done))
        if size - done < 8:
            word &= ALL >> U(64 - 8 * (size - done))
        h = mix(h ^ word)
        h ^= h << U(25)
        done += 8
    return h


@inlined
def hash_prefixes(base, edges, n_tokens, seed, prefix):
    """`prefix[i]` is the hash of the first i tokens: a polynomial over their hashes, modulo 2⁶⁴."""
    total = ZERO
    prefix[0] = total
    both = U(edges.ctypes.data)  # a token's start and end are two int32: one load
    for i in range(n_tokens):
        token = load_word(both + U(8 * i))
        start = token & LOW_HALF
        total = total * BASE + _token_hash(base + start, np.int64((token >> U(32)) - start), seed)
        prefix[i + 1] = total


@inlined
def power(exponent):
    """BASE to a power, modulo 2⁶⁴: what takes tokens out of a prefix."""
    result = ONE
    for _ in range(exponent):
        result *= BASE
    return result
