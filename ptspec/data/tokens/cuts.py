"""Counts over a source's rows: truncated and dropped rows, and tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ptspec.data.tokens.lengths import Row
from ptspec.data.tokens.truncation import Truncation, limit
from ptspec.recipe.effective_config import EffectiveConfig


@dataclass
class Cuts:
    """Counts over rows. `limit` None: nothing is truncated."""

    limit: int | None
    rows: int = 0
    tokens: int = 0
    longest: int = 0
    longest_prompt: int = 0
    fates: dict[Truncation, int] = field(default_factory=dict)
    first: Row | None = None

    def add(self, row: Row) -> None:
        """Count a row."""
        self.rows += 1
        self.fates[row.truncation] = self.fates.get(row.truncation, 0) + 1
        if row.truncation is not Truncation.WHOLE and self.first is None:
            self.first = row
        if row.truncation is not Truncation.DROPPED:
            self.tokens += sum(row.held)
            self.longest = max(self.longest, *row.held)
            self.longest_prompt = max(self.longest_prompt, row.prompt)

    def count(self, *fates: Truncation) -> int:
        """Return the number of rows with one of these outcomes."""
        return sum(self.fates.get(fate, 0) for fate in fates)

    @property
    def left(self) -> int:
        """The number of rows trained on."""
        return self.rows - self.count(Truncation.DROPPED)


def cuts(rows: Iterable[Row], settings: EffectiveConfig) -> Cuts:
    """Return the counts of what the stage's trainer does with `rows`."""
    found = Cuts(limit(settings))
    for row in rows:
        found.add(row)
    return found
