"""What becomes of rows that are longer than `max_length`, as each TRL trainer of 1.16 treats them.

SFT cuts at the end (`truncation_mode` keep_end: at the start) and drops rows whose answer is gone; DPO and
KTO drop rows whose prompt alone fills it and cut the others; ORPO cuts answers, to nothing if need be, and
drops no row; a reward model's trainer drops every row with a longer answer. Online methods cut no prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from ptspec.data.tokens.lengths import Row
from ptspec.recipe.effective_config import EffectiveConfig


class Truncation(Enum):
    WHOLE = "whole"
    CUT = "cut"
    LOST = "answer lost"
    """The row stays, with nothing to learn in it."""
    DROPPED = "dropped"


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

    def add(self, row: Row, fate: Truncation) -> None:
        self.rows += 1
        self.fates[fate] = self.fates.get(fate, 0) + 1
        if fate is not Truncation.WHOLE and self.first is None:
            self.first = row
        if fate is not Truncation.DROPPED:
            self.tokens += sum(self._kept(span.total) for span in row.spans)
            self.longest = max(self.longest, self._kept(row.longest))
            self.longest_prompt = max(self.longest_prompt, row.prompt)

    def _kept(self, tokens: int) -> int:
        return tokens if self.limit is None else min(tokens, self.limit)

    def count(self, *fates: Truncation) -> int:
        return sum(self.fates.get(fate, 0) for fate in fates)

    @property
    def left(self) -> int:
        """Rows that are trained on."""
        return self.rows - self.count(Truncation.DROPPED)


def limit(settings: EffectiveConfig) -> int | None:
    """The length at which the stage's trainer cuts; None where it cuts nothing."""
    if settings.stage.method.online or settings.value("packing"):
        return None
    value = settings.value("max_length")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def cuts(rows: Iterable[Row], settings: EffectiveConfig) -> Cuts:
    """What the stage's trainer does to `rows`."""
    most = limit(settings)
    fate = _RULES.get(settings.stage.method.name, _sft)
    keeps_end = settings.value("truncation_mode") == "keep_end"
    found = Cuts(most)
    for row in rows:
        is_long = most is not None and row.longest > most
        found.add(row, fate(row, most or 0, keeps_end) if is_long else Truncation.WHOLE)
    return found


def _sft(row: Row, most: int, keeps_end: bool) -> Truncation:
    return Truncation.DROPPED if row.prompt >= most and not keeps_end else Truncation.CUT


def _orpo(row: Row, most: int, keeps_end: bool) -> Truncation:
    return Truncation.LOST if row.prompt >= most else Truncation.CUT


def _reward(row: Row, most: int, keeps_end: bool) -> Truncation:
    return Truncation.DROPPED


_RULES: dict[str, Callable[[Row, int, bool], Truncation]] = {
    "sft": _sft,
    "dpo": _sft,
    "kto": _sft,
    "orpo": _orpo,
    "reward": _reward,
}
