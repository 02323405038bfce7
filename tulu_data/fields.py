"""What the fields of a raw record hold: texts, labels and messages under the names that sources give them.

A reader returns what it found or raises `AdapterError`: the field, its value and the remedy in one line.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tulu_data.errors import nearest
from tulu_data.rows import Kind, Message, Row

Record = Mapping[str, Any]

ROLE_NAMES: dict[str, str] = {  # as the sources write them, lower-cased → ours
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}

# Each group is searched in this order; the first field that is filled counts.
PROMPTS = ("prompt", "question", "query", "instruction", "problem", "input")
RESPONSES = ("response", "completion", "output", "solution", "answer", "target")
CONVERSATIONS = ("conversations", "conversation")
CONTEXTS = ("input", "context")
SYSTEMS = ("system", "system_prompt", "system_message")
IDS = ("id", "uid", "uuid", "prompt_id", "example_id", "question_id")
SUBSETS = ("subset", "source", "dataset", "category", "task", "task_name")
LABELS = frozenset((*IDS, *SUBSETS, "license", "tags"))
ANSWERS = frozenset((*RESPONSES, "chosen", "rejected", "completions", "ground_truth", "targets", "inputs"))
ANSWERED = ANSWERS | {"messages", *CONVERSATIONS}

UNREAD = {  # what a message may hold that a row has no column for → the remedy
    "reasoning_content": "write it into the content, or remove the field",
    "refusal": "write it as the content, or remove the record",
}

_HH_TURN = re.compile(r"(?:\A|\n)\n(Human|Assistant):")
_TEXT_PARTS = ("text", "input_text", "output_text")


class AdapterError(ValueError):
    """A record has not the shape its adapter reads. One line: the field, its value, the remedy."""


class MissingFieldError(AdapterError):
    """A field that makes the shape is not there: the record is likely of another one."""


# ------------------------------------------------------------ fields


def shown(value: Any, limit: int = 60) -> str:
    """How a message shows a value: its repr, cut short."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def is_number(value: Any) -> bool:
    """Whether a value is a number that a float can hold; True, False and NaN are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def text_of(value: Any, place: str, *, number: bool = False) -> str:
    """`value` if it is text with something in it; a number as text where `number` allows one."""
    if number and is_number(value):
        return str(value)
    if value is None:
        raise AdapterError(f"{place} is null; fill it or remove the record")
    if not isinstance(value, str):
        raise AdapterError(f"{place} must be text, got {type(value).__name__} {shown(value)}")
    if not value.strip():
        raise AdapterError(f"{place} is empty; fill it or remove the record")
    return value


def canonical(value: Any, place: str) -> str:
    """A value as canonical JSON text."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as e:
        raise AdapterError(f"{place} cannot be written as JSON ({e}); got {shown(value)}") from e


def _json_text(value: Any, place: str) -> str | None:
    """A list, an object or the JSON text of one as canonical JSON text; None where there is nothing."""
    if value is None or value in ("", [], {}):
        return None
    return canonical(_from_json(value, place) if isinstance(value, str) else value, place)


def _from_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise AdapterError(f"{place} must hold JSON ({e}); got {shown(text)}") from e


def held(record: Record, names: Iterable[str]) -> str | None:
    """The first of these fields that is filled, else the first that is there at all, else None."""
    present = [name for name in names if name in record]
    return next((name for name in present if record[name] not in (None, "")), present[0] if present else None)


def field(record: Record, names: Sequence[str]) -> str:
    """The first of these fields that is filled, else the first that is there; `AdapterError` for none."""
    name = held(record, names)
    if name is not None:
        return name
    if len(names) == 1:
        raise MissingFieldError(f"{names[0]} is missing")
    raise MissingFieldError(f"one of the fields {', '.join(names)} is missing; rename the field that holds it")


def label(record: Record, names: Iterable[str]) -> str | None:
    """The first of these fields that holds a text or a whole number, as text."""
    for name in names:
        value = record.get(name)
        if (isinstance(value, str) and value.strip()) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
    return None


def row_of(record: Record, messages: list[Message], *, orig_id: str | None = None, **content: Any) -> Row:
    """A row with this content and what the record says of itself; without an `orig_id` the record's own is taken."""
    row: Row = {"messages": messages, **content}
    row["tools"] = _json_text(record.get("tools", record.get("functions")), "tools")
    row.setdefault("subset", label(record, SUBSETS))
    row["license"] = label(record, ("license",))
    tags = record.get("tags")
    row["tags"] = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list | tuple) else None
    row = {name: value for name, value in row.items() if value is not None}
    row["prov"] = {"orig_id": orig_id if orig_id is not None else label(record, IDS)}
    return row


# ------------------------------------------------------------ shapes that no adapter reads


def _is_verdict(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "false", "0", "1", "-1")


def _is_several(value: Any) -> bool:
    return bool(value) and (isinstance(value, list | tuple | Mapping) or str(value).lstrip().startswith(("[", "{")))


class Guard(NamedTuple):
    """A known shape that reads as another one by mistake: a field of each group in `holds`, none of `lacks`."""

    holds: tuple[tuple[str, ...], ...]
    reason: str  # after the name of the field that the last group found
    lacks: frozenset[str] = frozenset()
    is_it: Callable[[Any], bool] = lambda _: True  # of the value of that field
    allows: Kind | None = None  # rows of this kind may be made of it where they are asked for


GUARDS = (
    Guard(
        ((*PROMPTS, "messages"), (*RESPONSES, "messages"), ("label", "kto_tag")),
        "a KTO record says whether its completion is wanted; keep the wanted ones and remove the field",
        frozenset(("chosen", "rejected")),
        _is_verdict,
        "prompt",
    ),
    Guard(
        (("role",), ("text",), ("parent_id", "message_id", "message_tree_id")),
        "messages of a tree, one per record; give the trees",
        frozenset(("replies",)),
    ),
    Guard(
        (("question", "query", "problem"), ("choices", "options")),
        "a multiple-choice test item, not training data; write the choices into a prompt, and a response",
        ANSWERED - {"answer", "target", "ground_truth"},
        _is_several,
    ),
    Guard(
        (PROMPTS, ("responses", "answers", "candidates", "generations", "outputs", "choices")),
        "several answers to a prompt; write the best as 'response', or two as 'chosen' and 'rejected'",
        ANSWERED - set(PROMPTS),
        _is_several,
        "prompt",
    ),
    Guard(
        (("content", "value"), ("role", "from")),
        'each record is one message; write a whole conversation as {"messages": [...]}',
        ANSWERED | {*PROMPTS, "text"},
        lambda value: isinstance(value, str) and value.strip().lower() in ROLE_NAMES,
    ),
)
GUARD_FIELDS = frozenset(name for guard in GUARDS for group in guard.holds for name in group)


def other_shape(record: Record, *, asked: Kind | None = None) -> str | None:
    """Why no adapter may take this record for its own shape, where it is known to be another; else None."""
    for guard in GUARDS:
        found = [held(record, group) for group in guard.holds]
        is_held = None not in found and guard.is_it(record[str(found[-1])])
        if is_held and not guard.lacks & record.keys() and (asked is None or asked != guard.allows):
            return f"{found[-1]}: {guard.reason}"
    lists = [name for name, value in record.items() if _is_rows(value)]
    if len(lists) > 1 and len(lists) == len(record) and not ANSWERED & record.keys():
        return f"{', '.join(lists)}: lists of records; write each list to a file of its own"
    return None


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


# ------------------------------------------------------------ messages


def user_turn(text: str) -> Message:
    """A text as a user message."""
    return {"role": "user", "content": text}


def assistant_turn(text: str) -> Message:
    """A text as an assistant message."""
    return {"role": "assistant", "content": text}


def role_of(value: Any, place: str) -> str:
    """Our name of a source's role; `AdapterError` with the nearest for an unknown one."""
    name = text_of(value, place)
    role = ROLE_NAMES.get(name.strip().lower())
    if role is None:
        raise AdapterError(f"{place} {shown(name)} is unknown; {nearest(name.lower(), ROLE_NAMES, noun='role')}")
    return role


def _part(part: Any, place: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") in _TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise AdapterError(f"{place} must be a text part, got {shown(kind)}; only text is read")


def _content(value: Any, place: str) -> str:
    """The text of a message: a text as it is, text parts joined by line ends. Empty text is left to the check."""
    if isinstance(value, list | tuple):
        return "\n".join(_part(part, f"{place}[{i}]") for i, part in enumerate(value))
    if value is None:
        raise AdapterError(f"{place} is null; fill it or remove the record")
    if not isinstance(value, str):
        raise AdapterError(f"{place} must be text, got {type(value).__name__} {shown(value)}")
    return value


def _refuse_unread(m: Record, place: str) -> None:
    for name, remedy in UNREAD.items():
        if m.get(name) not in (None, "", [], {}):
            raise AdapterError(f"{place}.{name} is not read, got {shown(m[name])}; {remedy}")


def _refuse_unweighted(m: Record, role: str, place: str) -> None:
    if (
        role == "assistant" and is_number(m.get("weight")) and not m["weight"]
    ):  # of other turns 0 says what holds anyway
        raise AdapterError(f"{place}.weight is 0, but every answer is trained on; remove the turn or the field")


def _message(m: Any, place: str) -> Message:
    if not isinstance(m, Mapping):
        raise AdapterError(f"{place} must be a {{role, content}} object, got {shown(m)}")
    role_field = held(m, ("role", "from"))
    if role_field is None:
        raise AdapterError(f"{place} has no role or from field; got {shown(dict(m))}")
    _refuse_unread(m, place)
    role = role_of(m[role_field], f"{place}.{role_field}")
    _refuse_unweighted(m, role, place)
    content_field = held(m, ("content", "value")) or "content"
    calls = m.get("tool_calls") or ([m["function_call"]] if m.get("function_call") else None)
    tool_calls = _json_text(calls, f"{place}.tool_calls")
    content = m.get(content_field)
    message = {
        "role": role,
        "content": "" if content is None and tool_calls else _content(content, f"{place}.{content_field}"),
    }
    if tool_calls:
        message["tool_calls"] = tool_calls
    for name in ("name", "tool_call_id"):
        if m.get(name) is not None:
            message[name] = text_of(m[name], f"{place}.{name}")
    return message


def messages_of(value: Any, place: str) -> list[Message]:
    """A list of messages, one message, the JSON text of either, or `datasets`' columns (a list per field)."""
    if isinstance(value, str):
        value = _from_json(value, place)
    if isinstance(value, Mapping):
        columns = [c for c in value.values() if c is not None]
        is_columns = all(isinstance(c, list) for c in columns) and len({len(c) for c in columns}) == 1
        value = _transposed(value) if is_columns else [value]
    if not isinstance(value, list | tuple):
        raise AdapterError(f"{place} must be a list of messages, got {type(value).__name__} {shown(value)}")
    if not value:
        raise AdapterError(f"{place} is empty; fill it or remove the record")
    return [_message(m, f"{place}[{i}]") for i, m in enumerate(value)]


def _transposed(columns: Mapping[str, list[Any] | None]) -> list[dict[str, Any]]:
    held = {name: column for name, column in columns.items() if column is not None}
    return [dict(zip(held, entry, strict=True)) for entry in zip(*held.values(), strict=True)]


def with_system(record: Record, messages: list[Message]) -> list[Message]:
    """The messages, led by the record's own system prompt where it has one and they have none."""
    name = held(record, SYSTEMS)
    if name is None or record[name] in (None, "") or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": text_of(record[name], name)}, *messages]


def dialogue_of(text: str, place: str) -> list[Message]:
    r"""The turns of an HH dialogue, `\n\nHuman: …\n\nAssistant: …`, without a last one left open for the reply."""
    head, *rest = _HH_TURN.split(text)
    if head.strip() or not rest:
        raise AdapterError(rf"{place} must start with '\n\nHuman:', got {shown(text)}")
    turns = [
        {"role": ROLE_NAMES["human" if speaker == "Human" else "assistant"], "content": said.strip()}
        for speaker, said in zip(rest[::2], rest[1::2], strict=True)
    ]
    return turns[:-1] if turns[-1] == assistant_turn("") and len(turns) > 1 else turns


def is_dialogue(value: Any) -> bool:
    """Whether a value is an HH dialogue."""
    return isinstance(value, str) and value.lstrip("\n").startswith("Human:")


def with_context(record: Record, instruction: str) -> str:
    """An instruction, and under it the record's `input` or `context` if that is filled."""
    name = held(record, CONTEXTS)
    if name is None or record[name] in (None, ""):
        return instruction
    return f"{instruction}\n\n{text_of(record[name], name)}"


def asked_in(record: Record) -> list[Message]:
    """The prompt under any of its names: a text (with its context), an HH dialogue or a message list."""
    name = field(record, (*PROMPTS, *CONVERSATIONS, "messages"))
    value = record[name]
    if name in PROMPTS and not isinstance(value, list | tuple | Mapping):
        text = text_of(value, name)
        if is_dialogue(text):
            return with_system(record, dialogue_of(text, name))
        return with_system(record, [user_turn(with_context(record, text) if name == "instruction" else text)])
    return with_system(record, messages_of(value, name))


def reply_of(value: Any, place: str, *, number: bool = False) -> list[Message]:
    """A completion: a text is one assistant turn."""
    if isinstance(value, list | tuple | Mapping):
        return messages_of(value, place)
    return [assistant_turn(text_of(value, place, number=number))]
