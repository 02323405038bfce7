"""Instances in other words: what the cascade finds, that it finds it in whatever way it is run, and what it refuses."""

import json
import math
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decontam import step
from decontam.auditing import audit, scan_id
from decontam.nearness import finder_of
from decontam.numerals import agreement, numbers_in
from decontam.ranking import NUMBERED_SHARED, NumberIndex, Ranking, background_texts, stems_of, whitening
from decontam.result import Audit
from decontam.static_embedding import WORD, static_of
from decontam.verdicts import Policy, Semantic, Settings
from decontam.windows import SIZES, WHOLE, windows_of
from tulu_data.encoders import LocalEncoder, encoder_of, unit
from tulu_data.progress import Silent

pytest.importorskip("sentence_transformers", reason="the extra 'semantic' is not installed")

ITEMS = [
    "A farmer sells 36 eggs at the market every morning for 3 dollars a dozen. How much does she earn in 14 days?",
    "A train of 12 wagons carries 45 tons of coal in each and loses 5 percent of it on the way. How much arrives?",
    "Which planet of the solar system has the longest day, and how many hours does a full turn of it take there?",
]
REWORDED = [
    "Each day before noon 36 eggs go over a farm woman's market stall; a dozen of them cost three dollars. What will "
    "14 days bring her?",
    "There are twelve coal cars, loaded with 45 tons apiece, and 5 percent of the load gets lost during the trip. What "
    "amount of coal comes to its destination on the train?",
    "On what planet in our solar system does a day last longest, and how many hours does it need for one full turn?",
]
UNRELATED = [
    "Write a short poem about autumn leaves and the smell of rain on warm stones, in the style of an old folk song.",
    "A baker uses 250 grams of flour for each of 8 loaves. How many kilograms of flour are needed for 30 loaves?",
    "Explain how a refrigerator keeps food cold, as you would to a curious child of ten.",
]
MEANING = Policy(layers=("exact", "informative", "semantic"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A folder in which what is distilled is kept for all tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def look(make_set, make_suite, cache):
    def run(messages, items=ITEMS, *, suites=None, train=None, **keywords):
        sets = [train or make_set("x", messages)]
        settings = Settings(semantic=keywords.pop("semantic", Semantic()), roles=keywords.pop("roles", "user"))
        return audit(sets, suites or [make_suite("a", items)], settings, MEANING, cache=cache, **keywords)

    return run


def by_meaning(found):
    return {(p["row_index"], p["instance_id"]) for p in found.pairs.to_pylist() if "semantic" in p["layers"]}


def test_reworded_items_are_found_that_share_no_n_gram(look):
    found = look([*REWORDED, *UNRELATED])
    assert by_meaning(found) == {(0, "0"), (1, "1"), (2, "2")}
    for pair in found.pairs.to_pylist():
        assert pair["semantic"] is None or 0.7 <= pair["semantic"] <= 1
        if (pair["row_index"], pair["instance_id"]) == (0, "0"):
            assert (pair["coverage"], pair["numbers"]) == (0.0, 1.0)
    assert [r["row_index"] for r in found.rows.to_pylist() if r["dropped"]] == [0, 1, 2]


def test_an_item_in_other_words_is_found_within_a_long_message(look):
    before = "You are a patient tutor and you always answer in complete sentences. Be friendly. " * 6
    message = before + REWORDED[0] + "\n\n" + "Please explain each step, and use the metric system where you can. " * 8
    found = look([message])
    assert by_meaning(found) == {(0, "0")}
    [pair] = [p for p in found.pairs.to_pylist() if "semantic" in p["layers"]]
    part = message.encode()[pair["semantic_span"]["start"] : pair["semantic_span"]["end"]].decode()
    assert "36 eggs" in part
    assert len(part) < len(message) / 2


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_both_engines_give_the_same_pairs(look, engine):
    messages = [*REWORDED, *UNRELATED, ITEMS[0], f"{ITEMS[1]} {REWORDED[2]}", "", "  "]
    assert look(messages, engine=engine).pairs == look(messages, engine="compiled").pairs


def test_offsets_of_the_nearest_part_are_bytes(look):
    message = "Grüße aus Köln! 漢字 🐐 İstanbul. " * 30 + REWORDED[0]
    [pair] = [p for p in look([message]).pairs.to_pylist() if "semantic" in p["layers"]]
    part = message.encode()[pair["semantic_span"]["start"] : pair["semantic_span"]["end"]].decode()
    assert part in message
    assert "eggs" in part


def test_preferences_and_other_roles_are_read_as_the_settings_say(look, make_set):
    turn = [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": REWORDED[1]}]
    train = make_set("x", [{"messages": turn}], kind="sft")
    assert by_meaning(look([], train=train)) == set()
    assert by_meaning(look([], train=train, roles="assistant")) == {(0, "1")}


def test_a_killed_audit_goes_on_and_workers_change_nothing(look, make_set, tmp_path):
    messages = [*REWORDED, *UNRELATED] * 3
    expected = look(messages).pairs
    train = make_set("x", messages, batch_rows=4)
    assert look([], train=train, work=tmp_path / "w", workers=2).pairs == expected
    (tmp_path / "w" / "000-000001.parquet").unlink()
    assert look([], train=train, work=tmp_path / "w").pairs == expected


def test_embeddings_of_the_suites_are_made_once(make_suite, cache, monkeypatch):
    from decontam.corpus import join
    from decontam.index import analysed

    corpus = join([analysed(make_suite("once", [*ITEMS, *UNRELATED]), "unicode")])
    asked = []
    encode = LocalEncoder.encode
    monkeypatch.setattr(LocalEncoder, "encode", lambda self, texts: (asked.extend(texts), encode(self, texts))[1])
    for expected in (True, False):
        asked.clear()
        assert [(n.text, n.instance) for n in finder_of(corpus, Semantic(), cache).find(REWORDED)] == [
            (0, 0),
            (1, 1),
            (2, 2),
        ]
        assert (ITEMS[0] in asked) == expected


def test_what_decides_which_pairs_are_near_is_part_of_the_scan(make_set, make_suite, monkeypatch):
    sets, suites = [make_set("x", UNRELATED)], [make_suite("a", ITEMS)]
    without = scan_id(sets, suites, Settings())
    with_it = scan_id(sets, suites, Settings(semantic=Semantic()))
    monkeypatch.setattr(LocalEncoder, "digest", "other weights")
    assert len({without, with_it, scan_id(sets, suites, Settings(semantic=Semantic()))}) == 3


# ------------------------------------------------------------ the stages


def test_the_first_stage_sets_general_text_aside_and_keeps_rewordings(cache):
    encoder = encoder_of("all-MiniLM-L6-v2")
    ranking = Ranking(static_of(encoder, cache), ITEMS)
    near = {(r.text, i) for r in ranking.near([*REWORDED, *UNRELATED]) for i in r.instances}
    assert near >= {(0, 0), (1, 1), (2, 2)}
    assert {text for text, _ in near} <= {0, 1, 2, 4}


def test_a_rank_is_the_definition_worked_out_slowly(cache):
    static = static_of(encoder_of("all-MiniLM-L6-v2"), cache)
    ranking = Ranking(static, ITEMS)

    def vector(text):
        words = static.words([text])
        rows = [static.vectors(words, np.array([i]), np.array([i + 1]))[0] for i in range(len(words.number))]
        return unit(np.sum(rows, axis=0)[None])

    background = np.concatenate([vector(t) for t in background_texts()])
    mean, whitener = whitening(background)
    calibrated = unit((np.concatenate([*map(vector, [*ITEMS, REWORDED[0]])]) - mean) @ whitener)
    others = unit((background - mean) @ whitener)
    pool = sorted([*(calibrated[0] @ calibrated[1:3].T), *(calibrated[0] @ others.T)], reverse=True)
    expected = calibrated[0] @ calibrated[3] - min(pool[9], 0.8) / 2
    [ranked] = [r for r in ranking.near([REWORDED[0]]) if 0 in r.instances]
    assert ranked.score == pytest.approx(expected, abs=1e-4)
    known = [*ITEMS, *background_texts()]
    df = Counter(s for text in known for s in stems_of(text))
    weight = {s: math.log((len(known) + 1) / (n + 1)) for s, n in df.items()}
    shared = stems_of(ITEMS[0]) & stems_of(REWORDED[0])
    assert sum(weight[s] for s in shared) / sum(weight[s] for s in stems_of(ITEMS[0])) >= NUMBERED_SHARED


@given(
    st.lists(st.sampled_from(["word ", "Two words. ", "line\n", "a, b! ", "漢字。 ", "İ ", ". ", "  "]), max_size=400)
)
def test_windows_cover_every_word_and_are_as_long_as_items_are(parts):
    from decontam.analyzers import lower

    text = "".join(parts)

    class Counted:
        number = np.arange(len(WORD.findall(lower(text))))
        first = np.array([0, len(WORD.findall(lower(text)))])

    windows = windows_of([text], Counted())
    count = len(Counted.number)
    covered = {w for a, b in zip(windows.start, windows.end, strict=True) for w in range(a, b)}
    assert covered == set(range(count)) or count > WHOLE
    assert len(covered) >= count - SIZES[0] // 2
    for start, end in zip(windows.start, windows.end, strict=True):
        assert 0 <= start < end <= count
        assert end - start <= max(2 * max(SIZES), 256)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She paid $1,250.50, half of it in May.", {"1250.5", "1/2"}),
        ("twelve eggs, 12 eggs, a dozen", {"12"}),
        ("3.0 and 3", {"3"}),
        ("no numbers", set()),
        ("100,000 people", {"100000"}),
    ],
)
def test_numbers_are_the_same_however_they_are_written(text, expected):
    assert numbers_in(text) == expected


@given(st.lists(st.frozensets(st.sampled_from("123456789"))), st.frozensets(st.sampled_from("123456789")))
def test_instances_are_found_by_their_numbers_as_a_loop_finds_them(instances, held):
    expected = [i for i, n in enumerate(instances) if len(n) >= 3 and len(n & held) >= max(3, 0.75 * len(n))]
    assert NumberIndex(instances).held(held).tolist() == expected


def test_few_numbers_say_nothing():
    assert agreement(numbers_in("2 and 3"), "2 and 3") is None
    assert agreement(numbers_in("2 and 3 and 4 and 5"), "four, five and 9") == 2 / 5


# ------------------------------------------------------------ other encoders


def embeddings(vectors):
    return {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in vectors],
    }


def test_an_embeddings_endpoint_serves_in_place_of_the_encoder(look, serving):
    """The server's vectors are counts of letters: crude, and enough for these rewordings' own words."""

    def answer(path, request):
        assert path == "/v1/embeddings"
        letters = "abcdefghijklmnopqrstuvwxyz0123456789"
        return embeddings(
            [(i, [t.lower().count(c) for c in letters]) for i, t in reversed(list(enumerate(request["input"])))]
        )

    with serving(answer) as server:
        found = look([*REWORDED, *UNRELATED], semantic=Semantic(encoder=f"{server.url}#letters"))
    assert {(0, "0"), (1, "1")} <= by_meaning(found)
    assert {r["model"] for r in server.asked} == {"letters"}
    assert found.manifest["semantic"]["encoder"] == f"{server.url}#letters"


def test_a_policy_that_asks_for_meaning_needs_a_scan_that_looked(make_set, make_suite):
    from tulu_data.errors import RecipeError

    with pytest.raises(
        RecipeError, match="layers: semantic was not looked for; scan with semantic, or leave the layer out"
    ):
        audit([make_set("x", UNRELATED)], [make_suite("a", ITEMS)], policy=MEANING, progress=Silent())


def test_a_damaged_file_of_embeddings_is_made_again(make_suite, cache):
    from decontam.corpus import join
    from decontam.index import analysed

    suite = make_suite("damaged", ITEMS)
    corpus = join([analysed(suite, "unicode")])
    found = finder_of(corpus, Semantic(), cache).find(REWORDED)
    encoder = encoder_of("all-MiniLM-L6-v2")
    path = cache / "embeddings" / encoder.digest / f"{suite.digest[:32]}.npz"
    for junk in (b"", b"PK junk", path.read_bytes()[:-30]):
        path.write_bytes(junk)
        assert finder_of(corpus, Semantic(), cache).find(REWORDED) == found


def test_an_audit_with_undecided_pairs_is_not_found_as_done_and_asked_about_again(
    store, make_version, cache, serving, said, tmp_path
):
    shutil.copytree(cache / "static", store.root / "index" / "static")
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"q": item}) + "\n" for item in ITEMS))
    (tmp_path / "suites.yaml").write_text("suites:\n  a: {group: dev, path: items.jsonl, fields: [q]}\n")
    versions, up = [make_version(store, "x", REWORDED)], []

    def answer(path, request):
        return said('{"verdict": "same"}') if up else 500

    with serving(answer) as server:
        judge = {"url": server.url, "model": "m"}
        section = {"suites": ["suites.yaml"], "semantic": True, "layers": list(MEANING.layers), "judge": judge}
        prepared = step.validate(section, "test", tmp_path)
        first = step.audit(prepared, versions, store, workers=1, progress=Silent())
        assert Audit.load(first).manifest["judge"]["undecided"] == 3
        assert step.find_audit(prepared, versions, store) is None
        up.append(True)
        assert step.audit(prepared, versions, store, workers=1, progress=Silent()) == first
        assert Audit.load(first).manifest["judge"]["undecided"] == 0
        assert step.find_audit(prepared, versions, store) == first
