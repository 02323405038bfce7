"""The registry of suites: that each entry matches what its own copy holds, and copies that were saved."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from decontam.suites import read_suite
from tulu_data.chunk import Raw, batched
from tulu_data.cli import cli
from tulu_data.errors import InputError
from tulu_data.hub import Hub
from tulu_data.suite_registry import find_suites, registry

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


@pytest.mark.public_data
@pytest.mark.skipif(not EVALS.is_dir(), reason="the public evaluation sets are not here")
@pytest.mark.parametrize("name", KNOWN)
def test_the_public_copies_have_their_known_counts(name):
    [spec] = find_suites([name], Path(), EVALS, "test")
    assert spec.source == str(EVALS / f"{name}.jsonl.gz")
    assert len(read_suite(spec).instances) == KNOWN[name]
    [by_path] = find_suites([f"{name}={EVALS / name}.jsonl.gz"], Path(), None, "test")
    assert by_path == spec


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
