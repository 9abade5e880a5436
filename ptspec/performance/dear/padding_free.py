"""Concatenate the rows of a pass without padding; needs a FlashAttention kernel."""

from __future__ import annotations

from ptspec.performance.choice import ATTENTION, Choice, Effect, Situation
from ptspec.performance.free.attention import choose as kernel

FIELD = "padding_free"


def propose(situation: Situation) -> tuple[Choice, ...]:
    """Propose `padding_free`, with which SFT does not truncate at `max_length`."""
    settings = situation.settings
    if not situation.has_field(FIELD) or situation.is_given(FIELD) or settings.value("packing"):
        return ()
    given = situation.model.attn_implementation or ""
    chosen = [str(choice.values.get(ATTENTION)) for choice in kernel(situation)]
    if not any("flash" in name for name in (given, *chosen)):
        return ()
    lengths = situation.lengths
    if lengths is None or settings.number("per_device_train_batch_size", 8) < 2:
        return ()
    padding = lengths.longest / lengths.mean
    reason = "no padding; rows longer than max_length are then not cut"
    return (Choice({FIELD: True}, '"padding_free": true', reason, min(padding, 2.0), Effect.DEAR),)
