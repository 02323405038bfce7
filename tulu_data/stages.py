"""What the pipeline asks of the packages above the floor: who makes a source, who audits and drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from tulu_data.manifest import Origin
from tulu_data.progress import Progress
from tulu_data.store import Store, Version


class Decontamination(Protocol):
    """What the pipeline asks of the module behind the `decontaminate` section."""

    VERSION: int

    def validate(self, data: Mapping[str, Any], place: str, root: Path) -> Any:
        """The section as a strict model; `RecipeError` at `place`."""

    def find_audit(self, settings: Any, versions: Sequence[Version], store: Store) -> Path | None:
        """The folder of this very audit, where the store holds it whole."""

    def audit(
        self, settings: Any, versions: Sequence[Version], store: Store, *, workers: int, progress: Progress
    ) -> Path:
        """Audits the versions together and saves the result in the store; its folder."""

    def load_audit(self, folder: Path) -> Audited:
        """A saved audit."""

    def check_gate(self, audit: Path) -> None:
        """`GateError` where the audit's policy is broken."""

    def gated(self, settings: Any) -> bool:
        """Whether the section asks for the gate."""

    def marks_digest(self, audit: Path) -> str | None:
        """What identifies the marks of who reviewed it; None where nobody did."""

    def page(self, audit: Path, *, progress: Progress) -> str:
        """The audit as one HTML page."""

    def drop(
        self, audit: Path, version: Version, store: Store, name: str, *, progress: Progress, origin: Origin | None
    ) -> Version:
        """Publishes the rows that the audit's policy keeps, with the decontamination record."""


class Maker(Protocol):
    """What the pipeline asks of the module behind a source that is made."""

    VERSION: int

    def validate(self, data: Mapping[str, Any], place: str, root: Path) -> Any:
        """The source's section as a strict model; `RecipeError` at `place`."""

    def parent_of(self, settings: Any) -> str | None:
        """The source that this one is made from."""

    def prepare(self, settings: Any, name: str, *, seed: int, tokenizer: str | None, parent: Version | None) -> Any:
        """What is to be made; fails before anything is."""

    def key(self, prepared: Any) -> Mapping[str, Any]:
        """What the rows depend on, beside the parent."""

    def make(
        self, prepared: Any, store: Store, *, workers: int, progress: Progress, quiet: bool, origin: Origin | None
    ) -> Version:
        """Publishes the rows under the source's name."""


class Audited(Protocol):
    """A saved audit, with the marks of who reviewed it."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What was held against what, and how."""

    @property
    def evals(self) -> pa.Table:
        """The verdicts per training set and suite."""

    @property
    def pairs(self) -> pa.Table:
        """The messages and instances that have anything in common."""
