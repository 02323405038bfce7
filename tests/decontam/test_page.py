"""The page of an audit: what it says equals the tables, and a real browser does with it what a person would."""

import json

import pyarrow as pa
import pytest

from decontam import marks
from decontam.auditing import audit
from decontam.filtering import degrees_of, in_order
from decontam.highlighting import Highlighter
from decontam.page import heat, page, page_data, page_view
from decontam.result import Audit
from decontam.verdicts import Policy, Settings
from tulu_data.progress import Silent

ITEMS = [
    f"on day {i} the ferry to Brakka carries {i} crates of salted herring and {i + 2} sleepy goats" for i in range(8)
]
HOSTILE = (
    "<script>window.hacked=1</script></script><img src=x onerror='window.hacked=1'> \u202egnp.exe\u202c \x00\x1b[31m "
    f"😀👩‍👩‍👧 {ITEMS[7]} &lt;b&gt; {'w' * 5000} {{{{ 7 * 7 }}}} </textarea>"
)


@pytest.fixture(scope="module")
def found(make_set, make_suite):
    """Two sets and two suites; one text of the first set is hostile, and one is a megabyte long."""
    first = make_set("herring", [*ITEMS[:4], HOSTILE, "x " * 500_000 + ITEMS[6]])
    second = make_set("goats </script>", ["nothing to see here at all", ITEMS[1].replace("sleepy", "angry")])
    suites = [make_suite("ferries", ITEMS, answers=["42 goats"] * 8), make_suite("trains", ["a train"] * 3, "unseen")]
    return audit([first, second], suites)


def test_every_figure_of_the_map_is_that_of_the_table(found):
    view = page_view(found, found.counts(), len(found.pairs))
    cells = {(c["set"], c["suite"]): c for row in view["cells"] for c in row["cells"]}
    for entry in found.evals.to_pylist():
        cell = cells[entry["set"], entry["suite"]]
        assert cell["over"] == entry["contaminated"]
        assert (cell["heat"] > 0) == (entry["flagged"] > 0)
        assert f"{entry['flagged']:,} of {entry['instances']:,}" in cell["title"]
    assert [f["instances"] for f in view["funnel"] if f["name"] == "exact"] == [
        len({p["instance_id"] for p in found.pairs.to_pylist() if "exact" in p["layers"]})
    ]


def test_more_overlap_is_never_coloured_less():
    shares = [0.0, 1e-5, 1e-4, 0.001, 0.02, 0.3, 1.0]
    assert [heat(s) for s in shares] == sorted(heat(s) for s in shares)
    assert (heat(0.0), heat(1.0)) == (0, 100)


def test_a_limit_keeps_the_strongest_and_says_so(found):
    counts = found.counts()
    order = in_order(found, counts, degrees_of(found))
    assert counts[order].tolist() == sorted(counts.tolist(), reverse=True)
    data = page_data(found, order[:3], counts, Silent())
    assert len(data["pairs"]) == 3
    assert all(p["o"] for p in data["pairs"])
    assert "holds the 3 strongest" in page(found, max_pairs=3)


def test_texts_are_held_once_and_runs_point_into_them(found):
    data = page_data(found, list(range(len(found.pairs))), found.counts(), Silent())
    assert len(data["messages"]) == len(found.messages)
    assert len(data["instances"]) == len(found.instances)
    highlighter = Highlighter(found)
    for number, entry in enumerate(data["pairs"]):
        match = highlighter.match(number)
        units = data["messages"][entry["m"]]["t"].encode("utf-16-le", "surrogatepass")
        spans = [
            units[2 * a : 2 * b].decode("utf-16-le") for a, b in zip(entry["tr"][::3], entry["tr"][1::3], strict=True)
        ]
        assert spans == [match.train.text[r.start : r.end] for r in match.train.runs]


def test_the_same_audit_gives_the_same_bytes(found):
    assert page(found) == page(found)


def test_nothing_of_a_row_stands_in_the_page_as_markup(found):
    html = page(found)
    assert html.count("<script") == html.count("</script>") == 2
    assert "hacked" not in html
    assert "goats &lt;/script&gt;" in html


# ------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "audit.html"
    path.write_text(page(found), encoding="utf-8")
    return path


@pytest.mark.browser
def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(open_page, written):
    with open_page(written) as opened:
        opened.page.locator(".row").nth(1).click()
        opened.page.keyboard.press("j")
        assert set(opened.requests) == {opened.url}
        assert opened.said == []


@pytest.mark.browser
def test_a_click_on_a_cell_filters_the_matches(open_page, written):
    with open_page(written) as opened:
        before = len(opened.rows())
        opened.page.locator('.cell[data-set="goats </script>"][data-suite="ferries"]').click()
        assert 0 < len(opened.rows()) < before
        assert opened.page.locator("#f-set").input_value() == "goats </script>"
        assert opened.page.locator('.cell[aria-pressed="true"]').count() == 1
        opened.page.locator('.cell[data-set="goats </script>"][data-suite="ferries"]').click()
        assert len(opened.rows()) == before


@pytest.mark.browser
def test_a_deep_link_opens_its_match_and_its_filters(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#f-suite").select_option("ferries")
        opened.page.locator(".row").nth(2).click()
        name, fragment = opened.shown(), "#" + opened.page.url.partition("#")[2]
        where = opened.page.locator(".where").first.inner_text()
    with open_page(written, fragment=fragment) as again:
        assert again.shown() == name
        assert again.page.locator(".where").first.inner_text() == where
        assert again.page.locator("#f-suite").input_value() == "ferries"


@pytest.mark.browser
def test_the_keyboard_goes_through_the_matches_searches_and_explains(open_page, written):
    with open_page(written) as opened:
        keyboard, first = opened.page.keyboard, opened.page.locator(".row.on").inner_text()
        keyboard.press("j")
        assert opened.page.locator(".row.on").inner_text() != first
        keyboard.press("k")
        assert opened.page.locator(".row.on").inner_text() == first
        keyboard.press("/")
        keyboard.type("angry goats")
        assert len(opened.rows()) == 1
        keyboard.press("Escape")
        keyboard.press("x")
        assert len(opened.rows()) > 1
        keyboard.press("?")
        assert opened.page.locator("#help").is_visible()
        keyboard.press("Escape")
        assert not opened.page.locator("#help").is_visible()


@pytest.mark.browser
def test_hostile_rows_are_text(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#q").fill("hacked")
        assert "<script>window.hacked=1</script>" in opened.page.locator("#train").inner_text()
        assert "\u202e" not in opened.page.locator("#train").inner_text()
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.locator("#detail img, #detail script").count() == 0
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.said == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 800, 1440])
def test_nothing_is_wider_than_the_window(open_page, written, width):
    with open_page(written, width=width) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        opened.page.locator(".row").first.click()
        assert opened.page.locator("#detail").is_visible()
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_light_and_dark_follow_the_system_until_one_is_chosen(open_page, written):
    def background(opened):
        return opened.page.evaluate("getComputedStyle(document.body).backgroundColor")

    with open_page(written) as light, open_page(written, scheme="dark") as dark:
        assert background(light) != background(dark)
        night = background(dark)
        light.page.locator("#theme").click()
        assert background(light) == night


@pytest.mark.browser
def test_marks_show_in_the_page(open_page, found, tmp_path):
    folder = found.save(tmp_path / "audit")
    key = marks.keys_of(found.pairs)[0]
    marks.add(folder, found.manifest["scan"], [(key, "false")])
    path = tmp_path / "marked.html"
    path.write_text(page(Audit.load(folder)), encoding="utf-8")
    with open_page(path, fragment="#mark=false&counts=0") as opened:
        assert len(opened.rows()) == 1
        assert "marked false" in opened.page.locator("#detail").inner_text()


@pytest.mark.browser
def test_an_audit_without_a_pair_has_a_page_that_says_so(browser, make_set, make_suite, tmp_path):
    empty = audit([make_set("x", ["nothing in common"])], [make_suite("a", ITEMS)])
    path = tmp_path / "empty.html"
    path.write_text(page(empty), encoding="utf-8")
    context = browser.new_context()
    opened = context.new_page()
    said = []
    opened.on("pageerror", lambda e: said.append(str(e)))
    opened.goto(path.as_uri())
    assert "Nothing was found" in opened.locator("#matches").inner_text()
    assert opened.locator("h1").inner_text() == "No overlap that counts was found"
    assert said == []
    context.close()


@pytest.mark.browser
@pytest.mark.slow
def test_fifty_thousand_pairs_load_and_scroll(open_page, make_set, make_suite, tmp_path):
    template = "which of the following statements about the matter at hand is true"
    messages = [f"{template} says number {i} of the long list" for i in range(1000)]
    big = audit(
        [make_set("x", messages, batch_rows=500)],
        [make_suite("a", [f"{template} {i}" for i in range(50)])],
        Settings(fuzzy=False),
        Policy(policy="any"),
    )
    assert len(big.pairs) == 50_000
    path = tmp_path / "big.html"
    path.write_text(page(big), encoding="utf-8")
    with open_page(path) as opened:
        assert "50,000" in opened.page.locator("#n").inner_text()
        nodes = opened.page.evaluate("document.querySelectorAll('*').length")
        opened.page.evaluate("document.getElementById('list').scrollTop = 1e9")
        opened.page.wait_for_timeout(200)
        assert 0 < opened.page.locator(".row").count() < 60
        assert opened.page.evaluate("document.querySelectorAll('*').length") < nodes + 200
        opened.page.locator(".row").last.click()
        assert opened.page.locator("#train").inner_text().startswith("which of the following")
        opened.page.locator("#q").fill("number 999 ")
        assert "50 of 50,000" in opened.page.locator("#n").inner_text()
        assert opened.said == []


def test_a_table_of_pairs_may_be_empty(make_set, make_suite):
    empty = audit([make_set("x", ["nothing"])], [make_suite("a", ITEMS)])
    assert json.dumps(page_data(empty, [], empty.counts(), Silent()))
    assert isinstance(empty.pairs, pa.Table)
