"""Does a version hold what its manifest says? Level 1 compares files, level 2 re-reads rows, level 3 rebuilds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from tulu_data import manifest, rows
from tulu_data.executor import map_in_order
from tulu_data.manifest import FileInfo, ShardInfo
from tulu_data.parquet import file_sha256
from tulu_data.progress import Progress, Silent
from tulu_data.rows import DIGEST_BYTES, SPECS, Kind
from tulu_data.store import Store, Version
from tulu_data.tally import Tally

# Building again does nothing while the folder is there: the store takes it for the same version.
_REMEDY = "restore the file, or remove the version's folder and build it again"


class Problem(NamedTuple):
    """One thing that is not as the manifest says."""

    place: str
    message: str


def verify(version: Version, level: int = 1, *, workers: int = 1, progress: Progress | None = None) -> list[Problem]:
    """The problems found, none when all holds.

    Level 1: every file has the size and sha256 on record, and the version id is that of the identities on record.
    Level 2: also every row passes its kind's check; its digests, turns and characters, and the version's identities
    and counts per source, come out the same when computed from the rows. Level 3: also the recipe on record, run
    again over the inputs, gives this version; raises what `reproduce` raises when they are gone.

    The manifest itself is taken at its word for what no file shows: inputs, steps, times. The card is not checked.
    """
    progress = progress or Silent()
    problems = list(_check_identity(version))
    files: list[tuple[Path, ShardInfo | FileInfo]] = [
        *zip(version.shards, version.manifest.shards, strict=True),
        *((version.side_file(file.path), file) for file in version.manifest.files),
    ]
    with progress.task(f"hash {version.ref}", len(files)) as advance:
        for path, info in files:
            problems += _check_file(path, info.bytes, info.sha256)
            advance(1)
    if level >= 2 and not problems:
        problems += _check_rows(version, workers, progress)
    if level >= 3 and not problems:
        problems += _check_rebuild(version, workers, progress)
    return problems


def _check_identity(version: Version) -> Iterator[Problem]:
    described = version.manifest
    logical = described.logical
    digest = manifest.version_digest(
        described.schema_name, logical.set_id, logical.order_id, [s.rows for s in described.shards]
    )
    place = str(version.side_file("manifest.json"))
    if digest != described.digest or manifest.version_id(digest) != described.version:
        yield Problem(place, f"the identities on record give {manifest.version_id(digest)}, not {described.version}")
    if "@" in version.path.name and version.path.name != described.ref:  # a copy may have a name of its own
        yield Problem(str(version.path), f"the folder should be called {described.ref}")
    if sum(s.rows for s in described.shards) != logical.rows:
        yield Problem(place, f"the shards on record do not add up to {logical.rows:,} rows")


def _check_file(path: Path, size: int, sha256: str) -> Iterator[Problem]:
    if not path.is_file():
        yield Problem(str(path), f"is missing; {_REMEDY}")
    elif path.stat().st_size != size:
        yield Problem(str(path), f"has {path.stat().st_size:,} bytes, {size:,} on record; {_REMEDY}")
    elif file_sha256(path) != sha256:
        yield Problem(str(path), f"its sha256 is not the one on record; {_REMEDY}")


class _Group(NamedTuple):
    path: str
    group: int
    kind: Kind


class _Recomputed(NamedTuple):
    digests: bytes
    tally: Tally
    problems: list[Problem]


def _check_rows(version: Version, workers: int, progress: Progress) -> Iterator[Problem]:
    groups = [
        _Group(str(path), i, version.kind)
        for path in version.shards
        for i in range(pq.read_metadata(path).num_row_groups)
    ]
    tally = Tally()
    parts: list[bytes] = []
    by_shard: dict[str, list[bytes]] = {str(path): [] for path in version.shards}
    with progress.task(f"re-read {version.ref}", version.rows) as advance:
        for group, recomputed in zip(groups, map_in_order(_recompute, groups, workers=workers), strict=True):
            yield from recomputed.problems
            parts.append(recomputed.digests)
            by_shard[group.path].append(recomputed.digests)
            tally.merge(recomputed.tally)
            advance(len(recomputed.tally.digests()))
    for path, shard in zip(version.shards, version.manifest.shards, strict=True):
        if rows.order_id(_matrix(by_shard[str(path)])) != shard.order_id:
            yield Problem(str(path), "its rows are not those on record, or not in that order")
    logical = version.manifest.logical
    digests = _matrix(parts)
    if rows.set_id(digests) != logical.set_id:
        yield Problem(version.ref, "the set of rows is not the one on record")
    elif rows.order_id(digests) != logical.order_id:
        yield Problem(version.ref, "the order of rows is not the one on record")
    counted = tally.logical()
    for key in ("rows", "chars", "tokens", "sources"):
        if getattr(counted, key) != getattr(logical, key):
            yield Problem(str(version.side_file("manifest.json")), f"logical.{key} is not what the rows give")


def _check_rebuild(version: Version, workers: int, progress: Progress) -> Iterator[Problem]:
    from tulu_data.reproduce import reproduce

    with TemporaryDirectory(prefix="tulu-verify-") as folder:
        made = reproduce(version.manifest, Store(folder), workers=workers, progress=progress)
        for uri in made.changed_inputs:
            yield Problem(uri, "the input is not the one on record")
        if not made.same_version:
            yield Problem(version.ref, f"a rebuild gave {made.version.ref}")
        elif made.same_bytes is False:
            yield Problem(version.ref, "a rebuild gave the same rows in other bytes")


def _matrix(parts: Sequence[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, DIGEST_BYTES)


def _recompute(group: _Group) -> _Recomputed:
    with pq.ParquetFile(group.path) as file:
        table = file.read_row_group(group.group, use_threads=False)
    problems: list[Problem] = []
    tally = Tally()
    if not table.schema.equals(SPECS[group.kind].schema):
        problems.append(Problem(group.path, f"its schema is not {SPECS[group.kind].schema_name}"))
        return _Recomputed(b"", tally, problems)
    tally.add(table)
    digests = []
    for i, row in enumerate(table.to_pylist()):
        place = f"{group.path}:row group {group.group}, row {i} ({row['id']})"
        digest = rows.row_sha(group.kind, row)
        digests.append(digest)
        reason = rows.check(group.kind, row)
        if reason:
            problems.append(Problem(place, reason))
        if digest != row["row_sha"]:
            problems.append(Problem(place, "row_sha is not the digest of its text"))
        if rows.prompt_sha(row["messages"]) != row["prompt_sha"]:
            problems.append(Problem(place, "prompt_sha is not the digest of its prompt"))
        texts = [m["content"] for _, _, m in rows.content_messages(group.kind, row)]
        if (row["n_turns"], row["n_chars"]) != (len(texts), sum(map(len, texts))):
            problems.append(Problem(place, "n_turns or n_chars is not what its text has"))
    return _Recomputed(b"".join(digests), tally, problems)
