"""The page of a training: its figures are those of the lines, whatever they hold, and a browser reads a step off."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers import curves
from trainers import page as pages
from trainers.curves import MAX_POINTS, curve, curves_svg, figure, thinned
from trainers.metrics import METRICS_FILE, SAMPLES_FILE
from trainers.page import REPORT_FILE, duration, labels, write_page
from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.pages import CSP

MARKUP = "</script><img src=x onerror='window.hacked=1'>"
HOSTILE = f"{MARKUP}<script>window.hacked=1</script> \u202egnp.exe\u202c \x00\x1b[31m 😀 &lt;b&gt; {{{{ 7 * 7 }}}} ]]>"
FACTS = {
    "stage": "rlvr",
    "recipe": "0f3a",
    "base_model": "runs/my-dpo/model",
    "settings": {"name": "herring", "seed": 1, "optimiser": {"learning_rate": 3e-7, "betas": [0.9, 0.999]}},
    "data": {
        "ref": "goats@tv1-0123456789abcdef", "digest": "ab" * 32, "audits": ["ta1-0123456789abcdef"],
        "suites": ["gsm8k", "ifeval"], "override": None,
    },
    "examples": {"examples": 29_946, "left_out": 12, "cut": 3, "longest": 1_987},
    "steps": 60,
    "environment": {"tulu-data": "0.1.0", "torch": "2.13.0"},
}  # fmt: skip


def lines_of(count, **values):
    """A training's lines; values: by name, a number or a function of the step."""
    known = {"tokens": 1_000, "loss": lambda i: 2 - i / max(1, count), "tokens_per_s": 500.0, **values}
    return [{"step": i, **{k: v(i) if callable(v) else v for k, v in known.items()}} for i in range(count)]


def make_run(folder, lines, facts=FACTS, samples=()):
    folder.mkdir(parents=True)
    (folder / METRICS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    if facts:
        checkpoint = folder / f"step-{len(lines):07d}"
        checkpoint.mkdir()
        (checkpoint / pages.STATE_FILE).write_text(json.dumps({"step": len(lines), **facts}))
    if samples:
        (folder / SAMPLES_FILE).write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return folder


def sample(step, **known):
    return {
        "step": step, "prompt": f"How many goats at {step}?", "completion": f"{step} goats", "verifier": "gsm8k",
        "ground_truth": str(step), "reward": 10.0, "stopped": True, **known,
    }  # fmt: skip


def html_of(*runs):
    return write_page(runs, runs[0] / REPORT_FILE).read_text(encoding="utf-8")


def said(html):
    """The page's text."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


class Tags(HTMLParser):
    """Every tag of a page, and every attribute."""

    def __init__(self, html):
        super().__init__()
        self.names, self.attributes = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes += attrs


# ------------------------------------------------------------ the file


def test_names_are_those_of_the_trainers():
    from trainers import checkpoints, opening

    assert (pages.STATE_FILE, pages.FACTS_FILE) == (checkpoints.STATE_FILE, opening.FACTS_FILE)


def test_a_page_needs_neither_torch_nor_polars_nor_datasets():
    code = "import sys, trainers.page; print({'torch', 'polars', 'datasets', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_page_needs_nothing_but_itself_and_is_the_same_each_time(tmp_path):
    run = make_run(tmp_path / "run", lines_of(60, reward=1.0), samples=[sample(0)])
    html = html_of(run)
    assert html == html_of(run)
    assert f'content="{CSP}"' in unescape(html)
    assert "://" not in html
    tags = Tags(html)
    assert {value for name, value in tags.attributes if name in ("src", "href")} == {"data:,", "#matches"}
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "url(" not in html


def test_the_head_and_the_figures_are_those_of_the_run(tmp_path):
    lines = lines_of(40, reward=lambda i: i - 10, passed=lambda i: i / 40, accuracy=0.5)
    text = said(html_of(make_run(tmp_path / "run", lines)))
    assert "herring" in text
    assert "Reinforcement learning with verifiable rewards of runs/my-dpo/model on goats@tv1-0123456789abcdef" in text
    assert "40 of 60 steps" in text
    assert "Decontaminated against gsm8k, ifeval (audits ta1-0123456789abcdef)" in text
    for figure_of in ("Loss 2 → 1.025", "Reward -10 → 29", "Passed 0 → 0.975", "Accuracy 0.5 → 0.5", "Tokens 40,000"):
        assert figure_of in text
    assert "Tokens a second (median) 500" in text
    assert "Time in steps 1 min 20 s" in text
    assert "Rows 29,946 Longest row (tokens) 1,987 Rows left out 12 Rows cut short 3" in text
    assert "optimiser.learning_rate 3e-07" in text
    assert "torch 2.13.0" in text
    assert "Every value; nothing is smoothed." in text


def test_an_override_cannot_be_overlooked(tmp_path):
    data = {**FACTS["data"], "override": f"a smoke test {MARKUP}"}
    html = html_of(make_run(tmp_path / "run", lines_of(3), {**FACTS, "data": data}))
    assert '<div class="alarm" role="alert"><b>Not checked for decontamination' in html
    assert "The reason on record: a smoke test </script><img" in said(html)
    assert "Decontaminated against" not in html


def test_what_is_not_known_is_not_said_to_be_well(tmp_path):
    text = said(html_of(make_run(tmp_path / "none", lines_of(3), None)))
    assert "Nothing is known of its data" in text
    bare = {**FACTS, "data": {**FACTS["data"], "suites": []}}
    text = said(html_of(make_run(tmp_path / "bare", lines_of(3), bare)))
    assert "Audited, against no suite of all its sources" in text
    assert "Decontaminated" not in text


def test_the_newest_whole_checkpoint_speaks_then_the_model(tmp_path):
    run = make_run(tmp_path / "run", lines_of(3), {**FACTS, "base_model": "older"})
    for step, state in ((9_999_999, "newest"), (10_000_000, "{torn")):
        (run / f"step-{step}").mkdir()
        text = json.dumps({**FACTS, "base_model": state}) if state == "newest" else state
        (run / f"step-{step}" / pages.STATE_FILE).write_text(text)
    assert "of newest on" in said(html_of(run))
    other = make_run(tmp_path / "other", lines_of(3), None)
    (other / "model").mkdir()
    (other / "model" / pages.FACTS_FILE).write_text(json.dumps({**FACTS, "base_model": "finished"}))
    assert "of finished on" in said(html_of(other))


@pytest.mark.parametrize("facts", [[], {"data": [], "settings": 7, "examples": "x", "steps": None}])
def test_facts_of_another_shape_do_no_harm(tmp_path, facts):
    run = make_run(tmp_path / "run", lines_of(3), None)
    (run / "model").mkdir()
    (run / "model" / pages.FACTS_FILE).write_text(json.dumps(facts))
    assert "3 steps" in said(html_of(run))


def test_errors_are_one_line_that_names_the_place(tmp_path):
    with pytest.raises(UsageError, match="no run is named"):
        write_page([], tmp_path / "x.html")
    with pytest.raises(InputError, match=r"no step in metrics\.jsonl"):
        write_page([tmp_path], tmp_path / "x.html")
    for text in ("{broken\n", "[1]\n"):
        (tmp_path / METRICS_FILE).write_text(text)
        with pytest.raises(InputError, match=r"metrics\.jsonl"):
            write_page([tmp_path], tmp_path / "x.html")
    run = make_run(tmp_path / "run", lines_of(1))
    with pytest.raises(StoreError, match="cannot be written"):
        write_page([run], run)


# ------------------------------------------------------------ values


def test_every_numeric_key_is_drawn_known_ones_first(tmp_path):
    lines = lines_of(3, zebra=1.0, explained_variance=0.5, words="no number", flag=True, nothing=None)
    lines[1]["late"] = 3
    html = html_of(make_run(tmp_path / "run", lines))
    keys = re.findall(r'data-key="([^"]*)"', html)
    assert keys == ["loss", "explained_variance", "tokens", "tokens_per_s", "zebra", "late"]


def test_values_that_are_no_numbers_are_counted_and_the_rest_is_drawn():
    values = [1.0, math.nan, 3.0, math.inf, None, 10**400, 5.0]
    c = curve([{"step": i, "x": v} for i, v in enumerate(values)], "x")
    assert c.values.tolist() == [1, 3, 5]
    assert c.lost == [1, 3, 4, 5]
    assert len(set(c.part.tolist())) == 3  # the line is broken at each gap
    assert curve([{"step": 0, "x": math.nan}], "x") is None
    assert curve([{"step": 0}], "x") is None


def test_gaps_are_said(tmp_path):
    lines = lines_of(60, kl=lambda i: math.nan if i in (7, 9) else 0.1)
    assert "not a finite number at 2 steps, first at step 7" in said(html_of(make_run(tmp_path / "run", lines)))


@pytest.mark.parametrize("count", [1, 2])
def test_a_run_of_a_step_or_two_has_a_page(tmp_path, count):
    html = html_of(make_run(tmp_path / "run", lines_of(count, reward=0.0)))
    assert "nan" not in "".join(re.findall(r' d="([^"]*)"', html))
    assert f"{count} of 60 steps" in said(html)


@given(st.lists(st.one_of(st.floats(), st.integers(), st.none()), min_size=1, max_size=200))
def test_any_values_give_a_picture_whose_points_lie_in_their_plot(values):
    lines = [{"step": i, "x": v} for i, v in enumerate(values)]
    if curve(lines, "x") is None:
        with pytest.raises(InputError):
            curves_svg([("a", lines)], ["x"])
        return
    root = ET.fromstring(curves_svg([("a", lines)], ["x"]))
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        if path.get("class") not in ("raw", "mean"):
            continue
        x = y = 0
        for kind, dx, dy in re.findall(r"([Ml])(-?\d+) (-?\d+)", path.get("d")):
            x, y = (int(dx), int(dy)) if kind == "M" else (x + int(dx), y + int(dy))
            assert 10 * curves.LEFT <= x <= 10 * curves.RIGHT
            assert 10 * curves.TOP <= y <= 10 * curves.BOTTOM


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500), st.integers(6, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values, most):
    values = np.array(values)
    kept = thinned(values, most)
    assert len(kept) <= most
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    assert (values[kept].min(), values[kept].max()) == (values.min(), values.max())


def test_the_bold_line_is_the_mean_around():
    rng = np.random.default_rng(0)
    values = rng.normal(size=1_000)
    c = curve([{"step": i, "x": v} for i, v in enumerate(values)], "x")
    assert c.window == 41
    for step, mean in zip(c.mean_steps.astype(int), c.means, strict=True):
        assert mean == pytest.approx(values[max(0, step - 20) : step + 21].mean())


def test_a_value_far_off_hides_nothing_and_is_said(tmp_path):
    lines = lines_of(1_000, grad_norm=lambda i: 1e6 if i == 500 else 1 + (i % 10) / 10)
    c = curve(lines, "grad_norm")
    assert c.spread[3] == 1e6
    assert c.means.max() < 2
    assert curves._span([c])[1] < 3
    assert "values beyond the axis" in said(html_of(make_run(tmp_path / "run", lines)))


def test_a_long_run_has_a_small_page_that_says_it_is_thinned(tmp_path):
    names = ("reward", "passed", "stopped", "kl", "grad_norm", "sampler_gap", "response_tokens", "entropy")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(100_000, len(names)))
    run = make_run(tmp_path / "run", [{**line, **dict(zip(names, row, strict=True))} for line, row in
                                      zip(lines_of(100_000), table.tolist(), strict=True)])  # fmt: skip
    html = html_of(run)
    assert len(html) < 900_000
    assert f"thinned to {MAX_POINTS:,} points" in said(html)
    assert len(curve(pages.read(run / METRICS_FILE), "kl").values) <= MAX_POINTS


@pytest.mark.parametrize("span", [(0, 1), (-0.03, 0.05), (1e-8, 3e-7), (0, 99_999), (5, 5.0001), (-1e99, 1e99)])
def test_ticks_are_round_and_within(span):
    ticks = curves._ticks(span, 3)
    assert 3 <= len(ticks) <= 9
    assert all(span[0] - 1e-9 * abs(span[0]) <= t <= span[1] + 1e-9 * abs(span[1]) for t in ticks)
    steps = curves._ticks((0, 2), 4, whole=True)
    assert steps == [0, 1, 2]


def test_numbers_and_times_are_for_people():
    assert [figure(v) for v in (0, 0.123456, 3e-7, 12345.6, -2.5, math.nan, -math.inf, 1.5e12)] == [
        "0", "0.1235", "3e-7", "12,346", "-2.5", "NaN", "-∞", "1.5e12"
    ]  # fmt: skip
    assert [duration(s) for s in (0, 42.4, 605, 7_380, 200_000)] == [
        "0 s",
        "42 s",
        "10 min 5 s",
        "2 h 3 min",
        "2 d 7 h",
    ]


# ------------------------------------------------------------ several runs, and a picture


def test_runs_are_called_by_their_folders_told_apart(tmp_path):
    assert labels([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert labels([tmp_path / "x" / "run", tmp_path / "y" / "run"]) == ["x/run", "y/run"]
    assert labels([tmp_path / "a", tmp_path / "a"]) == ["a", "a"]


def test_several_runs_share_their_curves_and_differences_are_marked(tmp_path):
    other = {**FACTS, "settings": {**FACTS["settings"], "seed": 2}, "data": {**FACTS["data"], "override": "a test"}}
    first = make_run(tmp_path / "first", lines_of(60, reward=1.0))
    second = make_run(tmp_path / "second", lines_of(30, kl=2.0), other)
    html = write_page([first, second], tmp_path / "new" / "both.html").read_text(encoding="utf-8")
    text = said(html)
    assert "2 trainings compared" in text
    assert "Not checked for decontamination: second" in text
    assert re.findall(r'data-key="([^"]*)"', html)[:3] == ["loss", "reward", "kl"]
    assert html.count('class="dot"') == 2 * 3 + 2  # loss, tokens, speed of both; reward and kl of one
    differing = re.findall(r'<tr class="differs"><th scope="row">([^<]*)<', html)
    assert differing == ["seed", "override"]


def test_a_picture_stands_alone_and_is_well_formed():
    runs = [(HOSTILE, lines_of(60)), ("plain", lines_of(60, reward=1.0))]
    svg = curves_svg(runs, ["loss", "reward", "absent"])
    root = ET.fromstring(svg)
    titles = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text") if t.get("class") == "title"]
    assert titles == ["Loss", "Reward"]
    assert {e.tag.rpartition("}")[2] for e in root.iter()} == {"svg", "style", "rect", "g", "text", "path", "circle"}
    assert "prefers-color-scheme" in svg
    with pytest.raises(InputError, match="no run has a number for absent"):
        curves_svg(runs, ["absent"])


# ------------------------------------------------------------ answers


def test_answers_are_of_steps_over_the_whole_run(tmp_path):
    held, count = pages._samples(make_run(tmp_path / "a", lines_of(1), samples=[sample(0)]) / SAMPLES_FILE)
    assert ([s["step"] for s in held], count) == ([0], 1)
    many = [sample(i // 4 * 10) for i in range(4_000)]
    run = make_run(tmp_path / "b", lines_of(1), samples=many)
    with (run / SAMPLES_FILE).open("a") as file:
        file.write('{"no": "step"}\n[1]\n{"step": 99999, "prompt": "torn')
    held, count = pages._samples(run / SAMPLES_FILE)
    assert count == 4_000
    assert len(held) <= pages.MAX_SAMPLES
    steps = [s["step"] for s in held]
    assert (steps[0], steps[-1]) == (0, 9_990)
    assert max(np.diff(sorted(set(steps)))) <= 200
    assert "300 of 4,000 answers" in said(html_of(run))
    held, _ = pages._samples(make_run(tmp_path / "c", lines_of(1), samples=[sample(3)] * 900) / SAMPLES_FILE)
    assert len(held) == pages.MAX_SAMPLES


def test_answers_of_another_shape_are_shown_as_they_are():
    shown = pages._sample({"step": 1, "prompt": None, "completion": {"a": 1}, "reward": "x"})
    assert (shown["p"], shown["c"], shown["w"], shown["good"]) == ("null", '{"a": 1}', "NaN", False)
    assert pages._sample(sample(1, reward=None))["w"] is None
    assert pages._sample(sample(1, completion="x" * 9_000))["c"].endswith("x… (1,000 more characters)")


def test_nothing_hostile_stands_in_the_page_as_markup(tmp_path):
    lines = lines_of(5, **{HOSTILE: 1.0})
    facts = {
        **FACTS, "stage": HOSTILE, "base_model": HOSTILE, "settings": {"name": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}},
        "data": {"ref": HOSTILE, "override": HOSTILE, "suites": [HOSTILE], "audits": [HOSTILE]},
    }  # fmt: skip
    one = make_run(tmp_path / "<img src=x onerror=alert(1)>", lines, facts, [sample(0, completion=HOSTILE)])
    two = make_run(tmp_path / "two", lines, facts)
    for html in (html_of(one), html_of(one, two)):
        assert html.count("<script") == html.count("</script>") == 2
        assert Tags(html).names.isdisjoint({"img", "iframe"})
        assert "\x00" not in html
        assert "\u202e" not in html


# ------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    lines = lines_of(300, reward=lambda i: i / 10, **{MARKUP: lambda i: -i})
    data = {**FACTS["data"], "override": MARKUP}
    facts = {**FACTS, "settings": {"name": MARKUP}, "data": data}
    answers = [sample(0), sample(100, completion=HOSTILE, reward=-10.0, stopped=False), sample(299, reward=None)]
    one = make_run(folder / "one", lines, facts, answers)
    two = make_run(folder / "two", lines_of(150, reward=5.0), samples=[sample(7)])
    return write_page([one], one / REPORT_FILE), write_page([one, two], folder / "both.html")


def point(opened, key, share):
    """Moves the mouse over a curve; what is read off there."""
    panel = opened.page.locator(f'.panel[data-key="{key}"]')
    panel.scroll_into_view_if_needed()
    box = panel.locator("svg").bounding_box()
    scale = box["width"] / curves.WIDTH
    across = curves.LEFT + share * (curves.RIGHT - curves.LEFT)
    opened.page.mouse.move(box["x"] + across * scale, box["y"] + (curves.TOP + 20) * scale)
    return " ".join(panel.locator(".read").inner_text().split())


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_reads_a_step_off_and_runs_nothing_hostile(open_page, written, scheme):
    with open_page(written[0], scheme=scheme) as opened:
        assert opened.page.locator(".alarm").is_visible()
        assert MARKUP in opened.page.locator(".alarm").inner_text()
        assert opened.page.locator("h1").inner_text() == MARKUP
        step, value, _ = re.fullmatch(r"step (\d+) ([\d.]+) mean ([\d.]+)", point(opened, "reward", 0.5)).groups()
        assert 148 <= int(step) <= 151
        assert float(value) == int(step) / 10
        assert opened.page.locator('.panel[data-key="loss"] .cross').get_attribute("d").startswith("M")
        opened.page.mouse.move(5, 5)
        assert not opened.page.locator('.panel[data-key="reward"] .read').is_visible()
        opened.page.locator("#theme").click()
        assert opened.page.evaluate("window.hacked") is None
        assert set(opened.requests) == {opened.url}
        assert opened.said == []


@pytest.mark.browser
def test_the_keyboard_reads_steps_off(open_page, written):
    with open_page(written[0]) as opened:
        panel = opened.page.locator('.panel[data-key="reward"]')
        panel.focus()
        told = []
        for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight"):
            opened.page.keyboard.press(key)
            told.append(panel.locator(".read b").first.inner_text())
        assert told == [f"step {i}" for i in (0, 1, 2, 1, 299, 299)]
        opened.page.keyboard.press("Escape")
        assert not panel.locator(".read").is_visible()


@pytest.mark.browser
def test_answers_are_chosen_by_step_and_shown_as_text(open_page, written):
    with open_page(written[0]) as opened:
        answer = opened.page.locator(".answer")
        assert "not judged" in answer.inner_text()
        opened.page.locator("#before").click()
        assert answer.locator(".chip").all_inner_texts() == ["reward -10", "did not come to its end"]
        assert MARKUP in answer.inner_text()
        assert "\u202e" not in answer.inner_text()
        opened.page.locator("#at").select_option(index=0)
        assert "0 goats" in answer.inner_text()
        assert opened.page.locator("#before").is_disabled()
        assert opened.page.evaluate("window.hacked") is None


@pytest.mark.browser
def test_runs_are_read_off_side_by_side(open_page, written):
    with open_page(written[1], width=420) as opened:
        assert "step 149" in point(opened, "reward", 149 / 299)
        told = point(opened, "reward", 1.0)
        assert re.fullmatch(r"step 299 one 29\.9 mean [\d.]+ two 5 mean 5 at step 149", told)
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.page.locator("#at option").all_inner_texts()[-1] == "two, step 7"
        assert opened.said == []
