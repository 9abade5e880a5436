"""The memory of an 8B Llama: the table of docs/hardware.md is what is counted, and what to change to fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.llama_8b import TABLE, needed, row, shape

from ptspec import methods
from ptspec.estimate.adapters import stage_adapter
from ptspec.estimate.advice import advise
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import Tensor
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, Stage
from ptspec.recipe.shape import ModelShape

DOC = Path(__file__).parents[3] / "docs" / "hardware.md"


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_the_docs_is_what_is_counted(name):
    assert row(name) in DOC.read_text("utf-8").splitlines()


def test_parameters_are_those_of_llama_3_1_8b():
    assert shape().parameters == 8_030_261_248


@pytest.mark.parametrize(("setup", "least", "most"), [("qlora", 6, 12), ("lora", 16, 24), ("full", 80, 200)])
def test_the_order_of_setups(setup, least, most):
    assert least < needed(setup, "sft").total / 1e9 < most


def test_more_costs_more():
    def total(**options) -> int:
        return needed("lora", "sft", **options).total

    assert total(rows=4) > total(rows=2)
    assert total(length=4096) > total(length=2048)
    assert total(gradient_checkpointing=False) > total()
    assert needed("qlora", "sft").total < total() < needed("full", "sft").total
    assert needed("lora", "dpo").total > total()
    assert needed("lora", "orpo").total > needed("lora", "dpo").total


def advice(limit: float, **config):
    spec = AdapterSpec(True, lora={"r": 16, "target_modules": "all-linear"})
    stage = Stage("s", methods.get("sft"), "base", None, "train", spec, config=config)

    def need(changed: Stage) -> int:
        setup = "qlora" if changed.adapter.use_qlora else "lora"
        length = min(2048, changed.config.get("max_length", 2048))
        options = {name: value for name, value in changed.config.items() if name != "max_length"}
        rows = options.pop("per_device_train_batch_size", 8)
        return needed(setup, "sft", rows=rows, length=length, **options).total

    return advise(EffectiveConfig(stage, ComputeSpec(), gpu=True), need, int(limit * 1e9))


def test_what_fits_is_left_alone():
    found = advice(80)
    assert (found.fits, found.changes, found.after) == (True, (), found.bytes)


def test_the_batch_goes_first_and_only_as_far_as_it_must():
    found = advice(24)
    assert found.changes == ('"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2',)
    assert found.fits
    assert found.after <= 24e9 < found.bytes


def test_then_checkpointing_then_4_bit():
    found = advice(20, gradient_checkpointing=False)
    assert [change.partition(":")[0] for change in found.changes] == [
        '"per_device_train_batch_size"',
        '"gradient_checkpointing"',
    ]
    found = advice(12)
    assert found.fits
    assert found.changes[-1] == '"use_qlora": true'


def of_full(method: str, limit: float, **config):
    stage = Stage("s", methods.get(method), "base", None, "train", AdapterSpec(False), config=config)

    def need(changed: Stage) -> int:
        setup = "qlora" if changed.adapter.use_qlora else "lora" if changed.adapter.use_lora else "full"
        options = {name: value for name, value in changed.config.items() if name != "max_length"}
        rows = options.pop("per_device_train_batch_size", 8)
        return needed(setup, method, rows=rows, dtype="bfloat16", **options).total

    return advise(EffectiveConfig(stage, ComputeSpec(), gpu=True), need, int(limit * 1e9))


def test_full_fine_tuning_takes_an_8_bit_optimizer_before_it_is_given_up():
    found = of_full("sft", 56, per_device_train_batch_size=1)
    assert (found.fits, found.changes) == (True, ('"optim": "paged_adamw_8bit"',))
    found = of_full("sft", 24, per_device_train_batch_size=1)
    assert found.fits
    assert '"use_lora": true' in found.changes
    assert not any("optim" in change for change in found.changes)


def test_a_reference_that_is_computed_beforehand_does_not_stay():
    kept = needed("full", "dpo", rows=1, dtype="bfloat16").total
    taken = needed("full", "dpo", rows=1, dtype="bfloat16", precompute_ref_log_probs=True).total
    assert kept - taken == 2 * shape().parameters
    found = of_full("dpo", 56, per_device_train_batch_size=1)
    assert found.fits
    assert found.changes == ('"optim": "paged_adamw_8bit"', '"precompute_ref_log_probs": true')


def test_what_cannot_fit_says_so():
    found = advice(4)
    assert not found.fits
    assert found.after < found.bytes
    assert any("max_length" in change for change in found.changes)


def test_a_change_that_saves_nothing_is_not_proposed():
    stage = Stage("s", methods.get("sft"), "base", None, "train", AdapterSpec(True))
    found = advise(EffectiveConfig(stage, ComputeSpec(), gpu=True), lambda changed: 100, 50)
    assert (found.fits, found.changes) == (False, ())


@pytest.mark.parametrize("method", ["sft", "reward"])
def test_an_adapter_over_experts_is_known_as_one_whatever_the_stage_trains(method):
    experts = {"model.layers.0.mlp.experts.down_proj": Tensor("BF16", (8, 16, 32))}
    lora = {"r": 4, "target_modules": [], "target_parameters": ["experts.down_proj"]}
    stage = Stage("s", methods.get(method), "base", None, "train", AdapterSpec(True, lora=lora))
    attached = stage_adapter(stage, ModelShape({"hidden_size": 16}, experts), None).attached
    assert attached is not None and attached.wraps_parameters
