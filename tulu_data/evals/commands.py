"""`tulu eval`: its group, and the commands that list tasks, export them and run them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tulu_data.commands.options import (
    example,
    json_option,
    quiet_option,
    store_option,
    suites_root_option,
    workers_option,
)
from tulu_data.evals.page_command import page_command
from tulu_data.evals.report_commands import compare_command, report_command, show, tasks_of

if TYPE_CHECKING:
    from tulu_data.errors import TuluError
    from tulu_data.evals.lm import Backend
    from tulu_data.evals.results import Model, Run
    from tulu_data.evals.running import Asked, Judges
    from tulu_data.evals.task import Item, Response, Task
    from tulu_data.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])

BACKENDS = ("hf", "vllm", "openai")
FOLDER = click.Path(file_okay=False, path_type=Path)
# What a model's identity has already, or what changes the speed alone.
SAME_ANSWERS = {"kind", "model", "base_url", "args"} | {
    "batch",
    "batch_size",
    "max_batch_size",
    "num_concurrent",
    "device",
}

_suite = click.option(
    "--suite",
    "suites",
    multiple=True,
    required=True,
    metavar="NAME",
    help="tulu3-dev, tulu3-unseen, safety, or a task; several may be given. tulu eval list has all.",
)


@click.group(epilog=example("tulu eval list"))
def eval_command() -> None:
    """Evaluate models on Tülu 3's suites, also on what was not in their training data."""


@eval_command.command("list", epilog=example("tulu eval list"))
@click.argument("names", nargs=-1)
@json_option
def list_command(names: tuple[str, ...], as_json: bool) -> None:
    """List the tasks, or those behind NAMES.

    With their metric, examples, samples of an item, and who scores them: a verifier, a judge, or the likelihood of
    their options. --json adds what differs from the paper's, and published scores.
    """
    from tulu_data.tables import print_json, print_table

    tasks = tasks_of(names)
    scorer = {t.id: _scorer(t) for t in tasks}
    if as_json:
        keys = ("id", "title", "group", "suite", "metric", "shots", "rules", "note")
        facts = [{k: getattr(t, k) for k in keys} | {"scored_by": scorer[t.id]} for t in tasks]
        print_json([f | {"published": t.published} for f, t in zip(facts, tasks, strict=True)])
        return
    header = ["task", "title", "group", "metric", "shots", "samples", "scored by"]
    rows = [(t.id, t.title, t.group, t.metric, t.shots, t.decoding.samples, scorer[t.id]) for t in tasks]
    print_table("Tasks", header, rows)


def _scorer(task: Task) -> str:
    if task.unscored:
        return "nobody"
    return task.verifier or (f"judge: {task.judge}" if task.judge else "options")


@eval_command.command("export", epilog=example("tulu eval export --suite gsm8k --suites-root evals -o lm-eval-tasks"))
@_suite
@click.option("-o", "--output", required=True, type=FOLDER, help="Folder for lm-eval's --include_path.")
@click.option("--limit", type=click.IntRange(min=1), help="The first so many items only, as in tulu eval run.")
@suites_root_option
def export_command(suites: tuple[str, ...], output: Path, limit: int | None, suites_root: str | None) -> None:
    """Write tasks for lm-evaluation-harness.

    As YAML and Parquet, which it runs on its own; to score them it needs tulu-data for its verifiers.
    """
    from tulu_data.evals.lm_tasks import export_tasks

    asked, problems = _asked(tasks_of(suites), _root(suites_root), limit)
    for name in export_tasks([(a.task, a.items) for a in asked], output):
        click.echo(name)
    click.echo(f"lm_eval --include_path {output} --tasks NAME …", err=True)
    if problems:
        click.get_current_context().exit(1)


# ------------------------------------------------------------ run


def _judge_options(command: F) -> F:
    options = (
        click.option("--judge-model", metavar="NAME", help="Who judges what no verifier can, as its server calls it."),
        click.option("--judge-url", metavar="URL", help="The judge's server, http://HOST:PORT/v1 [default: OpenAI]."),
        click.option(
            "--judge-key-env",
            metavar="VAR",
            default="OPENAI_API_KEY",
            show_default=True,
            help="Variable with the judge's key.",
        ),
        click.option("--judge-stub", is_flag=True, help="Score safety by wording, without a judge; it is marked."),
        click.option("--references", multiple=True, metavar="TASK=FILE", help="Outputs that a judge compares with."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@eval_command.command("run", epilog=example("tulu eval run my-sft/model --suite gsm8k --limit 20 -o my-scores"))
@click.argument("model")
@_suite
@click.option("-o", "--output", required=True, type=FOLDER, help="Folder of the run; the same command goes on in it.")
@click.option("--backend", type=click.Choice(BACKENDS), default="hf", show_default=True, help="What runs MODEL.")
@click.option("--base-url", metavar="URL", help="With --backend openai: its server [default: OpenAI].")
@click.option(
    "--batch",
    metavar="N",
    default="1",
    show_default=True,
    help="Prompts at once; auto: as many as fit the memory. Of a server, requests in flight.",
)
@click.option("--device", metavar="NAME", help="With --backend hf: cuda:0, cpu [default: the first GPU, or the CPU].")
@click.option("--dtype", metavar="NAME", help="Of the weights: bfloat16 [default: the model's own].")
@click.option("--tokenizer", metavar="NAME", help="Folder or hub name [default: the model's own].")
@click.option(
    "--arg", "args", multiple=True, metavar="KEY=VALUE", help="What else the backend takes, as JSON or text: peft=DIR."
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="Of an answer, where a task allows more; it no longer compares."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="The first so many items only, of a macro average in each subset: for trying out.",
)
@click.option("--again", is_flag=True, help="Replace what OUT holds of a task under other settings.")
@click.option(
    "--shots", multiple=True, metavar="TASK=FILE", help="Examples to show, e.g. the official ones [default: ours]."
)
@_judge_options
@suites_root_option
@store_option
@workers_option
@quiet_option
@json_option
def run_command(model: str, output: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Let MODEL answer tasks, and score its answers.

    MODEL is a folder, a hub name, or a server's name of it. Of a checkpoint that was trained here the scores on clean
    instances stand beside: its record names the audits of its data.

    Responses are kept as they come and each task is written when it is done. Run the same command again to go on. A
    task that OUT holds under other settings is left alone, and told.
    """
    from tulu_data.errors import InputError, UsageError
    from tulu_data.evals.results import start
    from tulu_data.evals.running import OtherSettings, evaluate
    from tulu_data.llm.client import Interrupted, Stopped
    from tulu_data.progress import for_stderr

    if given["batch"] != "auto" and not (given["batch"].isdecimal() and int(given["batch"])):
        raise UsageError(f"--batch {given['batch']!r}: write a number from 1 on, or auto")
    progress = for_stderr(quiet=quiet)
    judges = _judges(given, quiet=quiet)
    own = tasks_of(given["suites"])
    tasks = [_capped(t, given["max_tokens"]) for t in _with_shots(own, given["shots"])]
    model_ = _Opened(model, given, progress)
    run = start(output, model_.known())
    found, problems = _asked(tasks, _root(given["suites_root"]), given["limit"])
    asked = _told_apart(found, own, given["shots"])
    harness, done = _harness(), False
    for one in asked:
        try:
            run = evaluate(
                run,
                one,
                model_.respond,
                harness=harness,
                judges=judges,
                workers=given["workers"],
                again=given["again"],
            )
            done = True
            _note_kept(run, one, judges, harness)
        except Interrupted:
            raise
        except Stopped as e:
            problems.append(e)
            click.echo(f"task {one.task.id}: the judge stopped: {e}; run the same command again", err=True)
        except (InputError, UsageError) as e:
            hopeless = model_.opened is None and not done and not isinstance(e, OtherSettings)
            if hopeless or len(asked) == 1:  # no task will fare better
                raise
            problems.append(e)
            click.echo(f"left out: {e}", err=True)
    _show(run, given["store_root"], as_json=as_json)
    if problems:
        click.get_current_context().exit(1)


def _told_apart(asked: Sequence[Asked], own: Sequence[Task], shots: Sequence[str]) -> list[Asked]:
    """The tasks with what options changed of them."""
    before = {task.id: task for task in own}
    files = dict(map(_file_of, shots))
    found = []
    for one in asked:
        task, was = one.task, before[one.task.id]
        changed = []
        if task.decoding.max_tokens != was.decoding.max_tokens:
            tokens = f"{task.decoding.max_tokens:,} tokens, where the task has {was.decoding.max_tokens:,}"
            changed.append(f"answers of at most {tokens}")
        if task.shots != was.shots:
            changed.append(f"{task.shots} examples, where the task has {was.shots}")
        found.append(one._replace(changed=tuple(changed), shots_from=Path(files.get(task.id, "")).name))
    return found


def _note_kept(run: Run, one: Asked, judges: Judges, harness: str) -> None:
    """Says where results stayed that this command alone would not have given."""
    facts = run.tasks[one.task.id]
    if harness not in facts.harness.split(" and "):
        click.echo(f"task {facts.id}: answered by {facts.harness}, and not asked again by {harness}", err=True)
    if facts.status == "scored" and facts.judge not in (None, judges.name(one.task, one.items)):
        click.echo(f"task {facts.id}: keeps its scores by the judge {facts.judge}", err=True)


def _show(run: Run, store_root: Path, *, as_json: bool) -> None:
    """The run's report; without the audits that its checkpoint names where they do not fit, which is then said."""
    from tulu_data.errors import InputError

    try:
        show([run], given={"store_root": store_root}, as_json=as_json)
    except InputError as e:
        show([run], given={}, as_json=as_json)
        click.echo(f"without clean scores: {e}", err=True)


def _asked(tasks: Sequence[Task], suites_root: Path | None, limit: int | None) -> tuple[list[Asked], list[TuluError]]:
    """The tasks that can be asked, and what is wrong with the data of others; what is left out is said.

    A `TuluError` where none can be.
    """
    from tulu_data.errors import InputError, UsageError
    from tulu_data.evals.running import ask

    found: list[Asked] = []
    said: list[TuluError] = []
    for task in tasks:
        try:
            found.append(ask(task, suites_root=suites_root, limit=limit))
        except (InputError, UsageError) as e:
            said.append(e)
    if not found:
        raise said[0]
    for problem in said:
        click.echo(f"left out: {problem}", err=True)
    return found, [problem for problem in said if isinstance(problem, InputError)]


class _Opened:
    """The model, opened when the first task needs it: a run whose answers are all there loads none."""

    def __init__(self, name: str, given: dict[str, Any], progress: Progress) -> None:
        self.name, self.given, self.progress = name, given, progress
        self.backend = self._backend()
        self.opened: Any = None

    def known(self) -> Model:
        """What results are kept under."""
        from tulu_data.evals.results import model_of

        asked = self.backend.model_dump(exclude=SAME_ANSWERS, exclude_defaults=True)
        settings = {k: v for k, v in {**asked, **self.backend.args}.items() if k not in SAME_ANSWERS}
        return model_of(self.name, self.given["backend"], self.given["base_url"], settings)

    def respond(self, task: Task, items: Sequence[Item]) -> Iterator[list[Response]]:
        """The model's responses, some at a time."""
        from tulu_data.evals.harness import responding

        if self.opened is None:
            self.opened = self.backend.open()
        return responding(self.opened, task, items, progress=self.progress)

    def _backend(self) -> Backend:
        from tulu_data.evals.lm import Backend
        from tulu_data.strict import validate

        given, own = self.given, Backend.model_fields
        batch = given["batch"] if given["batch"] == "auto" else int(given["batch"])
        options = {"kind": given["backend"], "model": self.name, "batch": batch}
        options |= {k: given[k] for k in ("base_url", "device", "dtype", "tokenizer") if given[k]}
        args = dict(_pair(arg) for arg in given["args"])
        options |= {k: v for k, v in args.items() if k in own}
        return validate(Backend, options | {"args": {k: v for k, v in args.items() if k not in own}}, "options")


def _judges(given: dict[str, Any], *, quiet: bool) -> Judges:
    from tulu_data.errors import UsageError
    from tulu_data.evals.judging import load_references
    from tulu_data.evals.running import Judges
    from tulu_data.llm.spec import ModelSpec
    from tulu_data.strict import validate

    references = {task: load_references(path) for task, path in map(_file_of, given["references"])}
    spec = None
    if given["judge_model"]:
        options = {"model": given["judge_model"], "key_env": given["judge_key_env"]}
        spec = validate(
            ModelSpec, options | ({"base_url": given["judge_url"]} if given["judge_url"] else {}), "options"
        )
    elif given["judge_url"]:
        raise UsageError("--judge-url: name the judge with --judge-model")
    return Judges(spec, given["judge_stub"], references, quiet)


def _with_shots(tasks: Sequence[Task], shots: Sequence[str]) -> list[Task]:
    from tulu_data.errors import UsageError, nearest
    from tulu_data.evals.tasks.shots import task_with_shots

    files = dict(map(_file_of, shots))
    for name in files:
        if all(name != task.id for task in tasks):
            raise UsageError(f"--shots {name!r}: is not run; {nearest(name, [t.id for t in tasks], noun='task')}")
    return [task_with_shots(task, files[task.id]) if task.id in files else task for task in tasks]


def _capped(task: Task, max_tokens: int | None) -> Task:
    if max_tokens is None or task.decoding.max_tokens <= max_tokens:
        return task
    return replace(task, decoding=task.decoding.model_copy(update={"max_tokens": max_tokens}))


def _file_of(text: str) -> tuple[str, str]:
    from tulu_data.errors import UsageError

    task, equals, path = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r}: write it as TASK=FILE, e.g. gsm8k=shots.json")
    return task, path


def _pair(text: str) -> tuple[str, Any]:
    from tulu_data.errors import UsageError

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"--arg {text!r}: write it as KEY=VALUE, e.g. max_length=4096")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _harness() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"lm_eval {version('lm_eval')}"
    except PackageNotFoundError:
        return "lm_eval"


def _root(given: str | None) -> Path | None:
    return None if given is None else Path(given)


eval_command.add_command(report_command)
eval_command.add_command(compare_command)
eval_command.add_command(page_command)
