"""Counts over the rows of a source: how many a stage's trainer cuts or drops, how many tokens it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ptspec.data.tokens.lengths import Row
from ptspec.data.tokens.truncation import Truncation, limit
from ptspec.recipe.effective_config import EffectiveConfig


@dataclass
class Cuts:
    """Counts over the rows looked at. `limit` None: nothing is cut."""

    limit: int | None
    rows: int = 0
    tokens: int = 0
    longest: int = 0
    longest_prompt: int = 0
    fates: dict[Truncation, int] = field(default_factory=dict)
    first: Row | None = None

    def add(self, row: Row) -> None:
        self.rows += 1
        self.fates[row.truncation] = self.fates.get(row.truncation, 0) + 1
        if row.truncation is not Truncation.WHOLE and self.first is None:
            self.first = row
        if row.truncation is not Truncation.DROPPED:
            self.tokens += sum(row.held)
            self.longest = max(self.longest, *row.held)
            self.longest_prompt = max(self.longest_prompt, row.prompt)

    def count(self, *fates: Truncation) -> int:
        return sum(self.fates.get(fate, 0) for fate in fates)

    @property
    def left(self) -> int:
        """Rows that are trained on."""
        return self.rows - self.count(Truncation.DROPPED)


def cuts(rows: Iterable[Row], settings: EffectiveConfig) -> Cuts:
    """What the stage's trainer does to `rows`."""
    found = Cuts(limit(settings))
    for row in rows:
        found.add(row)
    return found
