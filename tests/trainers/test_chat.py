"""The Tülu format as golden strings, and masks against the contents they should cover."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers import trainers as learning
from transformers import PreTrainedTokenizerFast

from trainers import chat

SPECIAL = ["<pad>", "<eos>"]
TEXT = st.text(max_size=12) | st.sampled_from(["<eos>", "a <eos><pad>\n<eos>", "<|assistant|>\n", "\n", " ", "é😀"])
PLAIN = TEXT.filter(lambda text: not any(token in text for token in SPECIAL))
CORPUS = ["the answer is the answer to the question\n\n", "<|user|>\n<|assistant|>\n<|system|>\n"] * 20


def make(merges=0):
    """A tokenizer of bytes, with so many learned words over them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = learning.BpeTrainer(
        vocab_size=256 + len(SPECIAL) + merges,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = chat.TEMPLATE
    return fast


BYTES, WORDS = make(), make(merges=60)
BOTH = pytest.mark.parametrize("tokenizer", [BYTES, WORDS], ids=["bytes", "words"])


def conversations(text=TEXT):
    message = st.builds(lambda role, content: {"role": role, "content": content}, ROLES, text)
    return st.lists(message, max_size=7)


ROLES = st.sampled_from(["system", "user", "assistant"])


def said(*messages):
    return [{"role": role, "content": content} for role, content in messages]


def render(messages, **options):
    return BYTES.apply_chat_template(messages, tokenize=False, **options)


def text_of(tokens, tokenizer=BYTES):
    return tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)


def spans(example, tokenizer=BYTES):
    """The text of each run of trained tokens."""
    runs = groupby(zip(example.tokens, example.trainable, strict=True), key=lambda pair: pair[1])
    return [text_of((token for token, _ in run), tokenizer) for trained, run in runs if trained]


# ------------------------------------------------------------ the template

TURN = said(("user", "What is 2+2?"), ("assistant", "4"))
LONG = said(
    ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello!"), ("user", "2+2?\nNow."), ("assistant", " 4\n")
)


@pytest.mark.parametrize(
    ("messages", "prompt", "golden"),
    [
        (TURN, False, "<|user|>\nWhat is 2+2?\n<|assistant|>\n4<eos>"),
        (TURN[:1], True, "<|user|>\nWhat is 2+2?\n<|assistant|>\n"),
        (TURN[:1], False, "<|user|>\nWhat is 2+2?"),
        (
            LONG,
            False,
            "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello!<eos>\n"
            "<|user|>\n2+2?\nNow.\n<|assistant|>\n 4\n<eos>",
        ),
        (
            LONG[:4],
            True,
            "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello!<eos>\n<|user|>\n2+2?\nNow.\n<|assistant|>\n",
        ),
    ],
    ids=["one turn", "prompt", "no answer", "more turns", "prompt after turns"],
)
def test_the_template_is_the_one_of_tulu(messages, prompt, golden):
    assert render(messages, add_generation_prompt=prompt) == golden
    if not prompt:
        assert text_of(chat.encode(BYTES, messages).tokens) == golden


def test_a_prompt_is_the_beginning_of_the_conversation_that_answers_it():
    for end in (2, 4):
        assert render(LONG[: end + 1]).startswith(render(LONG[:end], add_generation_prompt=True))


@given(conversations().filter(bool))
@settings(max_examples=200, deadline=None)
def test_pieces_are_the_render_cut_at_its_ends(messages):
    found = "".join(piece.text + "<eos>" * piece.ends for piece in chat.pieces(messages))
    assert found == render(messages)


# ------------------------------------------------------------ masks


@given(conversations())
@settings(max_examples=300, deadline=None)
def test_trained_are_the_answers_and_their_ends_in_order(messages):
    example = chat.encode(BYTES, messages)
    answers = [m["content"] + "<eos>" for m in messages if m["role"] == "assistant"]
    assert len(example.tokens) == len(example.trainable)
    assert spans(example) == answers
    assert example.trained == sum(len(a.removesuffix("<eos>").encode()) + 1 for a in answers)


@given(conversations())
@settings(max_examples=300, deadline=None)
def test_of_the_last_turn_only_the_last_answer_is_trained(messages):
    example = chat.encode(BYTES, messages, turns="last")
    answers = [m["content"] + "<eos>" for m in messages if m["role"] == "assistant"]
    assert spans(example) == answers[-1:]
    assert example.tokens.tolist() == chat.encode(BYTES, messages).tokens.tolist()


@BOTH
@given(messages=conversations())
@settings(max_examples=200, deadline=None)
def test_what_a_message_writes_about_special_tokens_stays_text(tokenizer, messages):
    example = chat.encode(tokenizer, messages)
    answers = sum(m["role"] == "assistant" for m in messages)
    assert example.tokens.tolist().count(tokenizer.eos_token_id) == answers
    assert tokenizer.pad_token_id not in example.tokens.tolist()
    assert text_of(example.tokens, tokenizer) == "".join(p.text + "<eos>" * p.ends for p in chat.pieces(messages))


@BOTH
@given(messages=conversations(PLAIN).filter(bool))
@settings(max_examples=200, deadline=None)
def test_without_special_tokens_in_it_tokens_are_those_of_one_render(tokenizer, messages):
    whole = tokenizer(render(messages), add_special_tokens=False)["input_ids"]
    assert chat.encode(tokenizer, messages).tokens.tolist() == whole


@given(conversations())
@settings(max_examples=300, deadline=None)
def test_of_a_token_across_an_answers_beginning_nothing_is_trained(messages):
    """With learned words: what is trained is an answer but for a beginning that shares a token with the prompt."""
    example = chat.encode(WORDS, messages)
    answers = [m["content"] + "<eos>" for m in messages if m["role"] == "assistant"]
    found = spans(example, WORDS)
    assert len(found) == len(answers)
    for trained, answer in zip(found, answers, strict=True):
        assert answer.endswith(trained)
        assert trained == answer or answer.startswith("\n")


def test_a_token_across_an_answers_beginning_is_not_trained():
    messages = said(("user", "Hi"), ("assistant", "\n\nthe answer"))
    assert spans(chat.encode(BYTES, messages)) == ["\n\nthe answer<eos>"]
    assert "ĊĊ" in WORDS.get_vocab()  # two newlines: the header's and the answer's first
    assert spans(chat.encode(WORDS, messages), WORDS) == ["\nthe answer<eos>"]


def test_the_tokenizer_is_left_as_it_was():
    chat.encode(BYTES, TURN)
    assert BYTES("<eos>", add_special_tokens=False)["input_ids"] == [BYTES.eos_token_id]


def test_an_empty_answer_trains_its_end():
    assert spans(chat.encode(BYTES, said(("user", "Say nothing."), ("assistant", "")))) == ["<eos>"]


@pytest.mark.parametrize("turns", ["all", "last"])
def test_a_conversation_without_an_answer_trains_nothing(turns):
    example = chat.encode(BYTES, said(("system", "Be brief."), ("user", "Hi")), turns=turns)
    assert len(example.tokens)
    assert example.trained == 0


def test_truncation_keeps_the_beginning():
    example = chat.encode(BYTES, TURN)
    assert chat.truncated(example, 10_000) == example
    cut = chat.truncated(example, len(example.tokens) - 1)
    assert cut == chat.Example(example.tokens[:-1], example.trainable[:-1]) != example
    assert cut.tokens.base is None  # the rest is not held in memory
    assert cut.trained == example.trained - 1


def example_of(*trainable):
    return chat.Example(np.arange(len(trainable), dtype=np.int32), np.array(trainable, np.bool_))


def test_the_first_token_of_a_sequence_is_not_counted():
    assert example_of(True, True, False).trained == 1


def test_examples_are_equal_by_tokens_and_masks():
    assert example_of(False, True) == example_of(False, True)
    assert example_of(False, True) != example_of(False, False)
    assert example_of(False, True) != example_of(False, True, True)
    assert example_of() != ()


def test_a_token_takes_five_bytes():
    example = chat.encode(BYTES, LONG)
    assert example.tokens.nbytes + example.trainable.nbytes == 5 * len(example.tokens)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=5), min_size=1, max_size=6))
def test_the_mask_of_a_packed_row_is_that_of_its_examples_but_for_their_first_tokens(rows):
    examples = [example_of(*row) for row in rows]
    assert chat.in_loss(examples).tolist() == [t and i > 0 for row in rows for i, t in enumerate(row)]
    assert [e.trainable.tolist() for e in examples] == rows
