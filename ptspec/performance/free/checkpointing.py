"""Gradient checkpointing only where memory asks for it: it computes each forward pass twice."""

from __future__ import annotations

from collections.abc import Iterator

from ptspec.performance.choice import Choice, Situation
from ptspec.performance.exactness import rows_of_a_pass, why_draws_differ, why_passes_matter
from ptspec.performance.room import fits
from ptspec.recipe.batch_split import PASSES, ROWS

FIELD = "gradient_checkpointing"
FULL_PASS = 4096
"""Tokens of a pass from which on a GPU is busy: smaller passes are not taken to do without checkpointing."""
LONG = 4096
"""Tokens of a row from which on attention is worth keeping: what chooses what is kept costs time too."""
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
    for rows, values in _cuts(situation):
        if fits(situation.needed(**values, **{FIELD: False}), situation.machine):
            smaller = f" in passes of {rows} rows" if values else ""
            reason = f"fits{smaller} without"
            return (Choice({FIELD: False, **values}, f"no gradient checkpointing{smaller}", reason, GAIN),)
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


def _cuts(situation: Situation) -> Iterator[tuple[int, dict[str, int]]]:
    """The rows a pass as they are, then smaller ones that leave the device busy."""
    alone = situation.alone
    rows, passes = alone.number(ROWS, 8), alone.number(PASSES, 1)
    yield rows, {}
    lengths = None if situation.is_given(ROWS, PASSES) else situation.lengths
    if lengths is None or why_passes_matter(situation) is not None or why_draws_differ(situation) is not None:
        return
    for fewer in rows_of_a_pass(situation):
        if fewer < rows and fewer * lengths.mean >= FULL_PASS:
            yield fewer, {ROWS: fewer, PASSES: rows * passes // fewer}
