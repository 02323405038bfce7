"""The model that is asked: its answers settle pairs, are kept, and whatever is no answer leaves a pair undecided."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from decontam import step
from decontam.arbiter import Judge, settle, verdict_in
from decontam.auditing import audit
from decontam.evidence import FOUND
from decontam.result import Audit, Scan, audit_id, judged
from decontam.verdicts import Policy, Semantic, Settings
from tulu_data.errors import GateError
from tulu_data.progress import Silent
from tulu_data.store import Store

MEANING = Policy(layers=("exact", "informative", "semantic"))
SAME, DIFFERENT = json.dumps({"verdict": "same"}), json.dumps({"verdict": "different"})
COSINES = [0.95, 0.9, 0.75, 0.72]  # of the pairs; from 0.78 on they count
ITEMS = [f"item {i} asks what grows under the {i} tall pines of the northern ridge" for i in range(4)]


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def note(self, message):
        self.lines.append(message)


@pytest.fixture
def near(make_set, make_suite):
    """An audit of four pairs that are near in meaning alone, as an encoder would have left it."""
    found = audit([make_set("x", ITEMS, batch_rows=10)], [make_suite("a", ITEMS)], Settings(fuzzy=False))
    pairs = [p for p in found.scan.pairs.to_pylist() if p["row_index"] == int(p["instance_id"])]
    bare = [
        p
        | {
            "exact": False,
            "coverage": 0.0,
            "informative": 0.0,
            "informative_covered": 0,
            "longest_run": 0,
            "fuzzy": None,
        }
        | {
            "fuzzy": None,
            "train_spans": [],
            "eval_spans": [],
            "semantic": cosine,
            "semantic_span": {"start": 0, "end": 10},
        }
        for p, cosine in zip(pairs, COSINES, strict=True)
    ]
    settings = Settings(fuzzy=False, semantic=Semantic()).model_dump(mode="json")
    manifest = found.manifest | {"settings": settings}
    return judged(manifest, Scan(pa.Table.from_pylist(bare, schema=FOUND), found.messages, found.instances), MEANING)


def number(request):
    """Which item a question is about."""
    return int(request["messages"][1]["content"].split("item ")[1][0])


def judgements(found):
    return found.pairs["judgement"].to_pylist()


def rows_dropped(found):
    return [r["row_index"] for r in found.rows.to_pylist() if r["dropped"]]


def test_answers_settle_what_the_cosine_left_open(near, serving, said):
    answers = [SAME, DIFFERENT, SAME, DIFFERENT]
    with serving(lambda path, request: said(answers[number(request)])) as server:
        settled = settle(near, Judge(url=server.url, model="m"))
    assert judgements(settled) == ["same", "different", "same", "different"]
    assert (rows_dropped(near), rows_dropped(settled)) == ([0, 1], [0, 2])
    assert settled.manifest["judge"] == {"model": "m", "prompt": "tulu-judge/1", "asked": 4, "undecided": 0}
    assert settled.id == audit_id(near.manifest["scan"], MEANING, settled.manifest["judge"]) != near.id
    assert {r["model"] for r in server.asked} == {"m"}


@pytest.mark.parametrize(
    "answer",
    [
        ("I think they are the same.",),
        ('{"verdict": "maybe"}',),
        ('{"verdict": "same"} or rather {"verdict": "different"}',),
        ("",),
        {"choices": []},
        {"choices": [{"message": None}]},
        "<html>busy</html>",
        "[]",
        500,
        404,
        5.0,
    ],
    ids=lambda a: str(a)[-40:],
)
def test_what_is_no_answer_is_undecided_and_never_clean(near, answer, serving, said):
    notes = Notes()
    given = said(*answer) if isinstance(answer, tuple) else answer
    with serving(lambda path, request: given) as server:
        settled = settle(near, Judge(url=server.url, model="m"), progress=notes, wait_s=0.3)
    assert judgements(settled) == ["undecided"] * 4
    assert rows_dropped(settled) == [0, 1]  # as the cosine alone would have it
    assert settled.evals.to_pylist()[0]["undecided"] == 2
    assert len(notes.lines) == 1
    assert "4 of 4 pairs are undecided" in notes.lines[0]


def test_a_cell_with_nothing_but_undecided_pairs_is_not_clean_and_breaks_the_gate(near, tmp_path, serving, said):
    below = judged(near.manifest, near.scan._replace(pairs=near.scan.pairs.slice(2)), MEANING)
    with serving(lambda path, request: 503) as server:
        settled = settle(below, Judge(url=server.url, model="m"), wait_s=0.3)
    [entry] = settled.evals.to_pylist()
    assert (entry["flagged"], entry["undecided"], entry["verdict"]) == (0, 2, "undecided")
    folder = settled.save(tmp_path / "audit")
    with pytest.raises(GateError, match=r"overlaps 0 of 4 instances of a and 2 are undecided; look with: tulu review"):
        step.check_gate(folder)


def test_an_answer_is_kept_and_only_what_is_undecided_is_asked_again(near, tmp_path, serving, said):
    down = {2, 3}

    def answer(path, request):
        return 500 if number(request) in down else said(SAME)

    with serving(answer) as server:
        judge = Judge(url=server.url, model="m")
        first = settle(near, judge, cache=tmp_path, wait_s=0.5)
        assert judgements(first) == ["same", "same", "undecided", "undecided"]
        down.clear()
        server.asked.clear()
        second = settle(first.bare(), judge, cache=tmp_path)
        assert sorted(map(number, server.asked)) == [2, 3]
        assert judgements(second) == ["same"] * 4
        server.asked.clear()
        assert judgements(settle(second.bare(), judge, cache=tmp_path)) == ["same"] * 4
        assert server.asked == []
        settle(second.bare(), Judge(url=server.url, model="another"), cache=tmp_path)
        assert len(server.asked) == 4  # another model was never asked


def test_equal_questions_are_asked_once(near, serving, said):
    pairs = near.scan.pairs
    twice = near.scan._replace(pairs=pa.concat_tables([pairs, pairs]))
    with serving(lambda path, request: said(SAME)) as server:
        settled = settle(judged(near.manifest, twice, MEANING), Judge(url=server.url, model="m"))
    assert len(server.asked) == 4
    assert judgements(settled) == ["same"] * 8


def test_what_words_alone_have_shown_is_not_asked_about(near, serving, said):
    shown = near.scan.pairs.set_column(
        near.scan.pairs.schema.get_field_index("exact"), "exact", pa.array([True, False, False, False])
    )
    with serving(lambda path, request: said(DIFFERENT)) as server:
        settled = settle(
            judged(near.manifest, near.scan._replace(pairs=shown), MEANING), Judge(url=server.url, model="m")
        )
    assert sorted(map(number, server.asked)) == [1, 2, 3]
    assert rows_dropped(settled) == [0]


def test_an_endpoint_that_is_down_is_one_line_soon(near):
    notes = Notes()
    settled = settle(near, Judge(url="http://127.0.0.1:9/v1", model="m"), progress=notes, wait_s=0.3)
    assert judgements(settled) == ["undecided"] * 4
    assert len(notes.lines) == 1
    assert "cannot be reached" in notes.lines[0]


def test_the_question_holds_both_texts_and_no_instructions_of_theirs_are_the_systems(near, serving, said):
    with serving(lambda path, request: said(SAME)) as server:
        settle(near, Judge(url=server.url, model="m"))
    for request in server.asked:
        system, user = request["messages"]
        assert (system["role"], user["role"]) == ("system", "user")
        assert user["content"].count(ITEMS[number(request)]) == 2
        assert "item" not in system["content"]


def test_a_judged_audit_is_stored_under_its_own_id_and_an_undecided_one_is_replaced(near, tmp_path, serving, said):
    store = Store(tmp_path / "store")
    with serving(lambda path, request: 500) as server:
        undecided = settle(near, Judge(url=server.url, model="m"), wait_s=0.3)
    folder = step.save(undecided, store)
    with serving(lambda path, request: said(SAME)) as server:
        decided = settle(near, Judge(url=server.url, model="m"))
    assert step.save(decided, store) == folder
    assert judgements(Audit.load(folder)) == ["same"] * 4
    assert step.save(replace(near), store) != folder


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"verdict": "same"}', "same"),
        ('```json\n{"verdict":"different", "why": "other numbers"}\n```', "different"),
        ('Thinking {"a": 1} … {"verdict": "same"} {"verdict": "same"}', "same"),
        ('{"verdict": "SAME"}', "undecided"),
        ("same", "undecided"),
        (None, "undecided"),
    ],
)
def test_a_verdict_is_a_json_object_wherever_it_stands(answer, expected):
    assert verdict_in(answer) == expected
