"""Gradient checkpointing only where memory asks for it: it computes each forward pass twice."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Situation
from ptspec.performance.cost import Cut
from ptspec.performance.exactness import rows_of_a_pass
from ptspec.performance.free.passes import LEAST, is_settled, split_fits, work_of
from ptspec.performance.room import fits
from ptspec.recipe.batch_split import PASSES, ROWS

FIELD = "gradient_checkpointing"
LONG = 4096
"""Tokens of a row from which on attention is worth keeping: what chooses what is kept costs time too."""
NONE = "no gradient checkpointing"
GAIN = 4 / 3
"""A forward pass is half of a backward one, so that three parts are computed in place of four."""


def choose(situation: Situation) -> tuple[Choice, ...]:
    """`gradient_checkpointing`, and smaller passes where it can be done without in them."""
    if situation.is_given(FIELD, "gradient_checkpointing_kwargs", "activation_offloading"):
        return ()
    if situation.stage.compute.is_sharded:
        return ()  # an engine's own options say what is kept
    if not situation.settings.value(FIELD):
        return _needed_after_all(situation)
    if fits(situation.needed(**{FIELD: False}), situation.machine):
        return (Choice({FIELD: False}, NONE, "fits without", GAIN),)
    if (gain := _gain_in_smaller_passes(situation)) is not None:
        return (Choice({FIELD: False}, NONE, "fits without in smaller passes", gain),)
    return _selective(situation)


def _selective(situation: Situation) -> tuple[Choice, ...]:
    """TRL's selective checkpointing, where its trainer has it: attention is kept, the rest computed again."""
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
    """Of a CPU, where it is off otherwise."""
    without, with_it = situation.needed(), situation.needed(**{FIELD: True})
    if fits(without, situation.machine) is not False or not fits(with_it, situation.machine):
        return ()
    return (Choice({FIELD: True}, "gradient checkpointing", "does not fit the memory without"),)


def _gain_in_smaller_passes(situation: Situation) -> float | None:
    """How many times faster a step is without checkpointing, in the best passes that fit so, than with it in
    the best ones; None where it is not faster, or its passes stay as they are. `passes.choose`, which comes
    next, cuts the step."""
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
