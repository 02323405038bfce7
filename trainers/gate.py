"""The gate: a trainer opens a version by its manifest, and refuses what was not decontaminated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tulu_data.errors import GateError
from tulu_data.progress import Progress
from tulu_data.store import Version
from tulu_data.verify import verify

REMEDY = "audit and drop it first, or pass --allow-undecontaminated REASON"


class Cleared(NamedTuple):
    """What a training says of its data. override: why it was let through all the same; None where it passed."""

    ref: str
    digest: str
    audits: tuple[str, ...]
    suites: tuple[str, ...]
    override: str | None

    def told(self) -> dict[str, object]:
        """For a run, a checkpoint and a card."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self._asdict().items()}


def clear(
    version: Version, suites: Sequence[str], *, allow: str | None = None, progress: Progress | None = None
) -> Cleared:
    """What is known of how a version was decontaminated.

    Its files must be what the manifest says, always. `GateError` where a source has no decontamination record, or its
    record lacks one of `suites`; unless `allow` says why that is well.
    """
    if problems := verify(version, 1, progress=progress):
        raise GateError(f"{version.ref}: {problems[0].place}: {problems[0].message}")
    records = version.manifest.decontamination
    covered = {r["set"]: {s["id"] for s in r["suites"]} for r in records}
    audits = tuple(dict.fromkeys(r["audit"] for r in records))
    common = set.intersection(*covered.values()) if covered else set()
    cleared = Cleared(version.ref, version.digest, audits, tuple(sorted(common)), allow)
    if allow is not None:
        return cleared
    for source in version.manifest.logical.sources:
        if source not in covered:
            raise GateError(f"{version.ref}: {source} has no decontamination record; {REMEDY}")
        if missing := sorted(set(suites) - covered[source]):
            raise GateError(f"{version.ref}: {source} was not audited against {', '.join(missing)}; {REMEDY}")
    return cleared
