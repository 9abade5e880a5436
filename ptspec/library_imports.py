"""Import torch and its dependents faster and with less memory."""

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
    """Wrap the first import of torch.

    Garbage collection is off during the import, and the imported objects are frozen afterwards: of about a
    million objects none is garbage. A function that a library compiles at import is compiled at its first
    call. Does nothing in a process that has imported torch already.
    """
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
    """Return a `torch.compile` that compiles at the first call of the decorated function.

    PEFT imports bitsandbytes, which decorates four functions: compiling at import loads torch's compiler, two
    processor seconds and 40 MB.
    """
    import torch

    compiled = torch.compile
    torch.compile = _later(compiled)
    try:
        yield
    finally:
        torch.compile = compiled


def _later(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as `torch.compile` does, with or without arguments; modules are compiled at once."""

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
