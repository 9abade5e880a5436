"""TensorFloat-32 where a GPU multiplies float32: eight times the rate, ten bits of the mantissa."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Effect, Situation

FIELD = "tf32"


def propose(situation: Situation) -> tuple[Choice, ...]:
    """`tf32` of a stage in full float32; its rounding is coarser than what the probes allow, so that who
    asked for float32 decides."""
    settings = situation.settings
    if situation.machine.kind != "cuda" or situation.is_given(FIELD) or settings.mixed:
        return ()
    if settings.numbers(situation.model.dtype)["weights"] != "float32":
        return ()
    reason = "matrix products round to 10 bits in place of 23"
    return (Choice({FIELD: True}, '"tf32": true', reason, None, Effect.DEAR),)
