"""The precision of computation in training, and of a model opened from its folder.

A trainer under mixed precision computes float32 weights in bf16 or fp16, and TF32 rounds the factors of a
matrix product. Both are settings of a training, not of its policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def weights_precision(model: Any) -> Iterator[None]:
    """Within the context, `model` computes in its weights' dtype.

    Without the autocast that accelerate adds to the forward of a prepared model, and without TF32.
    """
    prepared = model.__dict__.get("forward")
    with torch.backends.flags(fp32_precision="ieee"):
        if "_original_forward" not in model.__dict__:
            yield
            return
        model.forward = model.__dict__["_original_forward"]
        try:
            yield
        finally:
            model.forward = prepared


@contextmanager
def float32_settings_kept() -> Iterator[None]:
    """Restore the float32 matmul settings on exit: transformers enables TF32 for the whole process."""
    with torch.backends.flags(fp32_precision=torch.backends.fp32_precision):
        yield
