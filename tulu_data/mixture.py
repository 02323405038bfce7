"""Versions → a mixture: choose rows by hash rank, order them by a second key, and let `shuffle` write them.

The plan holds no text, about 70 bytes a row while it is made and 16 thereafter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from tulu_data.errors import GateError, RecipeError
from tulu_data.manifest import Input, Origin, Step
from tulu_data.parquet import shard_layout
from tulu_data.part_columns import Part, PartColumns, picked, read_columns
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Kind, digest_matrix
from tulu_data.shares import Emphasis, apportion, check_share, shares_by_topic
from tulu_data.shuffle import Moves, write
from tulu_data.store import Store, Version
from tulu_data.strict import Strict
from tulu_data.take import AMOUNTS, Selected, Take, exact, keys, occurrences, ranked, repeated, salt, select

__all__ = ["Expect", "Part", "PartPlan", "Plan", "Size", "Topics", "check_expectations", "check_size", "mix", "plan"]

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Topics = Mapping[str, Emphasis]


class Size(Strict):
    """What the weighted parts share out, or with `scale` all parts: rows or tokens, of the whole mixture."""

    rows: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    scale: bool = Field(default=False, description="all parts grow or shrink to this size and keep their shares")

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
    asked: dict[str, int]  # {"rows": n}, or {"tokens": n} where the take or the mixture's size counts those
    chars: int
    tokens: int | None


@dataclass(frozen=True)
class Plan:
    """A mixture before it is written: which rows of which part stand where, and how they are cut into shards."""

    kind: Kind
    seed: int
    parts: tuple[PartPlan, ...]
    layout: tuple[tuple[int, ...], ...]  # per shard, rows per row group
    size: Size | None = None
    topics: Topics = field(default_factory=dict)

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


class _Share(NamedTuple):
    """What a part gives where its amount is a share: rows, and the tokens they stay within where those are shared."""

    rows: int
    tokens: int | None = None


def mix(
    store: Store,
    name: str,
    parts: Sequence[Part],
    *,
    seed: int = 0,
    size: Size | None = None,
    topics: Topics | None = None,
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
    planned = plan(parts, seed=seed, size=size, topics=topics)
    check_expectations(planned, expect or Expect())
    ordered = [p.part for p in planned.parts]
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
            inputs=_inputs(ordered),
            steps=[*(s for v in _versions(planned) for s in v.manifest.steps), _step(planned)],
            decontamination=[r for v in _versions(planned) for r in v.manifest.decontamination],
            tokenizer=_tokenizer(ordered),
            origin=origin,
        )


# ------------------------------------------------------------ planning


def plan(parts: Sequence[Part], *, seed: int = 0, size: Size | None = None, topics: Topics | None = None) -> Plan:
    """Which rows go where. Reads digests and lengths, no text."""
    _check_parts(parts, size, topics)
    columns = [read_columns(part) for part in sorted(parts, key=lambda p: p.name)]
    shares = _shares(columns, size, topics or {}, seed)
    chosen = [_choose(c, seed, shares.get(c.part.name)) for c in columns]
    _check_apart(columns, chosen)
    dest = np.split(_destinations(columns, chosen, seed), np.cumsum([len(s.row) for s in chosen])[:-1])
    n_chars = np.empty(sum(map(len, dest)), np.int64)
    for c, s, places in zip(columns, chosen, dest, strict=True):
        n_chars[places] = c.n_chars[s.row]
    planned = tuple(
        _part_plan(c, s, places, shares.get(c.part.name)) for c, s, places in zip(columns, chosen, dest, strict=True)
    )
    layout = tuple(tuple(groups) for groups in shard_layout(n_chars))
    return Plan(parts[0].version.kind, seed, planned, layout, size, topics or {})


def _check_parts(parts: Sequence[Part], size: Size | None, topics: Topics | None) -> None:
    if not parts:
        raise RecipeError("mix: has no parts; name at least one source")
    kinds = {p.version.kind for p in parts}
    if len(kinds) > 1:
        found = ", ".join(f"{p.name}: {p.version.kind}" for p in parts)
        raise RecipeError(f"mix: parts are of different kinds ({found}); a mixture holds one kind")
    repeated_names = sorted(name for name, n in Counter(p.name for p in parts).items() if n > 1)
    if repeated_names:
        raise RecipeError(f"mix: part {repeated_names[0]!r} appears twice; give it one take, or use 'repeat'")
    check_size({p.name: p.take for p in parts}, size, topics or {})
    by_tokens = size is not None and size.tokens is not None
    counted = [p for p in parts if p.version.manifest.logical.tokens is not None]
    counted = [p for p in counted if by_tokens or p.take.tokens is not None]
    if len({p.version.manifest.tokenizer for p in counted}) > 1:
        found = ", ".join(f"{p.name}: {p.version.manifest.tokenizer or 'unknown'}" for p in counted)
        raise RecipeError(f"mix: parts count tokens with different tokenizers ({found}); ingest them with one")


def _check_apart(columns: Sequence[PartColumns], chosen: Sequence[Selected]) -> None:
    """`RecipeError` where two parts of one version take the same row: it would stand in the mixture twice, unasked."""
    for (a, of_a), (b, of_b) in combinations(zip(columns, chosen, strict=True), 2):
        if a.part.version.ref != b.part.version.ref:
            continue
        twice = len(np.intersect1d(of_a.row, of_b.row))
        if twice:
            raise RecipeError(
                f"mix.{b.part.name}: takes {twice:,} rows that {a.part.name} takes too; give both a 'where' that parts "
                "them, or use 'repeat'"
            )


def check_size(takes: Mapping[str, Take], size: Size | None, topics: Topics) -> None:
    """`RecipeError` where the parts cannot share the size out, whatever they count."""
    weighted = next((name for name, take in takes.items() if take.weight is not None), None)
    if size is None:
        return
    if weighted is not None and size.scale:
        raise RecipeError(
            f"size.scale: mix.{weighted} has a weight, which shares the size out already; leave 'scale' out"
        )
    if weighted is None and not size.scale and not topics:
        raise RecipeError("size: no part has a weight to share it out by; use {weight: W}, or add 'scale: true'")


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


def _part_plan(c: PartColumns, s: Selected, dest: I64, share: _Share | None) -> PartPlan:
    order = ranked(s.row, s.copy)
    tokens = None if c.n_tokens is None else int(c.n_tokens[s.row].sum())
    copy = s.copy[order] if c.part.take.repeat > 1 else s.copy
    chars = int(c.n_chars[s.row].sum())
    return PartPlan(c.part, c.available, s.row[order], copy, dest[order], _asked(c.part.take, s, share), chars, tokens)


def _asked(take: Take, chosen: Selected, share: _Share | None) -> dict[str, int]:
    if share is not None:
        return {"rows": share.rows} if share.tokens is None else {"tokens": share.tokens}
    if take.tokens is not None:
        return {"tokens": take.tokens}
    return {"rows": len(chosen.row) if take.count is None else take.count}


def _shares(columns: Sequence[PartColumns], size: Size | None, topics: Topics, seed: int) -> dict[str, _Share]:
    """What parts give whose amount is a share: those with a weight, or all where topics or `scale` ask for it."""
    weighted = _by_weight(columns, size, seed)
    if not topics and not (size and size.scale):
        return weighted
    chosen = {c.part.name: _choose(c, seed, weighted.get(c.part.name)) for c in columns}
    by_tokens = size is not None and size.tokens is not None
    base = {
        c.part.name: _tokens(c, chosen[c.part.name]) if by_tokens else len(chosen[c.part.name].row) for c in columns
    }
    shares = shares_by_topic(base, {c.part.name: c.part.topic for c in columns}, topics)
    if size is not None and size.tokens is not None:
        return {c.part.name: _token_share(c, int(size.tokens * shares[c.part.name]), seed) for c in columns}
    rows = apportion(sum(base.values()) if size is None else size.rows or 0, shares)
    for c in columns:
        check_share(c.part.name, c.part.topic, rows[c.part.name], c.available, c.part.take.repeat)
    return {name: _Share(count) for name, count in rows.items()}


def _by_weight(columns: Sequence[PartColumns], size: Size | None, seed: int) -> dict[str, _Share]:
    """The share of each part with a weight, out of what the other parts leave of the mixture's size.

    Without a size the mixture is the largest that keeps the weights and repeats no row beyond its `repeat`.
    """
    weighted = [c for c in columns if c.part.take.weight is not None]
    if not weighted:
        return {}
    weights = {c.part.name: exact(c.part.take.weight or 0) for c in weighted}
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    if size is not None and size.tokens is not None:
        rest = size.tokens - sum(_tokens(c, _choose(c, seed, None)) for c in columns if c.part.name not in shares)
        if rest < 0:
            raise RecipeError(
                f"size.tokens: {size.tokens:,} is less than the {size.tokens - rest:,} of the other parts"
            )
        return {c.part.name: _token_share(c, int(rest * shares[c.part.name]), seed) for c in weighted}
    available = {c.part.name: c.available * c.part.take.repeat for c in weighted}
    if size is None:
        empty = sorted(name for name, rows in available.items() if rows == 0)
        if empty:
            raise RecipeError(f"mix.{empty[0]}.weight: the source is empty, so no rows keep the weights; leave it out")
        budget = min(available[name] / share for name, share in shares.items())
        return {name: _Share(int(budget * share)) for name, share in shares.items()}
    rest = (size.rows or 0) - sum(_fixed(c, seed) for c in columns if c.part.take.weight is None)
    if rest < 0:
        raise RecipeError(f"size.rows: {size.rows:,} is less than the {(size.rows or 0) - rest:,} of the other parts")
    return {name: _Share(rows) for name, rows in apportion(rest, shares).items()}


def _fixed(c: PartColumns, seed: int) -> int:
    return len(_choose(c, seed, None).row)


def _choose(c: PartColumns, seed: int, share: _Share | None) -> Selected:
    name, take = c.part.name, c.part.take
    if share is not None:
        take = take.model_copy(update=dict.fromkeys(AMOUNTS) | {"weight": 1.0})
    rows = share.rows if share else None
    return select(c.candidates(), take, rows=rows, seed=seed, source=name, place=f"mix.{name}")


def _tokens(c: PartColumns, chosen: Selected) -> int:
    if c.n_tokens is None:
        raise RecipeError(f"size.tokens: {c.part.name} has no token counts; set 'tokenizer' (words/1 is built in)")
    return int(c.n_tokens[chosen.row].sum())


def _token_share(c: PartColumns, budget: int, seed: int) -> _Share:
    """The rows of a part that stay within its share of the mixture's tokens."""
    take, counts = c.part.take, c.candidates().n_tokens
    if counts is None:
        raise RecipeError(f"size.tokens: {c.part.name} has no token counts; set 'tokenizer' (words/1 is built in)")
    check_share(c.part.name, c.part.topic, budget, int(counts.sum()), take.repeat, "tokens")
    by_tokens = take.model_copy(update=dict.fromkeys(AMOUNTS) | {"tokens": budget})
    return _Share(len(_choose(c._replace(part=c.part._replace(take=by_tokens)), seed, None).row), budget)


def _destinations(columns: Sequence[PartColumns], chosen: Sequence[Selected], seed: int) -> I64:
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


def _occurrence_in_mixture(columns: Sequence[PartColumns], chosen: Sequence[Selected], rows: I64) -> I64:
    """Counts equal rows, of whatever part and copy: with different keys they do not stand side by side.

    `rows`: ascending ordinals in the concatenation of what was chosen.
    """
    shas, ties = [], []
    start = 0
    for c, s in zip(columns, chosen, strict=True):
        first, last = np.searchsorted(rows, [start, start + len(s.row)])
        mine = rows[first:last] - start
        ordinals, inverse = np.unique(s.row[mine], return_inverse=True)
        shas.append(digest_matrix(picked(c.part.version, "row_sha", ordinals))[inverse])
        ties.append(s.copy[mine] * (len(c.words) + 1) + c.occurrence[s.row[mine]])
        start += len(s.row)
    part = np.repeat(np.arange(len(ties)), [len(t) for t in ties])
    rank = np.empty(len(rows), np.int64)
    rank[np.lexsort((np.concatenate(ties), part))] = np.arange(len(rows))
    return occurrences(np.concatenate(shas), rank)


# ------------------------------------------------------------ lineage


def _versions(planned: Plan) -> list[Version]:
    """The versions that were mixed, each once, in the order of the parts."""
    return list({p.part.version.ref: p.part.version for p in planned.parts}.values())


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
        params["size"] = planned.size.model_dump(exclude_defaults=True)
    if planned.topics:
        params["topics"] = {topic: e.model_dump(exclude_none=True) for topic, e in planned.topics.items()}
    versions = _versions(planned)
    starts = accumulate((len(v.manifest.steps) for v in versions), initial=0)
    first = {v.ref: start for v, start in zip(versions, starts, strict=False)}
    for p in planned.parts:
        described, start = p.part.version.manifest, first[p.part.version.ref]
        params["parts"][p.part.name] = {
            "take": p.part.take.model_dump(exclude_defaults=True),
            "topic": p.part.topic,
            "version": described.ref,
            "steps": [start, start + len(described.steps)],  # which of the steps before this one are the part's
            "sources": sorted(described.logical.sources),
            "available": p.available,
            "asked": p.asked,
            "rows": len(p.rows),
            "chars": p.chars,
            "tokens": p.tokens,
        }
    return Step(
        name="mix",
        params=dict(params),
        rows_in=sum(v.rows for v in _versions(planned)),
        rows_out=planned.rows,
        parents=[v.ref for v in _versions(planned)],
    )
