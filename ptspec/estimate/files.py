"""Exact size of a safetensors file from its contents."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from ptspec.recipe.headers import BYTES, Tensor

_METADATA = {"format": "pt"}
"""Metadata that PEFT and transformers write into every header."""


def safetensors_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the file size: 8 bytes of length, the JSON header padded to 8, and the tensors.

    Tensors are sorted by descending dtype size, then by name (safetensors 0.5, `serialize`), which decides
    the digits of their offsets.
    """
    header: dict[str, object] = {"__metadata__": _METADATA}
    offset = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-BYTES[item[1].dtype], item[0])):
        end = offset + tensor.bytes
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + math.ceil(len(text) / 8) * 8 + offset
