"""Patches that a library puts on other libraries for one stage: taken off again when the stage has ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

FORWARD = "forward"


@contextmanager
def taken_off(model: Any) -> Iterator[None]:
    """Restores what was replaced meanwhile in the modules and classes that `model` is made of, and in
    `torch.nn.functional`. liger-kernel replaces functions there (rotary embedding, cross entropy), with which
    later stages and evaluations would go on."""
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
