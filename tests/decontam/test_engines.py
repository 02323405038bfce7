"""The compiled engine gives the tables of the reference, column by column, whatever the text and the settings."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decontam.analyzers import ANALYZERS
from decontam.corpus import join
from decontam.engine import make_engine, source_of
from decontam.evidence import columns_of
from decontam.index import build, canonical, index_of
from decontam.reference import canonical as plain_canonical
from decontam.suites import FieldText, Instance, suite_of
from decontam.text_arrays import addresses_of
from decontam.verdicts import Settings
from tulu_data.errors import InputError, UsageError
from tulu_data.rows import MESSAGE, finish, to_table

ALPHABET = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    " .,’“”–İΣσς\t\n\\_-日本한か\u00a0\u200b\u2003KÅé"
)
WORDS = ["the", "a", "Don’t", "naïve", "STRASSE", "ẞ", "日本", "x_y", "3.5", "e", "longestwordinthewholeworldoftests"]
GAPS = [" ", "  ", "\n", "\t", ", ", "\u00a0", "—", " “", "”, ", "\u3000", "", "-", "😀", "\\"]
PIECES = st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)).map("".join)
TEXT = st.lists(PIECES, max_size=40).map("".join) | st.text(ALPHABET, max_size=200)


@pytest.mark.parametrize("name", sorted(ANALYZERS))
@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXT | st.text(ALPHABET, max_size=400), max_size=8))
def test_compiled_tokens_are_those_of_the_analyzer(name, texts):
    assert canonical(name, texts) == plain_canonical(ANALYZERS[name], texts)


@pytest.mark.parametrize("name", sorted(ANALYZERS))
def test_every_code_point_is_folded_and_split_as_the_analyzer_does(name):
    points = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    texts = [f"a{''.join(points[i : i + 64])}b" for i in range(0, len(points), 64)]
    texts += [f"a{c}b" for c in points[:0x3400]]
    assert canonical(name, texts) == plain_canonical(ANALYZERS[name], texts)


@pytest.mark.parametrize("name", sorted(ANALYZERS))
@pytest.mark.parametrize("char", ["é", "–", "日", "😀", "İ", " ", "x"])
def test_a_character_at_the_edge_of_a_block_is_read_whole(name, char):
    texts = [f"{'a' * before}{char}{'b' * 70}" for before in range(55, 135)]
    texts += [f"{'a ' * (before // 2)}{char}" for before in range(55, 135)]
    assert canonical(name, texts) == plain_canonical(ANALYZERS[name], texts)


def test_a_text_that_ends_where_a_page_of_memory_does_is_read_whole():
    size = 4096 * 3
    blob = np.zeros(size + 4096, np.uint8)
    start = -blob.ctypes.data % 4096
    words = ("word and é more " * 300).encode()
    texts, offsets = [], [0]
    for end in range(1, 80):
        text = words[: 4096 - 64 + end].decode(errors="ignore").encode()
        texts.append(text)
    for text in texts:
        at = start + 4096 - len(text) % 4096
        blob[at : at + len(text)] = np.frombuffer(text, np.uint8)
        buffer = pa.py_buffer(blob)
        offsets = pa.py_buffer(np.array([at, at + len(text)], np.int32))
        array = pa.StringArray.from_buffers(1, offsets, buffer)
        assert array[0].as_py().encode() == text
        assert canonical("unicode", array.to_pylist()) == plain_canonical(ANALYZERS["unicode"], array.to_pylist())


# ------------------------------------------------------------ pairs


@st.composite
def audits(draw):
    pool = draw(st.lists(st.lists(PIECES, min_size=1, max_size=30).map("".join), min_size=1, max_size=4))
    passage = st.lists(st.sampled_from(pool) | TEXT, max_size=4).map(" ".join)
    instances = draw(
        st.lists(
            st.tuples(
                st.lists(st.sampled_from(pool) | passage, max_size=3),
                st.none() | st.sampled_from(pool) | st.sampled_from(["the a", "3.5 e 日本"]),
                st.none() | st.sampled_from(pool),
            ),
            min_size=1,
            max_size=6,
        )
    )
    suites = [
        suite_of(
            name,
            "dev",
            [
                Instance(str(i), None, tuple(FieldText(f"f{k}", t) for k, t in enumerate(fields)), answer, context)
                for i, (fields, answer, context) in enumerate(instances[start:])
            ],
        )
        for start, name in enumerate("st"[: len(instances)])
    ]
    turn = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": passage})
    kind = draw(st.sampled_from(["sft", "preference", "rlvr"]))
    shape = {"messages": st.lists(turn, min_size=1, max_size=3)}
    if kind == "preference":
        shape |= {"chosen": st.lists(turn, min_size=1, max_size=2), "rejected": st.lists(turn, min_size=1, max_size=2)}
    if kind == "rlvr":
        shape |= {"ground_truth": passage, "verifier": st.just("gsm8k")}
    rows = draw(st.lists(st.fixed_dictionaries(shape), max_size=5))
    chosen = Settings(
        analyzer=draw(st.sampled_from(sorted(ANALYZERS))),
        n=draw(st.sampled_from([3, 4, 5, 8, 8, 13, 32]) | st.integers(3, 32)),
        max_df=draw(st.integers(1, 4)),
        exact_min_tokens=draw(st.sampled_from([1, 2, 5, 5, 8, 40])),
        fuzzy=draw(st.booleans()),
        floor=draw(st.sampled_from([0.0, 0.0, 0.3])),
        roles=draw(st.sampled_from(["user", "assistant", "all"])),
    )
    return kind, rows, suites, chosen


def batch_of(kind, rows):
    table = to_table(kind, [finish(kind, r, source="s") for r in rows]).combine_chunks().select(columns_of(kind))
    return table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], schema=table.schema)


@settings(max_examples=500, deadline=None)
@given(case=audits())
def test_both_engines_give_the_same_table(case):
    kind, rows, suites, chosen = case
    batch = batch_of(kind, rows)
    plain, compiled = (make_engine(suites, chosen, which=which) for which in ("reference", "compiled"))
    expected, found = (e.scan_batch("t", kind, batch, 7) for e in (plain, compiled))
    for column in expected.column_names:
        assert found[column].to_pylist() == expected[column].to_pylist(), column
    assert found.equals(expected)


@settings(max_examples=60, deadline=None)
@given(case=audits(), start=st.integers(0, 4), size=st.integers(0, 4))
def test_a_slice_of_a_batch_gives_the_pairs_of_its_rows(case, start, size):
    kind, rows, suites, chosen = case
    batch = batch_of(kind, rows)
    engine = make_engine(suites, chosen, which="compiled")
    whole = engine.scan_batch("t", kind, batch, 0).to_pylist()
    part = engine.scan_batch("t", kind, batch.slice(start, size), start).to_pylist()
    assert part == [p for p in whole if start <= p["row_index"] < start + size]


def repeated(pattern, times):
    return " ".join(pattern.split() * times)


REPEATS = [("a", 40), ("a b", 20), ("a b a", 15), ("w0 w1 w2 w3 w4 w5 w6 w7", 6)]


@pytest.mark.parametrize("n", [3, 5, 8, 13])
@pytest.mark.parametrize(("pattern", "times"), REPEATS)
def test_n_grams_that_repeat_in_message_and_instance_agree(n, pattern, times):
    texts = [repeated(pattern, times), repeated(pattern, times // 2) + " end", "start " + repeated(pattern, 3)]
    instances = [Instance(str(i), None, (FieldText("q", t),), None) for i, t in enumerate(texts)]
    suites = [suite_of("s", "dev", instances)]
    rows = [{"messages": [{"role": "user", "content": f"{t} and {u}"}]} for t in texts for u in texts]
    batch = batch_of("prompt", rows)
    plain, compiled = (make_engine(suites, Settings(n=n), which=w) for w in ("reference", "compiled"))
    assert compiled.scan_batch("t", "prompt", batch, 0).equals(plain.scan_batch("t", "prompt", batch, 0))


def test_more_pairs_than_the_buffers_hold_are_all_reported():
    text = "one two three four five six seven eight nine"
    instances = [Instance(str(i), None, (FieldText("q", f"{text} {i}"),), None) for i in range(400)]
    suites = [suite_of("s", "dev", instances)]
    engine = make_engine(suites, Settings(fuzzy=False), which="compiled")
    batch = batch_of("prompt", [{"messages": [{"role": "user", "content": f"{k} {text} {k}"}]} for k in range(300)])
    assert len(engine.scan_batch("t", "prompt", batch, 0)) == 400 * 300


# ------------------------------------------------------------ memory layouts


def as_type(batch, text_type):
    """The batch with the contents of its messages in another Arrow type."""
    lists = batch.column("messages")
    values = lists.values
    content = values.field("content").cast(text_type)
    arrays = [content if f.name == "content" else values.field(f.name) for f in values.type]
    return pa.ListArray.from_arrays(lists.offsets, pa.StructArray.from_arrays(arrays, [f.name for f in values.type]))


TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
LONG = "Janet’s ducks lay 16 eggs per day and she eats three of them for breakfast every morning"


@pytest.mark.parametrize("text_type", TYPES, ids=str)
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list], ids=["list", "large_list"])
def test_every_layout_of_text_gives_the_same_pairs(text_type, lists):
    rows = [{"messages": [{"role": "user", "content": c}]} for c in ("tiny", LONG, "", f"x {LONG} y", "short words")]
    batch = batch_of("prompt", rows)
    column = as_type(batch, text_type)
    column = column.cast(lists(column.type.value_type))
    other = batch.set_column(batch.schema.get_field_index("messages"), "messages", column)
    suites = [suite_of("s", "dev", [Instance("0", None, (FieldText("q", LONG),), None)])]
    engine = make_engine(suites, Settings(), which="compiled")
    expected = engine.scan_batch("t", "prompt", batch, 0)
    assert len(expected) == 2
    assert engine.scan_batch("t", "prompt", other, 0).equals(expected)
    assert engine.scan_batch("t", "prompt", other.slice(1, 3), 1).equals(expected)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.none() | st.text(ALPHABET, max_size=30)), start=st.integers(0, 5), size=st.integers(0, 9))
@pytest.mark.parametrize("text_type", [*TYPES, pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_addresses_lead_to_the_bytes_of_each_text(text_type, texts, start, size):
    from ctypes import string_at

    array = pa.array(texts, pa.string()).cast(text_type).slice(start, size)
    addresses, sizes = addresses_of(array)
    found = [string_at(int(a), int(n)) for a, n in zip(addresses, sizes, strict=True)]
    assert found == [(t or "").encode() for t in texts[start : start + size]]


def test_what_is_no_text_has_no_address():
    with pytest.raises(TypeError, match=r"^text expected, got int64$"):
        addresses_of(pa.array([1]))


BAD_UTF8 = [
    b"ok \xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
]


@pytest.mark.parametrize("tail", BAD_UTF8)
@pytest.mark.parametrize("before", [0, 3, 62, 200])
def test_a_text_that_is_not_utf8_is_one_line(tail, before):
    content = pa.StringArray.from_buffers(
        2,
        pa.py_buffer(np.array([0, 2, 2 + before + len(tail)], np.int32)),
        pa.py_buffer(b"hi" + b"a" * before + tail + b" "),
    )
    roles = pa.array(["user", "user"])
    others = {f.name: pa.nulls(2, f.type) for f in MESSAGE if f.name not in ("role", "content")}
    messages = pa.StructArray.from_arrays([roles, content, *others.values()], ["role", "content", *others])
    columns = {
        "id": ["a"],
        "row_sha": pa.array([bytes(32)], pa.binary(32)),
        "source": ["s"],
        "messages": pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), messages),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    at = before + (3 if tail.startswith(b"ok ") else 0)
    suites = [suite_of("s", "dev", [Instance("0", None, (FieldText("q", LONG),), None)])]
    with pytest.raises(
        InputError, match=rf"^t: row 7: messages\[1\]\.content is not UTF-8 at byte {at}; re-encode it$"
    ):
        make_engine(suites, Settings(), which="compiled").scan_batch("t", "prompt", batch, 7)


# ------------------------------------------------------------ hashes, engines


def test_n_grams_that_share_a_hash_are_told_apart_by_another_seed(monkeypatch):
    from decontam import building

    asked = []
    number_grams = building.number_grams

    def collides_at_first(texts, weights, n, seed, *rest):
        asked.append(int(seed))
        return -1 if seed == 0 else number_grams(texts, weights, n, seed, *rest)

    monkeypatch.setattr(building, "number_grams", collides_at_first)
    suites = [suite_of("s", "dev", [Instance("0", None, (FieldText("q", LONG),), None)])]
    index = index_of(suites, Settings())
    assert set(asked) == {0, 1}
    assert int(index.built.scan.numbers[1]) == 1


def test_an_index_of_nothing_finds_nothing():
    index = build(join([]), Settings())
    from decontam.compiled import CompiledEngine

    batch = batch_of("prompt", [{"messages": [{"role": "user", "content": LONG}]}])
    assert len(CompiledEngine(index, Settings()).scan_batch("t", "prompt", batch, 0)) == 0


def test_where_the_compiler_is_switched_off_the_reference_answers():
    program = (
        "from decontam.engine import can_compile, make_engine; from decontam.verdicts import Settings\n"
        "from decontam.suites import *\n"
        "s = [suite_of('s', 'dev', [Instance('0', None, (FieldText('q', 'a b c'),), None)])]\n"
        "print(can_compile(), type(make_engine(s, Settings())).__name__)\n"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False ReferenceEngine\n"


def test_the_compiled_engine_is_refused_where_it_cannot_run(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    with pytest.raises(UsageError, match=r"^the compiled engine needs Numba, which is missing or switched off"):
        source_of([], Settings(), which="compiled")


def test_what_an_earlier_message_shared_is_not_taken_for_the_later_ones():
    text = [f"w{i}" for i in range(40)]
    suites = [suite_of("s", "dev", [Instance("0", None, (FieldText("q", " ".join(text)),), None)])]
    parts = [" ".join(text[:10]), *[" ".join(text[20:])] * 30]  # the first is below the floor: it leaves no pair
    batch = batch_of("prompt", [{"messages": [{"role": "user", "content": p}]} for p in parts])
    engine = make_engine(suites, Settings(floor=0.3, fuzzy=False), which="compiled")
    for _ in range(3):
        assert engine.scan_batch("t", "prompt", batch, 0)["coverage"].to_pylist() == [0.5] * 30


def test_a_long_message_beside_many_fields_is_described():
    fields = tuple(FieldText(f"f{k}", f"{LONG} {k}") for k in range(30))
    suites = [suite_of("s", "dev", [Instance("0", None, fields, None)])]
    batch = batch_of("prompt", [{"messages": [{"role": "user", "content": f"{'a b ' * 200_000}{LONG}"}]}])
    [pair] = make_engine(suites, Settings(), which="compiled").scan_batch("t", "prompt", batch, 0).to_pylist()
    assert len(pair["eval_spans"]) == 30
