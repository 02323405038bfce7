"""How varied rows without a model are, beside a real training set of the same size.

    python benchmarks/diversity.py [--rows 1000] [--train ../shared/data/train/gsm8k_train.parquet]

distinct-2 (different word pairs over all) and near duplicates (word 3-gram Jaccard from 0.7) of the prompts of every
skill, each over as many rows, and the ratio to the real set's. Procedural rows are for plumbing, tests and RLVR
practice; this is the figure that says what they are not.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from personas import runs
from personas.duplicates import distinct_share, near_duplicates
from personas.skills import SKILLS
from personas.step import Section, job_of
from tulu_data.store import Store

ROOT = Path(__file__).parents[1]
TRAIN = ROOT.parent / "shared" / "data" / "train" / "gsm8k_train.parquet"


def prompts_of(skill: str, rows: int, folder: Path) -> list[str]:
    """All prompts that a run tries, near duplicates too."""
    section = Section(skill=skill, n=rows, near=1.0)
    ran = runs.run(job_of(section, skill), Store(folder / "store"), folder / skill, quiet=True)
    return [r["prompt"] for r in pq.read_table(ran.folder / "synth.parquet", columns=["prompt"]).to_pylist()]


def real_prompts(path: Path, rows: int) -> list[str]:
    """Every k-th prompt of a Parquet file of messages, prompts or questions."""
    records = pq.read_table(path).to_pylist()
    texts = [r["messages"][0]["content"] if "messages" in r else r.get("question") or r["prompt"] for r in records]
    return texts[:: max(1, len(texts) // rows)][:rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--train", type=Path, default=TRAIN)
    args = parser.parse_args()
    real = real_prompts(args.train, args.rows)
    base = distinct_share(real)
    print(f"{'':24}{'rows':>6}{'distinct-2':>12}{'ratio':>8}{'near duplicates':>18}")

    def line(name: str, texts: list[str]) -> None:
        share, near = distinct_share(texts), near_duplicates(texts)
        figures = f"{len(texts):>6}{share:>12.3f}{share / base:>8.2f}{near:>10}{near / len(texts):>8.1%}"
        print(f"{name:24}{figures}", flush=True)

    line(args.train.stem, real)
    with tempfile.TemporaryDirectory() as folder:
        for skill in SKILLS:
            line(skill, prompts_of(skill, args.rows, Path(folder)))


if __name__ == "__main__":
    main()
