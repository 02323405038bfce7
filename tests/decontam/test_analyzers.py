import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decontam.analyzers import ANALYZERS, CJK, LAST_SPACE, analyzer_of, lower
from tulu_data.errors import UsageError

NAMES = sorted(ANALYZERS)
CODE_POINTS = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" .,’“”–İΣσς\t\n\\_-日本한か\u00a0\u200b"))


def is_separator(c: str) -> bool:
    """The definition of `unicode`, read out."""
    if 0x2018 <= ord(c) <= 0x201B:
        return False
    return c in ' ,.?!:;()"-\n\\' or c.isspace() or unicodedata.category(c) == "Cc" or 0x2000 <= ord(c) < 0x2070


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXT)
def test_tokens_are_the_folded_text_at_the_spans(name: str, text: str):
    analyzer = ANALYZERS[name]
    folded = analyzer.fold(text)
    assert len(folded) == len(text)
    assert [folded[start:end] for start, end in analyzer.spans(text)] == analyzer.tokens(text)


def test_lower_case_is_taken_of_each_code_point_on_its_own():
    one_to_one = [c.lower() if len(c.lower()) == 1 else c for c in CODE_POINTS]
    assert lower("".join(CODE_POINTS)) == "".join(one_to_one)
    assert lower("ΣΑΣ İI") == "σασ İi"


def test_unicode_splits_at_exactly_its_separators():
    tokens = ANALYZERS["unicode"].tokens
    for c in CODE_POINTS:
        alone = any(first <= ord(c) <= last for first, last in CJK)
        expected = 2 if is_separator(c) else 3 if alone else 1
        assert len(tokens(f"a{c}b")) == expected, hex(ord(c))


def test_tulu_splits_at_the_released_set_only():
    tokens = ANALYZERS["tulu"].tokens
    splits = {chr(c) for c in range(128) if len(tokens(f"a{chr(c)}b")) == 2}
    assert splits == set(' ,.?!:;()"-\n\\')
    assert tokens("It’s\ta “Tab”") == ["it’s\ta", "“tab”"]


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("unicode", ["don't", "re", "wrap", "日", "本", "x_y", "3", "5"]),
        ("tulu", ["don’t", "re", "wrap\t日本", "x_y", "3", "5"]),
        ("word", ["don", "t", "re", "wrap", "日本", "x", "y", "3", "5"]),
    ],
)
def test_one_text_through_each_analyzer(name: str, tokens: list[str]):
    assert ANALYZERS[name].tokens("Don’t re-WRAP\t日本 (x_y) 3.5") == tokens


@pytest.mark.parametrize("name", NAMES)
@given(words=st.lists(st.sampled_from(["a", "Bc", "3", "né"])), breaks=st.randoms(use_true_random=False))
def test_rewrapping_lines_changes_no_token(name: str, words: list[str], breaks):
    rewrapped = "".join(w + breaks.choice([" ", "\n", "  ", " \n "]) for w in words)
    assert ANALYZERS[name].tokens(rewrapped) == ANALYZERS[name].tokens(" ".join(words))


def test_quotation_marks_and_dashes_of_a_word_processor_make_no_difference():
    tokens = ANALYZERS["unicode"].tokens
    assert tokens("‘It’s “well–known”—she said…’") == tokens("'It's \"well-known\"-she said.'")


def test_an_unknown_analyzer_names_the_nearest():
    with pytest.raises(UsageError, match=r"^analyzer 'unicod' is unknown; did you mean 'unicode'\?$"):
        analyzer_of("unicod")


def test_no_space_or_control_character_lies_beyond_the_range_that_is_searched():
    beyond = map(chr, range(LAST_SPACE + 1, sys.maxunicode + 1))
    assert [c for c in beyond if c.isspace() or unicodedata.category(c) == "Cc"] == []
