"""What changed between two versions, counted as multisets."""

from __future__ import annotations

from collections import Counter
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.diff import diff
from tulu_data.errors import UsageError
from tulu_data.manifest import Input, Step
from tulu_data.store import Store

ROWS = st.lists(st.sampled_from("abcdef"), max_size=12)


def test_counts_are_those_of_multisets_and_examples_those_in_surplus(make_version):
    @settings(max_examples=60, deadline=None)
    @given(ROWS, ROWS, st.integers(0, 4))
    def check(left: list[str], right: list[str], examples: int) -> None:
        with TemporaryDirectory() as folder:
            store = Store(folder)
            a, b = make_version(store, "a", left, batch_rows=3), make_version(store, "b", right)
            found = diff(a, b, examples=examples)
        count_a, count_b = Counter(left), Counter(right)
        only_a, only_b = count_a - count_b, count_b - count_a
        assert (found.common, found.only_a, found.only_b) == (
            (count_a & count_b).total(),
            only_a.total(),
            only_b.total(),
        )
        assert found.same_order == (left == right)
        for shown, surplus in ((found.examples_a, only_a), (found.examples_b, only_b)):
            texts = Counter(example["text"] for example in shown)
            assert texts <= surplus
            assert texts.total() == min(examples, surplus.total())
        assert found.sources == {
            name: pair for name, pair in (("a", (len(left), 0)), ("b", (0, len(right)))) if pair != (0, 0)
        }

    check()


def test_a_version_differs_in_nothing_from_itself(store, make_version):
    a = make_version(store, "a", ["x", "y"], steps=[Step(name="ingest", params={"k": 1}, rows_in=2, rows_out=2)])
    found = diff(a, a)
    assert (found.common, found.only_a, found.only_b, found.same_order) == (2, 0, 0, True)
    assert (found.sources, found.settings, found.examples_a, found.examples_b) == ({}, {}, [], [])


def test_settings_audits_and_inputs_that_differ_are_named(store, make_version):
    def given_input(digit: str) -> Input:
        return Input(uri="x.jsonl", sha256=digit * 64, bytes=1, records=1, rows=1)

    def mixed(n: int) -> Step:
        params = {"seed": 7, "parts": {"x": {"take": {"count": n}}}}
        return Step(name="mix", params=params, rows_in=n, rows_out=n)

    source = Step(name="ingest", source="x", params={"adapter": "alpaca"}, rows_in=1, rows_out=1)
    a = make_version(store, "a", ["x"], steps=[source, mixed(1)], inputs=[given_input("1")])
    record = {"set": "x", "audit": "ta1-0", "rows_in": 1, "rows_dropped": 0, "policy": "p", "suites": []}
    b = make_version(store, "b", ["x"], steps=[mixed(2)], inputs=[given_input("2")], decontamination=[record])
    assert diff(a, b).settings == {
        "audit:x": (None, "ta1-0"),
        "ingest:x.adapter": ("alpaca", None),
        "input:x.jsonl": ("1" * 16, "2" * 16),
        "mix.parts.x.take.count": (1, 2),
    }


def test_versions_of_other_schemas_are_refused_and_those_of_one_schema_compared(store, make_version):
    a, pairs = make_version(store, "a", ["x"]), make_version(store, "b", ["x"], "preference")
    with pytest.raises(UsageError) as caught:
        diff(a, pairs)
    assert str(caught.value) == f"{a.ref} is chat/v1, {pairs.ref} is preference/v1: nothing to compare"
    assert diff(a, make_version(store, "p", ["x"], "prompt")).common == 0


def test_examples_are_cut_to_200_characters(store, make_version):
    a, b = make_version(store, "a", ["x" * 300]), make_version(store, "b", [])
    assert [e["text"] for e in diff(a, b).examples_a] == ["x" * 200]
