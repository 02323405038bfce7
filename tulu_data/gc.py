"""What in a store may go: leftovers of killed builds, records of steps whose results are gone, old versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tulu_data.store import Store, Version


class Removal(NamedTuple):
    """One thing that is, or would be, removed."""

    path: Path
    reason: str
    bytes: int


def collect(store: Store, *, unreferenced: bool = False, audits: bool = False, dry_run: bool = False) -> list[Removal]:
    """Removes leftovers; with `unreferenced` versions that no name leads to, with `audits` audits likewise.

    Pages and searches for duplicates go with the versions that they speak of. What filters noted of rows stays: rows of
    any version may be the same.

    A version is kept while its name stands for it, or a kept version was made from it. An audit may be named by a
    trained model besides, of which a store knows nothing. With `dry_run` nothing goes.
    """
    found = list(_leftovers(store))
    if unreferenced or audits:
        found += _unreferenced(store, versions=unreferenced, audits=audits)
    gone = {r.path for r in found}
    found += _dangling_steps(store, gone)
    if not dry_run:
        with store.writing():
            for removal in found:
                store.discard(removal.path)
    return found


def _leftovers(store: Store) -> Iterator[Removal]:
    for path in store.abandoned():
        yield Removal(path, "left by a build that was killed", _size(path))


def _unreferenced(store: Store, *, versions: bool, audits: bool) -> Iterator[Removal]:
    known = {v.ref: v for v in store.versions()}
    latest = [store.latest(name) for name in store.names()]
    kept = _closure(store, known, [ref for ref in latest if ref in known]) if versions else set(known)
    for ref, version in known.items():
        if ref not in kept:
            yield Removal(version.path, "no name stands for it", _size(version.path))
    if audits:
        yield from _unrecorded(store, kept)
    if not versions:
        return
    for folder in sorted((store.root / "scans").glob("t[sd]1-*")):  # of audits, and of searches for duplicates
        yield Removal(folder, "of an audit that was not finished", _size(folder))
    yield from _of_gone_versions(store, kept)
    for folder in sorted((store.root / "index").glob("*")):
        yield Removal(folder, "an index, which is made again when it is needed", _size(folder))


def _of_gone_versions(store: Store, kept: set[str]) -> Iterator[Removal]:
    for path in sorted((store.root / "pages").glob("*@tv1-*.html")):
        if path.stem not in kept:
            yield Removal(path, "the page of a version that is gone", _size(path))
    for path in sorted((store.root / "pages").glob("audit-*.html")):
        if not (store.root / "audits" / path.stem.removeprefix("audit-")).is_dir():
            yield Removal(path, "the page of an audit that is gone", _size(path))
    for folder in sorted((store.root / "duplicates").glob("td1-*")):
        try:
            compared = {v["ref"] for v in json.loads((folder / "duplicates.json").read_text())["versions"]}
        except (OSError, ValueError, KeyError, TypeError):
            compared = set()
        if not compared & kept:
            yield Removal(folder, "duplicates of versions that are gone", _size(folder))


def _unrecorded(store: Store, kept: set[str]) -> Iterator[Removal]:
    recorded = {r["audit"] for ref in kept for m in store.histories(ref) for r in m.decontamination}
    for folder in sorted((store.root / "audits").glob("ta1-*")):
        reviewed = (folder / "marks.jsonl").exists()  # what a person said cannot be made again
        if folder.name not in recorded and not reviewed:
            yield Removal(folder, "no kept version records it", _size(folder))


def _closure(store: Store, versions: dict[str, Version], roots: list[str]) -> set[str]:
    kept: set[str] = set()
    waiting = list(roots)
    while waiting:
        ref = waiting.pop()
        if ref in kept or ref not in versions:
            continue
        kept.add(ref)
        waiting += [parent for m in store.histories(ref) for step in m.steps for parent in step.parents]
    return kept


def _dangling_steps(store: Store, gone: set[Path]) -> Iterator[Removal]:
    for path in sorted((store.root / "steps").glob("*.json")):
        try:
            record = json.loads(path.read_text())
            result = store.root / (f"pages/{record['page']}" if "page" in record else record["version"])
        except (ValueError, KeyError, TypeError, AttributeError):
            yield Removal(path, "unreadable record of a step", path.stat().st_size)
            continue
        if result in gone or not result.exists():
            yield Removal(path, "its result is gone", path.stat().st_size)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
