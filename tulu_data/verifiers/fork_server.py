"""The warm process that runs untrusted code: `python -m tulu_data.verifiers.fork_server`, spoken to over its stdin.

Starting Python costs some 40 ms, forking a started one some 3. This process imports what tests often use, then forks a
child for each task; the child confines itself (see `confinement`), runs, and says what came of it. Frames on stdin and
stdout are a length (4 bytes, little-endian) and JSON.

The child runs the solution first. Only then it reads the tests and a secret; what it reports counts if it carries the
secret. So a solution that ends the process, or that writes to every descriptor it finds while it loads, has reported
nothing. Builtins and the modules that tests use are put back between the two.
"""

from __future__ import annotations

import ast
import gc
import json
import os
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path
from typing import IO, Any

WARM = (
    "abc array bisect cmath collections copy datetime decimal enum fractions functools heapq itertools json math "
    "operator random re statistics string typing dataclasses textwrap hashlib unittest time"
).split()
SOLUTION = "<solution>"
TESTS = "<tests>"
MAX_FRAME = 64 << 20
GRACE_S = 0.5  # for a child that was killed to be gone


def read_frame(file: IO[bytes]) -> Any | None:
    """The next message; None at the end."""
    head = file.read(4)
    if len(head) < 4:
        return None
    (size,) = struct.unpack("<I", head)
    return json.loads(file.read(size))


def frame(message: Any) -> bytes:
    """A message as it is sent."""
    body = json.dumps(message).encode()
    return struct.pack("<I", len(body)) + body


# ------------------------------------------------------------ in the child


class _Unequal(BaseException):
    """A test that does not hold. Not an `Exception`, so that nothing in a solution catches it."""


def _child(task: dict[str, Any], own: Path, control: int, report: int, readable: list[str]) -> None:
    """Confines itself, runs the task, reports. Never returns."""
    from tulu_data.verifiers import confinement

    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for low, high in _between(sorted((control, report))):
        os.closerange(low, high)  # the server's own channels are not the solution's to write to
    os.chdir(own)
    os.environ.clear()
    os.environ.update(HOME=str(own), TMPDIR=str(own), PATH="", LC_ALL="C.UTF-8", OMP_NUM_THREADS="1")
    tempfile.tempdir = str(own)
    sys.setrecursionlimit(5_000)
    confinement.confine(
        own, cpu_s=task["cpu_s"], memory_bytes=task["memory_bytes"], file_bytes=task["file_bytes"], readable=readable
    )
    os.write(report, b"R")  # confined: what happens from here on is the solution's doing
    kept = _keep()
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    module.__dict__["__name__"] = "solution"
    outcome = _attempt(task["code"], SOLUTION, module.__dict__, "the code does not run")
    _put_back(kept)
    os.write(report, b"L")
    with os.fdopen(control, "rb", closefd=False) as file:
        asked = read_frame(file)
    if asked is None:
        os._exit(3)
    if not outcome:
        outcome = _test(asked["tests"], asked["entry_point"], module.__dict__)
    os.write(report, frame({"secret": asked["secret"], "failed": outcome}))
    os._exit(0)


def _between(kept: list[int]) -> list[tuple[int, int]]:
    """The ranges of descriptors from 3 up without those that are kept."""
    return list(zip([3, *(k + 1 for k in kept)], [*kept, 65_536], strict=True))


def _attempt(code: str, name: str, scope: dict[str, Any], what: str) -> str:
    """Runs code; what went wrong, in one line, or the empty text."""
    try:
        exec(compile(code, name, "exec"), scope)  # this is what the process is for
    except _Unequal as e:
        return f"a test fails: {e}"
    except AssertionError as e:
        return _line("a test fails", e) if name == TESTS else _line(what, e)
    except BaseException as e:  # SystemExit and the like are the solution's too
        return _line(what, e)
    return ""


def _line(what: str, error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())[:300]
    except BaseException:  # its class is the solution's
        text = ""
    return f"{what}: {type(error).__name__[:60]}{': ' if text else ''}{text}"


def _keep() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    import builtins

    modules = [builtins, os, sys, *(sys.modules[m] for m in WARM if m in sys.modules)]
    return [(vars(m), dict(vars(m))) for m in modules]


def _put_back(kept: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Undoes what a solution changed of builtins and modules, its tracing and its alarms."""
    for names, before in kept:
        names.clear()  # nothing but methods is called in between: there are no builtins
        names.update(before)
    sys.settrace(None)
    sys.setprofile(None)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _test(tests: list[str], entry_point: str | None, scope: dict[str, Any]) -> str:
    if entry_point and not callable(scope.get(entry_point)):
        return f"the code defines no function {entry_point}"
    names = dict(scope)
    names["__name__"] = "tests"
    names["_holds"] = _holds
    for test in tests:
        failed = _attempt(_checked(test), TESTS, names, "a test stops")
        if failed:
            return failed
    return ""


def _checked(test: str) -> str:
    """The test with its asserts as calls: `-O`, a changed `AssertionError` or a broad `except` do not turn them off."""
    tree = ast.parse(test)
    return ast.unparse(ast.fix_missing_locations(_Asserts().visit(tree)))


class _Asserts(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        shown = ast.Constant(ast.unparse(node.test)[:200])
        sides: ast.expr = ast.Constant(None)
        if isinstance(node.test, ast.Compare) and len(node.test.ops) == 1 and isinstance(node.test.ops[0], ast.Eq):
            left, right = node.test.left, node.test.comparators[0]
            sides = ast.Tuple([left, right], ast.Load())
            call = ast.Call(ast.Name("_holds", ast.Load()), [ast.Constant(None), sides, shown], [])
        else:
            call = ast.Call(ast.Name("_holds", ast.Load()), [node.test, sides, shown], [])
        return ast.copy_location(ast.Expr(call), node)


def _holds(truth: object, sides: tuple[object, object] | None, shown: str) -> None:
    """One assert. A value of the solution's own class may not say itself that it equals the expected one."""
    if sides is None:
        held = bool(truth)
    else:
        left, right = sides
        held = bool(left == right)
        if held and (_owns_equality(left, 0) or _owns_equality(right, 0)):
            raise _Unequal(f"{shown} holds only by the answer's own __eq__")
    if not held:
        raise _Unequal(shown)


def _owns_equality(value: object, depth: int) -> bool:
    kind = type(value)
    own = getattr(kind, "__eq__", None)
    if isinstance(own, types.FunctionType) and own.__code__.co_filename == SOLUTION:
        return True
    if depth < 3 and isinstance(value, list | tuple | set | frozenset | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else list(value)
        return any(_owns_equality(v, depth + 1) for v in inner[:1_000])
    return False


# ------------------------------------------------------------ in the server


def _serve(task: dict[str, Any], readable: list[str]) -> dict[str, Any]:
    """Runs one task in a child and says what came of it."""
    own = Path(tempfile.mkdtemp(prefix="tulu-sandbox-"))
    control_in, control_out = os.pipe()
    report_in, report_out = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(control_out)
            os.close(report_in)
            _child(task, own, control_in, report_out, readable)
        except BaseException:  # nothing may return into the server's loop
            os.write(report_out, b"E" + traceback.format_exc(limit=3).encode()[-2_000:])
        finally:
            os._exit(2)
    os.close(control_in)
    os.close(report_out)
    try:
        return _watched(task, child, control_out, report_in)
    finally:
        os.close(control_out)
        os.close(report_in)
        shutil.rmtree(own, ignore_errors=True)


def _watched(task: dict[str, Any], child: int, control: int, report: int) -> dict[str, Any]:
    secret = os.urandom(16).hex()
    deadline = time.monotonic() + task["wall_s"]
    said, told, late = bytearray(), False, False
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([report], [], [], left)[0]:
            late = True
            break
        part = os.read(report, 1 << 16)
        if not part:
            break
        if len(said) < MAX_FRAME:
            said += part
        if not told and said[:2] == b"RL":
            told = True
            asked = frame({"tests": task["tests"], "entry_point": task["entry_point"], "secret": secret})
            _tell(control, asked, deadline)
    _kill(child)
    _, status, usage = os.wait4(child, 0)
    used = usage.ru_utime + usage.ru_stime
    return _outcome(bytes(said), secret, status, used, task, late=late)


def _tell(control: int, message: bytes, deadline: float) -> None:
    """Writes without waiting for ever: the child may not be reading."""
    os.set_blocking(control, False)
    view = memoryview(message)
    while view and (left := deadline - time.monotonic()) > 0:
        if not select.select([], [control], [], left)[1]:
            return
        try:
            view = view[os.write(control, view) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            return


def _kill(child: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _outcome(said: bytes, secret: str, status: int, used: float, task: dict[str, Any], *, late: bool) -> dict[str, Any]:
    """What a child's report and its end mean. `broken`: the sandbox failed, which is no judgement of the code."""
    if not said.startswith(b"R"):
        text = said[1:].decode(errors="replace").strip().splitlines() if said.startswith(b"E") else []
        return {"broken": text[-1] if text else "the sandbox did not start"}
    try:
        reported = json.loads(said[2 + 4 :]) if said[1:2] == b"L" else {}
    except ValueError:
        reported = {}
    if isinstance(reported, dict) and reported.get("secret") == secret:
        return {"failed": reported["failed"]}
    if os.WIFSIGNALED(status) and not late:
        name = signal.Signals(os.WTERMSIG(status)).name
        if name in ("SIGXCPU", "SIGKILL") and used >= task["cpu_s"] * 0.9:
            return {"failed": f"ran longer than {task['cpu_s']:g} s of processor time"}
        return {"failed": f"ended by {name}"}
    if late:
        return {"failed": f"not done after {task['wall_s']:g} s"}
    return {"failed": f"ended itself before the tests were done (exit status {os.waitstatus_to_exitcode(status)})"}


def main() -> None:
    """Serves tasks until stdin ends."""
    from tulu_data.verifiers import confinement

    for name in WARM:
        __import__(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    stdin = os.fdopen(os.dup(0), "rb")
    stdout = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    os.set_inheritable(stdout, False)
    readable = [*confinement.SYSTEM_FOLDERS, *confinement.interpreter_folders()]
    gc.freeze()
    while (task := read_frame(stdin)) is not None:
        os.write(stdout, frame(_serve(task, readable)))


if __name__ == "__main__":
    main()
