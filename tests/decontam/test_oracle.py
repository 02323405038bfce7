"""The audit against a quadratic one that shares no code with it."""

import unicodedata
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decontam.auditing import audit
from decontam.suites import FieldText, Instance, suite_of
from decontam.verdicts import Settings

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


def oracle_pair(message: list[str], fields: list[list[str]], s: Settings) -> tuple[list[str], Fraction] | None:
    """Layers that fire and the coverage, or None."""
    fields = [f for f in fields if f]
    shared = {tuple(message[i : i + s.n]) for i in range(len(message) - s.n + 1)}
    shares = []
    for field in fields:
        marked = [False] * len(field)
        for i in range(len(field) - s.n + 1):
            if tuple(field[i : i + s.n]) in shared:
                marked[i : i + s.n] = [True] * s.n
        if len(field) >= s.n:
            shares.append(Fraction(sum(marked), len(field)))
    coverage = sum(shares, Fraction(0)) / len(shares) if shares else Fraction(0)
    everything = [t for f in fields for t in f]
    if len(everything) < s.exact_min_tokens:
        exact = bool(fields) and message == everything
    else:
        exact = all(GLUE + GLUE.join([*f, ""]) in GLUE + GLUE.join([*message, ""]) for f in fields)
    layers = ["exact"] * exact + ["tulu3"] * (coverage > Fraction(s.threshold))
    return (layers, coverage if shares else Fraction(1)) if layers else None


def oracle_audit(kind, rows, suites, s: Settings):
    found = []
    for r, row in enumerate(rows):
        for column in ("messages", "chosen", "rejected") if kind == "preference" else ("messages",):
            for m, message in enumerate(row[column]):
                if s.roles not in ("all", message["role"]):
                    continue
                tokens = oracle_tokens(s.analyzer, message["content"])
                for suite in suites:
                    for instance in suite.instances:
                        fields = [oracle_tokens(s.analyzer, f.text) for f in instance.fields]
                        pair = oracle_pair(tokens, fields, s)
                        if pair:
                            found.append((r, column, m, suite.id, instance.id, pair[0], float(pair[1])))
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
        instances = [
            Instance(str(i), None, tuple(FieldText(f"f{k}", t) for k, t in enumerate(fields)), None)
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
        threshold=draw(st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0])),
        exact_min_tokens=draw(st.integers(1, 8)),
        roles=draw(st.sampled_from(["user", "assistant", "all"])),
    )
    return kind, rows, suites, chosen


@settings(max_examples=400, deadline=None)
@given(case=cases())
def test_the_audit_finds_what_a_quadratic_search_finds(make_set, case):
    kind, rows, suites, chosen = case
    expected = oracle_audit(kind, rows, suites, chosen)
    pairs = audit([make_set("train", rows, kind)], suites, chosen).pairs.to_pylist()
    keys = ("row_index", "column", "message", "suite", "instance_id", "layers", "coverage")
    assert [tuple(p[k] for k in keys) for p in pairs] == expected


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_evidence_stands_where_it_is_said_to_stand(make_set, case):
    kind, rows, suites, chosen = case
    texts = {(s.id, i.id, f.name): f.text for s in suites for i in s.instances for f in i.fields}
    for pair in audit([make_set("train", rows, kind)], suites, chosen).pairs.to_pylist():
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
