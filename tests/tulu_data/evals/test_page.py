"""The page of evaluations: its figures are the report's, and a browser filters samples and runs nothing hostile."""

import base64
import gzip
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from tulu_data.errors import StoreError, UsageError
from tulu_data.evals import report as reports
from tulu_data.evals.adjusted import NotCovered, Overlap, Used, adjust
from tulu_data.evals.commands import eval_command
from tulu_data.evals.metrics import values_of
from tulu_data.evals.page import _shares, write_page
from tulu_data.evals.page_samples import LEAD, MAX_CHARS, Samples, cut
from tulu_data.evals.results import model_of, start
from tulu_data.evals.running import Asked, Judges, evaluate
from tulu_data.evals.task import Decoding, Item, Response, Task
from tulu_data.evals.tasks.published import published
from tulu_data.pages import CSP

MARKUP = "</script><img src=x onerror='window.hacked=1'>"
HOSTILE = f"{MARKUP}<script>window.hacked=1</script> \u202egnp.exe\u202c \x1b[31m 😀 &lt;b&gt; {{{{ 7 * 7 }}}} ]]>"
SHOTS = ({"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"})
USED = [Used(Path("audit"))]


def items(count, subset=lambda n: None, *, shots=SHOTS):
    """Questions whose answers are their numbers."""
    return [
        Item(f"i{n}", subset(n), (*shots, {"role": "user", "content": f"What is {n}, please?"}), str(n))
        for n in range(count)
    ]


def task(name="gsm8k", **given):
    given = {"verifier": "gsm8k", "published": published(name), "rules": "The last number.", "shots": 1, **given}
    return Task(name, name.upper(), "dev", name, list, **given)


def run(folder, right, *tasks, of=None, name="tiny", limit=None):
    """A run whose model is right on the items of these numbers."""
    asked = of or items(10)

    def answers(task, chosen):
        for item in chosen:
            said = item.truth if int(item.truth) in right else "1000"
            yield [Response(item.id, k, f"I say {said}") for k in range(task.decoding.samples)]

    made = start(folder, model_of(name, "test"))
    for one in tasks or (task(),):
        asking = Asked(one, asked[:limit], len(asked), "v1", limit)
        made = evaluate(made, asking, answers, harness="t", judges=Judges(), workers=1)
    return made


@pytest.fixture
def audited(monkeypatch):
    """Makes every audit say the same of every suite but `math`, which none covers."""

    def say(coverage, unclear=(), sets=("train",)):
        def overlap_of(suite, digest, ids, audits, *, whole):
            if suite == "math":
                raise NotCovered(f"suite {suite!r}: no audit covers it")
            dirty = frozenset(i for i, share in coverage.items() if share > 0.5)
            return Overlap(("ta1-x",), suite, "all", dirty, frozenset(unclear), coverage, dict.fromkeys(sets, dirty))

        monkeypatch.setattr(reports, "overlap_of", overlap_of)
        return USED

    return say


def unpacked(html, name="data"):
    """What a block of the page holds."""
    block = re.search(rf'id="{name}"[^>]*>([^<]*)<|type="application/octet-stream" id="{name}">([^<]*)<', html)
    return json.loads(gzip.decompress(base64.b64decode(block.group(1) or block.group(2))))


def said(html):
    """The page's text."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html.partition("<main>")[2].partition("<noscript>")[0])).split())


def html_of(folder, *runs, **given):
    return write_page(runs, folder / "page.html", **given).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag of a page, and every attribute."""

    def __init__(self, html):
        super().__init__()
        self.names, self.attributes = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs


# ------------------------------------------------------------ the file


def test_the_page_needs_nothing_but_itself_and_is_the_same_each_time(tmp_path, audited):
    made = run(tmp_path / "a", {1, 2})
    html = html_of(tmp_path, made, audits=[audited({"i0": 0.9})], beside="tulu3-8b")
    assert html == html_of(tmp_path, made.folder, audits=[USED], beside="tulu3-8b")
    assert f'content="{CSP}"' in unescape(html)
    assert "://" not in re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    tags = Tags(html)
    assert {value for name, value in tags.attributes if name in ("src", "href")} == {"data:,", "#matches"}
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "url(" not in html


def test_the_table_is_the_reports_with_published_scores_beside(tmp_path, audited):
    made = run(tmp_path / "a", {0, 1, 2, 3}, task(), task("math"))
    text = said(html_of(tmp_path, made, audits=[audited({"i0": 0.9, "i1": 0.6})], beside="tulu3-8b"))
    assert "ours tulu3-8b (card-2024-11) tulu3-8b (paper-v5) clean n clean dirty n dirty gap z" in text
    assert "GSM8K 10 40.0 ± 16.3 87.6 87.6 25.0 ± 16.4 8 100.0 ± 0.0 2 +75.0 ± 40.8 +1.8" in text
    assert "MATH not audited: no audit covers its suite 10 40.0 ± 16.3 43.7 43.7" in text
    assert "Tülu 3 dev average 2 of 12 columns" in text
    assert "not comparable with published scores" not in text


def test_what_is_not_scored_is_said_and_its_samples_are_there(tmp_path):
    judged = task("alpaca_eval", verifier=None, judge="alpaca_eval")
    html = html_of(tmp_path, run(tmp_path / "a", (), task(), judged, of=items(10, lambda n: "xy"[n % 2])))
    assert [len(t["subsets"]) for t in unpacked(html)["tasks"]] == [2, 0]
    assert "2 tasks, 1 of them scored" in said(html)
    assert "ALPACA_EVAL not scored: no judge: give --judge-model and --judge-url 10 not scored" in said(html)
    assert {row["r"][0][0][2] for row in unpacked(html, "samples-1")["rows"]} == {None}


def test_a_score_by_wording_is_marked(tmp_path):
    asked = [Item(f"i{n}", None, ({"role": "user", "content": "?"},), "comply") for n in range(3)]
    safety = task("xstest", verifier=None, judge="safety")

    def answers(task, chosen):
        yield [Response(i.id, 0, "Sure.") for i in chosen]

    made = start(tmp_path / "a", model_of("tiny", "test"))
    judges = Judges(stub=True)
    made = evaluate(made, Asked(safety, asked, 3, "v1"), answers, harness="t", judges=judges, workers=1)
    text = said(html_of(tmp_path, made))
    assert "not audited 1 not comparable with published scores judge: stub Scores" in text
    assert "XSTEST judge: stub 3 100.0 ± 0.0" in text


def test_the_curve_is_that_of_the_adjusted_score(tmp_path, audited):
    made = run(tmp_path / "a", {0, 3, 4}, task(metric="macro"), of=items(10, lambda n: "xy"[n % 2]))
    coverage = {"i0": 0.95, "i1": 0.55, "i4": 0.31}
    html = html_of(tmp_path, made, audits=[audited(coverage)])
    values = values_of(made.samples("gsm8k"), "macro")
    found = adjust(values, reports.overlap_of("gsm8k", "v1", values.ids, USED, whole=True))
    (curve,) = unpacked(html)["tasks"][0]["curves"]
    assert curve == [[p.threshold, p.clean.n, p.clean.value, p.clean.stderr] for p in found.curve]
    assert [point[1] for point in curve] == [7] * 4 + [8] * 2 + [9] * 4 + [10]


def test_subsets_have_their_scores_and_how_many_are_dirty(tmp_path, audited):
    made = run(tmp_path / "a", {0, 2, 3}, task(metric="macro"), of=items(10, lambda n: "xy"[n % 2]))
    x, y = unpacked(html_of(tmp_path, made, audits=[audited({"i0": 0.9, "i1": 0.2})]))["tasks"][0]["subsets"]
    assert (x["name"], x["runs"][0][:2], x["dirty"]) == ("x", [5, 0.4], [1])
    assert (y["name"], y["runs"][0][:2], y["dirty"]) == ("y", [5, 0.2], [0])


def test_a_task_says_what_decided_its_score(tmp_path):
    decoding = Decoding(max_tokens=512, stop=("\n\n",))
    made = run(tmp_path / "a", {1}, task(decoding=decoding), limit=4)
    html = html_of(tmp_path, made)
    assert "1 not comparable with published scores" in said(html)
    assert "GSM8K the first 4 items only: not comparable" in said(html)
    facts = {f["name"]: f["cells"] for f in unpacked(html)["tasks"][0]["facts"]}
    digests = made.tasks["gsm8k"].digests
    assert facts["decoding"] == ['greedy, at most 512 tokens; stops at "\\n\\n"']
    assert facts["prompts sha256"] == [digests.prompts]
    assert facts["suite"] == ["gsm8k, v1"]
    assert facts["asked"] == ["4 of 10 instances, a limit"]
    assert (facts["rules"], facts["scored by"], facts["shots"]) == (["The last number."], ["gsm8k"], ["1"])


def test_a_sample_has_the_conversation_the_answer_and_what_audits_say(tmp_path, audited):
    data = unpacked(html_of(tmp_path, run(tmp_path / "a", {1}), audits=[audited({"i1": 0.9}, {"i2"})]), "samples-0")
    assert data["shots"] == [[["user", "1 + 1?"], ["assistant", "2"]]]
    assert data["sets"] == ["train"]
    row = data["rows"][1]
    assert (row["i"], row["h"], row["m"], row["t"]) == ("i1", 0, [["user", "What is 1, please?"]], "1")
    assert row["d"] == [[1, 0.9, [0]]]
    assert row["r"] == [[["I say 1", "1", 1.0, "", None, ""]]]
    assert [r["d"][0][0] for r in data["rows"]] == [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]


def test_options_are_weighed_and_a_likelihood_that_is_no_number_breaks_nothing(tmp_path):
    asked = [Item(f"i{n}", None, ({"role": "user", "content": "?"},), "a", options=(("a", True), ("b", False)))
             for n in range(2)]  # fmt: skip

    def answers(task, chosen):
        yield [Response("i0", 0, "", (-1.0, -1.0)), Response("i1", 0, "", (float("-inf"), float("nan")))]

    weighed = task("truthfulqa", verifier=None, output="options", metric="mc2")
    made = start(tmp_path / "a", model_of("tiny", "test"))
    made = evaluate(made, Asked(weighed, asked, 2, "v1"), answers, harness="t", judges=Judges(), workers=1)
    first, second = unpacked(html_of(tmp_path, made), "samples-0")["rows"]
    assert first["o"] == [["a", True], ["b", False]]
    assert first["r"][0][0][1:5] == ["a", 0.5, "", [-1.0, -1.0]]
    assert second["r"][0][0][4] == [None, None]


# ------------------------------------------------------------ what a page holds


def test_a_page_that_cannot_hold_all_keeps_dirty_then_wrong_and_says_so(tmp_path, audited):
    made = run(tmp_path / "a", {0, 1, 2, 3, 4, 5, 6})
    html = html_of(tmp_path, made, audits=[audited({"i6": 0.9})], max_text=1_500)
    held = unpacked(html, "samples-0")["rows"]
    assert [row["i"] for row in held] == ["i0", "i1", "i6", "i7", "i8", "i9"]
    told = (
        "The page holds 6 of 10 instances, to stay small: all 1 dirty or unclear, all 3 wrong or right in part, 2 of 6"
    )
    assert unpacked(html)["tasks"][0]["held"] == f"{told} right."
    assert unpacked(html)["tasks"][0]["instances"] == 10
    assert unpacked(html_of(tmp_path, made, max_text=0), "samples-0")["rows"] == []


def test_what_one_task_does_not_need_goes_to_the_others():
    assert _shares([10, 1_000, 300], 600) == [10, 295, 295]
    assert _shares([10, 20], 600) == [10, 20]
    assert _shares([], 600) == []


def test_a_long_text_keeps_its_ends_and_says_how_much_it_lacks():
    assert cut("x" * MAX_CHARS) == "x" * MAX_CHARS
    text = cut("a" * 5_000 + "b" * 5_000)
    assert text.startswith("a" * 3_000)
    assert text.endswith("b" * 3_000)
    assert "\n… 4,000 more characters …\n" in text


def test_a_long_beginning_that_prompts_share_is_held_once(tmp_path):
    passage = "Read. " * (LEAD // 4)
    prompts = [Item(f"i{n}", "s", ({"role": "user", "content": f"{passage}\n\nNumber {n}?"},), str(n)) for n in (1, 12)]
    data = unpacked(html_of(tmp_path, run(tmp_path / "a", (), of=prompts)), "samples-0")
    assert data["leads"] == [passage.rstrip()]
    assert [row["m"] for row in data["rows"]] == [[["user", "Number 1?"]], [["user", "Number 12?"]]]
    assert Samples.of([None], [None]).rows == []


# ------------------------------------------------------------ several runs


def test_runs_stand_side_by_side_with_their_difference(tmp_path, audited):
    a, b = run(tmp_path / "a", {0, 1, 2}), run(tmp_path / "b", {1, 2, 3, 4, 5}, task(), task("math"), name="other")
    html = html_of(tmp_path, a, b, audits=[audited({"i0": 0.9}), ()])
    text = said(html)
    assert "2 models evaluated" in text
    assert "tiny other other − tiny z clean n clean" in text
    assert re.search(r"GSM8K 10 30\.0 ± 15\.3 50\.0 ± 16\.7 \+20\.0 ± 20\.0 \+1\.0 22\.2", text)
    assert "MATH 10 – 40.0" not in text
    assert "MATH 10 – 50.0 ± 16.7" in text
    row = unpacked(html, "samples-0")["rows"][3]
    assert [answers[0][2] for answers in row["r"]] == [0.0, 1.0]
    assert row["d"] == [[0, 0.0, []], None]
    assert [len(answers) for answers in unpacked(html, "samples-1")["rows"][0]["r"]] == [0, 1]


def test_runs_that_were_asked_otherwise_are_refused_unless_the_task_is_left_out(tmp_path):
    others = task("math"), task("popqa")
    a = run(tmp_path / "a", {0}, task(), *others)
    b = run(tmp_path / "b", {0}, of=items(10, shots=()), name="other")
    b = run(tmp_path / "b", {0}, *others, name="other")
    with pytest.raises(UsageError, match=r"task gsm8k: .* differ in prompts"):
        html_of(tmp_path, a, b)
    html = html_of(tmp_path, a, b, leave_out=["gsm8k"])
    assert [t["id"] for t in unpacked(html)["tasks"]] == ["math", "popqa"]
    assert "Tülu 3 dev average 2 of 12 columns" in said(html)


def test_a_task_that_is_not_scored_and_was_asked_otherwise_is_not_shown_beside(tmp_path):
    judged = task("alpaca_eval", verifier=None, judge="alpaca_eval")
    a = run(tmp_path / "a", {0}, task(), judged)
    b = run(tmp_path / "b", {0}, task(), name="other")
    b = run(tmp_path / "b", {0}, judged, of=items(10, shots=()), name="other")
    html = html_of(tmp_path, a, b)
    assert "other: asked otherwise, and not shown here" in said(html)
    assert {len(row["r"][1]) for row in unpacked(html, "samples-1")["rows"]} == {0}


def test_one_model_in_two_runs_is_told_apart_by_folder(tmp_path):
    html = html_of(tmp_path, run(tmp_path / "a", {0}), run(tmp_path / "b", {0, 1}))
    assert unpacked(html)["runs"] == [f"tiny ({tmp_path / name})" for name in "ab"]


def test_errors_are_one_line_that_names_the_remedy(tmp_path):
    with pytest.raises(UsageError, match="no run is named"):
        write_page([], tmp_path / "x.html")
    with pytest.raises(StoreError, match="cannot be written"):
        write_page([run(tmp_path / "a", {0})], tmp_path)
    with pytest.raises(UsageError, match="did you mean 'tulu3-8b'"):
        write_page([run(tmp_path / "a", {0})], tmp_path / "x.html", beside="tulu3-8")


def test_the_command_writes_the_page_and_prints_its_path(tmp_path):
    run(tmp_path / "a", {0, 1})
    output = tmp_path / "new" / "a.html"
    options = [
        "page",
        str(tmp_path / "a"),
        "--beside",
        "tulu3-8b",
        "--store",
        str(tmp_path / "store"),
        "-o",
        str(output),
    ]
    result = CliRunner().invoke(eval_command, options, catch_exceptions=False)
    assert (result.exit_code, result.output) == (0, f"{output}\n")
    assert "tulu3-8b (paper-v5)" in output.read_text()


# ------------------------------------------------------------ hostile text


def hostile(folder):
    """A run all whose texts are hostile."""
    asked = [
        Item(f"{HOSTILE}{n}", f"{HOSTILE}{n % 2}", ({"role": HOSTILE, "content": f"{HOSTILE}{n}?"},), str(n))
        for n in range(4)
    ]

    def answers(task, chosen):
        yield [Response(i.id, 0, f"{HOSTILE} {i.truth}") for i in chosen]

    named = Task("gsm8k", HOSTILE, "dev", HOSTILE, list, verifier="gsm8k", rules=HOSTILE, note=HOSTILE)
    made = start(folder, model_of(HOSTILE, HOSTILE))
    return evaluate(made, Asked(named, asked, 4, HOSTILE), answers, harness=HOSTILE, judges=Judges(), workers=1)


def test_nothing_hostile_stands_in_the_page_as_markup(tmp_path, audited):
    made = hostile(tmp_path / "a")
    audits = audited(dict.fromkeys((f"{HOSTILE}0", f"{HOSTILE}1"), 0.9), sets=(HOSTILE,))
    for runs in ([made], [made, run(tmp_path / "b", {0}, task("math"))]):
        html = html_of(tmp_path, *runs, audits=[audits] * len(runs), notes=[HOSTILE])
        tags = Tags(html)
        assert html.count("<script") == html.count("</script>") == 2 + len(runs)
        assert {"img", "iframe"}.isdisjoint(tags.names)
        assert "\u202e" not in html
        assert "\x1b" not in html
        assert "49" not in re.sub(r"[0-9a-f]{16,}", "", said(html))


# ------------------------------------------------------------ in a browser


@pytest.fixture
def opened(open_page, tmp_path, audited):
    """A page of two tasks, audited, in the browser."""
    subsets = items(40, lambda n: "odd" if n % 2 else "even")
    made = run(tmp_path / "a", set(range(30)), task(metric="macro"), task("math"), of=subsets)
    coverage = {f"i{n}": (n % 11) / 10 for n in range(20)}
    path = write_page([made], tmp_path / "page.html", audits=[audited(coverage)])
    with open_page(path) as page:
        yield page
        assert page.said == []
        assert set(page.requests) == {page.url}


def ids(opened):
    return [row.split("\n")[0] for row in opened.rows()]


@pytest.mark.browser
def test_a_click_on_a_task_shows_its_samples(opened):
    assert opened.page.locator("#task-h").inner_text() == "GSM8K"
    opened.page.locator(".task", has_text="MATH").locator("button").click()
    opened.page.wait_for_selector('body[data-task="math"]')
    assert opened.page.locator("#task-h").inner_text() == "MATH"
    assert opened.page.locator("#curve").count() == 0
    assert "not audited" in opened.page.locator("#task-notes").inner_text()
    assert opened.page.locator("#n").inner_text() == "40 instances"
    assert opened.shown() == "i0"
    detail = opened.page.locator("#detail")
    assert "I say 0" in detail.inner_text()
    assert not detail.get_by_text("1 + 1?").is_visible()
    detail.locator(".fold summary").first.click()
    assert detail.get_by_text("1 + 1?").is_visible()


@pytest.mark.browser
def test_filters_leave_what_they_say(opened):
    page = opened.page
    page.select_option("#f-verdict", "wrong")
    assert ids(opened) == [f"i{n}" for n in range(30, 40)]
    page.select_option("#f-subset", "odd")
    assert page.locator("#n").inner_text() == "5 of 40"
    page.locator("#clear").click()
    page.select_option("#f-seen", "dirty")
    assert ids(opened) == [f"i{n}" for n in range(20) if n % 11 > 5]
    page.select_option("#f-sort", "covered")
    assert ids(opened)[:2] == ["i10", "i9"]
    page.locator("#clear").click()
    page.fill("#q", "WHAT IS 33")
    assert ids(opened) == ["i33"]
    page.fill("#q", "nothing has this")
    assert page.locator("#none").is_visible()
    page.locator("#clear").click()
    page.locator('#subsets [data-subset="even"]').click()
    assert page.locator("#f-subset").input_value() == "even"
    assert page.locator("#n").inner_text() == "20 of 40"


@pytest.mark.browser
def test_the_curve_is_read_off_by_mouse_and_keys(opened):
    page = opened.page
    points = unpacked(page.content())["tasks"][0]["curves"][0]
    curve = page.locator("#curve")
    curve.focus()
    for key, point in (("Home", points[0]), ("ArrowRight", points[1]), ("End", points[-1])):
        page.keyboard.press(key)
        told = " ".join(curve.locator(".read").inner_text().split())
        value = f"{100 * point[2]:.1f} ± {100 * point[3]:.1f} of {point[1]}"
        assert told == f"covered by at most {100 * point[0]:.0f} % {value}"
    box = curve.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.53, box["y"] + 40)
    assert "covered by at most 50 %" in curve.locator(".read").inner_text()
    assert curve.locator(".count").all_text_contents()[:-1] == [str(p[1]) for p in points]


@pytest.mark.browser
def test_the_keyboard_goes_through_samples_and_tasks(opened):
    page = opened.page
    for key, shown in (("j", "i1"), ("j", "i2"), ("k", "i1")):
        page.keyboard.press(key)
        assert opened.shown() == shown
    page.keyboard.press("/")
    page.keyboard.type("please")
    assert page.locator("#q").input_value() == "please"
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    assert page.locator("#q").input_value() == ""
    page.keyboard.press("]")
    page.wait_for_selector('body[data-task="math"]')
    assert "task=math" in page.url


@pytest.mark.browser
def test_a_link_leads_to_a_sample(open_page, tmp_path):
    path = write_page([run(tmp_path / "a", {0}, task(), task("math"))], tmp_path / "page.html")
    with open_page(path, fragment="#task=math&verdict=wrong&row=i7") as opened:
        assert opened.page.locator("#task-h").inner_text() == "MATH"
        assert opened.shown() == "i7"
        assert opened.page.locator("#n").inner_text() == "9 of 10"


@pytest.mark.browser
def test_several_samples_of_one_instance_are_chosen_by_number(open_page, tmp_path):
    made = run(tmp_path / "a", {0}, task("humaneval", metric="pass_at_10", decoding=Decoding(samples=12)), of=items(2))
    with open_page(write_page([made], tmp_path / "page.html")) as opened:
        buttons = opened.page.locator(".samples button")
        assert buttons.count() == 12
        assert "12 of 12 right" in opened.page.locator("#detail").inner_text()
        buttons.nth(4).click()
        assert buttons.nth(4).get_attribute("aria-pressed") == "true"


@pytest.mark.browser
def test_two_runs_answer_side_by_side_on_a_narrow_screen_too(open_page, tmp_path):
    a, b = run(tmp_path / "a", {0, 1, 2}), run(tmp_path / "b", {1, 2, 3}, name="other")
    path = write_page([a, b], tmp_path / "page.html")
    with open_page(path, width=420) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    with open_page(path) as opened:
        opened.page.select_option("#f-verdict", "differ")
        assert ids(opened) == ["i0", "i3"]
        opened.page.select_option("#f-verdict", "right")
        opened.page.select_option("#f-run", "1")
        assert ids(opened) == ["i1", "i2", "i3"]
        opened.page.locator("#row-3").click()
        assert opened.page.locator(".answer .verdict").all_inner_texts() == ["wrong\nscore 0", "right\nscore 1"]
        assert opened.said == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_runs_nothing_hostile(open_page, tmp_path, audited, scheme):
    audits = audited(dict.fromkeys((f"{HOSTILE}0", f"{HOSTILE}1"), 0.9), sets=(HOSTILE,))
    path = write_page([hostile(tmp_path / "a")], tmp_path / "page.html", audits=[audits], notes=[HOSTILE])
    with open_page(path, scheme=scheme) as opened:
        page = opened.page
        page.locator(".facts-of summary").click()
        page.locator("#subsets button").first.click()
        page.keyboard.press("j")
        page.select_option("#f-seen", "dirty")
        assert MARKUP in page.locator("#detail").inner_text()
        assert MARKUP in page.locator("#subsets").inner_text()
        assert MARKUP in page.locator("#task-notes").inner_text()
        assert "\u202e" not in page.locator("body").inner_text()
        page.locator("#theme").click()
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0
        assert opened.said == []
        assert set(opened.requests) == {opened.url}
