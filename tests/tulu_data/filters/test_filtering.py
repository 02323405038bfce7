"""Filtering a version: what stays, what is on record, what is remembered, and that nothing depends on the workers."""

import json
from contextlib import nullcontext

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tulu_data.errors import InputError, RecipeError
from tulu_data.filters import registry
from tulu_data.filters.annotation import SPANS, Conversation, Filter, Reason
from tulu_data.filters.filtering import DROPS, filter_version, plan
from tulu_data.filters.registry import FILTERS, active, validate
from tulu_data.filters.side_table import FOLDER, SideTable
from tulu_data.strict import Strict

ANSWERS = {
    "good": "Ten frames fit into a standard box, with a little room between them for the bees.",
    "refusal": "I'm sorry, but I can't help with that.",
    "self": "As an AI language model, I have never seen a hive.",
    "both": "I'm sorry, but as an AI language model I cannot help with bees.",
    "token": "Ten frames.<|im_end|>",
    "long": "Ten frames fit. " + " ".join(f"the w{i}" for i in range(200)),
    "mail": "Ask maria.keller@posteo.de about it.",
}
ALL_ON = {"length": {"max_tokens": 300}, "pii": True, "language": {"keep": ["en"]}}


def row(answer, orig_id):
    turns = [{"role": "user", "content": f"How many frames? ({orig_id})"}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "prov": {"orig_id": orig_id}}


@pytest.fixture
def version(store, make_version):
    return make_version(store, "bees", [row(text, name) for name, text in ANSWERS.items()])


def settings(**given):
    return validate(given, "r.yaml")


def ids(version):
    return [i.removeprefix("bees/") for i in version.table(["id"])["id"].to_pylist()]


def drops(version):
    table = pq.read_table(version.side_file("drops/filter.parquet"))
    assert table.schema.equals(DROPS)
    return {r["id"].removeprefix("bees/"): r for r in table.to_pylist()}


# ------------------------------------------------------------ what stays


def test_rows_that_a_filter_drops_leave_with_their_reason(store, version):
    made = filter_version(version, store, "bees-filtered", settings(**ALL_ON))
    assert ids(made) == ["good"]
    found = drops(made)
    assert {name: r["reason"].split(":")[0] for name, r in found.items()} == {
        "refusal": "refusals.refusal",
        "self": "self_identification.as_an_ai",
        "both": "refusals.refusal",
        "token": "templates.special_token",
        "long": "length.max_tokens",
        "mail": "pii.email",
    }
    assert found["long"]["reason"] == "length.max_tokens: 411 > 300"
    assert found["both"]["others"] == "self_identification.as_an_ai"
    assert found["mail"]["span"] == "maria.keller@posteo.de"
    assert found["long"]["span"] is None
    assert found["token"]["row_sha"] == next(
        r["row_sha"] for r in version.table().to_pylist() if r["id"] == "bees/token"
    )


def test_the_step_is_on_record_with_its_settings_and_its_funnel(store, version):
    made = filter_version(version, store, "bees-filtered", settings(**ALL_ON))
    step = made.manifest.steps[-1]
    assert (step.name, step.rows_in, step.rows_out, step.drops) == ("filter", 7, 1, "drops/filter.parquet")
    assert step.parents == [version.ref]
    assert step.params["filters"]["length"]["max_tokens"] == 300
    assert "vendors" not in step.params["filters"]
    assert {r["rule"]: (r["first"], r["alone"], r["only"]) for r in step.params["funnel"]} == {
        "length.max_tokens": (1, 1, 1),
        "templates.special_token": (1, 1, 1),
        "refusals.refusal": (2, 2, 1),
        "self_identification.as_an_ai": (1, 2, 1),
        "pii.email": (1, 1, 1),
    }
    assert made.manifest.steps[:-1] == version.manifest.steps


def test_a_plan_counts_the_same_and_publishes_nothing(store, version):
    outcome = plan(version, store, settings(**ALL_ON))
    assert store.names() == ["bees"]
    made = filter_version(version, store, "bees-filtered", settings(**ALL_ON))
    assert [r._asdict() for r in outcome.funnel] == made.manifest.steps[-1].params["funnel"]
    assert (outcome.rows_in, outcome.rows_out) == (7, 1)


def test_where_nothing_is_dropped_the_rows_are_the_same_and_there_is_no_list_of_drops(store, make_version):
    version = make_version(store, "bees", [row(ANSWERS["good"], "good")])
    made = filter_version(version, store, "bees-filtered", settings())
    assert made.digest == version.digest
    assert made.manifest.files == []
    assert made.manifest.steps[-1].drops is None


def test_where_everything_is_dropped_an_empty_version_is_left(store, make_version):
    version = make_version(store, "bees", [row(ANSWERS["refusal"], "a")])
    made = filter_version(version, store, "bees-filtered", settings())
    assert made.rows == 0
    assert len(drops(made)) == 1


def test_a_source_can_be_exempt_from_filters(store, version):
    made = filter_version(version, store, "x", settings(exempt={"bees": ["refusals", "self_identification"]}))
    assert ids(made) == ["good", "refusal", "self", "both", "long", "mail"]


@pytest.mark.parametrize("kind", ["prompt", "rlvr"])
def test_rows_without_answers_are_held_against_what_applies_to_them(store, make_version, kind):
    made = filter_version(make_version(store, "bees", ["one", "two"], kind), store, "x", settings(**ALL_ON))
    assert made.rows == 2


def test_of_a_pair_the_chosen_answer_counts_and_the_longer_completion(store, make_version):
    def pair(chosen, rejected, name):
        both = {
            side: [{"role": "assistant", "content": text}]
            for side, text in (("chosen", chosen), ("rejected", rejected))
        }
        return {"messages": [{"role": "user", "content": name}], "prov": {"orig_id": name}, **both}

    pairs = [
        pair(ANSWERS["good"], ANSWERS["refusal"], "fine"),
        pair(ANSWERS["refusal"], ANSWERS["good"], "refuses"),
        pair(ANSWERS["good"], ANSWERS["long"], "long"),
    ]
    version = make_version(store, "bees", pairs, "preference")
    given = settings(length={"max_tokens": 300, "tokenizer": "words/1"})
    assert ids(filter_version(version, store, "x", given)) == ["fine"]
    with pytest.raises(RecipeError, match=r"count a pair's completions together; set length\.tokenizer"):
        plan(version, store, settings(length={"max_tokens": 300}))


# ------------------------------------------------------------ workers, memory


def test_the_result_does_not_depend_on_the_workers(store, make_version, monkeypatch):
    monkeypatch.setattr("tulu_data.parquet.GROUP_ROWS", 100)
    monkeypatch.setattr("tulu_data.filters.filtering.PIECE_ROWS", 30)
    texts = list(ANSWERS.values())
    rows = [row(f"{texts[i % len(texts)]} ({i % 90})", str(i)) for i in range(250)]
    version = make_version(store, "bees", rows)
    one = filter_version(version, store, "x", settings(**ALL_ON), workers=1)
    first = (one.ref, one.build, drops(one), one.manifest.steps[-1])
    for path in sorted((store.root / FOLDER).rglob("*.parquet")):
        path.unlink()
    two = filter_version(version, store, "x", settings(**ALL_ON), workers=2)
    assert (two.ref, two.build, drops(two), two.manifest.steps[-1]) == first


class Count(Strict):
    at_most: int = 1_000


CALLS: list[str] = []


def annotate(conversation: Conversation, section: Count) -> dict[str, int]:
    CALLS.append(conversation.turns[-1].text)
    return {"words": len(conversation.turns[-1].text.split())}


def judge(values, section):
    if values["words"] > section.at_most:
        yield Reason("words.at_most", f"{values['words']:,} > {section.at_most:,}")


WORDS = Filter("words", "words of the last turn", Count, pa.struct([("words", pa.int64())]), annotate, judge)


@pytest.fixture
def with_words(monkeypatch):
    class Entry:
        name, value, dist = "words", "somewhere:WORDS", None

        def load(self):
            return WORDS

    monkeypatch.setattr("tulu_data.plugins.entry_points", lambda group: [Entry()] if group == registry.GROUP else [])
    registry.filters.cache_clear()
    CALLS.clear()
    yield
    registry.filters.cache_clear()


def test_a_row_is_annotated_once_in_whatever_version_it_stands(store, version, make_version, with_words):
    plan(version, store, settings(words={"at_most": 3}))
    assert len(CALLS) == len(ANSWERS)
    again = plan(version, store, settings(words={"at_most": 100}))
    assert len(CALLS) == len(ANSWERS)  # another threshold is another judgement of the same values
    assert [(r.rule, r.first) for r in again.funnel if r.rule.startswith("words")] == [("words.at_most", 1)]
    more = make_version(store, "more", [row(t, n) for n, t in ANSWERS.items()] + [row("Two.", "new")] * 2)
    plan(more, store, settings(words=True))
    assert CALLS[len(ANSWERS) :] == ["Two."]


def test_annotations_are_files_of_the_store_and_a_damaged_one_is_made_again(store, version, with_words):
    given = settings(words={"at_most": 10})
    outcome = plan(version, store, given)
    folders = sorted(p.name.rpartition("-")[0] for p in (store.root / FOLDER).iterdir())
    assert folders == sorted(a.filter.name for a in active(given))
    (path,) = (store.root / FOLDER).glob("words-*/*.parquet")
    assert pq.read_table(path).num_rows == len(ANSWERS)
    path.write_bytes(b"no table")
    assert plan(version, store, given) == outcome
    assert len(CALLS) == 2 * len(ANSWERS)
    assert pq.read_table(path).num_rows == len(ANSWERS)
    assert not list((store.root / "tmp").iterdir())


def test_what_was_annotated_before_a_failure_is_kept(store, version, with_words, monkeypatch):
    monkeypatch.setattr("tulu_data.filters.filtering.PIECE_ROWS", 3)
    monkeypatch.setattr("tulu_data.filters.filtering.ShardWriter.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        filter_version(version, store, "x", settings(words=True))
    assert len(CALLS) == 3
    plan(version, store, settings(words=True))
    assert len(CALLS) == len(ANSWERS)
    assert store.names() == ["bees"]


def test_values_depend_on_what_the_filter_names_and_on_no_threshold(store, version):
    def folders():
        return {p.name for p in (store.root / FOLDER).iterdir()}

    plan(version, store, settings(vendors={"names": ["hive"]}))
    before = folders()
    plan(version, store, settings(vendors={"names": ["hive"]}, repetition={"lines": 0.1}))
    assert folders() == before
    plan(version, store, settings(vendors={"names": ["smoker"]}))
    assert {n.rpartition("-")[0] for n in folders() - before} == {"vendors"}


def test_rows_counted_anew_are_not_held_against_what_was_counted_before(store, make_version, make_rows):
    rows = [row("Short.", "short"), row(" ".join(f"w{i}" for i in range(400)), "long")]
    uncounted = make_version(store, "bees", rows, tokenizer=None)
    assert plan(uncounted, store, settings(length={"max_chars": 10_000})).rows_out == 2
    by_words = make_version(store, "wasps", rows)
    assert plan(by_words, store, settings(length={"max_tokens": 100})).rows_out == 1
    by_bytes = make_rows("ants", rows)  # equal rows, counted by another tokenizer
    for r in by_bytes:
        r["n_tokens"] += 100
    by_bytes = make_version(store, "ants", by_bytes, tokenizer="bytes")
    assert plan(by_bytes, store, settings(length={"max_tokens": 100})).rows_out == 0
    assert plan(by_words, store, settings(length={"max_tokens": 100})).rows_out == 1


def test_of_the_files_of_annotations_only_the_versions_rows_are_kept_in_memory(store, version, make_version):
    on = next(a for a in active(settings()) if a.filter.name == "templates")
    plan(version, store, settings())
    plan(make_version(store, "more", [row(f"Answer {i}.", f"new{i}") for i in range(90)]), store, settings())
    table = SideTable(store, on, version)
    row_shas = version.table(["row_sha"])["row_sha"].combine_chunks()
    table.look_up(pa.concat_arrays([row_shas, row_shas.slice(2, 1)]))
    assert table.missing == 0
    known = table.known(0, len(ANSWERS) + 1)
    labels = [[f["label"] for f in v["found"]] for v in known.values.to_pylist()]
    assert labels == [["special_token"] if name == "token" else [] for name in [*ANSWERS, "self"]]
    assert len(table._known) == len(ANSWERS)


def test_another_release_of_a_detector_is_asked_again(store, version, monkeypatch):
    given = settings(language={"keep": ["en"]})
    plan(version, store, given)
    monkeypatch.setattr("tulu_data.filters.language.metadata.version", lambda package: "0.0")
    plan(version, store, given)
    assert len(list((store.root / FOLDER).glob("language-*"))) == 2


# ------------------------------------------------------------ warnings


class Notes:
    def __init__(self):
        self.notes = []

    def task(self, description, total=None):
        return nullcontext(lambda n: None)

    def note(self, message):
        self.notes.append(message)


def test_a_rule_that_takes_most_of_a_source_is_told_with_how_to_keep_the_rows(store, make_version):
    rows = [row("Yes.<|endoftext|>" if i < 16 else f"Answer {i}.", str(i)) for i in range(30)]
    version = make_version(store, "bees", rows)
    for run in (plan, lambda *args, **how: filter_version(args[0], args[1], "x", args[2], **how)):
        progress = Notes()
        run(version, store, settings(), progress=progress)
        assert progress.notes == [
            "warning: templates.special_token drops 16 of 30 rows of bees, e.g. messages[1] has '<|endoftext|>'; where "
            "they should stay, set templates.special_token: false or exempt: {bees: [templates]}"
        ]
    progress = Notes()
    plan(version, store, settings(exempt={"bees": ["templates"]}), progress=progress)
    assert progress.notes == []


@pytest.mark.parametrize(("tokens", "rows"), [(15, 30), (19, 19)])
def test_half_of_a_source_and_sources_of_a_few_rows_are_not_told(store, make_version, tokens, rows):
    answers = ["Yes.<|endoftext|>"] * tokens + ["Yes."] * (rows - tokens)
    version = make_version(store, "bees", [row(text, str(i)) for i, text in enumerate(answers)])
    progress = Notes()
    assert plan(version, store, settings(), progress=progress).rows_out == rows - tokens
    assert progress.notes == []


# ------------------------------------------------------------ others' filters


def test_filters_of_other_distributions_are_off_until_they_are_named(store, version, with_words):
    assert "words" not in {a.filter.name for a in active(settings())}
    made = filter_version(version, store, "x", settings(words={"at_most": 10}))
    assert drops(made)["long"]["reason"] == "words.at_most: 403 > 10"
    with pytest.raises(RecipeError, match=r"^r\.yaml: filter\.words\.at_mots: unknown key; did you mean 'at_most'\?$"):
        settings(words={"at_mots": 3})


def test_a_filter_may_not_take_the_name_of_another(monkeypatch):
    class Entry:
        name, value, dist = "pii", "somewhere:PII", None

    monkeypatch.setattr("tulu_data.plugins.entry_points", lambda group: [Entry()])
    registry.filters.cache_clear()
    with pytest.raises(InputError, match="there is another filter of that name"):
        registry.filters()
    registry.filters.cache_clear()


# ------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lenght": {}}, "filter.lenght: unknown key; did you mean 'length'?"),
        ({"length": {"max_token": 3}}, "filter.length.max_token: unknown key; did you mean 'max_tokens'"),
        ({"length": {"max_tokens": "many"}}, "filter.length.max_tokens: should be a valid integer"),
        ({"length": {"min_chars": 9, "max_chars": 3}}, "filter.length: min_chars: 9 is more than max_chars 3"),
        ({"language": {"keep": ["English"]}}, "filter.language: keep: 'English' is no language code"),
        ({"language": {"detector": "fasttext"}}, "filter.language: detector fasttext needs model, the path of lid.176"),
        ({"language": {"model": "x.bin"}}, "filter.language: detector langdetect takes no model; leave it out"),
        ({"pii": {"drop": ["e-mail"]}}, "filter.pii.drop[0]: should be 'email', 'phone', 'ipv4'"),
        ({"vendors": {"names": [""]}}, "filter.vendors.names[0]: "),
        ({"repetition": {"top": {9: 0.5}}}, "filter.repetition.top: {9: 0.5}: n is 2 to 4 for top"),
        ({"repetition": {"lines": 2}}, "filter.repetition.lines: should be less than or equal to 1, got 2"),
        ({"refusals": "drop"}, "filter.refusals: should be a valid dictionary"),
        ({"exempt": {"bees": ["refusal"]}}, "filter: exempt.bees: no filter 'refusal'; did you mean 'refusals'?"),
    ],
)
def test_wrong_settings_are_one_line_that_names_the_place(given, said):
    with pytest.raises(RecipeError) as e:
        settings(**given)
    assert str(e.value).startswith(f"r.yaml: {said}")
    assert "\n" not in str(e.value)


def test_true_is_a_filter_with_its_defaults_and_false_none():
    names = [a.filter.name for a in active(settings(pii=True, refusals=False))]
    assert "pii" in names
    assert "refusals" not in names
    assert settings(pii=True) == settings(pii={})
    with pytest.raises(RecipeError, match="every filter is off"):
        active(settings(**{a.filter.name: False for a in active(settings())}))


@pytest.mark.parametrize("given", [{"language": True}, {"length": {"tokenizer": "words/1"}}])
def test_a_filter_that_could_drop_nothing_is_refused(store, version, given):
    with pytest.raises(
        RecipeError, match=r"^filter\.\w+: is on and drops nothing; set what may stay \(keys: [\w, ]+\)$"
    ):
        plan(version, store, settings(**given))
    assert active(settings(language={"same": True}, length={"min_turns": 0}))


def test_a_limit_on_tokens_needs_a_tokenizer(store, make_version):
    version = make_version(store, "bees", ["one"], tokenizer=None)
    with pytest.raises(RecipeError, match=r"^bees: filter\.length: its tokens were not counted; set length\.tokenizer"):
        plan(version, store, settings(length={"max_tokens": 9}))
    assert plan(version, store, settings(length={"max_tokens": 9, "tokenizer": "words/1"})).rows_out == 1


def test_settings_are_plain_data(store, version):
    made = filter_version(version, store, "x", settings(**ALL_ON))
    record = json.loads(json.dumps(made.manifest.steps[-1].params))["filters"]
    assert validate(record, "again").model_dump() == settings(**ALL_ON).model_dump() | {
        name: None for name in FILTERS if name not in record
    }


def test_every_filter_names_itself_and_takes_its_defaults():
    for name, filter_ in FILTERS.items():
        assert filter_.name == name
        section = filter_.settings()
        empty = Conversation.of("prompt", {"messages": [{"role": "user", "content": "Why?"}]})
        values = filter_.annotate(empty, section)
        assert pa.array([values], filter_.form).to_pylist() == [values]
        assert list(filter_.judge(values, section)) == []
    assert pa.array([{"found": []}], SPANS)
