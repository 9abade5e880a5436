"""`metrics.jsonl` thinned to a screen while it is read: of each stretch the lowest and the highest value, so
that no spike is lost. What is kept does not grow with the number of logged steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from ptspec.report.html.json_lines import Said, read_lines
from ptspec.report.html.untrusted import number

POINTS = 600
"""Of a series, at most about."""
NO_SERIES = ("step", "epoch")
LARGEST = 2**63
READ_AT_ONCE = 1 << 20

Point = tuple[int, float]
MaybePoint = tuple[int, float | None]


@dataclass(frozen=True)
class Series:
    """One logged metric: `points` are (step, value), None where it was no finite number. The rest is of all
    logged values: how many were none (`lost`), the first and the last, the lowest and the highest."""

    key: str
    points: tuple[MaybePoint, ...]
    lost: int
    first: Point | None
    last: Point | None
    lowest: Point | None
    highest: Point | None


@dataclass(frozen=True)
class Logged:
    """What a stage logged in `rows` steps."""

    rows: int = 0
    series: tuple[Series, ...] = ()


@dataclass
class _Growing:
    """A series while it is read."""

    points: list[MaybePoint] = field(default_factory=list)
    lost: int = 0
    first: Point | None = None
    last: Point | None = None
    lowest: Point | None = None
    highest: Point | None = None

    def add(self, steps: Sequence[int], values: Sequence[float | None]) -> None:
        """A stretch of the log, of which two points are kept at most."""
        known = [value for value in values if value is not None]
        self.lost += len(values) - len(known)
        if not known:
            self.points += [(steps[0], None)] if values else []
            return
        low, high = values.index(min(known)), values.index(max(known))
        lowest, highest = (steps[low], min(known)), (steps[high], max(known))
        if self.first is None:
            self.first = next((s, v) for s, v in zip(steps, values, strict=True) if v is not None)
        self.last = next((s, v) for s, v in zip(reversed(steps), reversed(values), strict=True) if v is not None)
        self.lowest = lowest if self.lowest is None or lowest[1] < self.lowest[1] else self.lowest
        self.highest = highest if self.highest is None or highest[1] > self.highest[1] else self.highest
        self.points += [lowest] if low == high else sorted({lowest, highest})


def read_logged(path: Path) -> Logged:
    """The logged steps in `path`; none where there is no such file."""
    width = stretch_width(_count_lines(path), POINTS)
    rows, lines = 0, read_lines(path)
    growing: dict[str, _Growing] = {}
    while block := list(islice(lines, width)):
        stretch = [row for row in block if type(step := row.get("step")) is int and abs(step) < LARGEST]
        rows += len(stretch)
        for key in dict.fromkeys(chain.from_iterable(stretch)):
            if key not in NO_SERIES:
                _add(growing, key, stretch)
    return Logged(rows, tuple(_series(key, one) for key, one in growing.items()))


def thinned(points: Sequence[MaybePoint], most: int) -> Iterator[MaybePoint]:
    """About `most` of the points: of each stretch the lowest and the highest."""
    width = stretch_width(len(points), most)
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        low = min(stretch, key=lambda point: math.inf if point[1] is None else point[1])
        high = max(stretch, key=lambda point: -math.inf if point[1] is None else point[1])
        yield from sorted({low, high}, key=lambda point: point[0])


def stretch_width(count: int, most: int) -> int:
    """How many of `count` points become two, so that about `most` are left."""
    return 1 if count <= most else math.ceil(2 * count / most)


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(READ_AT_ONCE), b""))
    except OSError:
        return 0


def _add(growing: dict[str, _Growing], key: str, stretch: Sequence[Said]) -> None:
    logged = [row for row in stretch if key in row]
    values = [row[key] for row in logged]
    steps = [row["step"] for row in logged]
    if set(map(type, values)) != {float} or not math.isfinite(sum(values)):
        is_number = [isinstance(value, float) or number(value) is not None for value in values]
        steps = [step for step, fits in zip(steps, is_number, strict=True) if fits]
        values = [number(value) for value, fits in zip(values, is_number, strict=True) if fits]
    if values:
        growing.setdefault(key, _Growing()).add(steps, values)


def _series(key: str, one: _Growing) -> Series:
    return Series(key, tuple(one.points), one.lost, one.first, one.last, one.lowest, one.highest)
