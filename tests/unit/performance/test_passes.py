"""The rows a pass: changed where padding costs more than passes, and the loss of a step stays what it is."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from support.situations import CPU, EVEN, LORA, of_8b, situation

from ptspec.performance.choice import ROW_ORDER, Effect, Lengths
from ptspec.performance.free.passes import BY_LENGTH, choose
from ptspec.recipe.batch_split import PASSES, ROWS
from ptspec.recipe.plan import AdapterSpec, ComputeSpec


def split(*arguments, **given):
    """Rows a pass and passes a step that are chosen; None where nothing is."""
    found = [c for c in choose(situation(*arguments, **given)) if c.effect is Effect.FREE]
    assert len(found) < 2
    return (found[0].values.get(ROWS), found[0].values.get(PASSES)) if found else None


def test_a_long_row_among_short_ones_gets_a_smaller_pass():
    (choice,) = choose(situation())
    rows, passes = choice.values[ROWS], choice.values[PASSES]
    assert (rows * passes, rows < 8) == (8, True)
    assert choice.values.get(ROW_ORDER) == (BY_LENGTH if rows > 1 else None)
    assert choice.gain is not None
    assert choice.gain > 1.5


def test_rows_of_one_length_stay_as_they_are():
    assert split(lengths=EVEN) is None


def test_a_tiny_model_does_not_pay_for_passes_with_a_little_padding():
    uneven = Lengths((28, 31, 35, 40) * 64, (30,) * 256)
    assert split(lengths=uneven) is None


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("kto", {}),
        ("orpo", {}),
        ("dpo", {"loss_type": ["aot"]}),
        ("dpo", {"loss_type": ["sigmoid", "sft"]}),
        ("sft", {"neftune_noise_alpha": 5.0}),
        ("sft", {"dataloader_drop_last": True}),
        ("sft", {"packing": True}),
        ("sft", {"train_sampling_strategy": "group_by_length"}),
    ],
)
def test_a_loss_that_depends_on_the_pass_keeps_it(method, config):
    assert split(method, **config) is None


def test_dropout_keeps_the_passes():
    adapter = AdapterSpec(True, lora={**LORA.lora, "lora_dropout": 0.05})
    assert split(adapter=adapter) is None


def test_what_the_recipe_gives_wins_and_is_reported():
    (choice,) = choose(situation(per_device_train_batch_size=8))
    assert choice.effect is Effect.LEFT
    assert "the recipe gives 8 × 1" in choice.reason


def test_a_run_measures_no_rows_for_what_it_would_not_take():
    def fail():
        raise AssertionError

    given = situation(per_device_train_batch_size=8)
    assert choose(replace(given, measure=fail, is_planned=False)) == ()


def test_rows_of_given_passes_are_sorted_among_them():
    taken = [c for c in choose(situation(**{ROWS: 2, PASSES: 4})) if c.effect is Effect.FREE]
    assert [dict(choice.values) for choice in taken] == [{ROW_ORDER: BY_LENGTH}]


def test_the_mean_of_passes_is_the_mean_of_rows():
    """103 rows leave 7 for the last step of an epoch, which no pass of 2 or 4 rows cuts evenly."""
    assert split("dpo", rows=103) == (1, 8)
    assert split("dpo", rows=None) == (1, 8)
    assert split("sft", rows=103) == split("sft", rows=104)


def test_processes_share_the_passes():
    two = ComputeSpec("accelerate", 2)
    found = split(rows=1024, compute=two)
    assert found is not None
    assert found[1] % 2 == 0, "each takes half of the passes"
    assert split(rows=1023, compute=two) is None, "accelerate fills the last step up, by the pass"
    given = {ROWS: 2, PASSES: 4}
    taken = [c for c in choose(situation(rows=1023, compute=two, **given)) if c.effect is Effect.FREE]
    assert [dict(choice.values) for choice in taken] == [{ROW_ORDER: BY_LENGTH}]


def test_passes_that_do_not_fit_are_made_smaller_at_the_same_rows():
    (choice,) = choose(of_8b(rows=1024, longest=16384))
    assert choice.values[ROWS] * choice.values[PASSES] == 8
    assert "do not fit" in choice.reason


def test_a_step_of_very_many_rows_is_looked_at_in_a_moment():
    begun = time.process_time()
    split(per_device_train_batch_size=2**18)
    assert time.process_time() - begun < 5


def test_off_the_sample_nothing_is_chosen():
    assert split(lengths=None, machine=CPU) is None
