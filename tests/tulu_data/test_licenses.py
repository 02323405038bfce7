"""Licences against a policy, in the words of the recipe."""

from __future__ import annotations

from typing import Any

import pytest

from tulu_data.errors import InputError
from tulu_data.licenses import KNOWN, check_licenses
from tulu_data.progress import Silent


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def versions(store, make_version):
    return [
        make_version(store, "a", ["x", "y"], license="Apache-2.0"),
        make_version(store, "b", ["x"] * 1_500, license=None),
        make_version(store, "c", ["x"], license="My Own"),
    ]


def check(versions: list[Any], on_unknown: Any, deny: list[str]) -> list[str]:
    notes = Notes()
    check_licenses(versions, on_unknown=on_unknown, deny=deny, progress=notes)
    return notes.said


REMEDY = "set 'license' to an id such as odc-by"
UNSTATED = f"sources.b.license: 1,500 rows state no licence; {REMEDY}"
UNKNOWN = f"sources.c.license: 1 rows are under 'My Own', which is not a known licence id; {REMEDY}"


def test_unknown_licences_are_allowed_warned_of_or_refused(versions):
    assert check(versions, "allow", []) == []
    assert check(versions, "warn", []) == [f"warning: {UNSTATED}", f"warning: {UNKNOWN}"]
    for some, message in ((versions, UNSTATED), (versions[2:], UNKNOWN)):
        with pytest.raises(InputError) as caught:
            check(some, "error", [])
        assert str(caught.value) == message
    assert check(versions[:1], "error", []) == []


@pytest.mark.parametrize("on_unknown", ["allow", "warn", "error"])
@pytest.mark.parametrize(
    ("deny", "message"),
    [
        (["APACHE-2.0"], "sources.a: 2 rows are under Apache-2.0, which licenses.deny names"),
        (["my own"], "sources.c: 1 rows are under My Own, which licenses.deny names"),
        (["unstated"], "sources.b: 1,500 rows are under unstated, which licenses.deny names"),
    ],
)
def test_denied_licences_are_refused_whatever_their_case(versions, on_unknown, deny, message):
    name = message.split(":")[0].removeprefix("sources.")
    with pytest.raises(InputError) as caught:
        check([v for v in versions if v.name == name], on_unknown, deny)
    assert str(caught.value) == message


def test_the_list_is_in_lower_case():
    assert all(name == name.lower() for name in KNOWN)
    assert {"odc-by", "mit", "cc-by-nc-4.0"} <= KNOWN
