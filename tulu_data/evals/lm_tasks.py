"""Tasks as files that lm-evaluation-harness runs without this program's engine: for others, and to compare with.

    lm_eval --include_path FOLDER --tasks tulu_gsm8k --apply_chat_template --model hf --model_args pretrained=…

    FOLDER/tulu_gsm8k.yaml       the task
    FOLDER/tulu_gsm8k.parquet    its items, a row each
    FOLDER/conversation.py       how a row becomes a prompt and a score

The prompts are those of `respond`. To score, that machine needs tulu-data for its verifiers; what a judge scores is
only answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tulu_data.errors import InputError
from tulu_data.evals.task import Item, Task

CONVERSATION = Path(__file__).with_name("conversation.py")
SCORES = {"mean": "mean_score", "macro": "macro_score", "pass_at_10": "pass_at_10", "mc2": "mc2"}


def lm_name(task: Task) -> str:
    """What lm-eval calls a task.

    >>> lm_name(Task("gsm8k", "GSM8K", "dev", "gsm8k", list))
    'tulu_gsm8k'
    """
    return "tulu_" + re.sub(r"\W", "_", task.id)


def export_tasks(tasks: Iterable[tuple[Task, Sequence[Item]]], folder: Path) -> list[str]:
    """Writes tasks with their items into a folder; gives the names that lm-eval knows them by.

    `InputError` for a task without items: lm-eval cannot load it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONVERSATION.name).write_text(CONVERSATION.read_text(encoding="utf-8"), encoding="utf-8")
    names = []
    for task, items in tasks:
        if not items:
            raise InputError(f"{task.id}: no items to export; is its suite there?")
        name = lm_name(task)
        _write_rows(task, items, folder / f"{name}.parquet")
        (folder / f"{name}.yaml").write_text(_task_yaml(task, name), encoding="utf-8")
        names.append(name)
    return names


def task_manager(folder: Path) -> Any:
    """lm-eval's `TaskManager` of a folder's tasks alone; without its own thousands it is there at once."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(folder), include_defaults=False)


def _write_rows(task: Task, items: Sequence[Item], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {
            "id": pa.string(),
            "subset": pa.string(),
            "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
            "prompt": pa.string(),  # the last turn, which lm-eval's own logs show
            "chat": pa.bool_(),
            "truth": pa.string(),
            "verifier": pa.string(),
            "options": pa.list_(pa.string()),
            "right": pa.list_(pa.bool_()),
            "answer": pa.int32(),  # the first right option
        }
    )
    rows = [
        {
            "id": item.id,
            "subset": item.subset or "",
            "messages": [dict(m) for m in item.messages],
            "prompt": item.messages[-1]["content"],
            "chat": item.chat,
            "truth": item.truth,
            "verifier": task.verifier or "",
            "options": [text for text, _ in item.options],
            "right": [right for _, right in item.options],
            "answer": next((i for i, (_, right) in enumerate(item.options) if right), 0),
        }
        for item in items
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _task_yaml(task: Task, name: str) -> str:
    decoding, samples = task.decoding, task.decoding.samples
    config: dict[str, Any] = {
        "task": name,
        "tag": ["tulu", f"tulu_{task.group}"],
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": f"{name}.parquet"}},
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_target": "truth",
        "num_fewshot": 0,  # the shots are turns of the messages
        "target_delimiter": "",
        "metadata": {"version": 1.0, "shots": task.shots, "suite": task.suite, "rules": task.rules},
    }
    functions = {"class": "conversation.Conversation"}
    if task.output == "options":
        config |= {"output_type": "multiple_choice", "doc_to_target": "answer", "doc_to_choice": "options"}
    else:
        sampling = decoding.temperature > 0
        kwargs = {"until": list(decoding.stop), "max_gen_toks": decoding.max_tokens, "do_sample": sampling}
        kwargs |= {"temperature": decoding.temperature, "top_p": decoding.top_p} if sampling else {}
        config |= {"output_type": "generate_until", "generation_kwargs": kwargs, "repeats": samples}
        config["filter_list"] = [{"name": "all", "filter": [{"function": "take_first_k", "k": samples}]}]
    if task.output == "options" or task.verifier:
        score = SCORES[task.metric]
        functions["process_results"] = f"conversation.{score}"
        config["metric_list"] = [{"metric": "score", "aggregation": "mean", "higher_is_better": True}]
    else:
        config["metric_list"] = [{"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}]
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return text + "".join(f"{key}: !function {target}\n" for key, target in functions.items())
