"""What a training leaves on the disk to go on from, to the bit; and the plain model that it leaves for others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from trainers import lora
from trainers.engine import Engine
from tulu_data.errors import InputError, StoreError

STATE_FILE, TENSORS_FILE = "state.json", "training.pt"


def save(
    folder: Path, step: int, facts: Mapping[str, Any], engines: Mapping[str, Engine], *, keep: int | None = 2
) -> Path:
    """Writes `folder/step-N` whole or not at all: models, tokenizers, optimisers, random states, and `facts`.

    engines: by the folder within the checkpoint that is theirs; "" is the checkpoint itself. keep: how many checkpoints
    stay, the newest; None: all. All processes take part, and the first one writes.
    """
    target, part = folder / f"step-{step:07d}", folder / f".step-{step:07d}.part"
    held = {name: (engine, engine.weights(), _optimizer_state(engine)) for name, engine in engines.items()}
    ranks = engines[""].ranks
    random = ranks.gather([_random_states(engines[""].device)], ranks.size)
    if ranks.first:
        shutil.rmtree(part, ignore_errors=True)
        try:
            for name, (engine, weights, optimizer) in held.items():
                (part / name).mkdir(parents=True)
                export(engine, part / name, weights)
                own = {n: weights[n] for n in lora.trained(engine.model)} if lora.there(engine.model) else {}
                tensors = {"optimizer": optimizer, "lora": own, "random": random}
                torch.save(tensors, part / name / TENSORS_FILE)
            (part / STATE_FILE).write_text(json.dumps({"step": step, **facts}, indent=2, ensure_ascii=False) + "\n")
            flush(part)
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            flush(folder, deep=False)
        except (OSError, RuntimeError, SafetensorError) as e:  # torch and safetensors have their own for a full disk
            raise StoreError(f"{target}: cannot be written: {_reason(e)}; make room and run it again") from None
        for old in checkpoints(folder)[:-keep] if keep else ():
            shutil.rmtree(old, ignore_errors=True)
    ranks.wait()
    return target


def state_of(checkpoint: Path) -> dict[str, Any]:
    """What was written of a checkpoint; `InputError` where it cannot be read."""
    try:
        found: dict[str, Any] = json.loads((checkpoint / STATE_FILE).read_text())
    except (OSError, ValueError) as e:
        raise _unreadable(checkpoint, e) from None
    return found


def load(checkpoint: Path, engines: Mapping[str, Engine]) -> dict[str, Any]:
    """Goes on from a checkpoint; what was written of it. `InputError` where it cannot be read."""
    state = state_of(checkpoint)
    try:
        for name, engine in engines.items():
            # Mapped: all processes open the optimiser's state, and the first one alone reads it.
            tensors = torch.load(checkpoint / name / TENSORS_FILE, map_location="cpu", weights_only=True, mmap=True)
            weights = tensors["lora"] if lora.there(engine.model) else _weights(checkpoint / name, engine)
            with engine.within_memory():
                engine.take(weights, strict=not lora.there(engine.model))
                _take_optimizer_state(engine, tensors["optimizer"])
            _restore(tensors["random"], engine)
    except torch.distributed.DistError:  # another process is gone, and the checkpoint is well
        raise
    except (OSError, ValueError, KeyError, RuntimeError, UnpicklingError, EOFError, SafetensorError) as e:
        raise _unreadable(checkpoint, e) from None
    return state


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a folder, oldest first."""
    return sorted(p for p in folder.glob("step-*") if (p / STATE_FILE).is_file())


def export(engine: Engine, folder: Path, weights: Mapping[str, torch.Tensor], *, dtype: str | None = None) -> None:
    """A plain Hugging Face checkpoint, the chat template in its tokenizer, without this package's attention.

    weights: the engine's, whole; what LoRA learnt is added to what it stands beside. dtype: to be written in; else as
    they are.
    """
    model = engine.model
    used = model.config._attn_implementation
    model.config._attn_implementation = "sdpa"
    plain = lora.merged(model, weights) if lora.there(model) else dict(weights)
    try:
        if dtype is None:
            model.save_pretrained(folder, state_dict=plain)
        else:
            model.save_pretrained(folder, state_dict=_cast(plain, getattr(torch, dtype)))
            held, model.config.dtype = model.config.dtype, dtype  # it has told that of the model in training
            model.config.save_pretrained(folder)
            model.config.dtype = held
    finally:
        model.config._attn_implementation = used
    engine.tokenizer.save_pretrained(folder)


def _cast(weights: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights in another dtype, in the host's memory; those that are tied stay one."""
    done: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for tensor in weights.values():
        kept = dtype if tensor.is_floating_point() else tensor.dtype
        done.setdefault((tensor.data_ptr(), tensor.shape), tensor.to("cpu", kept))
    return {name: done[tensor.data_ptr(), tensor.shape] for name, tensor in weights.items()}


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names and numbers, in hex."""
    h = sha256()
    for name, tensor in sorted(weights.items()):
        h.update(name.encode())
        h.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return h.hexdigest()


def flush(path: Path, *, deep: bool = True) -> None:
    """Brings a file, or a folder with what is in it, to the disk."""
    for inner in path.iterdir() if deep and path.is_dir() else ():
        flush(inner)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _optimizer_state(engine: Engine) -> dict[str, Any]:
    """By the names of parameters, whole: the same for any number of processes. Empty before the first step."""
    if not engine.optimizer.state:  # torch would take a step to have one
        return {}
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    how = StateDictOptions(full_state_dict=True, cpu_offload=engine.ranks.size > 1)
    return dict(get_optimizer_state_dict(engine.model, engine.optimizer, options=how))


def _take_optimizer_state(engine: Engine, state: dict[str, Any]) -> None:
    if not state:
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    several = engine.ranks.size > 1
    how = StateDictOptions(full_state_dict=True, broadcast_from_rank0=several)
    set_optimizer_state_dict(engine.model, engine.optimizer, state if engine.ranks.first else {}, options=how)
    for group in engine.optimizer.param_groups:
        group["betas"] = engine.settings.betas  # a list after it was read


def _weights(checkpoint: Path, engine: Engine) -> dict[str, torch.Tensor]:
    if not engine.ranks.first:
        return {}
    return type(engine.model).from_pretrained(checkpoint, dtype=torch.float32).state_dict()  # type: ignore[no-any-return]


def _unreadable(checkpoint: Path, error: Exception) -> InputError:
    return InputError(f"{checkpoint}: cannot be read ({_reason(error)}); remove it to go on from the one before")


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(said).splitlines()[0]


def _random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Of this process, which drops out other units than the others do."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore(states: Sequence[Mapping[str, torch.Tensor]], engine: Engine) -> None:
    """This process's own states, where there were as many processes."""
    own = states[engine.ranks.rank % len(states)]
    torch.set_rng_state(own["cpu"])
    if engine.device.type == "cuda" and "cuda" in own:
        torch.cuda.set_rng_state(own["cuda"], engine.device)
