"""What `ingest` and `run` print of records that did not become rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tulu_data.store import Version

LISTED = 20  # reasons per source


def print_rejects(versions: Sequence[Version]) -> None:
    """A table of reasons per source, the most frequent first; nothing where every record became a row."""
    from tulu_data.tables import print_table

    rows = []
    for version in versions:
        reasons: Counter[str] = Counter()
        for given in version.manifest.inputs:
            reasons.update(given.rejected)
        rows += [(version.name, count, reason) for reason, count in reasons.most_common(LISTED)]
        if len(reasons) > LISTED:
            rows.append((version.name, sum(reasons.values()), f"in all, for {len(reasons)} reasons"))
    if rows:
        print_table("Records that are no rows (see rejects.parquet)", ["source", "records", "reason"], rows)
