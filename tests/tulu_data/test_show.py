"""`tulu show`: views of versions and audits. Audits are made by `tulu audit`, the way a user makes them."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tulu_data.cli import main
from tulu_data.manifest import Input, Step
from tulu_data.mixture import Part, mix
from tulu_data.parquet import write_table
from tulu_data.take import Take

QUESTIONS = [f"question number {i} asks whether the {i} dogs and the {i} cats sleep at {i}" for i in range(30)]
HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202eevil\x9b31m"
UNSAFE = "\x1b\x07\u202e\x9b"


@pytest.fixture
def tulu(capsys):
    """`tulu ARGS` → exit code, stdout and stderr."""

    def call(*args):
        code = 0
        try:
            main([*map(str, args)])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def audited(store, tmp_path, make_version, tulu):
    """The folder of an audit: 25 rows of `a` and 1 of `b` overlap suite `s`, none overlaps suite `t`."""
    make_version(store, "a", QUESTIONS[:25])
    make_version(store, "b", QUESTIONS[25:26])
    for name, texts in (("s", QUESTIONS), ("t", ["A question that stands in neither of the two sets of rows here"])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"q": q}) + "\n" for q in texts))
    declared = {name: {"group": "dev", "path": f"{name}.jsonl", "fields": ["q"]} for name in "st"}
    (tmp_path / "suites.yaml").write_text(json.dumps({"suites": declared}))
    suites = tmp_path / "suites.yaml"
    code, _, err = tulu("audit", "a", "b", "--suites", suites, "--store", store.root, "-o", tmp_path / "found", "-q")
    assert code == 0, err
    return tmp_path / "found"


def squeezed(text):
    return [" ".join(line.split()) for line in text.splitlines()]


# ------------------------------------------------------------ audits


@pytest.mark.parametrize(("options", "shown"), [((), 20), (("--rows", 3), 3), (("--rows", 0), 26)])
def test_the_pairs_of_an_audit_are_limited_by_rows(audited, tulu, options, shown):
    _, out, _ = tulu("show", audited, *options)
    assert sum(line.startswith(("a/", "b/", "a#", "b#")) or " #" in line for line in squeezed(out)) == shown
    assert ("--rows 0 shows all" in out) == (shown < 26)
    assert f"First {shown} of 26 pairs" in out or f"All {shown} pairs" in out


def test_set_and_suite_choose_what_is_shown_of_an_audit(audited, tulu):
    _, out, _ = tulu("show", audited, "--set", "b", "--json")
    found = json.loads(out)
    assert [(e["set"], e["suite"]) for e in found["evals"]] == [("b", "s"), ("b", "t")]
    assert [p["instance_id"] for p in found["pairs"]] == ["#25"]
    _, out, _ = tulu("show", audited, "--suite", "t")
    assert " pairs" not in out
    code, _, err = tulu("show", audited, "--suite", "u")
    assert (code, err) == (2, f"error: {audited}: --suite 'u' is not in this audit; known suites: s, t\n")


def test_every_set_and_suite_is_a_row_that_fits_eighty_columns(audited, tulu):
    _, out, _ = tulu("show", audited)
    table = out.split("Of all suites")[0].splitlines()
    assert max(len(line.rstrip()) for line in table) <= 80
    assert "b t 0/1 0.00 % 0 0 0 0 0 clean" in squeezed(out)


def test_an_audit_as_json_holds_manifest_evals_and_pairs(audited, tulu):
    _, out, _ = tulu("show", audited, "--json")
    found = json.loads(out)
    assert list(found) == ["manifest", "evals", "pairs"]
    assert {"id", "settings", "suites", "suite_overlaps", "totals"} <= set(found["manifest"])
    assert len(found["pairs"]) == 26
    assert bytes.fromhex(found["pairs"][0]["row_sha"])


@pytest.mark.parametrize("name", ["manifest.json", "evals.parquet", "pairs.parquet"])
@pytest.mark.parametrize(("junk", "problem"), [(None, "is missing"), (b"PAR1junk", "cannot be read (")])
def test_a_damaged_audit_is_one_line(audited, tulu, name, junk, problem):
    (audited / name).unlink() if junk is None else (audited / name).write_bytes(junk)
    code, out, err = tulu("show", audited)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {audited / name}: {problem}")
    assert err.endswith("; run tulu audit again\n")
    assert err.count("\n") == 1


def test_an_audit_of_other_columns_or_keys_is_one_line(audited, tulu):
    write_table(audited / "pairs.parquet", pa.table({"set": ["a"]}))
    assert tulu("show", audited)[2].endswith(
        "/pairs.parquet: has other columns than this version writes; run tulu audit again\n"
    )
    (audited / "manifest.json").write_text("[]")
    assert tulu("show", audited)[2].endswith(
        "/manifest.json: format is None, not 'tulu-audit/3'; run tulu audit again\n"
    )


def test_hostile_text_in_an_audit_is_shown_not_obeyed(audited, tulu):
    pairs = pq.read_table(audited / "pairs.parquet")
    at = pairs.column_names.index("train_snippet")
    hostile = pa.array([HOSTILE] * len(pairs))
    write_table(audited / "pairs.parquet", pairs.set_column(at, "train_snippet", hostile))
    _, out, _ = tulu("show", audited, "--rows", 2)
    assert "\\x1b[2J" in out
    assert not set(UNSAFE) & set(out)


# ------------------------------------------------------------ versions


def test_json_with_rows_and_drops_is_one_document(store, make_version, tulu):
    drops = pa.table({"row_sha": pa.array([b"\x00" * 32], pa.binary(32)), "reason": ["overlaps s"]})
    make_version(store, "x", ["one", "two", "three"], side={"drops/decontaminate.parquet": drops})
    _, out, _ = tulu("show", "x", "--store", store.root, "--rows", 2, "--drops", "--json")
    found = json.loads(out)
    assert list(found) == ["manifest", "rows", "drops"]
    assert [r["messages"][0]["content"] for r in found["rows"]] == ["one", "two"]
    assert len(found["rows"][0]["row_sha"]) == 64
    assert found["drops"] == {"drops/decontaminate.parquet": [{"row_sha": "00" * 32, "reason": "overlaps s"}]}
    _, out, _ = tulu("show", "x", "--store", store.root, "--rows", 1, "--json")
    assert list(json.loads(out)) == ["manifest", "rows"]
    _, out, _ = tulu("show", "x", "--store", store.root, "--json")
    assert json.loads(out) == store.open("x").manifest.model_dump()


@pytest.mark.parametrize(("asked", "ids"), [(0, 0), (4, 4), (9, 5)])
def test_rows_run_over_batches_and_stop(store, make_version, tulu, asked, ids):
    make_version(store, "x", [f"row {i}" for i in range(5)], batch_rows=2)
    _, out, _ = tulu("show", "x", "--store", store.root, "--rows", asked)
    assert out.count("[user] row ") == ids


def test_a_damaged_side_file_is_one_line(store, make_version, tulu):
    version = make_version(store, "x", ["one"], side={"rejects.parquet": pa.table({"place": ["d:1"]})})
    version.side_file("rejects.parquet").write_bytes(b"PAR1")
    code, _, err = tulu("show", "x", "--store", store.root, "--drops")
    assert code == 1
    assert err.count("\n") == 1
    assert "/rejects.parquet: cannot be read (" in err


def test_hostile_rows_are_shown_not_obeyed(store, make_version, tulu):
    row = {
        "messages": [
            {"role": "user", "content": f"line one\n\tline two {HOSTILE}"},
            {"role": "assistant", "content": "ok"},
        ]
    }
    side = {"rejects.parquet": pa.table({"place": ["d:1"], "excerpt": [HOSTILE]})}
    make_version(store, "x", [row], license=f"mit{HOSTILE}", side=side)
    _, out, _ = tulu("show", "x", "--store", store.root, "--rows", 1, "--drops")
    assert "[user] line one\n\tline two \\x1b[2J" in out
    assert not set(UNSAFE) & set(out)


def test_an_ingest_step_shows_how_many_records_were_rejected(store, make_version, tulu):
    given = Input(uri="trees.jsonl", sha256="0", bytes=1, records=3, rows=5, rejected={"is empty": 1, "has no text": 1})
    steps = [
        Step(name="ingest", source="x", rows_in=3, rows_out=5),
        Step(name="decontaminate", source="x", rows_in=5, rows_out=4),
        Step(name="mix", rows_in=4, rows_out=8),
    ]
    make_version(store, "x", ["one"], inputs=[given], steps=steps)
    make_version(store, "y", ["one"], inputs=[given], steps=[steps[0], *steps])
    _, out, _ = tulu("show", "x", "--store", store.root)
    assert {"ingest x 3 5 2", "decontaminate x 5 4 1", "mix 4 8"} <= set(squeezed(out))
    _, out, _ = tulu("show", "y", "--store", store.root)
    assert "ingest x 3 5" in squeezed(out)


# ------------------------------------------------------------ mixtures


@pytest.fixture
def mixture(store, make_version):
    """Publishes a mixture `m` of `sums` (half of 8 rows) and `talk` (all of 4); topics by part."""

    def make(**topics):
        read = Step(name="ingest", source="sums", rows_in=90_000_000, rows_out=90_000_000)
        rules = [{"rule": f"rule_{i}.of_a_filter_with_a_long_name", "first": 1000 + i} for i in range(9)]
        about = {"params": {"funnel": rules}, "rows_in": 90_000_000, "rows_out": 8, "parents": ["sums@tv1-0"]}
        kept = Step(name="filter", source="sums", **about)
        sums = make_version(store, "sums", QUESTIONS[:8], steps=[read, kept])
        talk = make_version(store, "talk", QUESTIONS[8:12], license="cc-by-nc-4.0")
        parts = [Part("sums", sums, Take(fraction=0.5), topics.get("sums"))]
        return mix(store, "m", [*parts, Part("talk", talk, Take(all=True), topics.get("talk"))])

    return make


def test_sources_have_a_column_of_topics_where_there_are_any_and_only_there(store, mixture, tulu):
    mixture()
    _, out, _ = tulu("show", "m", "--store", store.root)
    assert "source rows share copies characters tokens licence" in squeezed(out)
    assert "topic" not in out
    mixture(sums="math")
    _, out, _ = tulu("show", "m", "--store", store.root)
    lines = squeezed(out)
    assert "source topic rows share copies characters tokens licence" in lines
    assert any(line.startswith("sums math 4 50.00 % 0 ") for line in lines)
    assert any(line.startswith("talk 4 50.00 % 0 ") for line in lines)


def test_topics_and_parts_stand_with_what_was_asked_for(store, mixture, tulu):
    made = mixture(sums="math", talk="chat")
    _, out, _ = tulu("show", "m", "--store", store.root)
    lines = squeezed(out)
    tokens = {name: s.tokens for name, s in made.manifest.logical.sources.items()}
    share = f"{100 * tokens['sums'] / sum(tokens.values()):.2f} %"
    assert f"math 4 50.00 % {tokens['sums']} {share} 50.00 % 50.00 % sums" in lines
    assert "part topic take available asked achieved" in lines
    assert "sums math fraction 0.5 8 4 4" in lines
    assert "talk chat all 4 4 4" in lines
    assert "Commercial use: no, for cc-by-nc-4.0 (4 rows)." in lines


def test_parts_by_tokens_say_so(store, make_version, tulu):
    x = make_version(store, "x", [f"row {i} " * (i + 1) for i in range(9)])
    made = mix(store, "m", [Part("x", x, Take(tokens=50))])
    _, out, _ = tulu("show", "m", "--store", store.root)
    logical = made.manifest.logical
    assert f"x tokens 50 9 tokens 50 {logical.tokens} {logical.rows}" in squeezed(out)


def test_the_funnel_is_a_line_for_each_part_that_fits_a_hundred_columns(store, mixture, tulu):
    mixture()
    _, out, _ = tulu("show", "m", "--funnel", "--store", store.root)
    lines = squeezed(out)
    assert "part read rejected filtered left sampled" in lines
    assert "sums 90,000,000 0 89,999,992 8 4" in lines
    assert "talk 0 4 4" in lines
    why = "rule_8.of_a_fil… 1,008, rule_7.of_a_fil… 1,007, 7 other reasons 7,021"
    assert f"sums filtered {why}" in lines
    shown = out[out.index("What became") : out.index("Commercial use")]
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100


def test_the_funnel_as_json_is_a_key_beside_the_manifest(store, mixture, tulu):
    made = mixture(sums="math")
    _, out, _ = tulu("show", "m", "--funnel", "--json", "--store", store.root)
    found = json.loads(out)
    assert list(found) == ["manifest", "funnel"]
    assert found["manifest"] == made.manifest.model_dump()
    [sums, talk] = found["funnel"]
    assert (sums["part"], sums["topic"], sums["left_out"]) == ("sums", "math", {"rejected": 0, "filtered": 89_999_992})
    assert len(sums["reasons"]["filtered"]) == 9
    assert (talk["left_out"], talk["remaining"], talk["sampled"]) == ({}, 4, 4)


# ------------------------------------------------------------ options that do not apply


@pytest.mark.parametrize(
    ("what", "options", "error"),
    [
        (
            None,
            ("--rows", 3),
            "--rows: does not apply to the store; leave it out, or name a dataset or an audit to show",
        ),
        (
            None,
            ("--drops",),
            "--drops: does not apply to the store; leave it out, or name a dataset or an audit to show",
        ),
        ("audit", ("--funnel",), "--funnel: does not apply to an audit; leave it out, or give it with a dataset"),
        ("x", ("--suite", "s"), "--suite: does not apply to a dataset; leave it out, or give it with an audit"),
        ("audit", ("--drops",), "--drops: does not apply to an audit; leave it out, or give it with a dataset"),
    ],
)
def test_an_option_that_does_not_apply_is_refused(store, make_version, audited, tulu, what, options, error):
    make_version(store, "x", ["one"])
    shutil.copytree(audited, store.root / "audits" / "audit")
    code, out, err = tulu("show", *([what] if what else []), "--store", store.root, *options)
    assert (code, out, err) == (2, "", f"error: {error}\n")


def test_of_many_drops_the_first_are_printed_and_an_empty_list_has_none(store, make_version, tulu):
    side = {
        "drops/dedup.parquet": pa.table(
            {"id": [f"gone-{i:03}" for i in range(80)], "reason": ["near duplicate of another row " * 2] * 80}
        ),
        "drops/filter.parquet": pa.table({"a column with a head as wide as the title": pa.array([], pa.string())}),
    }
    make_version(store, "x", ["one"], side=side)
    _, out, _ = tulu("show", "x", "--store", store.root, "--drops")
    assert "80 rows, the first 50" in out
    assert [i for i in range(80) if f"gone-{i:03}" in out] == list(range(50))
    assert "drops/filter.parquet: 0 rows" in out
