"""Models released with quantised weights: their config, and the tensors that compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptspec.recipe.headers import Tensor

DEQUANTISED = ("mxfp4", "fp8")
"""Methods whose weights are dequantised to bf16 when loaded (`ptspec.model.base`)."""

_SCALES = (
    *(".weight_scale_inv", ".weight_scale", ".weight_shape", ".weight_zero_point", ".weight_g_idx"),
    *(".activation_scale", ".input_scale", ".qzeros", ".scales", ".g_idx", "_scales"),
)
"""Name suffixes of tensors that hold scales, not weights."""


@dataclass(frozen=True)
class Quantised:
    """`method` in transformers' names ("mxfp4", "gptq"); `bits` per weight, if the config has it."""

    method: str
    bits: int | None = None

    @property
    def is_dequantised(self) -> bool:
        """Whether stages get the weights in bf16."""
        return self.method in DEQUANTISED


def read_quantised(config: Mapping[str, Any]) -> Quantised | None:
    """Return the quantisation in a config; None without."""
    text = config.get("text_config")
    inner = text.get("quantization_config") if isinstance(text, dict) else None
    given = config.get("quantization_config") or inner
    if not isinstance(given, dict):
        return None
    method, bits = given.get("quant_method"), given.get("bits")
    if method is None:
        method = "bitsandbytes" if "load_in_4bit" in given or "load_in_8bit" in given else "unknown"
    return Quantised(str(method), bits if isinstance(bits, int) else None)


def dequantised(stored: Mapping[str, Tensor], quantised: Quantised) -> dict[str, Tensor]:
    """Return the tensors as in the model: without scales, packed weights unpacked."""
    return dict(_unpacked(stored, quantised))


def _unpacked(stored: Mapping[str, Tensor], quantised: Quantised) -> Iterator[tuple[str, Tensor]]:
    bits = quantised.bits or 4
    for name, tensor in stored.items():
        if name.endswith("_blocks") and len(tensor.shape) == 4:
            experts, rows, groups, each = tensor.shape
            yield name.removesuffix("_blocks"), Tensor("BF16", (experts, groups * each * 2, rows))
        elif name.endswith(".qweight") and len(tensor.shape) == 2:
            first, second = tensor.shape
            packed = 32 // bits
            is_awq = quantised.method == "awq"
            shape = (second * packed, first) if is_awq else (second, first * packed)
            yield name.removesuffix("qweight") + "weight", Tensor("F16", shape)
        elif name.endswith(".weight_packed") and len(tensor.shape) == 2:
            rows, columns = tensor.shape
            yield name.removesuffix("_packed"), Tensor("BF16", (rows, columns * 32 // bits))
        elif not name.endswith(_SCALES) and ".weight." not in name:
            is_fp8 = tensor.dtype.startswith("F8") and quantised.is_dequantised
            yield name, Tensor("BF16", tensor.shape) if is_fp8 else tensor
