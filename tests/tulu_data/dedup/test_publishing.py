"""What is found is kept, published and explained; a killed search goes on; faults are one line."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from tulu_data.dedup import Near, Settings, find_duplicates, find_in_store, publish_unique, signatures
from tulu_data.dedup import dedup as searching
from tulu_data.dedup import near as nearness
from tulu_data.dedup.result import save
from tulu_data.errors import InputError, RecipeError, UsageError
from tulu_data.store import Store
from tulu_data.strict import validate

WORDS = [f"w{i}" for i in range(400)]
LONG = " ".join(WORDS[:60])
BOTH = Settings(near=Near(), scope="across", exact=["row", "prompt"])


def chat(prompt, answer="Yes.", **more):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], **more}


def named(rows):
    """Rows with ids by their place in the test."""
    return [row | {"prov": {"orig_id": f"{i:04d}"}} for i, row in enumerate(rows)]


def mutated(seed, n=60):
    """Texts that descend from a few by edits, short and empty ones among them."""
    draw = random.Random(seed)
    listed = []
    for _ in range(n):
        if listed and draw.random() < 0.6:
            words = draw.choice(listed).split()
            for _ in range(draw.choice([0, 1, 1, 2, 6])):
                if words:
                    words[draw.randrange(len(words))] = draw.choice(WORDS)
            listed.append(" ".join(words))
        else:
            listed.append(" ".join(draw.choices(WORDS, k=draw.choice([0, 2, 4, 5, 12, 60, 90]))))
    return [text or "..." for text in listed]


def survivors(found, name):
    gone = set(found.leaving(name)["row_index"].to_pylist())
    rows = next(v["rows"] for v in found.versions if v["name"] == name)
    return [i for i in range(rows) if i not in gone]


@pytest.fixture
def talks(store, make_version):
    """Two versions that share exact and near duplicates, the first in small parts."""
    texts = mutated(1, 300)
    one = make_version(store, "one", named([chat(t) for t in texts[:200]]))
    two = make_version(store, "two", named([chat(t) for t in texts[150:]]))
    return [one, two]


# ------------------------------------------------------------ the store


def test_publishing_leaves_the_rows_that_stay_and_a_record(talks, store):
    found = find_in_store(talks, BOTH, store)
    made = publish_unique(found, talks[0], store)
    assert made.name == "one-unique"
    assert made.table()["row_sha"].to_pylist() == [
        talks[0].table()["row_sha"][i].as_py() for i in survivors(found, "one")
    ]
    step = made.manifest.steps[-1]
    assert (step.name, step.rows_in, step.rows_out) == ("dedup", 200, made.rows)
    assert step.params["duplicates"] == found.id
    assert step.parents == [talks[0].ref, talks[1].ref]
    drops = pq.read_table(made.side_file(step.drops)).to_pylist()
    assert len(drops) == 200 - made.rows
    assert {d["reason"] for d in drops} <= {"same content", "same prompt", "near duplicate"}
    assert all(d["kept_version"] in ("one", "two") and d["score"] is not None for d in drops)


def test_a_result_is_kept_and_the_signatures_are_not(talks, store, monkeypatch):
    first = find_in_store(talks, BOTH, store)
    assert not list((store.root / "scans").glob("td1-*"))
    assert [p.name for p in (store.root / "duplicates").iterdir()] == [first.id]
    monkeypatch.setattr(searching, "find_duplicates", None)
    again = find_in_store(talks[::-1], BOTH, store)
    assert again.manifest == first.manifest
    assert again.clusters.equals(first.clusters)


def test_a_damaged_result_is_made_anew(talks, store):
    first = find_in_store(talks, BOTH, store)
    (store.root / "duplicates" / first.id / "clusters.parquet").write_bytes(b"PAR1")
    assert find_in_store(talks, BOTH, store).clusters.equals(first.clusters)


SEARCH = """
import sys
from pathlib import Path
from tulu_data.dedup import Near, Settings, find_in_store, signatures
from tulu_data.store import Store
import time
write = signatures.write
def slow(path, signed):
    write(path, signed)
    time.sleep(0.1)
signatures.write = slow
store = Store(sys.argv[1])
find_in_store([store.open("s")], Settings(near=Near()), store)
"""


def test_a_killed_search_goes_on_and_gives_the_same(tmp_path, make_rows, make_version, monkeypatch):
    rows = make_rows("s", named([chat(t) for t in mutated(9, 300)]))
    monkeypatch.setattr("tulu_data.parquet.GROUP_ROWS", 10)
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    expected = find_in_store([make_version(whole, "s", rows)], Settings(near=Near()), whole)
    version = make_version(killed, "s", rows)
    process = subprocess.Popen([sys.executable, "-c", SEARCH, str(killed.root)])
    deadline = time.monotonic() + 120
    while len(done := sorted(killed.root.glob("scans/td1-*/*.signatures"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (done[0]).write_bytes(done[0].read_bytes()[:-8])  # cut off, as by a machine that lost its power
    signed, write = [], signatures.write
    monkeypatch.setattr(signatures, "write", lambda path, s: signed.append(path) or write(path, s))
    found = find_in_store([version], Settings(near=Near()), killed)
    assert done[0] in signed
    assert not set(done[1:]) & set(signed)
    assert len(signed) < 30
    assert found.id == expected.id
    one, other = (s.root / "duplicates" / found.id for s in (whole, killed))
    for name in ("clusters.parquet", "duplicates.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_search_that_ends_first_leaves_what_another_still_reads(talks, store, monkeypatch):
    """Both sign the same text; the first to end must not take the files from under the other."""
    left = []

    def meanwhile(*args):
        if not left:
            left.append(None)
            find_in_store(talks, Settings(near=Near(threshold=0.9)), store)
            left.append(len(list((store.root / "scans").glob("td1-*/*.signatures"))))
        return settle(*args)

    settle = nearness.settle
    monkeypatch.setattr(nearness, "settle", meanwhile)
    find_in_store(talks, Settings(near=Near()), store)
    assert left == [None, 2]
    assert not list((store.root / "scans").glob("td1-*"))


def test_two_searches_may_end_with_one_result(talks, store, tmp_path):
    found = find_in_store(talks, BOTH, store)
    save(found, tmp_path / "again", store.root / "duplicates" / found.id, store)
    assert find_in_store(talks, BOTH, store).clusters.equals(found.clusters)


def test_what_the_reference_finds_is_not_taken_from_what_is_kept_of_the_other_engine(talks, store):
    compiled = find_in_store(talks, BOTH, store)
    assert find_in_store(talks, BOTH, store, engine="datasketch").id != compiled.id
    assert len(list((store.root / "duplicates").iterdir())) == 2


def test_versions_of_one_content_and_other_parts_do_not_read_each_others_signatures(
    store, make_rows, make_version, tmp_path, monkeypatch
):
    rows = make_rows("s", named([chat(t) for t in mutated(4, 60)]))
    one = make_version(store, "one", rows)
    monkeypatch.setattr("tulu_data.parquet.GROUP_ROWS", 7)
    two = make_version(store, "two", rows)
    monkeypatch.setattr("tulu_data.parquet.GROUP_ROWS", 10)
    three = make_version(store, "three", rows)
    assert one.digest == two.digest == three.digest
    wanted = Settings(exact=[], near=Near(), scope="across")
    found = find_duplicates([one, two, three], wanted, work=tmp_path / "all")
    alone = find_duplicates([one], wanted, work=tmp_path / "alone")
    gone = {name: found.leaving(name)["row_index"].to_pylist() for name in ("one", "two", "three")}
    assert gone["one"] == alone.leaving("one")["row_index"].to_pylist()
    assert gone["two"] == gone["three"] == list(range(60))


# ------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"near": {"treshold": 0.8}}, "near.treshold: unknown key; did you mean 'threshold'?"),
        ({"near": {"threshold": 1.5}}, "near.threshold: "),
        ({"near": {"bands": 30}}, "bands: 30 do not divide 128 permutations; choose one of 1, 2, 4"),
        ({"near": {"bands": 8}}, "bands: 8 of 16 find 20% of the pairs at 0.8; take more bands"),
        ({"exact": ["rows"]}, "exact[0]: "),
        ({"exact": ["row", "row"]}, "exact: 'row' is listed twice"),
        ({"exact": []}, "looks for no duplicates; give exact, near or similar"),
    ],
)
def test_a_wrong_section_is_one_line(section, says):
    with pytest.raises(RecipeError) as caught:
        validate(Settings, section, "r.yaml", under="dedup")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_requests_that_cannot_be_met_are_one_line(store, make_version, tmp_path):
    a, b = make_version(store, "aa", ["x", "y"]), make_version(store, "bb", ["x"], "rlvr")
    answer = Settings(near=Near(what="answer"))
    for say, call in [
        ("aa: is given twice", lambda: find_duplicates([a, a], work=tmp_path)),
        (
            "priority: 'a' is neither a source nor a version here; ",
            lambda: find_duplicates([a], Settings(priority=["a"]), work=tmp_path),
        ),
        ("bb: rows of kind rlvr hold no answers", lambda: find_duplicates([a, b], answer, work=tmp_path)),
        ("engine 'numba' is unknown", lambda: find_duplicates([a], work=tmp_path, engine="numba")),
    ]:
        with pytest.raises(UsageError, match=say):
            call()
    assert not list(tmp_path.glob("td1-*"))  # nothing was signed before the last version was looked at
    found = find_in_store([a], Settings(), store)
    with pytest.raises(InputError, match=r"duplicates td1-.* are those of aa@.*; run tulu dedup again"):
        publish_unique(found, b, store)
    assert store.names() == ["aa", "bb"]


def test_an_empty_version_and_one_without_duplicates(store, make_version, tmp_path):
    empty, plain = make_version(store, "empty", []), make_version(store, "plain", ["a", "b"])
    found = find_duplicates([empty, plain], BOTH, work=tmp_path)
    assert len(found.clusters) == 0
    assert [c["kept"] for c in found.counts] == [0, 2]
    assert publish_unique(found, plain, store).rows == 2
    assert publish_unique(found, empty, store).rows == 0


def test_across_kinds_prompts_are_compared(store, make_version, tmp_path):
    a, b = make_version(store, "a", [chat(LONG)]), make_version(store, "b", [LONG], "rlvr")
    found = find_duplicates([a, b], Settings(near=Near(what="prompt"), scope="across"), work=tmp_path)
    assert [(c["version"], c["kept"]) for c in found.clusters.to_pylist()] == [("a", True), ("b", False)]
