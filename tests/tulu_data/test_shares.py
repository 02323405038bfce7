"""Shares of topics: exact, and what is not named keeps its proportions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tulu_data.errors import RecipeError
from tulu_data.shares import Emphasis, apportion, check_share, check_topics, shares_by_topic
from tulu_data.strict import validate

TOPICS = ("Math", "Code", "Safety", None)


def emphases(**wanted: dict[str, float]) -> dict[str, Emphasis]:
    return {topic: Emphasis(**given) for topic, given in wanted.items()}


@st.composite
def mixtures(draw: Any) -> tuple[dict[str, int], dict[str, str | None], dict[str, Emphasis], dict[str, Fraction]]:
    """Parts' amounts, their topics, an emphasis of some topics, and the share that each of these is to have."""
    topic_of = {f"part{i}": draw(st.sampled_from(TOPICS)) for i in range(draw(st.integers(1, 6)))}
    base = {name: draw(st.integers(0, 1_000)) for name in topic_of}
    total = sum(base.values())
    assume(total)
    wanted, due = {}, {}
    for topic in sorted({t for t in topic_of.values() if t is not None}):
        before = Fraction(sum(n for name, n in base.items() if topic_of[name] == topic), total)
        number = Fraction(draw(st.integers(0, 40)), 100)
        match draw(st.sampled_from(["", "share", "times"])):
            case "share":
                wanted[topic], due[topic] = Emphasis(share=float(number)), number
            case "times":
                wanted[topic], due[topic] = Emphasis(times=float(number) * 4), number * 4 * before
    return base, topic_of, wanted, due


def possible(base: dict[str, int], topic_of: dict[str, str | None], due: dict[str, Fraction]) -> bool:
    """Whether the named topics can have what is due to them, and the others the rest."""
    empty = [t for t, share in due.items() if share and not any(n for p, n in base.items() if topic_of[p] == t)]
    others = any(n for p, n in base.items() if topic_of[p] not in due)
    rest = 1 - sum(due.values())
    return not empty and rest >= 0 and (rest == 0 or others)


@given(mixtures())
def test_shares_sum_to_one_and_each_topic_that_is_named_has_exactly_its_own(mixture):
    base, topic_of, wanted, due = mixture
    if not possible(base, topic_of, due):
        with pytest.raises(RecipeError) as caught:
            shares_by_topic(base, topic_of, wanted)
        assert "\n" not in str(caught.value)
        return
    shares = shares_by_topic(base, topic_of, wanted)
    assert list(shares) == list(base)
    assert sum(shares.values()) == 1
    for topic, share in due.items():
        assert sum(shares[p] for p in base if topic_of[p] == topic) == share


@given(mixtures())
def test_parts_within_a_topic_and_parts_of_topics_that_are_not_named_keep_their_proportions(mixture):
    base, topic_of, wanted, due = mixture
    assume(possible(base, topic_of, due))
    shares = shares_by_topic(base, topic_of, wanted)
    for a in base:
        for b in base:
            if topic_of[a] == topic_of[b] or not {topic_of[a], topic_of[b]} & set(wanted):
                assert shares[a] * base[b] == shares[b] * base[a]


@given(mixtures(), st.integers(0, 2_000))
def test_rows_by_share_add_up_and_an_empty_part_gets_none(mixture, total):
    base, topic_of, wanted, due = mixture
    assume(possible(base, topic_of, due))
    rows = apportion(total, shares_by_topic(base, topic_of, wanted))
    assert sum(rows.values()) == total
    assert all(rows[p] == 0 for p in base if base[p] == 0)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1_000), min_size=1).filter(lambda d: sum(d.values())))
def test_without_emphasis_the_shares_are_those_of_the_takes(base):
    assert apportion(sum(base.values()), shares_by_topic(base, {}, {})) == base


def test_a_share_is_the_decimal_number_that_is_written():
    """0.145 as a binary float is less than 145/1000: of 1,000 rows it would be 144."""
    shares = shares_by_topic({"a": 1, "b": 1}, {"a": "Math"}, emphases(Math={"share": 0.145}))
    assert shares == {"a": Fraction(145, 1000), "b": Fraction(855, 1000)}


BASE = {"gsm": 30, "numina": 10, "python": 40, "chat": 20, "none": 0}
TOPIC_OF = {"gsm": "Math", "numina": "Math", "python": "Code", "chat": None, "none": "Safety"}


def test_more_of_one_topic_and_a_fixed_share_of_another_by_hand():
    shares = shares_by_topic(BASE, TOPIC_OF, emphases(Math={"times": 1.5}, Code={"share": 0.2}))
    expected = {"gsm": (45, 100), "numina": (15, 100), "python": (20, 100), "chat": (20, 100), "none": (0, 1)}
    assert shares == {name: Fraction(*share) for name, share in expected.items()}


@pytest.mark.parametrize(
    ("base", "topic_of", "wanted", "message"),
    [
        (
            BASE,
            TOPIC_OF,
            {"Maths": {"share": 0.1}},
            "topics.Maths: no part of the mixture has this topic; did you mean 'Math'?",
        ),
        (
            BASE,
            TOPIC_OF,
            {"Poetry": {"share": 0.1}},
            "topics.Poetry: no part of the mixture has this topic; known topics: Code, Math, Safety",
        ),
        (
            BASE,
            {},
            {"Math": {"share": 0.1}},
            "topics.Math: no part of the mixture has this topic; give its sources a 'topic'",
        ),
        (
            BASE,
            TOPIC_OF,
            {"Math": {"share": 0.7}, "Code": {"share": 0.31}},
            "topics: the shares sum to 1.01; lower them to 1 or less",
        ),
        (
            BASE,
            TOPIC_OF,
            {"Math": {"times": 2}, "Code": {"share": 0.31}},
            "topics: the shares sum to 1.11; lower them to 1 or less",
        ),
        (
            {"gsm": 30, "python": 40},
            TOPIC_OF,
            {"Math": {"share": 0.5}, "Code": {"share": 0.4}},
            "topics: the shares of all topics sum to 0.9; leave one out: it takes the rest",
        ),
        (
            {"gsm": 30, "chat": 0},
            TOPIC_OF,
            {"Math": {"share": 0.5}},
            "topics: the shares of all topics sum to 0.5; leave one out: it takes the rest",
        ),
        (
            BASE,
            TOPIC_OF,
            {"Safety": {"share": 0.1}},
            "topics.Safety: its parts give nothing, so nothing can be shared out; raise their takes",
        ),
        (
            {"gsm": 0},
            TOPIC_OF,
            {"Math": {"share": 1}},
            "mix: the takes give nothing, and shares start from what they give; raise one",
        ),
        ({"gsm": 0}, {}, {}, "mix: the takes give nothing, and shares start from what they give; raise one"),
    ],
)
def test_shares_that_cannot_be_met_are_refused_in_one_line(base, topic_of, wanted, message):
    with pytest.raises(RecipeError) as caught:
        shares_by_topic(base, topic_of, emphases(**wanted))
    assert str(caught.value) == message


def test_all_topics_named_with_shares_that_sum_to_one_need_no_rest():
    shares = shares_by_topic({"gsm": 30, "python": 40}, TOPIC_OF, emphases(Math={"share": 0.9}, Code={"share": 0.1}))
    assert shares == {"gsm": Fraction(9, 10), "python": Fraction(1, 10)}


def test_what_no_count_can_mend_is_refused_before_anything_is_counted():
    check_topics(emphases(Math={"share": 0.6}, Code={"times": 9}), ["Math", "Code", None])
    with pytest.raises(RecipeError, match=r"topics\.Cod: .*did you mean 'Code'\?"):
        check_topics(emphases(Cod={"times": 2}), ["Math", "Code", None])
    with pytest.raises(RecipeError, match=r"the shares sum to 1\.2; lower them"):
        check_topics(emphases(Math={"share": 0.6}, Code={"share": 0.6}), ["Math", "Code"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("gsm", "Math", 25, 10, 1),
            "mix.gsm: its share of Math is 25 rows, the source has 10; set its 'repeat: 3', or ask for less",
        ),
        (
            ("gsm", None, 21, 10, 2),
            "mix.gsm: its share is 21 rows, the source has 10 × repeat 2; set its 'repeat: 3', or ask for less",
        ),
        (("gsm", "Math", 1, 0, 1), "mix.gsm: its share of Math is 1 rows, the source has 0; it is empty"),
    ],
)
def test_a_share_of_more_rows_than_the_source_has_names_the_repeat_that_would_do(args, message):
    with pytest.raises(RecipeError) as caught:
        check_share(*args)
    assert str(caught.value) == message
    check_share("gsm", "Math", 20, 10, 2)


@pytest.mark.parametrize(
    ("given_keys", "message"),
    [
        ({}, "r.yaml: topics.Math: takes exactly one of share, times"),
        ({"share": 0.1, "times": 2}, "r.yaml: topics.Math: takes exactly one of share, times"),
        ({"shares": 0.1}, "r.yaml: topics.Math.shares: unknown key; did you mean 'share'?"),
    ],
)
def test_an_emphasis_is_a_share_or_a_multiple(given_keys, message):
    with pytest.raises(RecipeError) as caught:
        validate(Emphasis, given_keys, "r.yaml", under="topics.Math")
    assert str(caught.value) == message


@pytest.mark.parametrize("given_keys", [{"share": 1.1}, {"share": -0.1}, {"times": -1}, {"times": True}])
def test_an_emphasis_outside_its_range_is_refused(given_keys):
    with pytest.raises(RecipeError, match=r"^r\.yaml: topics\.Math\.\w+: should be .*, got "):
        validate(Emphasis, given_keys, "r.yaml", under="topics.Math")
