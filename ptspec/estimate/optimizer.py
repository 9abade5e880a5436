"""Bytes of optimizer state by `optim`."""

from __future__ import annotations

import math
from collections.abc import Iterable

SMALL = 4096
"""Elements below which bitsandbytes keeps a tensor's states in 32 bits (`min_8bit_size`)."""
BLOCK = 256
"""Elements that share a scale in an 8-bit state (Dettmers et al. 2022, arXiv 2110.02861; bitsandbytes)."""

_STATES = {
    **dict.fromkeys(("sgd", "lomo"), 0),
    **dict.fromkeys(("lion", "adagrad", "rmsprop"), 1),
    "ademamix": 3,
}
"""States per element, if not Adam's two."""


def states(optim: str) -> int:
    """Return the state values per element of an optimizer; Adam's two if unknown."""
    return next((count for name, count in _STATES.items() if name in optim), 2)


def state_bytes(optim: str, shapes: Iterable[tuple[int, ...]], width: int) -> int:
    """Return the bytes of state for trained tensors of these shapes, `width` bytes per element.

    torch keeps states in the parameter's dtype; bitsandbytes in 32 or 8 bits; Adafactor a row and a column of
    a matrix in 32 bits (Shazeer and Stern 2018, arXiv 1804.04235).
    """
    return sum(_of_tensor(optim, shape, width) for shape in shapes)


def _of_tensor(optim: str, shape: tuple[int, ...], width: int) -> int:
    elements = math.prod(shape)
    if "adafactor" in optim:
        rest = elements // (shape[-1] * shape[-2]) if len(shape) > 1 else 0
        return 4 * rest * (shape[-1] + shape[-2]) if len(shape) > 1 else 4 * elements
    if "8bit" in optim:
        small = elements < SMALL
        return states(optim) * (4 * elements if small else elements + 4 * math.ceil(elements / BLOCK))
    if "4bit" in optim:
        return math.ceil(states(optim) * elements / 2)
    if "bnb" in optim or "paged" in optim or "32bit" in optim:
        width = 4
    return states(optim) * elements * width


def is_paged(optim: str) -> bool:
    """Return whether the states may be paged to host memory."""
    return "paged" in optim
