"""Metrics: exact constructed cases, and closed forms against the bootstrap and naive sums."""

from itertools import combinations
from math import isclose, sqrt
from statistics import mean, stdev

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_data.errors import InputError
from tulu_data.evals.metrics import Estimate, aggregate, average, estimate, gap, pass_at_k, values_of
from tulu_data.evals.results import SAMPLES


def samples(rows):
    """(instance, subset, sample, score) → rows of a run."""
    blank = {"messages": "[]", "truth": "", "response": "", "reason": "", "logps": [], "extra": "{}"}
    return pa.Table.from_pylist(
        [{"instance_id": i, "subset": s, "sample": k, "score": score, **blank} for i, s, k, score in rows], SAMPLES
    )


def one_each(scores, subset=None):
    return samples([(f"i{n}", subset, 0, s) for n, s in enumerate(scores)])


def test_a_mean_and_its_error_are_those_of_the_instances():
    found = estimate(one_each([1, 1, 0, 0.5]), "mean")
    assert found == Estimate(0.625, pytest.approx(stdev([1, 1, 0, 0.5]) / 2), 4)


def test_what_could_not_be_judged_is_left_out_and_counted_and_never_wrong():
    assert estimate(one_each([1, None, 1]), "mean") == Estimate(1.0, 0.0, 2, 1)
    assert estimate(one_each([None]), "mean") == Estimate(None, None, 0, 1)


def test_one_instance_has_no_error():
    assert estimate(one_each([1]), "mean") == Estimate(1.0, None, 1)


def test_a_macro_mean_weighs_subsets_equally_with_stratified_error():
    rows = [("a", "x", 0, 1), ("b", "x", 0, 0), ("c", "x", 0, 1), ("d", "x", 0, 0), ("e", "y", 0, 1), ("f", "y", 0, 1)]
    found = estimate(samples(rows), "macro")
    assert found.value == 0.75
    assert found.stderr == pytest.approx(sqrt(stdev([1, 0, 1, 0]) ** 2 / 4) / 2)
    assert (found.n, found.empty) == (6, ())


def test_a_subset_of_one_takes_the_variance_within_the_others():
    rows = [("a", "x", 0, 1), ("b", "x", 0, 0), ("c", "y", 0, 1)]
    assert estimate(samples(rows), "macro").stderr == pytest.approx(sqrt(0.5 / 2 + 0.5 / 1) / 2)


def test_a_macro_mean_over_some_instances_leaves_empty_subsets_out_and_names_them():
    rows = [("a", "x", 0, 1), ("b", "x", 0, 0), ("c", "y", 0, 1)]
    assert estimate(samples(rows), "macro", ["a", "b"]) == Estimate(0.5, pytest.approx(0.5), 2, 0, ("y",))


def test_a_macro_mean_needs_subsets():
    with pytest.raises(InputError, match="'i0': has no subset"):
        estimate(one_each([1]), "macro")


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_sample(n, right, k):
    right = min(right, n)
    if k > n:
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(n, right, k)
        return
    draws = [any(i < right for i in draw) for draw in combinations(range(n), k)]
    assert isclose(pass_at_k(n, right, k), mean(draws), abs_tol=1e-12)


def test_pass_at_10_of_20_samples_and_pass_at_1_come_from_the_same_rows():
    table = samples([("a", None, k, float(k < 2)) for k in range(20)] + [("b", None, k, 0.0) for k in range(20)])
    expected = 1 - (18 * 17 * 16 * 15 * 14 * 13 * 12 * 11 * 10 * 9) / (20 * 19 * 18 * 17 * 16 * 15 * 14 * 13 * 12 * 11)
    assert estimate(table, "pass_at_10").value == pytest.approx(expected / 2)
    assert estimate(table, "pass_at_10", k=1).value == pytest.approx(0.05)


def test_an_instance_with_too_few_judged_samples_has_no_pass_at_10():
    rows = [("a", None, k, 1.0 if k < 9 else None) for k in range(20)] + [("b", None, k, 1.0) for k in range(20)]
    assert estimate(samples(rows), "pass_at_10") == Estimate(1.0, None, 1, 1)


def test_several_samples_of_an_instance_are_one_observation():
    many = samples([(i, None, k, s) for i, s in (("a", 1.0), ("b", 0.0), ("c", 1.0)) for k in range(50)])
    assert estimate(many, "mean")[:3] == pytest.approx(estimate(one_each([1.0, 0.0, 1.0]), "mean")[:3])


def test_closed_form_errors_are_those_of_a_bootstrap():
    rng = np.random.default_rng(0)
    rows = [
        (f"{s}{i}", s, 0, float(rng.random() < p)) for s, p, n in (("x", 0.9, 60), ("y", 0.4, 90)) for i in range(n)
    ]
    values = values_of(samples(rows), "macro")
    draws = []
    for _ in range(3_000):
        of = [values.values[values.stratum == s] for s in (0, 1)]
        draws.append(mean(float(rng.choice(v, len(v)).mean()) for v in of))
    assert aggregate(values).stderr == pytest.approx(stdev(draws), rel=0.05)


scored = st.lists(
    st.tuples(st.sampled_from("xyz"), st.one_of(st.none(), st.floats(0, 1)), st.booleans()), min_size=1, max_size=30
)


@given(scored)
def test_a_macro_mean_over_chosen_instances_is_the_naive_one(rows):
    table = samples([(str(i), s, 0, score) for i, (s, score, _) in enumerate(rows)])
    chosen = {str(i) for i, (_, _, wanted) in enumerate(rows) if wanted}
    of = {s: [v for t, v, wanted in rows if wanted and t == s and v is not None] for s in "xyz"}
    means = [mean(v) for v in of.values() if v]
    found = estimate(table, "macro", chosen)
    assert found.value == (pytest.approx(mean(means)) if means else None)
    assert found.n == sum(map(len, of.values()))


def test_an_average_is_plain_and_its_columns_errors_are_independent():
    found = average([Estimate(0.5, 0.03, 10), Estimate(0.7, 0.04, 10), Estimate(None, None, 0)])
    assert found == Estimate(pytest.approx(0.6), pytest.approx(0.025), 2, 1)


def test_the_error_of_a_gap_is_that_of_all_ways_to_deal_its_sides_out_within_subsets():
    x, y = [1, 0, 1, 0.5, 0], [1, 1, 0, 1]
    values = values_of(
        samples([(f"x{i}", "x", 0, s) for i, s in enumerate(x)] + [(f"y{i}", "y", 0, s) for i, s in enumerate(y)]),
        "macro",
    )

    def dealt(scores, size):
        for side in combinations(range(len(scores)), size):
            yield mean(scores[i] for i in side) - mean(s for i, s in enumerate(scores) if i not in side)

    ways = [(a + b) / 2 for a in dealt(x, 2) for b in dealt(y, 1)]
    first = np.array([True, True, False, False, False, True, False, False, False])
    found = gap(values, first, ~first)
    assert (found.difference.value, found.strata) == (pytest.approx((0.5 - 0.5 + 1 - 2 / 3) / 2), ("x", "y"))
    assert found.difference.stderr == pytest.approx(sqrt(mean(w * w for w in ways)))
    assert found.difference.z == pytest.approx(found.difference.value / found.difference.stderr)


def test_a_gap_is_over_the_subsets_that_have_both_sides_and_none_without_any():
    values = values_of(samples([(f"{s}{i}", s, 0, float(i % 2)) for s in "xyz" for i in range(4)]), "macro")
    of_x = values.stratum == 0
    half = np.arange(12) % 2 == 1
    assert gap(values, of_x & half, ~half).strata == ("x",)
    assert gap(values, of_x & half, ~half).difference.value == 1.0
    assert gap(values, of_x, ~of_x) == ((None, None, None), ())


def test_a_side_of_equal_values_has_no_certain_gap_and_two_of_them_no_z():
    values = values_of(one_each([1, 1, 1, 0, 0, 0, 1, 0]), "mean")
    few = np.arange(8) < 2
    assert gap(values, few, ~few).difference.z < 2
    same = values_of(one_each([1, 1, 1]), "mean")
    assert gap(same, np.arange(3) < 1, np.arange(3) > 0).difference == (0.0, 0.0, None)
