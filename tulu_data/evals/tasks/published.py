"""Published scores, percent: the model card of November 2024 and the paper's fifth version, where they differ or add.

Two sets circulate, for the evaluation changed between them: answers were extracted in another way, which is worth up to
55 points for a model (Qwen 2.5 7B on MATH). Sources: the card of Llama-3.1-Tulu-3-70B, whole table; arXiv 2411.15124
v5, Tables 5 and 6 (development), Table 33 (unseen), and its safety table (the final 8B model by set).
"""

from __future__ import annotations

from collections.abc import Mapping

Scores = Mapping[str, Mapping[str, float]]

CARD, PAPER = "card-2024-11", "paper-v5"
MODELS = (
    "tulu3-8b-sft",
    "tulu3-8b-dpo",
    "tulu3-8b",
    "llama3.1-8b-instruct",
    "qwen2.5-7b-instruct",
    "tulu3-70b-sft",
    "tulu3-70b-dpo",
    "tulu3-70b",
    "llama3.1-70b-instruct",
    "qwen2.5-72b-instruct",
)
_CARD: dict[str, tuple[float, ...]] = {  # in the order of MODELS
    "mmlu": (65.9, 68.7, 68.2, 71.2, 76.6, 78.9, 83.3, 83.1, 85.3, 85.5),
    "popqa": (29.3, 29.3, 29.1, 20.2, 18.1, 48.6, 46.3, 46.5, 46.4, 30.6),
    "truthfulqa": (46.8, 56.1, 55.0, 55.1, 63.1, 55.7, 67.9, 67.6, 66.8, 69.9),
    "bbh": (67.9, 65.8, 66.0, 62.8, 21.7, 82.7, 81.8, 82.0, 73.8, 67.2),
    "drop": (61.3, 62.5, 62.6, 61.5, 54.4, 77.2, 74.1, 74.3, 77.0, 34.2),
    "math": (31.5, 42.0, 43.7, 42.5, 14.8, 53.7, 62.3, 63.0, 56.4, 74.3),
    "gsm8k": (76.2, 84.3, 87.6, 83.4, 83.8, 91.1, 93.5, 93.5, 93.7, 89.5),
    "humaneval": (86.2, 83.9, 83.9, 86.3, 93.1, 92.9, 92.4, 92.4, 93.6, 94.0),
    "humaneval_plus": (81.4, 78.6, 79.2, 82.9, 89.7, 87.3, 88.4, 88.0, 89.5, 90.8),
    "ifeval": (72.8, 81.1, 82.4, 80.6, 74.7, 82.1, 82.6, 83.2, 88.0, 87.6),
    "alpaca_eval": (12.4, 33.5, 34.5, 24.2, 29.0, 26.3, 49.6, 49.8, 33.4, 47.7),
}
_PAPER: dict[str, dict[str, float]] = {
    "mmlu": {"tulu3-8b": 68.2},
    "popqa": {"tulu3-8b": 29.1},
    "truthfulqa": {"tulu3-8b": 55.0},
    "bbh": {
        "tulu3-8b-sft": 69.7,
        "tulu3-8b-dpo": 68.7,
        "tulu3-8b": 69.0,
        "qwen2.5-7b-instruct": 70.2,
        "tulu3-70b-sft": 82.6,
        "tulu3-70b-dpo": 84.8,
        "tulu3-70b": 85.0,
    },
    "drop": {"tulu3-8b": 62.6},
    "math": {"tulu3-8b": 43.7, "qwen2.5-7b-instruct": 69.9},
    "gsm8k": {"tulu3-8b": 87.6},
    "humaneval": {"tulu3-8b": 83.9},
    "humaneval_plus": {"tulu3-8b": 79.2},
    "ifeval": {"tulu3-8b": 82.4},
    "alpaca_eval": {"tulu3-8b": 34.5},
    "gpqa": {"tulu3-8b": 35.7, "tulu3-70b": 48.0},
    "mmlu_pro": {"tulu3-8b": 44.3, "tulu3-70b": 65.8},
    "agieval": {"tulu3-8b": 59.3, "tulu3-70b": 75.0},
    "deepmind_math": {"tulu3-8b": 35.4, "tulu3-70b": 49.8},
    "bigcodebench_hard": {"tulu3-8b": 7.4, "tulu3-70b": 21.6},
    "ifeval_ood": {"tulu3-8b": 24.3, "tulu3-70b": 27.8},
    "href": {"tulu3-8b": 32.7, "tulu3-70b": 42.3},
    "harmbench": {"tulu3-8b": 94.7},
    "xstest": {"tulu3-8b": 93.3},
    "wildguardtest": {"tulu3-8b": 98.5},
    "jailbreaktrigger": {"tulu3-8b": 85.5},
    "do_anything_now": {"tulu3-8b": 62.0},
    "wildjailbreak": {"tulu3-8b": 78.8},
}

# The averages that the tables print, by collection. The development average has the safety average as a twelfth column.
AVERAGES: dict[str, Scores] = {
    "tulu3-dev": {
        CARD: dict(zip(MODELS, (60.4, 64.4, 64.8, 62.2, 57.8, 72.6, 75.9, 76.0, 73.4, 71.5), strict=True)),
        PAPER: {
            "tulu3-8b-sft": 60.6,
            "tulu3-8b-dpo": 64.7,
            "tulu3-8b": 65.1,
            "tulu3-70b-sft": 72.6,
            "tulu3-70b-dpo": 76.2,
            "tulu3-70b": 76.2,
        },
    },
    "tulu3-unseen": {PAPER: {"tulu3-8b": 34.2, "tulu3-70b": 47.2}},
    "safety": {
        CARD: dict(zip(MODELS, (93.1, 87.2, 85.5, 75.2, 75.0, 94.4, 89.0, 88.3, 76.5, 87.0), strict=True)),
        PAPER: {"tulu3-8b": 85.5},
    },
}


def published(task: str) -> Scores:
    """A task's scores by source and model; empty where none is known."""
    scores: dict[str, Mapping[str, float]] = {}
    if task in _CARD:
        scores[CARD] = dict(zip(MODELS, _CARD[task], strict=True))
    if task in _PAPER:
        scores[PAPER] = _PAPER[task]
    return scores
