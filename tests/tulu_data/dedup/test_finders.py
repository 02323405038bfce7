"""Finders: what is asked of plug-ins and of ours, and what is said where one cannot be had."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data import plugins
from tulu_data.dedup import ByFinder, Settings, find_duplicates
from tulu_data.dedup.finders import Finder, finder_of, from_pairs
from tulu_data.errors import InputError, RecipeError, UsageError
from tulu_data.strict import validate


@pytest.fixture
def offer(monkeypatch):
    """What a distribution offers as the entry point of a name."""

    def put(name, finder):
        class Entry(EntryPoint):
            def load(self):
                return finder

        monkeypatch.setattr(plugins, "entry_points", lambda group: [Entry(name, "x:FINDER", group)])

    return put


def chat(prompt, answer):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def nothing(read, ranked, by, work):
    return from_pairs([], ranked)


def test_a_finder_of_another_distribution_goes_last(store, make_version, tmp_path, offer):
    seen = []

    def leaders(read, ranked, by, work):
        seen.extend(read())
        return from_pairs([(1, 0, by.threshold + 0.05)], ranked)

    offer("sound", Finder(lambda by: "v1", leaders))
    rows = [chat("Hello you", "first"), chat("Hello you", "first"), chat("Good day", "2")]
    version = make_version(store, "s", [r | {"prov": {"orig_id": str(i)}} for i, r in enumerate(rows)])
    wanted = Settings(similar=[ByFinder(finder="sound", threshold=0.9)])
    found = find_duplicates([version], wanted, work=tmp_path)
    assert seen[:2] == ["Hello you", "Good day"]
    assert [(g["kind"], g["row_index"]) for g in found.leaving("s").to_pylist()] == [("row", 1), ("sound", 2)]
    assert found.leaving("s")["score"].to_pylist() == pytest.approx([1.0, 0.95])


def test_a_finder_reads_the_tools_that_a_message_calls(store, make_version, tmp_path, offer):
    seen = []

    def leaders(read, ranked, by, work):
        seen.extend(read())
        return from_pairs([], ranked)

    offer("sound", Finder(lambda by: "v1", leaders))
    rows = [chat("Weather?", "") | {"prov": {"orig_id": str(i)}} for i in range(2)]
    for row, city in zip(rows, ("Oslo", "Rome"), strict=True):
        row["messages"][1]["tool_calls"] = f'[{{"city":"{city}"}}]'
    wanted = Settings(similar=[ByFinder(finder="sound", threshold=0.9, what="answer")])
    find_duplicates([make_version(store, "s", rows)], wanted, work=tmp_path)
    assert seen == ['\n[{"city":"Oslo"}]', '\n[{"city":"Rome"}]']


def test_what_decides_its_scores_is_part_of_the_result_s_id(store, make_version, tmp_path, offer):
    version = make_version(store, "s", ["Hello", "Good day"])
    wanted = Settings(similar=[ByFinder(finder="sound", threshold=0.9)])
    ids = set()
    for digest in ("weights 1", "weights 2", "weights 1"):
        offer("sound", Finder(lambda by, digest=digest: digest, nothing))
        ids.add(find_duplicates([version], wanted, work=tmp_path).id)
    assert len(ids) == 2


@settings(deadline=None)
@given(
    st.permutations(range(7)),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from([0.8, 0.9, 1.0])), max_size=30),
)
def test_of_pairs_each_text_leaves_for_the_nearest_that_stays_before_it(ranked, pairs):
    scores = {frozenset((a, b)): score for a, b, score in pairs if a != b}
    found = from_pairs([(*sorted(pair), score) for pair, score in scores.items()], np.array(ranked))
    stays = []
    for text in ranked:
        near = [(-scores[pair], place, k) for place, k in enumerate(stays) if (pair := frozenset((text, k))) in scores]
        expected = (min(near)[2], -min(near)[0]) if near else (text, 1.0)
        assert (found.leader[text], found.score[text]) == expected
        if not near:
            stays.append(text)


@pytest.mark.parametrize(
    ("name", "offered", "error", "message"),
    [
        ("meening", {}, UsageError, "finder 'meening' is not installed; did you mean 'meaning'"),
        ("near", Finder(lambda by: "", nothing), UsageError, "has the name of another kind of duplicate"),
        ("meaning", Finder(lambda by: "", nothing), InputError, "there is another finder of that name; rename"),
        ("sound", print, InputError, "x:FINDER is no Finder"),
    ],
)
def test_a_finder_that_cannot_be_had_is_one_line(offer, name, offered, error, message):
    if offered:
        offer(name, offered)
    with pytest.raises(error, match=message) as raised:
        finder_of(ByFinder(finder=name, threshold=0.9))
    assert "\n" not in str(raised.value)


def test_an_encoder_is_refused_by_finders_that_take_none(offer):
    offer("sound", Finder(lambda by: "", nothing))
    with pytest.raises(UsageError, match="finder 'sound': takes no encoder, got 'm'; leave it out"):
        finder_of(ByFinder(finder="sound", threshold=0.9, encoder="m"))


def test_what_a_section_leaves_out_stands_in_its_settings():
    [by] = validate(Settings, {"similar": [{"finder": "meaning"}]}, "r.yaml", under="dedup").similar
    assert by.model_dump() == {
        "finder": "meaning",
        "threshold": 0.9,
        "what": "prompt",
        "encoder": "all-MiniLM-L6-v2",
    }
    given = {"finder": "meaning", "threshold": 0.8, "encoder": "http://h/v1#m", "what": "answer"}
    assert ByFinder(**given).model_dump() == given


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ({"finder": "meaning", "threshold": 1.1}, "1.1 is no cosine; give one above 0 and up to 1"),
        ({"finder": "meaning", "threshold": 0.0}, "0 is no cosine; give one above 0 and up to 1"),
        ({"finder": "sound"}, "threshold"),
        ({"finder": "meaning", "encodr": "m"}, "encodr: unknown key; did you mean 'encoder'?"),
    ],
)
def test_a_wrong_section_is_one_line(by, message):
    with pytest.raises(RecipeError, match=r"r\.yaml: dedup\.similar\[0\]") as raised:
        validate(Settings, {"similar": [by]}, "r.yaml", under="dedup")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
