"""`tulu complete`: a run that is killed at any point goes on without paying twice and ends in the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tulu_data.cli import cli
from tulu_data.llm.backends import Procedural, Replay
from tulu_data.llm.completing import Plan, complete, prompts_of
from tulu_data.llm.journal import Journal
from tulu_data.llm.prices import price_of, table
from tulu_data.llm.request import Request
from tulu_data.store import Store

TULU = str(Path(sys.executable).parent / "tulu")


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"How much is {i} + {i}?", "ground_truth": str(2 * i), "verifier": "gsm8k"} for i in range(300)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def arguments(prompts, server, output, *more):
    return ["complete", str(prompts), "--model", "m", "--base-url", server.url, "-o", str(output), "-q", *more]


def run(*args):
    return CliRunner().invoke(cli, [str(a) for a in args])


def start(args):
    return subprocess.Popen([TULU, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


FAULTS = {"429": 0.05, "500": 0.05, "truncated": 0.05}


@pytest.mark.slow
def test_killed_at_twenty_points_it_pays_for_nothing_twice_and_ends_in_the_same_bytes(serve, prompts, tmp_path):
    server = serve(latency_s=0.02, faults=FAULTS)
    whole = run(*arguments(prompts, server, tmp_path / "whole"))
    assert whole.exit_code == 0, whole.output
    server = serve(latency_s=0.02, faults=FAULTS)
    rng = random.Random(0)
    folder = tmp_path / "killed"
    args = arguments(prompts, server, folder, "--max-in-flight", "8")
    kept_at_kills = []
    for _ in range(20):
        process = start(args)
        before = lines(folder / "journal.jsonl")
        wanted = before + rng.randint(0, 14)
        while process.poll() is None and lines(folder / "journal.jsonl") <= wanted:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kept = keys_of(folder / "journal.jsonl")
        kept_at_kills.append({key: n for key, n in askings(server).items() if key in kept})
    assert lines(folder / "journal.jsonl") > 60
    last = run(*args)
    assert last.exit_code == 0, last.output
    # An answer that was in the journal when its process died was never asked for again, by the server's own count.
    final = askings(server)
    repaid = [k for kept in kept_at_kills for k, n in kept.items() if final[k] != n]
    assert repaid == []
    assert len(keys_of(folder / "journal.jsonl")) == 300
    frames = [without_endpoint(f / "answers.parquet") for f in (tmp_path / "whole", folder)]
    assert frames[0].equals(frames[1])


def keys_of(journal):
    """The keys of whole lines, each of which must stand there once."""
    whole = journal.read_bytes().rpartition(b"\n")[0].splitlines()[1:]
    keys = [json.loads(line)["key"] for line in whole]
    assert len(keys) == len(set(keys))
    return set(keys)


def askings(server):
    """How often the server was asked, by the request's key."""
    found = {}
    for text, times in list(server.asked.items()):
        body = json.loads(text)
        found[Request(body["model"], tuple(body["messages"])).key] = times
    return found


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def without_endpoint(path):
    return pq.read_table(path).drop_columns(["endpoint"])


def test_run_again_it_asks_nothing_and_the_file_has_the_same_bytes(serve, prompts, tmp_path):
    server = serve(faults=FAULTS)
    args = arguments(prompts, server, tmp_path / "run")
    assert run(*args).exit_code == 0
    first = (tmp_path / "run" / "answers.parquet").read_bytes()
    asked = server.asked.total()
    again = run(*args, "--json")
    assert json.loads(again.stdout)["kept"] == 300
    assert server.asked.total() == asked
    assert (tmp_path / "run" / "answers.parquet").read_bytes() == first


def test_ctrl_c_lets_what_is_under_way_come_in_and_prints_how_to_go_on(serve, prompts, tmp_path):
    server = serve(latency_s=0.3)
    args = arguments(prompts, server, tmp_path / "run", "--max-in-flight", "8")
    process = start(args)
    while server.asked.total() < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"to go on: tulu {' '.join(args)}" in err
    assert err.strip().splitlines()[-1] == "error: stopped by Ctrl-C; what was answered is kept"
    kept = pq.read_table(tmp_path / "run" / "answers.parquet").num_rows
    assert kept == server.answered.total() == server.asked.total() < 300
    server.latency_s = 0
    assert run(*args).exit_code == 0
    assert server.asked.total() == 300


def test_the_table_carries_what_verification_needs(serve, prompts, tmp_path):
    def answer(request):
        number = int(request["messages"][-1]["content"].split()[3])
        return f"That makes {2 * number if number % 2 else 7}."

    server = serve(answer=answer)
    done = run(
        *arguments(
            prompts, server, tmp_path / "run", "-n", 2, "--seed", 5, "--temperature", 0.7, "--system", "Be brief."
        )
    )
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "run" / "answers.parquet").to_pylist()
    assert len(rows) == 600
    assert [m["role"] for m in rows[0]["messages"]] == ["system", "user", "assistant"]
    assert {(r["sample"], json.loads(r["params"])["seed"]) for r in rows} == {(0, 5), (1, 6)}
    checked = run("verify-answers", tmp_path / "run" / "answers.parquet", "-q", "--json")
    assert json.loads(checked.stdout)["gsm8k"]["right"] == 300


def test_failures_are_listed_and_asked_again(serve, prompts, tmp_path):
    server = serve(faults={"500": 0.05}, patience=99)
    args = arguments(prompts, server, tmp_path / "run", "--tries", 1)
    done = run(*args)
    assert done.exit_code == 0
    failures = [json.loads(x) for x in (tmp_path / "run" / "failures.jsonl").read_text().splitlines()]
    assert len(failures) == server.faulty["500"] > 5
    assert failures[0]["status"] == 500
    assert "Failures, in failures.jsonl" in done.output
    server.faults = {}
    assert run(*args).exit_code == 0
    assert not (tmp_path / "run" / "failures.jsonl").exists()
    assert pq.read_table(tmp_path / "run" / "answers.parquet").num_rows == 300


def test_a_version_in_the_store_is_a_source(serve, tmp_path, make_version):
    store = Store(tmp_path / "store")
    make_version(store, "asked", ["What is 1?", "What is 2?"], "sft")
    server = serve()
    done = run(*arguments("asked", server, tmp_path / "run", "--store", store.root))
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "run" / "answers.parquet").to_pylist()
    assert {r["response"] for r in rows} == {"answer to What is 1?", "answer to What is 2?"}
    assert {r["license"] for r in rows} == {"mit"}


def test_replay_and_a_procedure_answer_without_asking(prompts, tmp_path):
    plan = Plan(prompts_of(str(prompts), Store(tmp_path), limit=20), "m")
    asked = []

    def compute(request):
        asked.append(request)
        return None if "7 + 7" in request.messages[0]["content"] else "42"

    found = {}
    tally = Procedural(compute, "1").run(plan.requests(), lambda r, a: found.__setitem__(r.key, a))
    assert (tally.answered, tally.failed) == (19, 1)
    assert {a.model for a in found.values() if hasattr(a, "model")} == {"procedural/1"}
    with Journal(tmp_path / "empty", ["x"]) as journal, pytest.raises(Exception, match="run it with a model first"):
        complete(plan, Replay(journal), journal, tmp_path / "empty")


def test_replay_gives_what_was_answered(serve, prompts, tmp_path):
    server = serve()
    assert run(*arguments(prompts, server, tmp_path / "run")).exit_code == 0
    plan = Plan(prompts_of(str(prompts), Store(tmp_path)), "m")
    with Journal(tmp_path / "run", []) as journal:
        texts = []
        tally = Replay(journal).run(plan.requests(), lambda _, a: texts.append(a.text))
    assert tally.kept == 300
    assert texts[3] == "answer to How much is 3 + 3?"


def test_dry_run_asks_nobody(prompts, tmp_path):
    args = ["complete", prompts, "--model", "gpt-4o-mini", "-o", tmp_path / "run", "--dry-run", "--max-tokens", 100]
    done = run(*args, "--json")
    shown = json.loads(done.stdout)
    assert shown["requests"] == 300
    assert shown["request"]["messages"][0]["content"] == "How much is 0 + 0?"
    assert shown["usd_at_most"] == pytest.approx((shown["prompt_tokens"] * 0.15 + 30_000 * 0.6) / 1e6)
    assert not (tmp_path / "run").exists()
    assert "300" in run(*args).output


def test_prices_are_dated_and_never_guessed():
    assert price_of("gpt-4o-2024-08-06") == price_of("gpt-4o") == table()["gpt-4o"]
    assert price_of("gpt-4o-realtime") is None
    assert price_of("llama") is None


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--base-url", "localhost"], "base URL 'localhost': write it as"),
        (["--budget-usd", "1"], "the price of 'm' is not known; give --price IN,OUT"),
        (["--price", "cheap"], "write it as IN,OUT"),
        (["--param", "stop"], "write it as KEY=JSON"),
        ([], "needs a key; set OPENAI_API_KEY"),
    ],
)
def test_bad_input_is_one_line(prompts, tmp_path, monkeypatch, args, problem):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = run("complete", prompts, "--model", "m", "-o", tmp_path / "run", *args)
    assert done.exit_code != 0
    assert problem in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_source_without_prompts(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text('{"prompt": ""}\n')
    done = run("complete", path, "--model", "m", "-o", tmp_path / "run", "--base-url", "http://127.0.0.1:9/v1")
    assert done.exit_code == 1
    assert "empty.jsonl" in str(done.exception)


def test_a_refused_key_keeps_the_journal_and_says_how_to_go_on(serve, prompts, tmp_path):
    server = serve()
    args = arguments(prompts, server, tmp_path / "run")
    assert run(*args, "--limit", 10).exit_code == 0
    server.fatal = (401, {"error": {"message": "bad key"}})
    done = subprocess.run([TULU, *args], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"to go on: tulu {' '.join(args)}",
        f"error: {server.url}: the key is not accepted (401: bad key); what was answered is kept",
    ]
    assert pq.read_table(tmp_path / "run" / "answers.parquet").num_rows == 10
