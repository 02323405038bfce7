"""The row kinds, their Arrow schemas, the check every row passes, and the digests that identify content.

Who has read this file knows what flows through the program. Four kinds share three schemas:

| kind | schema | `messages` holds | further columns |
|---|---|---|---|
| `sft` | `chat/v1` | a conversation that ends with the assistant | |
| `prompt` | `chat/v1` | a conversation that ends with the user | |
| `preference` | `preference/v1` | the prompt | `chosen`, `rejected`: the two completions |
| `rlvr` | `rlvr/v1` | the prompt | `ground_truth`, `verifier`, `constraint` |
"""

from __future__ import annotations

import json
import struct
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.errors import UsageError, nearest

Kind = Literal["sft", "prompt", "preference", "rlvr"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Message = dict[str, Any]
Row = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
DIGEST_BYTES = 32

MESSAGE = pa.struct(
    [
        pa.field("role", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("tool_calls", pa.string()),  # canonical JSON text: a schema per tool would break merges
        pa.field("tool_call_id", pa.string()),
    ]
)
MESSAGES = pa.list_(pa.field("element", MESSAGE, nullable=False))
PROV = pa.struct(
    [
        pa.field("orig_id", pa.string()),
        pa.field("orig_index", pa.int64()),
        pa.field("ingest_id", pa.string()),  # sha256 of the input file, 16 hex digits
        pa.field("converter", pa.string()),
        pa.field("ops", pa.list_(pa.string())),  # what changed the row's text since it was ingested, in order
        pa.field("copy", pa.int32()),  # 0 for the first copy of an upsampled row
    ]
)
_DIGEST = pa.binary(DIGEST_BYTES)


def _schema(*own: pa.Field) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("messages", MESSAGES, nullable=False),
            *own,
            pa.field("tools", pa.string()),
            pa.field("source", pa.string(), nullable=False),
            pa.field("subset", pa.string()),  # the record's own label of where it comes from
            pa.field("license", pa.string()),
            pa.field("tags", pa.list_(pa.string())),
            pa.field("prov", PROV),
            pa.field("row_sha", _DIGEST, nullable=False),
            pa.field("prompt_sha", _DIGEST, nullable=False),
            pa.field("n_turns", pa.int32(), nullable=False),
            pa.field("n_chars", pa.int64(), nullable=False),
            pa.field("n_tokens", pa.int64()),
        ]
    )


CHAT = _schema()
PREFERENCE = _schema(
    pa.field("chosen", MESSAGES, nullable=False),
    pa.field("rejected", MESSAGES, nullable=False),
    pa.field("chosen_model", pa.string()),
    pa.field("rejected_model", pa.string()),
    pa.field("chosen_rating", pa.float64()),
    pa.field("rejected_rating", pa.float64()),
)
RLVR = _schema(
    pa.field("ground_truth", pa.string(), nullable=False),
    pa.field("verifier", pa.string(), nullable=False),
    pa.field("constraint", pa.string()),
)


class KindSpec(NamedTuple):
    """What a kind adds to the common columns, and which of its columns are content."""

    schema_name: str
    schema: pa.Schema
    message_columns: tuple[str, ...]
    scalar_columns: tuple[str, ...]  # text that is content: it enters row_sha
    ends_with: tuple[str, ...]  # roles the last entry of `messages` may have


SPECS: dict[Kind, KindSpec] = {
    "sft": KindSpec("chat/v1", CHAT, ("messages",), ("tools",), ("assistant",)),
    "prompt": KindSpec("chat/v1", CHAT, ("messages",), ("tools",), ("user", "tool")),
    "preference": KindSpec(
        "preference/v1", PREFERENCE, ("messages", "chosen", "rejected"), ("tools",), ("user", "tool")
    ),
    "rlvr": KindSpec(
        "rlvr/v1",
        RLVR,
        ("messages",),
        ("tools", "ground_truth", "verifier", "constraint"),
        ("user", "tool"),
    ),
}


def spec_of(kind: str) -> KindSpec:
    """The spec of a row kind; `UsageError` with the nearest name for an unknown one."""
    if kind not in SPECS:
        raise UsageError(f"kind {kind!r} is unknown; {nearest(kind, SPECS, noun='kind')}")
    return SPECS[kind]


# ------------------------------------------------------------ digests (frozen by golden vectors in the tests)


def _canonical_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _leaf(role: str, content: str, optional: Mapping[str, str]) -> bytes:
    body = content.encode()
    tail = _canonical_json(optional) if optional else b""
    # The length makes the concatenation unambiguous whatever the content holds.
    return sha256(role.encode() + b"\0" + struct.pack("<Q", len(body)) + body + tail).digest()


def message_leaf(message: Mapping[str, Any]) -> bytes:
    """sha256(role, 00, length of content as u64le, content, optional fields as canonical JSON): 32 bytes."""
    optional = {k: message[k] for k in ("name", "tool_calls", "tool_call_id") if message.get(k) is not None}
    return _leaf(message["role"], message["content"], optional)


def row_sha(kind: Kind, row: Mapping[str, Any]) -> bytes:
    """The digest of a row's content (32 bytes): the same messages give the same digest in any source.

    sha256("td1", 00, schema, 00; then for each message column its name, 00, u32le count, leaves; then for each
    scalar column that is not null its name, 00, length as u64le, text). `SPECS` names the columns and their order.
    Identity, source, licence, tags and counts do not enter.
    """
    spec = SPECS[kind]
    h = sha256(b"td1\0" + spec.schema_name.encode() + b"\0")
    for column in spec.message_columns:
        leaves = [message_leaf(m) for m in row[column]]
        h.update(column.encode() + b"\0" + struct.pack("<I", len(leaves)) + b"".join(leaves))
    for column in spec.scalar_columns:
        value = row.get(column)
        if value is not None:
            body = value.encode()
            h.update(column.encode() + b"\0" + struct.pack("<Q", len(body)) + body)
    return h.digest()


def prompt_sha(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """The digest of the conversation up to its last user turn (of all of it where there is none), its texts after
    NFC, case folding and collapsing white space (32 bytes). Rows with one prompt and different answers share it.

    sha256("td1-prompt", 00, the leaves of role and folded content).
    """
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=len(messages) - 1)
    h = sha256(b"td1-prompt\0")
    for m in messages[: last + 1]:
        folded = " ".join(unicodedata.normalize("NFC", m["content"]).casefold().split())
        h.update(_leaf(m["role"], folded, {}))
    return h.digest()


# ------------------------------------------------------------ the check

NEXT_ROLES = {  # which roles may follow which; None is the start
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool", "user"),
}


def _check_text(value: Any, place: str) -> str | None:
    if not isinstance(value, str):
        return f"{place} must be text, got {type(value).__name__} {_short(value)}"
    if "\0" in value:
        return f"{place} holds a NUL byte at character {value.index(chr(0))}; remove it"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as e:
            bad = value[e.start]
            return f"{place} holds a lone surrogate {bad!r} at character {e.start}; re-encode it as UTF-8"
    return None


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _check_message(m: Any, place: str) -> str | None:
    if not isinstance(m, Mapping):
        return f"{place} must be a {{role, content}} object, got {_short(m)}"
    if m.get("role") not in ROLES:
        return f"{place}.role is {_short(m.get('role'))}; one of {', '.join(ROLES)}"
    problem = _check_text(m.get("content"), f"{place}.content")
    if problem:
        return problem
    if not m["content"].strip() and not m.get("tool_calls") and m["role"] != "tool":  # a tool may print nothing
        return f"{place}.content is empty ({m['role']} turn)"
    for k in ("name", "tool_calls", "tool_call_id"):
        if m.get(k) is not None and (problem := _check_text(m[k], f"{place}.{k}")):
            return problem
    return None


def check_messages(messages: Any, column: str, *, after: str | None = None) -> str | None:
    """Why this list is not a conversation, or None. `after` is the role before its first entry."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return f"{column} must be a list of messages, got {_short(messages)}"
    if not messages:
        return f"{column} is empty"
    previous = after
    for i, m in enumerate(messages):
        place = f"{column}[{i}]"
        problem = _check_message(m, place)
        if problem:
            return problem
        if m["role"] not in NEXT_ROLES[previous]:
            expected = " or ".join(NEXT_ROLES[previous])
            where = f"after {previous}" if previous else "first"
            return f"{place}: {m['role']} cannot come {where}; expected {expected}"
        previous = m["role"]
    return None


def check(kind: Kind, row: Mapping[str, Any]) -> str | None:
    """Why `row` is not a row of this kind, in one line without the place; None if it is one.

    >>> check("sft", {"messages": [{"role": "user", "content": "2+2?"}]})
    "messages must end with 'assistant', got 'user'"
    """
    spec = SPECS[kind]
    problem = check_messages(row.get("messages"), "messages")
    if problem:
        return problem
    last = row["messages"][-1]["role"]
    if last not in spec.ends_with:
        return f"messages must end with {spec.ends_with[0]!r}, got {last!r}"
    for column in spec.message_columns[1:]:
        problem = check_messages(row.get(column), column, after=last)
        if problem:
            return problem
        if row[column][-1]["role"] != "assistant":
            return f"{column} must end with 'assistant', got {row[column][-1]['role']!r}"
    if kind == "preference" and [*map(message_leaf, row["chosen"])] == [*map(message_leaf, row["rejected"])]:
        return "chosen and rejected are equal"
    for column in spec.scalar_columns:
        value = row.get(column)
        required = not spec.schema.field(column).nullable
        if value is None and required:
            return f"{column} is missing"
        if value is not None and (problem := _check_text(value, column)):
            return problem
    return None


# ------------------------------------------------------------ finishing and Arrow


def content_messages(kind: Kind, row: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Every message of a row as (column, index in that column, message)."""
    for column in SPECS[kind].message_columns:
        for i, m in enumerate(row[column]):
            yield column, i, m


def finish(
    kind: Kind,
    row: Row,
    *,
    source: str,
    license: str | None = None,  # noqa: A002 - the field's name
    count_tokens: Callable[[str], int] | None = None,
) -> Row:
    """A checked row with digests, counts and identity filled in; `row` is changed and returned.

    The id is `<source>/<orig_id>`, or `<source>/sha256:<16 hex of row_sha>` where the record had none.
    """
    digest = row_sha(kind, row)
    texts = [m["content"] for _, _, m in content_messages(kind, row)]
    prov = row.setdefault("prov", {})
    orig_id = prov.get("orig_id")
    row["id"] = f"{source}/{orig_id}" if orig_id is not None else f"{source}/sha256:{digest.hex()[:16]}"
    row["source"] = source
    row["license"] = row.get("license") or license
    row.setdefault("tags", [])
    prov.setdefault("ops", [])
    prov.setdefault("copy", 0)
    row["row_sha"] = digest
    row["prompt_sha"] = prompt_sha(row["messages"])
    row["n_turns"] = len(texts)
    row["n_chars"] = sum(map(len, texts))
    row["n_tokens"] = sum(map(count_tokens, texts)) if count_tokens else None
    return row


def to_table(kind: Kind, rows: Iterable[Row]) -> pa.Table:
    """Finished rows as an Arrow table in the kind's schema."""
    return pa.Table.from_pylist(list(rows), schema=SPECS[kind].schema)


def digest_matrix(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """A digest column as a `(rows, 32)` byte matrix."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = []
    for chunk in chunks:
        data = np.frombuffer(chunk.buffers()[1], np.uint8) if len(chunk) else np.empty(0, np.uint8)
        start = chunk.offset * DIGEST_BYTES
        parts.append(data[start : start + len(chunk) * DIGEST_BYTES])
    flat = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return flat.reshape(-1, DIGEST_BYTES)


def set_id(digests: npt.NDArray[np.uint8]) -> str:
    """The identity of rows as a bag: sha256 over their sorted digests, with multiplicity. Hex.

    `digests` is `(rows, 32)` bytes.
    """
    whole = np.ascontiguousarray(digests).view(f"V{DIGEST_BYTES}").ravel()  # numpy sorts void by its bytes
    return sha256(np.sort(whole).tobytes()).hexdigest()


def order_id(digests: npt.NDArray[np.uint8]) -> str:
    """The identity of rows as a sequence: sha256 over their digests in order. `(rows, 32)` bytes → hex."""
    return sha256(digests.tobytes()).hexdigest()
