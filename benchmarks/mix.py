"""Mixing a million rows and more: tulu-data against Hugging Face `datasets` and plain polars, in one run.

    python benchmarks/mix.py --data ../shared/data/train --rows 1000000

The chat files under --data are replicated (each replica's text differs, so that no row is a duplicate) into versions
of a store. Every engine then takes 80 % of each of them, shuffles, and writes zstd Parquet shards with all columns.
Engines run in turn, each in a process of its own; CPU seconds, wall seconds and peak RSS are those of that process
as the kernel reports them, medians over the rounds; rows are those that it wrote. The last lines run tulu-data on
twice the rows. tulu-data must give the same version whatever its workers, or the benchmark fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FRACTION = 0.8
SEED = 7


def replicate(data: Path, store_root: Path, rows_wanted: int) -> None:
    """Publishes one version per chat file, together `rows_wanted` rows or slightly more."""
    import pyarrow.parquet as pq

    from tulu_data import rows
    from tulu_data.parquet import ShardWriter
    from tulu_data.store import Store

    sources = {
        path.stem: found
        for path in sorted(data.glob("*.parquet"))
        if (found := [r for r in pq.read_table(path).to_pylist() if rows.check("sft", r) is None])
    }
    copies = -(-rows_wanted // sum(map(len, sources.values())))
    for name, records in sources.items():
        with Store(store_root).build(name, "sft") as build:
            writer = ShardWriter(build.data, "sft")
            for copy in range(copies):
                for start in range(0, len(records), 8_192):
                    batch = [_replica(r, copy) for r in records[start : start + 8_192]]
                    writer.write(rows.to_table("sft", (rows.finish("sft", r, source=name) for r in batch)))
            shards = writer.close()
            build.publish(shards, writer.tally.logical())


def _replica(record: dict, copy: int) -> dict:
    messages = [dict(m) for m in record["messages"]]
    messages[-1]["content"] += f" [{copy}]" if copy else ""
    return {"messages": messages, "prov": {"orig_id": f"{record['id']}-{copy}"}}


def tulu(store_root: Path, out: Path, workers: int) -> str:
    """The version id of the mixture."""
    from tulu_data.mixture import Part, mix
    from tulu_data.store import Store
    from tulu_data.take import Take

    source, target = Store(store_root), Store(out)
    parts = [Part(name, source.open(name), Take(fraction=FRACTION)) for name in source.names()]
    return mix(target, "mixture", parts, seed=SEED, workers=workers).manifest.version


def hf_datasets(store_root: Path, out: Path) -> None:
    """As open-instruct mixes: load, shuffle and select each source, concatenate, shuffle, write."""
    import datasets

    from tulu_data.store import Store

    datasets.disable_progress_bars()
    store = Store(store_root)
    parts = []
    for name in store.names():
        files = [str(p) for p in store.open(name).shards]
        part = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(out / "cache"))
        parts.append(part.shuffle(seed=SEED).select(range(int(FRACTION * len(part) + 0.5))))
    mixture = datasets.concatenate_datasets(parts).shuffle(seed=SEED)
    count = 8
    for i in range(count):
        mixture.shard(count, i).to_parquet(str(out / f"train-{i:05d}.parquet"))  # snappy: the package offers no choice


def plain_polars(store_root: Path, out: Path) -> None:
    """What one would write by hand: sample each file, concatenate, shuffle, write."""
    import polars as pl

    from tulu_data.store import Store

    store = Store(store_root)
    parts = []
    for name in store.names():
        part = pl.read_parquet(store.open(name).shards)
        parts.append(part.sample(fraction=FRACTION, seed=SEED))
    mixture = pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=SEED)
    mixture.write_parquet(out / "train.parquet", compression="zstd", compression_level=3, row_group_size=8_192)


ENGINES = {
    "tulu, 1 worker": lambda s, o: tulu(s, o, 1),
    "tulu, 2 workers": lambda s, o: tulu(s, o, 2),
    "hf datasets": hf_datasets,
    "polars": plain_polars,
}


def measure(engine: str, store_root: Path) -> dict[str, Any]:
    """One run in its own process: user + system seconds, wall seconds, peak RSS in GB, rows written, version id."""
    out = Path(tempfile.mkdtemp(prefix="mix-", dir=store_root.parent))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, "--engine", engine, "--store", str(store_root), "--out", str(out)]
    try:
        start = time.perf_counter()
        with (out / "version").open("w") as printed:
            process = subprocess.Popen(command, env=environment, stdout=printed)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            raise SystemExit(f"{engine} failed with status {status}")
        return {
            "cpu": usage.ru_utime + usage.ru_stime,
            "wall": time.perf_counter() - start,
            "rss": usage.ru_maxrss / 1e6,
            "rows": rows_written(out),
            "version": (out / "version").read_text().strip(),
        }
    finally:
        shutil.rmtree(out)


def rows_written(out: Path) -> int:
    import pyarrow.parquet as pq

    shards = [p for p in out.rglob("train*.parquet") if "cache" not in p.relative_to(out).parts]
    return sum(pq.read_metadata(p).num_rows for p in shards)


def check_versions(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Every run of tulu-data on the same rows, with whatever workers, must give one version."""
    versions = {r["version"] for engine, rs in runs.items() if engine.startswith("tulu") for r in rs}
    if len(versions) > 1:
        raise SystemExit(f"tulu-data gave different versions: {', '.join(sorted(versions))}")
    for version in versions:
        print(f"every run of tulu-data gave {version}")


def report(title: str, runs: dict[str, list[dict[str, Any]]], baseline: str) -> None:
    print(f"\n{title}\n{'engine':18} {'rows':>10} {'CPU s':>8} {'wall s':>8} {'peak GB':>8} {'CPU vs ' + baseline:>20}")
    for engine, rs in runs.items():
        cpu, wall, rss = (statistics.median(r[key] for r in rs) for key in ("cpu", "wall", "rss"))
        ratios = [b["cpu"] / r["cpu"] for r, b in zip(rs, runs[baseline], strict=True)]
        spread = f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{engine:18} {rs[0]['rows']:>10,} {cpu:8.1f} {wall:8.1f} {rss:8.2f} {spread:>20}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "train")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=None, help="keep the replicated data here")
    parser.add_argument("--only", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--no-double", action="store_true", help="skip the run on twice the rows")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.engine:
        print(ENGINES[args.engine](args.store, args.out) or "")
        return
    if not args.data.is_dir():
        raise SystemExit(f"{args.data}: no such folder; give one with chat Parquet files by --data")
    with tempfile.TemporaryDirectory(prefix="bench-mix-") as temp:
        work = args.work or Path(temp)
        for factor, engines, rounds in ((1, args.only, args.rounds), (2, list(ENGINES)[:2], 1)):
            if factor == 2 and args.no_double:
                break
            store_root = work / f"store-{args.rows * factor}"
            if not store_root.is_dir():
                print(f"replicating {args.data} to {args.rows * factor:,} rows", flush=True)
                replicate(args.data, store_root, args.rows * factor)
            runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
            for _ in range(rounds):
                for engine in engines:
                    runs[engine].append(measure(engine, store_root))
            load = os.getloadavg()[0]
            baseline = "hf datasets" if "hf datasets" in runs else next(iter(runs))
            report(f"{args.rows * factor:,} rows, {rounds} round(s), load {load:.1f}", runs, baseline)
            check_versions(runs)


if __name__ == "__main__":
    main()
