"""The recipes of Tülu 3: their plans offline against the paper's totals, and their small twins on public sets."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tulu_data import mixture as mixing
from tulu_data import recipe as recipes
from tulu_data.commands.run import command
from tulu_data.errors import GateError, RecipeError, TuluError
from tulu_data.mixture import Expect, Part
from tulu_data.outline import outline
from tulu_data.pipeline import run
from tulu_data.shares import Emphasis
from tulu_data.sources import find_sources, registry
from tulu_data.store import Store
from tulu_data.take import Take
from tulu_data.verify import verify

DATA = Path(__file__).parents[3] / "shared" / "data"

TOTALS = {  # arXiv 2411.15124, Tables 7, 15, 22; the 405B mixture's is the hub's num_examples
    "tulu3_sft_8b": ("tulu3-sft", 939_344),
    "tulu3_sft_70b": ("tulu3-sft", 939_344),
    "tulu3_pref_8b": ("tulu3-pref-8b", 271_409),
    "tulu3_pref_70b": ("tulu3-pref-70b", 334_302),
    "tulu3_pref_405b": ("tulu3-pref-405b", 360_924),
    "tulu3_rlvr": ("tulu3-rlvr", 29_946),
}
COUNTS = {"tulu3_sft_8b": "sft", "tulu3_pref_8b": "pref-8b", "tulu3_pref_70b": "pref-70b", "tulu3_rlvr": "rlvr"}


@pytest.fixture
def offline(monkeypatch):
    """Whoever reaches for a network fails."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"a plan reached for the network: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# ------------------------------------------------------------ the plans


@pytest.mark.parametrize("name", TOTALS)
def test_the_plan_has_the_papers_total_without_a_network(name, tmp_path, offline):
    collection, total = TOTALS[name]
    planned = run(recipes.load(name), Store(tmp_path / "s"), dry_run=True)
    assert planned.outline.rows == total
    assert recipes.load(name).recipe.expect.rows == total
    assert len(planned.outline.parts) == len(find_sources([collection]))
    assert [s.rows for s in planned.steps if s.step == "mix"] == [total]
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", COUNTS)
def test_each_part_is_the_papers_count_of_its_source(name):
    recipe = recipes.load(name).recipe
    by_hub = {d.hub: d for d in registry().sources.values()}
    for part, take in recipe.mix.items():
        declared = by_hub[recipe.sources[part].hub]
        assert take.count == declared.paper[COUNTS[name]], part
    assert list(recipe.mix) == list(recipe.sources)


def test_both_sizes_have_one_sft_mixture():
    small, large = (recipes.load(f"tulu3_sft_{size}").recipe for size in ("8b", "70b"))
    assert (small.sources, small.mix, small.seed) == (large.sources, large.mix, large.seed)


def test_a_recipe_says_where_its_total_is_from_and_which_source_has_another():
    other = {
        "tulu3_sft_8b": "tulu3/sft_mixture, holds 939,343",
        "tulu3_sft_70b": "tulu3/sft_mixture, holds 939,343",
        "tulu3_pref_8b": "an earlier card said 272,898",
        "tulu3_pref_70b": "tulu3/pref_mixture_70b, holds 334,367",
        "tulu3_pref_405b": "the paper has no table of its parts",
        "tulu3_rlvr": "the hub's copy of MATH has is not known",
    }
    for name, (_, total) in TOTALS.items():
        said = recipes.load(name).recipe.description
        assert f"{total:,}" in said
        assert other[name] in said
    for name in ("tulu3/sft_mixture", "tulu3/pref_mixture_70b"):
        assert f"{registry().sources[name].rows:,}" in " ".join(other.values())


def test_the_command_prints_the_plan_with_counts_and_total(tmp_path, offline):
    shown = CliRunner().invoke(command, ["tulu3_rlvr", "--dry-run", "--store", str(tmp_path / "s")]).output
    lines = [line.split() for line in shown.splitlines()]
    assert ["if_verifiable", "14,973", "14,973", "50.00", "%"] in lines
    assert ["total", "29,946"] in lines
    args = ["tulu3_rlvr", "--dry-run", "--json", "--store", str(tmp_path / "s")]
    plan = json.loads(CliRunner().invoke(command, args).output)["plan"]
    assert (plan["exact"], plan["rows"]) == (False, 29_946)
    assert plan["parts"][0] == {"part": "gsm8k", "available": 7_473, "rows": 7_473, "tokens": None}


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ["mix.aya.count=100001"],
            RecipeError,
            "mix.aya.count: 100,001 rows asked, the source states 100,000; lower it, or raise 'repeat'",
        ),
        (
            ["mix.aya.count=99999"],
            GateError,
            "expect.rows: 939,344 expected, the plan has 939,343; nothing was read",
        ),
        (
            ["expect={parts: {aya: 5}}"],
            GateError,
            "expect.parts.aya: 5 expected, the plan has 100,000; nothing was read",
        ),
    ],
)
def test_a_plan_that_cannot_be_met_is_one_line(overrides, error, message, tmp_path, offline):
    with pytest.raises(error) as caught:
        run(recipes.load("tulu3_sft_8b", overrides), Store(tmp_path / "s"), dry_run=True)
    assert str(caught.value) == message


# ------------------------------------------------------------ an outline counts as a plan does


@pytest.fixture(scope="module")
def versions(tmp_path_factory, make_version):
    store = Store(tmp_path_factory.mktemp("outline"))
    return {n: make_version(store, f"v{n}", [f"q{i}" for i in range(n)]) for n in (1, 7, 20)}


@st.composite
def takes(draw):
    amount = draw(st.sampled_from([{"all": True}, {"count": 5}, {"count": 30}, {"fraction": 0.145}, {"fraction": 0.5}]))
    bounds = {key: draw(st.integers(0, 25)) for key in draw(st.sampled_from(["", "cap", "floor"])).split()}
    return Take.model_validate(amount | bounds | {"repeat": draw(st.integers(1, 3))})


def tried(make):
    try:
        return make()
    except TuluError as e:
        return type(e)


@given(take=takes(), rows=st.sampled_from([1, 7, 20]))
def test_an_outline_has_the_counts_of_the_plan_or_fails_like_it(versions, take, rows):
    planned = tried(lambda: mixing.plan([Part("a", versions[rows], take)]).rows)
    assert tried(lambda: outline({"a": take}, {"a": rows}).rows) == planned


TOPIC_OF = {"a": "Math", "b": "Math", "c": None}


@given(
    weights=st.tuples(*[st.sampled_from([None, 0.5, 1, 3])] * 3),
    rows=st.integers(0, 30),
    scale=st.booleans(),
    topics=st.sampled_from([{}, {"Math": {"times": 0.5}}, {"Math": {"share": 0.7}}, {"Code": {"share": 0.1}}]),
    kept=takes(),
)
def test_an_outline_shares_a_size_out_as_the_plan_does(versions, weights, rows, scale, topics, kept):
    size = mixing.Size(rows=rows, scale=scale)
    takes = {n: kept if w is None else Take(weight=w, cap=kept.cap) for n, w in zip("abc", weights, strict=True)}
    held = dict(zip("abc", (7, 20, 1), strict=True))
    emphases = {topic: Emphasis.model_validate(e) for topic, e in topics.items()}

    def plan():
        parts = [Part(n, versions[held[n]], take, TOPIC_OF[n]) for n, take in takes.items()]
        return {p.part.name: len(p.rows) for p in mixing.plan(parts, size=size, topics=emphases).parts}

    def outlined():
        found = outline(takes, held, size=size, topics=emphases, topic_of=TOPIC_OF)
        assert found.rows == sum(p.rows for p in found.parts)
        return {p.name: p.rows for p in found.parts}

    assert tried(outlined) == tried(plan)


def test_weights_without_a_size_are_the_largest_mixture_that_keeps_them():
    found = outline({"a": Take(weight=1), "b": Take(weight=3, repeat=2)}, {"a": 100, "b": 30})
    assert [p.rows for p in found.parts] == [20, 60]


def test_what_hangs_on_the_rows_is_left_open():
    open_ = [{"tokens": 5}, {"weight": 1, "where": "n_turns = 2"}, {"all": True, "where": "n_turns = 2"}]
    for data in open_:
        found = outline({"a": Take.model_validate(data), "b": Take(count=3)}, {"a": 9, "b": 9})
        assert (found.parts[0].rows, found.rows) == (None, None)
        found.check(Expect(rows=7, parts={"a": 7, "b": 3}))
    assert outline({"a": Take(all=True)}, {"a": None}).rows is None
    assert outline({"a": Take(weight=1)}, {"a": None}, size=mixing.Size(rows=8)).rows == 8
    by_tokens = outline({"a": Take(weight=1)}, {"a": 9}, size=mixing.Size(tokens=8))
    assert (by_tokens.parts[0].rows, by_tokens.rows) == (None, None)
    shared = outline({"a": Take(weight=1), "b": Take(tokens=5)}, {"a": 9, "b": 9}, size=mixing.Size(rows=8))
    assert ([p.rows for p in shared.parts], shared.rows) == ([None, None], 8)


def test_a_plan_before_decontamination_is_not_held_against_what_is_expected_after_it():
    outline({"a": Take(all=True)}, {"a": 9}, before=True).check(Expect(rows=8))
    with pytest.raises(GateError):
        outline({"a": Take(all=True)}, {"a": 9}).check(Expect(rows=8))


# ------------------------------------------------------------ the twins


@pytest.mark.public_data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: the public sets are not shipped")
@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("tulu3_sft_small", "sft", 5_000),
        ("tulu3_pref_small", "preference", 2_330),
        ("tulu3_rlvr_small", "rlvr", 2_000),
    ],
)
def test_a_small_twin_runs_whole_and_a_second_run_does_nothing(name, kind, rows, tmp_path):
    loaded = recipes.load(name, [f"root={DATA}"])
    store = Store(tmp_path / "s")
    planned = run(loaded, store, dry_run=True)
    assert planned.outline.rows == rows
    made = run(loaded, store, pages=True)
    assert (made.mixture.kind, made.mixture.rows) == (kind, rows)
    mixed = set(loaded.recipe.part_sources.values())
    assert {r["set"].removesuffix("-unique") for r in made.mixture.manifest.decontamination} == mixed
    assert verify(made.mixture, 2) == []
    assert set(made.mixture.manifest.logical.sources) == mixed
    assert made.page.is_file()
    assert made.page.with_name(f"audit-{made.audit.name}.html").is_file()
    assert {s.status for s in run(loaded, store, pages=True).steps} == {"cached"}
    exact = run(recipes.load(name, [f"root={DATA}", "seed=43"]), store, dry_run=True).plan
    assert exact is None or exact.rows == rows  # another seed makes other persona rows: then they are to be made first
