"""Embeddings of instances, made when they are first needed and kept beside the indexes, by encoder and suite."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from tulu_data.encoders import Encoder

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


class EmbeddingStore:
    """The vectors of a corpus's instances. One that was made once is not made again, in later audits either."""

    def __init__(
        self,
        encoder: Encoder,
        digests: Sequence[str],
        suite_of: npt.NDArray[np.int32],
        texts: Sequence[str],
        cache: Path | None,
    ) -> None:
        """`digests` are of the suites, by their place; `suite_of` `(instances,)`."""
        self._encoder, self._texts = encoder, texts
        self._suite_of = suite_of
        self._first = np.searchsorted(suite_of, np.arange(len(digests)))  # instances stand by suite
        folder = cache / "embeddings" / encoder.digest if cache else None
        self._files = [folder / f"{d[:32]}.npz" if folder else None for d in digests]
        self._known: dict[int, F32] = {}
        self._read: set[int] = set()  # suites whose file was read
        self._lock = threading.Lock()

    def vectors(self, instances: I64) -> F32:
        """`(instances, dimensions)` of length 1."""
        with self._lock:
            for suite in np.unique(self._suite_of[instances]).tolist():
                self._load(suite)
            new = [i for i in instances.tolist() if i not in self._known]
            if new:
                made = self._encoder.encode([self._texts[i] for i in new])
                self._known.update(zip(new, made, strict=True))
                for suite in np.unique(self._suite_of[new]).tolist():
                    self._keep(suite)
            return np.stack([self._known[i] for i in instances.tolist()])

    def _load(self, suite: int) -> None:
        path = self._files[suite]
        if suite in self._read or path is None:
            return
        self._read.add(suite)
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                places, vectors = arrays["places"], arrays["vectors"].astype(np.float32)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return  # there is none yet, or it cannot be read: they are made again
        self._known.update(zip((places + self._first[suite]).tolist(), vectors, strict=True))

    def _keep(self, suite: int) -> None:
        """Writes what is known of a suite. What another process wrote meanwhile may be lost: it costs time alone."""
        path = self._files[suite]
        if path is None:
            return
        mine = sorted(i for i in self._known if self._suite_of[i] == suite)
        temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.npz")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            places = np.array(mine, np.int64) - self._first[suite]
            np.savez(temp, places=places, vectors=np.stack([self._known[i] for i in mine]))
            temp.rename(path)
        except OSError:
            temp.unlink(missing_ok=True)  # a full disk: the vectors serve this audit
