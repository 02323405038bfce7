"""`tulu audit` and `tulu drop`, and the step of a recipe behind them."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from decontam import step
from decontam.result import Audit
from tulu_data.cli import main
from tulu_data.errors import GateError
from tulu_data.progress import Silent
from tulu_data.store import Store

QUESTIONS = [f"question number {i} asks whether the {i} dogs and the {i} cats sleep at {i}" for i in range(60)]


def write_lines(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def chats(questions, answer="Yes."):
    return [{"prompt": q, "response": answer} for q in questions]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two suites without ids, one of which repeats the other and itself, and a training file."""
    write_lines(tmp_path / "one.jsonl", [{"q": q} for q in QUESTIONS])
    write_lines(tmp_path / "two.jsonl", [{"q": q} for q in [*QUESTIONS[:3], QUESTIONS[0]]])
    declared = {
        "one": {"group": "dev", "path": "one.jsonl", "fields": ["q"]},
        "two": {"group": "unseen", "path": "two.jsonl", "fields": ["q"]},
    }
    (tmp_path / "suites.yaml").write_text(json.dumps({"suites": declared}))
    write_lines(tmp_path / "train.jsonl", chats([QUESTIONS[0], "What else is there?", QUESTIONS[1]]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tulu(capsys, *args):
    """Exit code, stdout and stderr of `tulu ARGS`."""
    code = 0
    try:
        main([*map(str, args)])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def audit(capsys, *args):
    return tulu(capsys, "audit", "-q", "-j", 1, "--suites", "suites.yaml", *args)


def stored_audit(place):
    [folder] = (place / "tulu-store" / "audits").iterdir()
    return folder


@pytest.fixture
def prepared(place, store, make_version):
    section = {"suites": ["suites.yaml"]}
    return step.validate(section, "test", place, under=""), make_version(store, "train", QUESTIONS[:2])


def test_an_output_that_cannot_be_written_is_one_line(place, capsys):
    code, out, err = audit(capsys, "train.jsonl", "-o", "train.jsonl/x")
    assert (code, out) == (1, "")
    assert err.startswith("error: train.jsonl/")
    assert err.endswith(" cannot write (Not a directory); make it writable, or choose another place with -o\n")


def test_a_stored_audit_is_not_made_again(prepared, store, monkeypatch):
    settings, version = prepared
    folder = step.audit(settings, [version], store, workers=1, progress=Silent())
    monkeypatch.setattr(step, "run_audit", None)
    assert step.audit(settings, [version], store, workers=1, progress=Silent()) == folder


@pytest.mark.parametrize("name", ["manifest.json", "evals.parquet", "pairs.parquet", "rows.parquet"])
@pytest.mark.parametrize("junk", [None, b"junk"])
def test_a_damaged_stored_audit_is_made_again(prepared, store, name, junk):
    settings, version = prepared
    folder = step.audit(settings, [version], store, workers=1, progress=Silent())
    whole = Audit.load(folder)
    (folder / name).unlink() if junk is None else (folder / name).write_bytes(junk)
    assert step.audit(settings, [version], store, workers=1, progress=Silent()) == folder
    assert Audit.load(folder).pairs == whole.pairs


def test_suites_that_repeat_each_other_and_themselves_are_shown(place, capsys):
    code, out, _ = audit(capsys, "train.jsonl")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    at = lines.index("Repeated instances")
    assert sorted(lines[at + 3 : at + 6]) == ["one two 3/60", "two itself 1/4", "two one 4/4"]
    assert "Of all suites 5 of 64 instances overlap; counting a repeated one once, 2 of 60." in lines


def test_an_audit_as_json_holds_its_manifest(place, capsys):
    _, out, _ = audit(capsys, "train.jsonl", "--json", "--set-threshold", "0.1", "--exact-min-tokens", "3")
    found = json.loads(out)
    assert {"id", "settings", "suites", "suite_overlaps", "totals"} <= set(found["manifest"])
    assert found["manifest"]["policy"]["set_threshold"] == 0.1
    assert found["manifest"]["settings"]["exact_min_tokens"] == 3
    assert [s["repeated"] for s in found["manifest"]["suites"]] == [0, 1]
    assert len(found["evals"]) == 2
    assert {p["instance_id"] for p in found["pairs"]} == {"#0", "#1", "#3"}
    assert all(len(p["row_sha"]) == 64 for p in found["pairs"])


def test_two_files_of_one_stem_are_named_apart(place, capsys):
    write_lines(place / "a" / "g.jsonl", chats(QUESTIONS[:1]))
    write_lines(place / "b" / "g.jsonl", chats(QUESTIONS[:2]))
    code, _, err = audit(capsys, "a/g.jsonl", "b/g.jsonl")
    assert (code, err) == (
        2,
        "error: a/g.jsonl, b/g.jsonl: both are the training set 'g'; name a raw one apart: NAME=PATH\n",
    )
    code, out, _ = audit(capsys, "a/g.jsonl", "other=b/g.jsonl", "--json")
    assert code == 0
    assert list(json.loads(out)["manifest"]["sets"]) == ["g", "other"]


def test_the_gate_says_which_suite_how_many_and_where_to_look(place, capsys):
    code, out, err = audit(capsys, "train.jsonl", "--gate", "-o", "found")
    assert (code, bool(out)) == (3, True)
    assert err == (
        "error: gate: train overlaps 3 of 4 instances of two, train overlaps 2 of 60 instances of one; "
        "look with: tulu review found\n"
    )
    write_lines(place / "clean.jsonl", chats(["Is there nothing here?"]))
    assert audit(capsys, "clean.jsonl", "--gate")[0] == 0


def test_the_gate_names_the_worst_only(place, capsys):
    for i in range(4):
        write_lines(place / f"t{i}.jsonl", chats(QUESTIONS[: i + 3]))
    audit(capsys, *(f"t{i}.jsonl" for i in range(4)))
    with pytest.raises(GateError, match=r"of two and 5 more; look with: tulu review \S+$"):
        step.check_gate(stored_audit(place))


def test_a_set_dropped_whole_keeps_every_row_among_its_drops(place, capsys):
    audit(capsys, "train.jsonl", "--policy", "tulu3", "-o", "found")
    code, _, _ = tulu(capsys, "drop", "train", "--audit", "found", "-q")
    assert code == 0
    version = Store(place / "tulu-store").open("train-clean")
    assert version.rows == 0
    drops = pq.read_table(version.side_file("drops/decontaminate.parquet"))
    assert drops["reason"].to_pylist() == ["its set is dropped: contaminated by two"] * 3
    assert drops["instance_id"].null_count == 1


def test_a_line_says_what_a_suite_cannot_match(place, capsys):
    write_lines(place / "odd.jsonl", [{"q": "?!"}, {"q": "..."}, {"q": "Who are you?"}])
    declared = {"odd": {"group": "dev", "path": "odd.jsonl", "fields": ["q"]}}
    (place / "odd.yaml").write_text(json.dumps({"suites": declared}))
    code, out, err = tulu(capsys, "audit", "-j", 1, "--suites", "odd.yaml", "train.jsonl")
    assert code == 0
    assert (
        "suite 'odd': 2 of 3 instances hold nothing but separators and cannot match; look at its fields\n"
        "suite 'odd': no instance has a field of 8 tokens, so n-grams find none of it and only whole texts do; "
        "choose a smaller n for coverage\n"
    ) in err
    assert "1 of 3 instances have no field of 8 tokens: only the layer exact sees them." in out


def test_another_policy_takes_the_pairs_of_the_same_scan(place, capsys, monkeypatch):
    assert audit(capsys, "train.jsonl", "-o", "found")[0] == 0
    monkeypatch.setattr("decontam.auditing.scan_part", None)
    code, out, err = tulu(capsys, "audit", "-j", 1, "--suites", "suites.yaml", "train.jsonl", "--threshold", "0.9")
    assert code == 0
    assert "the pairs are those of ta1-" in err
    assert "only the policy differs" in err
    code, out, _ = tulu(capsys, "judge", "found", "--policy", "tulu3", "--json")
    assert code == 0
    judged = json.loads(out)["manifest"]
    assert (judged["policy"]["policy"], judged["policy"]["layers"]) == ("tulu3", ["tulu3"])
    assert judged["scan"] == Audit.load(place / "found").manifest["scan"]
    code, _, err = tulu(capsys, "judge", "found", "--layers", "fuzzy", "--fuzzy-threshold", "0.1")
    assert (code, err.startswith("error: tulu judge: fuzzy_threshold: should be greater")) == (2, True)
    code, _, err = tulu(capsys, "judge", "nowhere")
    assert (code, "holds no audit" in err) == (1, True)


def test_a_judged_audit_decides_what_is_dropped(place, capsys):
    audit(capsys, "train.jsonl", "-o", "found")
    assert tulu(capsys, "judge", "found", "--policy", "none", "-o", "kept")[0] == 0
    assert tulu(capsys, "drop", "train", "--audit", "kept", "-q")[0] == 0
    assert Store(place / "tulu-store").open("train-clean").rows == 3


def test_a_policy_that_the_settings_do_not_serve_is_one_line(place, capsys):
    code, out, err = audit(capsys, "train.jsonl", "--no-fuzzy", "--layers", "exact,fuzzy")
    assert (code, out) == (2, "")
    assert err == (
        "error: tulu audit: layers: fuzzy was not looked for (fuzzy: false); scan with fuzzy, or leave the layer out\n"
    )


@pytest.mark.parametrize("options", [("--engine", "reference"), ("--executor", "processes")])
def test_engine_and_executor_change_nothing(place, capsys, options):
    _, first, _ = audit(capsys, "train.jsonl", "--json")
    for path in stored_audit(place).iterdir():
        path.unlink()
    _, second, _ = audit(capsys, "train.jsonl", "--json", *options)
    first, second = json.loads(first), json.loads(second)
    assert first["manifest"] | {"seconds": 0} == second["manifest"] | {"seconds": 0}
    assert (first["evals"], first["pairs"]) == (second["evals"], second["pairs"])
