"""The index of the suites: built from a corpus, saved under the hash of what it is made of, mapped into memory.

    <cache>/<index id>/meta.json           format, kernel and analyzer version, suites, settings
                      /arrays.arrow        every array, one a row, 64 bytes apart
                      /instances.arrow     the instances' own texts, ids, answers
    <cache>/parts/<part id>/…              one suite in canonical form: what an added suite does not touch

Files are written whole or not at all and never changed, so processes share one copy through the page cache.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam import building, kernel
from decontam.analyzers import analyzer_of
from decontam.corpus import NONE, Corpus, SuiteFacts, analyse_suite, join, short_instances
from decontam.describing import Instances
from decontam.folding import folding_of
from decontam.fuzzy import FUZZY_CANDIDATE, FUZZY_MIN_TOKENS, FUZZY_N
from decontam.reference import text_weights
from decontam.suites import Suite
from decontam.text_arrays import addresses_of
from decontam.verdicts import Settings
from tulu_data.errors import InputError
from tulu_data.manifest import canonical_json

FORMAT = "tulu-index/1"
KERNEL = "kernel/1"  # raise when arrays of the same name hold something else
Frozen = TypeVar("Frozen", bound=tuple[Any, ...])

SEEDS = 8  # of the hash; a second one is needed where two n-grams of a corpus share a 64-bit hash
ALIGNMENT = 64  # bytes
BITS_PER_TRIGGER = 128  # of a sieve, whose table then fits the nearest cache
BITS_PER_ANCHOR = 8  # of a Bloom filter that is always asked: small enough for the cache, and few false alarms
BITS_PER_GRAM = 16  # of one that is asked rarely: next to no false alarms


class Built(NamedTuple):
    """The arrays of an index: what `kernel.scan` reads, and what the second look needs besides.

    totals, rare_totals: `(texts,)` tokens, and tokens under a rare n-gram. holders, holder_first: the instances that
    text t may lead to are `holders[holder_first[t] : holder_first[t + 1]]`; of_field: 1 where it is a field of that
    instance. tiny, tiny_text: as in `describing.Instances`.
    """

    scan: kernel.Index
    totals: kernel.I32
    rare_totals: kernel.I32
    holders: kernel.I32
    holder_first: kernel.I32
    of_field: kernel.U8
    tiny: kernel.U8
    tiny_text: kernel.I32


@dataclass(frozen=True)
class Index:
    """A corpus and the arrays built from it."""

    corpus: Corpus
    built: Built

    def __reduce__(self) -> tuple[Any, ...]:
        # What is derived from addresses must not travel; arrays that arrive are read-only again.
        return _restored, (self.corpus, self.built)

    @cached_property
    def instances(self) -> Instances:
        """The instances as the second look reads them: their addresses hold while this index lives."""
        corpus = self.corpus
        addresses, sizes = addresses_of(self._given)
        tiny, tiny_text = self.built.tiny, self.built.tiny_text
        return _frozen(
            Instances(corpus.first_field, corpus.field_text, corpus.passage, addresses, sizes, tiny, tiny_text)
        )

    @cached_property
    def _given(self) -> pa.Array:
        """`(fields,)` the texts of the fields as they were given."""
        texts = self.corpus.instances["texts"].combine_chunks()
        owners = np.repeat(np.arange(len(texts)), np.diff(self.corpus.first_field))
        return texts.values.take(pa.array(texts.offsets.to_numpy()[owners] + self.corpus.field_name))

    @property
    def longest_field_bytes(self) -> int:
        """Bytes of the longest field as it was given."""
        return int(self.instances.sizes.max(initial=0))

    @property
    def most_fields(self) -> int:
        """The most fields that an instance has."""
        return int(np.diff(self.corpus.first_field).max(initial=1))


# ------------------------------------------------------------ building


def canonical(analyzer: str, texts: Sequence[str]) -> list[bytes]:
    """The canonical forms of texts, compiled."""
    array = pa.array(texts, pa.large_string())
    addresses, sizes = addresses_of(array)
    blob = np.zeros(2 * int(sizes.sum()) + len(sizes) + kernel.SLACK, np.uint8)
    ends = np.zeros(len(sizes), np.int64)
    message = new_message(int(sizes.max(initial=0)))
    code = kernel.ANALYZER_CODES[analyzer]
    building.write_canonical(addresses, sizes, code, folding_of(analyzer), message, blob, ends)
    whole = blob[: int(ends[-1]) if len(ends) else 0].tobytes()
    return [whole[a:b] for a, b in zip([0, *ends.tolist()], ends.tolist(), strict=False)]


def new_message(max_bytes: int) -> kernel.Message:
    """Buffers for messages of at most so many bytes: folding may double them."""
    room = 2 * max_bytes + kernel.SLACK
    nowhere = np.zeros(0, np.int32)
    return kernel.Message(np.zeros(room, np.uint8), np.zeros(room, np.int32), np.zeros(room, np.uint64), nowhere)


def build(corpus: Corpus, settings: Settings) -> Index:
    """The arrays for a corpus. A hash that two n-grams share is found here, and another seed taken."""
    folding = folding_of(settings.analyzer)
    texts, forms = _texts(corpus, settings.exact_min_tokens)
    weights = np.array(text_weights(corpus) + [0] * (len(forms) - len(corpus.texts)), np.int32)
    message = kernel.Message(
        np.zeros(0, np.uint8),
        np.zeros(2 * int(np.diff(texts.first).max(initial=0)) + 2, np.int32),
        np.zeros(int(np.diff(texts.first).max(initial=0)) + 2, np.uint64),
        np.zeros(0, np.int32),
    )
    eligible = weights * ((np.diff(texts.first) >= FUZZY_MIN_TOKENS) & settings.fuzzy)
    for seed in map(np.uint64, range(SEEDS)):
        grams = _grams(texts, weights, settings.n, settings.max_df, seed, message)
        fine = _grams(texts, eligible, FUZZY_N, settings.max_df, seed, message, rare_only=True)
        if grams is not None and fine is not None:
            break
    else:
        raise AssertionError("n-grams share a hash under every seed")
    totals, rare_totals = np.diff(texts.first).astype(np.int32), _rare_totals(texts, grams)
    alone = _texts_alone(corpus, len(forms))
    needed, rare_needed = _needed(totals, alone, settings.floor), _needed(rare_totals, alone, settings.floor)
    suggested = np.ceil(FUZZY_CANDIDATE * _rare_totals(texts, fine)).astype(np.int32)
    triggers = _triggers(corpus, settings, totals)
    looked_for = np.unique(triggers[triggers != NONE])
    long_enough = totals[looked_for] >= kernel.SHORT_TRIGGER
    short, brief = looked_for[long_enough], looked_for[~long_enough]
    tiny, tiny_text = _tiny(corpus, settings, forms)
    numbers = np.array([kernel.ANALYZER_CODES[settings.analyzer], int(seed), settings.fuzzy], np.int64)
    scan = kernel.Index(
        folding,
        texts,
        grams._replace(needed=needed, rare_needed=rare_needed),
        fine._replace(needed=suggested, rare_needed=suggested),
        _triggered(texts, short, kernel.SHORT_TRIGGER, seed, message),
        _triggered(texts, brief, int(totals[brief].min(initial=1)) if len(brief) else 1, seed, message),
        _whole(texts, np.unique(tiny_text[tiny == 1]), settings.exact_min_tokens, seed, message),
        numbers,
    )
    holders = _holders(corpus, len(forms), triggers, tiny_text)
    return Index(corpus, _frozen(Built(scan, totals, rare_totals, *holders, tiny, tiny_text)))


def _texts(corpus: Corpus, exact_min_tokens: int) -> tuple[kernel.Texts, dict[bytes, int]]:
    """The arrays of all texts, and their numbers: those of the corpus, then tiny instances of several fields."""
    forms = {form: i for i, form in enumerate(corpus.texts)}
    for i in _tiny_instances(corpus, exact_min_tokens):
        forms.setdefault(_joined_form(corpus, i), len(forms))
    ends = np.cumsum([len(f) for f in forms], dtype=np.int64) if forms else np.zeros(0, np.int64)
    blob = np.frombuffer(b"".join(forms) + bytes(kernel.SLACK), np.uint8)
    count = sum(f.count(b" ") + 1 for f in forms)
    starts, lengths, text_of = (np.zeros(count, np.int32) for _ in range(3))
    first = np.zeros(len(forms) + 1, np.int32)
    building.split_tokens(blob, ends, starts, lengths, first, text_of)
    return _frozen(kernel.Texts(blob, starts, lengths, first, text_of)), forms


def _tiny_instances(corpus: Corpus, exact_min_tokens: int) -> npt.NDArray[np.int64]:
    """Instances with a field and fewer tokens than that in all, the passage included."""
    sizes = np.diff(corpus.first_field)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    tokens = np.bincount(owners, corpus.tokens[corpus.field_text], len(sizes))
    tokens += np.where(corpus.passage == NONE, 0, np.append(corpus.tokens, 0)[corpus.passage])
    return np.flatnonzero((sizes > 0) & (tokens < exact_min_tokens))


def _joined_form(corpus: Corpus, instance: int) -> bytes:
    passage = int(corpus.passage[instance])
    numbers = corpus.field_texts(instance) + ([] if passage == NONE else [passage])
    return b" ".join(corpus.texts[t] for t in numbers)


def _tiny(corpus: Corpus, settings: Settings, forms: Mapping[bytes, int]) -> tuple[kernel.U8, kernel.I32]:
    tiny = np.zeros(len(corpus.passage), np.uint8)
    tiny_text = np.full(len(corpus.passage), NONE, np.int32)
    for i in _tiny_instances(corpus, settings.exact_min_tokens).tolist():
        tiny[i], tiny_text[i] = 1, forms[_joined_form(corpus, i)]
    return tiny, tiny_text


def anchor_tokens(n: int) -> int:
    """Tokens of a sub-gram: more of them raise fewer false alarms, fewer of them are looked up more rarely."""
    return max(3, n // 2 + 1)


def _grams(
    texts: kernel.Texts,
    weights: kernel.I32,
    n: int,
    max_df: int,
    seed: np.uint64,
    message: kernel.Message,
    *,
    rare_only: bool = False,
) -> kernel.Grams | None:
    """The n-grams of the texts of weight > 0; None where two of them share a hash. What is needed is left empty."""
    windows = int(np.maximum(0, np.diff(texts.first) - n + 1)[weights > 0].sum())
    keys = np.zeros(_power_of_two(1.5 * windows), np.uint64)
    values = np.zeros(len(keys), np.int32)
    at = np.full(len(texts.starts), NONE, np.int32)
    origin, df, last = (np.zeros(windows, np.int32) for _ in range(3))
    count = building.number_grams(texts, weights, n, seed, message, keys, values, at, origin, df, last)
    if count < 0:
        return None
    offsets, places = np.zeros(count + 1, np.int32), np.zeros(windows, np.int32)
    building.group_places(at, offsets, places)
    rare = (df[:count] <= max_df).astype(np.uint8)
    if rare_only and count:
        at = np.where((at >= 0) & (rare[at] == 1), at, NONE).astype(np.int32)
    anchor = anchor_tokens(n)
    filter_ = np.zeros(_power_of_two(BITS_PER_GRAM * count / 64), np.uint64)
    anchors = np.zeros(_power_of_two(BITS_PER_ANCHOR * count / 64), np.uint64)
    building.fill_filters(texts, at, n, anchor, seed, message, filter_, anchors)
    nothing = np.zeros(0, np.int32)
    shape = np.array([n, anchor, n - anchor + 1], np.int64)
    return kernel.Grams(at, offsets, places, rare, anchors, filter_, keys, values, nothing, nothing, shape)


def _power_of_two(at_least: float) -> int:
    return 1 << max(6, math.ceil(math.log2(max(1.0, at_least))))


def _rare_totals(texts: kernel.Texts, grams: kernel.Grams) -> kernel.I32:
    totals = np.zeros(len(texts.first) - 1, np.int32)
    building.union_sizes(texts, grams.at, grams.rare, int(grams.shape[0]), totals)
    return totals


def _texts_alone(corpus: Corpus, count: int) -> npt.NDArray[np.bool_]:
    """`(texts,)` those that are the only field of every instance they belong to: its coverage is theirs."""
    several = np.repeat(np.diff(corpus.first_field) > 1, np.diff(corpus.first_field))
    alone = np.ones(count, np.bool_)
    alone[corpus.field_text[several]] = False
    return alone


def _needed(totals: kernel.I32, alone: npt.NDArray[np.bool_], floor: float) -> kernel.I32:
    """From how many tokens on a text may matter: one above the floor, and at least one."""
    return np.where(alone, np.floor(totals * floor).astype(np.int32), 0).astype(np.int32) + 1


def _triggers(corpus: Corpus, settings: Settings, totals: kernel.I32) -> kernel.I32:
    """`(instances,)` the longest text of each instance that no n-gram can find, its passage included; or NONE."""
    triggers = np.full(len(corpus.passage), NONE, np.int32)
    tiny = set(_tiny_instances(corpus, settings.exact_min_tokens).tolist())
    for i in np.flatnonzero(short_instances(corpus, settings.n)).tolist():
        if i not in tiny:
            passage = int(corpus.passage[i])
            texts = corpus.field_texts(i) + ([] if passage == NONE else [passage])
            triggers[i] = max(texts, key=lambda t: totals[t])
    return triggers


def _triggered(
    texts: kernel.Texts, chosen: kernel.I32, size: int, seed: np.uint64, message: kernel.Message
) -> kernel.Wholes:
    part = max(size - 1, min(size, 2))
    counts = np.zeros(_power_of_two(len(texts.starts) if len(chosen) else 1), np.int32)
    if len(chosen):
        building.count_runs(texts, part, seed, message, counts)
    hashes, ats = np.zeros(len(chosen), np.uint64), np.zeros(len(chosen), np.int32)
    building.hash_triggers(texts, chosen, size, part, seed, message, counts, hashes, ats)
    sieve = np.zeros(_power_of_two(BITS_PER_TRIGGER * len(chosen) / 64), np.uint64)
    building.fill_sieve(texts, chosen, ats, size, part, seed, message, sieve)
    return _filed(chosen, hashes, ats, sieve, [size, part, size - part + 1])


def _whole(
    texts: kernel.Texts, chosen: kernel.I32, size: int, seed: np.uint64, message: kernel.Message
) -> kernel.Wholes:
    hashes = np.zeros(len(chosen), np.uint64)
    building.hash_whole(texts, chosen, seed, message, hashes)
    return _filed(chosen, hashes, np.zeros(len(chosen), np.int32), np.zeros(1, np.uint64), [size, size, 1])


def _filed(
    chosen: kernel.I32, hashes: kernel.U64, ats: kernel.I32, sieve: kernel.U64, shape: list[int]
) -> kernel.Wholes:
    distinct, group = np.unique(hashes, return_inverse=True)
    order = np.argsort(group, kind="stable")
    groups = np.append(0, np.cumsum(np.bincount(group, minlength=len(distinct)))).astype(np.int32)
    keys = np.zeros(_power_of_two(2 * len(distinct)), np.uint64)
    values = np.zeros(len(keys), np.int32)
    building.file_hashes(distinct, keys, values)
    members = chosen[order].astype(np.int32), ats[order].astype(np.int32)
    return kernel.Wholes(sieve, keys, values, groups, *members, np.array(shape, np.int64))


def _holders(
    corpus: Corpus, count: int, triggers: kernel.I32, tiny_text: kernel.I32
) -> tuple[kernel.I32, kernel.I32, kernel.U8]:
    """`holders`, `holder_first` and `of_field` of `Built`: a text leads to the instances with it as a field, that are
    found by it, or that it is all of.
    """
    width = max(1, len(triggers))
    owners = np.repeat(np.arange(len(triggers)), np.diff(corpus.first_field))
    fields = corpus.field_text.astype(np.int64) * width + owners
    others = [(t.astype(np.int64) * width + np.arange(len(t)))[t != NONE] for t in (triggers, tiny_text)]
    pairs = np.unique(np.concatenate([fields, *others]))
    first = np.append(0, np.cumsum(np.bincount(pairs // width, minlength=count))).astype(np.int32)
    return (pairs % width).astype(np.int32), first, np.isin(pairs, fields).astype(np.uint8)


# ------------------------------------------------------------ saved and mapped

_CORPUS_ARRAYS = ("tokens", "first_field", "field_name", "field_text", "passage", "answer")


def index_of(suites: Sequence[Suite], settings: Settings) -> Index:
    """The index of the suites, in memory."""
    return build(join([_analysed(s, settings.analyzer) for s in suites]), settings)


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
        "settings": settings.model_dump(mode="json", exclude={"roles"}),
        "suites": [[s.id, s.group, s.digest] for s in suites],
    }
    return f"ti1-{sha256(canonical_json(content)).hexdigest()[:16]}"


def _stamp(analyzer: str) -> dict[str, Any]:
    return {"format": FORMAT, "kernel": KERNEL, "analyzer": analyzer_of(analyzer).version}


def _analysed(suite: Suite, analyzer: str) -> Corpus:
    return analyse_suite(suite, lambda texts: canonical(analyzer, texts))


def _part(suite: Suite, analyzer: str, cache: Path) -> Corpus:
    """One suite's corpus, from the cache where it is there: an index with one more suite is built of the same parts."""
    digest = sha256(canonical_json([_stamp(analyzer), suite.digest])).hexdigest()
    folder = cache / "parts" / digest[:16]
    try:
        corpus, _ = _read(folder)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        corpus = _analysed(suite, analyzer)
        _write(folder, corpus, {}, _stamp(analyzer))
    return _renamed(corpus, suite)


def _renamed(corpus: Corpus, suite: Suite) -> Corpus:
    facts = SuiteFacts(suite.id, suite.group, suite.digest, len(suite.instances))
    values = {f.name: getattr(corpus, f.name) for f in fields(Corpus)}
    return Corpus(**values | {"suites": (facts,)})


def save(index: Index, folder: Path) -> None:
    """Writes the index as a folder that appears whole or not at all."""
    _write(folder, index.corpus, dict(_flat(index.built)), _stamp_of(index))


def _stamp_of(index: Index) -> dict[str, Any]:
    names = {code: name for name, code in kernel.ANALYZER_CODES.items()}
    return _stamp(names[int(index.built.scan.numbers[0])])


def load(folder: Path) -> Index:
    """The index that `save` wrote, mapped; `InputError` in one line where it is damaged or of another version."""
    corpus, arrays = _read(folder)
    return Index(corpus, _frozen(_unflat(Built, arrays)))


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


def _flat(value: Any, prefix: str = "built") -> list[tuple[str, npt.NDArray[Any]]]:
    """The arrays inside nested named tuples, by their dotted names."""
    if isinstance(value, np.ndarray):
        return [(prefix, value)]
    return [pair for name, inner in value._asdict().items() for pair in _flat(inner, f"{prefix}.{name}")]


def _unflat(kind: Any, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "built") -> Any:
    if not hasattr(kind, "_fields"):
        return arrays[prefix]
    hints = get_type_hints(kind)
    return kind(*(_unflat(hints[name], arrays, f"{prefix}.{name}") for name in kind._fields))


def _restored(corpus: Corpus, built: Built) -> Index:
    return Index(corpus, _frozen(built))


def _frozen(value: Frozen) -> Frozen:
    """The same, read-only: mapped arrays are so too, and compiled code is compiled for one of the two."""
    for _, array in _flat(value):
        array.flags.writeable = False
    return value
