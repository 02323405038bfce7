"""What a judge says is read by label, never by place: one bad rating takes one text out and moves no other."""

import json
import random
import re
from collections import Counter, deque
from hashlib import sha256

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personas import prompts, talking
from personas.pairs import running
from personas.pairs.judging import (
    ASPECTS,
    JUDGE,
    ON_POLICY,
    STRUCTURE,
    Rating,
    chosen_of,
    judge,
    labels_of,
    mean_of,
    position_bias,
    ratings_in,
)
from personas.pairs.pair import PairWork, Source
from personas.pairs.step import JUDGE_STAGES, job_of, validate
from personas.skill import Rejected, Reply
from tulu_data.llm.request import Answer, Failure, Usage
from tulu_data.llm.spec import ModelSpec

PROMPTS = prompts.load("judge", JUDGE_STAGES)
TEXTS = {
    "BK3": "Bees are gentle animals that fly from flower to flower.",
    "CD4": "Rain falls on the roof tonight and on the garden.",
    "FG5": "Stones roll down the hill when nobody looks at them.",
    "HM7": "Clocks tick more loudly in a house that is asleep.",
}


def values(reply, texts=TEXTS, **options):
    return {label: rating.value for label, rating in ratings_in(reply, texts, **options).items()}


def entry(label, rating, **more):
    return {"id": label, "begins": " ".join(TEXTS[label].split()[:5]), "rationale": "so", "rating": rating, **more}


def listed(*entries):
    return json.dumps({"ratings": list(entries)})


# ------------------------------------------------------------ forms that are read

RATINGS = {"BK3": 4, "CD4": 2, "FG5": 5, "HM7": 1}
LIST = listed(*(entry(k, v) for k, v in RATINGS.items()))
BACKWARDS = listed(*(entry(k, v) for k, v in reversed(RATINGS.items())))
BY_ID = json.dumps({"ratings": {k: {"rationale": "so", "rating": v} for k, v in RATINGS.items()}})
FORMS = {
    "a list": LIST,
    "a list in another order": BACKWARDS,
    "by id": BY_ID,
    "by id, numbers alone": json.dumps({"ratings": RATINGS}),
    "by id, without a key": json.dumps(RATINGS),
    "a list without a key": json.dumps(json.loads(LIST)["ratings"]),
    "one object a line": "\n".join(json.dumps(e) for e in json.loads(LIST)["ratings"]),
    "indented": json.dumps(json.loads(LIST), indent=2),
    "in a fence": f"```json\n{LIST}\n```",
    "in a bare fence": f"```\n{LIST}\n```",
    "after prose": f"Here are my ratings:\n{LIST}",
    "between prose with braces": f"I was to fill in {{ratings}}.\n```json\n{LIST}\n```\nI hope {{that}} helps.",
    "a comma too many": LIST.replace("]}", ",]}"),
    "numbers as text": listed(*(entry(k, f"{v}") for k, v in RATINGS.items())),
    "numbers as floats": listed(*(entry(k, float(v)) for k, v in RATINGS.items())),
    "numbers of five": listed(*(entry(k, f"{v}/5") for k, v in RATINGS.items())),
    "ids as in the headings": listed(*(entry(k, v, id=f"### Text {k}") for k, v in RATINGS.items())),
    "ids with a prefix": listed(*(entry(k, v, id=f"Text {k}") for k, v in RATINGS.items())),
    "ids in lower case": listed(*(entry(k, v, id=f"text {k.lower()}:") for k, v in RATINGS.items())),
    "text": "\n".join(f"Text {k}\nRating: {v}\nRationale: so" for k, v in RATINGS.items()),
    "text after a header": "Here are my ratings:\n\n" + "\n".join(f"Text {k}\nRating: {v}" for k, v in RATINGS.items()),
    "text with headings": "\n\n".join(f"#### Output for Text {k}\nRating: {v}" for k, v in RATINGS.items()),
    "text in bold": "\n\n".join(f"**Text {k}**\n**Rating:** {v}\n**Rationale:** so" for k, v in RATINGS.items()),
    "text of five": "\n".join(f"Text {k}:\nRating: {v}/5" for k, v in RATINGS.items()),
    "text with floats": "\n".join(f"Text {k}:\nRating: {v}.0" for k, v in RATINGS.items()),
    "text, reasons before": "\n".join(f"Text {k}\nRationale: rating 3 is low\nRating: {v}" for k, v in RATINGS.items()),
    "text, a line each": "\n".join(f"- Text {k}: {v}" for k, v in RATINGS.items()),
    "text, a line each, with reasons": "\n".join(f"Text {k} - Rating: {v}, for it is so." for k, v in RATINGS.items()),
    "text, numbered": "\n".join(f"{i}. Text {k}\nRating: {v}" for i, (k, v) in enumerate(RATINGS.items(), 1)),
    "text backwards": "\n".join(f"Rating for Text {k}: {v}" for k, v in reversed(RATINGS.items())),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_reply_gives_each_text_its_own_rating(form):
    assert values(FORMS[form]) == RATINGS


@pytest.mark.parametrize("said", ["N/A", "n/a", "NA", "**N/A**"])
def test_na_is_null_where_the_aspect_may_be_void_and_missing_where_it_may_not(said):
    for reply in (listed(entry("BK3", said), entry("CD4", 3)), f"Text BK3\nRating: {said}\nText CD4\nRating: 3"):
        assert values(reply) == {"BK3": None, "CD4": 3}
        assert values(reply, void=False) == {"CD4": 3}


@pytest.mark.parametrize("said", [0, 6, 4.5, -1, 10, 1e999, True, None, [], {}, "0", "6", "45", "4.5", "four", "", "²"])
def test_what_is_no_rating_from_1_to_5_is_missing(said):
    assert values(listed(entry("BK3", said), entry("CD4", 3))) == {"CD4": 3}
    if isinstance(said, int | float | str) and not isinstance(said, bool) and said not in (-1, 1e999):
        assert values(f"Text BK3\nRating: {said}\nText CD4\nRating: 3") == {"CD4": 3}


def test_a_number_that_no_computer_holds_is_missing_and_no_error():
    for said in ("NaN", "Infinity", "-Infinity", "1" * 5000, f'"{"9" * 5000}"'):
        reply = '{"ratings": [{"id": "BK3", "rating": SAID}, {"id": "CD4", "rating": 3}]}'.replace("SAID", said)
        assert values(reply) == {"CD4": 3}


GARBAGE = {
    "nothing": "",
    "a refusal": "I'd rather not.",
    "a brace": "{",
    "an empty list": "[]",
    "an empty object": "{}",
    "null": '{"ratings": null}',
    "a list of scalars": '{"ratings": [1, "a"]}',
    "odd types": '{"ratings": [{"id": {}, "begins": [], "rating": {}}]}',
    "nested without end": '{"a":' * 20_000,
    "braces without end": "{" * 20_000,
    "stars without end": "*" * 20_000,
    "lines without end": "- \n" * 20_000,
    "ratings without end": "Rating: " * 20_000,
}


@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
def test_garbage_gives_no_ratings_and_no_error(reply):
    assert values(reply) == {}


def test_a_reply_that_is_cut_off_keeps_the_ratings_that_are_whole():
    cut = LIST[: LIST.index('"FG5"') + 20]
    assert values(cut) == {"BK3": 4, "CD4": 2}


def test_a_rating_goes_to_the_label_it_stands_under_and_to_no_text_before_it():
    assert values("Text BK3\nI cannot say.\nText QQ9\nRating: 1\nText CD4\nRating: 5") == {"CD4": 5}
    assert values("Text BK3: 2\nText 7\nRating: 1\nText CD4\nRating: 5") == {"BK3": 2, "CD4": 5}


def test_a_label_that_is_only_spoken_of_is_not_rated():
    reply = "Text BK3\nRationale: it is clearer than\nText CD4, which rambles.\nRating: 5\nText FG5\nRating: 2"
    assert values(reply).get("CD4") is None
    assert values(reply)["FG5"] == 2
    mentioned = "Text BK3\nRationale: better than CD4 and FG5, rating it is easy\nRating: 5\nText CD4\nRating: 2"
    assert values(mentioned) == {"BK3": 5, "CD4": 2}


def test_a_label_rated_twice_keeps_its_rating_only_where_both_agree():
    assert values(listed(entry("BK3", 4), entry("BK3", 4), entry("CD4", 2))) == {"BK3": 4, "CD4": 2}
    assert values(listed(entry("BK3", 4), entry("CD4", 2), entry("BK3", 3), entry("BK3", 3))) == {"CD4": 2}
    assert values('{"ratings": {"BK3": 4, "CD4": 2, "BK3": 3}}') == {"CD4": 2}
    assert values("Text BK3\nRating: 4\nRating: 3\nText CD4\nRating: 2") == {"CD4": 2}


def test_a_judge_that_swaps_ids_is_found_out_where_it_copied_how_the_texts_begin():
    swapped = listed(
        entry("BK3", 5, id="CD4"),
        entry("CD4", 1, id="BK3"),
        entry("FG5", 3),
        entry("HM7", 2, begins="“Clocks, TICK more"),
    )
    assert values(swapped) == {"FG5": 3, "HM7": 2}


def test_texts_that_begin_alike_are_told_apart_by_label_alone():
    alike = {"BK3": "The answer to this is four.", "CD4": "The answer to this is five."}
    reply = listed(*({"id": k, "begins": "The answer to this is", "rating": r} for k, r in (("BK3", 5), ("CD4", 2))))
    assert values(reply, alike) == {"BK3": 5, "CD4": 2}


# ------------------------------------------------------------ one bad entry, in any form


def as_json(entries):
    return json.dumps({"ratings": [e for e in entries if e is not None]})


def as_text(entries):
    """Entries as text, which has no beginnings; a rating may be several lines."""
    parts = []
    for e in entries:
        if e is not None:
            said = e["rating"] if isinstance(e["rating"], list) else [e["rating"]]
            lines = [f"Rating: {r}" for r in said if r is not None]
            parts.append("\n".join([f"#### Output for Text {e['id']}", *lines, "Rationale: so"]))
    return "Here are my ratings:\n\n" + "\n\n".join(parts)


def other_than(rating):
    return st.integers(1, 5).filter(lambda r: r != rating)


def corrupted(draw, entries, victim, form):
    """The entries with one that is wrong, in one of several ways."""
    own = entries[victim]
    neighbour = draw(st.sampled_from([e for e in entries if e is not own]))
    ways = {
        "left out": [None],
        "unknown label": [{**own, "id": draw(st.sampled_from(["QQ9", "ZZ2", "XW3"]))}],
        "no number": [{**own, "rating": draw(st.sampled_from([0, 6, 4.5, "none", None]))}],
        "twice": [own, {**own, "rating": draw(other_than(own["rating"]))}],
    }
    if form is as_json:
        ways |= {
            "no label": [{k: v for k, v in own.items() if k != "id"}],
            "numbered": [{**own, "id": str(victim + 1)}],
            "a neighbour's label": [{**own, "id": neighbour["id"], "rating": draw(st.integers(1, 5))}],
            "a neighbour's beginning": [{**own, "begins": neighbour["begins"]}],
            "no object": ["4"],
        }
    else:
        ways["two lines"] = [{**own, "rating": [own["rating"], draw(other_than(own["rating"]))]}]
    wrong = ways[draw(st.sampled_from(sorted(ways)))]
    rest = [e for e in entries if e is not own]
    for one in wrong:
        rest.insert(draw(st.integers(0, len(rest))), one)
    return rest


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(st.integers(1, 5), min_size=4, max_size=4), st.integers(0, 3), st.sampled_from([0, 1]))
def test_one_bad_entry_takes_its_text_out_and_leaves_all_others_as_they_are(data, rated, victim, which):
    form = (as_json, as_text)[which]
    entries = [entry(label, r) for label, r in zip(TEXTS, rated, strict=True)]
    whole = values(form(entries))
    assert whole == dict(zip(TEXTS, rated, strict=True))
    bad = form(corrupted(data.draw, entries, victim, form))
    assert values(bad) == {k: r for k, r in whole.items() if k != list(TEXTS)[victim]}, bad


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, "N/A", 7]), min_size=4, max_size=4), st.permutations(range(4)))
def test_ratings_do_not_depend_on_the_order_of_the_entries(rated, order):
    entries = [entry(label, r) for label, r in zip(TEXTS, rated, strict=True)]
    for form in (as_json, as_text):
        assert values(form([entries[i] for i in order])) == values(form(entries))


# ------------------------------------------------------------ means, and which two


def test_a_mean_leaves_na_out_and_is_none_where_a_rating_is_missing_or_none_applies():
    assert mean_of([Rating(4), Rating(None), Rating(5)]) == 4.5
    assert mean_of([Rating(4), None, Rating(5)]) is None
    assert mean_of([Rating(None), Rating(None)]) is None
    assert mean_of([]) is None


def source(name="s", seed=0, prompt="Say something about the garden.", index=0, **row):
    return Source(name, index, ({"role": "user", "content": prompt},), row, seed)


MEANS = st.dictionaries(st.integers(0, 5), st.one_of(st.none(), st.sampled_from([1.0, 2.5, 3.0, 4.75])), min_size=1)


@settings(max_examples=200, deadline=None)
@given(MEANS, st.integers(0, 50))
def test_chosen_has_the_best_mean_and_rejected_a_strictly_lower_one_or_there_is_no_pair(means, seed):
    known = [m for m in means.values() if m is not None]
    if len(set(known)) < 2:
        with pytest.raises(Rejected, match="tie" if len(known) > 1 else "missing ratings"):
            chosen_of(means, source(seed=seed), None)
        return
    best, lower = chosen_of(means, source(seed=seed), None)
    assert means[best] == max(known) > means[lower]


@settings(max_examples=200, deadline=None)
@given(MEANS, st.integers(0, 50))
def test_one_side_is_always_the_on_policy_answer_and_the_better_one_is_chosen(means, seed):
    own = means.get(0)
    if own is None or not {m for m in means.values() if m is not None and m != own}:
        with pytest.raises(Rejected, match=r"tie|missing ratings"):
            chosen_of(means, source(seed=seed), 0)
        return
    pair = chosen_of(means, source(seed=seed), 0)
    assert 0 in pair
    assert means[pair[0]] > means[pair[1]]


def test_where_several_stand_alike_each_is_taken_by_some_seed():
    pairs = {chosen_of({0: 5.0, 1: 5.0, 2: 3.0, 3: 2.0}, source(seed=seed), None) for seed in range(60)}
    assert pairs == {(0, 2), (0, 3), (1, 2), (1, 3)}


# ------------------------------------------------------------ a row that talks, driven by hand


def reply(text, *, finish="stop", model="m"):
    return Reply(text, finish, Answer("", text, (text,), finish, None, model, Usage(1, 1), None, (), 1, "e", {}))


def drive(talk, answer):
    """Runs a row to its end; answer: question → reply. Gives the pair."""
    step = next(talk)
    while True:
        try:
            step = talk.send([answer(a) for a in step.asks])
        except StopIteration as over:
            return over.value


def shown_in(messages):
    """The texts that a judge is shown, as (label, text) in their order."""
    return re.findall(r"(?ms)^### Text (\w+)\n(.*?)\n\n(?=### Text|Compare)", messages[-1]["content"])


def judging(rate, said=None):
    """Answers of a pool whose models say who they are, and of a judge. rate: (text, place, aspect) → rating."""

    def answer(question):
        if question.route != JUDGE:
            text = said(question.route) if said else f"{question.route} says that this is so."
            return text if isinstance(text, Reply) else reply(text, model=question.route)
        shown = shown_in(question.messages)
        ratings = [
            {"id": k, "begins": " ".join(t.split()[:5]), "rationale": "so", "rating": rate(t, i, question.stage)}
            for i, (k, t) in enumerate(shown)
        ]
        return reply(json.dumps({"ratings": ratings}), model="critic")

    return answer


QUALITY = {"model-1": 2, "model-2": 5, "model-3": 3, "model-4": 1, ON_POLICY: 4}
POOL = [m for m in QUALITY if m != ON_POLICY]


def honest(text, place=0, aspect=""):
    return QUALITY[text.split()[0]]


def test_a_judges_best_is_chosen_over_a_lower_one_with_models_and_means():
    for i in range(20):
        pair = drive(judge(source(f"s{i}"), PROMPTS, POOL), judging(honest))
        assert (pair.chosen.model, pair.chosen.rating) == ("model-2", 5.0)
        assert pair.rejected.rating == QUALITY[pair.rejected.model] < 5
        assert pair.rejected.text == f"{pair.rejected.model} says that this is so."
        assert pair.evidence["models"].keys() == pair.evidence["means"].keys()
        assert {pair.evidence["models"][k]: m for k, m in pair.evidence["means"].items()} == {
            m: QUALITY[m] for m in POOL
        }


def test_the_on_policy_answer_is_one_side_of_every_pair():
    met = Counter()
    for i in range(40):
        pair = drive(judge(source(f"s{i}"), PROMPTS, POOL, on_policy=True), judging(honest))
        sides = (pair.chosen.model, pair.rejected.model)
        met[sides.index(ON_POLICY)] += 1
        assert pair.chosen.rating > pair.rejected.rating
        assert len(pair.evidence["models"]) == 4
    assert set(met) == {0, 1}


def test_a_row_that_one_model_fails_asks_no_other():
    class Server:
        def __init__(self, fails=()):
            self.fails, self.asked = fails, []

        def run(self, requests, then, *, watch=None):
            waiting = deque(requests)
            while waiting:
                request = waiting.popleft()
                self.asked.append(request.tag[0].id)
                answer = Answer(request.key, "So.", ("So.",), "stop", None, "m", Usage(1, 1), None, (), 1, "e", {})
                failed = request.tag[0].id in self.fails
                waiting.extend(then(request, Failure(request.key, "gone", 404, 1) if failed else answer) or ())

    rows = [Source(id_, i, ({"role": "user", "content": id_},), {}) for i, id_ in enumerate("ab")]
    work = PairWork(
        "judge",
        lambda: iter(rows),
        2,
        lambda source: judge(source, PROMPTS, ["model-1", "model-2"]),
        {route: ModelSpec(model=route) for route in ("model-1", "model-2", "judge")},
    )
    first, second, rates = Server(fails={"a"}), Server(), Server()
    failures = talking.generate(work, {"model-1": first, "model-2": second, "judge": rates})
    assert [route for route, _ in failures] == ["model-1"]
    assert (sorted(first.asked), second.asked, rates.asked) == (["a", "b"], ["b"], ["b"] * 4)


def test_a_tie_of_all_and_missing_ratings_make_no_pair_and_keep_what_was_said():
    with pytest.raises(Rejected, match="tie") as tie:
        drive(judge(source(), PROMPTS, POOL), judging(lambda *_: 3))
    with pytest.raises(Rejected, match="missing ratings") as missing:
        drive(judge(source(), PROMPTS, POOL), judging(lambda t, *_: 9 if "model-2" not in t else 4))
    for rejected in (tie, missing):
        assert [j["aspect"] for j in rejected.value.known["judgements"]] == list(ASPECTS)


def test_a_text_that_one_aspect_does_not_rate_is_on_neither_side():
    def rate(text, _, aspect):
        return "no idea" if text.startswith("model-2") and aspect == "honesty" else honest(text)

    for i in range(20):
        pair = drive(judge(source(f"s{i}"), PROMPTS, POOL), judging(rate))
        assert pair.chosen.model == "model-3"
        assert pair.rejected.model in ("model-1", "model-4")


def test_na_counts_in_no_mean_and_takes_a_text_out_where_the_aspect_always_applies():
    def void(*aspects):
        return lambda text, _, aspect: "N/A" if aspect in aspects and "model-2" in text else honest(text)

    pair = drive(judge(source(), PROMPTS, POOL), judging(void("honesty", "truthfulness")))
    assert (pair.chosen.model, pair.chosen.rating) == ("model-2", 5.0)
    for aspect in ("helpfulness", "instruction-following"):
        assert drive(judge(source(), PROMPTS, POOL), judging(void(aspect))).chosen.model == "model-3"


def test_answers_that_are_cut_off_or_empty_are_not_judged():
    def said(*whole):
        return lambda m: f"{m} says it." if m in whole else reply("" if m == "model-1" else f"{m} sa", finish="length")

    pair = drive(judge(source(), PROMPTS, POOL), judging(honest, said("model-3", "model-4")))
    assert (pair.chosen.model, pair.rejected.model) == ("model-3", "model-4")
    assert len(pair.evidence["means"]) == 2
    with pytest.raises(Rejected, match="too few answers"):
        drive(judge(source(), PROMPTS, POOL), judging(honest, said("model-2")))


def asked_of(row, pool=POOL, **options):
    """The routes that are drawn, and the judge's questions."""
    talk = judge(row, PROMPTS, pool, **options)
    first = next(talk).asks
    return [a.route for a in first], talk.send([reply(f"{a.route} says it.", model=a.route) for a in first]).asks


def test_models_labels_and_order_hang_on_seed_and_source_alone():
    pool = [f"model-{i}" for i in range(1, 9)]

    def drawn(**given):
        return [asked_of(source(f"s{i}", **given), pool) for i in range(30)]

    assert drawn() == drawn(index=7, license="mit")
    assert [routes for routes, _ in drawn()] == [routes for routes, _ in drawn(prompt="Another one.")]
    changed = [(a[0] != b[0], shown_in(a[1][0].messages) != shown_in(b[1][0].messages))
               for a, b in zip(drawn(), drawn(seed=1), strict=True)]  # fmt: skip
    assert sum(routes for routes, _ in changed) > 20
    assert sum(order for _, order in changed) > 20


def test_each_model_of_the_pool_is_drawn_and_each_place_is_taken_about_equally_often():
    pool = [f"model-{i}" for i in range(1, 9)]
    drawn, leading = Counter(), Counter()
    for i in range(400):
        routes, asks = asked_of(source(f"s{i}"), pool)
        assert len(set(routes)) == 4
        drawn.update(routes)
        leading[shown_in(asks[0].messages)[0][1].split()[0]] += 1
    assert all(150 < drawn[m] < 250 for m in pool), drawn  # 200 expected, standard deviation 10
    assert all(25 < leading[m] < 80 for m in pool), leading  # 50 expected, standard deviation 7


def test_the_on_policy_answer_stands_at_every_place_about_equally_often():
    places = Counter()
    for i in range(200):
        _, asks = asked_of(source(f"s{i}"), on_policy=True)
        places[[text.split()[0] for _, text in shown_in(asks[0].messages)].index(ON_POLICY)] += 1
    assert all(25 < places[place] < 75 for place in range(4)), places  # 50 expected, standard deviation 6


def test_labels_differ_and_do_not_tell_the_model_nor_the_place():
    by_place = [Counter() for _ in range(4)]
    for i in range(300):
        labels = labels_of(source(f"s{i}"), 4)
        assert len(set(labels)) == 4
        assert all(re.fullmatch(r"[A-Z]{2}[2-9]", label) for label in labels)
        for place, label in enumerate(labels):
            by_place[place][label] += 1
    assert all(counts.most_common(1)[0][1] < 12 for counts in by_place)


@pytest.mark.parametrize("both_orders", [False, True])
def test_the_judge_is_shown_every_label_and_text_and_nothing_that_says_a_place(both_orders):
    routes, asks = asked_of(source(), both_orders=both_orders)
    assert [a.stage for a in asks] == [aspect for aspect in ASPECTS for _ in range(1 + both_orders)]
    labels = labels_of(source(), 4)
    for a in asks:
        assert a.route == JUDGE
        assert dict(shown_in(a.messages)) == {k: f"{m} says it." for k, m in zip(labels, routes, strict=True)}
        text = a.messages[-1]["content"]
        assert "Say something about the garden." in text
        assert ("N/A" in text) == (a.stage in ("honesty", "truthfulness"))
        assert not re.search(
            r"(?i)\b(1st|2nd|first|second|third|fourth|last|text \d)\b", text.replace("first five words", "")
        )
    if both_orders:
        orders = [[k for k, _ in shown_in(a.messages)] for a in asks]
        assert orders[1] == orders[0][::-1]


# ------------------------------------------------------------ position bias

BETTER, WORSE = "model-1 says it.", "model-2 says it."
POOR = {"honesty", "truthfulness"}  # aspects in which the worse text is one lower


def leaning(bias):
    def rate(text, place, aspect):
        return 3 + bias * (place == 0) - (text == WORSE and aspect in POOR)

    return judging(rate, lambda m: f"{m} says it.")


def judged(bias, both_orders):
    rows = [judge(source(f"s{i}"), PROMPTS, POOL[:2], both_orders=both_orders) for i in range(40)]
    return [drive(talk, leaning(bias)) for talk in rows]


def test_a_judge_that_leans_to_what_stands_first_is_found_out():
    bias = position_bias(pair.evidence for pair in judged(1, both_orders=True))
    assert bias.mean == 1
    assert bias.ratings == 40 * 2 * len(ASPECTS)
    assert position_bias(pair.evidence for pair in judged(0, both_orders=True)).mean == 0
    assert position_bias(pair.evidence for pair in judged(1, both_orders=False)) is None


def test_both_orders_find_the_better_text_where_one_order_is_led_astray():
    assert Counter(p.chosen.text for p in judged(1, both_orders=True)) == {BETTER: 40}
    assert 8 < Counter(p.chosen.text for p in judged(1, both_orders=False))[WORSE] < 32


def test_bias_is_the_same_whichever_of_the_two_orders_comes_first():
    one, other = ({"aspect": "honesty", "order": o, "ratings": dict(zip(o, r, strict=True))}
                  for o, r in ((["A", "B", "C"], [4, 3, 2]), (["C", "B", "A"], [3, 3, 3])))  # fmt: skip
    expected = (1.0, 2)  # A and C each one higher when earlier, B stays in its place
    assert position_bias([{"judgements": [one, other]}]) == expected
    assert position_bias([{"judgements": [other, one]}]) == expected
    assert position_bias([{"right": 1}]) is None


# ------------------------------------------------------------ a whole run against a server

MODELS = ("alpha", "beta", "gamma", "delta")
GARBLED, TIED, SHY = "Question 3?", "Question 5?", "Question 7?"


def quality(prompt):
    """What the judge thinks of each model's answer to a prompt: all different."""
    rng = random.Random(sha256(prompt.encode()).hexdigest())
    return dict(zip(MODELS, rng.sample((2, 3, 4, 5), 4), strict=True))


def play(request):
    """Four models and a judge."""
    text = request["messages"][-1]["content"]
    if request["model"] in MODELS:
        return f"{request['model']} answers thus: {text}"
    prompt = re.search(r"Question \d+\?", text)[0]
    if prompt == GARBLED:
        return "I would say 4, 5, 2 and 3."
    shown = shown_in(request["messages"])
    ratings = [
        {"id": k, "begins": " ".join(t.split()[:5]), "rationale": "so", "rating": quality(prompt)[t.split()[0]]}
        for k, t in shown
    ]
    if prompt == TIED:
        ratings = [{**r, "rating": 3} for r in ratings]
    if prompt == SHY:  # the best is not rated
        ratings = [r for r in ratings if r["rating"] != 5]
    random.Random(text).shuffle(ratings)
    return json.dumps({"ratings": ratings})


def job(store, path, server, name="judged", **more):
    def model(m, **own):
        return {"model": m, "base_url": server.url, "max_in_flight": 8, **own}

    section = {
        "method": "judge",
        "of": str(path),
        "models": [model(m) for m in MODELS],
        "judge": model("critic", temperature=0.0),
        **more,
    }
    return job_of(validate(section, "test", path.parent), name, store)


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{i}", "prompt": f"Question {i}?"}) + "\n" for i in range(12)))
    return path


@pytest.fixture
def asked(serve, store, questions, tmp_path):
    """A run with its server."""
    server = serve(answer=play)
    return running.run(job(store, questions, server), store, tmp_path / "run", workers=1, quiet=True), server


def test_one_bad_judgement_takes_out_one_pair_and_every_other_has_the_side_expected(asked):
    ran, _ = asked
    records = pq.read_table(ran.folder / running.PAIRS_FILE).to_pylist()
    rejected = {r["prompt"]: r["reject_reason"] for r in records if not r["made"]}
    assert rejected == {GARBLED: "missing ratings", TIED: "tie"}
    assert len(records) == 12
    rows = ran.version.table().to_pylist()
    assert [r["messages"][-1]["content"] for r in rows] == [r["prompt"] for r in records if r["made"]]
    for row in rows:
        prompt = row["messages"][-1]["content"]
        own = {m: q for m, q in quality(prompt).items() if prompt != SHY or q != 5}
        assert row["chosen_model"] == max(own, key=own.get)
        assert row["chosen_rating"] == max(own.values())
        assert row["rejected_rating"] == own[row["rejected_model"]] < row["chosen_rating"]
        for side in ("chosen", "rejected"):
            assert row[side][0]["content"] == f"{row[f'{side}_model']} answers thus: {prompt}"


def test_only_the_judge_is_asked_for_structured_output(asked):
    ran, server = asked
    sent = [json.loads(key) for key in server.asked]
    assert Counter(r["model"] for r in sent) == {**dict.fromkeys(MODELS, 12), "critic": 12 * len(ASPECTS)}
    assert ran.summary["requests"] == len(sent)
    for request in sent:
        if request["model"] == "critic":
            assert request["response_format"] == STRUCTURE
            assert request["response_format"]["type"] == "json_schema"
            assert request["temperature"] == 0
        else:
            assert "response_format" not in request
            assert request["messages"] == [{"role": "user", "content": request["messages"][-1]["content"]}]


def test_a_second_run_asks_nobody_and_comes_to_the_same_version(asked, store, questions):
    ran, server = asked
    count = server.asked.total()
    again = running.run(job(store, questions, server), store, ran.folder, workers=2, quiet=True)
    assert server.asked.total() == count
    assert again.version.ref == ran.version.ref


def test_both_orders_are_told_of_in_the_summary(serve, store, questions, tmp_path):
    ran = running.run(
        job(store, questions, serve(answer=play), both_orders=True), store, tmp_path / "run", workers=1, quiet=True
    )
    assert ran.summary["position_bias"]["mean"] == 0
    assert ran.summary["position_bias"]["ratings"] > 100


def test_answers_that_are_equal_make_no_pair(serve, store, questions, tmp_path):
    def alike(request):
        if request["model"] in MODELS:
            return "four" if "3?" not in request["messages"][-1]["content"] else f"{request['model']} says four"
        shown = shown_in(request["messages"])
        return json.dumps({"ratings": [{"id": k, "rating": 1 + i} for i, (k, _) in enumerate(sorted(shown))]})

    ran = running.run(job(store, questions, serve(answer=alike)), store, tmp_path / "run", workers=1, quiet=True)
    assert ran.summary["rejected"] == {"no row": 11}
    assert ran.version.rows == 1


def test_two_servers_that_give_one_name_to_two_models_are_kept_apart(serve, store, questions, tmp_path):
    def answering(who):
        return lambda request: f"{who} answers thus: {request['messages'][-1]['content']}"

    critic = serve(answer=play)
    models = [{"model": "default", "base_url": serve(answer=answering(who)).url} for who in MODELS]
    ran = running.run(job(store, questions, critic, models=models), store, tmp_path / "run", workers=1, quiet=True)
    assert ran.summary["waiting"] == 0
    assert ran.summary["rejected"] == {"missing ratings": 1, "tie": 1}
    for row in ran.version.table().to_pylist():
        own = quality(row["messages"][-1]["content"])
        assert own[row["chosen"][0]["content"].split()[0]] == row["chosen_rating"]


@pytest.mark.parametrize("fault", ["500", "429", "truncated", "drop"])
def test_a_faulty_server_changes_no_pair(serve, store, questions, tmp_path, fault):
    plain, faulty = serve(answer=play), serve(answer=play, faults={fault: 0.2})
    versions = [
        running.run(job(store, questions, s), store, tmp_path / str(i), workers=1, quiet=True).version.ref
        for i, s in enumerate((plain, faulty))
    ]
    assert faulty.faulty[fault] > 0
    assert versions[0] == versions[1]
