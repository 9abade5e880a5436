"""A pair's prompt read once: DPO on a CPU in float32, where mask and position say all that a token sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.situations import H100, LORA, situation, tiny

from ptspec.performance.choice import PROMPTS, SHARED, Effect
from ptspec.performance.free.prompts import choose
from ptspec.recipe.plan import AdapterSpec, ComputeSpec, ModelSpec


def test_of_dpo_on_a_cpu():
    (choice,) = choose(situation("dpo"))
    assert (dict(choice.values), choice.effect) == ({PROMPTS: SHARED}, Effect.FREE)
    assert choose(situation("dpo", H100)) == ()
    assert choose(situation("kto")) == choose(situation("sft")) == ()


@pytest.mark.parametrize(
    "given",
    [
        {"padding_free": True},
        {"torch_compile": True},
        {"bf16": True},
        {"compute": ComputeSpec("accelerate", 2, strategy="fsdp")},
        {"adapter": AdapterSpec(True, lora={**LORA.lora, "lora_dropout": 0.1})},
        {"model": ModelSpec("m", True, attn_implementation="eager")},
    ],
)
def test_the_reason_is_reported_where_it_is_not_taken(given):
    (choice,) = choose(situation("dpo", **given))
    assert choice.effect is Effect.KEPT
    assert choice.reason


@pytest.mark.parametrize(
    ("config", "is_taken"),
    [
        ({"sliding_window": 64}, False),
        ({"sliding_window": 64, "use_sliding_window": False}, True),
        ({"layer_types": ["full_attention", "linear_attention"]}, False),
        ({"layer_types": ["full_attention"] * 2}, True),
        ({"alibi": True}, False),
        ({"num_experts_per_tok": 2}, False),
    ],
)
def test_of_which_models(config, is_taken):
    shape = replace(tiny(), config={**tiny().config, **config})
    (choice,) = choose(situation("dpo", shape=shape))
    assert (choice.effect is Effect.FREE) == is_taken
