import pytest

from decontam.verdicts import Policy, Settings, is_contaminated, worst
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
        ("any", "dev", 1, False, "drop rows"),
        ("none", "unseen", 9, True, "clean"),
    ],
)
def test_policies(policy, group, flagged, contaminated, expected):
    assert Policy(policy=policy).verdict(group, flagged=flagged, contaminated=contaminated, undecided=0) == expected


def test_the_verdict_of_a_set_is_the_worst_of_its_suites():
    assert worst(["clean", "drop set", "drop rows"]) == "drop set"
    assert worst([]) == "clean"


def test_layers_have_one_order():
    assert Policy(layers=("informative", "exact")) == Policy()


@pytest.mark.parametrize(
    ("policy", "layers"),
    [("rows", ("exact", "informative")), ("tulu3", ("tulu3",)), ("any", ("any",)), ("none", ("exact", "informative"))],
)
def test_a_policy_that_names_no_layers_has_its_own(policy, layers):
    assert Policy(policy=policy).layers == layers
    assert Policy(policy=policy, layers=None).layers == layers
    assert Policy(policy=policy, layers=("fuzzy",)).layers == ("fuzzy",)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Settings, {"ngrm": 8}, r"^r\.yaml: ngrm: unknown key; known keys: analyzer, .*$"),
        (Settings, {"n": 2}, r"^r\.yaml: n: should be greater than or equal to 3, got 2$"),
        (Policy, {"layers": []}, r"^r\.yaml: layers: [^\n]+, got \[\]$"),
        (Policy, {"layers": ["fuzy"]}, r"^r\.yaml: layers\[0\]: should be 'exact', 'tulu3', [^\n]+, got 'fuzy'$"),
        (Policy, {"policy": "row"}, r"^r\.yaml: policy: should be 'rows', 'tulu3', 'any' or 'none', got 'row'$"),
        (Policy, {"fuzzy_threshold": 0.2}, r"^r\.yaml: fuzzy_threshold: should be greater than [^\n]+, got 0\.2$"),
    ],
)
def test_wrong_settings_are_one_line(model, data, message):
    with pytest.raises(RecipeError, match=message):
        validate(model, data, "r.yaml")


@pytest.mark.parametrize(
    ("settings", "policy", "message"),
    [
        (
            {"fuzzy": False},
            {"layers": ("fuzzy",)},
            r"^layers: fuzzy was not looked for \(fuzzy: false\); scan with fuzzy",
        ),
        (
            {"floor": 0.3},
            {"layers": ("any",)},
            r"^layers: any needs every pair; pairs up to a coverage of 0\.3 \(floor\)",
        ),
        ({"floor": 0.3}, {"threshold": 0.2}, r"^threshold is 0\.2; pairs up to a coverage of 0\.3 \(floor\) were not"),
        ({"floor": 0.6}, {}, r"^threshold is 0\.5; "),
    ],
)
def test_a_policy_that_needs_what_was_not_recorded_is_refused(settings, policy, message):
    with pytest.raises(ValueError, match=message):
        Policy(**policy).check_against(Settings(**settings))


def test_a_policy_that_asks_for_less_than_was_recorded_is_taken():
    policy = Policy(threshold=0.3, informative_threshold=0.4)
    assert policy.check_against(Settings(floor=0.3)) is policy
