"""Trackers: named ones alone are imported, runs that go on are the same runs, and errors say what to install."""

import inspect
import math
import subprocess
import sys
import types

import pytest

from trainers import trackers
from trainers.trackers import identity, open_trackers
from tulu_data.errors import UsageError

FACTS = {"stage": "sft", "recipe": "0f3a", "settings": {"name": "herring", "batch": 8}, "data": {"override": None}}


# The parameters of the real functions, which stubs below hold calls to. wandb 0.31.0, trackio 0.43.0.
def wandb_init(
    entity=None, project=None, dir=None, id=None, name=None, notes=None, tags=None, config=None,  # noqa: A002
    config_exclude_keys=None, config_include_keys=None, allow_val_change=None, group=None, job_type=None, mode=None,
    force=None, reinit=None, resume=None, resume_from=None, fork_from=None, save_code=None, tensorboard=None,
    sync_tensorboard=None, monitor_gym=None, settings=None, anonymous=None,
): ...  # fmt: skip


def trackio_init(
    project, name=None, group=None, space_id=None, server_url=None, dataset_id=None, bucket_id=None, config=None,
    resume="never", settings=None, private=None, embed=True, auto_log_gpu=None, gpu_log_interval=10.0,
    auto_log_cpu=None, cpu_log_interval=10.0, webhook_url=None, webhook_min_level=None,
): ...  # fmt: skip


class StubRun:
    def __init__(self, given):
        self.given, self.logged, self.finished = given, [], 0

    def log(self, data, step=None, commit=None):
        self.logged.append((step, data))

    def finish(self, exit_code=None):
        print("said by the package")
        self.finished += 1


def stub(monkeypatch, name, signature, *, error=None):
    """A module in the package's place; its runs."""
    module, runs = types.ModuleType(name), []
    module.Error = type("Error", (Exception,), {})

    def init(*args, **kwargs):
        inspect.signature(signature).bind(*args, **kwargs)
        print("said by the package")
        if error:
            raise (module.Error if name == "wandb" else ValueError)(error)
        runs.append(StubRun(kwargs))
        return runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, name, module)
    return runs


def absent(monkeypatch, name):
    class Absent:
        def find_spec(self, full, path=None, target=None):
            if full.partition(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {full!r}", name=full)

    for known in [m for m in sys.modules if m.partition(".")[0] == name or m.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])


# ------------------------------------------------------------ names


def test_no_names_give_no_trackers(tmp_path):
    assert open_trackers([], tmp_path, FACTS) == []


def test_an_unknown_name_names_the_nearest(tmp_path):
    with pytest.raises(UsageError, match=r"tracker 'wandbb': unknown; did you mean 'wandb'\?"):
        open_trackers(["wandbb"], tmp_path, FACTS)
    with pytest.raises(UsageError, match="known trackers: tensorboard, trackio, wandb"):
        open_trackers(["x"], tmp_path, FACTS)


@pytest.mark.parametrize("name", sorted(trackers.TRACKERS))
def test_what_is_not_installed_is_said_with_the_command(tmp_path, monkeypatch, name):
    absent(monkeypatch, name)
    with pytest.raises(UsageError) as caught:
        open_trackers([name], tmp_path, FACTS)
    assert str(caught.value) == f"tracker {name}: not installed; pip install {name}"


def test_a_package_that_lacks_a_part_of_its_own_names_it(tmp_path, monkeypatch):
    (tmp_path / "trackio.py").write_text("import a_part_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    with pytest.raises(UsageError, match=r"cannot be imported \(No module named 'a_part_that_is_missing'\)"):
        open_trackers(["trackio"], tmp_path, FACTS)


def test_nothing_is_opened_where_one_is_missing(tmp_path, monkeypatch):
    runs = stub(monkeypatch, "wandb", wandb_init)
    absent(monkeypatch, "trackio")
    with pytest.raises(UsageError, match="trackio"):
        open_trackers(["wandb", "trackio"], tmp_path, FACTS)
    assert runs == []


def test_what_is_open_is_closed_where_the_next_is_turned_away(tmp_path, monkeypatch):
    runs = stub(monkeypatch, "wandb", wandb_init)
    stub(monkeypatch, "trackio", trackio_init, error="no such server\nmore")
    with pytest.raises(UsageError, match=r"^tracker trackio: no such server; mend its settings"):
        open_trackers(["wandb", "trackio"], tmp_path, FACTS)
    assert [run.finished for run in runs] == [1]


def test_only_named_packages_are_imported():
    code = "import sys, trainers.trackers; print({'torch', 'tensorboard', 'wandb', 'trackio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# ------------------------------------------------------------ runs


def test_a_run_that_goes_on_is_the_same_and_others_are_not(tmp_path, monkeypatch):
    first = identity(tmp_path / "a", FACTS)
    monkeypatch.chdir(tmp_path)
    assert identity(tmp_path / "." / "a", {**FACTS, "environment": {"python": "3.14"}}) == first
    assert first.name == "herring"
    others = [identity(tmp_path / "b", FACTS), identity(tmp_path / "a", {**FACTS, "recipe": "1"})]
    assert len({first.id, *(o.id for o in others)}) == 3
    assert identity(tmp_path / "a", {}).name == "a"


def test_wandb_is_told_of_the_run(tmp_path, monkeypatch):
    runs = stub(monkeypatch, "wandb", wandb_init)
    (tracker,) = open_trackers(["wandb", "wandb"], tmp_path, FACTS)
    tracker.write(3, {"step": 3, "loss": 0.5})
    tracker.close()
    (run,) = runs
    known = identity(tmp_path, FACTS)
    assert run.given == {
        "project": "tulu-data", "name": "herring", "id": known.id, "resume": "allow", "dir": str(tmp_path),
        "config": FACTS, "allow_val_change": True,
    }  # fmt: skip
    assert (run.logged, run.finished) == ([(3, {"loss": 0.5})], 1)


def test_wandb_that_turns_a_run_away_is_an_error_in_one_line(tmp_path, monkeypatch):
    stub(monkeypatch, "wandb", wandb_init, error="No API key configured.\nmore")
    with pytest.raises(UsageError, match=r"^tracker wandb: No API key configured; run `wandb login`, or set WANDB_"):
        open_trackers(["wandb"], tmp_path, FACTS)


def test_trackio_is_told_of_the_run_and_leaves_stdout_alone(tmp_path, monkeypatch, capsys):
    runs = stub(monkeypatch, "trackio", trackio_init)
    (tracker,) = open_trackers(["trackio"], tmp_path, FACTS)
    tracker.write(3, {"step": 3, "loss": 0.5})
    tracker.close()
    (run,) = runs
    name = f"herring-{identity(tmp_path, FACTS).id[:8]}"
    assert run.given == {"project": "tulu-data", "name": name, "resume": "allow", "config": FACTS}
    assert (run.logged, run.finished) == ([(3, {"loss": 0.5})], 1)
    assert capsys.readouterr().out == ""


def test_tensorboard_drops_the_steps_that_are_taken_again(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (0, 3):
        (tracker,) = open_trackers(["tensorboard"], tmp_path, FACTS)
        for step in range(first, first + 5):
            tracker.write(step, {"step": step, "loss": first + step, "kl": math.nan})
        tracker.close()
    (unused,) = open_trackers(["tensorboard"], tmp_path / "unused", FACTS)
    unused.close()
    assert not (tmp_path / "unused").exists()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert found.Tags()["scalars"] == ["loss", "kl"]
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [
        (0, 0), (1, 1), (2, 2), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10)
    ]  # fmt: skip


def test_tensorboard_is_opened_at_the_first_step(tmp_path, monkeypatch):
    made = []

    class Writer:
        def __init__(self, log_dir=None, comment="", purge_step=None, max_queue=10, flush_secs=120, filename_suffix=""):
            made.append((log_dir, purge_step))
            self.added = []

        def add_scalar(
            self, tag, scalar_value, global_step=None, walltime=None, new_style=False, double_precision=False
        ):
            made.append((tag, scalar_value, global_step))

        def close(self):
            made.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    (tracker,) = open_trackers(["tensorboard"], tmp_path, FACTS)
    assert made == []
    tracker.write(7, {"step": 7, "loss": 0.5})
    tracker.close()
    assert made == [(str(tmp_path / "tensorboard"), 7), ("loss", 0.5, 7), "closed"]


# ------------------------------------------------------------ the real packages, where they are


@pytest.mark.parametrize(("name", "known"), [("wandb", wandb_init), ("trackio", trackio_init)])
def test_the_stubs_are_like_the_real(name, known):
    module = pytest.importorskip(name)
    real = inspect.signature(module.init).parameters
    used = {"wandb": ("project", "name", "id", "resume", "dir", "config", "allow_val_change"),
            "trackio": ("project", "name", "resume", "config")}[name]  # fmt: skip
    assert set(used) <= set(real)
    assert set(used) <= set(inspect.signature(known).parameters)
