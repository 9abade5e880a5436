"""Pack rows into full sequences: no padding, and more rows per step."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Effect, Situation

FIELD = "packing"
FILLED = 0.5
"""Mean length, as a share of `max_length`, below which packing is proposed."""


def propose(situation: Situation) -> tuple[Choice, ...]:
    """Propose SFT's `packing`: a step then learns from as many rows as fill its sequences."""
    if not situation.has_field(FIELD) or situation.is_given(FIELD) or situation.machine.is_cpu:
        return ()
    most, lengths = situation.settings.number("max_length"), situation.lengths
    if not most or lengths is None or lengths.mean > FILLED * most:
        return ()
    rows = most / lengths.mean
    reason = f"rows have {lengths.mean:.0f} of {most} tokens in the mean; a step takes {rows:.1f} × as many"
    values = {FIELD: True, "packing_strategy": "bfd"}
    return (Choice(values, '"packing": true', reason, None, Effect.DEAR),)
