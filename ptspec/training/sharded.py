"""Weights that several processes hold in parts."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from ptspec.model.base import Base


class LetGo(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Gives up the whole weights of a base once a trainer has sharded what was made from them, which is when
    it begins to train: until then each process holds both."""

    def __init__(self, base: Base) -> None:
        self._base = base

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._base.let_go()
