"""What changed between two versions, counted as multisets."""

from __future__ import annotations

import json
from collections import Counter
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data import composition, parquet
from tulu_data import diff as diffs
from tulu_data.cli import main
from tulu_data.diff import compare_rows, diff, grouped
from tulu_data.errors import UsageError
from tulu_data.manifest import Input, Origin, Step
from tulu_data.mixture import Part, mix
from tulu_data.store import Store
from tulu_data.take import Take

ROWS = st.lists(st.sampled_from("abcdef"), max_size=12)


def test_counts_are_those_of_multisets_and_examples_those_in_surplus(make_version):
    @settings(max_examples=60, deadline=None)
    @given(ROWS, ROWS, st.integers(0, 4))
    def check(left: list[str], right: list[str], examples: int) -> None:
        with TemporaryDirectory() as folder:
            store = Store(folder)
            a, b = make_version(store, "a", left, batch_rows=3), make_version(store, "b", right)
            found = diff(a, b, examples=examples)
        count_a, count_b = Counter(left), Counter(right)
        only_a, only_b = count_a - count_b, count_b - count_a
        assert (found.common, found.only_a, found.only_b) == (
            (count_a & count_b).total(),
            only_a.total(),
            only_b.total(),
        )
        assert found.same_order == (left == right)
        for shown, surplus in ((found.examples_a, only_a), (found.examples_b, only_b)):
            texts = Counter(example["text"] for example in shown)
            assert texts <= surplus
            assert texts.total() == min(examples, surplus.total())
        assert found.sources == {
            name: pair for name, pair in (("a", (len(left), 0)), ("b", (0, len(right)))) if pair != (0, 0)
        }

    check()


def test_a_version_differs_in_nothing_from_itself(store, make_version):
    a = make_version(store, "a", ["x", "y"], steps=[Step(name="ingest", params={"k": 1}, rows_in=2, rows_out=2)])
    found = diff(a, a)
    assert (found.common, found.only_a, found.only_b, found.same_order) == (2, 0, 0, True)
    assert (found.sources, found.settings, found.examples_a, found.examples_b) == ({}, {}, [], [])


def test_settings_audits_and_inputs_that_differ_are_named(store, make_version):
    def given_input(digit: str) -> Input:
        return Input(uri=f"/home/of-{digit}/x.jsonl", sha256=digit * 64, bytes=1, records=1, rows=1)

    def mixed(n: int) -> Step:
        params = {"seed": 7, "parts": {"x": {"take": {"count": n}}}}
        return Step(name="mix", params=params, rows_in=n, rows_out=n)

    source = Step(name="ingest", source="x", params={"adapter": "alpaca"}, rows_in=1, rows_out=1)
    a = make_version(store, "a", ["x"], steps=[source, mixed(1)], inputs=[given_input("1")])
    record = {"set": "x", "audit": "ta1-0", "rows_in": 1, "rows_dropped": 0, "policy": "p", "suites": []}
    b = make_version(store, "b", ["x"], steps=[mixed(2)], inputs=[given_input("2")], decontamination=[record])
    assert diff(a, b).settings == {
        "audit:x": (None, "ta1-0"),
        "ingest:x.adapter": ("alpaca", None),
        "input:x.jsonl": ("1" * 16, "2" * 16),
        "mix.parts.x.take.count": (1, 2),
    }


def test_versions_of_other_schemas_are_refused_and_those_of_one_schema_compared(store, make_version):
    a, pairs = make_version(store, "a", ["x"]), make_version(store, "b", ["x"], "preference")
    with pytest.raises(UsageError) as caught:
        diff(a, pairs)
    assert str(caught.value) == f"{a.ref} is chat/v1, {pairs.ref} is preference/v1: nothing to compare"
    assert diff(a, make_version(store, "p", ["x"], "prompt")).common == 0


def test_examples_are_cut_to_200_characters(store, make_version):
    a, b = make_version(store, "a", ["x" * 300]), make_version(store, "b", [])
    assert [e["text"] for e in diff(a, b).examples_a] == ["x" * 200]


# ------------------------------------------------------------ which rows changed, and which moved


def named(pairs):
    """(id, text) → rows without digests."""
    return [
        {"messages": [{"role": "user", "content": t}, {"role": "assistant", "content": "yes"}], "prov": {"orig_id": i}}
        for i, t in pairs
    ]


def paired(a, b):
    """The oracle: equal things of two lists, the first with the first; and what is left of each, as places."""
    left, pairs = list(range(len(b))), []
    for i, x in enumerate(a):
        j = next((j for j in left if b[j] == x), None)
        if j is not None:
            left.remove(j)
            pairs.append((i, j))
    return pairs, [i for i in range(len(a)) if i not in {i for i, _ in pairs}], left


def longest_common(a, b):
    best = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            best[i + 1][j + 1] = best[i][j] + 1 if x == y else max(best[i][j + 1], best[i + 1][j])
    return best[-1][-1]


IDS_AND_TEXTS = st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("abcde")), max_size=10)


def test_rows_pair_by_content_then_by_id_and_the_fewest_that_must_move_have_moved(make_rows, make_version, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 3)  # several row groups, of which some hold nothing that differs

    @settings(max_examples=80, deadline=None)
    @given(IDS_AND_TEXTS, IDS_AND_TEXTS)
    def check(left, right):
        with TemporaryDirectory() as folder:
            store = Store(folder)
            a = make_version(store, "a", make_rows("s", named(left)))
            b = make_version(store, "b", make_rows("s", named(right)))
            found, counts = compare_rows(a, b), diff(a, b)
        texts = [t for _, t in left], [t for _, t in right]
        same, only_a, only_b = paired(*texts)
        same_id, rest_a, rest_b = paired([left[i][0] for i in only_a], [right[j][0] for j in only_b])
        assert found.common == len(same)
        assert found.moved == len(same) - longest_common(*texts)
        assert found.changed.tolist() == [[only_a[i], only_b[j]] for i, j in same_id]
        assert found.only_a.tolist() == [only_a[i] for i in rest_a]
        assert found.only_b.tolist() == [only_b[j] for j in rest_b]
        assert (counts.only_a, counts.only_b, counts.changed) == (len(only_a), len(only_b), len(same_id))
        expected = {"only_a": len(rest_a), "only_b": len(rest_b), "changed": len(same_id)}
        assert counts.surplus == ({"s": expected} if any(expected.values()) else {})

    check()


def test_one_row_taken_to_the_end_has_moved_and_no_other(store, make_version):
    rows = [f"row {i}" for i in range(50)]
    a, b = make_version(store, "a", rows), make_version(store, "b", [*rows[1:], rows[0]])
    found = diff(a, b)
    assert (found.common, found.moved, found.same_rows, found.same_order) == (50, 1, True, False)


def test_of_equal_rows_whichever_stays_none_has_moved(store, make_version):
    a = make_version(store, "a", ["same", "first", "same", "last"])
    assert diff(a, make_version(store, "b", ["first", "same", "last"])).moved == 0


def test_rows_of_very_many_copies_pair_in_order(store, make_version, monkeypatch):
    monkeypatch.setattr(diffs, "COPIES", 3)
    a = make_version(store, "a", ["x", "y", "x"])
    assert diff(a, make_version(store, "b", ["x", "x", "y"])).moved == 1
    many = make_version(store, "c", ["x"] * 40), make_version(store, "d", ["x"] * 30)
    assert (diff(*many).common, diff(*many).moved, diff(*many).only_a) == (30, 0, 10)


# ------------------------------------------------------------ what they are made of


def test_composition_stands_side_by_side_and_a_version_without_topics_has_the_others(store, make_version, make_rows):
    rows = [*make_rows("math", ["1 plus 1", "2 plus 2 plus 2"]), *make_rows("chat", ["hello"], license="cc-by-4.0")]
    origin = Origin(recipe={"sources": {"math": {"topic": "sums"}, "code": {}}}, root=".", step="mix")
    a = make_version(store, "a", rows)
    b = make_version(store, "b", [*rows[:1], *make_rows("code", ["print"], license=None)], origin=origin)
    found = diff(a, b)
    assert [(c.name, c.a.rows, c.b.rows) for c in found.by_source] == [("math", 2, 1), ("chat", 1, 0), ("code", 0, 1)]
    assert [(c.name, c.a.rows, c.b.rows) for c in found.by_topic] == [("sums", 2, 1), (None, 1, 1)]
    assert {c.name: (c.a.rows, c.b.rows) for c in found.by_license} == {
        "mit": (2, 1),
        "cc-by-4.0": (1, 0),
        "unstated": (0, 1),
    }
    assert sum(c.a.tokens for c in found.by_source) == a.manifest.logical.tokens
    assert sum(c.b.share for c in found.by_source) == pytest.approx(1)
    assert diff(a, a).by_topic == []


def test_parts_of_one_source_count_under_their_own_topics(store, make_version):
    one = make_version(store, "one", ["short", "tiny", "a question that is longer than the others"])
    takes = {"Math": "n_chars < 40", "Coding": "n_chars >= 40"}
    parts = [Part(topic.lower(), one, Take(all=True, where=where), topic) for topic, where in takes.items()]
    made = mix(store, "two", parts)
    found = diff(made, one)
    wanted = {p.topic: (p.rows, p.tokens) for p in composition.parts(made.manifest)}
    assert {c.name: (c.a.rows, c.a.tokens) for c in found.by_topic if c.a.rows} == wanted
    assert set(wanted) == {"Math", "Coding"}
    assert [(c.a.rows, c.b.rows) for c in found.by_source] == [(3, 3)]


def test_as_json_the_keys_of_before_are_kept_and_nothing_is_a_bare_list_of_values(store, make_version, capsys):
    make_version(store, "a", ["x", "y"])
    make_version(store, "b", ["y", "z"])
    with pytest.raises(SystemExit):
        main(["diff", "a", "b", "--json", "--store", str(store.root)])
    told = json.loads(capsys.readouterr().out)
    before = {"a", "b", "common", "only_a", "only_b", "same_order", "sources", "settings", "examples_a", "examples_b"}
    assert before < set(told)
    assert (told["common"], told["only_a"], told["only_b"], told["sources"]) == (1, 1, 1, {"a": [2, 0], "b": [0, 2]})
    assert told["by_source"][0] == {
        "name": "a",
        "a": {"rows": 2, "share": 1.0, "tokens": 8, "token_share": 1.0},
        "b": {"rows": 0, "share": 0.0, "tokens": 0, "token_share": 0.0},
    }


# ------------------------------------------------------------ how they were made


def test_a_setting_of_many_parts_stands_once_and_outcomes_are_no_settings(store, make_version):
    def mixture(name, layers):
        parts = []
        for source in ("x", "y"):
            params = {"audit": f"ta1-{name}", "layers": layers}
            steps = [Step(name="decontaminate", source=f"{source}-unique", params=params, rows_in=2, rows_out=2)]
            version = make_version(store, f"{source}-clean", [f"{name} {source}", f"{source} {name}"], steps=steps)
            parts.append(Part(source, version, Take(count=1 if name == "a" else 2)))
        return mix(store, name, parts)

    found = grouped(diff(mixture("a", ["exact"]), mixture("b", ["fuzzy"])).settings)
    assert [(s.key, s.parts, s.a, s.b) for s in found if s.key.startswith("decontaminate")] == [
        ("decontaminate.audit", ("x", "y"), "ta1-a", "ta1-b"),
        ("decontaminate.layers", ("x", "y"), ["exact"], ["fuzzy"]),
    ]
    assert {s.key for s in found if s.key.startswith("mix")} == {
        f"mix.parts.{part}.{key}" for part in "xy" for key in ("take.count", "version")
    }


def test_recipes_differ_by_key_and_what_one_of_them_lacks_stands_whole(store, make_version):
    def made(name, recipe):
        return make_version(store, name, ["x"], origin=Origin(recipe=recipe, root=".", step="mix"))

    a = made("a", {"seed": 1, "mix": {"x": {"count": 5}, "y": {"all": True}}, "expect": {"rows": 7}})
    b = made("b", {"seed": 2, "mix": {"x": {"count": 9}, "y": {"all": True}}, "filter": {"length": {"max_tokens": 5}}})
    assert diff(a, b).recipe == {
        "seed": (1, 2),
        "mix.x.count": (5, 9),
        "expect": ({"rows": 7}, None),
        "filter": (None, {"length": {"max_tokens": 5}}),
    }
    assert diff(a, make_version(store, "c", ["x"])).recipe == {}


def test_decontamination_records_differ_by_set(store, make_version):
    def record(name, dropped, suites=("gsm8k",)):
        listed = [{"id": s, "digest": "d" * 64} for s in suites]
        about = {"set": f"{name}-unique", "sources": [name], "audit": "ta1-0", "rows_in": 9, "policy": "rows"}
        return about | {"rows_dropped": dropped, "suites": listed}

    a = make_version(store, "a", ["x"], decontamination=[record("x", 1), record("y", 2), record("z", 0)])
    b = make_version(store, "b", ["x"], decontamination=[record("x", 1), record("y", 2, ("gsm8k", "mmlu"))])
    found = diff(a, b).decontamination
    assert [(r.set, r.a and r.a["rows_dropped"], r.b and list(r.b["suites"])) for r in found] == [
        ("y", 2, ["gsm8k", "mmlu"]),
        ("z", 0, None),
    ]
    assert diff(a, a).decontamination == []


# ------------------------------------------------------------ in the terminal


def test_the_tables_name_rows_topics_and_settings_that_differ(store, make_version, make_rows, capsys):
    make_version(store, "a", make_rows("s", named([("1", "one"), ("2", "two"), ("3", "three")])))
    origin = Origin(recipe={"sources": {"s": {"topic": "\x1b[2Jmath"}}}, root=".", step="mix")
    make_version(store, "b", make_rows("s", named([("2", "two"), ("1", "won")]), license="apache-2.0"), origin=origin)
    with pytest.raises(SystemExit) as stopped:
        main(["diff", "a", "b", "--store", str(store.root)])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert stopped.value.code in (0, None)
    assert "1 0 2 1 1 different sequences of rows" in lines
    assert r"\x1b[2Jmath 3 100.00 % 2 100.00 %" in lines
    assert "apache-2.0 0 0.00 % 2 100.00 %" in lines
