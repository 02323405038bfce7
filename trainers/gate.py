"""The gate: a trainer opens a version by its manifest, and refuses what was not decontaminated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tulu_data.errors import GateError, UsageError
from tulu_data.manifest import Manifest, covered_sources
from tulu_data.progress import Progress
from tulu_data.store import Store, Version
from tulu_data.suite_registry import bundled_suites, registry
from tulu_data.suites import load_table
from tulu_data.verify import verify

REMEDY = "audit and drop it first, or pass --allow-undecontaminated REASON"


class Cleared(NamedTuple):
    """What a training says of its data. override: why it was let through all the same, and what is missing; None where
    it passed.
    """

    ref: str
    digest: str
    audits: tuple[str, ...]
    suites: tuple[str, ...]
    override: str | None

    def told(self) -> dict[str, object]:
        """For a run, a checkpoint and a card."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self._asdict().items()}


def clear(
    version: Version, suites: Sequence[str], store: Store, *, allow: str | None = None, progress: Progress | None = None
) -> Cleared:
    """What is known of how a version was decontaminated.

    suites: their names, or those of collections and bundled files. The version's files must be what the manifest says,
    always. `GateError` where a source has no decontamination record, or its record lacks one of `suites`, in the
    version or in a part of the mixture that `store` holds; unless `allow` says why that is well. `UsageError` where it
    says nothing.
    """
    if allow is not None and not allow.strip():
        raise UsageError("--allow-undecontaminated: the reason is empty; say why, it goes on record")
    if problems := verify(version, 1, progress=progress):
        raise GateError(f"{version.ref}: {problems[0].place}: {problems[0].message}")
    described, suites = version.manifest, ids(suites)
    covered = _covered(described)
    audits = tuple(dict.fromkeys(r["audit"] for r in described.decontamination))
    common = set.intersection(*covered.values()) if covered else set()
    gap = _gap(described, described, suites) or _gap_of_parts(described, described, suites, store)
    if gap and allow is None:
        raise GateError(f"{version.ref}: {gap}; {REMEDY}")
    return Cleared(version.ref, version.digest, audits, tuple(sorted(common)), f"{allow} ({gap})" if gap else None)


def ids(names: Sequence[str]) -> list[str]:
    """The suites behind names: those of a collection or of a bundled file; else a name is a suite's own."""
    known, files = registry(), bundled_suites()
    found: list[str] = []
    for name in names:
        if name in known.file.collections:
            found += [spec.id for spec in known.specs(name)]
        elif name in files and name not in known.file.suites:
            found += [spec.id for spec in load_table(files[name], known=known.file.suites).specs()]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def _covered(described: Manifest) -> dict[str, set[str]]:
    """By source, the suites on record; what a version was cleaned of last it was cleaned of whole."""
    covered: dict[str, set[str]] = {}
    for record in described.decontamination:
        for source in covered_sources(record):
            covered.setdefault(source, set()).update(s["id"] for s in record["suites"])
    if described.decontamination and described.steps and described.steps[-1].name == "decontaminate":
        for source in described.logical.sources:
            covered.setdefault(source, set()).update(s["id"] for s in described.decontamination[-1]["suites"])
    return {source: suites for source, suites in covered.items() if source in described.logical.sources}


def _gap(described: Manifest, whole: Manifest, suites: Sequence[str]) -> str | None:
    """What the records of a version leave open of the sources that it shares with `whole`."""
    covered = _covered(described)
    for source in described.logical.sources:
        if source not in whole.logical.sources:
            continue
        if source not in covered:
            return f"{source} has no decontamination record"
        if missing := sorted(set(suites) - covered[source]):
            return f"{source} was not audited against {', '.join(missing)}"
    return None


def _gap_of_parts(described: Manifest, whole: Manifest, suites: Sequence[str], store: Store) -> str | None:
    """What the records of a mixture's parts leave open: two may share a source, and one's record is not the other's.

    A part's rows are those of its id: it does where any of its histories does.
    """
    last = described.steps[-1] if described.steps else None
    for part in last.parents if last is not None and last.name == "mix" else ():
        known = store.histories(part) if store.has(part) else []
        gaps = [_gap(m, whole, suites) or _gap_of_parts(m, whole, suites, store) for m in known]
        if gaps and all(gaps):
            return f"in its part {part}, {gaps[0]}"
    return None
