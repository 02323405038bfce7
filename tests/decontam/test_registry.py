"""The registry of suites: what it holds, how a name is resolved, and that each entry reads what the hub has."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from decontam import suites as suites_module
from decontam.registry import find_suites, registry
from decontam.suites import load_suites, read_suite
from tulu_data.chunk import Raw, batched
from tulu_data.cli import cli
from tulu_data.errors import InputError, RecipeError
from tulu_data.hub import Hub

EVALS = Path(__file__).parents[3] / "shared" / "data" / "evals"
KNOWN = {  # instances of the public copies
    "gsm8k": 1319,
    "humaneval": 164,
    "math": 5000,
    "mmlu": 14042,
    "ifeval": 541,
    "truthfulqa": 817,
    "bbh": 6511,
    "mbpp": 974,
    "agieval": 8269,
    "xstest": 450,
}
TULU3 = {  # arXiv 2411.15124, Table 24
    "tulu3-dev": "mmlu popqa truthfulqa bbh drop gsm8k math humaneval humaneval_plus ifeval alpaca_eval",
    "tulu3-unseen": "mmlu_pro gpqa agieval deepmind_math bigcodebench_hard ifeval_ood href",
    "tulu3-safety": "harmbench xstest wildguardtest jailbreaktrigger do_anything_now wildjailbreak",
}
QUESTION = "how many geese cross the river on the coldest day"
MMLU = ("question", "subject", "choices", "answer")
COLUMNS = {  # what a record of each suite's own copy holds
    "mmlu": MMLU,
    "mmlu-shots": MMLU,
    "mmlu_redux": (*MMLU, "error_type", "source", "correct_answer", "potential_reason"),
    "popqa": ("id", "subj", "prop", "obj", "question", "possible_answers"),
    "truthfulqa": ("type", "category", "question", "best_answer", "correct_answers", "incorrect_answers", "source"),
    "bbh": ("input", "target"),
    "drop": ("section_id", "query_id", "passage", "question", "answers_spans"),
    "gsm8k": ("question", "answer"),
    "math": ("problem", "level", "type", "solution"),
    "humaneval": ("task_id", "prompt", "canonical_solution", "test", "entry_point"),
    "humaneval_plus": ("task_id", "prompt", "canonical_solution", "entry_point", "test"),
    "ifeval": ("key", "prompt", "instruction_id_list", "kwargs"),
    "alpaca_eval": ("instruction", "output", "generator", "dataset"),
    "mmlu_pro": ("question_id", "question", "options", "answer", "answer_index", "cot_content", "category", "src"),
    "mmlu_pro-shots": ("question_id", "question", "options", "answer", "cot_content", "category", "src"),
    "gpqa": ("Record ID", "Question", "Correct Answer", "Incorrect Answer 1", "High-level domain"),
    "gpqa_diamond": ("Record ID", "Question", "Correct Answer", "Incorrect Answer 1", "High-level domain"),
    "agieval": ("passage", "question", "options", "label", "answer"),
    "deepmind_math": ("question", "answer"),
    "bigcodebench_hard": ("task_id", "complete_prompt", "instruct_prompt", "canonical_solution", "test"),
    "bigcodebench": ("task_id", "complete_prompt", "instruct_prompt", "canonical_solution", "test"),
    "ifeval_ood": ("key", "prompt", "instruction_id_list", "kwargs"),
    "ifbench": ("key", "prompt", "instruction_id_list", "kwargs"),
    "href": ("instruction", "category", "reference"),
    "harmbench": ("Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID"),
    "humanevalpack": ("task_id", "prompt", "declaration", "canonical_solution", "buggy_solution", "test"),
    "amc": ("id", "problem", "answer", "url"),
    "beyond_aime": ("problem", "answer"),
    "supergpqa": ("uuid", "question", "options", "answer", "answer_letter", "discipline", "field", "subfield"),
    "openbookqa": ("id", "question_stem", "choices", "answerKey"),
    "commonsense_qa": ("id", "question", "question_concept", "choices", "answerKey"),
    "xstest": ("id", "prompt", "type", "label"),
    "wildguardtest": ("prompt", "adversarial", "response", "prompt_harm_label", "subcategory"),
    "jailbreaktrigger": ("prompt", "label"),
    "do_anything_now": ("adversarial", "platform", "source"),
    "wildjailbreak": ("adversarial", "label", "data_type"),
    "gsm_plus": ("question", "solution", "answer", "perturbation_type", "seed_question", "seed_answer"),
    "gsm_symbolic": ("id", "instance", "question", "answer", "original_id", "original_question", "canary"),
    "math_500": ("problem", "solution", "answer", "subject", "level", "unique_id"),
    "aime_2024": ("id", "problem", "solution", "answer", "url", "year"),
    "aime_2025": ("id", "problem", "answer"),
    "olympiadbench": ("id", "question", "solution", "final_answer", "subfield"),
    "mbpp": ("task_id", "text", "code", "test_list", "test_setup_code", "challenge_test_list"),
    "mbpp_plus": ("task_id", "code", "prompt", "source_file", "test_imports", "test_list", "test"),
    "livecodebench": ("question_title", "question_content", "platform", "question_id", "difficulty"),
    "simpleqa": ("metadata", "problem", "answer"),
    "arc": ("id", "question", "choices", "answerKey"),
    "hellaswag": ("ind", "activity_label", "ctx_a", "ctx_b", "ctx", "endings", "label"),
    "winogrande": ("sentence", "option1", "option2", "answer"),
    "hle": ("id", "question", "answer", "category"),
    "mt_bench": ("category", "prompt", "reference", "prompt_id"),
    "arena_hard": ("uid", "category", "cluster", "prompt"),
    "gsm8k-shots": ("question", "answer"),
    "math-shots": ("problem", "solution"),
    "bbh-shots": ("task", "input", "target"),
    "popqa-shots": ("question", "answer"),
    "truthfulqa-shots": ("question", "answer"),
    "drop-shots": ("question", "passage", "answer"),
}


def record(columns, number):
    values = {c: f"{c} {number}: {QUESTION}" for c in columns}
    nested = {
        "answers_spans": {"spans": [f"{number} geese"], "types": ["span"]},
        "turns": [{"content": f"{QUESTION} {number}"}],
    }
    lists = {"prompt": [f"{QUESTION} {number}", "and on the warmest?"]} if "prompt_id" in columns else {}
    ids = {c: number for c in ("prompt_id", "question_id", "key") if c in columns}
    constant = {"id": 7, "ind": 7} if {"instance", "ind"} & set(columns) else {}
    return {c: (values | nested | lists | ids | constant)[c] for c in columns}


def write(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_every_entry_of_the_registry_has_its_columns_in_this_test():
    assert set(COLUMNS) == set(registry().file.suites)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_entry_previews_from_a_local_file_with_the_columns_of_its_own_copy(name, tmp_path):
    write(tmp_path / f"{name}.jsonl", [record(COLUMNS[name], n) for n in range(3)])
    [spec] = find_suites([name], tmp_path, tmp_path, "test")
    suite = read_suite(spec)
    assert len(suite.instances) == 3
    assert len({i.id for i in suite.instances}) == 3
    for instance in suite.instances:
        assert any(QUESTION in f.text for f in instance.fields)
        assert "{" not in "".join(f.text for f in instance.fields)
    if spec.declared.answer:
        assert all(i.answer for i in suite.instances)
    [again] = find_suites([f"{name}={tmp_path / name}.jsonl"], Path("/"), None, "test")
    assert read_suite(again).digest == suite.digest


@pytest.mark.parametrize("name", [n for n, d in registry().file.suites.items() if d.hub and not d.data_files])
def test_every_entry_asks_the_hub_for_its_dataset_configs_and_split(name, monkeypatch):
    asked = []

    def hub(uri):
        asked.append(uri)
        raws = [(Raw(f"{uri}:{n}", n, record(COLUMNS[name], n), None), 1) for n in range(2)]
        return Hub("x", None, None, "test", batched(uri, raws))

    declared = registry().file.suites[name]
    monkeypatch.setattr("tulu_data.hub.hub", hub)
    records = list(suites_module._hub_records(declared))
    assert len(asked) == max(1, len(declared.configs))
    assert all(uri.startswith(f"hub:{declared.hub}") and uri.endswith(f"#{declared.split}") for uri in asked)
    assert [r.config for r in records[::2]] == (declared.configs or [None])


@pytest.mark.parametrize("collection", TULU3)
def test_the_suites_of_the_paper_are_a_collection_each_and_one_together(collection):
    table = registry()
    assert table.file.members(collection) == TULU3[collection].split()
    together = [s.id for s in find_suites(["tulu3"], Path(), None, "test")]
    assert together == [m for c in TULU3.values() for m in c.split()]
    groups = {s.declared.group for s in table.specs(collection)}
    assert groups == {collection.removeprefix("tulu3-")}


@pytest.mark.public_data
@pytest.mark.skipif(not EVALS.is_dir(), reason="the public evaluation sets are not here")
@pytest.mark.parametrize("name", KNOWN)
def test_the_public_copies_have_their_known_counts(name):
    [spec] = find_suites([name], Path(), EVALS, "test")
    assert spec.source == str(EVALS / f"{name}.jsonl.gz")
    assert len(read_suite(spec).instances) == KNOWN[name]
    [by_path] = find_suites([f"{name}={EVALS / name}.jsonl.gz"], Path(), None, "test")
    assert by_path == spec


def test_a_suite_that_two_names_lead_to_is_taken_once():
    found = find_suites(["gsm8k", "tulu3-dev", "tulu3"], Path(), None, "test")
    assert [s.id for s in found][:2] == ["gsm8k", "mmlu"]
    assert len(found) == len({s.id for s in found}) == 24


def test_two_declarations_of_one_id_are_one_line(tmp_path):
    path = write(tmp_path / "gsm.jsonl", [record(COLUMNS["gsm8k"], 0)])
    with pytest.raises(
        RecipeError, match=r"^test: suite 'gsm8k' is declared twice: hub:\S+, \S+gsm\.jsonl; rename one"
    ):
        find_suites(["tulu3", f"gsm8k={path}"], tmp_path, None, "test")


def test_an_unknown_name_leads_to_the_nearest(tmp_path):
    with pytest.raises(RecipeError, match=r"^test: no suites file, suite or collection 'gms8k'; did you mean 'gsm8k'"):
        find_suites(["gms8k"], tmp_path, None, "test")


def own(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)
    return tmp_path / "own.yaml"


def test_a_suite_of_ones_own_takes_after_one_of_the_registry(tmp_path):
    write(tmp_path / "gsm.jsonl", [record(COLUMNS["gsm8k"], n) for n in range(2)])
    suites = "suites:\n  mine: {like: gsm8k, path: gsm.jsonl}\n  other: {like: mine, group: unseen}\n"
    own(tmp_path, suites + "collections:\n  both: [mine, other]\n")
    mine, other = find_suites(["own.yaml#both"], tmp_path, None, "test")
    assert (mine.declared.fields, mine.declared.split, mine.declared.instances) == (["question"], None, None)
    assert other.declared.group == "unseen"
    assert [i.id for i in read_suite(mine).instances] == ["#0", "#1"]


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


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("query|question", {"question": "b", "query": "a"}, "a"),
        ("query|question", {"question": "b"}, "b"),
        ("a.b.1", {"a": {"b": ["x", "y"]}}, "y"),
        ("a.b", {"a.b": "whole", "a": {"b": "part"}}, "whole"),
    ],
)
def test_columns_may_have_other_names_or_lie_within_others(tmp_path, field, values, expected):
    write(tmp_path / "x.jsonl", [values])
    path = own(tmp_path, f"suites:\n  a: {{group: dev, path: x.jsonl, fields: ['{field}']}}\n")
    [instance] = read_suite(load_suites(path)[0]).instances
    assert [f.text for f in instance.fields] == [expected]


def test_a_column_that_is_nowhere_is_named_with_those_there_are(tmp_path):
    write(tmp_path / "x.jsonl", [{"a": {"b": ["x"]}}])
    path = own(tmp_path, "suites:\n  a: {group: dev, path: x.jsonl, fields: [a.b.3|c]}\n")
    with pytest.raises(InputError, match=r"has no field 'a\.b\.3\|c'; fields seen: a$"):
        read_suite(load_suites(path)[0])


@pytest.mark.parametrize("name", [n for n, d in registry().file.suites.items() if d.data_files])
def test_suites_that_lie_as_files_are_downloaded_from_one_commit(name, monkeypatch, tmp_path):
    declared, asked = registry().file.suites[name], []

    def hub_files(uri, files):
        asked.append((uri, list(files)))
        return [write(tmp_path / f"{i}.jsonl", [record(COLUMNS[name], i)]) for i in range(len(files))]

    monkeypatch.setattr("tulu_data.hub.hub_files", hub_files)
    [spec] = registry().specs(name)
    assert len(read_suite(spec).instances) == len(declared.data_files)
    assert asked == [(f"hub:{declared.hub}", declared.data_files)]


@pytest.mark.parametrize("name", ["bbh", "gsm_symbolic", "drop", "mmlu", "mt_bench", "agieval"])
def test_a_copy_that_was_saved_reads_like_the_hub(name, monkeypatch, tmp_path):
    def hub(uri):
        raws = [(Raw(f"{uri}:{n}", n, record(COLUMNS[name], n), None), 1) for n in range(3)]
        return Hub("x", None, None, "test", batched(uri, raws))

    monkeypatch.setattr("tulu_data.hub.hub", hub)
    done = CliRunner().invoke(cli, ["suites", name, "--save", str(tmp_path), "-q"])
    assert done.exit_code == 0, done.output
    hubs, [saved] = registry().specs(name), find_suites([name], tmp_path, tmp_path, "test")
    assert saved.source == str(tmp_path / f"{name}.jsonl.gz")
    assert read_suite(saved).digest == read_suite(hubs[0]).digest


def test_suites_that_can_be_read_are_shown_and_all_others_named(tmp_path):
    write(tmp_path / "gsm8k.jsonl", [record(COLUMNS["gsm8k"], n) for n in range(2)])
    names = ["gsm8k-shots", "gsm8k", "math-shots"]
    done = CliRunner().invoke(cli, ["suites", *names, "--suites-root", str(tmp_path), "-q"])
    assert "gsm8k (dev): 2 instances, where 1,319 were expected" in done.output
    assert isinstance(done.exception, InputError)
    said = str(done.exception)
    assert said.startswith("suite 'gsm8k-shots': ")
    assert said.endswith("; nor can math-shots be read")
