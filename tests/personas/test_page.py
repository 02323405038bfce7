"""The page of a run: its figures are the summary's, and a real browser does with it what a person would."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personas import page as pages
from personas.duplicates import distinct_curve
from personas.page import BINS, COLUMNS, histogram, page, polyline, write_page
from personas.record import RECORD, RECORDS_FILE
from tulu_data.pages import CSP

ENDPOINT = "http://127.0.0.1:8000/v1"
MARKUP = "</script><img src=x onerror='window.hacked=1'>"
HOSTILE = (
    f"{MARKUP}<script>window.hacked=1</script> \u202egnp.exe\u202c \x00\x1b[31m 😀👩‍👩‍👧 &lt;b&gt; {'w' * 5000} "
    "{{ 7 * 7 }} </textarea>"
)
ARABIC = "كم عدد الماعز التي تحمل صناديق الرنجة؟"
CODE = "Here it is:\n```python\ndef goats():\n    return 12\n```\nThat is all."
CONSTRAINTS = [
    {"text": "Write at least 300 words.", "kept": False, "lacks": "214 words are too few"},
    {"text": "Do not use commas.", "kept": True, "lacks": ""},
    {"text": "Answer in Kannada.", "kept": None, "lacks": None},
]


def record(index, *, reason=None, answer="#### 12", **known):
    """A record as the page reads it; of one that was rejected where a reason is given."""
    known = {"prompt": f"Prompt {index} about goats: how many carry {index} crates of herring?", **known}
    said = [] if answer is None else [{"role": "assistant", "content": answer}]
    messages = None if known["prompt"] is None else [{"role": "user", "content": known["prompt"]}, *said]
    return {
        **dict.fromkeys(COLUMNS),
        "id": f"id-{index}",
        "index": index,
        "accepted": reason is None,
        "reject_reason": reason,
        "messages": messages,
        "persona": "A ferry captain in Brakka",
        "constraints": [],
        **known,
    }


def summary_of(records, **known):
    """What a run's summary says of these records."""
    reasons = [r["reject_reason"] for r in records if not r["accepted"]]
    return {
        "format": "tulu-synth/1",
        "skill": "grade-math",
        "name": "herring",
        "options": {},
        "personas": "sample",
        "personas_known": 1000,
        "model": "some/model",
        "endpoints": [ENDPOINT],
        "params": {"temperature": 0.7},
        "records": len(records),
        "accepted": len(records) - len(reasons),
        "rejected": {r: reasons.count(r) for r in sorted(set(reasons), key=lambda r: (-reasons.count(r), r))},
        "waiting": 0,
        "requests": 4 * len(records),
        "prompt_tokens": 100 * len(records),
        "completion_tokens": 300 * len(records),
        "usd": sum(r["usd"] or 0.0 for r in records),
        "unpriced": sum(r["usd"] is None for r in records),
        "ignored": {},
        "version": None,
        **known,
    }


VOTED = {"evidence": "vote", "verifier": "gsm8k", "ground_truth": "12", "vote_k": 5, "vote_agreement": 4}
PAID = {"prompt_tokens": 100, "completion_tokens": 1300, "usd": 0.0012}
RECORDS = [
    record(0, prompt=HOSTILE, answer=HOSTILE, persona=HOSTILE, family=f"{MARKUP}x", ground_truth=HOSTILE),
    record(1, prompt=ARABIC, answer="١٢", persona="قبطان عبّارة", family="rates"),
    record(2, persona="A baker of herring pies", answer="They are twelve.\n#### 12", family="rates", **VOTED, **PAID),
    record(3, answer=CODE, verifier="code", ground_truth='{"tests": ["assert goats() == 12"]}', evidence="tests"),
    record(4, reason="constraint", reject_detail="too short", constraints=CONSTRAINTS, **PAID),
    record(5, reason="request failed", reject_detail="HTTP 500", prompt=None),
    record(6, reason="no prompt", prompt="", answer=None),
    record(7, reason=MARKUP, answer="x " * 20_000),
    *(record(i, reason="no majority", reject_detail="2 of 5 agree", family="ages") for i in range(8, 14)),
    *(record(i, reason="near-duplicate prompt", reject_detail=f"91% of id-{i - 9}") for i in range(14, 17)),
    *(record(i, usd=0.0001, prompt_tokens=1, completion_tokens=1) for i in range(17, 60)),
]
SUMMARY = summary_of(RECORDS, waiting=7, ignored={"top_k": 3})


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and every attribute."""

    def __init__(self, html):
        super().__init__()
        self.names, self.attributes = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs


def picks(html):
    """What the lines of the funnel say: reason → count."""
    found = re.findall(r'data-reason="([^"]*)".*?<b>([\d,]+)</b>', html)
    return {unescape(reason): int(count.replace(",", "")) for reason, count in found}


# ------------------------------------------------------------ the file


def test_the_page_reads_columns_that_records_have():
    assert set(COLUMNS) <= set(RECORD.names)
    assert list(RECORDS[0]) == list(COLUMNS)


def test_the_page_is_written_beside_the_records(tmp_path):
    schema = pa.schema([RECORD.field(name) for name in COLUMNS])
    constraints = [{"id": "c", "kwargs": "{}", **c} for c in CONSTRAINTS]
    rows = [{**r, "constraints": constraints if r["constraints"] else []} for r in RECORDS[:6]]
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / RECORDS_FILE)
    path = write_page(tmp_path, summary_of(rows))
    assert path == tmp_path / "page.html"
    assert path.read_text(encoding="utf-8") == page(rows, summary_of(rows))


def test_the_page_needs_nothing_but_itself():
    html = page(RECORDS, SUMMARY)
    assert f'content="{CSP}"' in unescape(html)
    assert ENDPOINT in html  # as text
    assert "://" not in html.replace(ENDPOINT, "")
    tags = Tags(html)
    assert {value for name, value in tags.attributes if name in ("src", "href")} == {"data:,", "#matches"}
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html


def test_the_same_records_give_the_same_bytes():
    assert page(RECORDS, SUMMARY) == page(RECORDS, SUMMARY)


def test_every_figure_is_the_summary_s():
    html = page(RECORDS, SUMMARY)
    assert picks(html) == {"accepted": SUMMARY["accepted"], **SUMMARY["rejected"]}
    said = unescape(html).replace("\xa0", " ")
    assert "47 of 60 rows (78.3 %) were accepted. They were made from 1,000 personas, by some/model." in said
    assert "7 rows wait for answers" in said
    assert "3 of 60 rows (5.0 %)" in said  # duplicates
    assert "<td>6,000</td>" in said  # prompt tokens
    assert "top_k not honoured" in said
    assert "and 15 answers of unknown price" in said


def test_nothing_of_a_row_stands_in_the_page_as_markup():
    html = page(RECORDS, SUMMARY)
    assert html.count("<script") == html.count("</script>") == 2
    assert Tags(html).names.isdisjoint({"img", "textarea", "iframe"})
    assert "\x00" not in html
    assert "\u202e" not in html


def test_shares_say_all_and_nothing_of_all_and_nothing_alone():
    said = unescape(page([], {**SUMMARY, "records": 100_000, "accepted": 99_999, "rejected": {"x": 1}}))
    assert "99,999 of 100,000 rows (99.9\xa0%)" in said
    assert "0.1\xa0%" in said


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"usd": 0.5}, "<td>0.5000</td>"),
        ({"usd": 0.5}, "<td>0.25000</td>"),
        ({"usd": 0.5, "unpriced": 1}, "<td>0.5000, and 1 answer of unknown price</td>"),
        ({"usd": 0.0, "unpriced": 8}, "<td>not known</td>"),
        ({"endpoints": []}, "<td>none were sent</td>"),
        ({"model": "procedural/1", "endpoints": []}, "by procedures, without a model"),
        ({"waiting": 1}, "1 row waits for answers"),
        ({"accepted": 0}, "<td>none was accepted</td>"),
    ],
)
def test_costs_say_what_is_known(known, said):
    records = [record(0), record(1)]
    assert said in page(records, summary_of(records, **{"unpriced": 0, **known}))


def test_a_run_without_rows_has_a_page_that_says_so():
    html = page([], summary_of([], waiting=10))
    assert "There are no rows yet." in html
    assert "No row is whole yet. 10 rows wait" in html
    assert picks(html) == {"accepted": 0}
    assert html.count("No row was accepted.") == 3
    assert 'id="list"' not in html


def test_a_run_of_one_row_has_a_page():
    html = page([record(0)], summary_of([record(0)]))
    assert "1 of 1 row (100\xa0%) was accepted. It was made from" in html


def test_a_run_that_accepted_nothing_has_a_page():
    records = [record(i, reason="no majority") for i in range(3)]
    html = page(records, summary_of(records))
    assert picks(html) == {"accepted": 0, "no majority": 3}
    assert html.count("No row was accepted.") == 3


def test_a_limit_is_said_and_the_counts_are_of_all(monkeypatch):
    monkeypatch.setattr(pages, "MAX_ROWS", 10)
    html = page(RECORDS, SUMMARY)
    assert "The first 10 of 60." in html
    assert picks(html)["accepted"] == SUMMARY["accepted"]


def test_a_truth_is_the_verifier_s_whatever_it_looks_like():
    big = '{"n": 12345678901234567890, "s": "é"}'
    for truth in ("{1, 2}", "{", "[1, 2]", "{" * 100_000, None):
        assert pages._readable(truth) == truth
    assert pages._readable(big) == '{\n  "n": 12345678901234567890,\n  "s": "é"\n}'


def test_rows_without_a_family_are_counted_by_their_constraints():
    rows = [record(0, constraints=CONSTRAINTS), record(1, constraints=CONSTRAINTS[:1]), record(2, reason="x")]
    counted = pages._Counted()
    for row in rows:
        counted.add(row)
    assert pages._families(counted.families) == [("1 constraint", 1, 0), ("3 constraints", 1, 0), ("no family", 0, 1)]


# ------------------------------------------------------------ curves


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=300))
def test_a_histogram_counts_every_value_once(values):
    told = histogram(values)
    bars = told["bars"]
    assert sum(b["count"] for b in bars) == len(values)
    assert 1 <= len(bars) <= BINS
    assert max(b["height"] for b in bars) == 100
    assert all((b["height"] > 0) == (b["count"] > 0) for b in bars)
    assert all(0 <= b["height"] <= 100 for b in bars)
    assert told["fullest"] == max(b["count"] for b in bars)
    assert (told["low"], told["high"]) == (min(values), max(values))
    assert told["low"] <= told["median"] <= told["high"]
    assert told["top"] <= told["high"]


def test_a_far_value_does_not_hide_the_others():
    told = histogram([*range(100), *range(100), 100_000])
    assert (told["top"], told["high"]) == (99, 100_000)
    assert told["bars"][-1]["count"] == 1
    assert told["bars"][-1]["words"] == "over 99 words"
    assert sum(b["count"] > 0 for b in told["bars"]) > 15


def test_a_histogram_says_which_values_a_bar_holds():
    assert [(b["words"], b["count"]) for b in histogram([1, 1, 3])["bars"]] == [
        ("1 word", 2), ("2 words", 0), ("3 words", 1)
    ]  # fmt: skip
    assert histogram(range(48))["bars"][-1]["words"] == "46–47 words"
    assert histogram([7])["bars"] == [{"count": 1, "height": 100.0, "words": "7 words"}]
    assert histogram([])["bars"] == []


@given(st.lists(st.text("ab ", max_size=12), max_size=100))
def test_a_curve_stays_in_its_box_and_its_ends_are_labelled(texts):
    curve = distinct_curve(texts)
    told = polyline(curve)
    points = [tuple(map(float, p.split(","))) for p in told["points"].split()]
    assert len(points) == len(curve)
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in points)
    assert points == sorted(points, key=lambda p: p[0])
    assert len(told["ends"]) == min(2, len(curve))
    if curve:
        assert points[-1][0] == 100
        assert told["last"] == len(texts)
        assert [e["share"] for e in told["ends"][-1:]] == [f"{100 * curve[-1][1]:.1f}\xa0%"]
        assert (told["ends"][0]["n"], told["ends"][-1]["n"]) == (curve[0][0], curve[-1][0])


# ------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page(RECORDS, SUMMARY), encoding="utf-8")
    return path


def of_reason(opened, reason):
    opened.page.locator(f".pick[data-reason={json.dumps(reason)}]").click()
    return opened.page.locator(".row").evaluate_all("rows => rows.map((r) => Number(r.id.slice(4)))")


def part(opened, name):
    """What stands in the detail under a heading."""
    sides = opened.page.locator("#detail .side").evaluate_all(
        "sides => sides.map((s) => [s.querySelector('h4').textContent, s.lastChild.innerText])"
    )
    return dict(sides).get(name)


@pytest.mark.browser
def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(open_page, written):
    with open_page(written) as opened:
        assert "60 rows" in opened.page.locator("#n").inner_text()
        assert "Prompt 2 about goats" in opened.rows()[2]
        assert "constraint" in opened.rows()[4]
        opened.page.locator(".row").nth(1).click()
        opened.page.keyboard.press("j")
        opened.page.locator(".pick").nth(1).click()
        opened.page.locator("#theme").click()
        assert set(opened.requests) == {opened.url}
        assert opened.said == []


@pytest.mark.browser
def test_a_line_of_the_funnel_filters_the_rows_to_exactly_its_own(open_page, written):
    with open_page(written) as opened:
        for reason, count in SUMMARY["rejected"].items():
            assert of_reason(opened, reason) == [r["index"] for r in RECORDS if r["reject_reason"] == reason]
            assert opened.page.locator("#n").inner_text() == f"{count} of 60"
            assert opened.page.locator('.pick[aria-pressed="true"]').get_attribute("data-reason") == reason
            assert opened.page.locator("#f-reason").input_value() == reason
        of_reason(opened, "accepted")
        assert opened.page.locator("#n").inner_text() == "47 of 60"
        of_reason(opened, "accepted")
        assert opened.page.locator("#n").inner_text() == "60 rows"
        assert opened.page.locator('.pick[aria-pressed="true"]').count() == 0


@pytest.mark.browser
def test_search_and_families_filter(open_page, written):
    with open_page(written) as opened:
        number = opened.page.locator("#n")
        for words, row in (
            ("BAKER of herring", 2),
            ("def goats", 3),
            ("in kannada", 4),
            ("HTTP 500", 5),
            ("id-59", 59),
        ):
            opened.page.locator("#q").fill(words)
            assert number.inner_text() == "1 of 60"
            assert opened.shown().startswith(f"id-{row} ")
        opened.page.locator("#q").fill("nothing holds this")
        assert opened.page.locator("#none").is_visible()
        assert not opened.page.locator(".browser").is_visible()
        opened.page.locator("#clear").click()
        assert number.inner_text() == "60 rows"
        opened.page.locator("#f-family").select_option("ages")
        assert number.inner_text() == "6 of 60"
        opened.page.locator("#f-reason").select_option("accepted")
        assert number.inner_text() == "0 of 60"


@pytest.mark.browser
def test_the_keyboard_moves_searches_and_clears(open_page, written):
    with open_page(written) as opened:
        keyboard = opened.page.keyboard
        for key, row in (("j", 1), ("j", 2), ("k", 1), ("k", 0), ("k", 0)):
            keyboard.press(key)
            assert opened.shown().startswith(f"id-{row} ")
        opened.page.locator("#list").focus()
        for key, row in (("ArrowDown", 1), ("PageDown", 11), ("End", 59), ("ArrowDown", 59), ("Home", 0)):
            keyboard.press(key)
            assert opened.shown().startswith(f"id-{row} ")
        keyboard.press("/")
        keyboard.type("baker")
        assert len(opened.rows()) == 1
        keyboard.press("Escape")
        assert opened.page.evaluate("document.activeElement === document.body")
        assert len(opened.rows()) == 1
        keyboard.press("x")
        assert len(opened.rows()) > 10


@pytest.mark.browser
def test_the_detail_shows_all_that_is_known_of_a_row(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#row-2").click()
        assert part(opened, "persona") == "A baker of herring pies"
        assert part(opened, "prompt") == RECORDS[2]["prompt"]
        assert part(opened, "answer") == "They are twelve.\n#### 12"
        assert part(opened, "truth, for gsm8k") == "12"
        assert opened.page.locator("#detail .chip").all_inner_texts() == [
            "accepted", "shown by a majority of samples", "4 of 5 agree", "rates", "1,400 tokens, $0.00120"
        ]  # fmt: skip
        opened.page.locator("#row-4").click()
        assert opened.page.locator("#detail .chip").first.inner_text() == "constraint"
        assert part(opened, "why") == "too short"
        constraints = [" ".join(c.split()) for c in opened.page.locator(".list-of li").all_inner_texts()]
        assert constraints == [
            "✗ broken Write at least 300 words. 214 words are too few",
            "✓ kept Do not use commas.",
            "not checked Answer in Kannada.",
        ]
        opened.page.locator("#row-5").click()
        assert (part(opened, "why"), part(opened, "prompt"), part(opened, "answer")) == ("HTTP 500", None, None)


@pytest.mark.browser
def test_code_is_set_as_code_with_its_fences(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#row-3").click()
        assert opened.page.locator("#detail .code").all_inner_texts() == [
            "```python\ndef goats():\n    return 12\n```"
        ]  # fmt: skip
        assert "That is all." in part(opened, "answer")
        assert part(opened, "truth, for code") == '{\n  "tests": [\n    "assert goats() == 12"\n  ]\n}'


@pytest.mark.browser
def test_hostile_rows_are_text(open_page, written):
    with open_page(written) as opened:
        for name in ("persona", "prompt", "answer", "truth"):
            assert "<script>window.hacked=1</script>" in part(opened, name)
            assert "\u202e" not in part(opened, name)
        of_reason(opened, MARKUP)
        assert opened.page.locator("#detail .chip").first.inner_text() == MARKUP
        assert opened.page.locator("img, #detail script, #list script").count() == 0
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.said == []


@pytest.mark.browser
def test_right_to_left_rows_start_at_the_right(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#row-1").click()
        for place in ("#row-1 b", "#detail .text >> nth=1"):
            assert opened.page.locator(place).evaluate("node => getComputedStyle(node).direction") == "rtl"


@pytest.mark.browser
def test_a_link_opens_its_row_and_its_filters(open_page, written):
    with open_page(written) as opened:
        of_reason(opened, "no majority")
        opened.page.locator("#row-10").click()
        fragment = "#" + opened.page.url.partition("#")[2]
    with open_page(written, fragment=fragment) as again:
        assert again.shown().startswith("id-10 ")
        assert len(again.rows()) == 6
        assert again.page.locator('.pick[aria-pressed="true"]').get_attribute("data-reason") == "no majority"
    with open_page(written, fragment="#reason=gone&row=gone") as lost:
        assert lost.page.locator("#n").inner_text() == "60 rows"


@pytest.mark.browser
def test_on_a_phone_a_row_has_the_screen_to_itself(open_page, written):
    with open_page(written, width=390, height=844) as opened:
        fits = "document.documentElement.scrollWidth <= innerWidth"
        here = opened.page
        assert here.evaluate(fits)
        assert not here.locator("#detail").is_visible()
        here.locator("#row-4").click()
        assert here.locator("#detail").is_visible()
        assert not here.locator("#list").is_visible()
        assert here.evaluate(fits)
        here.keyboard.press("j")
        here.locator(".back").click()
        assert not here.locator("#detail").is_visible()
        assert here.locator(".row.on").get_attribute("id") == "row-5"
        assert len(opened.rows()) > 8
        of_reason(opened, MARKUP)
        here.locator("#row-7").click()
        assert here.evaluate(fits)


@pytest.mark.browser
def test_pages_of_no_row_and_of_one_row_complain_of_nothing(open_page, tmp_path):
    for n, records in enumerate(([], [record(0)], [record(0, reason="no majority")])):
        path = tmp_path / f"{n}.html"
        path.write_text(page(records, summary_of(records)), encoding="utf-8")
        with open_page(path) as opened:
            assert opened.page.locator(".row").count() == len(records)
            assert opened.page.locator(".pick").first.is_disabled() == (not any(r["accepted"] for r in records))
            opened.page.keyboard.press("j")
            assert opened.said == []
