"""The page of a version: its figures are the manifest's, its examples the drops', and hostile rows are text in it."""

import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tulu_data import composition, mixture_funnel, mixture_samples
from tulu_data.cli import cli
from tulu_data.dedup import Settings, find_in_store, publish_unique
from tulu_data.filters import registry
from tulu_data.filters.filtering import filter_version
from tulu_data.manifest import Step
from tulu_data.mixture import Part, mix
from tulu_data.mixture_composition import percent, publishing, taken
from tulu_data.mixture_page import heat, page, sentence
from tulu_data.mixture_samples import quotas
from tulu_data.store import Store
from tulu_data.take import Take

WORDS = (
    "the ferry to Brakka carries crates of salted herring past the old lighthouse every single morning at dawn, and "
    "whoever stands on the pier before the bells have rung may see how the gulls come down from the cliffs for it, and"
)
HOSTILE = (
    "<script>window.hacked=1</script></script><img src=x onerror='window.hacked=1'> \u202egnp.exe\u202c "
    "javascript:window.hacked=1 {{ 7 * 7 }} <!-- </textarea> 😀"
)


def turns(prompt, answer="It does, and it is back by noon."):
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def row(prompt, answer="It does, and it is back by noon.", **more):
    return {"messages": turns(prompt, answer), **more}


def data_of(html):
    """What the page's script reads."""
    packed = re.search(r'<script id="data"[^>]*>([^<]*)</script>', html)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture
def make_mixture(make_version):
    """A store with a mixture of two sources, filtered and without duplicates: near ones, equal ones, a refusal."""

    def make(store, *, first="herring", second="goats", license="cc-by-4.0", topics=("Math", "Coding"), extra=()):  # noqa: A002
        near = [
            row(f"{WORDS} brings {i} goats to the fair on the far side of the bay", "So it is told.") for i in range(6)
        ]
        equal = [row("How far is it to Brakka?")] * 3
        refused = [row("Tell me more.", "I'm sorry, but as an AI language model I cannot help with that.")]
        plain = [row(f"What does day {i} bring to the harbour of Brakka?", f"It brings {i} crates.") for i in range(20)]
        raw = [
            make_version(store, first, [*near, *plain, *extra], license=license),
            make_version(store, second, [*equal, *refused, row("And the goats?"), row(HOSTILE, "No.")], license="mit"),
        ]
        filters = registry.validate({}, "recipe")
        clean = [filter_version(v, store, f"{v.name}-filtered", filters) for v in raw]
        settings = Settings(near=True, scope="across")
        found = find_in_store(clean, settings, store)
        unique = [publish_unique(found, v, store, f"{n}-unique") for v, n in zip(clean, (first, second), strict=True)]
        takes = (Take(count=10), Take(all=True))
        parts = [Part(n, v, t, topic) for n, v, t, topic in zip((first, second), unique, takes, topics, strict=True)]
        return mix(store, "ferry", parts, seed=7)

    return make


@pytest.fixture
def mixture(store, make_mixture):
    return make_mixture(store)


# ------------------------------------------------------------ what it says


def test_the_head_says_rows_tokens_kind_sources_overlap_and_licences_in_one_sentence(mixture):
    said = sentence(mixture.manifest)
    rows, tokens = mixture.rows, mixture.manifest.logical.tokens
    assert said == (
        f"{rows:,} conversations (kind sft), {tokens:,} tokens, from 2 sources; "
        "not checked against any evaluation suite; may be published with attribution."
    )


def test_every_source_topic_and_licence_stands_in_it_with_its_rows_and_tokens(store, mixture):
    html = page(mixture, store)
    for source in composition.sources(mixture.manifest):
        assert f"<bdi>{source.source}</bdi>" in html
        assert f'<span class="by-rows">{source.rows:,}</span><span class="by-tokens">{source.tokens:,}</span>' in html
    for topic in composition.topics(mixture.manifest):
        assert f"<bdi>{topic.topic}</bdi>" in html
    assert "math reasoning" in html  # the paper's word
    for use in composition.licences(mixture.manifest):
        assert f"<bdi>{use.license}</bdi>" in html
    assert "asked for</th>" in html
    assert '<span class="met">10 rows</span>' in html


def test_the_funnel_counts_as_the_manifest_does_and_its_parts_sum_up(store, mixture):
    funnels = mixture_funnel.linear(composition.funnels(mixture.manifest))
    view = mixture_funnel.funnel_view(funnels, mixture_funnel.dropped(funnels, mixture, store))
    for line, funnel in zip(view["rows"], funnels, strict=True):
        cells = {c["step"]: c["n"] for c in line["cells"]}
        assert cells == {s.step: s.left_out for s in funnel.stages}
        assert line["read"] - sum(cells.values()) == line["rows"] == funnel.rows
        assert sum(s["width"] for s in line["segments"]) == pytest.approx(100, abs=0.01)
    lost = mixture_funnel.losses(funnels)
    assert lost.read - lost.dropped - lost.left_over == mixture.rows


def test_reasons_of_a_stage_sum_up_to_what_it_dropped_and_examples_are_rows_that_left(store, mixture):
    drops = data_of(page(mixture, store))["drops"]
    assert {(d["part"], d["step"]) for d in drops} == {("goats", "filter"), ("goats", "dedup"), ("herring", "dedup")}
    kept = {r["row_sha"].hex() for r in mixture.table(["row_sha"]).to_pylist()}
    for d in drops:
        assert sum(n for _, n in d["reasons"]) == d["rows"]
        assert d["examples"]
        assert d["note"] is None
        for e in d["examples"]:
            assert e["x"]["i"] == e["i"]
            if d["step"] == "filter":
                assert e["x"]["h"] not in kept
                assert e["r"].startswith("refusals")


def test_a_sample_takes_evenly_of_each_source_whatever_their_sizes():
    assert quotas([3, 1000, 1000], 100) == [3, 48, 49]
    assert quotas([1, 2], 100) == [1, 2]
    assert quotas([], 5) == []


def test_a_larger_sample_holds_the_smaller_and_order_does_not_matter(store, make_version):
    rows = [row(f"question {i}") for i in range(60)]
    one = make_version(store, "one", rows, batch_rows=7)
    other = make_version(Store(store.root / "other"), "one", rows[::-1], batch_rows=60)

    def shown(version, n):
        return {r["h"] for r in data_of(page(version, store, rows=n))["rows"]}

    assert len(shown(one, 10)) == 10
    assert shown(one, 10) < shown(one, 20)
    assert shown(one, 10) == shown(other, 10)


def test_rows_looked_up_by_place_and_by_digest_are_those_of_the_table(store, make_version):
    version = make_version(store, "one", [row(f"question {i}") for i in range(50)], batch_rows=9)
    table = version.table().to_pylist()
    places = np.array([0, 8, 9, 31, 49])
    found = mixture_samples.rows_at(version, places)
    assert [r["i"] for r in found] == [table[p]["id"] for p in places]
    by_digest = mixture_samples.rows_of(version, [table[p]["row_sha"] for p in places] + [bytes(32)])
    assert {k.hex(): r["i"] for k, r in by_digest.items()} == {
        table[p]["row_sha"].hex(): table[p]["id"] for p in places
    }


def test_long_rows_are_clipped_and_what_is_left_out_is_counted(store, make_version):
    long = {"messages": [m for i in range(9) for m in turns(f"{i} " + "x" * 3000, "y" * 3000)]}
    version = make_version(store, "long", [long])
    [shown] = data_of(page(version, store))["rows"]
    texts = [m for m in shown["x"]["messages"] if m[0] is not None]
    assert sum(len(m[1]) for m in texts) <= mixture_samples.ROW_CHARS
    assert texts[0][2] == 3002 - mixture_samples.TEXT_CHARS
    assert shown["x"]["messages"][-1] == [None, 18 - len(texts)]


def test_histograms_count_every_row_once(store, mixture):
    html = page(mixture, store)
    for name in ("tokens", "messages"):
        counts = [int(n.replace(",", "")) for n in re.findall(rf'class="bin" title="[^"]* {name}: ([\d,]+) row', html)]
        assert sum(counts) == mixture.rows


def test_clusters_hold_the_row_that_stays_and_one_that_leaves_with_their_texts(store, mixture):
    clusters = data_of(page(mixture, store))["clusters"]
    assert {kind for c in clusters for kind in c["k"]} == {"near", "row"}
    for c in clusters:
        stays, *leave = c["m"]
        assert stays["k"] is None
        assert leave
        assert all(m["x"]["i"] == m["i"] for m in c["m"])
        assert all(m["c"] < 1 for m in leave if m["k"] == "near")
    assert "near duplicate" in page(mixture, store)


@pytest.mark.parametrize("kind", ["preference", "rlvr", "prompt"])
def test_other_kinds_have_a_page_with_what_is_theirs(store, make_version, kind):
    html = page(make_version(store, "one", ["a", "b", "c"], kind), store)
    [first, *_] = data_of(html)["rows"]
    assert f"(kind {kind})" in html
    assert ("chosen" in first["x"]) == (kind == "preference")
    assert first["k"] == ({"ground_truth": first["x"]["messages"][0][1], "verifier": "gsm8k"} if kind == "rlvr" else {})


@pytest.mark.parametrize(
    ("licenses", "tone", "words"),
    [
        ({"mit": 3}, "good", "may be published with attribution"),
        ({"cc0-1.0": 3}, "good", "may be published"),
        ({"cc-by-nc-4.0": 3}, "warn", "may be published for non-commercial use, with attribution"),
        ({"cc-by-nd-4.0": 3, "mit": 1}, "bad", "a licence rules out publishing changed rows"),
        ({"who knows": 3, "mit": 1}, "warn", "publishing is not settled: 3 rows have no known terms"),
        ({}, "warn", "no licence is on record"),
    ],
)
def test_whether_it_may_be_published_follows_from_the_licences(licenses, tone, words):
    from tulu_data.licenses import uses

    said = publishing(uses({"a": licenses}))
    assert (said["tone"], said["words"]) == (tone, words)


def test_more_overlap_is_never_coloured_less():
    shares = [0.0, 1e-5, 1e-4, 0.001, 0.02, 0.3, 1.0]
    assert [heat(s) for s in shares] == sorted(heat(s) for s in shares)
    assert (heat(0.0), heat(1.0)) == (0, 100)


def test_a_take_reads_as_a_recipe_writes_it():
    assert taken({"all": True, "repeat": 3}) == "all: true, repeat: 3"


# ------------------------------------------------------------ what is on record, and what is not


def record(**more):
    suites = [
        {"id": "gsm8k", "group": "dev", "digest": "0", "instances": 100, "flagged": 5, "contaminated": True},
        {"id": "mmlu", "group": "dev", "digest": "1", "instances": 100, "flagged": 0, "contaminated": False},
    ]
    return {
        "audit": "ta1-0123456789abcdef",
        "policy": "rows",
        "layers": ["exact"],
        "set": "one",
        "sources": ["one"],
        "rows_in": 9,
        "rows_dropped": 4,
        "suites": [s | {"verdict": "drop rows", "rows_dropped": s["flagged"]} for s in suites],
        **more,
    }


def test_the_map_links_each_cell_to_its_matches_in_the_audits_page(store, make_version):
    version = make_version(store, "one", ["a"], decontamination=[record()])
    html = page(version, store, audit_href=lambda audit: f"audit-{audit}.html")
    assert 'href="audit-ta1-0123456789abcdef.html#set=one&amp;suite=gsm8k"' in html
    assert 'href="audit-ta1-0123456789abcdef.html#set=one&amp;suite=mmlu&amp;counts=0"' in html
    assert "checked against 2 evaluation suites, 4 rows dropped" in html
    assert "href=" not in page(version, store).partition("</head>")[2].partition('id="audits"')[2]


def test_without_an_audit_or_a_search_for_duplicates_the_page_says_so(store, make_version):
    html = page(make_version(store, "one", ["a"]), store)
    assert "No audit is on record." in html
    assert "No step looked for duplicates." in html
    assert "Version <span" in html  # no mixture
    assert "topic and source" not in html
    assert "asked for</th>" not in html


def test_an_empty_version_has_a_page(store, make_version):
    html = page(make_version(store, "none", []), store)
    assert "It holds no row." in html


def test_no_rows_and_no_audit_can_be_asked_for(store, mixture):
    assert data_of(page(mixture, store, rows=0))["rows"] == []


def test_a_store_that_no_longer_holds_the_versions_on_the_way_is_told_of(store, mixture):
    for folder in store.root.glob("*@*"):
        if folder != mixture.path:
            shutil.rmtree(folder)
    shutil.rmtree(store.root / "duplicates")
    html = page(mixture, store)
    drops = data_of(html)["drops"]
    assert {d["part"] for d in drops} == {"herring", "goats"}
    assert all("no longer holds" in d["note"] for d in drops)
    assert [d["reasons"] for d in drops if d["step"] == "filter"] == [[["refusals.refusal", 1]]]  # on record itself
    assert "The store no longer holds td1-" in html


def test_parents_alone_that_are_gone_leave_the_reasons(store, mixture):
    for folder in (*store.root.glob("goats-filtered@*"), *store.root.glob("herring-filtered@*")):
        shutil.rmtree(folder)
    drops = {(d["part"], d["step"]): d for d in data_of(page(mixture, store))["drops"]}
    dedup = drops["herring", "dedup"]
    assert sum(n for _, n in dedup["reasons"]) == dedup["rows"]
    assert {e["x"] for e in dedup["examples"]} == {None}
    assert dedup["note"] == f"The store no longer holds {parent_of(mixture, 'herring')}, where their texts stood."


def parent_of(mixture, part):
    funnel = next(f for f in composition.funnels(mixture.manifest) if f.part == part)
    return funnel.stages[-2].parents[0]


def test_a_damaged_list_of_drops_is_told_of(store, mixture):
    for path in store.root.glob("goats-unique@*/drops/dedup.parquet"):
        path.write_bytes(b"PAR1 and no more")
    notes = [d["note"] for d in data_of(page(mixture, store))["drops"] if (d["part"], d["step"]) == ("goats", "dedup")]
    assert len(notes) == 1
    assert "cannot be read" in notes[0]


def test_a_mixture_of_before_parts_recorded_what_was_asked_has_a_page(store, make_version):
    old = {"herring": {"take": {"all": True}, "version": "herring@tv1-0", "available": 2, "rows": 2}}
    step = Step(name="mix", params={"seed": 1, "parts": old}, rows_in=2, rows_out=2, parents=["herring@tv1-0"])
    html = page(make_version(store, "old", ["a", "b"], steps=[step]), store)
    assert "before they were recorded" in html
    assert "as they were asked for" not in html


def test_what_came_before_a_mixture_that_was_changed_since_is_no_chain_of_it(store, mixture, make_version):
    step = Step(name="filter", source="ferry", params={"funnel": []}, rows_in=12, rows_out=12, parents=[mixture.ref])
    steps = [*mixture.manifest.steps, step]
    funnels = mixture_funnel.linear(composition.funnels(mixture.manifest.model_copy(update={"steps": steps})))
    assert [[s.step for s in f.stages] for f in funnels] == [["filter"]]


def test_the_same_version_gives_the_same_bytes_and_no_time_or_folder_of_this_machine(tmp_path, make_mixture):
    pages = []
    for folder in ("a", "b"):
        store = Store(tmp_path / folder)
        pages.append(page(make_mixture(store), store))
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]
    assert str(tmp_path) not in json.dumps(data_of(pages[0]))


def test_a_version_that_two_parts_take_from_counts_once(store, make_version):
    raw = make_version(
        store, "one", [*(row(f"question {i}") for i in range(9)), row("hm", "As an AI language model, I cannot.")]
    )
    clean = filter_version(raw, store, "clean", registry.validate({}, "recipe"))
    odd, even = (Part(n, clean, Take(all=True, where=f"length(id) {sign} 0")) for n, sign in (("a", ">"), ("b", "<")))
    made = mix(store, "two", [odd, even])
    lost = mixture_funnel.losses(mixture_funnel.linear(composition.funnels(made.manifest)))
    assert lost == (10, 1, 0)


@pytest.mark.parametrize("repeat", [1, 2])
def test_what_two_parts_of_one_version_lost_is_counted_and_listed_once_however_often_they_repeat_it(
    store, make_version, repeat
):
    rows = [row(f"question {i}", subset="odd" if i % 2 else "even") for i in range(20)]
    raw = make_version(store, "one", [*rows, row("hm", "As an AI language model, I cannot.")])
    clean = filter_version(raw, store, "clean", registry.validate({}, "recipe"))
    odd = Part("odd", clean, Take(all=True, where="subset = 'odd'", repeat=repeat), "Math")
    made = mix(store, "two", [odd, Part("even", clean, Take(count=5, where="subset = 'even'"), "Coding")])
    html = page(made, store)
    left = clean.rows - len(set(made.table(["row_sha"])["row_sha"].to_pylist()))
    assert left == 5
    assert f"of 21 read; {left} more were not asked for" in html
    drops = data_of(html)["drops"]
    assert [(d["part"], d["rows"], d["again"]) for d in drops] == [("even", 1, False), ("odd", 1, True)]
    assert drops[0]["examples"] == drops[1]["examples"]
    assert ("several topics" in html) == (repeat == 1)  # copies: by source, which has no topic of its own


def test_a_share_that_is_not_all_does_not_read_as_all():
    assert percent(0.99996) == "over 99.9 %"
    assert [percent(share) for share in (1.0, 0.9994, 0.004, 1e-6, 0.0)] == [
        *("100 %", "99.9 %", "0.40 %", "under 0.01 %", "0 %")
    ]


def test_searches_within_sources_that_looked_for_the_same_stand_as_one(store, make_version):
    raw = [make_version(store, name, [row(f"{name} {i // 2}") for i in range(4)]) for name in ("a", "b")]
    parts, ids = [], []
    for version in raw:
        found = find_in_store([version], Settings(scope="within"), store)
        ids.append(found.id)
        parts.append(
            Part(version.name, publish_unique(found, version, store, f"{version.name}-unique"), Take(all=True))
        )
    html = page(mix(store, "both", parts), store)
    assert html.count("Looked for: ") == 1
    assert "within each of 2 sources" in html
    assert ", ".join(ids) in html


def test_of_two_histories_of_the_same_rows_the_drops_are_those_of_the_one_on_record(store, make_version):
    long = row("Tell me more.", "I'm sorry, but as an AI language model I cannot help with that." + " So it is." * 90)
    raw = make_version(store, "one", [row("And the goats?"), long])
    refusals = {"repetition": False, "self_identification": False}
    by_refusal, by_length = (
        filter_version(raw, store, "clean", registry.validate(section, "recipe"))
        for section in (refusals, {**refusals, "refusals": False, "length": {"max_chars": 500}})
    )
    assert by_refusal.ref == by_length.ref
    assert by_length.build is not None
    for version, rule in ((by_refusal, "refusals.refusal"), (by_length, "length.max_chars")):
        made = mix(store, f"mixed-{rule[:6]}", [Part("one", version, Take(all=True))])
        [dropped] = data_of(page(made, store))["drops"]
        assert dropped["reasons"] == [[rule, 1]]


# ------------------------------------------------------------ hostile rows


@pytest.fixture
def hostile(store, make_version):
    rows = [row(HOSTILE, HOSTILE, prov={"orig_id": HOSTILE}, subset=HOSTILE, tags=[HOSTILE], license=HOSTILE)]
    return make_version(
        store,
        "hostile",
        [*rows, row("and a plain one")],
        decontamination=[record(set=HOSTILE, sources=["hostile"])],
        steps=[
            Step(
                name="mix",
                params={
                    "parts": {
                        HOSTILE: {
                            "take": {"all": True, "where": HOSTILE},
                            "topic": HOSTILE,
                            "version": HOSTILE,
                            "steps": [0, 0],
                            "sources": ["hostile"],
                            "available": 2,
                            "asked": {"rows": 2},
                            "rows": 2,
                            "chars": 9,
                            "tokens": 9,
                        }
                    }
                },
                rows_in=2,
                rows_out=2,
            )
        ],
    )


def test_nothing_of_a_row_or_a_name_stands_in_the_page_as_markup(store, hostile):
    html = page(hostile, store, audit_href=lambda audit: f"audit-{audit}.html")
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html
    assert "\u202e" not in html
    assert 'href="javascript' not in html
    assert "&lt;script&gt;window.hacked=1&lt;/script&gt;" in html  # a topic, a licence, a part
    assert "javascript:window.hacked=1 {{ 7 * 7 }}" in html  # as it is: no template sees it


# ------------------------------------------------------------ the command


@pytest.fixture
def decontaminated(store, make_version, tmp_path):
    """A version without the row that an audit found, and the store's audit."""
    asked = "on day 3 the ferry to Brakka carries 3 crates of salted herring and 5 sleepy goats"
    make_version(store, "herring", [row(asked), row("What is a goat?")])
    (tmp_path / "ferries.jsonl").write_text(json.dumps({"id": "0", "question": asked}) + "\n")
    suite = {"group": "dev", "path": "ferries.jsonl", "fields": ["question"], "instance_id": "id"}
    suites = tmp_path / "suites.yaml"
    suites.write_text(json.dumps({"suites": {"ferries": suite}}))
    run = CliRunner()
    made = run.invoke(cli, ["audit", "herring", "--suites", str(suites), "--store", str(store.root), "--json"])
    assert made.exit_code == 0, made.output
    [audit] = [p.name for p in (store.root / "audits").iterdir()]
    dropped = run.invoke(cli, ["drop", "herring", "--audit", audit, "-o", "clean", "--store", str(store.root)])
    assert dropped.exit_code == 0, dropped.output
    return audit


def test_a_folder_takes_the_page_and_those_of_its_audits_which_it_links_to(store, decontaminated, tmp_path):
    out = tmp_path / "pages"
    done = CliRunner().invoke(cli, ["page", "clean", "-o", f"{out}/", "--store", str(store.root), "-q"])
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {"mixture.html", f"audit-{decontaminated}.html"}
    assert [Path(line).name for line in done.stdout.splitlines()] == [f"audit-{decontaminated}.html", "mixture.html"]
    links = set(re.findall(r'href="(audit-[^"#]+)', (out / "mixture.html").read_text()))
    assert links == {f"audit-{decontaminated}.html"}


def test_a_file_alone_links_to_no_audit(store, decontaminated, tmp_path):
    path = tmp_path / "deep" / "clean.html"
    done = CliRunner().invoke(cli, ["page", "clean", "-o", str(path), "--store", str(store.root), "-q", "--rows", "0"])
    assert done.stdout.strip() == str(path)
    assert ".html#" not in path.read_text()
    assert data_of(path.read_text())["rows"] == []


def test_an_audit_by_id_or_folder_has_its_own_page(store, decontaminated, tmp_path):
    for what in (decontaminated, str(store.root / "audits" / decontaminated)):
        done = CliRunner().invoke(cli, ["page", what, "--store", str(store.root), "-q"])
        assert done.stdout.strip() == str(store.root / "audits" / decontaminated / "audit.html")
    done = CliRunner().invoke(cli, ["page", decontaminated, "-o", str(tmp_path), "--store", str(store.root)])
    assert done.exit_code == 2
    assert "is a folder" in done.output


def test_what_is_neither_is_one_line(store, make_version):
    make_version(store, "herring", ["a"])
    done = CliRunner().invoke(cli, ["page", "hering", "--store", str(store.root)])
    assert done.exit_code == 1
    assert "did you mean 'herring'" in str(done.exception)
    assert "an audit goes by its folder or id" in str(done.exception)


# ------------------------------------------------------------ in a browser


@pytest.fixture
def written(store, mixture, tmp_path):
    path = tmp_path / "mixture.html"
    path.write_text(page(mixture, store), encoding="utf-8")
    return path


@pytest.mark.browser
def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(open_page, written):
    with open_page(written) as opened:
        for place in ("#drop-browser", "#cluster-browser", "#row-browser"):
            opened.page.locator(f"{place} .row").nth(1).click()
        opened.page.locator(".switch button[data-by=tokens]").click()
        opened.page.keyboard.press("j")
        assert set(opened.requests) == {opened.url}
        assert opened.said == []


@pytest.mark.browser
def test_a_click_on_a_stage_lists_what_it_dropped_and_why(open_page, written):
    with open_page(written) as opened:
        before = opened.page.locator("#drop-browser .row").count()
        opened.page.locator('.pick[data-step="filter"]').click()
        assert 0 < opened.page.locator("#drop-browser .row").count() < before
        assert "goats · filter" in opened.page.locator("#dropped-h").inner_text()
        assert "refusals" in opened.page.locator("#reasons").inner_text()
        assert "as an AI language model" in opened.page.locator("#drop-browser .detail").inner_text()
        assert opened.page.locator('.pick[aria-pressed="true"]').count() == 1
        opened.page.locator("#all-drops").click()
        assert opened.page.locator("#drop-browser .row").count() == before
        opened.page.locator(".reason").first.click()
        assert opened.page.locator("#drop-browser .row").count() < before


@pytest.mark.browser
def test_a_cluster_shows_what_its_rows_do_not_share(open_page, written):
    with open_page(written) as opened:
        opened.page.locator("#c-kind").select_option("near")
        stays, leaves = opened.page.locator("#cluster-browser .side .text").all_inner_texts()
        gone, come = (opened.page.locator(f"#cluster-browser {tag}").all_inner_texts() for tag in ("del", "ins"))
        assert len(gone) == len(come) == 1
        assert stays.replace(gone[0], "", 1) == leaves.replace(come[0], "", 1)
        opened.page.locator("#c-kind").select_option("row")
        assert opened.page.locator("#cluster-browser del, #cluster-browser ins").count() == 0


@pytest.mark.browser
def test_filters_search_and_keys_go_through_the_rows_and_links_lead_back(open_page, written):
    with open_page(written) as opened:
        rows = opened.page.locator("#row-browser .row")
        every = rows.count()
        opened.page.locator("#f-source").select_option("goats")
        assert 0 < rows.count() < every
        opened.page.locator("#clear").click()
        opened.page.keyboard.press("/")
        opened.page.keyboard.type("hacked")
        assert rows.count() == 1
        opened.page.keyboard.press("Escape")
        opened.page.keyboard.press("x")
        assert rows.count() == every
        opened.page.locator("#f-topic").select_option("Math")
        rows.nth(2).click()
        shown, fragment = opened.page.locator("#detail h3").inner_text(), "#" + opened.page.url.partition("#")[2]
    with open_page(written, fragment=fragment) as again:
        assert again.page.locator("#detail h3").inner_text() == shown
        assert again.page.locator("#f-topic").input_value() == "Math"


@pytest.mark.browser
@pytest.mark.parametrize(("kind", "held"), [("preference", "rejected"), ("rlvr", "gsm8k")])
def test_what_is_a_kinds_own_is_shown(open_page, store, make_version, tmp_path, kind, held):
    path = tmp_path / "kind.html"
    path.write_text(page(make_version(store, "one", ["a", "b"], kind), store), encoding="utf-8")
    with open_page(path) as opened:
        assert held in opened.page.locator("#detail").inner_text().lower()
        assert opened.said == []


@pytest.mark.browser
def test_hostile_rows_and_names_are_text(open_page, store, hostile, tmp_path):
    path = tmp_path / "hostile.html"
    path.write_text(page(hostile, store), encoding="utf-8")
    with open_page(path) as opened:
        opened.page.locator("#q").fill("hacked")
        assert "<script>window.hacked=1</script>" in opened.page.locator("#detail").inner_text()
        assert "\u202e" not in opened.page.locator("body").inner_text()
        assert opened.page.evaluate("window.hacked") is None
        assert opened.page.locator("main img, main script, a[href^=javascript]").count() == 0
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert opened.said == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 800, 1440])
def test_nothing_is_wider_than_the_window(open_page, written, width):
    with open_page(written, width=width) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        opened.page.locator("#row-browser .row").first.click()
        assert opened.page.locator("#detail").is_visible()
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_a_cells_link_opens_its_matches_in_the_audits_page(open_page, store, decontaminated, tmp_path):
    CliRunner().invoke(cli, ["page", "clean", "-o", f"{tmp_path}/pages/", "--store", str(store.root), "-q"])
    with open_page(tmp_path / "pages" / "mixture.html") as opened:
        opened.page.locator("a.spot").first.click()
        opened.page.wait_for_selector("body[data-ready] #f-set")
        assert opened.page.locator("#f-set").input_value() == "herring"
        assert opened.page.locator("#f-suite").input_value() == "ferries"
        assert opened.page.locator(".row").count() == 1
        assert opened.said == []


@pytest.mark.browser
def test_the_word_diff_is_a_shortest_one_and_gives_both_texts_back(open_page, written):
    check = """() => {
      const lcs = (a, b) => {
        const t = Array.from({ length: a.length + 1 }, () => new Int32Array(b.length + 1));
        for (let i = 1; i <= a.length; i++) for (let j = 1; j <= b.length; j++)
          t[i][j] = a[i - 1] === b[j - 1] ? t[i - 1][j - 1] + 1 : Math.max(t[i - 1][j], t[i][j - 1]);
        return t[a.length][b.length];
      };
      let seed = 1;
      const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
      const words = () => Array.from({ length: random(14) }, () => "abcd"[random(4)]);
      const side = (runs, own) => runs.filter(([k]) => k !== own).map(([, t]) => t).join("");
      let wrong = 0;
      for (let n = 0; n < 500; n++) {
        const a = words(), b = words(), edits = shortestEdits(a, b, 1000), runs = wordDiff(a.join(" "), b.join(" \\n"));
        if (side(edits, "+") !== a.join("") || side(edits, "-") !== b.join("")) wrong++;
        if (edits.filter(([k]) => k === "=").length !== lcs(a, b)) wrong++;
        if (side(runs, "+") !== a.join(" ") || side(runs, "-") !== b.join(" \\n")) wrong++;
      }
      return wrong;
    }"""
    with open_page(written) as opened:
        assert opened.page.evaluate(check) == 0
        assert opened.page.evaluate('wordDiff("a b c", "a x c", 0)') == [
            ["=", "a "],
            ["-", "b"],
            ["+", "x"],
            ["=", " c"],
        ]
