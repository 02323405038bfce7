"""Reports and comparisons of runs on the disk, with known answers."""

import json
from math import sqrt
from pathlib import Path
from statistics import stdev

import pytest

from tulu_data.errors import UsageError
from tulu_data.evals import report as reports
from tulu_data.evals.adjusted import NotCovered, Overlap, Used
from tulu_data.evals.report import compare, markdown, notes_of, plain, report, table_of
from tulu_data.evals.results import model_of, start
from tulu_data.evals.running import Asked, Judges, evaluate
from tulu_data.evals.task import Item, Response, Task
from tulu_data.evals.tasks.published import published


def items(count, subsets=None):
    return [
        Item(f"i{n}", subsets[n] if subsets else None, ({"role": "user", "content": f"{n}?"},), str(n))
        for n in range(count)
    ]


def task(name="gsm8k", **given):
    given = {"verifier": "gsm8k", "published": published(name), **given}
    return Task(name, name.upper(), "dev", name, list, **given)


def run(folder, right, *tasks, of=items, limit=None, judges=Judges(), name="tiny"):  # noqa: B008
    """A run whose model is right on the items of these numbers."""
    asked = of(10)

    def answers(task, chosen):
        yield [Response(i.id, 0, i.truth if int(i.truth) in right else "1000") for i in chosen]

    made = start(folder, model_of(name, "test"))
    for one in tasks or (task(),):
        made = evaluate(made, Asked(one, asked, 10, "v1", limit), answers, harness="t", judges=judges, workers=1)
    return made


@pytest.fixture
def audited(monkeypatch):
    """Makes every audit say the same of gsm8k, and nothing of other suites."""

    def say(dirty, coverage=None, unclear=()):
        def overlap_of(suite, digest, ids, audits, *, whole):
            if suite != "gsm8k":
                raise NotCovered(f"suite {suite!r}: no audit covers it")
            shares = coverage or dict.fromkeys(dirty, 0.9)
            by_set = {"train": frozenset(dirty)}
            return Overlap(("ta1-x",), suite, "all", frozenset(dirty), frozenset(unclear), shares, by_set)

        monkeypatch.setattr(reports, "overlap_of", overlap_of)
        return [Used(Path("audit"))]

    return say


def test_a_line_has_the_score_its_error_and_the_published_ones_by_source(tmp_path):
    tasks = {"gsm8k": task()}
    found = report(run(tmp_path, {0, 1, 2, 3, 4, 5, 6, 7}), tasks, beside="tulu3-8b")
    (line,) = found.lines
    assert line.estimate[:3] == (0.8, pytest.approx(stdev([1] * 8 + [0] * 2) / sqrt(10)), 10)
    assert line.published == {"card-2024-11": 87.6, "paper-v5": 87.6}
    header, rows = table_of(found)
    assert header == ["task", "n", "score", "tulu3-8b (card-2024-11)", "tulu3-8b (paper-v5)"]
    assert rows[0] == ["GSM8K", "10", "80.0 ± 13.3", "87.6", "87.6"]


def test_beside_a_model_that_nobody_published_names_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="--beside 'tulu3-8': nothing is published of it; did you mean 'tulu3-8b'"):
        report(run(tmp_path, ()), {"gsm8k": task()}, beside="tulu3-8")


def test_with_an_audit_there_are_clean_and_dirty_columns_gap_and_z(tmp_path, audited):
    found = report(run(tmp_path, {0, 1, 2, 3}), {}, audits=audited({"i0", "i1"}))
    header, rows = table_of(found)
    assert header == ["task", "n", "score", "clean", "n clean", "dirty", "n dirty", "gap", "z"]
    error = 100 * stdev([1, 1, 0, 0, 0, 0, 0, 0]) / sqrt(8)
    null = 100 * stdev([1] * 4 + [0] * 6) * sqrt(1 / 2 + 1 / 8)
    assert "GSM8K: dirty by set: train 2" in notes_of(found)
    assert rows[0][3:] == [f"25.0 ± {error:.1f}", "8", "100.0 ± 0.0", "2", f"+75.0 ± {null:.1f}", f"{75 / null:+.1f}"]


def test_json_holds_the_curve_and_who_is_dirty(tmp_path, audited):
    found = plain(report(run(tmp_path, {0}), {}, audits=audited({"i0", "i1"}, {"i0": 0.95, "i1": 0.55})))
    adjusted = json.loads(json.dumps(found))["lines"][0]["adjusted"]
    assert adjusted["overlap"]["dirty"] == ["i0", "i1"]
    assert [p["clean"]["n"] for p in adjusted["curve"]] == [8] * 6 + [9] * 4 + [10]


def test_a_suite_that_no_audit_covers_is_a_note(tmp_path, audited):
    found = report(run(tmp_path, (), task("math"), task()), {}, audits=audited(()))
    assert [line.adjusted is None for line in found.lines] == [True, False]
    assert "MATH: not audited: no audit covers its suite" in notes_of(found)


def test_what_keeps_a_score_from_being_the_papers_is_said(tmp_path):
    safety, more = (task(name, verifier=None, judge="safety") for name in ("xstest", "harmbench"))
    judged = task("alpaca_eval", verifier=None, judge="alpaca_eval")

    def few(count):
        return [i._replace(truth="comply") for i in items(count)]

    found = report(run(tmp_path / "a", (), limit=10), {})
    assert "GSM8K: the first 10 items only: not comparable" in notes_of(found)

    def answers(task, chosen):
        yield [Response(i.id, 0, "Sure." if i.id != "i3" else "") for i in chosen]

    made = start(tmp_path / "b", model_of("tiny", "test"))
    for one in (safety, more, judged):
        judges = Judges(stub=True)
        made = evaluate(made, Asked(one, few(4), 4, "v1"), answers, harness="t", judges=judges, workers=1)
    said = notes_of(report(made, {}))
    assert "XSTEST: judge: stub" in said
    assert "alpaca_eval: not scored: no judge: give --judge-model and --judge-url" in said
    assert "Safety (average): 2 of 6 columns: not the paper's average" in said
    assert "Safety (average): holds scores that are not the paper's: harmbench, xstest" in said
    assert not any("dev average" in note for note in said)  # safety is its only column


def test_an_average_of_some_columns_stands_beside_published_scores_of_the_same(tmp_path):
    tasks = [task(), task("math")]
    found = report(run(tmp_path, set(range(5)), *tasks), {t.id: t for t in tasks}, beside="tulu3-8b")
    (dev,) = found.averages
    assert (dev.title, dev.members, dev.estimate.value) == ("Tülu 3 dev average", 2, 0.5)
    assert dev.published == {
        "card-2024-11": pytest.approx((87.6 + 43.7) / 2),
        "paper-v5": pytest.approx((87.6 + 43.7) / 2),
    }
    assert dev.notes[0] == "2 of 12 columns: not the paper's average"


def test_an_average_names_what_it_lacks_and_a_task_that_nobody_scores_is_told_where_the_others_were_run(tmp_path):
    from tulu_data.evals.registry import COLLECTIONS, TASKS

    names = [name for name in COLLECTIONS["tulu3-unseen"] if not TASKS[name].unscored]
    found = report(run(tmp_path / "a", (), *(task(name) for name in names)), {})
    said = notes_of(found)
    assert "Tülu 3 unseen average: 6 of 7 columns, without ifeval_ood: not the paper's average" in said
    assert said[-1].startswith("ifeval_ood: not scored: the checkers of its 52 instructions are not in this package")
    assert not report(run(tmp_path / "b", (), *(task(name) for name in names[1:])), {}).unscored


def test_the_dev_average_is_over_twelve_columns_of_which_safety_is_one(tmp_path):
    from tulu_data.evals.registry import COLLECTIONS

    names = [*COLLECTIONS["tulu3-dev"], *COLLECTIONS["safety"]]
    tasks = [task(name, rules="as printed") for name in names]

    def of_all(one):
        return {0, 1, 2} if one.id in COLLECTIONS["safety"] else set(range(9))

    made = start(tmp_path, model_of("tiny", "test"))
    for one in tasks:
        right = of_all(one)

        def answers(task, chosen, right=right):
            yield [Response(i.id, 0, i.truth if int(i.truth) in right else "1000") for i in chosen]

        asked = Asked(one, items(10), 10, "v1")
        made = evaluate(made, asked, answers, harness="t", judges=Judges(), workers=1)
    found = report(made, {t.id: t for t in tasks}, beside="tulu3-8b")
    safety, dev = found.averages
    assert (safety.members, safety.estimate.value) == (6, pytest.approx(0.3))
    assert (dev.members, dev.estimate.value) == (12, pytest.approx((11 * 0.9 + 0.3) / 12))
    (note,) = dev.notes
    assert note == "not comparable: card-2024-11 extracted BBH's answers in an earlier way; compare with paper-v5"
    assert dev.comparable
    assert dev.whole
    assert dev.published == {"card-2024-11": 64.8, "paper-v5": 65.1}
    assert safety.published["paper-v5"] == 85.5


def test_markdown_is_a_table_with_notes():
    text = markdown("tiny", ["task", "n"], [["GSM8K", "10"]], ["said"])
    assert text == "## tiny\n\n| task | n |\n| --- | ---: |\n| GSM8K | 10 |\n\n- said\n"


def test_two_runs_are_held_against_each_other_instance_by_instance(tmp_path):
    a, b = run(tmp_path / "a", {0, 1, 2, 3, 4, 5}), run(tmp_path / "b", {1, 2, 3, 4, 5, 6, 7}, name="other")
    (pair,) = compare(a, b).all
    gains = [-1, 0, 0, 0, 0, 0, 1, 1, 0, 0]
    error = stdev(gains) / sqrt(10)
    assert pair.difference == (pytest.approx(0.1), pytest.approx(error), pytest.approx(0.1 / error))
    assert (pair.n, pair.wins, pair.losses) == (10, 2, 1)
    assert (pair.first.value, pair.second.value) == (0.6, 0.7)


def test_a_comparison_on_clean_instances_leaves_out_what_is_dirty_for_either(tmp_path, audited):
    a, b = run(tmp_path / "a", {0, 1}), run(tmp_path / "b", {0, 1, 2, 3}, name="other")
    used = audited({"i3"}, unclear={"i2"})
    found = compare(a, b, audits=(used, ()))
    assert (found.all[0].n, found.all[0].wins) == (10, 2)
    assert (found.clean[0].n, found.clean[0].wins, found.clean[0].difference.value) == (8, 0, 0.0)
    assert found.clean_for == "clean for A; B's training data is not on record"
    assert compare(a, b, audits=((), used)).clean_for == "clean for B; A's training data is not on record"
    assert compare(a, b, audits=(used, used)).clean_for == "clean for both"
    assert compare(a, b).clean_for == ""


def test_a_comparison_says_what_its_audits_did_not_look_at(tmp_path, audited, monkeypatch):
    a, b = run(tmp_path / "a", {0}), run(tmp_path / "b", {0}, name="other")
    used = audited({"i3"})
    said = reports.overlap_of
    monkeypatch.setattr(reports, "overlap_of", lambda *a, **k: said(*a, **k)._replace(notes=("1 of 2 audits",)))
    assert compare(a, b, audits=(used, used)).notes == ("gsm8k: 1 of 2 audits",)


def test_what_was_changed_for_trying_out_is_told_and_marked(tmp_path):
    def answers(task, chosen):
        yield [Response(i.id, 0, i.truth) for i in chosen]

    def line(name, one, asked=10, **given):
        made = start(tmp_path / name, model_of("tiny", "test"))
        one = Asked(one, items(10, list("xxxxxyyyyy"))[:asked], 10, "v1", **given)
        return report(evaluate(made, one, answers, harness="t", judges=Judges(), workers=1), {}).lines[0]

    capped = line("a", task(), changed=("answers of at most 64 tokens, where the task has 4,096",))
    assert capped.notes == ("not comparable: answers of at most 64 tokens, where the task has 4,096",)
    assert not capped.comparable
    shown = line("b", task(), shots_from="official.yaml")
    assert (shown.notes, shown.comparable) == (("examples of official.yaml, not the package's",), True)
    macro = line("c", task(metric="macro"), limit=5)
    assert (macro.notes, macro.comparable) == (("the first 5 items of each subset only: not comparable",), False)
    assert line("d", task()).comparable


def test_a_judge_with_stub_in_its_name_is_no_stub(tmp_path):
    judged = task("xstest", verifier=None, judge="safety")
    made = run(tmp_path, (), judged, judges=Judges())
    facts = made.tasks["xstest"].model_copy(update={"status": "scored", "judge": "stubborn-7b, safety prompt 1"})
    lines = [
        report(made._replace(facts=made.facts.model_copy(update={"tasks": {"xstest": one}})), {}).lines[0]
        for one in (facts, facts.model_copy(update={"judge": "stub"}))
    ]
    assert [line.comparable for line in lines] == [True, False]


def test_a_gap_over_some_subsets_says_over_which_many(tmp_path, audited):
    def of(count):
        return items(count, ["x"] * 5 + ["y"] * 5)

    macro = task(metric="macro")
    found = report(run(tmp_path, {0, 1, 2}, macro, of=of), {}, audits=audited({"i0", "i1"}))
    assert "gap: over the 1 subsets that have both" in found.lines[0].notes
    found = report(run(tmp_path, {0, 1, 2}, macro, of=of), {}, audits=audited({"i0", "i9"}))
    assert not any(note.startswith("gap") for note in found.lines[0].notes)


def test_a_macro_comparison_is_stratified(tmp_path):
    def of(count):
        return items(count, ["x"] * 2 + ["y"] * 8)

    macro = task("mmlu", metric="macro")
    a, b = run(tmp_path / "a", (), macro, of=of), run(tmp_path / "b", {0, 2, 3, 4, 5}, macro, of=of, name="other")
    (pair,) = compare(a, b).all
    assert pair.difference.value == pytest.approx((1 / 2 + 4 / 8) / 2)
    expected = sqrt(stdev([1, 0]) ** 2 / 2 + stdev([1] * 4 + [0] * 4) ** 2 / 8) / 2
    assert pair.difference.stderr == pytest.approx(expected)


def test_runs_under_another_prompt_are_not_compared_unless_the_task_is_left_out(tmp_path):
    a = run(tmp_path / "a", {0}, task(), task("math"))
    other = lambda n: [i._replace(messages=({"role": "user", "content": "other"},)) for i in items(n)]  # noqa: E731
    b = run(tmp_path / "b", {0}, task(), of=other, name="other")
    b = run(tmp_path / "b", {0}, task("math"), name="other")
    with pytest.raises(UsageError, match=r"task gsm8k: .* differ in prompts, so their scores do not compare"):
        compare(a, b)
    assert [p.task for p in compare(a, b, leave_out=["gsm8k"]).all] == ["math"]


def test_runs_without_a_common_task_are_told(tmp_path):
    with pytest.raises(UsageError, match="have no scored task in common"):
        compare(run(tmp_path / "a", ()), run(tmp_path / "b", (), task("math"), name="other"))
