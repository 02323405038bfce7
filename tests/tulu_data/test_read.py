"""Raw files → raw records: every format gives the same records, and bad input is one line with its place."""

from __future__ import annotations

import csv
import gzip
import inspect
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tulu_data.chunk import CHUNK_BYTES, CHUNK_RECORDS
from tulu_data.errors import InputError, UsageError
from tulu_data.hub import hub_files
from tulu_data.json_stream import JsonText, array_items
from tulu_data.read import ReadOptions, chunks, decode, expand, file_sha256, hub, place_root, read

RECORDS = [{"prompt": "2+2?", "response": "4"}, {"prompt": "größer — 日本 😀", "response": 'a "b",\n\tc'}]
PUBLIC = Path(__file__).parents[2].parent / "shared" / "data"

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ROWS = st.lists(st.fixed_dictionaries({"prompt": TEXT, "response": TEXT}), min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


def jsonl(records: list[Any]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()


def array(records: list[Any]) -> bytes:
    return json.dumps(records, ensure_ascii=False, indent=1).encode()


def wrapped(records: list[Any]) -> bytes:
    return json.dumps({"version": "1", "data": records}).encode()


def delimited(records: list[Any], delimiter: str = ",", *, header: bool = True) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    if header:
        writer.writerow(records[0])
    writer.writerows([r[name] for name in records[0]] for r in records)
    return out.getvalue().encode()


def parquet(records: list[Any], group: int = 2) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records), sink, row_group_size=group)
    return sink.getvalue().to_pybytes()


def arrow(records: list[Any], *, stream: bool = True) -> bytes:
    table = pa.Table.from_pylist(records)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue().to_pybytes()


WRITERS = {
    "a.jsonl": jsonl,
    "a.ndjson": jsonl,
    "a.json": array,
    "wrapped.json": wrapped,
    "a.csv": delimited,
    "a.tsv": lambda r: delimited(r, "\t"),
    "semicolon.csv": lambda r: delimited(r, ";"),
    "a.parquet": parquet,
    "a.arrow": arrow,
    "file.arrow": lambda r: arrow(r, stream=False),
}
TEXT_NAMES = [name for name in WRITERS if not name.endswith((".parquet", ".arrow"))]
PACKERS = {"": bytes, ".gz": gzip.compress, ".zst": zstd}


def put(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def records(path: Path, options: ReadOptions | None = None) -> list[Any]:
    raws = list(read(path, options or ReadOptions()))
    assert [r.problem for r in raws if r.problem] == []
    assert [r.index for r in raws] == list(range(len(raws)))
    return [r.record for r in raws]


def lines(path: Path, options: ReadOptions | None = None) -> list[str]:
    """A file as `place: problem`, or `place: ok`."""
    return [f"{r.place}: {r.problem or 'ok'}" for r in read(path, options or ReadOptions())]


# ------------------------------------------------------------ the same records from every format


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", TEXT_NAMES)
@relaxed
@given(rows=ROWS)
def test_text_formats_round_trip_packed_or_not(tmp_path: Path, name: str, packer: str, rows: list[Any]) -> None:
    path = put(tmp_path, name + packer, PACKERS[packer](WRITERS[name](rows)))
    assert records(path) == rows


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "file.arrow"])
@relaxed
@given(rows=ROWS)
def test_tables_round_trip(tmp_path: Path, name: str, rows: list[Any]) -> None:
    assert records(put(tmp_path, name, WRITERS[name](rows))) == rows


@relaxed
@given(rows=st.lists(st.dictionaries(TEXT, JSON, max_size=4), min_size=1, max_size=5), pretty=st.booleans())
def test_any_json_object_round_trips_as_lines_and_as_array(tmp_path: Path, rows: list[Any], pretty: bool) -> None:
    text = json.dumps(rows, indent=2 if pretty else None)
    assert records(put(tmp_path, "a.json", text)) == rows
    assert records(put(tmp_path, "a.jsonl", jsonl(rows)), ReadOptions(format="jsonl")) == rows


@given(
    rows=st.lists(JSON, max_size=5),
    block=st.integers(1, 40),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2]),
)
def test_an_array_streamed_in_any_block_size_equals_json_loads(
    rows: list[Any], block: int, ascii_only: bool, indent: int | None
) -> None:
    data = json.dumps(rows, ensure_ascii=ascii_only, indent=indent).encode()
    text = JsonText(io.BytesIO(data), block)
    assert text.peek() == "["
    items = list(array_items(text))
    assert [i.problem for i in items if i.problem] == []
    assert [i.value for i in items] == json.loads(data)


@given(cut=st.integers(1, 200), block=st.integers(1, 40))
def test_an_array_cut_anywhere_keeps_whole_items_and_ends_with_one_problem(cut: int, block: int) -> None:
    rows = [{"a": i, "b": 'é\\"\u2028' * i, "c": [1.5e-3, None]} for i in range(5)]
    data = json.dumps(rows).encode()
    data = data[: max(1, len(data) - cut)]
    text = JsonText(io.BytesIO(data), block)
    text.peek()
    *kept, last = array_items(text)
    assert [i.value for i in kept] == rows[: len(kept)]
    assert all(i.problem is None for i in kept)
    assert last.problem is not None
    assert last.problem.startswith("the file is cut off")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("jsonl-named.json", jsonl(RECORDS)),
        ("array-named.jsonl", array(RECORDS)),
        ("parquet-named.jsonl", parquet(RECORDS)),
        ("arrow-named.csv", arrow(RECORDS)),
        ("gzip-named.jsonl", gzip.compress(jsonl(RECORDS), mtime=0)),
        ("zstd-named.json.gz", zstd(array(RECORDS))),
        ("plain-named.jsonl.gz", jsonl(RECORDS)),
        ("jsonl-named.txt", jsonl(RECORDS)),
        ("jsonl-named.csv", jsonl(RECORDS)),
        ("no-suffix", jsonl(RECORDS)),
        ("mark.jsonl", b"\xef\xbb\xbf" + jsonl(RECORDS)),
        ("mark.json", b"\xef\xbb\xbf" + array(RECORDS)),
        ("mark.csv", b"\xef\xbb\xbf" + delimited(RECORDS)),
        ("mark.jsonl.gz", gzip.compress(b"\xef\xbb\xbf" + jsonl(RECORDS), mtime=0)),
        ("crlf.jsonl", jsonl(RECORDS).replace(b"\n", b"\r\n")),
        ("blank.jsonl", jsonl(RECORDS).replace(b"\n", b"\n\n  \n")),
        ("members.jsonl.gz", gzip.compress(jsonl(RECORDS[:1]), mtime=0) + gzip.compress(jsonl(RECORDS[1:]), mtime=0)),
        ("minified-wrapper.json", json.dumps({"data": RECORDS})),
        ("wrapper-named.jsonl", json.dumps({"rows": RECORDS})),
    ],
)
def test_the_content_decides_over_the_name(tmp_path: Path, name: str, data: bytes | str) -> None:
    assert records(put(tmp_path, name, data)) == RECORDS


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]},
        {"instruction": "x", "completions": [{"model": "m"}]},
        {"id": 1, "meta": {"a": [1, 2]}},
    ],
)
def test_a_file_of_one_object_is_one_record(tmp_path: Path, record: dict[str, Any]) -> None:
    for indent in (None, 2):
        path = put(tmp_path, "one.json", json.dumps(record, indent=indent))
        assert [(r.place.split(":")[0], r.record) for r in read(path)] == [("one.json", record)]


def test_text_gives_a_record_per_line_that_is_not_blank(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "one\r\n\n {two}\n")
    assert [(r.place, r.record) for r in read(path)] == [("a.txt:1", {"text": "one"}), ("a.txt:3", {"text": " {two}"})]


def test_csv_without_a_header_takes_the_names_it_is_given(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", delimited(RECORDS, header=False))
    assert records(path, ReadOptions(columns=("prompt", "response"))) == RECORDS


@pytest.mark.parametrize("header", [None, True])
def test_columns_replace_the_names_of_a_header(tmp_path: Path, header: bool | None) -> None:
    path = put(tmp_path, "a.csv", "question,answer\n2+2?,4\n")
    options = ReadOptions(header=header, columns=("prompt", "response"))
    assert records(path, options) == [{"prompt": "2+2?", "response": "4"}]


def test_header_says_that_an_unknown_first_row_names_the_columns(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "frage,antwort\n2+2?,4\n")
    assert records(path, ReadOptions(header=True)) == [{"frage": "2+2?", "antwort": "4"}]


def test_a_header_names_well_known_fields_in_any_case(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "Prompt, RESPONSE ,Label,Notes,ID\nq,a,True,n,7\n")
    assert records(path) == [{"prompt": "q", "response": "a", "label": "True", "Notes": "n", "id": "7"}]
    assert records(put(tmp_path, "b.csv", "prompt,Prompt\nq,r\n")) == [{"prompt": "q", "Prompt": "r"}]
    with pytest.raises(InputError, match=r"c\.csv: column 'prompt' is there twice"):
        records(put(tmp_path, "c.csv", "Prompt,PROMPT\nq,r\n"))


def test_a_list_of_messages_in_place_of_a_record_is_told(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for name, data in (("a.jsonl", json.dumps(turns) + "\n" + json.dumps(turns)), ("a.json", json.dumps([turns]))):
        options = ReadOptions(format="jsonl" if name == "a.jsonl" else "json")
        problems = {raw.problem for raw in read(put(tmp_path, name, data), options)}
        assert problems == {'is a list of messages; write it as {"messages": [...]}'}


def test_a_csv_cell_may_be_huge_and_hold_lines(tmp_path: Path) -> None:
    rows = [{"prompt": "x" * 300_000, "response": "a\nb"}, {"prompt": "p", "response": "r"}]
    path = put(tmp_path, "a.csv", delimited(rows))
    assert records(path) == rows
    assert [r.place for r in read(path)] == ["a.csv:2", "a.csv:4"]


# ------------------------------------------------------------ places


def test_places_count_lines_from_1_and_rows_and_items_from_0(tmp_path: Path) -> None:
    made = {"a.jsonl": b"\n" + jsonl(RECORDS), "a.json": array(RECORDS), "a.parquet": parquet(RECORDS, 1)}
    places = {name: [r.place for r in read(put(tmp_path, name, data))] for name, data in made.items()}
    assert places == {
        "a.jsonl": ["a.jsonl:2", "a.jsonl:3"],
        "a.json": ["a.json:item 0", "a.json:item 1"],
        "a.parquet": ["a.parquet:row 0", "a.parquet:row 1"],
    }


@pytest.mark.parametrize(
    ("spec", "place"),
    [("d/en/x.jsonl", "x.jsonl:1"), ("d", "en/x.jsonl:1"), ("d/*/x.jsonl", "en/x.jsonl:1"), ("d/en/*", "x.jsonl:1")],
)
def test_places_name_as_much_of_the_folder_as_the_spec_leaves_open(tmp_path: Path, spec: str, place: str) -> None:
    put(tmp_path, "d/en/x.jsonl", jsonl(RECORDS[:1]))
    (path,) = expand(tmp_path / spec)
    assert [r.place for r in read(path, root=place_root(tmp_path / spec))] == [place]


# ------------------------------------------------------------ chunks


def test_chunks_are_bounded_picklable_and_in_order(tmp_path: Path) -> None:
    rows = [{"text": "y" * (i % 50), "i": i} for i in range(2 * CHUNK_RECORDS + 5)]
    for name in ("a.jsonl", "a.json", "a.arrow"):
        made = list(chunks(put(tmp_path, name, WRITERS[name](rows))))
        assert max(c.records for c in made) <= CHUNK_RECORDS
        back = [raw for c in made for raw in decode(pickle.loads(pickle.dumps(c)))]
        assert [raw.record for raw in back] == rows
        assert [raw.index for raw in back] == list(range(len(rows)))


def test_chunks_of_long_rows_close_by_bytes(tmp_path: Path) -> None:
    rows = [{"text": "z" * (1 << 20)}] * 20
    made = list(chunks(put(tmp_path, "a.jsonl", jsonl(rows))))
    assert len(made) == 3
    assert max(len(c.payload) for c in made) < CHUNK_BYTES + (2 << 20)


def test_a_parquet_chunk_is_the_address_of_a_row_group(tmp_path: Path) -> None:
    path = put(tmp_path, "a.parquet", parquet([{"a": i} for i in range(5)]))
    assert [(c.first, c.records, len(pickle.dumps(c)) < 500) for c in chunks(path)] == [
        (0, 2, True),
        (2, 2, True),
        (4, 1, True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_a_row_of_50_mb_is_read(tmp_path: Path, name: str) -> None:
    rows = [{"text": 'ab"é\\' * 8_000_000}, {"text": "next"}]
    data = (jsonl if "jsonl" in name else array)(rows)
    path = put(tmp_path, name, gzip.compress(data, 1, mtime=0) if name.endswith(".gz") else data)
    assert records(path) == rows


class CountingStream(io.BytesIO):
    """Counts reads: a scanner that starts over after every block would need as many as there are blocks."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_long_item_is_scanned_a_logarithmic_number_of_times() -> None:
    stream = CountingStream(json.dumps(["x" * 1_000_000]).encode())
    text = JsonText(stream, block=100)
    text.peek()
    assert [len(i.value) for i in array_items(text)] == [1_000_000]
    assert stream.reads < 30


# ------------------------------------------------------------ bad records: the others are kept

GOOD = '{"prompt": "a"}'


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        pytest.param(
            "a.jsonl",
            f'{GOOD}\n{{"prompt": "a",}}\n{GOOD}\n',
            [
                "a.jsonl:1: ok",
                "a.jsonl:2: malformed JSON at column 16 (Expecting property name enclosed in double quotes); "
                "mend or remove the line",
                "a.jsonl:3: ok",
            ],
            id="malformed line",
        ),
        pytest.param(
            "a.jsonl",
            f'{{"prompt": "a\n{GOOD}\n',
            [
                "a.jsonl:1: malformed JSON at column 12 (Unterminated string starting at); mend or remove the line",
                "a.jsonl:2: ok",
            ],
            id="first line cut off",
        ),
        pytest.param(
            "a.jsonl",
            f"\n\n{GOOD}\n\nnope\n",
            ["a.jsonl:3: ok", "a.jsonl:5: malformed JSON at column 1 (Expecting value); mend or remove the line"],
            id="blank lines keep numbers right",
        ),
        pytest.param(
            "a.jsonl",
            GOOD.encode() + b'\n{"prompt": "\xff"}\n' + GOOD.encode(),
            [
                "a.jsonl:1: ok",
                "a.jsonl:2: not UTF-8: byte 0xff at byte 13 of the line; re-encode the file as UTF-8",
                "a.jsonl:3: ok",
            ],
            id="not UTF-8",
        ),
        pytest.param(
            "a.jsonl",
            f'{GOOD}\n{{"prompt": "a\0b"}}\n',
            ["a.jsonl:1: ok", "a.jsonl:2: holds a NUL byte at column 14; remove it"],
            id="NUL",
        ),
        pytest.param(
            "a.jsonl",
            f'{GOOD}\n42\n["a"]\nnull\n',
            [
                "a.jsonl:1: ok",
                "a.jsonl:2: must be a JSON object with named fields, got 42",
                'a.jsonl:3: must be a JSON object with named fields, got ["a"]',
                "a.jsonl:4: must be a JSON object with named fields, got null",
            ],
            id="not objects",
        ),
        pytest.param(
            "a.jsonl",
            f"{GOOD}\n" + "[" * 100_000 + "\n",
            ["a.jsonl:1: ok", "a.jsonl:2: malformed JSON (nested too deeply); mend or remove the line"],
            id="too deep",
        ),
        pytest.param(
            "a.json",
            f"[{GOOD},\n 7,\n {GOOD}]",
            ["a.json:item 0: ok", "a.json:item 1: must be a JSON object with named fields, got 7", "a.json:item 2: ok"],
            id="array with a scalar",
        ),
        pytest.param(
            "a.json",
            b"[" + GOOD.encode() + b', {"prompt": "\xfe"}, ' + GOOD.encode() + b"]",
            [
                "a.json:item 0: ok",
                "a.json:item 1: not UTF-8: byte 0xfe; re-encode the file as UTF-8",
                "a.json:item 2: ok",
            ],
            id="array with a bad byte",
        ),
        pytest.param(
            "a.json",
            f'[{GOOD},\n{GOOD},\n{{"prompt": "a',
            [
                "a.json:item 0: ok",
                "a.json:item 1: ok",
                "a.json:item 2: the file is cut off on line 3; the items before are kept, mend the file from here on",
            ],
            id="array cut off in an item",
        ),
        pytest.param(
            "a.json",
            f"[{GOOD}, ",
            [
                "a.json:item 0: ok",
                "a.json:item 1: the file is cut off; the items before are kept, mend the file from here on",
            ],
            id="array cut off after an item",
        ),
        pytest.param(
            "a.json",
            f'[{GOOD},\n{{"prompt" "a"}}, {GOOD}, {GOOD}]',
            [
                "a.json:item 0: ok",
                "a.json:item 1: malformed JSON on line 2 (Expecting ':' delimiter); "
                "the items before are kept, mend the file from here on",
            ],
            id="array with a malformed item",
        ),
        pytest.param(
            "a.json",
            f"[{GOOD}]\n[{GOOD}]",
            [
                "a.json:item 0: ok",
                "a.json:item 1: there is text after the array's end; "
                "the items before are kept, mend the file from here on",
            ],
            id="text after an array",
        ),
        pytest.param(
            "a.csv",
            'prompt,response\na,b\na\na,b,c\n"x\ny",b\n',
            [
                "a.csv:2: ok",
                "a.csv:3: has 1 cells for 2 columns (prompt, response); quote cells with delimiters",
                "a.csv:4: has 3 cells for 2 columns (prompt, response); quote cells with delimiters",
                "a.csv:5: ok",
            ],
            id="csv cells",
        ),
        pytest.param(
            "a.csv",
            'prompt,response\na,b\n"a,b\nc,d\n',
            [
                "a.csv:2: ok",
                "a.csv:3: malformed row (unexpected end of data); close its quotes, and double those inside a cell",
            ],
            id="csv quote left open",
        ),
        pytest.param(
            "a.csv",
            b"prompt,response\na,\xff\na\0,b\na,b\n",
            [
                "a.csv:2: not UTF-8: byte 0xff; re-encode the file as UTF-8",
                "a.csv:3: holds a NUL byte; remove it",
                "a.csv:4: ok",
            ],
            id="csv bytes",
        ),
    ],
)
def test_a_bad_record_is_one_problem_with_its_place(
    tmp_path: Path, name: str, data: bytes | str, expected: list[str]
) -> None:
    assert lines(put(tmp_path, name, data)) == expected


@pytest.mark.parametrize("packer", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_a_truncated_packed_file_keeps_what_came_before_and_ends_with_one_problem(
    tmp_path: Path, name: str, packer: str
) -> None:
    rows = [{"prompt": os.urandom(300).hex(), "response": str(i)} for i in range(2_000)]
    data = PACKERS[packer](WRITERS[name](rows))
    path = put(tmp_path, name + packer, data[: len(data) * 3 // 4])
    *kept, last = read(path)
    assert len(kept) > 500
    assert [r.record for r in kept] == rows[: len(kept)]
    assert last.problem is not None
    assert last.index == len(kept)
    assert ("damaged from here on (Truncated" if name != "a.json" else "the file is cut off") in last.problem


def test_a_damaged_parquet_page_keeps_the_other_row_groups(tmp_path: Path) -> None:
    rows = [{"text": os.urandom(2_000).hex()} for _ in range(6)]
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist(rows)
    options = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    pq.write_table(table, path, row_group_size=2, **options)
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    raws = list(read(path))
    assert [r.record for r in raws if r.problem is None][:2] == rows[:2]
    assert [r.record for r in raws][-2:] == rows[-2:]
    (bad,) = [r for r in raws if r.problem]
    assert bad.place == "a.parquet:row 2"
    assert bad.problem is not None
    assert bad.problem.startswith("the table is damaged from here on (")


def test_a_truncated_arrow_stream_keeps_the_batches_before(tmp_path: Path) -> None:
    rows = [{"text": "t" * 500, "i": i} for i in range(6)]
    data = arrow(rows)
    *kept, last = read(put(tmp_path, "a.arrow", data[:-900]))
    assert [r.record for r in kept] == rows[:4]
    assert last.place == "a.arrow:row 4"
    assert "the table is damaged from here on" in str(last.problem)


# ------------------------------------------------------------ files that cannot be read

FORMATS = "json, jsonl, csv, tsv, text, parquet, arrow"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"", "a.jsonl: is empty; remove it or write it again"),
        ("a.json", b"\xef\xbb\xbf \n", "a.json: is empty; remove it or write it again"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "a.jsonl.gz: is empty; remove it or write it again"),
        ("a.parquet", b"", "a.parquet: is empty; remove it or write it again"),
        (
            "a.jsonl.gz",
            gzip.compress(jsonl(RECORDS), mtime=0)[:9],
            "a.jsonl.gz: cannot be unpacked (Truncated compressed stream); get the file again",
        ),
        ("a.jsonl.xz", b"\xfd7zXZ\0\0", "a.jsonl.xz: is packed with xz; unpack it first, or pack it with gzip or zstd"),
        ("a.zip", b"PK\x03\x04", "a.zip: is packed with zip; unpack it first, or pack it with gzip or zstd"),
        (
            "a.parquet.gz",
            gzip.compress(parquet(RECORDS), mtime=0),
            "a.parquet.gz: is a table inside gzip; unpack it first",
        ),
        ("a.jsonl", "{}".encode("utf-16"), "a.jsonl: is UTF-16; re-encode it: iconv -f UTF-16 -t UTF-8"),
        ("a.bin", bytes(range(256)) * 9, f"a.bin: is neither text nor a known table; looked for {FORMATS}"),
        ("notes", "hello\n", f"notes: its format cannot be told; pass --format, one of {FORMATS}"),
        (
            "a.parquet",
            "hello\n",
            "a.parquet: is not parquet but text; pass --format, one of json, jsonl, csv, tsv, text",
        ),
        (
            "a.json",
            '{\n "prompt": "a",\n "b": 1,,\n}',
            "a.json: malformed JSON on line 3 (Expecting property name enclosed in double quotes); "
            "mend it, or write one object per line as .jsonl",
        ),
        (
            "a.json",
            '{\n "prompt": "a',
            "a.json: the file is cut off on line 2; mend it, or write one object per line as .jsonl",
        ),
        (
            "a.csv",
            "2+2?,4\n3+3?,6\n",
            "a.csv: its first row names no known field ('2+2?', '4'); "
            "pass --columns with the 2 names, or --header if that row is the header",
        ),
        (
            "a.csv",
            "prompt,prompt\na,b\n",
            "a.csv: its first row names no known field ('prompt', 'prompt'); "
            "pass --columns with the 2 names, or --header if that row is the header",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, data: bytes | str, message: str) -> None:
    with pytest.raises(InputError) as e:
        list(read(put(tmp_path, name, data)))
    assert str(e.value) == message


def test_column_names_given_twice_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "prompt,prompt\na,b\n")
    with pytest.raises(InputError) as e:
        list(read(path, ReadOptions(header=True)))
    assert str(e.value) == "a.csv: column 'prompt' is there twice; rename one, or pass --columns"


def test_a_truncated_parquet_file_is_one_line(tmp_path: Path) -> None:
    path = put(tmp_path, "a.parquet", parquet(RECORDS)[:-20])
    with pytest.raises(InputError, match=r"^a\.parquet: cannot be read \(.*\); check .*a\.parquet$") as e:
        list(read(path))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("stream", [True, False])
def test_an_arrow_file_cut_before_its_first_rows_is_one_line(tmp_path: Path, stream: bool) -> None:
    path = put(tmp_path, "a.arrow", arrow(RECORDS, stream=stream)[:60])
    with pytest.raises(InputError, match=r"^a\.arrow: cannot be read \(.*\); check .*a\.arrow$") as e:
        list(read(path))
    assert "\n" not in str(e.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a\.jsonl: cannot be read \(No such file or directory\); check "):
        list(chunks(tmp_path / "a.jsonl"))


def test_options_name_the_nearest_format() -> None:
    with pytest.raises(UsageError, match=r"format 'jsnl' is unknown; did you mean 'jsonl'"):
        ReadOptions(format="jsnl")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="delimiter must be one character, got '::'"):
        ReadOptions(delimiter="::")


# ------------------------------------------------------------ which files


def test_expand_gives_the_data_files_of_a_folder_sorted_without_hidden_and_side_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.parquet", "a/c.json.gz", ".h.json", ".cache/x.json", "README.md", "state.json"):
        put(tmp_path, name, "x")
    assert [p.relative_to(tmp_path).as_posix() for p in expand(tmp_path)] == ["a/c.json.gz", "a/z.parquet", "b.jsonl"]
    assert [p.name for p in expand(str(tmp_path / "**" / "*.p*"))] == ["z.parquet"]
    assert expand(tmp_path / "README.md") == [tmp_path / "README.md"]


def test_expand_follows_linked_folders_and_gives_each_real_folder_once(tmp_path: Path) -> None:
    for name in ("elsewhere/deep/x.jsonl", "d/real/y.jsonl"):
        put(tmp_path, name, "x")
    links = {"d/out": "elsewhere", "d/again": "d/real", "elsewhere/back": "d", "d/real/up": "d", "elsewhere/self": "."}
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)
    assert [p.relative_to(tmp_path).as_posix() for p in expand(tmp_path / "d")] == [
        "d/out/deep/x.jsonl",
        "d/real/y.jsonl",
    ]


def test_a_pipe_is_told_that_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d" / "p.jsonl")
    for spec in ("-", f"{tmp_path}/-", "d/p.jsonl", "/dev/null", "d"):
        name = "d/p.jsonl" if spec == "d" else spec
        with pytest.raises(InputError) as e:
            expand(spec)
        assert str(e.value) == (
            f"{name}: is a pipe, which cannot be read twice; save it to a file first, and name that"
        )
    assert expand(put(tmp_path, "-", "x").name) == [Path("-")]


def test_a_name_with_pattern_characters_is_a_file_if_it_exists(tmp_path: Path) -> None:
    path = put(tmp_path, "a[1].jsonl", jsonl(RECORDS))
    assert expand(path) == [path]
    assert place_root(path) == tmp_path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gone.jsonl", "no such file or folder; check the path"),
        ("*.jsonl", "no file matches the pattern; check it, and that the shell did not change it"),
        ("empty", "the folder holds no data file; looked for .json, .jsonl, .ndjson, .csv, .tsv, .tab, .txt, "),
    ],
)
def test_expand_says_what_it_looked_for(tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as e:
        expand(tmp_path / spec)
    assert str(e.value).startswith(f"{tmp_path / spec}: {message}")


def test_file_sha256_is_of_the_bytes_as_they_lie(tmp_path: Path) -> None:
    digest = file_sha256(put(tmp_path, "a.gz", b"abc"))
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ------------------------------------------------------------ the hub


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch) -> list[inspect.BoundArguments]:
    datasets = pytest.importorskip("datasets")
    huggingface_hub = pytest.importorskip("huggingface_hub")
    load = inspect.signature(datasets.load_dataset)
    info = inspect.signature(huggingface_hub.HfApi.dataset_info)
    calls: list[inspect.BoundArguments] = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        calls.append(load.bind(*args, **kwargs))
        assert set(kwargs) <= set(load.parameters)  # `**config_kwargs` would swallow a misspelt one
        return iter(RECORDS)

    def dataset_info(*args: Any, **kwargs: Any) -> Any:
        info.bind(*args, **kwargs)
        return huggingface_hub.hf_api.DatasetInfo(id="o/n", sha="c0ffee")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    return calls


@pytest.mark.parametrize(
    ("uri", "name", "config", "split"),
    [
        ("hub:o/n", "o/n", None, "train"),
        ("hub:o/n@v1.2/x", "o/n", None, "train"),
        ("hub:o/n/main@v1#test[:10%]", "o/n", "main", "test[:10%]"),
        ("hub:squad#validation", "squad", None, "validation"),
    ],
)
def test_hub_reads_the_resolved_commit_by_streaming(
    fake_hub: list[inspect.BoundArguments], uri: str, name: str, config: str | None, split: str
) -> None:
    source = hub(uri)
    assert (source.name, source.config, source.revision, source.split) == (name, config, "c0ffee", split)
    (call,) = fake_hub
    assert call.arguments == {"path": name, "name": config, "split": split, "revision": "c0ffee", "streaming": True}
    raws = [raw for chunk in source.chunks for raw in decode(chunk)]
    assert [(r.place, r.record) for r in raws] == [(f"hub:{name}:row {i}", r) for i, r in enumerate(RECORDS)]


@pytest.mark.parametrize("uri", ["hub:", "hub:a/b/c/d", "hub:a/b#", "a/b"])
def test_hub_says_its_syntax(uri: str) -> None:
    with pytest.raises(UsageError, match=r"is not hub:org/name\[/config\]\[@revision\]\[#split\], e\.g\. hub:"):
        hub(uri)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def offline(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("Name or service not known.\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", offline)
    with pytest.raises(InputError) as e:
        hub("hub:o/n")
    expected = "hub:o/n: cannot be read from the hub (Name or service not known); give a local path instead"
    assert str(e.value) == expected


# ------------------------------------------------------------ public sets


@pytest.mark.public_data
@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"no public sets in {PUBLIC}")
@pytest.mark.parametrize(
    ("name", "rows"),
    [("train/gsm8k_train.parquet", 7_473), ("evals/math.jsonl.gz", 5_000), ("evals/bbh.jsonl.gz", 6_511)],
)
def test_public_sets_read_whole(name: str, rows: int) -> None:
    assert len(records(PUBLIC / name)) == rows


def test_hub_files_are_of_the_resolved_commit(
    fake_hub: list[inspect.BoundArguments], monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    download = inspect.signature(huggingface_hub.hf_hub_download)
    asked = []

    def hf_hub_download(*args: Any, **kwargs: Any) -> str:
        asked.append(download.bind(*args, **kwargs).arguments)
        return f"/cache/{asked[-1]['filename']}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    assert hub_files("hub:o/n@v1", ["a.json", "b.json"]) == [Path("/cache/a.json"), Path("/cache/b.json")]
    assert {(c["repo_id"], c["repo_type"], c["revision"]) for c in asked} == {("o/n", "dataset", "c0ffee")}
    with pytest.raises(UsageError, match=r"is not hub:org/name\[@revision\]"):
        hub_files("hub:o/n#test", ["a.json"])
