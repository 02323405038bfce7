import gzip
import json
from pathlib import Path

import pytest

from decontam.registry import bundled_suites
from decontam.suites import FieldText, Instance, load_suites, read_suite, read_suites, suite_of
from tulu_data.chunk import Raw, batched
from tulu_data.errors import TuluError
from tulu_data.hub import Hub

RECORDS = [{"id": 1, "q": "What is 2+2?", "choices": ["3", "4"], "hint": None, "answer": 4, "topic": "sums"}]


def write(folder: Path, text: str, records: list[dict] | None = None) -> Path:
    (folder / "data").mkdir()
    lines = "\n".join(map(json.dumps, RECORDS if records is None else records))
    with gzip.open(folder / "data" / "toy.jsonl.gz", "wt") as f:
        f.write(lines)
    path = folder / "suites.yaml"
    path.write_text(text)
    return path


TOY = """
root: data
suites:
  toy: {group: dev, path: toy.jsonl.gz, fields: [q, choices, hint], answer: answer, subset: topic}
"""


def test_a_suite_is_read_as_declared(tmp_path):
    [spec] = load_suites(write(tmp_path, TOY))
    suite = read_suite(spec)
    assert (suite.id, suite.group) == ("toy", "dev")
    fields = (FieldText("q", "What is 2+2?"), FieldText("choices", "3\n4"))
    assert suite.instances == (Instance("1", "sums", fields, "4"),)


def test_the_digest_is_of_the_content_alone(tmp_path):
    [spec] = load_suites(write(tmp_path, TOY))
    suite = read_suite(spec)
    assert suite_of("renamed", "unseen", suite.instances).digest == suite.digest
    changed = suite.instances[0]._replace(fields=(FieldText("q", "What is 2+3?"),))
    assert suite_of("toy", "dev", [changed]).digest != suite.digest


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
    path = write(tmp_path, text)
    with pytest.raises(TuluError) as caught:
        load_suites(path)
    assert str(caught.value) == message.format(file=path)


def test_a_missing_suites_file_is_one_line(tmp_path):
    with pytest.raises(TuluError) as caught:
        load_suites(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path / 'none.yaml'}: no such file"


@pytest.mark.parametrize("path", bundled_suites().values(), ids=bundled_suites())
def test_the_bundled_suites_are_declared_well(path):
    assert load_suites(path)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"id": 1, "question": "Who?"}], "suite 'toy': toy.jsonl.gz:1: has no field 'q'; fields seen: id, question"),
        (
            [{"id": 1, "q": "Who?"}, {"q": "Why?"}],
            "suite 'toy': toy.jsonl.gz:2: has no field 'id'; fields seen: q; name another with instance_id, "
            "or leave instance_id and the column id out: they are numbered then",
        ),
        (
            [{"id": None, "q": "Who?"}],
            "suite 'toy': toy.jsonl.gz:1: id is None; an instance id must be text or a whole number",
        ),
        (
            [{"id": 1, "q": {"text": "Who?"}}],
            "suite 'toy': toy.jsonl.gz:1: q must be text or a list of texts, got dict",
        ),
        (
            [{"id": 1, "q": "Who?"}, {"id": 1, "q": "Why?"}],
            "suite 'toy': has 2 instances '1'; name a unique instance_id",
        ),
        ([], "suite 'toy': toy.jsonl.gz: is empty; remove it or write it again"),
    ],
)
def test_wrong_content_is_one_line(tmp_path, records, message):
    text = "root: data\nsuites: {toy: {group: dev, path: toy.jsonl.gz, fields: [q]}}"
    [spec] = load_suites(write(tmp_path, text, records))
    with pytest.raises(TuluError) as caught:
        read_suite(spec)
    assert str(caught.value) == message


def test_instances_without_an_id_are_numbered_by_position(tmp_path):
    text = "root: data\nsuites: {toy: {group: dev, path: toy.jsonl.gz, fields: [q]}}"
    [spec] = load_suites(write(tmp_path, text, [{"q": "Who?"}, {"q": "Why?"}]))
    assert [i.id for i in read_suite(spec).instances] == ["#0", "#1"]


def test_an_id_column_that_is_named_must_be_there(tmp_path):
    text = "root: data\nsuites: {toy: {group: dev, path: toy.jsonl.gz, fields: [q], instance_id: key}}"
    [spec] = load_suites(write(tmp_path, text, [{"q": "Who?"}]))
    with pytest.raises(TuluError, match=r"^suite 'toy': \S+:1: has no field 'key'; fields seen: q; name another with "):
        read_suite(spec)


def test_an_unreadable_line_names_its_place(tmp_path):
    text = "root: data\nsuites: {toy: {group: dev, path: toy.jsonl.gz, fields: [q]}}"
    [spec] = load_suites(write(tmp_path, text))
    with gzip.open(tmp_path / "data" / "toy.jsonl.gz", "wt") as f:
        f.write('{"id": 1, "q": "Who?"}\n{"id": 2, "q"\n')
    with pytest.raises(TuluError, match=r"^suite 'toy': toy\.jsonl\.gz:2: [^\n]+$"):
        read_suite(spec)


def test_one_id_in_two_files_is_refused(tmp_path):
    specs = load_suites(write(tmp_path, TOY))
    with pytest.raises(TuluError, match=r"^suite 'toy' is declared twice: .*; rename one$"):
        read_suites([*specs, *specs])


def test_a_hub_suite_reads_the_declared_split_through_the_one_hub_reader(tmp_path, monkeypatch):
    asked = []

    def hub(uri):
        asked.append(uri)
        records = [{"id": i, "q": f"question {i}"} for i in range(3)]
        sized = ((Raw(f"hub:org/name:row {i}", i, r, None), 1) for i, r in enumerate(records))
        return Hub("org/name", None, "c0ffee", "validation", batched("hub:org/name", sized))

    monkeypatch.setattr("tulu_data.hub.hub", hub)
    path = tmp_path / "suites.yaml"
    path.write_text("suites: {toy: {group: dev, hub: org/name@v1, split: validation, fields: [q]}}")
    suite = read_suites(load_suites(path))[0]
    assert asked == ["hub:org/name@v1#validation"]
    assert [(i.id, i.fields[0].text) for i in suite.instances] == [(str(k), f"question {k}") for k in range(3)]
