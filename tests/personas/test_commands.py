"""`tulu synth` and `tulu personas` as they are called: what they print, and how they refuse."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tulu_data.cli import cli
from tulu_data.errors import TuluError


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def tulu(*args):
    return CliRunner().invoke(cli, list(map(str, args)))


def refusal(*args):
    """The one line that a command refuses with."""
    done = tulu(*args)
    assert done.exit_code != 0
    line = str(done.exception) if isinstance(done.exception, TuluError) else done.output.strip().splitlines()[-1]
    assert "\n" not in line
    return line


def test_without_a_skill_the_skills_are_listed():
    listed = {s["skill"]: s for s in json.loads(tulu("synth", "--json").output)}
    assert list(listed) == ["precise-if", "math", "algebra", "grade-math", "code", "safety"]
    assert all(s["about"] for s in listed.values())
    assert tulu("synth").output.count("\n") >= 8


def test_a_dry_run_asks_nobody_and_tells_request_tokens_and_price():
    asked = ("synth", "grade-math", "-n", 50, "--model", "gpt-4o-mini", "--max-tokens", 300, "--dry-run")
    told = json.loads(tulu(*asked, "--json").output)
    assert told["request"]["model"] == "gpt-4o-mini"
    assert "Math problem:" in told["request"]["messages"][-1]["content"]
    assert told["requests"] == 50 * 5  # a problem, three solutions, a program
    assert told["completion_tokens"] == 250 * 300
    assert 0 < told["usd"] < 1
    assert "250" in tulu(*asked).output
    free = json.loads(tulu("synth", "math", "-n", 5, "--dry-run", "--json").output)
    assert (free["requests"], free["usd"]) == (0, 0.0)


def test_at_temperature_0_a_persona_may_have_more_rows_where_something_is_drawn_for_each():
    asked = ("synth", "precise-if", "-n", 400, "--model", "m", "--temperature", 0, "--dry-run", "--json")
    assert json.loads(tulu(*asked).output)["rows"] == 400


def test_a_run_is_shown_with_its_rows_and_as_json():
    made = json.loads(tulu("synth", "precise-if", "-n", 6, "-q", "--json", "-o", "run").output)
    assert made["version"].startswith("precise-if@tv1-")
    shown = tulu("show", "run", "--rows", 2).output
    assert shown.count("[persona]") == shown.count("[user]") == shown.count("[assistant]") == 2
    assert "[ifeval]" in shown
    told = json.loads(tulu("show", "run", "--rows", 3, "--json").output)
    assert len(told["rows"]) == 3
    assert told["run"]["accepted"] == 6
    assert tulu("show", "precise-if", "--rows", 1).exit_code == 0


def test_the_same_command_goes_on_in_the_same_folder_and_another_does_not():
    def folder(*more):
        return json.loads(tulu("synth", "algebra", "-n", 4, "-q", "--json", *more).output)["folder"]

    assert folder() == folder()
    assert folder() == folder("-n", 5) == folder("--samples", 2)  # what is answered is there
    assert folder() != folder("--seed", 1)


def test_prompts_are_written_edited_and_used():
    assert "mine/math/solve.md" in tulu("synth", "math", "--write-prompts", "mine").output
    assert "is there already" in refusal("synth", "math", "--write-prompts", "mine")
    with Path("mine/math/prompt.md").open("a") as file:
        file.write("\nMake it about {{ persona }} once more.\n")
    told = json.loads(tulu("synth", "math", "--model", "m", "--prompts", "mine", "--dry-run", "--json").output)
    assert "once more." in told["request"]["messages"][-1]["content"]


def test_constraints_are_fixed_or_drawn_from():
    fixed = 'number_words={"num_words": 40, "relation": "at least"}'
    made = tulu("synth", "precise-if", "-n", 5, "-q", "-o", "run", "--constraint", fixed, "--constraint", "no_comma")
    assert made.exit_code == 0, made.output
    rows = json.loads(tulu("show", "run", "--rows", 5, "--json").output)["rows"]
    for row in rows:
        ids = {c["id"] for c in row["constraints"]}
        assert "length_constraints:number_words" in ids
        assert ids <= {"length_constraints:number_words", "punctuation:no_comma"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["synth", "mth"], "skill 'mth' is unknown; did you mean 'math'?"),
        (["synth", "math", "-n", "5000"], "n is 5,000, and 320 personas with 10 rows each allow 3,200; give more"),
        (["synth", "math", "--backend", "openai"], "--backend openai: name a --model"),
        (["synth", "math", "--backend", "procedural", "--model", "m"], "leave out --model"),
        (["synth", "math", "--language", "de"], "the procedural backend writes English alone; name a --model"),
        (["synth", "math", "--language", "english", "--model", "m"], "language 'english' is unknown"),
        (["synth", "math", "--option", "progam=true"], "option 'progam' is unknown"),
        (["synth", "math", "--samples", "10001", "--model", "m"], "samples is 10,001, at most 10,000; ask for fewer"),
        (["synth", "code", "--samples", "1"], "code: samples is 1, and 2 must agree; ask for more"),
        (["synth", "math", "--option", "x"], "write it as KEY=JSON"),
        (["synth", "math", "--harmful"], "math: option 'harmful' is unknown"),
        (["synth", "safety", "--option", 'categories=["unsafe"]'], "harmful requests are made with --harmful alone"),
        (["synth", "safety", "--option", 'categories=["unsave"]'], "did you mean 'unsafe'?"),
        (["synth", "math", "--model", "m", "--temperature", "0"], "temperature 0 gives 3 times the same solution"),
        (
            ["synth", "math", "-n", "400", "--samples", "1", "--model", "m", "--temperature", "0"],
            "temperature 0 gives a persona the same row each time, and n is 400 for 320 personas",
        ),
        (["synth", "math", "--model", "m", "--param", 'model="x"'], "'model' is no parameter"),
        (["synth", "math", "--model", "m", "--budget-usd", "1"], "the price of 'm' is not known; give --price IN,OUT"),
        (["synth", "precise-if", "--constraint", "no_coma"], "did you mean 'no_comma'"),
        (["synth", "precise-if", "--constraint", 'number_words={"num_words": "x"}'], "must be a whole number"),
        (
            [
                *("synth", "precise-if", "--constraint", 'existence={"keywords": ["rain"]}'),
                *("--constraint", 'forbidden_words={"forbidden_words": ["rain"]}'),
            ],
            "keywords:forbidden_words forbids 'rain', which keywords:existence asks for; change or leave out one",
        ),
        (["synth", "precise-if", "--option", "constraints=5"], "constraints must be a list of ID or ID=JSON, got 5"),
        (["synth", "precise-if", "--option", "constraints=[5]"], "must be a list of ID or ID=JSON, got [5]"),
        (["synth", "precise-if", "--option", "max_constraints=true"], "must be a whole number from 1, got True"),
        (
            [
                *("synth", "precise-if", "--constraint"),
                'frequency={"keyword": "x", "frequency": 100000000000, "relation": "at least"}',
            ],
            "frequency must be from 1 to 10,000, got 100,000,000,000",
        ),
        (["synth", "safety", "--option", 'harmful="no"'], "harmful must be true or false, got 'no'"),
        (["synth", "safety", "--option", "categories=5"], "categories must be a list of names, got 5"),
        (["synth", "safety", "--option", 'categories="unsafe"'], "categories must be a list of names, got 'unsafe'"),
        (["synth", "grade-math", "--option", "program=1"], "program must be true or false, got 1"),
        (["synth", "math", "--model", "m", "--timeout", "0"], "backend.openai.timeout_s: should be greater than 0"),
        (["synth", "math", "--model", "m", "--price", "-1,2"], "price: must be two numbers from 0"),
        (["synth", "math", "--backend", "vllm", "--model", "m", "--budget-tokens", "9"], "vllm runs here and has none"),
        (["synth", "math", "--model", "m", "--budget-usd", "1", "--dry-run"], "the price of 'm' is not known; give"),
        (["personas", "expand", "--model", "m", "-o", "x", "--timeout", "0"], "timeout_s: should be greater than 0"),
        (["synth", "math", "--personas", "nobody.jsonl"], "nobody.jsonl: no such file or folder"),
        (["personas", "sample", "--n", "9999"], "n is 9,999, and sample holds 320 personas"),
        (["synth", "math", "--prompts", "empty"], "has no math/STAGE.md"),
        (["show", "no-such-run"], "no-such-run"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(args, message):
    assert message in refusal(*args)


def test_a_persona_file_without_the_field_names_place_fields_and_remedy(tmp_path):
    (tmp_path / "people.jsonl").write_text('{"persona": "A baker of rye bread."}\n{"who": "A carpenter."}\n')
    line = refusal("synth", "math", "--personas", "people.jsonl")
    assert line.startswith("people.jsonl:2: no field 'persona'; known fields: who; ")
    assert "--persona-field" in line


def test_a_template_with_an_unknown_placeholder_names_file_line_and_the_nearest(tmp_path):
    tulu("synth", "math", "--write-prompts", "mine")
    path = tmp_path / "mine" / "math" / "prompt.md"
    path.write_text("=== user\nFor {{ persna }}.\n")
    assert refusal("synth", "math", "--prompts", "mine").endswith(
        "math/prompt.md:2: unknown placeholder 'persna'; did you mean 'persona'?"
    )


@pytest.mark.parametrize(("name", "told"), [("run.json", "tulu-synth/1"), ("pairs.json", "tulu-pairs/1")])
@pytest.mark.parametrize("text", ['{"a": 1}', "[1]"])
def test_a_folder_with_another_programs_file_is_no_run(tmp_path, name, told, text):
    (tmp_path / name).write_text(text)
    assert f"{name}: tells of no run in the format {told}" in refusal("show", tmp_path)


@pytest.mark.parametrize("junk", [None, b"junk"])
@pytest.mark.parametrize("command", [["synth", "precise-if", "-n", "6"], ["pairs", "relax", "precise-if"]])
def test_a_run_whose_table_is_missing_or_damaged_is_told_in_one_line(command, junk):
    tulu("synth", "precise-if", "-n", "6", "-q")
    tulu(*command, "-o", "run", "-q")
    (table,) = Path("run").glob("*.parquet")
    table.unlink() if junk is None else table.write_bytes(junk)
    assert f"{table}: cannot be read" in refusal("show", "run")


def test_a_skill_of_another_distribution_is_found(monkeypatch):
    from importlib.metadata import EntryPoint

    from personas import skills
    from personas.skills import skills as all_skills

    entry = EntryPoint("loud", "personas.skills.mathematics:MATH", skills.GROUP)
    monkeypatch.setattr("tulu_data.plugins.entry_points", lambda group: [entry])
    all_skills.cache_clear()
    try:
        assert "loud" in all_skills()
        clash = EntryPoint("math", "personas.skills.mathematics:MATH", skills.GROUP)
        monkeypatch.setattr("tulu_data.plugins.entry_points", lambda group: [clash])
        all_skills.cache_clear()
        assert "another skill of that name" in refusal("synth", "math")
    finally:
        monkeypatch.undo()
        all_skills.cache_clear()


def test_a_stop_prints_how_to_go_on(serve, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tulu", "synth", "math", "-n", "3"])
    server = serve(fatal=(401, {"error": {"message": "bad key", "code": "invalid_api_key"}}))
    done = tulu("synth", "math", "-n", 3, "--model", "m", "--base-url", server.url, "-q")
    assert done.exit_code == 1
    assert "to go on: tulu synth math -n 3" in done.stderr
    assert isinstance(done.exception, TuluError)
