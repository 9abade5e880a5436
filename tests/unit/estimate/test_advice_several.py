"""What is advised where several processes train a stage."""

from __future__ import annotations

from dataclasses import replace

from support import llama_8b

from ptspec import methods
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.advice import Advice, advise
from ptspec.estimate.memory import Work, memory
from ptspec.recipe.batch_split import rows_of_a_step
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, ModelSpec, Stage

LORA = AdapterSpec(True, lora={"r": 16, "target_modules": "all-linear"})


def advice(limit: float, compute: ComputeSpec, adapter: AdapterSpec, tried: list[Stage], **config) -> Advice:
    stage = Stage("s", methods.get("sft"), "base", None, "train", adapter, config=config, compute=compute)
    settings, shape = EffectiveConfig(stage, compute, gpu=True), llama_8b.shape()

    def need(changed: Stage) -> int:
        tried.append(changed)
        now = replace(settings, stage=changed, compute=changed.compute)
        adapter = stage_adapter(changed, shape, None)
        return memory(now, ModelSpec("8b", True), shape, adapter, Work(2048)).total

    return advise(settings, need, int(limit * 1e9))


def test_a_smaller_batch_keeps_the_rows_of_a_step():
    tried: list[Stage] = []
    found = advice(20, ComputeSpec("accelerate", 2), LORA, tried, per_device_train_batch_size=16)
    assert found.fits
    assert found.changes == ('"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8',)
    assert {rows_of_a_step(stage.config) for stage in tried if len(stage.config) > 1} == {16}


def test_weights_are_shared_before_an_adapter_is_proposed():
    found = advice(80, ComputeSpec("accelerate", 8), AdapterSpec(False), [], per_device_train_batch_size=8)
    assert (found.fits, found.changes) == (True, ('"strategy": "fsdp"',))


def test_what_cannot_be_sharded_is_not_reported_to_be():
    qlora = replace(LORA, use_qlora=True)
    found = advice(5, ComputeSpec("accelerate", 8), qlora, [], per_device_train_batch_size=8)
    assert not any("fsdp" in change for change in found.changes)
    sharded = ComputeSpec("accelerate", 8, strategy="fsdp")
    found = advice(5, sharded, LORA, [], per_device_train_batch_size=8)
    assert not found.fits
    assert not any("qlora" in change for change in found.changes), "FSDP takes no 4-bit weights"


def test_one_process_is_advised_as_before():
    found = advice(56, ComputeSpec(), AdapterSpec(False), [], per_device_train_batch_size=1)
    assert not any("fsdp" in change for change in found.changes)
