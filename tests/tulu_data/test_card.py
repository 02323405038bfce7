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


def test_the_card_has_a_table_like_the_papers_of_what_overlapped_and_what_went(store, make_version):
    suite = {"group": "dev", "digest": "0", "contaminated": False, "verdict": "drop rows"}
    record = {
        "set": "gsm",
        "rows_in": 200,
        "rows_dropped": 7,
        "n": 8,
        "analyzer": "unicode/1",
        "roles": "user",
        "layers": ["exact", "informative"],
        "policy": "rows",
        "engine": "tulu-decontam/2",
        "audit": "ta1-1",
        "marks": {"true": 2, "false": 1, "digest": "0"},
        "suites": [
            suite | {"id": "math", "instances": 500, "flagged": 91, "rows_dropped": 7},
            suite | {"id": "mm|lu", "instances": 1000, "flagged": 0, "rows_dropped": 0},
        ],
    }
    manifest = make_version(store, "gsm", ["q"]).manifest
    text = render(manifest.model_copy(update={"decontamination": [record]}))
    assert "**gsm**: 7 of 200 rows (3.50 %) were dropped. Held against 1,500 instances of 2 suites" in text
    assert "8-grams of `unicode/1`, turns of role user, layers exact, informative, policy `rows`" in text
    assert "A reviewer marked 2 matches true and 1 false." in text
    assert "| math | dev | 500 | 91 | 18.20 % | 7 | 3.50 % |" in text
    assert "No overlap that counts with mm\\|lu." in text
