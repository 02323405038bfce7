"""Detection quality: what each layer finds of copies and edited copies of test items, and what it finds by mistake.

    python benchmarks/detection.py --data ../shared/data

The index holds all suites of recipes/suites/public.yaml in every measurement, so how many test texts an n-gram stands
in is realistic; known near-duplicates are compared with a suite of their own originals beside them. Every random
choice hangs on the id of the item, so the same data gives the same numbers. The benchmark fails where re-wrapping the
lines of a text changes any verdict; the other aims are printed with what was measured.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

sys.path.remove(str(Path(__file__).parent))  # where decontam.py would stand for the package of its name

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from decontam.analyzers import analyzer_of
from decontam.engine import make_engine
from decontam.fuzzy import align
from decontam.judging import layers_of
from decontam.suites import FieldText, Instance, Suite, read_suite, read_suites, suite_of
from decontam.verdicts import LAYERS, Policy, Settings
from tulu_data.rows import finish, to_table
from tulu_data.suites import load_suites

ROOT = Path(__file__).parents[1]
SUITES = ROOT / "recipes" / "suites" / "public.yaml"
SETTINGS, POLICY = Settings(), Policy()
BATCH_ROWS = 4_096
ITEMS = 1_000  # of a suite at most
LONG_TOKENS = 20  # of MMLU's long questions; short ones have fewer, and enough for an n-gram
DOCUMENT_CHARS = 2_500
PROMPTS = 20_000  # of general text, for false positives of `fuzzy`
EXAMPLES = 10
WRAP_COLUMNS = 40
NEAR_DUPLICATES = ("gsm8k_backward", "humanevalpack_py_instruct")
CONTROLS = (("gsm8k_train", "gsm8k"), ("t0_train_50k", None), ("gpteacher", "mbpp"))  # None: all suites
GENERAL = ("t0_train_50k", "gpteacher")
ANALYZER = analyzer_of(SETTINGS.analyzer)


class Case(NamedTuple):
    """A training text and the test item it is made from."""

    text: str
    suite: str
    instance: str


# ------------------------------------------------------------ edits


class Lexicon(NamedTuple):
    """What edits are made with: distinct words and names of the test items, and documents of general text."""

    words: list[str]
    names: list[str]
    documents: list[str]


Edit = Callable[[str, random.Random, Lexicon], str]

NAME = re.compile(r"[A-Z][a-z]+")
STARTS = re.compile(r"(?:^|[.?!:\n“\"])\W*$")  # of the text before a word: the word starts a sentence


def delete_words(count: int, text: str, rng: random.Random, _: Lexicon) -> str:
    words = re.split(r"(\s+)", text)
    for i in rng.sample(range(0, len(words), 2), min(count, len(words) // 2)):
        words[i] = ""
    return "".join(words)


def substitute_words(every: int, text: str, rng: random.Random, lexicon: Lexicon) -> str:
    words = re.split(r"(\s+)", text)
    for i in range(2 * (every - 1), len(words), 2 * every):
        words[i] = rng.choice(lexicon.words)
    return "".join(words)


def change_numbers(text: str, rng: random.Random, _: Lexicon) -> str:
    def other(match: re.Match[str]) -> str:
        low = 10 ** (len(match[0]) - 1)
        new = rng.randrange(low, 10 * low)
        return str(new if str(new) != match[0] else (new + 1 - low) % (9 * low) + low)

    return re.sub(r"[0-9]+", other, text)


def names_in(text: str) -> list[str]:
    """Capitalised words that stand somewhere else than at the start of a sentence, in order."""
    found = (m[0] for m in NAME.finditer(text) if not STARTS.search(text[max(0, m.start() - 8) : m.start()]))
    return list(dict.fromkeys(found))


def change_names(text: str, rng: random.Random, lexicon: Lexicon) -> str:
    new = {name: rng.choice(lexicon.names) for name in names_in(text)}
    return NAME.sub(lambda m: new.get(m[0], m[0]), text)


def rewrap(text: str, rng: random.Random, lexicon: Lexicon) -> str:
    words = " ".join(text.split())
    return textwrap.fill(words, WRAP_COLUMNS, break_long_words=False, break_on_hyphens=False)


def curl(text: str, rng: random.Random, lexicon: Lexicon) -> str:
    """Typographic quotation marks and dashes."""
    opened = re.sub(r"(^|[\s(\[])\"", r"\1“", text)
    return opened.replace('"', "”").replace("'", "’").replace("-", "–")


def embed(text: str, rng: random.Random, lexicon: Lexicon) -> str:
    """The text in the middle of a document of `DOCUMENT_CHARS` characters."""
    start, document = rng.randrange(len(lexicon.documents)), ""
    while len(document) < DOCUMENT_CHARS - len(text):
        document += lexicon.documents[start % len(lexicon.documents)] + "\n\n"
        start += 1
    document = document[: max(0, DOCUMENT_CHARS - len(text))]
    middle = document.rfind(" ", 0, len(document) // 2 + 1) + 1
    return f"{document[:middle]}\n\n{text}\n\n{document[middle:]}"


EDITS: dict[str, Edit] = {
    "verbatim": lambda text, rng, lexicon: text,
    "1 word deleted": partial(delete_words, 1),
    "3 words deleted": partial(delete_words, 3),
    "every 10th word substituted": partial(substitute_words, 10),
    "every 6th word substituted": partial(substitute_words, 6),
    "numbers changed": change_numbers,
    "names changed": change_names,
    "lines re-wrapped": rewrap,
    "spaces to tabs": lambda text, rng, lexicon: text.replace(" ", "\t"),
    "curly quotes and dashes": curl,
    "upper case": lambda text, rng, lexicon: text.upper(),
    "inside a 2.5 KB document": embed,
}
LAYOUT = ("lines re-wrapped", "spaces to tabs", "curly quotes and dashes", "upper case")  # should change no verdict
SUBSTITUTED = "every 6th word substituted"
SHORT_EDITS = ("verbatim", "1 word deleted", "every 10th word substituted", SUBSTITUTED, "lines re-wrapped")


def rng_of(*names: str) -> random.Random:
    return random.Random(digest("\0".join(names)))


def digest(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8])


# ------------------------------------------------------------ data


class Data:
    """The public sets, read where they lie."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs = load_suites(SUITES, root=root)
        self.suites = read_suites(self.specs)

    def records(self, name: str) -> list[dict[str, Any]]:
        with gzip.open(self.root / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    @cached_property
    def training(self) -> dict[str, pa.Table]:
        """Set → its user turns as rows."""
        return {path.stem: self._prompts(path) for path in sorted((self.root / "train").glob("*.parquet"))}

    def _prompts(self, path: Path) -> pa.Table:
        records = pq.read_table(path).to_pylist()
        turns = [r["prompt"] if "prompt" in r else r["messages"] for r in records]
        return table_of(path.stem, [[m["content"] for m in t if m["role"] == "user"] for t in turns])

    @cached_property
    def items(self) -> dict[str, list[Case]]:
        """Name → the items that are edited."""
        return {
            "gsm8k": self._chosen("gsm8k", 1, limit=None),
            "mmlu": self._chosen("mmlu", LONG_TOKENS),
            "mmlu short": self._chosen("mmlu", SETTINGS.n, LONG_TOKENS),
            "mbpp short": self._chosen("mbpp", SETTINGS.n, LONG_TOKENS),
        }

    def _chosen(self, suite: str, least: int, below: float = math.inf, limit: int | None = ITEMS) -> list[Case]:
        """Items of so many tokens."""
        texts = ((i.id, i.fields[0].text) for s in self.suites if s.id == suite for i in s.instances)
        fitting = [Case(text, suite, i) for i, text in texts if least <= len(ANALYZER.tokens(text)) < below]
        return sorted(fitting, key=lambda case: digest(case.instance))[:limit]

    @cached_property
    def lexicon(self) -> Lexicon:
        texts = [f.text for suite in self.suites for i in suite.instances for f in i.fields]
        words = {w for text in texts for w in re.findall(r"\b[a-z]+\b", text)}
        names = {name for text in texts for name in names_in(text)}
        documents = [text for row in contents(self.training["t0_train_50k"]) for text in row if text.strip()]
        return Lexicon(sorted(words), sorted(names), documents)

    def originals(self, name: str) -> tuple[Suite, list[Case]]:
        """Known near-duplicates: a suite of the originals, and the training texts made from them."""
        records = self.records(f"pairs/{name}")
        items = [Instance(r["id"], None, (FieldText("text", r["eval_text"]),), None) for r in records]
        return suite_of(name, "dev", items), [Case(r["train_text"], name, r["id"]) for r in records]

    def with_choices(self) -> list[Suite]:
        """The suites, where MMLU matches the choices too."""
        own = {s.id: s for s in self.suites}
        spec = next(s for s in self.specs if s.id == "mmlu")
        declared = spec.declared.model_copy(update={"fields": ["question", "choices"]})
        return list((own | {"mmlu": read_suite(spec._replace(declared=declared))}).values())

    def asked_with_choices(self, order: Callable[[dict[str, Any]], list[str]], mark: str) -> list[Case]:
        """MMLU items as a prompt would give them: the question, then a line for each choice."""
        chosen = {case.instance for case in self.items["mmlu"]}
        cases = []
        for r in self.records("evals/mmlu"):
            if r["id"] not in chosen:
                continue
            lines = [mark.format(letter) + choice for letter, choice in zip("ABCD", order(r), strict=True)]
            cases.append(Case("\n".join([r["question"], *lines]), "mmlu", r["id"]))
        return cases


def shuffled(record: dict[str, Any]) -> list[str]:
    choices = list(record["choices"])
    rng_of("choices", record["id"]).shuffle(choices)
    return choices


def table_of(name: str, prompts: Sequence[Sequence[str]]) -> pa.Table:
    """Rows of user turns."""
    rows = [{"messages": [{"role": "user", "content": text} for text in turns]} for turns in prompts]
    return to_table("prompt", [finish("prompt", row, source=name) for row in rows])


def contents(table: pa.Table) -> list[list[str]]:
    return [[m["content"] for m in messages] for messages in table["messages"].to_pylist()]


# ------------------------------------------------------------ scanning


class Found(NamedTuple):
    """Pairs and, by layer, which of them fire."""

    pairs: pa.Table
    fires: Mapping[str, Any]

    def where(self, chosen: Any) -> Found:
        return Found(self.pairs.filter(pa.array(chosen)), {k: v[chosen] for k, v in self.fires.items()})

    def keys(self) -> list[tuple[int, str, str]]:
        """(row, suite, instance) of each pair."""
        return list(zip(*(self.pairs[c].to_pylist() for c in ("row_index", "suite", "instance_id")), strict=True))


class Scanner:
    """An engine for some suites."""

    def __init__(self, suites: Sequence[Suite]) -> None:
        self.engine = make_engine(suites, SETTINGS)

    def scan(self, name: str, table: pa.Table) -> Found:
        parts, first = [], 0
        for batch in table.combine_chunks().to_batches(max_chunksize=BATCH_ROWS):
            parts.append(self.engine.scan_batch(name, "prompt", batch, first))
            first += batch.num_rows
        pairs = pa.concat_tables(parts).combine_chunks()
        return Found(pairs, layers_of(pairs, SETTINGS, POLICY))

    def find(self, cases: Sequence[Case]) -> Recall:
        """Which layers find each case's own item, and every verdict on the way."""
        found = self.scan("cases", table_of("cases", [[case.text] for case in cases]))
        own = {layer: np.zeros(len(cases), np.bool_) for layer in LAYERS}
        verdicts = set()
        for pair, (row, suite, instance) in enumerate(found.keys()):
            of = cases[row].suite, cases[row].instance
            for layer in LAYERS:
                if found.fires[layer][pair]:
                    verdicts.add((of, (suite, instance), layer))
                    own[layer][row] |= of == (suite, instance)
        return Recall(cases, own, verdicts)


class Recall(NamedTuple):
    """own: by layer `(cases,)`, whether the case's item is found. verdicts: (item, found item, layer)."""

    cases: Sequence[Case]
    own: Mapping[str, Any]
    verdicts: set[tuple[Any, Any, str]]

    def share(self, layer: str) -> float:
        return float(self.own[layer].mean())

    def differs(self, other: Recall) -> int:
        """How many verdicts on these items are not the same there."""
        items = {(case.suite, case.instance) for case in self.cases}
        return len(self.verdicts ^ {v for v in other.verdicts if v[0] in items})


# ------------------------------------------------------------ what is found


def recalls(data: Data, plain: Scanner) -> Iterator[tuple[str, Recall]]:
    """(condition, what is found of it), in the order of the table."""
    own = [data.originals(name) for name in NEAR_DUPLICATES]
    with_pairs = Scanner([*data.suites, *(suite for suite, _ in own)])
    for name, (_, cases) in zip(NEAR_DUPLICATES, own, strict=True):
        yield f"pairs: {name}", with_pairs.find(cases)
    for items, cases in data.items.items():
        for name in SHORT_EDITS if items.endswith("short") else EDITS:
            edited = [c._replace(text=EDITS[name](c.text, rng_of(name, c.instance), data.lexicon)) for c in cases]
            changed = [e for e, c in zip(edited, cases, strict=True) if name == "verbatim" or e.text != c.text]
            yield f"{items}: {name}", plain.find(changed)
    with_choices = Scanner(data.with_choices())
    for name, order, mark in (
        ("as they are", lambda r: r["choices"], ""),
        ("lettered", lambda r: r["choices"], "{}. "),
        ("reordered", shuffled, ""),
        ("reordered, lettered", shuffled, "{}. "),
    ):
        yield f"mmlu + choices: {name}", with_choices.find(data.asked_with_choices(order, mark))


def print_recalls(found: Mapping[str, Recall]) -> None:
    print("Share of the pairs (training text, its item) that a layer finds, in percent; only items an edit changes")
    print(f"{'condition':40} {'pairs':>6} " + " ".join(f"{layer:>11}" for layer in LAYERS))
    for name, recall in found.items():
        shares = " ".join(f"{100 * recall.share(layer):11.1f}" for layer in LAYERS)
        print(f"{name:40} {len(recall.cases):>6,} {shares}")


def changed_by_layout(found: Mapping[str, Recall]) -> dict[str, int]:
    """Edit of the layout → verdicts that are not those on the verbatim texts."""
    changed = dict.fromkeys(LAYOUT, 0)
    for name, recall in found.items():
        items, _, edit = name.partition(": ")
        if edit in LAYOUT:
            changed[edit] += recall.differs(found[f"{items}: verbatim"])
    return changed


def others_flagged(found: Mapping[str, Recall]) -> dict[str, int]:
    """Layer → (item, another item) where the verbatim text of the one flags the other: templates that items share."""
    verbatim = [recall for name, recall in found.items() if name.endswith(": verbatim")]
    verdicts = {v for recall in verbatim for v in recall.verdicts if v[0] != v[1]}
    return {layer: sum(v[2] == layer for v in verdicts) for layer in LAYERS}


def lost_by_masking(found: Mapping[str, Recall]) -> tuple[int, int]:
    """True pairs that `tulu3` finds, near-duplicates and verbatim; those of them that `informative` does not."""
    own = [r.own for name, r in found.items() if name.startswith("pairs: ") or name.endswith(": verbatim")]
    both = [(int(o["tulu3"].sum()), int((o["tulu3"] & ~o["informative"]).sum())) for o in own]
    return sum(b[0] for b in both), sum(b[1] for b in both)


# ------------------------------------------------------------ what is found by mistake


def print_controls(found: Mapping[str, Found]) -> None:
    print("\nClean controls: distinct instances that a layer flags / rows that it flags")
    print(f"{'set x suite':28} " + " ".join(f"{layer:>11}" for layer in LAYERS))
    for name, suite in CONTROLS:
        pairs = found[name].pairs
        of_suite = np.array([suite in (None, s) for s in pairs["suite"].to_pylist()], np.bool_)
        cells = []
        for layer in LAYERS:
            keys = found[name].where(of_suite & found[name].fires[layer]).keys()
            cells.append(f"{len({k[1:] for k in keys})}/{len({k[0] for k in keys})}")
        print(f"{name + ' x ' + (suite or 'all'):28} " + " ".join(f"{cell:>11}" for cell in cells))


def is_copy(found: Found, table: pa.Table, texts: Mapping[tuple[str, str], str]) -> Any:
    """`(pairs,)` those that are exact, or whose words stand in the message in order to the threshold of `fuzzy`.

    The words of every pair are aligned: the `fuzzy` of a pair looks for rare n-grams first, and would call a copy that
    has none boilerplate.
    """
    copies = found.fires["exact"].copy()
    rows = table["messages"]
    messages = zip(found.keys(), found.pairs["message"].to_pylist(), strict=True)
    for pair, ((row, suite, instance), message) in enumerate(messages):
        words = ANALYZER.tokens(texts[suite, instance])
        said = ANALYZER.tokens(rows[row][message]["content"].as_py())
        copies[pair] |= align(said, words).similarity >= POLICY.fuzzy_threshold * len(words)
    return copies


def masking(data: Data, found: Mapping[str, Found]) -> dict[str, tuple[int, int, int, int]]:
    """Set → pairs of `tulu3` that are no copies, those of them that `informative` fires for; the same of copies."""
    texts = {(s.id, i.id): i.fields[0].text for s in data.suites for i in s.instances if i.fields}
    counts = {}
    for name, of_set in found.items():
        flagged = of_set.where(of_set.fires["tulu3"])
        copies, kept = is_copy(flagged, data.training[name], texts), flagged.fires["informative"]
        counts[name] = tuple(int(x.sum()) for x in (~copies, ~copies & kept, copies, copies & kept))
    counts["all"] = tuple(sum(c) for c in zip(*counts.values(), strict=True))
    return counts


def print_masking(counts: Mapping[str, Sequence[int]]) -> None:
    print(f"\nPairs that tulu3 fires for, all sets x suites; a copy is exact or aligned >= {POLICY.fuzzy_threshold}")
    print(f"{'set':20} {'tulu3':>7} {'removed':>8} {'share':>7}   no copy: tulu3, removed   copy: tulu3, removed")
    for name, (no_copy, no_copy_kept, copy, copy_kept) in counts.items():
        total, removed = no_copy + copy, no_copy + copy - no_copy_kept - copy_kept
        share = f"{100 * removed / total:6.1f}%" if total else "      -"
        split = f"{no_copy:>16} {no_copy - no_copy_kept:>9} {copy:>13} {copy - copy_kept:>9}"
        print(f"{name:20} {total:>7} {removed:>8} {share}   {split}")


def edited_by_mistake(data: Data, found: Mapping[str, Found]) -> list[tuple[str, str]]:
    """(prompt, instance) as snippets: `fuzzy` fires for a general prompt, `exact` and `tulu3` do not."""
    prompts = [(name, i) for name in GENERAL for i in range(data.training[name].num_rows)]
    chosen = set(sorted(prompts, key=lambda p: digest(f"{p[0]}/{p[1]}"))[:PROMPTS])
    snippets = []
    for name in GENERAL:
        of_set = found[name]
        alone = of_set.fires["fuzzy"] & ~of_set.fires["exact"] & ~of_set.fires["tulu3"]
        alone &= np.array([(name, row) in chosen for row, _, _ in of_set.keys()], np.bool_)  # noqa: SIM118 - no mapping
        pairs = of_set.where(alone).pairs
        snippets += zip(pairs["train_snippet"].to_pylist(), pairs["eval_snippet"].to_pylist(), strict=True)
    return snippets


def print_mistakes(snippets: Sequence[tuple[str, str]]) -> None:
    print(f"\nOf {PROMPTS:,} general prompts x all suites, fuzzy alone fires for {len(snippets)} pairs; for example")
    for train, held in sorted(snippets, key=lambda s: digest("\0".join(s)))[:EXAMPLES]:
        print(f"  {json.dumps(train[:150], ensure_ascii=False)}\n      {json.dumps(held[:150], ensure_ascii=False)}")


# ------------------------------------------------------------ aims


def print_aims(found: Mapping[str, Recall], counts: Mapping[str, Sequence[int]], mistakes: int, moved: int) -> None:
    true, lost = lost_by_masking(found)
    no_copy, no_copy_kept, _, _ = counts["all"]
    sixth = min(found[f"{items}: {SUBSTITUTED}"].share("fuzzy") for items in ("gsm8k", "mmlu"))
    removed = 1 - no_copy_kept / no_copy if no_copy else 1.0
    aims = [
        ("informative loses at most 1 % of the true pairs of tulu3", lost <= 0.01 * true, f"{lost} of {true}"),
        ("informative removes at least 90 % of what is no copy", removed >= 0.9, f"{100 * removed:.1f} %"),
        (f"fuzzy finds at least 95 % of gsm8k and mmlu with {SUBSTITUTED}", sixth >= 0.95, f"{100 * sixth:.1f} %"),
        ("fuzzy alone fires for at most 0.5 % of general prompts", mistakes <= 0.005 * PROMPTS, f"{mistakes}"),
        ("re-wrapping changes no verdict", moved == 0, f"{moved}"),
    ]
    print("\nAims")
    for aim, met, measured in aims:
        print(f"  {'met   ' if met else 'MISSED'}  {aim}: {measured}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    args = parser.parse_args()
    if not args.data.is_dir():
        raise SystemExit(f"{args.data}: no such folder; give one with evals/, train/ and pairs/ by --data")
    data = Data(args.data)
    plain = Scanner(data.suites)
    found = dict(recalls(data, plain))
    print_recalls(found)
    moved = changed_by_layout(found)
    print("\nVerdicts (item, layer) that differ from verbatim: " + ", ".join(f"{k} {v}" for k, v in moved.items()))
    others = ", ".join(f"{k} {v:,}" for k, v in others_flagged(found).items())
    print(f"Other items of any suite that verbatim items flag by what they share: {others}")
    scanned = {name: plain.scan(name, table) for name, table in data.training.items()}
    print_controls(scanned)
    counts = masking(data, scanned)
    print_masking(counts)
    mistakes = edited_by_mistake(data, scanned)
    print_mistakes(mistakes)
    print_aims(found, counts, len(mistakes), moved["lines re-wrapped"])
    if moved["lines re-wrapped"]:
        raise SystemExit("re-wrapping lines changed a verdict")


if __name__ == "__main__":
    main()
