"""Adapters take autocast's numbers as they are: the same loss and gradients, fewer copies."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from support.situations import CPU, FULL, H100, LORA, situation
from support.small import ROOT
from transformers import AutoModelForCausalLM

from ptspec.performance.choice import ADAPTER_INPUTS, AUTOCAST
from ptspec.performance.free.adapter_inputs import choose
from ptspec.recipe.plan import AdapterSpec, ComputeSpec
from ptspec.training.adapter_inputs import adapter_inputs

IDS = torch.arange(5, 69)[None]
QLORA = AdapterSpec(True, use_qlora=True, lora=LORA.lora)
DROPPING = AdapterSpec(True, lora={**LORA.lora, "lora_dropout": 0.05})


def test_of_lora_under_autocast():
    (choice,) = choose(situation("sft", H100))
    assert dict(choice.values) == {ADAPTER_INPUTS: AUTOCAST}


@pytest.mark.parametrize(
    ("machine", "adapter", "compute"),
    [
        (CPU, LORA, ComputeSpec()),
        (H100, FULL, ComputeSpec()),
        (H100, QLORA, ComputeSpec()),
        (H100, DROPPING, ComputeSpec()),
        (H100, AdapterSpec(True, lora={**LORA.lora, "use_dora": True}), ComputeSpec()),
        (H100, LORA, ComputeSpec("accelerate", 2, strategy="fsdp")),
    ],
)
def test_not_without_autocast_or_where_the_numbers_would_be_others(machine, adapter, compute):
    assert choose(situation("sft", machine, adapter=adapter, compute=compute)) == ()


def policy(dtype: torch.dtype, **lora: object):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(ROOT / "data/base_model", dtype=dtype)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **lora)
    adapted = get_peft_model(model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return adapted


def one_pass(model) -> tuple[float, dict[str, torch.Tensor], int]:
    """The loss, the gradients, and the bytes that the forward pass keeps."""
    kept: dict[int, int] = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(IDS, labels=IDS).loss
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), grads, sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_loss_and_gradients_stay_and_copies_go(one_thread, dtype):
    model = policy(dtype)
    loss, grads, kept = one_pass(model)
    with adapter_inputs():
        chosen_loss, chosen_grads, chosen_kept = one_pass(model)
    assert chosen_loss == loss
    assert set(chosen_grads) == set(grads)
    for name, grad in grads.items():
        assert torch.allclose(chosen_grads[name], grad, rtol=1e-2, atol=1e-3 * grad.abs().max()), name
    if dtype is torch.bfloat16:
        assert chosen_kept < kept
    assert one_pass(model)[2] == kept, "afterwards PEFT makes them again"


def taken(model) -> torch.dtype:
    """The numbers in which an adapter of `model` gets 16-bit ones under autocast."""
    layer = next(part for part in model.modules() if isinstance(part, LoraLayer))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return layer._cast_input_dtype(torch.ones(1, dtype=torch.bfloat16), torch.float32).dtype


def test_a_variant_and_what_is_computed_without_autocast_are_pefts(one_thread):
    plain, variant = policy(torch.bfloat16), policy(torch.bfloat16, use_dora=True)
    before = plain(IDS).logits
    with adapter_inputs():
        assert torch.equal(plain(IDS).logits, before)
        assert (taken(plain), taken(variant)) == (torch.bfloat16, torch.float32)
    assert taken(plain) is torch.float32
