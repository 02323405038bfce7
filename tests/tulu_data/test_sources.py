"""The registry of public sources: what it holds, how a name stands for an entry, and what is pinned stays pinned."""

from __future__ import annotations

import inspect
import json
import re
from hashlib import sha256

import datasets
import huggingface_hub
import pytest
import yaml
from click.testing import CliRunner

from tulu_data import recipe as recipes
from tulu_data.adapters import ADAPTERS, convert
from tulu_data.commands.sources import command
from tulu_data.errors import InputError, RecipeError, TuluError, UsageError
from tulu_data.hub import parse
from tulu_data.ingestion import pinned_address
from tulu_data.pipeline import run
from tulu_data.progress import Silent
from tulu_data.rows import check
from tulu_data.sources import find_sources, load_sources, registry
from tulu_data.store import Store

COMMIT, OTHER = "c0ffee" + 34 * "0", "deca" + 36 * "f"
RECORDS = [{"prompt": f"question {i}?", "response": f"answer {i}"} for i in range(5)]

TABLE_7 = {  # arXiv 2411.15124, Table 7: the pool, and what the SFT mixture takes of it
    "hardcoded": (24, 240),
    "openassistant": (88_838, 7_132),
    "no_robots": (9_500, 9_500),
    "wildchat": (241_307, 100_000),
    "flan_v2": (89_982, 89_982),
    "sciriff": (35_357, 10_000),
    "table_gpt": (13_222, 5_000),
    "persona_math": (149_960, 149_960),
    "persona_gsm": (49_980, 49_980),
    "persona_algebra": (20_000, 20_000),
    "open_math_instruct_2": (21_972_791, 50_000),
    "numinamath_tir": (64_312, 64_312),
    "persona_python": (34_999, 34_999),
    "evol_codealpaca": (107_276, 107_276),
    "coconot": (10_983, 10_983),
    "wildjailbreak": (50_000, 50_000),
    "wildguardmix": (50_000, 50_000),
    "aya": (202_285, 100_000),
    "persona_if": (29_980, 29_980),
}


# ------------------------------------------------------------ what it holds


def test_the_sft_collection_is_the_papers_table():
    found = {s.name.removeprefix("tulu3/"): s.declared for s in find_sources(["tulu3-sft"])}
    assert {name: (d.paper["pool"], d.paper["sft"]) for name, d in found.items()} == TABLE_7
    assert sum(d.paper["sft"] for d in found.values()) == 939_344
    pref = [s for s in find_sources(["tulu3-pref-8b"]) if "dpo" in s.declared.paper]
    assert sum(d.paper["pool"] for d in [*found.values(), *(s.declared for s in pref)]) == 23_327_961
    # The table states 425,145 for DPO, 540 more than its column sums to.
    assert sum(d.paper.get("dpo", 0) for d in [*found.values(), *(s.declared for s in pref)]) == 424_605
    cleaned = {name for name, d in found.items() if d.decontaminated}
    assert cleaned == {"wildchat", "numinamath_tir", "evol_codealpaca", "wildjailbreak", "wildguardmix"}  # Table 8


@pytest.mark.parametrize(
    ("collection", "count", "total"),
    [("tulu3-pref-8b", "pref-8b", 271_409), ("tulu3-pref-70b", "pref-70b", 334_302), ("tulu3-rlvr", "rlvr", 29_946)],
)
def test_the_parts_of_a_collection_sum_to_the_papers_total(collection, count, total):
    assert sum(s.declared.paper[count] for s in find_sources([collection])) == total


def test_a_mixture_that_was_published_with_another_count_says_so():
    mixtures = dict(find_sources(["tulu3-mixtures"]))
    differing = {n: (d.rows, d.paper) for n, d in mixtures.items() if d.rows and d.rows not in d.paper.values()}
    assert set(differing) == {"tulu3/sft_mixture", "tulu3/pref_mixture_70b", "tulu3/pref_mixture_405b"}
    assert all(mixtures[name].note for name in differing)


def test_every_source_of_the_paper_and_every_popular_set_is_in_a_collection():
    assert {s.name for s in find_sources(registry().collections)} == set(registry().sources)


@pytest.mark.parametrize("name", registry().sources)
def test_every_entry_can_be_read_as_it_stands(name):
    declared = registry().sources[name]
    address = parse(f"hub:{declared.hub}")
    assert address is not None
    assert address.revision is None  # it stands apart
    assert declared.revision is None or re.fullmatch("[0-9a-f]{40}", declared.revision)
    assert declared.kind == ADAPTERS[declared.adapter].kind
    assert all(stated.where for stated in declared.licenses)
    unstated = any(s.license is None for s in declared.licenses)
    assert declared.note or not (unstated and declared.license is None)


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
OTHERWISE = [TURNS[0], {"role": "assistant", "content": "b"}]
SAID = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
SHAPES = {  # a record of each popular set and mixture: the fields of its card that a row is made of, and some beside
    "tulu3/sft_mixture": {"id": "x_1", "messages": TURNS, "source": "ai2-adapt-dev/aya"},
    "tulu3/persona_math": {"id": "x", "prompt": "q", "input_persona": "p", "messages": TURNS},
    "tulu3/pref_mixture_8b": {"id": "x", "prompt": "q", "chosen": TURNS, "rejected": OTHERWISE, "source": "s"},
    "tulu3/pref_mixture_70b": {"id": "x", "prompt": "q", "chosen": TURNS, "rejected": OTHERWISE, "source": "s"},
    "tulu3/pref_mixture_405b": {
        "prompt": "q",
        "chosen": TURNS,
        "rejected": OTHERWISE,
        "source": "s",
        "id": "x",
        "chosen_rating": 4.5,
        "rejected_rating": 3.0,
        "chosen_model": "m",
        "rejected_model": "n",
    },
    "tulu3/rlvr_mixture": {
        "messages": TURNS[:1],
        "ground_truth": "42",
        "dataset": "MATH",
        "constraint_type": "",
        "constraint": "",
    },
    "ultrachat_200k": {"prompt": "q", "prompt_id": "x", "messages": TURNS},
    "slim_orca": {"conversations": [{"from": "system", "value": "s"}, *SAID]},
    "openhermes_2_5": {"conversations": SAID, "system_prompt": None, "id": None, "source": "s", "category": None},
    "metamath": {"type": "MATH_AnsAug", "query": "q", "original_question": "o", "response": "a"},
    "magicoder_oss": {"lang": "python", "raw_index": 1, "index": 2, "seed": "s", "problem": "q", "solution": "a"},
    "magicoder_evol": {"instruction": "q", "response": "a"},
    "orca_math": {"question": "q", "answer": "a"},
    "numinamath_cot": {"source": "s", "problem": "q", "solution": "a", "messages": TURNS},
    "smoltalk": {"messages": TURNS, "source": "s"},
    "openthoughts_114k": {"system": "s", "conversations": [{"from": "user", "value": "q"}, SAID[1]]},
    "ultrainteract": {"task": "Coding", "dataset": "d", "instruction": "q", "response": "a", "id": "x"},
    "dolly_15k": {"instruction": "q", "context": "", "response": "a", "category": "c"},
    "alpaca": {"instruction": "q", "input": "", "output": "a", "text": "t"},
    "tulu2_sft_mixture": {"dataset": "d", "id": "x", "messages": TURNS},
    "wildchat_1m": {"conversation_hash": "h", "model": "m", "conversation": [{**m, "toxic": False} for m in TURNS]},
    "lmsys_chat_1m": {"conversation_id": "c", "model": "m", "conversation": TURNS, "turn": 1, "redacted": False},
    "ultrafeedback_binarized": {
        "prompt": "q",
        "prompt_id": "x",
        "chosen": TURNS,
        "rejected": OTHERWISE,
        "messages": TURNS,
        "score_chosen": 8.5,
        "score_rejected": 8.0,
    },
    "hh_rlhf": {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    "helpsteer2": {"prompt": "q", "response": "a", "helpfulness": 3, "verbosity": 2},
}


def test_of_every_mixture_and_popular_set_there_is_a_record():
    assert set(SHAPES) >= {s.name for s in find_sources(["popular", "tulu3-mixtures"])}


@pytest.mark.parametrize("name", SHAPES)
def test_a_record_of_the_shape_that_the_card_describes_becomes_a_row(name):
    declared = registry().sources[name]
    rows = convert(ADAPTERS[declared.adapter], SHAPES[name])
    assert [check(declared.kind, row) for row in rows] == [None]
    turns = [*rows[0]["messages"], *rows[0].get("chosen", [])]
    said = [turn["content"] for turn in turns if turn["role"] != "system"]
    assert said == (["q"] if declared.kind == "rlvr" else ["q", "a"])


def test_where_copies_disagree_the_stricter_counts_and_both_are_told():
    declared = registry().sources["tulu3/numinamath_tir"]
    assert declared.license == "CC-BY-NC-4.0"
    assert "Apache-2.0 (tag of AI-MO/NuminaMath-TIR, 2024-12) and CC-BY-NC-4.0" in declared.disagreement
    assert declared.disagreement.endswith("counted as CC-BY-NC-4.0, the stricter")
    assert registry().sources["tulu3/persona_if"].disagreement is None  # ODC-BY-1.0 and ODC-BY are one licence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adapter": "mesages"}, "sources.a: adapter: no adapter 'mesages'; did you mean 'messages'"),
        ({"licence": "mit"}, "sources.a.licence: unknown key; did you mean 'licenses'"),
        ({"licenses": []}, "sources.a.licenses: "),
        ({"topic": "Maths"}, "sources.a.topic: should be 'General'"),
        ({"paper": {"stf": 3}}, "sources.a.paper.stf: "),
    ],
)
def test_a_fault_in_the_file_is_one_line(tmp_path, change, message):
    entry = {"hub": "o/n", "adapter": "messages", "topic": "Math", "licenses": [{"where": "card"}]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"sources": {"a": entry | change}}))
    with pytest.raises(RecipeError) as caught:
        load_sources(tmp_path / "s.yaml")
    assert f"s.yaml: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_leads_to_the_nearest():
    for name, meant in (
        ("tulu3/norobots", "did you mean 'tulu3/no_robots'"),
        ("aya", "did you mean 'tulu3/aya'?"),
        ("tulu3-stf", "did you mean 'tulu3-sft'"),
        ("nothing like it", "tulu sources lists them"),
    ):
        with pytest.raises(UsageError, match=f"^{name}: no such source or collection; {re.escape(meant)}"):
            find_sources([name])


# ------------------------------------------------------------ by name, in a recipe


def recipe_of(tmp_path, source, **changes):
    data = {"name": "m", "sources": {"a": source}, "mix": {"a": {"all": True}}} | changes
    return recipes.from_data(data, place="r.yaml", base=tmp_path)


def test_a_name_stands_for_the_entry_and_keys_beside_it_go_first(tmp_path):
    plain = recipe_of(tmp_path, {"source": "tulu3/persona_math"}).recipe.sources["a"]
    declared = registry().sources["tulu3/persona_math"]
    assert (plain.hub, plain.revision, plain.adapter, plain.license, plain.rows, plain.topic) == (
        declared.hub,
        declared.revision,
        "messages",
        "ODC-BY-1.0",
        149_960,
        "Math",
    )
    local = recipe_of(tmp_path, {"source": "tulu3/no_robots", "path": "copy.jsonl"}).recipe.sources["a"]
    assert (local.hub, local.path, local.rows, local.license) == (None, "copy.jsonl", None, "CC-BY-NC-4.0")
    assert (local.adapter, local.topic) == ("messages", "General")
    taken_back = recipe_of(tmp_path, {"source": "tulu3/no_robots", "path": None, "topic": "Chat"}).recipe.sources["a"]
    assert (taken_back.hub, taken_back.rows, taken_back.topic) == ("ai2-adapt-dev/no_robots_converted", 9_500, "Chat")
    own = recipe_of(tmp_path, {"source": "tulu3/numinamath_tir", "license": "Apache-2.0"}).recipe.sources["a"]
    assert (own.license, own.stated) == ("Apache-2.0", [])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"source": "tulu3/aja"}, "r.yaml: sources.a.source: no source 'tulu3/aja'; did you mean 'tulu3/aya'"),
        ({"source": "aya"}, "r.yaml: sources.a.source: no source 'aya'; did you mean 'tulu3/aya'"),
        ({"source": "xyz"}, "r.yaml: sources.a.source: no source 'xyz'; tulu sources lists them"),
        ({"source": ["lima"]}, "r.yaml: sources.a.source: must be the name of a source, got ['lima']; tulu sources l"),
        ({"source": None}, "r.yaml: sources.a.source: must be the name of a source, got None; tulu sources lists"),
        ({"source": "tulu3-sft"}, "r.yaml: sources.a.source: 'tulu3-sft' is a collection: name one of its members"),
        ({"path": "x", "revision": COMMIT}, "r.yaml: sources.a: revision: goes with hub; for files, sha256 pins"),
        ({"hub": "o/n", "sha256": "0"}, "r.yaml: sources.a: sha256: goes with path; a hub dataset is pinned by its"),
    ],
)
def test_a_wrong_source_is_one_line(tmp_path, source, message):
    with pytest.raises(RecipeError) as caught:
        recipe_of(tmp_path, source)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_recipe_that_a_version_records_does_not_hang_on_the_registry(tmp_path, hub):
    loaded = recipe_of(tmp_path, {"source": "magicoder_oss", "rows": None})
    origin = run(loaded, Store(tmp_path / "s")).mixture.manifest.origin
    assert "source" not in origin.recipe["sources"]["a"]
    assert f"@{loaded.recipe.sources['a'].revision}" in origin.recipe["sources"]["a"]["hub"]


# ------------------------------------------------------------ what is pinned


class Hub:
    """The hub as it is asked: what stands where, and what was asked of it."""

    def __init__(self):
        self.commit, self.records, self.asked, self.broken = None, RECORDS, [], None

    def dataset_info(self, name, *, revision=None):
        self.asked.append(revision)
        if self.broken:
            raise self.broken
        known = revision if revision and re.fullmatch("[0-9a-f]{40}", revision) else COMMIT
        return huggingface_hub.hf_api.DatasetInfo(id=name, sha=self.commit or known)


@pytest.fixture
def hub(monkeypatch):
    fake = Hub()
    inspect.signature(huggingface_hub.HfApi.dataset_info).bind(None, "o/n", revision=None)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", fake.dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **how: iter(fake.records))
    return fake


def left_in(store):
    return [p for p in store.root.rglob("*") if p.is_file() and p.name != ".lock"] if store.root.exists() else []


@pytest.mark.parametrize(
    ("spec", "revision", "pinned"),
    [
        ("hub:o/n", COMMIT, f"hub:o/n@{COMMIT}#train"),
        (f"hub:o/n/c@{COMMIT}#test", None, f"hub:o/n/c@{COMMIT}#test"),
        (f"hub:o/n@{COMMIT}", COMMIT, f"hub:o/n@{COMMIT}#train"),
        ("hub:o/n", None, None),
        ("hub:o/n", "v1", None),
        ("hub:o/n@v1", COMMIT, None),
    ],
)
def test_an_address_is_pinned_by_a_whole_commit(spec, revision, pinned):
    address = pinned_address(spec, revision)
    assert (address.uri if address else None) == pinned


def test_the_pinned_commit_is_read_and_a_second_run_asks_nothing_of_the_hub(tmp_path, hub):
    loaded = recipe_of(tmp_path, {"hub": "o/n", "revision": COMMIT, "license": "mit"})
    store = Store(tmp_path / "s")
    first = run(loaded, store)
    assert set(hub.asked) == {COMMIT}
    assert first.sources["a"].manifest.inputs[0].uri == f"hub:o/n@{COMMIT}#train"
    hub.asked.clear()
    hub.broken = ConnectionError("offline")
    again = run(loaded, store)
    assert {s.status for s in again.steps} == {"cached"}
    assert hub.asked == []


def test_a_dataset_that_changed_since_it_was_pinned_is_one_line_and_nothing_is_written(tmp_path, hub):
    store = Store(tmp_path / "s")
    with pytest.raises(InputError) as caught:
        run(recipe_of(tmp_path, {"hub": "o/n@main", "revision": OTHER}), store)
    assert str(caught.value) == (
        f"hub:o/n@main#train: has changed: it is commit {COMMIT[:12]} now, pinned is {OTHER[:12]}; "
        "leave the part after @ out to read the pinned one, or pin the new one"
    )
    assert left_in(store) == []


@pytest.mark.parametrize("revision", [COMMIT, None])
def test_a_dataset_that_vanished_is_one_line_and_nothing_is_written(tmp_path, hub, revision):
    hub.broken = FileNotFoundError("404 Client Error: repository not found\nmore of it")
    store = Store(tmp_path / "s")
    with pytest.raises(TuluError) as caught:
        run(recipe_of(tmp_path, {"hub": "o/n", "revision": revision}), store)
    assert "cannot be read from the hub (404 Client Error: repository not found); give a local path" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert left_in(store) == []


def test_a_hub_that_breaks_off_leaves_no_half_of_a_dataset(tmp_path, hub, monkeypatch):
    def breaks_off():
        yield from RECORDS
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **how: breaks_off())
    store = Store(tmp_path / "s")
    for adapter in ("prompt-response", None):
        with pytest.raises(InputError, match=r"hub:o/n@\S+: cannot be read from the hub \(reset by peer\)"):
            run(recipe_of(tmp_path, {"hub": "o/n", "revision": COMMIT, "adapter": adapter}), store)
    assert left_in(store) == []


def test_a_file_that_changed_since_it_was_pinned_is_one_line_and_nothing_is_written(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    digest = sha256(path.read_bytes()).hexdigest()
    store = Store(tmp_path / "s")
    assert run(recipe_of(tmp_path, {"path": "a.jsonl", "sha256": digest.upper()}), store).mixture.rows == 5
    path.write_text(path.read_text() + "\n")
    changed = sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError) as caught:
        run(recipe_of(tmp_path, {"path": "a.jsonl", "sha256": [digest]}), Store(tmp_path / "t"))
    assert str(caught.value) == (
        f"{path}: has changed: sha256 {changed[:12]}…, pinned is {digest[:12]}…; "
        "restore the file, or pin the new one in sources.a.sha256"
    )
    with pytest.raises(InputError, match=r"^a: sha256 pins 2 files, the path names 1; pin each file"):
        run(recipe_of(tmp_path, {"path": "a.jsonl", "sha256": [changed, changed]}), Store(tmp_path / "t"))
    assert left_in(Store(tmp_path / "t")) == []


def test_another_number_of_rows_than_expected_is_told(tmp_path, hub):
    notes = []

    class Notes(Silent):
        def note(self, message):
            notes.append(message)

    loaded = recipe_of(tmp_path, {"hub": "o/n", "revision": COMMIT, "rows": 6, "license": "mit"})
    run(loaded, Store(tmp_path / "s"), progress=Notes())
    assert notes[-1] == ("warning: sources.a.rows: 6 expected, 5 read; tulu show a --drops says what was left out")


def test_what_is_said_of_a_place_does_not_run_a_step_again(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    store = Store(tmp_path / "s")
    run(recipe_of(tmp_path, {"path": "a.jsonl"}), store)
    digest = sha256((tmp_path / "a.jsonl").read_bytes()).hexdigest()
    again = run(recipe_of(tmp_path, {"path": "a.jsonl", "rows": 5, "sha256": digest}), store)
    assert {s.status for s in again.steps} == {"cached"}


# ------------------------------------------------------------ tulu sources


def test_the_command_lists_all_a_collection_or_one_in_detail():
    whole = CliRunner().invoke(command, []).output
    assert f"{len(registry().sources)} sources" in whole
    assert "tulu3-sft (19)" in whole
    some = CliRunner().invoke(command, ["--collection", "tulu3-rlvr", "dolly_15k"]).output
    assert [name in some for name in ("tulu3/rlvr_math", "dolly_15k", "tulu3/aya")] == [True, True, False]
    one = CliRunner().invoke(command, ["tulu3/numinamath_tir"]).output
    assert "none is pinned" in one
    assert "CC-BY-NC-4.0 (earlier card text of the NuminaMath sets, 2024-07)" in one
    assert "sources: {numinamath_tir: {source: tulu3/numinamath_tir}}" in one


def test_the_command_prints_json():
    listed = json.loads(CliRunner().invoke(command, ["tulu3/aya", "--json"]).output)
    assert [(s["name"], s["license"], s["kind"], s["rows"]) for s in listed] == [
        ("tulu3/aya", "Apache-2.0", "sft", 100_000)
    ]


def test_the_command_names_the_nearest_collection():
    result = CliRunner().invoke(command, ["--collection", "tulu3-stf"])
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith("--collection tulu3-stf: no such collection; did you mean 'tulu3-sft'")
