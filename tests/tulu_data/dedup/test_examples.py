"""Clusters to look at: which come first, which rows of them, and where texts part."""

from __future__ import annotations

import pytest

from tulu_data.dedup import Near, Settings, find_duplicates
from tulu_data.dedup.examples import MOST_ROWS, MOST_WORDS, difference, examples, excerpt

WORDS = [f"w{i}" for i in range(100)]


def talk(text, answer="Yes."):
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]}


def named(rows):
    return [row | {"prov": {"orig_id": f"{i:04d}"}} for i, row in enumerate(rows)]


def test_the_least_alike_come_first_then_the_largest(store, make_version, tmp_path, monkeypatch):
    monkeypatch.setattr("tulu_data.parquet.GROUP_ROWS", 5)
    text = " ".join(WORDS)
    rows = [talk("twice"), talk("twice"), *[talk("often")] * (MOST_ROWS + 3), talk(text), talk(text + " more words")]
    rows += [talk(text.replace("w50", "W51"))]
    version = make_version(store, "s", named(rows))
    found = find_duplicates([version], Settings(near=Near()), work=tmp_path)
    shown = examples(found, [version], 9)
    assert [(c.rows, [m.row_index for m in (c.kept, *c.leave)]) for c in shown] == [
        (3, [11, 12, 10]),  # the one that stays, then the least alike
        (MOST_ROWS + 3, [2, 3, 4, 5, 6]),
        (2, [0, 1]),
    ]
    assert shown[0].leave[0].text == f"[user] {text.replace('w50', 'W51')}\n[assistant] Yes."
    assert examples(found, [version], 1) == shown[:1]


def test_texts_come_from_the_version_and_message_columns_of_the_row(store, make_version, tmp_path):
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    called = {"role": "assistant", "content": "", "tool_calls": '[{"name": "wave"}]'}
    row = {"messages": prompt, "chosen": [called], "rejected": [{"role": "assistant", "content": "No."}]}
    versions = [make_version(store, name, named([row]), "preference") for name in "ab"]
    found = find_duplicates(versions, Settings(scope="across"), work=tmp_path)
    (shown,) = examples(found, versions, 5)
    assert (shown.kept.version, shown.leave[0].version) == ("a", "b")
    assert shown.kept.text == '[system] Be brief.\n[user] Hi\n[chosen] [{"name": "wave"}]\n[rejected] No.'


def test_no_duplicates_give_no_examples(store, make_version, tmp_path):
    version = make_version(store, "s", ["x", "y"])
    assert examples(find_duplicates([version], work=tmp_path), [version], 3) == []


@pytest.mark.parametrize(
    ("kept", "other", "expected"),
    [
        ("a b c", "a  b\nc", None),
        ("a b c", "a x c", ("a b c", "a x c")),
        ("a b", "a b c", ("a b", "a b c")),
        ("a a a", "a a", ("a a a", "a a")),
        ("", "x", ("", "x")),
        (" ".join(WORDS), " ".join([*WORDS[:50], "x", *WORDS[51:]]), ("… %s …", "… %s …")),
    ],
)
def test_where_texts_part(kept, other, expected):
    if expected and "%s" in expected[0]:
        context = [" ".join([*WORDS[44:50], middle, *WORDS[51:57]]) for middle in ("w50", "x")]
        expected = tuple(form % words for form, words in zip(expected, context, strict=True))
    assert difference(kept, other) == expected


def test_long_differences_and_excerpts_are_cut():
    one, other = " ".join(WORDS), " ".join(w.upper() for w in WORDS)
    assert [len(side.split()) for side in difference(one, other)] == [MOST_WORDS + 1] * 2
    assert excerpt(one) == f"{' '.join(WORDS[:MOST_WORDS])} …"
    assert excerpt("short\ntext") == "short text"
