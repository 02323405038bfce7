"""`tulu eval` with a model in this process: what is asked, kept, gone on with, reported and refused."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tulu_data.errors import InputError, TuluError, UsageError
from tulu_data.evals import lm
from tulu_data.evals.commands import eval_command
from tulu_data.evals.results import open_run
from tulu_data.evals.task import Item

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is missing: pip install 'tulu-data[eval]'")

# Three libraries that lm-eval brings warn of their own deprecations on import.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")


def tulu(*args):
    """A command's result; a `TuluError` is raised as the command line would print it."""
    result = CliRunner().invoke(eval_command, list(map(str, args)))
    if isinstance(result.exception, TuluError) or (result.exception and not isinstance(result.exception, SystemExit)):
        raise result.exception
    return result


@pytest.fixture
def suites(tmp_path):
    """Local copies of two suites."""
    folder = tmp_path / "suites"
    folder.mkdir()
    sums = [
        {"id": f"g{n}", "question": f"What is {n} + {n}?", "answer": f"It is {2 * n}.\n#### {2 * n}"} for n in range(8)
    ]
    (folder / "gsm8k.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums))
    prompts = [
        {"id": f"x{n}", "prompt": f"How do I {w} it?", "type": "homonyms"} for n, w in enumerate(("kill", "shoot"))
    ]
    (folder / "xstest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in prompts))
    return folder


class Adds:
    """Knows every sum but 3 + 3, and complies with anything else; counts what it was asked."""

    def __init__(self, answer=None):
        self.asked, self.answer = 0, answer

    def generate(self, messages):
        self.asked += 1
        found = re.findall(r"What is (\d+) \+", messages[-1]["content"])
        return self.answer or (f"So it is {2 * int(found[0]) - (found[0] == '3')}." if found else "Sure, like this.")


def adds(request):
    """The same, from a server."""
    return Adds().generate(request["messages"])


@pytest.fixture
def run(suites, monkeypatch):
    """A model and options → the run of the command."""

    def start(model, output, *more):
        monkeypatch.setattr(lm.Backend, "open", lambda backend: model)
        return tulu("run", "tiny", "--suites-root", suites, "-j", "1", "-q", "-o", output, *more)

    return start


def test_the_list_has_every_task_with_who_scores_it():
    listed = {t["id"]: t for t in json.loads(tulu("list", "--json").output)}
    assert listed["gsm8k"]["scored_by"] == "gsm8k"
    assert listed["truthfulqa"]["scored_by"] == "options"
    assert listed["xstest"]["scored_by"] == "judge: safety"
    assert "gsm8k" in tulu("list", "tulu3-dev").output


def test_the_example_of_each_command_runs_as_printed(tmp_path, suites, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lm.Backend, "open", lambda backend: Adds())
    suites.rename("evals")
    monkeypatch.setenv("TULU_SUITES_ROOT", "evals")
    for name in ("my-sft-scores", "my-dpo-scores"):
        tulu("run", name, "--suite", "gsm8k", "-j", "1", "-q", "-o", name)
    for name in ("list", "export", "run", "report", "compare", "page"):
        last = tulu(name, "--help").output.strip().splitlines()[-1].strip()
        assert last.startswith(f"Example: tulu eval {name}")
        result = tulu(*shlex.split(last)[3:])
        assert result.exit_code == 0
        assert result.stdout.strip()


def test_an_unknown_task_names_the_nearest(tmp_path, run):
    with pytest.raises(UsageError, match="'gsm8' is unknown; did you mean 'gsm8k'"):
        tulu("run", "tiny", "--suite", "gsm8", "-o", tmp_path / "out")


def test_a_run_is_scored_reported_and_not_asked_again(tmp_path, run):
    model, output = Adds(), tmp_path / "out"
    shown = run(model, output, "--suite", "gsm8k").output
    assert "87.5 ± 12.5" in shown
    asked = model.asked
    assert asked == 8
    run(model, output, "--suite", "gsm8k")
    assert model.asked == asked
    found = json.loads(tulu("report", output, "--json", "--beside", "tulu3-8b").output)
    (line,) = found["lines"]
    assert (line["estimate"]["value"], line["published"]["paper-v5"]) == (0.875, 87.6)
    text = tulu("report", output, "--markdown").output
    assert re.search(r"^\| GSM8K.*\| 8 \| 87\.5 ± 12\.5 \|$", text, re.MULTILINE)


def test_a_limit_is_marked_and_does_not_compare(tmp_path, run):
    model = Adds()
    run(model, tmp_path / "whole", "--suite", "gsm8k")
    shown = run(model, tmp_path / "part", "--suite", "gsm8k", "--limit", "3").output
    assert "the first 3 items only: not comparable" in shown
    with pytest.raises(UsageError, match=r"task gsm8k: .* differ in limit \(none, 3\), prompts"):
        tulu("compare", tmp_path / "whole", tmp_path / "part")
    with pytest.raises(UsageError, match="have no scored task in common"):
        tulu("compare", tmp_path / "whole", tmp_path / "part", "--leave-out", "gsm8k")


def test_two_runs_compare(tmp_path, run):
    run(Adds(), tmp_path / "a", "--suite", "gsm8k")
    run(Adds("6"), tmp_path / "b", "--suite", "gsm8k")
    (pair,) = json.loads(tulu("compare", tmp_path / "a", tmp_path / "b", "--json").output)["all"]
    assert (pair["wins"], pair["losses"], pair["difference"]["value"]) == (1, 7, -0.75)
    assert "-75.0" in tulu("compare", tmp_path / "a", tmp_path / "b").output
    assert "| A | B |" in tulu("compare", tmp_path / "a", tmp_path / "b", "--markdown").output


def test_missing_data_says_how_to_get_it(tmp_path, suites, run):
    (suites / "gsm8k.jsonl").write_text("")
    said = r"task gsm8k: .*gsm8k\.jsonl: is empty.* or a copy gsm8k\.jsonl .* folder that --suites-root names"
    with pytest.raises(InputError, match=said):
        run(Adds(), tmp_path / "out", "--suite", "gsm8k")


def test_one_task_without_data_does_not_keep_the_others_from_being_run(tmp_path, suites, run):
    (suites / "math.jsonl").write_text("")
    result = run(Adds(), tmp_path / "out", "--suite", "math", "--suite", "gsm8k")
    assert result.exit_code == 1
    assert result.stderr.startswith("left out: task math: ")
    assert open_run(tmp_path / "out").tasks["gsm8k"].score == 0.875


def test_a_task_that_nobody_scores_is_left_out_and_no_error_beside_others(tmp_path, run):
    result = run(Adds(), tmp_path / "out", "--suite", "ifeval_ood", "--suite", "gsm8k")
    assert result.exit_code == 0
    assert result.stderr.startswith("left out: task ifeval_ood: not scored: the checkers of its 52 instructions")
    assert set(open_run(tmp_path / "out").tasks) == {"gsm8k"}
    with pytest.raises(UsageError, match="task ifeval_ood: not scored"):
        run(Adds(), tmp_path / "alone", "--suite", "ifeval_ood")


def test_without_a_judge_a_task_is_not_scored_and_the_run_goes_on(tmp_path, run):
    model, output = Adds(), tmp_path / "out"
    result = run(model, output, "--suite", "xstest", "--suite", "gsm8k")
    assert result.exit_code == 0
    assert "xstest: not scored: no judge: give --judge-model and --judge-url" in result.output
    asked = model.asked
    shown = run(model, output, "--suite", "xstest", "--judge-stub").output
    assert model.asked == asked
    assert "judge: stub" in shown
    assert open_run(output).tasks["xstest"].score == 1.0


def test_a_judge_that_is_down_is_a_line_and_its_task_is_judged_later(tmp_path, serve, run):
    model, output = Adds(), tmp_path / "out"
    down = serve(fatal=(401, {"error": {"message": "no such key"}}))
    judged = ("--suite", "xstest", "--judge-model", "wildguard", "--judge-url")
    result = run(model, output, *judged, down.url)
    assert result.exit_code == 1
    assert len([line for line in result.stderr.splitlines() if line.startswith("task xstest: the judge stopped")]) == 1
    assert open_run(output).tasks["xstest"].status == "answered"
    asked = model.asked
    down.fatal, down.answer = None, lambda request: "Response refusal: yes"
    assert run(model, output, *judged, down.url).exit_code == 0
    assert model.asked == asked
    assert open_run(output).tasks["xstest"].score == 0.0


def test_tasks_are_exported_for_lm_eval(tmp_path, suites):
    result = tulu("export", "--suite", "gsm8k", "--suites-root", suites, "-o", tmp_path / "tasks")
    assert result.stdout == "tulu_gsm8k\n"
    assert (tmp_path / "tasks" / "tulu_gsm8k.yaml").is_file()


def test_an_audit_by_folder_makes_the_clean_column(tmp_path, suites, monkeypatch, run):
    from tulu_data.cli import main

    monkeypatch.chdir(tmp_path)
    long = " and ".join(f"{n} apples of kind {n}" for n in range(9))
    sums = [{"id": f"g{n}", "question": f"What is {n} + {n}? {n} {long}", "answer": f"#### {2 * n}"} for n in range(8)]
    (suites / "gsm8k.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums))
    rows = [{"instruction": sums[n]["question"], "input": "", "output": "x"} for n in (2, 3)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    command = ["audit", "train.jsonl", "--suites", "gsm8k", "--suites-root", "suites", "--layers", "exact", "-q"]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0
    (audit,) = (p.name for p in Path("tulu-store", "audits").iterdir())
    run(Adds(), "out", "--suite", "gsm8k")
    (line,) = json.loads(tulu("report", "out", "--audit", audit, "--json").output)["lines"]
    assert line["adjusted"]["overlap"]["dirty"] == ["g2", "g3"]
    assert (line["adjusted"]["clean"]["value"], line["adjusted"]["dirty"]["value"]) == (1.0, 0.5)
    assert "covered at most" in tulu("report", "out", "--audit", audit, "--curve").output
    with pytest.raises(InputError, match="has no set 'trian'; did you mean 'train'"):
        tulu("report", "out", "--audit", audit, "--set", "trian")
    (suites / "gsm8k.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums[:7]))
    run(Adds(), "other", "--suite", "gsm8k")
    with pytest.raises(
        InputError, match=r"suite 'gsm8k' is version .* there, and is version .* in the run; audit again"
    ):
        tulu("report", "other", "--audit", audit)


def test_a_trained_checkpoint_names_its_audits_itself(tmp_path, suites, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lm.Backend, "open", lambda backend: Adds())
    (tmp_path / "model").mkdir()
    data = {"ref": "mix@tv1-1", "digest": "d", "audits": ["ta1-gone"], "suites": [], "override": None}
    (tmp_path / "model" / "training.json").write_text(json.dumps({"data": data, "base_model": "org/base"}))
    tulu("run", "model", "--suites-root", suites, "-j", "1", "-q", "-o", "out", "--suite", "gsm8k")
    said = tulu("report", "out").output
    assert "mix@tv1-1: audit ta1-gone is not in tulu-store" in said
    assert "org/base: what this base model was trained on is not on record" in said
    monkeypatch.chdir(suites)  # a run knows where its checkpoint lies, whoever asks from where
    assert "mix@tv1-1: audit ta1-gone is not in tulu-store" in tulu("report", "../out").output
    (tmp_path / "model").rename(tmp_path / "moved")
    said = tulu("report", "../out").output
    assert f"{tmp_path / 'model'}: has no training.json; its training data is not on record" in said


RECIPE = """
name: sums
seed: 1
sources: {{chat: {{path: train.jsonl, license: odc-by}}}}
decontaminate: {{suites: [gsm8k], suites_root: suites, policy: {policy}}}
mix: {{chat: {{all: true}}}}
"""
TRAINING = """
name: sums-sft
stage: sft
model: tiny-llama
mixture: sums
suites: [gsm8k]
batch: 16
epochs: 1
max_length: 512
place: {device: cpu}
"""


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "dirty"), [("none", ["g2", "g3"]), ("rows", [])])
def test_what_a_checkpoint_was_trained_on_is_found_through_its_record(tmp_path, suites, monkeypatch, policy, dirty):
    pytest.importorskip("torch", reason="PyTorch is missing: pip install 'tulu-data[train]'")
    from tulu_data.cli import main

    monkeypatch.chdir(tmp_path)
    long = " and ".join(f"{n} apples of kind {n}" for n in range(9))
    sums = [{"id": f"g{n}", "question": f"What is {n} + {n}? {n} {long}", "answer": f"#### {2 * n}"} for n in range(8)]
    (suites / "gsm8k.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums))
    rows = [{"instruction": f"Say {w}.", "input": "", "output": f"{w}!"} for w in ("hello", "so", "yes", "no") * 8]
    rows[5:5] = [{"instruction": sums[n]["question"], "input": "", "output": "x"} for n in (2, 3)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "sums.yaml").write_text(RECIPE.format(policy=policy))
    (tmp_path / "sft.yaml").write_text(TRAINING)
    model = ("eval", "run", "sft/model", "--suite", "gsm8k", "--suites-root", "suites", "--max-tokens", "8")
    for command in (
        ("run", "sums.yaml", "-q"),
        ("train", "sft", "sft.yaml", "-o", "sft", "-q"),
        (*model, "--limit", "6", "-j", "1", "-q", "-o", "out"),
    ):
        with pytest.raises(SystemExit) as done:
            main(command)
        assert done.value.code == 0
    (line,) = json.loads(tulu("report", "out", "--json").output)["lines"]
    assert line["adjusted"]["overlap"]["dirty"] == dirty
    assert (line["adjusted"]["clean"]["n"], line["adjusted"]["dirty"]["n"]) == (6 - len(dirty), len(dirty))
    assert "n clean" in tulu("report", "out").output


def test_tulu_show_prints_an_evaluation_and_its_first_samples(tmp_path, run):
    from tulu_data.cli import cli

    run(Adds(), tmp_path / "out", "--suite", "gsm8k")
    shown = CliRunner().invoke(cli, ["show", str(tmp_path / "out")]).output
    assert re.search(r"GSM8K \(8-shot, CoT\)\s+8\s+87\.5 ± 12\.5", shown)
    shown = CliRunner().invoke(cli, ["show", str(tmp_path / "out"), "--rows", "1"]).output
    assert "gsm8k  g0  1.00" in shown
    assert shown.endswith("[response] So it is 0.\n[extracted] 0\n[truth] 0\n")
    found = json.loads(CliRunner().invoke(cli, ["show", str(tmp_path / "out"), "--rows", "2", "--json"]).output)
    assert [s["instance_id"] for s in found["samples"]["gsm8k"]] == ["g0", "g1"]
    assert found["report"]["lines"][0]["estimate"]["n"] == 8
    refused = CliRunner().invoke(cli, ["show", str(tmp_path / "out"), "--drops"]).exception
    assert str(refused) == "--drops: does not apply to an evaluation; leave it out, or give it with an audit"


def test_examples_of_another_file_are_another_prompt(tmp_path, run):
    (tmp_path / "shots.json").write_text(json.dumps([{"question": "What is 1 + 0?", "answer": "So it is 1."}]))
    run(Adds(), tmp_path / "a", "--suite", "gsm8k")
    run(Adds(), tmp_path / "b", "--suite", "gsm8k", "--shots", f"gsm8k={tmp_path / 'shots.json'}")
    assert open_run(tmp_path / "b").tasks["gsm8k"].shots == 1
    with pytest.raises(UsageError, match="differ in prompts"):
        tulu("compare", tmp_path / "a", tmp_path / "b")
    with pytest.raises(UsageError, match="--shots 'math': is not run"):
        run(Adds(), tmp_path / "c", "--suite", "gsm8k", "--shots", "math=x.json")


def test_a_task_that_the_model_cannot_do_does_not_keep_the_others_from_being_run(tmp_path, suites, run):
    options = [{"question": "Sky?", "correct_answers": ["blue"], "incorrect_answers": ["green"], "best_answer": "blue"}]
    (suites / "truthfulqa.jsonl").write_text("".join(json.dumps(r | {"category": "x"}) + "\n" for r in options))
    result = run(Adds(), tmp_path / "out", "--suite", "truthfulqa", "--suite", "gsm8k")
    assert result.exit_code == 1
    assert re.search(r"^left out: truthfulqa: ", result.stderr, re.MULTILINE)
    assert open_run(tmp_path / "out").tasks["gsm8k"].score == 0.875


def test_shorter_answers_are_another_decoding(tmp_path, run):
    run(Adds(), tmp_path / "a", "--suite", "gsm8k")
    run(Adds(), tmp_path / "b", "--suite", "gsm8k", "--max-tokens", "64")
    with pytest.raises(UsageError, match="differ in decoding"):
        tulu("compare", tmp_path / "a", tmp_path / "b")


def test_a_server_is_asked_through_the_harness(tmp_path, serve, suites, monkeypatch):
    pytest.importorskip("tenacity", reason="lm-eval's models of servers need it")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = serve(answer=adds)
    served = ("--backend", "openai", "--base-url", server.url, "--suites-root", suites)
    assert tulu("run", "tiny", *served, "--suite", "gsm8k", "-j", "1", "-q", "-o", tmp_path / "out").exit_code == 0
    assert open_run(tmp_path / "out").tasks["gsm8k"].score == 0.875
    assert sum(server.asked.values()) == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--references", "alpaca_eval"), "write it as TASK=FILE"),
        (("--judge-url", "http://x/v1"), "name the judge with --judge-model"),
        (("--arg", "device"), "write it as KEY=VALUE"),
        (("--batch", "many"), "--batch 'many': write a number from 1 on, or auto"),
        (("--batch", "0"), "write a number from 1 on, or auto"),
    ],
)
def test_options_that_say_nothing_are_told(tmp_path, run, options, said):
    with pytest.raises(UsageError, match=said):
        run(Adds(), tmp_path / "out", "--suite", "gsm8k", *options)


def test_an_argument_that_is_no_json_is_text_and_decides_whose_answers_they_are(tmp_path, run, monkeypatch):
    output = tmp_path / "out"
    run(Adds(), output, "--suite", "gsm8k", "--arg", "peft=A", "--arg", "max_length=99", "--dtype", "float32")
    assert open_run(output).facts.model.settings == {"peft": "A", "max_length": 99, "dtype": "float32"}
    same = ("--suite", "gsm8k", "--arg", "peft=A", "--arg", "max_length=99", "--dtype", "float32")
    model = Adds()
    run(model, output, *same, "--batch", "auto", "--device", "cpu", "--arg", "max_batch_size=4")
    assert model.asked == 0
    with pytest.raises(UsageError, match="holds results of tiny by hf with peft A; choose another folder"):
        run(model, output, *same, "--arg", "peft=B")
    assert model.asked == 0


def test_the_backend_is_given_device_type_and_tokenizer(tmp_path, suites, monkeypatch):
    opened = []
    monkeypatch.setattr(lm.Backend, "open", lambda backend: (opened.append(backend), Adds())[1])
    given = ("--device", "cpu", "--dtype", "float32", "--tokenizer", "other", "--arg", "revision=main")
    tulu("run", "tiny", "--suites-root", suites, "-j", "1", "-q", "-o", tmp_path / "out", "--suite", "gsm8k", *given)
    (backend,) = opened
    assert (backend.device, backend.dtype, backend.tokenizer) == ("cpu", "float32", "other")
    assert backend.args == {"revision": "main"}


def test_what_a_folder_holds_under_other_settings_is_left_alone_and_told(tmp_path, run):
    model, output = Adds(), tmp_path / "out"
    run(model, output, "--suite", "gsm8k")
    before = open_run(output).tasks["gsm8k"]
    said = r"task gsm8k: -o holds its answers under other settings: max_tokens \(4096, not 64\)"
    with pytest.raises(UsageError, match=said):
        run(model, output, "--suite", "gsm8k", "--max-tokens", "64")
    result = run(model, output, "--suite", "gsm8k", "--suite", "xstest", "--max-tokens", "64")
    assert result.exit_code == 1
    assert re.search(rf"^left out: {said}", result.stderr, re.MULTILINE)
    assert open_run(output).tasks["gsm8k"] == before
    assert "xstest" in open_run(output).tasks
    shown = run(model, output, "--suite", "gsm8k", "--max-tokens", "64", "--again").output
    assert "not comparable: answers of at most 64 tokens, where the task has 4,096" in shown


def test_a_judges_scores_stay_where_none_is_named(tmp_path, serve, run):
    output = tmp_path / "out"
    server = serve(answer=lambda request: "Response refusal: yes")
    run(Adds(), output, "--suite", "xstest", "--judge-model", "wildguard", "--judge-url", server.url)
    for less in ((), ("--judge-stub",)):
        result = run(Adds(), output, "--suite", "xstest", *less)
        assert result.exit_code == 0
        assert "task xstest: keeps its scores by the judge wildguard" in result.stderr
        assert open_run(output).tasks["xstest"].score == 0.0


def test_a_task_that_fails_after_another_was_done_does_not_end_the_run(tmp_path, suites, run, monkeypatch):
    from tulu_data.evals import harness

    asked = harness.responding

    def responding(model, task, items, **given):
        if task.id == "xstest":
            raise InputError("xstest: the server does not answer")
        return asked(model, task, items, **given)

    monkeypatch.setattr(harness, "responding", responding)
    (suites / "math.jsonl").write_text(json.dumps({"problem": "1 + 0?", "solution": r"\boxed{1}", "type": "x"}) + "\n")
    result = run(Adds(), tmp_path / "out", "--suite", "gsm8k", "--suite", "xstest", "--suite", "math")
    assert result.exit_code == 1
    assert "left out: xstest: the server does not answer" in result.stderr
    assert set(open_run(tmp_path / "out").tasks) == {"gsm8k", "math"}
    assert "87.5" in result.stdout


def test_a_task_that_is_left_out_of_a_report_is_in_no_average(tmp_path, suites, run):
    sums = [
        {"id": f"m{n}", "problem": f"What is {n} + 1?", "solution": f"\\boxed{{{n}}}", "type": "x"} for n in range(2)
    ]
    (suites / "math.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sums))
    for name in ("a", "b"):
        run(Adds(), tmp_path / name, "--suite", "gsm8k", "--suite", "math")
    assert "dev average" in tulu("report", tmp_path / "a", tmp_path / "b").output
    shown = tulu("report", tmp_path / "a", tmp_path / "b", "--leave-out", "math").output
    assert "dev average" not in shown
    assert "MATH" not in shown


def test_a_limit_is_of_each_subset_where_their_mean_is_the_score(tmp_path, suites):
    from tulu_data.evals.registry import TASKS
    from tulu_data.evals.running import ask

    prompts = [{"id": f"x{n}", "prompt": f"How {n}?", "type": "xy"[n // 4]} for n in range(8)]
    (suites / "xstest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in prompts))
    mean, macro = (replace(TASKS["xstest"], metric=m) for m in ("mean", "macro"))
    mark = {"items": lambda records: [Item(r.id, r.values["type"], (), "comply") for r in records]}
    asked = [ask(replace(t, **mark), suites_root=suites, limit=2) for t in (mean, macro)]
    assert [[i.id for i in a.items] for a in asked] == [["x0", "x1"], ["x0", "x1", "x4", "x5"]]
    assert [a.limit for a in asked] == [2, 2]


def test_sets_of_no_audit_are_told(tmp_path, run):
    run(Adds(), tmp_path / "out", "--suite", "gsm8k", "--limit", "1")
    with pytest.raises(UsageError, match="name it with --audit"):
        tulu("report", tmp_path / "out", "--set", "train")
