"""Code in the sandbox: what passes, what fails and why, and what tries to get out."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tulu_data.verifiers import verify
from tulu_data.verifiers.code import code_in, parse
from tulu_data.verifiers.confinement import available
from tulu_data.verifiers.sandbox import Sandbox

TRUTH = json.dumps({"tests": ["assert f(1) == 1", "assert f(2) == 2"], "timeout_s": 1})
GOOD = "def f(x):\n    return x"
KERNEL = pytest.mark.skipif(not all(available()), reason="needs seccomp and Landlock, of Linux 5.13 or newer")


def test_good_code_passes_and_a_mutant_fails():
    assert verify("code", GOOD, TRUTH).right
    verdict = verify("code", GOOD.replace("return x", "return 1"), TRUTH)
    assert verdict == (0.0, True, "a test fails: f(2) == 2")


@pytest.mark.parametrize(
    "response",
    [
        f"Here it is:\n```python\n{GOOD}\n```\nDone.",
        f"```\n{GOOD}\n```",
        f"First try:\n```python\ndef f(x):\n    return 0\n```\nBetter:\n```py\n{GOOD}\n```",
        f"```python\n{GOOD}\n```\nUse it:\n```bash\npython f.py\n```",
        f"```python\n{GOOD}",
    ],
)
def test_code_is_found_in_a_response(response):
    truth = json.dumps({"tests": ["assert f(1) == 1"], "entry_point": "f"})
    assert verify("code", response, truth).right


def test_a_body_completes_the_prompt_and_a_whole_function_replaces_it():
    prompt = 'from math import isqrt\n\ndef f(x):\n    """Doc."""\n'
    truth = parse(json.dumps({"tests": ["assert f(9) == 3"], "prompt": prompt, "entry_point": "f"}))
    for response in ("    return isqrt(x)", "return isqrt(x)", "def f(x):\n    return isqrt(x)"):
        assert verify(
            "code", response, json.dumps({"tests": ["assert f(9) == 3"], "prompt": prompt, "entry_point": "f"})
        )
        assert "isqrt(x)" in code_in(response, truth)
    assert not code_in("def f(x):\n    return isqrt(x)", truth).count("Doc")


def test_the_forms_of_humaneval_and_mbpp():
    check = "METADATA = {}\n\ndef check(candidate):\n    assert candidate(2) == 4\n"
    humaneval = json.dumps({"prompt": "def g(x):\n", "test": check, "entry_point": "g"})
    assert verify("code", "    return 2 * x\n", humaneval).right
    assert not verify("code", "    return x\n", humaneval).right
    mbpp = json.dumps({"test_list": ["assert g(2) == N"], "test_setup_code": "N = 4"})
    assert verify("code", "def g(x): return 2 * x", mbpp).right


HOSTILE = {
    "loop": ("def f(x):\n    while True: pass", "ran longer than 1 s"),
    "sleep": ("import time\ntime.sleep(100)", "not done after 4 s"),
    "memory": ("x = bytearray(4 << 30)\n" + GOOD, "MemoryError"),
    "exit": ("exit(0)", "SystemExit"),
    "os._exit": ("import os\nos._exit(0)", "ended itself before the tests were done"),
    "os._exit in the function": ("import os\ndef f(x): os._exit(0)", "ended itself before the tests were done"),
    "sys.exit in the function": ("import sys\ndef f(x): sys.exit(0)", "SystemExit"),
    "assert redefined": (
        "import builtins\nclass A(Exception): pass\nbuiltins.AssertionError = A\ndef f(x): return 3",
        "a test fails",
    ),
    "builtins redefined": ("import builtins\nbuiltins.bool = lambda x: True\ndef f(x): return 3", "a test fails"),
    "equal to everything": ("class E:\n    def __eq__(self, o): return True\ndef f(x): return E()", "own __eq__"),
    "a number equal to all": (
        "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(x): return E(3)",
        "own __eq__",
    ),
    "raises BaseException": ("def f(x): raise BaseException('no')", "BaseException: no"),
    "recursion": ("def f(x): return f(x)", "RecursionError"),
    "not Python": ("def f(x) return", "SyntaxError"),
    "nothing": ("pass", "NameError"),
    "exit handler": ("import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 3", "a test fails"),
    "reports by itself": (
        "import os\nfor i in range(3, 64):\n    try: os.write(i, b'L' + b'{}' * 9)\n    except OSError: pass\n"
        "def f(x): return 3",
        "",
    ),
}
CONFINED = {
    "fork bomb": ("import os\nwhile True: os.fork()", "PermissionError"),
    "subprocess": ("import subprocess\nsubprocess.run(['true'])", "PermissionError"),
    "network": ("import socket\nsocket.create_connection(('127.0.0.1', 9), 1)", "PermissionError"),
    "kills its parent": ("import os\nos.kill(os.getppid(), 9)", "PermissionError"),
    "threads": (
        "import threading, time\nfor _ in range(9999): threading.Thread(target=time.sleep, args=(9,)).start()",
        "can't start new thread",
    ),
}


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_fails_within_its_limits_and_the_sandbox_lives_on(name):
    code, reason = HOSTILE[name]
    start = time.monotonic()
    verdict = verify("code", code, TRUTH)
    assert (verdict.score, verdict.valid) == (0.0, True)
    assert reason in verdict.reason
    assert time.monotonic() - start < 30  # the deadlines hold on a busy machine too
    assert verify("code", GOOD, TRUTH).right


def test_a_gigabyte_of_output_goes_nowhere():
    print_it = "for _ in range(1 << 10): print('x' * (1 << 20))"
    patient = json.dumps({**json.loads(TRUTH), "timeout_s": 20})  # a busy machine needs more than a second for it
    assert verify("code", f"{print_it}\n{GOOD}", patient).right
    assert verify("code", f"{print_it}\ndef f(x): return 3", patient).reason.startswith("a test fails")


@KERNEL
@pytest.mark.parametrize("name", CONFINED)
def test_the_kernel_confines_code(name):
    code, reason = CONFINED[name]
    verdict = verify("code", f"{code}\n{GOOD}", TRUTH)
    assert verdict.valid
    assert not verdict.right
    assert reason in verdict.reason
    assert verify("code", GOOD, TRUTH).right


@pytest.mark.parametrize(
    "code",
    [
        "import asyncio\nasync def g(x): return x\ndef f(x): return asyncio.run(g(x))",
        "import threading\ndef f(x):\n    r = []\n    t = threading.Thread(target=r.append, args=(x,))\n"
        "    t.start(); t.join()\n    return r[0]",
        "import sys\nsys.setrecursionlimit(10**6)\ndef g(n): return n and g(n - 1)\ndef f(x): return x + g(20_000)",
        "import numpy as np\ndef f(x): return int(np.array([x]).sum())",
        "if __name__ == '__main__':\n    input()\ndef f(x): return x",
    ],
    ids=["asyncio", "threads", "recursion", "numpy", "main"],
)
def test_what_honest_code_does_is_allowed(code):
    assert verify("code", code, TRUTH).right


@KERNEL
def test_a_pair_of_datagram_sockets_is_refused():
    code = f"import socket\nsocket.socketpair(type=socket.SOCK_DGRAM)\n{GOOD}"
    assert "PermissionError" in verify("code", code, TRUTH).reason


@KERNEL
def test_files_outside_its_folder_cannot_be_written_or_read_and_its_own_can(tmp_path):
    target = tmp_path / "evil"
    secret = tmp_path / "secret"
    secret.write_text("s")
    for attempt in (f"open({str(target)!r}, 'w')", f"open({str(secret)!r})", f"import os; os.mkdir({str(target)!r})"):
        assert "PermissionError" in verify("code", f"{attempt}\n{GOOD}", TRUTH).reason
    assert not target.exists()
    own = "open('mine', 'w').write('x')\nassert open('mine').read() == 'x'\n"
    assert verify("code", own + GOOD, TRUTH).right


def test_nothing_is_left_behind(sandbox):
    before = set(Path(tempfile.gettempdir()).glob("tulu-sandbox-*"))
    assert sandbox.run("open('left', 'w').write('x')\n" + GOOD, ["assert f(1) == 1"]) == ""
    assert set(Path(tempfile.gettempdir()).glob("tulu-sandbox-*")) <= before


def test_a_killed_sandbox_starts_again(sandbox):
    assert sandbox.run(GOOD, ["assert f(1) == 1"]) == ""
    os.kill(sandbox._process.pid, 9)
    sandbox._process.wait()
    assert sandbox.run(GOOD, ["assert f(1) == 1"]) == ""


def test_a_sandbox_that_cannot_start_is_no_judgement(monkeypatch):
    from tulu_data.verifiers import code

    broken = Sandbox()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(code, "_sandbox", lambda: broken)
    verdict = verify("code", GOOD, TRUTH)
    assert not verdict.valid
    assert "sandbox" in verdict.reason


@pytest.mark.parametrize(
    ("truth", "problem"),
    [
        ('["print(1)"]', "no test has an assert"),
        ('["assert f(1) =="]', "not Python"),
        ("[]", "a text or a list of texts"),
        ('{"a": 1}', "a text or a list of texts"),
        ("3", "not tests"),
    ],
)
def test_a_truth_that_tests_nothing_is_refused(truth, problem):
    with pytest.raises(ValueError, match=problem):
        parse(truth)
