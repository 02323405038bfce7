"""One run over seven public training sets and ten public suites, held against a brute-force count written here."""

import gzip
import json
import unicodedata
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from decontam.page import page
from decontam.result import Audit
from tulu_data import recipe as recipes
from tulu_data.pipeline import run
from tulu_data.store import Store
from tulu_data.verify import verify

DATA = Path(__file__).parents[2] / "shared" / "data"
RECIPES = Path(__file__).parents[1] / "recipes"

pytestmark = [
    pytest.mark.public_data,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: the public sets are not shipped"),
]

N = 8
SHORTEST_CONTAINED = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    loaded = recipes.load("public", [f"root={DATA}", "decontaminate.layers=[exact, tulu3]"])
    return run(loaded, Store(tmp_path_factory.mktemp("public")), workers=2)


class Fold(dict):
    """Code point → what it counts as, by the definition of the `unicode` analyzer."""

    def __missing__(self, code):
        char = chr(code)
        lower = char.lower()
        self[code] = lower if len(lower) == 1 else char
        if char in ' ,.?!:;()"-\\\n' or unicodedata.category(char) in ("Cc", "Zs", "Zl", "Zp") or char.isspace():
            self[code] = " "
        elif char in "‘’‚‛":
            self[code] = "'"
        elif 0x2000 <= code <= 0x206F:
            self[code] = " "
        elif any(a <= code <= b for a, b in CJK):
            self[code] = f" {self[code]} "
        return self[code]


CJK = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF))
FOLD = Fold()


def tokens_of(text):
    return text.translate(FOLD).split()


def windows(tokens, size):
    return zip(*(tokens[i:] for i in range(size)), strict=False)


def instances_of_all_suites():
    """(suite, instance number) → tokens of its one matched field, and of its passage."""
    declared = yaml.safe_load((RECIPES / "suites" / "public.yaml").read_text())["suites"]
    found = {}
    for suite, spec in declared.items():
        with gzip.open(DATA / spec["path"], "rt", encoding="utf-8") as lines:
            for i, record in enumerate(map(json.loads, lines)):
                passage = record.get(spec.get("passage")) or ""
                found[suite, i] = tokens_of(record[spec["fields"][0]]), tokens_of(passage)
    return found


def prompts_of(path):
    """The user turns of every row that has all its turns."""
    for record in pq.read_table(path).to_pylist():
        turns = record.get("messages") or record["prompt"]
        answers = [t["content"] for t in turns if t["role"] == "assistant"]
        answers += [record[side] for side in ("chosen", "rejected") if side in record]
        if not all(text.strip() for text in answers):
            continue
        yield [turn["content"] for turn in turns if turn["role"] == "user"]


def brute_force(prompts, instances):
    """Suite → instances that some prompt overlaps; and the number of rows with such a prompt."""
    holders = defaultdict(set)
    whole, contained = defaultdict(set), defaultdict(set)
    for key, (tokens, passage) in instances.items():
        for gram in windows(tokens, N):
            holders[gram].add(key)
        if len(tokens) + len(passage) >= SHORTEST_CONTAINED:
            contained[tuple(tokens)].add(key)
        elif tokens:
            whole[tuple(tokens)].add(key)
    short_sizes = sorted({len(t) for t in contained if 0 < len(t) < N})
    hit = defaultdict(set)
    rows = 0
    for row in prompts:
        found = set()
        for tokens in map(tokens_of, row):
            grams = set(windows(tokens, N))
            for key in set().union(*(holders[g] for g in grams if g in holders)):
                instance, _ = instances[key]
                marked = [False] * len(instance)
                for i, gram in enumerate(windows(instance, N)):
                    if gram in grams:
                        marked[i : i + N] = [True] * N
                if 2 * sum(marked) > len(instance):
                    found.add(key)
            text = f" {' '.join(tokens)} "
            for size in short_sizes:
                for gram in windows(tokens, size):
                    for key in contained.get(gram, ()):
                        passage = instances[key][1]
                        if not passage or f" {' '.join(passage)} " in text:
                            found.add(key)
            found |= whole.get(tuple(tokens), set())
        for suite, i in found:
            hit[suite].add(i)
        rows += bool(found)
    return {suite: len(found) for suite, found in hit.items()}, rows


def test_overlap_and_dropped_rows_equal_a_brute_force_count(made):
    instances = instances_of_all_suites()
    evals = pq.read_table(made.audit / "evals.parquet").to_pylist()
    assert len(evals) == 7 * 10
    for name, spec in made_sources().items():
        counted, rows = brute_force(prompts_of(DATA / spec), instances)
        reported = {e["suite"]: e["flagged"] for e in evals if e["set"] == name and e["flagged"]}
        assert reported == counted, name
        assert made.sources[name].rows - made.clean[name].rows == rows, name


def made_sources():
    recipe = recipes.load("public").recipe
    return {name: spec.path for name, spec in recipe.sources.items()}


def test_no_question_of_gsm8k_train_equals_one_of_gsm8k(made):
    pairs = pq.read_table(made.audit / "pairs.parquet").to_pylist()
    found = [p for p in pairs if p["set"] == "gsm8k_train" and p["suite"] == "gsm8k"]
    assert [p for p in found if "exact" in p["layers"]] == []


def test_every_dropped_row_is_listed_with_a_reason_and_is_gone(made):
    for name, clean in made.clean.items():
        dropped = made.sources[name].rows - clean.rows
        files = [f for f in clean.manifest.files if f.path.startswith("drops/")]
        drops = pq.read_table(clean.side_file(files[0].path)).to_pylist() if files else []
        assert len(drops) == dropped
        assert all(d["reason"] and d["suite"] and d["instance_id"] for d in drops)
        left = set(clean.table(["row_sha"])["row_sha"].to_pylist())
        assert not left & {d["row_sha"] for d in drops}


def test_the_mixture_verifies_and_is_covered_by_the_audit(made):
    assert verify(made.mixture, 2, workers=2) == []
    recorded = {r["set"]: r for r in made.mixture.manifest.decontamination}
    assert set(recorded) == set(recipes.load("public").recipe.mix)
    assert all(len(r["suites"]) == 10 for r in recorded.values())


def test_agieval_is_reported_to_repeat_math(made):
    manifest = json.loads((made.audit / "manifest.json").read_text())
    overlaps = {tuple(o["suites"]): o["equal"] for o in manifest["suite_overlaps"]}
    assert overlaps["agieval", "math"][0] > 900


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 1440])
def test_the_page_of_all_of_it_filters_by_cell_links_to_matches_and_fits(made, open_page, tmp_path, width):
    path = tmp_path / "audit.html"
    path.write_text(page(Audit.load(made.audit)), encoding="utf-8")
    with open_page(path, width=width) as opened:
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        opened.page.locator('.cell[data-set="gpteacher"][data-suite="mbpp"]').click()
        rows = opened.rows()
        assert rows
        assert all("mbpp / " in row and "gpteacher" in row for row in rows)
        opened.page.locator(".row").nth(3).click()
        where, link = opened.page.locator(".where").first.inner_text(), "#" + opened.page.url.partition("#")[2]
        assert opened.page.locator("#detail mark.match").count() > 0
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert set(opened.requests) == {opened.url}
        assert opened.said == []
    with open_page(path, fragment=link, width=width) as again:
        assert again.page.locator(".where").first.inner_text() == where
