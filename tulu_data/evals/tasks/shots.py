"""Few-shot examples: ours, and the official ones from a file.

The examples that the published scores were made with are texts of others and not copied here: `fewshot/` holds examples
of the same form and number, written for this package. Who has the official ones gives their file:

    task_with_shots(find_tasks(["gsm8k"])[0], "gsm8k-shots.json")

A file is JSON, JSON Lines or YAML: a list of examples, an object that lists them under the subset they belong to, or
either under `samples` or `fewshot_config`. An example has a question (`question`, `input`, `problem`) and an answer as
the model should write it, reasoning included (`answer`, `target`, `solution`), DROP's a `passage`. These are the names
in the files of OLMES and lm-evaluation-harness; other fields are passed over. A run's digest tells the two apart, for
the prompts differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tulu_data.errors import InputError, UsageError, nearest
from tulu_data.evals.task import Item, Task
from tulu_data.suites import Record

QUESTIONS = ("question", "input", "problem")
ANSWERS = ("answer", "target", "solution")
SUBSETS = ("subset", "task")
WRAPPERS = ("fewshot_config", "samples", "shots")
ALL = ""  # the subset of examples that go with every question

FEWSHOT = Path(__file__).parent / "fewshot"


class Shot(NamedTuple):
    """An example: what is asked, and the answer as the model should write it."""

    question: str
    answer: str
    passage: str = ""


Shots = Mapping[str, tuple[Shot, ...]]  # by subset, or all under ALL


def shots_from(path: str | Path) -> Shots:
    """The examples in a file, by subset; `InputError` in one line where it holds none or one lacks a field."""
    path = Path(path)
    value = _read(path)
    while isinstance(value, dict) and (wrapper := next((w for w in WRAPPERS if w in value), None)):
        value = value[wrapper]
    groups = value if isinstance(value, dict) else {ALL: value}
    found: dict[str, list[Shot]] = {}
    for name, examples in groups.items():
        if not isinstance(examples, list) or not examples:
            raise InputError(f"{path}: {name or 'the file'}: must be a list of examples, got {type(examples).__name__}")
        for i, example in enumerate(examples):
            subset, shot = _shot(example, f"{path}: {name or 'example'} {i + 1}")
            found.setdefault(name or subset, []).append(shot)
    return {subset: tuple(shots) for subset, shots in found.items()}


def _read(path: Path) -> Any:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=loader)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except (ValueError, yaml.YAMLError) as e:
        raise InputError(f"{path}: is not what its name says: {' '.join(str(e).split())[:200]}") from None


def _shot(example: Any, place: str) -> tuple[str, Shot]:
    if not isinstance(example, dict):
        raise InputError(f"{place}: must be an object, got {type(example).__name__}")

    def held(names: Sequence[str]) -> str:
        text = next((example[n] for n in names if isinstance(example.get(n), str) and example[n].strip()), None)
        if text is None:
            raise InputError(f"{place}: needs one of the fields {', '.join(names)}, as text")
        return str(text).strip()

    subset = next((example[n] for n in SUBSETS if isinstance(example.get(n), str)), ALL)
    return subset, Shot(held(QUESTIONS), held(ANSWERS), str(example.get("passage") or "").strip())


@cache
def own_shots(name: str) -> Shots:
    """The examples that come with the package."""
    return shots_from(FEWSHOT / f"{name}.yaml")


@dataclass(frozen=True)
class WithShots:
    """A suite's records → items with examples before the question.

    one: a record and its examples → the item. name: of our examples. path: of the file to take instead.
    """

    one: Callable[[Record, Sequence[Shot]], Item]
    name: str
    path: Path | None = None

    def __call__(self, records: Sequence[Record]) -> list[Item]:
        """The items, in the records' order."""
        shots = shots_from(self.path) if self.path else own_shots(self.name)
        return [self.one(record, self._of(record, shots)) for record in records]

    def _of(self, record: Record, shots: Shots) -> Sequence[Shot]:
        if ALL in shots:
            return shots[ALL]
        found = shots.get(record.subset or ALL)
        if found is None:
            place = self.path or FEWSHOT / f"{self.name}.yaml"
            known = nearest(str(record.subset), shots, noun="subset")
            raise InputError(f"{place}: no examples for {record.subset!r}, the subset of {record.id}; {known}")
        return found


def task_with_shots(task: Task, path: str | Path) -> Task:
    """The task with the examples of a file in place of ours; `UsageError` for a task that has none."""
    if not isinstance(task.items, WithShots):
        raise UsageError(f"task {task.id!r} is asked without examples; leave the shots out")
    shots = shots_from(path)
    counts = {len(examples) for examples in shots.values()}
    if len(counts) > 1:
        raise InputError(f"{path}: from {min(counts)} to {max(counts)} examples in a subset; give as many for each")
    return replace(task, items=replace(task.items, path=Path(path)), shots=counts.pop())


def turns(shots: Sequence[Shot], ask: Callable[[Shot], str], question: str) -> tuple[Mapping[str, str], ...]:
    """The examples as turns of their own and the question as the last; `ask` writes a user's turn."""
    messages: list[Mapping[str, str]] = []
    for shot in shots:
        messages += [{"role": "user", "content": ask(shot)}, {"role": "assistant", "content": shot.answer}]
    return (*messages, {"role": "user", "content": question})


def user(content: str) -> tuple[Mapping[str, str], ...]:
    """One turn of the user's."""
    return ({"role": "user", "content": content},)
