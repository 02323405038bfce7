"""Opens what a training starts from: a model with its tokenizer, and the examples of a version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
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


class Opened(NamedTuple):
    """A causal language model under the attention of packed rows, in fp32, and its tokenizer with the Tülu template."""

    model: Any
    tokenizer: Any


def open_model(name: str, *, longest: int = 0, kind: Any = None, everywhere: bool = False, **given: Any) -> Opened:
    """A model from a folder or the hub's cache, for sequences of up to `longest` tokens.

    kind: one of transformers' Auto classes, else for causal language models; given: what else it is opened with. Of
    several processes only the first reads the weights, unless all shall `everywhere`; the others' model is empty.

    `InputError` in one line where it cannot be used, `UsageError` where it has too few positions.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    attention.register()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        how = {"dtype": torch.float32, "attn_implementation": attention.NAME, **given}
        kind = kind or AutoModelForCausalLM
        if everywhere or ranks.first():
            model = kind.from_pretrained(name, **how)
        else:
            own = {k: how.pop(k) for k in list(how) if k == "num_labels"}
            with torch.device("meta"):
                model = kind.from_config(AutoConfig.from_pretrained(name, **own), **how)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as e:
        reason = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        raise InputError(f"model {name}: cannot be opened ({reason}); name a folder or a cached model") from None
    if not tokenizer.is_fast:
        raise InputError(f"model {name}: its tokenizer is not a fast one, and gives no offsets for the masks")
    if tokenizer.eos_token_id is None:
        raise InputError(f"model {name}: its tokenizer has no end-of-sequence token, which every answer ends with")
    if getattr(model.config, "final_logit_softcapping", None):
        raise InputError(f"model {name}: caps its logits, which the loss here does not")
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise UsageError(f"max_length is {longest:,}, and the model has {positions:,} positions; lower it")
    words = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > words:
        raise InputError(f"model {name}: its tokenizer has {len(tokenizer):,} tokens, the model {words:,}; resize it")
    if ranks.first() and (unfit := _unfit(model)):
        raise InputError(f"model {name}: {unfit}; choose a plain decoder such as Llama, Qwen or OLMo")
    tokenizer.chat_template = TEMPLATE
    return Opened(model, tokenizer)


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


def finish(output: Path, prepared: Prepared, facts: dict[str, Any]) -> Path:
    """Writes the model on its own, whole, with its card: a checkpoint that any tool takes. Its folder."""
    folder, part, old = output / "model", output / ".model.part", output / ".model.old"
    engine = prepared.engines[""]
    weights = engine.weights()
    if not engine.ranks.first:
        engine.ranks.wait()
        return folder
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    export(engine, part, weights)
    (part / "README.md").write_text(card(prepared.recipe.name, facts), encoding="utf-8")
    (part / FACTS_FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    flush(part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    engine.ranks.wait()
    return folder


def card(name: str, facts: dict[str, Any]) -> str:
    """A model card: what it was trained on, and how that was decontaminated."""
    data, stage = facts["data"], facts["stage"]
    checked = (
        f"Trained without the check for decontamination: {data['override']}"
        if data["override"]
        else f"Decontaminated against {', '.join(data['suites'])} (audits {', '.join(data['audits'])})."
    )
    lines = [
        f"---\nbase_model: {facts['base_model']}\ntags: [tulu-data, {stage}]\n---",
        f"# {name}",
        f"{stage.upper()} of `{facts['base_model']}` on `{data['ref']}`, {facts['steps']:,} steps. {checked}",
        f"The chat template is in the tokenizer. Settings: `{FACTS_FILE}`.",
    ]
    return "\n\n".join(lines) + "\n"
