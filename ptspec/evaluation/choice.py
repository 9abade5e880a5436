"""Which rows, and which random numbers: by the seed and the row's own id, so that every model gets the same.

Nothing depends on the other rows, their order or the batch a row is in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence


def chosen(ids: Sequence[str], count: int, seed: int) -> list[int]:
    """Indices of `count` of `ids`, in their order: a simple random sample, without replacement.

    The choice for a smaller `count` is part of that for a larger one.
    """
    drawn = sorted(range(len(ids)), key=lambda i: _hash(seed, ids[i]))
    return sorted(drawn[:count])


def draws(row: str, count: int, seed: int) -> list[float]:
    """`count` uniform numbers in [0, 1) for the row with the id `row`: one for each token to be drawn."""
    generator = random.Random(_hash(seed, row))
    return [generator.random() for _ in range(count)]


def _hash(seed: int, row: str) -> bytes:
    return hashlib.sha256(f"{seed}:{row}".encode()).digest()
