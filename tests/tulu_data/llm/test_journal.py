"""The journal: what is written is kept, what was cut off is not, one writes at a time."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.llm import journal as journals
from tulu_data.llm.journal import Entry, Journal
from tulu_data.llm.request import Request

URL = ["http://a/v1"]


def entry(i, text="answer"):
    return Entry(Request("m", ({"role": "user", "content": str(i)},)).key, URL[0], 1, None, {"text": text, "i": i})


def test_what_is_kept_is_found_again(tmp_path):
    with Journal(tmp_path, URL) as journal:
        for i in range(100):
            journal.keep(entry(i, "naïve \u2028 \ud800 \n"))
        assert journal.get(entry(7).key).reply["i"] == 7
    with Journal(tmp_path, URL) as journal:
        assert len(journal) == 100
        assert all(journal.get(entry(i).key).reply["i"] == i for i in range(100))
        assert entry(100).key not in journal
        assert [e.reply["i"] for e in journal.entries()] == list(range(100))


def test_many_keys_are_found_in_the_sorted_index_and_in_the_new_part(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "MERGE", 7)
    with Journal(tmp_path, URL) as journal:
        for i in range(50):
            journal.keep(entry(i))
        assert all(journal.get(entry(i).key).reply["i"] == i for i in range(50))
        assert not any(entry(i).key in journal for i in range(50, 80))


@given(cut=st.integers(1, 400))
def test_a_torn_tail_is_cut_and_the_rest_is_whole(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, URL) as journal:
        for i in range(4):
            journal.keep(entry(i))
    whole = journal.path.read_bytes()
    torn = whole[: max(0, len(whole) - cut)]
    journal.path.write_bytes(torn)
    with Journal(folder, URL) as journal:
        lines = max(0, torn.count(b"\n") - 1)
        assert len(journal) == lines
        journal.keep(entry(9))
        assert journal.get(entry(9).key).reply["i"] == 9
    assert journal.path.read_bytes().endswith(b"\n")
    assert all(json.loads(line) for line in journal.path.read_bytes().splitlines())


def test_a_second_writer_is_refused_also_from_another_process(tmp_path):
    with Journal(tmp_path, URL):
        with pytest.raises(StoreError, match="another process writes it"):
            Journal(tmp_path, URL)
        code = "from pathlib import Path; from tulu_data.llm.journal import Journal; "
        code += f"Journal(Path({str(tmp_path)!r}), {URL})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another process writes it" in done.stderr
    Journal(tmp_path, URL).close()


def test_a_full_disk_loses_nothing_and_says_what_to_do(tmp_path, monkeypatch):
    write = os.write
    with Journal(tmp_path, URL) as journal:
        journal.keep(entry(0))

        def full(descriptor, data):
            if len(data) > 20:
                return write(descriptor, data[:20])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StoreError, match="No space left on device; make room and run the same command again"):
            journal.keep(entry(1))
        monkeypatch.undo()
        journal.keep(entry(2))
    with Journal(tmp_path, URL) as journal:
        assert [e.reply["i"] for e in journal.entries()] == [0, 2]


def test_damage_and_other_endpoints_are_refused(tmp_path):
    with Journal(tmp_path, URL) as journal:
        journal.keep(entry(0))
    with pytest.raises(UsageError, match=r"holds answers of http://a/v1, not of http://b/v1; .* --same-model"):
        Journal(tmp_path, ["http://b/v1"])
    Journal(tmp_path, ["http://b/v1"], same_model=True).close()
    text = journal.path.read_text()
    journal.path.write_text(text + "nonsense\n")
    with pytest.raises(InputError, match=r"journal.jsonl:3: is no line of a journal"):
        Journal(tmp_path, URL)
    journal.path.write_text("[1]\n")
    with pytest.raises(InputError, match="is no journal"):
        Journal(tmp_path, URL)
    journal.path.write_text(text.replace("tulu-journal/1", "tulu-journal/9"))
    with pytest.raises(InputError, match="format 'tulu-journal/9'"):
        Journal(tmp_path, URL)
