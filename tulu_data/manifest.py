"""The manifest of a version: what the rows are, where they came from, what was done to them and how to do it again.

The version id is a hash of logical content alone (schema, rows, order, rows per shard): no path, date, host or
library version enters it, so any machine that makes the same rows in the same order gives them the same name.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tulu_data import __version__
from tulu_data.errors import StoreError
from tulu_data.rows import Kind

FORMAT = "tulu-manifest/1"
ID_HEX = 16


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceStats(_Frozen):
    """What one source contributed. `unique` counts distinct row digests, `copies` the rest."""

    rows: int
    unique: int
    copies: int
    chars: int
    tokens: int | None
    licenses: dict[str, int]


class Logical(_Frozen):
    """The content, by identity and by count."""

    rows: int
    chars: int
    tokens: int | None
    set_id: str
    order_id: str
    sources: dict[str, SourceStats]


class Input(_Frozen):
    """One raw file or hub dataset that rows were read from."""

    uri: str
    revision: str | None = None
    sha256: str
    bytes: int
    records: int
    rows: int
    rejected: dict[str, int] = Field(default_factory=dict)


class Step(_Frozen):
    """One stage: its parameters, and how many rows went in and came out."""

    name: str
    source: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    rows_in: int
    rows_out: int
    parents: list[str] = Field(default_factory=list)
    drops: str | None = None  # a file of this version that holds what was dropped, with reasons


class ShardInfo(_Frozen):
    """One shard as written."""

    path: str
    rows: int
    bytes: int
    sha256: str
    order_id: str


class FileInfo(_Frozen):
    """One side file (rejects, drops)."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Origin(_Frozen):
    """How to make the version again: the recipe as resolved, and the folder its relative paths start from."""

    recipe: dict[str, Any]
    root: str
    step: str


class Manifest(_Frozen):
    """Everything known of one version."""

    format: str = FORMAT
    name: str
    version: str
    digest: str
    kind: Kind
    schema_name: str
    logical: Logical
    tokenizer: str | None = None
    inputs: list[Input] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    decontamination: list[dict[str, Any]] = Field(default_factory=list)
    origin: Origin | None = None
    shards: list[ShardInfo]
    files: list[FileInfo] = Field(default_factory=list)
    writer: str
    environment: dict[str, str] = Field(default_factory=dict)
    created_at: str = ""

    @property
    def ref(self) -> str:
        """`name@tv1-…`."""
        return f"{self.name}@{self.version}"

    def lineage(self) -> dict[str, Any]:
        """The manifest without what differs between two equal builds: when and on which machine.

        The hashes of the shards stand for the columns that the version id leaves out: ids, licences, tags, origins.
        """
        lineage = self.model_dump(exclude={"created_at", "environment", "writer", "shards"})
        files = [{"path": f.path, "rows": f.rows} for f in self.files]
        return lineage | {"files": files, "shards": [s.sha256 for s in self.shards]}

    def build_id(self) -> str:
        """The hash of the lineage: two builds of one version with different histories differ in it."""
        return sha256(canonical_json(self.lineage())).hexdigest()[:ID_HEX]

    def dumps(self) -> str:
        """As indented JSON."""
        return json.dumps(self.model_dump(), indent=2, ensure_ascii=False) + "\n"


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no white space, UTF-8: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def version_digest(schema_name: str, set_id: str, order_id: str, shard_rows: Sequence[int]) -> str:
    """sha256 of the canonical JSON of {schema, set_id, order_id, shards}. Hex."""
    content = {"schema": schema_name, "set_id": set_id, "order_id": order_id, "shards": list(shard_rows)}
    return sha256(canonical_json(content)).hexdigest()


def version_id(digest: str) -> str:
    """`tv1-` and the first 16 hex digits of the digest."""
    return f"tv1-{digest[:ID_HEX]}"


def covered_sources(record: Mapping[str, Any]) -> list[str]:
    """The sources whose rows a decontamination record speaks of; a set is one itself where it does not say."""
    return list(record.get("sources") or [record["set"]])


def environment() -> dict[str, str]:
    """The versions that a reader of the manifest may want to know; outside the id."""
    import pyarrow as pa

    return {
        "tulu-data": __version__,
        "python": platform.python_version(),
        "pyarrow": pa.__version__,
        "platform": platform.platform(),
    }


def now() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load(path: Path) -> Manifest:
    """The manifest at `path`; `StoreError` where it is missing, damaged or of another format."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path}: no manifest here; is this a version's folder?") from None
    except ValueError as e:
        raise StoreError(f"{path}: not JSON ({e}); remove the version's folder and build it again") from None
    found = data.get("format") if isinstance(data, Mapping) else None
    if found != FORMAT:
        raise StoreError(f"{path}: format is {found!r}, this version reads {FORMAT!r}")
    try:
        return Manifest.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise StoreError(f"{path}: {place}: {first['msg']}; the manifest was changed by hand?") from None
