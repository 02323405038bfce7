"""The tasks by name: the paper's, and those that other distributions offer.

Others' are found through the entry point group `tulu_data.evals`, each a `Task`:

    [project.entry-points."tulu_data.evals"]
    riddles = "my_package.riddles:TASK"
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tulu_data.errors import UsageError, nearest
from tulu_data.evals.task import Task
from tulu_data.evals.tasks import code, following, knowledge, maths, multiple_choice, reading, reasoning, safety
from tulu_data.plugins import with_others

GROUP = "tulu_data.evals"

TASKS: dict[str, Task] = {
    task.id: task
    for module in (multiple_choice, knowledge, reasoning, reading, maths, code, following, safety)
    for task in module.TASKS
}

# In the order of the paper's tables. The development average has the safety sets' average as one more column.
COLLECTIONS: dict[str, tuple[str, ...]] = {
    "tulu3-dev": (
        "mmlu",
        "popqa",
        "truthfulqa",
        "bbh",
        "drop",
        "math",
        "gsm8k",
        "humaneval",
        "humaneval_plus",
        "ifeval",
        "alpaca_eval",
    ),
    "tulu3-unseen": ("gpqa", "mmlu_pro", "agieval", "deepmind_math", "bigcodebench_hard", "ifeval_ood", "href"),
    "safety": ("harmbench", "xstest", "wildguardtest", "jailbreaktrigger", "do_anything_now", "wildjailbreak"),
}


@cache
def tasks() -> dict[str, Task]:
    """All tasks by name. `InputError` where one that is installed does not load or takes another's name."""
    return with_others(TASKS, GROUP, Task)


def find_tasks(names: Iterable[str]) -> list[Task]:
    """The tasks behind names of tasks and collections, each once, in that order, or all where none is named.

    `UsageError` with the nearest names for an unknown one.

    >>> [task.id for task in find_tasks(["gsm8k", "math"])]
    ['gsm8k', 'math']
    """
    known = tasks()
    found: dict[str, Task] = {}
    for name in names:
        members = COLLECTIONS.get(name, (name,))
        for member in members:
            if member not in known:
                raise UsageError(f"task {name!r} is unknown; {nearest(name, [*known, *COLLECTIONS], noun='task')}")
            found[member] = known[member]
    return list((found or known).values())
