"""Imports torch and the like so that a run starts sooner and holds less."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any


@contextlib.contextmanager
def importing_libraries() -> Iterator[None]:
    """Around the first import of torch.

    No garbage is looked for meanwhile, and none among what there is afterwards: of a million objects none
    ever is any. A function that a library compiles is compiled when it is called. A process that has torch
    already has objects of its own among those, and is left as it is."""
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        with _compiled_when_called():
            yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _compiled_when_called() -> Iterator[None]:
    """`torch.compile` does its work at the first call of what it has decorated.

    PEFT imports bitsandbytes, which decorates four functions: torch imports its compiler for that, two
    processor seconds and 40 MB."""
    import torch

    compiled = torch.compile
    torch.compile = _later(compiled)
    try:
        yield
    finally:
        torch.compile = compiled


def _later(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """As torch's own `compile`, with or without arguments; modules are compiled at once."""

    def decorate(model: Any = None, **options: Any) -> Any:
        if model is None:
            return functools.partial(decorate, **options)
        if not isinstance(model, FunctionType):
            return compiled(model, **options)

        @functools.cache
        def made() -> Callable[..., Any]:
            found: Callable[..., Any] = compiled(model, **options)
            return found

        @functools.wraps(model)
        def call(*given: Any, **named: Any) -> Any:
            return made()(*given, **named)

        return call

    return decorate
