"""Layers from recorded numbers, at their edges."""

import pyarrow as pa
import pytest

from decontam.evidence import FOUND
from decontam.judging import judge, layers_of
from decontam.verdicts import LAYERS, Policy, Settings

PLAIN = {
    "set": "t",
    "row_id": "r",
    "row_sha": bytes(32),
    "row_index": 0,
    "suite": "s",
    "instance_id": "0",
    "exact": False,
    "coverage": 0.0,
    "informative": 0.0,
    "informative_covered": 0,
    "informative_total": 40,
    "fuzzy": None,
    "longest_run": 8,
    "severity": "question",
}
SUITES = [{"id": "s", "group": "dev", "instances": 50, "short": 0, "unmatchable": 0}]


def table(*pairs):
    return pa.Table.from_pylist([PLAIN | p for p in pairs], schema=FOUND)


def fired(pair, **policy):
    fires = layers_of(table(pair), Settings(), Policy(**policy))
    return [layer for layer in LAYERS if fires[layer][0]]


@pytest.mark.parametrize(
    ("pair", "layers"),
    [
        ({}, ["any"]),
        ({"longest_run": 7, "fuzzy": 0.7499}, []),
        ({"longest_run": 7, "fuzzy": 0.75}, ["fuzzy"]),
        ({"longest_run": 6, "exact": True, "coverage": 1.0, "fuzzy": 1.0}, ["exact", "fuzzy"]),  # too short for n-grams
        ({"coverage": 0.5, "informative": 0.5, "informative_covered": 20}, ["any"]),
        ({"coverage": 0.51}, ["tulu3", "any"]),
        ({"coverage": 0.9, "informative": 0.51, "informative_covered": 11, "informative_total": 20}, ["tulu3", "any"]),
        (
            {"coverage": 0.9, "informative": 0.6, "informative_covered": 12, "informative_total": 20},
            ["tulu3", "informative", "any"],
        ),
        (  # fewer tokens are enough where nearly all of the words are there
            {"informative": 0.6, "informative_covered": 9, "informative_total": 14, "fuzzy": 0.9},
            ["informative", "fuzzy", "any"],
        ),
        ({"informative": 0.6, "informative_covered": 9, "informative_total": 14, "fuzzy": 0.89}, ["fuzzy", "any"]),
        ({"informative": 0.5, "informative_covered": 9, "informative_total": 18, "fuzzy": 0.95}, ["fuzzy", "any"]),
        (
            {"coverage": 0.9, "informative": 1.0, "informative_covered": 9, "informative_total": 9},
            ["tulu3", "informative", "any"],
        ),
    ],
)
def test_which_layers_fire(pair, layers):
    assert fired(pair) == layers


def test_thresholds_are_those_of_the_policy():
    pair = {"coverage": 0.4, "informative": 0.3, "informative_covered": 9, "fuzzy": 0.65}
    loose = {"threshold": 0.3, "informative_threshold": 0.2, "informative_min_tokens": 9, "fuzzy_threshold": 0.65}
    assert fired(pair) == ["any"]
    assert fired(pair, **loose) == ["tulu3", "informative", "fuzzy", "any"]


def test_an_instance_counts_once_however_many_rows_it_overlaps():
    pairs = table(
        {"exact": True, "row_index": 0, "severity": "question+answer"},
        {"exact": True, "row_index": 3},
        {"exact": True, "row_index": 3, "instance_id": "1"},
        {"row_index": 4, "instance_id": "2"},
    )
    judged = judge(pairs, SUITES, {"t": 9}, Settings(), Policy())
    [entry] = judged.evals.to_pylist()
    assert (entry["flagged"], entry["flagged_exact"], entry["flagged_any"], entry["with_answer"]) == (2, 2, 3, 1)
    assert (entry["share"], entry["contaminated"], entry["verdict"]) == (0.04, True, "drop rows")
    rows = judged.rows.to_pylist()
    assert [(r["row_index"], r["dropped"], r["severity"]) for r in rows] == [
        (0, True, "question+answer"),
        (3, True, "question"),
        (4, False, None),
    ]
    assert (judged.dropped, judged.flagged, judged.flagged_distinct) == ({"t": 2}, 2, 2)
    assert judged.layers.to_pylist() == [["exact", "any"]] * 3 + [["any"]]
