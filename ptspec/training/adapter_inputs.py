"""Pass LoRA inputs in autocast's dtype.

PEFT casts the inputs of a float32 adapter to float32, and autocast casts them back to 16 bits: the same
values after two copies, forward and backward. Over 4-bit weights PEFT skips both under autocast
(`peft/tuners/lora/bnb.py`); within this context they are skipped over other weights too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def adapter_inputs(is_chosen: bool = True) -> Iterator[None]:
    """Within the context, plain LoRA takes inputs in autocast's dtype without casts.

    Other inputs, LoRA variants (DoRA), and computation without autocast are unchanged.
    """
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
