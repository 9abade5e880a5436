"""Another attention kernel while a stage trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attention(models: tuple[Any, ...], kernel: str | None) -> Iterator[None]:
    """Within, `models` (those that are None are passed over) compute attention by `kernel`, as transformers
    calls it; afterwards as before. None: nothing changes.

    Probes are measured outside, by the kernel that evaluations have: they are compared with a parent's.
    """
    if kernel is None:
        yield
        return
    before = [
        (model, model.config._attn_implementation) for model in map(_inner, models) if model is not None
    ]
    try:
        for model, _ in before:
            model.set_attn_implementation(kernel)
        yield
    finally:
        for model, usual in before:
            model.set_attn_implementation(usual)


def _inner(model: Any) -> Any:
    """The transformers model that an adapter lies over."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
