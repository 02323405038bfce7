"""Opens what a training starts from: a model with its tokenizer, and the examples of a version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from trainers import attention, gate, ranks, tiny
from trainers.chat import TEMPLATE, Example, Turns, encode, truncated
from trainers.checkpoints import export, flush
from trainers.engine import Engine
from tulu_data.errors import InputError, UsageError
from tulu_data.manifest import environment
from tulu_data.progress import Progress, Silent
from tulu_data.store import Version

FACTS_FILE = "training.json"
PADDINGS = (  # words that a vocabulary may hold and that no text is, in the order in which they are taken
    "<|finetune_right_pad_id|>",  # Llama 3.1 and later
    "<|pad|>",
    "<pad>",
    "[PAD]",
    "<|reserved_special_token_0|>",  # Llama 3
    "<unk>",  # Llama 2 and Mistral, which write unknown characters as bytes
)


class Opened(NamedTuple):
    """A causal language model under the attention of packed rows, in fp32, and its tokenizer with the Tülu template."""

    model: Any
    tokenizer: Any


def open_model(
    name: str,
    *,
    longest: int = 0,
    kind: Any = None,
    drawn: str | None = None,
    everywhere: bool = False,
    labels: int | None = None,
) -> Opened:
    """A model from a folder or the hub's cache, for sequences of up to `longest` tokens.

    kind: one of transformers' Auto classes, else for causal language models. drawn: a module that the checkpoint need
    not hold, and that is random then. labels: of a classifier. Of several processes only the first reads the weights,
    unless all shall `everywhere`; the others' model is empty.

    A tokenizer without a padding token is given one of `PADDINGS` that it holds, for later stages and for whoever uses
    the model. `InputError` in one line where a model cannot be used, `UsageError` where it is too short for `longest`.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    attention.register()
    own = {} if labels is None else {"num_labels": labels}
    config, tokenizer = config_of(name, **own), tokenizer_of(name)
    limit = limit_of(config)
    if limit is not None and longest > limit.tokens:
        raise UsageError(f"max_length is {longest:,}, and {limit.why}; lower it")
    how = {"dtype": torch.float32, "attn_implementation": attention.NAME}
    kind, missing = kind or AutoModelForCausalLM, []
    with _in_one_line(name):
        if everywhere or ranks.first():
            model, told = kind.from_pretrained(name, output_loading_info=True, **how, **own)
            missing = sorted(k for k in told["missing_keys"] if drawn is None or not k.startswith(f"{drawn}."))
        else:
            with torch.device("meta"):
                model = kind.from_config(config, **how)
    if missing:  # transformers draws them at random
        more = f" and {len(missing) - 1:,} more" if missing[1:] else ""
        raise InputError(
            f"model {name}: its weights lack {missing[0]}{more} of a {type(model).__name__}; name a model that has them"
        )
    if getattr(model.config, "final_logit_softcapping", None):
        raise InputError(f"model {name}: caps its logits, which the loss here does not")
    words = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > words:
        raise InputError(f"model {name}: its tokenizer has {len(tokenizer):,} tokens, the model {words:,}; resize it")
    if ranks.first() and (unfit := _unfit(model)):
        raise InputError(f"model {name}: {unfit}; choose a plain decoder such as Llama, Qwen or OLMo")
    if _give_padding(tokenizer):
        model.config.pad_token_id = tokenizer.pad_token_id
    tokenizer.chat_template = TEMPLATE
    return Opened(model, tokenizer)


def config_of(name: str, **given: Any) -> Any:
    """A model's configuration; `InputError` in one line where there is none."""
    from transformers import AutoConfig

    with _in_one_line(name):
        return AutoConfig.from_pretrained(name, **given)


def tokenizer_of(name: str) -> Any:
    """A model's tokenizer; `InputError` in one line where there is none, or none that can be trained with."""
    from transformers import AutoTokenizer

    with _in_one_line(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
    if not tokenizer.is_fast:
        raise InputError(f"model {name}: its tokenizer is not a fast one, and gives no offsets for the masks")
    if tokenizer.eos_token_id is None:
        raise InputError(f"model {name}: its tokenizer has no end-of-sequence token, which every answer ends with")
    return tokenizer


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    """Errors of transformers on a model as `InputError`, with what to name instead where that is known."""
    from safetensors import SafetensorError

    folder, known = Path(name), "name a folder or a model of the hub"
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        raise InputError(f"model {name}: is the folder of a training; name {folder / 'model'}")
    if _is_path(name) and not folder.is_dir():
        raise InputError(f"model {name}: no such folder; train it first, or {known}")
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise InputError(f"model {name}: cannot be opened ({reason}); {known} that is cached") from None


def _is_path(name: str) -> bool:
    """No name of the hub, whether there is such a folder or not."""
    return name.startswith(("/", ".", "~")) or name.count("/") > 1


class Limit(NamedTuple):
    """The longest sequence that a model can be trained on, and why."""

    tokens: int
    why: str


def limit_of(config: Any) -> Limit | None:
    """A model's positions, or the window of its attention where that is less: packed rows are attended to whole."""
    positions, window = (getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window"))
    layers = getattr(config, "layer_types", None)
    limits = [] if positions is None else [Limit(positions, f"the model has {positions:,} positions")]
    if window is not None and (layers is None or "sliding_attention" in layers):
        limits.append(Limit(window, f"the model's attention has a window of {window:,} tokens, which is not done here"))
    return min(limits, default=None)


def _give_padding(tokenizer: Any) -> bool:
    """Whether a padding token had to be given, and could be."""
    if tokenizer.pad_token_id is not None:
        return False
    there = tokenizer.get_vocab()
    found = [word for word in PADDINGS if word in there and there[word] != tokenizer.eos_token_id]
    if found:
        tokenizer.pad_token = found[0]
    return bool(found)


def padding_of(tokenizer: Any, name: str) -> int:
    """The padding token that scores and samples need; `UsageError` where there is none, or where it is the end.

    transformers reads a score at the last token that is not padding: with the end as padding one token too early.
    """
    _give_padding(tokenizer)
    padding: int | None = tokenizer.pad_token_id
    if padding is None:
        raise UsageError(f"model {name}: its tokenizer has no padding token, nor a spare one to be it; add one")
    if padding == tokenizer.eos_token_id:
        raise UsageError(f"model {name}: its padding token is its end-of-sequence token; give it one of its own")
    return padding


def _unfit(model: Any) -> str | None:
    """Why a model cannot be trained as the losses here compute it, tried on five tokens; None where it can.

    Packed segments must not see each other, and logits must be states times the matrix of words and nothing else.
    """
    import torch

    first, second = [0, 1, 2], [2, 1]
    try:
        with torch.no_grad():
            row = attention.packed([first, second], model.device)
            together = model.base_model(**row.arguments).last_hidden_state
            alone = model.base_model(**attention.packed([second], model.device).arguments).last_hidden_state
            head = model.get_output_embeddings()
            logits = None if head is None else model(**row.arguments).logits
    except (ValueError, TypeError, AttributeError, RuntimeError) as e:
        return f"does not run on packed rows ({str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__})"
    if not torch.allclose(together[:, len(first) :], alone, rtol=1e-2, atol=1e-3):
        return "its packed rows see each other, for not all of it is attention"
    if logits is not None and not torch.allclose(together @ head.weight.T, logits, rtol=1e-2, atol=1e-3):
        return "changes its logits after their matrix (a bias, a scale), which the loss here does not"
    return None


class Examples(NamedTuple):
    """A version's rows as tokens. untrained, cut: rows that were left out, and that lost their end."""

    kept: list[Example]
    untrained: int
    cut: int

    @property
    def tokens(self) -> int:
        """In all, trained or not."""
        return sum(len(e.tokens) for e in self.kept)

    @property
    def trained(self) -> int:
        """In the loss."""
        return sum(e.trained for e in self.kept)

    def counts(self) -> dict[str, int]:
        """For people and metrics."""
        longest = max((len(e.tokens) for e in self.kept), default=0)
        told = {"examples": len(self.kept), "left_out": self.untrained, "cut": self.cut, "longest": longest}
        return {**told, "tokens": self.tokens, "trained_tokens": self.trained}


def examples_of(
    version: Version, tokenizer: Any, *, max_length: int, turns: Turns = "all", progress: Progress | None = None
) -> Examples:
    """The conversations of an sft version; a row without a trained token within `max_length` is left out and counted.

    `InputError` where it holds rows of another kind, or none that could be trained on.
    """
    if version.kind != "sft":
        raise InputError(f"{version.ref}: holds {version.kind} rows; this trains on sft rows")
    kept: list[Example] = []
    untrained = cut = 0
    with (progress or Silent()).task(f"tokenize {version.name}", version.rows) as advance:
        for batch in version.batches(["messages"]):
            for messages in batch.column("messages").to_pylist():
                whole = encode(tokenizer, messages, turns=turns)
                example = truncated(whole, max_length)
                cut += len(whole.tokens) > max_length
                if example.trained:
                    kept.append(example)
                else:
                    untrained += 1
            advance(len(batch))
    if not kept:
        raise InputError(f"{version.ref}: no row has a trained token within {max_length:,} tokens; raise max_length")
    return Examples(kept, untrained, cut)


def resolve(path: str, root: Path) -> str:
    """A model's name or folder; a folder is relative to `root`. `tiny-llama` is made on the spot."""
    if (root / path).is_dir():
        return str(root / path)
    return str(tiny.cached()) if path == tiny.NAME else path


# ------------------------------------------------------------ what is left behind


class Prepared(Protocol):
    """What a trainer found in order: all that its model's card and facts are made of."""

    @property
    def recipe(self) -> Any:
        """The training."""

    @property
    def cleared(self) -> gate.Cleared:
        """The data."""

    @property
    def engines(self) -> Mapping[str, Engine]:
        """What is trained, by the folder within a checkpoint; "" is the model that is wanted."""

    @property
    def examples(self) -> Any:
        """What is trained on; has `counts`."""

    @property
    def total(self) -> int:
        """Steps."""

    @property
    def digest(self) -> str:
        """Of the recipe and the data."""


def described(prepared: Prepared) -> dict[str, Any]:
    """What a checkpoint says of how it came about."""
    recipe = prepared.recipe
    return {
        "stage": recipe.stage,
        "recipe": prepared.digest,
        "base_model": recipe.model,
        "settings": recipe.model_dump(mode="json"),
        "data": prepared.cleared.told(),
        "examples": prepared.examples.counts(),
        "steps": prepared.total,
        "processes": prepared.engines[""].ranks.size,
        "environment": {**environment(), "torch": version_of("torch"), "transformers": version_of("transformers")},
    }


def finish(output: Path, prepared: Prepared, facts: dict[str, Any], steps: int | None = None) -> Path:
    """Writes the model on its own, whole, with its card: a checkpoint that any tool takes. Its folder.

    In the dtype that it was computed in; what a training goes on from stays fp32. steps: taken; else all of them.
    """
    folder, part, old = output / "model", output / ".model.part", output / ".model.old"
    engine = prepared.engines[""]
    weights = engine.weights()
    if not engine.ranks.first:
        engine.ranks.wait()
        return folder
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    export(engine, part, weights, dtype=engine.place.dtype)
    (part / "README.md").write_text(card(prepared.recipe.name, facts, steps), encoding="utf-8")
    (part / FACTS_FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    flush(part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    engine.ranks.wait()
    return folder


def card(name: str, facts: dict[str, Any], steps: int | None = None) -> str:
    """A model card: what it was trained on, in how many steps (else all), and how that was decontaminated."""
    data, stage, base = facts["data"], facts["stage"], facts["base_model"]
    audits = f" (audits {', '.join(data['audits'])})" if data["audits"] else ""
    if data["override"]:
        checked = f"Trained without the check for decontamination: {data['override']}"
    elif data["suites"]:
        checked = f"Decontaminated against {', '.join(data['suites'])}{audits}."
    else:
        checked = f"Decontaminated{audits}; no suite was asked for."
    front = f"base_model: {base}\n"
    if _is_path(base) or Path(base).is_dir():  # says nothing elsewhere, and the hub takes names alone
        front, at = "", Path(base)
        base = f"{at.parent.name}/{at.name}" if at.name == "model" and at.parent.name else at.name
    lines = [
        f"---\n{front}tags: [tulu-data, {stage}]\n---",
        f"# {name}",
        f"{stage.upper()} of `{base}` on `{data['ref']}`, {facts['steps'] if steps is None else steps:,} steps. "
        f"{checked}",
        f"The chat template is in the tokenizer. Settings: `{FACTS_FILE}`.",
    ]
    return "\n\n".join(lines) + "\n"
