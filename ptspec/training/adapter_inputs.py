"""Inputs of LoRA in the numbers that autocast computes with.

PEFT makes float32 of what an adapter in float32 gets, and autocast makes 16 bits of that again: the same
numbers by way of two copies, forwards and back. Over 4-bit weights PEFT leaves both out under autocast
(`peft/tuners/lora/bnb.py`); within this they are left out over other weights too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def adapter_inputs(is_chosen: bool = True) -> Iterator[None]:
    """Within, plain LoRA takes inputs in autocast's numbers as they are.

    Other inputs, variants of LoRA (DoRA), and whatever is computed without autocast are PEFT's."""
    if not is_chosen:
        yield
        return
    import torch
    from peft.tuners.lora.layer import LoraLayer

    usual = LoraLayer._cast_input_dtype

    def cast(layer: Any, x: Any, dtype: torch.dtype) -> Any:
        device = None if x is None or layer.lora_variant else x.device.type
        if device and torch.is_autocast_enabled(device) and x.dtype == torch.get_autocast_dtype(device):
            return x
        return usual(layer, x, dtype)

    LoraLayer._cast_input_dtype = cast
    try:
        yield
    finally:
        del LoraLayer._cast_input_dtype
