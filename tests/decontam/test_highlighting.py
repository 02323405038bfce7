"""What is marked: the words both texts hold, wording apart from what tells, and nothing else."""

import pyarrow as pa
import pytest

from decontam.auditing import audit
from decontam.highlighting import Highlighter, Match
from decontam.texts import EXCERPT_BYTES, excerpt
from decontam.verdicts import Settings

TEMPLATE = "which one of the following statements about the matter at hand is true"
ITEM = "a train leaves the town of Aix at noon and runs north at ninety miles an hour"


def found(make_set, make_suite, message, items, engine="compiled", **settings):
    made = audit([make_set("x", [message])], [make_suite("a", items)], Settings(**settings), engine=engine)
    return made, [Highlighter(made).match(i) for i in range(len(made.pairs))]


def words(side, kind):
    return [side.text[r.start : r.end] for r in side.runs if r.kind == kind]


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_the_same_words_are_marked_on_both_sides(make_set, make_suite, engine):
    _, [match] = found(make_set, make_suite, f"Well! {ITEM.upper()}, then stops.", [ITEM], engine)
    assert words(match.train, "match") == [ITEM.upper()]
    assert words(match.fields[0], "match") == [ITEM]
    assert match.train.name == "user"


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_wording_that_many_test_texts_hold_is_told_apart(make_set, make_suite, engine):
    items = [f"{TEMPLATE} {i}" for i in range(4)] + [f"{TEMPLATE} {ITEM}"]
    made, matches = found(make_set, make_suite, f"Q: {TEMPLATE} {ITEM}", items, engine)
    by_id = dict(zip(made.pairs["instance_id"].to_pylist(), matches, strict=True))
    assert words(by_id["0"].train, "wording") == [TEMPLATE]
    assert words(by_id["0"].fields[0], "wording") == [TEMPLATE]
    assert not words(by_id["0"].train, "match")
    whole = by_id["4"]
    assert words(whole.train, "wording")[0].startswith("which one of the")
    assert words(whole.train, "match")[0].endswith(ITEM)
    assert "".join(words(whole.train, "match")) in "".join(words(whole.fields[0], "match"))


def test_an_edited_copy_is_marked_by_its_alignment(make_set, make_suite):
    item = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    edited = item.replace("six ", "6 ").replace("twelve", "12")
    made, [match] = found(make_set, make_suite, edited, [item])
    assert made.pairs["layers"].to_pylist() == [["fuzzy"]]
    assert words(match.train, "similar") == [
        "one two three four five",
        "seven eight nine ten eleven",
        "thirteen fourteen fifteen sixteen",
    ]
    assert words(match.train, "similar") == words(match.fields[0], "similar")


def test_a_short_instance_that_is_found_whole_is_a_match(make_set, make_suite):
    _, [match] = found(make_set, make_suite, "so who painted the blue horse then", ["Who painted the blue horse?"])
    assert words(match.train, "match") == ["who painted the blue horse"]


def test_texts_that_are_near_in_meaning_alone_show_the_telling_words_they_share(make_set, make_suite):
    made, [match] = found(make_set, make_suite, ITEM, [ITEM])
    assert match == Highlighter(made).match(0)
    bare = made.pairs.to_pylist()[0] | {"train_spans": [], "eval_spans": [], "longest_run": 0, "exact": False}
    near = pa.Table.from_pylist([bare], schema=made.pairs.schema)
    object.__setattr__(made, "pairs", near)
    match = Highlighter(made).match(0)
    assert "train" in words(match.train, "similar")
    assert all("the" not in w.split() for w in words(match.train, "similar"))


def test_offsets_hold_in_the_middle_of_a_long_message_with_letters_of_several_bytes(make_set, make_suite):
    message = "é ü 漢字 " * 2000 + ITEM + " — fin" * 2000
    made, [match] = found(make_set, make_suite, message, [ITEM])
    assert words(match.train, "match") == [ITEM]
    assert match.train.cut_before
    assert match.train.cut_after
    assert len(match.train.text.encode()) <= EXCERPT_BYTES
    assert made.messages["bytes"].to_pylist() == [len(message.encode())]


def test_runs_are_sorted_and_apart_for_every_pair(make_set, make_suite):
    items = [f"{TEMPLATE} {i} {ITEM}" for i in range(6)] + [ITEM, "who painted the blue horse"]
    message = f"{ITEM} and {TEMPLATE} 3 and who painted the blue horse {ITEM}"
    _, matches = found(make_set, make_suite, message, items)
    assert len(matches) == 8
    for match in matches:
        for side in (match.train, *match.fields):
            edges = [e for r in side.runs for e in (r.start, r.end)]
            assert edges == sorted(edges)
            assert all(r.start < r.end <= len(side.text) for r in side.runs)
    assert isinstance(matches[0], Match)


@pytest.mark.parametrize("spans", [[], [(0, 5)], [(9000, 9010)], [(19990, 20000)], [(100, 200), (15000, 15010)]])
def test_an_excerpt_holds_the_first_span_and_no_half_character(spans):
    data = ("漢" * 6666 + "ab").encode()
    start, end = excerpt(data, spans)
    assert end - start <= EXCERPT_BYTES
    data[start:end].decode()
    if spans:
        assert start <= spans[0][0] < end
