"""Attention over packed rows: a token sees what stands before it in its own segment, and nothing else.

Packed rows leak into each other silently where a model falls back to plain causal attention. So packed rows are run
under an attention of our own, which is told where segments begin: on CUDA in half precision the variable-length kernel,
elsewhere `scaled_dot_product_attention` segment by segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from inspect import signature
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

NAME = "segments"
KERNEL = "torch.nn.attention.varlen"
NEEDED = ("scale", "window_size", "enable_gqa")  # of the kernel's arguments; torch 2.10's has none of them


class Packed(NamedTuple):
    """Segments in one row. tokens, positions: `(1, time)`. starts: `(segments + 1,)`, int32, with the end."""

    tokens: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor
    longest: int

    @property
    def arguments(self) -> dict[str, Any]:
        """What a model is called with. No attention mask and no cache: both would bring the plain attention back."""
        return {
            "input_ids": self.tokens,
            "position_ids": self.positions,
            "use_cache": False,
            "cu_seq_lens_q": self.starts,
            "cu_seq_lens_k": self.starts,
            "max_length_q": self.longest,
            "max_length_k": self.longest,
        }


def packed(segments: Sequence[Sequence[int] | npt.NDArray[np.int32]], device: torch.device | str = "cpu") -> Packed:
    """Segments, one after another, in one row."""
    lengths = [len(s) for s in segments]
    starts = np.cumsum([0, *lengths])
    tokens = np.concatenate([np.asarray(s, np.int64) for s in segments])
    positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    row, places, begins = (torch.from_numpy(a).to(device) for a in (tokens, positions, starts.astype(np.int32)))
    return Packed(row[None], places[None], begins, max(lengths))


def segments(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    sliding_window: int | None = None,
    **other: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within segments: query `(1, heads, time, size)` → `(1, time, heads, size)`.

    `ValueError` where segments are not given, or a mask or a filled cache is: then the caller did not pack as `Packed`
    does; and where a model asks for more than attention, which would be left out without a word.
    """
    if cu_seq_lens_q is None or attention_mask is not None or query.shape[0] != 1 or key.shape[2] != query.shape[2]:
        raise ValueError("attention 'segments' takes one packed row, its segments' starts, and no mask or cache")
    longest = int(max_length_q or query.shape[2])
    if sliding_window is not None and longest > sliding_window:
        raise ValueError(f"attention 'segments' has no window: {longest:,} tokens are more than its {sliding_window:,}")
    if beside := [name for name in ("softcap", "s_aux") if other.get(name) is not None]:
        raise ValueError(f"attention 'segments' has no {beside[0]}, which this model's layers ask for")
    if query.is_cuda and value.dtype in (torch.bfloat16, torch.float16):  # the kernel has no fp32
        if dropout:
            raise ValueError(f"attention 'segments' has no dropout in half precision on CUDA, and it is {dropout}")
        # Under autocast, rotary positions leave query and key in fp32.
        same = query.to(value.dtype), key.to(value.dtype), value
        return _varlen(*same, cu_seq_lens_q, longest, scaling), None
    starts = cu_seq_lens_q.tolist()
    parts = [
        F.scaled_dot_product_attention(
            query[:, :, a:b],
            key[:, :, a:b],
            value[:, :, a:b],
            dropout_p=dropout,
            is_causal=True,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for a, b in pairwise(starts)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def varlen_problem() -> str | None:
    """What keeps the kernel for half precision on CUDA from its work, in one line; None where nothing does.

    To be asked before a training, for an older torch would fail in its first step.
    """
    if find_spec(KERNEL) is not None:
        from torch.nn.attention.varlen import varlen_attn

        if not (missing := [name for name in NEEDED if name not in signature(varlen_attn).parameters]):
            return None
        lacks = f"has no {', '.join(missing)}"
    else:
        lacks = "is not there"
    return f"torch {torch.__version__}: its {KERNEL} {lacks}; pip install -U 'torch>=2.12', or set place.dtype=float32"


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, starts: torch.Tensor, longest: int, scale: float | None
) -> torch.Tensor:
    """The FlashAttention kernel of `torch.nn.attention.varlen`; written against torch 2.13, not run here for want of a
    GPU.
    """
    from torch.nn.attention.varlen import varlen_attn

    flat = [x[0].transpose(0, 1) for x in (query, key, value)]  # (time, heads, size)
    out = varlen_attn(
        flat[0],
        flat[1],
        flat[2],
        starts,
        starts,
        longest,
        longest,
        scale=scale,
        window_size=(-1, 0),  # causal
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out[None]


def register() -> None:
    """Makes `attn_implementation="segments"` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, segments)
