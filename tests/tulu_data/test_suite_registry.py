"""The registry of suites: how a name is resolved, and what each entry asks the hub for."""

import json
from pathlib import Path

import pytest

from tulu_data import suites
from tulu_data.chunk import Raw, batched
from tulu_data.errors import RecipeError
from tulu_data.hub import Hub
from tulu_data.suite_registry import find_suites, local_copies, registry
from tulu_data.suites import records

TULU3 = {  # arXiv 2411.15124, Table 24
    "tulu3-dev": "mmlu popqa truthfulqa bbh drop gsm8k math humaneval humaneval_plus ifeval alpaca_eval",
    "tulu3-unseen": "mmlu_pro gpqa agieval deepmind_math bigcodebench_hard ifeval_ood href",
    "tulu3-safety": "harmbench xstest wildguardtest jailbreaktrigger do_anything_now wildjailbreak",
}
QUESTION = "how many geese cross the river on the coldest day"


def write(path, lines):
    path.write_text("".join(json.dumps(r) + "\n" for r in lines))
    return path


@pytest.mark.parametrize("collection", TULU3)
def test_the_suites_of_the_paper_are_a_collection_each_and_one_together(collection):
    table = registry()
    assert table.file.members(collection) == TULU3[collection].split()
    together = [s.id for s in find_suites(["tulu3"], Path(), None, "test")]
    assert together == [m for c in TULU3.values() for m in c.split()]
    groups = {s.declared.group for s in table.specs(collection)}
    assert groups == {collection.removeprefix("tulu3-")}


def test_a_suite_that_two_names_lead_to_is_taken_once():
    found = find_suites(["gsm8k", "tulu3-dev", "tulu3"], Path(), None, "test")
    assert [s.id for s in found][:2] == ["gsm8k", "mmlu"]
    assert len(found) == len({s.id for s in found}) == 24


def test_two_declarations_of_one_id_are_one_line(tmp_path):
    path = write(tmp_path / "gsm.jsonl", [{"question": QUESTION}])
    with pytest.raises(
        RecipeError, match=r"^test: suite 'gsm8k' is declared twice: hub:\S+, \S+gsm\.jsonl; rename one"
    ):
        find_suites(["tulu3", f"gsm8k={path}"], tmp_path, None, "test")


def test_an_unknown_name_leads_to_the_nearest(tmp_path):
    with pytest.raises(RecipeError, match=r"^test: no suites file, suite or collection 'gms8k'; did you mean 'gsm8k'"):
        find_suites(["gms8k"], tmp_path, None, "test")


def own(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)


def test_a_suite_of_ones_own_takes_after_one_of_the_registry(tmp_path):
    write(tmp_path / "gsm.jsonl", [{"question": QUESTION}] * 2)
    declared = "suites:\n  mine: {like: gsm8k, path: gsm.jsonl}\n  other: {like: mine, group: unseen}\n"
    own(tmp_path, declared + "collections:\n  both: [mine, other]\n")
    mine, other = find_suites(["own.yaml#both"], tmp_path, None, "test")
    assert (mine.declared.fields, mine.declared.split, mine.declared.instances) == (["question"], None, None)
    assert other.declared.group == "unseen"
    assert [r.id for r in records(mine)] == ["#0", "#1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suites:\n  a: {like: gsm8x}\n", r"suites\.a\.like: no suite 'gsm8x' to take after; did you mean 'gsm8k'"),
        (
            "suites:\n  a: &a {group: dev, path: x, fields: [q]}\ncollections:\n  c: [b]\n",
            r"collections\.c: no suite 'b'",
        ),
        (
            "suites:\n  a: {group: dev, path: x, fields: [q]}\ncollections:\n  c: [d]\n  d: [c]\n",
            r"holds itself \(c > d > c\)",
        ),
        ("suites:\n  a: {group: dev, path: x, fields: [q]}\ncollections:\n  a: [a]\n", r"is the name of a suite too"),
        ("suites:\n  a: {group: dev, path: x, fields: [q], configs: [m]}\n", r"configs and data_files go with hub"),
    ],
)
def test_a_fault_in_a_file_of_ones_own_is_one_line(tmp_path, text, message):
    own(tmp_path, text)
    with pytest.raises(RecipeError, match=message):
        find_suites(["own.yaml"], tmp_path, None, "test")


def test_a_folder_of_local_copies_goes_before_the_hub(tmp_path):
    copy = write(tmp_path / "gsm8k.jsonl", [{"instance_id": "a", "question": QUESTION}])
    (tmp_path / "gsm8k.md").write_text("")
    (tmp_path / "gsm8k-shots").mkdir()
    write(tmp_path / "gsm8k_more.jsonl", [])
    assert local_copies("gsm8k", tmp_path) == [copy]
    assert local_copies("gsm8k-shots", tmp_path) == [tmp_path / "gsm8k-shots"]
    here, hub = find_suites(["gsm8k", "mmlu"], Path(), tmp_path, "test")
    assert (here.source, hub.source.partition(":")[0]) == (str(copy), "hub")
    assert [r.id for r in records(here)] == ["a"]


@pytest.mark.parametrize("name", [n for n, d in registry().file.suites.items() if d.hub and not d.data_files])
def test_every_entry_asks_the_hub_for_its_dataset_configs_and_split(name, monkeypatch):
    asked = []

    def hub(uri):
        asked.append(uri)
        raws = [(Raw(f"{uri}:{n}", n, {"question": QUESTION}, None), 1) for n in range(2)]
        return Hub("x", None, None, "test", batched(uri, raws))

    declared = registry().file.suites[name]
    monkeypatch.setattr("tulu_data.hub.hub", hub)
    found = list(suites._hub_records(declared))
    assert len(asked) == max(1, len(declared.configs))
    assert all(uri.startswith(f"hub:{declared.hub}") and uri.endswith(f"#{declared.split}") for uri in asked)
    assert [r.config for r in found[::2]] == (declared.configs or [None])


@pytest.mark.parametrize("name", [n for n, d in registry().file.suites.items() if d.data_files])
def test_suites_that_lie_as_files_are_downloaded_from_one_commit(name, monkeypatch, tmp_path):
    declared, asked = registry().file.suites[name], []

    def hub_files(uri, files):
        asked.append((uri, list(files)))
        return [write(tmp_path / f"{i}.jsonl", [{"question": QUESTION}]) for i in range(len(files))]

    monkeypatch.setattr("tulu_data.hub.hub_files", hub_files)
    assert len(list(suites._hub_records(declared))) == len(declared.data_files)
    assert asked == [(f"hub:{declared.hub}", declared.data_files)]
