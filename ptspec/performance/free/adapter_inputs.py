"""Pass LoRA inputs in 16 bits under autocast; PEFT casts them to float32 first."""

from __future__ import annotations

from ptspec.performance.choice import ADAPTER_INPUTS, AUTOCAST, Choice, Situation


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose it if autocast computes a float32 adapter. Over 4-bit weights PEFT does so itself."""
    if not situation.settings.autocasts_adapter or situation.stage.adapter.use_qlora:
        return ()
    reason = "PEFT makes float32 of them, and autocast 16 bits of that"
    return (Choice({ADAPTER_INPUTS: AUTOCAST}, "adapter inputs in 16 bits", reason),)
