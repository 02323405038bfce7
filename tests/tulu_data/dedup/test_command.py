"""`tulu dedup`: options → settings, counts as a table and as JSON, what is published, faults in one line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tulu_data.commands.dedup import command, settings_section
from tulu_data.dedup.reference import jaccard, shingle_set
from tulu_data.errors import RecipeError, StoreError, UsageError

LONG = " ".join(f"word{i}" for i in range(60))


@pytest.fixture
def run(store, make_version):
    make_version(store, "a", ["same", LONG, f"{LONG} more"])
    make_version(store, "b", ["same", "other"])

    def invoke(*args):
        return CliRunner().invoke(command, [*args, "--store", str(store.root), "-q"], catch_exceptions=False)

    return invoke


def test_a_dry_run_counts_and_publishes_nothing(run, store):
    told = json.loads(run("a", "b", "--near", "0.8", "--dry-run", "--json").output)
    assert [(c["rows"], c["row"], c["near"], c["kept"]) for c in told["counts"]] == [(3, 0, 1, 2), (2, 0, 0, 2)]
    assert told["published"] == []
    assert store.names() == ["a", "b"]


def test_across_versions_duplicates_leave_the_other_and_both_are_published(run, store):
    out = run("a", "b", "--across", "--priority", "b").output
    assert "across versions" in out
    assert store.open("a-unique").rows == 2
    assert store.open("b-unique").rows == 2
    assert out.count("-unique@tv1-") >= 2


def test_one_version_may_be_given_a_name(run, store):
    run("a", "--near", "0.8", "--what", "prompt", "-o", "fewer")
    assert store.open("fewer").manifest.steps[-1].params["near"]["what"] == "prompt"
    with pytest.raises(UsageError, match="--name fewer: names one version, and 2 are given"):
        run("a", "b", "-o", "fewer")


def test_faults_are_one_line(run):
    with pytest.raises(RecipeError, match=r"^tulu dedup: exact\[0\]: "):
        run("a", "--exact", "rows")
    with pytest.raises(RecipeError, match=r"^tulu dedup: near\.threshold: "):
        run("a", "--near", "8")
    with pytest.raises(StoreError, match="c: no such dataset"):
        run("c")
    assert "give --near" in run("a", "--ngram", "3").output
    assert "--finder x: say from which score on, e.g. x=0.9" in run("a", "--finder", "x").output
    assert "'numba' is not one of 'auto', 'compiled', 'datasketch'" in run("a", "--engine", "numba").output
    assert "--encoder is about meaning; give --finder" in run("a", "--finder", "x=1", "--encoder", "m").output


def test_clusters_are_shown_with_what_differs(run, store):
    out = run("a", "--near", "0.8", "--dry-run", "--show", "3").output
    kept, left = (f"{r['id']} of a" for r in store.open("a").table(["id"]).to_pylist()[:0:-1])
    alike = jaccard(*(shingle_set([text, f"answer to {text}"], 5) for text in (LONG, f"{LONG} more")))
    words = LONG.split()
    assert [line.strip() for line in out.splitlines() if line.startswith((" ", "Cluster"))] == [
        f"Cluster 0: 2 rows; {kept} stays",
        f"[user] {' '.join(words[:39])} …",
        f"near {alike:.3f}: {left} leaves",
        f"- … {' '.join(words[-6:])} more [assistant] answer to {' '.join(words[:36])} …",
        f"+ … {' '.join(words[-6:])} [assistant] answer to {' '.join(words[:37])} …",
    ]


def test_clusters_for_pipes_hold_whole_texts(run):
    told = json.loads(run("a", "b", "--across", "--show", "1", "--dry-run", "--json").output)
    (shown,) = told["shown"]
    assert (shown["rows"], shown["kept"]["version"], [m["kind"] for m in shown["leave"]]) == (2, "a", ["row"])
    assert shown["kept"]["text"] == shown["leave"][0]["text"] == "[user] same\n[assistant] answer to same"
    assert "shown" not in json.loads(run("a", "--dry-run", "--json").output)


def test_options_become_a_section_of_a_recipe():
    section = settings_section(
        exact="none", near=None, what=None, ngram=None, finders=("m=0.9",), encoder=None, across=False, priority="x, y"
    )
    assert section["exact"] == []
    assert section["similar"] == [{"finder": "m", "threshold": 0.9}]
    assert section["priority"] == ["x", "y"]


def test_meaning_has_a_default_score_and_takes_an_encoder():
    options = {"exact": "row", "near": None, "what": None, "ngram": None, "across": False, "priority": ""}
    section = settings_section(finders=("meaning", "other=2"), encoder="folder/model", **options)
    assert section["similar"] == [
        {"finder": "meaning", "encoder": "folder/model"},
        {"finder": "other", "threshold": 2.0},
    ]
