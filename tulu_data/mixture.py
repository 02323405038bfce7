"""Versions → a mixture: choose rows by hash rank, order them by a second key, and let `shuffle` write them.

The plan holds no text: first words of digests, lengths and ordinals, about 70 bytes a row while it is made and 16
thereafter. Full digests and ids are read only of rows whose first word repeats.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from tulu_data.errors import GateError, RecipeError
from tulu_data.manifest import Input, Origin, Step
from tulu_data.parquet import shard_layout
from tulu_data.progress import Progress, Silent
from tulu_data.rows import SPECS, Kind, digest_matrix
from tulu_data.shuffle import Moves, write
from tulu_data.store import Store, Version
from tulu_data.strict import Strict
from tulu_data.take import Candidates, Selected, Take, exact, keys, occurrences, ranked, repeated, salt, select

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


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
        """Tokens of the mixture, where every part has them counted, and by one tokenizer."""
        counts = [p.tokens for p in self.parts]
        if None in counts or len({p.part.version.manifest.tokenizer for p in self.parts}) > 1:
            return None
        return sum(c for c in counts if c is not None)


class _Columns(NamedTuple):
    """What the plan needs of one part; of every row of the version, but for `kept`."""

    part: Part
    kept: I64 | None  # ordinals of the rows that the predicate keeps; None: all
    words: U64  # first 8 bytes of the row digest
    occurrence: I64
    n_chars: I64
    n_tokens: I64 | None
    stratum: I64 | None

    @property
    def available(self) -> int:
        """Rows that may be taken."""
        return len(self.words if self.kept is None else self.kept)

    def candidates(self) -> Candidates:
        """The rows that may be taken."""
        if self.kept is None:
            row = np.arange(len(self.words), dtype=np.int64)
            return Candidates(row, self.words, self.occurrence, self.n_tokens, self.stratum)
        return Candidates(
            row=self.kept,
            sha=self.words[self.kept],
            occurrence=self.occurrence[self.kept],
            n_tokens=None if self.n_tokens is None else self.n_tokens[self.kept],
            stratum=None if self.stratum is None else self.stratum[self.kept],
        )


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
        shards, tally = write(
            [Moves(p.part.version, p.rows, p.copy, p.dest, p.part.take.repeat) for p in planned.parts],
            planned.layout,
            planned.kind,
            build,
            workers=workers,
            progress=progress,
        )
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
    _check_parts(parts, size)
    columns = [_read_columns(part) for part in sorted(parts, key=lambda p: p.name)]
    shares = _weighted_rows(columns, size, seed)
    chosen = [_choose(c, seed, shares.get(c.part.name)) for c in columns]
    dest = np.split(_destinations(columns, chosen, seed), np.cumsum([len(s.row) for s in chosen])[:-1])
    n_chars = np.empty(sum(map(len, dest)), np.int64)
    for c, s, places in zip(columns, chosen, dest, strict=True):
        n_chars[places] = c.n_chars[s.row]
    planned = tuple(_part_plan(c, s, places) for c, s, places in zip(columns, chosen, dest, strict=True))
    layout = tuple(tuple(groups) for groups in shard_layout(n_chars))
    return Plan(parts[0].version.kind, seed, planned, layout, size)


def _check_parts(parts: Sequence[Part], size: Size | None) -> None:
    if not parts:
        raise RecipeError("mix: has no parts; name at least one source")
    kinds = {p.version.kind for p in parts}
    if len(kinds) > 1:
        found = ", ".join(f"{p.name}: {p.version.kind}" for p in parts)
        raise RecipeError(f"mix: parts are of different kinds ({found}); a mixture holds one kind")
    repeated_names = sorted(name for name, n in Counter(p.name for p in parts).items() if n > 1)
    if repeated_names:
        raise RecipeError(f"mix: part {repeated_names[0]!r} appears twice; give it one take, or use 'repeat'")
    by_tokens = size is not None and size.tokens is not None
    counted = [p for p in parts if p.version.manifest.logical.tokens is not None]
    counted = [p for p in counted if by_tokens or p.take.tokens is not None]
    if len({p.version.manifest.tokenizer for p in counted}) > 1:
        found = ", ".join(f"{p.name}: {p.version.manifest.tokenizer or 'unknown'}" for p in counted)
        raise RecipeError(f"mix: parts count tokens with different tokenizers ({found}); ingest them with one")


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
    order = ranked(s.row, s.copy)
    tokens = None if c.n_tokens is None else int(c.n_tokens[s.row].sum())
    copy = s.copy[order] if c.part.take.repeat > 1 else s.copy
    return PartPlan(c.part, c.available, s.row[order], copy, dest[order], tokens)


def _read_columns(part: Part) -> _Columns:
    stratify, version = part.take.stratify, part.version
    schema = SPECS[version.kind].schema
    if stratify and not _is_plain(schema, stratify):
        plain = ", ".join(f.name for f in schema if _is_plain(schema, f.name))
        raise RecipeError(f"mix.{part.name}.stratify: {stratify!r} is no plain column; one of {plain}")
    words, n_chars, n_tokens = _words_and_lengths(version)
    return _Columns(
        part=part,
        kept=None if part.take.where is None else _where(part, part.take.where),
        words=words,
        occurrence=_occurrence_in_version(version, words),
        n_chars=n_chars,
        n_tokens=n_tokens,
        stratum=_codes(version.table([stratify])[stratify]) if stratify else None,
    )


def _words_and_lengths(version: Version) -> tuple[U64, I64, I64 | None]:
    """First words of the digests, characters, and tokens where every row has them counted."""
    words = np.empty(version.rows, np.uint64)
    n_chars, n_tokens = np.empty((2, version.rows), np.int64)
    counted, start = True, 0
    for batch in version.batches(["row_sha", "n_chars", "n_tokens"]):
        end = start + len(batch)
        words[start:end] = digest_matrix(batch["row_sha"]).view("<u8")[:, 0]
        n_chars[start:end] = batch["n_chars"].to_numpy()
        counted = counted and batch["n_tokens"].null_count == 0
        if counted:
            n_tokens[start:end] = batch["n_tokens"].to_numpy()
        start = end
    return words, n_chars, n_tokens if counted else None


def _occurrence_in_version(version: Version, words: U64) -> I64:
    """Counts equal rows by id, so that which of them is the first does not depend on where they stand."""
    occurrence = np.zeros(len(words), np.int64)
    rows = repeated(words)
    if len(rows):
        rank = pc.rank(_picked(version, "id", rows), tiebreaker="first").to_numpy().astype(np.int64)
        occurrence[rows] = occurrences(digest_matrix(_picked(version, "row_sha", rows)), rank)
    return occurrence


def _picked(version: Version, column: str, rows: I64) -> pa.ChunkedArray:
    """The values of a column at ascending ordinals."""
    found = []
    start = 0
    for batch in version.batches([column]):
        first, last = np.searchsorted(rows, [start, start + len(batch)])
        found.append(batch[column].take(pa.array(rows[first:last] - start)))
        start += len(batch)
    return pa.chunked_array(found)


def _is_plain(schema: pa.Schema, column: str) -> bool:
    index = schema.get_field_index(column)
    return index >= 0 and not pa.types.is_nested(schema.field(index).type)


def _codes(column: pa.ChunkedArray) -> I64:
    indices = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
    codes: I64 = indices.to_numpy().astype(np.int64)
    return codes


def _where(part: Part, where: str) -> I64:
    """Ordinals of the rows that the predicate keeps."""
    import polars as pl

    place = f"mix.{part.name}.where"
    try:
        predicate = pl.sql_expr(where).alias("keep")
        scan = pl.scan_parquet(part.version.shards, glob=False, hive_partitioning=False)
        # with_columns, not select: a predicate without columns (`true`) must give a value for every row.
        frame = scan.with_columns(predicate).select("keep").collect(engine="streaming")
    except pl.exceptions.PolarsError as e:
        reason = str(e).splitlines()[0]
        raise RecipeError(f"{place}: {where!r} cannot be evaluated ({reason}); see the row columns") from None
    if frame["keep"].dtype != pl.Boolean:
        raise RecipeError(f"{place}: {where!r} gives {frame['keep'].dtype}, not true or false")
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
    available = {c.part.name: c.available * c.part.take.repeat for c in weighted}
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
    return select(c.candidates(), c.part.take, rows=rows, seed=seed, source=name, place=f"mix.{name}")


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
            counts = c.candidates().n_tokens
            available = 0 if counts is None else int(counts.sum()) * c.part.take.repeat
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
    words = np.concatenate([c.words[s.row] for c, s in zip(columns, chosen, strict=True)])
    occurrence = np.zeros(len(words), np.int64)
    rows = repeated(words)
    if len(rows):
        occurrence[rows] = _occurrence_in_mixture(columns, chosen, rows)
    order = ranked(keys(words, occurrence, salt(seed, "order")), words, occurrence)
    dest = np.empty(len(words), np.int64)
    dest[order] = np.arange(len(words))
    return dest


def _occurrence_in_mixture(columns: Sequence[_Columns], chosen: Sequence[Selected], rows: I64) -> I64:
    """Counts equal rows, of whatever part and copy: with different keys they do not stand side by side.

    `rows`: ascending ordinals in the concatenation of what was chosen.
    """
    shas, ties = [], []
    start = 0
    for c, s in zip(columns, chosen, strict=True):
        first, last = np.searchsorted(rows, [start, start + len(s.row)])
        mine = rows[first:last] - start
        ordinals, inverse = np.unique(s.row[mine], return_inverse=True)
        shas.append(digest_matrix(_picked(c.part.version, "row_sha", ordinals))[inverse])
        ties.append(s.copy[mine] * (len(c.words) + 1) + c.occurrence[s.row[mine]])
        start += len(s.row)
    part = np.repeat(np.arange(len(ties)), [len(t) for t in ties])
    rank = np.empty(len(rows), np.int64)
    rank[np.lexsort((np.concatenate(ties), part))] = np.arange(len(rows))
    return occurrences(np.concatenate(shas), rank)


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
