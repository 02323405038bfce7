"""The client against a server that misbehaves: nothing is lost, nothing is paid for twice, nothing waits for ever."""

import time

import pytest

from tulu_data.errors import UsageError
from tulu_data.llm.client import Budget, Client, Stopped
from tulu_data.llm.endpoint import Endpoint
from tulu_data.llm.journal import Journal
from tulu_data.llm.prices import Price
from tulu_data.llm.request import Answer, Failure, Request

ALL_FAULTS = ("429", "429-bare", "500", "drop", "truncated", "content-type", "empty", "hang")


def requests(count, **params):
    for i in range(count):
        yield Request("m", ({"role": "user", "content": f"question {i}"},), params)


def ask(server, asked, *, folder=None, then=None, max_in_flight=64, **settings):
    """Outcomes by the question, and the tally."""
    found = {}

    def keep(request, outcome):
        found[request.messages[0]["content"]] = outcome
        return then(request, outcome) if then else None

    endpoints = [Endpoint(server.url, max_in_flight=max_in_flight)]
    settings = {"timeout_s": 2.0, **settings}
    if folder is None:
        return found, Client(endpoints, **settings).run(asked, keep)
    with Journal(folder, [e.url for e in endpoints]) as journal:
        return found, Client(endpoints, journal, **settings).run(asked, keep)


def test_a_429_pauses_the_endpoint_once_not_for_each_that_was_under_way(serve):
    server = serve(faults={"429-bare": 1.0}, latency_s=0.05)
    start = time.monotonic()
    ask(server, requests(60))
    assert time.monotonic() - start < 30  # thirty at once would add up to a minute's pause


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_no_row_is_lost_and_each_fault_costs_one_request(serve, tmp_path, share):
    server = serve(faults=dict.fromkeys(ALL_FAULTS, share / len(ALL_FAULTS)), seed=1)
    found, tally = ask(server, requests(400), folder=tmp_path)
    assert len(found) == 400
    assert all(isinstance(a, Answer) and a.text == f"answer to {q}" for q, a in found.items())
    faults = server.faulty.total()
    assert faults > 400 * share / 3
    assert tally.sent == server.asked.total() == 400 + faults
    assert server.answered.total() == 400
    assert tally.held_back == server.faulty["429"] + server.faulty["429-bare"]


@pytest.mark.parametrize("fault", ALL_FAULTS)
def test_each_fault_alone_is_survived(serve, fault):
    server = serve(faults={fault: 1.0})
    found, tally = ask(server, requests(20), timeout_s=0.5)
    assert sum(isinstance(a, Answer) for a in found.values()) == 20
    assert server.asked.total() == 40
    assert tally.failed == 0


def test_a_streamed_answer_is_put_together(serve):
    found, tally = ask(serve(), requests(3, stream=True))
    assert found["question 1"].text.split() == "answer to question 1".split()
    assert (tally.answered, tally.completion_tokens) == (3, 15)


def test_a_429_uses_up_no_attempt(serve):
    server = serve(faults={"429": 1.0}, patience=20)
    found, tally = ask(server, requests(3), tries=1)
    assert all(isinstance(a, Answer) and a.attempts == 1 for a in found.values())
    assert tally.held_back == 60


def test_tries_come_to_an_end_and_the_reason_is_kept(serve):
    server = serve(faults={"500": 1.0}, patience=99)
    found, tally = ask(server, requests(3), tries=2)
    assert all(isinstance(f, Failure) and f.status == 500 and f.attempts == 2 for f in found.values())
    assert server.asked.total() == 6
    assert tally.failed == 3


def test_the_deadline_of_a_request_holds_over_all_its_tries(serve):
    server = serve(faults={"hang": 1.0}, patience=99)
    found, _ = ask(server, requests(2), timeout_s=0.3, deadline_s=0.5, tries=99)
    assert all(isinstance(f, Failure) and "no answer within" in f.reason for f in found.values())


def test_what_the_journal_answers_is_not_sent_and_is_the_same(serve, tmp_path):
    server = serve()
    first, _ = ask(server, requests(50), folder=tmp_path)
    again, tally = ask(server, requests(60), folder=tmp_path)
    assert server.asked.total() == 60
    assert (tally.kept, tally.answered) == (50, 10)
    assert {q: a._replace(kept=False) for q, a in again.items() if q in first} == first


def test_a_changed_request_is_asked_again_and_only_it(serve, tmp_path):
    server = serve()
    ask(server, requests(5, temperature=0.5), folder=tmp_path)
    _, tally = ask(server, requests(5, temperature=0.6), folder=tmp_path)
    assert (tally.kept, tally.answered) == (0, 5)
    same = Request("m", ({"role": "user", "content": "question 0"},), {"temperature": 0.6}, sample=1)
    _, tally = ask(server, [same], folder=tmp_path)
    assert tally.answered == 1  # another sample of the same request
    assert len({r.key for r in [*requests(5, temperature=0.5), *requests(5, temperature=0.6), same]}) == 11


def test_equal_requests_under_way_at_once_are_sent_once(serve, tmp_path):
    server = serve(latency_s=0.05)
    same = [Request("m", ({"role": "user", "content": f"question {i % 5}"},)) for i in range(50)]
    found, tally = ask(server, same, folder=tmp_path)
    assert server.asked.total() == 5
    assert (tally.answered, tally.kept) == (5, 45)
    assert len(found) == 5


def test_an_answer_leads_to_further_requests_at_once(serve):
    server = serve(latency_s=0.01)

    def solve(request, outcome):
        if request.tag == "problem":
            return [Request("m", ({"role": "user", "content": f"solve {outcome.text}"},), tag="solution")]
        return None

    problems = (Request("m", ({"role": "user", "content": f"p{i}"},), tag="problem") for i in range(30))
    found, tally = ask(server, problems, then=solve, max_in_flight=4)
    assert tally.answered == 60
    assert found["solve answer to p7"].text == "answer to solve answer to p7"


def test_never_more_at_once_than_allowed(serve):
    server = serve(latency_s=0.01)
    ask(server, requests(200), max_in_flight=7)
    assert server.most_in_flight == 7


def test_plans_are_read_only_as_far_as_there_are_workers(serve):
    server = serve()
    read = []

    def endless():
        for i in range(10**9):
            read.append(i)
            yield Request("m", ({"role": "user", "content": str(i)},))

    with pytest.raises(Stopped, match="the budget of 3,000 tokens is spent"):
        ask(server, endless(), max_in_flight=8, budget=Budget(tokens=3_000))
    assert len(read) <= 200 + 16
    assert server.answered.total() <= 200


def test_a_budget_in_dollars_stops_in_time_and_needs_a_price(serve):
    server = serve()
    with pytest.raises(Stopped, match=r"the budget of 0\.01 USD is spent"):
        ask(server, requests(10_000), budget=Budget(usd=0.01), price=Price(10, 20), max_in_flight=8)
    assert server.answered.total() * (10 * 10 + 5 * 20) / 1e6 <= 0.0101
    with pytest.raises(Exception, match="give --price"):
        ask(server, requests(100), budget=Budget(usd=0.01))


@pytest.mark.parametrize(
    ("fatal", "problem"),
    [
        ((401, {"error": {"message": "bad key"}}), r"the key is not accepted \(401: bad key\)"),
        ((404, {"error": {"message": "no model m", "code": "model_not_found"}}), r"no such model or address"),
        ((429, {"error": {"message": "pay", "code": "insufficient_quota"}}), r"the quota is used up \(pay\)"),
    ],
)
def test_what_no_retry_can_mend_stops_the_run_in_one_line(serve, tmp_path, fatal, problem):
    server = serve(fatal=fatal)
    with pytest.raises(Stopped, match=problem) as stopped:
        ask(server, requests(1_000), folder=tmp_path, max_in_flight=16)
    assert "\n" not in str(stopped.value)
    assert server.asked.total() <= 16


def test_a_bad_request_fails_alone(serve):
    server = serve(fatal=(400, {"error": {"message": "too long"}}))
    found, tally = ask(server, requests(5))
    assert {f.reason for f in found.values()} == {"400: too long"}
    assert tally.sent == 5


def test_nobody_there():
    with pytest.raises(Stopped, match=r"http://127.0.0.1:9/v1: nobody answers \(cannot be reached"):
        Client([Endpoint("http://127.0.0.1:9/v1")]).run(requests(100), lambda *_: None)


def test_no_key_and_no_url(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="needs a key; set OPENAI_API_KEY"):
        Endpoint()
    with pytest.raises(UsageError, match="base URL 'localhost:8000': write it as"):
        Endpoint("localhost:8000")


def test_odd_answers_are_told_apart_and_ignored_parameters_noticed(serve):
    def one(odd, **params):
        found, _ = ask(serve(odd={odd: 1.0} if odd else {}), requests(1, **params))
        return found["question 0"]

    assert one("refusal").refusal == "I can't help with that."
    assert one("refusal").text is None
    assert one("cut-off").finish_reason == "length"
    assert one("ignored", n=3, logprobs=True).ignored == ("n", "logprobs")
    assert one(None, n=3, logprobs=True).ignored == ()
    assert one(None, n=3).texts == ("answer to question 0",) * 3
    assert one(None, max_tokens=3).ignored == ("max_tokens",)
    assert one(None, stop=["question"]).ignored == ("stop",)
    assert one(None, response_format={"type": "json_object"}).ignored == ("response_format",)


def test_several_endpoints_share_the_work_and_one_that_dies_is_rested(serve):
    good, dead = serve(latency_s=0.005), "http://127.0.0.1:9/v1"
    other = serve(latency_s=0.005)
    endpoints = [Endpoint(u, max_in_flight=8) for u in (good.url, other.url, dead)]
    found = []
    tally = Client(endpoints, tries=20).run(requests(300), lambda _, outcome: found.append(outcome))
    assert tally.answered == 300
    assert min(good.answered.total(), other.answered.total()) > 50


def test_a_bug_in_the_callers_code_keeps_its_traceback(serve):
    def broken(request, outcome):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Client([Endpoint(serve().url)]).run(requests(10), broken)
