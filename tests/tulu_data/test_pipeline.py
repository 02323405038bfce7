"""The pipeline: the same version however it is reached, nothing done twice, nothing half done."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from decontam import auditing
from tulu_data import composition, ingestion
from tulu_data import recipe as recipes
from tulu_data.cli import cli
from tulu_data.errors import GateError, InputError, RecipeError, StoreError
from tulu_data.pipeline import run
from tulu_data.reproduce import reproduce
from tulu_data.store import Store
from tulu_data.verify import verify

WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "juniper",
    "kelp",
    "larch",
    "moss",
    "nettle",
    "oak",
    "pine",
    "quartz",
    "reed",
]


def conversation(i):
    """A record with a text of its own; every 17th repeats a test item word for word."""
    rng = random.Random(i)
    question = TEST_ITEMS[i // 17 % 3] if i % 17 == 5 else " ".join(rng.choices(WORDS, k=15)) + f" number {i}?"
    return {"prompt": question, "response": f"Answer {i}."}


TEST_ITEMS = [" ".join(random.Random(10_000 + k).choices(WORDS, k=12)) + f" item {k}" for k in range(1, 4)]


def write_recipe(folder, records_a, records_b=None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records_a))
    (folder / "b.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in records_b or map(conversation, range(500, 560)))
    )
    items = [{"id": str(i), "question": q} for i, q in enumerate(TEST_ITEMS)]
    (folder / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in items))
    suites = {"suites": {"items": {"group": "dev", "path": "items.jsonl", "fields": ["question"]}}}
    (folder / "suites.yaml").write_text(yaml.safe_dump(suites))
    recipe = {
        "name": "mixed",
        "seed": 3,
        "sources": {"a": {"path": "a.jsonl", "license": "mit"}, "b": {"path": "b.jsonl", "license": "mit"}},
        "decontaminate": {"suites": ["suites.yaml"]},
        "mix": {"a": {"count": 100}, "b": {"fraction": 0.5, "repeat": 2}},
    }
    (folder / "r.yaml").write_text(yaml.safe_dump(recipe | changes))
    return recipes.load(folder / "r.yaml")


@pytest.fixture
def records():
    return [conversation(i) for i in range(200)]


def test_a_run_ingests_audits_drops_and_mixes(tmp_path, records):
    made = run(write_recipe(tmp_path, records), Store(tmp_path / "s"))
    dropped = sum(r["prompt"] in TEST_ITEMS for r in records)
    assert dropped == 12
    assert made.clean["a"].rows == 200 - dropped
    assert made.mixture.manifest.logical.sources["a"].rows == 100
    assert {r["set"] for r in made.mixture.manifest.decontamination} == {"a", "b"}
    assert verify(made.mixture, 3) == []
    prompts = {m[0]["content"] for m in made.mixture.table(["messages"])["messages"].to_pylist()}
    assert not prompts & set(TEST_ITEMS)


def test_a_second_run_skips_every_step_and_touches_no_file(tmp_path, records):
    loaded = write_recipe(tmp_path, records)
    store = Store(tmp_path / "s")
    first = run(loaded, store)
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()}
    second = run(loaded, store)
    assert {s.status for s in first.steps} == {"done"}
    assert {s.status for s in second.steps} == {"cached"}
    assert before == {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()}


def test_filters_and_duplicates_come_before_the_audit_and_can_be_made_again(tmp_path, records):
    said = {**records[0], "response": "As an AI language model, I cannot say."}
    theirs = [*map(conversation, range(500, 560)), *records[:10]]
    sections = {"filter": {"self_identification": True}, "dedup": {"scope": "across", "priority": ["a"]}}
    loaded = write_recipe(tmp_path, [*records, records[3], said], theirs, **sections)
    store = Store(tmp_path / "s")
    planned = run(loaded, store, dry_run=True)
    assert [s.step for s in planned.steps if s.status == "to run"][2:6] == [
        "filter:a",
        "filter:b",
        "dedup:a",
        "dedup:b",
    ]
    made = run(loaded, store)
    assert (made.filtered["a"].rows, made.filtered["b"].rows) == (201, 70)
    assert (made.unique["a"].rows, made.unique["b"].rows) == (200, 60)
    assert made.clean["a"].rows == 200 - 12
    assert made.clean["a"].name == "a-clean"
    assert {s for r in made.mixture.manifest.decontamination for s in r["sources"]} == {"a", "b"}
    assert {s.status for s in run(loaded, store).steps} == {"cached"}
    for version in (made.filtered["a"], made.unique["b"], made.clean["b"], made.mixture):
        again = reproduce(version.manifest, Store(tmp_path / "again"))
        assert again.same_version, version.ref
    other = run(
        write_recipe(tmp_path, [*records, records[3], said], theirs, **{**sections, "filter": {"pii": True}}), store
    )
    done = [s.step for s in other.steps if s.status == "done"]
    assert done[:4] == ["filter:a", "filter:b", "dedup:a", "dedup:b"]
    assert not any(s.startswith("ingest") for s in done)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"filter": {"pij": True}}, r"filter.pij: unknown key; did you mean 'pii'\?"),
        ({"filter": dict.fromkeys(("roles", "templates", "refusals", "self_identification"), False)
          | {"cut_off": False, "repetition": False}}, "every filter is off"),
        ({"dedup": {"nere": True}}, r"dedup.nere: unknown key; did you mean 'near'\?"),
    ],
)  # fmt: skip
def test_a_wrong_filter_or_dedup_section_is_one_line_before_anything_is_read(tmp_path, records, section, message):
    store = Store(tmp_path / "s")
    with pytest.raises(RecipeError, match=message):
        run(write_recipe(tmp_path, records, **section), store)
    assert not store.names()


def test_changing_one_source_runs_again_only_what_depends_on_it(tmp_path, records):
    store = Store(tmp_path / "s")
    run(write_recipe(tmp_path, records), store)
    again = run(write_recipe(tmp_path, records[:-1]), store)
    status = {s.step: s.status for s in again.steps}
    assert status == {
        "ingest:a": "done",
        "ingest:b": "cached",
        "audit": "done",
        "drop:a": "done",
        "drop:b": "done",
        "mix": "done",
    }
    seed = run(write_recipe(tmp_path, records[:-1], seed=4), store)
    assert [s.step for s in seed.steps if s.status == "done"] == ["mix"]


def test_of_a_changed_source_and_an_unchanged_one_only_the_changed_is_scanned_again(tmp_path, records, monkeypatch):
    store = Store(tmp_path / "s")
    run(write_recipe(tmp_path, records), store)
    scanned = []
    scan_part = auditing.scan_part
    monkeypatch.setattr(auditing, "scan_part", lambda *given: scanned.append(given[1]) or scan_part(*given))
    again = run(write_recipe(tmp_path, records[:-1]), store)
    assert set(scanned) == {"a"}
    anew = run(write_recipe(tmp_path, records[:-1]), Store(tmp_path / "other"))
    assert set(scanned) == {"a", "b"}
    assert (again.audit.name, again.mixture.ref) == (anew.audit.name, anew.mixture.ref)


def test_the_version_id_is_the_same_twice_permuted_resharded_and_with_any_workers(tmp_path, records, monkeypatch):
    expected = run(write_recipe(tmp_path / "1", records), Store(tmp_path / "1" / "s")).mixture.manifest
    permuted = records[:]
    random.Random(1).shuffle(permuted)
    variants = {
        "twice": run(write_recipe(tmp_path / "2", records), Store(tmp_path / "2" / "s")),
        "permuted": run(write_recipe(tmp_path / "3", permuted), Store(tmp_path / "3" / "s")),
        "workers": run(write_recipe(tmp_path / "4", records), Store(tmp_path / "4" / "s"), workers=2),
    }
    folder = tmp_path / "5"
    write_recipe(folder, records)
    (folder / "a.jsonl").unlink()
    (folder / "a").mkdir()
    for i in range(3):
        part = records[i * 70 : (i + 1) * 70]
        (folder / "a" / f"{i}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    monkeypatch.setattr(ingestion, "SMALL_BYTES", 0)  # so that reading is spread over processes too
    variants["reading workers"] = run(write_recipe(tmp_path / "6", records), Store(tmp_path / "6" / "s"), workers=2)
    resharded = recipes.load(folder / "r.yaml", ["sources.a.path=a"])
    variants["resharded"] = run(resharded, Store(folder / "s"))
    assert {k: v.mixture.manifest.version for k, v in variants.items()} == dict.fromkeys(variants, expected.version)


def test_reproduce_in_another_folder_gives_the_same_bytes(tmp_path, records):
    made = run(write_recipe(tmp_path / "here", records), Store(tmp_path / "s")).mixture
    (tmp_path / "here").rename(tmp_path / "there")
    again = reproduce(made.manifest, Store(tmp_path / "elsewhere"), root=tmp_path / "there")
    assert again.holds
    assert (again.same_inputs, again.same_version, again.same_bytes) == (True, True, True)


def test_an_ingested_version_is_reproduced_without_the_suites_of_its_recipe(tmp_path, records):
    made = run(write_recipe(tmp_path, records), Store(tmp_path / "s")).sources["a"]
    (tmp_path / "suites.yaml").unlink()
    assert reproduce(made.manifest, Store(tmp_path / "elsewhere")).holds


def test_reproduce_says_which_input_changed(tmp_path, records):
    made = run(write_recipe(tmp_path, records), Store(tmp_path / "s")).mixture
    write_recipe(tmp_path, [*records[:-1], conversation(9999)])
    again = reproduce(made.manifest, Store(tmp_path / "elsewhere"))
    assert not again.same_inputs
    assert again.changed_inputs == [str(tmp_path / "a.jsonl")]


def test_reproduce_refuses_a_version_made_by_hand(tmp_path, make_version):
    version = make_version(Store(tmp_path), "x", ["hello"])
    with pytest.raises(StoreError, match=r"x@tv1-.*: was not made by a recipe, so it cannot be made again"):
        reproduce(version.manifest, Store(tmp_path / "y"))


def test_parts_of_one_source_have_rows_topics_and_a_way_of_their_own(tmp_path, records):
    mix = {
        "short": {"all": True, "of": "a", "topic": "Brief", "where": "id < 'a/sha256:8'"},
        "long": {"count": 20, "of": "a", "where": "id >= 'a/sha256:8'"},
        "b": {"count": 10},
    }
    store = Store(tmp_path / "s")
    made = run(write_recipe(tmp_path, records, mix=mix, topics={"Brief": {"share": 0.5}}), store)
    manifest, clean = made.mixture.manifest, made.clean["a"].rows
    found = {p.part: (p.topic, p.version, p.available, p.rows) for p in composition.parts(manifest)}
    short = sum(i < "a/sha256:8" for i in made.clean["a"].table(["id"])["id"].to_pylist())
    total = short + 30
    assert 0 < short < clean - 20
    assert {topic for topic, *_ in found.values()} == {"Brief", None}
    assert found["short"][1:3] == (made.clean["a"].ref, short)
    assert found["long"][1:3] == (made.clean["a"].ref, clean - short)
    assert abs(found["short"][3] - total / 2) <= 0.5
    assert sum(rows for *_, rows in found.values()) == manifest.logical.rows == total
    ids = made.mixture.table(["id"])["id"].to_pylist()
    assert len(set(ids)) == total
    ways = {f.part: [s.step for s in f.stages] for f in composition.funnels(manifest)}
    assert ways == {name: ["ingest", "decontaminate", "mix"] for name in ("short", "long", "b")}
    assert [s.name for s in manifest.steps] == ["ingest", "decontaminate"] * 2 + ["mix"]
    assert sorted(r["set"] for r in manifest.decontamination) == ["a", "b"]
    assert composition.topics_of(manifest) == {"a": "Brief"}


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"x": {"count": 50, "of": "a"}, "y": {"count": 180, "of": "a"}}, r"mix.y: takes \d+ rows that x takes too; "),
        ({"x": {"count": 5, "of": "c"}}, r"mix.x.of: no such source; "),
        ({"b": {"count": 5, "of": "a"}}, r"mix.b.of: 'b' is itself a source; give the part a name of its own"),
    ],
)
def test_parts_that_cannot_be_told_apart_are_refused_in_one_line(tmp_path, records, mix, message):
    with pytest.raises(RecipeError, match=message) as raised:
        run(write_recipe(tmp_path, records, mix=mix), Store(tmp_path / "s"))
    assert "\n" not in str(raised.value)


def test_a_dry_run_writes_nothing_and_plans_what_is_known(tmp_path, records):
    loaded = write_recipe(tmp_path, records)
    store = Store(tmp_path / "s")
    assert {s.status for s in run(loaded, store, dry_run=True).steps} == {"to run"}
    assert not store.root.exists()
    run(loaded, store)
    reseeded = recipes.load(tmp_path / "r.yaml", ["seed=8"])
    planned = run(reseeded, store, dry_run=True)
    assert [(s.step, s.rows) for s in planned.steps if s.status == "to run"] == [("mix", planned.plan.rows)]
    assert planned.plan.rows == run(reseeded, store).mixture.rows


def test_the_papers_policy_drops_a_set_contaminated_by_an_unseen_suite(tmp_path, records):
    loaded = write_recipe(tmp_path, records, decontaminate={"suites": ["suites.yaml"], "policy": "tulu3"}, mix=None)
    text = (tmp_path / "suites.yaml").read_text().replace("dev", "unseen")
    (tmp_path / "suites.yaml").write_text(text)
    made = run(loaded, Store(tmp_path / "s"))
    assert made.clean["a"].rows == 0
    assert made.clean["a"].manifest.decontamination[0]["verdict"] == "drop set"


@pytest.mark.parametrize(
    ("source", "licenses", "message"),
    [
        (
            {},
            {"on_unknown": "error"},
            "sources.a.license: 200 rows state no licence; set 'license' to an id such as odc-by",
        ),
        (
            {"license": "my-own"},
            {"on_unknown": "error"},
            "sources.a.license: 200 rows are under 'my-own', which is not a known licence id; "
            "set 'license' to an id such as odc-by",
        ),
        (
            {"license": "MIT"},
            {"deny": ["mit"]},
            "sources.a: 200 rows are under MIT, which licenses.deny names; "
            "leave the source out of mix, or take MIT off the list",
        ),
    ],
)
def test_a_licence_that_the_policy_refuses_stops_the_run_before_the_mixture(
    tmp_path, records, source, licenses, message
):
    sources = {"a": {"path": "a.jsonl", **source}, "b": {"path": "b.jsonl", "license": "odc-by"}}
    store = Store(tmp_path / "s")
    with pytest.raises(InputError) as caught:
        run(write_recipe(tmp_path, records, sources=sources, licenses=licenses), store)
    assert str(caught.value) == message
    assert store.latest("mixed") is None


def test_a_changed_licence_is_that_of_the_rows_and_of_the_manifest(tmp_path, records):
    store = Store(tmp_path / "s")
    sources = {"a": {"path": "a.jsonl"}, "b": {"path": "b.jsonl"}}
    before = run(write_recipe(tmp_path, records, sources=sources), store)
    sources = {name: {**spec, "license": "odc-by"} for name, spec in sources.items()}
    after = run(write_recipe(tmp_path, records, sources=sources, licenses={"on_unknown": "error"}), store)
    assert after.mixture.ref == before.mixture.ref
    for version in (after.sources["a"], after.clean["a"], after.mixture):
        assert set(version.table(["license"])["license"].to_pylist()) == {"odc-by"}
        assert verify(version, 3) == []
    assert set(before.mixture.table(["license"])["license"].to_pylist()) == {None}
    assert verify(before.mixture, 2) == []


def test_an_expectation_that_fails_leaves_the_last_mixture_alone(tmp_path, records):
    store = Store(tmp_path / "s")
    made = run(write_recipe(tmp_path, records), store).mixture
    with pytest.raises(GateError, match=r"expect\.rows: 7 expected, the mixture has"):
        run(write_recipe(tmp_path, records, seed=5, expect={"rows": 7}), store)
    assert store.latest("mixed") == made.ref


def test_a_gate_stops_the_run_before_anything_is_dropped_and_says_where_to_look(tmp_path, records):
    store = Store(tmp_path / "s")
    loaded = write_recipe(tmp_path, records, decontaminate={"suites": ["suites.yaml"], "gate": True})
    message = r"^gate: a overlaps 3 of 3 instances of items, .*; look with: tulu review \S+$"
    with pytest.raises(GateError, match=message) as stop:
        run(loaded, store)
    assert stop.value.exit_code == 3
    assert store.latest("a") is not None
    assert store.latest("a-clean") is None
    innocent = [{"prompt": f"what is {i}", "response": "a number"} for i in range(120)]
    gated = {"suites": ["suites.yaml"], "gate": True}
    assert run(write_recipe(tmp_path / "c", innocent, innocent[::-1], decontaminate=gated), store).mixture.rows > 0


def test_marks_of_a_reviewer_run_the_drop_and_the_mixture_again_and_nothing_else(tmp_path, records):
    store = Store(tmp_path / "s")
    loaded = write_recipe(tmp_path, records, mix={"a": {"all": True}, "b": {"all": True}})
    first = run(loaded, store)
    command = ["review", first.audit, "--set", "a", "--all", "--mark", "false", "--store", store.root]
    assert CliRunner().invoke(cli, list(map(str, command))).exit_code == 0
    second = run(loaded, store)
    assert {s.step: s.status for s in second.steps} == {
        "ingest:a": "cached",
        "ingest:b": "cached",
        "audit": "cached",
        "drop:a": "done",
        "drop:b": "done",
        "mix": "done",
    }
    assert second.clean["a"].rows == 200
    assert second.clean["b"].rows == first.clean["b"].rows
    [record] = second.clean["a"].manifest.decontamination
    assert (record["marks"]["false"], record["rows_dropped"]) == (12, 0)


def test_a_cached_version_whose_shard_is_gone_is_named_and_made_anew_once_removed(tmp_path, records):
    loaded = write_recipe(tmp_path, records)
    store = Store(tmp_path / "s")
    clean = run(loaded, store).clean["a"]
    clean.shards[0].unlink()
    with pytest.raises(StoreError) as caught:
        run(loaded, store)
    assert str(caught.value) == f"{clean.shards[0]}: is missing; remove {clean.path} and run again to make it anew"
    shutil.rmtree(clean.path)
    assert {s.step: s.status for s in run(loaded, store).steps}["drop:a"] == "done"


@pytest.mark.parametrize("use", ["mix", "export", "diff", "audit"])
def test_a_damaged_shard_stops_whatever_reads_it_in_one_line(tmp_path, records, use):
    store = Store(tmp_path / "s")
    version = run(write_recipe(tmp_path, records), store).sources["a"]
    shard = version.shards[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1  # inside a page of text
    shard.write_bytes(data)
    tulu = Path(sys.executable).with_name("tulu")
    commands = {
        "mix": ["mix", "a:all", "-o", "m"],
        "export": ["export", "a", "--layout", "trl", "-o", str(tmp_path / "x.parquet")],
        "diff": ["diff", "a", "a-clean", "--examples", "300"],
        "audit": ["audit", "a", "--suites", str(tmp_path / "suites.yaml"), "-n", "7"],  # which nobody has scanned
    }
    done = subprocess.run(
        [tulu, *commands[use], "-q"] if use in ("mix", "audit") else [tulu, *commands[use]],
        env=os.environ | {"TULU_STORE": str(store.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith(f"error: {shard}: cannot be read (")
    assert done.stderr.endswith("; tulu verify says what is damaged\n")


def published(root):
    """Every version in the store, verified at level 1."""
    store = Store(root)
    versions = store.versions()
    for version in versions:
        assert verify(version, 1) == []
    return {v.ref for v in versions}


@pytest.mark.slow
def test_a_run_killed_at_random_points_leaves_no_half_version_and_the_next_run_finishes(tmp_path):
    folder = tmp_path / "r"
    write_recipe(folder, [conversation(i) for i in range(3000)])
    tulu = Path(sys.executable).with_name("tulu")
    command = [str(tulu), "run", str(folder / "r.yaml"), "-q", "-j", "2"]
    started = time.monotonic()
    subprocess.run([*command, "--store", str(tmp_path / "whole")], check=True, capture_output=True)
    seconds = time.monotonic() - started
    expected = published(tmp_path / "whole")
    rng = random.Random(0)
    killed = 0
    for attempt in range(12):
        store = tmp_path / f"store-{attempt % 4}"
        process = subprocess.Popen(
            [*command, "--store", str(store)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=rng.uniform(0.3, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        assert published(store) <= expected
    assert killed >= 6
    for i in range(4):
        store = tmp_path / f"store-{i}"
        subprocess.run([*command, "--store", str(store)], check=True, capture_output=True)
        assert published(store) == expected
        assert list((store / "tmp").iterdir()) == []


def test_the_pages_are_written_once_and_again_where_one_is_gone_or_what_they_show_has_changed(tmp_path, records):
    store = Store(tmp_path / "s")
    loaded = write_recipe(tmp_path, records)

    def page(**more):
        made = run(loaded, store, pages=True, **more)
        return made.steps[-1].status, made

    assert run(loaded, store, pages=True, dry_run=True).page is None
    assert not (store.root / "pages").exists()
    status, made = page()
    audit = made.page.with_name(f"audit-{made.audit.name}.html")
    html = made.page.read_text()
    assert status == "done"
    assert f'href="audit-{made.audit.name}.html' in html
    assert page()[0] == page(dry_run=True)[0] == "cached"
    audit.unlink()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = store._temp_path("x").name.split("-")[1]
    (store.root / "tmp" / f"page.json-{host}-{ended.pid}-00000000").write_text("of a run that was killed")
    assert page(dry_run=True)[0] == "to run"
    assert page()[0] == "done"
    assert audit.is_file()
    assert not list((store.root / "tmp").iterdir())
    assert made.page.read_text() == html
    assert run(loaded, store).page is None


def test_an_expected_part_that_is_none_is_refused_when_the_recipe_is_read(tmp_path, records):
    with pytest.raises(RecipeError, match=r"expect.parts.aa: no such part; did you mean 'a'\?"):
        write_recipe(tmp_path, records, expect={"parts": {"aa": 100}})
