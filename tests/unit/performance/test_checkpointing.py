"""Gradient checkpointing: only where memory asks for it."""

from __future__ import annotations

from dataclasses import replace

from situations import CPU, H100, of_8b, situation

from ptspec.performance.free.checkpointing import FIELD, choose
from ptspec.recipe.batch_split import PASSES, ROWS
from ptspec.recipe.plan import ComputeSpec


def test_off_on_a_gpu_where_it_fits_without():
    (choice,) = choose(of_8b(longest=256))
    assert dict(choice.values) == {FIELD: False}


def test_off_in_smaller_passes_that_leave_the_device_busy():
    (choice,) = choose(of_8b(longest=2048))
    assert choice.values[FIELD] is False
    assert choice.values[ROWS] * choice.values[PASSES] == 8
    assert choice.values[ROWS] * 2048 >= 4096


def test_on_where_nothing_fits_without():
    assert choose(of_8b(longest=2048, machine=replace(H100, memory=24 * 10**9))) == ()


def test_selective_where_rows_are_long_and_it_still_fits():
    (choice,) = choose(of_8b(longest=8192, rows=None))
    assert dict(choice.values) == {"gradient_checkpointing_kwargs": {"selective": True}}
    assert choose(of_8b(longest=8192, rows=None, machine=replace(H100, memory=70 * 10**9))) == ()
    assert choose(of_8b("dpo", longest=8192, rows=None)) == ()


def test_the_recipe_wins():
    assert choose(of_8b(longest=256, gradient_checkpointing=True)) == ()


def test_not_asked_of_an_engine_that_shards():
    fsdp = ComputeSpec("accelerate", 2, strategy="fsdp")
    assert choose(of_8b(longest=256, compute=fsdp)) == ()


def test_unknown_memory_keeps_trls():
    assert choose(of_8b(longest=256, machine=replace(H100, memory=None))) == ()


def test_a_cpu_takes_it_where_it_must():
    def need(stage):
        return 10 * 10**9 if stage.config.get(FIELD) else 60 * 10**9

    (choice,) = choose(situation(machine=CPU, need=need))
    assert dict(choice.values) == {FIELD: True}
    assert choose(situation(machine=CPU, need=lambda stage: 10**9)) == ()
