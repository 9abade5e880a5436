"""Free whole weights once several processes have sharded them."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from ptspec.model.base import Base


class FreeBaseCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Frees the whole base weights when training begins: the trainer has sharded them by then."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Free the base weights."""
        self._base.let_go()
