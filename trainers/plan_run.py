"""Goes along a plan: data recipes, the gate, trainings; what is there already is not made again.

Data comes first, all of it, then the gate for every stage, so that nothing is trained in vain; then the stages are
trained in turn. A stage's folder carries the hash of its settings, its data and the models that it starts from, as a
version's does. So a finished stage is skipped, one that was stopped goes on, and one of which anything changed
that decides what comes out is trained beside what there was, which stays.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from trainers import gate, ranks
from trainers.checkpoints import checkpoints
from trainers.metrics import METRICS_FILE, read
from trainers.opening import FACTS_FILE
from trainers.page import REPORT_FILE, write_page
from trainers.plan import Loaded, Stage, check, check_version
from trainers.preparing import digest_of
from tulu_data import pipeline
from tulu_data.errors import TuluError, UsageError
from tulu_data.progress import Progress, Silent
from tulu_data.recipe import CLEAN
from tulu_data.store import Store

WEIGHTS = (".safetensors", ".bin")
BESIDE = ("config.json", "tokenizer.json")  # what decides, beside the weights, what a model says
MODEL, PLAN_FILE = "model", "plan.json"


class StageReport(NamedTuple):
    """A stage of a plan: what it starts from, and what came of it. What is not known yet is None.

    models: those it starts from, by key. first, last: the measure at the first step and at the last.
    """

    stage: str
    name: str
    status: Literal["done", "cached", "goes on", "to run"]
    mixture: str
    models: dict[str, str | None]
    folder: Path | None
    steps: int | None
    measure: str
    first: float | None
    last: float | None
    seconds: float

    @property
    def model(self) -> Path | None:
        """The folder of the model that it leaves; None before it does."""
        return self.folder / MODEL if self.folder is not None and self.status in ("done", "cached") else None


@dataclass
class Made:
    """What a plan came to. model: the last policy, by the name that stays; None in a dry run."""

    plan: str
    data: list[pipeline.Run] = field(default_factory=list)
    stages: list[StageReport] = field(default_factory=list)
    model: Path | None = None


def run_plan(
    loaded: Loaded,
    store: Store,
    output: Path,
    *,
    workers: int = 1,
    allow: str | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Made:
    """Makes the data and trains the stages; the last policy is `output/model`, all curves `output/report.html`.

    With `dry_run` nothing is made: the result says what is there and what would run. What can be known is checked
    before anything runs; errors as in the pipeline and the trainers, `GateError` for data that was not decontaminated.
    """
    progress = progress or Silent()
    group = ranks.here(cuda=torch.cuda.is_available())
    made = Made(loaded.plan.name)
    if group.first:  # the others wait for what it shares
        if (output / MODEL).exists() and not (output / MODEL).is_symlink():
            raise UsageError(f"{output}: holds a training of its own; choose another --output")
        made.data = check(loaded, store, processes=group.size, allow=allow, progress=progress)
        if not dry_run:
            made.data = [pipeline.run(recipe, store, workers=workers, progress=progress) for recipe in loaded.data]
    known = group.share(_versions(made.data))
    for i, stage in enumerate(loaded.stages) if group.first else ():
        if (ref := _mixture(stage, store, known)) is not None:
            check_version(f"{loaded.place}: stages[{i}]", stage.recipe, store.open(ref))
            gate.clear(store.open(ref), stage.recipe.suites, store, allow=allow, progress=progress)
    for stage in loaded.stages:
        start = time.monotonic()
        report = group.share(_before(stage, store, output, known, made.stages) if group.first else None)
        assert report is not None
        if report.folder is not None and report.model is None and not dry_run:
            if group.first:
                _say(report, output, made.stages, progress)
            recipe = stage.recipe.model_copy(update={"mixture": report.mixture, **report.models})
            try:
                stage.training.trainer.train(recipe, store, report.folder, allow=allow, progress=progress)
            except TuluError as e:
                raise type(e)(f"{recipe.stage} {recipe.name}: {e}") from None
            _make_room()
            group.wait()  # the first process writes the model
            report = _after(report._replace(status="done", seconds=time.monotonic() - start))
        made.stages.append(report)
    if not dry_run:
        made.model = output / MODEL
        if group.first:
            _leave(made, loaded, output)
    return made


# ------------------------------------------------------------ a stage


def _versions(runs: Sequence[pipeline.Run]) -> dict[str, str | None]:
    """What data recipes made, as name → `name@tv1-…`; None for what is still to be made."""
    found: dict[str, str | None] = {}
    for run in runs:
        clean = {f"{name}{CLEAN}": version for name, version in run.clean.items()}
        for name, version in {**run.sources, **clean, run.recipe: run.mixture}.items():
            found[name] = None if version is None else version.ref
    return found


def _mixture(stage: Stage, store: Store, known: Mapping[str, str | None]) -> str | None:
    """The very version that a stage trains on; None where it is still to be made."""
    name = stage.recipe.mixture
    return known[name] if name in known else str(store.open(name).ref)


def _before(
    stage: Stage, store: Store, output: Path, known: Mapping[str, str | None], done: Sequence[StageReport]
) -> StageReport:
    """A stage as it stands: its folder, and whether its model is there."""
    recipe, mixture = stage.recipe, _mixture(stage, store, known)
    models = {k: v for k in ("model", "reward_model") if (v := getattr(recipe, k, None)) is not None}
    models |= {key: _text(done[i].model) for key, i in stage.starts.items()}
    report = StageReport(
        recipe.stage, recipe.name, "to run", mixture or recipe.mixture, models, None, None, stage.training.measure,
        None, None, 0.0,
    )  # fmt: skip
    starts = [model for model in models.values() if model is not None]
    if mixture is None or len(starts) < len(models):
        return report
    settled = recipe.model_copy(update={"mixture": mixture})
    key = digest_of(settled, store.open(mixture), *map(identity, starts))
    report = report._replace(folder=output / f"{recipe.stage}-{key[:8]}")
    assert report.folder is not None
    if (report.folder / MODEL / FACTS_FILE).is_file():
        return _after(report._replace(status="cached"))
    return report._replace(status="goes on" if checkpoints(report.folder) else "to run")


def identity(model: str) -> str:
    """What tells a model from others: the digest of a folder's weights, configuration, tokenizer; the hub's commit."""
    folder = Path(model)
    if not folder.is_dir():
        from transformers.utils.hub import cached_file

        return f"{model}@{Path(str(cached_file(model, 'config.json'))).parent.name}"
    h = sha256()
    for path in sorted(p for p in folder.iterdir() if p.suffix in WEIGHTS or p.name in BESIDE):
        with path.open("rb") as file:
            h.update(f"{path.name}\n{file_digest(file, 'sha256').hexdigest()}\n".encode())
    return h.hexdigest()


def _after(report: StageReport) -> StageReport:
    """With the first and the last measure of the training, whenever its steps were taken."""
    assert report.folder is not None
    lines = read(report.folder / METRICS_FILE)
    first, last = (lines[i].get(report.measure) if lines else None for i in (0, -1))
    return report._replace(steps=lines[-1]["step"] + 1 if lines else None, first=first, last=last)


def _say(report: StageReport, output: Path, done: Sequence[StageReport], progress: Progress) -> None:
    """That a training starts beside others, which the user may have thought to go on with."""
    own = {report.folder, *(r.folder for r in done)}
    others = sorted(p.name for p in output.glob(f"{report.stage}-*") if p not in own)
    if others and report.status == "to run":
        progress.note(f"{report.folder}: settings, data or models are not those of {', '.join(others)}; trained anew")


def _make_room() -> None:
    """A training's models refer to themselves: the device's memory is free for the next when they are collected."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


# ------------------------------------------------------------ what is left behind


def _leave(made: Made, loaded: Loaded, output: Path) -> None:
    """The name of the last policy, the plan with what came of it, and one page of all curves."""
    policies = [r for r, stage in zip(made.stages, loaded.stages, strict=True) if stage.training.policy]
    last = (policies or made.stages)[-1].folder
    assert last is not None
    part = output / f".{MODEL}.part"
    part.unlink(missing_ok=True)
    part.symlink_to(Path(last.name) / MODEL)
    part.replace(output / MODEL)
    text = json.dumps(told(made, lasting=True), indent=2, ensure_ascii=False)
    (output / PLAN_FILE).write_text(f"{text}\n", encoding="utf-8")
    folders = [r.folder for r in made.stages if r.folder is not None]
    write_page([folder for folder in folders if (folder / METRICS_FILE).is_file()], output / REPORT_FILE)


def told(made: Made, *, lasting: bool = False) -> dict[str, Any]:
    """A plan and what came of it. lasting: without what differs when it is run again."""
    leave_out = {"status", "seconds"} if lasting else set()

    def of(report: NamedTuple) -> dict[str, Any]:
        values = report._asdict().items()
        return {k: str(v) if isinstance(v, Path) else v for k, v in values if k not in leave_out}

    data = [{"recipe": run.recipe, "steps": [of(step) for step in run.steps]} for run in made.data]
    model = None if made.model is None else str(made.model)
    return {"plan": made.plan, "data": data, "stages": [of(report) for report in made.stages], "model": model}
