"""Raw record → rows: every source shape, its refusals, and the detection of the shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tulu_data.adapters import ADAPTERS, FIELDS, Adapter, AdapterError, adapter, convert, sniff
from tulu_data.errors import InputError, UsageError
from tulu_data.fields import ROLE_NAMES, dialogue_of
from tulu_data.rows import KINDS, ROLES, SPECS, Row, check, finish, to_table

PUBLIC = Path(__file__).parents[2].parent / "shared" / "data" / "train"


def S(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def U(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def A(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def node(number: int, role: str, *replies: Any, **more: Any) -> dict[str, Any]:
    return {"message_id": f"m{number}", "role": role, "text": f"t{number}", "replies": list(replies), **more}


QA = [U("2+2?"), A("4")]
CALL = [{"function": {"name": "f", "arguments": "{}"}, "type": "function"}]
CALL_TEXT = '[{"function":{"arguments":"{}","name":"f"},"type":"function"}]'
HH = "\n\nHuman: hi\n\nAssistant: yo\n\nHuman: more"

# adapter, record, the rows without `prov`
SHAPES: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("alpaca", {"instruction": "2+2?", "input": "", "output": "4"}, [{"messages": QA}]),
    ("alpaca", {"instruction": "Add.", "input": "2+2", "output": 4}, [{"messages": [U("Add.\n\n2+2"), A("4")]}]),
    (
        "alpaca",
        {"instruction": "Why?", "context": "sky", "response": "blue", "category": "open_qa"},
        [{"messages": [U("Why?\n\nsky"), A("blue")], "subset": "open_qa"}],
    ),
    (
        "alpaca",
        {"system": "Be brief.", "history": [["a", "b"]], "instruction": "c", "input": None, "output": "d"},
        [{"messages": [S("Be brief."), U("a"), A("b"), U("c"), A("d")]}],
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]},
        [{"messages": QA}],
    ),
    (
        "sharegpt",
        {"conversation": [{"role": "User", "content": "2+2?"}, {"role": "ChatGPT", "content": "4"}], "system": "S"},
        [{"messages": [S("S"), *QA]}],
    ),
    (
        "messages",
        {"messages": QA, "license": "MIT", "tags": ["a", 1]},
        [{"messages": QA, "license": "MIT", "tags": ["a"]}],
    ),
    ("messages", {"messages": json.dumps(QA)}, [{"messages": QA}]),
    (
        "messages",
        {"messages": [U("2+2?"), A("4") | {"weight": 1, "refusal": None, "reasoning_content": ""}]},
        [{"messages": QA}],
    ),
    ("messages", {"messages": {"role": ["user", "assistant"], "content": ["2+2?", "4"]}}, [{"messages": QA}]),
    (
        "messages",
        {
            "messages": [
                {"role": "developer", "content": "S"},
                {"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
                A("4"),
            ]
        },
        [{"messages": [S("S"), *QA]}],
    ),
    (
        "messages",
        {
            "messages": [
                U("q"),
                {"role": "assistant", "content": None, "tool_calls": CALL},
                {"role": "tool", "content": "r", "tool_call_id": "1", "name": "f"},
                A("a"),
            ],
            "tools": [{"name": "f", "a": 1}],
        },
        [
            {
                "messages": [
                    U("q"),
                    {"role": "assistant", "content": "", "tool_calls": CALL_TEXT},
                    {"role": "tool", "content": "r", "name": "f", "tool_call_id": "1"},
                    A("a"),
                ],
                "tools": '[{"a":1,"name":"f"}]',
            }
        ],
    ),
    ("tulu", {"id": "x", "source": "s", "messages": QA}, [{"messages": QA, "subset": "s"}]),
    ("prompt-response", {"question": "2+2?", "answer": 4}, [{"messages": QA}]),
    ("prompt-response", {"prompt": [U("2+2?")], "completion": [A("4")]}, [{"messages": QA}]),
    (
        "prompt-response",
        {"problem": "2+2?", "solution": "2+2=4", "answer": "4"},
        [{"messages": [U("2+2?"), A("2+2=4")]}],
    ),
    (
        "prompt-response",
        {"system_prompt": "S", "question": "2+2?", "response": "4"},
        [{"messages": [S("S"), *QA]}],
    ),
    ("flan", {"inputs": "2+2?", "targets": "4", "task_name": "cot"}, [{"messages": QA, "subset": "cot"}]),
    ("flan", {"inputs_pretokenized": "2+2?", "targets_pretokenized": "4"}, [{"messages": QA}]),
    (
        "hh",
        {"chosen": f"{HH}\n\nAssistant: good", "rejected": f"{HH}\n\nAssistant: bad"},
        [{"messages": [U("hi"), A("yo"), U("more")], "chosen": [A("good")], "rejected": [A("bad")]}],
    ),
    (
        "preference-explicit",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        [{"messages": [U("q")], "chosen": [A("a")], "rejected": [A("b")]}],
    ),
    (
        "preference-explicit",
        {"prompt": [U("x"), A("y"), U("q")], "chosen": "a", "rejected": [A("b")]},
        [{"messages": [U("x"), A("y"), U("q")], "chosen": [A("a")], "rejected": [A("b")]}],
    ),
    (
        "preference-explicit",
        {"prompt": f"{HH}\n\nAssistant:", "chosen": "a", "rejected": "b"},
        [{"messages": [U("hi"), A("yo"), U("more")], "chosen": [A("a")], "rejected": [A("b")]}],
    ),
    (
        "preference-explicit",
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        [{"messages": [U("q")], "chosen": [A("a")], "rejected": [A("b")]}],
    ),
    (
        "preference-implicit",
        {"chosen": [U("q"), A("a")], "rejected": [U("q"), A("b")], "chosen_model": "m"},
        [{"messages": [U("q")], "chosen": [A("a")], "rejected": [A("b")], "chosen_model": "m"}],
    ),
    (
        "preference-implicit",
        {"chosen": [S("s"), U("q"), A("a"), U("r"), A("b")], "rejected": [S("s"), U("q"), A("a"), U("t"), A("b")]},
        [{"messages": [S("s"), U("q")], "chosen": [A("a"), U("r"), A("b")], "rejected": [A("a"), U("t"), A("b")]}],
    ),
    (
        "ultrafeedback-binarized",
        {
            "prompt": "q",
            "chosen": [U("q"), A("a")],
            "rejected": [U("q"), A("b")],
            "score_chosen": 8,
            "score_rejected": 4.5,
        },
        [
            {
                "messages": [U("q")],
                "chosen": [A("a")],
                "rejected": [A("b")],
                "chosen_rating": 8.0,
                "rejected_rating": 4.5,
            }
        ],
    ),
    (
        "ultrafeedback",
        {
            "instruction": "q",
            "source": "evol",
            "completions": [
                {
                    "model": "x",
                    "response": "mid",
                    "annotations": {"h": {"Rating": "3"}, "t": {"Rating": "N/A"}},
                    "overall_score": 10,
                },
                {
                    "model": "y",
                    "response": "top",
                    "annotations": {"h": {"Rating": "5"}, "t": {"Rating": "4"}},
                    "overall_score": 1,
                },
                {"model": "z", "response": "low", "annotations": {"h": {"Rating": "1"}}, "overall_score": 5},
            ],
        },
        [
            {
                "messages": [U("q")],
                "chosen": [A("top")],
                "rejected": [A("low")],
                "chosen_rating": 4.5,
                "rejected_rating": 1.0,
                "chosen_model": "y",
                "rejected_model": "z",
                "subset": "evol",
            }
        ],
    ),
    (
        "ultrafeedback",
        {
            "instruction": "q",
            "completions": [{"response": "b", "overall_score": 2}, {"response": "a", "overall_score": 7}],
        },
        [
            {
                "messages": [U("q")],
                "chosen": [A("a")],
                "rejected": [A("b")],
                "chosen_rating": 7.0,
                "rejected_rating": 2.0,
            }
        ],
    ),
    (
        "rlvr",
        {"messages": [U("2+2?")], "ground_truth": "4", "dataset": "gsm8k", "constraint": None},
        [{"messages": [U("2+2?")], "ground_truth": "4", "verifier": "gsm8k"}],
    ),
    (
        "rlvr",
        {"messages": [U("q")], "ground_truth": {"b": [1], "a": "é"}, "dataset": ["ifeval"], "constraint_type": "words"},
        [{"messages": [U("q")], "ground_truth": '{"a":"é","b":[1]}', "verifier": "ifeval", "constraint": "words"}],
    ),
    (
        "rlvr-question",
        {"question": "2+2?", "answer": 4, "verifier": "gsm8k", "source": "s"},
        [{"messages": [U("2+2?")], "ground_truth": "4", "verifier": "gsm8k", "subset": "s"}],
    ),
    ("prompt-messages", {"messages": [U("q")]}, [{"messages": [U("q")]}]),
    ("prompt", {"question": "q"}, [{"messages": [U("q")]}]),
    ("text", {"text": "q"}, [{"messages": [U("q")]}]),
    (
        "oasst",
        {"message_tree_id": "t", "prompt": node(1, "prompter", node(2, "assistant"))},
        [{"messages": [U("t1"), A("t2")]}],
    ),
]


@pytest.mark.parametrize(("name", "record", "rows"), SHAPES)
def test_a_shape_becomes_rows_that_pass_the_check(
    name: str, record: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    made = convert(adapter(name), record)
    assert [{k: v for k, v in row.items() if k != "prov"} for row in made] == rows
    assert [check(adapter(name).kind, row) for row in made] == [None] * len(rows)


@pytest.mark.parametrize(("name", "record", "rows"), SHAPES)
def test_a_shape_is_detected_from_one_record(name: str, record: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    assert sniff([record])[:2] == (name, 1.0)


@pytest.mark.parametrize(("name", "record", "rows"), SHAPES)
def test_rows_of_a_shape_fit_the_schema_of_their_kind(
    name: str, record: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    kind = adapter(name).kind
    made = [finish(kind, row, source="s") for row in convert(adapter(name), record)]
    assert {column for row in made for column in row} <= set(SPECS[kind].schema.names)
    assert to_table(kind, made).num_rows == len(rows)


def test_every_adapter_has_a_shape_in_this_table() -> None:
    assert {name for name, _, _ in SHAPES} | {"chosen"} == set(ADAPTERS)


def test_the_table_is_keyed_by_name_and_knows_its_kinds() -> None:
    assert all(a.name == name and a.kind in KINDS and "\n" not in a.description for name, a in ADAPTERS.items())
    assert set(ROLE_NAMES.values()) == set(ROLES)
    assert {"prompt", "messages", "text"} <= FIELDS
    assert not {"id", "source", "license"} & FIELDS


@pytest.mark.parametrize(
    ("record", "orig_id"),
    [({"id": "a/1"}, "a/1"), ({"id": 7}, "7"), ({"prompt_id": "p"}, "p"), ({"id": None, "uid": "u"}, "u"), ({}, None)],
)
def test_a_row_keeps_the_records_own_id(record: dict[str, Any], orig_id: str | None) -> None:
    (row,) = convert(adapter("prompt"), {"prompt": "q", **record})
    assert row["prov"] == {"orig_id": orig_id}


def test_the_chosen_side_is_an_sft_row_and_is_never_detected() -> None:
    pairs = [record for name, record, _ in SHAPES if adapter(name).kind == "preference"]
    made = [convert(adapter("chosen"), record)[0] for record in pairs]
    assert [check("sft", row) for row in made] == [None] * len(pairs)
    assert made[0]["messages"] == [U("hi"), A("yo"), U("more"), A("good")]
    assert all("chosen" not in row for row in made)
    with pytest.raises(InputError, match="no adapter fits"):
        sniff(pairs[:1], kind="sft")


# ------------------------------------------------------------ oasst


def test_an_oasst_tree_gives_its_threads_best_rank_first_without_deleted_spam_and_unanswered_turns() -> None:
    tree = node(
        1,
        "prompter",
        node(2, "assistant", node(21, "prompter"), rank=1),
        node(3, "assistant", node(31, "prompter", node(311, "assistant")), node(32, "prompter"), rank=0),
        node(4, "assistant", rank=2, deleted=True),
        node(5, "assistant", node(51, "prompter", node(511, "assistant")), rank=3, review_result=False),
        node(6, "assistant", labels={"spam": {"value": 0.9}}),
        node(7, "assistant"),
    )
    made = convert(adapter("oasst"), {"message_tree_id": "T", "prompt": tree})
    assert [row["prov"]["orig_id"] for row in made] == ["T/m311", "T/m2", "T/m7"]
    assert [m["content"] for m in made[0]["messages"]] == ["t1", "t3", "t31", "t311"]
    assert [check("sft", row) for row in made] == [None] * 3


def test_an_oasst_tree_of_any_depth_is_read() -> None:
    tree = node(0, "assistant")
    for i in range(1, 3_000):
        tree = node(i, "prompter" if i % 2 else "assistant", tree)
    (row,) = convert(adapter("oasst"), tree)
    assert len(row["messages"]) == 3_000


# ------------------------------------------------------------ properties

SAID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


@given(said=st.lists(SAID.filter(lambda t: "Human:" not in t and "Assistant:" not in t), min_size=1, max_size=6))
def test_an_hh_dialogue_comes_apart_into_the_turns_it_was_joined_from(said: list[str]) -> None:
    text = "".join(f"\n\n{'Assistant' if i % 2 else 'Human'}: {turn}" for i, turn in enumerate(said))
    assert dialogue_of(text, "chosen") == [A(t) if i % 2 else U(t) for i, t in enumerate(said)]


@given(prompt=st.lists(SAID, min_size=1, max_size=5).filter(lambda p: len(p) % 2 == 1), a=SAID, b=SAID)
def test_an_implicit_pair_splits_after_its_last_common_user_turn(prompt: list[str], a: str, b: str) -> None:
    shared = [A(t) if i % 2 else U(t) for i, t in enumerate(prompt)]
    record = {"chosen": [*shared, A(a)], "rejected": [*shared, A(b)]}
    if a == b:
        with pytest.raises(AdapterError, match="chosen and rejected are equal"):
            convert(adapter("preference-implicit"), record)
    else:
        (row,) = convert(adapter("preference-implicit"), record)
        assert (row["messages"], row["chosen"], row["rejected"]) == (shared, [A(a)], [A(b)])


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "q", "user", "[]", "{", HH])
NAMES = st.sampled_from(sorted(FIELDS | {"id", "source", "tags", "system", "role", "content", "from", "value"}))
ANY = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(record=st.dictionaries(NAMES, ANY, max_size=6))
def test_any_record_becomes_rows_or_one_line_that_says_why_not(record: dict[str, Any]) -> None:
    for a in ADAPTERS.values():
        made, refusal = rows_or_refusal(a, record)
        assert bool(made) != bool(refusal)
        assert "\n" not in refusal
        for row in made:
            check(a.kind, row)


def rows_or_refusal(a: Adapter, record: dict[str, Any]) -> tuple[list[Row], str]:
    try:
        return convert(a, record), ""
    except AdapterError as e:
        return [], str(e)


# ------------------------------------------------------------ refusals


def conversation(*entries: Any) -> dict[str, Any]:
    return {"messages": list(entries)}


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("alpaca", {"instruction": "q", "output": True}, "output must be text, got bool True"),
        ("alpaca", {"instruction": "q", "output": ""}, "output is empty; fill it or remove the record"),
        ("alpaca", {"instruction": "q", "output": None}, "output is null; fill it or remove the record"),
        (
            "alpaca",
            {"instruction": "q"},
            "one of the fields output, response is missing; rename the field that holds it",
        ),
        ("alpaca", {"output": "a"}, "instruction is missing"),
        ("alpaca", {"instruction": 5, "output": "a"}, "instruction must be text, got int 5"),
        ("alpaca", {"instruction": "q", "input": False, "output": "a"}, "input must be text, got bool False"),
        (
            "alpaca",
            {"instruction": "q", "output": "a", "history": ["x"]},
            "history[0] must be a [question, answer] pair, got 'x'",
        ),
        ("prompt-response", {"question": "q", "answer": float("nan")}, "answer must be text, got float nan"),
        (
            "messages",
            {"messages": "hi"},
            "messages must hold JSON (Expecting value: line 1 column 1 (char 0)); got 'hi'",
        ),
        ("prompt-response", {"question": "q", "answer": 10**400}, f"answer must be text, got int 1{'0' * 58}…"),
        ("messages", {"messages": 5}, "messages must be a list of messages, got int 5"),
        ("messages", {"messages": []}, "messages is empty; fill it or remove the record"),
        ("messages", conversation("hi"), "messages[0] must be a {role, content} object, got 'hi'"),
        ("messages", conversation({"content": "q"}), "messages[0] has no role or from field; got {'content': 'q'}"),
        (
            "messages",
            conversation({"role": "asistant", "content": "q"}),
            "messages[0].role 'asistant' is unknown; did you mean 'assistant'?",
        ),
        ("messages", conversation({"role": True, "content": "q"}), "messages[0].role must be text, got bool True"),
        (
            "messages",
            conversation({"role": "user", "content": None}),
            "messages[0].content is null; fill it or remove the record",
        ),
        (
            "messages",
            conversation({"role": "user", "content": True}),
            "messages[0].content must be text, got bool True",
        ),
        (
            "messages",
            conversation({"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}),
            "messages[0].content[0] must be a text part, got 'image_url'; only text is read",
        ),
        (
            "messages",
            conversation(U("q"), A("a") | {"reasoning_content": "hm"}),
            "messages[1].reasoning_content is not read, got 'hm'; write it into the content, or remove the field",
        ),
        (
            "messages",
            conversation(U("q"), A("a") | {"refusal": "no"}),
            "messages[1].refusal is not read, got 'no'; write it as the content, or remove the record",
        ),
        (
            "messages",
            conversation(U("q"), A("a") | {"weight": 0}),
            "messages[1].weight is 0, but every answer is trained on; remove the turn or the field",
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": 1}]},
            "conversations[0].value must be text, got int 1",
        ),
        ("tulu", {"messages": QA, "source": "s"}, "id must be text, got None"),
        ("hh", {"chosen": "yes", "rejected": HH}, "chosen must start with '\\n\\nHuman:', got 'yes'"),
        ("hh", {"chosen": HH, "rejected": HH}, "chosen and rejected are equal; remove the pair"),
        (
            "preference-implicit",
            {"chosen": QA, "rejected": [U("3+3?"), A("6")]},
            "chosen and rejected share no prompt; they start with '2+2?' and '3+3?'",
        ),
        (
            "preference-explicit",
            {"prompt": "q", "chosen": QA, "rejected": "b"},
            "chosen starts with 'user'; if it holds the prompt it is preference-implicit",
        ),
        ("preference-explicit", {"prompt": "q", "chosen": "a"}, "rejected is missing"),
        (
            "ultrafeedback-binarized",
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            "score_chosen (or chosen_rating) must be a number, got None",
        ),
        (
            "ultrafeedback",
            {"instruction": "q", "completions": [{"response": "a", "overall_score": 3}] * 2},
            "completions are all rated 3; remove the record, it shows no preference",
        ),
        (
            "ultrafeedback",
            {"instruction": "q", "completions": [{"response": "a"}]},
            "completions must hold at least 2, got 1",
        ),
        (
            "ultrafeedback",
            {"instruction": "q", "completions": [{"response": "a", "overall_score": 3}, {"response": "b"}]},
            "completions must all have annotations with a Rating, or all an overall_score",
        ),
        (
            "rlvr",
            {"messages": [U("q")], "ground_truth": "4"},
            "one of the fields verifier, dataset is missing; rename the field that holds it",
        ),
        (
            "rlvr",
            {"messages": [U("q")], "ground_truth": True, "dataset": "x"},
            "ground_truth must be text, got bool True",
        ),
        (
            "rlvr",
            {"messages": [U("q")], "ground_truth": "1", "dataset": ["a", "b"]},
            "dataset must name one verifier, got ['a', 'b']; split the record",
        ),
        ("oasst", {"prompt": "q"}, "prompt must be a message with replies: an OASST tree, not one message of it"),
        (
            "oasst",
            {"prompt": node(1, "prompter")},
            "no message of the tree is answered by an assistant; remove the tree",
        ),
        ("text", ["q"], "record must be an object with named fields, got list ['q']"),
    ],
)
def test_a_record_of_another_shape_is_refused_in_one_line(name: str, record: Any, message: str) -> None:
    with pytest.raises(AdapterError) as e:
        convert(adapter(name), record)
    assert str(e.value) == message


def test_an_unknown_adapter_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"adapter 'sharegtp' is unknown; did you mean 'sharegpt'\?"):
        adapter("sharegtp")


# ------------------------------------------------------------ detection


def test_confidence_is_the_share_of_records_that_become_checked_rows() -> None:
    records = [{"instruction": "q", "output": "a" if i < 7 else ""} for i in range(10)]
    assert sniff(records) == ("alpaca", 0.7, 7, 10, "prompt-response")


def test_prompts_are_not_detected_where_records_hold_answers_unless_asked_for() -> None:
    records = [{"question": "q", "answer": "a"}]
    assert sniff(records).adapter == "prompt-response"
    assert sniff(records, kind="prompt").adapter == "prompt"
    with pytest.raises(InputError):
        sniff([{"question": "q", "answer": True}])


def test_text_is_detected_only_where_no_other_field_is_known() -> None:
    assert sniff([{"text": "x", "label": 1}]).adapter == "text"
    assert sniff([{"text": "x", "prompt": "p"}]).adapter == "prompt"


def test_a_sample_nothing_fits_says_the_fields_the_nearest_adapter_and_the_remedy() -> None:
    with pytest.raises(InputError) as e:
        sniff([{"id": 1, "frage": "q", "instruction": "x"}, {"antwort": "a"}], kind="rlvr")
    assert str(e.value) == (
        "no adapter fits: the fields are id, frage, instruction, antwort, of which none is read; "
        "rename them, as to prompt and response; pass --adapter NAME, one of rlvr, rlvr-question"
    )


NEAREST = [
    (
        {"messages": [S("s"), A("a")]},
        "records look like 'messages', but 0 of 1 pass: messages[1]: assistant cannot come after system; expected user",
    ),
    (
        {"messages": [U("q"), A("")]},
        "records look like 'messages', but 0 of 1 pass: messages[1].content is empty (assistant turn)",
    ),
    (
        {"conversations": [{"from": "narrator", "value": "x"}]},
        "records look like 'sharegpt', but 0 of 1 pass: conversations[0].from 'narrator' is unknown; known roles: ",
    ),
    (
        {"question": "q", "answer": True},
        "records look like 'prompt-response', but 0 of 1 pass: answer must be text, got bool True",
    ),
    ({"instruction": "q", "output": True}, "records look like 'alpaca', but 0 of 1 pass: output must be text, "),
    ({"id": 1, "frage": "q"}, "the fields are id, frage, of which none is read; rename them, "),
    (
        {"id": 1, "question": "q", "ground_truth": "4"},
        "the fields are id, question, ground_truth; nearest is rlvr-question (0 of 1 records: verifier is missing); ",
    ),
    (
        {"prompt": "q", "completion": "a", "label": False},
        "label: a KTO record says whether its completion is wanted; keep the wanted ones and remove the field "
        "(1 of 1 records); pass --adapter NAME, one of ",
    ),
    ({"question": "q", "response": "a", "label": "true"}, "label: a KTO record"),
    ({"messages": QA, "kto_tag": True}, "kto_tag: a KTO record"),
    (
        {"message_id": "m", "parent_id": None, "role": "prompter", "text": "q"},
        "message_id: messages of a tree, one per record; give the trees (1 of 1 records)",
    ),
    (
        {"prompt": "q", "responses": ["a", "b"], "scores": [1, 2]},
        "responses: several answers to a prompt; write the best as 'response', or two as 'chosen' and 'rejected'",
    ),
    ({"prompt": "q", "choices": [{"message": A("a")}]}, "choices: several answers to a prompt"),
    (
        {"question": "q", "choices": ["a", "b"], "answer": 1},
        "choices: a multiple-choice test item, not training data; write the choices into a prompt, and a response",
    ),
    ({"question": "q", "options": "['a', 'b']", "answerKey": "A"}, "options: a multiple-choice test item"),
    (U("q"), 'role: each record is one message; write a whole conversation as {"messages": [...]} (1 of 1 records)'),
    (
        {"train": [{"prompt": "q"}], "test": [{"prompt": "r"}]},
        "train, test: lists of records; write each list to a file of its own (1 of 1 records)",
    ),
]


@pytest.mark.parametrize(("record", "message"), NEAREST)
def test_a_record_nothing_fits_says_what_it_looks_like_and_what_stops_it(record: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as e:
        sniff([record])
    assert str(e.value).startswith(f"no adapter fits: {message}")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "q", "completion": "a", "label": "math"}, "prompt-response"),
        ({"prompt": "q", "completion": "a", "label": None}, "prompt-response"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "label": 1}, "preference-explicit"),
        ({"question": "q", "options": ["a"], "response": "a"}, "prompt-response"),
        ({"question": "q", "answer": "a", "answers": ["a"]}, "prompt-response"),
        ({"text": "q", "role": "user"}, "text"),
    ],
)
def test_a_field_that_only_resembles_a_guarded_shape_stops_nothing(record: dict[str, Any], expected: str) -> None:
    assert sniff([record]).adapter == expected


def test_a_guarded_shape_is_read_by_the_adapter_or_as_the_prompts_that_are_asked_for() -> None:
    kto = {"prompt": "q", "completion": "a", "label": True}
    assert sniff([kto], kind="prompt").adapter == "prompt"
    assert sniff([{"prompt": "q", "responses": ["a", "b"]}], kind="prompt").adapter == "prompt"
    assert convert(adapter("prompt-response"), kto)[0]["messages"] == [U("q"), A("a")]


def test_a_sample_of_which_few_pass_says_how_many() -> None:
    with pytest.raises(InputError, match=r"look like 'alpaca', but 1 of 3 pass: output must be text"):
        sniff([{"instruction": "q", "output": a} for a in (True, "a", True)])


def test_an_empty_sample_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(InputError, match="there are no records to detect a shape from; pass --adapter NAME"):
        sniff([])
    with pytest.raises(UsageError, match="kind 'sfd' is unknown; did you mean 'sft'"):
        sniff([{}], kind="sfd")  # type: ignore[arg-type]


# ------------------------------------------------------------ public sets


@pytest.mark.public_data
@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"no public sets in {PUBLIC}")
@pytest.mark.parametrize(
    ("name", "expected", "confidence"),
    [
        ("flan_cot", "tulu", 1.0),
        ("gpteacher", "tulu", 0.99),
        ("gsm8k_train", "tulu", 1.0),
        ("t0_train_50k", "tulu", 0.99),
        ("octopack_oasst", "tulu", 0.5),  # most of its answers are empty, which the check refuses
        ("oasst_en_100", "prompt-messages", 1.0),
        ("hh_harmless_test", "preference-explicit", 0.99),
    ],
)
def test_public_sets_are_detected(name: str, expected: str, confidence: float) -> None:
    sample = pq.read_table(PUBLIC / f"{name}.parquet").slice(0, 1_000).to_pylist()
    found = sniff(sample)
    assert found.adapter == expected
    assert found.confidence >= confidence
