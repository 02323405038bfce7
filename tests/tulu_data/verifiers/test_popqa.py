"""PopQA: one of the accepted names stands in the answer."""

import json

import pytest

from tulu_data.errors import InputError
from tulu_data.verifiers import verify

NAMES = json.dumps(["Politician", "political leader", "pol."])


@pytest.mark.parametrize(
    ("response", "truth", "right"),
    [
        ("politician", NAMES, True),
        ("Politician", NAMES, True),
        ("a Political leader from Ohio", NAMES, True),
        ("POLITICIAN", NAMES, False),  # as written, in lower case, or with a capital first letter
        ("lawyer", NAMES, False),
        ("", NAMES, False),
        ("Tokyo or Kyoto", "Kyoto", True),
        ("the Wolfgang Amadeus Mozart of his time", '["Mozart", ""]', True),
        ("politicians", NAMES, True),  # containment, as the original has it
    ],
)
def test_popqa(response, truth, right):
    assert verify("popqa", response, truth).right is right


@pytest.mark.parametrize("truth", ["", '["", " "]', "[1]", '["a"'])
def test_a_truth_without_names_is_refused(truth):
    with pytest.raises(InputError, match="ground truth of popqa"):
        verify("popqa", "x", truth)
