"""A stage that patches transformers leaves it as it was."""

from __future__ import annotations

import torch
import transformers
from transformers.models.llama import modeling_llama

from ptspec.training.library_patches import taken_off


def test_functions_and_forwards_that_are_replaced_are_put_back():
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = transformers.LlamaForCausalLM(config)
    ids = torch.arange(4)[None]
    logits = model(ids).logits
    patched = (
        (modeling_llama, "apply_rotary_pos_emb"),
        (torch.nn.functional, "silu"),
        (
            modeling_llama.LlamaMLP,
            "forward",
        ),
    )
    before = [getattr(owner, name) for owner, name in patched]
    with taken_off(model):
        modeling_llama.apply_rotary_pos_emb = lambda q, k, *_: (q, k)
        torch.nn.functional.silu = torch.nn.functional.relu
        modeling_llama.LlamaMLP.forward = lambda self, x: x
        assert not torch.equal(model(ids).logits, logits)
    assert [getattr(owner, name) for owner, name in patched] == before
    assert torch.equal(model(ids).logits, logits)
