"""Signatures on disk: one file for each part of a version, written whole by rename, so a killed run goes on.

    int64   magic, texts, bands, shingles
    uint64  digests (texts, 2)
    int32   sizes (texts,), filled up to 8 bytes
    uint32  keys (bands, texts), filled up to 8 bytes
    uint64  shingles

The folder is named by what the signatures depend on: the version's content, and how it is signed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tulu_data.dedup import documents
from tulu_data.dedup.minhash import SIGNING, Signed, sign
from tulu_data.dedup.settings import Near
from tulu_data.executor import map_with_state
from tulu_data.manifest import ID_HEX, canonical_json
from tulu_data.progress import Progress
from tulu_data.rows import Kind
from tulu_data.store import RowGroup, Version

MAGIC = 0x31474953_554C5554  # "TULUSIG1", little-endian
HEADER_BYTES = 32


class SignatureFile(NamedTuple):
    """One finished file. Each section is read alone."""

    path: Path
    texts: int
    bands: int
    shingles: int

    def digests(self) -> npt.NDArray[np.uint64]:
        """`(texts, 2)`."""
        return np.fromfile(self.path, np.uint64, 2 * self.texts, offset=HEADER_BYTES).reshape(-1, 2)

    def sizes(self) -> npt.NDArray[np.int32]:
        """`(texts,)` different shingles of each text."""
        return np.fromfile(self.path, np.int32, self.texts, offset=self._sizes_at)

    def band(self, band: int) -> npt.NDArray[np.uint32]:
        """`(texts,)` the keys of one band."""
        return np.fromfile(self.path, np.uint32, self.texts, offset=self._keys_at + 4 * self.texts * band)

    @property
    def _sizes_at(self) -> int:
        return HEADER_BYTES + 16 * self.texts

    @property
    def _keys_at(self) -> int:
        return self._sizes_at + _filled(4 * self.texts)

    @property
    def shingles_at(self) -> int:
        """The byte at which the shingles begin."""
        return self._keys_at + _filled(4 * self.texts * self.bands)

    @property
    def bytes(self) -> int:
        """How long the file must be."""
        return self.shingles_at + 8 * self.shingles


def _filled(size: int) -> int:
    return -(-size // 8) * 8


def write(path: Path, signed: Signed) -> None:
    """Writes a file whole; two that write it at once write the same."""
    bands, texts = signed.keys.shape
    temp = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temp.open("wb") as file:
            file.write(np.array([MAGIC, texts, bands, len(signed.shingles)], np.int64).tobytes())
            for section in (signed.digests, signed.sizes, signed.keys, signed.shingles):
                file.write(np.ascontiguousarray(section).data)
                file.write(bytes(_filled(section.nbytes) - section.nbytes))
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def opened(path: Path, texts: int, bands: int) -> SignatureFile | None:
    """The file, where it is there, whole, and of so many texts and bands."""
    try:
        header = np.fromfile(path, np.int64, HEADER_BYTES // 8)
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    if len(header) * 8 != HEADER_BYTES or header[0] != MAGIC or (header[1], header[2]) != (texts, bands):
        return None
    file = SignatureFile(path, texts, bands, int(header[3]))
    return file if file.bytes == size else None


def folder_of(root: Path, version: Version, near: Near) -> Path:
    """Where the signatures of a version are kept."""
    signing = near.model_dump(exclude={"threshold"}) | {"signing": SIGNING, "digest": version.digest}
    return root / f"td1-{sha256(canonical_json(signing)).hexdigest()[:ID_HEX]}"


class _Job(NamedTuple):
    kind: Kind
    near: Near


class _Task(NamedTuple):
    path: Path
    part: RowGroup


def sign_version(
    version: Version, near: Near, folder: Path, *, workers: int, progress: Progress
) -> list[SignatureFile]:
    """The signatures of a version's rows, part by part in row order; what `folder` holds of them is not made again."""
    documents.check(version.kind, near.what, version.name)
    folder.mkdir(parents=True, exist_ok=True)
    tasks, first = [], 0
    for part in version.parts():  # versions of one content share files, though their parts may be others
        tasks.append(_Task(folder / f"{first:012d}-{part.rows}.signatures", part))
        first += part.rows
    files = []
    with progress.task(f"sign {version.name}", version.rows) as advance:
        for file in map_with_state(_sign_part, _Job(version.kind, near), tasks, workers=workers, how="threads"):
            files.append(file)
            advance(file.texts)
    return files


def _sign_part(job: _Job, task: _Task) -> SignatureFile:
    kept = opened(task.path, task.part.rows, job.near.bands)
    if kept is not None:
        return kept
    batch = task.part.read(documents.columns_of(job.kind, job.near.what))
    signed = sign(documents.documents_of(job.kind, batch, job.near.what), job.near)
    write(task.path, signed)
    return SignatureFile(task.path, task.part.rows, job.near.bands, len(signed.shingles))


def keys_of(files: Sequence[SignatureFile], band: int) -> Iterator[npt.NDArray[np.uint32]]:
    """The keys of one band, file after file."""
    return (file.band(band) for file in files)
