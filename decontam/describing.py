"""The compiled second look: what exactly a message and an instance have in common, and where it stands in both.

`kernel.scan` names pairs that may matter, which are few. Here each is taken up again and everything about it is
computed from the start: coverage of every field, whether the instance is contained whole, the longest run, and the
bytes of both texts that match.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from decontam.compiling import entry, inner
from decontam.kernel import I64, equal_tokens, match, next_candidate
from decontam.reading import I32, NONE_YET, SPACE, U8, U64, Message, U, fold, hash_prefixes, tokenise
from decontam.simd import load_byte


class Instances(NamedTuple):
    """The instances as `describe` reads them; see `corpus.Corpus` for the first three.

    addresses, sizes: `(fields,)` the text of each field as it was given, in memory. tiny: `(instances,)` 1 where the
    instance must be the whole message; tiny_text: its tokens as one text.
    """

    first_field: I32
    field_text: I32
    passage: I32
    addresses: U64
    sizes: I64
    tiny: U8
    tiny_text: I32


class Traced(NamedTuple):
    """A message with, for each folded byte, the byte of the text that it came from."""

    message: Message
    origin: I32


class Common(NamedTuple):
    """Scratch for the tokens that one pair has in common.

    head: `(grams,)` the last place of an n-gram in the field, if head_at says that it has one; before: `(field
    tokens,)` the place before that. run_at, run_size: the message token up to which a run along each place reaches.
    message_end, field_end: the furthest end of a window that starts at each token, or 0.
    """

    head: I32
    head_at: I64
    before: I32
    run_at: I32
    run_size: I32
    message_end: I32
    field_end: I32


class Described(NamedTuple):
    """What is found, in the order of the pairs.

    exact, longest, message_runs: `(pairs,)`; covered, rare, field_runs: `(fields of the pairs,)`, in tokens and runs.
    message_spans, field_spans: `(runs, 2)` bytes [start, end).
    """

    exact: U8
    longest: I32
    message_runs: I32
    covered: I32
    rare: I32
    field_runs: I32
    message_spans: I64
    field_spans: I64


@inner
def _read(address, size, index, traced):
    """Folds and tokenises a text that is known to be UTF-8; how many tokens."""
    length = fold(address, size, index.folding, traced.message.folded, traced.origin)
    return tokenise(traced.message.folded, length, index.numbers[0], traced.message.edges)


@inner
def find_text(message, n_tokens, texts, text):
    """The first token from which on a message holds a text, or -1."""
    base, blob = U(message.folded.ctypes.data), U(texts.blob.ctypes.data)
    first = np.int64(texts.first[text])
    length = texts.first[text + 1] - first
    for i in range(n_tokens - length + 1):
        if equal_tokens(base, message.edges, i, blob, texts, first, length):
            return i
    return -1


@inner
def _is_exact(message, n_tokens, index, state, stamp, instances, instance):
    """Whether the message holds every field and the passage in one piece; of a tiny instance, whether it is that."""
    texts, grams = index.texts, index.grams
    if instances.tiny[instance]:
        text = instances.tiny_text[instance]
        same_length = texts.first[text + 1] - texts.first[text] == n_tokens
        return same_length and find_text(message, n_tokens, texts, text) == 0
    for f in range(instances.first_field[instance], instances.first_field[instance + 1]):
        text = instances.field_text[f]
        first = texts.first[text]
        long = texts.first[text + 1] - first >= grams.shape[0]
        if long and (grams.at[first] < 0 or state.seen[grams.at[first]] != stamp):
            return False  # its first n-gram is not there: no need to look further
        if find_text(message, n_tokens, texts, text) < 0:
            return False
    passage = instances.passage[instance]
    return passage < 0 or find_text(message, n_tokens, texts, passage) >= 0


@inner
def _compare_field(text, n_tokens, any_hit, index, state, stamp, pair, common):
    """Marks the windows that a message shares with a text; (tokens covered, those of rare n-grams, longest run)."""
    texts, grams = index.texts, index.grams
    n = grams.shape[0]
    first = texts.first[text]
    windows = texts.first[text + 1] - first - n + 1
    covered = rare = longest = covered_to = rare_to = NONE_YET
    for j in range(max(0, windows)):
        gram = grams.at[first + j]
        common.run_at[j] = -2
        if not any_hit or gram < 0 or state.seen[gram] != stamp:
            continue
        common.before[j] = common.head[gram] if common.head_at[gram] == pair else -1
        common.head[gram], common.head_at[gram] = j, pair
        common.field_end[j] = max(common.field_end[j], j + n)
        covered += j + n - max(j, covered_to)
        covered_to = j + n
        if grams.rare[gram]:
            rare += j + n - max(j, rare_to)
            rare_to = j + n
    if covered == 0:
        return covered, rare, longest
    for i in range(n_tokens - n + 1):
        gram = state.hit[i]
        if gram < 0 or common.head_at[gram] != pair:
            continue
        common.message_end[i] = max(common.message_end[i], i + n)
        j = common.head[gram]
        while j >= 0:  # from the last place to the first, so that place j - 1 still holds what was at token i - 1
            size = n
            if j > 0 and common.run_at[j - 1] == i - 1:
                size = common.run_size[j - 1] + 1
            common.run_at[j], common.run_size[j] = i, size
            longest = max(longest, size)
            j = common.before[j]
    return covered, rare, longest


@inner
def _write_spans(ends, n_tokens, traced, address, size, spans, at):
    """Writes the union of windows as byte spans of the text, clears them; the entry after the last."""
    start = end = -1
    for i in range(n_tokens + 1):
        reach = ends[i] if i < n_tokens else 0
        if end >= 0 and (i == n_tokens or (reach > 0 and i > end)):
            _span(traced, start, end, address, size, spans, at)
            at += 1
            end = -1
        if reach > 0:
            if end < 0:
                start, end = i, reach
            end = max(end, reach)
            ends[i] = 0
    return at


@inner
def _span(traced, start, end, address, size, spans, at):
    """The bytes from the first of token `start` to the last character of token `end - 1`."""
    edges, origin = traced.message.edges, traced.origin
    last = np.int64(origin[edges[2 * end - 1] - 1]) + 1
    while last < size and load_byte(address + U(last)) & 0xC0 == 0x80:  # to the end of that character
        last += 1
    spans[at, 0] = origin[edges[2 * start]]
    spans[at, 1] = last


@entry
def describe(
    addresses, sizes, pair_message, pair_instance, begin, index, instances, seen, field, state, common, out, counts
):
    """Describes pairs, sorted by message, from `begin` on, until all are done or there is little room.

    addresses, sizes: of the messages. seen, field: buffers for a message and for the text of a field. counts: the pair
    to go on with, fields, message spans and field spans written; [4] the stamp of the last message, which
    `kernel.scan` goes on from, and [6] that of the last field.
    """
    fields = message_spans = field_spans = NONE_YET
    stamp, pair = counts[4], counts[6]
    previous = -1
    n_tokens = NONE_YET
    any_hit = False
    p = begin
    while p < len(pair_message):
        number, instance = pair_message[p], pair_instance[p]
        if number != previous:
            previous = number
            n_tokens = _read(addresses[number], sizes[number], index, seen)
            stamp += 1
            any_hit = _match_all(seen.message, n_tokens, index, state, stamp)
        first, last = instances.first_field[instance], instances.first_field[instance + 1]
        if not _has_room(first, last, n_tokens, index.texts, instances, fields, message_spans, field_spans, out):
            break
        exact = _is_exact(seen.message, n_tokens, index, state, stamp, instances, instance)
        longest = NONE_YET
        for f in range(first, last):
            pair += 1
            text = np.int64(instances.field_text[f])
            covered, rare, run = _compare_field(text, n_tokens, any_hit, index, state, stamp, pair, common)
            if exact:
                covered = _mark_whole(text, seen.message, n_tokens, index.texts, common)
                run = max(run, covered)
            longest = max(longest, run)
            out.covered[fields], out.rare[fields], out.field_runs[fields] = covered, rare, 0
            if covered > 0:
                ended = _write_field_spans(f, index, instances, field, common, out.field_spans, field_spans)
                out.field_runs[fields] = ended - field_spans
                field_spans = ended
            fields += 1
        ended = _write_spans(
            common.message_end, n_tokens, seen, addresses[number], sizes[number], out.message_spans, message_spans
        )
        out.exact[p - begin], out.longest[p - begin], out.message_runs[p - begin] = (
            exact,
            longest,
            ended - message_spans,
        )
        message_spans = ended
        p += 1
    counts[0], counts[1], counts[2], counts[3] = p, fields, message_spans, field_spans
    counts[4], counts[6] = stamp, pair


@inner
def _has_room(first, last, n_tokens, texts, instances, fields, message_spans, field_spans, out):
    """Whether what a pair has in common fits, however much that is. Every pair has a field."""
    field_tokens = NONE_YET
    for f in range(first, last):
        text = instances.field_text[f]
        field_tokens += texts.first[text + 1] - texts.first[text] + 1
    return (
        fields + last - first <= len(out.covered)
        and message_spans + n_tokens + 1 <= len(out.message_spans)
        and field_spans + field_tokens <= len(out.field_spans)
    )


@inner
def _mark_whole(text, message, n_tokens, texts, common):
    """Marks a text that the message holds in one piece, in both; its tokens."""
    length = np.int64(texts.first[text + 1] - texts.first[text])
    at = find_text(message, n_tokens, texts, text)
    common.message_end[at] = max(common.message_end[at], at + length)
    common.field_end[0] = length
    return length


@inner
def _write_field_spans(f, index, instances, field, common, spans, at):
    """`_write_spans` for the text of field f as it was given."""
    address, size = instances.addresses[f], instances.sizes[f]
    n_tokens = _read(address, size, index, field)
    return _write_spans(common.field_end, n_tokens, field, address, size, spans, at)


@entry
def trace(address, size, index, traced, blob, spans):
    """Writes a text's canonical form to `blob` and the bytes of each token to `spans`; (tokens, bytes of the form)."""
    n_tokens = _read(address, size, index, traced)
    folded, edges = traced.message.folded, traced.message.edges
    end = NONE_YET
    for k in range(n_tokens):
        if k:
            blob[end] = SPACE
            end += 1
        for i in range(edges[2 * k], edges[2 * k + 1]):
            blob[end] = folded[i]
            end += 1
        _span(traced, k, k + 1, address, size, spans, k)
    return n_tokens, end


@inner
def _match_all(message, n_tokens, index, state, stamp):
    """Fills `state.hit` and `state.seen` for a message; whether it shares any n-gram."""
    texts, grams = index.texts, index.grams
    hash_prefixes(U(message.folded.ctypes.data), message.edges, n_tokens, U(index.numbers[1]), message.prefix)
    at = next_candidate(message.prefix, n_tokens, NONE_YET, grams.shape, grams.anchors, grams.filter)
    if at < 0:
        return False
    touched = match(message, n_tokens, at, texts, grams, state, stamp)
    for k in range(touched):
        text = state.touched[k]
        for place in range(texts.first[text], texts.first[text + 1]):
            state.marks[place >> 6] = U(0)
    return touched > 0


@entry
def holds(addresses, sizes, turn, text, index, message, found):
    """Sets in `found` whether each text in memory, by its number in `turn`, holds a text of the suites in one piece.

    turn: `(pairs,)` ascending; text, found: `(pairs,)`.
    """
    n_tokens = 0
    previous = -1
    for p in range(len(turn)):
        if turn[p] != previous:
            previous = turn[p]
            size = fold(addresses[previous], sizes[previous], index.folding, message.folded, message.nowhere)
            n_tokens = tokenise(message.folded, max(size, 0), index.numbers[0], message.edges)
        found[p] = find_text(message, n_tokens, index.texts, text[p]) >= 0
