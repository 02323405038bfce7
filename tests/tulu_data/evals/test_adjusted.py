"""Scores on clean and dirty instances: constructed cases with known answers, a naive oracle, and a real audit."""

import gzip
import json
import shutil
from collections import namedtuple
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_data import recipe as recipes
from tulu_data.cli import main
from tulu_data.errors import InputError
from tulu_data.evals import adjusted
from tulu_data.evals.adjusted import NotCovered, Used, adjust, audits_of_checkpoint, overlap_of
from tulu_data.evals.metrics import Values
from tulu_data.evals.report import report
from tulu_data.evals.results import model_of, start
from tulu_data.evals.running import Judges, ask, evaluate
from tulu_data.evals.task import Item, Response, Task
from tulu_data.pipeline import run as run_recipe

PAIRS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("set", "suite", "instance_id", "judgement", "mark")),
        pa.field("row_index", pa.int64()),
        pa.field("exact", pa.bool_()),
        pa.field("coverage", pa.float64()),
    ]
)
ROWS = pa.schema([pa.field("set", pa.string()), pa.field("row_index", pa.int64()), pa.field("dropped", pa.bool_())])
Pair = namedtuple(
    "Pair", "instance coverage counts set row exact mark judgement", defaults=("train", 0, False, None, None)
)


class FakeAudit:
    """An audit in memory whose pairs say for themselves whether they count."""

    def __init__(self, pairs, *, dropped=(), sets=("train",), layers=("informative",), digest="v1", floor=0.0):
        self.manifest = {
            "id": "ta1-fake",
            "suites": [{"id": "sums", "digest": digest}],
            "sets": {name: {} for name in sets},
            "policy": {"layers": list(layers)},
            "settings": {"floor": floor},
        }
        self.said = np.array([p.counts for p in pairs], np.bool_)
        rows = [
            {"set": p.set, "suite": "sums", "instance_id": p.instance, "row_index": p.row, "exact": p.exact}
            | {"coverage": p.coverage, "mark": p.mark, "judgement": p.judgement}
            for p in pairs
        ]
        self.pairs = pa.Table.from_pylist(rows, PAIRS)
        listed = {(p.set, p.row) for p in pairs}
        self.rows = pa.Table.from_pylist(
            [{"set": s, "row_index": i, "dropped": (s, i) in dropped} for s, i in sorted(listed)], ROWS
        )

    def counts(self):
        return self.said


@pytest.fixture
def audited(monkeypatch):
    """Pairs → what the audit says of the suite `sums`."""

    def make(
        pairs, ids, *, sets=None, seen="all", digest="v1", whole=True, suite="sums", sets_known=("train",), **given
    ):
        monkeypatch.setattr(adjusted, "load", lambda folder: FakeAudit(pairs, sets=sets_known, **given))
        return overlap_of(suite, digest, ids, [Used(Path("audit"), sets, seen)], whole=whole)

    return make


def values(scores, strata=None):
    names = tuple(dict.fromkeys(strata)) if strata else ("all",)
    stratum = [names.index(s) for s in strata] if strata else [0] * len(scores)
    ids = tuple(f"i{n}" for n in range(len(scores)))
    return Values(ids, np.array(scores, np.float64), np.array(stratum, np.int64), names)


IDS = [f"i{n}" for n in range(6)]


def test_clean_dirty_gap_and_z_are_exact(audited):
    overlap = audited([Pair("i0", 0.9, True), Pair("i1", 0.6, True), Pair("i2", 0.3, False)], IDS)
    found = adjust(values([1, 1, 0, 1, 0, 0]), overlap)
    assert (found.all.value, found.all.n) == (0.5, 6)
    assert (found.clean.value, found.clean.n) == (0.25, 4)
    assert (found.dirty.value, found.dirty.n, found.dirty.stderr) == (1.0, 2, 0.0)
    error = stdev([1, 1, 0, 1, 0, 0]) * sqrt(1 / 2 + 1 / 4)
    assert found.gap == (0.75, pytest.approx(error), pytest.approx(0.75 / error))


def test_the_curve_is_clean_at_the_papers_threshold_and_grows_to_everything(audited):
    pairs = [Pair("i0", 0.9, True), Pair("i1", 0.5, False), Pair("i2", 0.51, True), Pair("i3", 0.2, False, exact=True)]
    found = adjust(values([1, 1, 1, 1, 0, 0]), audited(pairs, IDS))
    sizes = {p.threshold: p.clean.n for p in found.curve}
    assert list(sizes) == [i / 10 for i in range(11)]
    assert (sizes[0.0], sizes[0.4], sizes[0.5], sizes[0.6], sizes[0.9], sizes[1.0]) == (2, 2, 3, 4, 5, 6)
    assert found.curve[-1].clean == found.all
    assert found.curve[0].clean.value == 0.0


def test_a_macro_metric_is_a_macro_mean_on_each_side_and_says_what_it_left_out(audited):
    overlap = audited([Pair("i0", 0.9, True), Pair("i1", 0.9, True), Pair("i5", 0.9, True)], IDS)
    found = adjust(values([1, 1, 0, 1, 0, 1], strata=["x", "x", "y", "y", "y", "y"]), overlap)
    assert found.all.value == pytest.approx((1 + 0.5) / 2)
    assert (found.clean.value, found.clean.empty) == (pytest.approx(1 / 3), ("x",))
    assert (found.dirty.value, found.dirty.n, found.dirty.empty) == (1.0, 3, ())


def test_dirty_instances_of_an_easy_subset_make_no_gap_by_themselves(audited):
    easy, hard = [float(n % 10 > 0) for n in range(100)], [float(n % 10 < 2) for n in range(100)]
    dirty = [n for n in range(100) if n % 10 > 0][:55] + [n for n in range(100) if n % 10 == 0][:5]
    ids = [f"i{n}" for n in range(200)]
    overlap = audited([Pair(f"i{n}", 0.9, True) for n in dirty], ids)
    found = adjust(values([*easy, *hard], strata=["easy"] * 100 + ["hard"] * 100), overlap)
    assert (found.dirty.value, found.clean.value) == (pytest.approx(55 / 60), pytest.approx((35 / 40 + 0.2) / 2))
    assert found.gap.value == pytest.approx(55 / 60 - 35 / 40)
    assert found.gap_over == ("easy",)
    assert abs(found.gap.z) < 1


def test_only_sets_that_were_trained_on_make_an_instance_dirty(audited):
    pairs = [Pair("i0", 0.9, True, "chat"), Pair("i1", 0.8, True, "maths"), Pair("i1", 0.9, True, "chat")]
    known = {"sets_known": ("chat", "maths", "code")}
    assert audited(pairs, IDS, **known).dirty == {"i0", "i1"}
    found = audited(pairs, IDS, sets=("maths", "code"), **known)
    assert (found.dirty, dict(found.coverage)) == ({"i1"}, {"i1": 0.8})
    assert found.by_set == {"maths": {"i1"}, "code": frozenset()}


def test_rows_that_were_dropped_count_only_where_the_model_saw_them(audited):
    pairs = [Pair("i0", 0.9, True, row=0), Pair("i1", 0.9, True, row=1)]
    assert audited(pairs, IDS, dropped={("train", 0)}).dirty == {"i0", "i1"}
    kept = audited(pairs, IDS, dropped={("train", 0)}, seen="kept")
    assert (kept.dirty, kept.seen, dict(kept.coverage)) == ({"i1"}, "kept", {"i1": 0.9})


def test_a_pair_marked_false_counts_nowhere_and_an_undecided_one_makes_nothing_clean(audited):
    pairs = [
        Pair("i0", 0.9, False, mark="false"),
        Pair("i1", 0.1, False, judgement="undecided"),
        Pair("i2", 0.9, True, judgement="undecided"),
    ]
    overlap = audited(pairs, IDS, layers=("informative", "semantic"))
    assert (overlap.dirty, overlap.unclear, set(overlap.coverage)) == ({"i2"}, {"i1"}, {"i1", "i2"})
    found = adjust(values([1, 1, 1, 0, 0, 0]), overlap)
    assert (found.clean.n, found.dirty.n, found.unclear) == (4, 1, 1)


def test_below_the_floor_of_an_audit_the_curve_says_nothing(audited):
    found = adjust(values([1] * 6), audited([Pair("i0", 0.9, True)], IDS, floor=0.25))
    assert [p.threshold for p in found.curve] == [i / 10 for i in range(3, 11)]


def test_an_audit_of_another_suite_version_is_refused(audited):
    with pytest.raises(
        InputError, match=r"suite 'sums' is version v1 there, and is version v2 in the run; audit again"
    ):
        audited([], IDS, digest="v2")
    with pytest.raises(InputError, match="has no version on record"):
        audited([], IDS, digest=None)


def test_an_audit_that_does_not_cover_the_suite_says_so_in_a_line(audited):
    with pytest.raises(
        NotCovered, match=r"suite 'maths': no audit covers it \(audit\); tulu audit DATA --suites maths"
    ):
        audited([], IDS, suite="maths")


def test_instances_that_the_run_does_not_know_are_refused_unless_it_asked_for_some_only(audited):
    with pytest.raises(InputError, match="knows instance 'i9' of sums, which the run does not"):
        audited([Pair("i9", 0.9, True)], IDS)
    assert audited([Pair("i9", 0.9, True)], IDS, whole=False).dirty == {"i9"}


def test_an_unknown_set_names_the_nearest(audited):
    with pytest.raises(InputError, match="has no set 'trian'; did you mean 'train'"):
        audited([], IDS, sets=("trian",))


def test_several_audits_are_one_and_the_highest_coverage_holds(monkeypatch):
    audits = {
        "a": FakeAudit([Pair("i0", 0.9, True), Pair("i1", 0.2, False)]),
        "b": FakeAudit([Pair("i0", 0.7, True), Pair("i1", 0.8, True)], sets=("more", "train")),
        "c": FakeAudit([]),
    }
    audits["c"].manifest["suites"] = []
    monkeypatch.setattr(adjusted, "load", lambda folder: audits[str(folder)])
    found = overlap_of("sums", "v1", IDS, [Used(Path(name)) for name in audits], whole=True)
    assert found.dirty == {"i0", "i1"}
    assert dict(found.coverage) == {"i0": 0.9, "i1": 0.8}
    assert found.by_set == {"train": {"i0", "i1"}, "more": frozenset()}
    assert found.notes == ("1 of 3 audits do not cover sums: their sets are not looked at",)


cases = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from("xyz"),
        st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from(("one", "two", "three"))), max_size=3),
    ),
    min_size=1,
    max_size=20,
)


@given(cases, st.sets(st.sampled_from(("one", "two", "three")), min_size=1), st.booleans())
def test_the_join_is_what_a_naive_one_gives(rows, trained_on, macro):
    pairs = [Pair(f"i{n}", c, counts, name) for n, (_, _, of) in enumerate(rows) for c, counts, name in of]
    audit = FakeAudit(pairs, sets=("one", "two", "three"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adjusted, "load", lambda folder: audit)
        used = Used(Path("audit"), tuple(sorted(trained_on)))
        overlap = overlap_of("sums", "v1", [f"i{n}" for n in range(len(rows))], [used], whole=True)
    found = adjust(values([s for s, _, _ in rows], [t for _, t, _ in rows] if macro else None), overlap)

    def naive(wanted):
        chosen = [(s, t) for s, t, of in rows if wanted([p for p in of if p[2] in trained_on])]
        if not macro:
            return (mean(s for s, _ in chosen), len(chosen)) if chosen else (None, 0)
        means = [mean(s for s, t in chosen if t == name) for name in "xyz" if any(t == name for _, t in chosen)]
        return (mean(means), len(chosen)) if means else (None, 0)

    for side, wanted in (
        (found.all, lambda of: True),
        (found.clean, lambda of: not any(counts for _, counts, _ in of)),
        (found.dirty, lambda of: any(counts for _, counts, _ in of)),
        *((p.clean, lambda of, t=p.threshold: all(c <= t for c, _, _ in of)) for p in found.curve),
    ):
        value, n = naive(wanted)
        assert side.n == n
        assert side.value == (None if value is None else pytest.approx(value))
    sizes = [p.clean.n for p in found.curve]
    assert sizes == sorted(sizes)
    if not macro and found.dirty.n and found.clean.n:
        assert found.gap.value == pytest.approx(found.dirty.value - found.clean.value)
        error = stdev(s for s, _, _ in rows) * sqrt(1 / found.dirty.n + 1 / found.clean.n)
        assert found.gap.stderr == pytest.approx(error)


# ------------------------------------------------------------ checkpoints


def checkpoint(folder, *, ref="mix@tv1-1", audits=(), base="org/base", override=None):
    folder.mkdir(parents=True)
    data = {"ref": ref, "digest": "d", "audits": list(audits), "suites": ["gsm8k"], "override": override}
    (folder / "training.json").write_text(json.dumps({"data": data, "base_model": base}))
    return folder


def stored(store, name):
    folder = store.root / "audits" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_a_chain_of_checkpoints_brings_the_audits_of_all_its_stages(store, tmp_path):
    first, second = stored(store, "ta1-a"), stored(store, "ta1-b")
    sft = checkpoint(tmp_path / "sft" / "model", audits=["ta1-a"])
    dpo = checkpoint(tmp_path / "dpo" / "model", audits=["ta1-b", "ta1-gone"], base=str(sft), override="a test")
    found = audits_of_checkpoint(str(dpo), store)
    assert found.audits == (Used(first, None, "kept"), Used(second, None, "kept"))
    assert found.notes == (
        f"mix@tv1-1: audit ta1-gone is not in {store.root}; name its store with --store, or its folder with --audit",
        "mix@tv1-1: trained on without the check for decontamination (a test)",
        "org/base: what this base model was trained on is not on record; no checkpoint of that name is found from here",
    )


@pytest.mark.slow
def test_of_a_real_mixture_the_rows_that_the_audit_dropped_were_not_seen(store, tmp_path):
    version = run_recipe(recipes.load("quickstart", []), store, workers=1).mixture
    audit_id = version.manifest.decontamination[0]["audit"]
    model = checkpoint(tmp_path / "model", ref=version.ref, audits=[audit_id])
    (used,) = audits_of_checkpoint(str(model), store).audits
    assert used.folder == store.root / "audits" / audit_id
    assert set(used.sets) == {"grade_math", "python_tasks", "general_chat"}
    suite = next(s for s in adjusted.load(used.folder).manifest["suites"] if s["id"] == "mini_math")
    as_audited = overlap_of("mini_math", suite["digest"], (), [used._replace(seen="all")], whole=False)
    as_trained = overlap_of("mini_math", suite["digest"], (), [used], whole=False)
    assert as_audited.dirty
    assert not as_trained.dirty


def test_a_base_checkpoint_is_looked_for_beside_the_run_and_from_here_last(store, tmp_path, monkeypatch):
    first, second = stored(store, "ta1-a"), stored(store, "ta1-b")
    checkpoint(tmp_path / "here" / "sft", audits=["ta1-a"])
    checkpoint(tmp_path / "there" / "sft", audits=["ta1-b"])
    dpo = checkpoint(tmp_path / "there" / "dpo", base="sft")
    monkeypatch.chdir(tmp_path / "here")
    assert audits_of_checkpoint(str(dpo), store).audits == (Used(second, None, "kept"),)
    shutil.rmtree(tmp_path / "there" / "sft")
    assert audits_of_checkpoint(str(dpo), store).audits == (Used(first, None, "kept"),)


@pytest.mark.parametrize("base", ["../sft/model", "runs/sft/model", "/nowhere/sft"])
def test_a_base_checkpoint_that_is_gone_is_not_taken_for_one_that_nobody_recorded(store, tmp_path, base):
    (note,) = audits_of_checkpoint(str(checkpoint(tmp_path / "dpo", base=base)), store).notes
    assert note == f"{base}: this base checkpoint is not found from here, so what it was trained on is not looked at"


def test_a_model_without_facts_is_a_note_and_a_damaged_file_an_error(store, tmp_path):
    assert "its training data is not on record" in audits_of_checkpoint("org/model", store).notes[0]
    (tmp_path / "training.json").write_text("{}")
    with pytest.raises(InputError, match=r"training\.json: cannot be read"):
        audits_of_checkpoint(str(tmp_path), store)


# ------------------------------------------------------------ a real audit of public data

DATA = Path(__file__).parents[4] / "shared" / "data"
PLANTED = (3, 57, 400, 1111, 1318)


@pytest.mark.public_data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: the public sets are not shipped")
def test_what_was_planted_in_a_training_set_is_what_the_report_calls_dirty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evals").mkdir()
    shutil.copy(DATA / "evals" / "gsm8k.jsonl.gz", tmp_path / "evals")
    with gzip.open(DATA / "evals" / "gsm8k.jsonl.gz", "rt") as file:
        records = [json.loads(line) for line in file]
    honest = pq.read_table(DATA / "train" / "gpteacher.parquet").slice(0, 300).to_pylist()
    rows = [{"messages": r["messages"]} for r in honest]
    for place in PLANTED:
        question = {"role": "user", "content": f"Solve this.\n\n{records[place]['question']}"}
        rows.insert(place % 300, {"messages": [question, {"role": "assistant", "content": records[place]["answer"]}]})
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    command = ["audit", "train.jsonl", "--suites", "gsm8k", "--suites-root", "evals", "-o", "audit", "-q"]
    with pytest.raises(SystemExit) as done:
        main(command)
    assert done.value.code == 0

    def items(found):
        return [
            Item(r.id, None, ({"role": "user", "content": r.values["question"]},), r.values["answer"]) for r in found
        ]

    task = Task("gsm8k", "GSM8K", "dev", "gsm8k", items, "gsm8k", rules="last number")
    asked = ask(task, suites_root=tmp_path / "evals")
    planted = {asked.items[i].id for i in PLANTED}

    def parrot(task, items):
        """Knows what it has seen, and one in four of the others."""
        for n, item in enumerate(items):
            knows = item.id in planted or n % 4 == 0
            yield [Response(item.id, 0, item.truth.rsplit("####")[-1] if knows else "I do not know: -1")]

    run = start(tmp_path / "out", model_of("parrot", "test"))
    run = evaluate(run, asked, parrot, harness="test", judges=Judges(), workers=1)
    (line,) = report(run, {}, audits=[Used(tmp_path / "audit")]).lines
    assert line.adjusted.overlap.dirty == planted
    assert (line.adjusted.dirty.value, line.adjusted.dirty.n) == (1.0, len(PLANTED))
    assert line.adjusted.clean.n == 1319 - len(PLANTED)
    assert line.adjusted.clean.value == pytest.approx(0.25, abs=0.01)
    assert line.adjusted.gap.z > 3
    other = asked._replace(suite="0" * 64)
    again = evaluate(
        start(tmp_path / "other", run.facts.model), other, parrot, harness="test", judges=Judges(), workers=1
    )
    with pytest.raises(InputError, match="audit again with the suite as the run read it"):
        report(again, {}, audits=[Used(tmp_path / "audit")])
