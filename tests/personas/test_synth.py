"""Rows without a model: every skill, checked a second time by something else than what accepted them."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pyarrow.parquet as pq
import pytest

from personas import runs
from personas.duplicates import near_duplicates
from personas.languages import LANGUAGES
from personas.persona import read_personas
from personas.skills import SKILLS
from personas.step import Section, job_of
from tulu_data.errors import StoreError
from tulu_data.store import Store
from tulu_data.verifiers import Task, verify, verify_all
from tulu_data.verifiers.ifeval import parse as constraints_of

ROWS = {"precise-if": 1000, "grade-math": 1000, "math": 400, "algebra": 400, "code": 72, "safety": 400}


def make(store, skill, n, *, workers=2, name=None, **section):
    job = job_of(Section(skill=skill, n=n, **section), name or skill)
    return runs.run(job, store, runs.folder_of(store, job), workers=workers, quiet=True)


@pytest.fixture(scope="module", params=ROWS)
def made(request, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    return request.param, store, make(store, request.param, ROWS[request.param])


def rows_of(version):
    return [row for batch in version.batches() for row in batch.to_pylist()]


def records(ran):
    return pq.read_table(ran.folder / "synth.parquet").to_pylist()


def test_two_runs_at_once_in_one_folder_are_kept_apart(tmp_path):
    job = job_of(Section(skill="math", n=3), "math")
    with runs.held(tmp_path / "run"), pytest.raises(StoreError, match="another process writes this run; wait for it"):
        runs.run(job, Store(tmp_path / "store"), tmp_path / "run", quiet=True)
    assert runs.run(job, Store(tmp_path / "store"), tmp_path / "run", quiet=True).summary["accepted"] == 3


def test_a_model_is_asked_anew_each_time_round_the_personas():
    for skill, each in (("math", 1), ("safety", 2)):
        plan = replace(job_of(Section(skill=skill), skill).plan, personas=read_personas()[:3], n=9 * each, model="m")
        keys = Counter(plan.request(item, next(plan.talk(item)).asks[0]).key for item in plan.items())
        assert len(keys) == 9
        assert set(keys.values()) == {each}  # twins share a question


def test_nearly_all_rows_are_accepted_and_what_is_not_is_a_duplicate(made):
    skill, _, ran = made
    assert ran.summary["records"] == ROWS[skill]
    assert ran.summary["accepted"] >= 0.99 * ROWS[skill]
    assert set(ran.summary["rejected"]) <= {"duplicate prompt", "near-duplicate prompt"}
    assert ran.summary["usd"] == 0.0
    assert ran.summary["model"] == "procedural/1"


def test_a_second_run_and_another_number_of_workers_give_the_same_version(made, tmp_path):
    skill, _, ran = made
    if skill in ("math", "algebra"):  # the same talk as grade-math
        pytest.skip("as grade-math")
    again = make(Store(tmp_path), skill, ROWS[skill], workers=1)
    assert again.version.ref == ran.version.ref
    assert records(again) == records(ran)


def test_every_row_is_right_by_a_second_and_independent_pass(made):
    skill, _, ran = made
    second = {
        "grade-math": arithmetic_holds,
        "math": second_opinion,
        "algebra": second_opinion,
        "precise-if": constraints_hold,
        "code": runs_in_plain_python,
        "safety": behaves,
    }[skill]
    accepted = [r for r in records(ran) if r["accepted"]]
    assert [row["prov"]["orig_id"] for row in rows_of(ran.version)] == [r["id"] for r in accepted]
    assert [row["messages"] for row in rows_of(ran.version)] != []
    second(accepted)


def arithmetic_holds(rows):
    """Every calculation that is written out holds, and the last line is the truth."""
    checked = 0
    for row in rows:
        text = row["messages"][1]["content"]
        for left, right in re.findall(r"(?<![-+*/] )\b((?:[\d.]+ [-+*/] )+[\d.]+) = ([\d.]+)(?![\d.]* [-+*/])", text):
            assert value(left) == Fraction(right.rstrip(".")), (left, right, text)
            checked += 1
        assert Fraction(text.rsplit("####", 1)[1].strip()) == Fraction(row["ground_truth"])
    assert checked > 2 * len(rows)


def value(expression):
    def of(node):
        if isinstance(node, ast.Constant):
            return Fraction(str(node.value))
        left, right = of(node.left), of(node.right)
        return {
            ast.Add: left.__add__,
            ast.Sub: left.__sub__,
            ast.Mult: left.__mul__,
            ast.Div: left.__truediv__,
        }[type(node.op)](right)

    return of(ast.parse(expression, mode="eval").body)


def second_opinion(rows):
    verdicts = verify_all([Task("math_verify", r["messages"][1]["content"], r["ground_truth"]) for r in rows])
    assert all(v.right for v in verdicts), [
        r["messages"][1] for r, v in zip(rows, verdicts, strict=True) if not v.right
    ]


def constraints_hold(rows):
    """One by one, in this process, from what the published row's truth says."""
    for row in rows:
        asked = constraints_of(row["ground_truth"])
        assert [c.id for c in asked] == [c["id"] for c in row["constraints"]]
        assert [c.missing(row["messages"][1]["content"]) for c in asked] == [""] * len(asked)
        assert all(c["kept"] for c in row["constraints"])


def runs_in_plain_python(rows):
    """All programs and their tests, each in a namespace of its own, in a Python without the sandbox."""
    tasks = []
    for row in rows:
        block = re.search(r"```python\n(.*?)```", row["messages"][1]["content"], re.DOTALL)
        tasks.append([block[1], *json.loads(row["ground_truth"])["tests"]])
    program = (
        "import json, sys\nfor task in json.load(sys.stdin):\n    own = {}\n    for part in task: exec(part, own)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(tasks), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def behaves(rows):
    for row in rows:
        assert verify("noncompliance", row["messages"][1]["content"], row["ground_truth"]).right
    twins = [json.loads(r["flags"])["twin"] for r in rows]
    assert 0.4 < sum(twins) / len(twins) < 0.6
    assert "unsafe" not in {r["ground_truth"] for r in rows}


def test_rows_say_where_they_come_from(made):
    skill, _, ran = made
    for record in records(ran):
        assert record["model"] == record["model_asked"] == "procedural/1"
        assert record["skill"] == skill
        assert record["persona_license"] == record["license"] == "Apache-2.0"
        assert record["family"]
        assert len(record["requests"]) >= 2
        assert record["verified"] in ((None,) if skill == "safety" else (True,))
    assert len({r["id"] for r in records(ran)}) == ROWS[skill]
    assert {r["converter"] for r in (row["prov"] for row in rows_of(ran.version))} == {f"synth/{skill}/1"}


def test_prompts_are_unlike_each_other(made):
    _, _, ran = made
    assert near_duplicates(r["prompt"] for r in records(ran) if r["accepted"] and "twin" not in r["flags"]) == 0


def test_there_are_forty_families_and_more():
    names = {(s.name, f.name) for s in SKILLS.values() for f in s.families}
    assert len(names) >= 40
    assert all(s.families or s.make for s in SKILLS.values())


def test_a_seed_draws_other_rows_and_more_rows_keep_the_first(tmp_path):
    store = Store(tmp_path)
    ten, twenty = (records(make(store, "grade-math", n, name=f"rows-{n}")) for n in (10, 20))
    assert [r["id"] for r in twenty[:10]] == [r["id"] for r in ten]
    other = records(make(store, "grade-math", 10, seed=1))
    assert not {r["id"] for r in ten} & {r["id"] for r in other}
    assert not {r["prompt"] for r in ten} & {r["prompt"] for r in other}


def test_rlvr_rows_hold_the_prompt_and_what_the_verifier_takes(tmp_path):
    ran = make(Store(tmp_path), "precise-if", 20, kind="rlvr")
    assert ran.version.kind == "rlvr"
    answers = {r["id"]: r["messages"][1]["content"] for r in records(ran)}
    for row in rows_of(ran.version):
        assert [m["role"] for m in row["messages"]] == ["user"]
        assert verify(row["verifier"], answers[row["prov"]["orig_id"]], row["ground_truth"]).right
        assert row["constraint"]


def test_harmful_requests_are_made_only_where_they_are_asked_for(tmp_path):
    ran = make(Store(tmp_path), "safety", 120, options={"harmful": True})
    assert "unsafe" in {r["ground_truth"] for r in records(ran)}


def test_the_personas_licence_is_on_every_row(tmp_path):
    path = tmp_path / "hub.jsonl"
    path.write_text("".join(f'{{"persona": "{p.text}"}}\n' for p in read_personas()[:20]))
    given = {"personas": str(path), "persona_license": "CC-BY-NC-SA-4.0"}
    ran = make(Store(tmp_path / "s"), "algebra", 20, **given)
    assert {row["license"] for row in rows_of(ran.version)} == {"CC-BY-NC-SA-4.0"}


def test_personas_that_say_nothing_but_who_they_are_make_rows_too(tmp_path):
    path = tmp_path / "bare.jsonl"
    path.write_text("".join(f'{{"persona": "I am number {i} and I like to count things."}}\n' for i in range(30)))
    for skill in SKILLS:
        ran = make(Store(tmp_path / "s"), skill, 12, personas=str(path), name=f"bare-{skill}")
        assert ran.summary["accepted"] >= 6


def test_languages_are_those_that_can_be_told_apart():
    from langdetect.detector_factory import init_factory

    init_factory()
    from langdetect.detector_factory import _factory

    assert set(LANGUAGES) <= set(_factory.get_lang_list())
