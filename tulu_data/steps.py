"""Steps that are done once: each has a key of what it depends on, and the store keeps what came of which key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from tulu_data.manifest import canonical_json
from tulu_data.store import Store, Version

Status = Literal["done", "cached", "to run"]


class StepReport(NamedTuple):
    """One step of a run."""

    step: str
    status: Status
    result: str | None  # a version's ref, an audit's id
    rows: int | None
    seconds: float


class Steps:
    """The steps of one run, in order, over what the store has on record. In a dry run none is made."""

    def __init__(self, store: Store, *, dry_run: bool) -> None:
        self.store = store
        self.dry_run = dry_run
        self.reports: list[StepReport] = []

    def version(
        self, step: str, key: Mapping[str, Any], make: Callable[[], Version], *, planned: int | None = None
    ) -> Version | None:
        """The version that the step made of this key before, else makes it; None where a dry run would have to.

        `StoreError` where the one on record is not whole. `planned`: rows that a dry run tells.
        """
        found = self.find(key)
        if found is not None:
            version = self.store.open_build(found["version"], found["build"])
            if version is not None:
                version.check_whole()
                if not self.dry_run:
                    self.store.point(version)
                self.report(step, "cached", version.ref, version.rows)
                return version
        if self.dry_run:
            self.report(step, "to run", rows=planned)
            return None
        start = time.monotonic()
        version = make()
        self.remember(key, {"version": version.ref, "build": version.build})
        self.report(step, "done", version.ref, version.rows, start)
        return version

    def find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """What came of this key; None where nothing is on record, or it cannot be read: then the step runs."""
        try:
            record: dict[str, Any] = json.loads((self.store.root / _path(key)).read_text())
        except (OSError, ValueError):
            return None
        return record or None

    def remember(self, key: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        """Keeps what came of a key."""
        self.store.write_json(_path(key), {**outcome, "key": key})

    def report(
        self, step: str, status: Status, result: str | None = None, rows: int | None = None, start: float | None = None
    ) -> None:
        """Adds a line; `start` is when the step began, on the monotonic clock."""
        seconds = 0.0 if start is None else time.monotonic() - start
        self.reports.append(StepReport(step, status, result, rows, seconds))


def _path(key: Mapping[str, Any]) -> str:
    return f"steps/{key['step']}-{sha256(canonical_json(key)).hexdigest()[:32]}.json"
