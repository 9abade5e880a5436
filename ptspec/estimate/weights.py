"""Dtypes and bytes of a stage's weights, adapter and trained tensors.

4-bit weights: half a byte, and 0.127 bits of scales with double quantisation (Dettmers et al. 2023, QLoRA,
arXiv 2305.14314 §3).
"""

from __future__ import annotations

from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.headers import BYTES, Tensor
from ptspec.recipe.plan import Handover, ModelSpec
from ptspec.recipe.shape import ModelShape

QUANTISED = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of an NF4 element: 4 bits, an 8-bit scale per block of 64, a 32-bit one per 256 of these."""
SINGLE_QUANTISED = 0.5 + 4 / 64
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


def weight_bytes(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> int:
    """Return the bytes of the base's loaded weights (`ptspec.model.base.load_base`)."""
    quantised = set(quantised_layers(settings, shape) if settings.stage.adapter.use_qlora else ())
    total = 0.0
    for name, tensor in shape.tensors.items():
        if name.removesuffix(".weight") in quantised:
            total += _quantised(settings, tensor)
        else:
            total += tensor.elements * weight_width(settings, model, shape, tensor.dtype)
    return round(total)


def quantised_layers(settings: EffectiveConfig, shape: ModelShape) -> tuple[str, ...]:
    """Return the names of the layers that bitsandbytes quantises."""
    return shape.quantised_layers(settings.stage.adapter.quantization.get("llm_int8_skip_modules"))


def _quantised(settings: EffectiveConfig, tensor: Tensor) -> float:
    """Return the bytes of a linear layer in 4 bits, or in 8 with a 32-bit scale per row."""
    fields = settings.stage.adapter.quantization
    if fields.get("load_in_8bit"):
        return tensor.elements + 4 * tensor.shape[0]
    each = QUANTISED if fields.get("bnb_4bit_use_double_quant", True) else SINGLE_QUANTISED
    return tensor.elements * each


def weight_width(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape, stored: str) -> int:
    """Return the bytes per element of loaded weights.

    float32 on a CPU and for full fine-tuning, else as in the checkpoint; always as in the checkpoint for
    weights quantised there.
    """
    if model.dtype in WIDTHS:
        return WIDTHS[model.dtype]
    in_float32 = not settings.gpu or not settings.stage.adapter.use_lora
    if model.dtype is None and in_float32 and shape.quantised is None:
        return 4
    return BYTES.get(stored, 4)


def adapter_width(settings: EffectiveConfig) -> int:
    """Return the bytes per element of an adapter.

    PEFT keeps adapters in float32; TRL casts those over a quantised base to bf16 (but not after a merge,
    which leaves nothing quantised).
    """
    stage = settings.stage
    over_quantised = stage.adapter.use_qlora and stage.handover is not Handover.MERGE
    return 2 if over_quantised and not stage.method.recasts_quantised else 4


def trained_width(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> int:
    """Return the bytes per element of what is trained.

    Gradients and torch's optimizer states have its dtype.
    """
    if settings.stage.adapter.use_lora:
        return adapter_width(settings)
    return stored_width(settings, model, shape)


def stored_width(settings: EffectiveConfig, model: ModelSpec, shape: ModelShape) -> int:
    """Return the bytes per element of the first stored tensor, which represents all."""
    first = next(iter(shape.tensors.values()), None)
    return weight_width(settings, model, shape, first.dtype if first else "F32")
