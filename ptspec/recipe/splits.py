"""Parse the text of "split": slices of splits, with the grammar and rounding of `datasets`.

tests/contract/test_splits.py compares both with the library.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import NamedTuple

TRAIN = "train"
ALL = "all"
"""Every split, one after another."""
EXAMPLES = "train, train[:90%], train[90%:], train[10:20], train+test"

_NAME = r"\w+(?:\.\w+)*"
_BOUND = r"(?:(?P<{0}>-?[\d_]+)(?P<{0}_percent>%)?)?"
_SLICE = re.compile(
    rf"(?P<split>{_NAME})"
    rf"(?:\[{_BOUND.format('start')}:{_BOUND.format('stop')}\])?"
    r"(?:\((?P<rounding>[^)]*)\))?"
)


class Rounding(Enum):
    """How a percentage of the rows is rounded to a number of rows."""

    CLOSEST = "closest"
    DROP_REMAINDER = "pct1_dropremainder"
    """Multiples of one whole per cent, so that 5 % are five times 1 %; the remainder is dropped."""


class Slice(NamedTuple):
    """Rows `start` to `stop` of a split, as in a Python slice; in per cent with `rounding`."""

    split: str
    start: int | None = None
    stop: int | None = None
    rounding: Rounding | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it includes all rows."""
        return self.start is None and self.stop is None

    @property
    def needs_count(self) -> bool:
        """Whether the bounds depend on the number of rows."""
        return self.rounding is not None or (self.start or 0) < 0 or (self.stop or 0) < 0

    def bounds(self, rows: int) -> tuple[int, int]:
        """Return the first row and the one after the last, from 0, of a split of `rows`.

        Raises `ValueError`.
        """
        start, stop = self._rows(self.start, rows, 0), self._rows(self.stop, rows, rows)
        return min(_from_end(start, rows), rows), min(_from_end(stop, rows), rows)

    def _rows(self, bound: int | None, rows: int, default: int) -> int:
        if bound is None:
            return default
        if self.rounding is Rounding.CLOSEST:
            return round(bound * rows / 100.0)
        if self.rounding is Rounding.DROP_REMAINDER:
            if rows < 100:
                raise ValueError(f'"{self.rounding.value}" takes no row of a split of {rows}: it needs 100')
            return bound * math.trunc(rows / 100.0)
        return bound


def _from_end(row: int, rows: int) -> int:
    return max(rows + row, 0) if row < 0 else row


def parse(text: str) -> tuple[Slice, ...]:
    """Return the slices that `text` concatenates. Raises `ValueError` with what is wrong with it."""
    slices = tuple(_slice(part) for part in re.split(r"\s*\+\s*", text))
    roundings = {one.rounding for one in slices if one.rounding is not None}
    if len(roundings) > 1:
        raise ValueError("one rounding goes for all slices")
    return slices


def _slice(text: str) -> Slice:
    found = _SLICE.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is not a split or a slice of one')
    try:
        start, stop = (int(found[name]) if found[name] else None for name in ("start", "stop"))
    except ValueError:
        raise ValueError(f'"{text}" has a bound that is not a whole number') from None
    if not (found["start_percent"] or found["stop_percent"]):
        if found["rounding"] is not None:
            raise ValueError(f'"{text}" gives a rounding, and its bounds are not in per cent')
        return Slice(found["split"], start, stop)
    if any(abs(bound) > 100 for bound in (start, stop) if bound is not None):
        raise ValueError(f'"{text}" goes beyond 100 %')
    try:
        return Slice(found["split"], start, stop, Rounding(found["rounding"] or "closest"))
    except ValueError:
        names = " and ".join(one.value for one in Rounding)
        raise ValueError(f'"{found["rounding"]}" is not a rounding; there are {names}') from None
