"""The pages of a mixture and of its audits, side by side and linked: `NAME@tv1-….html`, `audit-ta1-….html`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

from tulu_data.progress import Progress
from tulu_data.store import Store, Version

FOLDER = "pages"  # of a store
VERSION = 1  # raise when pages of the same input look otherwise


class AuditPage(Protocol):
    """Gives the page of a saved audit."""

    def __call__(self, audit: Path, *, progress: Progress) -> str:
        """As HTML."""


def file_of(store: Store, version: Version) -> Path:
    """Where the page of a version is kept."""
    return store.root / FOLDER / f"{version.ref}.html"


def audits_of(version: Version) -> list[str]:
    """The audits on a version's record, each once."""
    return list(dict.fromkeys(record["audit"] for record in version.manifest.decontamination))


def saved_audits(version: Version, store: Store) -> list[Path]:
    """The folders of those that the store holds."""
    folders = [store.root / "audits" / audit for audit in audits_of(version)]
    return [folder for folder in folders if (folder / "manifest.json").is_file()]


def audit_file(audit: str) -> str:
    """The name of an audit's page, beside that of a version."""
    return f"audit-{audit}.html"


def beside(folder: Path, audit: str) -> str | None:
    """The address of an audit's page from another page in the folder; None where it is not there."""
    return audit_file(audit) if (folder / audit_file(audit)).is_file() else None


def write(
    version: Version, store: Store, folder: Path, *, audit_page: AuditPage, progress: Progress, name: str | None = None
) -> Path:
    """Writes the page of a version into `folder`, and before it those of its audits that the store holds; its path."""
    from tulu_data import pages
    from tulu_data.mixture_page import page

    saved = saved_audits(version, store)
    for audit in set(audits_of(version)) - {path.name for path in saved}:
        progress.note(f"the store no longer holds audit {audit}: there is no page of it to link to")
    for path in saved:
        pages.write(folder / audit_file(path.name), audit_page(path, progress=progress))

    html = page(version, store, audit_href=partial(beside, folder), progress=progress)
    return pages.write(folder / (name or f"{version.ref}.html"), html)
