"""A static embedding: one vector for each piece of a word, and a text's vector is their sum. It costs next to nothing.

It is distilled from a sentence encoder with model2vec (no data, some 20 seconds, once) and kept. Its cosines rank well
and do not separate: what it finds are candidates.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from decontam.analyzers import lower
from tulu_data.encoders import LocalEncoder, quiet
from tulu_data.errors import InputError, UsageError

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

DIMENSIONS = 128  # the first principal components: as good as 256 at ranking, in half the time
AT_ONCE = 64  # windows: their words' vectors stay in the cache
WORD = re.compile(r"\w+|[^\w\s]")
FORMAT = "static/1"


class Words(NamedTuple):
    """The words of texts, one after the other. number: `(words,)`. first: `(texts + 1,)` where each text begins."""

    number: I64
    first: I64


class StaticEmbedding:
    """Word vectors, found when a word is first seen. Threads may use it at once."""

    def __init__(self, pieces: F32, tokenizer: Any, unknown: int | None) -> None:
        """pieces: `(vocabulary, dimensions)`."""
        self._pieces, self._tokenizer, self._unknown = pieces, tokenizer, unknown
        self._numbers: dict[str, int] = {}
        self._vectors = np.zeros((1 << 12, pieces.shape[1]), np.float32)
        self._lock = threading.Lock()

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        return int(self._pieces.shape[1])

    def words(self, texts: Sequence[str]) -> Words:
        """The words of texts, in lower case."""
        lists = [WORD.findall(lower(t)) for t in texts]
        numbers = self._numbers
        try:
            flat = [numbers[w] for words in lists for w in words]
        except KeyError:
            self._learn({w for words in lists for w in words})
            flat = [numbers[w] for words in lists for w in words]
        return Words(np.array(flat, np.int64), np.append(0, np.cumsum([len(w) for w in lists])).astype(np.int64))

    def vectors(self, words: Words, start: I64, end: I64) -> F32:
        """`(windows, dimensions)` the sums over the words `[start, end)`, none of them empty."""
        if not len(start):
            return np.zeros((0, self.dimensions), np.float32)
        with self._lock:
            known = self._vectors
        sums = np.empty((len(start), self.dimensions), np.float32)
        for some in np.array_split(np.arange(len(start)), -(-len(start) // AT_ONCE)):
            low, high = int(start[some].min()), int(end[some].max())
            rows = np.concatenate([known[words.number[low:high]], known[:1]])  # one more: `end` may be the end of all
            edges = np.stack([start[some] - low, end[some] - low], axis=1).ravel()
            sums[some] = np.add.reduceat(rows, edges, axis=0)[::2]
        return sums

    def _learn(self, words: set[str]) -> None:
        with self._lock:
            new = sorted(w for w in words if w not in self._numbers)
            if not new:
                return
            count = len(self._numbers)
            if count + len(new) > len(self._vectors):
                more = np.zeros((max(len(self._vectors), len(new)), self.dimensions), np.float32)
                self._vectors = np.concatenate([self._vectors, more])
            pieces = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            for k, (word, encoded) in enumerate(zip(new, pieces, strict=True), count):
                ids = [i for i in encoded.ids if i != self._unknown]
                if ids:
                    self._vectors[k] = self._pieces[ids].sum(axis=0)
                self._numbers[word] = k


def static_of(encoder: LocalEncoder, cache: Path | None) -> StaticEmbedding:
    """The static embedding distilled from an encoder; `cache` keeps it. `UsageError` where the extra is missing."""
    for module in ("model2vec", "skeletoken"):
        if find_spec(module) is None:
            raise UsageError(f"encoder {encoder.name}: {module} is missing; pip install 'tulu-data[semantic]'")
    from model2vec import StaticModel

    folder = cache / "static" / f"{FORMAT.replace('/', '-')}-{encoder.digest}" if cache else None
    if folder is not None and folder.is_dir():
        try:
            return _embedding(StaticModel.from_pretrained(folder))
        except Exception:  # of whatever kind: what cannot be read is made again
            shutil.rmtree(folder, ignore_errors=True)
    model = _distilled(encoder)
    if folder is not None:
        _keep(model, folder)
    return _embedding(model)


def _embedding(model: Any) -> StaticEmbedding:
    pieces = np.asarray(model.embedding, np.float32)[:, :DIMENSIONS]
    return StaticEmbedding(np.ascontiguousarray(pieces), model.tokenizer, model.unk_token_id)


def _distilled(encoder: LocalEncoder) -> Any:
    try:
        with quiet():
            from model2vec.distill import distill

            return distill(str(encoder.folder))
    except Exception as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise InputError(f"encoder {encoder.name}: no static embedding can be distilled from it ({reason})") from e


def _keep(model: Any, folder: Path) -> None:
    temp = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temp.mkdir(parents=True)
        model.save_pretrained(temp)
        temp.rename(folder)
    except OSError:
        pass  # another process has it, or the disk is full: it can be distilled again
    finally:
        shutil.rmtree(temp, ignore_errors=True)
