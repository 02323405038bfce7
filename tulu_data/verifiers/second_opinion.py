"""math-verify's view of the same answers: never the score, always a figure beside it. Extra `[math]`."""

from __future__ import annotations

from importlib.util import find_spec

from tulu_data.errors import UsageError
from tulu_data.verifiers import math_answer
from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, undecided, wrong


def parse(truth: str) -> str:
    """As `math` takes it. `UsageError` where math-verify is missing."""
    if find_spec("math_verify") is None:
        raise UsageError("verifier math_verify: math-verify is not installed; pip install 'tulu-data[math]'")
    return math_answer.parse(truth)


def check(response: str, truth: str) -> Verdict:
    """Whether math-verify holds the response's final answer to be the true one. It has no time limit here: it would
    need signals; the pool's deadline ends what hangs."""
    import logging

    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of the missing time limit each time
    answer = math_answer.answer_in(response)
    if answer is None:
        return wrong("no final answer")
    read = [math_verify.parse(f"${text}$", parsing_timeout=None) for text in (truth, answer)]
    if not all(read):
        return undecided(f"math-verify cannot read {shown(truth if not read[0] else answer)}")
    return RIGHT if math_verify.verify(*read, timeout_seconds=None) else wrong(f"answered {shown(answer)}")
