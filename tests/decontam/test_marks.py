"""Marks: what a person said of pairs stands beside the audit, holds for every policy, and is never half written."""

import json

import pytest

from decontam.auditing import audit
from decontam.marks import FILE, Marks, add, keys_of
from decontam.result import Audit
from decontam.verdicts import Policy
from tulu_data.errors import InputError

ITEMS = [f"what is the number {i} times the number of wheels on a cart of {i} oxen" for i in range(4)]


@pytest.fixture
def folder(make_set, make_suite, tmp_path):
    train = make_set("x", [*ITEMS[:3], "the number of wheels on a cart of oxen is a mystery to me"])
    return audit([train], [make_suite("a", ITEMS)]).save(tmp_path / "audit")


def flagged(found):
    return [e["flagged"] for e in found.evals.to_pylist()]


def dropped(found):
    return [r["row_index"] for r in found.rows.to_pylist() if r["dropped"]]


def pair_of(found, row, instance):
    pairs = found.pairs.to_pylist()
    return next(
        key
        for key, p in zip(keys_of(found.pairs), pairs, strict=True)
        if (p["row_index"], p["instance_id"]) == (row, instance)
    )


def test_a_pair_marked_false_does_not_count_and_one_marked_true_does(folder):
    before = Audit.load(folder)
    assert dropped(before) == [0, 1, 2]
    add(folder, before.manifest["scan"], [(pair_of(before, 1, "1"), "false"), (pair_of(before, 3, "2"), "true")])
    after = Audit.load(folder)
    assert dropped(after) == [0, 2, 3]
    assert [m for m in after.pairs["mark"].to_pylist() if m] == ["false", "true"]
    assert after.manifest["marks"]["true"] == after.manifest["marks"]["false"] == 1
    assert after.id == before.id
    assert Audit.load(folder, marked=False) == before


def test_the_last_mark_of_a_pair_holds_and_null_takes_it_back(folder):
    before = Audit.load(folder)
    scan, key = before.manifest["scan"], pair_of(before, 0, "0")
    add(folder, scan, [(key, "false")])
    assert flagged(Audit.load(folder)) == [2]
    add(folder, scan, [(key, "true")])
    assert flagged(Audit.load(folder)) == [3]
    add(folder, scan, [(key, None)])
    assert Audit.load(folder).pairs == before.pairs


def test_marks_hold_under_another_policy(folder):
    before = Audit.load(folder)
    add(folder, before.manifest["scan"], [(pair_of(before, 0, str(i)), "false") for i in range(4)])
    marks = Marks.load(folder, before.manifest["scan"])
    assert 0 not in dropped(before.judged(Policy(policy="any")).reviewed(marks))
    assert 0 in dropped(before.judged(Policy(policy="any")))


def test_marks_of_another_audit_are_refused_in_one_line(folder):
    add(folder, "ts1-0123456789abcdef", [])
    with pytest.raises(
        InputError, match=r"^\S+marks\.jsonl: holds marks of scan ts1-0123456789abcdef, .*--import FILE$"
    ):
        Audit.load(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", r"marks\.jsonl:2: is no JSON object"),
        ('{"set": "x"}', r"marks\.jsonl:2: has no 'row_sha'"),
        ("null mark", r"marks\.jsonl:2: mark is 'maybe'; write true, false \(in quotes\) or null"),
    ],
)
def test_a_line_that_is_no_mark_is_named(folder, line, message):
    found = Audit.load(folder)
    path = add(folder, found.manifest["scan"], [])
    whole = json.dumps(pair_of(found, 0, "0")._asdict() | {"mark": "true"})
    line = whole.replace('"true"', '"maybe"') if line == "null mark" else line
    path.write_text(path.read_text() + line + "\n" + whole + "\n")
    with pytest.raises(InputError, match=message):
        Audit.load(folder)


def test_a_file_of_something_else_is_no_file_of_marks(folder):
    (folder / FILE).write_text('{"format": "other"}\n')
    with pytest.raises(InputError, match=r"does not begin with 'tulu-marks/1'"):
        Audit.load(folder)


def test_a_line_that_was_cut_off_by_a_kill_is_left_out_and_written_over(folder):
    before = Audit.load(folder)
    scan, key = before.manifest["scan"], pair_of(before, 0, "0")
    path = add(folder, scan, [(key, "false")])
    path.write_bytes(path.read_bytes() + b'{"set": "x", "row_')
    assert flagged(Audit.load(folder)) == [2]
    add(folder, scan, [(pair_of(before, 1, "1"), "false")])
    assert flagged(Audit.load(folder)) == [1]
    assert all(json.loads(line) for line in path.read_text().splitlines())
