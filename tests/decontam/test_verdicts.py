import pytest

from decontam.verdicts import Settings, is_contaminated, verdict, worst
from tulu_data.errors import RecipeError
from tulu_data.strict import validate


def test_two_percent_is_not_more_than_two_percent():
    assert not is_contaminated(2, 100, 0.02)
    assert not is_contaminated(26, 1300, 0.02)
    assert is_contaminated(3, 100, 0.02)
    assert is_contaminated(27, 1319, 0.02)


@pytest.mark.parametrize(
    ("policy", "group", "flagged", "contaminated", "expected"),
    [
        ("rows", "dev", 0, False, "clean"),
        ("rows", "dev", 1, False, "drop rows"),
        ("rows", "unseen", 9, True, "drop rows"),
        ("tulu3", "unseen", 1, False, "clean"),
        ("tulu3", "unseen", 9, True, "drop set"),
        ("tulu3", "dev", 1, False, "clean"),
        ("tulu3", "dev", 9, True, "drop rows"),
        ("tulu3", "safety", 9, True, "drop rows"),
        ("none", "unseen", 9, True, "clean"),
    ],
)
def test_policies(policy, group, flagged, contaminated, expected):
    assert verdict(policy, group, flagged=flagged, contaminated=contaminated) == expected


def test_the_verdict_of_a_set_is_the_worst_of_its_suites():
    assert worst(["clean", "drop set", "drop rows"]) == "drop set"
    assert worst([]) == "clean"


def test_layers_have_one_order():
    assert Settings(layers=("tulu3", "exact")) == Settings()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ngrm": 8}, r"^r\.yaml: ngrm: unknown key; known keys: analyzer, .*$"),
        ({"n": 2}, r"^r\.yaml: n: should be greater than or equal to 3, got 2$"),
        ({"layers": []}, r"^r\.yaml: layers: [^\n]+, got \[\]$"),
        ({"layers": ["fuzzy"]}, r"^r\.yaml: layers\[0\]: should be 'exact' or 'tulu3', got 'fuzzy'$"),
    ],
)
def test_wrong_settings_are_one_line(data, message):
    with pytest.raises(RecipeError, match=message):
        validate(Settings, data, "r.yaml")
