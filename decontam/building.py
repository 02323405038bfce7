"""Builds the arrays of `kernel.Index` from the texts of the suites: a million n-grams in a fraction of a second."""

from __future__ import annotations

import numpy as np

from decontam.compiling import entry, inner
from decontam.kernel import equal_bytes, filter_bits, filter_shift, gram_hash
from decontam.reading import NONE_YET, SPACE, ZERO, U, fold, hash_prefixes, power, tokenise
from decontam.simd import trailing_zeros


@entry
def write_canonical(addresses, sizes, analyzer, folding, message, blob, ends):
    """Appends the canonical form of each text to `blob` and writes where it ends; (text, byte) not UTF-8, or (-1, -1).

    `blob` must hold twice all sizes, a byte for each text, and `SLACK`.
    """
    end = 0
    for i in range(len(sizes)):
        size = fold(addresses[i], sizes[i], folding, message.folded, message.nowhere)
        if size < 0:
            return i, -1 - size
        n_tokens = tokenise(message.folded, size, analyzer, message.edges)
        for k in range(n_tokens):
            start, stop = message.edges[2 * k], message.edges[2 * k + 1]
            if k:
                blob[end] = SPACE
                end += 1
            for place in range(start, stop):  # a slice would compile to much more
                blob[end] = message.folded[place]
                end += 1
        ends[i] = end
    return -1, -1


@entry
def split_tokens(blob, ends, starts, lengths, first, text_of):
    """Where the tokens of texts in canonical form stand: the arrays of `Texts`."""
    token = begin = 0
    for text in range(len(ends)):
        first[text] = token
        start = begin
        for i in range(begin, ends[text] + 1):
            if i == ends[text] or blob[i] == SPACE:
                starts[token], lengths[token], text_of[token] = start, i - start, text
                token += 1
                start = i + 1
        begin = ends[text]
    first[len(ends)] = token


@inner
def hash_text(texts, text, seed, message):
    """The prefix hashes of a text, in `message.prefix`; its number of tokens."""
    begin, end = texts.first[text], texts.first[text + 1]
    for k in range(begin, end):
        message.edges[2 * (k - begin)] = texts.starts[k]
        message.edges[2 * (k - begin) + 1] = texts.starts[k] + texts.lengths[k]
    hash_prefixes(U(texts.blob.ctypes.data), message.edges, end - begin, seed, message.prefix)
    return end - begin


@inner
def _equal_places(texts, a, b, n):
    blob = U(texts.blob.ctypes.data)
    for k in range(n):
        size = np.int64(texts.lengths[a + k])
        if size != texts.lengths[b + k]:
            return False
        if not equal_bytes(blob + U(texts.starts[a + k]), blob + U(texts.starts[b + k]), size):
            return False
    return True


@entry
def number_grams(texts, weights, n, seed, message, keys, values, at, origin, df, last):
    """Numbers the distinct n-grams of the texts of weight > 0; how many, or -1 where two of them share a hash.

    Fills keys and values (hash → n-gram), at (token → n-gram or -1), origin (n-gram → its first token) and df (n-gram
    → weight of the texts with it). `last` is scratch, as long as origin.
    """
    mask = len(keys) - 1
    base_power = power(n)
    count = 0
    for text in range(len(texts.first) - 1):
        if weights[text] == 0:
            continue
        begin = texts.first[text]
        for k in range(hash_text(texts, text, seed, message) - n + 1):
            h = gram_hash(message.prefix, k, n, base_power)
            slot = np.int64(h >> U(20)) & mask
            while keys[slot] != ZERO and keys[slot] != h:
                slot = (slot + 1) & mask
            if keys[slot] == ZERO:
                keys[slot], values[slot], origin[count], last[count] = h, count, begin + k, -1
                count += 1
            gram = values[slot]
            if origin[gram] != begin + k and not _equal_places(texts, np.int64(origin[gram]), begin + k, n):
                return -1
            at[begin + k] = gram
            if last[gram] != text:
                last[gram] = text
                df[gram] += weights[text]
    return count


@entry
def group_places(at, offsets, places):
    """Sorts the tokens with an n-gram by n-gram: `places[offsets[g] : offsets[g + 1]]`."""
    for gram in at:
        if gram >= 0:
            offsets[gram + 1] += 1
    for gram in range(len(offsets) - 1):
        offsets[gram + 1] += offsets[gram]
    for token in range(len(at) - 1, -1, -1):  # from behind, so that places ascend and offsets end where they began
        gram = at[token]
        if gram >= 0:
            offsets[gram + 1] -= 1
            places[offsets[gram + 1]] = token
    for gram in range(len(offsets) - 1):
        offsets[gram] = offsets[gram + 1]
    offsets[len(offsets) - 1] = len(places)


@entry
def fill_filters(texts, at, n, anchor, seed, message, filter_, anchors):
    """Files the n-grams of `at`, and every sub-gram of `anchor` tokens inside one, in blocked Bloom filters."""
    stride = n - anchor + 1
    shift, anchor_shift = filter_shift(filter_), filter_shift(anchors)
    power_n, anchor_power = power(n), power(anchor)
    for text in range(len(texts.first) - 1):
        begin, end = texts.first[text], texts.first[text + 1]
        if end - begin < n:
            continue
        n_tokens = hash_text(texts, text, seed, message)
        filed = 0
        for k in range(n_tokens - n + 1):
            if at[begin + k] < 0:
                continue
            h = gram_hash(message.prefix, k, n, power_n)
            filter_[np.int64(h >> shift)] |= filter_bits(h)
            for i in range(max(filed, k), k + stride):
                h = gram_hash(message.prefix, i, anchor, anchor_power)
                anchors[np.int64(h >> anchor_shift)] |= filter_bits(h)
            filed = k + stride


@entry
def union_sizes(texts, at, rare, n, totals):
    """How many tokens of each text lie under one of its n-grams that is rare."""
    for text in range(len(texts.first) - 1):
        covered_to = texts.first[text]
        for k in range(texts.first[text], texts.first[text + 1] - n + 1):
            if at[k] >= 0 and rare[at[k]]:
                totals[text] += k + n - max(k, covered_to)
                covered_to = k + n


@entry
def count_runs(texts, size, seed, message, counts):
    """Counts the runs of `size` tokens of all texts by their hash, in a table of a power of two entries, all 0."""
    base_power = power(size)
    mask = U(len(counts) - 1)
    for text in range(len(texts.first) - 1):
        for k in range(hash_text(texts, text, seed, message) - size + 1):
            counts[np.int64(gram_hash(message.prefix, k, size, base_power) >> U(20) & mask)] += 1


@entry
def hash_triggers(texts, chosen, size, part, seed, message, counts, trigger_hash, trigger_at):
    """For each chosen text the `size` tokens whose parts are the rarest: their hash and where they begin.

    `counts` is what `count_runs` counted of runs of `part` tokens.
    """
    base_power, part_power = power(size), power(part)
    mask = U(len(counts) - 1)
    for c in range(len(chosen)):
        n_tokens = hash_text(texts, np.int64(chosen[c]), seed, message)
        fewest = -1
        for k in range(n_tokens - size + 1):
            common = NONE_YET
            for i in range(k, k + size - part + 1):
                common += counts[np.int64(gram_hash(message.prefix, i, part, part_power) >> U(20) & mask)]
            if fewest < 0 or common < fewest:
                fewest = common
                trigger_hash[c], trigger_at[c] = gram_hash(message.prefix, k, size, base_power), k


@entry
def hash_whole(texts, chosen, seed, message, hashes):
    """The hash of all tokens of each chosen text."""
    for c in range(len(chosen)):
        n_tokens = hash_text(texts, np.int64(chosen[c]), seed, message)
        hashes[c] = gram_hash(message.prefix, 0, n_tokens, power(n_tokens))


@entry
def file_hashes(hashes, keys, values):
    """Files distinct hashes by their place, in a table of a power of two free slots."""
    mask = len(keys) - 1
    for i in range(len(hashes)):
        slot = np.int64(hashes[i] >> U(20)) & mask
        while keys[slot] != ZERO:
            slot = (slot + 1) & mask
        keys[slot], values[slot] = hashes[i], i


@entry
def fill_sieve(texts, chosen, ats, size, part, seed, message, sieve):
    """Sets the bits of the parts of `size` tokens from `ats` on of each chosen text, as `next_trigger` reads them."""
    base_power, shift = power(part), U(58 - trailing_zeros(U(len(sieve))))
    for c in range(len(chosen)):
        hash_text(texts, np.int64(chosen[c]), seed, message)
        for at in range(ats[c], ats[c] + size - part + 1):
            bit = (message.prefix[at + part] - message.prefix[at] * base_power) >> shift
            sieve[np.int64(bit >> U(6))] |= U(1) << (bit & U(63))
