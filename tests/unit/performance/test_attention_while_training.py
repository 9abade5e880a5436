"""The kernel that was chosen is there while a stage trains, and gone afterwards."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.small import ROOT
from transformers import AutoModelForCausalLM

from ptspec.training.attention import attention

IDS = torch.tensor([[5, 9, 12, 7, 30, 8]])


@pytest.fixture(scope="module")
def policy():
    model = AutoModelForCausalLM.from_pretrained(ROOT / "data/base_model")
    return get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))


def kernels(policy) -> set[str]:
    return {layer.self_attn.config._attn_implementation for layer in policy.get_base_model().model.layers}


def test_within_and_afterwards(policy):
    assert kernels(policy) == {"sdpa"}
    whole = policy(IDS).logits
    with attention((policy, None), "eager"):
        assert kernels(policy) == {"eager"}
        assert torch.allclose(policy(IDS).logits, whole, atol=1e-4)
    assert kernels(policy) == {"sdpa"}


def test_afterwards_of_a_step_that_failed_too(policy):
    with pytest.raises(ValueError, match="a step"), attention((policy,), "eager"):
        raise ValueError("a step")
    assert kernels(policy) == {"sdpa"}


def test_nothing_is_touched_without_a_choice(policy):
    with attention((policy,), None):
        assert kernels(policy) == {"sdpa"}
