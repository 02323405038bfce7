"""How much memory a training takes on each device, before it is tried.

Exact are weights, gradients and moments. What a forward pass keeps for the backward one is counted for a decoder of
Llama's build, and holds to a tenth there: of each token and layer 4 states in fp32 at the norms; and in the dtype of
the products 5 states, 8 where they are cast to it, keys and values, and the 4 wide ones of the gated layer. Attention
keeps no table of scores.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from trainers.host import Host
from trainers.loss import CHUNK

FP32 = 4  # bytes
TRAINED, FROZEN = 4 * FP32, FP32  # weight, gradient and two moments; or the weight


def estimate(
    engines: Mapping[str, Host], reference: Host | None, *, tokens: int, sampled: int = 0, processes: int = 1
) -> dict[str, int]:
    """Bytes on each device by what they are for, and in all.

    tokens: of the longest packed row. sampled: tokens whose keys and values are held at once while answers are sampled.
    processes: devices that share the models.
    """
    hosts = [*engines.values(), *([] if reference is None else [reference])]
    held = sum(
        p.numel() * (TRAINED if p.requires_grad and host is not reference else FROZEN)
        for host in hosts
        for p in host.model.parameters()
    )
    kept = max(activations(h.model, tokens, h.place.dtype, checkpointed=h.place.gradient_checkpointing) for h in hosts)
    words = max(h.model.get_input_embeddings().num_embeddings for h in hosts)
    told = {
        "weights_and_optimiser": held // processes,
        "activations": kept,
        "logits": 3 * min(CHUNK, tokens) * words * FP32,  # of a chunk: as computed, in fp32, and their gradient
        "keys_and_values": sampled * cached(hosts[0].model, hosts[0].place.dtype),
    }
    return {**told, "total": sum(told.values())}


def of_device(device: torch.device) -> int:
    """Bytes that there are: of the GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cached(model: Any, dtype: str) -> int:
    """Bytes of a token's keys and values in all layers."""
    config = model.config
    shared = config.hidden_size * getattr(config, "num_key_value_heads", 1) // config.num_attention_heads
    return int(2 * shared * config.num_hidden_layers * torch.finfo(getattr(torch, dtype)).bits // 8)


def activations(model: Any, tokens: int, dtype: str, *, checkpointed: bool) -> int:
    """Bytes that a forward pass over a packed row keeps."""
    config = model.config
    size, wide, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    width = torch.finfo(getattr(torch, dtype)).bits // 8
    shared = size * getattr(config, "num_key_value_heads", config.num_attention_heads) // config.num_attention_heads
    cast = width < FP32
    layer = tokens * (4 * size * FP32 + ((8 if cast else 5) * size + 2 * shared + 4 * wide) * width)
    copies = cast * width * (2 * size * (size + shared) + 3 * size * wide)  # weights as the products take them
    if checkpointed:  # the state before each layer, and the one layer that is computed again
        return int(layers * tokens * size * FP32 + layer + copies)
    return int(layers * (layer + copies))
