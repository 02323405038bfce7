"""Licences of rows against a policy: what is unknown, what is denied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tulu_data.errors import InputError
from tulu_data.progress import Progress
from tulu_data.tally import UNSTATED

if TYPE_CHECKING:
    from tulu_data.store import Version

# Identifiers of the Hugging Face hub's licence list that occur on text datasets, lower case.
KNOWN = frozenset(
    """
    apache-2.0 mit bsd bsd-2-clause bsd-3-clause isc unlicense zlib mpl-2.0 wtfpl artistic-2.0 ecl-2.0
    cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0
    cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 pddl odc-by odc-by-1.0 odbl gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 agpl-3.0 eupl-1.1
    cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 c-uda
    openrail bigscience-openrail-m llama2 llama3 llama3.1 llama3.2 llama3.3 gemma
    """.split()
)


def check_licenses(
    versions: Sequence[Version],
    *,
    on_unknown: Literal["allow", "warn", "error"],
    deny: Sequence[str],
    progress: Progress,
) -> None:
    """Raises `InputError` for the first source with a denied licence, or with an unknown one under `error`."""
    denied = {name.lower() for name in deny}
    for version in versions:
        counts: dict[str, int] = {}
        for stats in version.manifest.logical.sources.values():
            for name, rows in stats.licenses.items():
                counts[name] = counts.get(name, 0) + rows
        for name, rows in sorted(counts.items()):
            if name.lower() in denied:
                raise InputError(f"sources.{version.name}: {rows:,} rows are under {name}, which licenses.deny names")
            if name.lower() in KNOWN or on_unknown == "allow":
                continue
            what = "state no licence" if name == UNSTATED else f"are under {name!r}, which is not a known licence id"
            message = f"sources.{version.name}.license: {rows:,} rows {what}; set 'license' to an id such as odc-by"
            if on_unknown == "error":
                raise InputError(message)
            progress.note(f"warning: {message}")
