"""Bad input: one clear line (place, value, remedy), exit code 1 or 2; good rows kept; nothing published touched."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from tulu_data.store import Store
from tulu_data.verify import verify

GOOD = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}


def line(record):
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


class Kept(NamedTuple):
    """A file of which some rows are good: how many, and the place and reason of each reject."""

    name: str
    content: bytes
    rows: int
    rejects: list[tuple[str, str]]
    options: tuple[str, ...] = ()


class Refused(NamedTuple):
    """A file, or a request, of which nothing comes: the error's line and the exit code."""

    name: str
    content: bytes | None
    options: tuple[str, ...]
    error: str
    code: int = 1


LONG = "x" * (50 << 20)
KEPT = {
    "malformed line": Kept(
        "d.jsonl",
        line(GOOD) + b'{"messages": [\n' + line(GOOD),
        2,
        [("d.jsonl:2", "malformed JSON at column 15 (Expecting value); mend or remove the line")],
    ),
    "invalid UTF-8": Kept("d.jsonl", line(GOOD) + b'{"messages": "\xff"}\n', 1, [("d.jsonl:2", "not UTF-8")]),
    "NUL byte": Kept(
        "d.jsonl",
        line(GOOD) + line(chat(("user", "a\0b"), ("assistant", "c"))),
        1,
        [("d.jsonl:2", "messages[0].content holds a NUL byte at character 1; remove it")],
    ),
    "lone surrogate": Kept(
        "d.jsonl",
        line(GOOD) + b'{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "b"}]}\n',
        1,
        [("d.jsonl:2", "messages[0].content holds a lone surrogate '\\ud800' at character 0; re-encode it as UTF-8")],
    ),
    "byte order mark": Kept("d.jsonl", b"\xef\xbb\xbf" + line(GOOD), 1, []),
    "JSONL named .json": Kept("d.json", line(GOOD) + line(chat(("user", "a"), ("assistant", "b"))), 2, []),
    "array named .jsonl": Kept("d.jsonl", json.dumps([GOOD, GOOD]).encode(), 2, []),
    "gzip without suffix": Kept("d.jsonl", gzip.compress(line(GOOD)), 1, []),
    "50 MB row": Kept("d.jsonl", line(GOOD) + line(chat(("user", LONG), ("assistant", "b"))) + line(GOOD), 3, []),
    "role variants": Kept(
        "d.jsonl",
        line({"conversations": [{"from": "human", "value": "a"}, {"from": "bot", "value": "b"}]})
        + line({"conversations": [{"from": "User", "value": "a"}, {"from": "chatgpt", "value": "b"}]})
        + line({"conversations": [{"from": "narrator", "value": "a"}, {"from": "gpt", "value": "b"}]}),
        2,
        [("d.jsonl:3", "narrator")],
    ),
    "alternation": Kept(
        "d.jsonl",
        line(GOOD) + line(chat(("user", "a"), ("user", "b"), ("assistant", "c"))),
        1,
        [("d.jsonl:2", "messages[1]: user cannot come after user; expected assistant")],
    ),
    "ends with the user": Kept(
        "d.jsonl",
        line(GOOD) + line(chat(("user", "a"), ("assistant", "b"), ("user", "c"))),
        1,
        [("d.jsonl:2", "messages must end with 'assistant', got 'user'")],
    ),
    "empty output": Kept(
        "d.jsonl",
        line(GOOD) + line(chat(("user", "a"), ("assistant", " "))),
        1,
        [("d.jsonl:2", "messages[1].content is empty (assistant turn)")],
    ),
    "boolean for text": Kept(
        "d.jsonl",
        b"".join(line({"prompt": f"q{i}", "response": "a"}) for i in range(3))
        + line({"prompt": "q", "response": True}),
        3,
        [("d.jsonl:4", "response must be text, got bool True")],
    ),
    "repeated id": Kept(
        "d.jsonl",
        line({"id": "x", **GOOD})
        + line({"id": "y", **GOOD})
        + line({"id": "x", **chat(("user", "a"), ("assistant", "b"))}),
        2,
        [("d.jsonl:3", "id 'x' repeats d.jsonl:1; give each record its own id, or remove the field")],
    ),
    "ragged CSV": Kept("d.csv", b"prompt,response\nq1,a1\nq2,a2,extra\nq3,a3\n", 2, [("d.csv:3", "cells")]),
    "a record of another shape": Kept(
        "d.jsonl",
        b"".join(line({"prompt": f"q{i}", "response": "a"}) for i in range(3))
        + line({"prompt": "q", "completion": "no", "label": False}),
        3,
        [("d.jsonl:4", "label")],
    ),
    "truncated gzip": Kept(
        "d.jsonl.gz",
        gzip.compress(b"".join(line({**GOOD, "id": str(i)}) for i in range(50_000)))[:-4000],
        -1,
        [("d.jsonl.gz", "damaged")],
    ),
}
REFUSED = {
    "empty file": Refused("d.jsonl", b"", (), "error: d: d.jsonl: is empty; remove it or write it again"),
    "blank file": Refused("d.jsonl", b"\n \n", (), "error: d: d.jsonl: is empty; remove it or write it again"),
    "empty array": Refused("d.json", b"[]", (), "error: d: no records at all; give a file that has some"),
    "no such file": Refused("d.jsonl", None, (), "no such file"),
    "binary": Refused("d.jsonl", b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)), (), "d.jsonl"),
    "missing column": Refused("d.jsonl", line({"text_a": "q", "label": 1}), (), "text_a, label"),
    "wrong adapter": Refused(
        "d.jsonl", line(GOOD), ("--adapter", "alpaca"), "error: d: none of 1 records is a 'sft' row by adapter 'alpaca'"
    ),
    "unknown adapter": Refused("d.jsonl", line(GOOD), ("--adapter", "alpacca"), "did you mean 'alpaca'?", 2),
    "unknown format": Refused("d.jsonl", line(GOOD), ("--format", "jsonlines"), "jsonl", 2),
    "unknown kind": Refused("d.jsonl", line(GOOD), ("--kind", "dpo"), "'dpo' is not one of", 2),
    "unknown tokenizer": Refused(
        "d.jsonl", line(GOOD), ("--tokenizer", "gpt9"), "error: tokenizer 'gpt9' is unknown", 2
    ),
    "bad name": Refused("d.jsonl", line(GOOD), ("--name", "a/b"), "dataset name 'a/b' holds '/'", 2),
    "truncated parquet": Refused("d.parquet", b"PAR1" + b"\0" * 50, (), "d.parquet"),
    "headerless CSV": Refused("d.csv", b"red,1\nblue,2\n", (), "--columns"),
    "store is a file": Refused("d.jsonl", line(GOOD), ("--store", "d.jsonl"), "d.jsonl", 2),
    "store below a file": Refused(
        "d.jsonl", line(GOOD), ("--store", "d.jsonl/store"), "cannot write (Not a directory)"
    ),
}


def tulu(*args, folder):
    command = [str(Path(sys.executable).with_name("tulu")), *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("case", KEPT.values(), ids=KEPT.keys())
def test_bad_records_are_kept_apart_and_good_ones_become_rows(case, tmp_path):
    (tmp_path / case.name).write_bytes(case.content)
    done = tulu("ingest", case.name, "--name", "d", "--json", *case.options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    version = Store(tmp_path / "tulu-store").open("d")
    assert version.rows == case.rows or (case.rows == -1 and 0 < version.rows < 50_000)
    assert verify(version, 2) == []
    rejects = version.path / "rejects.parquet"
    found = pq.read_table(rejects).to_pylist() if rejects.is_file() else []
    assert len(found) == len(case.rejects)
    for reject, (place, reason) in zip(found, case.rejects, strict=True):
        assert reject["place"].startswith(place)
        assert reason in reject["reason"]
        assert "\n" not in reject["reason"]


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_an_input_that_gives_nothing_is_one_line_and_publishes_nothing(case, tmp_path):
    if case.content is not None:
        (tmp_path / case.name).write_bytes(case.content)
    done = tulu(
        "ingest", case.name, *(() if "--name" in case.options else ("--name", "d")), *case.options, folder=tmp_path
    )
    assert done.returncode == case.code, done.stderr
    message = [text for text in done.stderr.splitlines() if text.lower().startswith("error: ")]
    assert len(message) == 1, done.stderr
    assert case.error in message[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert Store(tmp_path / "tulu-store").versions() == []


MIX_REFUSED = {
    "count beyond the source": (
        ["d:count=3"],
        "mix.d.count: 3 rows asked, the source has 2; lower it, or add 'repeat: 2'",
    ),
    "bare number": (["d:5"], "5: '5' says no amount; write all, count=N, fraction=F, tokens=N or weight=W"),
    "two amounts": (
        ["d:all,count=1"],
        "takes exactly one of all, count, fraction, tokens, weight; found all and count",
    ),
    "no amount": (["d"], "d: say how much, e.g. d:all or d:count=1000"),
    "tokens not counted": (["d:tokens=5"], "mix.d.tokens: the source has no token counts"),
    "unknown dataset": (["dd:all"], "dd: no such dataset in tulu-store; did you mean 'd'?"),
    "bad predicate": (["d:all,where=n_turns >"], "mix.d.where: 'n_turns >' cannot be evaluated"),
}


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def published(tmp_path):
    """A folder with one dataset `d` in its store, and every byte of that store."""
    (tmp_path / "d.jsonl").write_bytes(line(GOOD) + line(chat(("user", "a"), ("assistant", "b"))))
    assert tulu("ingest", "d.jsonl", folder=tmp_path).returncode == 0
    return tmp_path, contents(tmp_path / "tulu-store")


@pytest.mark.parametrize(("parts", "error"), MIX_REFUSED.values(), ids=MIX_REFUSED.keys())
def test_a_mixture_that_cannot_be_made_is_one_line_and_touches_nothing(parts, error, published):
    folder, before = published
    done = tulu("mix", *parts, "-o", "m", folder=folder)
    assert done.returncode in (1, 2)
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(folder / "tulu-store") == before


RECIPE = {"name": "m", "sources": {"e": {"path": "d.jsonl"}}, "mix": {"e": {"all": True}}}
RECIPES_REFUSED = {
    "unknown key": ({"sed": 3}, "error: r.yaml: sed: unknown key; did you mean 'seed'?", 2),
    "unknown key of a section": (
        {"decontaminate": {"suites": ["quickstart"], "ngrm": 8}},
        "error: r.yaml: decontaminate.ngrm: unknown key; known keys: ",
        2,
    ),
    "unknown suites": (
        {"decontaminate": {"suites": ["quikstart"]}},
        "error: r.yaml: decontaminate.suites: no suites file, suite or collection 'quikstart'; did you mean 'quick",
        2,
    ),
    "count beyond the source": (
        {"mix": {"e": {"count": 5}}},
        "error: mix.e.count: 5 rows asked, the source has 2; lower it, or add 'repeat: 3'",
        2,
    ),
    "unknown licence": (
        {"licenses": {"on_unknown": "error"}},
        "error: sources.e.license: 2 rows state no licence; set 'license' to an id such as odc-by",
        1,
    ),
    "missing source": ({"sources": {"e": {"path": "gone.jsonl"}}}, "gone.jsonl", 1),
    "not YAML": ("name: [", "error: r.yaml:", 2),
}


@pytest.mark.parametrize(("change", "error", "code"), RECIPES_REFUSED.values(), ids=RECIPES_REFUSED.keys())
def test_a_recipe_that_cannot_run_is_one_line_and_touches_nothing_published(change, error, code, published):
    folder, before = published
    (folder / "r.yaml").write_text(change if isinstance(change, str) else json.dumps(RECIPE | change))
    done = tulu("run", "r.yaml", "-q", folder=folder)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    assert error in done.stderr
    after = contents(folder / "tulu-store")
    assert {path: after[path] for path in before} == before


DISKS = {"full": ("size=256k", "No space left on device"), "read-only": ("ro", "Read-only file system")}


@pytest.mark.parametrize(("options", "reason"), DISKS.values(), ids=DISKS.keys())
@pytest.mark.parametrize(
    "command",
    [
        ("ingest", "big.jsonl", "--name", "b", "--store", "disk/s"),
        ("run", "quickstart", "-q", "--store", "disk/s"),
        ("audit", "d", "--suites", "quickstart", "-q", "-o", "disk/audit"),
        ("mix", "b:all", "-o", "m", "-q", "--store", "linked"),
        ("export", "b", "--layout", "trl", "-o", "disk/b.parquet"),
    ],
    ids=lambda command: command[0],
)
def test_an_output_folder_that_takes_nothing_is_one_line(command, options, reason, published):
    folder, _ = published
    records = (chat(("user", f"{i} {os.urandom(500).hex()}"), ("assistant", "b")) for i in range(1000))
    (folder / "big.jsonl").write_bytes(b"".join(map(line, records)))
    assert tulu("ingest", "big.jsonl", "--name", "b", "-q", folder=folder).returncode == 0
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        linked = folder / "linked"
        shutil.copytree(folder / "tulu-store", linked)
        shutil.rmtree(linked / "tmp")
        (linked / "tmp").symlink_to(disk)
        done = tulu(*command, folder=folder)
    finally:
        subprocess.run(["umount", disk], check=True)
    if command[0] == "audit" and options.startswith("size"):
        assert done.returncode == 0  # an audit of two rows fits
        return
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
