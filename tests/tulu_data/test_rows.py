"""Digests are frozen and unambiguous; the check names what is wrong in one line."""

from __future__ import annotations

import json
import struct
import unicodedata
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.errors import UsageError
from tulu_data.rows import (
    KINDS,
    NEXT_ROLES,
    SPECS,
    check,
    check_messages,
    digest_matrix,
    finish,
    order_id,
    prompt_sha,
    row_sha,
    set_id,
    spec_of,
    to_table,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OPTIONAL = ("name", "tool_calls", "tool_call_id")


def user(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def tool(content: str) -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": "c1"}


CALL = '[{"name":"add","arguments":{"a":2}}]'
GOLDEN_ROWS: dict[str, dict[str, Any]] = {
    "sft": {"messages": [system("Be brief."), user("2+2?", name="Zoë"), assistant("4 😀\n")], "tools": None},
    "prompt": {
        "messages": [user("add"), assistant("", tool_calls=CALL), tool("4"), user("größer — 日本?")],
        "tools": '[{"name":"add"}]',
    },
    "preference": {"messages": [user("hi")], "chosen": [assistant("hello")], "rejected": [assistant("go away")]},
    "rlvr": {"messages": [user("2+2?")], "ground_truth": "4", "verifier": "gsm8k", "constraint": "be brief"},
}
# Frozen: a change of any of these renames every version that was ever published.
GOLDEN_ROW_SHA = {
    "sft": "0f3e4e1c0c70ba4cab80df85357e3bf540e5bc4f576a322cbf6e47c3402a9adc",
    "prompt": "4c5d6522d9116fcb383eff2df52ee8d8760a566dec11e9ddcd2944b3aef8cb00",
    "preference": "0b2795749bcddce4c936ef845950753e3dfe40ace585b116f70573b2b5225ba9",
    "rlvr": "b0d3a1783a360ce75dae96640f1d77c224e097f2854d944f1a4afc8280abd1f4",
}
GOLDEN_PROMPT_SHA = {
    "sft": "e33282eb7dc358e1140c9d482f2b1ea74e881b9cf0c1de65fa3dc6d3f94479b1",
    "prompt": "53853566c2f5ec18c47aa69a7ff79c7b282c93514f7e3ecf238c7b9e51f2f460",
    "preference": "2e42d73df6994aa5cf3c73d3fb042a600b797f53ebb6a2d872300fbead79a848",
    "rlvr": "cf57cc30dbad37c3baa7ce8574c81af3e31604c6e1df7175d6fa9ea280f9be74",
}
# Written out again from the docstrings, so that the vectors do not come from the code under test.
SCHEMA_NAMES = {"sft": "chat/v1", "prompt": "chat/v1", "preference": "preference/v1", "rlvr": "rlvr/v1"}
LISTS = {"preference": ("messages", "chosen", "rejected")}
SCALARS = {"rlvr": ("tools", "ground_truth", "verifier", "constraint")}


def plain_leaf(message: dict[str, Any]) -> bytes:
    body = message["content"].encode("utf-8")
    given_fields = {k: message[k] for k in OPTIONAL if message.get(k) is not None}
    tail = json.dumps(given_fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False) if given_fields else ""
    return sha256(message["role"].encode() + b"\x00" + len(body).to_bytes(8, "little") + body + tail.encode()).digest()


def plain_row_sha(kind: str, row: dict[str, Any]) -> str:
    data = b"td1\x00" + SCHEMA_NAMES[kind].encode() + b"\x00"
    for column in LISTS.get(kind, ("messages",)):
        data += column.encode() + b"\x00" + len(row[column]).to_bytes(4, "little")
        for message in row[column]:
            data += plain_leaf(message)
    for column in SCALARS.get(kind, ("tools",)):
        if row.get(column) is not None:
            body = row[column].encode("utf-8")
            data += column.encode() + b"\x00" + len(body).to_bytes(8, "little") + body
    return sha256(data).hexdigest()


def plain_prompt_sha(messages: list[dict[str, Any]]) -> str:
    users = [i for i, m in enumerate(messages) if m["role"] == "user"]
    data = b"td1-prompt\x00"
    for message in messages[: (users[-1] if users else len(messages) - 1) + 1]:
        folded = " ".join(unicodedata.normalize("NFC", message["content"]).casefold().split())
        data += plain_leaf({"role": message["role"], "content": folded})
    return sha256(data).hexdigest()


# ------------------------------------------------------------ digests


@pytest.mark.parametrize("kind", KINDS)
def test_digests_are_the_frozen_ones(kind):
    row = GOLDEN_ROWS[kind]
    assert row_sha(kind, row).hex() == plain_row_sha(kind, row) == GOLDEN_ROW_SHA[kind]
    assert prompt_sha(row["messages"]).hex() == plain_prompt_sha(row["messages"]) == GOLDEN_PROMPT_SHA[kind]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXT, st.none() | TEXT), max_size=4)
)
def test_digests_equal_a_second_implementation(turns):
    messages = [{"role": r, "content": c, "name": n} for r, c, n in turns]
    row = {"messages": messages, "chosen": messages[:1], "rejected": messages[1:], "ground_truth": "1", "verifier": "v"}
    for kind in KINDS:
        assert row_sha(kind, row).hex() == plain_row_sha(kind, row)
    assert prompt_sha(messages).hex() == plain_prompt_sha(messages)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([user("a", name="b")], [user('a{"name":"b"}')]),
        ([user("a", name="b")], [user("a", tool_call_id="b")]),
        ([user("a"), assistant("b")], [user("a\0assistant\0b")]),
        ([user("a"), assistant("b")], [user("ab"), assistant("")]),
        ([user("a"), assistant("b")], [assistant("b"), user("a")]),
        ([user("a\0" + "\1" + "\0" * 7 + "b")], [user("a"), user("b")]),
        ([user("a" + struct.pack("<Q", 1).decode() + "b")], [user("ab")]),
        ([user("a", name="")], [user("a")]),
        ([user("a", name='b","tool_call_id":"c')], [user("a", name="b", tool_call_id="c")]),
        ([user("é")], [user("e\u0301")]),
        ([user("a")], [user("A")]),
        ([user("a ")], [user("a")]),
    ],
)
def test_content_that_mimics_the_encoding_of_another_row_gives_another_digest(one, other):
    assert row_sha("sft", {"messages": one}) != row_sha("sft", {"messages": other})


def test_scalar_columns_cannot_be_moved_into_one_another():
    base = {"messages": [user("a")], "verifier": "v"}
    rows = [
        base | {"ground_truth": "xconstraint\0" + struct.pack("<Q", 1).decode() + "y"},
        base | {"ground_truth": "x", "constraint": "y"},
        base | {"ground_truth": "x", "constraint": ""},
        base | {"ground_truth": "x"},
        base | {"ground_truth": "x", "tools": "y"},
        base | {"ground_truth": "xy"},
    ]
    assert len({row_sha("rlvr", row) for row in rows}) == len(rows)


def test_messages_moved_between_the_columns_of_a_preference_give_another_digest():
    a, b = assistant("a"), assistant("b")
    splits = [([a], [b]), ([b], [a]), ([a, b], []), ([], [a, b])]
    digests = {row_sha("preference", {"messages": [user("q")], "chosen": c, "rejected": r}) for c, r in splits}
    assert len(digests) == len(splits)


def test_row_sha_ignores_identity_source_licence_tags_and_null_fields():
    messages = [user("q"), assistant("a")]
    full = [m | dict.fromkeys(OPTIONAL) for m in messages]
    more = {"id": "x", "source": "s", "license": "mit", "tags": ["t"], "tools": None, "n_tokens": 3}
    assert row_sha("sft", {"messages": full, **more}) == row_sha("sft", {"messages": messages})


def test_the_kinds_of_one_schema_share_digests_and_other_schemas_do_not():
    row = {"messages": [user("q")], "chosen": [], "rejected": [], "ground_truth": "", "verifier": ""}
    assert row_sha("sft", row) == row_sha("prompt", row)
    assert len({row_sha(kind, row) for kind in KINDS}) == 3


@pytest.mark.parametrize(
    "same",
    [
        "  What\tis\n\nÉCLAT\u00a0?  ",
        "what is éclat ?",
        "WHAT IS E\u0301CLAT ?",
        "what is e\u0301clat\u2003?",
    ],
)
def test_prompt_sha_ignores_case_white_space_and_unicode_form(same):
    assert prompt_sha([user(same)]) == prompt_sha([user("What is Éclat ?")])


def test_prompt_sha_looks_at_everything_up_to_the_last_user_turn_and_nothing_after_it():
    base = [system("s"), user("a"), assistant("b"), user("c")]
    digest = prompt_sha(base)
    assert prompt_sha([*base, assistant("x")]) == prompt_sha([*base, assistant("y"), tool("z")]) == digest
    for i, message in enumerate(base):
        assert prompt_sha([*base[:i], message | {"content": "other"}, *base[i + 1 :]]) != digest
    assert prompt_sha(base[1:]) != digest
    assert prompt_sha([user("ab")]) != prompt_sha([user("a b")])
    assert prompt_sha([system("s")]) != prompt_sha([system("t")])


# ------------------------------------------------------------ the check

GOOD = [user("q"), assistant("a")]
PAIR = {"messages": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("sft", {}, "messages must be a list of messages, got None"),
    ("sft", {"messages": "hello"}, "messages must be a list of messages, got 'hello'"),
    ("sft", {"messages": []}, "messages is empty"),
    ("sft", {"messages": ["hello"]}, "messages[0] must be a {role, content} object, got 'hello'"),
    ("sft", {"messages": [{"content": "a"}]}, "messages[0].role is None; one of system, user, assistant, tool"),
    (
        "sft",
        {"messages": [{"role": "bot", "content": "a"}]},
        "messages[0].role is 'bot'; one of system, user, assistant, tool",
    ),
    (
        "sft",
        {"messages": [{"role": ["user"], "content": "a"}]},
        "messages[0].role is ['user']; one of system, user, assistant, tool",
    ),
    ("sft", {"messages": [{"role": "user"}]}, "messages[0].content must be text, got NoneType None"),
    ("sft", {"messages": [user(True)]}, "messages[0].content must be text, got bool True"),
    (
        "sft",
        {"messages": [user(["x" * 80])]},
        f"messages[0].content must be text, got list ['{'x' * 57}…",
    ),
    ("sft", {"messages": [user("ab\0")]}, "messages[0].content holds a NUL byte at character 2; remove it"),
    (
        "sft",
        {"messages": [user("q"), assistant("a\ud800")]},
        "messages[1].content holds a lone surrogate '\\ud800' at character 1; re-encode it as UTF-8",
    ),
    ("sft", {"messages": [user(" \n")]}, "messages[0].content is empty (user turn)"),
    ("sft", {"messages": [user("q"), assistant("")]}, "messages[1].content is empty (assistant turn)"),
    ("sft", {"messages": [user("q", name=3)]}, "messages[0].name must be text, got int 3"),
    (
        "sft",
        {"messages": [user("q"), assistant("", tool_calls=[{"name": "f"}])]},
        "messages[1].tool_calls must be text, got list [{'name': 'f'}]",
    ),
    (
        "sft",
        {"messages": [user("q", tool_call_id="\0")]},
        "messages[0].tool_call_id holds a NUL byte at character 0; remove it",
    ),
    ("sft", {"messages": [assistant("a")]}, "messages[0]: assistant cannot come first; expected system or user"),
    (
        "sft",
        {"messages": [user("q"), user("r")]},
        "messages[1]: user cannot come after user; expected assistant",
    ),
    (
        "sft",
        {"messages": [user("q"), assistant("a"), system("s")]},
        "messages[2]: system cannot come after assistant; expected user or tool",
    ),
    ("sft", {"messages": [user("q")]}, "messages must end with 'assistant', got 'user'"),
    ("sft", {"messages": [system("s")]}, "messages must end with 'assistant', got 'system'"),
    ("sft", {"messages": GOOD, "tools": ["f"]}, "tools must be text, got list ['f']"),
    ("prompt", {"messages": GOOD}, "messages must end with 'user', got 'assistant'"),
    ("preference", {"messages": GOOD}, "messages must end with 'user', got 'assistant'"),
    ("preference", {"messages": [user("q")]}, "chosen must be a list of messages, got None"),
    ("preference", PAIR | {"rejected": []}, "rejected is empty"),
    ("preference", PAIR | {"chosen": [user("a")]}, "chosen[0]: user cannot come after user; expected assistant"),
    ("preference", PAIR | {"chosen": [assistant("a"), user("b")]}, "chosen must end with 'assistant', got 'user'"),
    ("preference", PAIR | {"rejected": [assistant("a")]}, "chosen and rejected are equal"),
    ("preference", PAIR | {"rejected": [assistant("a", name=None)]}, "chosen and rejected are equal"),
    ("rlvr", {"messages": GOOD}, "messages must end with 'user', got 'assistant'"),
    ("rlvr", {"messages": [user("q")], "verifier": "v"}, "ground_truth is missing"),
    ("rlvr", {"messages": [user("q")], "ground_truth": "4"}, "verifier is missing"),
    ("rlvr", {"messages": [user("q")], "ground_truth": 4, "verifier": "v"}, "ground_truth must be text, got int 4"),
    (
        "rlvr",
        {"messages": [user("q")], "ground_truth": "4", "verifier": "v", "constraint": False},
        "constraint must be text, got bool False",
    ),
]


@pytest.mark.parametrize(("kind", "row", "message"), CASES, ids=[f"{k}-{m[:50]}" for k, _, m in CASES])
def test_check_says_what_is_wrong_in_one_line(kind, row, message):
    assert check(kind, row) == message


@pytest.mark.parametrize("kind", KINDS)
def test_check_accepts_the_golden_rows(kind):
    assert check(kind, GOLDEN_ROWS[kind]) is None


def test_only_a_tool_may_answer_with_nothing():
    called = [user("q"), assistant("", tool_calls="[]"), {"role": "tool", "content": ""}]
    assert check("prompt", {"messages": called}) is None
    assert check("sft", {"messages": [*called, assistant("a")]}) is None
    assert check("sft", {"messages": [*called, assistant("")]}) == "messages[3].content is empty (assistant turn)"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=6))
def test_a_conversation_is_accepted_exactly_when_every_turn_may_follow_the_one_before(roles):
    allowed = all(b in NEXT_ROLES[a] for a, b in zip([None, *roles], roles, strict=False))
    assert (check_messages([{"role": r, "content": "x"} for r in roles], "messages") is None) == allowed


def test_an_unknown_kind_names_the_nearest():
    assert spec_of("sft") is SPECS["sft"]
    with pytest.raises(UsageError) as caught:
        spec_of("preferance")
    assert str(caught.value) == "kind 'preferance' is unknown; did you mean 'preference'?"


# ------------------------------------------------------------ finishing and Arrow


def test_finish_fills_in_identity_counts_and_digests_of_all_message_columns():
    row = finish("preference", dict(PAIR, prov={"orig_id": "7"}), source="s", license="mit", count_tokens=len)
    assert (row["id"], row["source"], row["license"], row["tags"]) == ("s/7", "s", "mit", [])
    assert (row["n_turns"], row["n_chars"], row["n_tokens"]) == (3, 3, 3)
    assert row["row_sha"].hex() == plain_row_sha("preference", PAIR)
    assert row["prov"] == {"orig_id": "7", "ops": [], "copy": 0}


def test_a_row_without_an_id_is_named_by_its_content_and_keeps_its_own_licence():
    row = finish("sft", {"messages": GOOD, "license": "cc0-1.0"}, source="s", license="mit")
    assert row["id"] == f"s/sha256:{row['row_sha'].hex()[:16]}"
    assert (row["license"], row["n_tokens"]) == ("cc0-1.0", None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_comes_back_from_arrow_with_the_same_digests(kind):
    row = finish(kind, json.loads(json.dumps(GOLDEN_ROWS[kind])), source="s")
    (back,) = to_table(kind, [row]).to_pylist()
    assert row_sha(kind, back) == row["row_sha"] == back["row_sha"]
    assert prompt_sha(back["messages"]) == back["prompt_sha"]
    assert check(kind, back) is None


DIGESTS = st.lists(st.binary(min_size=32, max_size=32) | st.sampled_from([bytes(32), b"\xff" * 32]), max_size=20)


def matrix(digests: list[bytes]) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


@settings(max_examples=200, deadline=None)
@given(DIGESTS, st.randoms(use_true_random=False))
def test_set_id_is_that_of_the_sorted_digests_and_order_id_that_of_the_sequence(digests, rng):
    assert set_id(matrix(digests)) == sha256(b"".join(sorted(digests))).hexdigest()
    assert order_id(matrix(digests)) == sha256(b"".join(digests)).hexdigest()
    shuffled = rng.sample(digests, len(digests))
    assert set_id(matrix(shuffled)) == set_id(matrix(digests))
    assert (order_id(matrix(shuffled)) == order_id(matrix(digests))) == (shuffled == digests)


def test_set_id_counts_multiplicity():
    a, b = b"a" * 32, b"b" * 32
    assert len({set_id(matrix(d)) for d in ([a, b], [a, a, b], [a, b, b], [a])}) == 4


@settings(max_examples=100, deadline=None)
@given(DIGESTS, st.data())
def test_digest_matrix_reads_slices_and_chunks(digests, data):
    array = pa.array(digests, pa.binary(32))
    cut = data.draw(st.integers(0, len(digests)))
    start = data.draw(st.integers(0, len(digests)))
    chunked = pa.chunked_array([array[:cut], array[cut:]], pa.binary(32))
    assert [bytes(r) for r in digest_matrix(array[start:])] == digests[start:]
    assert [bytes(r) for r in digest_matrix(chunked.slice(start))] == digests[start:]
    assert digest_matrix(pa.chunked_array([], pa.binary(32))).shape == (0, 32)
