"""Variants of a recipe differ from it in what was asked for, and share every step that does not depend on that."""

from __future__ import annotations

import json
import shlex
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tulu_data import ablation
from tulu_data import recipe as recipes
from tulu_data.ablation import Base, Counts, as_yaml, changes, variant
from tulu_data.cli import cli
from tulu_data.errors import RecipeError, TuluError, UsageError
from tulu_data.pipeline import run
from tulu_data.store import Store

BUNDLED = ["tulu3_sft_8b", "tulu3_sft_70b", "tulu3_pref_8b", "tulu3_pref_70b", "tulu3_rlvr"]
HELD = {"gsm": 40, "numina": 30, "python": 50, "chat": 20}
TOPIC_OF = {"gsm": "Math", "numina": "Math", "python": "Coding", "chat": None}
TAKES: dict[str, dict[str, Any]] = {
    "gsm": {"count": 20},
    "numina": {"all": True},
    "python": {"count": 40},
    "chat": {"fraction": 0.5},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with data/*.jsonl and recipes/r.yaml, as the current one, which has a store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TULU_STORE", str(tmp_path / "store"))
    (tmp_path / "data").mkdir()
    for name, rows in HELD.items():
        lines = [json.dumps({"prompt": f"{name} {i}?", "response": "yes " * (i % 5 + 1)}) for i in range(rows)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    write_recipe(tmp_path)
    return tmp_path


def written(**more: Any) -> dict[str, Any]:
    sources = {name: {"path": f"{name}.jsonl", "license": "mit"} for name in HELD}
    for name, topic in TOPIC_OF.items():
        sources[name] |= {"topic": topic} if topic else {}
    data = {"name": "r", "description": "All.", "root": "../data", "seed": 3, "sources": sources, "mix": TAKES}
    return {key: value for key, value in (data | more).items() if value is not None}


def write_recipe(folder: Path, **more: Any) -> None:
    (folder / "recipes").mkdir(exist_ok=True)
    (folder / "recipes" / "r.yaml").write_text(yaml.safe_dump(written(**more), sort_keys=False))


def ablate(*args: str, recipe: str = "recipes/r.yaml", out: str = "out/ablations") -> Any:
    """The command's result, as `--json` has it, by the name of the variant."""
    done = CliRunner().invoke(cli, ["ablate", recipe, "-o", out, "--json", *args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return {r["name"]: r for r in json.loads(done.stdout)}


def refusal(*args: str, recipe: str = "recipes/r.yaml") -> str:
    """The one line that refuses it."""
    with pytest.raises(TuluError) as caught:
        CliRunner().invoke(cli, ["ablate", recipe, "-o", "out", *args], catch_exceptions=False)
    assert not list(Path("out").glob("*")), "something was written"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def loaded(name: str, out: str = "out/ablations") -> recipes.Loaded:
    return recipes.load(f"{out}/{name}.yaml")


# ------------------------------------------------------------ what is written


def test_a_variant_is_the_recipe_without_the_source_in_its_mix_and_reads_the_same_files(folder):
    ablate("--without", "python")
    text = Path("out/ablations/r-without-python.yaml").read_text()
    data = yaml.safe_load(text)
    expected = written(name="r-without-python", description="r without python.", root="../../data")
    expected["mix"] = {name: take for name, take in TAKES.items() if name != "python"}
    assert data == expected
    assert list(data) == ["name", "description", "seed", "root", "sources", "mix"]
    assert loaded("r-without-python").root == (folder / "data").resolve() == loaded("r").root
    assert text.splitlines()[0].startswith("# r without python. 1 of 4 parts leave the mix: python.")
    assert "\n  gsm: {path: gsm.jsonl, license: mit, topic: Math}\n" in text
    assert yaml.safe_load(Path("out/ablations/r.yaml").read_text()) == written(root="../../data")


def test_the_head_has_the_command_that_writes_the_same_files_again(folder):
    write_recipe(folder, expect={"rows": 89})
    args = ["--without", "gsm+chat", "--only", "Math", "--each", "topic", "--set", "seed=4", "--set", "mix.gsm.count=9"]
    ablate(*args, "--same-size", "--emphasize", "Coding:share=0.25+Math:times=0.5")
    before = {path: path.read_bytes() for path in Path("out/ablations").iterdir()}
    assert {p.stem for p in before} == {
        "r",
        "r-without-gsm-chat",
        "r-without-Math",
        "r-without-Coding",
        "r-only-Math",
        "r-Coding-share-0.25-Math-times-0.5",
    }
    [command] = {b.decode().split("# Written by: ")[1].splitlines()[0] for b in before.values()}
    for path in before:
        path.unlink()
    done = CliRunner().invoke(cli, shlex.split(command)[1:], catch_exceptions=False)
    assert done.exit_code == 0
    assert {path: path.read_bytes() for path in Path("out/ablations").iterdir()} == before


@pytest.mark.parametrize("name", BUNDLED)
def test_each_variant_of_a_bundled_recipe_loads_and_plans_without_a_network(name, folder, monkeypatch):
    def refuse(*args):
        raise AssertionError(f"a plan reached for the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    base = recipes.load(name).recipe
    found = ablate("--each", "source", recipe=name)
    planned = {p.name: p.rows for p in run(recipes.load(name), Store("none"), dry_run=True).outline.parts}
    assert len(found) == len(base.mix) + 1
    for part in base.mix:
        recipe = loaded(f"{name}-without-{part}").recipe
        assert list(recipe.mix) == [n for n in base.mix if n != part]
        assert recipe.sources == base.sources
        assert recipe.expect.rows == base.expect.rows - planned[part]
        assert found[recipe.name]["planned"] == recipe.expect.rows == sum(planned.values()) - planned[part]
        assert "source: tulu3/" in Path(f"out/ablations/{recipe.name}.yaml").read_text()
        assert run(loaded(recipe.name), Store("none"), dry_run=True).outline.rows == recipe.expect.rows
    assert not Path("none").exists()


def test_the_four_ablations_of_the_papers_table_10_are_one_command(folder):
    args = [word for name in ("wildchat", "Safety", "persona_*", "Math") for word in ("--without", name)]
    found = ablate(*args, recipe="tulu3_sft_8b")
    personas = 149_960 + 49_980 + 20_000 + 34_999 + 29_980
    assert {name.partition("-without-")[2]: r["planned"] for name, r in found.items()} == {
        "": 939_344,
        "wildchat": 939_344 - 100_000,
        "Safety": 939_344 - 110_983,
        "persona": 939_344 - personas,
        "Math": 939_344 - 334_252,
    }


def test_what_is_written_is_read_back_as_it_was_whatever_it_holds():
    shared = ["no", "2024-12-01", "a: b # c", "ünï"]
    data = {
        "name": "x",
        "number": 1e-5,
        "one": shared,
        "two": {"three": shared, "four": {"five": [{"six": None}, shared]}},
    }
    text = as_yaml(ablation.Variant(data, "x " * 200, ("y " * 200,)), "tulu ablate x")
    assert yaml.safe_load(text) == data
    assert "&" not in text
    assert all(len(line) <= 120 for line in text.splitlines())


# ------------------------------------------------------------ what a run makes


def digests(name: str) -> Counter[tuple[str, bytes]]:
    table = Store("store").open(name).table(["source", "row_sha"])
    return Counter((r["source"], r["row_sha"]) for r in table.to_pylist())


def test_after_the_base_only_the_mix_runs_and_the_other_rows_are_the_bases(folder):
    found = ablate("--each", "source", "--only", "Math", "--run")
    base = digests("r")
    assert found["r"]["steps_run"] == [*(f"ingest:{name}" for name in HELD), "mix"]
    for name, told in found.items():
        kept = loaded(name).recipe.mix
        expected = Counter({row: n for row, n in base.items() if row[0] in kept})
        assert digests(name) == expected
        assert (told["in_base"], told["not_in_base"], told["rows"]) == (expected.total(), 0, expected.total())
        assert told["planned"] == told["rows"]
        assert told["planned_topics"] == {"Math": 0, "Coding": 0, "": 0} | told["topics"]
        assert name == "r" or told["steps_run"] == ["mix"]
    again = ablate("--each", "source", "--only", "Math", "--run")
    assert all(told["steps_run"] == [] for told in again.values())
    assert {name: told["version"] for name, told in again.items()} == {n: t["version"] for n, t in found.items()}


@pytest.mark.parametrize("scope", ["within", "across"])
def test_rows_that_left_as_its_duplicates_come_back_where_they_are_sought_across_sources(folder, scope):
    chat = Path("data/chat.jsonl").read_text()
    Path("data/python.jsonl").write_text(chat + Path("data/python.jsonl").read_text())
    dedup = {"exact": ["row"], "scope": scope} | ({"priority": ["chat"]} if scope == "across" else {})
    write_recipe(folder, dedup=dedup, mix={name: {"all": True} for name in HELD})
    found = ablate("--without", "chat", "--run")
    recipe, rows = loaded("r-without-chat").recipe, found["r-without-chat"]["topics"]
    assert found["r"]["topics"] == {"Math": 70, "Coding": 70 if scope == "within" else 50, "": 20}
    assert rows == {"Math": 70, "Coding": 70}
    if scope == "within":
        assert "chat" in recipe.sources
        assert found["r-without-chat"]["steps_run"] == ["mix"]
        return
    assert (list(recipe.sources), recipe.dedup["priority"]) == (["gsm", "numina", "python"], [])
    assert found["r-without-chat"]["steps_run"] == ["dedup:gsm", "dedup:numina", "dedup:python", "mix"]
    assert "They leave the sources too" in Path("out/ablations/r-without-chat.yaml").read_text()


def test_a_source_that_another_is_made_of_stays_and_a_source_with_another_part_too():
    sources = {
        "chat": {"path": "c"},
        "web": {"path": "w"},
        "prefs": {"pairs": {"of": "chat"}},
        "more": {"pairs": {"of": "web"}},
    }
    mix = {
        "chat": {"count": 1},
        "old": {"of": "web", "count": 1},
        "new": {"of": "web", "count": 1},
        "prefs": {"count": 1},
        "more": {"count": 1},
    }
    data = {"name": "r", "sources": sources, "mix": mix, "dedup": {"scope": "across"}}
    base = based(data)

    def left(*without: str) -> tuple[list[str], int]:
        [change] = changes(base.recipe, without=without)
        made = variant(base, change, Path())
        recipes.from_data(made.data, place="", base=Path())
        return list(made.data["sources"]), len(made.notes)

    assert left("chat") == (["chat", "web", "prefs", "more"], 1)
    assert left("chat+prefs") == (["web", "more"], 0)
    assert left("old") == (["chat", "web", "prefs", "more"], 0)
    assert left("web+more") == (["chat", "prefs"], 0)
    assert left("web+chat") == (["chat", "web", "prefs", "more"], 2)


# ------------------------------------------------------------ how large


def based(data: dict[str, Any], counts: Counts | None = None) -> Base:
    read = recipes.from_data(data, place="r.yaml", base=Path())
    if counts is None:
        unknown = dict.fromkeys(data["mix"])
        counts = Counts(unknown, unknown, unknown, None, settled=False)
    return Base(data, read, counts)


def test_with_the_same_size_the_others_make_up_for_it_and_repeat_where_they_must(folder):
    found = ablate("--without", "Coding", "--same-size", "--run")
    recipe = loaded("r-without-Coding").recipe
    assert found["r"]["rows"] == found["r-without-Coding"]["rows"] == recipe.size.rows == 100
    # 20, 30 and 10 rows of 60 become 33, 50 and 17 of 100; numina has 30 rows
    assert {n: t.model_dump(exclude_defaults=True) for n, t in recipe.mix.items()} == {
        "gsm": {"count": 20},
        "numina": {"count": 30, "repeat": 2},
        "chat": {"fraction": 0.5},
    }
    assert found["r-without-Coding"]["topics"] == {"Math": 83, "": 17}
    assert found["r-without-Coding"]["notes"] == ["rows of numina repeat: a share is larger than its source"]
    base, made = digests("r"), digests("r-without-Coding")
    assert all(made[row] >= n for row, n in base.items() if row[0] != "python")


def test_more_of_a_topic_is_a_topics_section_and_the_sources_repeat_where_they_must(folder):
    found = ablate("--emphasize", "Math:times=1.8", "--emphasize", "Math:share=0.1+Coding:share=0.2", "--run")
    more, less = loaded("r-Math-times-1.8").recipe, loaded("r-Math-share-0.1-Coding-share-0.2").recipe
    assert found["r"]["topics"] == {"Math": 50, "Coding": 40, "": 10}
    assert found["r-Math-times-1.8"]["topics"] == {"Math": 90, "Coding": 8, "": 2}
    assert (more.mix["numina"].count, more.mix["numina"].repeat, more.mix["gsm"].repeat) == (30, 2, 1)
    assert {t: e.share for t, e in less.topics.items()} == {"Math": 0.1, "Coding": 0.2}
    assert found[less.name]["topics"] == {"Math": 10, "Coding": 20, "": 70}
    assert less.mix["chat"].count == 10
    assert less.mix["chat"].repeat == 4


WEIGHTS = {"gsm": {"weight": 1}, "numina": {"weight": 1}, "python": {"weight": 2}, "chat": {"count": 10}}


@pytest.mark.parametrize(
    ("size", "without", "same_size", "expected", "rows"),
    [
        # python's 50 rows are the limit: without it, and without a size, the others would grow to 30 each
        (None, "python", False, {"rows": 60}, {"gsm": 25, "numina": 25, "chat": 10}),
        (None, "chat", False, None, {"gsm": 25, "numina": 25, "python": 50}),
        ({"rows": 50}, "numina", False, {"rows": 40}, {"gsm": 10, "python": 20, "chat": 10}),
        ({"rows": 50}, "numina", True, {"rows": 50}, {"gsm": 13, "python": 27, "chat": 10}),
        ({"rows": 50}, "gsm+numina+python", False, None, {"chat": 10}),
    ],
)
def test_parts_with_weights_keep_their_rows_or_share_out_what_left(folder, size, without, same_size, expected, rows):
    write_recipe(folder, mix=WEIGHTS, size=size)
    base = run(recipes.load("recipes/r.yaml"), Store("store"))  # then counts are exact
    args = ["--without", without, *(["--same-size"] if same_size else [])]
    [name] = {*ablate(*args)} - {"r"}
    planned = run(loaded(name), Store("store"), dry_run=True).plan
    assert {p.part.name: len(p.rows) for p in planned.parts} == rows
    told = loaded(name).recipe.size
    assert (told.model_dump(exclude_defaults=True) if told else None) == expected
    if not same_size:
        before = base.mixture.manifest.steps[-1].params["parts"]
        assert {n: before[n]["rows"] for n in rows} == rows


@pytest.mark.parametrize(
    ("size", "without", "message"),
    [
        (
            {"rows": 50},
            "gsm+numina+python",
            "r without gsm, numina and python: mix.chat: its share is 50 rows, the source has 20; set its 'repeat: 3', "
            "or ask for less",
        ),
        (
            None,
            "python",
            "r without python: mix.gsm.weight: 50 rows asked, the source has 40; lower it, or add 'repeat: 2'",
        ),
    ],
)
def test_the_same_size_out_of_too_few_rows_with_weights_is_refused(folder, size, without, message):
    write_recipe(folder, mix=WEIGHTS, size=size)
    run(recipes.load("recipes/r.yaml"), Store("store"))
    assert refusal("--without", without, "--same-size") == message


def test_a_size_in_tokens_shrinks_by_the_parts_tokens_once_they_are_counted(folder):
    write_recipe(folder, mix=WEIGHTS, size={"tokens": 300}, tokenizer="words/1")
    first = ablate("--without", "numina", out="first")
    assert loaded("r-without-numina", "first").recipe.size.tokens == 300
    assert first["r-without-numina"]["notes"] == [
        "size is the base's: how many tokens left is known once the base was run"
    ]
    made = run(recipes.load("recipes/r.yaml"), Store("store"))
    [left] = [p["tokens"] for n, p in made.mixture.manifest.steps[-1].params["parts"].items() if n == "numina"]
    ablate("--without", "numina", out="second")
    assert loaded("r-without-numina", "second").recipe.size.tokens == 300 - left
    ablate("--without", "numina", "--same-size", out="third")
    assert loaded("r-without-numina", "third").recipe.size.tokens == 300


def test_an_expectation_that_the_plan_leaves_open_is_dropped_and_said(folder):
    expect = {"rows": 100, "tokens": 450, "parts": {"gsm": 20, "python": 40}}
    write_recipe(folder, expect=expect, tokenizer="words/1")
    unread = ablate("--without", "python", out="unread")
    assert loaded("r-without-python", "unread").recipe.expect.model_dump() == {
        "rows": None,
        "tokens": None,
        "parts": {"gsm": 20},
    }
    assert "expect leaves rows and tokens out: known once the steps before the mix were run" in str(unread)
    write_recipe(folder, tokenizer="words/1")
    tokens = run(recipes.load("recipes/r.yaml"), Store("store")).mixture.manifest.logical.tokens
    write_recipe(folder, expect=expect | {"tokens": tokens}, tokenizer="words/1")
    read = ablate("--without", "python", "--run", out="read")["r-without-python"]
    found = loaded("r-without-python", "read").recipe.expect
    assert (found.rows, found.parts, read["rows"]) == (60, {"gsm": 20}, 60)
    assert found.tokens == Store("store").open("r-without-python").manifest.logical.tokens


@pytest.mark.parametrize("take", [{"all": True}, {"count": 10}])
def test_before_rows_leave_as_duplicates_only_what_is_asked_for_by_number_is_expected(folder, take):
    sources = {name: {"path": f"{name}.jsonl", "rows": rows} for name, rows in HELD.items()}
    rows = 140 if "all" in take else 40
    write_recipe(
        folder, sources=sources, dedup={"exact": ["row"]}, mix=dict.fromkeys(HELD, take), expect={"rows": rows}
    )
    found = ablate("--without", "gsm")["r-without-gsm"]
    expect = loaded("r-without-gsm").recipe.expect
    assert found["planned"] == (100 if "all" in take else 30)
    assert (expect.rows if expect else None) == (None if "all" in take else 30)
    assert len(found["notes"]) == ("all" in take)
    ablate("--without", "gsm", "--run", "--force")
    assert loaded("r-without-gsm").recipe.expect.rows == found["planned"]


def test_topics_that_have_no_part_left_leave_too(folder):
    write_recipe(folder, topics={"Math": {"share": 0.4}, "Coding": {"times": 0.5}})
    ablate("--each", "topic", "--without", "gsm")
    assert list(loaded("r-without-Math").recipe.topics) == ["Coding"]
    assert list(loaded("r-without-Coding").recipe.topics) == ["Math"]
    assert list(loaded("r-without-gsm").recipe.topics) == ["Math", "Coding"]


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "tulu ablate: says no variant; give --without, --only, --each or --emphasize"),
        (["--without", "Maths"], "--without Maths: the mix has no source or topic 'Maths'; did you mean 'Math'?"),
        (
            ["--only", "Math+pyton"],
            "--only Math+pyton: the mix has no source or topic 'pyton'; did you mean 'python'?",
        ),
        (
            ["--without", "xyz*"],
            "--without xyz*: the mix has no source or topic 'xyz*'; known names: Coding, Math, chat, gsm, numina, "
            "python",
        ),
        (
            ["--without", "*"],
            "--without *: * is all of r, and a mixture needs a part; leave out less",
        ),
        (["--only", "*"], "--only *: is all of r, so nothing would be left out; keep less"),
        (
            ["--emphasize", "Maths:times=2"],
            "topics.Maths: no part of the mixture has this topic; did you mean 'Math'?",
        ),
        (
            ["--without", "gsm", "--dry-run", "--run"],
            "--dry-run writes nothing, so there is nothing to --run; give one of them",
        ),
        (
            ["--without", "chat", "--same-size"],
            "r without chat: --same-size: how many rows r has is known once it was run; run it before, or give it "
            "'expect: {rows: N}'",
        ),
        (
            ["--each", "source", "--emphasize", "Math:share=0.9+Coding:share=0.2"],
            "topics: the shares sum to 1.1; lower them to 1 or less",
        ),
    ],
)
def test_what_cannot_be_varied_is_refused_in_one_line_and_nothing_is_written(folder, args, message):
    assert refusal(*args) == message


def test_two_variants_of_one_name_are_refused_and_the_same_twice_is_one():
    recipe = based(written(mix=TAKES | {"gsm_": {"of": "gsm", "count": 1}})).recipe
    found = changes(recipe, without=["Math", "chat", "pyth*+chat"], each="topic")
    assert [c.label for c in found] == ["without-Math", "without-chat", "without-pyth-chat", "without-Coding"]
    assert found[2].parts == ("python", "chat")
    with pytest.raises(UsageError, match="two variants would be called r-without-gsm; ask for one at a time"):
        changes(recipe, without=["gsm", "gsm*"])


def test_a_recipe_without_a_mix_or_without_topics_says_so(folder):
    write_recipe(folder, mix=None)
    assert refusal("--each", "source") == "r: has no mix, so there is nothing to leave out"
    sources = {name: {"path": f"{name}.jsonl"} for name in HELD}
    write_recipe(folder, sources=sources)
    assert refusal("--each", "topic") == "--each topic: no source of r has one; give its sources a 'topic'"


def test_a_variant_that_cannot_be_planned_is_named_and_none_is_written(folder):
    write_recipe(folder, mix={"gsm": {"count": 40}, "chat": {"weight": 1}, "python": {"count": 9}}, size={"rows": 60})
    run(recipes.load("recipes/r.yaml"), Store("store"))
    message = refusal("--without", "python", "--without", "gsm", "--same-size")
    assert message == ("r without gsm: mix.chat.weight: 51 rows asked, the source has 20; lower it, or add 'repeat: 3'")


def test_a_folder_that_holds_something_else_is_left_alone_unless_forced(folder):
    out = Path("out/ablations")
    ablate("--without", "chat")
    before = (out / "r-without-chat.yaml").read_bytes()
    ablate("--without", "chat")  # the same once more
    (out / "r-without-chat.yaml").write_text("mine")
    for args in (["--without", "chat"], ["--each", "source"]):
        with pytest.raises(UsageError) as caught:
            CliRunner().invoke(cli, ["ablate", "recipes/r.yaml", "-o", str(out), *args], catch_exceptions=False)
        assert str(caught.value) == (
            f"{out}/r-without-chat.yaml: holds something else; choose another folder, or write over it with --force"
        )
        assert {p.name for p in out.iterdir()} == {"r.yaml", "r-without-chat.yaml"}
    ablate("--without", "chat", "--force")
    assert (out / "r-without-chat.yaml").read_bytes() == before


def test_a_dry_run_prints_the_table_and_writes_nothing(folder):
    run(recipes.load("recipes/r.yaml"), Store("store"))
    done = CliRunner().invoke(cli, ["ablate", "recipes/r.yaml", "--each", "topic", "-o", "out", "--dry-run"])
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "Variants of r, as planned"
    assert lines[1] == "recipe parts rows Math Coding no topic to run"
    assert lines[3:6] == [
        "r 4 100 50 40 10",
        "r-without-Math 2 50 0 40 10 mix",
        "r-without-Coding 3 60 50 0 10 mix",
    ]
    assert not Path("out").exists()


def test_a_root_that_is_set_or_absolute_stays_where_it_led(folder, monkeypatch):
    ablate("--without", "chat", "--set", "root=data", out="elsewhere/a")
    assert loaded("r-without-chat", "elsewhere/a").root == (folder / "data").resolve()
    ablate("--without", "chat", "--set", f"root={folder / 'data'}", out="elsewhere/b")
    assert loaded("r-without-chat", "elsewhere/b").recipe.root == str(folder / "data")
    monkeypatch.chdir(folder / "elsewhere")
    ablate("--without", "chat", recipe="../recipes/r.yaml", out="c")
    assert loaded("r-without-chat", "c").root == (folder / "data").resolve()
    assert loaded("r-without-chat", "c").recipe.root == "../../data"


def test_an_unknown_recipe_is_refused(folder):
    with pytest.raises(RecipeError, match=r"tulu3_sft_8: no such recipe; did you mean 'tulu3_sft_8b'"):
        CliRunner().invoke(cli, ["ablate", "tulu3_sft_8", "--each", "topic", "-o", "out"], catch_exceptions=False)
