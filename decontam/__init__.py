"""Exact decontamination: which training rows overlap which evaluation instances, and by how much."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decontam.auditing import audit
    from decontam.dropping import drop
    from decontam.result import Audit
    from decontam.suites import read_suites
    from decontam.verdicts import Policy, Settings
    from tulu_data.suites import load_suites

__all__ = ["Audit", "Policy", "Settings", "audit", "drop", "load_suites", "read_suites"]

_HOMES = {
    "Audit": "decontam.result",
    "Policy": "decontam.verdicts",
    "Settings": "decontam.verdicts",
    "audit": "decontam.auditing",
    "drop": "decontam.dropping",
    "load_suites": "tulu_data.suites",
    "read_suites": "decontam.suites",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'decontam' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
