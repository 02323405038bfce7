"""A mixture is what its takes say, whatever the order, sharding and workers; nothing is lost on the way."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data import composition, parquet, shuffle
from tulu_data.errors import GateError, RecipeError
from tulu_data.mixture import Expect, Part, Size, check_expectations, mix, plan
from tulu_data.outline import outline
from tulu_data.rows import KINDS, Row
from tulu_data.shares import Emphasis, apportion
from tulu_data.store import Store, Version
from tulu_data.strict import validate
from tulu_data.take import Take
from tulu_data.verify import verify

Make = Callable[..., Version]
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
SMALL = {"GROUP_ROWS": 3, "GROUP_CHARS": 200, "SHARD_ROWS": 7, "SHARD_CHARS": 500}


@pytest.fixture
def small_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards, row groups, and shards per spill file, out of few rows."""
    for name, value in SMALL.items():
        monkeypatch.setattr(parquet, name, value)
    monkeypatch.setattr(shuffle, "MAX_SPILL_FILES", 3)


def chat(question: str, answer: str = "yes", **more: Any) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **more}


def texts(n: int, name: str = "q") -> list[Row]:
    """Rows of different lengths."""
    return [chat(f"{name} {i}", "word " * (i % 5 + 1)) for i in range(n)]


def part(version: Version, name: str | None = None, **take: Any) -> Part:
    return Part(name or version.name, version, Take(**take))


def contents(version: Version) -> list[str]:
    return [r["messages"][0]["content"] for r in version.table(["messages"]).to_pylist()]


# ------------------------------------------------------------ the oracle


def plain_mix64(x: int) -> int:
    x = (x + GOLDEN) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def plain_salt(seed: int, *purpose: str) -> int:
    return int.from_bytes(sha256("\0".join((str(seed), *purpose)).encode()).digest()[:8], "little")


def plain_key(digest: bytes, occurrence: int, salted: int) -> tuple[int, int, int]:
    sha = int.from_bytes(digest[:8], "little")
    return plain_mix64(((sha ^ salted) + occurrence * GOLDEN) & MASK), sha, occurrence


def plain_chosen(rows: list[Row], n: int, seed: int, name: str) -> list[tuple[Row, int]]:
    """The first n of the rows by hash rank, over and over, each with its copy."""
    seen: dict[bytes, int] = defaultdict(int)
    ranked = []
    for row in sorted(rows, key=lambda r: r["id"]):
        ranked.append((plain_key(row["row_sha"], seen[row["row_sha"]], plain_salt(seed, "select", name)), row))
        seen[row["row_sha"]] += 1
    ranked.sort(key=lambda pair: pair[0])
    return [(ranked[i % len(ranked)][1], i // len(ranked)) for i in range(n)]


def plain_mixture(parts: list[tuple[str, list[Row], int]], seed: int) -> list[bytes]:
    """The digests of a mixture in order: of each part so many rows, sorted by a second key."""
    seen: dict[bytes, int] = defaultdict(int)
    placed = []
    for name, rows, n in sorted(parts, key=lambda p: p[0]):
        for row, _ in plain_chosen(rows, n, seed, name):
            digest = row["row_sha"]
            placed.append((plain_key(digest, seen[digest], plain_salt(seed, "order")), digest))
            seen[digest] += 1
    return [digest for _, digest in sorted(placed)]


SOURCE = st.lists(st.integers(0, 12), min_size=1, max_size=25)  # equal numbers are equal rows with different ids


@pytest.mark.usefixtures("small_layout")
def test_a_mixture_is_the_oracles_row_for_row_with_one_worker_or_two(make_rows, make_version):
    @settings(max_examples=15, deadline=None)
    @given(st.lists(SOURCE, min_size=1, max_size=3), st.integers(0, 5), st.data())
    def check(sources: list[list[int]], seed: int, data: st.DataObject) -> None:
        with TemporaryDirectory() as folder:
            store = Store(folder)
            parts, plain = [], []
            for k, numbers in enumerate(sources):
                rows = [chat(f"q {x}", "a" * (x * 20 + 1), prov={"orig_id": str(i)}) for i, x in enumerate(numbers)]
                finished = make_rows(f"s{k}", rows)
                version = make_version(store, f"s{k}", finished)
                repeat = data.draw(st.integers(1, 3))
                n = data.draw(st.integers(0, len(rows) * repeat))
                parts.append(part(version, count=n, repeat=repeat))
                plain.append((f"s{k}", finished, n))
            made = [mix(store, f"m{w}", data.draw(st.permutations(parts)), seed=seed, workers=w) for w in (1, 2)]
            table = made[0].table()
            assert [r["row_sha"] for r in table.to_pylist()] == plain_mixture(plain, seed)
            expected = Counter((r["id"], c) for name, rows, n in plain for r, c in plain_chosen(rows, n, seed, name))
            assert Counter((r["id"], r["prov"]["copy"]) for r in table.to_pylist()) == expected
            assert made[1].digest == made[0].digest
            assert [s.sha256 for s in made[1].manifest.shards] == [s.sha256 for s in made[0].manifest.shards]
            assert verify(made[0], 2) == []

    check()


@pytest.mark.usefixtures("small_layout")
def test_the_version_does_not_depend_on_the_order_and_sharding_of_the_sources(make_rows, make_version, monkeypatch):
    @settings(max_examples=15, deadline=None)
    @given(SOURCE, SOURCE, st.randoms(use_true_random=False), st.sampled_from([{}, {"stratify": "subset"}]))
    def check(a: list[int], b: list[int], rng: random.Random, more: dict[str, Any]) -> None:
        takes = [{"count": len(a) // 2, **more}, {"fraction": 0.7, "repeat": 2, **more}]
        found = []
        for shuffled in (False, True):
            with TemporaryDirectory() as folder, monkeypatch.context() as layout:
                if shuffled:
                    layout.setattr(parquet, "GROUP_ROWS", 2)
                    layout.setattr(parquet, "SHARD_ROWS", 2)
                store = Store(folder)
                parts = []
                for name, numbers, take in zip("ab", (a, b), takes, strict=True):
                    rows = [chat(f"q {x}", prov={"orig_id": str(i)}, subset=f"{x % 3}") for i, x in enumerate(numbers)]
                    finished = make_rows(name, rng.sample(rows, len(rows)) if shuffled else rows)
                    parts.append(part(make_version(store, name, finished), **take))
                layout.undo()
                made = mix(store, "m", parts, seed=3)
                ids = Counter((r["id"], r["prov"]["copy"]) for r in made.table().to_pylist())
                found.append((made.digest, ids))
        assert found[0] == found[1]

    check()


def test_the_same_mixture_twice_writes_nothing_the_second_time(store, make_version):
    a = make_version(store, "a", texts(20))
    first = mix(store, "m", [part(a, count=7)], seed=1)
    before = {p: p.stat().st_mtime_ns for p in first.path.rglob("*")}
    again = mix(store, "m", [part(a, count=7)], seed=1)
    assert (again.ref, again.build) == (first.ref, None)
    assert {p: p.stat().st_mtime_ns for p in first.path.rglob("*")} == before
    assert mix(store, "m", [part(a, count=7)], seed=2).digest != first.digest


@pytest.mark.parametrize(("files", "opened"), [(1, 1), (5, 5), (20, 14), (30, 27), (1_000, 40)])
@pytest.mark.usefixtures("small_layout")
def test_the_bytes_do_not_depend_on_how_many_files_the_rows_pass_through(
    store, make_version, monkeypatch, files, opened
):
    a = make_version(store, "a", texts(60))
    expected = mix(store, "m", [part(a, all=True, repeat=2)])
    spills = []
    close = shuffle._Spill.close

    def watched(self: Any) -> None:
        spills.append(len(self.paths))
        close(self)

    monkeypatch.setattr(shuffle._Spill, "close", watched)
    monkeypatch.setattr(shuffle, "MAX_SPILL_FILES", files)
    found = mix(store, "other", [part(a, all=True, repeat=2)], workers=2)
    assert [s.sha256 for s in found.manifest.shards] == [s.sha256 for s in expected.manifest.shards]
    assert (len(found.shards), spills) == (14, [opened])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("small_layout")
def test_rows_of_every_kind_move_unchanged(store, make_version, kind):
    a = make_version(store, "a", [f"größer {i} 日本" for i in range(40)], kind)
    made = mix(store, "m", [part(a, all=True)], workers=2)
    assert len(made.shards) > shuffle.MAX_SPILL_FILES
    assert made.kind == kind
    assert sorted(made.table().to_pylist(), key=lambda r: r["id"]) == sorted(
        a.table().to_pylist(), key=lambda r: r["id"]
    )
    assert sorted(p.name for p in made.path.iterdir()) == ["README.md", "data", "manifest.json"]


# ------------------------------------------------------------ takes


def planned_rows(parts: list[Part], **more: Any) -> dict[str, int]:
    return {p.part.name: len(p.rows) for p in plan(parts, **more).parts}


def test_takes_give_as_many_rows_as_they_say(store, make_version):
    a = make_version(store, "a", texts(10))  # 3 to 7 words a row: "q 0" has 2, its answer 1 to 5
    cases: list[tuple[dict[str, Any], int]] = [
        ({"all": True}, 10),
        ({"all": True, "repeat": 3}, 30),
        ({"all": True, "cap": 4}, 4),
        ({"count": 0}, 0),
        ({"count": 4}, 4),
        ({"count": 25, "repeat": 3}, 25),
        ({"fraction": 0.25}, 3),
        ({"fraction": 0.24}, 2),
        ({"fraction": 1}, 10),
        ({"fraction": 0.5, "repeat": 3}, 15),
        ({"fraction": 0.5, "floor": 7}, 7),
        ({"count": 9, "cap": 5}, 5),
        ({"count": 2, "cap": 5, "floor": 4}, 4),
        ({"tokens": 0}, 0),
        ({"tokens": 50}, 10),
        ({"tokens": 100, "repeat": 2}, 20),
        ({"weight": 2}, 10),
        ({"weight": 2, "repeat": 2}, 20),
        ({"count": 3, "where": "true"}, 3),
        ({"all": True, "where": "true"}, 10),
        ({"all": True, "where": "false"}, 0),
        ({"all": True, "where": "1 = 1"}, 10),
        ({"all": True, "where": "n_tokens > 5"}, 4),
        ({"all": True, "where": "n_tokens > 5", "repeat": 2}, 8),
        ({"all": True, "where": "n_chars = max(n_chars)"}, 2),
        ({"all": True, "where": "tools is null"}, 10),
        ({"all": True, "where": "tools = 'x'"}, 0),
        ({"all": True, "where": "source like 'a%' and prov.copy = 0"}, 10),
        ({"fraction": 0.5, "where": "n_tokens > 5"}, 2),
    ]
    for take, expected in cases:
        assert planned_rows([part(a, **take)]) == {"a": expected}, take


@pytest.mark.usefixtures("small_layout")
def test_a_predicate_keeps_the_rows_that_plain_python_keeps(store, make_version):
    a = make_version(store, "a", texts(40))
    made = mix(store, "m", [part(a, all=True, where="n_tokens in (4, 6) or id like '%a%0'")])
    expected = [r for r in a.table().to_pylist() if r["n_tokens"] in (4, 6) or re.fullmatch(".*a.*0", r["id"])]
    assert sorted(contents(made)) == sorted(r["messages"][0]["content"] for r in expected)


@pytest.mark.parametrize("folder", ["my[1]", "x=1", "st*re", "größe"])
def test_a_predicate_reads_a_store_of_any_name(tmp_path, make_version, folder):
    store = Store(tmp_path / folder)
    a = make_version(store, "a", texts(5))
    assert planned_rows([part(a, all=True, where="n_turns = 2")]) == {"a": 5}


def test_every_plain_column_can_stratify(store, make_version):
    a = make_version(store, "a", [chat(f"q {i}", "x" * (i % 3 + 1), subset=str(i % 2)) for i in range(12)])
    columns = [f.name for f in a.table().schema if not pa.types.is_nested(f.type)]
    assert {"n_chars", "n_tokens", "source", "subset", "license", "tools"} <= set(columns)
    for column in columns:
        assert planned_rows([part(a, count=6, stratify=column)]) == {"a": 6}
    lengths = Counter(len(r["messages"][1]["content"]) for r in mixed_rows(store, part(a, count=6, stratify="n_chars")))
    assert lengths == {1: 2, 2: 2, 3: 2}


def mixed_rows(store: Store, *parts: Part, **more: Any) -> list[Row]:
    rows: list[Row] = mix(store, "mixed", parts, **more).table().to_pylist()
    return rows


def test_tokens_fill_up_to_the_budget_and_no_further(store, make_version):
    a = make_version(store, "a", texts(50))
    for budget in (0, 3, 40, 111, 240):
        chosen = plan([part(a, tokens=budget)]).parts[0]
        assert chosen.tokens is not None
        assert budget - 7 < chosen.tokens <= budget


def test_weights_share_out_the_size(store, make_version):
    a, b, c = (make_version(store, n, texts(100, n)) for n in "abc")
    fixed, one, three = part(a, count=10), part(b, weight=1), part(c, weight=3)
    assert planned_rows([fixed, one, three], size=Size(rows=50)) == {"a": 10, "b": 10, "c": 30}
    assert planned_rows([one, three], size=Size(rows=6)) == {"b": 2, "c": 4}  # 1.5 and 4.5: the earlier name
    assert planned_rows([one, three], size=Size(rows=0)) == {"b": 0, "c": 0}
    assert planned_rows([fixed, one, three]) == {"a": 10, "b": 33, "c": 100}
    assert planned_rows([part(b, weight=1, repeat=2), three]) == {"b": 33, "c": 100}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(0, 300), st.data())
def test_apportioned_rows_add_up_and_stay_within_one_of_their_share(weights, total, data):
    shares = {str(i): Fraction(w, sum(weights)) for i, w in enumerate(weights)}
    rows = apportion(total, shares)
    assert sum(rows.values()) == total
    assert all(abs(rows[k] - total * share) < 1 for k, share in shares.items())
    shuffled = data.draw(st.permutations(list(shares.items())))
    assert apportion(total, dict(shuffled)) == rows


def test_without_a_size_the_smallest_source_is_used_up_whatever_the_weights(store, make_version):
    sources = {n: make_version(store, f"s{n}", texts(n, f"s{n}")) for n in (3, 7, 49)}
    for a in range(1, 12):
        for b in range(1, 12):
            found = planned_rows([part(sources[3], weight=a / 10), part(sources[49], weight=b / 10)])
            least = min(3 / a, 49 / b)
            assert found["s3"] == 3 or found["s49"] == 49, (a, b)
            assert found == {"s3": int(a * least + 1e-9), "s49": int(b * least + 1e-9)}


def test_weights_share_out_tokens(store, make_version):
    a, b, c = (make_version(store, n, texts(100, n)) for n in "abc")
    planned = plan([part(a, count=10), part(b, weight=1), part(c, weight=3)], size=Size(tokens=500))
    tokens = {p.part.name: p.tokens or 0 for p in planned.parts}
    rest = 500 - tokens["a"]
    assert rest / 4 - 7 < tokens["b"] <= rest / 4
    assert 3 * rest / 4 - 7 < tokens["c"] <= 3 * rest / 4


def test_parts_with_no_rows_are_no_trouble(store, make_version):
    a, empty = make_version(store, "a", texts(5)), make_version(store, "empty", [])
    assert planned_rows([part(a, all=True), part(empty, all=True)]) == {"a": 5, "empty": 0}
    assert planned_rows([part(empty, fraction=0.5, stratify="source", where="n_turns > 1")]) == {"empty": 0}
    nothing = mix(store, "nothing", [part(empty, all=True), part(a, "none", count=0)])
    assert (nothing.rows, len(nothing.shards)) == (0, 1)
    assert verify(nothing, 2) == []
    assert planned_rows([part(nothing, all=True)]) == {"nothing": 0}


def test_one_row_appended_to_20_000_changes_at_most_one_of_500(tmp_path, make_rows, make_version):
    rows = make_rows("a", [chat(f"question {i}", prov={"orig_id": str(i)}) for i in range(20_000)], tokenizer=None)
    extra = make_rows("a", [chat("question x", prov={"orig_id": "x"})], tokenizer=None)
    chosen = []
    for i, given_rows in enumerate((rows, rows + extra)):
        store = Store(tmp_path / str(i))
        version = make_version(store, "a", given_rows, batch_rows=5_000)
        planned = plan([part(version, count=500)], seed=9)
        ids = version.table(["id"])["id"].to_numpy(zero_copy_only=False)
        chosen.append(set(ids[planned.parts[0].rows]))
    assert len(chosen[0] - chosen[1]) <= 1


@pytest.mark.usefixtures("small_layout")
def test_copies_are_numbered_and_stay_distinct_through_a_mixture_of_mixtures(store, make_version):
    a = make_version(store, "a", texts(10))
    once = mix(store, "m1", [part(a, all=True, repeat=3)])
    assert Counter((r["id"], r["prov"]["copy"]) for r in once.table().to_pylist()) == Counter(
        (f"{r['id']}", c) for r in a.table().to_pylist() for c in range(3)
    )
    twice = mix(store, "m2", [part(once, all=True, repeat=2)])
    found = Counter((r["id"], r["prov"]["copy"]) for r in twice.table().to_pylist())
    assert set(found.values()) == {1}
    assert {c for _, c in found} == set(range(6))
    kept = mix(store, "m3", [part(once, all=True)])
    assert {r["prov"]["copy"] for r in kept.table().to_pylist()} == {0, 1, 2}
    assert all(r["prov"]["converter"] is None and r["prov"]["ops"] == [] for r in kept.table().to_pylist())


def test_copies_and_duplicates_do_not_stand_side_by_side(store, make_rows, make_version):
    """200 rows, each 5 times (2 duplicates in the source × 2 copies, and once in another part), by chance adjacent."""
    rows = [chat(f"q {i % 200}", prov={"orig_id": str(i)}) for i in range(400)]
    a = make_version(store, "a", make_rows("a", rows))
    b = make_version(store, "b", [chat(f"q {i}") for i in range(200)])
    adjacent = total = 0
    for seed in range(20):
        planned = plan([part(a, all=True, repeat=2), part(b, all=True)], seed=seed)
        digests = {
            p.part.name: [r["row_sha"] for r in p.part.version.table(["row_sha"]).to_pylist()] for p in planned.parts
        }
        order = [b""] * planned.rows
        for p in planned.parts:
            for row, dest in zip(p.rows.tolist(), p.dest.tolist(), strict=True):
                order[dest] = digests[p.part.name][row]
        assert Counter(Counter(order).values()) == {5: 200}
        adjacent += sum(x == y for x, y in itertools.pairwise(order))
        total += len(order) - 1
    chance = total * 4 / 999
    assert abs(adjacent - chance) < 5 * chance**0.5


def test_a_group_that_counts_many_times_over_is_moved_in_pieces(store, make_version, monkeypatch):
    a = make_version(store, "a", texts(10))
    sizes = []
    append = shuffle._Spill.append

    def watched(self: Any, table: pa.Table, dest: Any) -> None:
        sizes.append(len(table))
        assert (np.diff(dest) > 0).all()
        append(self, table, dest)

    monkeypatch.setattr(shuffle._Spill, "append", watched)
    made = mix(store, "m", [part(a, all=True, repeat=30)])
    assert sizes == [10] * 30
    assert Counter(contents(made)) == Counter(contents(a) * 30)


# ------------------------------------------------------------ topics and sizes that share everything out


def of(topic: str | None, version: Version, **take: Any) -> Part:
    return part(version, **take)._replace(topic=topic)


def emphases(**wanted: dict[str, float]) -> dict[str, Emphasis]:
    return {topic: Emphasis(**keys) for topic, keys in wanted.items()}


def plain_shares(
    amounts: dict[str, int], topic_of: dict[str, str | None], wanted: dict[str, Emphasis]
) -> dict[str, Fraction]:
    """What each part has of the mixture, topic by topic: that of a named topic is known, the others take the rest."""
    total = sum(amounts.values())
    before = {t: Fraction(sum(n for p, n in amounts.items() if topic_of[p] == t), total) for t in topic_of.values()}
    after = {
        t: Fraction(str(e.share)) if e.share is not None else Fraction(str(e.times)) * before[t]
        for t, e in wanted.items()
    }
    rest = 1 - sum(after.values())
    unnamed = sum(share for t, share in before.items() if t not in after)
    factor = {t: (after[t] if t in after else rest * before[t] / unnamed) / (before[t] or 1) for t in before}
    return {p: Fraction(n, total) * factor[topic_of[p]] for p, n in amounts.items()}


def plain_apportioned(total: int, due: dict[str, Fraction]) -> dict[str, int]:
    """Whole rows one by one, each to the part that lacks most of what is due to it, the earlier name first."""
    rows = {name: math.floor(total * share) for name, share in due.items()}
    while sum(rows.values()) < total:
        rows[min(rows, key=lambda name: (rows[name] - total * due[name], name))] += 1
    return rows


def plain_within(rows: list[Row], tokens: int, repeat: int, seed: int, name: str) -> int:
    """How many rows by hash rank stay within so many tokens."""
    count = spent = 0
    for row, _ in plain_chosen(rows, len(rows) * repeat, seed, name):
        spent += row["n_tokens"]
        if spent > tokens:
            break
        count += 1
    return count


WANTED = [
    {},
    {"Math": {"times": 1.5}},
    {"Math": {"share": 0.3}},
    {"Math": {"times": 0}},
    {"Math": {"times": 0.5}, "Code": {"share": 0.25}},
]


@pytest.mark.usefixtures("small_layout")
def test_a_mixture_with_topics_has_the_rows_of_the_oracle_by_rows_and_by_tokens(make_rows, make_version):
    """Sources of 8 to 20 rows, 4 to 8 of them taken, of two topics and one without: shares up to 3 times the takes."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.integers(8, 20), min_size=3, max_size=5),
        st.sampled_from(WANTED),
        st.sampled_from(["", "rows", "tokens"]),
        st.integers(0, 3),
        st.data(),
    )
    def check(lengths: list[int], topics: dict[str, dict[str, float]], unit: str, seed: int, data: Any) -> None:
        with TemporaryDirectory() as folder:
            store, wanted = Store(folder), emphases(**topics)
            finished = {f"s{k}": make_rows(f"s{k}", texts(n, f"s{k}")) for k, n in enumerate(lengths)}
            topic_of = dict(zip(finished, ["Math", "Code", None, "Math", None], strict=False))
            takes = {n: {"count": data.draw(st.integers(4, 8)), "repeat": 9} for n in finished}
            parts = [of(topic_of[n], make_version(store, n, rows), **takes[n]) for n, rows in finished.items()]
            size = None if not unit else Size(**{unit: data.draw(st.integers(20, 120))}, scale=True)
            made = mix(store, "m", parts, seed=seed, size=size, topics=wanted)

            taken = {n: plain_chosen(rows, takes[n]["count"], seed, n) for n, rows in finished.items()}
            amounts = {n: sum(r["n_tokens"] if unit == "tokens" else 1 for r, _ in t) for n, t in taken.items()}
            due = plain_shares(amounts, topic_of, wanted)
            if size is not None and size.tokens is not None:
                budgets = {n: math.floor(size.tokens * share) for n, share in due.items()}
                count = {n: plain_within(rows, budgets[n], 9, seed, n) for n, rows in finished.items()}
            else:
                count = plain_apportioned(sum(amounts.values()) if size is None else size.rows or 0, due)
            plain = [(n, rows, count[n]) for n, rows in finished.items()]
            assert [r["row_sha"] for r in made.table().to_pylist()] == plain_mixture(plain, seed)
            expected = Counter((r["id"], c) for name, rows, n in plain for r, c in plain_chosen(rows, n, seed, name))
            assert Counter((r["id"], r["prov"]["copy"]) for r in made.table().to_pylist()) == expected

    check()


def chosen_ids(planned: Any) -> dict[str, list[tuple[str, int]]]:
    """Each part's rows, with their copies."""
    found = {}
    for p in planned.parts:
        ids = p.part.version.table(["id"])["id"].to_pylist()
        found[p.part.name] = [(ids[row], copy) for row, copy in zip(p.rows.tolist(), p.copy.tolist(), strict=True)]
    return found


@pytest.mark.parametrize("more", [{}, {"stratify": "subset"}])
def test_more_of_a_topic_is_the_same_rows_and_more_and_less_is_some_of_them(store, make_version, more):
    rows = [{**r, "subset": str(i % 3)} for i, r in enumerate(texts(90))]
    parts = [of("Math", make_version(store, "a", rows), count=30, **more)]
    parts += [of(None, make_version(store, n, texts(90, n)), count=30) for n in "bc"]
    times = [0, 0.5, 1, 1.2, 2, 3]
    chosen = [chosen_ids(plan(parts, topics=emphases(Math={"times": t}))) for t in times]
    assert [len(c["a"]) for c in chosen] == [0, 15, 30, 36, 60, 90]
    for less, more_of_it in itertools.pairwise(chosen):
        assert set(less["a"]) < set(more_of_it["a"])
        for other in "bc":
            assert set(less[other]) > set(more_of_it[other])
    assert chosen[2] == chosen_ids(plan(parts))


def test_a_size_that_scales_keeps_the_shares_of_all_parts(store, make_version):
    a, b, c = (make_version(store, n, texts(100, n)) for n in "abc")
    parts = [part(a, count=10), part(b, fraction=0.3), part(c, all=True, cap=60)]
    assert planned_rows(parts) == {"a": 10, "b": 30, "c": 60}
    assert planned_rows(parts, size=Size(rows=50, scale=True)) == {"a": 5, "b": 15, "c": 30}
    assert planned_rows(parts, size=Size(rows=100, scale=True)) == planned_rows(parts)
    assert planned_rows(parts, size=Size(rows=7, scale=True)) == {"a": 1, "b": 2, "c": 4}  # 0.7, 2.1, 4.2
    assert planned_rows(parts, size=Size(rows=0, scale=True)) == {"a": 0, "b": 0, "c": 0}
    small, whole = chosen_ids(plan(parts, size=Size(rows=50, scale=True))), chosen_ids(plan(parts))
    assert all(set(small[n]) < set(whole[n]) for n in "abc")


def test_topics_share_out_a_size_without_scale_and_what_weights_gave(store, make_version):
    a, b, c = (make_version(store, n, texts(100, n)) for n in "abc")
    half = emphases(Math={"share": 0.5})
    takes = [of("Math", a, count=10), of(None, b, count=10), of(None, c, count=30)]
    assert planned_rows(takes, topics=half) == {"a": 25, "b": 6, "c": 19}  # 6.25 and 18.75
    assert planned_rows(takes, topics=half, size=Size(rows=80)) == {"a": 40, "b": 10, "c": 30}
    weights = [of("Math", a, weight=1), of(None, b, weight=1), of(None, c, weight=2)]
    assert planned_rows(weights, topics=half, size=Size(rows=80)) == {"a": 40, "b": 13, "c": 27}


def test_a_topic_is_upsampled_by_repeat_every_row_once_before_any_twice(store, make_version):
    a, b = make_version(store, "a", texts(10)), make_version(store, "b", texts(90, "b"))
    parts = [of("Math", a, count=10, repeat=3), of(None, b, count=90)]
    chosen = chosen_ids(plan(parts, topics=emphases(Math={"share": 0.25})))
    copies = Counter(row for row, _ in chosen["a"])
    assert (len(chosen["a"]), len(chosen["b"])) == (25, 75)
    assert Counter(copies.values()) == {2: 5, 3: 5}
    with pytest.raises(RecipeError) as caught:
        plan(parts, topics=emphases(Math={"share": 0.31}))
    assert str(caught.value) == (
        "mix.a: its share of Math is 31 rows, the source has 10 × repeat 3; set its 'repeat: 4', or ask for less"
    )


def test_strata_keep_their_shares_under_topics_and_scale(store, make_version):
    rows = [chat(f"q {i}", subset="x" if i % 4 else "y") for i in range(200)]  # a quarter is y
    a, b = make_version(store, "a", rows), make_version(store, "b", texts(200, "b"))
    parts = [of("Math", a, count=40, stratify="subset"), of(None, b, count=160)]
    subsets = a.table(["subset"])["subset"].to_pylist()
    for more in (
        {"topics": emphases(Math={"share": 0.4})},
        {"size": Size(rows=400 // 2 - 40, scale=True)},
        {"topics": emphases(Math={"times": 3}), "size": Size(tokens=600)},
    ):
        planned = plan(parts, **more)
        found = Counter(subsets[row] for row in planned.parts[0].rows.tolist())
        assert abs(found["y"] - found.total() / 4) < 1, more
        assert found.total() > 20


def test_a_token_budget_is_kept_within_one_row_part_by_part_and_the_manifest_tells_both(store, make_version):
    a, b = (make_version(store, n, texts(100, n)) for n in "ab")  # 3 to 7 tokens a row, 500 in all
    parts = [of("Math", a, tokens=100), of(None, b, all=True)]
    gives = plan(parts).parts[0].tokens or 0  # within the 100: shares start from it
    assert 93 < gives <= 100
    scaled = {"a": {"tokens": 302 * gives // (gives + 500)}, "b": {"tokens": 302 * 500 // (gives + 500)}}
    for size, topics, asked in (
        (None, {}, {"a": {"tokens": 100}, "b": {"rows": 100}}),
        (Size(tokens=302, scale=True), {}, scaled),
        (Size(tokens=302), emphases(Math={"share": 0.4}), {"a": {"tokens": 120}, "b": {"tokens": 181}}),
        (Size(rows=75), emphases(Math={"share": 0.4}), {"a": {"rows": 30}, "b": {"rows": 45}}),
    ):
        made = mix(store, "m", parts, size=size, topics=topics)
        told = made.manifest.steps[-1].params["parts"]
        assert {n: p["asked"] for n, p in told.items()} == asked
        for name, p in told.items():
            [(unit, wanted)] = p["asked"].items()
            own = [r for r in made.table().to_pylist() if r["source"] == name]
            assert (p["rows"], p["tokens"]) == (len(own), sum(r["n_tokens"] for r in own))
            assert wanted - (7 if unit == "tokens" else 1) < p[unit] <= wanted
        by_topic = {t.topic: t for t in composition.topics(made.manifest)}
        assert sum(t.rows for t in by_topic.values()) == made.rows
        if topics:
            assert by_topic["Math"].asked == pytest.approx(0.4, abs=0.002)
            assert by_topic["Math"].achieved == pytest.approx(0.4, abs=0.03)


def test_the_manifest_tells_topics_and_size_as_they_were_asked_for(store, make_version):
    a, b = (make_version(store, n, texts(20, n)) for n in "ab")
    size, topics = Size(rows=20, scale=True), emphases(Math={"times": 1.5})
    made = mix(store, "m", [of("Math", a, count=5), part(b, count=5)], size=size, topics=topics)
    params = made.manifest.steps[-1].params
    assert (params["size"], params["topics"]) == ({"rows": 20, "scale": True}, {"Math": {"times": 1.5}})
    assert {n: (p["topic"], p["rows"]) for n, p in params["parts"].items()} == {"a": ("Math", 15), "b": (None, 5)}
    assert "topics" not in mix(store, "plain", [part(a, count=5)]).manifest.steps[-1].params


def tried(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except RecipeError as e:
        return type(e)


def test_an_outline_has_the_rows_of_the_plan_or_refuses_with_it(store, make_version):
    held = {"a": 20, "b": 7, "c": 30}
    versions = {n: make_version(store, n, texts(rows, n)) for n, rows in held.items()}
    amounts = [{"all": True}, {"count": 5}, {"fraction": 0.5}, {"weight": 1.0}, {"weight": 2.5}]
    sizes = [None, Size(rows=0), Size(rows=13), Size(rows=13, scale=True), Size(rows=60, scale=True)]
    topics = [*WANTED, {"Maths": {"share": 0.1}}, {"Math": {"share": 0.7}, "Code": {"share": 0.5}}]
    met = []

    @settings(max_examples=300, deadline=None)
    @given(
        st.tuples(*[st.sampled_from(amounts)] * 3),
        st.integers(1, 3),
        st.sampled_from(sizes),
        st.sampled_from(topics),
    )
    def check(chosen: Any, repeat: int, size: Size | None, topics: dict[str, dict[str, float]]) -> None:
        takes = {n: Take(**amount, repeat=repeat) for n, amount in zip(held, chosen, strict=True)}
        topic_of = {"a": "Math", "b": "Code", "c": None}
        more = {"size": size, "topics": emphases(**topics)}

        def outlined() -> dict[str, int | None]:
            return {p.name: p.rows for p in outline(takes, held, topic_of=topic_of, **more).parts}

        parts = [Part(n, versions[n], take, topic_of[n]) for n, take in takes.items()]
        expected = tried(lambda: planned_rows(parts, **more))
        assert tried(outlined) == expected
        met.append(expected is not RecipeError)

    check()
    assert 0.2 < sum(met) / len(met) < 0.98


def test_what_cannot_be_shared_out_is_refused_in_one_line(store, make_version):
    a, b = make_version(store, "a", texts(10)), make_version(store, "b", texts(10, "b"))
    bare = make_version(store, "bare", texts(3, "bare"), tokenizer=None)
    half = emphases(Math={"share": 0.5})
    cases: list[tuple[list[Part], Size | None, dict[str, Emphasis], str]] = [
        (
            [part(a, weight=1), part(b, count=1)],
            Size(rows=5, scale=True),
            {},
            "size.scale: mix.a has a weight, which shares the size out already; leave 'scale' out",
        ),
        (
            [part(a, count=0)],
            Size(rows=5, scale=True),
            {},
            "mix: the takes give nothing, and shares start from what they give; raise one",
        ),
        (
            [part(a, count=1), part(b, count=2)],
            Size(rows=31, scale=True),
            {},
            "mix.b: its share is 21 rows, the source has 10; set its 'repeat: 3', or ask for less",
        ),
        (
            [of("Math", a, count=5), part(b, count=5)],
            Size(rows=40),
            half,
            "mix.a: its share of Math is 20 rows, the source has 10; set its 'repeat: 2', or ask for less",
        ),
        (
            [of("Math", a, count=5), part(b, count=5)],
            Size(tokens=400),
            half,
            "mix.a: its share of Math is 200 tokens, the source has 50; set its 'repeat: 4', or ask for less",
        ),
        (
            [of("Math", a, count=5), part(bare, count=2)],
            Size(tokens=9),
            half,
            "size.tokens: bare has no token counts; set 'tokenizer' (words/1 is built in)",
        ),
    ]
    for parts, size, topics, message in cases:
        with pytest.raises(RecipeError) as caught:
            plan(parts, size=size, topics=topics)
        assert str(caught.value) == message


# ------------------------------------------------------------ lineage


def test_the_manifest_tells_the_parts_the_seed_and_what_the_parts_knew(store, make_version):
    from tulu_data.manifest import Input, Step

    given_input = Input(uri="x.jsonl", sha256="0" * 64, bytes=1, records=5, rows=5)
    ingested = Step(name="ingest", source="a", rows_in=5, rows_out=5)
    a = make_version(store, "a", texts(5), steps=[ingested], inputs=[given_input], decontamination=[])
    b = make_version(store, "b", texts(5, "b"), inputs=[given_input], license="cc0-1.0")
    made = mix(store, "m", [part(b, weight=1.0), part(a, count=2)], seed=7, size=Size(rows=4))
    steps = made.manifest.steps
    assert steps[0] == ingested
    assert (steps[-1].name, steps[-1].rows_in, steps[-1].rows_out) == ("mix", 10, 4)
    assert steps[-1].parents == [a.ref, b.ref]
    assert steps[-1].params["seed"] == 7
    assert steps[-1].params["size"] == {"rows": 4}
    assert {n: (p["take"], p["available"], p["rows"]) for n, p in steps[-1].params["parts"].items()} == {
        "a": ({"count": 2}, 5, 2),
        "b": ({"weight": 1.0}, 5, 2),
    }
    assert made.manifest.inputs == [given_input]
    assert made.manifest.tokenizer == "words/1"
    assert made.manifest.logical.sources["b"].licenses == {"cc0-1.0": 2}


# ------------------------------------------------------------ what is refused


def test_what_cannot_be_mixed_is_refused_in_one_line(store, make_version):
    a, b = make_version(store, "a", texts(10)), make_version(store, "b", texts(10, "b"))
    prompts = make_version(store, "p", ["x"], "prompt")
    bare = make_version(store, "bare", texts(3, "bare"), tokenizer=None)
    empty = make_version(store, "empty", [])
    columns = "id, tools, source, subset, license, row_sha, prompt_sha, n_turns, n_chars, n_tokens"
    words = "set 'tokenizer' (words/1 is built in)"
    cases: list[tuple[list[Part], Size | None, str]] = [
        ([], None, "mix: has no parts; name at least one source"),
        (
            [part(a, all=True), part(prompts, all=True)],
            None,
            "mix: parts are of different kinds (a: sft, p: prompt); a mixture holds one kind",
        ),
        (
            [part(a, all=True), part(b, "a", all=True)],
            None,
            "mix: part 'a' appears twice; give it one take, or use 'repeat'",
        ),
        ([part(a, count=11)], None, "mix.a.count: 11 rows asked, the source has 10; lower it, or add 'repeat: 2'"),
        (
            [part(a, count=3, where="n_tokens > 99")],
            None,
            "mix.a.count: 3 rows asked, the source has 0; the source is empty",
        ),
        ([part(bare, tokens=5)], None, f"mix.bare.tokens: the source has no token counts; {words}"),
        ([part(a, tokens=500)], None, "mix.a.tokens: 500 asked, the source has 50; lower it or raise 'repeat'"),
        ([part(a, all=True, stratify="nope")], None, f"mix.a.stratify: 'nope' is no plain column; one of {columns}"),
        ([part(a, all=True, stratify="prov")], None, f"mix.a.stratify: 'prov' is no plain column; one of {columns}"),
        (
            [part(a, all=True)],
            Size(rows=5),
            "size: no part has a weight to share it out by; use {weight: W}, or add 'scale: true'",
        ),
        ([part(a, all=True), part(b, weight=1)], Size(rows=5), "size.rows: 5 is less than the 10 of the other parts"),
        (
            [part(a, all=True), part(b, weight=1)],
            Size(tokens=5),
            "size.tokens: 5 is less than the 50 of the other parts",
        ),
        ([part(bare, weight=1)], Size(tokens=5), f"size.tokens: bare has no token counts; {words}"),
        (
            [part(b, weight=1)],
            Size(tokens=500),
            "mix.b: its share is 500 tokens, the source has 50; set its 'repeat: 10', or ask for less",
        ),
        (
            [part(b, weight=1)],
            Size(rows=25),
            "mix.b.weight: 25 rows asked, the source has 10; lower it, or add 'repeat: 3'",
        ),
        (
            [part(b, weight=1), part(empty, weight=1)],
            None,
            "mix.empty.weight: the source is empty, so no rows keep the weights; leave it out",
        ),
    ]
    for parts, size, message in cases:
        with pytest.raises(RecipeError) as caught:
            plan(parts, size=size)
        assert str(caught.value) == message


def test_token_counts_of_different_tokenizers_are_not_added_up(store, make_version, make_rows):
    a = make_version(store, "a", texts(10))
    b = make_version(store, "b", make_rows("b", texts(10, "b")), tokenizer="x")
    mixed = mix(store, "mixed", [part(a, count=1), part(b, count=1)])
    bare = make_version(store, "bare", texts(3, "bare"), tokenizer=None)
    refused: list[tuple[list[Part], Size | None, str]] = [
        ([part(a, tokens=5), part(b, tokens=5)], None, "a: words/1, b: x"),
        ([part(a, weight=1), part(b, all=True)], Size(tokens=90), "a: words/1, b: x"),
        ([part(a, weight=1), part(mixed, all=True)], Size(tokens=90), "a: words/1, mixed: unknown"),
    ]
    for parts, size, named in refused:
        with pytest.raises(RecipeError) as caught:
            plan(parts, size=size)
        expected = f"mix: parts count tokens with different tokenizers ({named}); ingest them with one"
        assert str(caught.value) == expected
    for parts in ([part(a, tokens=5), part(b, all=True)], [part(a, count=1), part(b, count=1)]):
        assert plan(parts).tokens is None
    with pytest.raises(RecipeError, match=r"mix\.bare\.tokens: the source has no token counts"):
        plan([part(a, tokens=5), part(bare, tokens=5)])


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("n_tokns > 3", "'n_tokns > 3' cannot be evaluated (unable to find column \"n_tokns\""),
        ("n_tokens >", "'n_tokens >' cannot be evaluated ("),
        ("", "'' cannot be evaluated ("),
        ("n_turns = 2; drop table x", "'n_turns = 2; drop table x' cannot be evaluated ("),
        ("n_tokens", "'n_tokens' gives Int64, not true or false"),
        ("null", "'null' gives Null, not true or false"),
    ],
)
def test_a_predicate_that_is_none_is_refused_in_one_line(store, make_version, where, reason):
    a = make_version(store, "a", texts(3))
    with pytest.raises(RecipeError) as caught:
        plan([part(a, all=True, where=where)])
    message = str(caught.value)
    assert message.startswith(f"mix.a.where: {reason}")
    assert "\n" not in message


@pytest.mark.parametrize("data", [{}, {"rows": 1, "tokens": 1}])
def test_a_size_is_of_rows_or_of_tokens(data):
    with pytest.raises(RecipeError, match="size: takes exactly one of rows, tokens"):
        validate(Size, data, "size")


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        (Expect(rows=9), "expect.rows: 9 expected, the mixture has 10; nothing was written"),
        (Expect(tokens=1_000), "expect.tokens: 1,000 expected, the mixture has 50; nothing was written"),
        (Expect(parts={"a": 3}), "expect.parts.a: 3 expected, the mixture has 10; nothing was written"),
        (Expect(parts={"b": 3}), "expect.parts.b: 3 expected, the mixture has none; nothing was written"),
    ],
)
def test_an_expectation_that_does_not_hold_stops_before_anything_is_written(store, make_version, expect, message):
    a = make_version(store, "a", texts(10))
    with pytest.raises(GateError) as caught:
        mix(store, "m", [part(a, all=True)], expect=expect)
    assert str(caught.value) == message
    assert store.names() == ["a"]


def test_expectations_that_hold_and_unknown_token_counts(store, make_version):
    a = make_version(store, "a", texts(10))
    assert mix(store, "m", [part(a, all=True)], expect=Expect(rows=10, tokens=50, parts={"a": 10})).rows == 10
    bare = plan([part(make_version(store, "bare", texts(3, "bare"), tokenizer=None), all=True)])
    assert bare.tokens is None
    with pytest.raises(GateError, match="the mixture has none"):
        check_expectations(bare, Expect(tokens=3))


def test_a_failure_while_rows_move_leaves_nothing(store, make_version, monkeypatch):
    a = make_version(store, "a", texts(10))
    monkeypatch.setattr(shuffle, "write_shard", lambda *args: (_ for _ in ()).throw(ZeroDivisionError()))
    for workers in (1, 2):
        with pytest.raises(ZeroDivisionError):
            mix(store, "m", [part(a, all=True)], workers=workers)
    assert store.names() == ["a"]
    assert list(Path(store.root / "tmp").iterdir()) == []
