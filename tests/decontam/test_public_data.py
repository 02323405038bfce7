"""What is known of the public sets in ../shared/data, found again. The data is read where it lies, never copied."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from decontam.auditing import audit
from decontam.corpus import suite_overlaps
from decontam.engine import ReferenceEngine, make_engine
from decontam.evidence import columns_of
from decontam.suites import FieldText, Instance, Suite, read_suites, suite_of
from decontam.verdicts import Policy, Settings
from tulu_data import recipe as recipes
from tulu_data.pipeline import run
from tulu_data.store import Store
from tulu_data.suites import load_suites

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
        [training_set(make_set, "t0_train_50k")], [suite("mmlu", "question")], policy=Policy(policy="tulu3")
    ).evals.to_pylist()
    assert (entry["flagged_tulu3"], entry["verdict"]) == (1, "clean")


def test_the_wording_of_mbpp_alone_contaminates_unless_it_is_masked(make_set):
    found = audit([training_set(make_set, "gpteacher")], [suite("mbpp", "text")], policy=Policy(layers=("tulu3",)))
    [entry] = found.evals.to_pylist()
    assert 25 <= entry["flagged"] <= 46
    assert entry["contaminated"]
    [entry] = found.judged(Policy()).evals.to_pylist()
    assert not entry["contaminated"]


# Of 1,270 and 164 pairs. The data's README says 97.7 % of the first: 1,241, with those at exactly a half.
@pytest.mark.parametrize(("name", "expected"), [("gsm8k_backward", 1_238), ("humanevalpack_py_instruct", 162)])
def test_known_pairs_are_found(make_set, name, expected):
    pairs = records(f"pairs/{name}")
    train = make_set("x", [p["train_text"] for p in pairs], batch_rows=500)
    items = [Instance(str(i), None, (FieldText("text", p["eval_text"]),), None) for i, p in enumerate(pairs)]
    found = audit([train], [suite_of("s", "dev", items)], Settings(analyzer="word"))
    own = [p for p in found.pairs.to_pylist() if p["instance_id"] == str(p["row_index"])]
    assert sum("tulu3" in p["layers"] for p in own) == expected


def test_the_math_subset_of_agieval_is_all_in_math():
    agieval = [r for r in records("evals/agieval") if r["subset"] == "math"]
    subset = suite_of(
        "agieval", "unseen", [Instance(r["id"], None, (FieldText("question", r["question"]),), None) for r in agieval]
    )
    corpus = ReferenceEngine([suite("math", "problem"), subset], Settings(fuzzy=False)).corpus
    assert suite_overlaps(corpus, 8) == [{"suites": ["agieval", "math"], "equal": [1000, 1000]}]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [Settings(), Settings(roles="all", analyzer="word", n=13)], ids=["default", "other"])
def test_both_engines_agree_on_all_of_it(chosen, public_versions):
    root = Path(__file__).parents[2]
    suites = read_suites(load_suites(root / "recipes" / "suites" / "public.yaml", root=DATA))
    plain, compiled = (make_engine(suites, chosen, which=which) for which in ("reference", "compiled"))
    seen = 0
    for version in public_versions:
        first = 0
        for part in version.parts():
            batch = part.read(columns_of(version.kind))
            expected, found = (e.scan_batch(version.name, version.kind, batch, first) for e in (plain, compiled))
            assert found.equals(expected), f"{version.name}, rows from {first}"
            first += part.rows
            seen += len(found)
    assert seen > 300


@pytest.fixture(scope="module")
def public_versions(tmp_path_factory):
    loaded = recipes.load("public", [f"root={DATA}"])
    store = Store(tmp_path_factory.mktemp("public"))
    return [run(loaded, store, until=f"ingest:{name}").sources[name] for name in loaded.recipe.sources]
