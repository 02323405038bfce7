"""What a check costs: code in the warm sandbox against a fresh Python for each test, and `math` against math-verify.

python benchmarks/verifiers.py      # medians of interleaved rounds, and the ratio to the named baseline
"""

from __future__ import annotations

import logging
import random
import statistics
import subprocess
import sys
import time

from tulu_data.verifiers import Task, verify, verify_all
from tulu_data.verifiers.sandbox import Sandbox

ROUNDS = 7
CODE = "def f(n):\n    return sum(i * i for i in range(n))"
TESTS = ["assert f(3) == 5", "assert f(0) == 0"]
ANSWERS = [r"\frac{1}{2}", "0.5", r"x^2+2x+1", r"(x+1)^2", r"3\sqrt{2}", r"\left(1, \frac{3}{4}\right)", r"2\pi", "17"]


def median_ms(work, n):
    start = time.perf_counter()
    for _ in range(n):
        work()
    return 1000 * (time.perf_counter() - start) / n


def compare(title, contenders, n):
    """Names → work; the first is the baseline."""
    took = {name: [] for name in contenders}
    for work in contenders.values():
        work()
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            took[name].append(median_ms(work, n))
    baseline = statistics.median(next(iter(took.values())))
    for name, ms in took.items():
        median = statistics.median(ms)
        print(f"{title}  {name:28} {median:8.3f} ms  {baseline / median:6.1f}×")


def main():
    logging.disable(logging.CRITICAL)
    sandbox = Sandbox()
    program = "\n".join([CODE, *TESTS])

    def fresh():
        assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0

    def warm():
        assert sandbox.run(CODE, TESTS) == ""

    compare("code", {"a fresh Python a test": fresh, "the warm sandbox": warm}, 10)
    sandbox.close()

    rng = random.Random(0)
    pairs = [(rng.choice(ANSWERS), rng.choice(ANSWERS)) for _ in range(50)]

    def check(name):
        return lambda: [verify(name, rf"\boxed{{{a}}}", b) for a, b in pairs]

    compare("math", {"math-verify, 50 answers": check("math_verify"), "math, 50 answers": check("math")}, 1)
    tasks = [Task("math", rf"\boxed{{{a}}}", b) for a, b in pairs] * 40
    start = time.perf_counter()
    verify_all(tasks)
    print(f"pool  {len(tasks):,} answers with deadlines: {len(tasks) / (time.perf_counter() - start):,.0f} a second")


if __name__ == "__main__":
    main()
