"""Counting tokens with a named tokenizer. The name goes into every manifest that carries token counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tulu_data.errors import InputError, UsageError
from tulu_data.parquet import file_sha256

WORDS = "words/1"
_WORD = re.compile(r"\w+|[^\w\s]")


@cache
def token_counter(name: str) -> Callable[[str], int]:
    """text → number of tokens, without special tokens.

    `words/1` counts runs of word characters and single other characters: free, and close to English subwords.
    A path to a `tokenizer.json`, or `hub:org/name`, uses the `tokenizers` package (extra `[tokenizers]`).
    """
    if name == WORDS:
        return lambda text: sum(1 for _ in _WORD.finditer(text))
    tokenizer = _load(name)
    tokenizer.no_truncation()  # a tokenizer.json may carry the lengths its model was trained with
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def tokenizer_digest(name: str | None) -> str | None:
    """What changes when a tokenizer does: the content of a file, otherwise the name."""
    return file_sha256(Path(name)) if name and Path(name).is_file() else name


def _load(name: str):  # type: ignore[no-untyped-def]  # tokenizers is optional
    is_hub = name.startswith("hub:")
    if not is_hub and not Path(name).is_file():
        raise UsageError(f"tokenizer {name!r} is unknown; use {WORDS!r}, a path to a tokenizer.json, or hub:org/name")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UsageError(f"tokenizer {name!r} needs: pip install 'tulu-data[tokenizers]'") from None
    try:
        if is_hub:
            repo, _, revision = name.removeprefix("hub:").partition("@")
            return Tokenizer.from_pretrained(repo, revision=revision or "main")
        return Tokenizer.from_file(name)
    except Exception as e:  # the package raises bare Exception
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise InputError(f"{name}: cannot load the tokenizer ({reason}); give a path to a tokenizer.json") from None
