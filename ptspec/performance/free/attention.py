"""The attention kernel in training: FlashAttention if it is installed and the dtype allows it."""

from __future__ import annotations

from ptspec.performance.choice import ATTENTION, Choice, Effect, Situation
from ptspec.performance.machine import has_package

AMPERE, HOPPER = (8, 0), (9, 0)
KERNELS = (("flash_attention_3", "flash_attn_interface", HOPPER), ("flash_attention_2", "flash_attn", AMPERE))
"""transformers' name of a kernel, its package, and the lowest compute capability."""


def choose(situation: Situation) -> tuple[Choice, ...]:
    """Choose the model's `attn_implementation`.

    Sdpa, transformers' default, if nothing better is possible.
    """
    machine = situation.machine
    if machine.kind != "cuda" or situation.model.attn_implementation is not None:
        return ()
    if not situation.settings.mixed and not _is_16_bit(situation):
        return (_kept("FlashAttention takes 16-bit numbers alone"),)
    installed = [(name, since) for name, package, since in KERNELS if has_package(package)]
    if not installed:
        return (_kept("flash_attn is not installed"),)
    for name, since in installed:
        if machine.capability is not None and machine.capability >= since:
            return (Choice({ATTENTION: name}, f"attention by {name}", "installed, and the GPU has it"),)
    return (_kept("the GPU is too old for FlashAttention, or not known"),)


def _is_16_bit(situation: Situation) -> bool:
    """Return whether the weights are stored in 16 bits."""
    weights = situation.settings.numbers(situation.model.dtype)["weights"]
    if weights != "as stored":
        return weights in ("bfloat16", "float16")
    stored = situation.shape.tensors.values() if situation.shape is not None else ()
    return any(tensor.dtype in ("BF16", "F16") for tensor in stored)


def _kept(reason: str) -> Choice:
    return Choice({ATTENTION: "sdpa"}, "attention by sdpa", reason, effect=Effect.KEPT)
