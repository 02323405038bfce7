"""Which pairs of an audit a person wants to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from decontam.result import Audit
from decontam.verdicts import LAYERS, Severity
from tulu_data.errors import UsageError, nearest

Marked = Literal["true", "false", "none"]
Bools = npt.NDArray[np.bool_]


class Filter(NamedTuple):
    """What pairs must have; what is None or False asks for nothing.

    layer: that fires. least, most: the highest of coverage, similarity of an edited copy, and cosine of meanings.
    text: that stands in the message, the instance, or the id of either, in whatever case.
    """

    set: str | None = None
    suite: str | None = None
    source: str | None = None
    layer: str | None = None
    severity: str | None = None
    mark: str | None = None
    counts: bool = False
    least: float | None = None
    most: float | None = None
    text: str | None = None

    def words(self) -> str:
        """The filter for people.

        >>> Filter(suite="gsm8k", least=0.5).words()
        'suite gsm8k, at least 0.5'
        """
        said = [f"{name} {value}" for name, value in self._asdict().items() if name in _NAMED and value]
        said += ["that count"] if self.counts else []
        said += [f"at least {self.least:g}"] if self.least is not None else []
        said += [f"at most {self.most:g}"] if self.most is not None else []
        return ", ".join([*said, *([f"with “{self.text}”"] if self.text else [])])


_NAMED = ("set", "suite", "source", "layer", "severity", "mark")


def choose(audit: Audit, wanted: Filter) -> list[int]:
    """The places among the audit's pairs of those that fit, those first that a person wants to see first.

    `UsageError` for a set, suite, source, layer, severity or mark that there is none of, with the nearest.
    """
    _check(audit, wanted)
    counts, degrees = audit.counts(), degrees_of(audit)
    fits = np.ones(len(audit.pairs), np.bool_)
    for column, value in (("set", wanted.set), ("suite", wanted.suite), ("row_source", wanted.source)):
        if value is not None:
            fits &= _equal(audit, column, value)
    if wanted.severity is not None:
        fits &= _equal(audit, "severity", wanted.severity)
    if wanted.layer is not None:
        fits &= fires(audit, wanted.layer)
    if wanted.mark == "none":
        fits &= audit.pairs["mark"].is_null().to_numpy(zero_copy_only=False)
    elif wanted.mark is not None:
        fits &= _equal(audit, "mark", wanted.mark)
    if wanted.counts:
        fits &= counts
    if wanted.least is not None:
        fits &= degrees >= wanted.least
    if wanted.most is not None:
        fits &= degrees <= wanted.most
    if wanted.text:
        fits &= _holds(audit, wanted.text)
    chosen = set(np.flatnonzero(fits).tolist())
    return [i for i in in_order(audit, counts, degrees) if i in chosen]


def in_order(audit: Audit, counts: Bools, degrees: npt.NDArray[np.float64]) -> list[int]:
    """Pairs in the order in which a person wants them: first those that count, leak an answer, are near, are long."""
    leaks = _equal(audit, "severity", "question+answer")
    tokens = audit.pairs["covered_tokens"].to_numpy()
    return np.lexsort((np.arange(len(counts)), -tokens, -degrees, ~leaks, ~counts)).tolist()  # type: ignore[no-any-return]


def degrees_of(audit: Audit) -> npt.NDArray[np.float64]:
    """`(pairs,)` how near each pair is: the highest of coverage, similarity of an edited copy, cosine of meanings."""
    columns = [np.nan_to_num(audit.pairs[c].to_numpy(), nan=0.0) for c in ("coverage", "fuzzy", "semantic")]
    return np.asarray(np.max(columns, axis=0), np.float64)


def fires(audit: Audit, layer: str) -> Bools:
    """`(pairs,)` whether a layer fires."""
    layers = audit.pairs["layers"].combine_chunks()
    of_pair = np.repeat(np.arange(len(layers)), layers.value_lengths().to_numpy(zero_copy_only=False))
    is_it = pc.equal(layers.flatten(), layer).to_numpy(zero_copy_only=False)
    return np.asarray(np.bincount(of_pair, is_it, len(layers)) > 0)


def _equal(audit: Audit, column: str, value: str) -> Bools:
    equal = pc.fill_null(pc.equal(audit.pairs[column], value), False)
    return np.asarray(equal.to_numpy(zero_copy_only=False), np.bool_)


def _holds(audit: Audit, text: str) -> Bools:
    wanted = text.lower()
    keys = ["set", "row_index", "column", "message"]
    messages = {
        k
        for k, t in zip(_tuples(audit.messages, keys), audit.messages["text"].to_pylist(), strict=True)
        if wanted in t.lower()
    }
    instances = {
        (i["suite"], i["instance_id"])
        for i in audit.instances.select(["suite", "instance_id", "fields"]).to_pylist()
        if any(wanted in f["text"].lower() for f in i["fields"])
    }
    rows = zip(
        _tuples(audit.pairs, keys),
        _tuples(audit.pairs, ["suite", "instance_id"]),
        _tuples(audit.pairs, ["row_id", "instance_id"]),
        strict=True,
    )
    held = [m in messages or i in instances or any(wanted in name.lower() for name in ids) for m, i, ids in rows]
    return np.array(held, np.bool_)


def _tuples(table: pa.Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(table[c].to_pylist() for c in columns), strict=True))


def _check(audit: Audit, wanted: Filter) -> None:
    known = {
        "set": list(audit.manifest["sets"]),
        "suite": [s["id"] for s in audit.manifest["suites"]],
        "source": sorted(set(audit.pairs["row_source"].to_pylist())) if wanted.source else [],
        "layer": list(LAYERS),
        "severity": list(get_args(Severity)),
        "mark": list(get_args(Marked)),
    }
    for name, names in known.items():
        value = getattr(wanted, name)
        if value is not None and value not in names:
            raise UsageError(f"audit {audit.id}: no {name} {value!r}; {nearest(value, names, noun=name)}")
