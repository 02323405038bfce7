"""Runs on the disk: written whole, read back, gone on with, and refused where they do not compare."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from tulu_data.errors import InputError, UsageError
from tulu_data.evals import results, sources
from tulu_data.evals.results import SAMPLES, common_tasks, digests_of, model_of, open_run, start
from tulu_data.evals.running import Asked, Judges, OtherSettings, evaluate
from tulu_data.evals.sources import source_digest
from tulu_data.evals.task import Decoding, Item, Response, Task

ITEMS = [Item(f"i{n}", None, ({"role": "user", "content": f"{n} + {n}?"},), str(2 * n)) for n in range(4)]


def task(name="sums", **given):
    return Task(name, name.title(), "dev", name, list, **{"verifier": "gsm8k", "rules": "the last number", **given})


class Model:
    """Answers sums, one response at a time, until it breaks; counts what it was asked."""

    def __init__(self, breaks_at=None):
        self.asked, self.breaks_at = [], breaks_at

    def __call__(self, task, items):
        for item in items:
            if len(self.asked) == self.breaks_at:
                raise KeyboardInterrupt
            self.asked.append(item.id)
            yield [Response(item.id, k, item.truth) for k in range(task.decoding.samples)]


def done(folder, model=None, *, of=None, items=ITEMS, suite="v1", harness="test 1", limit=None, again=False):
    of = of or task()
    asked = Asked(of, items, len(ITEMS), suite, limit)
    run = start(folder, model_of("tiny", "test"))
    return evaluate(run, asked, model or Model(), harness=harness, judges=Judges(), workers=1, again=again)


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    written = done(tmp_path)
    read = open_run(tmp_path)
    assert read == written
    facts = read.tasks["sums"]
    assert (facts.status, facts.score, facts.items, facts.rows, facts.undecided) == ("scored", 1.0, 4, 4, 0)
    assert (facts.rules, facts.verifier, facts.harness, facts.digests.suite) == (
        "the last number",
        "gsm8k",
        "test 1",
        "v1",
    )
    table = read.samples("sums")
    assert table.schema == SAMPLES
    assert table["instance_id"].to_pylist() == ["i0", "i1", "i2", "i3"]
    assert not [p for p in tmp_path.rglob("*") if "part" in p.name]


def test_a_task_that_is_done_is_not_asked_again_and_others_are_kept(tmp_path):
    done(tmp_path)
    done(tmp_path, of=task("more"))
    again = Model()
    done(tmp_path, again)
    assert again.asked == []
    assert set(open_run(tmp_path).tasks) == {"sums", "more"}


def test_runs_that_write_into_one_folder_at_the_same_time_keep_each_others_tasks(tmp_path):
    mine = start(tmp_path, model_of("tiny", "test"))
    done(tmp_path, of=task("theirs"))
    asked = Asked(task("mine"), ITEMS, len(ITEMS), "v1")
    run = evaluate(mine, asked, Model(), harness="test 1", judges=Judges(), workers=1)
    assert set(run.tasks) == set(open_run(tmp_path).tasks) == {"theirs", "mine"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"of": task(decoding=Decoding(max_tokens=7))}, r"max_tokens \(4096, not 7\)"),
        ({"items": [i._replace(messages=({"role": "user", "content": "other"},)) for i in ITEMS]}, "prompts"),
        ({"items": ITEMS[:2], "limit": 2}, r"limit \(none, not 2\)"),
        ({"of": task(shots=3), "items": [i._replace(chat=False) for i in ITEMS]}, r"shots \(0, not 3\)"),
    ],
    ids=["decoding", "prompts", "limit", "shots"],
)
def test_a_task_under_other_prompts_or_decoding_is_not_written_over_unless_that_is_asked_for(tmp_path, change, what):
    before = done(tmp_path)
    again = Model()
    with pytest.raises(
        OtherSettings, match=rf"task sums: -o holds its answers under other settings: {what}; .* --again"
    ):
        done(tmp_path, again, **change)
    assert again.asked == []
    assert open_run(tmp_path) == before
    done(tmp_path, again, again=True, **change)
    assert again.asked


def test_another_version_of_the_harness_is_no_loss(tmp_path):
    before = done(tmp_path)
    again = Model()
    assert done(tmp_path, again, harness="test 2") == before
    assert again.asked == []


def test_with_a_larger_limit_the_rest_is_asked(tmp_path):
    done(tmp_path, items=ITEMS[:2], limit=2)
    more = Model()
    run = done(tmp_path, more, harness="test 2")
    assert more.asked == ["i2", "i3"]
    assert (run.tasks["sums"].rows, run.tasks["sums"].harness, run.tasks["sums"].limit) == (
        4,
        "test 1 and test 2",
        None,
    )
    assert run.samples("sums")["instance_id"].to_pylist() == ["i0", "i1", "i2", "i3"]


@pytest.mark.parametrize("writes", range(1, 6))
def test_killed_at_any_write_no_answer_is_lost(tmp_path, monkeypatch, writes):
    """Of a run, and of its responses scored anew: the process dies before the so-many-th file takes its place."""
    replace, left = Path.replace, [writes]

    def dies(path, target):
        if path.suffix == ".part" and "partial" not in path.name:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
        return replace(path, target)

    letters = [i._replace(truth="A") for i in ITEMS]
    for of, items, score in ((task(), ITEMS, 1.0), (task(rules="other", verifier="choice"), letters, 0.0)):
        first = Model()
        left[0] = writes
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dies)
            with suppress(KeyboardInterrupt):
                done(tmp_path, first, of=of, items=items)
        again = Model()
        run = done(tmp_path, again, of=of, items=items)
        assert again.asked == []
        assert (run.tasks["sums"].score, run.tasks["sums"].rules, len(run.samples("sums"))) == (score, of.rules, 4)
        assert run.tasks["sums"].next_sha256 is None


def test_an_extraction_that_has_changed_scores_the_responses_anew_and_does_not_compare(tmp_path, monkeypatch):
    old = done(tmp_path / "old")
    done(tmp_path / "new")
    monkeypatch.setattr(results, "source_digest", lambda verifier: f"{verifier}, changed")
    again = Model()
    new = done(tmp_path / "new", again)
    assert again.asked == []
    assert new.tasks["sums"].digests.rules != old.tasks["sums"].digests.rules
    with pytest.raises(UsageError, match=r"task sums: .* differ in rules"):
        common_tasks([old, new])


def test_a_verifier_is_known_by_its_source_and_what_it_imports_beside_it(monkeypatch):
    before = {name: source_digest.__wrapped__(name) for name in ("math", "gsm8k")}
    read = sources._source
    monkeypatch.setattr(sources, "_source", lambda m: (read(m) or "") + "#" if m.endswith("math_equal") else read(m))
    assert source_digest.__wrapped__("math") != before["math"]
    assert source_digest.__wrapped__("gsm8k") == before["gsm8k"]


def test_under_other_rules_the_responses_are_judged_anew_and_the_model_is_not_asked(tmp_path):
    done(tmp_path)
    again = Model()
    run = done(
        tmp_path, again, of=task(rules="the last word", verifier="choice"), items=[i._replace(truth="A") for i in ITEMS]
    )
    assert again.asked == []
    assert (run.tasks["sums"].rules, run.tasks["sums"].score) == ("the last word", 0.0)


def test_a_run_that_was_interrupted_asks_for_the_rest_only(tmp_path):
    first = Model(breaks_at=2)
    with pytest.raises(KeyboardInterrupt):
        done(tmp_path, first, of=task(decoding=Decoding(samples=3)))
    partial = tmp_path / "samples" / ".sums.partial.jsonl"
    with partial.open("a") as file:  # a kill in the middle of an item, and of a line
        file.write('["i2", 0, "4", []]\n["i2", 1, "4"')
    second = Model()
    run = done(tmp_path, second, of=task(decoding=Decoding(samples=3)))
    assert second.asked == ["i2", "i3"]
    assert run.tasks["sums"].rows == len(run.samples("sums")) == 12
    assert not partial.exists()


def test_what_was_answered_under_other_prompts_is_not_gone_on_with_nor_written_over(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        done(tmp_path, Model(breaks_at=2))
    other = task(decoding=Decoding(temperature=0.5))
    again = Model()
    with pytest.raises(OtherSettings, match="holds 2 answers of a run that was stopped under other settings"):
        done(tmp_path, again, of=other)
    assert again.asked == []
    with pytest.raises(KeyboardInterrupt):  # it goes on with what the first left
        done(tmp_path, Model(breaks_at=1))
    done(tmp_path, rest := Model())
    assert rest.asked == ["i3"]
    done(tmp_path, again, of=other, again=True)
    assert again.asked == ["i0", "i1", "i2", "i3"]


def test_damaged_samples_are_told_and_the_task_is_run_again(tmp_path):
    run = done(tmp_path)
    (tmp_path / "samples" / "sums.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"sums\.parquet: is not what run\.json says; run the task again"):
        run.samples("sums")
    again = Model()
    done(tmp_path, again)
    assert len(again.asked) == 4
    (tmp_path / "samples" / "sums.parquet").unlink()
    with pytest.raises(InputError, match=r"sums\.parquet: is missing"):
        run.samples("sums")
    with pytest.raises(InputError, match="has no task 'summs'; did you mean 'sums'"):
        run.samples("summs")


def test_a_folder_of_another_model_is_not_written_over(tmp_path):
    done(tmp_path)
    with pytest.raises(UsageError, match="holds results of tiny by test; choose another folder"):
        start(tmp_path, model_of("other", "test"))


def test_another_way_to_write_a_folder_is_the_same_model_and_another_server_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model", "out", "served"):
        Path(name).mkdir()
    start("out", model_of("model", "hf")).written()
    assert start("out", model_of("./model", "hf")).facts.model.name == "./model"
    start("served", model_of("m", "openai", "http://a/v1")).written()
    with pytest.raises(UsageError, match="holds results of m by openai at http://a/v1"):
        start("served", model_of("m", "openai", "http://b/v1"))


def test_settings_that_decide_the_answers_are_part_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    start("out", model_of("tiny", "hf", settings={"peft": "A"})).written()
    assert start("out", model_of("tiny", "hf", settings={"peft": "A"})).facts.model.settings == {"peft": "A"}
    with pytest.raises(UsageError, match="holds results of tiny by hf with peft A; choose another folder"):
        start("out", model_of("tiny", "hf", settings={"peft": "B"}))
    Path("A").mkdir()
    Path("A", "adapter.bin").write_bytes(b"1")
    before = model_of("tiny", "hf", settings={"peft": "A"}).identity
    Path("A", "adapter.bin").write_bytes(b"2")
    assert model_of("tiny", "hf", settings={"peft": "A"}).identity != before


def test_weights_that_have_changed_are_another_model(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    weights = bytearray(5 << 20)
    (model / "model.safetensors").write_bytes(weights)
    before = model_of(str(model), "hf")
    assert model_of(str(model), "hf") == before
    weights[-1] = 1
    (model / "model.safetensors").write_bytes(weights)
    assert model_of(str(model), "hf").identity != before.identity
    assert model_of("m", "openai", "http://a/v1").identity != model_of("m", "openai", "http://b/v1").identity


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "holds no evaluation"),
        ("{", "cannot be read"),
        ('{"format": "tulu-run/1"}', "format is 'tulu-run/1', not 'tulu-eval/1'"),
        ('{"format": "tulu-eval/1"}', "model: Field required"),
    ],
)
def test_a_folder_that_is_no_run_is_told_in_a_line(tmp_path, text, said):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=said) as raised:
        open_run(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"items": [i._replace(messages=({"role": "user", "content": "other"},)) for i in ITEMS]}, "prompts"),
        ({"items": [i._replace(truth="7") for i in ITEMS]}, "truths"),
        ({"of": task(rules="the last word")}, "rules"),
        ({"of": task(decoding=Decoding(max_tokens=7))}, "decoding"),
        ({"items": ITEMS[:2], "limit": 2}, r"limit \(none, 2\), prompts, truths"),
    ],
)
def test_runs_that_were_asked_or_judged_otherwise_are_not_compared(tmp_path, change, what):
    a, b = done(tmp_path / "a"), done(tmp_path / "b", **change)
    with pytest.raises(UsageError, match=rf"task sums: .*a and .*b differ in {what}, so .* pass --leave-out sums"):
        common_tasks([a, b])
    assert common_tasks([a, b], ["sums"]) == []


def test_a_task_to_leave_out_that_nobody_has_names_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="--leave-out 'sum': no run has it; did you mean 'sums'"):
        common_tasks([done(tmp_path)], ["sum"])


def test_digests_hang_on_what_is_asked_and_not_on_where(tmp_path):
    one = digests_of(task(), ITEMS, suite="v1")
    assert digests_of(task(), [i._replace(extra={"k": 1}) for i in ITEMS], suite="v1") == one
    assert digests_of(task(), ITEMS[::-1], suite="v1").prompts != one.prompts
    assert digests_of(task(), ITEMS, suite="v1", judge="stub").rules != one.rules


def test_run_json_is_plain_data(tmp_path):
    done(tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["tasks"]["sums"]["decoding"]["temperature"] == 0.0
    assert facts["model"]["name"] == "tiny"
