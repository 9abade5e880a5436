"""Undo patches that a library applies to other libraries for one stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

FORWARD = "forward"


@contextmanager
def taken_off(model: Any) -> Iterator[None]:
    """On exit, restore replaced attributes of the model's modules and classes and `torch.nn.functional`.

    liger-kernel replaces functions there (rotary embedding, cross entropy), which would stay for later stages
    and evaluations.
    """
    classes = {type(part) for part in model.modules() if type(part).__module__.startswith("transformers.")}
    owners = [*classes, *(sys.modules[name] for name in {one.__module__ for one in classes})]
    before = [(owner, dict(vars(owner))) for owner in (*owners, torch.nn.functional)]
    try:
        yield
    finally:
        for owner, names in before:
            for name, value in names.items():
                if vars(owner).get(name) is not value:
                    setattr(owner, name, value)
            if FORWARD in vars(owner) and FORWARD not in names:
                delattr(owner, FORWARD)
