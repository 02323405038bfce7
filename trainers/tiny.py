"""A random Llama with a tokenizer of bytes, made on the spot: trainings are tried with it where no model can be had."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

NAME = "tiny-llama"  # in a recipe, in place of a model's folder or name
MADE = f"{NAME}-1"  # its folder in the cache; another number where another model is made
PAD, EOS = "<pad>", "<eos>"


def cached() -> Path:
    """The folder of the tiny model, made where it is not there yet: in `$XDG_CACHE_HOME/tulu-data`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tulu-data"
    folder = cache / MADE
    if not folder.is_dir():
        part = cache / f".{MADE}-{os.getpid()}.part"
        write_model(part)
        try:
            part.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(part)
    return folder


def write_model(
    folder: Path, *, seed: int = 0, layers: int = 2, size: int = 64, heads: int = 4, positions: int = 2_048
) -> Path:
    """Writes a random model and its tokenizer into a folder: 258 words, the bytes, padding and end-of-sequence.

    size: of the hidden states; the inner layer is twice as wide. positions: tokens of its context.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size,
        intermediate_size=2 * size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """A fast tokenizer whose words are the 256 bytes, with the Tülu template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from trainers.chat import TEMPLATE

    words = [PAD, EOS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    made = fast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS)
    made.chat_template = TEMPLATE
    return made
