"""The dataset card: front matter that the hub reads, and data that stays data."""

import pytest
import yaml

from tulu_data.card import render


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["MIT"], {"license": "mit"}),
        (["MIT", "mit"], {"license": "mit"}),
        (["mit", "odc-by"], {"license": "other", "license_name": "see-sources"}),
        (["my own"], {"license": "other", "license_name": "see-sources"}),
        ([None], {}),
    ],
)
def test_the_front_matter_states_one_known_licence_or_says_other(store, make_version, make_rows, licenses, expected):
    rows = [r for i, name in enumerate(licenses) for r in make_rows("gsm", [f"q{i}"], license=name)]
    front = front_matter(render(make_version(store, "gsm", rows).manifest))
    assert {k: v for k, v in front.items() if k.startswith("license")} == expected
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]


def test_a_hostile_licence_is_inert_in_the_card(store, make_version, make_rows):
    rows = make_rows("gsm", ["q"], license="x | y\n# <script>alert(1)</script> \x1b[2J\n---\nlicense: mit")
    text = render(make_version(store, "gsm", rows).manifest)
    assert "<script>" not in text
    assert "\x1b" not in text
    assert front_matter(text)["license"] == "other"
    assert "| x \\| y # &lt;script>alert(1)&lt;/script> \\x1b[2J --- license: mit |" in text


def test_the_card_says_against_what_the_rows_were_checked_or_that_they_were_not(store, make_version):
    bare = render(make_version(store, "gsm", ["q"]).manifest)
    assert "Not decontaminated: no audit is on record." in bare
