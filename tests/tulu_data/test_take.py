"""A selection is a rank by hash: equal to plain Python's, nested, and unmoved by what else is in the source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.errors import RecipeError
from tulu_data.strict import validate
from tulu_data.take import (
    Candidates,
    Selected,
    Take,
    exact,
    keys,
    occurrences,
    ranked,
    repeated,
    rows_for_tokens,
    salt,
    select,
    splitmix64,
)

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


class PlainRow:
    """What a choice depends on."""

    def __init__(self, digest: bytes, occurrence: int, tokens: int, stratum: int) -> None:
        self.sha = int.from_bytes(digest[:8], "little")
        self.occurrence = occurrence
        self.tokens = tokens
        self.stratum = stratum


def plain_mix(x: int) -> int:
    x = (x + GOLDEN) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def plain_order(rows: Sequence[PlainRow], seed: int, source: str, stratify: bool = False) -> list[int]:
    salted = int.from_bytes(sha256(f"{seed}\0select\0{source}".encode()).digest()[:8], "little")

    def rank(i: int) -> tuple[int, int, int]:
        return plain_mix(((rows[i].sha ^ salted) + rows[i].occurrence * GOLDEN) & MASK), rows[i].sha, rows[i].occurrence

    order = sorted(range(len(rows)), key=rank)
    if not stratify:
        return order
    sizes = Counter(r.stratum for r in rows)
    seen: dict[int, int] = defaultdict(int)
    place = {}
    for position, i in enumerate(order):
        stratum = rows[i].stratum
        place[i] = (Fraction(2 * seen[stratum] + 1, 2 * sizes[stratum]), position)
        seen[stratum] += 1
    return sorted(order, key=lambda i: place[i])


def plain_select(rows: Sequence[PlainRow], take: Take, seed: int, source: str) -> list[tuple[int, int]] | None:
    """(row, copy) in order of choice, or None where there are too few."""
    order = plain_order(rows, seed, source, bool(take.stratify))
    endless = [(i, copy) for copy in range(take.repeat) for i in order]
    if take.all:
        wanted = len(endless)
    elif take.count is not None:
        wanted = take.count
    elif take.fraction is not None:
        share = Decimal(repr(take.fraction)) * len(endless)
        wanted = int(share.quantize(Decimal(1), ROUND_HALF_UP))
    else:
        wanted = total = 0
        for i, _ in endless:
            total += rows[i].tokens
            if total > take.tokens:
                break
            wanted += 1
        if sum(rows[i].tokens for i, _ in endless) < take.tokens:
            return None
    wanted = wanted if take.cap is None else min(wanted, take.cap)
    wanted = wanted if take.floor is None else max(wanted, take.floor)
    return endless[:wanted] if wanted <= len(endless) else None


def candidates_of(rows: Sequence[PlainRow]) -> Candidates:
    return Candidates(
        np.arange(len(rows)),
        np.array([r.sha for r in rows], np.uint64),
        np.array([r.occurrence for r in rows], np.int64),
        np.array([r.tokens for r in rows], np.int64),
        np.array([r.stratum for r in rows], np.int64),
    )


def pairs(selected: Selected) -> list[tuple[int, int]]:
    return list(zip(selected.row.tolist(), selected.copy.tolist(), strict=True))


ROWS = st.lists(
    st.tuples(st.binary(min_size=8, max_size=8) | st.just(b"same-row"), st.integers(0, 5), st.integers(0, 3)),
    max_size=30,
)
MODIFIERS = st.fixed_dictionaries(
    {},
    optional={
        "repeat": st.integers(1, 4),
        "cap": st.integers(20, 40),
        "floor": st.integers(0, 20),
        "stratify": st.just("source"),
    },
)
AMOUNT = st.one_of(
    st.just({"all": True}),
    st.builds(lambda n: {"count": n}, st.integers(0, 60)),
    st.builds(lambda f: {"fraction": f}, st.floats(0, 1) | st.sampled_from([0.145, 0.5, 0.05, 0.35])),
    st.builds(lambda n: {"tokens": n}, st.integers(0, 100)),
)


def rows_from(spec: Sequence[tuple[bytes, int, int]]) -> list[PlainRow]:
    seen: dict[bytes, int] = defaultdict(int)
    found = []
    for digest, tokens, stratum in spec:
        found.append(PlainRow(digest, seen[digest], tokens, stratum))
        seen[digest] += 1
    return found


@settings(max_examples=400, deadline=None)
@given(ROWS, AMOUNT, MODIFIERS, st.integers(0, 3))
def test_a_choice_equals_that_of_plain_python(spec, amount, modifiers, seed):
    rows, take = rows_from(spec), Take(**amount, **modifiers)
    expected = plain_select(rows, take, seed, "s")
    if expected is None:
        with pytest.raises(RecipeError):
            select(candidates_of(rows), take, rows=None, seed=seed, source="s", place="mix.s")
    else:
        found = select(candidates_of(rows), take, rows=None, seed=seed, source="s", place="mix.s")
        assert pairs(found) == expected


@settings(max_examples=100, deadline=None)
@given(ROWS.filter(len), st.integers(1, 3), st.booleans())
def test_one_more_row_adds_one_and_drops_none(spec, repeat, stratified):
    more: dict[str, Any] = {"repeat": repeat, **({"stratify": "source"} if stratified else {})}
    candidates = candidates_of(rows_from(spec))
    before: list[tuple[int, int]] = []
    for n in range(len(spec) * repeat + 1):
        by_weight = select(candidates, Take(weight=1, **more), rows=n, seed=1, source="s", place="p")
        by_count = select(candidates, Take(count=n, **more), rows=None, seed=1, source="s", place="p")
        assert pairs(by_weight) == pairs(by_count)
        assert pairs(by_count)[:-1] == before if n else before == []
        before = pairs(by_count)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_fraction_holds_the_smaller_one(spec, a, b):
    candidates = candidates_of(rows_from(spec))
    small, large = (
        pairs(select(candidates, Take(fraction=f), rows=None, seed=1, source="s", place="p")) for f in sorted((a, b))
    )
    assert large[: len(small)] == small


def test_every_beginning_of_a_stratified_choice_holds_each_stratum_by_its_share():
    rng = np.random.default_rng(0)
    strata = np.array([0] * 700 + [1] * 250 + [2] * 50)
    rows = [PlainRow(rng.bytes(8), 0, 1, int(s)) for s in strata]
    for n in (10, 100, 333, 999):
        take = Take(count=n, stratify="source")
        chosen = select(candidates_of(rows), take, rows=None, seed=3, source="s", place="p")
        held = np.bincount(strata[chosen.row], minlength=3)
        assert np.abs(held - n * np.array([0.7, 0.25, 0.05])).max() <= 1


def test_one_appended_row_changes_at_most_one_of_500_chosen():
    rng = np.random.default_rng(0)
    rows = [PlainRow(rng.bytes(8), 0, 1, 0) for _ in range(20_000)]

    def chosen(rows: list[PlainRow]) -> set[int]:
        found = select(candidates_of(rows), Take(count=500), rows=None, seed=3, source="s", place="p")
        return {rows[i].sha for i in found.row}

    before = chosen(rows)
    for _ in range(30):
        assert len(before - chosen([*rows, PlainRow(rng.bytes(8), 0, 1, 0)])) <= 1


def test_seed_and_source_give_independent_choices():
    rng = np.random.default_rng(0)
    rows = [PlainRow(rng.bytes(8), 0, 1, 0) for _ in range(4_000)]
    candidates = candidates_of(rows)
    chosen = [
        set(select(candidates, Take(count=1_000), rows=None, seed=seed, source=source, place="p").row.tolist())
        for seed, source in ((1, "a"), (2, "a"), (1, "b"))
    ]
    for i in range(3):
        for j in range(i):
            assert 180 < len(chosen[i] & chosen[j]) < 320  # 250 by chance


def test_a_choice_is_uniform_over_equal_and_unequal_rows():
    rows = rows_from([(b"same-row", 1, 0)] * 5 + [(bytes([i] * 8), 1, 0) for i in range(15)])
    counts = np.zeros(20)
    for seed in range(2_000):
        counts[select(candidates_of(rows), Take(count=5), rows=None, seed=seed, source="s", place="p").row] += 1
    assert np.abs(counts - 500).max() < 110  # 500 ± 5 standard deviations


def test_splitmix64_is_the_published_one():
    state = np.array([0, 1234567], np.uint64)
    assert [hex(int(v)) for v in splitmix64(state)] == ["0xe220a8397b1dcdaf", hex(6457827717110365317)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, MASK), min_size=1, max_size=8), st.integers(0, 10**9), st.text(max_size=5))
def test_keys_and_salts_equal_plain_integers(shas, seed, purpose):
    salted = int.from_bytes(sha256(f"{seed}\0{purpose}".encode()).digest()[:8], "little")
    assert int(salt(seed, purpose)) == salted
    found = keys(np.array(shas, np.uint64), np.arange(len(shas)), salt(seed, purpose))
    assert found.tolist() == [plain_mix(((s ^ salted) + i * GOLDEN) & MASK) for i, s in enumerate(shas)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b"a" * 32, b"b" * 32, b"a" * 31 + b"b"]), max_size=20), st.randoms())
def test_occurrences_count_equal_rows_before_in_the_order_of_the_tie_break(digests, rng):
    tie = rng.sample(range(100), len(digests))
    expected = [
        sum(d == digest and t < tie[i] for d, t in zip(digests, tie, strict=True)) for i, digest in enumerate(digests)
    ]
    matrix = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    assert occurrences(matrix, np.array(tie, np.int64)).tolist() == expected


FEW = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.integers(0, 2)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(FEW)
def test_a_ranking_equals_the_sort_by_all_keys_and_then_by_place(spec):
    columns = np.array(spec, np.int64).reshape(-1, 3).T
    expected = sorted(range(len(spec)), key=lambda i: (spec[i], i))
    assert ranked(*columns).tolist() == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=40))
def test_repeated_rows_are_those_whose_word_is_there_twice(words):
    expected = [i for i, w in enumerate(words) if words.count(w) > 1]
    assert repeated(np.array(words, np.uint64)).tolist() == expected


def test_a_billion_repeats_of_few_rows_cost_no_memory():
    candidates = candidates_of(rows_from([(b"12345678", 3, 0), (b"abcdefgh", 4, 0)]))
    order = np.array([0, 1])
    assert rows_for_tokens(candidates, order, 7 * 10**9 + 3, 10**9 + 1, "p") == 2 * 10**9 + 1


def test_exact_is_the_decimal_that_was_written():
    assert exact(0.145) == Fraction(145, 1000)
    assert exact(1e-7) == Fraction(1, 10**7)


# ------------------------------------------------------------ what is refused

MUST_SAY = "must say what it counts, got {}; write {{all: true}}, {{count: N}}, {{fraction: F}}"
ONE_OF = "takes exactly one of all, count, fraction, tokens, weight; found "
BAD_TAKES: list[tuple[Any, str]] = [
    (1, MUST_SAY.format("1")),
    (1.0, MUST_SAY.format("1.0")),
    ("all", MUST_SAY.format("'all'")),
    (None, MUST_SAY.format("None")),
    ({}, ONE_OF + "none"),
    ({"all": None}, ONE_OF + "none"),
    ({"repeat": 2}, ONE_OF + "none"),
    ({"count": 1, "fraction": 1.0}, ONE_OF + "count and fraction"),
    ({"all": False}, "all: false takes nothing; leave the source out of the mix"),
    ({"count": 5, "floor": 1_000, "cap": 10}, "floor 1,000 is above cap 10; lower one or raise the other"),
]
BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"all": 0}, "all: should be a valid boolean, got 0"),
    ({"all": "false"}, "all: should be a valid boolean, got 'false'"),
    ({"count": True}, "count: should be a valid integer, got True"),
    ({"count": 1.0}, "count: should be a valid integer, got 1.0"),
    ({"count": "5"}, "count: should be a valid integer, got '5'"),
    ({"count": -1}, "count: should be greater than or equal to 0, got -1"),
    ({"fraction": True}, "fraction: should be a valid number, got True"),
    ({"fraction": 1.5}, "fraction: should be less than or equal to 1, got 1.5"),
    ({"fraction": float("nan")}, "fraction: should be a finite number, got nan"),
    ({"tokens": -1}, "tokens: should be greater than or equal to 0, got -1"),
    ({"weight": 0}, "weight: should be greater than 0, got 0"),
    ({"weight": float("inf")}, "weight: should be a finite number, got inf"),
    ({"all": True, "repeat": 0}, "repeat: should be greater than or equal to 1, got 0"),
    ({"all": True, "cap": -1}, "cap: should be greater than or equal to 0, got -1"),
    ({"all": True, "floor": 1.5}, "floor: should be a valid integer, got 1.5"),
    ({"all": True, "stratify": 3}, "stratify: should be a valid string, got 3"),
    ({"count": 3, "reapeat": 2}, "reapeat: unknown key; did you mean 'repeat'?"),
]


@pytest.mark.parametrize(("data", "message"), [*BAD_TAKES, *BAD_KEYS], ids=lambda v: str(v)[:40])
def test_a_take_that_cannot_be_meant_is_refused_in_one_line(data, message):
    with pytest.raises(RecipeError) as caught:
        validate(Take, data, "mix.s")
    assert str(caught.value) == f"mix.s: {message}"


@pytest.mark.parametrize("amount", [{"all": True}, {"count": 0}, {"fraction": 1}, {"tokens": 0}, {"weight": 2}])
def test_a_take_knows_its_amount(amount):
    assert Take.model_validate(amount).amount == next(iter(amount))


TOO_FEW: list[tuple[dict[str, Any], str]] = [
    ({"count": 1_001}, "mix.s.count: 1,001 rows asked, the source has 2; lower it, or add 'repeat: 501'"),
    ({"count": 5, "repeat": 2}, "mix.s.count: 5 rows asked, the source has 2 × repeat 2; lower it, or add 'repeat: 3'"),
    ({"count": 1, "floor": 3}, "mix.s.floor: 3 rows asked, the source has 2; lower it, or add 'repeat: 2'"),
    ({"tokens": 8}, "mix.s.tokens: 8 asked, the source has 7; lower it or raise 'repeat'"),
    (
        {"tokens": 1_500, "repeat": 3},
        "mix.s.tokens: 1,500 asked, the source has 21 in 3 repeats; lower it or raise 'repeat'",
    ),
]


@pytest.mark.parametrize(("data", "message"), TOO_FEW, ids=lambda v: str(v)[:40])
def test_too_few_rows_name_the_key_the_numbers_and_the_remedy(data, message):
    candidates = candidates_of(rows_from([(b"12345678", 3, 0), (b"abcdefgh", 4, 0)]))
    with pytest.raises(RecipeError) as caught:
        select(candidates, Take(**data), rows=None, seed=0, source="s", place="mix.s")
    assert str(caught.value) == message


def test_an_empty_source_and_one_without_token_counts_say_so():
    empty = candidates_of([])
    with pytest.raises(RecipeError) as caught:
        select(empty, Take(count=1), rows=None, seed=0, source="s", place="mix.s")
    assert str(caught.value) == "mix.s.count: 1 rows asked, the source has 0; the source is empty"
    with pytest.raises(RecipeError) as caught:
        select(empty._replace(n_tokens=None), Take(tokens=1), rows=None, seed=0, source="s", place="mix.s")
    assert str(caught.value) == "mix.s.tokens: the source has no token counts; set 'tokenizer' (words/1 is built in)"
    assert pairs(select(empty, Take(all=True), rows=None, seed=0, source="s", place="mix.s")) == []
