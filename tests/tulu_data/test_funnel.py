"""The way of a part: counts are the manifest's, reasons those of the files beside it, as far as they are there."""

import shutil

import pyarrow as pa
import pytest

from tulu_data.funnel import Way, main_reasons, stages_of, ways
from tulu_data.manifest import Input, Step
from tulu_data.mixture import Part, mix
from tulu_data.take import Take

TEXTS = [f"question {i}" for i in range(20)]


def drops(reasons):
    return pa.table(
        {"row_sha": pa.array([bytes([i]) * 32 for i in range(len(reasons))], pa.binary(32)), "reason": reasons}
    )


@pytest.fixture
def mixed(store, make_version):
    """A mixture of `x`, which went through all stages, and `y`, which was only read."""
    given = Input(uri="x.jsonl", sha256="0", bytes=1, records=25, rows=20, rejected={"is empty": 4, "is no text": 1})
    params = {"rejected": 5}
    steps = [Step(name="ingest", source="x", params=params, rows_in=25, rows_out=20, drops="rejects.parquet")]
    side = {"rejects.parquet": pa.table({"place": ["x:1"] * 5, "reason": ["is empty"] * 4 + ["is no text"]})}
    read = make_version(store, "x", TEXTS, steps=steps, inputs=[given], side=side)
    rules = [
        {"rule": "length.max_chars", "first": 3, "alone": 3, "only": 3},
        {"rule": "cut_off.date", "first": 0, "alone": 1, "only": 0},
    ]
    steps.append(Step(name="filter", source="x", params={"funnel": rules}, rows_in=20, rows_out=17, parents=[read.ref]))
    kept = make_version(store, "x-filtered", TEXTS[:17], steps=steps)
    reasons = ["near duplicate", "same prompt", "near duplicate"]
    steps.append(_dropping("dedup", "x-filtered", kept, 17, reasons))
    unique = make_version(store, "x-unique", TEXTS[:14], steps=steps, side={"drops/dedup.parquet": drops(reasons)})
    reasons = ["overlaps mmlu"] * 2
    steps.append(_dropping("decontaminate", "x-unique", unique, 14, reasons))
    side = {"drops/decontaminate.parquet": drops(reasons)}
    clean = make_version(store, "x-clean", TEXTS[:12], steps=steps, side=side)
    plain = make_version(store, "y", ["one", "two"], steps=[Step(name="synth", source="y", rows_in=4, rows_out=2)])
    return mix(store, "both", [Part("x", clean, Take(count=5), "sums"), Part("y", plain, Take(all=True))])


def _dropping(name, source, parent, rows, reasons):
    drops = f"drops/{name}.parquet"
    left = rows - len(reasons)
    return Step(name=name, source=source, rows_in=rows, rows_out=left, parents=[parent.ref], drops=drops)


WHY = {
    "rejected": {"is empty": 4, "is no text": 1},
    "filtered": {"length.max_chars": 3},
    "deduplicated": {"near duplicate": 2, "same prompt": 1},
    "decontaminated": {"overlaps mmlu": 2},
}


def test_every_part_has_its_way_with_counts_and_reasons(mixed):
    left_out = {"rejected": 5, "filtered": 3, "deduplicated": 3, "decontaminated": 2}
    assert ways(mixed) == [
        Way("x", "sums", 25, left_out, 12, 5, WHY),
        Way("y", None, 4, {"rejected": 2}, 2, 2, {}),
    ]
    assert stages_of(ways(mixed)) == list(left_out)


def test_a_version_that_is_no_mixture_has_one_way_and_samples_nothing(mixed, store):
    [way] = ways(store.open("x-unique"))
    assert (way.part, way.read, way.remaining, way.sampled) == ("x-unique", 25, 14, None)
    assert way.reasons == {name: WHY[name] for name in ("rejected", "filtered", "deduplicated")}


def test_reasons_that_the_store_no_longer_holds_are_left_out_and_counts_stay(mixed, store):
    counts = [way.left_out for way in ways(mixed)]
    store.open("x-unique").side_file("drops/dedup.parquet").write_bytes(b"PAR1")
    shutil.rmtree(store.open("x").path)
    x, _ = ways(mixed)
    assert x.reasons == {name: WHY[name] for name in ("filtered", "decontaminated")}
    assert [way.left_out for way in ways(mixed)] == counts


def test_reasons_of_what_was_made_stand_without_their_particulars(store, make_version):
    steps = [Step(name="synth", source="x", rows_in=5, rows_out=2, drops="rejects.parquet")]
    side = {"rejects.parquet": pa.table({"reason": ["wrong: 3 is not 4", "wrong: 5 is not 6", "empty"]})}
    [way] = ways(make_version(store, "x", TEXTS[:2], steps=steps, side=side))
    assert way.reasons == {"rejected": {"wrong": 2, "empty": 1}}


def test_the_most_frequent_reasons_come_first_and_the_rest_stands_together():
    way = Way("x", None, 9, {"filtered": 9}, 0, None, {"filtered": {"a": 4, "b": 2, "c": 2, "d": 1}})
    assert main_reasons(way, "filtered", 2) == [("a", 4), ("b", 2), ("2 other reasons", 3)]
    assert main_reasons(way, "filtered", 3) == [("a", 4), ("b", 2), ("c", 2), ("d", 1)]
    assert main_reasons(way, "rejected", 2) == []
