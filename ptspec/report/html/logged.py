"""Thin `metrics.jsonl` while reading: keep minimum and maximum of each stretch, so that no spike is lost.

Memory does not grow with the number of logged steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptspec.methods.types import Headline
from ptspec.recipe.stage_evaluation import MEASURED
from ptspec.report.html.columns import read_columns

POINTS = 600
"""Approximate maximum points of a series."""
NO_SERIES = ("step", "epoch")

Point = tuple[int, float]
MaybePoint = tuple[int, float | None]


@dataclass(frozen=True)
class Series:
    """One logged metric: `points` are (step, value), None if not finite.

    Over all logged values: how many were not finite (`lost`), first, last, minimum and maximum.
    """

    key: str
    points: tuple[MaybePoint, ...]
    lost: int
    first: Point | None
    last: Point | None
    lowest: Point | None
    highest: Point | None


@dataclass(frozen=True)
class Logged:
    """The logs of a stage in `rows` steps."""

    rows: int
    series: tuple[Series, ...]


NOTHING_LOGGED = Logged(0, ())


@dataclass
class _Growing:
    """A series being read: about two points per `width` logged values are kept."""

    width: int
    points: list[MaybePoint] = field(default_factory=list)
    lost: int = 0
    first: Point | None = None
    last: Point | None = None
    lowest: Point | None = None
    highest: Point | None = None

    def add(self, steps: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        known = np.isfinite(values)
        self.lost += int((~known).sum())
        low = _extremes(np.where(known, values, np.inf), self.width, np.argmin, np.inf)
        high = _extremes(np.where(known, values, -np.inf), self.width, np.argmax, -np.inf)
        kept = sorted({*low, *high})
        self.points += [(int(steps[i]), float(values[i]) if known[i] else None) for i in kept]
        found = [(int(steps[i]), float(values[i])) for i in kept if known[i]]
        if not found:
            return
        ends = np.flatnonzero(known)[[0, -1]].tolist()
        first, self.last = ((int(steps[i]), float(values[i])) for i in ends)
        self.first = self.first or first
        self.lowest = min([*found, *([self.lowest] if self.lowest else [])], key=lambda point: point[1])
        self.highest = max([*found, *([self.highest] if self.highest else [])], key=lambda point: point[1])


def read_logged(path: Path, headlines: Sequence[Headline] = ()) -> Logged:
    """Return the logged steps in `path`, without void values of the method's `headlines`.

    Empty without the file.
    """
    deciding = {one.key: one.void_at_zero_of for one in headlines}
    growing: dict[str, _Growing] = {}
    rows = 0
    for lines, block in read_columns(path):
        steps = block.get("step")
        if steps is None:
            continue
        is_step = steps.is_there
        measured = block.get(MEASURED)
        rows += int((is_step if measured is None else is_step & ~measured.is_there).sum())
        for key, column in block.items():
            if key in NO_SERIES:
                continue
            there = is_step & column.is_there
            if (other := block.get(deciding.get(key) or "")) is not None:
                there &= ~(other.is_there & (other.values == 0))
            if there.any():
                one = growing.setdefault(key, _Growing(stretch_width(lines, POINTS)))
                one.add(steps.values[there], column.values[there])
    return Logged(rows, tuple(_series(key, one) for key, one in growing.items()))


def thinned(points: Sequence[MaybePoint], most: int) -> Iterator[MaybePoint]:
    """Yield about `most` of the points: minimum and maximum of each stretch."""
    width = stretch_width(len(points), most)
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        low = min(stretch, key=lambda point: math.inf if point[1] is None else point[1])
        high = max(stretch, key=lambda point: -math.inf if point[1] is None else point[1])
        yield from sorted({low, high}, key=lambda point: point[0])


def stretch_width(count: int, most: int) -> int:
    """Return how many of `count` points become two, so that about `most` are left."""
    return 1 if count <= most else math.ceil(2 * count / most)


def _extremes(values: NDArray[np.float64], width: int, best: Callable[..., Any], none: float) -> list[int]:
    """Return the index of the `best` value of each stretch; `none` for a missing value."""
    stretches = -(-len(values) // width)
    padded = np.full(stretches * width, none)
    padded[: len(values)] = values
    found: list[int] = (
        best(padded.reshape(stretches, width), axis=1) + np.arange(stretches) * width
    ).tolist()
    return found


def _series(key: str, one: _Growing) -> Series:
    points = tuple(thinned(one.points, POINTS))
    return Series(key, points, one.lost, one.first, one.last, one.lowest, one.highest)
