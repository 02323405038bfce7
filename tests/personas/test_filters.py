"""What keeps rows out: rules on their text, near duplicates, tests that notice nothing, votes without majority."""

import ast
import random
import re
from itertools import product

import pytest

from personas.duplicates import (
    GRAM,
    Earlier,
    Seen,
    distinct_curve,
    distinct_share,
    near_duplicates,
)
from personas.filters import KEYWORDS, LANGUAGE_LETTERS, REPEATED, REPETITION_WORDS, Filters
from personas.mutating import MAX_MUTANTS, mutants
from personas.skill import Checks, Rejected, Reply
from personas.voting import Elected, vote
from tulu_data.errors import InputError
from tulu_data.filters.repetition import repeated_share
from tulu_data.llm.request import Request, answer_of
from tulu_data.verifiers import Task, verify
from tulu_data.verifiers.math_answer import answer_in
from tulu_data.verifiers.verdict import Verdict, undecided

PROMPT = "Explain to a beekeeper how many frames fit into one box."
GOOD = (
    "Ten frames fit into a standard box. Leave a little room between them, so that the bees can pass, and check each "
    "spring whether the wood has warped."
)
GERMAN = (
    "Zehn Rahmen passen in einen Kasten. Lassen Sie etwas Platz dazwischen, damit die Bienen durchkommen, und prüfen "
    "Sie in jedem Frühling, ob sich das Holz verzogen hat."
)


def reply(text: str, *, finish: str = "stop", refusal: str | None = None) -> Reply:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    raw = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}
    return Reply(text, finish, answer_of(Request("m", ()), raw, endpoint="e", attempts=1, usd=None))


def reason(
    response: str | Reply,
    prompt: str = PROMPT,
    *,
    language: str = "en",
    checks_language: bool = True,
    refuses_rightly: bool = False,
    **settings,
) -> str | None:
    """Why a row is rejected; None where it is not."""
    given = reply(response) if isinstance(response, str) else response
    try:
        Filters(**settings).check(
            prompt, given, language=language, checks_language=checks_language, refuses_rightly=refuses_rightly
        )
    except Rejected as rejected:
        found = rejected
    else:
        return None
    assert "\n" not in str(found)
    return found.reason


def test_a_good_row_passes():
    assert reason(GOOD) is None
    assert reason("") is None  # that nothing was answered, the verifiers see


# ------------------------------------------------------------ cut off


def test_an_answer_that_was_cut_off_is_rejected_whatever_it_says():
    assert reason(reply(GOOD, finish="length")) == "truncated"
    assert reason(reply("I'm sorry, but I can't help with that.", finish="length")) == "truncated"
    assert reason(reply(GOOD, finish="stop")) is None


def test_a_code_block_that_is_not_closed_is_cut_off():
    assert reason("Here it is:\n```python\nx = 1\n") == "truncated"
    assert reason("```\na\n```\nand\n```\nb") == "truncated"
    assert reason("Here it is:\n```python\nx = 1\n```\n") is None
    assert reason("Write `x` and ``y`` for code.") is None


# ------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("refusing", "near_miss"),
    [
        ("I'm sorry, but I can't help with that.", "I'm sorry for your loss. Take your time with the hives."),
        ("I cannot provide instructions for this.", "Bees cannot provide for themselves in a hard winter."),
        ("I must decline this request.", "Numbers must decline in autumn, which is the way of every hive."),
        ("I’m unable to assist with that.", "The bees are unable to fly below ten degrees."),
    ],
)
def test_a_refusal_is_rejected_and_talk_of_what_cannot_be_done_is_not(refusing, near_miss):
    assert reason(refusing) == "refusal"
    assert reason(near_miss) is None


def test_rows_where_a_refusal_may_be_right_may_refuse():
    for text in (
        "I'm sorry, but I can't help with that.",
        "As an AI, I cannot do this. I'm sorry, but I won't help to hurt somebody.",
    ):
        assert reason(text, refuses_rightly=True) is None
    assert reason("As an AI I say: ten frames.", refuses_rightly=False) == "self-identification"
    assert reason(GOOD, "As an AI, how many frames?", refuses_rightly=True) == "self-identification"


def test_a_refusal_that_the_server_marks_is_one():
    assert reason(reply("", refusal="I can't help\nwith that.")) == "refusal"


# ------------------------------------------------------------ models that speak of themselves


@pytest.mark.parametrize(
    ("telling", "near_miss"),
    [
        ("As an AI, I like honey.", "As an aid to bees, plant clover."),
        ("As a large language model I know frames.", "As a large model of a hive shows, ten fit."),
        ("I'm just an AI but I know bees.", "I'm just an airline pilot but I know bees."),
        ("I’m an AI and know bees.", "I’m an aide and know bees."),
        ("I am a language model.", "I am a language teacher who keeps bees."),
        ("I am ChatGPT.", "I am chatting with the bees."),
        ("I'm Claude, your guide.", "I'm Claudette, your guide."),
        ("I was trained by Google.", "The bees were trained by Googoosh."),
        ("It was created by Meta in a lab.", "The smoker was made by metalworkers."),
        ("I was developed by Mistral.", "It was made by Misty."),
    ],
)
def test_a_model_that_says_what_it_is_is_rejected_in_prompt_and_answer(telling, near_miss):
    assert reason(f"{telling} {GOOD}") == "self-identification"
    assert reason(GOOD, f"{telling} {PROMPT}") == "self-identification"
    assert reason(f"{near_miss} {GOOD}") is None
    assert reason(GOOD, f"{near_miss} {PROMPT}") is None


@pytest.mark.parametrize("word", KEYWORDS)
def test_each_keyword_is_found_in_any_case_as_a_word(word):
    for said in (word, word.upper(), f"({word})", f"{word}'s"):
        assert reason(f"{GOOD} It says {said} there.") == "keyword"
        assert reason(GOOD, f"{PROMPT} It says {said} there.") == "keyword"
    for near_miss in (f"{word}x", f"x{word}", word[:-1]):
        assert reason(f"{GOOD} It says {near_miss} there.") is None


def test_keywords_are_the_users_choice_and_no_patterns():
    assert reason(f"{GOOD} Use C++.", keywords=("C++",)) == "keyword"
    assert reason(f"{GOOD} Use C.", keywords=("C++", "a.b")) is None
    assert reason(f"{GOOD} The axb.", keywords=("a.b",)) is None
    assert reason(f"{GOOD} Ask OpenAI.", keywords=()) is None


# ------------------------------------------------------------ repetition


def test_a_text_that_repeats_itself_is_rejected_and_a_short_or_mildly_repeating_one_is_not():
    line = "The bees pass between the frames in spring. "
    loop = line * 12
    assert reason(loop) == "repetition"
    assert reason(GOOD, loop) == "repetition"
    assert reason(line * 7) is None  # 56 words
    words = [f"word{i}" for i in range(100)]
    assert reason(" ".join([*words, *words[:60]]), checks_language=False) is None
    assert reason(loop, repeated=1.0) is None


def test_the_share_that_repeats_is_counted_in_word_4_grams():
    how = {"n": 4, "min_words": REPETITION_WORDS}
    assert repeated_share("a b c d " * 14, **how) == 0.0  # too short
    many = ("a b c d " * 25).split()
    grams = [tuple(many[i : i + 4]) for i in range(len(many) - 3)]
    assert repeated_share(" ".join(many), **how) == 1 - len(set(grams)) / len(grams) > REPEATED
    assert repeated_share(" ".join(f"w{i}" for i in range(REPETITION_WORDS)), **how) == 0.0


# ------------------------------------------------------------ language


def test_another_language_is_rejected_in_the_prompt_and_in_answers_that_are_checked_for_it():
    assert reason(GERMAN) == "language"
    assert reason(GERMAN, checks_language=False) is None
    assert reason(GOOD, GERMAN) == "language"
    assert reason(GOOD, GERMAN, checks_language=False) == "language"
    assert reason(GERMAN, GERMAN, language="de") is None
    assert reason(GOOD, GERMAN, language="de") == "language"
    assert reason(GOOD, language="en-gb") is None


def test_too_little_text_has_no_language():
    assert sum(c.isalpha() for c in GERMAN[:60]) < LANGUAGE_LETTERS
    assert reason(GERMAN[:60]) is None


@pytest.mark.parametrize(
    "block",
    [
        "```python\nzahl = eingabe_lesen()\nfuer_jede_biene(zahl, rahmen, kasten, wabe, honig, schleuder)\n```",
        r"\[ \int_{\alpha}^{\beta} \operatorname{grad} \varphi \, \mathrm{d}\xi = \sum_{\iota} \lambda_{\iota} \]",
        r"$$ \mathfrak{Zwischen} \cdot \mathfrak{wertsatz} \Rightarrow \exists \xi : f(\xi) = \text{null und nichts}$$",
        r"Then \(\mathrm{und} \neq \mathrm{oder} \wedge \mathrm{nicht} \Rightarrow \mathrm{dann}\) holds.",
        "The name `fuer_jede_biene_in_dem_kasten_und_in_der_wabe_und_noch_einer` stands in the code.",
    ],
)
def test_code_and_formulas_are_not_looked_at_for_the_language(block):
    assert reason(f"{GOOD}\n{block}\n{GOOD}") is None
    assert reason(f"{block}\n" * 3) is None  # no prose is left to tell by
    assert reason(f"{GERMAN}\n{block}") == "language"


def test_a_code_block_that_runs_to_the_end_of_a_prompt_is_code():
    assert reason(GOOD, f"{PROMPT}\n```python\n{GERMAN}") is None


# ------------------------------------------------------------ near duplicates

BEES = "The bees pass between the ten frames of the old box in spring when the clover is in flower"


def test_texts_that_differ_in_case_marks_and_space_are_equal():
    seen = Seen()
    assert seen.add("a", BEES) is None
    for other in (BEES, BEES.upper(), f"  {BEES}!?", BEES.replace(" ", "\n\n"), BEES.replace(" ", ", ")):
        assert seen.add("b", other) == Earlier("a", 1.0)


def test_a_text_near_an_earlier_one_is_told_with_its_true_similarity():
    seen = Seen(0.6)
    assert seen.add("a", BEES) is None
    near = BEES.replace("clover", "thyme")
    found = seen.add("b", near)
    assert found is not None
    assert found.id == "a"
    assert found.similarity == jaccard(grams(BEES), grams(near)) < 1
    assert seen.add("c", "Something that has nothing to do with any of these insects at all") is None
    assert Seen(0.95).add("b", near) is None


def test_the_likest_of_several_earlier_texts_is_named():
    seen = Seen(0.3)
    first, second = f"{BEES} today", f"{BEES} and the wind is still and the sun is high and warm"
    assert seen.add("first", first) is None
    loose = Seen(0.9)
    assert loose.add("first", first) is None
    assert loose.add("second", second) is None
    found = loose.add("third", f"{second} now")
    assert found is not None
    assert found.id == "second"


def test_a_text_that_is_left_out_is_not_compared_with_later_ones():
    words = [f"w{i}" for i in range(30)]
    texts = [" ".join(words[k : k + 20]) for k in (0, 3, 6, 9, 12)]  # each like its neighbours
    seen = Seen(0.6)
    kept = [k for k, text in enumerate(texts) if seen.add(str(k), text) is None]
    assert kept == [0, 2, 4]


@pytest.mark.parametrize("near", [0.01, 0.3, 0.97, 1.0])
def test_every_similarity_can_be_asked_for(near):
    seen = Seen(near)
    assert seen.add("a", BEES) is None
    assert seen.add("b", BEES.upper()) == Earlier("a", 1.0)
    assert seen.add("c", "quite another matter altogether") is None


def test_texts_of_few_or_no_words_are_compared_too():
    seen = Seen()
    assert [seen.add(str(i), t) for i, t in enumerate(("", "bee", "bee hive", "hive bee", "蜂蜜の作り方"))] == [
        None
    ] * 5
    assert [e and e.id for e in (seen.add("x", "!"), seen.add("y", "Bee."), seen.add("z", "蜂蜜の作り方。"))] == [
        "0",
        "1",
        "4",
    ]


def grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + GRAM]) for i in range(max(1, len(words) - GRAM + 1))}


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b)


def variations(rng: random.Random, count: int) -> list[str]:
    """Random texts of few words, many of them an earlier one with some words changed."""
    texts: list[list[str]] = []
    for _ in range(count):
        if texts and rng.random() < 0.7:
            text = list(rng.choice(texts))
            for _ in range(rng.randint(0, 3)):
                text[rng.randrange(len(text))] = rng.choice("abcdefgh")
        else:
            text = [rng.choice("abcdefghijklmnop") for _ in range(rng.randint(1, 40))]
        texts.append(text)
    return [" ".join(t) for t in texts]


@pytest.mark.parametrize("near", [0.5, 0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_near_agrees_with_a_comparison_of_all_pairs(near, seed):
    seen, kept = Seen(near), {}
    found_near = missed = 0
    for i, text in enumerate(variations(random.Random(seed), 150)):
        likest = max((jaccard(grams(text), other) for other in kept.values()), default=0.0)
        found = seen.add(str(i), text)
        if found is None:
            assert likest < near + 0.1, text
            missed += likest >= near
            kept[str(i)] = grams(text)
        else:
            assert found.similarity >= near
            assert found.similarity == jaccard(grams(text), kept[found.id])
            found_near += 1
    assert found_near > 10 * missed


def test_near_duplicates_are_counted():
    assert near_duplicates([]) == near_duplicates([BEES]) == 0
    assert near_duplicates([BEES, "Something else entirely, of other words", BEES.lower(), f"{BEES} now"]) == 2
    assert near_duplicates([BEES, f"{BEES} now"], near=1.0) == 0
    assert near_duplicates(iter([BEES] * 5)) == 4


# ------------------------------------------------------------ distinct-n


def distinct(texts: list[str], n: int) -> float:
    grams_ = [
        tuple(w[i : i + n]) for w in (re.findall(r"\w+", t.lower()) for t in texts) for i in range(len(w) - n + 1)
    ]
    return len(set(grams_)) / len(grams_) if grams_ else 0.0


@pytest.mark.parametrize(("n", "count"), list(product((1, 2, 3), (0, 1, 2, 7, 39, 40, 41, 300))))
def test_distinct_n_and_its_curve_agree_with_counting(n, count):
    texts = variations(random.Random(n * 1000 + count), count)
    assert distinct_share(texts, n) == distinct(texts, n)
    curve = distinct_curve(texts, n)
    assert curve == [(k, distinct(texts[:k], n)) for k, _ in curve]
    assert len(curve) == min(count, 40)
    assert [k for k, _ in curve] == sorted({k for k, _ in curve})
    if count:
        assert curve[-1] == (count, distinct_share(texts, n))


def test_distinct_n_of_nothing_is_defined():
    assert distinct_curve([]) == []
    assert distinct_share([]) == distinct_share([""]) == distinct_share(["one"]) == 0.0
    assert distinct_curve(["one two"]) == [(1, 1.0)]
    assert distinct_curve(["", "one"], 2) == [(1, 0.0), (2, 0.0)]
    assert distinct_share(["A b!", "a  B"]) == 0.5
    assert distinct_curve(["a b"] * 100, points=4) == [(25, 1 / 25), (50, 1 / 50), (75, 1 / 75), (100, 1 / 100)]


# ------------------------------------------------------------ mutants

PROGRAM = '''
def largest(values, least=0):
    """The largest value above a limit."""
    best = None
    for i in range(len(values) - 1):
        if values[i] >= least and (best is None or values[i] > best):
            best = values[i] + 0
    total = 0
    total += len(values) * 2
    if best in values:
        return best
    return total // 3
'''


def test_mutants_are_programs_that_differ_from_the_original_and_from_each_other():
    plain = ast.unparse(ast.parse(PROGRAM))
    for most in (1, 2, 3, 4, 10, 100):
        found = mutants(PROGRAM, most=most)
        assert 1 <= len(found) <= most
        assert len(set(found)) == len(found)
        for mutant in found:
            ast.parse(mutant)
            assert mutant != plain
            changed = [(a, b) for a, b in zip(plain.splitlines(), mutant.splitlines(), strict=True) if a != b]
            assert len(changed) == 1  # one slip
    assert len(mutants(PROGRAM)) == MAX_MUTANTS
    assert mutants(PROGRAM) == mutants(PROGRAM)


@pytest.mark.parametrize(
    ("code", "slip"),
    [
        ("a < b", "a >= b"),
        ("a <= b", "a > b"),
        ("a == b", "a != b"),
        ("a not in b", "a in b"),
        ("a is None", "a is not None"),
        ("a < b < c", "a >= b < c"),
        ("a + b", "a - b"),
        ("a % b", "a * b"),
        ("a -= b", "a += b"),
        ("a // b", "a * b"),
        ("a ** b", None),
        ("a += b", "a -= b"),
        ("a and b", "a or b"),
        ("def f():\n    return 1", "def f():\n    return None"),
        ("def f():\n    return None", None),
        ("def f():\n    return", None),
        ("a = [1, 'x']", None),
    ],
)
def test_each_slip_is_the_one_that_is_named(code, slip):
    assert mutants(code) == ([slip] if slip else [])


@pytest.mark.parametrize(
    "code", ["", "def f(:", "x = ", "    return 1\nx", "a\0b", "Here is the code:", "```python\nx\n```"]
)
def test_what_is_no_program_has_no_mutants(code):
    assert mutants(code) == []


@pytest.mark.parametrize("terms", [100, 300, 1_000, 20_000])
def test_a_program_that_is_nested_deeply_stops_nobody(terms):
    for found in (mutants(f"x = {'+'.join(['a'] * terms)}"), mutants(f"x = {'(' * terms}a < b{')' * terms}")):
        assert len(found) <= MAX_MUTANTS


# ------------------------------------------------------------ votes


def verdict_of(task: Task) -> Verdict:
    """As a run judges: a candidate that is no truth of the verifier's is undecided."""
    try:
        return verify(task.verifier, task.response, task.truth)
    except InputError as e:
        return undecided(str(e))


def elected(verifier, replies, answer=answer_in) -> Elected:
    """Drives a vote by hand."""
    voting = vote(verifier, "The problem.", replies, answer)
    step = next(voting)
    assert isinstance(step, Checks)
    with pytest.raises(StopIteration) as over:
        voting.send([verdict_of(task) for task in step.tasks])
    return over.value.value


def rejected(verifier, replies, answer=answer_in) -> Rejected:
    with pytest.raises(Rejected) as told:
        elected(verifier, replies, answer)
    assert "\n" not in str(told.value)
    return told.value


def boxed(*answers: str) -> list[Reply]:
    return [reply(f"Thought number {i}. So it is \\boxed{{{a}}}.") for i, a in enumerate(answers)]


def test_the_answer_of_more_than_half_is_taken_with_the_first_reply_that_gives_it():
    replies = boxed("7", "8", "8")
    found = elected("math", replies)
    assert (found.reply, found.answer) == (replies[1], "8")
    assert found.votes == (3, 2, ("7", "8", "8"))
    assert elected("math", boxed("5")).votes == (1, 1, ("5",))
    assert elected("math", boxed("5", "5", "5", "1", "2")).votes.agreement == 3


def test_answers_that_the_verifier_takes_for_equal_are_one_candidate():
    replies = boxed("3", "0.5", r"\frac{1}{2}", "1/2")
    found = elected("math", replies)
    assert (found.reply, found.votes.agreement) == (replies[1], 3)
    assert found.votes.answers == ("3", "0.5", r"\frac{1}{2}", "1/2")
    assert elected("math", boxed("1/2", "0.5")).votes.agreement == 2


def test_half_is_no_majority():
    tie = rejected("math", boxed("7", "8"))
    assert tie.reason == "no majority"
    assert tie.detail == "1 of 2 agree: 7, 8"
    assert tie.known["votes"] == (2, 1, ("7", "8"))
    assert (tie.known["prompt"], tie.known["response"].text) == ("The problem.", boxed("7")[0].text)
    assert rejected("math", boxed("1", "1", "2", "2")).reason == "no majority"
    assert rejected("math", boxed("1", "2", "3")).known["votes"].agreement == 1


def test_a_reply_without_an_answer_has_no_vote_but_counts():
    silent = reply("I do not know.")
    assert elected("math", [silent, *boxed("7", "7")]).votes == (3, 2, (None, "7", "7"))
    assert rejected("math", [silent, silent, *boxed("7", "7")]).reason == "no majority"
    none = rejected("math", [silent, silent])
    assert (none.reason, none.detail) == ("no answer", "none of 2 solutions ends in an answer")


def test_a_reply_that_was_cut_off_has_no_vote_whatever_it_says():
    cut = reply("So it is \\boxed{8}.", finish="length")
    assert elected("math", [cut, *boxed("7", "7")]).votes == (3, 2, (None, "7", "7"))
    assert rejected("math", [cut, *boxed("8")]).reason == "no majority"
    assert rejected("math", [cut, cut]).reason == "truncated"
    assert rejected("math", [cut, reply("No idea.")]).reason == "no answer"


def test_a_candidate_that_is_no_truth_of_the_verifier_is_undecided():
    def said(text: str) -> str | None:
        return text.rpartition("####")[2].strip()

    replies = [reply(f"#### {a}") for a in ("many", "12", "12")]
    with pytest.raises(InputError):
        verify("gsm8k", "12", "many")
    found = elected("gsm8k", replies, said)
    assert (found.answer, found.votes) == ("12", (3, 2, ("many", "12", "12")))
    assert rejected("gsm8k", [reply("#### many"), reply("#### few")], said).known["votes"].agreement == 0


def test_what_is_checked_is_each_voter_against_each_candidate():
    step = next(vote("math", "The problem.", [*boxed("7", "8", "7"), reply("?")], answer_in))
    assert isinstance(step, Checks)
    assert [t.truth for t in step.tasks] == ["7", "8"] * 3
    assert {t.verifier for t in step.tasks} == {"math"}
