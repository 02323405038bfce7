"""Filters, comparisons and the review: each against what a person would work out by hand, and on a real terminal."""

import os
import sys
from pathlib import Path

import pexpect
import pyte
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from decontam.auditing import audit
from decontam.comparing import compare
from decontam.filtering import Filter, choose, degrees_of
from decontam.marks import add, keys_of
from decontam.result import Audit
from decontam.verdicts import LAYERS, Policy
from tulu_data.cli import cli
from tulu_data.errors import GateError, UsageError

ITEMS = [f"what is the number {i} times the number of wheels on a cart of {i} oxen" for i in range(4)]
SONGS = ["la la la the river sings to the moon while the frogs keep time with their feet", "do re mi"]
EDITED = ITEMS[0].replace("wheels on a cart of 0", "wheels upon one cart of zero")


@pytest.fixture(scope="module")
def found(make_set, make_suite):
    sets = [make_set("x", [*ITEMS[:3], f"sing {SONGS[0]} now"]), make_set("y", [EDITED, "do re mi", "nothing here"])]
    return audit(sets, [make_suite("carts", ITEMS), make_suite("songs", SONGS, "unseen")])


FILTERS = st.builds(
    Filter,
    set=st.sampled_from([None, "x", "y"]),
    suite=st.sampled_from([None, "carts", "songs"]),
    source=st.none(),
    layer=st.sampled_from([None, *LAYERS]),
    severity=st.sampled_from([None, "question", "question+answer"]),
    mark=st.sampled_from([None, "none", "true"]),
    counts=st.booleans(),
    least=st.sampled_from([None, 0.3, 0.9]),
    most=st.sampled_from([None, 0.5, 1.0]),
    text=st.sampled_from([None, "WHEELS", "frogs", "no such words"]),
)


def fits(pair, wanted, counted, texts):
    degree = max(pair["coverage"], pair["fuzzy"] or 0)
    return all(
        (
            wanted.set in (None, pair["set"]),
            wanted.suite in (None, pair["suite"]),
            wanted.layer is None or wanted.layer in pair["layers"],
            wanted.severity in (None, pair["severity"]),
            wanted.mark is None or (pair["mark"] or "none") == wanted.mark,
            counted or not wanted.counts,
            wanted.least is None or degree >= wanted.least,
            wanted.most is None or degree <= wanted.most,
            wanted.text is None or wanted.text.lower() in texts.lower(),
        )
    )


@given(FILTERS)
@settings(max_examples=200, deadline=None)
def test_a_filter_chooses_what_a_loop_over_the_pairs_chooses(found, wanted):
    messages = {(m["set"], m["row_index"]): m["text"] for m in found.messages.to_pylist()}
    instances = {(i["suite"], i["instance_id"]): i["fields"][0]["text"] for i in found.instances.to_pylist()}
    expected = {
        number
        for number, (pair, counted) in enumerate(zip(found.pairs.to_pylist(), found.counts().tolist(), strict=True))
        if fits(
            pair,
            wanted,
            counted,
            messages[pair["set"], pair["row_index"]] + "\n" + instances[pair["suite"], pair["instance_id"]],
        )
    }
    chosen = choose(found, wanted)
    assert set(chosen) == expected
    assert len(chosen) == len(expected)
    counts, degrees = found.counts(), degrees_of(found)
    ranks = [(not counts[i], -degrees[i]) for i in chosen]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(("name", "value"), [("suite", "cart"), ("set", "z"), ("layer", "fuzy"), ("mark", "maybe")])
def test_a_filter_for_what_is_not_there_names_the_nearest(found, name, value):
    with pytest.raises(UsageError, match=rf"^audit ta1-\w+: no {name} '{value}'; (did you mean|known)"):
        choose(found, Filter(**{name: value}))


# ------------------------------------------------------------ comparing


def test_an_audit_compared_with_itself_has_nothing_to_say(found):
    assert compare(found, found).same
    assert compare(found, found).worse == []


def test_a_comparison_is_what_a_loop_over_both_audits_finds(found, make_set, make_suite):
    sets = [make_set("x", [*ITEMS[1:], f"sing {SONGS[0]} now"]), make_set("y", [EDITED, "do re mi", "nothing here"])]
    other = audit(
        sets, [make_suite("carts", ITEMS), make_suite("songs", SONGS, "unseen")], policy=Policy(policy="tulu3")
    )
    compared = compare(found, other)
    old, new = (dict(zip(keys_of(a.pairs), a.pairs["layers"].to_pylist(), strict=True)) for a in (found, other))
    assert set(compared.added) == set(new) - set(old)
    assert set(compared.removed) == set(old) - set(new)
    assert {c.what for c in compared.facts} == {"policy.policy", "policy.layers", "set x"}
    going = {(r["set"], r["row_id"]) for r in other.rows.to_pylist() if r["dropped"]}
    gone = {(r["set"], r["row_id"]) for r in found.rows.to_pylist() if r["dropped"]}
    assert (set(compared.dropped), set(compared.kept)) == (going - gone, gone - going)
    flagged = [{(e["set"], e["suite"]): e["flagged"] for e in a.evals.to_pylist()} for a in (found, other)]
    assert {(c.set, c.suite) for c in compared.worse} == {k for k, n in flagged[1].items() if n > flagged[0][k]}


def test_marks_and_layers_that_differ_are_changes_of_a_pair(found, tmp_path):
    folder = found.save(tmp_path / "a")
    add(folder, found.manifest["scan"], [(keys_of(found.pairs)[0], "false")])
    [change] = compare(found, Audit.load(folder)).changed
    assert (change.key, change.mark) == (keys_of(found.pairs)[0], (None, "false"))


def tulu(*args, code=0):
    result = CliRunner().invoke(cli, list(map(str, args)))
    if code == 3:
        assert isinstance(result.exception, GateError)
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def test_the_gate_of_a_comparison_names_what_grew_and_where_to_look(found, make_set, make_suite, tmp_path):
    fewer = audit([make_set("x", ITEMS[:1])], [make_suite("carts", ITEMS), make_suite("songs", SONGS, "unseen")])
    before, after = fewer.save(tmp_path / "before"), found.save(tmp_path / "after")
    tulu("compare", after, before, "--gate")
    said = tulu("compare", before, after, "--gate", code=3)
    assert "x × carts 1 → 3" in said
    assert f"tulu review {after}" in said


# ------------------------------------------------------------ without a terminal


def test_pairs_are_printed_where_there_is_no_terminal(found, tmp_path):
    folder = found.save(tmp_path / "a")
    printed = tulu("review", folder, "--suite", "songs", "-n", "1")
    assert SONGS[0][:30] in printed
    assert "1 of 2 pairs (suite songs)" in printed
    assert "[]" in tulu("review", folder, "--search", "no such words", "--json")


def test_all_pairs_of_a_filter_are_marked_at_once(found, tmp_path):
    folder = found.save(tmp_path / "a")
    with pytest.raises(AssertionError):
        tulu("review", folder, "--mark", "false")
    said = tulu("review", folder, "--suite", "carts", "--set", "x", "--mark", "false")
    assert "rows that drop leaves out: x 4 → 1" in said
    assert "x 1 → 4" in tulu("review", folder, "--marked", "false", "--mark", "none")


def test_marks_are_carried_over_to_an_audit_that_has_the_pairs(found, make_set, make_suite, tmp_path):
    folder = found.save(tmp_path / "a")
    tulu("review", folder, "--all", "--mark", "false")
    smaller = audit([make_set("x", ITEMS[:2])], [make_suite("carts", ITEMS)]).save(tmp_path / "b")
    said = tulu("review", smaller, "--import", folder / "marks.jsonl")
    here, there = len(Audit.load(smaller).pairs), len(found.pairs)
    assert f"{here} of {there} marks fit" in said
    assert not any(e["flagged"] for e in Audit.load(smaller).evals.to_pylist())


def test_an_audit_without_a_pair_says_so(make_set, make_suite, tmp_path):
    empty = audit([make_set("x", ["nothing"])], [make_suite("carts", ITEMS)]).save(tmp_path / "a")
    assert "this audit holds no pair" in tulu("review", empty)


# ------------------------------------------------------------ on a terminal


class Terminal:
    """`tulu` on a pseudo-terminal, and the screen that it draws."""

    def __init__(self, *args, size=(40, 120), cwd=None):
        self.screen = pyte.Screen(size[1], size[0])
        self.stream = pyte.ByteStream(self.screen)
        command = str(Path(sys.executable).with_name("tulu"))
        environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.child = pexpect.spawn(command, list(map(str, args)), dimensions=size, env=environment, cwd=cwd, timeout=30)

    def wait_for(self, text, *, gone=False):
        """Reads until the screen shows it, or no longer does."""
        for _ in range(300):
            if (text in self.shown()) != gone:
                return self
            try:
                self.stream.feed(self.child.read_nonblocking(65536, timeout=0.1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
        assert (text in self.shown()) != gone, self.shown()
        return self

    def shown(self):
        return "\n".join(self.screen.display)

    def press(self, *keys):
        for key in keys:
            self.child.send(key)
        return self

    def leave(self):
        """Quits; what is printed afterwards."""
        self.child.send("q")
        self.child.expect(pexpect.EOF)
        said = self.child.before.decode()
        self.child.close()
        assert self.child.exitstatus == 0
        return said


def test_a_reviewer_filters_marks_and_quits_and_drop_honours_it(tmp_path):
    rows = "".join(f'{{"instruction": "{text}", "output": "yes"}}\n' for text in [*ITEMS[:3], EDITED, "something else"])
    (tmp_path / "train.jsonl").write_text(rows)
    suite = "".join(f'{{"id": "{i}", "q": "{text}"}}\n' for i, text in enumerate(ITEMS))
    (tmp_path / "carts.jsonl").write_text(suite)
    (tmp_path / "songs.jsonl").write_text(f'{{"id": "s", "q": "{SONGS[0]}"}}\n')
    (tmp_path / "suites.yaml").write_text(
        "suites:\n"
        "  carts: {group: dev, path: carts.jsonl, fields: [q]}\n  songs: {group: dev, path: songs.jsonl, fields: [q]}\n"
    )
    store = ["--store", tmp_path / "store"]
    tulu("audit", tmp_path / "train.jsonl", "--suites", tmp_path / "suites.yaml", "-o", tmp_path / "audit", *store)
    terminal = Terminal("review", tmp_path / "audit", *store)
    terminal.wait_for("1 of ").wait_for("TRAINING TEXT").press("s").wait_for("suite carts")
    terminal.press("/").wait_for("words of either text").press(ITEMS[1][:25], "\r").wait_for(
        "with “what is the number 1"
    )
    terminal.press("f").wait_for("0 true, 1 false")
    terminal.press("x").wait_for("all pairs").press("/").press("upon one cart", "\r").wait_for("upon one cart")
    terminal.press("t").wait_for("1 true, 1 false")
    terminal.press("?").wait_for("a true match").press("?").wait_for("a true match", gone=True)
    said = terminal.leave()
    assert "2 marked in" in said
    assert "rows that drop leaves out" in said or "drop leaves out the same rows" in said
    tulu("drop", "train", "--audit", tmp_path / "audit", *store)
    kept = tulu("show", "train-clean", "--rows", "10", *store)
    assert ITEMS[1] in kept  # marked false: it stays
    assert EDITED not in kept  # marked true: it goes, though no layer that counts fires
    assert ITEMS[2] not in kept


def test_marks_are_on_disk_before_the_next_pair_shows(found, tmp_path):
    folder = found.save(tmp_path / "audit")
    terminal = Terminal("review", folder)
    terminal.wait_for("1 of ").press("f").wait_for("0 true, 1 false")
    terminal.child.kill(9)
    assert Audit.load(folder).manifest["marks"]["false"] == 1


@pytest.mark.parametrize("size", [(24, 80), (40, 140)])
def test_hostile_texts_are_shown_and_not_obeyed(make_set, make_suite, tmp_path, size):
    text = f"[bold red]x[/] \x1b[2J\x07 \u202etxt.exe\u202c \x00 {SONGS[0]}"
    suite = make_suite("s[i]x", [SONGS[0], "\x1b]0;title\x07 " + ITEMS[0]])
    folder = audit([make_set("[b]set[/b]", [text])], [suite]).save(tmp_path / "audit")
    terminal = Terminal("review", folder, size=size)
    terminal.wait_for("[bold red]x[/]").wait_for("\\x1b[2J")
    assert "\\u202e" in terminal.shown()
    terminal.leave()
    printed = tulu("review", folder, "--plain")
    assert "\x1b[2J" not in printed
    assert "[bold red]x[/]" in printed
