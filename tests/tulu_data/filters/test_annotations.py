"""The measures behind the filters: languages, repetition, lengths, check digits, text that is not the speaker's own."""

import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_data.errors import InputError, UsageError
from tulu_data.filters import language, pii, repetition
from tulu_data.filters.annotation import Conversation, own_words
from tulu_data.filters.roles import FILTER as ROLES
from tulu_data.filters.roles import Roles

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dd", "e"]), max_size=60)


# ------------------------------------------------------------ repetition


def slow_again_share(words, n):
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    covered = {i + k for i, gram in enumerate(grams) if gram in grams[:i] for k in range(n)}
    return sum(len(words[i]) for i in covered) / sum(map(len, words)) if covered else 0.0


@given(WORDS, st.integers(2, 6))
def test_characters_in_repeated_n_grams_are_counted_once(words, n):
    assert repetition.again_share(words, n) == pytest.approx(slow_again_share(words, n))


@given(WORDS)
def test_shares_are_shares_and_longer_n_grams_repeat_less(words):
    found = repetition.measure(" ".join(words))
    shares = [found[f"repeated_{n}grams"] for n in repetition.REPEATED]
    assert all(0 <= value <= 1 for name, value in found.items() if name != "words")
    assert shares == [pytest.approx(slow_again_share(words, n)) for n in repetition.REPEATED]
    assert shares == sorted(shares, reverse=True)


def test_the_most_frequent_n_gram_counts_by_its_characters():
    assert repetition.top_share("a b c a b d".split(), 2) == pytest.approx(4 / 6)
    assert repetition.top_share("a b c d".split(), 2) == 0.0
    assert repetition.duplicate_share(["ab", "ab", "", "cd"]) == pytest.approx(2 / 6)


# ------------------------------------------------------------ language


def test_without_a_detector_or_its_model_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lingua", None)
    monkeypatch.setitem(sys.modules, "fasttext", None)
    language.detector_of.cache_clear()
    with pytest.raises(UsageError, match=r"^language\.detector lingua needs: pip install lingua-language-detector$"):
        language.tell("x" * 99, "lingua")
    with pytest.raises(InputError, match=r"no\.bin: no such language model; get lid\.176\.bin from fasttext\.cc"):
        language.tell("x" * 99, "fasttext", str(tmp_path / "no.bin"))
    (tmp_path / "m.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"^language\.detector fasttext needs: pip install fasttext$"):
        language.tell("x" * 99, "fasttext", str(tmp_path / "m.bin"))


class Loaded:
    def __init__(self, path):
        if not Path(path).read_bytes():
            raise ValueError("has wrong file format!")

    def predict(self, text):
        assert "\n" not in text  # fasttext refuses lines
        return ["__label__de"], [1.00002]


def test_a_fasttext_model_is_asked_and_a_damaged_one_is_named(tmp_path, monkeypatch):
    class Module:
        load_model = Loaded

    monkeypatch.setitem(sys.modules, "fasttext", Module)
    path = tmp_path / "lid.176.bin"
    path.write_bytes(b"model")
    language.detector_of.cache_clear()
    assert language.tell("Der Hafen fror früh zu.\n" * 9, "fasttext", str(path)) == ("de", 1.0)
    language.detector_of.cache_clear()
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"lid\.176\.bin: is no fasttext model \(has wrong file format!\)"):
        language.tell("Der Hafen fror früh zu.\n" * 9, "fasttext", str(path))
    language.detector_of.cache_clear()


def test_function_words_tell_english_from_its_neighbours():
    text = "The harbour froze early that year, and the boats that were out had to wait for it."
    assert language.english_share(text) >= language.ENGLISH_SHARE
    for other in (
        "De haven is in de winter dicht, en de boten die op zee waren, lagen in de week voor het feest in het ijs.",
        "Det er for sent at sige, at han har sat den op i dag, for der er ingen her som har set ham og hans bil.",
        "I dag er det for kaldt til at vi kan gå ut, så vi ser på en film om en mann som har en katt i et hus.",
        "No me digas que no has visto a Ana, me dijo que no te quiere ver si no has hecho lo que te pidió ayer.",
        "On est là et on a vu son ami, il dit que tu es en retard pour le train et que me voir est une chance.",
        "Er hat so an dem Haus gebaut, also hat man es in der Stadt in den Jahren um den Krieg so gern gesehen.",
    ):
        assert language.english_share(other) < language.DOUBT


def test_english_with_little_but_names_and_formulas_is_not_taken_for_another_language():
    for text in (
        "Here is some information about Albert Einstein: wikipedia('Albert Einstein').",
        "1/6 * 240 students = <<1/6*240=40>>40 students. So 40 students read three or more novels.",
        "fibonacci :: Integer -> Integer\nfibonacci n | n == 0 = 0 | n == 1 = 1 | n > 1 = fibonacci (n - 1)",
        "local num=$1\nlocal result=1\ndone\necho $result\necho factorial_result",
    ):
        told = language.tell(text)
        assert told is None or told.code == "en"


def test_of_long_texts_three_cuts_are_looked_at():
    text = "".join(random.Random(1).choices("abc ", k=10_000))
    cut = language.sample(text)
    assert len(cut) == language.SAMPLES * language.SAMPLE_CHARS + 2
    assert cut.startswith(text[:100])
    assert cut.endswith(text[-100:])
    assert language.sample(text[:400]) == text[:400]


# ------------------------------------------------------------ check digits


@given(st.integers(0, 10**15))
def test_luhn_finds_every_single_wrong_digit(number):
    digits = next(d for d in (f"{number}{last}" for last in range(10)) if pii.luhn(d))
    for i, digit in enumerate(digits):
        wrong = digits[:i] + str((int(digit) + 1) % 10) + digits[i + 1 :]
        assert not pii.luhn(wrong)


def test_account_numbers_have_their_countrys_length_and_check_digits():
    assert pii.is_iban("DE89370400440532013000")
    assert not pii.is_iban("DE88370400440532013000")
    assert not pii.is_iban("DE8937040044053201300")
    assert not pii.is_iban("ZZ89370400440532013000")


def test_nothing_is_found_twice():
    text = "IBAN DE89 3704 0044 0532 0130 00, card 4539 1488 0343 6467, mail a.b.keller@posteo.de, +44 20 7946 0018"
    found = list(pii.personal_data(text))
    assert [name for name, *_ in found] == ["email", "iban", "credit_card", "phone"]
    places = sorted((start, end) for _, start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


# ------------------------------------------------------------ roles, voices


@pytest.mark.parametrize(
    ("roles", "rules"),
    [
        (["user", "assistant"], []),
        (["system", "user", "assistant", "user", "assistant"], []),
        (["user", "assistant", "tool", "assistant"], []),
        (["user", "user", "assistant"], ["roles.order"]),
        (["assistant", "user"], ["roles.order"]),
        (["user", "assistant", "assistant"], ["roles.order"]),
        (["user"], ["roles.assistant_missing"]),
        (["user", "system"], ["roles.order", "roles.assistant_missing"]),
        ([], ["roles.assistant_missing"]),
    ],
)
def test_turns_out_of_order_and_missing_ones(roles, rules):
    row = {"messages": [{"role": role, "content": "x"} for role in roles]}
    values = ROLES.annotate(Conversation.of("sft", row), Roles())
    assert [r.rule for r in ROLES.judge(values, Roles())] == rules


def test_both_completions_follow_the_prompt():
    one = [{"role": "assistant", "content": "x"}]
    row = {"messages": [{"role": "user", "content": "x"}], "chosen": one, "rejected": one}
    assert ROLES.annotate(Conversation.of("preference", row), Roles())["order"] is None
    row["rejected"] = [{"role": "user", "content": "x"}]
    found = ROLES.annotate(Conversation.of("preference", row), Roles())["order"]
    assert found == "rejected[0]: user after user"


def test_a_turn_that_calls_a_tool_may_say_nothing():
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": "[]"},
        {"role": "tool", "content": ""},
        {"role": "assistant", "content": "y"},
    ]
    values = ROLES.annotate(Conversation.of("sft", {"messages": turns}), Roles())
    assert list(ROLES.judge(values, Roles())) == []


@given(st.text(alphabet="ab `'\"“”‘’>\n", max_size=80))
def test_blanking_keeps_places(text):
    own = own_words(text)
    assert len(own) == len(text)
    assert all(a in (b, " ") for a, b in zip(own, text, strict=True))


def test_quoted_speech_is_not_the_speakers_own_unless_all_of_it_is_quoted():
    assert "robot" not in own_words('She wrote: "I am a robot." Then she left.')
    assert "robot" in own_words('"I am a robot."')
    assert "robot" not in own_words("say = 'I am a robot.'; print(say)")
    assert "can't" in own_words("I can't, and the boys' dog won't, so 'no'.")
