"""The page of a diff: what it says equals the diff, and a real browser does with it what a person would."""

import base64
import gzip
import json
import re

import pytest

from tulu_data.cli import main
from tulu_data.diff import compare_rows, diff
from tulu_data.diff_page import MESSAGE_CHARS, page
from tulu_data.errors import UsageError
from tulu_data.manifest import Origin, Step
from tulu_data.mixture import Part, mix
from tulu_data.rows import KINDS
from tulu_data.store import Store
from tulu_data.take import Take

HOSTILE = (
    "<script>window.hacked=1</script></script><img src=x onerror='window.hacked=1'> \u202egnp.exe\u202c \x1b[31m "
    f"😀👩‍👩‍👧 &lt;b&gt; {'w' * 5000} {{{{ 7 * 7 }}}} </textarea>"
)


def chat(name, question, answer="yes", **more):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "prov": {"orig_id": name}, **more}


@pytest.fixture(scope="module")
def versions(tmp_path_factory, make_version, make_rows):
    """Two mixtures: of `sums` 12 and 10 rows, two of them changed; of `talk` one source is gone and another new."""
    store = Store(tmp_path_factory.mktemp("diff") / "store")

    def source(name, rows, license="mit"):  # noqa: A002
        steps = [
            Step(name="ingest", source=name, params={"adapter": "openai"}, rows_in=len(rows) + 3, rows_out=len(rows))
        ]
        return make_version(store, name, make_rows(name, rows, license=license), steps=steps)

    sums = [chat(str(i), f"how much is {i} and {i}?", f"it is {2 * i}") for i in range(12)]
    again = [chat(str(i), f"how much is {i} and {i}?", f"it is {2 * i} of course") for i in (3, 4)]
    talk = [chat(str(i), f"tell me of ferry {i}", HOSTILE if i == 2 else "it is late") for i in range(6)]
    new = [chat(str(i), f"<b>new</b> {i}", f"{HOSTILE} {i}") for i in range(4)]
    old = [
        Part("sums", source("sums", sums), Take(all=True), "math"),
        Part("talk", source("talk", talk), Take(count=6)),
    ]
    parts = [Part("sums", source("sums", [*sums[:3], *again, *sums[5:10]]), Take(all=True), "math")]
    parts += [Part("new </script>", source("new", new, "cc-by-nc-4.0"), Take(count=4))]
    recipe = {"name": "mixed", "seed": 1, "mix": {"talk": {"count": 6}}}
    one = mix(store, "mixed", old, seed=1, origin=Origin(recipe=recipe, root=".", step="mix"))
    recipe = {"name": "mixed", "seed": 2, "mix": {"new": {"count": 4, "where": HOSTILE[:60]}}}
    other = mix(store, "mixed", parts, seed=2, origin=Origin(recipe=recipe, root=".", step="mix"))
    return one, other


def data_of(html):
    packed = re.search(r'<script id="data"[^>]*>([^<]*)</script>', html).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def told(html):
    """The page's text without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<(style|script).*?</\1>", " ", html, flags=re.S)).split())


# ------------------------------------------------------------ what it says


def test_the_sentence_and_the_rows_are_those_of_the_diff(versions):
    a, b = versions
    found, html = diff(a, b), page(a, b)
    assert (found.common, found.only_a, found.only_b, found.changed) == (8, 10, 6, 2)
    words = f"8 rows are in both, {found.moved} of them in another order; 8 are only in A and 4 only in B; 2 kept their"
    assert words in told(html)
    rows = data_of(html)["rows"]
    assert [r["k"] for r in rows] == ["c"] * 2 + ["a"] * 8 + ["b"] * 4
    assert {r["i"] for r in rows if r["k"] == "c"} == {"sums/3", "sums/4"}
    assert {r["s"] for r in rows if r["k"] == "b"} == {"new"}


def test_a_sample_is_the_beginning_of_a_larger_one_and_the_page_says_that_it_is_one(versions):
    a, b = versions
    few, more = (data_of(page(a, b, rows=n))["rows"] for n in (3, 6))
    for side in "ab":
        of_few, of_more = ([r["h"] for r in rows if r["k"] == side] for rows in (few, more))
        assert len(of_few) == 3
        assert of_few == of_more[:3]
    assert "a sample: 3 of the 8 only in A, 3 of the 4 only in B" in told(page(a, b, rows=3))
    assert "a sample" not in told(page(a, b))


def test_a_change_is_told_message_by_message_and_what_is_equal_once(versions):
    entry = next(r for r in data_of(page(*versions))["rows"] if r["i"] == "sums/3")
    assert entry["u"] == [
        ["user", "how much is 3 and 3?", 0, 0, 0],
        ["assistant", "it is 6", "it is 6 of course", 0, 0],
    ]
    assert entry["d"] == []


def test_messages_that_only_one_side_has_and_columns_that_changed_are_told(store, make_version, make_rows):
    row = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}
    system = {"role": "system", "content": "be brief"}
    a = make_version(store, "a", make_rows("s", [{"messages": [*row], "prov": {"orig_id": "1"}}]))
    more = {"messages": [system, *row], "prov": {"orig_id": "1"}}
    b = make_version(store, "b", make_rows("s", [more], license="apache-2.0"))
    [entry] = data_of(page(a, b))["rows"]
    assert entry["d"] == [["licence", "mit", "apache-2.0"]]
    assert entry["u"] == [["system", None, "be brief", 0, 0], ["user", "hi", 0, 0, 0], ["assistant", "ho", 0, 0, 0]]


def test_of_long_texts_the_page_holds_where_they_differ(store, make_version, make_rows):
    same = "word " * MESSAGE_CHARS
    a, b = (
        make_version(store, name, make_rows("s", [chat("1", "q", f"{same}{name} end")])) for name in ("before", "after")
    )
    [entry] = data_of(page(a, b))["rows"]
    _, was, now, cut_before, cut_after = entry["u"][1]
    assert (was[-10:], now[-9:], cut_before, cut_after) == ("before end", "after end", 1, 0)
    assert len(was) < MESSAGE_CHARS / 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_row_has_a_page(store, make_version, kind):
    a, b = make_version(store, "a", ["x", "y"], kind), make_version(store, "b", ["y", "z"], kind)
    rows = data_of(page(a, b))["rows"]
    assert [r["k"] for r in rows] == ["a", "b"]
    labels = {label for label, *_ in rows[0]["t"]}
    assert (
        labels
        == {
            "sft": {"user", "assistant"},
            "prompt": {"user"},
            "preference": {"user", "chosen: assistant", "rejected: assistant"},
            "rlvr": {"user", "ground_truth", "verifier"},
        }[kind]
    )


def test_what_both_are_made_of_and_asked_for_stands_side_by_side(versions):
    text = told(page(*versions))
    assert "talk gone 6 only in A 6 33.3 % – −6 −33.3 pt" in text
    assert "new new 4 only in B – 4 28.6 % +4 +28.6 pt" in text
    assert "math 12 66.7 % 10 71.4 % −2 +4.8 pt" in text
    assert "cc-by-nc-4.0 new" in text
    assert "Commercial use: no, for cc-by-nc-4.0 (4 rows)." in text
    assert "mix.talk {count: 6} –" in text
    assert "seed 1 2" in text
    assert "sums 15 → 13 0 12 → 10 12 → 10" in text


def test_equal_versions_are_said_to_be_equal(versions, store, make_version):
    a, _ = versions
    text = told(page(a, a))
    assert "The same rows in the same order All 18 rows are in both, in the same order." in text
    assert "No row differs." in text
    assert "The recipes are the same." in text
    turned = make_version(store, "x", ["one", "two"]), make_version(store, "y", ["two", "one"])
    assert "The same rows in another order All 2 rows are in both, 1 of them in another place." in told(page(*turned))


def test_versions_of_other_schemas_are_refused(store, make_version):
    with pytest.raises(UsageError, match="nothing to compare"):
        page(make_version(store, "a", ["x"]), make_version(store, "b", ["x"], "preference"))


def test_versions_without_a_row_have_a_page(store, make_version):
    a, b = make_version(store, "a", []), make_version(store, "b", ["x"])
    assert "The same rows in the same order" in told(page(a, a))
    assert [r["k"] for r in data_of(page(a, b))["rows"]] == ["b"]
    assert compare_rows(b, a).only_a.tolist() == [0]


def test_the_same_versions_give_the_same_bytes(versions):
    assert page(*versions) == page(*versions)


def test_nothing_of_a_row_or_a_recipe_stands_in_the_page_as_markup(versions):
    html = page(*versions)
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html
    assert "&lt;script&gt;window" in html  # of the recipe
    assert "onerror='window" not in html
    assert not {"\u202e", "\x1b"} & set(html)


def test_the_command_writes_the_page_and_prints_where(versions, tmp_path, capsys):
    a, b = versions
    target = tmp_path / "new" / "diff.html"
    for more in ([], ["--json"]):
        with pytest.raises(SystemExit) as stopped:
            main(["diff", a.ref, b.ref, "--store", str(a.path.parent), "--page", str(target), *more])
        assert stopped.value.code in (0, None)
        out = capsys.readouterr().out
        assert json.loads(out)["page"] == str(target) if more else out.endswith(f"{target}\n")
        assert target.read_text(encoding="utf-8") == page(a, b)
    assert [p.name for p in target.parent.iterdir()] == ["diff.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        main(["diff", a.ref, b.ref, "--store", str(a.path.parent), "--page", str(tmp_path / "file" / "x.html")])
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"error: \S+: cannot write \(.*\); .* with --page\n", said.err)


# ------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def written(versions, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "diff.html"
    path.write_text(page(*versions), encoding="utf-8")
    return path


@pytest.mark.browser
def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(open_page, written):
    with open_page(written) as opened:
        for i in range(len(opened.rows())):
            opened.page.locator(".row").nth(min(i, 8)).click()
            opened.page.keyboard.press("j")
        assert set(opened.requests) == {opened.url}
        assert opened.said == []


@pytest.mark.browser
def test_a_count_filters_the_rows_and_again_shows_all(open_page, written):
    with open_page(written) as opened:
        assert len(opened.rows()) == 14
        opened.page.locator('.pick[data-source="talk"][data-kind="a"]').click()
        assert len(opened.rows()) == 6
        assert opened.page.locator("#f-source").input_value() == "talk"
        opened.page.locator('.pick[data-source="talk"][data-kind="a"]').click()
        assert len(opened.rows()) == 14
        opened.page.locator("button.seg.c").click()
        assert len(opened.rows()) == 2
        assert opened.page.locator('.seg[aria-pressed="true"]').count() == 1


@pytest.mark.browser
def test_words_that_changed_are_marked_on_their_side(open_page, written):
    with open_page(written, fragment="#kind=c&q=sums/3") as opened:
        assert opened.shown() == "sums/3"
        assert opened.page.locator("#detail ins").all_inner_texts() == [" of course"]
        assert opened.page.locator("#detail del").count() == 0
        assert "USER, IN BOTH" in opened.page.locator("#detail").inner_text().upper()


@pytest.mark.browser
def test_a_deep_link_opens_its_row_and_its_filters(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#f-kind").select_option("b")
        opened.page.locator(".row").nth(2).click()
        name, fragment = opened.shown(), "#" + opened.page.url.partition("#")[2]
    with open_page(written, fragment=fragment) as again:
        assert again.shown() == name
        assert again.page.locator("#f-kind").input_value() == "b"
    with open_page(written, fragment="#kind=nonsense&row=nonsense") as odd:
        assert len(odd.rows()) == 14


@pytest.mark.browser
def test_the_keyboard_goes_through_the_rows_and_searches(open_page, written):
    with open_page(written) as opened:
        keyboard, first = opened.page.keyboard, opened.shown()
        keyboard.press("j")
        assert opened.shown() != first
        keyboard.press("k")
        assert opened.shown() == first
        keyboard.press("/")
        keyboard.type("ferry 4")
        assert len(opened.rows()) == 1
        keyboard.press("Escape")
        keyboard.press("x")
        assert len(opened.rows()) == 14
        opened.page.locator("#list").focus()
        keyboard.press("End")
        assert "only in B" in opened.page.locator(".row.on").inner_text()
        keyboard.press("/")
        keyboard.type("nothing like this")
        assert opened.page.locator("#none").is_visible()


@pytest.mark.browser
def test_hostile_rows_are_text(open_page, written):
    with open_page(written, fragment="#q=hacked") as opened:
        for i in range(len(opened.rows())):
            opened.page.locator(".row").nth(i).click()
            assert "<script>window.hacked=1</script>" in opened.page.locator("#detail").inner_text()
            assert "\u202e" not in opened.page.locator("#detail").inner_text()
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.locator("#detail img, #detail script, #detail b:text('new')").count() == 0
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.said == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 800, 1440])
def test_nothing_is_wider_than_the_window(open_page, written, width):
    with open_page(written, width=width) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        opened.page.locator(".row").first.click()
        assert opened.page.locator("#detail").is_visible()
        opened.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_on_a_narrow_screen_one_goes_into_a_row_and_back(open_page, written):
    with open_page(written, width=375) as opened:
        assert not opened.page.locator("#detail").is_visible()
        opened.page.locator(".row").nth(1).click()
        assert not opened.page.locator("#list").is_visible()
        opened.page.locator(".back").click()
        assert opened.page.locator("#list").is_visible()


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
def test_equal_versions_have_a_page_without_rows(open_page, versions, tmp_path):
    path = tmp_path / "same.html"
    path.write_text(page(versions[0], versions[0]), encoding="utf-8")
    with open_page(path) as opened:
        assert "No row differs" in opened.page.locator("#matches").inner_text()
        assert opened.said == []
