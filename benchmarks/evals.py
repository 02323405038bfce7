"""What a sample of an evaluation costs beside the model: our engine against lm-evaluation-harness as shipped.

    python benchmarks/evals.py                               # documents made on the spot, as long as the real ones
    python benchmarks/evals.py --data ../shared/data/evals   # gsm8k.jsonl.gz and mmlu.jsonl.gz

Both ask one model that answers at once, the same conversations (which is checked, and so is the score): lm-eval by its
own YAML of GSM8K (8 shots as turns) and of MMLU (chain of thought), over local files, through `simple_evaluate`; ours
from the documents through `respond` and the verifiers to the table that a run keeps. CPU time of one process, taken in
turn at two sizes: the cost of a sample is the slope, so what a run costs once (imports, lm-eval's look at the machine)
is in none of the figures. A third contender is lm-eval with its templates compiled once.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from contextlib import redirect_stderr
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from tulu_data.evals import scoring
from tulu_data.evals.harness import respond
from tulu_data.evals.lm import in_process
from tulu_data.evals.lm_tasks import task_manager
from tulu_data.evals.task import Decoding, Item, Task
from tulu_data.verifiers import verify

LM_EVAL = Path(find_spec("lm_eval").origin).parent / "tasks"
GSM8K = LM_EVAL / "gsm8k" / "gsm8k-cot.yaml"
MMLU = LM_EVAL / "mmlu" / "flan_cot_zeroshot" / "_mmlu_flan_cot_zeroshot_template_yaml"
ABOUT = "The following are multiple choice questions (with answers) about anatomy.\n\n"
WORDS = "janet sells sixteen eggs a day at the market and buys apples for her friends each morning before".split()


class Instant:
    """A model that answers at once, and keeps what it was asked when it is to be looked at."""

    def __init__(self, answer, *, keep=False):
        self.answer, self.asked = answer, [] if keep else None

    def generate(self, messages):
        if self.asked is not None:
            self.asked.append(json.dumps([dict(m) for m in messages]))
        return self.answer


# ------------------------------------------------------------ documents


def sentence(rng, words):
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def gsm8k_docs(n, data):
    if data:
        return [{k: d[k] for k in ("question", "answer")} for d in read(data / "gsm8k.jsonl.gz", n)]
    rng = random.Random(0)
    return [
        {"question": sentence(rng, 45), "answer": f"{sentence(rng, 50)}\n#### {rng.choice([18, 7, 1200])}"}
        for _ in range(n)
    ]


def mmlu_docs(n, data):
    if data:
        found = read(data / "mmlu.jsonl.gz", n)
        return [{k: d[k] for k in ("question", "choices")} | {"answer": "ABCD".index(d["answer"])} for d in found]
    rng = random.Random(0)
    return [
        {"question": sentence(rng, 40), "choices": [sentence(rng, 6) for _ in "ABCD"], "answer": rng.randrange(4)}
        for _ in range(n)
    ]


def read(path, n):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for _, line in zip(range(n), file, strict=False)]


# ------------------------------------------------------------ lm-eval


def lm_eval_task(name, docs, folder):
    """lm-eval's own YAML, over a file of these documents."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    config = yaml.safe_load((GSM8K if name == "gsm8k" else MMLU).read_text())
    config.pop("dataset_name", None)
    config |= {"task": f"bench_{name}", "dataset_path": "parquet", "tag": "bench"}
    if name == "mmlu":
        config["description"] = ABOUT
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(docs), path)
    splits = [config[k] for k in ("test_split", "validation_split", "fewshot_split") if config.get(k)]
    config["dataset_kwargs"] = {
        "data_files": {split: str(path) for split in splits},
        "cache_dir": str(folder / "cache"),
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return f"bench_{name}"


def theirs(name, folder, model):
    """The share that lm-eval finds right."""
    import lm_eval

    found = lm_eval.simple_evaluate(
        model=in_process(model),
        tasks=[name],
        task_manager=task_manager(folder),
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
    )
    return found["results"][name]["exact_match,flexible-extract"]


def compiled_once(name, folder, model):
    from lm_eval import utils

    utils.env.from_string = cache(utils.env.from_string)
    try:
        return theirs(name, folder, model)
    finally:
        del utils.env.from_string


# ------------------------------------------------------------ ours


def gsm8k_items(docs):
    shots = []
    for shot in yaml.safe_load(GSM8K.read_text())["fewshot_config"]["samples"]:
        shots.append({"role": "user", "content": f"Q: {shot['question']}\nA:"})
        shots.append({"role": "assistant", "content": shot["target"]})
    for i, doc in enumerate(docs):
        asked = {"role": "user", "content": f"Q: {doc['question']}\nA:"}
        yield Item(f"gsm8k-{i}", None, (*shots, asked), doc["answer"].rsplit("####", 1)[-1].strip())


def mmlu_items(docs):
    for i, doc in enumerate(docs):
        options = " ".join(f"({letter}) {text}" for letter, text in zip("ABCD", doc["choices"], strict=True))
        text = f"Q: {doc['question'].strip()}\n{options}\nA: Let's think step by step."
        messages = ({"role": "system", "content": ABOUT}, {"role": "user", "content": text})
        yield Item(f"mmlu-{i}", "anatomy", messages, "ABCD"[doc["answer"]])


def ours(task, docs, model):
    """The share that we find right, from documents to the table of samples."""
    items = task.items(docs)
    pairs = scoring.in_order(task, items, respond(model, task, items))
    verdicts = [verify(task.verifier, response.text, item.truth) for item, response in pairs]
    samples = scoring.rows(pairs, [scoring.Judgement(v.score, v.reason) for v in verdicts])
    return sum(samples["score"].to_pylist()) / len(samples)


TASKS = {  # documents, items, verifier, what the model answers
    "gsm8k": (gsm8k_docs, gsm8k_items, "gsm8k", "She has 16 - 3 = 13 and 5 more. The answer is 18."),
    "mmlu": (mmlu_docs, mmlu_items, "choice", "Of these the second holds. The answer is (B)."),
}


def cpu_ms(work):
    start = time.process_time()
    with Path(os.devnull).open("w") as null, redirect_stderr(null):
        work()
    return 1000 * (time.process_time() - start)


def compare(name, sizes, rounds, data, folder):
    make_docs, make_items, verifier, answer = TASKS[name]
    decoding = Decoding(max_tokens=512, stop=("Q:",))
    task = Task(name, name, "dev", name, lambda docs: list(make_items(docs)), verifier=verifier, decoding=decoding)
    docs = {n: make_docs(n, data) for n in sizes}
    places = {n: folder / name / str(n) for n in sizes}
    names = {}
    for n in sizes:
        places[n].mkdir(parents=True)
        names[n] = lm_eval_task(name, docs[n], places[n])
    asked = {"theirs": Instant(answer, keep=True), "ours": Instant(answer, keep=True)}
    with Path(os.devnull).open("w") as null, redirect_stderr(null):
        found = theirs(names[sizes[0]], places[sizes[0]], asked["theirs"])
    score = ours(task, docs[sizes[0]], asked["ours"])
    if sorted(asked["theirs"].asked) != sorted(asked["ours"].asked):
        raise SystemExit(f"not the same prompts:\n{asked['theirs'].asked[0]}\n{asked['ours'].asked[0]}")
    if abs(found - score) > 1e-9:
        raise SystemExit(f"not the same score: {found} and {score}")
    model = Instant(answer)
    contenders = {
        "lm-eval as shipped": lambda n: theirs(names[n], places[n], model),
        "lm-eval, templates kept": lambda n: compiled_once(names[n], places[n], model),
        "tulu-data": lambda n: ours(task, docs[n], model),
    }
    took = {who: {n: [] for n in sizes} for who in contenders}
    for _ in range(rounds):
        for who, work in contenders.items():
            for n in sizes:
                took[who][n].append(cpu_ms(lambda work=work, n=n: work(n)))
    few, many = sizes
    print(f"{name}: score {score:.3f} by both, the same {len(asked['ours'].asked)} prompts")
    slopes = {
        who: statistics.median((b - a) / (many - few) for a, b in zip(ms[few], ms[many], strict=True))
        for who, ms in took.items()
    }
    for who, slope in slopes.items():
        ratio = slopes["lm-eval as shipped"] / slope
        whole = statistics.median(took[who][many]) / many
        print(f"  {who:24} {slope:7.3f} CPU-ms a sample  {ratio:6.1f}×   ({whole:.2f} with what a run costs once)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, nargs=2, default=(100, 600))
    parser.add_argument("--data", type=Path, help="a folder with gsm8k.jsonl.gz and mmlu.jsonl.gz")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        for name in TASKS:
            compare(name, tuple(options.samples), options.rounds, options.data, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
