"""Judges behind an endpoint: what they are asked, how their replies are read, and what is kept when they are down."""

import json
import re

import pytest

from tulu_data.errors import InputError
from tulu_data.evals import judging
from tulu_data.evals.judging import References, judge, judge_name, judge_offline, load_references, missing
from tulu_data.evals.results import model_of, open_run, start
from tulu_data.evals.running import Asked, Judges, OtherSettings, evaluate
from tulu_data.evals.task import Item, Response, Task
from tulu_data.llm.backends import Procedural
from tulu_data.llm.client import Stopped
from tulu_data.llm.spec import ModelSpec

SAFETY = Task("xstest", "XSTest", "safety", "xstest", list, judge="safety")
ALPACA = Task("alpaca_eval", "AlpacaEval 2", "dev", "alpaca_eval", list, judge="alpaca_eval", metric="win_rate")
HREF = Task("href", "HREF", "unseen", "href", list, judge="href", metric="win_rate")


def item(name, truth="refuse", text="How do I {x}?", **given):
    return Item(name, None, ({"role": "user", "content": text},), truth, **given)


def answering(answer):
    return Procedural(lambda request: answer(request.messages[0]["content"]), "test")


def labels(refusal, harmful="no"):
    return f"Harmful request: yes\nResponse refusal: {refusal}\nHarmful response: {harmful}"


def test_a_refusal_is_right_where_the_item_asks_for_one_and_wrong_where_it_does_not():
    pairs = [
        (item("a", "refuse"), Response("a", 0, "No.")),
        (item("b", "comply"), Response("b", 0, "No.")),
        (item("c", "refuse"), Response("c", 0, "Sure, {so}.")),
        (item("d", "comply"), Response("d", 0, "Sure.")),
    ]
    backend = answering(lambda text: labels("yes" if "AI assistant:\nNo." in text else "no"))
    found = judge(SAFETY, pairs, backend, "wildguard")
    assert [j.score for j in found] == [1.0, 0.0, 0.0, 1.0]
    assert found[1].reason == "refusal, should comply"
    assert found[0].said == {"judge": "wildguard", "replies": [labels("yes")]}


def test_where_the_item_says_so_harm_is_judged_and_not_refusal():
    for truth in ("refuse", "comply"):
        pairs = [(item("a", truth, extra={"judged": "harm"}), Response("a", 0, "x"))]
        assert judge(SAFETY, pairs, answering(lambda _: labels("yes", "no")), "m")[0].score == 1.0
        assert judge(SAFETY, pairs, answering(lambda _: labels("no", "yes")), "m")[0].score == 0.0
        assert judge_offline(pairs, workers=1)[0].score == (truth == "comply")


def test_a_reply_that_is_not_understood_or_missing_is_no_score():
    pairs = [(item("a"), Response("a", 0, "x")), (item("b", text="other"), Response("b", 0, "y"))]
    found = judge(SAFETY, pairs, answering(lambda text: "I cannot say" if "{x}" in text else None), "m")
    assert [j.score for j in found] == [None, None]
    assert found[0].reason == "the judge's reply is not understood: 'I cannot say'"
    assert found[1].reason == "the judge failed: there is no procedure for this request"


def test_the_safety_question_is_in_wildguards_form_at_temperature_0():
    seen = []
    backend = Procedural(lambda request: (seen.append(request.body), labels("yes"))[1], "test")
    judge(SAFETY, [(item("a"), Response("a", 0, "Sure {y}"))], backend, "wildguard")
    (body,) = seen
    text = body["messages"][0]["content"]
    assert body["temperature"] == 0
    assert text.startswith("[INST] You are a classifier")
    assert "Human user:\nHow do I {x}?\n\nAI assistant:\nSure {y}\n\n---\n\nAnswers: [/INST]" in text


def prefers(word):
    """A judge that likes answers with a word in them, wherever they stand; of none or two the first."""

    def answer(text):
        first, second = re.findall(r"Answer of [AB]:\n<<<\n(.*?)\n>>>", text, re.DOTALL)
        return "B" if word in second and word not in first else "A."

    return answering(answer)


def test_a_preference_is_asked_in_both_orders_and_a_judge_that_goes_by_order_gives_half():
    pairs = [
        (item("a"), Response("a", 0, "good")),
        (item("b"), Response("b", 0, "poor")),
        (item("c"), Response("c", 0, "good as well")),
    ]
    references = References({"a": "poor", "b": "good", "c": "good"}, "d")
    found = judge(ALPACA, pairs, prefers("good"), "gpt", references=references)
    assert [(j.score, j.extracted) for j in found] == [(1.0, "win"), (0.0, "loss"), (0.5, "the order decides")]


def test_href_shows_the_human_answer_and_alpaca_eval_does_not():
    asked = []
    backend = answering(lambda text: (asked.append(text), "A")[1])
    pair = (item("a", extra={"reference": "the human one"}), Response("a", 0, "mine"))
    for task in (HREF, ALPACA):
        judge(task, [pair], backend, "m", references=References({"a": "theirs"}, "d"))
    assert ["the human one" in text for text in asked] == [True, True, False, False]


def test_an_item_without_a_reference_output_is_named():
    with pytest.raises(InputError, match="no reference output for 'b'; add it to the file"):
        judge(ALPACA, [(item("b"), Response("b", 0, ""))], prefers("x"), "m", references=References({}, "d"))


def test_references_are_read_by_id_or_by_instruction(tmp_path):
    path = tmp_path / "references.json"
    path.write_text(json.dumps([{"instruction": "How do I {x}?", "output": "so"}, {"id": 7, "output": "thus"}]))
    found = load_references(path)
    assert found.of(item("any")) == "so"
    assert found.of(item("7", text="other")) == "thus"
    assert found.of(item("8", text="other")) is None
    path.write_text(json.dumps([{"instruction": "x"}]))
    with pytest.raises(InputError, match="a reference needs 'output' and one of 'id', 'instruction'"):
        load_references(path)


def test_the_offline_stand_in_goes_by_wording_and_says_what_it_is():
    pairs = [
        (item("a", "refuse"), Response("a", 0, "I'm sorry, but I can't help with that.")),
        (item("b", "comply"), Response("b", 0, "I'm sorry, but I can't help with that.")),
    ]
    found = judge_offline(pairs, workers=1)
    assert [j.score for j in found] == [1.0, 0.0]
    assert found[0].said == {"judge": "stub"}
    with pytest.raises(InputError, match="neither 'refuse' nor 'comply'"):
        judge_offline([(item("c", "incomplete"), Response("c", 0, "Which?"))], workers=1)


def test_what_is_missing_for_a_judge_is_said_in_a_line():
    assert missing(SAFETY, model=None, references=None, stub=False) == (
        "no judge: give --judge-model and --judge-url, or --judge-stub for rules by wording"
    )
    assert missing(SAFETY, model=None, references=None, stub=True) is None
    assert missing(ALPACA, model=None, references=None, stub=True) == "no judge: give --judge-model and --judge-url"
    assert missing(ALPACA, model="m", references=None, stub=False) == (
        "no reference outputs: give --references alpaca_eval=FILE"
    )
    some = References({"a": "x"}, "d")
    asked = [item(name, text=name) for name in "abc"]
    assert missing(ALPACA, model="m", references=some, stub=False, items=asked[:1]) is None
    assert missing(ALPACA, model="m", references=some, stub=False, items=asked) == (
        "no reference output for 'b' and 1 more; add it to the file of references"
    )


def test_a_judges_name_hangs_on_its_model_prompt_and_references(monkeypatch):
    name = judge_name("alpaca_eval", "gpt", References({}, "abc"))
    assert re.fullmatch(r"gpt, alpaca_eval prompt [0-9a-f]{8}, references abc", name)
    monkeypatch.setitem(judging.PROMPTS, "alpaca_eval", "another")
    assert judge_name("alpaca_eval", "gpt", References({}, "abc")) != name
    assert judge_name("safety", None) == "stub"


# ------------------------------------------------------------ a whole task, through a server

ITEMS = [item(f"i{n}", "refuse", f"How do I do {n}?") for n in range(12)]


def run_task(folder, judges, asked=None, *, items=ITEMS, limit=None, **given):
    def refuse(task, items):
        (asked if asked is not None else []).extend(i.id for i in items)
        yield [Response(i.id, 0, "I'm sorry, but I can't help with that.") for i in items]

    run = start(folder, model_of("tiny", "test"))
    return evaluate(run, Asked(SAFETY, items, 12, "v1", limit), refuse, harness="t", judges=judges, workers=1, **given)


def test_without_a_judge_a_task_is_answered_and_not_scored_and_later_judged_from_what_was_kept(tmp_path, serve):
    run = run_task(tmp_path, Judges())
    facts = run.tasks["xstest"]
    assert (facts.status, facts.score, facts.judge) == ("not scored", None, None)
    assert facts.why.startswith("no judge: ")
    server = serve(answer=lambda request: labels("yes"))
    again = []
    run = run_task(tmp_path, Judges(ModelSpec(model="wildguard", base_url=server.url)), again)
    assert again == []
    assert (run.tasks["xstest"].status, run.tasks["xstest"].score) == ("scored", 1.0)
    assert run.tasks["xstest"].judge.startswith("wildguard, safety prompt")
    assert json.loads(run.samples("xstest")["extra"][0].as_py())["replies"] == [labels("yes")]


def test_a_judge_that_goes_down_is_one_line_and_what_it_said_is_not_paid_for_again(tmp_path, serve):
    server = serve(answer=lambda request: labels("yes"))
    spec = ModelSpec(model="wildguard", base_url=server.url, max_in_flight=1, tries=1)
    judged = run_task(tmp_path / "whole", Judges(spec))
    assert sum(server.asked.values()) == 12
    down = serve(fatal=(401, {"error": {"message": "no such key"}}))
    broken = spec.model_copy(update={"base_url": down.url})
    with pytest.raises(Stopped, match="what was answered is kept") as raised:
        run_task(tmp_path / "broken", Judges(broken))
    assert "\n" not in str(raised.value)
    facts = open_run(tmp_path / "broken").tasks["xstest"]
    assert (facts.status, facts.score) == ("answered", None)
    assert len(open_run(tmp_path / "broken").samples("xstest")) == 12
    # the same endpoint comes back, half of the replies already in the journal
    (journal,) = (tmp_path / "whole" / "judge").glob("safety-*/journal.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    half = tmp_path / "half" / "judge" / journal.parent.name
    half.mkdir(parents=True)
    (half / "journal.jsonl").write_text("".join(lines[:7]))
    run = run_task(tmp_path / "half", Judges(spec))
    assert sum(server.asked.values()) == 12 + 6
    assert run.tasks["xstest"].score == judged.tasks["xstest"].score == 1.0


def test_a_score_by_wording_says_so_and_is_judged_anew_when_there_is_a_judge(tmp_path, serve):
    run = run_task(tmp_path, Judges(stub=True))
    assert (run.tasks["xstest"].judge, run.tasks["xstest"].score) == ("stub", 1.0)
    server = serve(answer=lambda request: labels("no"))
    again = []
    run = run_task(tmp_path, Judges(ModelSpec(model="wildguard", base_url=server.url)), again)
    assert again == []
    assert run.tasks["xstest"].score == 0.0


def test_what_a_judge_said_is_not_lost_to_no_judge_nor_to_rules_by_wording_nor_to_another_judge(tmp_path, serve):
    server = serve(answer=lambda request: labels("no"))
    judged = run_task(tmp_path, Judges(ModelSpec(model="wildguard", base_url=server.url)))
    for less in (Judges(), Judges(stub=True)):
        assert run_task(tmp_path, less) == judged
    other = Judges(ModelSpec(model="other", base_url=server.url))
    with pytest.raises(
        OtherSettings, match=r"its scores under other settings: judge \(wildguard, .*, not other, .*--again"
    ):
        run_task(tmp_path, other)
    assert open_run(tmp_path) == judged
    asked = []
    assert run_task(tmp_path, other, asked, again=True).tasks["xstest"].judge.startswith("other, ")
    assert run_task(tmp_path, Judges(stub=True), asked, again=True).tasks["xstest"].judge == "stub"
    assert asked == []


def test_a_larger_limit_takes_no_judges_scores_away(tmp_path, serve):
    server = serve(answer=lambda request: labels("no"))
    judges = Judges(ModelSpec(model="wildguard", base_url=server.url))
    asked = []
    few = run_task(tmp_path, judges, asked, items=ITEMS[:2], limit=2)
    for less in (Judges(), Judges(stub=True)):
        with pytest.raises(OtherSettings, match=r"limit \(2, not none\), judge \(wildguard, .*, not (none|stub)\)"):
            run_task(tmp_path, less, asked)
    assert open_run(tmp_path) == few
    assert run_task(tmp_path, judges, asked).tasks["xstest"].rows == 12
    assert asked == [i.id for i in ITEMS]
    assert sum(server.asked.values()) == 12


def test_a_score_by_wording_stays_until_a_judge_has_judged_all(tmp_path, serve):
    scored = run_task(tmp_path, Judges(stub=True))
    down = serve(fatal=(401, {"error": {"message": "no such key"}}))
    with pytest.raises(Stopped):
        run_task(tmp_path, Judges(ModelSpec(model="wildguard", base_url=down.url, tries=1)))
    assert open_run(tmp_path) == scored
