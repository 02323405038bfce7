"""The decontamination engine against what people use, its limits, and what it costs from end to end; in one run.

    python benchmarks/decontam.py --data ../shared/data --peer-python /path/to/venv/bin/python

The prompts of `t0_train_50k` are held against ten public suites (`recipes/suites/public.yaml`). Rates are MB of UTF-8
text per CPU-second of one thread, medians over the rounds, in which the engines take turns. Peers that need packages
of their own (datatrove, lm-eval) run in the interpreter that --peer-python names, and are left out without it. Slow
engines get a sample of the text: rates compare, and the sample's size is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.remove(str(Path(__file__).parent))  # where this file would stand for the package of its name

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from decontam.auditing import audit
from decontam.compiled import CompiledEngine
from decontam.evidence import columns_of
from decontam.index import build, canonical, index_of
from decontam.suites import Suite, read_suites
from decontam.verdicts import Settings
from decontam.worker import turns_of
from tulu_data import rows as row_kinds
from tulu_data.executor import map_with_state
from tulu_data.parquet import ShardWriter
from tulu_data.store import RowGroup, Store, Version
from tulu_data.suites import load_suites

ROOT = Path(__file__).parents[1]
N = 8
SAMPLE = {
    "python set": 20,
    "python set, tuned": 20,
    "polars": 20,
    "datatrove": 200,
    "lm-eval janitor": 100,
}  # every so many-th text
PARTS = ("kernel", "limits", "prompts", "worst", "index", "end", "threads", "memory")


def cpu_model() -> str:
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown CPU"


def megabytes(texts: Sequence[str]) -> float:
    return sum(len(t.encode()) for t in texts) / 1e6


def batch_of(texts: Sequence[str]) -> pa.RecordBatch:
    """Prompts as the engine takes them, without the digests that no scan reads."""
    lists = [[{"role": "user", "content": t}] for t in texts]
    columns = {
        "id": pa.array([str(i) for i in range(len(texts))]),
        "row_sha": pa.array([bytes(32)] * len(texts), pa.binary(32)),
        "source": pa.array(["s"] * len(texts)),
        "messages": pa.array(lists, row_kinds.MESSAGES),
    }
    return pa.RecordBatch.from_pydict(columns)


class Kernel:
    """The compiled scan alone, over one batch in memory."""

    def __init__(self, suites: Sequence[Suite], texts: Sequence[str], *, fuzzy: bool) -> None:
        self.engine = CompiledEngine(index_of(suites, Settings(fuzzy=fuzzy)), Settings(fuzzy=fuzzy))
        self.batch = batch_of(texts)
        self.turns = turns_of("prompt", self.batch)
        self.everything = np.arange(len(texts))

    def scan(self) -> None:
        with self.engine._worker(int(self.turns.sizes.max())) as worker:
            worker.scan(self.turns, self.everything, AssertionError)

    def scan_batch(self) -> None:
        self.engine.scan_batch("t", "prompt", self.batch, 0)


# ------------------------------------------------------------ peers in this interpreter

_GAPS = str.maketrans(dict.fromkeys(',.?!:;()"\\-', " "))


def words(text: str) -> list[str]:
    return text.lower().translate(_GAPS).split()


def grams(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[k:] for k in range(N)), strict=False)


def python_set(evals: Sequence[str], texts: Sequence[str]) -> Callable[[], list[int]]:
    """As one writes it: tokens by a pattern, each window looked up; which texts share an n-gram."""
    pattern = re.compile(r'[^\s,.?!:;()"\\-]+')

    def windows(text: str) -> Iterator[tuple[str, ...]]:
        tokens = pattern.findall(text.lower())
        return (tuple(tokens[i : i + N]) for i in range(len(tokens) - N + 1))

    known = {g for t in evals for g in windows(t)}
    return lambda: [i for i, text in enumerate(texts) if any(g in known for g in windows(text))]


def tuned_python_set(evals: Sequence[str], texts: Sequence[str]) -> Callable[[], list[int]]:
    """The same with no step in Python for a token or a window."""
    known = {g for t in evals for g in grams(words(t))}
    return lambda: [i for i, text in enumerate(texts) if not known.isdisjoint(grams(words(text)))]


def polars_join(evals: Sequence[str], texts: Sequence[str]) -> Callable[[], None]:
    import polars as pl

    def grams_of(given: Sequence[str]) -> pl.LazyFrame:
        tokens = (
            pl.LazyFrame({"text": given})
            .with_row_index("doc")
            .select("doc", pl.col("text").str.to_lowercase().str.extract_all(r'[^\s,.?!:;()"\\-]+').alias("w"))
            .explode("w")
        )
        gram = pl.concat_str([pl.col("w").shift(-k) for k in range(N)], separator=" ").alias("gram")
        inside = pl.col("doc") == pl.col("doc").shift(1 - N)
        return tokens.select("doc", gram, inside.alias("inside")).filter("inside").select("doc", "gram")

    known = grams_of(evals).select("gram").unique().collect()
    return lambda: grams_of(texts).join(known.lazy(), on="gram", how="semi").select("doc").unique().collect()


# ------------------------------------------------------------ peers in another interpreter

PEERS = {
    "datatrove": """
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text
import tempfile
f = NGramsDecontFilter(tempfile.mkdtemp(), NGramsDecontConfig(n_grams=8))
f._index_hashes = {}
for t in evals:
    tokens = f.tokenizer.word_tokenize(simplify_text(t, f.config.norm_config))
    for g in map(" ".join, ngrams(tokens, 8)):
        f._index_hashes[f.hash_func(g)] = "task"
documents = [Document(t, str(i)) for i, t in enumerate(texts)]
def scan():
    for d in documents:
        f.filter(d)
""",
    "lm-eval janitor": """
from lm_eval.decontamination.janitor import Janitor
j = Janitor(ngram_n=8)
for t in evals:
    j.register_contaminant_python(t)
def scan():
    for t in texts:
        j.clean_python(t)
""",
}
_PEER = """
import json, sys, time
evals, texts = json.load(open(sys.argv[1]))
{program}
print("ready", flush=True)
for line in sys.stdin:
    start = time.process_time()
    scan()
    print(time.process_time() - start, flush=True)
"""


class Peer:
    """A process that scans its texts whenever it is asked, and says how many CPU-seconds that took."""

    def __init__(self, python: str, name: str, evals: Sequence[str], texts: Sequence[str], folder: Path) -> None:
        given = folder / f"{name.replace(' ', '-')}.json"
        given.write_text(json.dumps([list(evals), list(texts)]))
        program = _PEER.replace("{program}", PEERS[name])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [python, "-c", program, str(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        line = self._line()
        while line and not line.startswith("ready"):  # some print when they are imported
            line = self._line()
        self.ready = bool(line)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def seconds(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Timed(NamedTuple):
    """Something to be timed: MB that it reads, and a call that gives its CPU-seconds."""

    size: float
    seconds: Callable[[], float]


def in_process(scan: Callable[[], Any]) -> Callable[[], float]:
    def seconds() -> float:
        start = time.process_time()
        scan()
        return time.process_time() - start

    return seconds


def medians(timed: dict[str, Timed], rounds: int) -> dict[str, float]:
    """CPU-seconds of each, in turn, after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, entry in timed.items():
            seconds = entry.seconds()
            if number:
                found[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


# ------------------------------------------------------------ parts


class Inputs(NamedTuple):
    suites: list[Suite]
    evals: list[str]
    texts: list[str]
    args: argparse.Namespace
    work: Path


def part_kernel(given: Inputs) -> None:
    size = megabytes(given.texts)
    plain, fuzzy = (Kernel(given.suites, given.texts, fuzzy=f) for f in (False, True))
    samples = {name: given.texts[::step] for name, step in SAMPLE.items()}
    timed = {
        "tulu-data": Timed(size, in_process(plain.scan)),
        "tulu-data + edited copies": Timed(size, in_process(fuzzy.scan)),
        "tulu-data, pairs included": Timed(size, in_process(plain.scan_batch)),
    }
    makes = {"python set": python_set, "python set, tuned": tuned_python_set, "polars": polars_join}
    for name, make in makes.items():
        timed[name] = Timed(megabytes(samples[name]), in_process(make(given.evals, samples[name])))
    peers = []
    for name in PEERS if given.args.peer_python else ():
        peer = Peer(given.args.peer_python, name, given.evals, samples[name], given.work)
        peers.append(peer)
        if peer.ready:
            timed[name] = Timed(megabytes(samples[name]), peer.seconds)
        else:
            print(f"{name}: cannot run in {given.args.peer_python}; left out")
    found = medians(timed, given.args.rounds)
    for peer in peers:
        peer.close()
    base = timed["python set"].size / found["python set"]
    print(f"{'engine':28} {'MB read':>8} {'MB/s/core':>10} {'x python set':>13}")
    for name, seconds in found.items():
        rate = timed[name].size / seconds
        print(f"{name:28} {timed[name].size:8.1f} {rate:10.1f} {rate / base:13.2f}")


def part_limits(given: Inputs) -> None:
    blob = np.frombuffer("".join(given.texts).encode(), np.uint8)
    target = np.zeros_like(blob)
    version = t0_version(given, 1)
    decode = Timed(all_text(version), in_process(lambda: read_all(version)))
    timed = {"memcpy": Timed(len(blob) / 1e6, in_process(lambda: np.copyto(target, blob))), "Parquet decode": decode}
    for name, seconds in medians(timed, given.args.rounds).items():
        print(f"{name:28} {timed[name].size:8.1f} {timed[name].size / seconds:10.1f}   of all text")


def part_prompts(given: Inputs) -> None:
    choose = random.Random(1)
    vocabulary = sorted({w for t in given.texts[:2_000] for w in words(t)})
    prompts = [" ".join(choose.choices(vocabulary, k=16))[:100] for _ in range(200_000)]
    kernel = Kernel(given.suites, prompts, fuzzy=False)
    [seconds] = medians({"prompts": Timed(0, in_process(kernel.scan))}, given.args.rounds).values()
    mean = 1e6 * megabytes(prompts) / len(prompts)
    print(f"short prompts ({mean:.0f} bytes)      {len(prompts) / seconds / 1e6:.2f} M prompts/s/core")


def part_worst(given: Inputs) -> None:
    for label, ids in (("of gsm8k or math", ("gsm8k", "math")), ("of any suite", None)):
        choose = random.Random(2)
        evals = [f.text for s in given.suites if ids is None or s.id in ids for i in s.instances for f in i.fields]
        texts = [f"{t[: len(t) // 2]} {choose.choice(evals)} {t[len(t) // 2 :]}" for t in given.texts[::8]]
        kernel = Kernel(given.suites, texts, fuzzy=False)
        size = megabytes(texts)
        timed = {"scan": Timed(size, in_process(kernel.scan)), "pairs": Timed(size, in_process(kernel.scan_batch))}
        found = medians(timed, given.args.rounds)
        count = len(kernel.engine.scan_batch("t", "prompt", kernel.batch, 0))
        print(
            f"every text holds an instance {label:16}  {size / found['scan']:.0f} MB/s/core to find the pairs, "
            f"{size / found['pairs']:.0f} with all of them described ({count / len(texts):.1f} a text)"
        )


def part_index(given: Inputs) -> None:
    settings = Settings(fuzzy=False)
    corpus = index_of(given.suites, settings).corpus
    strings = [t for s in given.suites for i in s.instances for t in (*(f.text for f in i.fields), i.passage or "")]
    timed = {
        "texts → tokens": Timed(0, in_process(lambda: canonical("unicode", strings))),
        "tokens → index": Timed(0, in_process(lambda: build(corpus, settings))),
        "all, from suites in memory": Timed(0, in_process(lambda: index_of(given.suites, settings))),
    }
    built = build(corpus, settings)
    print(f"index of {len(built.built.scan.grams.rare):,} distinct {N}-grams of {len(corpus.instances):,} instances")
    for name, seconds in medians(timed, given.args.rounds).items():
        print(f"  {name:28} {seconds:.2f} CPU-s")


def t0_version(given: Inputs, copies: int) -> Version:
    """t0_train_50k so many times over, each replica's text its own, as a version of a store."""
    store = Store(given.work / "store")
    name = f"t0-{copies}"
    if store.latest(name):
        return store.open(name)
    records = pq.read_table(given.args.data / "train" / "t0_train_50k.parquet").to_pylist()
    with store.build(name, "sft") as made:
        writer = ShardWriter(made.data, "sft")
        for copy in range(copies):
            for start in range(0, len(records), 8_192):
                batch = [_replica(r, copy) for r in records[start : start + 8_192]]
                finished = [row_kinds.finish("sft", r, source=name) for r in batch]
                writer.write(row_kinds.to_table("sft", finished))
        return made.publish(writer.close(), writer.tally.logical())


def _replica(record: dict[str, Any], copy: int) -> dict[str, Any]:
    messages = [dict(m) for m in record["messages"]]
    messages[0]["content"] += f" [{copy}]" if copy else ""
    return {"messages": messages, "prov": {"orig_id": f"{record['id']}-{copy}"}}


def read_all(version: Version) -> int:
    return sum(part.read(columns_of(version.kind)).num_rows for part in version.parts())


def all_text(version: Version) -> float:
    return sum(s.chars for s in version.manifest.logical.sources.values()) / 1e6


def part_end(given: Inputs) -> None:
    version = t0_version(given, 1)
    timed = {}
    for fuzzy in (False, True):
        engine = CompiledEngine(index_of(given.suites, Settings(fuzzy=fuzzy)), Settings(fuzzy=fuzzy))
        name = "+ edited copies" if fuzzy else "n-grams and whole texts"
        timed[name] = Timed(all_text(version), in_process(lambda e=engine: _scan_all(e, version)))
    prompts = megabytes(given.texts)
    for name, seconds in medians(timed, given.args.rounds).items():
        rates = f"{prompts / seconds:.0f} MB/s/core of prompts, {timed[name].size / seconds:.0f} of all text decoded"
        print(f"from zstd Parquet to pairs, {name:24} {rates}")


def _scan_all(engine: CompiledEngine, version: Version) -> None:
    first = 0
    for part in version.parts():
        engine.scan_batch(version.name, version.kind, part.read(columns_of(version.kind)), first)
        first += part.rows


def part_threads(given: Inputs) -> None:
    version = t0_version(given, max(1, round(500 * given.args.gb / megabytes(given.texts))))
    engine = CompiledEngine(index_of(given.suites, Settings(fuzzy=False)), Settings(fuzzy=False))
    walls: dict[int, list[float]] = {1: [], 2: []}
    for number in range(given.args.rounds + 1):
        for workers, seconds in walls.items():
            start = time.perf_counter()
            list(map_with_state(_scan_part, engine, version.parts(), workers=workers, how="threads"))
            if number:
                seconds.append(time.perf_counter() - start)
    one, two = (statistics.median(walls[w]) for w in (1, 2))
    print(f"scan of {all_text(version):,.0f} MB: {one:.2f} s with one thread, {two:.2f} s with two: {one / two:.2f}x")


def _scan_part(engine: CompiledEngine, part: RowGroup) -> int:
    return len(engine.scan_batch("t", "sft", part.read(columns_of("sft")), 0))


def part_memory(given: Inputs) -> None:
    peaks = []
    for share in (0.25, 1.0):
        copies = max(1, round(2_000 * given.args.gb * share / megabytes(given.texts)))
        version = t0_version(given, copies)
        command = [sys.executable, __file__, "--data", str(given.args.data), "--audit", str(version.path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(float(done.stdout))
        print(f"audit of {all_text(version):7,.0f} MB: peak RSS {peaks[-1]:,.0f} MB")
    print(f"four times the text: {peaks[1] / peaks[0]:.2f}x the memory")


def peak_rss() -> float:
    """Of this process, in MB. The kernel's count for a child would include what its parent held when it began."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found.group(1)) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", help="an interpreter with datatrove and lm-eval")
    parser.add_argument("--work", type=Path, help="keep the replicated data here")
    parser.add_argument(
        "--gb", type=float, default=1.0, help="scale of the replicated data: 1 is 0.5 GB, and 2 GB for memory"
    )
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.data.is_dir():
        raise SystemExit(f"{args.data}: no such folder; give the public sets by --data")
    suites = read_suites(load_suites(ROOT / "recipes" / "suites" / "public.yaml", root=args.data))
    if args.audit:
        audit([Store(args.audit.parent).open(args.audit)], suites, Settings(fuzzy=False), workers=2)
        print(peak_rss())
        return
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    table = pq.read_table(args.data / "train" / "t0_train_50k.parquet", columns=["messages"])
    texts = [m["content"] for row in table.to_pylist() for m in row["messages"] if m["role"] == "user"]
    evals = [f.text for s in suites for i in s.instances for f in i.fields]
    print(f"{cpu_model()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}; medians of {args.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="bench-decontam-") as temp:
        given = Inputs(suites, evals, texts, args, args.work or Path(temp))
        for part in args.only:
            globals()[f"part_{part}"](given)
    print(f"load at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
