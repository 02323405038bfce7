"""Raw files → raw records, streaming, each with its place.

`chunks` cuts a file into bounded, picklable units of work and decides what the file is: its content counts,
its suffix only where the content leaves it open. `decode` turns one unit into records, in any process. A record
that cannot be decoded says why in `problem`, and those around it are kept; a file that cannot be read at all
raises `InputError`. Nothing but a single JSON object is ever held whole.

| format | is | place |
|---|---|---|
| `jsonl` | a JSON object per line | `gsm.jsonl:17`, the line from 1 |
| `json` | an array of objects, one object, or `{"data": [objects]}` | `chat.json:item 3`, from 0 |
| `csv`, `tsv` | delimited text, with or without a header | `pairs.csv:17`, the line from 1 |
| `text` | a record `{"text": …}` per line | `notes.txt:17`, the line from 1 |
| `parquet`, `arrow` | Parquet; Arrow IPC, file or stream | `part.parquet:row 17`, from 0 |

Text formats are UTF-8, with or without a byte order mark, and may be packed with gzip or zstd.
"""

from __future__ import annotations

import csv
import glob
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa

from tulu_data.adapters import FIELDS, KNOWN
from tulu_data.chunk import CHUNK_BYTES, CHUNK_RECORDS, Chunk, Raw, batched
from tulu_data.errors import InputError, UsageError, nearest
from tulu_data.hub import Hub, hub
from tulu_data.json_stream import DECODER, Item, JsonText, array_items, bad_byte, may_be_cut
from tulu_data.parquet import file_sha256
from tulu_data.raw_tables import arrow_chunks, decode_table, parquet_chunks, table_format
from tulu_data.unpack import Stream, damage_of, first_line, open_text

Format = Literal["json", "jsonl", "csv", "tsv", "text", "parquet", "arrow"]
FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: dict[str, Format] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
}
PACKED = (".gz", ".gzip", ".zst", ".zstd")
SIDE_FILES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # `datasets` writes them

CELL_CHARS = 256 << 20  # a quote that is never closed would make the rest of the file one cell


@dataclass(frozen=True)
class ReadOptions:
    """How to read what cannot be seen from the file. None means: find out."""

    format: Format | None = None
    header: bool | None = None  # CSV, TSV: whether the first row names the columns
    columns: tuple[str, ...] | None = None  # CSV, TSV: names in place of the header's, or for want of one
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise UsageError(f"format {self.format!r} is unknown; {nearest(self.format, FORMATS, noun='format')}")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise UsageError(f"delimiter must be one character, got {self.delimiter!r}")


DEFAULT = ReadOptions()

__all__ = [
    "Chunk",
    "Format",
    "Hub",
    "Raw",
    "ReadOptions",
    "chunks",
    "decode",
    "expand",
    "file_sha256",
    "hub",
    "place_root",
    "read",
]


# ------------------------------------------------------------ which files


def holds_records(name: str) -> bool:
    """Whether a file of that name can be read, packed or not."""
    return _suffix_format(name) is not None


def _suffix_format(name: str) -> Format | None:
    suffixes = [s.lower() for s in Path(name).suffixes if s.lower() not in PACKED]
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def _walk(folder: Path) -> Iterator[Path]:
    """The files of a folder, each real folder once: links are followed after it, so that they lead to what is new."""
    seen: set[Path] = set()
    todo = [folder]
    for top in todo:
        for at, folders, names in os.walk(top, onerror=_refuse):
            real = Path(at).resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            todo += [path for name in folders if (path := Path(at, name)).is_symlink()]
            yield from (Path(at, name) for name in names if not name.startswith("."))


def _refuse_pipe(path: Path, spec: str) -> None:
    is_stdin = path.name == "-" and not path.exists()
    if is_stdin or path.is_fifo() or path.is_char_device() or path.is_socket():
        raise InputError(f"{spec}: is a pipe, which cannot be read twice; save it to a file first, and name that")


def expand(spec: str | Path) -> list[Path]:
    """The data files of a file, a folder (with the folders in it) or a glob pattern, sorted, without hidden ones.

    `InputError` where there is none, or a folder cannot be listed.
    """
    path = Path(spec).expanduser()
    with _reading(path, str(spec)):
        is_file, is_folder = path.is_file(), path.is_dir()
    _refuse_pipe(path, str(spec))
    if is_file:
        return [path]
    if is_folder:
        found = sorted(p for p in _walk(path) if _suffix_format(p.name) and p.name not in SIDE_FILES)
        for file in found:
            _refuse_pipe(file, str(file))
        if not found:
            raise InputError(f"{spec}: the folder holds no data file; looked for {', '.join(SUFFIXES)}, or name a file")
        return found
    if not glob.has_magic(str(path)):
        raise InputError(f"{spec}: no such file or folder; check the path")
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob would give hidden files
    found = sorted(p for p in map(Path, matches) if p.is_file())
    if not found:
        raise InputError(f"{spec}: no file matches the pattern; check it, and that the shell did not change it")
    return found


def place_root(spec: str | Path) -> Path:
    """The folder that places of the files of `expand(spec)` are relative to."""
    path = Path(spec).expanduser()
    if path.is_dir():
        return path
    fixed = path.parent
    while not path.exists() and glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return fixed


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Turns what the system and Arrow raise about a file into one line with its name."""
    try:
        yield
    except (OSError, pa.ArrowException) as e:
        why = getattr(e, "strerror", None) or first_line(e)
        raise InputError(f"{name}: cannot be read ({why}); check {path}") from e


# ------------------------------------------------------------ which format


def _json_format(head: str, suffix: Format | None) -> Format | None:
    """`json` or `jsonl` if that is what a text that starts like this is; None for another text."""
    text = head.lstrip()
    by_suffix = suffix if suffix in ("json", "jsonl") else None
    if text.startswith("["):
        return "json" if by_suffix or re.match(r"\[\s*[{\]]", text) else None
    if not text.startswith("{"):
        return "jsonl" if by_suffix else None
    try:
        value, end = DECODER.raw_decode(text)
    except json.JSONDecodeError as e:
        if "\n" in text[: e.pos].rstrip():  # an object over several lines, unless its first line is cut off
            return "json" if by_suffix == "json" or may_be_cut(e, len(text)) else by_suffix
        return "jsonl" if by_suffix and "\n" in text else by_suffix
    except (ValueError, RecursionError):
        return by_suffix
    is_alone = not text[end:].strip()
    if "\n" in text[:end] or (is_alone and (suffix == "json" or _rows_within(value))):
        return "json"
    return "jsonl"


def _text_format(head: bytes, name: str) -> Format:
    suffix = _suffix_format(name)
    text = head.decode(errors="replace")
    odd = sum(map(head.count, (b"\0", b"\x01", b"\x02", b"\x03"))) + text.count("\ufffd")
    if not text.lstrip().startswith(("{", "[")) and odd > len(text) // 10:
        raise InputError(f"{name}: is neither text nor a known table; looked for {', '.join(FORMATS)}")
    found = _json_format(text, suffix) or suffix
    if found is None:
        raise InputError(f"{name}: its format cannot be told; pass --format, one of {', '.join(FORMATS)}")
    if found in ("parquet", "arrow"):
        raise InputError(f"{name}: is not {found} but text; pass --format, one of json, jsonl, csv, tsv, text")
    return found


# ------------------------------------------------------------ cutting


def chunks(path: str | Path, options: ReadOptions = DEFAULT, *, root: Path | None = None) -> Iterator[Chunk]:
    """The units of work of one file, in order: at most 2,000 records or about 8 MB each (Parquet: a row group).

    Places name the file relative to `root` (`place_root(spec)`), or by its name. `InputError` for a file that
    cannot be read: missing, empty, damaged from the start, of an unknown format, without a usable header.
    """
    path = Path(path)
    name = path.relative_to(root).as_posix() if root and path.is_relative_to(root) else path.name
    with _reading(path, name):
        form: Format | None = table_format(path) if options.format in (None, "parquet", "arrow") else None
        form = form or options.format
        if form in ("parquet", "arrow"):
            yield from (parquet_chunks if form == "parquet" else arrow_chunks)(path, name)
            return
        with open_text(path, name) as (stream, head):
            if not head.strip():
                raise InputError(f"{name}: is empty; remove it or write it again")
            yield from _text_chunks(form or _text_format(head, name), stream, name, head, options)


def _damaged(stream: Stream, place: str, index: int) -> Iterator[Raw]:
    if damage := damage_of(stream):
        why = f"the packed file is damaged from here on ({damage}); the records before are kept, get the file again"
        yield Raw(place, index, None, why)


def _line_chunks(stream: Stream, name: str, form: Literal["jsonl", "text"]) -> Iterator[Chunk]:
    """Whole lines, undecoded. A last line that damage cut off is left to the problem that ends the file."""
    lines: list[bytes] = []
    size, first, index = 0, 1, 0
    for line in stream:
        if damage_of(stream) and not line.endswith(b"\n"):
            break
        lines.append(line)
        size += len(line)
        if len(lines) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            count = sum(1 for held in lines if held.strip())
            yield Chunk(name, form, index, first, count, b"".join(lines))
            first, index, size = first + len(lines), index + count, 0
            lines.clear()
    count = sum(1 for held in lines if held.strip())
    if count:
        yield Chunk(name, form, index, first, count, b"".join(lines))
    end = _damaged(stream, f"{name}:{first + len(lines)}", index + count)
    yield from batched(name, ((raw, 0) for raw in end))


# ------------------------------------------------------------ JSON


def _rows_within(record: Any) -> list[Any] | None:
    """The rows of an object that only wraps them; None for an object that is a record itself."""
    if not isinstance(record, dict) or FIELDS & record.keys():
        return None
    lists = [v for v in record.values() if isinstance(v, list) and v and all(isinstance(item, dict) for item in v)]
    return lists[0] if len(lists) == 1 else None


def _object_items(text: JsonText, name: str) -> Iterator[Item]:
    """The object that starts here, or the rows that it wraps."""
    try:
        item = text.take()
    except (ValueError, RecursionError) as e:
        raise InputError(f"{name}: {text.explain(e)}; mend it, or write one object per line as .jsonl") from e
    rows = None if item.problem else _rows_within(item.value)
    if rows is None:
        yield item
    for row in rows or ():
        yield Item(row, None, item.chars // len(rows or row))
    if text.peek():
        yield Item(None, "there is text after the object's end; write one object per line, or an array", 0)


def _as_raw(place: str, index: int, value: Any) -> Raw:
    if isinstance(value, dict):
        return Raw(place, index, value, None)
    if isinstance(value, list) and value and all(isinstance(m, dict) and {"role", "from"} & m.keys() for m in value):
        return Raw(place, index, None, 'is a list of messages; write it as {"messages": [...]}')
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 40 else shown[:39] + "…"
    return Raw(place, index, None, f"must be a JSON object with named fields, got {shown}")


def _json_chunks(stream: Stream, name: str) -> Iterator[Chunk]:
    text = JsonText(stream)
    items = array_items(text) if text.peek() == "[" else _object_items(text, name)

    def sized() -> Iterator[tuple[Raw, int]]:
        for i, (value, problem, chars) in enumerate(items):
            place = f"{name}:item {i}"
            yield Raw(place, i, None, problem) if problem else _as_raw(place, i, value), chars

    yield from batched(name, sized())


# ------------------------------------------------------------ CSV, TSV


def _csv_lines(stream: Stream) -> Iterator[str]:
    for line in stream:
        if damage_of(stream) and not line.endswith(b"\n"):
            return
        yield line.decode(errors="surrogateescape")


def _delimiter(head: str, form: Format, options: ReadOptions) -> str:
    if options.delimiter or form == "tsv":
        return options.delimiter or "\t"
    first = head.split("\n", 1)[0]
    return next((mark for mark in (",", "\t", ";", "|") if mark in first), ",")


def _is_header(cells: Sequence[str]) -> bool:
    named = cells if cells[0] else cells[1:]  # pandas leaves the name of its index empty
    return all(named) and len(set(named)) == len(named) and any(c.strip().lower() in FIELDS for c in named)


def _spelled(cells: Sequence[str]) -> tuple[str, ...]:
    """A header's names, those of well-known fields in lower case."""
    names = tuple(cell.strip() for cell in cells)
    return tuple(low if (low := name.lower()) in KNOWN and low not in names else name for name in names)


def _columns(first: Sequence[str], name: str, options: ReadOptions) -> tuple[tuple[str, ...], bool]:
    """The columns' names, and whether the first row is a header."""
    is_header = _is_header(first) if options.header is None else options.header
    if options.columns is None and not is_header:
        shown = ", ".join(map(repr, first[:4])) + (", …" if len(first) > 4 else "")
        raise InputError(
            f"{name}: its first row names no known field ({shown[:160]}); "
            f"pass --columns with the {len(first)} names, or --header if that row is the header"
        )
    columns = options.columns or _spelled(first)
    twice = next((c for c in columns if columns.count(c) > 1), None)
    if twice is not None:
        raise InputError(f"{name}: column {twice!r} is there twice; rename one, or pass --columns")
    return columns, is_header


def _csv_row(place: str, index: int, cells: list[str], columns: Sequence[str]) -> Raw:
    text = "".join(cells)
    problem = bad_byte(text)
    if "\0" in text:
        problem = "holds a NUL byte; remove it"
    elif len(cells) != len(columns):
        problem = (
            f"has {len(cells)} cells for {len(columns)} columns ({', '.join(columns)}); quote cells with delimiters"
        )
    return Raw(place, index, None if problem else dict(zip(columns, cells, strict=True)), problem)


def _csv_rows(stream: Stream, name: str, delimiter: str, options: ReadOptions) -> Iterator[tuple[Raw, int]]:
    csv.field_size_limit(CELL_CHARS)
    reader = csv.reader(_csv_lines(stream), delimiter=delimiter, strict=True)
    columns: tuple[str, ...] | None = None
    index = 0
    while True:
        place = f"{name}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            yield from ((raw, 0) for raw in _damaged(stream, place, index))
            return
        except csv.Error as e:
            raw = Raw(place, index, None, f"malformed row ({e}); close its quotes, and double those inside a cell")
            cells = []
        else:
            if columns is None and cells:
                columns, is_header = _columns(cells, name, options)
                cells = [] if is_header else cells
            if not cells or columns is None:
                continue
            raw = _csv_row(place, index, cells, columns)
        yield raw, sum(map(len, cells))
        index += 1


def _text_chunks(form: Format, stream: Stream, name: str, head: bytes, options: ReadOptions) -> Iterator[Chunk]:
    if form == "json":
        return _json_chunks(stream, name)
    if form in ("jsonl", "text"):
        return _line_chunks(stream, name, form)
    delimiter = _delimiter(head.decode(errors="replace"), form, options)
    return batched(name, _csv_rows(stream, name, delimiter, options))


# ------------------------------------------------------------ decoding


def decode(chunk: Chunk) -> Iterator[Raw]:
    """The records of a chunk, in order, each with its place. Pure, but that a Parquet chunk reads its file."""
    if chunk.form == "records":
        yield from chunk.payload
    elif chunk.form in ("jsonl", "text"):
        yield from _decode_lines(chunk, _json_line if chunk.form == "jsonl" else _text_line)
    else:
        yield from decode_table(chunk)


def read(path: str | Path, options: ReadOptions = DEFAULT, *, root: Path | None = None) -> Iterator[Raw]:
    """Every record of one file, in order. Errors and places as in `chunks`."""
    for chunk in chunks(path, options, root=root):
        yield from decode(chunk)


def _decode_lines(chunk: Chunk, decode_line: Callable[[str, int, str], Raw]) -> Iterator[Raw]:
    index = chunk.first
    for number, line in enumerate(chunk.payload.split(b"\n"), chunk.line):
        if not line.strip():
            continue
        place = f"{chunk.name}:{number}"
        try:
            text = line.decode()
        except UnicodeDecodeError as e:
            why = (
                f"not UTF-8: byte 0x{line[e.start]:02x} at byte {e.start + 1} of the line; re-encode the file as UTF-8"
            )
            yield Raw(place, index, None, why)
        else:
            has_nul = "\0" in text
            why = f"holds a NUL byte at column {text.find(chr(0)) + 1}; remove it"
            yield Raw(place, index, None, why) if has_nul else decode_line(place, index, text)
        index += 1


def _json_line(place: str, index: int, text: str) -> Raw:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        why = f"malformed JSON at column {e.colno} ({e.msg}); mend or remove the line"
        return Raw(place, index, None, why)
    except (ValueError, RecursionError) as e:
        why = "nested too deeply" if isinstance(e, RecursionError) else first_line(e)
        return Raw(place, index, None, f"malformed JSON ({why}); mend or remove the line")
    return _as_raw(place, index, value)


def _text_line(place: str, index: int, text: str) -> Raw:
    return Raw(place, index, {"text": text.rstrip("\r")}, None)
