"""The registry of tasks: what is in it, how it is found, and that its facts fit the suites'."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from tulu_data.errors import InputError, UsageError
from tulu_data.evals import registry
from tulu_data.evals.registry import COLLECTIONS, TASKS, find_tasks
from tulu_data.evals.running import ask
from tulu_data.evals.task import Task
from tulu_data.evals.tasks.published import AVERAGES, MODELS
from tulu_data.evals.tasks.shots import WithShots
from tulu_data.suite_registry import find_suites
from tulu_data.verifiers import verifiers

JUDGED = {"alpaca_eval", "href", *COLLECTIONS["safety"]}


def test_every_column_of_the_papers_tables_is_a_task():
    assert [len(COLLECTIONS[name]) for name in ("tulu3-dev", "tulu3-unseen", "safety")] == [11, 7, 6]
    listed = [name for members in COLLECTIONS.values() for name in members]
    assert len(set(listed)) == len(listed)
    assert set(TASKS) - set(listed) == {"mbpp", "mbpp_plus"}  # beside the paper's


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.id)
def test_a_task_says_what_scores_it_and_what_its_suite_is(task):
    ways = [task.verifier is not None, task.judge is not None, task.output == "options"]
    assert ways.count(True) == 1
    assert task.verifier in (None, *verifiers())
    assert (task.judge is not None) == (task.id in JUDGED)
    (suite,) = find_suites([task.suite], Path.cwd(), None, "test")
    assert suite.declared.group == task.group
    assert task.title
    assert task.rules.endswith(".")
    # A macro average is one over subsets: the suite must have some.
    assert task.metric != "macro" or suite.declared.subset


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.id)
def test_published_scores_are_percent_of_known_models(task):
    for source, scores in task.published.items():
        assert source in ("card-2024-11", "paper-v5")
        assert set(scores) <= set(MODELS)
        assert all(0 < score < 100 for score in scores.values())
    assert bool(task.published) == (task.id not in ("mbpp", "mbpp_plus"))


def test_the_development_average_of_the_card_is_the_mean_of_its_columns():
    # Eleven tasks and the safety average make the twelve columns; the card rounds to one decimal.
    for model in MODELS:
        columns = [TASKS[name].published["card-2024-11"][model] for name in COLLECTIONS["tulu3-dev"]]
        columns.append(AVERAGES["safety"]["card-2024-11"][model])
        assert sum(columns) / 12 == pytest.approx(AVERAGES["tulu3-dev"]["card-2024-11"][model], abs=0.11)


def test_the_averages_of_the_paper_are_the_means_of_its_columns():
    for name in ("safety", "tulu3-unseen"):
        for model, average in AVERAGES[name]["paper-v5"].items():
            columns = [TASKS[member].published["paper-v5"][model] for member in COLLECTIONS[name]]
            assert sum(columns) / len(columns) == pytest.approx(average, abs=0.11)


def test_bbh_of_the_two_sources_differs():
    assert TASKS["bbh"].published["card-2024-11"]["tulu3-8b"] == 66.0
    assert TASKS["bbh"].published["paper-v5"]["tulu3-8b"] == 69.0


def test_tasks_with_examples_say_how_many():
    shots = {name: task.shots for name, task in TASKS.items() if task.shots}
    assert shots == {"popqa": 15, "truthfulqa": 6, "bbh": 3, "drop": 3, "gsm8k": 8, "math": 4}
    assert all(isinstance(TASKS[name].items, WithShots) for name in shots)


DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"
METRICS = {"mean": "mean", "macro": "macro", "mc2": "MC2", "pass_at_10": "pass@10 of 20", "win_rate": "win rate"}


def test_the_table_of_the_docs_is_the_registry():
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \| (.*?) \| (\d+) \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
    listed = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(listed) == set(TASKS)
    for name, (_, scorer, metric, shots, answers) in listed.items():
        task = TASKS[name]
        assert int(shots) == task.shots
        assert scorer.startswith("judge") == (task.judge is not None)
        if task.unscored:
            assert scorer == "nobody"
            continue
        assert metric.startswith(METRICS[task.metric])
        if task.output == "generate" and task.decoding.samples == 1:
            assert answers.startswith(f"{task.decoding.max_tokens:,}")


def test_code_is_sampled_as_table_24_has_it():
    for name in ("humaneval", "humaneval_plus", "bigcodebench_hard"):
        task = TASKS[name]
        assert (task.decoding.temperature, task.decoding.top_p, task.decoding.samples) == (0.8, 0.95, 20)
        assert task.metric == "pass_at_10"
    assert all(t.decoding.temperature == 0 for t in TASKS.values() if t.metric != "pass_at_10")


def test_tasks_are_found_by_their_names_and_those_of_collections_each_once():
    assert [t.id for t in find_tasks(["gsm8k", "tulu3-unseen", "gsm8k", "gpqa"])] == [
        "gsm8k",
        *COLLECTIONS["tulu3-unseen"],
    ]
    assert [t.id for t in find_tasks([])] == list(TASKS)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("gsm8", "did you mean 'gsm8k'"), ("tulu3-def", "did you mean 'tulu3-dev'"), ("x", "known tasks: agieval")],
)
def test_an_unknown_name_lists_the_nearest(name, remedy):
    with pytest.raises(UsageError, match=remedy):
        find_tasks(["math", name])


@pytest.mark.parametrize(
    ("target", "name", "problem"),
    [
        ("tulu_data.evals.tasks.maths:GSM8K", "riddles", None),
        ("tulu_data.evals.tasks.maths:GSM8K", "gsm8k", "there is another task of that name"),
        ("tulu_data.evals.tasks.maths:FIG_45", "riddles", "is no Task"),
        ("nowhere:TASK", "riddles", "cannot be loaded"),
    ],
)
def test_others_offer_tasks_through_entry_points(monkeypatch, target, name, problem):
    entry = importlib.metadata.EntryPoint(name, target, registry.GROUP)
    monkeypatch.setattr("tulu_data.plugins.entry_points", lambda group: [entry] if group == registry.GROUP else [])
    registry.tasks.cache_clear()
    try:
        if problem is None:
            assert isinstance(find_tasks([name])[0], Task)
        else:
            with pytest.raises(InputError, match=problem):
                find_tasks(["gsm8k"])
    finally:
        monkeypatch.undo()
        registry.tasks.cache_clear()


def test_ifeval_ood_refuses_in_one_line_before_its_data_is_read():
    (unscored,) = (t for t in TASKS.values() if t.unscored)
    for refuse in (lambda: unscored.items([]), lambda: ask(unscored, suites_root=Path("nowhere"))):
        with pytest.raises(
            UsageError, match=r"ifeval_ood.*: not scored: the checkers of its 52 instructions"
        ) as refused:
            refuse()
        assert "\n" not in str(refused.value)
