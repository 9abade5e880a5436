"""Seeded choice of rows and random numbers by row id, the same for every model.

Independent of other rows, their order and batching.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence


def chosen(ids: Sequence[str], count: int, seed: int) -> list[int]:
    """Return indices of `count` of `ids`, in order: a simple random sample without replacement.

    A smaller sample is a subset of a larger one.
    """
    drawn = sorted(range(len(ids)), key=lambda i: _hash(seed, ids[i]))
    return sorted(drawn[:count])


def draws(row: str, count: int, seed: int) -> list[float]:
    """Return `count` uniform numbers in [0, 1) for the row with the id `row`, one per token to sample."""
    generator = random.Random(_hash(seed, row))
    return [generator.random() for _ in range(count)]


def _hash(seed: int, row: str) -> bytes:
    return hashlib.sha256(f"{seed}:{row}".encode()).digest()
