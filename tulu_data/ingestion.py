"""Raw files or a hub dataset → a version of canonical rows. Bad records go to the rejects table, never away."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data import adapters, read, rows
from tulu_data.errors import InputError, UsageError
from tulu_data.executor import map_in_order
from tulu_data.fields import other_shape
from tulu_data.hub import Address, hub, parse
from tulu_data.manifest import Input, Origin, Step
from tulu_data.parquet import ShardWriter, file_sha256
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Kind, Row
from tulu_data.store import Store, Version
from tulu_data.tokens import token_counter

SNIFF_RECORDS = 200
SMALL_BYTES = 4 << 20  # below this, starting worker processes costs more than it saves
EXCERPT_CHARS = 500
REJECTS_FILE = "rejects.parquet"
REJECTS_BATCH = 10_000
COMMIT = re.compile(r"[0-9a-f]{40}")
REASONS = 50  # kinds of reasons counted per file; the rest is counted together

REJECTS = pa.schema(
    [
        pa.field("place", pa.string()),
        pa.field("record", pa.int64()),  # its position in the file, from 0; -1 for the file itself
        pa.field("reason", pa.string()),
        pa.field("excerpt", pa.string()),  # the first characters of the record, for the eye
    ]
)


@dataclass(frozen=True)
class Source:
    """A named raw dataset and how to read it. `None` means: found out by looking."""

    name: str
    inputs: tuple[str, ...]  # files, folders, globs, or one hub:org/name@revision
    kind: Kind | None = None
    adapter: str | None = None
    license: str | None = None
    tokenizer: str | None = None
    options: read.ReadOptions = field(default_factory=read.ReadOptions)
    revision: str | None = None  # of a hub dataset: the commit that it must be
    sha256: tuple[str, ...] = ()  # of each file, in order: what it must be


class Reject(NamedTuple):
    """A record that did not become a row."""

    place: str
    record: int
    reason: str
    excerpt: str


class _Settings(NamedTuple):
    source: str
    adapter: str
    detected: bool  # a named adapter takes what it can; a detected one refuses records known to be of another shape
    asked: Kind | None
    kind: Kind
    license: str | None
    tokenizer: str | None


class RawFile(NamedTuple):
    """One raw input: where it is, what identifies it, and its chunks, which can be read again."""

    uri: str
    revision: str | None
    sha256: str
    bytes: int
    chunks: Callable[[], Iterator[read.Chunk]]


class _Task(NamedTuple):
    settings: _Settings
    file: int
    ingest_id: str
    work: read.Chunk | str  # a chunk to decode, or why the rest of the file cannot be read


class _Converted(NamedTuple):
    file: int
    records: int
    table: pa.Table
    places: list[str]  # where each row came from, for messages about repeated ids
    rejects: list[Reject]


def ingest(
    store: Store,
    source: Source,
    *,
    files: Sequence[RawFile] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes the rows of `source` under its name, in input order; `files` are its inputs, if opened already.

    Raises `InputError` when nothing can be read, when no adapter fits, or when not one record becomes a row; a
    record (or the rest of a file) that fails alone is kept in the version's `rejects.parquet` with its place and
    the reason.
    """
    progress = progress or Silent()
    if source.tokenizer:
        token_counter(source.tokenizer)  # fails before anything is read
    files = open_inputs(source) if files is None else files
    settings, sniffed = _settle(source, files, progress)
    workers = 1 if 0 < sum(f.bytes for f in files) < SMALL_BYTES else workers
    with store.build(source.name, settings.kind) as build:
        writer = ShardWriter(build.data, settings.kind)
        rejects = _Rejects(build.folder / REJECTS_FILE)
        collector = _Collector(files, rejects)
        with rejects, progress.task(f"read {source.name}") as advance:
            for converted in map_in_order(_convert, _tasks(settings, files), workers=workers):
                writer.write(collector.take(converted))
                advance(converted.records)
        if collector.rows == 0:
            raise InputError(collector.why_nothing(source.name, settings))
        shards = writer.close()
        if rejects.count:
            build.add_file(REJECTS_FILE, rejects.count)
        left_out = {"rejected": rejects.count} if rejects.count else {}
        step = Step(
            name="ingest",
            source=source.name,
            params={"adapter": settings.adapter, "kind": settings.kind, **sniffed, **left_out},
            rows_in=collector.records,
            rows_out=collector.rows,
            drops=REJECTS_FILE if rejects.count else None,
        )
        return build.publish(
            shards,
            writer.tally.logical(),
            inputs=collector.inputs(),
            steps=[step],
            tokenizer=source.tokenizer,
            origin=origin,
        )


def open_inputs(source: Source) -> list[RawFile]:
    """The files (or the hub dataset) a source names, each with its digest.

    `InputError` where one is missing, or is not what the source pins. A hub dataset that is pinned to a commit is
    asked for only when its records are read.
    """
    files: list[RawFile] = []
    for spec in source.inputs:
        if spec.startswith("hub:"):
            files.append(_open_hub(spec, source.revision))
        else:
            root = read.place_root(spec)
            files += [_open_file(path, source.options, root) for path in read.expand(spec)]
    if source.sha256:
        _check_pinned(source, files)
    return files


def pinned_address(spec: str, revision: str | None = None) -> Address | None:
    """A hub address that names a commit, itself or by `revision`; None for any other."""
    address = parse(spec)
    if address is None or (address.revision and revision and address.revision != revision):
        return None
    address = address._replace(revision=address.revision or revision)
    return address if address.revision and COMMIT.fullmatch(address.revision) else None


def _check_pinned(source: Source, files: Sequence[RawFile]) -> None:
    if len(files) != len(source.sha256):
        raise InputError(
            f"{source.name}: sha256 pins {len(source.sha256):,} files, the path names {len(files):,}; "
            "pin each file, in the order of their names"
        )
    for file, digest in zip(files, source.sha256, strict=True):
        if file.sha256 != digest.lower():
            raise InputError(
                f"{file.uri}: has changed: sha256 {file.sha256[:12]}…, pinned is {digest[:12].lower()}…; "
                f"restore the file, or pin the new one in sources.{source.name}.sha256"
            )


def _open_file(path: Path, options: read.ReadOptions, root: Path) -> RawFile:
    size = path.stat().st_size
    return RawFile(str(path), None, file_sha256(path), size, lambda: read.chunks(path, options, root=root))


def _open_hub(spec: str, revision: str | None) -> RawFile:
    named = pinned_address(spec, revision)
    if named is not None:
        return _hub_file(named, lambda: hub(named.uri).chunks)
    address = parse(spec)
    asked = address._replace(revision=address.revision or revision).uri if address and revision else spec
    found = hub(asked)
    if revision and found.revision and COMMIT.fullmatch(revision) and found.revision != revision:
        raise InputError(
            f"{asked}: has changed: it is commit {found.revision[:12]} now, pinned is {revision[:12]}; "
            "leave the part after @ out to read the pinned one, or pin the new one"
        )
    opened = [found.chunks]  # the first reading uses what is open already
    pinned = Address(found.name, found.config, found.revision, found.split)
    return _hub_file(pinned, lambda: opened.pop() if opened else hub(pinned.uri).chunks)


def _hub_file(pinned: Address, chunks: Callable[[], Iterator[read.Chunk]]) -> RawFile:
    return RawFile(
        pinned.uri,  # names content: the revision is a commit
        pinned.revision,
        sha256(pinned.uri.encode()).hexdigest(),
        0,
        chunks,
    )


def _settle(source: Source, files: Sequence[RawFile], progress: Progress) -> tuple[_Settings, dict[str, Any]]:
    """The adapter and kind to use: as named, or as a sample of the records says."""
    sniffed: dict[str, Any] = {}
    name = source.adapter
    if name is None:
        sample = list(islice(_decodable(files), SNIFF_RECORDS))
        if not sample:
            raise InputError(f"{source.name}: {_first_problem(files)}")
        try:
            sniff = adapters.sniff(sample, kind=source.kind)
        except InputError as e:
            raise InputError(f"{source.name}: {e}") from None
        name = sniff.adapter
        progress.note(f"{source.name}: adapter {name!r} fits {sniff.matched} of the first {sniff.sampled} records")
        sniffed = {"confidence": round(sniff.confidence, 4), "sampled": sniff.sampled}
    kind = adapters.adapter(name).kind
    if source.kind not in (None, kind):
        raise UsageError(f"{source.name}: adapter {name!r} makes {kind!r} rows, not {source.kind!r}")
    detected = source.adapter is None
    return _Settings(source.name, name, detected, source.kind, kind, source.license, source.tokenizer), sniffed


def _raw(files: Sequence[RawFile]) -> Iterator[read.Raw]:
    for file in files:
        try:
            for chunk in file.chunks():
                yield from read.decode(chunk)
        except InputError as e:
            if _on_hub(file):
                raise
            yield read.Raw(file.uri, 0, None, str(e))


def _decodable(files: Sequence[RawFile]) -> Iterator[dict[str, Any]]:
    return (raw.record for raw in _raw(files) if raw.problem is None)


def _first_problem(files: Sequence[RawFile]) -> str:
    for raw in _raw(files):
        return said(raw.place, raw.problem or "")
    return "no records at all; give a file that has some"


def _tasks(settings: _Settings, files: Sequence[RawFile]) -> Iterator[_Task]:
    for i, file in enumerate(files):
        ingest_id = file.sha256[:16]
        try:
            for chunk in file.chunks():
                yield _Task(settings, i, ingest_id, chunk)
        except InputError as e:
            if _on_hub(file):
                raise  # a file is damaged for good, but a hub that breaks off has more: half of it is no version
            yield _Task(settings, i, ingest_id, str(e))


def _on_hub(file: RawFile) -> bool:
    return file.uri.startswith("hub:")


def _convert(task: _Task) -> _Converted:
    """Decodes a chunk and makes rows of it. Pure; runs in a worker."""
    settings = task.settings
    if isinstance(task.work, str):
        reject = Reject("", -1, task.work, "")
        return _Converted(task.file, 0, rows.to_table(settings.kind, []), [], [reject])
    count = token_counter(settings.tokenizer) if settings.tokenizer else None
    adapter = adapters.adapter(settings.adapter)
    kept: list[Row] = []
    places: list[str] = []
    rejects: list[Reject] = []
    records = 0
    for raw in read.decode(task.work):
        records += 1
        made, reason = _rows_of(adapter, raw, settings)
        if reason:
            rejects.append(Reject(raw.place, raw.index, reason, _excerpt(raw.record)))
        for row in made:
            row.setdefault("prov", {}).update(orig_index=raw.index, ingest_id=task.ingest_id, converter=adapter.name)
            kept.append(
                rows.finish(adapter.kind, row, source=settings.source, license=settings.license, count_tokens=count)
            )
            places.append(raw.place)
    return _Converted(task.file, records, rows.to_table(adapter.kind, kept), places, rejects)


def _rows_of(adapter: adapters.Adapter, raw: read.Raw, settings: _Settings) -> tuple[list[Row], str | None]:
    """The good rows of a record, and why there are no more."""
    if raw.problem:
        return [], raw.problem
    if settings.detected and (other := other_shape(raw.record, asked=settings.asked)):
        return [], other
    try:
        made = adapters.convert(adapter, raw.record)
    except adapters.AdapterError as e:
        return [], str(e)
    good = []
    reason = None
    for row in made:
        problem = rows.check(adapter.kind, row)
        if problem is None:
            good.append(row)
        else:
            reason = reason or problem
    return good, reason


def _excerpt(record: Any) -> str:
    if record is None:
        return ""
    text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False, default=str)
    return text[:EXCERPT_CHARS].encode(errors="backslashreplace").decode()


class _Rejects:
    """The rejects' table, written as it grows. The file is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[Reject] = []
        self._writer: pq.ParquetWriter | None = None
        self.first: Reject | None = None
        self.count = 0

    def __enter__(self) -> _Rejects:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, reject: Reject) -> None:
        """Keeps one more."""
        self.first = self.first or reject
        self.count += 1
        self._waiting.append(reject)
        if len(self._waiting) >= REJECTS_BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer = self._writer or pq.ParquetWriter(self._path, REJECTS, compression="zstd")
            self._writer.write_table(pa.Table.from_pylist([r._asdict() for r in self._waiting], schema=REJECTS))
            self._waiting = []


class _Collector:
    """What the main process keeps while chunks come back: counts per file, rejects, and the ids seen so far."""

    def __init__(self, files: Sequence[RawFile], rejects: _Rejects) -> None:
        self.files = files
        self.records = 0
        self.rows = 0
        self.rejects = rejects
        self._seen: dict[str, str] = {}  # id → place of its first row
        self._repeats: Counter[str] = Counter()
        self._per_file = [Counter[str]() for _ in files]
        self._reasons: list[Counter[str]] = [Counter() for _ in files]

    def take(self, converted: _Converted) -> pa.Table:
        """The chunk's rows with distinct ids; the rest is counted as rejected."""
        table, repeated = self._distinct(converted)
        uri = self.files[converted.file].uri
        for reject in (*converted.rejects, *repeated):
            self.rejects.add(reject if reject.place else reject._replace(place=uri))
            reasons = self._reasons[converted.file]
            kind = reason_class(reject.reason)
            reasons[kind if kind in reasons or len(reasons) < REASONS else "other reasons"] += 1
        self._per_file[converted.file].update(records=converted.records, rows=len(table))
        self.records += converted.records
        self.rows += len(table)
        return table

    def inputs(self) -> list[Input]:
        """The files with what became of their records."""
        return [
            Input(
                uri=file.uri,
                revision=file.revision,
                sha256=file.sha256,
                bytes=file.bytes,
                records=counts["records"],
                rows=counts["rows"],
                rejected=dict(sorted(reasons.items())),
            )
            for file, counts, reasons in zip(self.files, self._per_file, self._reasons, strict=True)
        ]

    def why_nothing(self, name: str, settings: _Settings) -> str:
        """The error for a source without one good row."""
        first = self.rejects.first
        if first is None:
            return f"{name}: no records at all; give a file that has some"
        detail = said(first.place, first.reason)
        if self.records == 0:
            return f"{name}: {detail}"
        return (
            f"{name}: none of {self.records:,} records is a {settings.kind!r} row by adapter {settings.adapter!r}; "
            f"first: {detail}"
        )

    def _distinct(self, converted: _Converted) -> tuple[pa.Table, list[Reject]]:
        """Rows named by their content get `#k` when the content comes again; a repeated given id is refused."""
        table = converted.table
        ids = table["id"].to_pylist()
        given = table["prov"].combine_chunks().field("orig_id").to_pylist()
        indexes = table["prov"].combine_chunks().field("orig_index").to_pylist()
        keep: list[bool] = []
        rejects: list[Reject] = []
        changed = False
        for i, (row_id, place) in enumerate(zip(ids, converted.places, strict=True)):
            again = row_id in self._seen
            first = self._seen.setdefault(row_id, place)
            if again and given[i] is not None:
                reason = f"id {given[i]!r} repeats {first}; give each record its own id, or remove the field"
                rejects.append(Reject(place, indexes[i], reason, ""))
            elif again:
                self._repeats[row_id] += 1
                ids[i] = f"{row_id}#{self._repeats[row_id]}"
                changed = True
            keep.append(not again or given[i] is None)
        if changed:
            table = table.set_column(0, table.schema.field("id"), pa.array(ids, pa.string()))
        return (table if all(keep) else table.filter(pa.array(keep))), rejects


def said(place: str, reason: str) -> str:
    """`place: reason`, where the reason does not name its file itself."""
    return reason if reason.startswith(f"{Path(place).name}:") else f"{place}: {reason}"


def reason_class(reason: str) -> str:
    """A reason without its values, so that reasons can be counted: what was got, quoted text and numbers are `…`.

    >>> reason_class("response must be text, got bool True; write it as text")
    'response must be text, got …; write it as text'
    >>> reason_class("id 'x' repeats d.jsonl:1; give each record its own id")
    'id … repeats d.jsonl:…; give each record its own id'
    """
    without = re.sub(r"\bgot .*?(?=; [^;]*$|$)", "got …", reason)
    return re.sub(r"'[^']*'?|\"[^\"]*\"?|\d+", "…", without)
