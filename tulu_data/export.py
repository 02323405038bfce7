"""A version in the columns that other trainers read, unchanged by them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data.errors import UsageError, nearest
from tulu_data.parquet import ZSTD_LEVEL
from tulu_data.rows import Kind, Row, content_messages
from tulu_data.store import Version, writing

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def _turns(messages: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def _open_instruct_pair(row: Row) -> dict[str, Any]:
    prompt = _turns(row["messages"])
    return {
        "id": row["id"],
        "source": row["source"],
        "prompt": prompt[-1]["content"],
        "chosen": prompt + _turns(row["chosen"]),
        "rejected": prompt + _turns(row["rejected"]),
    }


def _chat(row: Row) -> dict[str, Any]:
    return {"id": row["id"], "source": row["source"], "messages": _turns(row["messages"])}


def _open_instruct_rlvr(row: Row) -> dict[str, Any]:
    # open-instruct names the verifier in a column called `dataset`.
    return _chat(row) | {k: row[v] for k, v in _OPEN_INSTRUCT_RLVR.items()}


def _trl_pair(row: Row) -> dict[str, Any]:
    return {"prompt": _turns(row["messages"]), "chosen": _turns(row["chosen"]), "rejected": _turns(row["rejected"])}


def _trl_rlvr(row: Row) -> dict[str, Any]:
    return {"prompt": _turns(row["messages"]), "ground_truth": row["ground_truth"], "verifier": row["verifier"]}


def _trl_prompt(row: Row) -> dict[str, Any]:
    return {"prompt": _turns(row["messages"])}


_OPEN_INSTRUCT_RLVR = {"ground_truth": "ground_truth", "dataset": "verifier", "constraint": "constraint"}
_TEXT = pa.string()
_CHAT_FIELDS = {"id": _TEXT, "source": _TEXT, "messages": _TURNS}

Layout = tuple[Callable[[Row], dict[str, Any]], Mapping[str, pa.DataType]]

# layout → kind → (row → record, columns)
LAYOUTS: dict[str, dict[Kind, Layout]] = {
    "open-instruct": {
        "sft": (_chat, _CHAT_FIELDS),
        "prompt": (_chat, _CHAT_FIELDS),
        "preference": (
            _open_instruct_pair,
            {"id": _TEXT, "source": _TEXT, "prompt": _TEXT, "chosen": _TURNS, "rejected": _TURNS},
        ),
        "rlvr": (_open_instruct_rlvr, _CHAT_FIELDS | dict.fromkeys(_OPEN_INSTRUCT_RLVR, _TEXT)),
    },
    "trl": {
        "sft": (lambda row: {"messages": _turns(row["messages"])}, {"messages": _TURNS}),
        "prompt": (_trl_prompt, {"prompt": _TURNS}),
        "preference": (_trl_pair, {"prompt": _TURNS, "chosen": _TURNS, "rejected": _TURNS}),
        "rlvr": (_trl_rlvr, {"prompt": _TURNS, "ground_truth": _TEXT, "verifier": _TEXT}),
    },
}


def export(version: Version, layout: str, target: Path) -> int:
    """Writes every row to `target`, a `.parquet` or `.jsonl` file; gives the number of rows.

    Tool calls have no place in these layouts: a version that has them is refused with `UsageError`. Nor have the
    names of speakers, which are left out. `StoreError` where the disk refuses; `target` is whole or untouched.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r} is unknown; {nearest(layout, LAYOUTS, noun='layout')}")
    if target.suffix not in (".parquet", ".jsonl"):
        raise UsageError(f"{target}: give a name that ends in .parquet or .jsonl")
    convert, fields = LAYOUTS[layout][version.kind]
    write = _write_jsonl if target.suffix == ".jsonl" else _write_parquet
    temp = target.with_name(f".{target.name}.{os.getpid()}")
    with writing(target, "-o"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            rows = write(temp, _records(version, convert), pa.schema(dict(fields)))
            temp.replace(target)
        finally:
            with suppress(OSError):
                temp.unlink()
    return rows


def _records(version: Version, convert: Callable[[Row], dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for batch in version.batches():
        found = batch.to_pylist()
        for row in found:
            messages = (m for _, _, m in content_messages(version.kind, row))
            if row["tools"] or any(m["tool_calls"] or m["role"] == "tool" for m in messages):
                raise UsageError(f"{row['id']}: has tool calls, which this layout cannot hold; filter them out first")
        yield [convert(row) for row in found]


def _write_jsonl(path: Path, batches: Iterator[list[dict[str, Any]]], _: pa.Schema) -> int:
    rows = 0
    with path.open("w", encoding="utf-8") as f:
        for batch in batches:
            f.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in batch)
            rows += len(batch)
    return rows


def _write_parquet(path: Path, batches: Iterator[list[dict[str, Any]]], schema: pa.Schema) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=ZSTD_LEVEL) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            rows += len(batch)
    return rows
