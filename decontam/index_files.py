"""The index of the suites as it is kept: saved under the hash of what it is made of, mapped into memory.

    <cache>/<index id>/meta.json           format, kernel and analyzer version, suites
                      /arrays.arrow        every array, one a row, 64 bytes apart
                      /instances.arrow     the instances' own texts, ids, answers
    <cache>/parts/<part id>/…              one suite in canonical form: what an added suite does not touch

Files are written whole or not at all and never changed, so processes share one copy through the page cache.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam.analyzers import analyzer_of
from decontam.corpus import Corpus, SuiteFacts, join
from decontam.fuzzy import FUZZY_CANDIDATE, FUZZY_MIN_TOKENS, FUZZY_N
from decontam.index import Built, Index, analysed, build, flat, frozen
from decontam.reading import ANALYZER_CODES
from decontam.suites import Suite
from decontam.verdicts import Settings
from tulu_data.errors import InputError
from tulu_data.manifest import canonical_json

FORMAT = "tulu-index/1"
KERNEL = "kernel/1"  # raise when arrays of the same name hold something else
ALIGNMENT = 64  # bytes

_CORPUS_ARRAYS = ("tokens", "first_field", "field_name", "field_text", "passage", "answer")


def folder_of(suites: Sequence[Suite], settings: Settings, cache: Path) -> Path:
    """The folder of the saved index of the suites, which is made where it is missing or cannot be read."""
    folder = cache / index_id(suites, settings)
    if not is_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
        save(build(join([_part(s, settings.analyzer, cache) for s in suites]), settings), folder)
    return folder


def is_whole(folder: Path) -> bool:
    """Whether an index can be loaded from there."""
    try:
        load(folder)
    except InputError:
        return False
    return True


def index_id(suites: Sequence[Suite], settings: Settings) -> str:
    """`ti1-` and 16 hex digits: a hash of suites, settings that matter to the index, and versions."""
    content = _stamp(settings.analyzer) | {
        "fuzzy": [FUZZY_N, FUZZY_CANDIDATE, FUZZY_MIN_TOKENS],
        "settings": settings.model_dump(mode="json", exclude={"roles", "semantic"}),
        "suites": [[s.id, s.group, s.digest] for s in suites],
    }
    return f"ti1-{sha256(canonical_json(content)).hexdigest()[:16]}"


def _stamp(analyzer: str) -> dict[str, Any]:
    return {"format": FORMAT, "kernel": KERNEL, "analyzer": analyzer_of(analyzer).version}


def _part(suite: Suite, analyzer: str, cache: Path) -> Corpus:
    """One suite's corpus, from the cache where it is there: an index with one more suite is built of the same parts."""
    digest = sha256(canonical_json([_stamp(analyzer), suite.digest])).hexdigest()
    folder = cache / "parts" / digest[:16]
    try:
        corpus, _ = _read(folder)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        corpus = analysed(suite, analyzer)
        _write(folder, corpus, {}, _stamp(analyzer))
    return _renamed(corpus, suite)


def _renamed(corpus: Corpus, suite: Suite) -> Corpus:
    facts = SuiteFacts(suite.id, suite.group, suite.digest, len(suite.instances))
    values = {f.name: getattr(corpus, f.name) for f in fields(Corpus)}
    return Corpus(**values | {"suites": (facts,)})


def save(index: Index, folder: Path) -> None:
    """Writes the index as a folder that appears whole or not at all."""
    _write(folder, index.corpus, dict(flat(index.built)), _stamp_of(index))


def _stamp_of(index: Index) -> dict[str, Any]:
    names = {code: name for name, code in ANALYZER_CODES.items()}
    return _stamp(names[int(index.built.scan.numbers[0])])


def load(folder: Path) -> Index:
    """The index that `save` wrote, mapped; `InputError` in one line where it is damaged or of another version."""
    corpus, arrays = _read(folder)
    return Index(corpus, frozen(_nested(Built, arrays)))


def _write(folder: Path, corpus: Corpus, arrays: Mapping[str, npt.NDArray[Any]], stamp: Mapping[str, Any]) -> None:
    ends = np.cumsum([0, *map(len, corpus.texts)], dtype=np.int64)
    own = {f"corpus.{name}": getattr(corpus, name) for name in _CORPUS_ARRAYS}
    own |= {"corpus.blob": np.frombuffer(b"".join(corpus.texts), np.uint8), "corpus.ends": ends}
    temp = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temp.mkdir(parents=True)
        _write_table(temp / "arrays.arrow", _packed(own | dict(arrays)))
        _write_table(temp / "instances.arrow", corpus.instances)
        meta = {**stamp, "suites": [s._asdict() for s in corpus.suites]}
        (temp / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temp.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process may have written the same meanwhile
            raise
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def _packed(arrays: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
    """Arrays of any length as rows; each starts at a multiple of `ALIGNMENT`."""
    padded = [a.tobytes() + bytes(-a.nbytes % ALIGNMENT) for a in arrays.values()]
    return pa.table(
        {
            "name": list(arrays),
            "type": [a.dtype.str for a in arrays.values()],
            "size": pa.array([len(a) for a in arrays.values()], pa.int64()),
            "data": pa.array(padded, pa.large_binary()),
        }
    )


def _read(folder: Path) -> tuple[Corpus, dict[str, npt.NDArray[Any]]]:
    meta_path = folder / "meta.json"
    try:
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
        arrays = _unpacked(_mapped(folder / "arrays.arrow"))
        instances = _mapped(folder / "instances.arrow")
        made_by = [meta["format"], meta["kernel"]]
        suites = tuple(SuiteFacts(**s) for s in meta["suites"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise InputError(f"{folder}: is no whole index ({reason}); remove it, it is made again") from None
    if made_by != [FORMAT, KERNEL]:
        found = " ".join(map(str, made_by))
        raise InputError(f"{folder}: index of another version ({found}); remove it, it is made again")
    blob, ends = arrays.pop("corpus.blob").tobytes(), arrays.pop("corpus.ends").tolist()
    texts = [blob[a:b] for a, b in pairwise(ends)]
    own = {name: arrays.pop(f"corpus.{name}") for name in _CORPUS_ARRAYS}
    return Corpus(suites, instances, texts, **own), arrays


def _mapped(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _unpacked(table: pa.Table) -> dict[str, npt.NDArray[Any]]:
    data = table["data"].chunk(0)  # written as one
    offsets = np.frombuffer(data.buffers()[1], np.int64)
    values = data.buffers()[2]
    return {
        name: np.frombuffer(values, np.dtype(kind), size, offset)
        for name, kind, size, offset in zip(
            table["name"].to_pylist(), table["type"].to_pylist(), table["size"].to_pylist(), offsets, strict=False
        )
    }


def _nested(kind: Any, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "built") -> Any:
    if not hasattr(kind, "_fields"):
        return arrays[prefix]
    hints = get_type_hints(kind)
    return kind(*(_nested(hints[name], arrays, f"{prefix}.{name}") for name in kind._fields))
