"""Licences of rows: against a policy, and what a mixture may be used for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, field_validator

from tulu_data.errors import InputError, nearest
from tulu_data.license_terms import TERMS, Demand, canonical, strictness, terms_of
from tulu_data.progress import Progress
from tulu_data.strict import Strict
from tulu_data.tables import printable
from tulu_data.tally import UNSTATED

if TYPE_CHECKING:
    from tulu_data.store import Version

SHOWN_CHARS = 60  # of a row's licence in a message: some rows hold a whole text

OnUnknown = Literal["allow", "warn", "error"]
Purpose = Literal["research", "commercial"]


class Stated(Strict):
    """What one copy of a dataset says of its licence. `license` is None where it says nothing."""

    license: str | None = None
    where: str
    date: str | None = None  # of the text that was read, as far as it is known: YYYY, YYYY-MM or YYYY-MM-DD

    @field_validator("date", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return (
            str(value) if isinstance(value, int | date) else value
        )  # YAML reads 2025 and 2023-12-28 as more than text

    def __str__(self) -> str:
        read_at = f"{self.where}, {self.date}" if self.date else self.where
        return f"{self.license or 'nothing'} ({read_at})"


class LicensePolicy(Strict):
    """What a mixture may hold. `deny` and `allow` may name licences of one's own, and `unstated` for none."""

    on_unknown: OnUnknown = "warn"
    deny: list[str] = Field(default_factory=list)
    allow: list[str] | None = None  # only these, where it is given
    purpose: Purpose = "research"

    def allows(self, name: str) -> bool:
        """Whether `allow` names this licence."""
        return self.allow is not None and canonical(name) in map(canonical, self.allow)

    def refusal(self, name: str) -> str | None:
        """Why rows under this licence may not be mixed, and what to do; None where they may."""
        if canonical(name) in map(canonical, self.deny):
            return f"which licenses.deny names; leave the source out of mix, or take {_said(name)} off the list"
        if self.allow is not None and not self.allows(name):
            return f"which licenses.allow does not name; leave the source out of mix, or add {_said(name)} to the list"
        if self.purpose == "commercial" and "non-commercial" in _demands(name):
            return (
                "which rules out the commercial use that licenses.purpose asks for; leave the source out of mix, or "
                "set purpose: research"
            )
        return None


def strictest(stated: Sequence[Stated]) -> str | None:
    """The licence that counts where copies of a dataset disagree; None where none states one."""
    named = [s.license for s in stated if s.license is not None]
    return max(named, key=strictness) if named else None


def disagreement(stated: Sequence[Stated]) -> str | None:
    """Both sides in one line, where copies of a dataset state licences that are not the same."""
    if len({canonical(s.license or UNSTATED) for s in stated}) < 2:
        return None
    degrees = {strictness(s.license) for s in stated if s.license is not None}
    stricter = ", the stricter" if len(degrees) > 1 else ""
    return f"copies state {' and '.join(map(str, stated))}; counted as {strictest(stated) or UNSTATED}{stricter}"


# ------------------------------------------------------------ the policy


def check_licenses(
    versions: Sequence[Version],
    policy: LicensePolicy,
    *,
    stated: Mapping[str, Sequence[Stated]] | None = None,
    progress: Progress,
) -> None:
    """Raises `InputError` for the first source with rows that the policy refuses, or unknown ones under `error`.

    `stated` is, by source, what copies of it say; where they disagree both are told. So is a name of the policy that
    no licence has: misspelt it would refuse nothing.
    """
    held = {version.name: licenses_of(version) for version in versions}
    _check_names(policy, {canonical(name) for counts in held.values() for name in counts}, progress)
    for source, counts in held.items():
        check_source(source, counts, policy, (stated or {}).get(source, ()), progress)


def _check_names(policy: LicensePolicy, held: set[str], progress: Progress) -> None:
    for key, names in (("deny", policy.deny), ("allow", policy.allow or ())):
        for name in names:
            if name == UNSTATED or terms_of(name) is not None or canonical(name) in held:
                continue
            close = get_close_matches(canonical(name), TERMS)
            meant = f"; {nearest(canonical(name), close)}" if close else ""
            progress.note(
                f"warning: licenses.{key}: {name!r} is not a known licence id, and no row read is under it{meant}"
            )


def check_source(
    name: str,
    counts: Mapping[str, int | None],
    policy: LicensePolicy,
    stated: Sequence[Stated],
    progress: Progress,
) -> None:
    """As `check_licenses`, for one source and the rows under each of its licences; None where they are not counted."""
    differing = disagreement(stated)
    told = f" ({differing})" if differing else ""
    for license_, rows in sorted(counts.items()):
        subject = "its rows" if rows is None else _rows(rows)
        are = "is" if rows == 1 else "are"
        refusal = policy.refusal(license_)
        if refusal is not None:
            raise InputError(f"sources.{name}: {subject} {are} under {_said(license_)}, {refusal}{told}")
        if policy.on_unknown == "allow" or policy.allows(license_) or terms_of(license_) is not None:
            continue
        states = f"state{'s' if rows == 1 else ''} no licence"
        other = f"{are} under '{_said(license_)}', which is not a known licence id"
        what = states if license_ == UNSTATED else other
        message = f"sources.{name}.license: {subject} {what}; set 'license' to an id such as odc-by{told}"
        if policy.on_unknown == "error":
            raise InputError(message)
        progress.note(f"warning: {message}")
    if differing:
        progress.note(f"sources.{name}: {differing}")


def licenses_of(version: Version) -> dict[str, int]:
    """Rows of a version under each licence."""
    counts: dict[str, int] = defaultdict(int)
    for stats in version.manifest.logical.sources.values():
        for name, rows in stats.licenses.items():
            counts[name] += rows
    return dict(counts)


def _said(name: str) -> str:
    """A row's licence as a message shows it: one line of bounded length."""
    text = printable(" ".join(name.split()))
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _demands(name: str) -> tuple[Demand, ...]:
    terms = terms_of(name)
    return terms.demands if terms else ()


# ------------------------------------------------------------ what a mixture may be used for


class LicenseUse(NamedTuple):
    """The rows of a mixture under one licence."""

    license: str
    spdx: str | None
    rows: int | None  # None where a plan does not know them
    sources: dict[str, int | None]
    demands: tuple[Demand, ...]
    url: str | None
    known: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain, for JSON."""
        return self._asdict() | {"demands": list(self.demands)}


def uses(sources: Mapping[str, Mapping[str, int | None]]) -> list[LicenseUse]:
    """What a mixture of these sources (licence → rows, by source) holds, the most rows first.

    Spellings of one licence are counted together, under the first in alphabetical order.
    """
    found: dict[str, dict[str, int | None]] = defaultdict(dict)
    spelled: dict[str, str] = {}
    for source, counts in sources.items():
        for name, rows in counts.items():
            key = canonical(name)
            spelled[key] = min(name, spelled.get(key, name))
            before = found[key].get(source, 0)
            found[key][source] = None if before is None or rows is None else before + rows
    made = [_use(spelled[key], by_source) for key, by_source in found.items()]
    return sorted(made, key=lambda use: (-(use.rows or 0), use.license))


def _use(name: str, by_source: dict[str, int | None]) -> LicenseUse:
    terms = terms_of(name)
    counts = [rows for rows in by_source.values() if rows is not None]
    rows = sum(counts) if len(counts) == len(by_source) else None
    if terms is None:
        return LicenseUse(name, None, rows, by_source, (), None, known=False)
    return LicenseUse(name, terms.spdx, rows, by_source, terms.demands, terms.url, known=True)


def verdict(found: Iterable[LicenseUse]) -> list[str]:
    """What a mixture may be used for and what it asks in return, in sentences. Not legal advice."""
    found = list(found)
    unknown = [use for use in found if not use.known]
    lines = []
    if unknown:
        lines.append(f"Use: not settled: {_listed(unknown)} {'has' if len(unknown) == 1 else 'have'} no known terms.")
    if closed := [use for use in found if "non-commercial" in use.demands]:
        lines.append(f"Commercial use: no, for {_listed(closed)}.")
    elif not unknown:
        lines.append("Commercial use: no licence here rules it out.")
    asks: list[tuple[Demand, str]] = [
        ("no-derivatives", "Passing on changed rows: not under"),
        ("share-alike", "Same terms when passed on:"),
        ("custom terms", "Terms of their own, to be read:"),
        ("attribution", "Attribution:"),
    ]
    for demand, text in asks:
        if under := [use for use in found if demand in use.demands]:
            lines.append(f"{text} {_listed(under)}.")
    return lines


def _listed(found: Sequence[LicenseUse]) -> str:
    return ", ".join(f"{_said(use.license)}{'' if use.rows is None else f' ({_rows(use.rows)})'}" for use in found)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
