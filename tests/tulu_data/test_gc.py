"""Garbage is what nothing leads to; a dry run touches nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tulu_data.gc import Removal, collect
from tulu_data.manifest import Step
from tulu_data.store import Store


def step(*parents: str, **params: Any) -> Step:
    return Step(name="mix", params=params, rows_in=1, rows_out=1, parents=list(parents))


def everything(store: Store) -> dict[str, int]:
    return {str(p.relative_to(store.root)): p.stat().st_mtime_ns for p in sorted(store.root.rglob("*"))}


def removed(found: list[Removal], store: Store) -> dict[str, str]:
    return {str(r.path.relative_to(store.root)): r.reason for r in found}


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def record(audit: str) -> dict[str, Any]:
    return {"set": "a", "audit": audit, "rows_in": 1, "rows_dropped": 0, "policy": "p", "suites": []}


def audit(store: Store, name: str) -> Path:
    folder = store.root / "audits" / name
    folder.mkdir(parents=True)
    (folder / "evals.parquet").write_bytes(b"12345")
    return folder


@pytest.fixture
def full(store, make_version):
    """A store in which some things are led to and some not: what goes, by path and reason."""
    old = make_version(store, "a", ["old"])
    grandparent = make_version(store, "g", ["g"])
    other_grandparent = make_version(store, "g", ["g 2"])
    parent = make_version(store, "p", ["p"], steps=[step(grandparent.ref)], decontamination=[record("ta1-kept")])
    make_version(store, "p", ["p 2"])
    make_version(store, "a", ["new"], steps=[step(x=1)])
    other_history = make_version(store, "a", ["new"], steps=[step(parent.ref, x=2)])
    assert other_history.build is not None
    audit(store, "ta1-kept")
    audit(store, "ta1-lost")
    (audit(store, "ta1-reviewed") / "marks.jsonl").write_text("{}\n")
    store.write_json("steps/kept.json", {"version": other_history.ref, "build": other_history.build})
    store.write_json("steps/old.json", {"version": old.ref, "build": None})
    store.write_json("steps/gone.json", {"version": "a@tv1-0", "build": None})
    store.write_json("steps/list.json", [1])
    store.write_json("steps/empty.json", {})
    (store.root / "steps" / "torn.json").write_text("{")
    killed = store.root / "tmp" / f"a-{store.temp_folder('x').name.split('-')[1]}-{dead_pid()}-01234567"
    killed.mkdir()
    (killed / "x").write_bytes(b"123")
    assert store.open("g").ref == other_grandparent.ref
    always = {
        f"tmp/{killed.name}": "left by a build that was killed",
        "steps/gone.json": "its result is gone",
        "steps/list.json": "unreadable record of a step",
        "steps/empty.json": "unreadable record of a step",
        "steps/torn.json": "unreadable record of a step",
    }
    unreferenced = {old.ref: "no name stands for it", "steps/old.json": "its result is gone"}
    audits = {"audits/ta1-lost": "no kept version records it"}
    return always, unreferenced, audits


@pytest.mark.parametrize("unreferenced", [False, True])
@pytest.mark.parametrize("audits", [False, True])
def test_what_nothing_leads_to_goes_and_the_rest_stays(store, full, unreferenced, audits):
    always, versions, lost = full
    expected = always | (versions if unreferenced else {}) | (lost if audits else {})
    asked = {"unreferenced": unreferenced, "audits": audits}
    before = everything(store)
    planned = collect(store, **asked, dry_run=True)
    assert everything(store) == before
    assert removed(planned, store) == expected
    assert collect(store, **asked) == planned
    after = everything(store)
    gone = set(before) - set(after)
    assert {path for path in gone if path in expected} == set(expected)
    assert all(any(path == top or path.startswith(f"{top}/") for top in expected) for path in gone)
    assert set(after) <= set(before)
    assert collect(store, **asked) == []
    for version in store.versions():
        assert version.table().num_rows == version.rows


def test_the_size_of_what_goes_is_told(store, full):
    asked = {"unreferenced": True, "audits": True, "dry_run": True}
    found = {str(r.path.relative_to(store.root)): r.bytes for r in collect(store, **asked)}
    assert found["audits/ta1-lost"] == 5
    assert found["steps/torn.json"] == 1
    assert next(size for path, size in found.items() if path.startswith("tmp/")) == 3


def test_a_living_build_is_left_alone(store, make_version):
    with store.build("a", "sft") as build:
        assert collect(store, unreferenced=True) == []
        assert build.data.is_dir()


def test_an_absent_store_has_no_garbage(store):
    assert collect(store, unreferenced=True) == []
    assert not store.root.exists()


def test_pages_and_duplicates_go_with_the_versions_they_speak_of(store, make_version):
    old, new = make_version(store, "a", ["old"]), make_version(store, "a", ["new"])
    for version, name in ((old, "td1-old"), (new, "td1-new")):
        (store.root / "pages").mkdir(exist_ok=True)
        (store.root / "pages" / f"{version.ref}.html").write_text("page")
        store.write_json(f"duplicates/{name}/duplicates.json", {"versions": [{"ref": version.ref}]})
        store.write_json(f"steps/page-{name}.json", {"page": f"{version.ref}.html"})
    audit(store, "ta1-kept")
    for name in ("ta1-kept", "ta1-gone"):
        (store.root / "pages" / f"audit-{name}.html").write_text("page")
    found = removed(collect(store, unreferenced=True), store)
    pages = {f"pages/{old.ref}.html", "pages/audit-ta1-gone.html", "steps/page-td1-old.json"}
    assert set(found) == {old.ref, "duplicates/td1-old", *pages}
    assert (store.root / "pages" / f"{new.ref}.html").is_file()
    assert (store.root / "duplicates" / "td1-new").is_dir()
