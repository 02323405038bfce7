"""A run of evaluations on the disk: what was asked, what came, what it scored, and under which rules.

    OUT/run.json                 the model, the backend, versions; for each task its digests, decoding, counts
    OUT/samples/TASK.parquet     a row for each response, in the order of items and samples

A task's file is written whole or not at all: a run that was stopped goes on with the tasks that are missing. Responses
are written before they are judged, so a judge that is down, or another rule, never costs a generation. What is about
to take a file's place is announced in run.json first: whenever a process is killed, its answers are known for what they
are.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from tulu_data import __version__
from tulu_data.errors import InputError, UsageError, nearest
from tulu_data.evals.sources import source_digest
from tulu_data.evals.task import Decoding, Item, Metric, Task
from tulu_data.manifest import canonical_json
from tulu_data.parquet import file_sha256, fsync, write_table
from tulu_data.store import writing
from tulu_data.strict import Strict
from tulu_data.suites import Group

FORMAT = "tulu-eval/1"
RUN_FILE = "run.json"
STUB = "stub"  # who judged where rules by wording stood in for a judge
SAMPLED = 1 << 20  # bytes at each end of a large file by which a model's folder is known

SAMPLES = pa.schema(
    [
        pa.field("instance_id", pa.string(), nullable=False),
        pa.field("subset", pa.string()),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("messages", pa.string(), nullable=False),  # JSON: what was asked, turn by turn
        pa.field("truth", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("extracted", pa.string()),  # what the verifier took for the answer, where it says so
        pa.field("score", pa.float64()),  # 0 to 1; null where it could not be judged
        pa.field("reason", pa.string(), nullable=False),
        pa.field("logps", pa.list_(pa.float64()), nullable=False),
        pa.field("extra", pa.string(), nullable=False),  # JSON: the judge's reply, options, …
    ]
)

Status = Literal["answered", "scored", "not scored"]


class Digests(Strict):
    """What a score hangs on, as sha256 in hex.

    prompts: the messages of all items with their ids, and their options. truths: what they were held against. rules:
    the task's rules, verifier with its source, metric and judge. decoding: how the model answered. suite: of the
    suite's version, as audits record it; None where it is not known.
    """

    prompts: str
    truths: str
    rules: str
    decoding: str
    suite: str | None = None

    @property
    def asked(self) -> tuple[str, str]:
        """What the responses hang on."""
        return self.prompts, self.decoding


class Model(Strict):
    """Who answered.

    identity: of the weights where they are in a folder, else of the name and the server; and of the settings. settings:
    what of the backend decides the answers, where it is not the default: an adapter, a revision, a type. folder: where
    the weights lay, whole, for the record of what they were trained on.
    """

    name: str
    identity: str
    backend: str
    base_url: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    folder: str | None = None

    @property
    def known_by(self) -> tuple[Any, ...]:
        """What is the same of one model, however its folder was written."""
        return self.identity, self.backend, self.base_url, self.settings


class TaskRun(Strict):
    """What a run says of one task. instances: of the suite; items: that were asked. score, stderr: 0 to 1.

    limit: only so many first items were asked, of a macro metric in each subset, for trying out. judge: who judged,
    `stub` for rules by wording. why: what is wrong where it is not scored. changed: what the run asked otherwise than
    the task, so that it does not compare with what was published. shots_from: a file with other examples than the
    task's own. next_sha256: of samples of the same prompts and
    decoding that were about to take the file's place.
    """

    id: str
    title: str
    group: Group
    suite: str
    metric: Metric
    status: Status
    why: str = ""
    digests: Digests
    decoding: Decoding
    rules: str
    verifier: str | None = None
    judge: str | None = None
    harness: str
    shots: int = 0
    limit: int | None = None
    instances: int = Field(ge=0)
    items: int = Field(ge=0)
    rows: int = Field(ge=0)
    undecided: int = Field(default=0, ge=0, description="rows that could not be judged")
    score: float | None = None
    stderr: float | None = None
    note: str = ""
    changed: tuple[str, ...] = ()
    shots_from: str = ""
    samples_sha256: str
    next_sha256: str | None = None
    tulu_data: str = __version__


class Facts(Strict):
    """What run.json holds."""

    format: str = FORMAT
    model: Model
    tasks: dict[str, TaskRun] = Field(default_factory=dict)


class Run(NamedTuple):
    """A run on the disk, and what it says of itself."""

    folder: Path
    facts: Facts

    @property
    def tasks(self) -> Mapping[str, TaskRun]:
        """Those that have been answered, by id."""
        return self.facts.tasks

    def without(self, leave_out: Collection[str]) -> Run:
        """The run as if it had not these tasks: what is left out must not be in an average either."""
        tasks = {name: task for name, task in self.tasks.items() if name not in leave_out}
        return self._replace(facts=self.facts.model_copy(update={"tasks": tasks}))

    def samples(self, task: str) -> pa.Table:
        """The rows of a task; `InputError` where they are missing, damaged, or not those of run.json."""
        path = self.folder / "samples" / f"{task}.parquet"
        if task not in self.tasks:
            raise InputError(f"{self.folder}: has no task {task!r}; {nearest(task, self.tasks, noun='task')}")
        try:
            if file_sha256(path) != self.tasks[task].samples_sha256:
                raise InputError(f"{path}: is not what {RUN_FILE} says; run the task again")
            return pq.read_table(path, schema=SAMPLES)
        except FileNotFoundError:
            raise InputError(f"{path}: is missing; run the task again") from None
        except (OSError, pa.ArrowException) as e:
            raise InputError(f"{path}: cannot be read ({str(e).splitlines()[0]}); run the task again") from None

    def keep(self, task: TaskRun, samples: pa.Table) -> Run:
        """Writes a task's rows, then the facts; the run as it is now, with what others have added to it meanwhile."""
        path = self.folder / "samples" / f"{task.id}.parquet"
        with writing(self.folder, "-o"):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            with _alone(self.folder):
                write_table(part, samples.cast(SAMPLES))
                digest = file_sha256(part)
                run = open_run(self.folder) if (self.folder / RUN_FILE).exists() else self
                known = run.tasks.get(task.id)
                if known is not None and known.digests.asked == task.digests.asked:
                    run = run._with(known.model_copy(update={"next_sha256": digest})).written()
                part.replace(path)
                return run._with(task.model_copy(update={"samples_sha256": digest, "next_sha256": None})).written()

    def _with(self, task: TaskRun) -> Run:
        return self._replace(facts=self.facts.model_copy(update={"tasks": {**self.tasks, task.id: task}}))

    def written(self) -> Run:
        """The run, with its run.json on the disk."""
        path = self.folder / RUN_FILE
        part = path.with_name(f".{RUN_FILE}.part")
        with writing(self.folder, "-o"):
            part.write_text(
                json.dumps(self.facts.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            fsync(part)
            part.replace(path)
        return self

    def holds(self, task: str) -> bool:
        """Whether the task's responses are there, whole, under the prompts and decoding that run.json says.

        Also where the process was killed before it could say what they scored.
        """
        known = self.tasks.get(task)
        path = self.folder / "samples" / f"{task}.parquet"
        return known is not None and path.is_file() and file_sha256(path) in (known.samples_sha256, known.next_sha256)

    def scored(self, task: str) -> bool:
        """Whether the task's score is there with the samples that it is of."""
        known = self.tasks.get(task)
        path = self.folder / "samples" / f"{task}.parquet"
        done = known is not None and known.status == "scored" and path.is_file()
        return done and known is not None and file_sha256(path) == known.samples_sha256

    def responses(self, task: str) -> pa.Table:
        """The rows of a task that the run `holds`, whatever they say of scores."""
        return pq.read_table(self.folder / "samples" / f"{task}.parquet", schema=SAMPLES)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time change run.json: several may run tasks of their own into one folder."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def open_run(folder: str | Path) -> Run:
    """The run in a folder; `InputError` in one line where there is none, or it is another version's."""
    folder = Path(folder)
    path = folder / RUN_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: holds no evaluation ({RUN_FILE} is missing); run tulu eval run") from None
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot be read ({e}); run tulu eval run again") from None
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: format is {found!r}, not {FORMAT!r}; is it the folder of an evaluation?")
    try:
        return Run(folder, Facts.model_validate(data))
    except ValidationError as e:
        where = ".".join(map(str, e.errors()[0]["loc"]))
        raise InputError(f"{path}: {where}: {e.errors()[0]['msg']}; run tulu eval run again") from None


def start(folder: str | Path, model: Model) -> Run:
    """The run of a model in a folder, new or to go on with; `UsageError` where it is of another model."""
    folder = Path(folder)
    if not (folder / RUN_FILE).exists():
        return Run(folder, Facts(model=model))
    run = open_run(folder)
    known = run.facts.model
    if known.known_by != model.known_by:
        raise UsageError(
            f"{folder}: holds results of {_known(known, model)}; choose another folder for {model.name} by "
            f"{model.backend}"
        )
    if known == model:
        return run
    with writing(folder, "-o"), _alone(folder):
        facts = open_run(folder).facts
        return Run(folder, facts.model_copy(update={"model": model})).written()


def _known(known: Model, model: Model) -> str:
    """A folder's model, and what keeps another from being it."""
    said = f"{known.name} by {known.backend}"
    if known.name != model.name or known.backend != model.backend:
        return said
    if known.base_url != model.base_url:
        return f"{said} at {known.base_url or 'the default server'}"
    keys = sorted({*known.settings, *model.settings})
    if other := [k for k in keys if known.settings.get(k) != model.settings.get(k)]:
        return f"{said} with " + ", ".join(f"{k} {known.settings.get(k, 'not given')}" for k in other)
    return f"{said}, which has changed"


# ------------------------------------------------------------ identities


def digests_of(
    task: Task, items: Sequence[Item], *, suite: str | None, judge: str | None = None, stand_in: str | None = None
) -> Digests:
    """The digests of a task over its items, with the suite's own.

    judge: who judges, where somebody does. stand_in: the verifier that does so in a judge's place.
    """
    prompts = ([i.id, [dict(m) for m in i.messages], i.chat, [o for o, _ in i.options]] for i in items)
    truths = ([i.id, i.subset, i.truth, [r for _, r in i.options]] for i in items)
    verifier = task.verifier or stand_in
    source = source_digest(verifier) if verifier else None
    rules = [task.rules, task.verifier, source, task.metric, task.output, task.judge, judge]
    return Digests(
        prompts=_digest(prompts),
        truths=_digest(truths),
        rules=_digest([rules]),
        decoding=_digest([task.decoding.model_dump(mode="json")]),
        suite=suite,
    )


def _digest(values: Iterable[Any]) -> str:
    h = sha256()
    for value in values:
        h.update(canonical_json(value) + b"\n")
    return h.hexdigest()


def model_of(name: str, backend: str, base_url: str | None = None, settings: Mapping[str, Any] | None = None) -> Model:
    """A model with its identity: of a folder what its files hold (of large ones the ends), else the name alone.

    settings: see `Model`; of one that names a folder (an adapter, a tokenizer) what its files hold counts as well.
    """
    folder = Path(name)
    h = sha256()
    if folder.is_dir() and base_url is None:
        _hash_folder(h, folder)
    else:
        h.update(canonical_json([name, base_url]))
    for key, value in sorted((settings or {}).items()):
        h.update(canonical_json([key, value]))
        if isinstance(value, str) and value and Path(value).is_dir():
            _hash_folder(h, Path(value))
    place = str(folder.resolve()) if folder.is_dir() else None
    return Model(
        name=name,
        identity=h.hexdigest()[:32],
        backend=backend,
        base_url=base_url,
        settings=dict(settings or {}),
        folder=place,
    )


def _hash_folder(h: Any, folder: Path) -> None:
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        size = path.stat().st_size
        with path.open("rb") as file:
            ends = file.read(SAMPLED)
            if size > 2 * SAMPLED:
                file.seek(-SAMPLED, 2)
            ends += file.read()
        h.update(canonical_json([path.name, size, sha256(ends).hexdigest()]))


# ------------------------------------------------------------ what may be compared

BINDING = ("prompts", "truths", "rules", "decoding")  # digests that must be equal where scores are compared


def differing(first: TaskRun, second: TaskRun) -> list[str]:
    """Why two scores of one task are not comparable, in words; empty where they are."""
    found = [name for name in BINDING if getattr(first.digests, name) != getattr(second.digests, name)]
    if first.limit != second.limit:
        found.insert(0, f"limit ({first.limit or 'none'}, {second.limit or 'none'})")
    if first.judge != second.judge:
        found.append(f"judge ({first.judge or 'none'}, {second.judge or 'none'})")
    return found


def common_tasks(runs: Sequence[Run], leave_out: Collection[str] = ()) -> list[str]:
    """The tasks that all runs have scored, but for those to leave out, in the first run's order.

    `UsageError` where one was asked or judged otherwise in another run: it names the task and what differs. So for a
    task to leave out that no run has.
    """
    for left in leave_out:
        if not any(left in run.tasks for run in runs):
            known = nearest(left, {t for run in runs for t in run.tasks}, noun="task")
            raise UsageError(f"--leave-out {left!r}: no run has it; {known}")
    first, *others = runs
    common = []
    for name, task in first.tasks.items():
        if name in leave_out or any(name not in run.tasks for run in others):
            continue
        if any(run.tasks[name].status != "scored" for run in runs):
            continue
        for run in others:
            if what := differing(task, run.tasks[name]):
                raise UsageError(
                    f"task {name}: {first.folder} and {run.folder} differ in {', '.join(what)}, so their scores do not "
                    f"compare; run one again, or pass --leave-out {name}"
                )
        common.append(name)
    return common
