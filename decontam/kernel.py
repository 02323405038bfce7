"""The compiled scanner: texts against the n-grams of the suites, exactly. docs/how-it-works.md draws it.

One message at a time goes through named steps, and stays in the cache of one core meanwhile:

    fold      copy with the analyzer's folding; runs of ASCII go 64 bytes at a time
    tokenise  64 bytes → a bit mask of word bytes → where tokens start and end
    hash      of each token, and of everything before it: any n-gram's hash is then one multiplication away
    match     every `stride`-th sub-gram is looked up in a small filter; only where it passes are n-grams looked up
    verify    n-grams of equal hash are compared byte by byte, once along a run of matching tokens
    cover     each shared n-gram marks its places in the suites' texts; the union of the windows is the coverage

No match is false, for every one is compared. None is missed: a window of n tokens holds exactly one sub-gram of
`anchor` tokens that starts at a multiple of `stride`, where stride = n − anchor + 1, and filters have no false
negatives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from decontam.compiling import entry, forget_stale, inlined, inner
from decontam.folding import Folding
from decontam.reading import (
    ALL,
    I32,
    NONE_YET,
    ONE,
    U8,
    U64,
    ZERO,
    U,
    fold,
    hash_prefixes,
    mix,
    power,
    tokenise,
)
from decontam.simd import load_word, trailing_zeros

I64 = npt.NDArray[np.int64]

SHORT_TRIGGER = 5  # tokens of a text under n tokens that are looked for at every place of a message


class Texts(NamedTuple):
    """Token sequences in one piece of memory.

    blob: folded bytes, tokens separated by one space, and `SLACK` more. starts, lengths: `(tokens,)` where each token
    stands in the blob. first: `(texts + 1,)` at which token each text begins. text_of: `(tokens,)`.
    """

    blob: U8
    starts: I32
    lengths: I32
    first: I32
    text_of: I32


class Grams(NamedTuple):
    """The n-grams of `Texts`, numbered, and how to find one.

    at: `(tokens,)` the n-gram that starts at each token; -1 where none does, or it is left out.
    offsets, places: the tokens at which n-gram g starts are `places[offsets[g] : offsets[g + 1]]`.
    rare: `(grams,)` 1 where few enough texts hold it. anchors, filter: blocked Bloom filters over the sub-grams, and
    over the n-grams. keys, values: open addressing, hash → n-gram; key 0 is a free slot.
    needed, rare_needed: `(texts,)` what covers fewer tokens, and fewer of those under rare n-grams, is not reported.
    shape: n, tokens of a sub-gram, stride.
    """

    at: I32
    offsets: I32
    places: I32
    rare: U8
    anchors: U64
    filter: U64
    keys: U64
    values: I32
    needed: I32
    rare_needed: I32
    shape: I64


class Wholes(NamedTuple):
    """Texts that are only found whole. Each is filed under the hash of some tokens of it, or of all of them.

    sieve: a bit for the highest bits of the hash of each part, before it is mixed. keys, values: hash → group. texts,
    ats: the members `[groups[g] : groups[g + 1]]` of group g, and where in the text the tokens that were hashed begin.
    shape: how many tokens are hashed (where all are, the number that no text reaches), tokens of a part of them,
    stride: as in `Grams`.
    """

    sieve: U64
    keys: U64
    values: I32
    groups: I32
    texts: I32
    ats: I32
    shape: I64


class Index(NamedTuple):
    """All that a scan needs to know of the suites.

    fine: short n-grams that few texts hold, which suggest edited copies. short, brief: texts that no n-gram can find,
    of `SHORT_TRIGGER` tokens or more, and of fewer; tiny: texts that must be the whole message. numbers: the analyzer's
    code, the seed of the hashes, 1 where edited copies are looked for.
    """

    folding: Folding
    texts: Texts
    grams: Grams
    fine: Grams
    short: Wholes
    brief: Wholes
    tiny: Wholes
    numbers: I64


class State(NamedTuple):
    """What is known of one message while it is matched, and what is found.

    hit: `(message tokens,)` the n-gram that starts there, or -1. seen: `(grams,)` and touched_at: `(texts,)` the last
    message with it. marks: a bit per token of the texts, set where a shared n-gram starts. touched: texts with a mark.
    found_message, found_text: `(capacity,)` what is reported: messages, and texts they have something in common with.
    """

    hit: I32
    seen: I64
    marks: U64
    touched: I32
    touched_at: I64
    found_message: I32
    found_text: I32


# ------------------------------------------------------------ filters and tables


@inlined
def gram_hash(prefix, i, size, base_power):
    """The hash of the `size` tokens from i on, never 0; `base_power` is `power(size)`."""
    return mix(prefix[i + size] - prefix[i] * base_power) | ONE


@inlined
def filter_bits(h):
    """Three bits of a word of a filter."""
    return (ONE << (h >> U(1) & U(63))) | (ONE << (h >> U(7) & U(63))) | (ONE << (h >> U(13) & U(63)))


@inlined
def _passes(filter_, shift, h):
    bits = filter_bits(h)
    return filter_[np.int64(h >> shift)] & bits == bits


@inlined
def filter_shift(filter_):
    """How far a hash is shifted to give a word of the filter."""
    return U(64 - trailing_zeros(U(len(filter_))))


@inner
def look_up(keys, values, h):
    """The value filed under a hash, or -1."""
    mask = len(keys) - 1
    slot = np.int64(h >> U(20)) & mask
    while keys[slot] != ZERO:
        if keys[slot] == h:
            return values[slot]
        slot = (slot + 1) & mask
    return np.int32(-1)


# ------------------------------------------------------------ verify


@inlined
def equal_bytes(a, b, size):
    """Whether `size` bytes at two addresses are the same."""
    done = 0
    while done < size:
        difference = load_word(a + U(done)) ^ load_word(b + U(done))
        if size - done < 8:
            difference &= ALL >> U(64 - 8 * (size - done))
        if difference != ZERO:
            return False
        done += 8
    return True


@inner
def equal_token(base, edges, i, blob, texts, place):
    """Whether token i of a message is the token at a place of the texts."""
    start = edges[2 * i]
    size = np.int64(edges[2 * i + 1] - start)
    if size != texts.lengths[place]:
        return False
    return equal_bytes(base + U(start), blob + U(texts.starts[place]), size)


@inner
def equal_tokens(base, edges, i, blob, texts, place, size):
    """Whether `size` tokens of a message, from i on, are those of the texts from a place on."""
    k = 0
    while k < size and equal_token(base, edges, i + k, blob, texts, place + k):
        k += 1
    return k == size


# ------------------------------------------------------------ match


@inlined
def next_candidate(prefix, n_tokens, at, shape, anchors, filter_):
    """The first sub-gram, of those at every `stride`-th token from `at` on, with an n-gram around it that the texts may
    hold; or -1.

    Almost all of the time of a scan that is not spent on reading the text is spent here: on one word of a filter that
    fits the cache. The larger filter is asked only where that one passes.
    """
    n, anchor, stride = shape[0], shape[1], shape[2]
    anchor_power, anchor_shift = power(anchor), filter_shift(anchors)
    power_n, shift = power(n), filter_shift(filter_)
    while at + anchor <= n_tokens:
        if _passes(anchors, anchor_shift, gram_hash(prefix, at, anchor, anchor_power)):
            for i in range(max(0, at - stride + 1), min(at, n_tokens - n) + 1):
                if _passes(filter_, shift, gram_hash(prefix, i, n, power_n)):
                    return at
        at += stride
    return np.int64(-1)


@inner
def match(message, n_tokens, at, texts, grams, state, stamp):
    """Finds every n-gram that a message shares with the texts, from its candidate `at` on; how many texts are touched.

    Leaves `state.hit`, valid where a text is touched, and `state.marks`, which `cover` clears.
    """
    n, stride = grams.shape[0], grams.shape[2]
    power_n, shift = power(n), filter_shift(grams.filter)
    base, blob = U(message.folded.ctypes.data), U(texts.blob.ctypes.data)
    last = n_tokens - n  # the last window
    touched = NONE_YET
    following = NONE_YET  # the first window that is not matched yet
    while at >= 0:
        i = max(following, at - stride + 1)
        while i <= min(at, last):
            h = gram_hash(message.prefix, i, n, power_n)
            place = _look_up_place(grams, h) if _passes(grams.filter, shift, h) else np.int64(-1)
            if place < 0 or not equal_tokens(base, message.edges, i, blob, texts, place, n):
                i += 1
                continue
            if following == 0:  # the first match
                for k in range(last + 1):
                    state.hit[k] = -1
            i, touched = _follow(i, place, last, message, texts, grams, state, stamp, touched)
            following = i
        if following > at:
            at = (following - 1) // stride * stride  # windows up to here are matched
        at = next_candidate(message.prefix, n_tokens, at + stride, grams.shape, grams.anchors, grams.filter)
    return touched


@inner
def _look_up_place(grams, h):
    """A place at which an n-gram of this hash starts, or -1."""
    gram = look_up(grams.keys, grams.values, h)
    return np.int64(grams.places[grams.offsets[gram]]) if gram >= 0 else np.int64(-1)


@inner
def _follow(i, place, last, message, texts, grams, state, stamp, touched):
    """Window i matches at a place: goes along the text for as long as the message follows it, comparing one token each.

    (the first window that does not follow, texts touched so far)
    """
    n = grams.shape[0]
    base, blob = U(message.folded.ctypes.data), U(texts.blob.ctypes.data)
    end = texts.first[texts.text_of[place] + 1]
    while True:
        gram = grams.at[place]
        if gram >= 0:  # not left out
            state.hit[i] = gram
            if state.seen[gram] != stamp:
                state.seen[gram] = stamp
                touched = _mark(gram, texts, grams, state, stamp, touched)
        i += 1
        place += 1
        if i > last or place + n > end:
            return i, touched
        if not equal_token(base, message.edges, i + n - 1, blob, texts, place + n - 1):
            return i, touched


@inner
def _mark(gram, texts, grams, state, stamp, touched):
    for k in range(grams.offsets[gram], grams.offsets[gram + 1]):
        place = grams.places[k]
        state.marks[place >> 6] |= ONE << U(place & 63)
        text = texts.text_of[place]
        if state.touched_at[text] != stamp:
            state.touched_at[text] = stamp
            state.touched[touched] = text
            touched += 1
    return touched


# ------------------------------------------------------------ cover


@inner
def cover(number, touched, texts, grams, state, found):
    """Reports the touched texts that are covered enough, from entry `found` on; the entry after the last."""
    for k in range(touched):
        text = state.touched[k]
        covered, rare = _union(text, grams.shape[0], texts, grams, state)
        if covered >= grams.needed[text] or rare >= grams.rare_needed[text]:
            found = _report(number, text, state, found)
    return found


@inlined
def _report(number, text, state, found):
    state.found_message[found] = number
    state.found_text[found] = text
    return found + 1


@inner
def _union(text, n, texts, grams, state):
    """How many tokens of a text its marked windows cover, and those of rare n-grams; the marks are cleared."""
    first, end = texts.first[text], texts.first[text + 1] - n + 1
    covered = rare = 0
    covered_to = rare_to = np.int64(first)
    for word in range(first >> 6, (end + 63) >> 6):
        bits = state.marks[word]
        low, high = first - (word << 6), end - (word << 6)
        if low > 0:
            bits &= ALL << U(low)
        if high < 64:
            bits &= (ONE << U(high)) - ONE
        state.marks[word] ^= bits
        while bits != ZERO:
            place = (word << 6) + trailing_zeros(bits)
            bits &= bits - ONE
            covered += place + n - max(place, covered_to)
            covered_to = place + n
            if grams.rare[grams.at[place]]:
                rare += place + n - max(place, rare_to)
                rare_to = place + n
    return covered, rare


@inlined
def next_trigger(prefix, n_tokens, at, part, stride, sieve):
    """The first run of `part` tokens, of those at every `stride`-th token from `at` on, that a text may hold; or -1.

    All tokens of a message pass here, so only one bit is looked at, in a table that fits the nearest cache.
    """
    base_power, shift = power(part), U(58 - trailing_zeros(U(len(sieve))))
    while at + part <= n_tokens:
        bit = (prefix[at + part] - prefix[at] * base_power) >> shift
        if sieve[np.int64(bit >> U(6))] >> (bit & U(63)) & ONE:
            return at
        at += stride
    return np.int64(-1)


@inner
def find_triggered(message, n_tokens, texts, wholes, state, stamp, number, found):
    """Reports the texts of `wholes` that a message holds in one piece; the entry after the last."""
    size, part, stride = wholes.shape[0], wholes.shape[1], wholes.shape[2]
    base_power = power(size)
    at = next_trigger(message.prefix, n_tokens, NONE_YET, part, stride, wholes.sieve)
    while at >= 0:
        for i in range(max(0, at - stride + 1), min(at, n_tokens - size) + 1):
            group = look_up(wholes.keys, wholes.values, gram_hash(message.prefix, i, size, base_power))
            if group >= 0:
                found = _report_group(group, i, message, n_tokens, texts, wholes, state, stamp, number, found)
        at = next_trigger(message.prefix, n_tokens, at + stride, part, stride, wholes.sieve)
    return found


@inner
def find_equal(message, n_tokens, texts, wholes, state, stamp, number, found):
    """Reports the text of `wholes` that a message is; the entry after the last."""
    group = look_up(wholes.keys, wholes.values, gram_hash(message.prefix, NONE_YET, n_tokens, power(n_tokens)))
    if group >= 0:
        found = _report_group(group, NONE_YET, message, n_tokens, texts, wholes, state, stamp, number, found)
    return found


@inner
def _report_group(group, at, message, n_tokens, texts, wholes, state, stamp, number, found):
    base, blob = U(message.folded.ctypes.data), U(texts.blob.ctypes.data)
    for k in range(wholes.groups[group], wholes.groups[group + 1]):
        text = wholes.texts[k]
        start = at - wholes.ats[k]
        first = np.int64(texts.first[text])
        length = texts.first[text + 1] - first
        if state.touched_at[text] == stamp or start < 0 or start + length > n_tokens:
            continue
        if equal_tokens(base, message.edges, start, blob, texts, first, length):
            state.touched_at[text] = stamp
            found = _report(number, text, state, found)
    return found


# ------------------------------------------------------------ the loop over messages


@entry
def scan(addresses, sizes, begin, index, message, state, near, counts):
    """Scans messages from `begin` on, until all are done or the room for reports is nearly full.

    addresses, sizes: `(messages,)` of UTF-8 text in memory. `state` takes what is found of the n-grams and whole texts,
    `near` what is found of the short n-grams that suggest edited copies. counts: the message to go on with, reports in
    `state`, reports in `near`, tokens read, the stamp of the last message, and the byte at which message counts[0] is
    not UTF-8, or -1.
    """
    texts, grams, fine = index.texts, index.grams, index.fine
    short, brief, tiny = index.short, index.brief, index.tiny
    analyzer, seed, has_fine = index.numbers[0], U(index.numbers[1]), index.numbers[2] != 0
    found = found_near = read = NONE_YET
    stamp = counts[4]
    room = min(len(state.found_message), len(near.found_message)) - 2 * len(texts.first)
    nowhere = message.nowhere
    counts[5] = -1
    i = begin
    while i < len(sizes) and max(found, found_near) <= room:
        size = fold(addresses[i], sizes[i], index.folding, message.folded, nowhere)
        if size < 0:
            counts[5] = -1 - size
            break
        n_tokens = tokenise(message.folded, size, analyzer, message.edges)
        hash_prefixes(U(message.folded.ctypes.data), message.edges, n_tokens, seed, message.prefix)
        read += n_tokens
        stamp += 4  # each of the steps knows what it touched itself
        if 0 < n_tokens < tiny.shape[0]:
            found = find_equal(message, n_tokens, texts, tiny, state, stamp - 3, i, found)
        if len(brief.texts) > 0:
            found = find_triggered(message, n_tokens, texts, brief, state, stamp - 2, i, found)
        if len(short.texts) > 0:
            found = find_triggered(message, n_tokens, texts, short, state, stamp - 1, i, found)
        at = next_candidate(message.prefix, n_tokens, NONE_YET, grams.shape, grams.anchors, grams.filter)
        if at >= 0:
            touched = match(message, n_tokens, at, texts, grams, state, stamp)
            found = cover(i, touched, texts, grams, state, found)
        if has_fine:
            at = next_candidate(message.prefix, n_tokens, NONE_YET, fine.shape, fine.anchors, fine.filter)
            if at >= 0:
                touched = match(message, n_tokens, at, texts, fine, near, stamp)
                found_near = cover(i, touched, texts, fine, near, found_near)
        i += 1
    counts[0], counts[1], counts[2], counts[3], counts[4] = i, found, found_near, read, stamp


forget_stale(scan)  # before anything of it is called: every compiled module imports this one
