"""TensorFloat-32 for float32 products on a GPU: eight times the rate, ten bits of mantissa."""

from __future__ import annotations

from ptspec.performance.choice import Choice, Effect, Situation

FIELD = "tf32"


def propose(situation: Situation) -> tuple[Choice, ...]:
    """Propose `tf32` for a stage in full float32.

    Its rounding exceeds the tolerance of the probes, so it is not applied by default.
    """
    settings = situation.settings
    if situation.machine.kind != "cuda" or situation.is_given(FIELD) or settings.mixed:
        return ()
    if settings.numbers(situation.model.dtype)["weights"] != "float32":
        return ()
    reason = "matrix products round to 10 bits in place of 23"
    return (Choice({FIELD: True}, '"tf32": true', reason, None, Effect.DEAR),)
