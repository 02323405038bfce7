"""One task of a run: its items are asked, what comes is kept, judged, and written; nothing is asked for twice.

What a model has answered so far stands in OUT/samples/.TASK.partial.jsonl until the task is done. What was paid for is
not lost by a later command: answers under other prompts or decoding, and a judge's scores, are replaced only where that
is asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from tulu_data.errors import InputError, StoreError, TuluError, UsageError
from tulu_data.evals import judging, scoring
from tulu_data.evals.metrics import estimate
from tulu_data.evals.results import STUB, Digests, Run, Status, TaskRun, digests_of
from tulu_data.evals.task import Item, Response, Task
from tulu_data.store import writing

if TYPE_CHECKING:
    from tulu_data.llm.spec import ModelSpec

Ask = Callable[[Task, Sequence[Item]], Iterator[list[Response]]]  # some responses at a time, an item's samples together


class Asked(NamedTuple):
    """A task's items, and what is known of their suite.

    instances: of all of it. limit: None where no item lacks. changed: what is asked otherwise than the task, a line
    each. shots_from: a file whose examples are shown in place of the task's.
    """

    task: Task
    items: Sequence[Item]
    instances: int
    suite: str | None
    limit: int | None = None
    changed: tuple[str, ...] = ()
    shots_from: str = ""


class OtherSettings(UsageError):
    """The folder holds a task under settings other than those asked for, whose results would be lost."""


class Judges(NamedTuple):
    """Who judges. spec: None where nobody is configured; stub: rules by wording do for safety; references: by task;
    quiet: no progress on stderr.
    """

    spec: ModelSpec | None = None
    stub: bool = False
    references: Mapping[str, judging.References] = {}
    quiet: bool = True

    def name(self, task: Task, items: Sequence[Item] = ()) -> str | None:
        """What a result says of its judge; None where none is needed, or none is at hand."""
        if task.judge is None or self.missing(task, items) is not None:
            return None
        return judging.judge_name(task.judge, self.spec.model if self.spec else None, self.references.get(task.id))

    def missing(self, task: Task, items: Sequence[Item] = ()) -> str | None:
        """Why a task cannot be judged; None where it can, for all of these items."""
        model = self.spec.model if self.spec else None
        references = self.references.get(task.id)
        return judging.missing(task, model=model, references=references, stub=self.stub, items=items)


def ask(task: Task, *, suites_root: Path | None, limit: int | None = None) -> Asked:
    """A task's items from its suite; `InputError` that says how to get the data where they cannot be read.

    limit: the first so many items only; of each subset where the metric is their macro mean. `UsageError` for a task
    that nothing here can score.
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
    items = _first(whole, limit, each=task.metric == "macro")
    digest = suite_digest(task.suite, suites_root)
    return Asked(task, items, len(found), digest, limit if len(items) < len(whole) else None)


def _first(items: Sequence[Item], limit: int | None, *, each: bool) -> Sequence[Item]:
    """The first so many items, in order; `each`: of each subset."""
    if limit is None or not each:
        return items[:limit]
    met: Counter[str | None] = Counter()
    found = []
    for item in items:
        met[item.subset] += 1
        if met[item.subset] <= limit:
            found.append(item)
    return found


def suite_digest(suite: str, suites_root: Path | None) -> str:
    """The digest of a suite's version as audits record it: over the texts that they match."""
    from tulu_data.pipeline import STEPS

    section = {"suites": [suite]} | ({"suites_root": str(suites_root.resolve())} if suites_root else {})
    prepared: Any = import_module(STEPS["decontaminate"]).validate(section, f"suite {suite}", Path.cwd())
    return str(prepared.suites[0].digest)


def evaluate(
    run: Run,
    asked: Asked,
    respond: Ask,
    *,
    harness: str,
    judges: Judges,
    workers: int | None = None,
    again: bool = False,
) -> Run:
    """The run with this task done, as far as it can be: without a judge it is answered and `not scored`.

    A task that is done is left alone, also where no judge is at hand now, or the stand-in alone; where the rules differ
    its responses are judged anew, and where it was done with a smaller limit the rest is asked. `OtherSettings` where
    the folder holds it under other prompts or decoding, or by another judge; `again`: such results are replaced.
    `Stopped` where the judge is down: what it said is kept, and so are the responses.
    """
    task, items = asked.task, asked.items
    judge = judges.name(task, items)
    stand_in = judging.STAND_IN if judge == STUB else None
    digests = digests_of(task, items, suite=asked.suite, judge=judge, stand_in=stand_in)
    known = run.tasks[task.id] if run.holds(task.id) else None
    facts = _facts(asked, digests, harness, judge)
    if known is not None and known.digests.asked == digests.asked:
        if run.scored(task.id) and (known.digests == digests or _stays(known, facts, judges, asked, again=again)):
            return run
        facts = facts.model_copy(update={"harness": known.harness})
        pairs = scoring.in_order(task, items, scoring.responses_of(run.responses(task.id)))
    else:
        held = _to_go_on_with(run, known, asked, facts, again=again)
        found = _responses(run.folder, asked, respond, facts, known, held, again=again)
        facts = facts.model_copy(update={"harness": found.harness})
        pairs = scoring.in_order(task, items, found.responses)
        run = run.keep(facts, scoring.unscored(pairs, "not judged yet"))
    if why := judges.missing(task, items):
        samples = scoring.unscored(pairs, "not judged yet")
        run = run.keep(facts.model_copy(update={"status": "not scored", "why": why}), samples)
    else:
        samples = scoring.rows(pairs, _judged(run, task, pairs, judges, workers))
        run = run.keep(_scored(facts, samples), samples)
    _partial(run.folder, task).unlink(missing_ok=True)
    return run


def _stays(known: TaskRun, facts: TaskRun, judges: Judges, asked: Asked, *, again: bool) -> bool:
    """Whether what is scored is to stay: no judge is at hand, or rules by wording would take one's place.

    `OtherSettings` where a judge would take another's.
    """
    if judges.missing(asked.task, asked.items):
        return True
    if again or known.judge in (None, STUB, facts.judge):
        return False
    if facts.judge == STUB:
        return True
    raise OtherSettings(_lost(asked.task, "its scores", [f"judge ({known.judge}, not {facts.judge})"]))


def _to_go_on_with(run: Run, known: TaskRun | None, asked: Asked, facts: TaskRun, *, again: bool) -> list[Response]:
    """The responses to a smaller limit of the same; `OtherSettings` where the folder holds the task otherwise."""
    if known is None:
        return []
    larger = known.limit is not None and (asked.limit is None or asked.limit > known.limit)
    judged = known.status != "scored" or known.judge == facts.judge or (known.judge == STUB and facts.judge is not None)
    if larger and judged and known.digests.decoding == facts.digests.decoding:
        held = scoring.responses_of(run.responses(asked.task.id))
        ids = {response.id for response in held}
        same = digests_of(asked.task, [i for i in asked.items if i.id in ids], suite=None)
        if same.prompts == known.digests.prompts:
            return held
    if not again:
        raise OtherSettings(_lost(asked.task, "its answers", _other(known, facts)))
    return []


def _other(known: TaskRun, facts: TaskRun) -> list[str]:
    """What a task was asked otherwise, as the options name it."""
    found = []
    if known.limit != facts.limit:
        found.append(f"limit ({known.limit or 'none'}, not {facts.limit or 'none'})")
    if known.shots != facts.shots or known.shots_from != facts.shots_from:
        found.append(f"shots ({known.shots_from or known.shots}, not {facts.shots_from or facts.shots})")
    before, now = known.decoding.model_dump(), facts.decoding.model_dump()
    found += [f"{name} ({before[name]}, not {now[name]})" for name in now if before[name] != now[name]]
    if known.status == "scored" and known.judge != facts.judge:
        found.append(f"judge ({known.judge or 'none'}, not {facts.judge or 'none'})")
    return found or ["prompts"]


def _lost(task: Task, what: str, other: Sequence[str]) -> str:
    return (
        f"task {task.id}: -o holds {what} under other settings: {', '.join(other)}; choose another -o, or give --again "
        "to replace them"
    )


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
        changed=asked.changed,
        shots_from=asked.shots_from,
        samples_sha256="",
    )


def _scored(facts: TaskRun, samples: pa.Table) -> TaskRun:
    found = estimate(samples, facts.metric)
    scores = {"score": found.value, "stderr": found.stderr, "undecided": samples["score"].null_count}
    return facts.model_copy(update={"status": "scored", "why": "", **scores})


# ------------------------------------------------------------ what has been answered so far


def _partial(folder: Path, task: Task) -> Path:
    return folder / "samples" / f".{task.id}.partial.jsonl"


class Answered(NamedTuple):
    """All responses, and the harness that they came through; several, where its version changed on the way."""

    responses: list[Response]
    harness: str


def _responses(
    folder: Path,
    asked: Asked,
    respond: Ask,
    facts: TaskRun,
    known: TaskRun | None,
    held: Sequence[Response],
    *,
    again: bool,
) -> Answered:
    """All responses: those that an earlier call kept, or `held`, and the rest from the model, kept as they come.

    `OtherSettings` where an earlier call was stopped under other ones; what `known` says is whole is not lost by it.
    """
    path = _partial(folder, asked.task)
    header = {"prompts": facts.digests.prompts, "decoding": facts.digests.decoding, "harness": facts.harness}
    earlier = _kept(path, scoring.samples_of(asked.task))
    if earlier.asked == facts.digests.asked:
        held = earlier.responses
    elif earlier.responses and not again and (known is None or earlier.asked != known.digests.asked):
        what = f"{len(earlier.responses):,} answers of a run that was stopped"
        raise OtherSettings(_lost(asked.task, what, ["prompts or decoding"]))
    if held:
        before = earlier.harness if earlier.asked == facts.digests.asked else known.harness if known else ""
        header["harness"] = " and ".join(dict.fromkeys([*filter(None, before.split(" and ")), facts.harness]))
    with writing(folder, "-o"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_text("".join(json.dumps(line) + "\n" for line in (header, *held)), encoding="utf-8")
        part.replace(path)
    found = list(held)
    done = {r.id for r in held}
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
    return Answered(found, header["harness"])


class _Earlier(NamedTuple):
    """What a partial file holds. asked: digests of its prompts and decoding; None without a file."""

    responses: list[Response]
    asked: tuple[str, str] | None = None
    harness: str = ""


def _kept(path: Path, samples: int) -> _Earlier:
    """The responses of a partial file to whole items. A last line may be cut off."""
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        header: dict[str, str] = json.loads(first)
        listed = [json.loads(line) for line in lines if line.endswith("\n")]
        asked, harness = (header["prompts"], header["decoding"]), header["harness"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _Earlier([])
    found = [Response(i, sample, text, tuple(logps)) for i, sample, text, logps in listed]
    counts = Counter(response.id for response in found)
    return _Earlier([r for r in found if counts[r.id] == samples], asked, harness)
