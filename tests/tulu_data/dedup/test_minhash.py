"""Compiled signatures equal the plain definition bit for bit, whatever the text."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.dedup.documents import Documents, documents_of, documents_of_texts, messages_of
from tulu_data.dedup.minhash import LARGEST, band_keys, sign, signature
from tulu_data.dedup.settings import WHATS, Near
from tulu_data.dedup.words import SEPARATORS, digest, shingles, word_hash, words
from tulu_data.rows import KINDS, to_table

WIDE = "aB9_ .,'+-(){}\n\t\u00a0éÉßİΣς你好かแม\u0301\u200d\U0001f600√\U00020001\U000e0001\U0010ffff\x7f\x00"
texts = st.lists(st.text(st.sampled_from(WIDE) | st.characters(exclude_categories=["Cs"]), max_size=60), max_size=8)


def hashes_of(*pieces: str) -> list[int]:
    return [word_hash(w) for piece in pieces for w in words(piece)]


def assert_as_defined(signed, at, hashes, near):
    """Text `at` is signed as the definition says."""
    defined = shingles(hashes, near.ngram)
    start = int(signed.sizes[:at].sum())
    assert signed.sizes[at] == len(defined)
    assert signed.shingles[start : start + len(defined)].tolist() == defined
    assert tuple(signed.digests[at].tolist()) == digest(hashes)
    assert signed.keys[:, at].tolist() == band_keys(signature(defined, near.permutations), near.bands)


@settings(max_examples=150, deadline=None)
@given(texts, st.sampled_from([Near(), Near(ngram=1), Near(ngram=3, permutations=24, bands=24, threshold=0.5)]))
def test_signatures_equal_the_plain_definition(listed, near):
    signed = sign(documents_of_texts(pa.array(listed, pa.string())), near)
    for at, text in enumerate(listed):
        assert_as_defined(signed, at, hashes_of(text), near)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", WHATS)
def test_the_text_of_a_row_is_that_of_its_messages(kind, what, make_rows):
    talk = [
        ("system", "Be brief."),
        ("user", "Hi there"),
        ("assistant", "Yes?"),
        ("user", "Sum 2+2, please, now, once"),
    ]
    messages = [{"role": r, "content": c} for r, c in talk]
    answer = [{"role": "assistant", "content": "It is four, my friend."}]
    row = {"messages": [*messages, *answer] if kind == "sft" else messages}
    if kind == "preference":
        row |= {"chosen": answer, "rejected": [{"role": "assistant", "content": "No."}]}
    if kind == "rlvr":
        row |= {"ground_truth": "4", "verifier": "gsm8k"}
    rows = make_rows("s", ["first one", row, "last one"], kind)
    batch = to_table(kind, rows).slice(1).combine_chunks().to_batches()[0]
    signed = sign(documents_of(kind, batch, what), Near())
    for at, one in enumerate(rows[1:]):
        pieces = [m["content"] for m in messages_of(kind, one, what)]
        assert_as_defined(signed, at, hashes_of(*pieces), Near())
        assert "Be brief." not in pieces


def test_prompt_answer_and_conversation_are_parts_of_a_row(make_rows):
    messages = [{"role": r, "content": f"{r} {i}"} for i, r in enumerate(["user", "assistant", "user", "assistant"])]
    row = make_rows("s", [{"messages": messages}])[0]
    found = {what: [m["content"] for m in messages_of("sft", row, what)] for what in WHATS}
    assert found["prompt"] == ["user 0", "assistant 1", "user 2"]
    assert found["answer"] == ["assistant 3"]
    assert found["conversation"] == found["prompt"] + found["answer"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is 2+2 = four?", ["is", "2", "+", "2", "=", "four"]),
        ('don\'t, STOP: "now"', ["don", "t", "stop", "now"]),
        ("f(x)={a_1}", ["f", "(", "x", ")", "=", "{", "a_1", "}"]),
        ("Ärger—ÜBER\u00a0Öl", ["ärger", "über", "öl"]),
        ("你好 world", ["你", "好", "world"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("√2≤x", ["√", "2", "≤", "x"]),
        ("… — 。", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_what_tells_sums_apart_is_no_separator():
    """`2 + 2` and `2 - 2` must not be one text."""
    signs = "+-*/=<>%^&|~!#$@\\()[]{}×÷≤≥"
    assert len({tuple(words(f"2 {sign} 2")) for sign in signs}) == len(signs)
    assert all(unicodedata.category(c)[0] in "PS" for c in SEPARATORS)


def test_a_short_text_is_one_shingle_that_is_its_own():
    by_words = {n: shingles(hashes_of(" ".join("abcdefg"[:n])), 5) for n in range(8)}
    assert [len(s) for s in by_words.values()] == [0, 1, 1, 1, 1, 1, 2, 3]
    assert len({s[0] for s in by_words.values() if s}) == 5  # from five words on they begin alike


def test_a_text_without_words_has_no_shingles_and_the_largest_signature():
    signed = sign(documents_of_texts(pa.array(["", "?.", None], pa.string())), Near())
    assert signed.sizes.tolist() == [0, 0, 0]
    assert signature([], 4) == [LARGEST] * 4


def test_bytes_that_are_not_utf8_separate_words():
    raw = [b"one\xfftwo", b"\xe4", b"end \xf0\x9f", b"\xc0\x80x"]
    array = pa.Array.from_buffers(pa.string(), 4, pa.array(raw, pa.binary()).buffers())
    signed = sign(documents_of_texts(array), Near(ngram=1))
    assert signed.sizes.tolist() == [2, 0, 1, 1]


def test_no_texts_give_empty_arrays():
    signed = sign(documents_of_texts(pa.array([], pa.string())), Near())
    assert signed.keys.shape == (32, 0)
    assert len(signed.shingles) == len(signed.digests) == 0


@pytest.mark.parametrize(("similarity", "shared"), [(0.3, 60), (0.5, 100), (0.8, 160)])
def test_the_share_of_equal_numbers_estimates_the_similarity(similarity, shared):
    """Unbiased, and with the deviation of independent permutations, within four standard errors."""
    from tulu_data.dedup import kernel
    from tulu_data.dedup.minhash import permutations

    factors, addends = (a[:128] for a in permutations())
    draw = np.random.default_rng(7)
    estimates = []
    for _ in range(600):
        union = draw.integers(0, 1 << 63, 200, np.int64).astype(np.uint64)
        half = shared + (200 - shared) // 2
        a, b = np.empty(128, np.uint32), np.empty(128, np.uint32)
        kernel.minima(union[:half], factors, addends, a)
        kernel.minima(np.concatenate([union[:shared], union[half:]]), factors, addends, b)
        estimates.append((a == b).mean())
    deviation = (similarity * (1 - similarity) / 128) ** 0.5
    assert np.mean(estimates) == pytest.approx(similarity, abs=4 * deviation / 600**0.5)
    assert np.std(estimates) == pytest.approx(deviation, rel=4 / (2 * 600) ** 0.5)


def test_pieces_follow_each_other_and_words_end_with_them():
    array = pa.array(["one two", "three", "four five six"])
    whole = documents_of_texts(array)
    joined = Documents(whole.addresses, whole.sizes, np.array([0, 3]), array)
    assert_as_defined(sign(joined, Near()), 0, hashes_of("one two three four five six"), Near())
