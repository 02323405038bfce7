"""The compiled inner loops of the search for near duplicates: texts → signatures, buckets → pairs, pairs → who stays.

`words` and `minhash` hold the definitions in Python that these loops equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import carray, njit, types  # type: ignore[attr-defined]  # noqa: TID253 - this module is imported where it is used
from numba.extending import intrinsic  # noqa: TID253

from tulu_data.dedup import words

U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

U = np.uint64
NONE_YET = np.int64(0)  # a bare 0 is a type of its own to the compiler
ALONE = np.uint32(words.ALONE)
TABLE_SIZE, HAN_END = words.TABLE_SIZE, words.HAN_END
OFFSET, PRIME = U(words.FNV_OFFSET), U(words.FNV_PRIME)
BASE, SECOND_BASE = U(words.BASE), U(words.SECOND_BASE)
SHINGLE, WHOLE, DIGEST = U(words.SHINGLE), U(words.WHOLE), U(words.DIGEST)
MIX_1, MIX_2 = U(0xBF58476D1CE4E5B9), U(0x94D049BB133111EB)
LARGEST = np.uint32(0xFFFFFFFF)
LOW_HALF = U(0xFFFFFFFF)
STEPS = 16  # through a set between two looks at whether it can still be alike enough


class Scratch(NamedTuple):
    """Buffers for one text: the hashes of its words, a hash table of its shingles (a power of two), a signature."""

    hashes: U64
    slots: U64
    signature: U32


def entry(function: Callable[..., Any]) -> Any:
    """Compiles what is called from Python: without the GIL, and kept on disk where there is a place to keep it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither this folder nor the user's can be written: it is compiled in each process
        return njit(nogil=True)(function)


inlined: Any = njit(nogil=True, forceinline=True)
inner: Any = njit(nogil=True)


@intrinsic
def pointer(typing: Any, address: Any) -> tuple[Any, Any]:
    """An address as a pointer to bytes."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(types.CPointer(types.uint8)))

    return types.CPointer(types.uint8)(types.uint64), emit


# ------------------------------------------------------------ texts → signatures


@inlined
def mix(h):
    """See `words.mix`."""
    h = (h ^ (h >> U(30))) * MIX_1
    h = (h ^ (h >> U(27))) * MIX_2
    return h ^ (h >> U(31))


@inlined
def decode(text, i):
    """(bytes, code point) of the character at byte i, which is not ASCII; (1, -1) where it is not UTF-8."""
    lead = np.int64(text[i])
    width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if lead < 0xC2 or lead > 0xF4 or i + width > len(text):
        return 1, -1
    point = lead & (0x7F >> width)
    for k in range(1, width):
        byte = np.int64(text[i + k])
        if byte & 0xC0 != 0x80:
            return 1, -1
        point = point << 6 | byte & 0x3F
    return width, point


@inlined
def entry_of(table, point):
    """The entry of a code point that is not ASCII, as `words.words` looks it up."""
    if point < 0:
        return np.uint32(0)
    if point < TABLE_SIZE:
        return table[point]
    return np.uint32(point) | ALONE if point < HAN_END else np.uint32(0)


@inner
def hash_words(text, table, hashes, n):
    """Writes the hash of each word of a piece of text from `hashes[n]` on; how many there are then."""
    i = NONE_YET
    h = OFFSET
    inside = False
    while i < len(text):
        byte = text[i]
        if byte < 0x80:
            folded = table[byte]
            i += 1
        else:
            width, point = decode(text, i)
            folded = entry_of(table, point)
            i += width
        if folded - np.uint32(1) < ALONE - np.uint32(1):  # neither a separator nor alone
            h = (h ^ U(folded)) * PRIME
            inside = True
            continue
        if inside:
            hashes[n] = mix(h)
            n += 1
            h = OFFSET
            inside = False
        if folded != 0:
            hashes[n] = mix((OFFSET ^ U(folded & ~ALONE)) * PRIME)
            n += 1
    if inside:
        hashes[n] = mix(h)
        n += 1
    return n


@inlined
def add_new(slots, mask, shingle, found, at):
    """Appends a shingle to `found` unless it is in the table `slots`; where `found` ends."""
    key = shingle | U(shingle == U(0))  # 0 is a free slot
    slot = np.int64(key >> U(20)) & mask
    while slots[slot] != U(0):
        if slots[slot] == key:
            return at
        slot = (slot + 1) & mask
    slots[slot] = key
    found[at] = shingle
    return at + 1


@inner
def collect_shingles(hashes, n, ngram, slots, found, at):
    """Writes the different shingles of n words from `found[at]` on; where they end. See `words.shingles`."""
    total = U(0)
    if n < ngram:
        for i in range(n):
            total = total * BASE + hashes[i]
        found[at] = mix(total ^ WHOLE)
        return at + 1
    size = NONE_YET + 16
    while size < 2 * n:
        size *= 2
    slots[:size] = U(0)
    leading = U(1)
    for _ in range(ngram):
        leading *= BASE
    for i in range(n):
        total = total * BASE + hashes[i]
        if i >= ngram:
            total -= hashes[i - ngram] * leading
        if i >= ngram - 1:
            at = add_new(slots, size - 1, mix(total ^ SHINGLE), found, at)
    return at


@inner
def minima(shingles, factors, addends, signature):
    """The signature of a set of shingles: see `minhash.signature`."""
    signature[:] = LARGEST
    for k in range(len(shingles)):
        x = np.uint32(shingles[k] & LOW_HALF)
        for i in range(len(signature)):
            value = np.uint32(x * factors[i] + addends[i])
            signature[i] = min(signature[i], value)


@inner
def keys_of(signature, bands, rows, keys, document):
    """See `minhash.band_keys`."""
    for band in range(bands):
        h = U(band)
        for k in range(band * rows, (band + 1) * rows):
            h = mix(((h << U(32)) | (h >> U(32))) ^ U(signature[k]))
        keys[band, document] = np.uint32(h >> U(32))


@entry
def sign(addresses, sizes, first, table, factors, addends, numbers, scratch, digests, keys, counts, found):
    """Signs texts of pieces in memory into `digests`, `keys`, `counts` and `found` (`minhash.Signed`); how many
    shingles were found.

    numbers: words of a shingle, bands, numbers of a band. `scratch.hashes` and `found` have room for a word a byte.
    """
    ngram, bands, rows = numbers[0], numbers[1], numbers[2]
    at = NONE_YET
    for d in range(len(first) - 1):
        n = NONE_YET
        for piece in range(first[d], first[d + 1]):
            if sizes[piece] > 0:
                n = hash_words(carray(pointer(addresses[piece]), sizes[piece]), table, scratch.hashes, n)
        one, two = U(0), U(0)
        for i in range(n):
            one = one * BASE + scratch.hashes[i]
            two = two * SECOND_BASE + scratch.hashes[i]
        tag = DIGEST ^ (U(n) << U(32))
        digests[d, 0], digests[d, 1] = mix(one ^ tag), mix(two ^ tag)
        start = at
        if n > 0:
            at = collect_shingles(scratch.hashes, n, ngram, scratch.slots, found, at)
        counts[d] = at - start
        minima(found[start:at], factors, addends, scratch.signature)
        keys_of(scratch.signature, bands, rows, keys, d)
    return at


# ------------------------------------------------------------ buckets → pairs


@entry
def pairs_in(ordered, state, out):
    """Writes the pairs of the buckets of one band, from where `state` stands, until all are written or `out` is full.

    ordered: `(texts,)` key << 32 | text, ascending. state: where the bucket begins, and the next pair (i, j) of it, by
    place. out: pairs as later << 32 | earlier. How many are written; `state[0]` is `len(ordered)` at the end.
    """
    begin, i, j = state[0], state[1], state[2]
    count = NONE_YET
    while begin < len(ordered):
        key = ordered[begin] >> U(32)
        while j < len(ordered) and ordered[j] >> U(32) == key:
            while i < j:
                if count == len(out):
                    state[0], state[1], state[2] = begin, i, j
                    return count
                out[count] = (ordered[j] << U(32)) | (ordered[i] & LOW_HALF)
                count += 1
                i += 1
            i = begin
            j += 1
        begin = j
        i = begin
        j = begin + 1
    state[0], state[1], state[2] = begin, i, j
    return count


# ------------------------------------------------------------ pairs → who stays


@entry
def copy_sets(section, starts, shingles, first):
    """Copies the set that starts at each place of a section to its place."""
    for k in range(len(starts)):
        for i in range(first[k + 1] - first[k]):
            shingles[first[k] + i] = section[starts[k] + i]


@entry
def sort_sets(shingles, first):
    """Sorts each set in place. first: `(sets + 1,)`."""
    for k in range(len(first) - 1):
        shingles[first[k] : first[k + 1]].sort()


@inner
def shared(a, b, least):
    """How many elements two sorted sets share, or -1 where it is seen on the way to be fewer than `least`."""
    i = j = count = NONE_YET
    while i < len(a) and j < len(b):
        end = min(i + STEPS, len(a))
        while i < end and j < len(b):
            x, y = a[i], b[j]
            count += x == y
            i += x <= y
            j += y <= x
        if count + min(len(a) - i, len(b) - j) < least:
            return np.int64(-1)
    return count


@inlined
def jaccard(shingles, first, a, b, threshold):
    """The similarity of two sets, or -1 where it is below the threshold and need not be known."""
    size_a, size_b = first[a + 1] - first[a], first[b + 1] - first[b]
    if min(size_a, size_b) / max(size_a, size_b) < threshold:
        return -1.0
    least = np.int64(threshold * (size_a + size_b) / (1 + threshold)) - 1  # below: rounding must not decide
    both = shared(shingles[first[a] : first[a + 1]], shingles[first[b] : first[b + 1]], least)
    return both / (size_a + size_b - both) if both >= 0 else -1.0


@entry
def similarities(pairs, places, first, shingles, threshold, scores):
    """The similarity of each pair, as `jaccard` gives it. places: `(pairs, 2)` of its sets among those at hand."""
    for k in range(len(pairs)):
        scores[k] = jaccard(shingles, first, places[k, 0], places[k, 1], threshold)


@entry
def settle(pairs, places, first, shingles, threshold, leader, score):
    """Decides, in the order of the later text, which texts leave: those like an earlier one that stays.

    pairs: ascending, later << 32 | earlier. leader: `(texts,)` the text that each leaves for, or itself; of several
    the likest, then the earliest. score: `(texts,)` the similarity to it. How many pairs were compared.
    """
    compared = NONE_YET
    for k in range(len(pairs)):
        later, earlier = np.int64(pairs[k] >> U(32)), np.int64(pairs[k] & LOW_HALF)
        if leader[earlier] != earlier:
            continue
        compared += 1
        similarity = jaccard(shingles, first, places[k, 0], places[k, 1], threshold)
        if similarity >= threshold and similarity > score[later]:
            leader[later], score[later] = earlier, similarity
    return compared


STAMP = "dedup-sources"


def _forget_stale(compiled: Any) -> None:
    """Removes what is kept of this module where it or a definition in it has changed: Numba looks at this file alone,
    and the constants are those of `words`.
    """
    if compiled.stats.cache_path is None:
        return
    here = Path(__file__).parent
    digest = sha256(b"".join((here / name).read_bytes() for name in ("kernel.py", "words.py"))).hexdigest()
    kept = Path(compiled.stats.cache_path)
    stamp = kept / STAMP
    with suppress(OSError):  # a cache that cannot be written was not written by another version either
        if not stamp.is_file() or stamp.read_text() != digest:
            for path in kept.glob("kernel.*.nb[ic]"):
                path.unlink(missing_ok=True)
            kept.mkdir(parents=True, exist_ok=True)
            stamp.write_text(digest)


_forget_stale(sign)
