"""A random Llama of a few thousand parameters as a base, without a tokenizer."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ptspec.model.base import Base, count_parameters


def tiny_llama(seed: int = 0, **config):
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **size, **config))


def tiny_base(seed: int = 0, **config) -> Base:
    model = tiny_llama(seed, **config)
    return Base("base", model, None, count_parameters(model))
