"""Use another attention kernel while a stage trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attention(models: tuple[Any, ...], kernel: str | None) -> Iterator[None]:
    """Within the context, `models` (None is skipped) use attention `kernel`, under transformers' name.

    None changes nothing. Probes are measured outside the context, with the kernel of evaluations, since they
    are compared with a parent's.
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
    """Return the transformers model inside an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
