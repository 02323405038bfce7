"""How long `tulu --help` takes, as a multiple of bare Python and of the libraries it must not import.

    python benchmarks/startup.py

Commands run in turn; wall times of whole processes, medians over the rounds, ratios round by round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

TULU = str(Path(sys.executable).with_name("tulu"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import click": [sys.executable, "-c", "import click"],
    "tulu --help": [TULU, "--help"],
    "tulu run --help": [TULU, "run", "--help"],
    "import pyarrow": [sys.executable, "-c", "import pyarrow"],
    "import polars": [sys.executable, "-c", "import polars"],
    "import datasets": [sys.executable, "-c", "import datasets"],
}
BASELINE = "python -c pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    print(f"{'command':18} {'ms':>7} {'x bare Python':>14}   ({rounds} rounds after one warm-up)")
    for name, times in seconds.items():
        ratios = [t / b for t, b in zip(times[1:], seconds[BASELINE][1:], strict=True)]
        print(f"{name:18} {1000 * statistics.median(times[1:]):7.1f} {statistics.median(ratios):14.1f}")


if __name__ == "__main__":
    main()
