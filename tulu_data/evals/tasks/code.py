"""Coding tasks: HumanEval and HumanEval+, the unseen BigCodeBench-Hard, and MBPP (arXiv 2411.15124, Table 24)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.evals.tasks.columns import column, text, texts
from tulu_data.evals.tasks.published import published
from tulu_data.evals.tasks.shots import user
from tulu_data.suites import Record

SAMPLED = Decoding(temperature=0.8, top_p=0.95, samples=20)  # Table 24: pass@10 from 20 responses
CODE_RULES = (
    "The last fenced block that defines the entry point, else all fenced blocks, else the response; a function's body "
    "alone completes the prompt. It passes where every test does, within 3 s of processor time each. Verifier: code. "
    "pass@10 by the unbiased estimate."
)


def _truth(**fields: Any) -> str:
    return json.dumps({k: v for k, v in fields.items() if v}, ensure_ascii=False)


def humaneval_items(records: Sequence[Record]) -> list[Item]:
    """A function to complete."""
    return [_humaneval(record) for record in records]


def _humaneval(record: Record) -> Item:
    prompt = text(record, "prompt")
    # Without the column it is the function that the prompt leaves open, its last.
    name = column(record, "entry_point", empty=True) or re.findall(r"^def (\w+)\(", prompt, re.MULTILINE)[-1]
    truth = _truth(test=text(record, "test"), entry_point=name, prompt=prompt)
    return Item(record.id, record.subset, user(f"Complete the following python function.\n\n\n{prompt}"), truth)


HUMANEVAL_NOTE = (
    "The instruction is that of `codex_humaneval::tulu`, which also begins the model's answer with 'Here is the "
    "completed function:' and an open fence; a chat API cannot do that, so the code is taken out of a whole answer."
)
HUMANEVAL = Task(
    id="humaneval",
    title="HumanEval (pass@10)",
    group="dev",
    suite="humaneval",
    items=humaneval_items,
    verifier="code",
    metric="pass_at_10",
    decoding=SAMPLED,
    rules=CODE_RULES,
    published=published("humaneval"),
    note=HUMANEVAL_NOTE,
)
HUMANEVAL_PLUS = Task(
    id="humaneval_plus",
    title="HumanEval+ (pass@10)",
    group="dev",
    suite="humaneval_plus",
    items=humaneval_items,
    verifier="code",
    metric="pass_at_10",
    decoding=SAMPLED,
    rules=CODE_RULES,
    published=published("humaneval_plus"),
    note=HUMANEVAL_NOTE,
)

# ------------------------------------------------------------ MBPP

SCRIPT_ASKS = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)


def mbpp_items(records: Sequence[Record]) -> list[Item]:
    """A function to write, with one of its tests to show its name."""
    return [_mbpp(record) for record in records]


def _mbpp(record: Record) -> Item:
    tests = texts(record, "test_list")
    prompt = f"{SCRIPT_ASKS}\n```\n{text(record, 'text|prompt').strip()}\n{tests[0].strip()}\n```"
    imports = column(record, "test_imports", empty=True) or []
    setup = "\n".join([*imports, str(column(record, "test_setup_code", empty=True) or "")]).strip()
    # MBPP+ has its many tests in one program.
    more = column(record, "test", empty=True)
    return Item(record.id, record.subset, user(prompt), _truth(tests=[more] if more else tests, setup=setup))


MBPP_NOTE = "No column of the paper's tables. The prompt is EvalPlus's, decoding as for HumanEval."
MBPP = Task(
    id="mbpp",
    title="MBPP (pass@10)",
    group="dev",
    suite="mbpp",
    items=mbpp_items,
    verifier="code",
    metric="pass_at_10",
    decoding=SAMPLED,
    rules=CODE_RULES,
    note=MBPP_NOTE,
)
MBPP_PLUS = Task(
    id="mbpp_plus",
    title="MBPP+ (pass@10)",
    group="dev",
    suite="mbpp_plus",
    items=mbpp_items,
    verifier="code",
    metric="pass_at_10",
    decoding=SAMPLED,
    rules=CODE_RULES,
    note=MBPP_NOTE,
)

# ------------------------------------------------------------ BigCodeBench-Hard

# Its tests are methods of a `unittest.TestCase`, which nothing runs: without this any code would pass.
RUN_TESTS = """
import io as _io, unittest as _unittest
_suite = _unittest.defaultTestLoader.loadTestsFromTestCase(TestCases)
_result = _unittest.TextTestRunner(stream=_io.StringIO()).run(_suite)
assert _result.testsRun and _result.wasSuccessful(), [str(t) for t, _ in _result.failures + _result.errors]
"""
BIGCODEBENCH_SECONDS = 60


def bigcodebench_items(records: Sequence[Record]) -> list[Item]:
    """A program to write from an instruction; the libraries of its stub are there whether it imports them or not."""
    return [_bigcodebench(record) for record in records]


def _bigcodebench(record: Record) -> Item:
    truth = _truth(
        tests=[f"{text(record, 'test')}\n{RUN_TESTS}"],
        entry_point=text(record, "entry_point"),
        prompt=column(record, "code_prompt", empty=True),
        timeout_s=BIGCODEBENCH_SECONDS,
    )
    return Item(record.id, record.subset, user(f"{SCRIPT_ASKS}\n{text(record, 'instruct_prompt').strip()}"), truth)


BIGCODEBENCH_HARD = Task(
    id="bigcodebench_hard",
    title="BigCodeBench-Hard, instruct (pass@10)",
    group="unseen",
    suite="bigcodebench_hard",
    items=bigcodebench_items,
    verifier="code",
    metric="pass_at_10",
    decoding=SAMPLED,
    rules=CODE_RULES.replace("3 s", f"{BIGCODEBENCH_SECONDS} s")
    + " Calibrated: the imports of the stub are put before the answer.",
    published=published("bigcodebench_hard"),
    note="Needs the libraries that its problems use (numpy, pandas, …) beside this package. Problems that open "
    "sockets, start processes or write outside their folder fail in the sandbox, whatever the answer.",
)
TASKS = (HUMANEVAL, HUMANEVAL_PLUS, MBPP, MBPP_PLUS, BIGCODEBENCH_HARD)
