"""The precision in which a model computes: as trained, and as anyone computes who opens its folder.

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
    """`model` computes at the precision of its weights: without the autocast that accelerate puts around the
    forward of a model it has prepared, and without TF32."""
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
    """How float32 is multiplied afterwards is how it was before: transformers switches TF32 on for the whole
    process, and the next stage may not want it."""
    with torch.backends.flags(fp32_precision=torch.backends.fp32_precision):
        yield
