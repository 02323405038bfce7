"""Items in other words: what the layer `semantic` finds of them, what it finds by mistake, and what each stage costs.

    python benchmarks/rephrasing.py --data ../shared/data

`data/rephrasings.jsonl` holds 420 texts written for this benchmark: test items of nine public suites in other words, of
seven kinds (`close` keeps most of the words, `renamed` none of the names), and 60 other problems on the same things
(`different`). It is test material: do not train on it. None shares an 8-gram with its item. The thresholds were chosen
with an eye on the GSM8K part.

Speed is CPU time of one thread, stages in turn, medians of `--rounds`; the baseline is the encoder reading every text.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.remove(str(Path(__file__).parent))  # where decontam.py would stand for the package of its name
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pyarrow.parquet as pq

from decontam.corpus import Corpus, join
from decontam.index import analysed
from decontam.nearness import Finder, Near, finder_of
from decontam.suites import read_suites
from decontam.verdicts import SEMANTIC_SIMILARITY, Semantic
from tulu_data.suites import load_suites

ROOT = Path(__file__).parents[1]
SUITES = ROOT / "recipes" / "suites" / "public.yaml"
REPHRASINGS = Path(__file__).parent / "data" / "rephrasings.jsonl"
REWORDED = ("close", "paraphrase", "terse", "first-person", "verbose")  # what a rewording is by most people's lights
GENERAL_EVERY = 7  # of t0_train_50k's prompts against ten suites; all against one
SPEED_TEXTS = 2_000
ENCODED_TEXTS = 128


class Case(NamedTuple):
    """A text, and the instance it is made from: its number in the corpus."""

    text: str
    suite: str
    kind: str
    instance: int


def fires(near: Near) -> bool:
    """Whether the layer fires at its default threshold."""
    return near.margin >= SEMANTIC_SIMILARITY


def corpus_of(data: Path, only: str | None) -> Corpus:
    specs = load_suites(SUITES, root=data)
    return join([analysed(s, "unicode") for s in read_suites([s for s in specs if only in (None, s.id)])])


def cases_of(corpus: Corpus) -> list[Case]:
    suites = [corpus.suites[k].id for k in corpus.suite_of]
    place = {key: n for n, key in enumerate(zip(suites, corpus.instances["id"].to_pylist(), strict=True))}
    rows = [json.loads(line) for line in REPHRASINGS.read_text(encoding="utf-8").splitlines()]
    keys = [(r["suite"], r["instance_id"]) for r in rows]
    return [Case(r["text"], r["suite"], r["kind"], place[k]) for r, k in zip(rows, keys, strict=True) if k in place]


def prompts(data: Path, name: str, every: int = 1) -> list[str]:
    messages = pq.read_table(data / "train" / f"{name}.parquet", columns=["messages"])["messages"].to_pylist()
    return [next((m["content"] for m in row if m["role"] == "user"), "") for row in messages[::every]]


def recall(finder: Finder, cases: Sequence[Case]) -> None:
    found: defaultdict[int, dict[int, Near]] = defaultdict(dict)
    for near in finder.find([c.text for c in cases]):
        found[near.text][near.instance] = near
    ranked: defaultdict[int, set[int]] = defaultdict(set)
    for r in finder.ranking.near([c.text for c in cases]):
        ranked[r.text].update(r.instances)
    outcome = {
        n: (c.instance in ranked[n], c.instance in found[n] and fires(found[n][c.instance]))
        for n, c in enumerate(cases)
    }
    groups: dict[str, list[int]] = {}
    for n, c in enumerate(cases):
        groups.setdefault(f"{c.suite:11} {c.kind}", []).append(n)
        if c.kind in REWORDED:
            groups.setdefault(f"{c.suite:11} all of {', '.join(REWORDED)}", []).append(n)
    for name in sorted(groups):
        ranks, hits = (sum(outcome[n][k] for n in groups[name]) for k in (0, 1))
        size = len(groups[name])
        print(f"    {name:70} {size:4} texts   reach the encoder {ranks / size:6.1%}   found {hits / size:6.1%}")


def mistakes(finder: Finder, name: str, texts: Sequence[str]) -> None:
    reach = len({r.text for r in finder.ranking.near(texts)})
    hits = finder.find(texts)
    plain = len({n.text for n in hits if n.cosine >= SEMANTIC_SIMILARITY})
    wrong = {n.text: n for n in hits if fires(n)}
    print(
        f"    {name:18} {len(texts):6,} texts   reach the encoder {reach / len(texts):6.2%}   fire {len(wrong):4} = "
        f"{len(wrong) / len(texts):6.2%}   by cosine alone {plain / len(texts):6.2%}"
    )


def rate(run: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> float:
    start = time.process_time()
    run(texts)
    return len(texts) / (time.process_time() - start)


def speed(finders: dict[str, Finder], sets: dict[str, list[str]], rounds: int) -> None:
    encoder = next(iter(finders.values())).encoder
    for name, texts in sets.items():
        some = texts[:SPEED_TEXTS]
        rates: defaultdict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            rates["encoder on every text"].append(rate(encoder.encode, some[:ENCODED_TEXTS]))
            for which, finder in finders.items():
                rates[f"first stage, {which}"].append(rate(finder.ranking.near, some))
                rates[f"whole cascade, {which}"].append(rate(finder.find, some))
        base = median(rates["encoder on every text"])
        size = sum(map(len, some)) / len(some)
        for stage, measured in rates.items():
            what = f"{name} ({size:.0f} characters)  {stage:34}"
            print(f"    {what} {median(measured):9,.0f} texts/s/core {median(measured) / base:7.1f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="keeps what is distilled and encoded")
    given = parser.parse_args()
    cache = given.cache or Path(tempfile.mkdtemp())
    general, hard = prompts(given.data, "t0_train_50k"), prompts(given.data, "gsm8k_train")
    finders = {}
    for which, only in (("gsm8k", "gsm8k"), ("ten suites", None)):
        corpus = corpus_of(given.data, only)
        finders[which] = finder = finder_of(corpus, Semantic(), cache)
        print(f"{which}: {len(corpus.instances):,} instances")
        print("  found of items in other words (n-grams: 0 of them)")
        recall(finder, cases_of(corpus))
        print("  found by mistake")
        mistakes(finder, "t0_train_50k", general if only else general[::GENERAL_EVERY])
        mistakes(finder, "gsm8k_train", hard)
    print("speed")
    speed(finders, {"gsm8k_train": hard, "t0_train_50k": general[::GENERAL_EVERY]}, given.rounds)


if __name__ == "__main__":
    main()
