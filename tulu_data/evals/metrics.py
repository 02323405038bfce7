"""Metrics over samples: one value for each instance, then their aggregate with its standard error.

| metric | an instance's value | aggregate |
|---|---|---|
| `mean`, `win_rate` | the mean score of its samples | the mean |
| `macro` | the same | the mean of its subsets' means |
| `pass_at_10` | the chance that one of 10 samples is right, estimated from all | the mean |
| `mc2` | the probability of its right options, as scored | the mean |

Standard errors are closed form: the deviation of the instances' values over the root of their number, so several
samples of one instance count as one observation (clustered by instance). For `macro` the subsets are fixed and their
errors are independent: the root of the summed squares over the number of subsets; a subset of one instance takes the
variance within the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.errors import InputError
from tulu_data.evals.task import Metric

F64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PASS_K = 10  # of 20 samples; arXiv 2411.15124, Table 24


class Estimate(NamedTuple):
    """An aggregate, 0 to 1, over `n` instances; None where there is none.

    stderr: None where the instances are too few to say. undecided: instances without a value, left out. empty: subsets
    of which no instance was left, which the macro mean leaves out.
    """

    value: float | None
    stderr: float | None
    n: int
    undecided: int = 0
    empty: tuple[str, ...] = ()


class Values(NamedTuple):
    """A value for each instance, NaN where its samples could not be judged, in the order of the samples.

    values: `(instances,)`. stratum: `(instances,)` index into `strata`, the subsets; one of all unless the metric is
    macro.
    """

    ids: tuple[str, ...]
    values: F64
    stratum: npt.NDArray[np.int64]
    strata: tuple[str, ...]


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that at least one of k samples is right, of so many drawn without return; arXiv 2107.03374, eq. 1.

    `ValueError` where there are fewer than k.

    >>> pass_at_k(4, 2, 1)
    0.5
    """
    if samples < k:
        raise ValueError(f"pass@{k} of {samples} samples")
    missed = 1.0
    for i in range(k):  # the product form: binomials of many samples overflow a float
        missed *= max(0, samples - right - i) / (samples - i)
    return 1.0 - missed


def values_of(samples: pa.Table, metric: Metric, *, k: int = PASS_K) -> Values:
    """One value for each instance of a task's samples (`SAMPLES`).

    Samples that could not be judged are left out of their instance; with fewer than k left for pass@k, or none, it has
    no value. `InputError` where the metric is macro and an instance has no subset.
    """
    scores: defaultdict[str, list[float]] = defaultdict(list)
    subset_of: dict[str, str | None] = {}
    columns = (samples[name].to_pylist() for name in ("instance_id", "subset", "score"))
    for instance, subset, score in zip(*columns, strict=True):
        subset_of[instance] = subset
        if score is not None:
            scores[instance].append(score)
    ids = tuple(subset_of)
    if metric == "macro" and (bare := next((i for i in ids if subset_of[i] is None), None)) is not None:
        raise InputError(f"instance {bare!r}: has no subset, which a macro mean needs")
    strata = tuple(dict.fromkeys(str(s) for s in subset_of.values())) if metric == "macro" else ("all",)
    place = {name: i for i, name in enumerate(strata)}
    stratum = [place[str(subset_of[i])] if metric == "macro" else 0 for i in ids]
    values = [_value(scores[i], metric, k) for i in ids]
    return Values(ids, np.array(values, np.float64), np.array(stratum, np.int64), strata)


def _value(scores: Sequence[float], metric: Metric, k: int) -> float:
    if metric == "pass_at_10":
        return pass_at_k(len(scores), sum(s >= 1.0 for s in scores), k) if len(scores) >= k else float("nan")
    return sum(scores) / len(scores) if scores else float("nan")


def aggregate(values: Values, chosen: Bools | None = None) -> Estimate:
    """The aggregate over all instances, or those that are `chosen`, `(instances,)`."""
    wanted = np.ones(len(values.ids), np.bool_) if chosen is None else chosen
    decided = wanted & ~np.isnan(values.values)
    undecided = int(wanted.sum() - decided.sum())
    count = np.bincount(values.stratum[decided], minlength=len(values.strata))
    there = count > 0
    empty = tuple(name for name, has in zip(values.strata, there, strict=True) if not has)
    if not there.any():
        return Estimate(None, None, 0, undecided, empty if len(values.strata) > 1 else ())
    kept = values.values[decided]
    of = values.stratum[decided]
    size = np.maximum(count, 1)
    means = np.bincount(of, kept, len(values.strata)) / size
    squares = np.bincount(of, np.square(kept - means[of]), len(values.strata)).astype(np.float64)
    return Estimate(
        float(means[there].mean()), _stderr(squares[there], count[there]), int(count.sum()), undecided, empty
    )


def _stderr(squares: F64, count: npt.NDArray[np.int64]) -> float | None:
    """Of the mean of strata, from their sums of squared deviations and their sizes."""
    if not (count > 1).any():
        return None
    within = squares.sum() / (count - 1).sum()
    variance = np.where(count > 1, squares / np.maximum(count - 1, 1), within)
    return float(sqrt((variance / count).sum()) / len(count))


def estimate(
    samples: pa.Table, metric: Metric, instances: Collection[str] | None = None, *, k: int = PASS_K
) -> Estimate:
    """The metric over a task's samples, or over those of some instances; see `values_of` and `aggregate`."""
    values = values_of(samples, metric, k=k)
    if instances is None:
        return aggregate(values)
    wanted = set(instances)
    return aggregate(values, np.array([i in wanted for i in values.ids], np.bool_))


def average(columns: Sequence[Estimate]) -> Estimate:
    """The plain mean of columns that have a value, as the paper averages; their errors are independent.

    `n` counts the columns, `undecided` those without a value.
    """
    known = [(c.value, c.stderr) for c in columns if c.value is not None]
    if not known:
        return Estimate(None, None, 0, len(columns))
    errors = [error for _, error in known if error is not None]
    stderr = sqrt(sum(e * e for e in errors)) / len(known) if len(errors) == len(known) else None
    return Estimate(sum(value for value, _ in known) / len(known), stderr, len(known), len(columns) - len(known))


class Difference(NamedTuple):
    """Two estimates apart: `value` = first − second, its error, and the value in units of it (None without error)."""

    value: float | None
    stderr: float | None
    z: float | None


class Gap(NamedTuple):
    """The aggregate of some instances − that of others, over the `strata` that have both."""

    difference: Difference
    strata: tuple[str, ...]


def gap(values: Values, first: Bools, second: Bools) -> Gap:
    """How far apart the sides are within the strata that have instances of both; `(instances,)` each.

    The error is that of the permutation distribution, in closed form: what the gap would vary by if its sides were
    dealt out at random within each stratum. So it takes a stratum's variance over both sides together, and holds for a
    side of a few instances, or of equal values, whose own variance says nothing. z is then about normal with 10
    instances or more on either side.
    """
    sides = [side & ~np.isnan(values.values) for side in (first, second)]
    counts = np.array([np.bincount(values.stratum[side], minlength=len(values.strata)) for side in sides])
    shared: Bools = np.minimum(counts[0], counts[1]) > 0
    names = tuple(name for name, both in zip(values.strata, shared, strict=True) if both)
    if not names:
        return Gap(Difference(None, None, None), ())
    means = [_means(values, side) for side in sides]
    either = sides[0] | sides[1]
    deviations = np.square(values.values[either] - _means(values, either)[values.stratum[either]])
    squares = np.bincount(values.stratum[either], deviations, len(values.strata))
    variance = squares[shared] / (counts.sum(axis=0)[shared] - 1) * (1 / counts[:, shared]).sum(axis=0)
    stderr = float(sqrt(variance.sum()) / len(names))
    return Gap(difference(float((means[0] - means[1])[shared].mean()), stderr), names)


def _means(values: Values, chosen: Bools) -> F64:
    """`(strata,)`; 0 where nothing is chosen."""
    of, size = values.stratum[chosen], len(values.strata)
    sums = np.bincount(of, values.values[chosen], size)
    return np.asarray(sums / np.maximum(np.bincount(of, minlength=size), 1), np.float64)


def difference(value: float, stderr: float | None) -> Difference:
    """A value with its error and its z."""
    return Difference(value, stderr, value / stderr if stderr else None)
