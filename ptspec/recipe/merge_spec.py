"""The specification of a weighted sum of policies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class MergePart:
    """A policy (an earlier stage's name, "base", or a folder) with its `weight`."""

    name: str
    weight: float
    at: str = "/stages"


@dataclass(frozen=True)
class MergeSpec:
    """A weighted sum of policies.

    `of_adapters`: adapters over the same weights are summed; otherwise full weights are.
    """

    parts: tuple[MergePart, ...]
    of_adapters: bool

    @property
    def words(self) -> str:
        """The sum in words: "0.9 × a + 0.1 × b"."""
        return sum_in_words((part.name, part.weight) for part in self.parts)


def sum_in_words(parts: Iterable[tuple[str, float]]) -> str:
    """Return "0.9 × a + 0.1 × b" for names and weights."""
    first, *rest = (f"{'-' if weight < 0 else '+'} {abs(weight):g} × {name}" for name, weight in parts)
    return " ".join((first.removeprefix("+ "), *rest))
