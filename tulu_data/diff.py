"""What changed between two versions: rows by content, their order, per source, and the parameters of the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tulu_data.errors import UsageError
from tulu_data.rows import DIGEST_BYTES, digest_matrix
from tulu_data.store import Version
from tulu_data.take import occurrences


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


def diff(a: Version, b: Version, *, examples: int = 3) -> Diff:
    """Compares by row digest. Reads 32 bytes a row, and the text of the examples.

    Raises `UsageError` for two versions of different schemas, whose digests cannot be compared.
    """
    if a.manifest.schema_name != b.manifest.schema_name:
        raise UsageError(
            f"{a.ref} is {a.manifest.schema_name}, {b.ref} is {b.manifest.schema_name}: nothing to compare"
        )
    shas_a, shas_b = _shas(a), _shas(b)
    whole = np.concatenate([shas_a, shas_b]).view(f"V{DIGEST_BYTES}").ravel()
    unique, inverse = np.unique(whole, return_inverse=True)
    row_a, row_b = inverse[: len(shas_a)], inverse[len(shas_a) :]
    count_a = np.bincount(row_a, minlength=len(unique))
    count_b = np.bincount(row_b, minlength=len(unique))
    # The first copies of a row are those in common; the rest stand only on their side.
    surplus_a = occurrences(shas_a, np.arange(len(shas_a))) >= count_b[row_a]
    surplus_b = occurrences(shas_b, np.arange(len(shas_b))) >= count_a[row_b]
    common = int(np.minimum(count_a, count_b).sum())
    rows_a, rows_b = ({n: s.rows for n, s in v.manifest.logical.sources.items()} for v in (a, b))
    return Diff(
        a=a.ref,
        b=b.ref,
        common=common,
        only_a=len(shas_a) - common,
        only_b=len(shas_b) - common,
        same_order=a.manifest.logical.order_id == b.manifest.logical.order_id,
        sources=_changed(rows_a, rows_b, 0),
        settings=_changed(_settings(a), _settings(b), None),
        examples_a=_examples(a, surplus_a, examples),
        examples_b=_examples(b, surplus_b, examples),
    )


def _shas(version: Version) -> npt.NDArray[np.uint8]:
    return digest_matrix(version.table(["row_sha"])["row_sha"])


def _changed(a: Mapping[str, Any], b: Mapping[str, Any], missing: Any) -> dict[str, tuple[Any, Any]]:
    pairs = {key: (a.get(key, missing), b.get(key, missing)) for key in sorted({*a, *b})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _settings(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in version.manifest.steps:
        prefix = f"{step.name}:{step.source}" if step.source else step.name
        found |= _flat(step.params, prefix)
    for record in version.manifest.decontamination:
        found[f"audit:{record['set']}"] = record["audit"]
    for given in version.manifest.inputs:
        found[f"input:{given.uri}"] = given.sha256[:16]
    return found


def _flat(value: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}").items()}


def _examples(version: Version, mask: npt.NDArray[np.bool_], count: int) -> list[dict[str, str]]:
    wanted = np.flatnonzero(mask)[:count]
    found: list[dict[str, str]] = []
    if len(wanted) == 0:
        return found
    start = 0
    for batch in version.batches(["id", "messages"]):
        local = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        for row in batch.take(pa.array(local)).to_pylist():
            found.append({"id": row["id"], "text": row["messages"][0]["content"][:200]})
        start += len(batch)
        if len(found) == len(wanted):
            break
    return found
