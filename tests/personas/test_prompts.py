"""Prompts are files that anyone may edit: what is wrong in one is told by its line, and no value is read as one."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from personas import prompts
from personas.expanding import STAGES
from personas.pairs.step import JUDGE_STAGES
from personas.prompts import BUNDLED, Template, load, write
from personas.skills import skills
from personas.step import prompts_of
from tulu_data.cli import cli
from tulu_data.errors import InputError, StoreError, UsageError

PLACES = ("persona", "language")
SHIPPED = {
    **{name: {stage: (*own, *PLACES) for stage, own in skill.stages.items()} for name, skill in skills().items()},
    "personas": dict(STAGES),
    "judge": dict(JUDGE_STAGES),
}
EVERY = [(name, stage) for name, stages in SHIPPED.items() for stage in stages]
TRICKY = ("{{ persona }}", "{% for x in y %}", "{# no comment #}", "a\n=== system\nb", "\\N{{", "}}")
KNOWN = ("persona", "topic")


def value_of(name: str, marker: str) -> object:
    """A value for a placeholder, of the kind that the code gives it."""
    if name in ("each", "na", "expected"):
        return {"each": 3, "na": True, "expected": "refuse"}[name]
    if name == "texts":
        return [{"id": "B", "text": f"{marker} first"}, {"id": "C", "text": f"{marker} second"}]
    if name == "constraints":
        return [f"{marker} one", f"{marker} two"]
    return f"{marker} {name}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of templates with one skill, `chess`, of two stages."""
    folder = tmp_path / "home"
    (folder / "chess").mkdir(parents=True)
    (folder / "chess" / "prompt.md").write_text("=== system\nBe brief.\n=== user\nAsk {{ persona }}.\n")
    (folder / "chess" / "solve.md").write_text("Solve {{ topic }}.\n")
    return folder


def chess(home: Path, folder: Path | None = None) -> prompts.Prompts:
    return load("chess", {"prompt": KNOWN, "solve": KNOWN}, folder=folder, home=home)


def message(text: str, known=KNOWN) -> str:
    """What is said of a template that is refused."""
    with pytest.raises(InputError) as told:
        Template("solve.md", text).check(known)
    assert "\n" not in str(told.value)
    return str(told.value)


# ------------------------------------------------------------ as shipped


def test_every_shipped_file_is_a_stage_of_something():
    files = {(p.parent.name, p.stem) for p in BUNDLED.glob("*/*")}
    assert files == {(n, s) for n, s in EVERY if n not in skills() or skills()[n].home is None}


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_every_shipped_template_holds_each_value_as_it_is(name, stage):
    known = SHIPPED[name][stage]
    template = load(name, SHIPPED[name])[stage]
    for marker in ("plain", *TRICKY):
        values = {n: value_of(n, marker) for n in known}
        messages = template.messages(values)
        assert messages
        assert all(set(m) == {"role", "content"} and m["content"].strip() for m in messages)
        assert [m["role"] for m in messages] in (["user"], ["system", "user"])
        said = "\n".join(m["content"] for m in messages)
        for used in re.findall(r"\{\{ (\w+) \}\}", template.text):
            assert str(values.get(used, marker)) in said
        plain = {n: value_of(n, "plain") for n in known}
        assert said.replace(marker, "plain") == "\n".join(m["content"] for m in template.messages(plain))


@pytest.mark.parametrize(("name", "stage"), EVERY)
def test_every_shipped_template_uses_a_placeholder_of_its_own(name, stage):
    text = load(name, SHIPPED[name])[stage].text
    assert any(re.search(rf"\b{n}\b", text) for n in SHIPPED[name][stage])


def test_each_skill_loads_its_prompts():
    for skill in skills().values():
        assert set(prompts_of(skill).templates) == set(skill.stages)


# ------------------------------------------------------------ values


@pytest.mark.parametrize("value", TRICKY)
def test_a_value_is_text_whatever_it_holds(value):
    messages = Template("x.md", "=== system\nYou are {{ persona }}\n=== user\n{{ topic }}").messages(
        {"persona": value, "topic": value}
    )
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[0]["content"] == f"You are {value}"
    assert messages[1]["content"] == value


def test_the_lines_that_begin_a_message_make_the_messages():
    def roles(text):
        return [(m["role"], m["content"]) for m in Template("x.md", text).messages({"persona": "P"})]

    assert roles("Hello {{ persona }}\n") == [("user", "Hello P")]
    assert roles("=== user\nHello\n") == [("user", "Hello")]
    assert roles("=== system  \nA\n\n=== user\t\nB\n") == [("system", "A"), ("user", "B")]
    assert roles("=== system\n\n=== user\nB\n") == [("user", "B")]  # an empty message is none
    assert roles("=== systemic\nA === user\n") == [("user", "=== systemic\nA === user")]


def test_conditions_and_loops_leave_no_empty_lines():
    text = "{% if persona %}\nA {{ persona }}\n{% endif %}\n{% for t in topic %}\n- {{ t }}\n{% endfor %}\n"
    (only,) = Template("x.md", text).messages({"persona": "cook", "topic": ["a", "b"]})
    assert only["content"] == "A cook\n- a\n- b"


def test_a_template_cannot_reach_what_lies_behind_a_value():
    with pytest.raises(InputError, match=r"^x\.md: .*unsafe.*; mend the template$"):
        Template("x.md", "{{ persona.__class__.__mro__ }}").messages({"persona": "P"})


def test_a_value_that_lacks_what_a_template_reads_of_it_is_told_in_one_line():
    with pytest.raises(InputError, match=r"^x\.md: .*no attribute 'age'; mend the template$"):
        Template("x.md", "{{ persona.age }}").messages({"persona": "P"})


# ------------------------------------------------------------ mistakes


def test_an_unknown_placeholder_is_told_with_its_line_and_the_nearest():
    assert message("One\nTwo {{ persona }}\n{{ topik }}\n") == (
        "solve.md:3: unknown placeholder 'topik'; did you mean 'topic'?"
    )
    assert message("{{ zzz }}") == "solve.md:1: unknown placeholder 'zzz'; known placeholders: persona, topic"
    assert message("The topik is this:\n{{ topik }}").startswith("solve.md:2: ")
    assert message("=== system\n{{ persona }}\n=== user\n\n{{ topik }}").startswith("solve.md:5: ")
    assert message("{% if persona %}\n{% for t in topics %}{{ t }}{% endfor %}\n{% endif %}").startswith(
        "solve.md:2: unknown placeholder 'topics'"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("One\n{{ persona\n", 2),
        ("One\nTwo\n{% if persona %}\nThree\n", 3),
        ("{% endif %}", 1),
        ("=== system\nA\n=== user\n{% if %}x{% endif %}", 4),
        ("One\n{{ persona | shout }}", 2),
        ("=== system\n{% if persona %}\nA\n=== user\nB\n{% endif %}", 2),  # each message is a template of its own
    ],
)
def test_a_mistake_in_the_syntax_is_told_with_its_line(text, line):
    told = message(text)
    # Where a tag is not closed the parser names the last line that it read.
    at = int(re.fullmatch(r"solve\.md:(\d+): .+; mend the template", told)[1])
    assert line <= at <= text.count("\n") + 1


@pytest.mark.parametrize("text", ["", " \n", "=== system\n\n=== user\n \n"])
def test_an_empty_prompt_is_refused(text):
    assert message(text) == "solve.md: is empty; write the prompt, or remove the file"


def test_text_that_belongs_to_no_message_is_refused_and_not_lost():
    assert message("Be kind.\n=== user\n{{ persona }}") == (
        "solve.md:1: the text above '=== user' belongs to no message; move or remove it"
    )
    Template("x.md", "\n\n=== user\n{{ persona }}").check(KNOWN)


@pytest.mark.parametrize(
    "text", ["{{ persona + 1 }}", "{{ 1 / 0 }}", "{% include 'x' %}", "{% for i in range(10000000) %}{% endfor %}"]
)
def test_what_a_template_cannot_compute_is_told_in_one_line(text):
    with pytest.raises(InputError, match=r"^x\.md: .+; mend the template$"):
        Template("x.md", text).messages({"persona": "A cook"})


def test_names_that_a_template_makes_itself_are_known():
    template = Template("x.md", "{% set n = 3 %}{% for t in topic %}{{ loop.index }}{{ t }}{{ n }}{% endfor %}")
    template.check(KNOWN)
    assert template.messages({"topic": ["a", "b"]}) == ({"role": "user", "content": "1a32b3"},)


# ------------------------------------------------------------ a folder of one's own


def test_a_file_in_a_folder_of_ones_own_replaces_that_stage_only(home, tmp_path):
    own = tmp_path / "own"
    (own / "chess").mkdir(parents=True)
    (own / "chess" / "solve.md").write_text("Mine: {{ topic }}")
    mine, shipped = chess(home, own), chess(home)
    assert mine["solve"].text == "Mine: {{ topic }}"
    assert mine["prompt"] == shipped["prompt"]
    assert mine.digest != shipped.digest


def test_a_mistake_in_a_file_of_ones_own_is_told_with_its_path(home, tmp_path):
    own = tmp_path / "own"
    (own / "chess").mkdir(parents=True)
    path = own / "chess" / "solve.md"
    path.write_text("\n{{ topik }}")
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}:2: unknown placeholder 'topik'"):
        chess(home, own)


def test_a_file_that_is_no_stage_is_refused_with_the_nearest(home, tmp_path):
    (tmp_path / "chess").mkdir()
    (tmp_path / "chess" / "solv.md").write_text("x")
    with pytest.raises(UsageError) as told:
        chess(home, tmp_path)
    assert str(told.value) == f"{tmp_path}/chess/solv.md: chess has no stage 'solv'; did you mean 'solve'?"


@pytest.mark.parametrize("layout", [(), ("draughts/solve.md",), ("solve.md",), ("chess/notes.txt",)])
def test_a_folder_without_the_skill_says_how_its_prompts_are_written_there(home, tmp_path, layout):
    own = tmp_path / "own"
    for name in layout:
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text("x")
    with pytest.raises(UsageError) as told:
        chess(home, own)
    assert str(told.value) == (
        f"{own}: has no chess/STAGE.md; write them there with: tulu synth chess --write-prompts DIR"
    )


def test_a_file_that_cannot_be_read_is_told_in_one_line(home, tmp_path):
    (home / "chess" / "solve.md").unlink()
    with pytest.raises(InputError, match=r"solve\.md: cannot be read: "):
        chess(home)
    (home / "chess" / "solve.md").write_bytes(b"caf\xe9 {{ topic }}")
    with pytest.raises(InputError, match=r"solve\.md: cannot be read: "):
        chess(home)


def test_line_ends_and_marks_of_other_systems_change_nothing(home):
    plain = chess(home)
    path = home / "chess" / "prompt.md"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert chess(home) == plain
    assert [m["role"] for m in chess(home)["prompt"].messages({"persona": "P"})] == ["system", "user"]


# ------------------------------------------------------------ the digest


def test_the_digest_changes_with_any_text_and_with_nothing_else(home, tmp_path):
    first = chess(home).digest
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert chess(home).digest == first
    seen = {first}
    for stage in ("prompt", "solve"):
        path = home / "chess" / f"{stage}.md"
        text = path.read_text()
        for changed in (f"{text} ", text.lower(), text.replace("{{ ", "{{")):
            path.write_text(changed)
            seen.add(chess(home).digest)
        path.write_text(text)
    assert len(seen) == 7
    assert chess(home).digest == first
    elsewhere = tmp_path / "elsewhere"
    write(chess(home), elsewhere)
    assert chess(home, elsewhere).digest == chess(elsewhere).digest == first  # not where the files are
    backwards = load("chess", {"solve": KNOWN, "prompt": KNOWN}, home=home)
    assert backwards.digest == first  # nor in which order the stages are named


def test_text_that_moves_from_one_stage_to_another_changes_the_digest(home):
    def digest(prompt, solve):
        return prompts.Prompts("chess", {"prompt": Template("", prompt), "solve": Template("", solve)}).digest

    assert len({digest("ab", "c"), digest("a", "bc"), digest("c", "ab"), digest("abc", "")}) == 4


# ------------------------------------------------------------ writing


def test_written_prompts_are_read_again_and_never_overwritten(home, tmp_path):
    own = tmp_path / "own"
    written = write(chess(home), own)
    assert sorted(p.relative_to(own).as_posix() for p in written) == ["chess/prompt.md", "chess/solve.md"]
    assert chess(home, own).templates.keys() == chess(home).templates.keys()
    (own / "chess" / "prompt.md").unlink()
    (own / "chess" / "solve.md").write_text("mine")
    with pytest.raises(UsageError) as told:
        write(chess(home), own)
    assert str(told.value) == f"{own}/chess/solve.md: is there already; edit it, or name another folder"
    assert (own / "chess" / "solve.md").read_text() == "mine"
    assert not (own / "chess" / "prompt.md").exists()  # nothing was written


def test_a_folder_that_cannot_be_made_is_told_in_one_line(home, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .* with --write-prompts$"):
        write(chess(home), tmp_path / "file")


def test_the_command_line_writes_a_skills_prompts(tmp_path):
    result = CliRunner().invoke(cli, ["synth", "grade-math", "--write-prompts", str(tmp_path / "own")])
    assert result.exit_code == 0
    assert sorted(Path(line).stem for line in result.output.splitlines()) == ["program", "prompt", "solve"]
    again = prompts_of(skills()["grade-math"], str(tmp_path / "own"))
    assert again.digest == prompts_of(skills()["grade-math"]).digest
