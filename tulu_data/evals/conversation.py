"""A row of a Tülu task as lm-evaluation-harness takes it: the conversation as it is, and the score of what came.

`export_tasks` writes this file beside the tasks; lm-eval loads it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask

Row = Mapping[str, Any]


class Conversation(ConfigurableTask):  # type: ignore[misc]  # lm_eval has no types
    """A task whose rows are whole conversations. The data file lies in the folder of this one."""

    def __init__(self, config: dict[str, Any]) -> None:
        config = {k: v for k, v in config.items() if k != "class"}
        files = config["dataset_kwargs"]["data_files"]
        here = {split: str(Path(__file__).parent / name) for split, name in files.items()}
        super().__init__(config=config | {"dataset_kwargs": {"data_files": here}})

    def fewshot_context(
        self,
        doc: Row,
        *_: Any,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        chat_template: Callable[[list[dict[str, str]]], str] | None = None,
        **__: Any,
    ) -> str:
        """The prompt of a row: its turns in the model's template; without one, one below the other."""
        messages = [{"role": m["role"], "content": m["content"]} for m in doc["messages"]]
        if not doc["chat"]:
            return str(messages[-1]["content"])
        if system_instruction:
            messages.insert(0, {"role": "system", "content": system_instruction})
        if apply_chat_template and chat_template is not None:
            return chat_template(messages)
        return "\n\n".join(m["content"] for m in messages)

    def aggregation(self) -> dict[str, Any]:
        """By metric; a macro average is over the subsets."""
        if self.config.process_results is macro_score:
            return {"score": macro}
        return dict(super().aggregation())


def scores(row: Row, texts: str | Sequence[str]) -> list[float]:
    """Of the samples that the task's verifier can judge."""
    from tulu_data.verifiers import verify

    samples = [texts] if isinstance(texts, str) else texts
    verdicts = [verify(row["verifier"], text, row["truth"]) for text in samples]
    return [float(verdict.score) for verdict in verdicts if verdict.valid]


# What has no value gives no metric: lm-eval averages, with the standard error, over the rows that gave one.


def mean_score(row: Row, results: Sequence[Any]) -> dict[str, float]:
    """The mean over the samples."""
    found = scores(row, results[0])
    return {"score": sum(found) / len(found)} if found else {}


def macro_score(row: Row, results: Sequence[Any]) -> dict[str, tuple[str, float]]:
    """With the subset, whose mean it goes into."""
    return {name: (row["subset"], score) for name, score in mean_score(row, results).items()}


def macro(found: Sequence[tuple[str, float]]) -> float:
    """The mean of the subsets' means."""
    subsets: dict[str, list[float]] = {}
    for subset, score in found:
        subsets.setdefault(subset, []).append(score)
    return sum(sum(s) / len(s) for s in subsets.values()) / len(subsets)


def pass_at_10(row: Row, results: Sequence[Any]) -> dict[str, float]:
    """The chance that one of ten samples is right, estimated from those there are."""
    from tulu_data.evals.metrics import PASS_K, pass_at_k

    found = scores(row, results[0])
    if len(found) < PASS_K:
        return {}
    return {"score": pass_at_k(len(found), sum(s >= 1.0 for s in found), PASS_K)}


def mc2(row: Row, results: Sequence[Any]) -> dict[str, float]:
    """The share of the options' probability that falls on right ones."""
    from tulu_data.evals import scoring

    value = scoring.mc2([logp for logp, _ in results], row["right"])
    return {} if value is None else {"score": value}
