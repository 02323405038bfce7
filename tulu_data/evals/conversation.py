"""A row of a Tülu task as lm-evaluation-harness takes it: the conversation as it is, and the score of what came.

`export_tasks` writes this file beside the tasks; lm-eval loads it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import comb, exp
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
    """Of each sample, by the task's verifier; one that it cannot judge counts as wrong."""
    from tulu_data.verifiers import verify

    samples = [texts] if isinstance(texts, str) else texts
    return [float(verify(row["verifier"], text, row["truth"]).score) for text in samples]


def mean_score(row: Row, results: Sequence[Any]) -> dict[str, float]:
    """The mean over the samples."""
    found = scores(row, results[0])
    return {"score": sum(found) / len(found)}


def macro_score(row: Row, results: Sequence[Any]) -> dict[str, tuple[str, float]]:
    """With the subset, whose mean it goes into."""
    return {"score": (row["subset"], mean_score(row, results)["score"])}


def macro(found: Sequence[tuple[str, float]]) -> float:
    """The mean of the subsets' means."""
    subsets: dict[str, list[float]] = {}
    for subset, score in found:
        subsets.setdefault(subset, []).append(score)
    return sum(sum(s) / len(s) for s in subsets.values()) / len(subsets)


def pass_at_10(row: Row, results: Sequence[Any]) -> dict[str, float]:
    """The chance that one of ten samples is right, estimated from those there are (arXiv 2107.03374, §2.1)."""
    found = scores(row, results[0])
    n, right, k = len(found), sum(s == 1.0 for s in found), min(10, len(found))
    return {"score": 1.0 - comb(n - right, k) / comb(n, k)}


def mc2(row: Row, results: Sequence[Any]) -> dict[str, float]:
    """The share of the options' probability that falls on right ones (TruthfulQA MC2)."""
    logps = [logp for logp, _ in results]
    weights = [exp(logp - max(logps)) for logp in logps]
    right = sum(w for w, is_right in zip(weights, row["right"], strict=True) if is_right)
    return {"score": right / sum(weights)}
