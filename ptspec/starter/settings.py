"""The training settings of a starter recipe: rates and epochs that learn from these rows on this model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ptspec.methods.types import Method
from ptspec.shipped import folder

STEPS = 100
"""Optimizer steps below which few rows are seen more often."""
BATCH = 8
"""Rows of a step where the recipe says nothing: TRL's per_device_train_batch_size."""
MORE_EPOCHS = 3
"""So many more than the method's own, at most: what repeats is learned by heart."""
TOY_RATE = 10
"""How much more the shipped base of 1 M parameters takes, as in recipes/."""


def settings(method: Method, rows: int | None, *, is_toy: bool) -> dict[str, Any]:
    """The config of a stage over `rows` rows (None: not counted)."""
    config = dict(method.starter.config)
    if is_toy:
        config["learning_rate"] = float(f"{float(str(config['learning_rate'])) * TOY_RATE:.3g}")
    if rows and "num_train_epochs" in config:
        own, batch = (
            int(str(config["num_train_epochs"])),
            int(str(config.get("per_device_train_batch_size", BATCH))),
        )
        config["num_train_epochs"] = min(max(own, math.ceil(STEPS * batch / rows)), own + MORE_EPOCHS)
    return config


def is_toy(model: str | None) -> bool:
    """Whether a recipe without `model`, or with this one, is over the base that ships with the program."""
    return model is None or Path(model).resolve() == (folder("data") / "base_model").resolve()
