"""The dataset card: front matter that the hub reads, facts of the manifest, and data that stays data."""

from __future__ import annotations

import re

import pytest
import yaml
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt

from tulu_data.card import hf_features, inert, limitations, render, size_category
from tulu_data.license_terms import NOT_ON_HUB, TERMS
from tulu_data.manifest import Input, Origin, Step
from tulu_data.rows import KINDS, SPECS

SUITE = {"group": "dev", "digest": "0", "contaminated": False, "verdict": "drop rows"}
RECORD = {
    "set": "gsm",
    "rows_in": 200,
    "rows_dropped": 7,
    "n": 8,
    "analyzer": "unicode/1",
    "roles": "user",
    "layers": ["exact", "informative"],
    "policy": "rows",
    "engine": "tulu-decontam/2",
    "audit": "ta1-1",
    "marks": {"true": 2, "false": 1, "digest": "0"},
    "suites": [
        SUITE | {"id": "math", "instances": 500, "flagged": 91, "rows_dropped": 7},
        SUITE | {"id": "mm|lu", "instances": 1000, "flagged": 0, "rows_dropped": 0},
    ],
}
HOSTILE = "x | y\n# <script>alert(1)</script> \x1b[2J [a](javascript:b) ![c](d) **e** `f` _g_ $$h$$\n---\nlicense: mit"
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def tokens(text):
    """Every token of a Markdown text, those inside lines as well."""
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def step(name, *, source="gsm", rows_in=10, rows_out=10, **params):
    return Step(name=name, source=source, rows_in=rows_in, rows_out=rows_out, params=params)


def mixed(**parts):
    """The step of a mixture: each part by its keys, with one step before or `steps` of them, in this order."""
    full, first = {}, 0
    for name, given in parts.items():
        end = first + given.get("steps", 1)
        full[name] = {
            "take": {"all": True},
            "topic": None,
            "version": f"{name}@tv1-0",
            "sources": [name],
            "available": 10,
            "asked": {"rows": 1},
            "rows": 1,
            "chars": 1,
            "tokens": 1,
            **given,
            "steps": [first, end],
        }
        first = end
    return Step(name="mix", rows_in=20, rows_out=2, params={"seed": 1, "parts": full})


# ------------------------------------------------------------ front matter


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["MIT"], {"license": "mit"}),
        (["MIT", "mit"], {"license": "mit"}),
        (["mit", "ODC-BY-1.0", "CC BY 4.0"], {"license": ["cc-by-4.0", "mit", "odc-by"]}),
        (["My Own"], {"license": "other", "license_name": "my-own"}),
        (["mit", "my own"], {"license": ["mit", "other"], "license_name": "my-own"}),
        (["impact-lr"], {"license": "other", "license_name": "impact-lr", "license_link": TERMS["impact-lr"].url}),
        (["mine", "yours"], {"license": "other", "license_name": "see-licences-and-use"}),
        (["…"], {"license": "other", "license_name": "see-licences-and-use"}),
        ([None], {"license": "unknown"}),
        ([None, "mit"], {"license": ["mit", "unknown"]}),
    ],
)
def test_licences_are_ids_of_the_hubs_list_and_what_it_lacks_is_other(
    store, make_version, make_rows, licenses, expected
):
    rows = [r for i, name in enumerate(licenses) for r in make_rows("gsm", [f"q{i}"], license=name)]
    front = front_matter(render(make_version(store, "gsm", rows).manifest))
    assert {k: v for k, v in front.items() if k.startswith("license")} == expected
    ids = front["license"] if isinstance(front["license"], list) else [front["license"]]
    assert set(ids) <= set(TERMS) - NOT_ON_HUB | {"other", "unknown"}
    assert re.fullmatch(r"[a-z0-9.-]+", front.get("license_name", "none"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_hubs_library_and_datasets_read_the_front_matter(store, make_version, kind):
    from datasets import DatasetInfo, Features

    described = make_version(store, "gsm", ["a", "b"], kind).manifest
    read = DatasetCard(render(described)).data.to_dict()
    assert read["pretty_name"] == "gsm"
    assert read["size_categories"] == ["n<1K"]
    assert "text-generation" in read["task_categories"]
    assert read["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    info = DatasetInfo._from_yaml_dict(read["dataset_info"])
    assert info.features == Features.from_arrow_schema(SPECS[kind].schema)
    assert info.splits["train"].num_examples == 2
    assert info.download_size == info.splits["train"].num_bytes == described.shards[0].bytes


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_written_as_datasets_writes_them(kind):
    from datasets import Features

    schema = SPECS[kind].schema
    assert hf_features(schema) == Features.from_arrow_schema(schema)._to_yaml_list()


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (999_999, "100K<n<1M"),
        (1_000_000, "1M<n<10M"),
        (10**9, "1B<n<10B"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_sizes_fall_into_the_hubs_buckets(rows, bucket):
    assert size_category(rows) == bucket


def test_hub_inputs_are_source_datasets_and_local_folders_are_not_told(store, make_version):
    uris = ("hub:org/b/main@abc#train", "hub:org/a#train", "hub:org/b#test", "/home/me/secret/c.jsonl")
    inputs = [Input(uri=uri, sha256="0", bytes=1, records=3, rows=2, rejected={"empty": 1}) for uri in uris]
    text = render(make_version(store, "gsm", ["a"], inputs=inputs).manifest)
    assert front_matter(text)["source_datasets"] == ["org/a", "org/b"]
    assert "/home" not in text
    assert "| c.jsonl | 3 | 2 | 1 |" in text
    assert "source_datasets" not in front_matter(render(make_version(store, "gsm", ["b"]).manifest))


@pytest.mark.parametrize(("made_by", "tagged"), [("synth", True), ("pairs", True), ("ingest", False)])
def test_what_was_made_is_tagged_synthetic(store, make_version, made_by, tagged):
    described = make_version(store, "gsm", ["a"], steps=[step(made_by)]).manifest
    assert ("synthetic" in front_matter(render(described))["tags"]) is tagged
    assert ("Written by models or templates, not by people: gsm." in limitations(described)) is tagged


def test_languages_are_stated_only_where_every_part_was_kept_to_some(store, make_version):
    english = step("filter", filters={"language": {"keep": ["en", "zh-cn"]}}, exempt={})
    described = make_version(store, "gsm", ["a"], steps=[english]).manifest

    def languages(*steps):
        return front_matter(render(described.model_copy(update={"steps": list(steps)}))).get("language")

    assert languages(english) == ["en", "zh"]
    assert languages(step("ingest")) is None
    assert languages(step("filter", filters={"language": {"keep": None}}, exempt={})) is None
    exempt = {"filters": {"language": {"keep": ["en"]}}, "exempt": {"gsm": ["language"]}}
    assert languages(step("filter", **exempt)) is None
    assert languages(english, english, mixed(a={}, b={})) == ["en", "zh"]
    assert languages(english, step("ingest"), mixed(a={}, b={})) is None


@pytest.mark.parametrize("name", ["1e5", "1.0e5", "0o17", "12", "-1e3", ".5"])
def test_a_name_that_yaml_1_2_takes_for_a_number_is_quoted(store, make_version, name):
    described = make_version(store, "gsm", ["a"], license=name).manifest.model_copy(update={"name": name})
    text = render(described)
    assert f"pretty_name: '{name}'\n" in text
    assert front_matter(text)["pretty_name"] == name
    license_name = front_matter(text)["license_name"]
    assert f"license_name: '{license_name}'\n" in text


# ------------------------------------------------------------ the body


def test_folders_of_this_machine_are_not_on_the_card(store, make_version):
    inputs = [Input(uri="/home/me/a.jsonl", sha256="0", bytes=1, records=1, rows=1)]
    steps = [step("ingest", adapter="tulu"), step("synth", model="/home/me/models/big")]
    judged = RECORD | {"judge": {"model": "~/me/judge", "asked": 1}}
    described = make_version(store, "gsm", ["a"], inputs=inputs, steps=steps, decontamination=[judged]).manifest
    text = render(described.model_copy(update={"tokenizer": "/home/me/tokens"}))
    assert "me/" not in text.replace("name/", "")
    for shown in ("a.jsonl", "model big", "tokens (tokens)", "The model judge judged 1"):
        assert shown in text
    assert "(None)" not in render(described.model_copy(update={"tokenizer": None}))


def test_the_composition_names_sources_and_topics_with_their_shares(store, make_version, make_rows):
    rows = make_rows("maths", ["a b c", "d"]) + make_rows("code", ["e", "e"], license="apache-2.0")
    steps = [step("ingest"), step("ingest"), mixed(code={"topic": "Coding"}, maths={"topic": "Math"})]
    text = render(make_version(store, "mine", rows, steps=steps, tokenizer="words/1").manifest)
    assert "| code | Coding | 2 | 50.00 % | 1 | 24 | 8 | 40.00 % | apache-2.0 |" in text
    assert "| maths | Math | 2 | 50.00 % | 0 | 32 | 12 | 60.00 % | mit |" in text
    assert "| Math | 1 | 50.00 % | 1 | 50.00 % | 50.00 % | maths |" in text


def test_without_tokens_or_topics_their_columns_are_left_out(store, make_version):
    text = render(make_version(store, "gsm", ["a"], tokenizer=None).manifest)
    assert "| source | rows | share | copies | characters | licence |" in text


def test_the_funnel_says_what_every_step_left_out_and_how(store, make_version):
    steps = [
        step("ingest", rows_in=12, adapter="tulu"),
        step("filter", rows_out=8, filters={}, funnel=[{"rule": "pii.email", "first": 2}, {"rule": "x", "first": 0}]),
        step("dedup", rows_in=8, rows_out=7, exact=["row"], near={"threshold": 0.8}, scope="across"),
        step("decontaminate", rows_in=7, rows_out=6, audit="ta1-2", policy="rows", layers=["exact"]),
        mixed(gsm={"steps": 4, "rows": 2, "take": {"count": 2, "repeat": 3}}),
    ]
    text = render(make_version(store, "mine", ["a"], steps=steps).manifest)
    for line in (
        "| gsm | ingest | 12 | 10 | 0 | adapter tulu |",
        "|  | filter | 10 | 8 | 2 | pii.email 2 |",
        "|  | dedup | 8 | 7 | 1 | exact row, near ≥ 0.8, across sources |",
        "|  | decontaminate | 7 | 6 | 1 | policy rows, audit ta1-2 |",
        "|  | mix | 6 | 2 | 4 | count 2, repeat 3 |",
    ):
        assert line in text


def test_a_mixture_that_was_changed_since_still_has_a_card(store, make_version):
    steps = [step("ingest"), mixed(gsm={}), step("filter", rows_in=2, rows_out=1, filters={"length": {}}, funnel=[])]
    text = render(make_version(store, "gsm", ["a"], steps=steps).manifest)
    assert "|  | filter | 2 | 1 | 1 | length: nothing dropped |" in text


def test_the_card_says_what_the_rows_may_be_used_for(store, make_version):
    text = render(make_version(store, "gsm", ["a"], license="CC-BY-NC-4.0").manifest)
    assert "| CC-BY-NC-4.0 | 1 | 100.00 % |" in text
    assert "- Commercial use: no, for CC-BY-NC-4.0 (1 row)." in text


def test_the_card_says_how_to_load_check_and_make_it_again(store, make_version):
    described = make_version(store, "gsm", ["a"]).manifest
    origin = Origin(recipe={"description": "Sums *for* children."}, root=".", step="gsm")
    made = described.model_copy(update={"origin": origin})
    here, there = render(described), render(made, "org/gsm")
    assert f'load_dataset("path/to/{described.ref}", split="train")' in here
    assert "no recipe to run again" in here
    assert "tulu reproduce" not in here
    assert f'load_dataset("org/gsm", revision="{described.version}", split="train")' in there
    assert (
        f"hf download org/gsm --repo-type dataset --revision {described.version} --local-dir {described.ref}" in there
    )
    assert f"tulu verify ./{described.ref} --level 2" in there
    assert f"tulu reproduce ./{described.ref} -o again" in there
    assert "Sums \\*for\\* children." in there


# ------------------------------------------------------------ the record of decontamination


def test_the_card_says_that_nothing_was_checked_where_no_audit_is_on_record(store, make_version):
    bare = render(make_version(store, "gsm", ["q"]).manifest)
    assert "Not decontaminated: no audit is on record." in bare


def test_the_card_has_a_table_like_the_papers_of_what_overlapped_and_what_went(store, make_version):
    manifest = make_version(store, "gsm", ["q"]).manifest
    text = render(manifest.model_copy(update={"decontamination": [RECORD]}))
    assert "**gsm**: 7 of 200 rows (3.50 %) were dropped. Held against 1,500 instances of 2 suites" in text
    assert "8-grams of `unicode/1`, turns of role user, layers exact, informative, policy `rows`" in text
    assert "A reviewer marked 2 matches true and 1 false." in text
    assert "| math | dev | 500 | 91 | 18.20 % | 7 | 3.50 % |" in text
    assert "No overlap that counts with mm\\|lu." in text


# ------------------------------------------------------------ limitations


def test_limitations_follow_from_what_the_record_lacks(store, make_version, make_rows):
    rows = make_rows("gsm", ["a", "a", "b"]) + make_rows("web", ["c"], license=None)
    described = make_version(
        store, "mine", rows, steps=[step("ingest"), step("ingest"), mixed(gsm={}, web={})]
    ).manifest
    assert limitations(described) == [
        "Not checked against evaluation suites: any of it.",
        "The terms of 1 row are not known: unstated.",
        "No step looked for duplicates in any part.",
        "1 row repeats the text of another of the same source.",
        "No step looked for personal data in any part.",
        "The languages of the rows were not established.",
        "Tokens are words and punctuation (`words/1`), not those of a model.",
    ]


def test_what_was_looked_for_is_no_limitation_and_names_what_was_passed_over(store, make_version, make_rows):
    rows = make_rows("gsm", ["a"], tokenizer=None) + make_rows("web", ["b"], tokenizer=None)
    looked = step("filter", filters={"pii": {}, "language": {"keep": ["en"]}}, exempt={})
    steps = [step("dedup"), looked, looked, mixed(gsm={"steps": 2}, web={})]
    described = make_version(store, "mine", rows, steps=steps, tokenizer=None, decontamination=[RECORD]).manifest
    assert limitations(described) == [
        "Not checked against evaluation suites: web.",
        "An audit speaks of the suites that it names, and of no other; the same question in other words is not found.",
        "No step looked for duplicates in web.",
    ]


# ------------------------------------------------------------ hostile text


def test_text_from_data_is_inert_wherever_it_stands(store, make_version, make_rows):
    rows = make_rows(HOSTILE, ["q"], license=HOSTILE)
    origin = Origin(recipe={"description": HOSTILE}, root=".", step="gsm")
    inputs = [Input(uri=HOSTILE, sha256="0", bytes=1, records=1, rows=1)]
    record = RECORD | {"set": HOSTILE, "suites": [SUITE | {"id": HOSTILE, "instances": 1, "flagged": 1}]}
    steps = [step("ingest", adapter=HOSTILE), mixed(**{HOSTILE: {"topic": HOSTILE}})]
    made = make_version(store, "gsm", rows, steps=steps, inputs=inputs, decontamination=[record], origin=origin)
    text = render(made.manifest)
    assert "\x1b" not in text
    assert set(front_matter(text)["license"].split()) == {"other"}
    body = text.split("---\n", 2)[2]
    kinds = {token.type for token in tokens(body)}
    assert kinds.isdisjoint({"html_block", "html_inline", "link_open", "image", "em_open", "s_open", "hr"})
    assert {t.content for t in tokens(body) if t.type == "code_inline"}.isdisjoint({"f"})
    strong = [t for t in tokens(body) if t.type == "strong_open"]
    assert len(strong) == 1  # around the name of the audited set
    headings = [t for t in tokens(body) if t.type == "heading_open"]
    assert len(headings) == 1 + len(re.findall(r"^## ", body, flags=re.M))
    tables = re.findall(r"(?:^\|.*\n)+", body, flags=re.M)
    assert sum("script" in table for table in tables) == 6  # sources, topics, funnel, inputs, licences, suites
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    "text", ["# a", "- a", "+ a", "1. a", "2) a", "===", "> a", "a\n===", "    a", "```\na", ":::"]
)
def test_the_beginning_of_a_line_starts_nothing(text):
    assert [t.type for t in MARKDOWN.parse(inert(text))] == ["paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize(
    "text", [HOSTILE, "snake_case_name", "_x_", "a*b*c", "~~x~~", "&lt;", "\\", "12.5 %", "`", "[x]"]
)
def test_inert_text_is_shown_as_it_is(text):
    [paragraph] = [t for t in MARKDOWN.parse(inert(text)) if t.type == "inline"]
    shown = "".join(t.content for t in paragraph.children)
    assert shown == " ".join(text.replace("\x1b", "\\x1b").split())
    assert inert("snake_case-1.5 (a, b)") == "snake_case-1.5 (a, b)"


def test_publishing_needs_neither_datasets_nor_the_hubs_library():
    import subprocess
    import sys

    code = (
        "import sys, tulu_data.card; print([m for m in ('datasets', 'huggingface_hub', 'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
