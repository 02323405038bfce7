"""How much of a source goes into a mixture: a tagged union, so that `1` and `1.0` cannot be confused.

Every choice is a rank by hash: key = splitmix64(row digest ^ H(seed, source)), and n rows are the n smallest keys.
So a selection survives permuted, re-sharded and appended rows, and n → n + 1 is a superset.
"""

from __future__ import annotations

import math
from fractions import Fraction
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, model_validator

from tulu_data.errors import RecipeError
from tulu_data.strict import Strict

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

AMOUNTS = ("all", "count", "fraction", "tokens", "weight")
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's increment; Steele et al., OOPSLA 2014


class Take(Strict):
    """One of `all`, `count`, `fraction`, `tokens`, `weight`, and what modifies it."""

    # Strict: `count: true` is not one row, `all: 0` not every row, `count: 1.0` not a fraction.
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    all: bool | None = Field(default=None, description="every row")
    count: int | None = Field(default=None, ge=0, description="this many rows")
    fraction: float | None = Field(default=None, ge=0, le=1, description="this share of the rows, rounded half up")
    tokens: int | None = Field(default=None, ge=0, description="rows up to this many tokens")
    weight: float | None = Field(default=None, gt=0, description="a share of the mixture's size, by weight")
    repeat: int = Field(default=1, ge=1, description="the source counts this many times over")
    cap: int | None = Field(default=None, ge=0, description="at most this many rows")
    floor: int | None = Field(default=None, ge=0, description="at least this many rows")
    of: str | None = Field(
        default=None, description="the source these rows are of, where the part has a name of its own"
    )
    topic: str | None = Field(default=None, description="what these rows teach, where it is not what their source does")
    stratify: str | None = Field(default=None, description="a column whose values keep their shares")
    where: str | None = Field(default=None, description="an SQL predicate over the row columns")

    @model_validator(mode="before")
    @classmethod
    def _tagged(cls, data: object) -> object:
        if not isinstance(data, dict):
            raise ValueError(
                f"must say what it counts, got {data!r}; write {{all: true}}, {{count: N}}, {{fraction: F}}"
            )
        if not set(data) <= set(cls.model_fields):
            return data  # an unknown key may be the amount, misspelt: that is what the error must say
        given = [a for a in AMOUNTS if data.get(a) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"takes exactly one of {', '.join(AMOUNTS)}; found {found}")
        if data.get("all") is False:
            raise ValueError("all: false takes nothing; leave the source out of the mix")
        return data

    @model_validator(mode="after")
    def _possible(self) -> Take:
        if self.cap is not None and self.floor is not None and self.floor > self.cap:
            raise ValueError(f"floor {self.floor:,} is above cap {self.cap:,}; lower one or raise the other")
        return self

    @property
    def amount(self) -> str:
        """Which of the five it is."""
        return next(a for a in AMOUNTS if getattr(self, a) is not None)


class Candidates(NamedTuple):
    """The rows of one source that may be taken, as columns of equal length."""

    row: I64  # ordinal in the version
    sha: U64  # first 8 bytes of the row digest
    occurrence: I64  # 0 for the first of equal rows, 1 for the second, …
    n_tokens: I64 | None
    stratum: I64 | None


class Selected(NamedTuple):
    """Rows of one source, in hash rank: the ordinal in the version, and which copy of it."""

    row: I64
    copy: I64


def splitmix64(x: U64) -> U64:
    """The finaliser of splitmix64: a bijection of 64 bits that scatters its input. `(n,)` → `(n,)`."""
    with np.errstate(over="ignore"):
        x = x + GOLDEN
        x ^= x >> np.uint64(30)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(27)
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
        return x


def salt(seed: int, *purpose: str) -> np.uint64:
    """64 bits from the seed and what they are for."""
    text = "\0".join((str(seed), *purpose))
    return np.uint64(int.from_bytes(sha256(text.encode()).digest()[:8], "little"))


def keys(sha: U64, occurrence: I64, salted: np.uint64) -> U64:
    """The hash rank of rows: by digest, and for equal rows by occurrence, so that copies are scattered too."""
    with np.errstate(over="ignore"):
        return splitmix64((sha ^ salted) + occurrence.astype(np.uint64) * GOLDEN)


def select(candidates: Candidates, take: Take, *, rows: int | None, seed: int, source: str, place: str) -> Selected:
    """The rows that `take` asks for, smallest key first; for `weight`, `rows` says how many that is.

    Raises `RecipeError` at `place` where there are not enough.
    """
    n = len(candidates.row)
    key = keys(candidates.sha, candidates.occurrence, salt(seed, "select", source))
    order = ranked(key, candidates.sha, candidates.occurrence)
    if take.stratify:
        assert candidates.stratum is not None
        order = _stratified(order, candidates.stratum)
    wanted = _wanted(candidates, take, rows, order, place)
    if wanted > n * take.repeat:
        raise RecipeError(_too_few(take, wanted, n, place))
    if wanted <= n:
        return Selected(candidates.row[order[:wanted]], np.broadcast_to(np.int64(0), wanted))
    ranks = np.arange(wanted, dtype=np.int64)
    return Selected(candidates.row[order[ranks % n]], ranks // n)


def _wanted(candidates: Candidates, take: Take, rows: int | None, order: I64, place: str) -> int:
    n = len(candidates.row)
    match take.amount:
        case "all":
            wanted = n * take.repeat
        case "count":
            wanted = take.count or 0
        case "fraction":
            wanted = math.floor(exact(take.fraction or 0) * n * take.repeat + Fraction(1, 2))
        case "tokens":
            wanted = rows_for_tokens(candidates, order, take.tokens or 0, take.repeat, place)
        case _:
            assert rows is not None
            wanted = rows
    if take.cap is not None:
        wanted = min(wanted, take.cap)
    if take.floor is not None:
        wanted = max(wanted, take.floor)
    return wanted


def exact(number: float) -> Fraction:
    """The decimal number that was written: 0.145 of 100 rows is 14.5 rows, which binary floats miss."""
    return Fraction(repr(number))


def rows_for_tokens(candidates: Candidates, order: I64, tokens: int, repeat: int, place: str) -> int:
    """How many rows in `order` stay within `tokens`; `RecipeError` where all copies together have fewer tokens."""
    if candidates.n_tokens is None:
        raise RecipeError(f"{place}.tokens: the source has no token counts; set 'tokenizer' (words/1 is built in)")
    total = np.cumsum(candidates.n_tokens[order])
    once = int(total[-1]) if len(total) else 0
    available = once * repeat
    if tokens > available:
        raise RecipeError(
            f"{place}.tokens: {tokens:,} asked, the source has {available:,}"
            f"{f' in {repeat} repeats' if repeat > 1 else ''}; lower it or raise 'repeat'"
        )
    if tokens == available:
        return len(total) * repeat
    whole, rest = divmod(tokens, once)
    return whole * len(total) + int(np.searchsorted(total, rest, side="right"))


def _too_few(take: Take, wanted: int, n: int, place: str) -> str:
    key = take.amount if take.floor is None or take.floor != wanted else "floor"
    needed = -(-wanted // n) if n else 0
    remedy = f"lower it, or add 'repeat: {needed}'" if n else "the source is empty"
    times = f" × repeat {take.repeat}" if take.repeat > 1 else ""
    return f"{place}.{key}: {wanted:,} rows asked, the source has {n:,}{times}; {remedy}"


def _stratified(order: I64, stratum: I64) -> I64:
    """Reorders a ranking so that every beginning of it holds each stratum by its share.

    The k-th of m rows of a stratum (k from 0) stands at (k + 0.5) / m: taking one more row never drops another.
    """
    strata = stratum[order]
    by_stratum = np.argsort(strata, kind="stable")
    sizes = np.bincount(strata)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(order), np.int64)
    rank[by_stratum] = np.arange(len(order)) - starts[strata[by_stratum]]
    return order[np.lexsort((np.arange(len(order)), (rank + 0.5) / sizes[strata]))]


def ranked(first: U64 | I64, *others: U64 | I64) -> I64:
    """The order of rows by `first`, then by the others, then as they stand. `(n,)` each → `(n,)`.

    The others are looked at only where `first` repeats: two keys of 64 bits hardly ever are the same.
    """
    order = np.argsort(first)
    tied = _tied(first[order])
    if len(tied):
        rows = order[tied]
        order[tied] = rows[np.lexsort((rows, *(key[rows] for key in reversed(others)), first[rows]))]
    return order


def repeated(words: U64) -> I64:
    """The rows, ascending, whose word another row has too."""
    order = np.argsort(words)
    return np.sort(order[_tied(words[order])])


def _tied(ordered: U64 | I64) -> I64:
    """The places of a sorted array whose value also stands next to them."""
    same = ordered[1:] == ordered[:-1]
    tied = np.zeros(len(ordered), bool)
    tied[1:] = same
    tied[:-1] |= same
    return np.flatnonzero(tied)


def occurrences(sha: npt.NDArray[np.uint8], tie_break: npt.NDArray[np.int64]) -> I64:
    """For each row the number of equal rows before it, in the order of `tie_break`. `(n, 32)` bytes → `(n,)`."""
    result = np.zeros(len(sha), np.int64)
    rows = repeated(np.ascontiguousarray(sha[:, :8]).view(np.uint64).ravel())
    words = np.ascontiguousarray(sha[rows]).view(np.uint64)
    order = np.lexsort((tie_break[rows], words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
    ordered = words[order]
    new = np.ones(len(order), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    start = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    result[rows[order]] = np.arange(len(order)) - start
    return result
