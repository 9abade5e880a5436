"""FlashAttention where its package, the GPU and the numbers allow it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.situations import CPU, FULL, H100, situation

from ptspec.performance.choice import ATTENTION, Effect
from ptspec.performance.free import attention
from ptspec.recipe.plan import ComputeSpec, ModelSpec


@pytest.fixture
def installed(monkeypatch):
    def install(*packages):
        monkeypatch.setattr(attention, "has_package", lambda name: name in packages)

    return install


def taken(*arguments, **given):
    found = attention.choose(situation(*arguments, **given))
    return [choice.values[ATTENTION] for choice in found if choice.effect is Effect.FREE]


def test_the_newest_kernel_that_the_gpu_has(installed):
    installed("flash_attn", "flash_attn_interface")
    assert taken(machine=H100) == ["flash_attention_3"]
    assert taken(machine=replace(H100, capability=(8, 0))) == ["flash_attention_2"]
    assert taken(machine=replace(H100, capability=(7, 5))) == []
    assert taken(machine=replace(H100, capability=None)) == []


def test_sdpa_with_the_reason_where_it_is_not_installed(installed):
    installed()
    (choice,) = attention.choose(situation(machine=H100))
    assert (choice.effect, choice.reason) == (Effect.KEPT, "flash_attn is not installed")


def test_not_in_float32_nor_on_a_cpu_nor_against_the_recipe(installed):
    installed("flash_attn")
    precise = ComputeSpec(precision="fp32")
    assert taken(machine=H100, adapter=FULL, compute=precise) == []
    assert taken(machine=H100, adapter=FULL) == ["flash_attention_2"], "autocast makes them bf16"
    assert attention.choose(situation(machine=CPU)) == ()
    assert (
        attention.choose(situation(machine=H100, model=ModelSpec("m", True, attn_implementation="eager")))
        == ()
    )
