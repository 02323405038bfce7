"""Responses → scores."""

import json
import math

import pytest

from tulu_data.errors import InputError, UsageError
from tulu_data.evals.results import SAMPLES
from tulu_data.evals.scoring import in_order, mc2, responses_of, rows, score, unscored
from tulu_data.evals.task import Decoding, Item, Response, Task


def task(**given):
    return Task("sums", "Sums", "dev", "sums", list, **{"verifier": "gsm8k", **given})


def item(name, truth="4", **given):
    return Item(name, None, ({"role": "user", "content": f"{name}?"},), truth, **given)


def test_a_verifier_scores_each_response_and_says_what_it_took_for_the_answer():
    pairs = in_order(task(), [item("a"), item("b")], [Response("b", 0, "It is 5."), Response("a", 0, "2 + 2 = 4.")])
    found = rows(pairs, score(task(), pairs, workers=1)).to_pylist()
    assert [(r["instance_id"], r["score"], r["extracted"]) for r in found] == [("a", 1.0, "4"), ("b", 0.0, "5")]
    assert found[1]["reason"] == "answered 5, not 4"
    assert json.loads(found[0]["messages"]) == [{"role": "user", "content": "a?"}]


@pytest.mark.parametrize(
    ("verifier", "truth", "response", "extracted"),
    [
        ("choice", "B", "Therefore, the answer is (B).", "B"),
        ("choice", "C of 4", "It is C, I believe", "C"),  # of four options I is none
        ("math", "2", r"So \boxed{2}", "2"),
        ("math_flex", "2", r"So $x = \boxed{2}$. Final Answer: The final answer is $2$. I hope it is correct.", "2"),
        ("deepmind_math", "3", "Therefore, the final answer is 3. I hope it is correct.", "3"),
        ("bbh", "(C)", "So the answer is (C).", "(C)"),
    ],
)
def test_what_is_taken_for_the_answer_is_recorded(verifier, truth, response, extracted):
    (found,) = score(task(verifier=verifier), [(item("a", truth), Response("a", 0, response))], workers=1)
    assert found.score == 1.0
    assert extracted in found.extracted


def test_an_undecided_verdict_is_null(monkeypatch):
    from tulu_data.verifiers import pool
    from tulu_data.verifiers.verdict import undecided

    monkeypatch.setattr(pool.VerifierPool, "map", lambda self, tasks: (undecided("no verdict") for _ in tasks))
    pairs = [(item("a"), Response("a", 0, "4"))]
    table = rows(pairs, score(task(), pairs))
    assert table.schema == SAMPLES
    (row,) = table.to_pylist()
    assert (row["score"], row["extracted"], row["reason"]) == (None, None, "no verdict")


def test_options_are_weighed_by_their_probability():
    weighed = task(verifier=None, output="options", metric="mc2", decoding=Decoding(samples=20))
    options = (("yes", True), ("surely", True), ("no", False))
    pairs = in_order(weighed, [item("a", options=options)], [Response("a", 0, "", (math.log(3), math.log(2), 0.0))])
    (found,) = score(weighed, pairs)
    assert found.score == pytest.approx(5 / 6)
    assert found.extracted == "yes"


def test_mc2_does_not_underflow_and_is_null_where_it_means_nothing():
    assert mc2([-5000.0, -5000.0], [True, False]) == pytest.approx(0.5)
    assert mc2([-1.0, -math.inf], [False, True]) == 0.0
    assert mc2([float("nan"), -1.0], [True, False]) is None
    assert mc2([-math.inf, -math.inf], [True, False]) is None
    assert mc2([-1.0], [False]) is None


def test_likelihoods_that_do_not_fit_the_options_are_named():
    weighed = task(verifier=None, output="options")
    with pytest.raises(InputError, match="1 log-likelihoods for the 2 options of 'a'"):
        score(weighed, [(item("a", options=(("yes", True), ("no", False))), Response("a", 0, "", (0.0,)))])


@pytest.mark.parametrize(
    ("responses", "said"),
    [
        ([Response("a", 0, "")], "no response to 'a', sample 1"),
        ([Response("a", 0, ""), Response("a", 0, "")], "two responses to 'a', sample 0"),
        ([Response("a", 0, ""), Response("a", 1, ""), Response("z", 0, "")], "'z', which was not asked"),
        ([Response("a", k, "") for k in range(3)], "3 responses where 2 were asked for"),
    ],
)
def test_responses_that_do_not_fit_the_items_are_named(responses, said):
    with pytest.raises(InputError, match=said):
        in_order(task(decoding=Decoding(samples=2)), [item("a")], responses)


def test_a_task_that_a_judge_scores_is_not_verified():
    with pytest.raises(UsageError, match="scored by a judge"):
        score(task(verifier=None, judge="safety"), [])


def test_rows_give_their_responses_back_and_hold_text_cut_inside_a_character():
    pairs = [(item("a", extra={"k": 1}), Response("a", 0, "half \ud83d", (-1.0,)))]
    table = unscored(pairs, "not judged yet")
    assert responses_of(table) == [Response("a", 0, "half ?", (-1.0,))]
    assert json.loads(table["extra"][0].as_py()) == {"k": 1}
