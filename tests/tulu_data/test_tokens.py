"""Token counts are those of the named tokenizer; what cannot be loaded is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.errors import InputError, UsageError
from tulu_data.tokens import WORDS, token_counter, tokenizer_digest


def plain_count(text: str) -> int:
    """Character by character: a word runs on, white space counts nothing, anything else counts one."""
    count = 0
    in_word = False
    for c in text:
        is_word = c.isalnum() or c == "_"
        if not c.isspace() and not (is_word and in_word):
            count += 1
        in_word = is_word
    return count


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | st.text("ab_ 1.,\n日é", max_size=30))
def test_words_count_like_plain_python(text):
    assert token_counter(WORDS)(text) == plain_count(text)


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), (" \n", 0), ("What is 2+2?", 6), ("größer — 日本", 3), ("a_b", 1)]
)
def test_words_are_runs_of_word_characters_and_other_characters_alone(text, count):
    assert token_counter(WORDS)(text) == count


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> str:
    """Whole words of a vocabulary of four, with special tokens, truncation and padding, as models ship them."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"[UNK]": 0, "[CLS]": 1, "hello": 2, "world": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


def test_a_tokenizer_file_counts_all_tokens_and_no_special_padded_or_cut_ones(tokenizer_file):
    count = token_counter(tokenizer_file)
    assert [count(t) for t in ("", "hello", "hello world", "hello there, world", "hello " * 50)] == [0, 1, 2, 4, 50]


def test_a_tokenizer_is_loaded_once(tokenizer_file):
    assert token_counter(tokenizer_file) is token_counter(tokenizer_file)


def test_a_tokenizers_digest_changes_with_its_file(tokenizer_file):
    before = tokenizer_digest(tokenizer_file)
    Path(tokenizer_file).write_text("{}")
    assert tokenizer_digest(tokenizer_file) != before
    assert (tokenizer_digest(WORDS), tokenizer_digest(None)) == (WORDS, None)


@pytest.mark.parametrize("name", ["words/2", "gpt2", "/no/such/tokenizer.json", ""])
def test_an_unknown_tokenizer_is_one_line(name):
    with pytest.raises(UsageError) as caught:
        token_counter(name)
    assert str(caught.value) == (
        f"tokenizer {name!r} is unknown; use 'words/1', a path to a tokenizer.json, or hub:org/name"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {}}'])
def test_a_file_that_is_no_tokenizer_is_one_line(tmp_path, content):
    pytest.importorskip("tokenizers")
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        token_counter(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot load the tokenizer (")
    assert message.endswith("); give a path to a tokenizer.json")
    assert "\n" not in message


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError) as caught:
        token_counter(str(path))
    assert str(caught.value) == f"tokenizer {str(path)!r} needs: pip install 'tulu-data[tokenizers]'"
