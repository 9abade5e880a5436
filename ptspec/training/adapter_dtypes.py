"""Keep the dtypes of an adapter when a checkpoint is loaded into a training model.

PEFT casts every adapter it loads to float32; TRL trains adapters over 4-bit weights in bfloat16. A resumed
stage would continue in another dtype than it started in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel


def keep_dtypes(trainer: Any) -> None:
    """Make `trainer` keep its adapter's dtypes when it loads checkpoints."""
    if isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel):
        for name in ("_load_from_checkpoint", "_load_best_model"):
            setattr(trainer, name, _keeping(trainer, getattr(trainer, name)))


def _keeping(trainer: Any, load: Callable[..., None]) -> Callable[..., None]:
    def loading(*args: Any, **kwargs: Any) -> None:
        before = {name: parameter.dtype for name, parameter in trainer.model.named_parameters()}
        load(*args, **kwargs)
        with torch.no_grad():
            for name, parameter in trainer.model.named_parameters():
                if parameter.dtype != before.get(name, parameter.dtype):
                    parameter.data = parameter.data.to(before[name])

    return loading
