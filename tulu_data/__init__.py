"""Rows, versions, mixtures and recipes for post-training data. The floor that the other packages stand on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tulu_data.ingestion import Source, ingest
    from tulu_data.mixture import Part, mix
    from tulu_data.pipeline import run
    from tulu_data.recipe import load as load_recipe
    from tulu_data.store import Store, Version
    from tulu_data.take import Take

__version__ = "0.1.0"
__all__ = ["Part", "Source", "Store", "Take", "Version", "ingest", "load_recipe", "mix", "run"]

_HOMES = {
    "Part": "tulu_data.mixture:Part",
    "Source": "tulu_data.ingestion:Source",
    "Store": "tulu_data.store:Store",
    "Take": "tulu_data.take:Take",
    "Version": "tulu_data.store:Version",
    "ingest": "tulu_data.ingestion:ingest",
    "load_recipe": "tulu_data.recipe:load",
    "mix": "tulu_data.mixture:mix",
    "run": "tulu_data.pipeline:run",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are used: `import tulu_data` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tulu_data' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)
