"""What a stage is the weighted sum of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class MergePart:
    """A policy (an earlier stage's name, "base", or a folder) that counts `weight` times."""

    name: str
    weight: float
    at: str = "/stages"


@dataclass(frozen=True)
class MergeSpec:
    """What a stage is the weighted sum of.

    `of_adapters`: adapters over the same weights, which stay as they are; without, the weights themselves are
    summed."""

    parts: tuple[MergePart, ...]
    of_adapters: bool

    @property
    def words(self) -> str:
        """ "0.9 × a + 0.1 × b"."""
        return sum_in_words((part.name, part.weight) for part in self.parts)


def sum_in_words(parts: Iterable[tuple[str, float]]) -> str:
    """ "0.9 × a + 0.1 × b" of names and weights."""
    first, *rest = (f"{'-' if weight < 0 else '+'} {abs(weight):g} × {name}" for name, weight in parts)
    return " ".join((first.removeprefix("+ "), *rest))
