"""The reference's log-probabilities once: where rows are seen again and the reference stays."""

from __future__ import annotations

import pytest
from support.situations import H100, LORA, situation

from ptspec.performance.free.reference import FIELD, choose
from ptspec.recipe.plan import AdapterSpec, ComputeSpec


def test_taken_where_rows_are_seen_three_times():
    (choice,) = choose(situation("dpo"))
    assert dict(choice.values) == {FIELD: True, "precompute_ref_batch_size": 1}
    assert choice.gain == pytest.approx(3 / (2 + 1 / 3))
    (on_gpu,) = choose(situation("dpo", H100))
    assert dict(on_gpu.values) == {FIELD: True}


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("dpo", {"num_train_epochs": 1}),
        ("dpo", {"max_steps": 100}),
        ("dpo", {"sync_ref_model": True}),
        ("dpo", {FIELD: False}),
        ("dpo", {"rows": None}),
        ("dpo", {"compute": ComputeSpec("accelerate", 2, strategy="fsdp")}),
        ("dpo", {"adapter": AdapterSpec(True, lora={**LORA.lora, "lora_dropout": 0.1})}),
        ("sft", {}),
        ("kto", {}),
    ],
)
def test_not_taken(method, given):
    assert choose(situation(method, **given)) == ()
