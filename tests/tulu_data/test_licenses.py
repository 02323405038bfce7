"""Licences against a policy, in the words of the recipe."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tulu_data import recipe as recipes
from tulu_data.commands.licenses import command
from tulu_data.errors import InputError, RecipeError
from tulu_data.license_terms import ALIASES, NOT_ON_HUB, TERMS, canonical, strictness, terms_of
from tulu_data.licenses import LicensePolicy, Stated, check_licenses, disagreement, strictest, uses, verdict
from tulu_data.pipeline import run
from tulu_data.progress import Silent
from tulu_data.store import Store


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
    check_licenses(versions, LicensePolicy(on_unknown=on_unknown, deny=deny), progress=notes)
    return notes.said


REMEDY = "set 'license' to an id such as odc-by"
UNSTATED = f"sources.b.license: 1,500 rows state no licence; {REMEDY}"
UNKNOWN = f"sources.c.license: 1 row is under 'My Own', which is not a known licence id; {REMEDY}"


TAKE_OFF = "leave the source out of mix, or take LICENCE off the list"


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
        (["APACHE-2.0"], "sources.a: 2 rows are under Apache-2.0, which licenses.deny names; " + TAKE_OFF),
        (["my own"], "sources.c: 1 row is under My Own, which licenses.deny names; " + TAKE_OFF),
        (["unstated"], "sources.b: 1,500 rows are under unstated, which licenses.deny names; " + TAKE_OFF),
    ],
)
def test_denied_licences_are_refused_whatever_their_case(versions, on_unknown, deny, message):
    name = message.split(":")[0].removeprefix("sources.")
    with pytest.raises(InputError) as caught:
        check([v for v in versions if v.name == name], on_unknown, deny)
    license_ = message.split("under ")[1].split(",")[0]
    assert str(caught.value) == message.replace("LICENCE", license_)


def test_a_name_of_the_policy_that_no_licence_has_is_told(versions):
    told = (
        "warning: licenses.deny: 'cc-by-nc-4' is not a known licence id, and no row read is under it; "
        "did you mean 'cc-by-nc-4.0'"
    )
    assert check(versions[:1], "warn", ["cc-by-nc-4"])[0].startswith(told)
    assert check([], "warn", ["cc-by-nc-4"])[0].startswith(told)  # of a plan, before anything is read
    assert check(versions[:1], "warn", ["CC BY-NC 4.0", "odc_by", "unstated"]) == []
    notes = Notes()
    check_licenses(versions[2:], LicensePolicy(allow=["my own"]), progress=notes)
    assert notes.said == []


def test_what_a_row_states_is_one_short_line_in_a_message(store, make_version):
    version = make_version(store, "a", ["x"], license="My\nOwn\x1b[2J " + "and more of it " * 20)
    for policy in (LicensePolicy(on_unknown="error"), LicensePolicy(allow=["mit"])):
        with pytest.raises(InputError) as caught:
            check_licenses([version], policy, progress=Silent())
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


# ------------------------------------------------------------ the table


def test_the_table_is_in_its_own_spelling_and_gives_a_text_for_each():
    assert all(name == canonical(name) for name in TERMS)
    assert set(ALIASES.values()) <= set(TERMS)
    assert not set(ALIASES) & set(TERMS)
    assert all(terms.url.startswith("https://") for terms in TERMS.values())
    assert set(TERMS) >= NOT_ON_HUB


@pytest.mark.parametrize("name", TERMS)
def test_a_licence_is_known_by_its_spdx_identifier_too(name):
    spdx = TERMS[name].spdx
    assert spdx is None or terms_of(spdx) == TERMS[name]


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("Apache 2.0", "apache-2.0"),
        ("Apache License 2.0", "apache-2.0"),
        ("MIT License", "mit"),
        ("CC BY-NC-SA 4.0", "cc-by-nc-sa-4.0"),
        (" cc_by_4.0\n", "cc-by-4.0"),
        ("ODC-BY 1.0", "odc-by"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("My  Own", "my-own"),
    ],
)
def test_spellings_of_one_licence_are_one(spelled, name):
    assert canonical(spelled) == name


def test_one_of_the_creative_commons_licences_is_no_licence_that_is_known():
    assert terms_of("cc") is None


@pytest.mark.parametrize(
    ("name", "demands"),
    [
        ("MIT", {"attribution"}),
        ("ODC-BY-1.0", {"attribution"}),
        ("CC0-1.0", set()),
        ("cc-by-nc-sa-4.0", {"attribution", "non-commercial", "share-alike"}),
        ("CC-BY-NC-ND-4.0", {"attribution", "non-commercial", "no-derivatives"}),
        ("llama3.1", {"attribution", "custom terms"}),
    ],
)
def test_a_licence_demands_what_its_name_says(name, demands):
    assert set(terms_of(name).demands) == demands


def test_every_creative_commons_licence_has_the_elements_of_its_spdx_name():
    for name, terms in TERMS.items():
        if match := re.fullmatch(r"cc-by(?:-(nc))?(?:-(nd|sa))?-[\d.]+", name):
            assert terms.spdx == name.upper()
            assert ("non-commercial" in terms.demands) == (match[1] == "nc")
            assert ("share-alike" in terms.demands) == (match[2] == "sa")
            assert ("no-derivatives" in terms.demands) == (match[2] == "nd")


def test_the_stricter_licence_is_the_one_that_rules_more_out():
    order = ["cc0-1.0", "mit", "cc-by-sa-4.0", "llama3", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "My Own"]
    weights = [strictness(name) for name in order]
    assert weights == sorted(set(weights))


# ------------------------------------------------------------ copies that disagree

COPIES = [Stated(license="Apache-2.0", where="tag", date="2024-12"), Stated(license="CC-BY-NC-4.0", where="card")]
BOTH = "copies state Apache-2.0 (tag, 2024-12) and CC-BY-NC-4.0 (card); counted as CC-BY-NC-4.0, the stricter"


def test_of_copies_that_disagree_the_strictest_counts():
    assert (strictest(COPIES), disagreement(COPIES)) == ("CC-BY-NC-4.0", BOTH)
    assert strictest([Stated(where="card")]) is None
    assert disagreement([COPIES[0], Stated(license="apache 2.0", where="repository")]) is None
    assert disagreement([Stated(where="card"), COPIES[0]]) == (
        "copies state nothing (card) and Apache-2.0 (tag, 2024-12); counted as Apache-2.0"
    )


def test_both_copies_are_told_whether_the_source_is_refused_or_not(store, make_version):
    version = make_version(store, "a", ["x", "y"], license="CC-BY-NC-4.0")
    notes = Notes()
    check_licenses([version], LicensePolicy(), stated={"a": COPIES}, progress=notes)
    assert notes.said == [f"sources.a: {BOTH}"]
    with pytest.raises(InputError) as caught:
        check_licenses([version], LicensePolicy(purpose="commercial"), stated={"a": COPIES}, progress=notes)
    assert str(caught.value) == (
        "sources.a: 2 rows are under CC-BY-NC-4.0, which rules out the commercial use that licenses.purpose asks for; "
        f"leave the source out of mix, or set purpose: research ({BOTH})"
    )


# ------------------------------------------------------------ purpose and allow


@pytest.mark.parametrize(
    ("policy", "license_", "refused"),
    [
        ({"purpose": "commercial"}, "cc-by-nc-sa-3.0", "rules out the commercial use"),
        ({"purpose": "commercial"}, "llama3", None),
        ({"purpose": "research"}, "cc-by-nc-4.0", None),
        ({"allow": ["odc-by"]}, "ODC-BY-1.0", None),
        ({"allow": ["odc-by"]}, "MIT", "which licenses.allow does not name; leave the source out of mix, or add MIT"),
        ({"allow": ["mit"]}, "My Own", "which licenses.allow does not name; leave the source out of mix, or add My"),
        ({"allow": ["mit"], "on_unknown": "allow"}, "unstated", "which licenses.allow does not name"),
        ({"allow": ["mit", "unstated", "my own"]}, "unstated", None),
        ({"allow": ["mit", "unstated", "my own"]}, "My Own", None),
        ({"deny": ["ODC-BY-1.0"]}, "odc-by", "which licenses.deny names"),
    ],
)
def test_the_policy_refuses_by_what_a_licence_is_whatever_its_spelling(policy, license_, refused):
    reason = LicensePolicy(**policy).refusal(license_)
    assert (reason is None) if refused is None else (refused in reason)


def test_a_licence_of_ones_own_that_the_policy_allows_by_name_is_no_unknown_one(versions):
    notes = Notes()
    policy = LicensePolicy(on_unknown="error", allow=["apache-2.0", "My Own", "unstated"])
    check_licenses(versions, policy, progress=notes)
    assert notes.said == []


def test_a_dataset_of_the_hub_is_refused_before_anything_is_fetched(tmp_path):
    data = {
        "name": "m",
        "sources": {"no_robots": {"source": "tulu3/no_robots"}},
        "mix": {"no_robots": {"all": True}},
        "licenses": {"purpose": "commercial"},
    }
    loaded = recipes.from_data(data, place="r.yaml", base=tmp_path)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"^sources.no_robots: 9,500 rows are under CC-BY-NC-4.0, which rules out"):
            run(loaded, Store(tmp_path / "s"), dry_run=dry_run)
    assert not (tmp_path / "s").exists()


def test_a_purpose_that_there_is_not_is_one_line(tmp_path):
    data = {"name": "m", "sources": {"a": {"path": "a"}}, "licenses": {"purpose": "fun"}}
    with pytest.raises(
        RecipeError, match=r"^r.yaml: licenses.purpose: should be 'research' or 'commercial', got 'fun'"
    ):
        recipes.from_data(data, place="r.yaml", base=tmp_path)


# ------------------------------------------------------------ what a mixture may be used for


def test_the_report_counts_rows_by_licence_and_says_what_they_ask():
    found = uses({"a": {"ODC-BY-1.0": 5, "MIT": 1}, "b": {"odc-by": 2, "CC-BY-NC-SA-4.0": 3}, "c": {"llama3": 1}})
    assert [(u.license, u.rows, u.sources) for u in found] == [
        ("ODC-BY-1.0", 7, {"a": 5, "b": 2}),
        ("CC-BY-NC-SA-4.0", 3, {"b": 3}),
        ("MIT", 1, {"a": 1}),
        ("llama3", 1, {"c": 1}),
    ]
    assert verdict(found) == [
        "Commercial use: no, for CC-BY-NC-SA-4.0 (3 rows).",
        "Same terms when passed on: CC-BY-NC-SA-4.0 (3 rows).",
        "Terms of their own, to be read: llama3 (1 row).",
        "Attribution: ODC-BY-1.0 (7 rows), CC-BY-NC-SA-4.0 (3 rows), MIT (1 row), llama3 (1 row).",
    ]


def test_what_is_unknown_settles_nothing():
    assert verdict(uses({"a": {"unstated": 4}})) == ["Use: not settled: unstated (4 rows) has no known terms."]
    assert verdict(uses({"a": {"mit": None}})) == ["Commercial use: no licence here rules it out.", "Attribution: mit."]


def test_the_command_reports_a_version_with_what_its_copies_said(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "q?", "response": "a"}\n')
    source = {"path": "a.jsonl", "license": "CC-BY-NC-4.0", "stated": [s.model_dump() for s in COPIES]}
    data = {"name": "m", "sources": {"a": source}, "mix": {"a": {"all": True}}}
    run(recipes.from_data(data, place="r.yaml", base=tmp_path), Store(tmp_path / "s"))
    shown = CliRunner().invoke(command, ["m", "--store", str(tmp_path / "s")]).output
    assert "attribution, non-commercial" in shown
    assert f"a: {BOTH}" in shown
    found = json.loads(CliRunner().invoke(command, ["m", "--store", str(tmp_path / "s"), "--json"]).output)
    assert [(u["license"], u["rows"], u["spdx"]) for u in found["licenses"]] == [("CC-BY-NC-4.0", 1, "CC-BY-NC-4.0")]
    assert found["use"][0] == "Commercial use: no, for CC-BY-NC-4.0 (1 row)."
    assert found["differ"] == {"a": BOTH}


def test_the_command_reports_a_recipe_before_it_has_run(tmp_path):
    recipe = {"name": "m", "sources": {"a": {"source": "tulu3/aya"}, "b": {"path": "b"}}, "mix": {"a": {"count": 7}}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(recipe))
    store = ["--store", str(tmp_path / "s"), "--json"]
    found = json.loads(CliRunner().invoke(command, [str(tmp_path / "m.yaml"), *store]).output)
    assert [(u["license"], u["rows"]) for u in found["licenses"]] == [("Apache-2.0", 7)]
    planned = json.loads(CliRunner().invoke(command, ["tulu3_sft_8b", *store]).output)
    assert sum(u["rows"] for u in planned["licenses"]) == 939_344
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(recipe | {"size": {"rows": 3, "scale": True}}))
    found = json.loads(CliRunner().invoke(command, [str(tmp_path / "m.yaml"), *store]).output)
    assert [u["rows"] for u in found["licenses"]] == [3]
    unknown = CliRunner().invoke(command, ["nothing", *store])
    assert str(unknown.exception).endswith("or name a recipe")


def test_the_report_of_a_recipe_leaves_shares_open_where_a_count_is_and_says_what_is_still_to_be_made(tmp_path):
    sources = {"a": {"path": "a", "license": "mit"}, "b": {"synth": {"skill": "math"}}}
    recipe = {"name": "m", "sources": sources, "mix": {"a": {"all": True}, "b": {"count": 7}}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(recipe))
    shown = CliRunner().invoke(command, [str(tmp_path / "m.yaml"), "--store", str(tmp_path / "s")]).output
    assert "%" not in shown
    assert "Use: not settled: unstated (7 rows) has no known terms." in shown
    assert "Still to be made, with the licences of what they are made from: b." in shown


def test_the_report_of_rows_that_state_something_hostile_is_inert(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "q?", "response": "a", "license": "own\x1b[2J\nterms"}))
    data = {"name": "m", "sources": {"a": {"path": "a.jsonl"}}, "mix": {"a": {"all": True}}}
    run(recipes.from_data(data, place="r.yaml", base=tmp_path), Store(tmp_path / "s"))
    shown = CliRunner().invoke(command, ["m", "--store", str(tmp_path / "s")]).output
    assert "\x1b" not in shown
    assert "not settled: own\\x1b[2J terms (1 row)" in shown
