"""Adapters keep their types of number when they are read into a model that trains.

PEFT makes float32 of every adapter that it loads; TRL trains those over 4-bit weights in bfloat16. A stage
that goes on from a checkpoint would go on in other numbers than it began in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel


def keep_dtypes(trainer: Any) -> None:
    """From now on what `trainer` reads from checkpoints leaves the parameters of its adapter as they were."""
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
