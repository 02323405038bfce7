"""Versions → a mixture: choose rows by hash rank, order them by a second key, write them in bounded memory.

The plan holds no text: digests, lengths and ordinals, about 80 bytes a row (and, while it is made, the ids of a
part in which rows repeat). The rows themselves are moved twice. *Scatter* reads the sources one row group at a
time and appends each row to the spill file of the shards it goes to; *gather* reads the rows of one shard from its
spill file, sorts and writes them. Each worker holds one row group, then one shard, whatever the size of the mixture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from tulu_data.errors import GateError, RecipeError
from tulu_data.manifest import Input, Origin, ShardInfo, Step
from tulu_data.parquet import shard_layout, shard_name, write_shard
from tulu_data.progress import Advance, Progress, Silent
from tulu_data.rows import SPECS, Kind, digest_matrix
from tulu_data.store import Build, Store, Version
from tulu_data.strict import Strict
from tulu_data.take import Candidates, Selected, Take, exact, keys, occurrences, salt, select
from tulu_data.tally import Tally

I64 = npt.NDArray[np.int64]

MAX_SPILL_FILES = 128  # open at one time (macOS allows a process 256); more shards than that share a file
DEST = "__dest"  # the column of a spill file that says where in the mixture a row stands


class Part(NamedTuple):
    """One source of a mixture, under the name that the mixture gives it."""

    name: str
    version: Version
    take: Take


class Size(Strict):
    """What the weighted parts share out: rows or tokens, of the whole mixture."""

    rows: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one(self) -> Size:
        if (self.rows is None) == (self.tokens is None):
            raise ValueError("takes exactly one of rows, tokens")
        return self


class Expect(Strict):
    """What must hold of the mixture; anything else fails before a row is written."""

    rows: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    parts: Mapping[str, int] = Field(default_factory=dict, description="rows per part")


class PartPlan(NamedTuple):
    """What one part gives."""

    part: Part
    available: int
    rows: I64  # ordinals in the version, ascending; a repeated row stands there several times
    copy: I64
    dest: I64  # where each of them stands in the mixture
    tokens: int | None


@dataclass(frozen=True)
class Plan:
    """A mixture before it is written: which rows of which part stand where, and how they are cut into shards."""

    kind: Kind
    seed: int
    parts: tuple[PartPlan, ...]
    layout: tuple[tuple[int, ...], ...]  # per shard, rows per row group
    size: Size | None = None

    @property
    def rows(self) -> int:
        """Rows of the mixture."""
        return sum(len(p.rows) for p in self.parts)

    @property
    def tokens(self) -> int | None:
        """Tokens of the mixture, where every part has them counted."""
        counts = [p.tokens for p in self.parts]
        return sum(c for c in counts if c is not None) if None not in counts else None


class _Columns(NamedTuple):
    """What the plan needs of one part."""

    part: Part
    candidates: Candidates
    sha: npt.NDArray[np.uint8]  # (rows, 32), of every row of the version
    occurrence: I64  # likewise
    n_chars: I64
    n_tokens: I64 | None


def mix(
    store: Store,
    name: str,
    parts: Sequence[Part],
    *,
    seed: int = 0,
    size: Size | None = None,
    expect: Expect | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes the mixture of `parts` under `name`.

    The version id depends on the rows of the parts, the takes and the seed: not on the order or sharding of the
    parts' rows, nor on `workers`. Raises `RecipeError` for a request that cannot be met, `GateError` where
    `expect` does not hold.
    """
    progress = progress or Silent()
    planned = plan(parts, seed=seed, size=size)
    check_expectations(planned, expect or Expect())
    with store.build(name, planned.kind) as build:
        shards, tally = write(planned, build, workers=workers, progress=progress)
        return build.publish(
            shards,
            tally.logical(),
            inputs=_inputs(parts),
            steps=[s for p in parts for s in p.version.manifest.steps] + [_step(planned)],
            decontamination=[r for p in parts for r in p.version.manifest.decontamination],
            tokenizer=_tokenizer(parts),
            origin=origin,
        )


# ------------------------------------------------------------ planning


def plan(parts: Sequence[Part], *, seed: int = 0, size: Size | None = None) -> Plan:
    """Which rows go where. Reads digests and lengths, no text."""
    if not parts:
        raise RecipeError("mix: has no parts; name at least one source")
    kinds = sorted({p.version.kind for p in parts})
    if len(kinds) > 1:
        raise RecipeError(f"mix: parts are of different kinds ({_kinds(parts)}); a mixture holds one kind")
    repeated = sorted(name for name, n in Counter(p.name for p in parts).items() if n > 1)
    if repeated:
        raise RecipeError(f"mix: part {repeated[0]!r} appears twice; give it one take, or use 'repeat'")
    columns = [_read_columns(part) for part in sorted(parts, key=lambda p: p.name)]
    shares = _weighted_rows(columns, size, seed)
    chosen = [_choose(c, seed, shares.get(c.part.name)) for c in columns]
    dest = _destinations(columns, chosen, seed)
    n_chars = np.concatenate([c.n_chars[s.row] for c, s in zip(columns, chosen, strict=True)])
    in_order = np.empty(len(n_chars), np.int64)
    in_order[dest] = n_chars
    planned = []
    start = 0
    for c, s in zip(columns, chosen, strict=True):
        planned.append(_part_plan(c, s, dest[start : start + len(s.row)]))
        start += len(s.row)
    layout = tuple(tuple(groups) for groups in shard_layout(in_order))
    return Plan(parts[0].version.kind, seed, tuple(planned), layout, size)


def check_expectations(planned: Plan, expect: Expect) -> None:
    """`GateError` for the first expectation that the plan does not meet."""
    by_part = {p.part.name: len(p.rows) for p in planned.parts}
    claims: list[tuple[str, int | None, int | None]] = [
        ("rows", expect.rows, planned.rows),
        ("tokens", expect.tokens, planned.tokens),
        *((f"parts.{name}", rows, by_part.get(name)) for name, rows in expect.parts.items()),
    ]
    for key, expected, found in claims:
        if expected is not None and expected != found:
            have = "none" if found is None else f"{found:,}"
            raise GateError(f"expect.{key}: {expected:,} expected, the mixture has {have}; nothing was written")


def _part_plan(c: _Columns, s: Selected, dest: I64) -> PartPlan:
    order = np.lexsort((s.copy, s.row))
    tokens = None if c.n_tokens is None else int(c.n_tokens[s.row].sum())
    return PartPlan(c.part, len(c.candidates.row), s.row[order], s.copy[order], dest[order], tokens)


def _kinds(parts: Sequence[Part]) -> str:
    return ", ".join(f"{p.name}: {p.version.kind}" for p in parts)


def _read_columns(part: Part) -> _Columns:
    take, version = part.take, part.version
    wanted = ["row_sha", "n_chars", "n_tokens", *([take.stratify] if take.stratify else [])]
    schema = SPECS[version.kind].schema
    if take.stratify and not _is_plain(schema, take.stratify):
        plain = ", ".join(f.name for f in schema if _is_plain(schema, f.name))
        raise RecipeError(f"mix.{part.name}.stratify: {take.stratify!r} is no plain column; one of {plain}")
    table = version.table(list(dict.fromkeys(wanted)))
    sha = digest_matrix(table["row_sha"])
    occurrence = occurrences(sha, _rank_of_ids(version, sha))
    n_tokens = table["n_tokens"].to_numpy() if table["n_tokens"].null_count == 0 else None
    kept = _where(part)
    candidates = Candidates(
        row=kept,
        sha=np.ascontiguousarray(sha[:, :8]).view("<u8").ravel()[kept],
        occurrence=occurrence[kept],
        n_tokens=None if n_tokens is None else n_tokens[kept],
        stratum=_codes(table[take.stratify])[kept] if take.stratify else None,
    )
    return _Columns(part, candidates, sha, occurrence, table["n_chars"].to_numpy(), n_tokens)


def _is_plain(schema: pa.Schema, column: str) -> bool:
    index = schema.get_field_index(column)
    return index >= 0 and not pa.types.is_nested(schema.field(index).type)


def _codes(column: pa.ChunkedArray) -> I64:
    indices = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
    codes: I64 = indices.to_numpy().astype(np.int64)
    return codes


def _rank_of_ids(version: Version, sha: npt.NDArray[np.uint8]) -> I64:
    """Orders equal rows by id, so that which of them counts as first does not depend on where they stand."""
    rank = np.zeros(len(sha), np.int64)
    words = np.ascontiguousarray(sha[:, :8]).view("<u8").ravel()
    _, inverse, counts = np.unique(words, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(counts[inverse] > 1)
    if len(repeated):
        ids = version.table(["id"])["id"].take(pa.array(repeated))
        rank[repeated] = pc.rank(ids, tiebreaker="first").to_numpy()
    return rank


def _where(part: Part) -> I64:
    """Ordinals of the rows that the part's predicate keeps; all of them without one."""
    if part.take.where is None:
        return np.arange(part.version.rows, dtype=np.int64)
    import polars as pl

    place = f"mix.{part.name}.where"
    try:
        predicate = pl.sql_expr(part.take.where).alias("keep")
        scan = pl.scan_parquet(part.version.shards, glob=False, hive_partitioning=False)
        # with_columns, not select: a predicate without columns (`true`) must give a value for every row.
        frame = scan.with_columns(predicate).select("keep").collect(engine="streaming")
    except pl.exceptions.PolarsError as e:
        reason = str(e).splitlines()[0]
        raise RecipeError(f"{place}: {part.take.where!r} cannot be evaluated ({reason}); see the row columns") from None
    if frame["keep"].dtype != pl.Boolean:
        raise RecipeError(f"{place}: {part.take.where!r} gives {frame['keep'].dtype}, not true or false")
    return np.flatnonzero(frame["keep"].fill_null(False).to_numpy()).astype(np.int64)


def _weighted_rows(columns: Sequence[_Columns], size: Size | None, seed: int) -> dict[str, int]:
    """Rows for each part with a weight, out of what the other parts leave of the mixture's size.

    Without a size the mixture is the largest that keeps the weights and repeats no row beyond its `repeat`.
    """
    weighted = [c for c in columns if c.part.take.weight is not None]
    if not weighted:
        if size is not None:
            raise RecipeError("size: no part has a weight to share it out by; use {weight: W}, or leave 'size' out")
        return {}
    weights = {c.part.name: exact(c.part.take.weight or 0) for c in weighted}
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    if size is not None and size.tokens is not None:
        return _rows_for_token_shares(columns, shares, size.tokens, seed)
    available = {c.part.name: len(c.candidates.row) * c.part.take.repeat for c in weighted}
    if size is None:
        empty = sorted(name for name, rows in available.items() if rows == 0)
        if empty:
            raise RecipeError(f"mix.{empty[0]}.weight: the source is empty, so no rows keep the weights; leave it out")
        budget = min(available[name] / share for name, share in shares.items())
        return {name: int(budget * share) for name, share in shares.items()}
    rest = (size.rows or 0) - sum(_fixed(c, seed) for c in columns if c.part.take.weight is None)
    if rest < 0:
        raise RecipeError(f"size.rows: {size.rows:,} is less than the {(size.rows or 0) - rest:,} of the other parts")
    return _apportion(rest, shares)


def _fixed(c: _Columns, seed: int) -> int:
    return len(_choose(c, seed, None).row)


def _choose(c: _Columns, seed: int, rows: int | None) -> Selected:
    name = c.part.name
    return select(c.candidates, c.part.take, rows=rows, seed=seed, source=name, place=f"mix.{name}")


def _rows_for_token_shares(
    columns: Sequence[_Columns], shares: Mapping[str, Fraction], tokens: int, seed: int
) -> dict[str, int]:
    fixed = 0
    for c in columns:
        if c.n_tokens is None:
            raise RecipeError(f"size.tokens: {c.part.name} has no token counts; set 'tokenizer' (words/1 is built in)")
        if c.part.name not in shares:
            fixed += int(c.n_tokens[_choose(c, seed, None).row].sum())
    if fixed > tokens:
        raise RecipeError(f"size.tokens: {tokens:,} is less than the {fixed:,} of the other parts")
    rows = {}
    for c in columns:
        if c.part.name in shares:
            budget = int((tokens - fixed) * shares[c.part.name])
            available = 0 if c.candidates.n_tokens is None else int(c.candidates.n_tokens.sum()) * c.part.take.repeat
            if budget > available:
                raise RecipeError(
                    f"mix.{c.part.name}.weight: its share is {budget:,} tokens, the source has {available:,}; "
                    "lower size.tokens or the weight, or raise 'repeat'"
                )
            by_tokens = c.part.take.model_copy(update={"weight": None, "tokens": budget})
            rows[c.part.name] = len(_choose(c._replace(part=c.part._replace(take=by_tokens)), seed, None).row)
    return rows


def _apportion(total: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole numbers that sum to `total`, by largest remainder; ties go to the earlier name."""
    due = {name: total * share for name, share in shares.items()}
    rows = {name: int(x) for name, x in due.items()}
    by_remainder = sorted(shares, key=lambda name: (rows[name] - due[name], name))
    for name in by_remainder[: total - sum(rows.values())]:
        rows[name] += 1
    return rows


def _destinations(columns: Sequence[_Columns], chosen: Sequence[Selected], seed: int) -> I64:
    """The place in the mixture of every chosen row, in the order of the parts: a permutation."""
    shas = np.concatenate([c.sha[s.row] for c, s in zip(columns, chosen, strict=True)])
    # Equal rows, of whatever part and copy, get different keys: they must not stand side by side.
    tie = np.concatenate(
        [s.copy * (len(c.sha) + 1) + c.occurrence[s.row] for c, s in zip(columns, chosen, strict=True)]
    )
    part = np.repeat(np.arange(len(columns)), [len(s.row) for s in chosen])
    rank = np.empty(len(shas), np.int64)
    rank[np.lexsort((tie, part))] = np.arange(len(shas))
    occurrence = occurrences(shas, rank)
    words = np.ascontiguousarray(shas[:, :8]).view("<u8").ravel()
    order = np.lexsort((occurrence, words, keys(words, occurrence, salt(seed, "order"))))
    dest = np.empty(len(shas), np.int64)
    dest[order] = np.arange(len(shas))
    return dest


# ------------------------------------------------------------ moving the rows


class _Job(NamedTuple):
    """One row group of one part."""

    part: PartPlan
    path: Path
    group: int
    start: int  # ordinal of its first row
    rows: int


class _Spill:
    """Rows on their way, in one Arrow stream per bucket of consecutive shards."""

    def __init__(self, folder: Path, schema: pa.Schema, bounds: I64) -> None:
        folder.mkdir()
        self.bounds = bounds  # first destination of each bucket, and the end
        self.paths = [folder / f"{i:05d}.arrows" for i in range(len(bounds) - 1)]
        self._writers = [pa.ipc.new_stream(path, schema) for path in self.paths]
        self._locks = [Lock() for _ in self.paths]

    def append(self, table: pa.Table, dest: I64) -> None:
        """Adds rows sorted by `dest`."""
        cuts = np.searchsorted(dest, self.bounds)
        for i in np.flatnonzero(np.diff(cuts)):
            with self._locks[i]:
                self._writers[i].write_table(table.slice(cuts[i], cuts[i + 1] - cuts[i]))

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def write(planned: Plan, build: Build, *, workers: int, progress: Progress) -> tuple[list[ShardInfo], Tally]:
    """Writes the shards of a plan into a build, and counts what was written."""
    shards_per_bucket = -(-len(planned.layout) // MAX_SPILL_FILES)
    buckets = [
        range(i, min(i + shards_per_bucket, len(planned.layout)))
        for i in range(0, len(planned.layout), shards_per_bucket)
    ]
    ends = np.cumsum([0] + [sum(groups) for groups in planned.layout])
    bounds = np.array([ends[b.start] for b in buckets] + [ends[-1]], np.int64)
    schema = SPECS[planned.kind].schema.append(pa.field(DEST, pa.int64()))
    spill = _Spill(build.folder / "spill", schema, bounds)
    with ThreadPoolExecutor(workers) as pool:
        with progress.task("scatter", planned.rows) as advance:
            for _ in pool.map(lambda job: _scatter(job, spill, advance), _jobs(planned)):
                pass
        spill.close()
        with progress.task("gather", planned.rows) as advance:
            written = list(
                pool.map(
                    lambda i: _gather(planned, build.data, spill.paths[i], buckets[i], int(bounds[i]), advance),
                    range(len(buckets)),
                )
            )
    shards, tally = [], Tally()
    for shard, counted in (pair for bucket in written for pair in bucket):
        shards.append(shard)
        tally.merge(counted)
    spill.paths[0].parent.rmdir()
    return shards, tally


def _jobs(planned: Plan) -> Iterator[_Job]:
    for part in planned.parts:
        start = 0
        for path in part.part.version.shards:
            metadata = pq.read_metadata(path)
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                yield _Job(part, path, group, start, rows)
                start += rows


def _scatter(job: _Job, spill: _Spill, advance: Advance) -> None:
    first, last = np.searchsorted(job.part.rows, [job.start, job.start + job.rows])
    if first == last:
        return
    dest = job.part.dest[first:last]
    order = np.argsort(dest)
    with pq.ParquetFile(job.path) as file:
        table = file.read_row_group(job.group, use_threads=False)
    # A row group that counts many times over is moved in pieces no larger than itself.
    for begin in range(0, len(order), job.rows):
        piece = order[begin : begin + job.rows]
        rows = table.take(pa.array(job.part.rows[first:last][piece] - job.start))
        if job.part.part.take.repeat > 1:
            rows = _with_copies(rows, job.part.copy[first:last][piece], job.part.part.take.repeat)
        spill.append(rows.append_column(DEST, pa.array(dest[piece])), dest[piece])
        advance(len(piece))


def _with_copies(table: pa.Table, copy: I64, repeat: int) -> pa.Table:
    """Numbers the copies. What was copy c of a row becomes copies c·repeat, c·repeat + 1, … so all stay distinct."""
    prov = table["prov"].combine_chunks()
    before = pc.fill_null(pc.struct_field(prov, "copy"), 0).to_numpy().astype(np.int64)
    names = [f.name for f in prov.type]
    fields = [pa.array(before * repeat + copy, pa.int32()) if n == "copy" else pc.struct_field(prov, n) for n in names]
    return table.set_column(
        table.schema.get_field_index("prov"), "prov", pa.StructArray.from_arrays(fields, fields=list(prov.type))
    )


def _gather(
    planned: Plan, folder: Path, spilled: Path, bucket: range, start: int, advance: Advance
) -> list[tuple[ShardInfo, Tally]]:
    written = []
    for i in bucket:
        end = start + sum(planned.layout[i])
        groups = _in_order(_spilled_rows(spilled, start, end), planned.layout[i], advance)
        written.append(write_shard(folder / shard_name(i, len(planned.layout)), planned.kind, groups))
        start = end
    spilled.unlink()
    return written


def _spilled_rows(path: Path, start: int, end: int) -> pa.Table:
    """The rows of a spill file that go to the places `start` to `end`, in the order they came."""
    found = []
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_stream(source)
        for batch in reader:
            first, last = np.searchsorted(batch[DEST].to_numpy(), [start, end])
            found.append(batch.slice(first, last - first))
        return pa.Table.from_batches(found, reader.schema).combine_chunks()


def _in_order(table: pa.Table, sizes: Sequence[int], advance: Advance) -> Iterator[pa.Table]:
    order = np.argsort(table[DEST].to_numpy())
    table = table.drop_columns([DEST])
    begin = 0
    for size in sizes:
        yield table.take(pa.array(order[begin : begin + size]))
        begin += size
        advance(size)


# ------------------------------------------------------------ lineage


def _inputs(parts: Sequence[Part]) -> list[Input]:
    seen: dict[tuple[str, str], Input] = {}
    for part in parts:
        for given in part.version.manifest.inputs:
            seen.setdefault((given.uri, given.sha256), given)
    return list(seen.values())


def _tokenizer(parts: Sequence[Part]) -> str | None:
    names = {p.version.manifest.tokenizer for p in parts}
    return names.pop() if len(names) == 1 else None


def _step(planned: Plan) -> Step:
    params: dict[str, Any] = defaultdict(dict)
    params["seed"] = planned.seed
    if planned.size:
        params["size"] = planned.size.model_dump(exclude_none=True)
    for p in planned.parts:
        params["parts"][p.part.name] = {
            "take": p.part.take.model_dump(exclude_defaults=True),
            "available": p.available,
            "rows": len(p.rows),
            "tokens": p.tokens,
        }
    return Step(
        name="mix",
        params=dict(params),
        rows_in=sum(p.part.version.rows for p in planned.parts),
        rows_out=planned.rows,
        parents=[p.part.version.ref for p in planned.parts],
    )
