"""Personas: short descriptions of people, from which tasks are made that no single prompt would give.

They come from the sample that ships with the package, from files, or from the Hugging Face hub. The sample was written
for this project and also says what each persona is busy with, which tasks without a model are made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from tulu_data import read
from tulu_data.chunk import Raw
from tulu_data.errors import InputError, nearest
from tulu_data.hub import hub

SAMPLE = "sample"  # the source that ships with the package
SAMPLE_LICENSE = "Apache-2.0"
FIELDS = ("persona", "text", "description")  # looked for in this order
HUB_LICENSES = {"proj-persona/PersonaHub": "CC-BY-NC-SA-4.0"}  # arXiv 2406.20094; its data card
MAX_CHARS = 4_000


class Persona(NamedTuple):
    """One person. id: of the text. parent: the id of the persona, or of the text, that it was made from.

    topic, items and place are known of the sample's personas; see `procedural.scenes` for the others.
    """

    id: str
    text: str
    source: str
    license: str | None = None
    parent: str | None = None
    topic: str | None = None
    items: tuple[str, str] | None = None
    place: str | None = None


def persona_id(text: str) -> str:
    """16 hex digits; texts that differ in case or white space alone are one persona."""
    return sha256(" ".join(text.casefold().split()).encode()).hexdigest()[:16]


def read_personas(
    source: str = SAMPLE,
    *,
    field: str | None = None,
    license: str | None = None,  # noqa: A002 - the field's name
) -> tuple[Persona, ...]:
    """The personas of `sample`, of files (JSONL, JSON, CSV, Parquet; a path, folder or glob) or of `hub:org/name…`.

    Each once, in order. field: the column that holds the text, else the first of `FIELDS` that there is. license: of
    all that do not say their own. `InputError` in one line where a record has no such field or no text.
    """
    if source == SAMPLE:
        return _sample()
    if source.startswith("hub:"):
        name = source.removeprefix("hub:").partition("@")[0].partition("#")[0]
        license = license or next((v for k, v in HUB_LICENSES.items() if name.startswith(k)), None)  # noqa: A001
    found: dict[str, Persona] = {}
    shown = source if source.startswith("hub:") else Path(source).name  # not where this machine keeps it
    for raw in records(source):
        if raw.problem is not None:
            raise InputError(f"{raw.place}: {raw.problem}")
        persona = _persona(raw.record, raw.place, shown, field, license)
        found.setdefault(persona.id, persona)
    if not found:
        raise InputError(f"{source}: holds no personas")
    return tuple(found.values())


def records(source: str) -> Iterator[Raw]:
    """The raw records of files or of a hub dataset; the first row of delimited text names its columns."""
    if source.startswith("hub:"):
        for chunk in hub(source).chunks:
            yield from read.decode(chunk)
        return
    for path in read.expand(source):
        yield from read.read(path, read.ReadOptions(header=True))


def _persona(record: Any, place: str, source: str, field: str | None, license: str | None) -> Persona:  # noqa: A002
    if not isinstance(record, Mapping):
        raise InputError(f"{place}: a persona is an object with a field {field or FIELDS[0]!r}, got {str(record)[:60]}")
    name = field or next((f for f in FIELDS if f in record), FIELDS[0])
    if name not in record:
        raise InputError(
            f"{place}: no field {name!r}; {nearest(name, map(str, record), noun='field')}; "
            "name the one that holds the persona with --persona-field"
        )
    text = record[name]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{place}: {name} must be a text that says who the persona is, got {str(text)[:60]!r}")
    if bad := next((c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"), None):
        raise InputError(f"{place}: {name} holds {bad!r}, which is no character of a text; remove it")
    if len(text) > MAX_CHARS:
        raise InputError(f"{place}: {name} has {len(text):,} characters, more than {MAX_CHARS:,}; is it a persona?")
    items, topic, where = record.get("items"), record.get("topic"), record.get("place")
    pair = isinstance(items, list | tuple) and len(items) == 2 and all(isinstance(i, str) for i in items)
    return Persona(
        id=persona_id(text),
        text=" ".join(text.split()),
        source=str(record.get("source") or source),
        license=str(record.get("license") or license or "") or None,
        parent=str(record.get("parent") or "") or None,
        topic=topic if isinstance(topic, str) else None,
        items=(items[0], items[1]) if pair and items is not None else None,
        place=where if isinstance(where, str) else None,
    )


def _sample() -> tuple[Persona, ...]:
    lines = (files("personas") / "data" / "personas.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(
        _persona(json.loads(line), f"personas.jsonl:{i}", "tulu-data/sample", None, SAMPLE_LICENSE)
        for i, line in enumerate(lines, 1)
    )


def as_records(personas: Iterable[Persona]) -> list[dict[str, Any]]:
    """Personas as `read_personas` reads them again; what is not known is left out."""
    named = ({"id": p.id, "persona": p.text, **p._asdict()} for p in personas)
    return [{k: v for k, v in record.items() if v is not None and k != "text"} for record in named]
