"""Both engines against a quadratic audit that shares no code with them."""

import unicodedata
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decontam.auditing import audit
from decontam.fuzzy import FUZZY_MIN_TOKENS, FUZZY_N
from decontam.suites import FieldText, Instance, suite_of
from decontam.verdicts import FUZZY_RECORDED, Policy, Settings

ENGINES = ("reference", "compiled")
LOOSE = {floor: Policy(threshold=floor, informative_threshold=floor) for floor in (0.0, 0.25, 0.5)}

GLUE = "\ue000"  # in no text below
CJK = "日本한か"
WORDS = ["a", "b", "C", "İ", "ΑΣ", "don’t", "don't", "x_y", "3", "né", *CJK]
GAPS = [" ", ", ", "\n", "\t", "\u00a0", "—", " “", "-", ". ", "\\", "\u200b", "_", "日", ""]


def oracle_tokens(name: str, text: str) -> list[str]:
    tokens, word = [], ""
    for c in text:
        folded = c.lower() if len(c.lower()) == 1 else c
        if name == "unicode" and c in "‘’‚‛":
            folded = "'"
        separates = not c.isalnum() if name == "word" else c in ' ,.?!:;()"-\n\\'
        if name == "unicode" and folded != "'":
            separates = separates or c.isspace() or unicodedata.category(c) == "Cc" or 0x2000 <= ord(c) < 0x2070
        if separates or (name == "unicode" and c in CJK):
            tokens += [word] * bool(word)
            word = ""
            tokens += [folded] * (not separates)
        else:
            word += folded
    return tokens + [word] * bool(word)


def marked(field: list[str], n: int, held: set) -> set[int]:
    """The tokens of a field that lie under an n-gram in `held`."""
    return {i + k for i in range(len(field) - n + 1) if tuple(field[i : i + n]) in held for k in range(n)}


def grams_of(tokens: list[str], n: int) -> set:
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def document_frequencies(instances: list, n: int) -> Counter:
    """n-gram → distinct pairs of field and passage that hold it."""
    texts = {(tuple(f), tuple(passage)) for _, _, fields, passage in instances for f in fields}
    return Counter(gram for field, _ in texts for gram in grams_of(list(field), n))


def share(pairs: list[tuple[int, int]]) -> Fraction:
    return sum((Fraction(a, b) for a, b in pairs), Fraction(0)) / max(1, len(pairs))


def contains(message: list[str], wanted: list[str]) -> bool:
    return GLUE + GLUE.join([*wanted, ""]) in GLUE + GLUE.join([*message, ""])


def longest_common_subsequence(a: list[str], b: list[str]) -> int:
    best = [0] * (len(b) + 1)
    for x in a:
        row = [0]
        for j, y in enumerate(b):
            row.append(best[j] + 1 if x == y else max(best[j + 1], row[j]))
        best = row
    return best[-1]


def oracle_pair(message, fields, passage, df, fine_df, s: Settings):
    """(exact, coverage, informative coverage, may be an edited copy), or None where nothing is shared."""
    held = grams_of(message, s.n)
    rare = {g for g, count in df.items() if count <= s.max_df}
    long = [f for f in fields if len(f) >= s.n]
    coverage = share([(len(marked(f, s.n, held)), len(f)) for f in long])
    telling = [f for f in long if marked(f, s.n, rare)]
    informative = share([(len(marked(f, s.n, held & rare)), len(marked(f, s.n, rare))) for f in telling])
    everything = [t for f in (*fields, passage) for t in f]
    if len(everything) < s.exact_min_tokens:
        exact = bool(fields) and message == everything
    else:
        exact = bool(fields) and all(contains(message, f) for f in (*fields, passage) if f)
    if exact:
        coverage = Fraction(1)
    fine_rare = {g for g, count in fine_df.items() if count <= s.max_df}
    fine_held = grams_of(message, FUZZY_N)
    edited = False
    for f in fields:
        all_of = marked(f, FUZZY_N, fine_rare) if len(f) >= FUZZY_MIN_TOKENS else set()
        if all_of and 2 * len(marked(f, FUZZY_N, fine_rare & fine_held)) >= len(all_of):
            edited = True
    if not exact and coverage <= Fraction(s.floor) and informative <= Fraction(s.floor) and not edited:
        return None
    return exact, coverage, informative, edited


def oracle_audit(kind, rows, suites, s: Settings):
    instances = []
    for suite in suites:
        for i in suite.instances:
            fields = [tokens for f in i.fields if (tokens := oracle_tokens(s.analyzer, f.text))]
            instances.append((suite.id, i.id, fields, oracle_tokens(s.analyzer, i.passage or "")))
    df = document_frequencies(instances, s.n)
    long = [(a, b, [f for f in fields if len(f) >= FUZZY_MIN_TOKENS], p) for a, b, fields, p in instances]
    fine_df = document_frequencies(long, FUZZY_N)
    found = {}
    for r, row in enumerate(rows):
        for column in ("messages", "chosen", "rejected") if kind == "preference" else ("messages",):
            for m, message in enumerate(row[column]):
                if s.roles not in ("all", message["role"]):
                    continue
                tokens = oracle_tokens(s.analyzer, message["content"])
                for suite, identity, fields, passage in instances:
                    pair = oracle_pair(tokens, fields, passage, df, fine_df, s)
                    if pair:
                        found[r, column, m, suite, identity] = (*pair, tokens, fields)
    return found


TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), max_size=14).map(
    lambda parts: "".join(w + g for w, g in parts)
)


@st.composite
def cases(draw):
    pool = draw(st.lists(TEXTS, min_size=1, max_size=5))  # shared texts, so that there is something to find
    passage = st.lists(st.sampled_from(pool) | TEXTS, max_size=4).flatmap(
        lambda parts: st.sampled_from(["", " ", "\n"]).map(lambda gap: gap.join(parts))
    )
    instance = st.lists(st.sampled_from(pool) | passage, max_size=3)
    suites = []
    for name in ("s", "t"):
        items = draw(st.lists(instance, min_size=1, max_size=4))
        passages = draw(st.lists(st.none() | st.sampled_from(pool), min_size=len(items), max_size=len(items)))
        instances = [
            Instance(str(i), None, tuple(FieldText(f"f{k}", t) for k, t in enumerate(fields)), None, passages[i])
            for i, fields in enumerate(items)
        ]
        suites.append(suite_of(name, "dev", instances))
    kind = draw(st.sampled_from(["prompt", "preference"]))
    turns = st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": passage}),
        min_size=1,
        max_size=3,
    )
    columns = ["messages", "chosen", "rejected"] if kind == "preference" else ["messages"]
    rows = draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, turns)), max_size=5))
    chosen = Settings(
        analyzer=draw(st.sampled_from(["unicode", "tulu", "word"])),
        n=draw(st.sampled_from([3, 3, 4, 5, 8, 32]) | st.integers(3, 32)),
        max_df=draw(st.integers(1, 3)),
        floor=draw(st.sampled_from([0.0, 0.0, 0.25, 0.5])),
        exact_min_tokens=draw(st.integers(1, 8)),
        roles=draw(st.sampled_from(["user", "assistant", "all"])),
    )
    return kind, rows, suites, chosen


KEYS = ("row_index", "column", "message", "suite", "instance_id")


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_the_audit_finds_what_a_quadratic_search_finds(make_set, engine, case):
    kind, rows, suites, chosen = case
    expected = oracle_audit(kind, rows, suites, chosen)
    pairs = audit([make_set("train", rows, kind)], suites, chosen, LOOSE[chosen.floor], engine=engine).pairs.to_pylist()
    found = {tuple(p[k] for k in KEYS): p for p in pairs}
    assert list(found) == [key for key in expected if key in found]
    for key, (exact, coverage, informative, edited, tokens, fields) in expected.items():
        similar = edited and not exact
        if key not in found:
            # an edited copy is reported only if its words are aligned well enough
            assert similar
            assert coverage <= Fraction(chosen.floor)
            continue
        pair = found[key]
        assert (pair["exact"], pair["coverage"], pair["informative"]) == (exact, float(coverage), float(informative))
        assert (pair["fuzzy"] is not None) <= (edited or exact)
        if exact:
            assert pair["fuzzy"] == 1.0
        elif pair["fuzzy"] is not None:
            long = [f for f in fields if len(f) >= FUZZY_MIN_TOKENS]
            most = sum(longest_common_subsequence(tokens, f) for f in long)
            assert FUZZY_RECORDED <= pair["fuzzy"] <= most / sum(map(len, long))


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_evidence_stands_where_it_is_said_to_stand(make_set, engine, case):
    kind, rows, suites, chosen = case
    texts = {(s.id, i.id, f.name): f.text for s in suites for i in s.instances for f in i.fields}
    found = audit([make_set("train", rows, kind)], suites, chosen, LOOSE[chosen.floor], engine=engine)
    for pair in found.pairs.to_pylist():
        message = rows[pair["row_index"]][pair["column"]][pair["message"]]["content"]
        quoted = [_cut(message, s) for s in pair["train_spans"]]
        words = [t for q in quoted for t in oracle_tokens(chosen.analyzer, q)]
        for span in pair["eval_spans"]:
            text = texts[pair["suite"], pair["instance_id"], span["field"]]
            tokens = oracle_tokens(chosen.analyzer, _cut(text, span))
            assert set(tokens) <= set(words)
        assert 1 <= pair["longest_run"] <= max(len(oracle_tokens(chosen.analyzer, q)) for q in quoted)
        assert pair["covered_tokens"] <= pair["total_tokens"]
        assert len(pair["train_snippet"]) <= 300
        assert len(pair["eval_snippet"]) <= 300


def _cut(text: str, span: dict[str, int]) -> str:
    return text.encode()[span["start"] : span["end"]].decode()


@pytest.mark.parametrize("name", ["unicode", "tulu", "word"])
@given(text=TEXTS)
def test_analyzers_agree_with_a_reading_one_character_at_a_time(name, text):
    from decontam.analyzers import ANALYZERS

    assert ANALYZERS[name].tokens(text) == oracle_tokens(name, text)
