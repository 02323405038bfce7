"""What every filter says of one row, and where in its text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tulu_data.errors import InputError
from tulu_data.filters.annotation import Conversation, Reason, Span, Turn, Values, found_spans
from tulu_data.filters.filtering import prepared
from tulu_data.filters.registry import Filters, filters
from tulu_data.store import Version


class Said(NamedTuple):
    """What one filter says: whether it is on (and the row's source not exempt), its values, its reasons to drop."""

    filter: str
    on: bool
    values: Values
    reasons: list[Reason]


class Explanation(NamedTuple):
    """All filters on one row."""

    row: dict[str, Any]
    said: list[Said]
    turns: tuple[Turn, ...]

    @property
    def reasons(self) -> list[Reason]:
        """Why the row is dropped; none if it stays."""
        return [reason for said in self.said if said.on for reason in said.reasons]

    def spans(self, turn: Turn) -> list[Span]:
        """The places in a turn that some filter found, in order, without those inside another."""
        found = [s for said in self.said for s in found_spans(said.values)]
        placed = sorted((s for s in found if (s.column, s.message) == turn[:2]), key=lambda s: (s.start, -s.end))
        kept: list[Span] = []
        for span in placed:
            if not kept or span.start >= kept[-1].end:
                kept.append(span)
        return kept


def explain(version: Version, row_id: str, settings: Filters) -> Explanation:
    """What the filters say of the row of that id; those that are off speak with their defaults.

    `InputError` where the version has no such row; other errors as in `filtering.plan`.
    """
    row = _row(version, row_id)
    conversation = Conversation.of(version.kind, row)
    chosen = {a.filter.name: a for a in prepared(settings, version)}
    exempt = settings.exempt.get(row["source"], [])
    said = []
    for name, filter_ in filters().items():
        section = chosen[name].section if name in chosen else filter_.settings()
        values = filter_.annotate(conversation, section)
        said.append(Said(name, name in chosen and name not in exempt, values, list(filter_.judge(values, section))))
    return Explanation(row, said, conversation.turns)


def _row(version: Version, row_id: str) -> dict[str, Any]:
    for part in version.parts():
        ids = part.read(["id"]).column(0).to_pylist()
        if row_id in ids:
            row: dict[str, Any] = part.read().slice(ids.index(row_id), 1).to_pylist()[0]
            return row
    raise InputError(f"{version.ref}: no row has the id {row_id!r}; tulu show {version.name} --rows 5 prints some")


def marked(turn: Turn, spans: list[Span]) -> Iterator[tuple[str, bool]]:
    """A turn's text in pieces, each with whether a filter found it."""
    at = 0
    for span in spans:
        yield turn.text[at : span.start], False
        yield turn.text[span.start : span.end], True
        at = span.end
    yield turn.text[at:], False
