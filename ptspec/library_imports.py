"""Imports torch and the like so that garbage is found quickly: of their million objects none ever is any."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing_libraries() -> Iterator[None]:
    """Around the first import of torch. No garbage is looked for meanwhile, and none among what there is
    afterwards; a process that has torch already has objects of its own among those, and is left as it is."""
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
