"""Which rows leave, and for which: against brute force, and whatever the order, the workers, the budget or a kill."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tulu_data.dedup import Near, Settings, find_duplicates
from tulu_data.dedup.documents import messages_of
from tulu_data.dedup.reference import jaccard, shingle_set
from tulu_data.store import Store

WORDS = [f"w{i}" for i in range(400)]
LONG = " ".join(WORDS[:60])


def chat(prompt, answer="Yes.", **more):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], **more}


def named(rows):
    """Rows with ids by their place in the test."""
    return [row | {"prov": {"orig_id": f"{i:04d}"}} for i, row in enumerate(rows)]


def edited(text, count, seed=0):
    """The text with `count` words replaced, spread evenly."""
    words = text.split()
    for k in range(count):
        words[(k * len(words)) // count + seed % 5] = f"new{seed}x{k}"
    return " ".join(words)


def mutated(seed, n=60):
    """Texts that descend from a few by edits, short and empty ones among them."""
    draw = random.Random(seed)
    listed = []
    for _ in range(n):
        if listed and draw.random() < 0.6:
            words = draw.choice(listed).split()
            for _ in range(draw.choice([0, 1, 1, 2, 6])):
                if words:
                    words[draw.randrange(len(words))] = draw.choice(WORDS)
            listed.append(" ".join(words))
        else:
            listed.append(" ".join(draw.choices(WORDS, k=draw.choice([0, 2, 4, 5, 12, 60, 90]))))
    return [text or "..." for text in listed]


def survivors(found, name):
    gone = set(found.leaving(name)["row_index"].to_pylist())
    rows = next(v["rows"] for v in found.versions if v["name"] == name)
    return [i for i in range(rows) if i not in gone]


def brute_force(rows, near, exact="row"):
    """{row: (the row it leaves for, similarity)} by comparing all pairs, in the order of preference."""
    order = sorted(range(len(rows)), key=lambda i: (-rows[i]["n_chars"], rows[i]["id"]))
    sets = [shingle_set([m["content"] for m in messages_of("sft", r, near.what)], near.ngram) for r in rows]
    leaders, left, seen = {}, [], {}
    for i in order:
        digest = rows[i][f"{exact}_sha"]
        if digest in seen:
            leaders[i] = seen[digest]
        else:
            seen[digest] = i
            left.append(i)
    kept = []
    for i in left:
        alike = [(-jaccard(sets[i], sets[k]), at, k) for at, k in enumerate(kept) if sets[i] and sets[k]]
        similarity, _, best = min(alike, default=(0, 0, 0))
        if -similarity >= near.threshold:
            leaders[i] = best
        else:
            kept.append(i)
    final = {i: leaders.get(k, k) for i, k in leaders.items()}
    return {i: (k, jaccard(sets[i], sets[k]) if sets[i] and sets[k] else 1.0) for i, k in final.items()}


def as_leaders(found):
    """{row index: (row it leaves for, score)} of a search in one version."""
    kept = {c["cluster"]: c["row_index"] for c in found.clusters.to_pylist() if c["kept"]}
    return {
        c["row_index"]: (kept[c["cluster"]], pytest.approx(c["score"]))
        for c in found.clusters.to_pylist()
        if not c["kept"]
    }


@pytest.mark.parametrize("engine", ["compiled", "datasketch"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), what=st.sampled_from(["prompt", "conversation"]))
def test_who_leaves_is_as_by_brute_force(engine, tmp_path_factory, make_rows, make_version, seed, what):
    folder = tmp_path_factory.mktemp("dedup")
    rows = make_rows("s", named([chat(text) for text in mutated(seed)]))
    near = Near(what=what)
    version = make_version(Store(folder), "s", rows)
    found = find_duplicates([version], Settings(near=near), work=folder / "work", engine=engine)
    assert as_leaders(found) == brute_force(rows, near)


@pytest.fixture
def talks(store, make_version):
    """Two versions that share exact and near duplicates, the first in small parts."""
    texts = mutated(1, 300)
    one = make_version(store, "one", named([chat(t) for t in texts[:200]]))
    two = make_version(store, "two", named([chat(t) for t in texts[150:]]))
    return [one, two]


BOTH = Settings(near=Near(), scope="across", exact=["row", "prompt"])


def test_the_result_does_not_depend_on_threads_budget_or_the_order_of_versions(talks, tmp_path, monkeypatch):
    expected = find_duplicates(talks, BOTH, work=tmp_path / "a")
    assert len(expected.clusters) > 100
    for k, (workers, budget, versions) in enumerate([(3, 512 << 20, talks), (1, 20_000, talks[::-1]), (2, 200, talks)]):
        found = find_duplicates(versions, BOTH, work=tmp_path / str(k), workers=workers, budget_bytes=budget)
        assert found.clusters.equals(expected.clusters)
        assert found.manifest == expected.manifest
    assert list((tmp_path / "2" / "pairs").glob("*.pairs"))


def test_the_same_rows_stay_whatever_their_order_and_parts(store, make_rows, make_version, tmp_path, monkeypatch):
    rows = make_rows("s", named([chat(t) for t in mutated(5, 200)]))
    first = make_version(store, "first", rows)
    monkeypatch.setattr("tulu_data.parquet.GROUP_ROWS", 7)
    mixed = make_version(store, "mixed", random.Random(1).sample(rows, len(rows)))
    assert len(list(mixed.parts())) > 20
    kept = []
    for version, place in ((first, "a"), (mixed, "b")):
        found = find_duplicates([version], Settings(near=Near()), work=tmp_path / place)
        ids = version.table(["id"])["id"].to_pylist()
        kept.append({ids[i] for i in survivors(found, version.name)})
    assert kept[0] == kept[1]
    assert len(kept[0]) < 200


def test_no_two_rows_that_stay_are_duplicates_and_chains_are_not_followed(store, make_version, tmp_path):
    chain = [edited(LONG, k) for k in range(9)]  # each like the next, the ends unlike
    version = make_version(store, "s", named([chat(t, "A" * (20 - k)) for k, t in enumerate(chain)]))
    found = find_duplicates([version], Settings(near=Near(threshold=0.7, what="prompt")), work=tmp_path)
    sets = [shingle_set([t], 5) for t in chain]
    stays = survivors(found, "s")
    assert 1 < len(stays) < len(chain)
    assert all(jaccard(sets[a], sets[b]) < 0.7 for a in stays for b in stays if a < b)
    assert all(score.expected >= 0.7 for _, score in as_leaders(found).values())


# ------------------------------------------------------------ kinds


ROWS = [
    chat("What is two and two?", "Four."),
    chat("What is two and two?", "Four."),  # same row
    chat("what  is TWO and two?", "It is four, of course."),  # same prompt, and longer
    {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi."}]
        + chat("What is two and two?")["messages"]
    },
    chat("Another question?", "Four."),
]


@pytest.mark.parametrize(
    ("exact", "kinds", "stays"),
    [
        (["row"], {1: "row"}, [0, 2, 3, 4]),
        (["prompt"], {0: "prompt", 1: "prompt"}, [2, 3, 4]),
        (["row", "last_turn"], {0: "last_turn", 1: "last_turn", 2: "last_turn"}, [3, 4]),
    ],
)
def test_exact_kinds(store, make_version, tmp_path, exact, kinds, stays):
    rows = named([dict(r) for r in ROWS])
    rows[3]["messages"][-1] = {"role": "assistant", "content": "Four, and this answer is the longest of all."}
    version = make_version(store, "s", rows)
    found = find_duplicates([version], Settings(exact=exact), work=tmp_path)
    gone = found.leaving("s").to_pylist()
    assert {g["row_index"]: g["kind"] for g in gone} == kinds
    assert survivors(found, "s") == stays
    assert {g["score"] for g in gone} <= {1.0, None}
    assert found.counts[0]["kept"] == len(stays)


def test_rows_without_words_are_near_nothing(store, make_version, tmp_path):
    version = make_version(store, "s", named([chat("?", "."), chat("...", "?."), chat(";", ":")]))
    found = find_duplicates([version], Settings(near=Near(threshold=0.7)), work=tmp_path)
    assert survivors(found, "s") == [0, 1, 2]


def test_short_texts_are_duplicates_only_where_their_words_are_equal(store, make_version, tmp_path):
    prompts = ["Say hi", "say, hi!", "Say ho", "What is 2+2?", "What is 2-2?", "你好", "你 好", "你们"]
    version = make_version(store, "s", named([chat(p, "ok") for p in prompts]))
    found = find_duplicates([version], Settings(near=Near(what="prompt", threshold=0.7)), work=tmp_path)
    assert survivors(found, "s") == [0, 1, 2, 3, 4, 6, 7]  # "say, hi!" has a word more: the mark


def test_light_edits_are_found_and_one_word_in_twenty_mostly_is_not(store, make_version, tmp_path):
    """Documented: n-grams find light edits. A replaced word takes five of the shingles with it."""
    draw = random.Random(3)
    texts = [" ".join(f"t{k}w{draw.randrange(5_000)}" for _ in range(100)) for k in range(150)]

    def caught(share):
        copies = []
        for k, text in enumerate(texts):
            words = text.split()
            for at in (i for i in range(100) if draw.random() < share):
                words[at] = f"e{k}x{at}"
            copies.append(" ".join(words))
        version = make_version(store, f"edit{round(1000 * share)}", named([chat(t) for t in texts + copies]))
        found = find_duplicates([version], Settings(near=Near(threshold=0.75, what="prompt")), work=tmp_path)
        return (found.counts[0]["rows"] - found.counts[0]["kept"]) / len(texts)

    assert caught(0.005) > 0.9
    assert 0 < caught(0.05) < 0.4


# ------------------------------------------------------------ who stays


def test_the_one_kept_is_first_by_priority_then_length_then_id(store, make_version, tmp_path):
    def kept(priority, versions):
        found = find_duplicates(versions, Settings(exact=["prompt"], scope="across", priority=priority), work=tmp_path)
        return [(c["version"], c["id"]) for c in found.clusters.to_pylist() if c["kept"]]

    a = make_version(store, "a", named([chat("Same?", "short"), chat("Same?", "as long")]))
    b = make_version(store, "b", named([chat("Same?", "as long"), chat("Same?", "longest one")]))
    assert kept([], [a, b]) == [("b", "b/0001")]
    assert kept(["a"], [a, b]) == kept(["a", "b"], [b, a]) == [("a", "a/0001")]
    assert kept([], [a]) == [("a", "a/0001")]
    c = make_version(store, "c", named([chat("Same?", "long 1"), chat("Same?", "long 2")]))
    assert kept([], [c]) == [("c", "c/0000")]


def test_priority_may_name_a_source_of_a_mixture(store, make_rows, make_version, tmp_path):
    rows = make_rows("x", [chat("Same?", "the longer answer")]) + make_rows("y", [chat("Same?", "short")])
    version = make_version(store, "mixed", rows)
    found = find_duplicates([version], Settings(exact=["prompt"], priority=["y"]), work=tmp_path)
    assert survivors(found, "mixed") == [1]


def test_within_compares_each_version_alone(talks, tmp_path):
    within = find_duplicates(talks, Settings(near=Near()), work=tmp_path)
    alone = [find_duplicates([v], Settings(near=Near()), work=tmp_path / v.name) for v in talks]
    assert within.counts == [c for a in alone for c in a.counts]
    assert within.clusters["cluster"].to_pylist() == sorted(within.clusters["cluster"].to_pylist())
    across = find_duplicates(talks, Settings(near=Near(), scope="across"), work=tmp_path)
    assert sum(c["kept"] for c in across.counts) < sum(c["kept"] for c in within.counts)


# ------------------------------------------------------------ several stages


def test_a_row_whose_leader_leaves_is_compared_itself(store, make_version, tmp_path):
    """A row leaves for its prompt's first, which leaves for another: the first is no reason any more."""
    prompt = edited(LONG, 1)
    rows = [chat(LONG, "x" * 40), chat(prompt, "AB"), chat(prompt, "C"), chat(prompt, "C")]
    version = make_version(store, "s", named(rows))
    found = find_duplicates([version], Settings(exact=["prompt"], near=Near(what="prompt")), work=tmp_path)
    gone = found.leaving("s").to_pylist()
    assert [(g["kind"], g["kept_id"]) for g in gone] == [("near", "s/0000")] * 3
    assert {g["score"] for g in gone} == {jaccard(shingle_set([LONG], 5), shingle_set([prompt], 5))}


def test_a_row_unlike_all_that_stay_stays_though_its_prompts_first_left(store, make_version, tmp_path):
    answers = [" ".join(f"{c}{i}" for i in range(200)) for c in "xy"]
    first, second, third, fourth = (
        chat("Tell me a lot, please.", answers[0]),
        chat("Tell me a lot.", answers[0]),  # near the first
        chat("Tell me a lot.", answers[1][:-8]),  # the prompt of the second, and like the first in nothing
        chat("tell  me a lot.", "no"),
    )
    version = make_version(store, "s", named([first, second, third, fourth]))
    found = find_duplicates([version], Settings(exact=["prompt"], near=Near()), work=tmp_path)
    gone = [(g["row_index"], g["kind"], g["kept_id"]) for g in found.leaving("s").to_pylist()]
    assert gone == [(1, "near", "s/0000"), (3, "prompt", "s/0002")]


@pytest.mark.parametrize("engine", ["compiled", "datasketch"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_with_several_kinds_who_stays_is_as_by_brute_force(engine, tmp_path_factory, make_rows, make_version, seed):
    """In the order of preference a row stays unless it is a duplicate, of either kind, of one that does."""
    folder, draw = tmp_path_factory.mktemp("dedup"), random.Random(seed)
    texts = mutated(seed, 40)
    rows = make_rows("s", named([chat(draw.choice(texts[:12]), draw.choice(texts)) for _ in range(120)]))
    near = Near(threshold=0.7)
    sets = [shingle_set([m["content"] for m in r["messages"]], near.ngram) for r in rows]

    def alike(a, b):
        return jaccard(sets[a], sets[b]) if sets[a] and sets[b] else 0.0

    kept = []
    for i in sorted(range(len(rows)), key=lambda i: (-rows[i]["n_chars"], rows[i]["id"])):
        if all(rows[i]["prompt_sha"] != rows[k]["prompt_sha"] and alike(i, k) < near.threshold for k in kept):
            kept.append(i)
    version = make_version(Store(folder), "s", rows)
    wanted = Settings(exact=["row", "prompt"], near=near)
    found = find_duplicates([version], wanted, work=folder / "work", engine=engine)
    assert survivors(found, "s") == sorted(kept)
    for g, (row, (leader, score)) in zip(
        found.leaving("s").to_pylist(), sorted(as_leaders(found).items()), strict=True
    ):
        shares = [kind for kind in ("row", "prompt") if rows[row][f"{kind}_sha"] == rows[leader][f"{kind}_sha"]]
        assert g["kind"] == (shares or ["near"])[0]
        assert score == alike(row, leader) or (g["kind"] == "row" and score == 1.0) or not (sets[row] and sets[leader])
        assert shares or alike(row, leader) >= near.threshold


def test_equal_ids_in_two_versions_are_two_rows(store, make_rows, make_version, tmp_path):
    one = make_rows("x", named([chat(LONG), chat("Only here?")]))
    two = make_rows("x", named([chat("Only there?"), chat(f"{LONG} more")]))
    versions = [make_version(store, "a", one), make_version(store, "b", two)]
    found = find_duplicates(versions, Settings(near=Near(), scope="across"), work=tmp_path)
    assert [(survivors(found, n), len(found.leaving(n))) for n in "ab"] == [([1], 1), ([0, 1], 0)]
    assert found.leaving("a").to_pylist()[0]["kept_version"] == "b"
    assert [(c["version"], c["id"]) for c in found.clusters.to_pylist()] == [("b", "x/0001"), ("a", "x/0000")]


@pytest.mark.parametrize("engine", ["compiled", "datasketch"])
def test_the_tools_that_a_message_calls_are_part_of_its_text(store, make_version, tmp_path, engine):
    def ask(city, **more):
        called = {"role": "assistant", "content": "", "tool_calls": f'[{{"name": "weather", "city": "{city}"}}]'}
        return {"messages": [{"role": "user", "content": "And there?"}, called | more]}

    version = make_version(store, "s", named([ask("Oslo"), ask("Rome"), ask("Oslo", name="me")]))
    found = find_duplicates([version], Settings(near=Near()), work=tmp_path, engine=engine)
    assert as_leaders(found) == {2: (0, 1.0)}
