"""A decision: off gives none, it is kept in the folder as it was, and the recipe's fields stand over it."""

from __future__ import annotations

import json

from support.situations import H100, situation

from ptspec.performance.choice import ATTENTION, Choice, with_fields
from ptspec.performance.decide import Decision, decide
from ptspec.performance.record import FILE, on_another_device, read_decision, write_decision
from ptspec.recipe.batch_split import PASSES, ROWS
from ptspec.recipe.plan import Performance


def test_off_chooses_nothing_and_asks_nothing():
    def fail(stage):
        raise AssertionError

    found = decide(Performance.OFF, situation("dpo", H100, need=fail))
    assert found.choices == ()


def test_what_is_kept_is_read_again(tmp_path):
    found = decide(Performance.AUTO, situation("dpo"))
    assert len(found.taken) > 1
    write_decision(found, tmp_path)
    assert read_decision(tmp_path) == Decision(
        found.performance, found.device, tuple(map(_rounded, found.taken))
    )


def _rounded(choice: Choice) -> Choice:
    from dataclasses import replace

    return replace(choice, gain=None if choice.gain is None else round(choice.gain, 2))


def test_a_damaged_one_counts_as_none(tmp_path):
    (tmp_path / FILE).write_text("{")
    assert read_decision(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps({"format": 1, "performance": "auto"}))
    assert read_decision(tmp_path) is None


def test_a_field_that_the_recipe_gives_since_wins():
    found = decide(Performance.AUTO, situation())
    stage = with_fields(situation().stage, {ROWS: 8, PASSES: 1})
    assert found.applied(stage).config == stage.config


def test_another_device_says_so_and_leaves_what_it_cannot_do():
    flash = Choice({ATTENTION: "flash_attention_2"}, "attention by flash_attention_2", "installed")
    smaller = Choice({ROWS: 2, PASSES: 4}, "2 rows a pass × 4", "less padding")
    begun = Decision(Performance.AUTO, "cuda", (flash, smaller))
    assert on_another_device(begun, "cuda") == (begun, ())
    found, (told,) = on_another_device(begun, "cpu")
    assert found.taken == (smaller,)
    assert told == (
        "started on cuda and continues on cpu, with the settings that were chosen then, but for attention by "
        "flash_attention_2"
    )
