"""Near duplicates: rate against what people use, what is found and missed, and memory against the stated formula.

    python benchmarks/dedup.py --data ../shared/data --peers /path/with/rensa
    python benchmarks/dedup.py --only memory --rows 100000 1000000

Signatures are made of the same words and 5-grams with 128 permutations: each engine is given the raw texts and ends
with band keys or an object that holds the signature. Rates are texts per CPU-second of one thread, medians over the
rounds, in which the engines take turns; slow engines get a sample. Without --data the rows are synthetic.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import combinations
from pathlib import Path

sys.path.remove(str(Path(__file__).parent))  # where this file would stand for the package of its name

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tulu_data.dedup import Near, Settings, find_duplicates
from tulu_data.dedup.documents import documents_of_texts
from tulu_data.dedup.minhash import sign
from tulu_data.dedup.near import Work as NearWork
from tulu_data.dedup.near import candidates, memory_bytes
from tulu_data.dedup.reference import jaccard, shingle_set
from tulu_data.dedup.signatures import SignatureFile, write
from tulu_data.dedup.verify import Sets, similar_pairs
from tulu_data.dedup.words import words
from tulu_data.parquet import ShardWriter
from tulu_data.progress import Silent
from tulu_data.rows import finish, to_table
from tulu_data.store import Store

NEAR = Near()
PERMUTATIONS, NGRAM = NEAR.permutations, NEAR.ngram
PART = 8_192  # texts of a signature file, as of a row group


def real_texts(folder):
    listed = []
    for path in sorted((folder / "train").glob("*.parquet")) if folder else ():
        table = pq.read_table(path)
        if "messages" in table.column_names:
            listed += ["\n".join(m["content"] for m in row) for row in table["messages"].to_pylist()]
    return listed


def synthetic_texts(count, seed=0, mean=110):
    """Texts of words by Zipf's law; one in ten is an edited copy of the one before, and fifty in a row share half of
    their words in order, as rows of one template do.
    """
    draw = np.random.default_rng(seed)
    vocabulary = np.array([f"w{i:x}" for i in range(50_000)])
    lengths = draw.integers(mean // 2, 2 * mean, count)
    ranks = np.minimum(draw.zipf(1.3, int(lengths.sum())), len(vocabulary)) - 1
    ends = np.cumsum(lengths)
    listed, before = [], None
    for end, length in zip(ends, lengths, strict=True):
        chosen = vocabulary[ranks[end - length : end]].copy()
        if len(listed) % 50 == 0:
            template = chosen[: mean // 2].copy()
        chosen[: len(template)] = template[: len(chosen)]
        if before is not None and end % 10 == 0:
            chosen = before.copy()
            chosen[int(end) % len(chosen)] = "edited"
        listed.append(" ".join(chosen))
        before = chosen
    return listed


def grams_of(text):
    found = words_of(text)
    return {" ".join(found[i : i + NGRAM]) for i in range(max(1, len(found) - NGRAM + 1))}


def words_of(text):
    return text.lower().split()  # cheaper than ours: in the peers' favour


def ours(texts):
    sign(documents_of_texts(pa.array(texts)), NEAR)


def by_datasketch(texts):
    from datasketch import MinHash

    for text in texts:
        MinHash(num_perm=PERMUTATIONS).update_batch([g.encode() for g in grams_of(text)])


def by_rensa(texts):
    from rensa import RMinHash

    for text in texts:
        made = RMinHash(num_perm=PERMUTATIONS, seed=42)
        made.update(list(grams_of(text)))
        made.digest()


def by_python(texts):
    draw = random.Random(1)
    factors = [(draw.getrandbits(32) | 1, draw.getrandbits(32)) for _ in range(PERMUTATIONS)]
    for text in texts:
        hashes = [hash(g) & 0xFFFFFFFF for g in grams_of(text)]
        [min((h * a + b) & 0xFFFFFFFF for h in hashes) for a, b in factors]


def rates(texts, rounds):
    engines = {
        "tulu": (ours, 1),
        "datasketch": (by_datasketch, 100),
        "rensa": (by_rensa, 40),
        "python": (by_python, 500),
    }
    try:
        import rensa  # noqa: F401
    except ImportError:
        engines.pop("rensa")
        print("rensa is not installed: --peers names a folder with it")
    taken = {name: [] for name in engines}
    ours(texts[:100])
    for _ in range(rounds):
        for name, (engine, every) in engines.items():
            sample = texts[::every]
            start = time.process_time()
            engine(sample)
            taken[name].append(len(sample) / (time.process_time() - start))
    mean = sum(map(len, texts)) / len(texts)
    print(
        f"\nSignatures of {len(texts):,} texts of {mean:.0f} characters: "
        f"texts per CPU-second (one thread, {rounds} rounds)"
    )
    fastest = statistics.median(taken["tulu"])
    for name, found in taken.items():
        rate = statistics.median(found)
        print(f"  {name:<11}{rate:>10,.0f}  [{min(found):,.0f} – {max(found):,.0f}]   tulu is {fastest / rate:6.1f}×")


def planted(texts, seed=2):
    """Texts with edited copies: one word in a hundred, in fifty, in twenty replaced, or a sentence added."""
    draw = random.Random(seed)
    found = list(texts)
    for text in draw.sample(texts, len(texts) // 4):
        copied = text.split()
        share = draw.choice([0.005, 0.01, 0.02, 0.05])
        for _ in range(max(1, round(share * len(copied)))):
            copied[draw.randrange(len(copied))] = f"word{draw.randrange(999)}"
        found.append(" ".join(copied))
    return found


def pairs_found(texts, near, folder):
    files = []
    for i in range(0, len(texts), PART):
        path = folder / f"{i:09d}.signatures"
        signed = sign(documents_of_texts(pa.array(texts[i : i + PART])), near)
        write(path, signed)
        files.append(SignatureFile(path, signed.keys.shape[1], near.bands, len(signed.shingles)))
    sets = Sets(files)
    rows = np.flatnonzero(sets.sizes > 0)
    work = NearWork(folder, folder / "pairs", 1, 512 << 20, Silent())
    found = candidates(files, near, rows, len(texts), work)
    return {
        (int(rows[p & 0xFFFFFFFF]), int(rows[p >> 32]))
        for pairs, _ in similar_pairs(found, rows, sets, near.threshold, 512 << 20)
        for p in pairs.tolist()
    }


def quality(texts, count):
    sample = planted([t for t in random.Random(1).sample(texts, min(count, len(texts))) if words(t)])
    sets = [shingle_set([t], NGRAM) for t in sample]
    holders = {}
    for i, one in enumerate(sets):
        for shingle in one:
            holders.setdefault(shingle, []).append(i)
    # Texts that share no shingle have a similarity of 0: this is every pair that has any.
    alike = {pair for held in holders.values() if len(held) > 1 for pair in combinations(held, 2)}
    exact = {(a, b): jaccard(sets[a], sets[b]) for a, b in alike}
    print(
        f"\nFound against exact Jaccard of all pairs: "
        f"{len(sample):,} texts, {len(exact):,} pairs with any shingle in common"
    )
    for threshold in (0.7, 0.8, 0.9):
        true = {pair for pair, similarity in exact.items() if similarity >= threshold}
        with tempfile.TemporaryDirectory() as folder:
            found = pairs_found(sample, Near(threshold=threshold), Path(folder))
        recall, precision = len(found & true) / len(true), len(found & true) / max(1, len(found))
        print(f"  ≥ {threshold}: {len(true):>7,} pairs   recall {recall:.5f}   precision {precision:.5f}")


class Peak:
    """The most anonymous memory of this process while it is open, above what it began with, in bytes."""

    def __enter__(self):
        self.began = self.peak = self._now()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()

    def _watch(self):
        while not self._ends.wait(0.005):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now():
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("RssAnon:")[1].split()[0])


def store_of(count, root):
    store = Store(root)
    with store.build("rows", "sft") as build:
        writer = ShardWriter(build.data, "sft")
        for i in range(0, count, PART):
            texts = synthetic_texts(min(PART, count - i), seed=i)
            talks = [
                {"messages": [{"role": "user", "content": t}, {"role": "assistant", "content": "Yes."}]} for t in texts
            ]
            for k, row in enumerate(talks):
                row["prov"] = {"orig_id": f"{i + k:09d}"}
            writer.write(to_table("sft", [finish("sft", row, source="rows") for row in talks]))
        shards = writer.close()
        return build.publish(shards, writer.tally.logical())


def memory(counts, budget_mb):
    print("\nEnd to end from a version: peak of anonymous memory above the start, against the formula")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            store_of(count, Path(folder) / "store")
            for mb in budget_mb:
                code = [sys.executable, __file__, "--one", folder, str(mb)]
                print(subprocess.run(code, capture_output=True, text=True, check=True).stdout, end="", flush=True)


def one(folder, mb):
    version = Store(Path(folder) / "store").open("rows")
    with tempfile.TemporaryDirectory() as warm:  # what is loaded and compiled is not the search's
        tiny = Store(Path(warm) / "store")
        find_duplicates([store_of(100, tiny.root)], Settings(near=NEAR), work=Path(warm) / "work")
    start, wall = time.process_time(), time.monotonic()
    with Peak() as peak, tempfile.TemporaryDirectory() as work:
        found = find_duplicates([version], Settings(near=NEAR), work=Path(work), workers=1, budget_bytes=mb << 20)
    taken, wall = time.process_time() - start, time.monotonic() - wall
    rows = version.rows
    used, formula = (peak.peak - peak.began) / 2**20, memory_bytes(rows, mb << 20) / 2**20
    counts = {k: v for k, v in found.counts[0].items() if k != "version"}
    print(
        f"  {rows:>9,} rows, budget {mb:>4} MB: {used:7.0f} MB of {formula:7.0f} MB by the formula;"
        f" {rows / taken:,.0f} rows per CPU-s, {wall:.0f} s; {json.dumps(counts)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", type=Path, help="a folder with rensa (pip install --target)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=6_000)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--budget-mb", type=int, nargs="+", default=[32, 512])
    parser.add_argument("--only", choices=["rates", "quality", "memory"])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one[0], int(given.one[1]))
        return
    if given.peers:
        sys.path.append(str(given.peers))
    texts = real_texts(given.data) or synthetic_texts(50_000)
    if given.only in (None, "rates"):
        rates(texts, given.rounds)
    if given.only in (None, "quality"):
        quality(texts, given.sample)
    if given.only in (None, "memory"):
        memory(given.rows, given.budget_mb)
    print(
        f"\nlargest resident size of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB"
    )


if __name__ == "__main__":
    main()
