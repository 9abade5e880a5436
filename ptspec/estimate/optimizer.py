"""Bytes of optimizer state by `optim`."""

from __future__ import annotations

import math
from collections.abc import Iterable

SMALL = 4096
"""bitsandbytes keeps the states of a tensor with fewer elements in 32 bits (`min_8bit_size`)."""
BLOCK = 256
"""Elements that share a scale in an 8-bit state (Dettmers et al. 2022, arXiv 2110.02861; bitsandbytes)."""

_STATES = {
    **dict.fromkeys(("sgd", "lomo"), 0),
    **dict.fromkeys(("lion", "adagrad", "rmsprop"), 1),
    "ademamix": 3,
}
"""States an element besides Adam's two."""


def states(optim: str) -> int:
    """How many numbers an optimizer keeps for every element; of one that is not known, Adam's two."""
    return next((count for name, count in _STATES.items() if name in optim), 2)


def state_bytes(optim: str, shapes: Iterable[tuple[int, ...]], width: int) -> int:
    """Bytes for trained tensors of these shapes whose elements are `width` bytes wide.

    torch keeps states in the type of the parameter; bitsandbytes in 32 or 8 bits; Adafactor one row and one
    column of a matrix in 32 bits (Shazeer and Stern 2018, arXiv 1804.04235).
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
    """Whether the states may go to the host's memory when the device's is full."""
    return "paged" in optim
