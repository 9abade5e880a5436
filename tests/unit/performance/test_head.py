"""The head on labels alone: where TRL would score every position."""

from __future__ import annotations

import pytest
from support.situations import CPU, H100, situation

from ptspec.methods import METHODS
from ptspec.performance.choice import HEAD, LABELS, Effect
from ptspec.performance.free.head import choose


@pytest.mark.parametrize("method", METHODS)
def test_of_every_method_with_the_fused_head_on_a_cpu(method):
    found = [dict(choice.values) for choice in choose(situation(method, CPU))]
    assert found == ([] if method in ("orpo", "cpo", "distillation", "reward") else [{HEAD: LABELS}])


def test_not_on_a_gpu_where_trl_does_so_nor_under_a_compiler():
    assert choose(situation("sft", H100)) == ()
    (kept,) = choose(situation("sft", CPU, torch_compile=True))
    assert kept.effect is Effect.KEPT
