"""Candidates are the pairs with an equal key in some band, in memory and out of core."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.dedup.banding import MAX_TEXTS, candidates, plan

tables = st.integers(0, 40).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0, 1, 2, 3, 1 << 31, (1 << 32) - 1]), min_size=n, max_size=n), min_size=1, max_size=4
    )
)


def found(keys, folder, budget, *, most=1 << 20, parts=1):
    """The pairs as (earlier, later), in the order of the slices."""
    array = np.array(keys, np.uint32).reshape(len(keys), -1)
    texts = array.shape[1]

    def read(band):
        for piece in np.array_split(np.arange(texts, dtype=np.int32), parts):
            yield piece, array[band, piece]

    slices = [s.copy() for s in candidates(read, len(keys), texts, folder, budget).slices(most)]
    whole = np.concatenate([np.zeros(0, np.uint64), *slices])
    return [(int(p) & 0xFFFFFFFF, int(p) >> 32) for p in whole], slices


def brute_force(keys):
    texts = range(len(keys[0]))
    pairs = [(a, b) for a, b in itertools.combinations(texts, 2) if any(band[a] == band[b] for band in keys)]
    return sorted(pairs, key=lambda p: (p[1], p[0]))


@settings(max_examples=40, deadline=None)
@given(tables, st.sampled_from([64, 5_000, 1 << 30]), st.integers(20, 60), st.integers(1, 4))
def test_pairs_are_those_of_brute_force_under_any_budget(tmp_path_factory, keys, budget, most, parts):
    folder = tmp_path_factory.mktemp("spill")
    pairs, slices = found(keys, folder, budget, most=most, parts=parts)
    assert pairs == brute_force(keys)
    assert all(len(s) <= max(most, len(pairs) // 64 + 1) for s in slices)


def test_a_tiny_budget_goes_over_a_band_several_times_and_spills_runs(tmp_path):
    keys = np.random.default_rng(3).integers(0, 60, (4, 600), np.int64).tolist()
    in_memory, _ = found(keys, tmp_path / "none", 1 << 30)
    spilled, slices = found(keys, tmp_path / "runs", 8_000, most=500)
    assert plan(600, 8_000).passes == 3
    assert len(list((tmp_path / "runs").glob("*.pairs"))) > 10
    assert not (tmp_path / "none").exists()
    assert spilled == in_memory == brute_force(keys)
    assert max(map(len, slices)) <= 500


def test_the_plan_spends_half_of_the_budget_on_texts_and_half_on_pairs():
    assert plan(1_000_000, 64 << 20) == (1, (32 << 20) // 17)
    assert plan(10_000_000, 64 << 20).passes == 5  # 160 MB of texts in passes of 32 MiB


def test_more_texts_than_a_pair_can_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2,147,483,649 texts"):
        candidates(lambda band: iter(()), 1, MAX_TEXTS + 1, tmp_path, 1 << 20)
