"""One task of a run: its items are asked, what comes is kept, judged, and written; nothing is asked for twice.

What a model has answered so far stands in OUT/samples/.TASK.partial.jsonl until the task is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from tulu_data.errors import InputError, StoreError, TuluError, UsageError
from tulu_data.evals import judging, scoring
from tulu_data.evals.metrics import estimate
from tulu_data.evals.results import Digests, Run, Status, TaskRun, digests_of
from tulu_data.evals.task import Item, Response, Task
from tulu_data.store import writing

if TYPE_CHECKING:
    from tulu_data.llm.spec import ModelSpec

Ask = Callable[[Task, Sequence[Item]], Iterator[list[Response]]]  # some responses at a time, an item's samples together


class Asked(NamedTuple):
    """A task's items, and what is known of their suite. instances: of all of it. limit: None where no item lacks."""

    task: Task
    items: Sequence[Item]
    instances: int
    suite: str | None
    limit: int | None = None


class Judges(NamedTuple):
    """Who judges. spec: None where nobody is configured; stub: rules by wording do for safety; references: by task;
    quiet: no progress on stderr.
    """

    spec: ModelSpec | None = None
    stub: bool = False
    references: Mapping[str, judging.References] = {}
    quiet: bool = True

    def name(self, task: Task) -> str | None:
        """What a result says of its judge; None where none is needed, or none is at hand."""
        if task.judge is None or self.missing(task) is not None:
            return None
        return judging.judge_name(task.judge, self.spec.model if self.spec else None, self.references.get(task.id))

    def missing(self, task: Task) -> str | None:
        """Why a task cannot be judged; None where it can."""
        model = self.spec.model if self.spec else None
        return judging.missing(task, model=model, references=self.references.get(task.id), stub=self.stub)


def ask(task: Task, *, suites_root: Path | None, limit: int | None = None) -> Asked:
    """A task's items from its suite; `InputError` that says how to get the data where they cannot be read.

    `UsageError` for a task that nothing here can score.
    """
    if task.unscored:
        raise UsageError(f"task {task.id}: not scored: {task.unscored}")
    from tulu_data.suite_registry import find_suites
    from tulu_data.suites import records

    specs = find_suites([task.suite], Path.cwd(), suites_root, f"task {task.id}")
    try:
        found = records(specs[0])
    except TuluError as e:
        raise InputError(
            f"task {task.id}: {e}; its data comes from the hub, or a copy {task.suite}.jsonl (.parquet, .csv) in "
            "the folder that --suites-root names"
        ) from None
    whole = task.items(found)
    items = whole[:limit]
    digest = suite_digest(task.suite, suites_root)
    return Asked(task, items, len(found), digest, limit if len(items) < len(whole) else None)


def suite_digest(suite: str, suites_root: Path | None) -> str:
    """The digest of a suite's version as audits record it: over the texts that they match."""
    from tulu_data.pipeline import STEPS

    section = {"suites": [suite]} | ({"suites_root": str(suites_root.resolve())} if suites_root else {})
    prepared: Any = import_module(STEPS["decontaminate"]).validate(section, f"suite {suite}", Path.cwd())
    return str(prepared.suites[0].digest)


def evaluate(run: Run, asked: Asked, respond: Ask, *, harness: str, judges: Judges, workers: int | None = None) -> Run:
    """The run with this task done, as far as it can be: without a judge it is answered and `not scored`.

    A task that is done under the same prompts, rules and decoding is left alone; where the rules alone differ its
    responses are judged anew. `Stopped` where the judge is down: what it said is kept, and so are the responses.
    """
    task = asked.task
    judge = judges.name(task)
    digests = digests_of(task, asked.items, suite=asked.suite, judge=judge)
    if run.scored(task.id, digests, harness):
        return run
    if run.answered(task.id, digests, harness):
        responses = scoring.responses_of(run.samples(task.id))
    else:
        responses = _responses(run.folder, asked, respond, digests, harness)
    pairs = scoring.in_order(task, asked.items, responses)
    facts = _facts(asked, digests, harness, judge)
    run = run.keep(facts, scoring.unscored(pairs, "not judged yet"))
    _partial(run.folder, task).unlink(missing_ok=True)
    if why := judges.missing(task):
        return run.keep(facts.model_copy(update={"status": "not scored", "why": why}), run.samples(task.id))
    samples = scoring.rows(pairs, _judged(run, task, pairs, judges, workers))
    return run.keep(_scored(facts, samples), samples)


def _judged(
    run: Run, task: Task, pairs: Sequence[tuple[Item, Response]], judges: Judges, workers: int | None
) -> list[scoring.Judgement]:
    if task.judge is None:
        return scoring.score(task, pairs, workers=workers)
    if judges.spec is None:
        return judging.judge_offline(pairs, workers=workers)
    from tulu_data.llm.report import reporting
    from tulu_data.llm.spec import asking

    total = len(pairs) * judging.ORDERS[task.judge]
    server = sha256(" ".join(sorted(judges.spec.urls)).encode()).hexdigest()[:8]  # a journal is one server's
    with (
        asking(judges.spec, run.folder / "judge" / f"{task.judge}-{server}") as backend,
        reporting(f"{task.id}: judged", total, quiet=judges.quiet) as watch,
    ):
        references = judges.references.get(task.id)
        return judging.judge(task, pairs, backend.backend, judges.spec.model, references=references, watch=watch)


def _facts(asked: Asked, digests: Digests, harness: str, judge: str | None) -> TaskRun:
    task = asked.task
    status: Status = "answered"
    return TaskRun(
        id=task.id,
        title=task.title,
        group=task.group,
        suite=task.suite,
        metric=task.metric,
        status=status,
        why="answered, and not judged yet; run the same command again",
        digests=digests,
        decoding=task.decoding,
        rules=task.rules,
        verifier=task.verifier,
        judge=judge,
        harness=harness,
        shots=task.shots,
        limit=asked.limit,
        instances=asked.instances,
        items=len(asked.items),
        rows=len(asked.items) * scoring.samples_of(task),
        note=task.note,
        samples_sha256="",
    )


def _scored(facts: TaskRun, samples: pa.Table) -> TaskRun:
    found = estimate(samples, facts.metric)
    scores = {"score": found.value, "stderr": found.stderr, "undecided": samples["score"].null_count}
    return facts.model_copy(update={"status": "scored", "why": "", **scores})


# ------------------------------------------------------------ what has been answered so far


def _partial(folder: Path, task: Task) -> Path:
    return folder / "samples" / f".{task.id}.partial.jsonl"


def _responses(folder: Path, asked: Asked, respond: Ask, digests: Digests, harness: str) -> list[Response]:
    """All responses: those that an earlier call kept, and the rest from the model, kept as they come."""
    path = _partial(folder, asked.task)
    header = {"prompts": digests.prompts, "decoding": digests.decoding, "harness": harness}
    kept = _kept(path, header, scoring.samples_of(asked.task))
    with writing(folder, "-o"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text("".join(json.dumps(line) + "\n" for line in (header, *kept)), encoding="utf-8")
        part.replace(path)
    found = list(kept)
    done = {r.id for r in kept}
    left = [item for item in asked.items if item.id not in done]
    with path.open("a", encoding="utf-8") as file:
        for some in respond(asked.task, left) if left else ():
            found += some
            try:
                file.write("".join(json.dumps(response) + "\n" for response in some))
                file.flush()
            except OSError as e:
                raise StoreError(
                    f"{path}: cannot be written ({e.strerror}); make room and run the command again"
                ) from e
    return found


def _kept(path: Path, header: Mapping[str, Any], samples: int) -> list[Response]:
    """The responses of a partial file to whole items; none where it is of other prompts. A last line may be cut off."""
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if json.loads(first) != header:
            return []
        listed = [json.loads(line) for line in lines if line.endswith("\n")]
    except (FileNotFoundError, ValueError):
        return []
    found = [Response(i, sample, text, tuple(logps)) for i, sample, text, logps in listed]
    counts: dict[str, int] = {}
    for response in found:
        counts[response.id] = counts.get(response.id, 0) + 1
    return [r for r in found if counts[r.id] == samples]
