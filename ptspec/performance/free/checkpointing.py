"""Gradient checkpointing only if memory requires it: it computes each forward pass twice."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Situation
from ptspec.performance.cost import Cut
from ptspec.performance.exactness import rows_of_a_pass
from ptspec.performance.free.passes import LEAST, is_settled, split_fits, work_of
from ptspec.performance.room import fits
from ptspec.recipe.batch_split import PASSES, ROWS

FIELD = "gradient_checkpointing"
LONG = 4096
"""Tokens per row from which keeping attention outputs pays: deciding what is kept costs time."""
NONE = "no gradient checkpointing"
GAIN = 4 / 3
"""A forward pass costs half a backward pass, so three parts are computed instead of four."""


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose `gradient_checkpointing`, and smaller passes if they avoid it."""
    if situation.is_given(FIELD, "gradient_checkpointing_kwargs", "activation_offloading"):
        return ()
    if situation.stage.compute.is_sharded:
        return ()  # the engine's own options decide what is kept
    if not situation.settings.value(FIELD):
        return _needed_after_all(situation)
    if fits(situation.needed(**{FIELD: False}), situation.machine):
        return (Choice({FIELD: False}, NONE, "fits without", GAIN),)
    if (gain := _gain_in_smaller_passes(situation)) is not None:
        return (Choice({FIELD: False}, NONE, "fits without in smaller passes", gain),)
    return _selective(situation)


def _selective(situation: Situation) -> tuple[Choice, ...]:
    """Return TRL's selective checkpointing if its trainer has it: attention is kept, the rest recomputed."""
    settings, shape = situation.settings, situation.shape
    longest = settings.number("max_length") or (shape.context if shape is not None else None) or 0
    is_on = situation.stage.method.selective_checkpointing and situation.stage.compute.engine is None
    if shape is None or not is_on or longest < LONG or not settings.gpu:
        return ()
    needed = situation.needed()
    tokens = settings.number(ROWS, 8) * longest
    width = 2 if settings.mixed else 4
    kept = tokens * shape.layers * (shape.heads * shape.head_dim * width + 4 * shape.heads)
    if needed is None or not fits(needed + kept, situation.machine):
        return ()
    values = {"gradient_checkpointing_kwargs": {"selective": True}}
    return (Choice(values, "selective gradient checkpointing", "does not fit without; attention is kept"),)


def _needed_after_all(situation: Situation) -> tuple[Choice, ...]:
    """Return checkpointing for a CPU, where it is off by default."""
    without, with_it = situation.needed(), situation.needed(**{FIELD: True})
    if fits(without, situation.machine) is not False or not fits(with_it, situation.machine):
        return ()
    return (Choice({FIELD: True}, "gradient checkpointing", "does not fit the memory without"),)


def _gain_in_smaller_passes(situation: Situation) -> float | None:
    """Return the speed-up of the best passes without checkpointing over the best with it.

    None if there is none, or passes must not change. `passes.choose`, which follows, splits the step.
    """
    if situation.is_given(ROWS, PASSES) or is_settled(situation) or situation.machine.memory is None:
        return None
    if (work := work_of(situation)) is None:
        return None
    cuts = [Cut(rows, sorted_rows=True) for rows in rows_of_a_pass(situation)]
    with_it = work.best([cut for cut in cuts if split_fits(situation, cut.rows)])
    without = work.best([cut for cut in cuts if split_fits(situation, cut.rows, **{FIELD: False})])
    if with_it is None or without is None:
        return None
    gain = GAIN * work.gain(with_it, without)
    return gain if gain >= LEAST else None
