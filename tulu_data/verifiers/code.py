"""Code: a response's Python against tests, in a sandbox.

The code is the response's last fenced block that defines what the tests call, else its fenced blocks together, else the
response itself; a function's body alone completes the prompt, as HumanEval has it.
"""

from __future__ import annotations

import ast
import atexit
import json
import re
import threading
from typing import Any, NamedTuple

from tulu_data.verifiers.sandbox import LIMITS, Limits, Sandbox, SandboxError
from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, undecided, wrong

_FENCE = re.compile(r"```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_PYTHON = ("", "python", "py", "python3")


class Tests(NamedTuple):
    """The truth of a coding task.

    tests: Python to run after the solution, each on its own. prompt: the code that the response completes, where the
    task is to complete one. entry_point: the function that the tests call.
    """

    tests: tuple[str, ...]
    prompt: str = ""
    entry_point: str | None = None
    limits: Limits = LIMITS


def parse(truth: str) -> Tests:
    """Tests from JSON: a list of asserts, or an object.

    Keys: `tests` (or MBPP's `test_list`, HumanEval's `test`), `prompt`, `entry_point`, `setup` (or `test_setup_code`),
    `timeout_s`. HumanEval's `check(candidate)` is called with the entry point. Tests must be Python, with an assert.
    """
    try:
        value: Any = json.loads(truth)
    except ValueError:
        value = [truth]
    if isinstance(value, list | str):
        value = {"tests": value}
    if not isinstance(value, dict):
        raise ValueError(f"not tests: {shown(truth)!r}")
    given = value.get("tests", value.get("test_list", value.get("test")))
    tests = [given] if isinstance(given, str) else given
    if not isinstance(tests, list) or not tests or not all(isinstance(t, str) for t in tests):
        raise ValueError("tests must be a text or a list of texts with asserts")
    entry_point = value.get("entry_point")
    setup = value.get("setup", value.get("test_setup_code")) or ""
    for test in (setup, *tests):
        _python(test)
    if not any(isinstance(n, ast.Assert) for t in tests for n in ast.walk(ast.parse(t))):
        raise ValueError("no test has an assert: anything would pass")
    if any(re.search(r"^def check\(", t, re.MULTILINE) for t in tests) and entry_point:
        tests = ["\n".join([*tests, f"check({entry_point})"])]
    tests = [f"{setup}\n{t}" if setup else t for t in tests]
    seconds = value.get("timeout_s")
    limits = LIMITS if seconds is None else LIMITS._replace(cpu_s=float(seconds), wall_s=4 * float(seconds))
    return Tests(tuple(tests), str(value.get("prompt") or ""), entry_point, limits)


def _python(source: str) -> None:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise ValueError(f"a test is not Python: {shown(e)}") from None


def code_in(response: str, tests: Tests) -> str:
    """The program that a response gives, with the prompt's part where it completes one."""
    blocks = [body for language, body in _FENCE.findall(response) if language.lower() in _PYTHON]
    name = tests.entry_point
    # Without a name the tests may call what any block defines.
    whole = [b for b in blocks if _defines(b, name)] if name else []
    code = whole[-1] if whole else "\n\n".join(blocks) if blocks else response
    if not tests.prompt or _defines(code, name):
        return f"{_imports(tests.prompt)}{code}"
    return tests.prompt + (code if re.match(r"[ \t]*\n|[ \t]", code) else _indented(code))


def _defines(code: str, name: str | None) -> bool:
    return bool(
        re.search(rf"^(?:async )?(?:def|class) {re.escape(name)}\b" if name else r"^(?:def|class) ", code, re.MULTILINE)
    )


def _imports(prompt: str) -> str:
    lines = [line for line in prompt.splitlines() if re.match(r"(?:from|import) ", line)]
    return "".join(f"{line}\n" for line in lines)


def _indented(body: str) -> str:
    return "".join(f"    {line}" for line in body.splitlines(keepends=True))


_sandboxes = threading.local()


def _sandbox() -> Sandbox:
    """This thread's warm process."""
    if not hasattr(_sandboxes, "own"):
        _sandboxes.own = Sandbox()
        atexit.register(_sandboxes.own.close)
    own: Sandbox = _sandboxes.own
    return own


def check(response: str, truth: Tests) -> Verdict:
    """Whether the response's code passes all tests. Undecided where the sandbox does not work."""
    if not response.strip():
        return wrong("the response is empty")
    try:
        failed = _sandbox().run(
            code_in(response, truth), truth.tests, entry_point=truth.entry_point, limits=truth.limits
        )
    except SandboxError as e:
        return undecided(str(e))
    return wrong(failed) if failed else RIGHT
