"""What is known of the public sets in ../shared/data, found again. The data is read where it lies, never copied."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from decontam.analyzers import ANALYZERS
from decontam.auditing import audit, suite_overlaps
from decontam.index import Index, analyse
from decontam.scan import scan
from decontam.suites import FieldText, Instance, Suite, suite_of
from decontam.verdicts import Settings

DATA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = [
    pytest.mark.public_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent"),
]


def records(name: str) -> list[dict]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def suite(name: str, field: str, group: str = "dev") -> Suite:
    return suite_of(
        name, group, [Instance(r["id"], None, (FieldText(field, r[field]),), None) for r in records(f"evals/{name}")]
    )


def training_set(make_set, name: str):
    rows = pq.read_table(DATA / "train" / f"{name}.parquet").to_pylist()
    return make_set(name, [{"messages": r["messages"]} for r in rows], "sft", 4096)


def test_gsm8k_train_repeats_no_test_question(make_set):
    found = audit([training_set(make_set, "gsm8k_train")], [suite("gsm8k", "question")])
    [entry] = found.evals.to_pylist()
    assert (entry["flagged_exact"], entry["contaminated"]) == (0, False)
    assert entry["flagged_tulu3"] <= 3


def test_t0_is_practically_clean_of_mmlu(make_set):
    [entry] = audit(
        [training_set(make_set, "t0_train_50k")], [suite("mmlu", "question")], Settings(policy="tulu3")
    ).evals.to_pylist()
    assert (entry["flagged_tulu3"], entry["verdict"]) == (1, "clean")


def test_the_wording_of_mbpp_alone_contaminates(make_set):
    [entry] = audit(
        [training_set(make_set, "gpteacher")], [suite("mbpp", "text")], Settings(layers=("tulu3",))
    ).evals.to_pylist()
    assert 25 <= entry["flagged"] <= 46
    assert entry["contaminated"]


# Of 1,270 and 164 pairs. The data's README says 97.7 % of the first: 1,241, with those at exactly a half.
@pytest.mark.parametrize(("name", "expected"), [("gsm8k_backward", 1_238), ("humanevalpack_py_instruct", 162)])
def test_known_pairs_are_found(name, expected):
    pairs = records(f"pairs/{name}")
    analyzer = ANALYZERS["word"]
    found = 0
    for pair in pairs:
        alone = suite_of("s", "dev", [Instance("0", None, (FieldText("text", pair["eval_text"]),), None)])
        index = Index(analyse([alone], analyzer), 8, 5)
        found += any("tulu3" in m.layers for m in scan(index, analyzer.tokens(pair["train_text"]), 0.5))
    assert found == expected


def test_the_math_subset_of_agieval_is_all_in_math():
    agieval = [r for r in records("evals/agieval") if r["subset"] == "math"]
    subset = suite_of(
        "agieval", "unseen", [Instance(r["id"], None, (FieldText("question", r["question"]),), None) for r in agieval]
    )
    instances = analyse([suite("math", "problem"), subset], ANALYZERS["unicode"])
    assert suite_overlaps(instances, 8) == [{"suites": ["agieval", "math"], "equal": [1000, 1000]}]
