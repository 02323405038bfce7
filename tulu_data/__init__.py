"""Rows, versions, mixtures and recipes for post-training data. The floor that the other packages stand on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tulu_data.ingestion import Source, ingest
    from tulu_data.mixture import Part, mix
    from tulu_data.store import Store, Version
    from tulu_data.take import Take

__version__ = "0.1.0"
__all__ = ["Part", "Source", "Store", "Take", "Version", "ingest", "mix"]

_HOMES = {
    "Part": "tulu_data.mixture",
    "Source": "tulu_data.ingestion",
    "Store": "tulu_data.store",
    "Take": "tulu_data.take",
    "Version": "tulu_data.store",
    "ingest": "tulu_data.ingestion",
    "mix": "tulu_data.mixture",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are used: `import tulu_data` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tulu_data' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
