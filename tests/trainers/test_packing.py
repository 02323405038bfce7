"""Rows and steps: every example once, nothing too long, and all from the seed alone."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.packing import Steps, order, pack

CAPACITY = 20
LENGTHS = st.lists(st.integers(1, CAPACITY), max_size=60)


@given(LENGTHS)
@settings(max_examples=300, deadline=None)
def test_every_example_is_in_one_bin_and_no_bin_is_too_full(lengths):
    bins = pack(lengths, CAPACITY)
    assert sorted(i for held in bins for i in held) == list(range(len(lengths)))
    assert all(held for held in bins)
    assert all(sum(lengths[i] for i in held) <= CAPACITY for held in bins)


@given(LENGTHS)
@settings(max_examples=300, deadline=None)
def test_no_two_bins_would_fit_into_one(lengths):
    fills = sorted(sum(lengths[i] for i in held) for held in pack(lengths, CAPACITY))
    assert len(fills) < 2 or fills[0] + fills[1] > CAPACITY


def slow_pack(lengths, capacity):
    """Long ones first, each into the fullest bin that has room, by hand."""
    bins = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [held for held in bins if sum(lengths[j] for j in held) + lengths[i] <= capacity]
        if fitting:
            max(fitting, key=lambda held: sum(lengths[j] for j in held)).append(i)
        else:
            bins.append([i])
    return sorted(sorted(held) for held in bins)


@given(LENGTHS)
@settings(max_examples=300, deadline=None)
def test_bins_are_the_best_fitting_and_the_same_each_time(lengths):
    assert pack(lengths, CAPACITY) == pack(tuple(lengths), CAPACITY) == slow_pack(lengths, CAPACITY)


def test_bins_and_what_they_hold_are_in_the_order_of_the_examples():
    assert pack([5, 3, 4, 2], 8) == [[0, 1], [2, 3]]
    assert pack([2, 9, 8, 1, 10], 10) == [[0, 2], [1, 3], [4]]
    assert pack([], 8) == []


def test_what_is_longer_than_a_bin_is_refused():
    assert pack([8], 8) == [[0]]
    with pytest.raises(ValueError, match="a sequence of 1,009 tokens does not fit into 1,008"):
        pack([5, 1_009], 1_008)


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 4), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_steps_go_through_each_epoch_exactly_once(count, batch, epochs, seed):
    steps = Steps(count, batch, epochs, seed)
    taken = [steps.examples(step) for step in range(steps.total)]
    assert all(len(examples) == batch for examples in taken)
    seen = [i for examples in taken for i in examples]
    assert count * epochs - batch < len(seen) <= count * epochs
    for epoch in range(epochs):
        part = seen[epoch * count : (epoch + 1) * count]
        assert len(set(part)) == len(part)
        assert part == order(count, seed, epoch)[: len(part)].tolist()
        if len(seen) >= (epoch + 1) * count:
            assert set(part) == set(range(count))


def test_a_step_depends_on_no_other():
    steps = Steps(37, 8, 3, 5)
    forwards = [steps.examples(step) for step in range(steps.total)]
    mixed = list(range(steps.total))
    random.Random(0).shuffle(mixed)
    assert {step: Steps(37, 8, 3, 5).examples(step) for step in mixed} == dict(enumerate(forwards))
    assert Steps(37, 8, 9, 5).examples(3) == forwards[3]  # nor on how many epochs follow


def test_another_seed_or_epoch_is_another_order():
    orders = [order(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(o) for o in orders}) == 9
    assert all(o != sorted(o) for o in orders)
    assert Steps(50, 8, 1, 0).examples(0) != Steps(50, 8, 1, 1).examples(0)


def test_the_order_is_the_one_that_checkpoints_were_written_with():
    assert order(8, 123, 0).tolist() == [7, 2, 1, 4, 3, 6, 0, 5]
