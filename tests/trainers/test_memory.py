"""The estimate of memory holds to what torch keeps for the backward pass."""

from contextlib import nullcontext

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trainers import attention, memory
from trainers.attention import packed
from trainers.engine import Engine, Optimiser
from trainers.host import Host, Place


def model_of(size=256, wide=704, layers=4, heads=8, shared=2):
    attention.register()
    config = LlamaConfig(
        vocab_size=500, hidden_size=size, intermediate_size=wide, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=shared,
    )  # fmt: skip
    return LlamaForCausalLM._from_config(config, attn_implementation="segments")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_activations_are_those_that_are_kept(dtype, checkpointed):
    model = model_of()
    if checkpointed:
        model = Engine(model, None, Optimiser(), Place(device="cpu", gradient_checkpointing=True), 1).model
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    row = packed([list(range(100)), list(range(200))])
    products = torch.autocast("cpu", dtype=torch.bfloat16) if dtype == "bfloat16" else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), products:
        model.base_model(**row.arguments)
    measured = sum(size for size, _ in kept.values())
    found = memory.activations(model, 300, dtype, checkpointed=checkpointed)
    if checkpointed:  # hooks see the states between layers; the layer that is computed again comes on top
        assert found > measured
        assert found < memory.activations(model, 300, dtype, checkpointed=False)
    else:
        assert found == pytest.approx(measured, rel=0.12)


def test_weights_gradients_and_moments_are_counted_once_for_each_device():
    model = model_of()
    engine = Engine(model, None, Optimiser(), Place(device="cpu"), 1)
    reference = Host(model_of(), Place(device="cpu"))
    count = sum(p.numel() for p in model.parameters())
    alone = memory.estimate({"": engine}, reference, tokens=100)
    assert alone["weights_and_optimiser"] == count * (16 + 4)
    shared = memory.estimate({"": engine}, reference, tokens=100, sampled=10, processes=4)
    assert shared["weights_and_optimiser"] == count * 5
    assert shared["keys_and_values"] == 10 * 2 * 4 * 64 * 4  # tokens, keys and values, layers, their width, bytes
    assert shared["total"] == sum(v for k, v in shared.items() if k != "total")
    model.requires_grad_(False)
    assert memory.estimate({"": engine}, None, tokens=100)["weights_and_optimiser"] == count * 4
