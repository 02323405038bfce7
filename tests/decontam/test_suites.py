import gzip
import json
from pathlib import Path

import pytest

from decontam.suites import FieldText, Instance, read_suite, read_suites, suite_of
from tulu_data.errors import TuluError
from tulu_data.suite_registry import bundled_suites, find_suites, local_copies, registry
from tulu_data.suites import load_suites, records

EVALS = Path(__file__).parents[3] / "shared" / "data" / "evals"

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


def test_one_id_in_two_files_is_refused(tmp_path):
    specs = load_suites(write(tmp_path, TOY))
    with pytest.raises(TuluError, match=r"^suite 'toy' is declared twice: .*; rename one$"):
        read_suites([*specs, *specs])


def told(instances):
    return [(i.id, i.subset) for i in instances]


@pytest.mark.parametrize("name", [n for n in bundled_suites() if n != "public"])
def test_an_instance_has_the_id_and_subset_of_its_record(name):
    for spec in load_suites(bundled_suites()[name]):
        assert told(read_suite(spec).instances) == told(records(spec))


@pytest.mark.public_data
@pytest.mark.skipif(not EVALS.is_dir(), reason="the public evaluation sets are not here")
@pytest.mark.parametrize("name", [n for n in registry().file.suites if local_copies(n, EVALS)])
def test_an_instance_of_a_public_suite_has_the_id_and_subset_of_its_record(name):
    listed = [spec for spec in load_suites(bundled_suites()["public"], root=EVALS.parent) if spec.id == name]
    for spec in (*find_suites([name], Path(), EVALS, "test"), *listed):
        assert told(read_suite(spec).instances) == told(records(spec))
