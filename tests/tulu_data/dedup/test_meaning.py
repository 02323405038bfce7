"""Duplicates in meaning: against all pairs in plain numpy, in blocks of any size, with what was encoded kept."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.dedup import ByFinder, Near, Settings, find_duplicates, find_in_store, meaning, vectors
from tulu_data.dedup.finders import from_pairs
from tulu_data.encoders import LocalEncoder, encoder_of, unit
from tulu_data.errors import InputError, UsageError

ITEMS = [
    "A farmer sells 36 eggs at the market every morning for 3 dollars a dozen. How much does she earn in 14 days?",
    "Give me three tips for staying healthy.",
    "Write a short poem about autumn leaves and the smell of rain on warm stones.",
    "Explain how a refrigerator keeps food cold, as you would to a curious child of ten.",
]
REWORDED = [
    "Every morning a farmer sells 36 eggs at the market at 3 dollars per dozen. How much will she earn over 14 days?",
    "Please share 3 tips on how to stay healthy.",
]
MEANING = Settings(similar=[ByFinder(finder="meaning")])


class Fake:
    """Vectors from digests of texts: equal texts are near, and others are not. asked: texts, in order."""

    name, digest = "fake", "fake-1"

    def __init__(self, dimensions=32, fails_after=None):
        self.dimensions, self.fails_after = dimensions, fails_after
        self.asked = []

    def encode(self, texts):
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise KeyboardInterrupt
        self.asked += texts
        return unit(np.stack([self.vector(t) for t in texts]))

    def vector(self, text):
        """A text that ends with ~N is near the one without, the less so the greater N."""
        stem, _, far = text.partition("~")
        seeds = (int.from_bytes(sha256(t.encode()).digest()[:8], "big") for t in (stem, text))
        whole, own = (np.random.default_rng(seed).normal(size=self.dimensions) for seed in seeds)
        return whole + (int(far) / 10 if far else 0) * own


@pytest.fixture
def using(monkeypatch):
    def put(encoder):
        monkeypatch.setattr(meaning, "encoder_of", lambda name: encoder)
        return encoder

    return put


def gone(found, name="s"):
    return {g["row_index"]: (g["kind"], g["kept_id"], g["score"]) for g in found.leaving(name).to_pylist()}


# ------------------------------------------------------------ blocks against all pairs


def all_pairs(held, threshold):
    """Every pair whose cosine, worked out in float64 alone and rounded as documented, is at the threshold or above."""
    exact = held.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    for a in range(len(exact)):
        for b in range(a + 1, len(exact)):
            cosine = round(float(exact[a] @ exact[b]), 3)
            if cosine >= threshold:
                yield a, b, cosine


@st.composite
def crowds(draw):
    """Vectors as they lie on disk: clusters from tight to loose, chains and copies among them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, dimensions = draw(st.integers(0, 60)), draw(st.sampled_from([2, 5, 16]))
    centres = random.normal(size=(draw(st.integers(1, 6)), dimensions))
    spread = draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    made = centres[random.integers(len(centres), size=count)] + spread * random.normal(size=(count, dimensions))
    return unit(made).astype(np.float16).astype(np.float32)


def settled(held, threshold, rows, folder):
    with meaning.Kept(folder / "kept", held.shape[1]) as kept:
        return meaning.settle(lambda a, b: held[a:b], len(held), threshold, rows, kept, lambda _: None)


@settings(deadline=None)
@given(crowds(), st.sampled_from([0.5, 0.9, 0.95, 0.999, 1.0]), st.integers(1, 70))
def test_blocks_give_what_all_pairs_give(tmp_path_factory, held, threshold, rows):
    expected = from_pairs(all_pairs(held, threshold), np.arange(len(held)))
    found = settled(held, threshold, rows, tmp_path_factory.getbasetemp())
    assert found.leader.tolist() == expected.leader.tolist()
    assert found.score.tolist() == expected.score.tolist()


def test_a_cosine_at_the_threshold_counts_and_one_below_does_not(tmp_path):
    angles = np.arccos([1.0, 0.9001, 0.8994])
    held = np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32).astype(np.float16).astype(np.float32)
    far = held[[0, 2]]
    assert settled(held[:2], 0.9, 8, tmp_path).leader.tolist() == [0, 0]
    assert settled(far, 0.9, 8, tmp_path).leader.tolist() == [0, 1]


@settings(deadline=None)
@given(st.integers(1, 1 << 34), st.integers(1, 8192))
def test_blocks_fit_half_of_the_budget(budget, dimensions):
    rows = meaning.block_rows(budget, dimensions)
    assert 64 <= rows <= meaning.MOST_ROWS
    needed = meaning.CELL_BYTES * rows**2 + 12 * dimensions * rows
    assert needed <= budget / 2 or rows == 64
    more = meaning.CELL_BYTES * (rows + 2) ** 2 + 12 * dimensions * (rows + 2)
    assert more > budget / 2 or rows == meaning.MOST_ROWS


# ------------------------------------------------------------ windows


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["word ", "a longer stretch of text\n", "x" * 300, "漢字" * 40, "🐐", " "]), max_size=80)
)
def test_windows_are_the_whole_text_in_parts_that_fit(parts):
    text = "".join(parts)
    found = vectors.windows(text)
    assert "".join(found) == text
    assert max(len(w.encode()) for w in found) <= vectors.WINDOW_BYTES
    if len(text.encode()) <= vectors.WINDOW_BYTES:
        assert found == [text]


def test_windows_are_about_as_long_as_each_other_and_cut_between_words():
    text = " ".join(f"word{i}" for i in range(1000))
    found = vectors.windows(text)
    sizes = [len(w) for w in found]
    assert max(sizes) - min(sizes) < vectors.WINDOW_BYTES / 4
    assert all(w.endswith(" ") for w in found[:-1])


def test_a_long_text_is_the_mean_of_its_windows_and_its_end_counts():
    encoder = Fake()
    begins = "The same passage, word for word. " * 100
    one, other = begins + "What is asked?", begins + "Something else is asked of it."
    mean = np.mean([encoder.encode([w])[0] for w in vectors.windows(one)], axis=0)
    made = vectors.vectors_of([one, other, "short"], encoder).astype(np.float64)
    assert made[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-3)
    assert made[2] == pytest.approx(encoder.encode(["short"])[0], abs=1e-3)
    assert not np.array_equal(made[0], made[1])


# ------------------------------------------------------------ rows


def test_reworded_prompts_leave_and_others_stay(store, make_version, tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra 'semantic' is not installed")
    version = make_version(store, "s", [*ITEMS, *REWORDED])
    found = find_duplicates([version], MEANING, work=tmp_path)
    ids = version.table(["id"])["id"].to_pylist()
    pairs = {frozenset((ids[row], kept)): score for row, (_, kept, score) in gone(found).items()}
    assert pairs.keys() == {frozenset((ids[0], ids[4])), frozenset((ids[1], ids[5]))}
    assert all(0.9 <= score <= 1 for score in pairs.values())
    assert {kind for kind, _, _ in gone(found).values()} == {"meaning"}


TEXTS = [f"text {k}{end}" for k in range(40) for end in ("", "~1", "~2", "~4", "~8")]


def test_neither_the_budget_nor_the_order_of_rows_changes_what_is_found(
    store, make_rows, make_version, tmp_path, using
):
    using(Fake())
    rows = make_rows("s", [{"messages": [{"role": "user", "content": t}]} for t in TEXTS], "prompt")
    version, turned = make_version(store, "s", rows, "prompt"), make_version(store, "t", rows[::-1], "prompt")
    expected = find_duplicates([version], MEANING, work=tmp_path / "a")
    assert 50 < len(gone(expected)) < 160
    small = find_duplicates([version], MEANING, work=tmp_path / "b", budget_bytes=1)
    assert small.clusters.equals(expected.clusters)
    other = find_duplicates([turned], MEANING, work=tmp_path / "c")
    columns = ["cluster", "id", "kept", "kind", "score"]
    assert other.clusters.select(columns).equals(expected.clusters.select(columns))
    assert not list(tmp_path.rglob("kept.vectors"))


def test_equal_texts_leave_as_their_first_does_and_empty_ones_stay(store, make_version, tmp_path, using):
    using(Fake())

    def chat(prompt, answer):
        return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}

    rows = [chat("q", "longest answer"), chat("q", "short"), chat("q~1", "mid one"), chat("q~1", "so"), chat("…", "a")]
    rows += [chat(" ", "one"), chat(" ", "other")]
    version = make_version(store, "s", [r | {"prov": {"orig_id": str(i)}} for i, r in enumerate(rows)])
    found = gone(find_duplicates([version], MEANING, work=tmp_path))
    assert found.keys() == {1, 2, 3}
    assert {kept for _, kept, _ in found.values()} == {"s/0"}
    assert found[1][2] == 1.0
    assert 0.9 <= found[2][2] == found[3][2] < 1


def test_the_stages_before_decide_which_rows_are_encoded(store, make_version, tmp_path, using):
    encoder = using(Fake())
    long = " ".join(f"w{i}" for i in range(60))
    version = make_version(store, "s", [long, f"{long} more", "other"])
    wanted = MEANING.model_copy(update={"near": Near(what="prompt")})
    assert [kind for kind, _, _ in gone(find_duplicates([version], wanted, work=tmp_path)).values()] == ["near"]
    assert sorted(encoder.asked) == sorted(["other", f"{long} more"])


# ------------------------------------------------------------ what is encoded once


def test_a_killed_search_goes_on_and_a_repeated_one_encodes_only_what_is_new(store, make_version, using, monkeypatch):
    monkeypatch.setattr(vectors, "AT_ONCE", 16)
    version = make_version(store, "s", TEXTS)
    killed = using(Fake(fails_after=80))
    with pytest.raises(KeyboardInterrupt):
        find_in_store([version], MEANING, store)
    again = using(Fake())
    found = find_in_store([version], MEANING, store)
    assert set(killed.asked) | set(again.asked) == set(TEXTS)
    assert len(killed.asked) + len(again.asked) == len(TEXTS)
    never = using(Fake(fails_after=0))
    lower = Settings(similar=[ByFinder(finder="meaning", threshold=0.85)])
    assert len(gone(find_in_store([version], lower, store))) > len(gone(found))
    more = using(Fake())
    find_in_store([make_version(store, "s2", [*TEXTS, "new"])], MEANING, store)
    assert (never.asked, more.asked) == ([], ["new"])


def test_a_damaged_file_is_encoded_again(store, make_version, using, monkeypatch):
    monkeypatch.setattr(vectors, "AT_ONCE", 50)
    version = make_version(store, "s", TEXTS)
    using(Fake())
    expected = find_in_store([version], MEANING, store)
    files = sorted((store.root / "scans").glob("td1-vectors-*/*.vectors"))
    assert len(files) == 4
    files[0].write_bytes(files[0].read_bytes()[:-1])
    files[1].write_bytes(b"junk")
    store.discard(store.root / "duplicates")
    again = using(Fake())
    assert find_in_store([version], MEANING, store).clusters.equals(expected.clusters)
    assert len(again.asked) == 100


def test_vectors_are_kept_by_encoder_and_a_server_that_changed_is_one_line(store, make_version, tmp_path, using):
    version = make_version(store, "s", TEXTS)
    using(Fake())
    first = find_duplicates([version], MEANING, work=tmp_path)
    other = using(Fake(dimensions=16))
    other.digest = "fake-2"
    second = find_duplicates([version], MEANING, work=tmp_path)
    assert first.id != second.id
    assert len(list(tmp_path.glob("td1-vectors-*"))) == 2
    other.dimensions = 8
    with pytest.raises(
        InputError, match=r"encoder fake: gives vectors of 8 dimensions, and .* holds some of 16; remove"
    ):
        find_duplicates([make_version(store, "s", ["new"])], MEANING, work=tmp_path)


# ------------------------------------------------------------ what cannot be had


def test_a_missing_extra_is_named(store, make_version, tmp_path, monkeypatch):
    monkeypatch.setattr("tulu_data.encoders.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"sentence-transformers is missing; pip install 'tulu-data\[semantic\]'$"):
        find_duplicates([make_version(store, "s", ["a", "b"])], MEANING, work=tmp_path)


def test_an_encoder_is_named_in_the_section_and_its_weights_count(store, make_version, tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers", reason="the extra 'semantic' is not installed")
    version = make_version(store, "s", ["a", "b"])
    wanted = Settings(similar=[ByFinder(finder="meaning", encoder="http://localhost:1/v1")])
    with pytest.raises(UsageError, match="encoder http://localhost:1/v1: names no model"):
        find_duplicates([version], wanted, work=tmp_path)
    before = meaning.digest(ByFinder(finder="meaning"))
    assert encoder_of("all-MiniLM-L6-v2").digest in before
    monkeypatch.setattr(LocalEncoder, "digest", "other weights")
    assert meaning.digest(ByFinder(finder="meaning")) != before
