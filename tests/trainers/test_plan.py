"""A plan: one command from data recipes to a model; it goes on where it was killed, and a bad plan fails at once."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from trainers.plan import load_plan, products
from trainers.plan_command import all_command
from trainers.plan_run import run_plan, told
from tulu_data import recipe as recipes
from tulu_data.errors import GateError, InputError, RecipeError, TuluError, UsageError
from tulu_data.store import Store

SMALLER = [
    "data.tiny-mix.sources.tiny_rules.synth.n=40",
    "data.tiny-mix.sources.tiny_words.synth.n=16",
    "data.0.sources.tiny_tasks.synth.n=12",
    "stages.sft.epochs=1",
    "stages.sft.save_every=1",
    "stages.reward.max_length=700",
    "stages.dpo.max_length=700",
    "stages.tiny-dpo.save_every=1",
    "stages.rlvr.batch=4",
    "stages.rlvr.episodes=12",
    "stages.3.response_length=8",
    "stages.3.updates=2",
    "stages.3.save_every=1",
]
STAGES = ["sft", "reward", "dpo", "rlvr"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Where `tiny-llama` is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def command(folder, *more, output="model", sets=SMALLER):
    where = ["--store", str(folder / "store"), "-o", str(folder / output), "-j", "1"]
    return ["tiny", *where, *(part for s in sets for part in ("--set", s)), *more]


def train_all(*args):
    return CliRunner().invoke(all_command, list(args))


def run_json(folder, *more, **given):
    done = train_all(*command(folder, "--json", *more, **given))
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tiny plan, run once with little of everything: its folder and what the command told."""
    folder = tmp_path_factory.mktemp("plan")
    return folder, run_json(folder)


def weights(stage):
    return (Path(stage["folder"]) / "model" / "model.safetensors").read_bytes()


def files(folder):
    """Every file under a folder by name, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ------------------------------------------------------------ the road


def test_one_command_goes_from_data_recipes_to_a_model(whole):
    folder, done = whole
    assert [s["stage"] for s in done["stages"]] == STAGES
    assert {s["status"] for s in done["stages"]} == {"done"}
    assert done["data"][0]["steps"][-1]["step"] == "mix"
    by_stage = {s["stage"]: s for s in done["stages"]}
    for stage, report in by_stage.items():
        model = Path(report["folder"]) / "model"
        kind = AutoModelForSequenceClassification if stage == "reward" else AutoModelForCausalLM
        assert sum(p.numel() for p in kind.from_pretrained(model).parameters()) > 50_000
        assert AutoTokenizer.from_pretrained(model).chat_template
        card = (model / "README.md").read_text()
        assert report["mixture"] in card
        assert re.search(r"Decontaminated against mini_code, mini_facts, mini_math \(audits ta1-\w+\)", card)
        assert report["steps"] == len((Path(report["folder"]) / "metrics.jsonl").read_text().splitlines())
        assert isinstance(report["first"], float)
    assert by_stage["reward"]["models"] == by_stage["dpo"]["models"] == {"model": f"{by_stage['sft']['folder']}/model"}
    assert by_stage["rlvr"]["models"] == {
        "model": f"{by_stage['dpo']['folder']}/model",
        "reward_model": f"{by_stage['reward']['folder']}/model",
    }
    assert by_stage["rlvr"]["measure"] == "reward"
    assert -10 <= by_stage["rlvr"]["last"] <= 0
    final = Path(done["model"])
    assert final == folder / "model" / "model"
    assert final.resolve() == (Path(by_stage["rlvr"]["folder"]) / "model").resolve()
    assert not final.readlink().is_absolute()  # the folder can be moved
    assert "rlvr" in (folder / "model" / "report.html").read_text()
    assert json.loads((folder / "model" / "plan.json").read_text())["stages"][3]["steps"] == 3


def test_a_second_run_trains_nothing_and_leaves_the_same_bytes(whole):
    folder, done = whole
    before = files(folder / "model")
    changed = {p: p.stat().st_mtime_ns for p in (folder / "model").glob("*/model/model.safetensors")}
    again = run_json(folder)
    assert {s["status"] for s in again["stages"]} == {"cached"}
    assert {s["status"] for s in again["data"][0]["steps"]} == {"cached"}
    assert files(folder / "model") == before
    assert {p: p.stat().st_mtime_ns for p in changed} == changed
    figures = [(s["steps"], s["first"], s["last"]) for s in done["stages"]]
    assert [(s["steps"], s["first"], s["last"]) for s in again["stages"]] == figures


def test_a_dry_run_says_what_is_there_and_writes_nothing(whole, tmp_path):
    folder, _ = whole
    before = files(folder)
    sets = [*SMALLER, "stages.dpo.beta=2.0"]
    planned = run_json(folder, "--dry-run", sets=sets)
    assert [s["status"] for s in planned["stages"]] == ["cached", "cached", "to run", "to run"]
    assert planned["stages"][3]["folder"] is None  # it starts from what dpo will leave
    assert planned["model"] is None
    assert files(folder) == before
    anew = run_json(tmp_path, "--dry-run")
    assert {s["status"] for s in [*anew["stages"], *anew["data"][0]["steps"]]} == {"to run"}
    assert not (tmp_path / "model").exists()
    shown = train_all(*command(folder, "--dry-run", sets=sets))
    assert re.search(r"dpo +to run +tiny_pairs-clean@tv1-\w+", shown.stdout)


def test_what_changed_is_trained_beside_what_there_was_and_all_that_starts_from_it(whole, tmp_path):
    folder, done = whole
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    changed = train_all(*command(tmp_path / "copy", sets=[*SMALLER, "stages.dpo.beta=2.0"]))
    assert changed.exit_code == 0, changed.output
    statuses = re.findall(r"^(sft|reward|dpo|rlvr) +(\w+)", changed.stdout, flags=re.M)
    assert statuses == [("sft", "cached"), ("reward", "cached"), ("dpo", "done"), ("rlvr", "done")]
    dpo = Path(done["stages"][2]["folder"]).name
    assert f"settings, data or models are not those of {dpo}; trained anew" in changed.stderr
    names = sorted(p.name.partition("-")[0] for p in (tmp_path / "copy" / "model").glob("*-*"))
    assert names == ["dpo", "dpo", "reward", "rlvr", "rlvr", "sft"]
    final = (tmp_path / "copy" / "model" / "model").resolve()
    assert final.parent.name != Path(done["stages"][3]["folder"]).name
    back = run_json(tmp_path / "copy")  # and the plan as it was finds all of its stages
    assert {s["status"] for s in back["stages"]} == {"cached"}


PROGRAM = "import sys\nfrom trainers.plan_command import all_command\nall_command(sys.argv[1:])"


def killed_at(folder, pattern):
    """Runs the plan in a process of its own until a checkpoint is there, and kills it at once."""
    ran = subprocess.Popen([sys.executable, "-c", PROGRAM, *command(folder, "-q")], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((folder / "model").glob(pattern)):
        assert ran.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(ran.pid, signal.SIGKILL)
    ran.wait()


@pytest.mark.slow
def test_a_plan_that_is_killed_in_the_middle_of_its_stages_ends_in_the_same_bytes(whole, tmp_path):
    folder, done = whole
    shutil.copytree(folder / "store", tmp_path / "store")
    killed_at(tmp_path, "sft-*/step-*")
    assert not list((tmp_path / "model").glob("sft-*/model"))
    killed_at(tmp_path, "rlvr-*/step-*")
    assert not list((tmp_path / "model").glob("rlvr-*/model"))
    planned = run_json(tmp_path, "--dry-run")
    assert [s["status"] for s in planned["stages"]] == ["cached", "cached", "cached", "goes on"]
    ended = run_json(tmp_path)
    for before, after in zip(done["stages"], ended["stages"], strict=True):
        assert weights(after) == weights(before)
        assert Path(after["folder"]).name == Path(before["folder"]).name
        assert (after["steps"], after["first"], after["last"]) == (before["steps"], before["first"], before["last"])


@pytest.mark.slow
def test_two_processes_go_along_a_plan_together(tmp_path):
    path = write(tmp_path, stages=[SFT, {**SFT, "name": "again", "loss": "token_mean"}])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["-o", str(tmp_path / "out"), "--store", str(tmp_path / "store"), "-q", "--json"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), *where], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert {s["status"] for s in json.loads(said[0])["stages"]} == {"done"}
    assert said[1] == ""
    facts = json.loads((tmp_path / "out" / "model" / "training.json").read_text())
    assert facts["processes"] == 2


@pytest.mark.slow
def test_the_model_answers_through_a_server(whole):
    folder, _ = whole
    model = str(folder / "model" / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).parent / "transformers")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "serve", model, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while not healthy(port):
            assert server.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)
        asked = {"model": model, "messages": [{"role": "user", "content": "How much is 2 + 2?"}], "max_tokens": 8}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/chat/completions",
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert answer["choices"][0]["message"]["role"] == "assistant"
        assert answer["usage"]["completion_tokens"] >= 1
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
            return response.status == 200
    except OSError:
        return False


# ------------------------------------------------------------ plans


SUITES = ["mini_math", "mini_code", "mini_facts"]
ROWS = [{"prompt": f"Say the number {i}.", "response": f"{i}"} for i in range(20)]
DATA = {
    "name": "said-mix", "sources": {"said": {"path": "said.jsonl", "kind": "sft"}},
    "decontaminate": {"suites": ["quickstart"]}, "mix": {"said": {"all": True}},
}  # fmt: skip
SFT = {"stage": "sft", "mixture": "said-mix", "suites": SUITES, "batch": 8, "epochs": 1, "max_length": 64}
GRPO = {"stage": "rlvr", "algorithm": "grpo", "samples": 2, "mixture": "tasks-clean"}


def write(folder, **given):
    """A plan of one data recipe and one stage, with what is given in place of its own."""
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    plan = {"name": "mine", "model": "tiny-llama", "data": [DATA], "stages": [SFT], **given}
    (folder / "plan.yaml").write_text(yaml.safe_dump({k: v for k, v in plan.items() if v is not None}))
    return folder / "plan.yaml"


def told_in(folder, path, *overrides, **given):
    return run_plan(load_plan(path, overrides), Store(folder / "store"), folder / "out", **given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"stage": []}, RecipeError, "plan.yaml: stage: unknown key; did you mean 'stages'?"),
        ({"stages": []}, RecipeError, "plan.yaml: stages: List should have at least 1 item"),
        ({"stages": [{**SFT, "stage": "dpoo"}]}, RecipeError, "stages[0].stage: is 'dpoo'; did you mean 'dpo'?"),
        ({"stages": [{"mixture": "said-mix"}]}, RecipeError, "stages[0].stage: is 'None'; known stages: dpo, reward"),
        ({"stages": [{**SFT, "epoch": 1}]}, RecipeError, "stages[0].epoch: unknown key; did you mean 'epochs'?"),
        ({"stages": [SFT, {"stage": "dpo"}]}, RecipeError, "stages[1].mixture: is missing"),
        ({"stages": [{**SFT, "batch": 0}]}, RecipeError, "stages[0].batch: should be greater than or equal to 1"),
        ({"model": None}, RecipeError, "stages[0].model: is missing, and no stage before it leaves a policy"),
        ({"model": "."}, InputError, ": cannot be opened ("),  # a folder, and no model in it
        ({"stages": [SFT, {"stage": "rlvr", "mixture": "tasks"}]}, RecipeError,
         "stages[1].reward_model: is missing, and no reward stage comes before it"),
        ({"stages": [SFT, {"stage": "rlvr", "mixture": "tasks"}, {"stage": "reward", "mixture": "pairs"}]}, RecipeError,
         "stages[1].reward_model: is missing, and no reward stage comes before it"),
        ({"stages": [SFT, {**GRPO, "gamma": 0.9}]}, RecipeError, "stages[1]: gamma: is a setting of ppo"),
        ({"stages": [{**SFT, "mixture": "said-mxi"}]}, RecipeError,
         "stages[0].mixture: no data recipe makes 'said-mxi', and STORE does not hold it; did you mean 'said-mix'"),
        ({"data": [DATA, DATA]}, RecipeError, "stages[0].mixture: 2 data recipes make 'said-mix'; rename it"),
        ({"stages": [{**SFT, "stage": "reward"}]}, RecipeError,
         "stages[0].mixture: 'said-mix' holds sft rows, and reward takes preference rows"),
        ({"stages": [{**SFT, "mixture": "said"}]}, GateError,
         "stages[0].mixture: 'said' is made without an audit; take 'said-clean', or pass"),
        ({"data": [{**DATA, "decontaminate": None}]}, GateError,
         "'said-mix' is made without an audit; give its recipe a section 'decontaminate', or pass"),
        ({"data": [{**DATA, "decontaminate": {"polcy": "rows"}}]}, RecipeError,
         "data[0]: decontaminate.polcy: unknown key; did you mean 'policy'?"),
        ({"data": [{**DATA, "sources": {}}]}, RecipeError, "data[0]: sources: Dictionary should have at least 1 item"),
        ({"data": ["quickstrat"]}, RecipeError, "data[0]: quickstrat: no such recipe; did you mean 'quickstart'?"),
        ({"data": ["gone.yaml"]}, RecipeError, "gone.yaml: no such recipe file"),
        ({"stages": [{**SFT, "max_length": 4096}]}, RecipeError,
         "stages[0]: max_length is 4,096, and the model has 2,048 positions; lower it"),
        ({"stages": [{**SFT, "batch": 8, "micro_batch": 3}]}, UsageError, "batch is 8, and processes × micro_batch"),
    ],
)  # fmt: skip
def test_a_bad_plan_is_one_line_before_anything_is_made(tmp_path, given, error, message):
    path = write(tmp_path, **given)
    with pytest.raises(error) as wrong:
        told_in(tmp_path, path)
    assert message.replace("STORE", str(tmp_path / "store")) in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert not list((tmp_path / "store").glob("*@*")) if (tmp_path / "store").exists() else True
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.sftt.batch=2", "--set stages.sftt.batch=2: did you mean 'sft'?"),
        ("stages.sft=2", "--set stages.sft=2: write it as stages.WHICH.key=value"),
        ("data.said-mix.sed=2", "data[0]: sed: unknown key; did you mean 'seed'?"),
        ("modle=x", "modle: unknown key; did you mean 'model'?"),
    ],
)
def test_a_bad_override_is_one_line(tmp_path, override, message):
    with pytest.raises((UsageError, RecipeError)) as wrong:
        load_plan(write(tmp_path), [override])
    assert message in str(wrong.value)


def test_two_stages_of_a_kind_are_told_apart_by_name_or_number(tmp_path):
    path = write(tmp_path, stages=[{**SFT, "name": "first"}, {**SFT, "name": "second"}])
    with pytest.raises(UsageError, match="2 of stages are called 'sft'; give its number, from 0"):
        load_plan(path, ["stages.sft.batch=2"])
    loaded = load_plan(path, ["stages.1.batch=2", "stages.first.optimiser.learning_rate=0.5", "name=other"])
    assert [s.recipe.batch for s in loaded.stages] == [8, 2]
    assert loaded.stages[0].recipe.optimiser.learning_rate == 0.5
    assert loaded.stages[1].starts == {"model": 0}
    assert loaded.plan.name == "other"


def test_data_that_was_not_audited_against_a_stages_suites_trains_nothing(tmp_path):
    path = write(tmp_path, stages=[SFT, {**SFT, "suites": [*SUITES, "gpqa"]}])
    with pytest.raises(GateError, match="said was not audited against gpqa") as refused:
        told_in(tmp_path, path)
    assert refused.value.exit_code == 3
    assert Store(tmp_path / "store").open("said-mix").rows == len(ROWS)  # the data is there,
    assert not (tmp_path / "out").exists()  # and not even the first stage was trained on it


def test_contaminated_data_trains_nothing_where_the_recipe_has_a_gate(tmp_path):
    gated = {**DATA, "decontaminate": {"suites": ["quickstart"], "policy": "tulu3", "gate": True}}
    path = write(tmp_path, data=[gated])
    items = (recipes.BUNDLED / "quickstart" / "evals" / "mini_math.jsonl").read_text().splitlines()
    leaked = [{"prompt": json.loads(item)["question"], "response": "…"} for item in items[:10]]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *leaked]))
    with pytest.raises(GateError, match="gate: said") as refused:
        told_in(tmp_path, path)
    assert refused.value.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_a_version_of_the_store_is_cleared_before_any_data_is_made(tmp_path, make_version):
    store = Store(tmp_path / "store")
    make_version(store, "raw", ["1", "2"])
    with pytest.raises(GateError, match="raw has no decontamination record"):
        told_in(tmp_path, write(tmp_path, stages=[SFT, {**SFT, "mixture": "raw"}]))
    assert store.names() == ["raw"]


def test_a_step_that_its_data_cannot_fill_is_found_before_training(tmp_path):
    with pytest.raises(
        RecipeError, match=r"stages\[1\].batch: a step takes 30, and epochs × rows of said-mix@.* are 20"
    ):
        told_in(tmp_path, write(tmp_path, stages=[SFT, {**SFT, "batch": 30}]))
    assert not (tmp_path / "out").exists()


def test_an_allowed_exception_trains_and_goes_on_record(tmp_path):
    path = write(tmp_path, data=[{**DATA, "decontaminate": None}])
    made = told_in(tmp_path, path, allow="a toy")
    assert "Trained without the check for decontamination: a toy" in (made.model / "README.md").read_text()
    with pytest.raises(GateError, match="is made without an audit"):
        told_in(tmp_path, path)


def test_recipes_may_stand_in_files_beside_the_plan_and_models_too(tmp_path, tiny_llama):
    shutil.copytree(tiny_llama, tmp_path / "base")
    write(tmp_path)
    (tmp_path / "said.yaml").write_text(yaml.safe_dump(DATA))
    made = told_in(tmp_path, write(tmp_path, data=["said.yaml"], model="base"), "data.said-mix.seed=3")
    assert made.stages[0].models == {"model": str(tmp_path / "base")}
    assert Store(tmp_path / "store").open("said-mix").manifest.origin.recipe["seed"] == 3
    again = told_in(tmp_path, tmp_path / "plan.yaml", "data.said-mix.seed=3")
    assert [s.status for s in again.stages] == ["cached"]
    (tmp_path / "base" / "config.json").write_text((tmp_path / "base" / "config.json").read_text() + "\n")
    changed = told_in(tmp_path, tmp_path / "plan.yaml", "data.said-mix.seed=3", dry_run=True)
    assert [s.status for s in changed.stages] == ["to run"]  # another model is another training
    assert told(changed)["stages"][0]["folder"] != str(again.stages[0].folder)


def test_a_folder_that_holds_another_training_is_left_alone(tmp_path):
    (tmp_path / "out" / "model").mkdir(parents=True)
    with pytest.raises(UsageError, match="out: holds a training of its own; choose another --output"):
        told_in(tmp_path, write(tmp_path))


def test_a_training_that_fails_says_which_stage_it_was(tmp_path):
    path = write(tmp_path, stages=[{**SFT, "optimiser": {"learning_rate": 1e30, "warmup": 0.0}}])
    with pytest.raises(TuluError, match="sft mine-sft: step 1: the loss is"):
        told_in(tmp_path, path)


def test_what_a_recipe_will_make_is_known_with_its_kind():
    loaded = load_plan("tiny")
    made = products(loaded.data[0].recipe)
    assert {name: p.kind for name, p in made.items() if p.clean} == {
        "tiny_rules-clean": "sft", "tiny_words-clean": "sft", "tiny_pairs-clean": "preference",
        "tiny_tasks-clean": "rlvr", "tiny-mix": "sft",
    }  # fmt: skip
    assert not made["tiny_rules"].clean


def test_the_help_ends_with_an_example_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    last = train_all("--help").output.strip().splitlines()[-1].strip()
    assert last == "Example: tulu train all tiny -o tiny-model --dry-run"
    assert train_all(*last.split()[4:]).exit_code == 0


def test_the_quickstart_can_be_trained_on(tmp_path):
    """The bundled recipe fits the bundled mixture: it passes the gate, and the loss falls."""
    from trainers import sft
    from trainers.opening import resolve
    from tulu_data import pipeline
    from tulu_data.strict import load_yaml, validate

    store = Store(tmp_path / "store")
    pipeline.run(recipes.load("quickstart"), store)
    path = recipes.BUNDLED / "training" / "quickstart-sft.yaml"
    recipe = validate(sft.Recipe, load_yaml(path), str(path))
    recipe = recipe.model_copy(update={"model": resolve(recipe.model, path.parent)})
    trained = sft.train(recipe, store, tmp_path / "out")
    assert trained.losses[-1] < trained.losses[0] - 1
