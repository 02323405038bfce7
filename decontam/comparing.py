"""What changed between two audits: settings, suites, sets, verdicts, pairs, and the rows that leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from decontam.marks import PairKey, keys_of
from decontam.result import Audit


class Change(NamedTuple):
    """Something that two audits have and say otherwise; None where one has it not."""

    what: str
    before: Any
    after: Any


class CellChange(NamedTuple):
    """A training set × suite with another verdict or number of overlapping instances; None where it is missing."""

    set: str
    suite: str
    flagged: tuple[int | None, int | None]
    share: tuple[float | None, float | None]
    verdict: tuple[str | None, str | None]


class PairChange(NamedTuple):
    """A pair that both audits have, with other layers, mark, or weight."""

    key: PairKey
    layers: tuple[list[str], list[str]]
    counts: tuple[bool, bool]
    mark: tuple[str | None, str | None]


class Comparison(NamedTuple):
    """All that differs. added, removed: pairs, in order. dropped, kept: (set, row id) that leave in `after` alone, and
    in `before` alone.
    """

    facts: list[Change]
    cells: list[CellChange]
    added: list[PairKey]
    removed: list[PairKey]
    changed: list[PairChange]
    dropped: list[tuple[str, str]]
    kept: list[tuple[str, str]]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not any(self)

    @property
    def worse(self) -> list[CellChange]:
        """Where more instances overlap than before, or a set that was not there overlaps; the worst first."""
        grown = [c for c in self.cells if (c.flagged[1] or 0) > (c.flagged[0] or 0)]
        return sorted(grown, key=lambda c: (c.flagged[0] or 0) - (c.flagged[1] or 0))


def compare(before: Audit, after: Audit) -> Comparison:
    """What changed from one audit to another."""
    old, new = _pairs(before), _pairs(after)
    gone, going = _dropped(before), _dropped(after)
    both = [(key, old[key], new[key]) for key in new if key in old and old[key] != new[key]]
    changed = [PairChange(key, (a.layers, b.layers), (a.counts, b.counts), (a.mark, b.mark)) for key, a, b in both]
    return Comparison(
        _facts(before, after),
        _cells(before, after),
        [key for key in new if key not in old],
        [key for key in old if key not in new],
        changed,
        [row for row in going if row not in gone],
        [row for row in gone if row not in going],
    )


class _Said(NamedTuple):
    layers: list[str]
    counts: bool
    mark: str | None


def _pairs(audit: Audit) -> dict[PairKey, _Said]:
    pairs = audit.pairs
    facts = zip(pairs["layers"].to_pylist(), audit.counts().tolist(), pairs["mark"].to_pylist(), strict=True)
    return dict(zip(keys_of(pairs), map(_Said._make, facts), strict=True))


def _dropped(audit: Audit) -> dict[tuple[str, str], None]:
    rows = audit.rows.select(["set", "row_id", "dropped"]).to_pylist()
    return {(r["set"], r["row_id"]): None for r in rows if r["dropped"]}


def _cells(before: Audit, after: Audit) -> list[CellChange]:
    old, new = ({(e["set"], e["suite"]): e for e in audit.evals.to_pylist()} for audit in (before, after))
    found = []
    for cell in dict.fromkeys([*new, *old]):
        both = [cells.get(cell) for cells in (old, new)]
        a, b = ({k: (e or {}).get(k) for k in ("flagged", "share", "verdict")} for e in both)
        if a != b:
            found.append(CellChange(*cell, *((a[k], b[k]) for k in ("flagged", "share", "verdict"))))
    return found


def _facts(before: Audit, after: Audit) -> list[Change]:
    old, new = _described(before.manifest), _described(after.manifest)
    return [
        Change(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _described(manifest: Mapping[str, Any]) -> dict[str, Any]:
    facts = {k: manifest[k] for k in ("engine", "analyzer")}
    facts |= {f"settings.{k}": v for k, v in manifest["settings"].items()}
    facts |= {f"policy.{k}": v for k, v in manifest["policy"].items()}
    facts |= {f"set {name}": f"{s['rows']:,} rows, {s['digest'][:16]}" for name, s in manifest["sets"].items()}
    facts |= {f"suite {s['id']}": f"{s['instances']:,} instances, {s['digest'][:16]}" for s in manifest["suites"]}
    marks, judge = manifest["marks"], manifest["judge"]
    facts["marks"] = f"{marks['true']} true, {marks['false']} false" if marks else None
    facts["judge"] = f"{judge['model']}, {judge['undecided']} undecided" if judge else None
    return facts
