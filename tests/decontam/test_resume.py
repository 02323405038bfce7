"""Audits that are killed, and audits whose machines are: in the end every row is scanned once and nothing differs."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from decontam.auditing import audit, scan_id
from decontam.verdicts import Settings
from tulu_data.store import Store

QUESTIONS = [f"question number {i} asks whether the {i} dogs and the {i} cats sleep at {i}" for i in range(300)]
TABLES = ("pairs.parquet", "evals.parquet", "rows.parquet")


@pytest.fixture
def place(tmp_path, make_version):
    """A store with a set of three row groups and a suite that a tenth of its rows overlap."""
    choose = random.Random(1)
    prompts = [f"{choose.choice(QUESTIONS)} {i}" if i % 10 == 0 else f"harmless prompt {i}" for i in range(24_000)]
    make_version(Store(tmp_path / "store"), "train", prompts, "prompt", tokenizer=None)
    (tmp_path / "s.jsonl").write_text("".join(f'{{"q": "{q}"}}\n' for q in QUESTIONS))
    (tmp_path / "suites.yaml").write_text("suites: {s: {group: dev, path: s.jsonl, fields: [q]}}")
    return tmp_path


def command(place: Path, output: str, *more: str) -> list[str]:
    tulu = Path(sys.executable).parent / "tulu"
    suites = ["--suites", str(place / "suites.yaml"), "--store", str(place / "store")]
    return [str(tulu), "audit", "train", *suites, "-o", str(place / output), "-q", *more]


def tables(place: Path, output: str) -> list[bytes]:
    return [(place / output / name).read_bytes() for name in TABLES]


def forget(place: Path) -> None:
    """Removes the stored audit, so that the next run makes it again."""
    for folder in (place / "store" / "audits").iterdir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("more", [("-j", "2"), ("-j", "2", "--executor", "processes")], ids=["threads", "processes"])
def test_an_audit_killed_at_random_points_and_resumed_gives_the_same_bytes(place, more):
    started = time.monotonic()
    subprocess.run(command(place, "whole", *more), check=True, capture_output=True)
    took = time.monotonic() - started
    choose = random.Random(3)
    killed = 0
    for attempt in range(6):
        forget(place)
        process = subprocess.Popen(command(place, f"found{attempt}", *more), stdout=subprocess.DEVNULL)
        time.sleep(choose.uniform(0.2, 0.7) * took)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        subprocess.run(command(place, f"found{attempt}", *more), check=True, capture_output=True)
        assert tables(place, f"found{attempt}") == tables(place, "whole")
        assert not list((place / "store" / "scans").iterdir())
    assert killed >= 3


@pytest.mark.slow
def test_a_ray_node_that_dies_loses_no_row_and_repeats_none(place, make_suite, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed (extra ray)")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # of the workers on both nodes
    version, suites = Store(place / "store").open("train"), [make_suite("s", QUESTIONS)]
    expected = audit([version], suites)
    work = place / "work"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        died = threading.Event()

        def kill_once_something_is_done():
            while len(list(work.glob("*.parquet"))) < 1:
                time.sleep(0.01)
            cluster.remove_node(other, allow_graceful=False)
            died.set()

        thread = threading.Thread(target=kill_once_something_is_done, daemon=True)
        thread.start()
        found = audit([version], suites, executor="ray", workers=2, work=work)
        thread.join(60)
        assert died.is_set()
    finally:
        cluster.shutdown()
    assert (found.pairs, found.evals, found.rows) == (expected.pairs, expected.evals, expected.rows)
    assert scan_id([version], suites, Settings()) == found.manifest["scan"]
