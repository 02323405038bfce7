"""`tulu filter`: the funnel, one row explained, and what is said of wrong input."""

import json

import pytest

from tulu_data.cli import cli
from tulu_data.commands.filter import command
from tulu_data.errors import TuluError
from tulu_data.filters.explaining import explain, marked
from tulu_data.filters.registry import FILTERS, validate

ROWS = {
    "good": "Ten frames fit into a standard box.",
    "self": "As an AI language model, I have never seen a hive. As an AI, I count ten frames.",
    "mail": "Ask maria.keller@posteo.de about it.",
    "hostile": "\x1b[2J\u202eAs an AI language model, I clear screens.<|im_end|>",
    "long": f"{'The bees rest. ' * 3}As an AI, I know. {' '.join(f'word{i}' for i in range(300))}",
}


def row(answer, orig_id):
    turns = [{"role": "user", "content": f"How many? ({orig_id})"}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "prov": {"orig_id": orig_id}}


@pytest.fixture
def version(store, make_version):
    return make_version(store, "bees", [row(text, name) for name, text in ROWS.items()])


@pytest.fixture
def tulu(capsys, store):
    """`tulu filter ARGS` → exit code, stdout and stderr."""

    def call(*args):
        code = 0
        try:
            command.main([*map(str, args), "--store", str(store.root), "-j", "1"], standalone_mode=False)
        except TuluError as e:
            code = e.exit_code
            print(f"error: {e}")
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def squeezed(text):
    return [" ".join(line.split()) for line in text.splitlines()]


# ------------------------------------------------------------ the funnel


def test_a_version_is_published_and_the_funnel_printed(version, tulu, store):
    code, out, _ = tulu("bees", "--set", "pii=true")
    assert code == 0
    made = store.open("bees-filtered")
    assert made.rows == 1
    lines = squeezed(out)
    assert lines[0] == "bees: 5 rows, 4 dropped, 1 stay"
    assert lines[1] == "rule drops first share drops alone drops only"
    assert "self_identification.as_an_ai 2 40.00 % 3 2" in lines
    assert "templates.special_token 1 20.00 % 1 0" in lines
    assert "pii.email 1 20.00 % 1 1" in lines
    assert lines[-1] == f"{made.ref} {made.path}"


def test_a_dry_run_prints_the_same_and_publishes_nothing(version, tulu, store):
    _, planned, _ = tulu("bees", "--dry-run")
    assert store.names() == ["bees"]
    _, done, _ = tulu("bees", "--name", "tidy")
    assert store.names() == ["bees", "tidy"]
    assert squeezed(planned)[:-1] == squeezed(done)[:-1]


def test_the_funnel_as_json(version, tulu):
    _, out, _ = tulu("bees", "--dry-run", "--json", "--set", "pii=true")
    found = json.loads(out)
    assert (found["from"], found["version"], found["rows_in"], found["rows_out"]) == (version.ref, None, 5, 1)
    assert {"rule": "pii.email", "first": 1, "alone": 1, "only": 1} in found["funnel"]


def test_tulu_show_prints_what_was_dropped(version, tulu, store, capsys):
    tulu("bees")
    cli.main(["show", "bees-filtered", "--drops", "--store", str(store.root)], standalone_mode=False)
    out = capsys.readouterr().out
    assert "drops/filter.parquet: 3 rows" in out
    assert "self_identification.as_an_ai: messages[1] has 'As an AI language model,'" in out


def test_settings_come_from_a_file_a_recipe_or_the_command_line(version, tulu, tmp_path):
    plain, recipe = tmp_path / "f.yaml", tmp_path / "r.yaml"
    plain.write_text("pii: {drop: [email]}\nself_identification: false\n")
    recipe.write_text("name: r\nfilter:\n  pii: {drop: [email]}\n  self_identification: false\n")
    found = [tulu("bees", "--dry-run", "--json", "--config", path)[1] for path in (plain, recipe)]
    assert found[0] == found[1]
    assert {r["rule"] for r in json.loads(found[0])["funnel"]} == {"pii.email", "templates.special_token"}
    _, out, _ = tulu("bees", "--dry-run", "--json", "--config", plain, "--set", "pii.drop=[phone]")
    assert {r["rule"] for r in json.loads(out)["funnel"]} == {"templates.special_token"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("bees", "--set", "lenght.max_chars=3"), "--set: filter.lenght: unknown key; did you mean 'length'?"),
        (("bees", "--set", "pii"), "--set pii: write it as key.key=value"),
        (("beez",), "beez: no such dataset in "),
        (("bees", "--explain", "bees/nobody"), "no row has the id 'bees/nobody'; tulu show bees --rows 5 prints some"),
        (("bees", "--explain", "bees/good", "--dry-run"), "--explain: looks at one row and publishes nothing"),
        (
            ("bees", "--set", "language={keep: [en], detector: fasttext, model: no.bin}"),
            "no.bin: no such language model",
        ),
        (("bees", "--set", "length={max_tokens: 3, tokenizer: word}"), "tokenizer 'word' is unknown; use 'words/1'"),
    ],
)
def test_wrong_input_is_one_line(version, tulu, store, args, said):
    code, out, _ = tulu(*args)
    assert code in (1, 2)
    assert said in out
    assert out.count("\n") == 1
    assert store.names() == ["bees"]


def test_an_exempt_source_that_the_version_does_not_have_is_told(version, tulu):
    _, _, err = tulu("bees", "--dry-run", "--set", "exempt.bee=[refusals]")
    assert "warning: exempt.bee: bees has no such source; did you mean 'bees'?\n" in err
    assert "warning" not in tulu("bees", "--dry-run", "--set", "exempt.bees=[refusals]")[2]


def test_a_rule_that_takes_most_of_a_source_is_told_on_stderr(store, make_version, tulu):
    make_version(store, "t0", [row("Yes.<|endoftext|>", str(i)) for i in range(20)])
    code, out, err = tulu("t0", "--dry-run", "--json")
    assert (code, json.loads(out)["rows_out"]) == (0, 0)
    assert err.count("warning: templates.special_token drops 20 of 20 rows of t0") == 1


# ------------------------------------------------------------ one row


def test_a_row_is_explained_by_every_filter(version):
    found = explain(version, "bees/mail", validate({}, "x"))
    assert [s.filter for s in found.said] == list(FILTERS)
    by_name = {s.filter: s for s in found.said}
    assert [str(r) for r in by_name["pii"].reasons] == ["pii.email: messages[1] has 'maria.keller@posteo.de'"]
    assert not by_name["pii"].on
    assert found.reasons == []
    assert by_name["length"].values["answer_chars"] == len(ROWS["mail"])
    on = explain(version, "bees/mail", validate({"pii": True}, "x"))
    assert [r.rule for r in on.reasons] == ["pii.email"]
    exempt = explain(version, "bees/mail", validate({"pii": True, "exempt": {"bees": ["pii"]}}, "x"))
    assert exempt.reasons == []


def test_what_was_found_is_marked_in_the_text(version, tulu):
    _, out, _ = tulu("bees", "--explain", "bees/self")
    assert "⟦As an AI language model,⟧ I have never seen a hive. ⟦As an AI,⟧ I count ten frames." in out
    assert squeezed(out)[-1] == "dropped by self_identification.as_an_ai: messages[1] has 'As an AI language model,'"
    assert any(line.startswith("pii no") for line in squeezed(out))
    _, out, _ = tulu("bees", "--explain", "bees/good")
    assert squeezed(out)[-1] == "stays"
    assert "⟦" not in out


def test_hostile_text_is_shown_not_obeyed(version, tulu):
    _, out, _ = tulu("bees", "--explain", "bees/hostile")
    assert "\x1b[2J" not in out
    assert "\u202e" not in out
    assert "⟦<|im_end|>⟧" in out


def test_of_a_long_turn_only_what_is_near_a_match_is_shown(version, tulu):
    _, out, _ = tulu("bees", "--explain", "bees/long")
    assert "⟦As an AI,⟧" in out
    assert "word250 " not in out


def test_pieces_of_a_turn_make_up_the_whole_of_it(version):
    found = explain(version, "bees/hostile", validate({}, "x"))
    for turn in found.turns:
        spans = found.spans(turn)
        assert "".join(text for text, _ in marked(turn, spans)) == turn.text
        assert [text for text, is_match in marked(turn, spans) if is_match] == [
            turn.text[s.start : s.end] for s in spans
        ]


def test_an_explanation_as_json(version, tulu):
    _, out, _ = tulu("bees", "--explain", "bees/self", "--json")
    found = json.loads(out)
    assert found["dropped_by"].startswith("self_identification.as_an_ai")
    assert [f["filter"] for f in found["filters"]] == list(FILTERS)
