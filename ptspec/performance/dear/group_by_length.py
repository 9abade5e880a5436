"""Group rows of similar length into steps: less padding, but a less random order."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Effect, Situation
from ptspec.performance.cost import NO_OVERHEAD, Cut, cost
from ptspec.performance.exactness import why_passes_matter
from ptspec.recipe.batch_split import PASSES, ROWS

FIELD = "train_sampling_strategy"
LEAST = 1.15


def propose(situation: Situation) -> tuple[Choice, ...]:
    """Propose `train_sampling_strategy` `group_by_length` if it pads less than the present passes."""
    if situation.is_given(FIELD) or situation.stage.method.online or situation.stage.method.loss.keeps_order:
        return ()
    if any(situation.settings.value(name) for name in ("packing", "padding_free")):
        return ()
    alone, lengths = situation.alone, situation.lengths
    rows, step = alone.number(ROWS, 8), alone.number(ROWS, 8) * alone.number(PASSES, 1)
    if lengths is None or rows < 2:
        return ()
    is_sorted = why_passes_matter(situation) is None and step > rows
    padded = cost(lengths, step, Cut(rows, sorted_rows=is_sorted), NO_OVERHEAD)
    gain = padded / (lengths.mean * step)
    if gain < LEAST:
        return ()
    reason = "rows of similar length share a step, so that their order is no longer random"
    return (Choice({FIELD: "group_by_length"}, f'"{FIELD}": "group_by_length"', reason, gain, Effect.DEAR),)
