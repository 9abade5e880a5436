"""Gradient checkpointing: only where memory asks for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.situations import CPU, H100, of_8b, situation

from ptspec.performance.choice import ROW_ORDER, Lengths
from ptspec.performance.free import passes
from ptspec.performance.free.checkpointing import FIELD, choose
from ptspec.recipe.batch_split import PASSES, ROWS
from ptspec.recipe.plan import ComputeSpec


def test_off_on_a_gpu_where_it_fits_without():
    (choice,) = choose(of_8b(longest=256))
    assert dict(choice.values) == {FIELD: False}


def test_off_in_smaller_passes_where_they_cost_less_than_a_second_forward_pass():
    """What the passes are, `passes.choose` decides next."""
    given = of_8b(longest=2048)
    (choice,) = choose(given)
    assert dict(choice.values) == {FIELD: False}
    (split,) = passes.choose(given.with_choice(choice))
    assert split.values[ROWS] * split.values[PASSES] == 8
    assert split.values[ROWS] * 2048 >= 2000, (
        "kernels of an 8B are called about as fast as 2,000 tokens are read"
    )


def test_of_rows_of_many_lengths_too():
    """As of instruction data: a long row is padded to by seven short ones."""
    uneven = (200, 300, 2048, 500, 900, 700, 120, 400) * 32
    given = replace(of_8b(longest=2048), measure=lambda: Lengths(uneven, uneven))
    (choice,) = choose(given)
    assert dict(choice.values) == {FIELD: False}
    assert choice.gain is not None
    (split,) = passes.choose(given.with_choice(choice))
    assert 2 <= split.values[ROWS] <= 4
    assert split.values[ROW_ORDER] == passes.BY_LENGTH


@pytest.mark.parametrize(("length", "is_off"), [(2048, True), (256, False)])
def test_on_where_smaller_passes_would_wait_for_kernels(length, is_off):
    """40 GB hold one row at a time without. A short one alone costs as much as eight together."""
    small = replace(H100, memory=40 * 10**9)
    rows = (length,) * 64
    found = choose(replace(of_8b(longest=2048, machine=small), measure=lambda: Lengths(rows, rows)))
    assert [choice.values.get(FIELD) for choice in found] == ([False] if is_off else [])


def test_the_passes_of_the_recipe_stay():
    assert choose(of_8b(longest=2048, per_device_train_batch_size=8)) == ()


def test_on_where_nothing_fits_without():
    assert choose(of_8b(longest=2048, machine=replace(H100, memory=24 * 10**9))) == ()


def test_selective_where_rows_are_long_and_it_still_fits():
    given = {"longest": 8192, "rows": None, "per_device_train_batch_size": 8}
    (choice,) = choose(of_8b(**given))
    assert dict(choice.values) == {"gradient_checkpointing_kwargs": {"selective": True}}
    assert choose(of_8b(machine=replace(H100, memory=70 * 10**9), **given)) == ()
    assert choose(of_8b("dpo", **given)) == ()


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
