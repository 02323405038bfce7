import json
from pathlib import Path

import pytest

from tulu_data.chunk import Raw, batched
from tulu_data.errors import InputError, RecipeError, TuluError
from tulu_data.hub import Hub
from tulu_data.suite_registry import bundled_suites
from tulu_data.suites import Record, column, column_name, load_suites, records


def declare(folder: Path, declared: str, lines: list[dict | str] = ()):
    """The spec of a suite `toy` in a file of its own; text among the lines is written as it is."""
    (folder / "toy.jsonl").write_text("".join((s if isinstance(s, str) else json.dumps(s)) + "\n" for s in lines))
    path = folder / "suites.yaml"
    path.write_text(f"suites: {{toy: {{group: dev, path: toy.jsonl, fields: [q]{declared}}}}}")
    return load_suites(path)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{file}: the file is empty"),
        ("suites: {toy: [", "{file}:1: expected the node content, but found '<stream end>'"),
        ("- toy", "{file}: must be a mapping of keys to values, got list"),
        ("sites: {}", "{file}: sites: unknown key; did you mean 'suites'?"),
        (
            "suites: {toy: {group: dev, path: x, feilds: [q]}}",
            "{file}: suites.toy.feilds: unknown key; did you mean 'fields'?",
        ),
        ("suites: {toy: {path: x, fields: [q]}}", "{file}: suites.toy.group: is missing"),
        (
            "suites: {toy: {group: test, path: x, fields: [q]}}",
            "{file}: suites.toy.group: should be 'dev', 'unseen' or 'safety', got 'test'",
        ),
        ("suites: {toy: {group: dev, fields: [q]}}", "{file}: suites.toy: takes exactly one of path, hub"),
        (
            "suites: {toy: {group: dev, path: x, split: test, fields: [q]}}",
            "{file}: suites.toy: split goes with hub; remove it, or let path name the files of that split",
        ),
        (
            "suites:\n  toy: {group: dev, path: x, fields: [q]}\n  toy: {group: dev, path: y, fields: [q]}",
            "{file}:3: key 'toy' appears twice; remove or rename one",
        ),
    ],
)
def test_a_wrong_suites_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "suites.yaml"
    path.write_text(text)
    with pytest.raises(TuluError) as caught:
        load_suites(path)
    assert str(caught.value) == message.format(file=path)


def test_a_missing_suites_file_is_one_line(tmp_path):
    with pytest.raises(RecipeError) as caught:
        load_suites(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path / 'none.yaml'}: no such file"


@pytest.mark.parametrize("path", bundled_suites().values(), ids=bundled_suites())
def test_the_bundled_suites_are_declared_well(path):
    assert load_suites(path)


def test_records_keep_their_values_as_they_are(tmp_path):
    first = {"id": 1, "q": "What is 2+2?", "choices": ["3", "4"], "hint": None, "answer": 4, "topic": "sums"}
    second = {"id": "b", "q": ["Who?", "Why?"], "answer": {"text": "me"}, "topic": 7}
    spec = declare(tmp_path, ", answer: answer, subset: topic", [first, second])
    assert records(spec) == [Record("1", "sums", first), Record("b", "7", second)]


def test_records_without_an_id_are_numbered_by_position(tmp_path):
    found = records(declare(tmp_path, "", [{"q": "Who?"}, {"q": "Why?"}]))
    assert found == [Record("#0", None, {"q": "Who?"}), Record("#1", None, {"q": "Why?"})]


@pytest.mark.parametrize(
    ("declared", "lines", "message"),
    [
        (
            ", instance_id: key",
            [{"q": "Who?"}],
            "toy.jsonl:1: has no field 'key'; fields seen: q; name another with instance_id, "
            "or leave instance_id and the column id out: they are numbered then",
        ),
        ("", [{"id": None}], "toy.jsonl:1: id is None; an instance id must be text or a whole number"),
        ("", [{"id": 1}, {"id": 1}], "has 2 instances '1'; name a unique instance_id"),
        (", subset: topic", [{"id": 1, "q": "Who?"}], "toy.jsonl:1: has no field 'topic'; fields seen: id, q"),
        ("", [], "toy.jsonl: is empty; remove it or write it again"),
    ],
)
def test_records_that_audits_could_not_tell_apart_are_one_line(tmp_path, declared, lines, message):
    spec = declare(tmp_path, declared, lines)
    with pytest.raises(InputError) as caught:
        records(spec)
    assert str(caught.value) == f"suite 'toy': {message}"


def test_an_unreadable_line_names_its_place(tmp_path):
    spec = declare(tmp_path, "", [{"id": 1, "q": "Who?"}, '{"id": 2, "q"'])
    with pytest.raises(InputError, match=r"^suite 'toy': toy\.jsonl:2: [^\n]+$"):
        records(spec)


def answering(monkeypatch, values, asked):
    def hub(uri):
        asked.append(uri)
        sized = ((Raw(f"{uri}:row {i}", i, r, None), 1) for i, r in enumerate(values))
        return Hub("org/name", None, "c0ffee", "validation", batched(uri, sized))

    monkeypatch.setattr("tulu_data.hub.hub", hub)


def test_a_hub_suite_reads_the_declared_split_through_the_one_hub_reader(tmp_path, monkeypatch):
    asked, values = [], [{"id": i, "q": f"question {i}"} for i in range(3)]
    answering(monkeypatch, values, asked)
    path = tmp_path / "suites.yaml"
    path.write_text("suites: {toy: {group: dev, hub: org/name@v1, split: validation, fields: [q]}}")
    assert records(load_suites(path)[0]) == [Record(str(i), None, v) for i, v in enumerate(values)]
    assert asked == ["hub:org/name@v1#validation"]


def test_the_records_of_a_config_are_a_subset_and_numbered_within_it(tmp_path, monkeypatch):
    asked = []
    answering(monkeypatch, [{"q": "Who?"}, {"q": "Why?"}], asked)
    path = tmp_path / "suites.yaml"
    path.write_text("suites: {toy: {group: dev, hub: org/name@v1, configs: [a, b], fields: [q]}}")
    found = [(r.id, r.subset) for r in records(load_suites(path)[0])]
    assert found == [("a#0", "a"), ("a#1", "a"), ("b#0", "b"), ("b#1", "b")]
    assert asked == ["hub:org/name/a@v1#test", "hub:org/name/b@v1#test"]


@pytest.mark.parametrize(
    ("name", "values", "called", "expected"),
    [
        ("query|question", {"question": "b", "query": "a"}, "query", "a"),
        ("query|question", {"question": "b"}, "question", "b"),
        ("a.b.1", {"a": {"b": ["x", "y"]}}, "a.b.1", "y"),
        ("a.b", {"a.b": "whole", "a": {"b": "part"}}, "a.b", "whole"),
        ("task|", {"question": "b"}, "task|", None),
    ],
)
def test_columns_may_have_other_names_or_lie_within_others(name, values, called, expected):
    assert (column_name(values, name), column(values, name, "here")) == (called, expected)


def test_a_column_that_is_nowhere_is_named_with_those_there_are():
    with pytest.raises(InputError, match=r"^here: has no field 'a\.b\.3\|c'; fields seen: a$"):
        column({"a": {"b": ["x"]}}, "a.b.3|c", "here")
