"""The store: versions of datasets on disk, published whole or not at all.

    <store>/name@tv1-…/data/train-00000-of-00004.parquet   the rows
                      /manifest.json  README.md            what they are; the dataset card
                      /rejects.parquet  drops/…            what was left out, and why
                      /builds/<id>/manifest.json           another history of the same rows; with data/ of its own
                                                           where ids, licences, tags or other columns differ
           /refs/name                                      which version (and build) the bare name means
           /steps/<key>.json                               what a recipe's step made of which inputs
           /audits/<id>/                                   audits made by recipes
           /tmp/<name>-<host>-<pid>-…                      builds under way

A version is written to `tmp`, flushed to disk and renamed into place, so a reader sees all of it or nothing.
Published folders are never written again, except to add a folder under `builds`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from tulu_data import card, manifest
from tulu_data.errors import StoreError, UsageError, nearest
from tulu_data.manifest import FileInfo, Input, Logical, Manifest, Origin, ShardInfo, Step
from tulu_data.parquet import (
    file_sha256,
    fsync,
    read_batches,
    read_group,
    row_groups,
    write_table,
    writer_fingerprint,
)
from tulu_data.rows import SPECS, Kind

DEFAULT_ROOT = "tulu-store"
NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
NAME_LENGTH = 128  # file systems take 255 bytes, and names get endings
FOREIGN_S = 7 * 86_400  # a temporary folder of another machine this old is taken to be abandoned
_TEMP_NAME = re.compile(r"-(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}$")
_STORAGE_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
_STORAGE_ERRNOS |= {errno.EISDIR, errno.EIO}


class RowGroup(NamedTuple):
    """Part of a version that can be read alone, in any process: one row group of a shard."""

    path: Path
    group: int
    rows: int

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """Its rows as one batch."""
        return read_group(self.path, self.group, columns).combine_chunks().to_batches()[0]


class Version:
    """A published dataset: its folder and manifest. Reading is streaming, one row group at a time."""

    def __init__(self, path: Path, described_by: Manifest, build: str | None = None) -> None:
        self.path = path
        self.manifest = described_by
        self.build = build  # which history of these rows the manifest tells; None for the first
        self._side_folder = path / "builds" / build if build else path
        self._data_folder = self._side_folder if (self._side_folder / "data").is_dir() else path

    @property
    def name(self) -> str:
        """The dataset's name, without the version."""
        return self.manifest.name

    @property
    def ref(self) -> str:
        """`name@tv1-…`."""
        return self.manifest.ref

    @property
    def kind(self) -> Kind:
        """The kind of its rows."""
        return self.manifest.kind

    @property
    def digest(self) -> str:
        """The full digest behind the version id, in hex."""
        return self.manifest.digest

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return self.manifest.logical.rows

    @property
    def shards(self) -> list[Path]:
        """Its Parquet files, in row order."""
        return [self._data_folder / s.path for s in self.manifest.shards]

    def side_file(self, path: str) -> Path:
        """A side file (rejects, drops) that the manifest names."""
        return self._side_folder / path

    def check_whole(self) -> None:
        """`StoreError` for the first shard that is gone or has another size than on record: a look, not a proof."""
        for path, shard in zip(self.shards, self.manifest.shards, strict=True):
            size = path.stat().st_size if path.is_file() else None
            if size != shard.bytes:
                found = "is missing" if size is None else f"has {size:,} bytes, {shard.bytes:,} on record"
                raise StoreError(f"{path}: {found}; remove {self.path} and run again to make it anew")

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order, one batch a row group; `columns` limits what is decoded."""
        return read_batches(self.shards, columns)

    def parts(self) -> Iterator[RowGroup]:
        """The row groups in order; those without rows are left out."""
        for path in self.shards:
            footer = row_groups(path)
            for group in range(footer.num_row_groups):
                rows = footer.row_group(group).num_rows
                if rows:
                    yield RowGroup(path, group, rows)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, in memory."""
        schema = SPECS[self.kind].schema
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        return pa.Table.from_batches((b.cast(schema) for b in self.batches(columns)), schema=schema)


class Build:
    """A version under construction in a temporary folder of the store. Made by `Store.build`."""

    def __init__(self, store: Store, name: str, kind: Kind, folder: Path) -> None:
        self.store = store
        self.name = name
        self.kind = kind
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self._files: list[FileInfo] = []

    def add_table(self, path: str, table: pa.Table) -> str:
        """Writes a side table (rejects, drops) into the version; gives its path back."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_table(target, table)
        return self.add_file(path, len(table))

    def add_file(self, path: str, rows: int) -> str:
        """Records a side table that was written into the build's folder already; gives its path back."""
        target = self.folder / path
        info = FileInfo(path=path, rows=rows, bytes=target.stat().st_size, sha256=file_sha256(target))
        self._files.append(info)
        return path

    def publish(
        self,
        shards: Sequence[ShardInfo],
        logical: Logical,
        *,
        inputs: Sequence[Input] = (),
        steps: Sequence[Step] = (),
        decontamination: Sequence[dict[str, Any]] = (),
        tokenizer: str | None = None,
        origin: Origin | None = None,
    ) -> Version:
        """Names the version by its content, flushes it, renames it into the store and points the ref at it.

        Where the store holds the same rows already nothing is written again; a history that differs from the
        known ones is added under `builds/`.
        """
        schema_name = SPECS[self.kind].schema_name
        digest = manifest.version_digest(schema_name, logical.set_id, logical.order_id, [s.rows for s in shards])
        described = Manifest(
            name=self.name,
            version=manifest.version_id(digest),
            digest=digest,
            kind=self.kind,
            schema_name=schema_name,
            logical=logical,
            tokenizer=tokenizer,
            inputs=list(inputs),
            steps=list(steps),
            decontamination=list(decontamination),
            origin=origin,
            shards=list(shards),
            files=self._files,
            writer=writer_fingerprint(),
            environment=manifest.environment(),
            created_at=manifest.now(),
        )
        return self.store._publish(self.folder, described)


class Store:
    """A folder of versions. `Store(path)` opens it; it is made when something is first written."""

    def __init__(self, root: str | Path = DEFAULT_ROOT) -> None:
        self.root = Path(root)

    # -------------------------------------------------------- reading

    def open(self, ref: str | Path) -> Version:
        """The version that `name`, `name@tv1-…` (or a unique beginning of it) or a folder stands for."""
        text = str(ref)
        folder = Path(text)
        if (folder / "manifest.json").is_file():
            return self._load(folder, None)
        name, _, version = text.partition("@")
        if not version:
            return self._open_latest(name)
        found = sorted(p for p in self.root.glob(f"{_escape(name)}@{_escape(version)}*") if p.is_dir())
        if len(found) > 1:
            options = ", ".join(p.name for p in found)
            raise UsageError(f"{text}: stands for several versions ({options}); give more of the id")
        if not found:
            raise StoreError(f"{text}: no such version in {self.root}; {self._known(name)}")
        ref_version, build = self._read_ref(name) or ("", None)
        return self._load(found[0], build if found[0].name.endswith(ref_version) else None)

    def names(self) -> list[str]:
        """The names that have a version, sorted."""
        refs = self.root / "refs"
        return sorted(p.name for p in refs.iterdir() if not p.name.startswith(".")) if refs.is_dir() else []

    def versions(self) -> list[Version]:
        """Every published version, sorted by folder name."""
        folders = sorted(p for p in self.root.glob("*@tv1-*") if (p / "manifest.json").is_file())
        return [self._load(p, None) for p in folders]

    def has(self, ref: str) -> bool:
        """Whether `name@tv1-…` is published here."""
        return (self.root / ref / "manifest.json").is_file()

    def open_build(self, ref: str, build: str | None) -> Version | None:
        """The version `name@tv1-…` with one of its histories, or None where either is gone."""
        folder = self.root / ref
        home = folder / "builds" / build if build else folder
        return self._load(folder, build) if (home / "manifest.json").is_file() else None

    def histories(self, ref: str) -> list[Manifest]:
        """Every manifest of a version: the first one, then those under `builds`."""
        folder = self.root / ref
        paths = [folder / "manifest.json", *sorted(folder.glob("builds/*/manifest.json"))]
        return [manifest.load(path) for path in paths]

    def latest(self, name: str) -> str | None:
        """`name@tv1-…` for a bare name, or None."""
        found = self._read_ref(name)
        return f"{name}@{found[0]}" if found else None

    def _open_latest(self, name: str) -> Version:
        found = self._read_ref(name)
        if found is None:
            raise StoreError(f"{name}: no such dataset in {self.root}; {nearest(name, self.names(), noun='dataset')}")
        return self._load(self.root / f"{name}@{found[0]}", found[1])

    def _load(self, folder: Path, build: str | None) -> Version:
        path = folder / "builds" / build / "manifest.json" if build else folder / "manifest.json"
        return Version(folder, manifest.load(path), build)

    def _known(self, name: str) -> str:
        versions = sorted(p.name for p in self.root.glob(f"{_escape(name)}@tv1-*"))
        if versions:
            return "it has " + ", ".join(versions)
        return nearest(name, self.names(), noun="dataset")

    def _read_ref(self, name: str) -> tuple[str, str | None] | None:
        path = self.root / "refs" / name
        if set(name) - NAME_CHARACTERS or not path.is_file():  # a path is no name, though it may lead to a file
            return None
        words = path.read_text(encoding="utf-8").split()
        if not words:
            raise StoreError(f"{path}: is empty; write the version that {name!r} stands for into it (tv1-…)")
        return words[0], words[1] if len(words) > 1 else None

    # -------------------------------------------------------- writing

    @contextmanager
    def build(self, name: str, kind: Kind) -> Iterator[Build]:
        """A temporary folder to write a version in; removed on the way out, whatever happened.

        Raises `UsageError` for a name that cannot be a folder, `StoreError` where the disk refuses.
        """
        check_name(name)
        with self.writing():
            self.clear_abandoned()
            folder = self.temp_folder(name)
            try:
                yield Build(self, name, kind, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def temp_folder(self, name: str) -> Path:
        """A new folder under `tmp` that names this process, so that others can tell when it is abandoned."""
        folder = self._temp_path(name)
        folder.mkdir()
        return folder

    def _temp_path(self, name: str) -> Path:
        tmp = self.root / "tmp"
        tmp.mkdir(parents=True, exist_ok=True)
        return tmp / f"{name}-{_this_host()}-{os.getpid()}-{secrets.token_hex(4)}"

    def discard(self, path: Path) -> None:
        """Removes a file or folder of the store. It disappears whole, even when this process is killed meanwhile."""
        if path.parent != self.root / "tmp":
            path = path.rename(self._temp_path(path.name))
        with suppress(FileNotFoundError):  # another process clears the same leftover
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns what a disk may refuse (no space, read-only, no permission) into one line."""
        with writing(self.root, "--store"):
            yield

    def clear_abandoned(self) -> None:
        """Removes what killed builds have left, as far as the disk lets it."""
        for leftover in self.abandoned():
            with suppress(OSError):
                self.discard(leftover)

    def abandoned(self) -> list[Path]:
        """Temporary files and folders whose process has ended: killed builds.

        Of another machine's (the store may be shared) nothing is known: they count once a week has passed.
        """
        tmp = self.root / "tmp"
        return sorted(p for p in tmp.iterdir() if not _may_be_used(p)) if tmp.is_dir() else []

    def write_json(self, path: str, value: Any) -> None:
        """Writes a small file of the store (a ref, a step record) atomically."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._replace(target, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    def _replace(self, target: Path, text: str) -> None:
        temp = self._temp_path(target.name)
        try:
            temp.write_text(text, encoding="utf-8")
            fsync(temp)
            temp.replace(target)
        finally:
            temp.unlink(missing_ok=True)
        fsync(target.parent)

    def _publish(self, folder: Path, described: Manifest) -> Version:
        target = self.root / described.ref
        _write_description(folder, described)
        _flush(folder)
        build = None if _rename_unless_there(folder, target) else self._add_build(folder, target, described)
        fsync(self.root)
        version = self._load(target, build)
        self.point(version)
        return version

    def point(self, version: Version) -> None:
        """Makes the bare name stand for this version and history."""
        refs = self.root / "refs"
        target = refs / version.name
        text = " ".join(filter(None, (version.manifest.version, version.build))) + "\n"
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            refs.mkdir(exist_ok=True)
            self._replace(target, text)

    def _add_build(self, folder: Path, target: Path, described: Manifest) -> str | None:
        """The rows are published already: keep this history beside the first one, unless it is known.

        It keeps its own shards only where their bytes differ: in what the digests leave out, or by the writer.
        """
        build = described.build_id()
        first = manifest.load(target / "manifest.json")
        if first.build_id() == build:
            return None
        final = target / "builds" / build
        if not final.is_dir():
            if [s.sha256 for s in described.shards] == [s.sha256 for s in first.shards]:
                shutil.rmtree(folder / "data")
                fsync(folder)
            final.parent.mkdir(exist_ok=True)
            _rename_unless_there(folder, final)
            fsync(final.parent)
        return build


@contextmanager
def writing(place: Path, option: str) -> Iterator[None]:
    """Turns what a disk may refuse into a `StoreError` in one line; `option` is what chooses another place."""
    try:
        yield
    except OSError as e:
        if e.errno not in _STORAGE_ERRNOS:
            raise
        remedy = "free space" if e.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        message = f"{e.filename or place}: cannot write ({os.strerror(e.errno)}); {remedy}, or choose another place"
        raise StoreError(f"{message} with {option}") from e


def _rename_unless_there(folder: Path, target: Path) -> bool:
    try:
        folder.rename(target)
    except OSError as e:
        if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        return False
    return True


def _write_description(folder: Path, described: Manifest) -> None:
    (folder / "manifest.json").write_text(described.dumps(), encoding="utf-8")
    (folder / "README.md").write_text(card.render(described), encoding="utf-8")


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        fsync(path)
    fsync(folder)


def check_name(name: str) -> None:
    """`UsageError` unless `name` can name a dataset: at most `NAME_LENGTH` of letters, digits, `-`, `_` and `.`, not
    starting with a dot.
    """
    bad = sorted(set(name) - NAME_CHARACTERS)
    if len(name) > NAME_LENGTH:
        raise UsageError(f"dataset name {name[:20]!r}… has {len(name)} characters; use at most {NAME_LENGTH}")
    if not name or name.startswith(".") or bad:
        what = f"holds {bad[0]!r}" if bad else "is empty or starts with a dot"
        raise UsageError(f"dataset name {name!r} {what}; use letters, digits, '-', '_' and '.'")


def _this_host() -> str:
    return sha256(socket.gethostname().encode()).hexdigest()[:8]


def _may_be_used(temp: Path) -> bool:
    made_by = _TEMP_NAME.search(temp.name)
    if made_by is None:
        return False
    try:
        if made_by["host"] != _this_host():
            return time.time() - temp.stat().st_mtime < FOREIGN_S
        os.kill(int(made_by["pid"]), 0)
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:
        return True
    return True


def _escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
