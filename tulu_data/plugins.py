"""What other distributions offer through an entry point group, beside what is ours."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from tulu_data.errors import InputError

T = TypeVar("T")


def with_others(own: Mapping[str, T], group: str, kind: type[T]) -> dict[str, T]:
    """Ours and theirs by name. `InputError` where one that is installed does not load or takes another's name."""
    noun = kind.__name__.lower()
    found = dict(own)
    for entry in entry_points(group=group):
        place = f"{noun} {entry.name} of {entry.dist.name if entry.dist else entry.value}"
        if entry.name in found:
            raise InputError(f"{place}: there is another {noun} of that name; rename the entry point")
        try:
            loaded = entry.load()
        except Exception as e:
            raise InputError(f"{place}: cannot be loaded: {type(e).__name__}: {e}; uninstall or mend it") from e
        if not isinstance(loaded, kind):
            raise InputError(f"{place}: {entry.value} is no {kind.__name__}")
        found[entry.name] = loaded
    return found
