"""Encoders: their names, what they give, and what is said where one cannot be had."""

import pytest

from tulu_data.encoders import ServedEncoder, encoder_of
from tulu_data.errors import InputError, UsageError

pytest.importorskip("sentence_transformers", reason="the extra 'semantic' is not installed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (404, "404"),
        ("<html>", r"the answer holds no vectors|Expecting value|<html>"),
        ({"data": []}, r"gave 0 vectors for 1 texts"),
        ({"error": "busy"}, r"the answer holds no vectors"),
        ({"data": [{"index": 0, "embedding": ["x"]}]}, r"the answer holds no vectors"),
    ],
    ids=str,
)
def test_an_endpoint_that_gives_no_vectors_is_one_line(serving, answer, message):
    with serving(lambda path, request: answer) as server, pytest.raises(InputError, match=message) as raised:
        encoder_of(f"{server.url}#m").encode(["text"])
    assert str(raised.value).startswith(f"encoder {server.url}#m: ")
    assert "\n" not in str(raised.value)


def test_an_endpoint_that_is_down_is_one_line(monkeypatch):
    monkeypatch.setattr("tulu_data.encoders.TRIES", 2)
    with pytest.raises(
        InputError, match=r"^encoder http://127\.0\.0\.1:9/v1#m: cannot be reached: .*; is the server up"
    ):
        ServedEncoder("http://127.0.0.1:9/v1#m", "http://127.0.0.1:9/v1", "m").encode(["text"])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("http://localhost:8000/v1", UsageError, "names no model; write it as URL#model"),
        (
            "no-such-model",
            InputError,
            "^encoder no-such-model: cannot be loaded .*give a folder with a sentence-transformers",
        ),
    ],
)
def test_an_encoder_that_cannot_be_had_is_one_line(monkeypatch, name, error, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(error, match=message):
        encoder_of(name)


def test_a_folder_that_holds_no_model_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"holds no model files; name another$"):
        _ = encoder_of(str(tmp_path)).digest


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("tulu_data.encoders.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"sentence-transformers is missing; pip install 'tulu-data\[semantic\]'$"):
        encoder_of("all-MiniLM-L6-v2")
