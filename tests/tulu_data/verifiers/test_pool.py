"""The registry, worker processes with deadlines, tables, and the command."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tulu_data.cli import cli
from tulu_data.errors import InputError, UsageError
from tulu_data.verifiers import Task, Verifier, VerifierPool, registry, verify, verify_all, verify_table
from tulu_data.verifiers.verdict import RIGHT

HOSTILE = """
import os, time
from tulu_data.verifiers.verdict import RIGHT, Verifier

def check(response, truth):
    if response == "hang":
        while True: pass
    if response == "sleep":
        time.sleep(1000)
    if response == "die":
        os._exit(0)
    if response == "crash":
        import ctypes; ctypes.string_at(0)
    if response == "raise":
        raise RuntimeError("no")
    if response == "memory":
        bytearray(64 << 30)
    if response == "print":
        print("x" * 10_000)
    return RIGHT

VERIFIER = Verifier("hostile", "misbehaves", str, check, "x", deadline_s=1.0)
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A verifier of another distribution, as pip installs it, seen by this process and the workers."""
    (tmp_path / "hostile_verifier.py").write_text(HOSTILE)
    info = tmp_path / "hostile_verifier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-verifier\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tulu_data.verifiers]\nhostile = hostile_verifier:VERIFIER\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.verifiers.cache_clear()
    yield
    registry.verifiers.cache_clear()
    registry.parsed.cache_clear()


def test_what_hangs_or_crashes_is_undecided_and_the_pool_lives_on(hostile):
    responses = ["ok", "hang", "ok", "die", "crash", "raise", "ok", "memory", "print", "sleep", "ok"]
    verdicts = verify_all([Task("hostile", r, "x") for r in responses], workers=2)
    told = dict(zip(responses, verdicts, strict=True))
    assert told["ok"] == told["print"] == RIGHT
    assert told["hang"] == told["sleep"] == (0.0, False, "no verdict after 1 s")
    assert told["die"] == told["crash"] == (0.0, False, "the check ended its process")
    assert told["raise"] == (0.0, False, "the check stopped: RuntimeError: no")
    assert told["memory"].reason == "the check stopped: MemoryError: "
    assert [v.right for v in verdicts].count(True) == 5


def test_latex_that_hangs_a_library_is_undecided_and_ours_reads_it():
    tower = "\\boxed{9^{9^{9^{9}}}}"
    tasks = [Task("math_verify", tower, "5"), Task("math", tower, "5"), Task("math", "\\boxed{5}", "5")]
    hung, wrong, right = verify_all(tasks, workers=1, deadline_s=5)
    assert hung == (0.0, False, "no verdict after 5 s")
    assert (wrong.score, wrong.valid) == (0.0, True)
    assert right == RIGHT


def test_verdicts_keep_the_order_of_many_tasks_and_the_pool_is_used_again():
    tasks = [Task("gsm8k", str(i if i % 3 else -1), str(i)) for i in range(1, 1_000)]
    with VerifierPool(2) as pool:
        for _ in range(2):
            assert [v.right for v in pool.map(tasks)] == [i % 3 != 0 for i in range(1, 1_000)]


def test_tasks_are_read_only_so_far_ahead_as_keeps_the_workers_busy():
    read = []

    def tasks():
        for i in range(100_000):
            read.append(i)
            yield Task("gsm8k", "1", "1")

    with VerifierPool(1) as pool:
        verdicts = pool.map(tasks())
        for _ in range(10):
            next(verdicts)
        assert len(read) < 500
        verdicts.close()
        assert [v.right for v in pool.map([Task("gsm8k", "1", "1")])] == [True]


def test_a_hanging_worker_ends_with_its_parent(hostile):
    code = (
        "from tulu_data.verifiers import VerifierPool, Task\n"
        "if __name__ == '__main__':\n"
        "    pool = VerifierPool(1, deadline_s=1000)\n"
        "    it = pool.map([Task('hostile', 'ok', 'x'), Task('hostile', 'hang', 'x')])\n"
        "    next(it); print(pool._workers[0].process.pid, flush=True)\n"
        "    next(it)\n"
    )
    path = os.pathsep.join(sys.path)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and alive(worker):
        time.sleep(0.05)
    assert not alive(worker)


def alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_unknown_verifier_and_a_truth_that_does_not_parse():
    with pytest.raises(UsageError, match=r"verifier 'gsm8' is unknown; did you mean 'gsm8k'\?"):
        verify("gsm8", "1", "1")
    with pytest.raises(InputError, match="ground truth of gsm8k: not one number: 'one'; it should look like 18"):
        verify("gsm8k", "1", "one")
    assert verify("MATH", "\\boxed{1}", "1").right  # as the Tülu 3 sets call it


@pytest.mark.parametrize(
    ("value", "name", "problem"),
    [
        ("tulu_data.verifiers.registry:VERIFIERS", "other", "is no Verifier"),
        ("tulu_data.nowhere:V", "other", "cannot be loaded: ModuleNotFoundError"),
        ("tulu_data.verifiers.registry:VERIFIERS", "math", "there is another verifier of that name"),
    ],
)
def test_others_verifiers_that_do_not_fit_are_named(monkeypatch, value, name, problem):
    monkeypatch.setattr("tulu_data.plugins.entry_points", lambda group: [EntryPoint(name, value, group)])
    registry.verifiers.cache_clear()
    with pytest.raises(InputError, match=problem):
        registry.verifiers()
    monkeypatch.undo()
    registry.verifiers.cache_clear()


@pytest.mark.parametrize("verifier", registry.VERIFIERS.values(), ids=lambda v: v.name)
def test_the_example_of_each_verifier_parses(verifier):
    assert isinstance(verifier, Verifier)
    verifier.parse(verifier.example)


def test_a_table_gets_its_verdicts_as_columns():
    table = pa.table(
        {"answer": ["18", "no", None], "gold": ["18", "18", "18"], "verifier": ["gsm8k", "gsm8k", "gsm8k"]}
    )
    checked = verify_table(table, response="answer", truth="gold", workers=1)
    assert checked.column_names == ["answer", "gold", "verifier", "score", "valid", "reason"]
    assert checked["score"].to_pylist() == [1.0, 0.0, 0.0]
    assert checked["valid"].to_pylist() == [True, True, True]
    assert checked["reason"].to_pylist()[1:] == ["no number in the response"] * 2
    with pytest.raises(InputError, match="column 'response' is missing"):
        verify_table(table)
    with pytest.raises(InputError, match="row 1: ground truth of gsm8k"):
        verify_table(table.set_column(1, "gold", pa.array(["18", "x", "18"])), response="answer", truth="gold")


# ------------------------------------------------------------ the command


def run(*args):
    return CliRunner().invoke(cli, ["verify-answers", *map(str, args)], catch_exceptions=True)


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "answers.jsonl"
    rows = [
        {"response": "so 18", "ground_truth": 18, "verifier": "gsm8k"},
        {"response": "so 17", "ground_truth": "18", "verifier": "gsm8k"},
        {
            "messages": [{"role": "assistant", "content": "\\boxed{0.5}"}],
            "ground_truth": "\\frac12",
            "verifier": "MATH",
        },
        {"response": "def f(x): return x", "ground_truth": ["assert f(1) == 1"], "verifier": "code"},
        {"response": "\\boxed{\\frac{1}{3}}", "ground_truth": "0.333333333", "verifier": "math"},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_the_command_counts_shows_and_writes(answers, tmp_path):
    done = run(answers, "-q", "-o", tmp_path / "out.parquet")
    assert done.exit_code == 0, done.output
    assert "answers.jsonl:2  0.00   answered 17, not 18" in done.output
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["score"].to_pylist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    done = run(answers, "-q", "--json", "-o", tmp_path / "out.jsonl")
    assert json.loads(done.stdout)["gsm8k"] | {"mean": 0.5, "right": 1, "rows": 2} == json.loads(done.stdout)["gsm8k"]
    assert [json.loads(line)["valid"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [True] * 5


def test_a_second_verifier_is_compared_and_changes_no_score(tmp_path):
    path = tmp_path / "maths.jsonl"
    pairs = [("\\boxed{\\frac{1}{3}}", "0.333333333"), ("\\boxed{2}", "2"), ("\\boxed{3}", "2")]
    path.write_text("".join(json.dumps({"response": r, "ground_truth": t}) + "\n" for r, t in pairs))
    done = run(path, "-q", "--verifier", "math", "--second", "math_verify", "--json")
    counted = json.loads(done.stdout)["math"]
    assert (counted["right"], counted["wrong"], counted["compared"], counted["differs"]) == (1, 2, 3, 1)


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ((), "name a FILE"),
        (("--verifier", "gsm"), "did you mean 'gsm8k'?"),
        (("--truth", "gold"), "answers.jsonl:1: no field 'gold'"),
        (("--verifier", "choice"), "answers.jsonl:1: ground truth of choice"),
        (("-o", "out.xlsx"), "write to .parquet or .jsonl"),
        (("-o", "missing/out.jsonl"), "cannot be written"),
    ],
)
def test_bad_input_is_one_line(answers, args, problem, monkeypatch):
    monkeypatch.chdir(answers.parent)
    done = run(*([answers, *args, "-q"] if args else []))
    assert done.exit_code != 0
    assert problem in (done.output or "") + str(done.exception)


def test_the_list_names_every_verifier():
    listed = run("--list").stdout
    assert all(name in listed for name in registry.VERIFIERS)


def test_the_example_of_the_docs_runs(capsys):
    text = (Path(__file__).parents[3] / "docs" / "verifiers.md").read_text()
    exec(text.split("```python\n")[1].split("```")[0], {"__name__": "docs"})
    assert capsys.readouterr().out.splitlines() == ["True", "['', 'answered 17, not 18']"]
