"""Each skill from end to end against a server whose model says good and bad things: only the good rows are accepted."""

import json
from collections import Counter
from contextlib import suppress

import pyarrow.parquet as pq
import pytest

from personas import runs
from personas.persona import read_personas
from personas.planning import Plan
from personas.skill import Rejected, Reply
from personas.skills import SKILLS
from personas.skills.code import asserts_in
from personas.skills.safety import pair_in
from personas.step import Section, job_of, prompts_of
from tulu_data.errors import StoreError
from tulu_data.llm.client import Stopped
from tulu_data.llm.request import Answer, Usage
from tulu_data.store import Store

N = 36
SORRY = "I'm sorry, but I can't help with that."
STAGES = {  # what tells a request's stage
    "Write a Python function solution()": "program",
    "Settle the function's signature": "tests",
    "Reply with one word: yes or no": "judge",
}


def items_of(skill, n=N):
    return list(Plan(SKILLS[skill], read_personas(), prompts_of(SKILLS[skill]), n).items())


class Model:
    """Says of every row what its procedure would, spoiled after the row's fault; rows have the faults in turn.

    faults: (the reason that is expected, (item, stage, n, text) → what is said instead, or None); n counts the askings
    of one question.
    """

    def __init__(self, skill, *faults, n=N):
        self.skill, self.faults = SKILLS[skill], [("", lambda *_: None), *faults]
        self.items = items_of(skill, n)
        self.asked = Counter()

    def fault(self, item):
        turn = item.index // 2 if self.skill.twins else item.index
        return self.faults[turn % len(self.faults)]

    def expected(self):
        return {item.index: self.fault(item)[0] for item in self.items}

    def __call__(self, request):
        content = "\n".join(m["content"] for m in request["messages"])
        item, stage = self.find(content)
        n = self.asked[item.index, stage]
        self.asked[item.index, stage] += 1
        told = self.said(item, stage, n)
        spoiled = self.fault(item)[1](item, stage, n, told)
        return told if spoiled is None else spoiled

    def find(self, content):
        for item in self.items:
            if item.persona.text in content and "Begin your reply" in content + "Begin your reply" * self.skill.twins:
                return item, "prompt"
        stage = next((name for mark, name in STAGES.items() if mark in content), "solve")
        return next(item for item in self.items if self.task(item) in content), stage

    def task(self, item):
        return item.made.numbers["twin_prompt"] if item.is_twin else item.made.prompt

    def said(self, item, stage, n):
        if stage == "program":
            return f"```python\ndef solution():\n    first = {item.made.truth}\n    return first + 1 - 1\n```"
        return "Yes." if stage == "judge" else self.skill.answer(item, stage, n)


def run(serve, tmp_path, model, *, n=N, **section):
    server = serve(answer=model)
    backend = {"openai": {"model": "canned", "base_url": server.url, "price": [1.0, 2.0]}}
    job = job_of(Section(skill=model.skill.name, n=n, backend=backend, **section), model.skill.name)
    ran = runs.run(job, Store(tmp_path / "store"), tmp_path / "run", workers=2, quiet=True)
    return ran, records_in(tmp_path), server


def records_in(tmp_path):
    return pq.read_table(tmp_path / "run" / "synth.parquet").to_pylist()


def check(serve, tmp_path, model, **section):
    ran, records, server = run(serve, tmp_path, model, **section)
    found = {r["index"]: r["reject_reason"] or "" for r in records}
    wrong = {
        i: (found[i], want, records[i]["reject_detail"]) for i, want in model.expected().items() if found[i] != want
    }
    assert not wrong
    assert ran.summary["accepted"] == sum(r["accepted"] for r in records) > 0
    assert [row["prov"]["orig_id"] for b in ran.version.batches() for row in b.to_pylist()] == [
        r["id"] for r in records if r["accepted"]
    ]
    return ran, records, server


def at(stage, change):
    """A fault of one stage."""
    return lambda item, where, n, told: change(item, n, told) if where == stage else None


def test_grade_math(serve, tmp_path):
    model = Model(
        "grade-math",
        ("no majority", at("solve", lambda item, n, told: f"So it is {n}.\n#### {n + 90001}")),
        ("no answer", at("solve", lambda item, n, told: told.replace("####", "answer"))),
        ("program disagrees", at("program", lambda item, n, told: "```python\ndef solution():\n    return 4242\n```")),
        ("truncated", at("prompt", lambda item, n, told: (told[: len(told) * 2 // 3], "length"))),
        ("no marker", at("prompt", lambda item, n, told: SORRY)),
        ("truncated", at("solve", lambda item, n, told: (told[:20], "length"))),
        ("self-identification", at("solve", lambda item, n, told: f"As an AI language model, I compute.\n{told}")),
        ("keyword", at("solve", lambda item, n, told: f"OpenAI would say:\n{told}")),
        ("refusal", at("solve", lambda item, n, told: f"{SORRY}\n{told}")),
    )
    ran, records, server = check(serve, tmp_path, model)
    good = [r for r in records if r["accepted"]]
    assert {r["evidence"] for r in good} == {"program"}
    assert all((r["vote_k"], r["vote_agreement"], r["verified"]) == (3, 3, True) for r in good)
    assert all(r["usd"] == pytest.approx(len(r["requests"]) * (10 * 1.0 + 5 * 2.0) / 1e6) for r in good)
    assert ran.summary["requests"] == server.asked.total()
    assert all(r["endpoint"] == server.url and r["model"] == "canned" for r in good)


def test_a_majority_without_a_program_is_a_vote_and_no_proof(serve, tmp_path):
    one_slip = at("solve", lambda item, n, told: "#### 90001" if n == 0 else None)
    model = Model("grade-math", ("", one_slip))
    _, records, _ = check(serve, tmp_path, model, options={"program": False})
    assert {(r["evidence"], r["verified"], r["vote_agreement"]) for r in records} == {
        ("vote", None, 3),
        ("vote", None, 2),
    }
    assert all("90001" not in r["messages"][1]["content"] for r in records)  # the voice that is heard is the majority's


@pytest.mark.parametrize("skill", ["math", "algebra"])
def test_math(serve, tmp_path, skill):
    german = (
        "Wir rechnen das Schritt für Schritt aus und achten dabei auf jede Klammer und jedes Vorzeichen der Gleichung."
    )
    model = Model(
        skill,
        ("no majority", at("solve", lambda item, n, told: f"Final Answer: The final answer is ${n + 90001}$.")),
        ("no answer", at("solve", lambda item, n, told: "It is plain to see.")),
        ("truncated", at("prompt", lambda item, n, told: (told[: len(told) * 2 // 3], "length"))),
        ("truncated", at("solve", lambda item, n, told: (told, "length"))),
        ("repetition", at("solve", lambda item, n, told: "and so we add again " * 40 + told)),
        ("language", at("solve", lambda item, n, told: f"{german * 2}\n{told.splitlines()[-1]}")),
        (
            "too many parts",
            at("prompt", lambda item, n, told: f"{told} Also find (a) it, (b) its half, (c) its square."),
        ),
    )
    _, records, _ = check(serve, tmp_path, model)
    assert {r["evidence"] for r in records if r["accepted"]} == {"vote"}


def test_code(serve, tmp_path):
    def same(item, n, told):
        name = item.made.entry_point
        calls = "".join(f"assert {name}({i}) == {name}({i})\n" for i in range(6))
        return f"```python\ndef {name}(*args): ...\n{calls}```"

    def few(item, n, told):
        return "\n".join(told.splitlines()[:5]) + "\n```"

    model = Model(
        "code",
        ("tests", at("solve", lambda item, n, told: item.made.wrong)),
        ("tests", at("solve", lambda item, n, told: None if n == 0 else "```python\nimport os\nos._exit(0)\n```")),
        ("tests", at("tests", few)),
        ("tests", at("tests", lambda item, n, told: "```python\nassert f(1 ==\n```")),
        ("truncated", at("prompt", lambda item, n, told: (told[: len(told) * 2 // 3], "length"))),
        ("truncated", at("tests", lambda item, n, told: (told, "length"))),
        ("no marker", at("prompt", lambda item, n, told: "What a nice day.")),
        ("truncated", at("solve", lambda item, n, told: told[: told.rindex("```")])),
        n=24,
    )
    _, records, _ = check(serve, tmp_path, model, n=24)
    good = [r for r in records if r["accepted"]]
    assert {(r["evidence"], r["verified"]) for r in good} == {("tests", True)}
    assert all(r["prompt"] for r in records if r["reject_reason"] == "tests")  # what is known is kept
    assert all(
        item.made.entry_point in r["prompt"] for item, r in zip(model.items, records, strict=True) if r["accepted"]
    )
    vacuous = Model(
        "code", ("vacuous tests", lambda *a: at("tests", same)(*a) or at("solve", lambda i, n, t: anything(i))(*a)), n=4
    )
    check(serve, tmp_path / "vacuous", vacuous, n=4)


def anything(item):
    return f"```python\ndef {item.made.entry_point}(*args, **kwargs):\n    return 1\n```"


def test_precise_if(serve, tmp_path):
    def forgetful(item, n, told):
        for words in item.drawn.words:
            told = told.replace(words, "")
        return f"{told} Do it well."

    model = Model(
        "precise-if",
        ("constraint", at("solve", lambda item, n, told: item.made.wrong)),
        ("lost parameter", at("prompt", forgetful)),
        ("truncated", at("prompt", lambda item, n, told: (told[: len(told) * 2 // 3], "length"))),
        ("no marker", at("prompt", lambda item, n, told: SORRY)),
        ("truncated", at("solve", lambda item, n, told: (told, "length"))),
    )
    _, records, _ = check(serve, tmp_path, model)
    for record in records:
        kept = {c["kept"] for c in record["constraints"]}
        assert {"": {True}, "constraint": {True, False}, "lost parameter": {None}}.get(
            record["reject_reason"] or "", kept
        ) >= kept
        assert record["reject_reason"] != "constraint" or False in kept


def test_safety(serve, tmp_path):
    model = Model(
        "safety",
        ("judge", at("judge", lambda item, n, told: "No, it does not.")),
        ("judge", at("judge", lambda item, n, told: "Hard to say.")),
        ("wrong behaviour", at("solve", lambda item, n, told: SORRY if item.is_twin else item.made.wrong)),
        ("truncated", at("prompt", lambda item, n, told: (told[: len(told) * 2 // 3], "length"))),
        ("no marker", at("prompt", lambda item, n, told: "User request: hello")),
    )
    ran, records, _ = check(serve, tmp_path, model)
    assert ran.summary["requests"] < sum(len(r["requests"]) for r in records)  # a pair is asked for once
    pairs = Counter(r["prompt"] for r in records if r["accepted"])
    assert max(pairs.values()) == 1


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("User request: a?\n**Benign twin:** b?\n", ("a?", "b?")),
        ("Benign twin: b\nUser request: a\n\nb", ("a\n\nb", "b")),
        ("User request: a\nBenign twin:  A \n", "no twin"),
        ("User request:\nBenign twin: b", "no marker"),
        ("User request: a" + "\n" * 20_000 + "b", "no marker"),  # in no time
    ],
)
def test_a_request_and_its_twin_are_two(said, found):
    answer = Answer("", said, (said,), "stop", None, "m", Usage(1, 1), None, (), 1, "e", {})
    if isinstance(found, tuple):
        assert pair_in(Reply(said, "stop", answer)) == found
        return
    with pytest.raises(Rejected) as rejected:
        pair_in(Reply(said, "stop", answer))
    assert rejected.value.reason == found


def test_a_character_that_a_server_cut_in_two_costs_no_more_than_its_row(serve, tmp_path):
    model = Model("algebra", n=8)
    server = serve(answer=lambda request: f"{model(request)}\ud83d")
    backend = {"openai": {"model": "canned", "base_url": server.url}}
    job = job_of(Section(skill="algebra", n=8, backend=backend, samples=1), "algebra")
    ran = runs.run(job, Store(tmp_path / "store"), tmp_path / "run", quiet=True)
    assert all(r["prompt"].endswith("\ufffd") for r in records_in(tmp_path))
    assert ran.summary["records"] == 8


def test_equal_tests_count_once_and_a_row_without_tests_keeps_its_question():
    same = "def f(x): ...\n" + "assert f(1) == 2\n" * 5
    with pytest.raises(Rejected, match="1 different asserts call f, 5 are needed"):
        asserts_in(same)
    for deep in (100, 500, 5_000):
        nested = "".join(f"assert f({'-' * deep}{i}) == 1\n" for i in range(6))
        with suppress(Rejected):  # a row at most, never the run
            asserts_in(f"def f(x): ...\n{nested}")


# ------------------------------------------------------------ faults of the server, and stops


def test_with_faults_of_the_server_the_rows_are_the_same_and_nothing_is_paid_twice(serve, tmp_path):
    faults = {"500": 0.1, "429": 0.1, "truncated": 0.05, "drop": 0.05}
    plain, _, _ = run(serve, tmp_path / "plain", Model("algebra"), samples=1)
    server = serve(answer=Model("algebra"), faults=faults)
    backend = {"openai": {"model": "canned", "base_url": server.url}}
    job = job_of(Section(skill="algebra", n=N, backend=backend, samples=1), "algebra")
    ran = runs.run(job, Store(tmp_path / "store"), tmp_path / "run", workers=2, quiet=True)
    assert ran.version.ref == plain.version.ref
    assert server.faulty.total() > 5
    assert max(server.answered.values()) == 1


def test_a_budget_reached_mid_run_keeps_what_was_answered_and_the_same_run_goes_on(serve, tmp_path):
    model = Model("algebra")
    server = serve(answer=model)
    spec = {"model": "canned", "base_url": server.url, "max_in_flight": 4, "price": [1.0, 2.0]}
    store = Store(tmp_path / "store")

    def job(**limits):
        return job_of(Section(skill="algebra", n=N, samples=1, backend={"openai": {**spec, **limits}}), "algebra")

    with pytest.raises(Stopped, match=r"the budget of 0\.0005 USD is spent") as stopped:
        runs.run(job(budget_usd=0.0005), store, tmp_path / "run", quiet=True)
    assert "\n" not in str(stopped.value)
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert 0 < told["records"] < N
    assert told["waiting"] == N - told["records"]
    assert (tmp_path / "run" / "page.html").exists()
    ran = runs.run(job(), store, tmp_path / "run", quiet=True)
    assert ran.summary["records"] == ran.summary["accepted"] == N
    assert max(server.answered.values()) == 1
    whole, _, _ = run(serve, tmp_path / "whole", Model("algebra"), samples=1)
    assert ran.version.ref == whole.version.ref
    assert records_in(tmp_path) == [
        {**r, "endpoint": server.url, "requests": [{**q, "endpoint": server.url} for q in r["requests"]]}
        for r in records_in(tmp_path / "whole")
    ]


def test_a_changed_prompt_asks_again_exactly_what_changed(serve, tmp_path):
    from personas import prompts

    prompts.write(prompts_of(SKILLS["algebra"]), tmp_path / "mine")
    (tmp_path / "mine" / "algebra" / "prompt.md").unlink()
    solve = tmp_path / "mine" / "algebra" / "solve.md"
    solve.write_text(solve.read_text().replace("Solve the problem below.", "Work out the problem below."))
    server = serve(answer=Model("algebra"))
    store = Store(tmp_path / "store")
    digests = set()
    for folder in (None, str(tmp_path / "mine")):
        backend = {"openai": {"model": "canned", "base_url": server.url}}
        section = Section(skill="algebra", n=8, samples=1, backend=backend, prompts=folder)
        ran = runs.run(job_of(section, "algebra"), store, tmp_path / "run", quiet=True)
        digests.add(ran.summary["prompts_digest"])
    assert len(digests) == 2
    assert server.asked.total() == 8 + 8 + 8  # the problems were not asked for again


def test_more_samples_ask_exactly_what_is_new_also_for_a_persona_that_comes_again(serve, tmp_path):
    people = tmp_path / "people.jsonl"
    people.write_text('{"persona": "A baker of rye bread."}\n{"persona": "A carpenter of stairs."}\n')
    problems = iter(range(100))

    def answer(request):
        if "Math problem:" in request["messages"][-1]["content"]:
            return f"Math problem: What is {next(problems)} added to the number of legs of a spider?"
        return "Final Answer: The final answer is $8$. I hope it is correct."

    server = serve(answer=answer)
    backend = {"openai": {"model": "canned", "base_url": server.url}}
    for samples, asked in ((1, 6 * 2), (3, 6 * 4), (2, 6 * 4)):  # 6 problems, and that many solutions of each
        section = Section(skill="math", n=6, samples=samples, backend=backend, personas=str(people), near=1.0)
        runs.run(job_of(section, "math"), Store(tmp_path / "store"), tmp_path / "run", quiet=True)
        assert server.asked.total() == asked


def test_two_runs_in_one_folder_do_not_mix(serve, tmp_path):
    from tulu_data.llm.journal import Journal

    server = serve(answer=Model("algebra"))
    backend = {"openai": {"model": "canned", "base_url": server.url}}
    job = job_of(Section(skill="algebra", n=4, backend=backend), "algebra")
    with Journal(tmp_path / "run", [server.url]), pytest.raises(StoreError, match="another process writes it"):
        runs.run(job, Store(tmp_path / "store"), tmp_path / "run", quiet=True)


@pytest.mark.slow
def test_a_real_server_with_a_random_model_gives_rows_that_are_all_rejected_with_reasons(served, tmp_path):
    url, model = served
    for skill in ("grade-math", "precise-if"):
        spec = {"model": model, "base_url": url, "max_tokens": 12, "max_in_flight": 8, "price": [1.0, 1.0]}
        section = Section(skill=skill, n=12, backend={"openai": spec})
        with pytest.raises(Exception, match="not one of 12 rows was accepted") as refused:
            runs.run(job_of(section, skill), Store(tmp_path / "store"), tmp_path / skill, quiet=True)
        assert "\n" not in str(refused.value)
        told = json.loads((tmp_path / skill / "run.json").read_text())
        assert told["records"] == sum(told["rejected"].values()) == 12
        assert told["completion_tokens"] > 0
        assert told["usd"] > 0
        records = pq.read_table(tmp_path / skill / "synth.parquet").to_pylist()
        assert all(r["reject_reason"] and r["requests"] and r["usd"] > 0 for r in records)
