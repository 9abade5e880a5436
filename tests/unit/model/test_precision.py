"""Probes are measured at the precision of the weights, whatever a trainer has set."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model
from support.tiny_base import tiny_llama

from ptspec.model import probes
from ptspec.model.precision import float32_settings_kept, weights_precision
from ptspec.model.probes import COARSE, FINE

IDS = (tuple(range(12)), tuple(range(5, 30)))


@pytest.fixture
def model():
    return tiny_llama(seed=3)


@pytest.fixture
def accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)  # one a process: an earlier test may have made it
    yield Accelerator(cpu=True, mixed_precision="bf16")
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("evaluation_mode", [False, True], ids=["policy", "reference"])
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "LoRA"])
def test_a_prepared_model_has_the_probes_that_it_had_before(model, accelerator, adapted, evaluation_mode):
    if adapted:
        model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    before = probes.measure(model, IDS)
    prepared = accelerator.prepare_model(model, evaluation_mode=evaluation_mode)
    tokens = torch.tensor([IDS[0]])
    with torch.no_grad():
        mixed = prepared.eval()(input_ids=tokens).logits
    assert probes.measure(prepared, IDS) == before
    with torch.no_grad():
        assert torch.equal(prepared(input_ids=tokens).logits, mixed)
        with weights_precision(prepared):
            assert not torch.equal(prepared(input_ids=tokens).logits, mixed)


def test_a_compiled_reference_is_unwrapped(model, accelerator):
    before = probes.measure(model, IDS)
    compiled = torch.compile(accelerator.prepare_model(model), backend="eager")
    unwrapped = accelerator.unwrap_model(compiled, keep_torch_compile=False)
    assert probes.measure(unwrapped, IDS) == before


def test_tf32_is_off_while_probes_are_measured_and_on_again_afterwards(model):
    seen = []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cuda.matmul.fp32_precision))
    with torch.backends.flags(fp32_precision="tf32"):
        probes.measure(model, IDS)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert seen == ["ieee"] * len(IDS)


def test_tf32_ends_with_the_stage_that_asked_for_it():
    before = torch.backends.cuda.matmul.fp32_precision
    with float32_settings_kept():
        torch.backends.fp32_precision = "tf32"  # as transformers does for `"tf32": true`
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_the_coarser_of_two_policies_gives_the_bound(model, tmp_path):
    fine = probes.measure(model, IDS)
    coarse = probes.measure(model.to(torch.bfloat16), IDS)
    assert (fine.tolerance, coarse.tolerance) == (FINE, COARSE)
    assert fine.bound(fine) == FINE
    assert fine.bound(coarse) == coarse.bound(fine) == COARSE
    probes.store(coarse, tmp_path)
    assert probes.load(tmp_path) == coarse
