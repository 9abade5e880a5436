"""ptspec: post-training pipelines (SFT, DPO, KTO, GRPO, RLOO, distillation, …) from one JSON recipe."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptspec.api import Recipe, Run, compare, load, open_run

__version__ = "0.1.0"

__all__ = ["Recipe", "Run", "__version__", "compare", "load", "open_run"]


def __getattr__(name: str) -> object:
    """The Python API, imported when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ptspec.api"), name)
