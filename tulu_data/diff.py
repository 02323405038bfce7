"""What changed between two versions: rows by content, their order, what they are made of, and how they were made."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data import composition, hub
from tulu_data.composition import SourceShare
from tulu_data.errors import UsageError
from tulu_data.manifest import Manifest, covered_sources
from tulu_data.rows import digest_matrix
from tulu_data.store import Version
from tulu_data.take import ranked

I64 = npt.NDArray[np.int64]

ID_BYTES = 16  # of a row id's digest: two ids among 2^40 rows share one with a chance of 2^-49
COPIES = 256  # copies in a times copies in b: of a row with more, the first stands for the first, the next for the next
# What a step records of its outcome; the rest of its parameters are settings.
OUTCOMES = {"steps", "sources", "available", "asked", "rows", "chars", "tokens", "funnel", "rejected", "sampled"}


class Amount(NamedTuple):
    """What one version has of a source, topic or licence. Shares are of its rows and of its tokens."""

    rows: int
    share: float
    tokens: int | None
    token_share: float | None


class Compared(NamedTuple):
    """A source, a topic or a licence in both versions. None: rows without a topic."""

    name: str | None
    a: Amount
    b: Amount


class Record(NamedTuple):
    """What the two versions have on record of one set's decontamination; None where there is no record."""

    set: str
    a: dict[str, Any] | None
    b: dict[str, Any] | None


class Diff(NamedTuple):
    """Counts respect multiplicity: a row that stands twice in `a` and once in `b` is once common, once only in `a`."""

    a: str
    b: str
    common: int
    only_a: int
    only_b: int
    same_order: bool  # whether the two hold the same rows in the same order
    sources: dict[str, tuple[int, int]]  # rows in a, rows in b; where they differ
    settings: dict[str, tuple[Any, Any]]  # parameters of steps, the audit on record; where they differ
    examples_a: list[dict[str, str]]
    examples_b: list[dict[str, str]]
    moved: int  # of the common rows: the fewest that must move for the rest to be in one order; see `COPIES`
    changed: int  # of those only in a: rows whose id is in b with other content; as many are among those only in b
    surplus: dict[str, dict[str, int]]  # by source: rows only_a and only_b without the changed ones, and changed
    by_source: list[Compared]
    by_topic: list[Compared]  # empty where neither version has a topic
    by_license: list[Compared]  # without tokens, which are not counted by licence
    recipe: dict[
        str, tuple[Any, Any]
    ]  # where the recipes differ, whole where only one says it; empty unless both have one
    decontamination: list[Record]  # where they differ

    @property
    def same_rows(self) -> bool:
        """Whether the two hold the same rows, in whatever order."""
        return not self.only_a and not self.only_b

    def as_dict(self) -> dict[str, Any]:
        """Plain, for JSON."""
        lists = ("by_source", "by_topic", "by_license")
        plain = {
            key: [{"name": c.name, "a": c.a._asdict(), "b": c.b._asdict()} for c in getattr(self, key)] for key in lists
        }
        return self._asdict() | plain | {"decontamination": [r._asdict() for r in self.decontamination]}


class RowDiff(NamedTuple):
    """Which rows differ, as ordinals in their version, ascending; `changed` are pairs `(n, 2)` of ordinals."""

    common: int
    moved: int
    only_a: I64  # without those that changed
    only_b: I64
    changed: I64


def diff(a: Version, b: Version, *, examples: int = 3, rows: RowDiff | None = None) -> Diff:
    """Compares by row digest, and by id what has no equal. Reads no text but that of the examples.

    `rows` is what `compare_rows` found of the same two versions. Raises `UsageError` for two versions of different
    schemas, whose digests cannot be compared.
    """
    found = rows or compare_rows(a, b)
    rows_a, rows_b = ({n: s.rows for n, s in v.manifest.logical.sources.items()} for v in (a, b))
    changed_a, changed_b = (np.sort(found.changed[:, side]) for side in (0, 1))
    surplus_a, surplus_b = np.union1d(found.only_a, changed_a), np.union1d(found.only_b, changed_b)
    return Diff(
        a=a.ref,
        b=b.ref,
        common=found.common,
        only_a=len(surplus_a),
        only_b=len(surplus_b),
        same_order=a.manifest.logical.order_id == b.manifest.logical.order_id,
        sources=_changed(rows_a, rows_b, 0),
        settings=_changed(_settings(a.manifest), _settings(b.manifest), None),
        examples_a=_examples(a, surplus_a[:examples]),
        examples_b=_examples(b, surplus_b[:examples]),
        moved=found.moved,
        changed=len(found.changed),
        surplus=_surplus({"only_a": (a, found.only_a), "only_b": (b, found.only_b), "changed": (b, changed_b)}),
        by_source=_sources(a.manifest, b.manifest),
        by_topic=_topics(a.manifest, b.manifest),
        by_license=_licences(a.manifest, b.manifest),
        recipe=_recipes(a.manifest, b.manifest),
        decontamination=_records(a.manifest, b.manifest),
    )


# ------------------------------------------------------------ rows


def compare_rows(a: Version, b: Version) -> RowDiff:
    """Which rows only one of two versions holds, which changed under their id, how many moved.

    Reads 32 bytes a row, and the ids of rows without an equal; holds about 150 bytes for each row of the two. Equal
    rows, and rows of one id, are paired in the order in which they stand. `UsageError` as in `diff`.
    """
    if a.manifest.schema_name != b.manifest.schema_name:
        raise UsageError(
            f"{a.ref} is {a.manifest.schema_name}, {b.ref} is {b.manifest.schema_name}: nothing to compare"
        )
    if a.digest == b.digest:  # the id names the rows and their order
        none = np.empty(0, np.int64)
        return RowDiff(a.rows, 0, none, none, none.reshape(0, 2))
    number_a, number_b = _numbered(_shas(a), _shas(b))
    pairs, only_a, only_b = _paired(number_a, number_b)
    moved = len(pairs) - _longest_common(number_a, number_b)
    same_id, rest_a, rest_b = _paired(*_numbered(_id_digests(a, only_a), _id_digests(b, only_b)))
    changed = np.column_stack([only_a[same_id[:, 0]], only_b[same_id[:, 1]]])
    return RowDiff(len(pairs), moved, only_a[rest_a], only_b[rest_b], changed)


def _shas(version: Version) -> npt.NDArray[np.uint8]:
    return digest_matrix(version.table(["row_sha"])["row_sha"])


def _numbered(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> tuple[I64, I64]:
    """The number of each digest among the distinct ones of both. `(n, k)` and `(m, k)` bytes, k a multiple of 8."""
    words = np.concatenate([a, b]).view(np.uint64)
    columns = [np.ascontiguousarray(words[:, i]) for i in range(words.shape[1])]
    order = ranked(columns[0], *columns[1:])
    new = np.zeros(len(order), bool)
    for column in columns:
        ordered = column[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new)
    return numbers[: len(a)], numbers[len(a) :]


def _paired(a: I64, b: I64) -> tuple[I64, I64, I64]:
    """Equal numbers of two lists, the first copy with the first: pairs of places, and the places left on either side.

    `(n,)`, `(m,)` → `(pairs, 2)`, `(rest of a,)`, `(rest of b,)`; ascending in a.
    """
    size = max(a.max(initial=-1), b.max(initial=-1)) + 1
    order_a, copy_a = _copies(a)
    order_b, copy_b = _copies(b)
    paired_a = copy_a < np.bincount(b, minlength=size)[a]
    paired_b = copy_b < np.bincount(a, minlength=size)[b]
    # Both orders are by number, then by place: what is left of them after the filter stands pair by pair.
    pairs = np.column_stack([order_a[paired_a[order_a]], order_b[paired_b[order_b]]])
    return pairs[np.argsort(pairs[:, 0])], np.flatnonzero(~paired_a), np.flatnonzero(~paired_b)


def _copies(numbers: I64) -> tuple[I64, I64]:
    """The places by number, then as they stand; and for each place how many of its number stand before it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    new = np.ones(len(order), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    copy = np.empty(len(order), np.int64)
    copy[order] = np.arange(len(order)) - start
    return order, copy


def _longest_common(a: I64, b: I64) -> int:
    """The length of the longest common subsequence (Hunt and Szymanski, CACM 20 (1977)): the longest increase in the
    places of each number of `a` in `b`, for each the last place first.
    """
    size = max(a.max(initial=-1), b.max(initial=-1)) + 1
    count_a, count_b = np.bincount(a, minlength=size), np.bincount(b, minlength=size)
    order_b, start_b = np.argsort(b, kind="stable"), np.cumsum(count_b) - count_b
    copy = _copies(a)[1]
    few = (count_a * count_b <= COPIES)[a]
    times = np.where(few, count_b[a], copy < count_b[a])
    row = np.repeat(np.arange(len(a)), times)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
    number = a[row]
    return _longest_increase(order_b[start_b[number] + np.where(few[row], count_b[number] - 1 - nth, copy[row])])


def _longest_increase(places: I64) -> int:
    """The length of the longest strictly increasing subsequence (Fredman, Discrete Math. 11 (1975))."""
    if bool((places[1:] > places[:-1]).all()):
        return len(places)
    ends = array("q")  # ends[k]: the least end of an increasing subsequence of k + 1 places
    for start in range(0, len(places), 65_536):
        for place in places[start : start + 65_536].tolist():
            at = bisect_left(ends, place)
            if at == len(ends):
                ends.append(place)
            else:
                ends[at] = place
    return len(ends)


def _id_digests(version: Version, rows: I64) -> npt.NDArray[np.uint8]:
    """The digests of these rows' ids, `(rows, ID_BYTES)`."""
    digests = b"".join(
        blake2b(name.encode(), digest_size=ID_BYTES).digest()
        for batch in batches_of(version, rows, ["id"])
        for name in batch["id"].to_pylist()
    )
    return np.frombuffer(digests, np.uint8).reshape(-1, ID_BYTES)


def batches_of(version: Version, rows: I64, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of these ordinals (ascending), a batch for each row group that holds any; others are not read."""
    start = 0
    for part in version.parts():
        first, last = np.searchsorted(rows, [start, start + part.rows])
        if first < last:
            yield part.read(columns).take(pa.array(rows[first:last] - start))
        start += part.rows


def _examples(version: Version, rows: I64) -> list[dict[str, str]]:
    return [
        {"id": row["id"], "text": row["messages"][0]["content"][:200]}
        for batch in batches_of(version, rows, ["id", "messages"])
        for row in batch.to_pylist()
    ]


def _surplus(sides: Mapping[str, tuple[Version, I64]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(sides, 0))
    for key, (version, rows) in sides.items():
        for batch in batches_of(version, rows, ["source"]):
            for group in batch["source"].value_counts().to_pylist():
                found[group["values"]][key] += group["counts"]
    return dict(sorted(found.items()))


# ------------------------------------------------------------ what they are made of


def topics_of_both(a: Manifest, b: Manifest) -> tuple[dict[str, str], dict[str, str]]:
    """The topic of each source in either version. A version that names none for a source has it from the other."""
    of_a, of_b = composition.topics_of(a), composition.topics_of(b)
    return of_b | of_a, of_a | of_b


def _sources(a: Manifest, b: Manifest) -> list[Compared]:
    of_a, of_b = ({s.source: s for s in composition.sources(m)} for m in (a, b))
    names = sorted({*of_a, *of_b}, key=lambda n: (-max(s[n].rows for s in (of_a, of_b) if n in s), n))
    return [
        Compared(name, *(_amount(m, [s[name]] if name in s else []) for m, s in ((a, of_a), (b, of_b))))
        for name in names
    ]


def _topics(a: Manifest, b: Manifest) -> list[Compared]:
    """By topic; of a source of which a mixture took several parts, each part counts under its own."""
    found: dict[str | None, tuple[list[SourceShare], list[SourceShare]]] = defaultdict(lambda: ([], []))
    topics = topics_of_both(a, b)
    for side, manifest in enumerate((a, b)):
        for share in composition.shares(manifest):
            found[share.topic or topics[side].get(share.source)][side].append(share)
    if set(found) <= {None}:
        return []
    compared = [Compared(topic, _amount(a, of_a), _amount(b, of_b)) for topic, (of_a, of_b) in found.items()]
    return sorted(compared, key=lambda c: (c.name is None, -max(c.a.rows, c.b.rows), c.name or ""))


def _amount(manifest: Manifest, own: Sequence[SourceShare]) -> Amount:
    logical = manifest.logical
    rows, tokens = sum(s.rows for s in own), [s.tokens for s in own]
    counted = None if logical.tokens is None else sum(t for t in tokens if t is not None)
    share = None if counted is None else _share(counted, logical.tokens or 0)
    return Amount(rows, _share(rows, logical.rows), counted, share)


def _licences(a: Manifest, b: Manifest) -> list[Compared]:
    of_a, of_b = ({use.license: use.rows or 0 for use in composition.licences(m)} for m in (a, b))
    names = sorted({*of_a, *of_b}, key=lambda n: (-max(of_a.get(n, 0), of_b.get(n, 0)), n))

    def amount(manifest: Manifest, rows: int) -> Amount:
        return Amount(rows, _share(rows, manifest.logical.rows), None, None)

    return [Compared(name, amount(a, of_a.get(name, 0)), amount(b, of_b.get(name, 0))) for name in names]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


# ------------------------------------------------------------ how they were made


def _changed(a: Mapping[str, Any], b: Mapping[str, Any], missing: Any) -> dict[str, tuple[Any, Any]]:
    pairs = {key: (a.get(key, missing), b.get(key, missing)) for key in sorted({*a, *b})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _recipes(a: Manifest, b: Manifest) -> dict[str, tuple[Any, Any]]:
    if a.origin is None or b.origin is None:
        return {}
    return dict(_differences(a.origin.recipe, b.origin.recipe))


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif a != b:
        yield prefix, (a, b)


class Setting(NamedTuple):
    """A setting that differs, and the parts that have it so: those with other values stand for themselves."""

    key: str
    parts: tuple[str, ...]
    a: Any
    b: Any


def grouped(settings: Mapping[str, tuple[Any, Any]]) -> list[Setting]:
    """Settings that differ, each once for all parts in which it differs alike."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    values: dict[tuple[str, str], tuple[Any, Any]] = {}
    for key, (a, b) in settings.items():
        step, _, rest = key.partition(":")
        part, dot, name = rest.partition(".") if step not in ("audit", "input") else (rest, "", "")
        alike = (step + dot + name, repr((a, b))) if rest and step != "input" else (key, "")
        found[alike] += [part] if alike[1] else []
        values[alike] = (a, b)
    return [Setting(key, tuple(parts), *values[key, told]) for (key, told), parts in found.items()]


def _settings(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, step in zip(_labels(manifest), manifest.steps, strict=True):
        found |= {key: v for key, v in _flat(step.params, label).items() if not OUTCOMES & {*key.split(".")[1:]}}
    for record in manifest.decontamination:
        found[f"audit:{_set_of(record)}"] = record["audit"]
    digests: dict[str, list[str]] = defaultdict(list)
    for given in manifest.inputs:  # a local file by its name: a folder's name is no setting, and nobody's business
        digests[given.uri if hub.parse(given.uri) else PurePosixPath(given.uri).name].append(given.sha256[:16])
    return found | {f"input:{name}": ", ".join(sorted(listed)) for name, listed in digests.items()}


def _labels(manifest: Manifest) -> list[str]:
    """What each step is called: `STEP:PART` in a mixture, where versions on the way have names of their own."""
    parts: dict[int, list[str]] = defaultdict(list)
    mixed = composition.mix_step(manifest)
    for name, part in sorted(mixed.params["parts"].items()) if mixed else ():
        steps = range(*part.get("steps", (0, 0)))
        times = Counter(manifest.steps[i].name for i in steps)
        for i in steps:
            if times[manifest.steps[i].name] == 1:  # a part that is a mixture has several: they keep their own names
                parts[i].append(name)
    owners = [", ".join(parts[i]) or step.source for i, step in enumerate(manifest.steps)]
    return [f"{s.name}:{owner}" if owner else s.name for s, owner in zip(manifest.steps, owners, strict=True)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    dot = f"{prefix}." if prefix else ""
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{dot}{key}").items()}


def _set_of(record: Mapping[str, Any]) -> str:
    return ", ".join(covered_sources(record))


def _records(a: Manifest, b: Manifest) -> list[Record]:
    of_a, of_b = (_by_set(m.decontamination) for m in (a, b))
    pairs = [Record(name, of_a.get(name), of_b.get(name)) for name in sorted({*of_a, *of_b})]
    return [record for record in pairs if record.a != record.b]


def _by_set(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The records by what they cover; a set that was audited again has a number."""
    found: dict[str, dict[str, Any]] = {}
    times: Counter[str] = Counter()
    for record in records:
        name = _set_of(record)
        times[name] += 1
        found[name if times[name] == 1 else f"{name} ({times[name]})"] = {
            "audit": record["audit"],
            "policy": record["policy"],
            "layers": list(record.get("layers", ())),
            "suites": {s["id"]: s.get("digest", "")[:16] for s in record["suites"]},
            "rows_in": record["rows_in"],
            "rows_dropped": record["rows_dropped"],
        }
    return found
