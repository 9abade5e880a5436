"""What a stage logged → the series that the page draws: headline metrics first, thinned to a screen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ptspec import methods
from ptspec.methods.types import Headline
from ptspec.report import words
from ptspec.report.html.model import StageStory, State

LOSS = Headline("loss", "loss", ".4f")
POINTS = 60_000
"""Of all curves of a page together; a curve gets 100 to 600 of them."""
NO_CURVE = ("step", "epoch")


@dataclass(frozen=True)
class Curve:
    """One logged metric. `values` is None at steps where it was no finite number."""

    key: str
    label: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]
    summary: str


@dataclass(frozen=True)
class Curves:
    """Of one stage. `further` are the metrics that are no headline; `thinned`: not every step is drawn."""

    stage: str
    headline: tuple[Curve, ...]
    further: tuple[Curve, ...]
    logged: int
    thinned: bool

    def data(self) -> dict[str, Any]:
        """For the script: the same without the words."""
        drawn = {key: [asdict(one) for one in getattr(self, key)] for key in ("headline", "further")}
        return {"stage": self.stage, **drawn}


def curves(stages: Sequence[StageStory]) -> list[Curves]:
    """One for every stage that logged something."""
    trained = [stage for stage in stages if stage.logged and stage.state is not State.OUTDATED]
    series = sum(len(_keys(stage.logged)) for stage in trained)
    points = max(100, min(600, POINTS // max(1, series)))
    return [_curves(stage, points) for stage in trained]


def _curves(stage: StageStory, points: int) -> Curves:
    known = methods.get(stage.method).headline if stage.method in methods.METHODS else ()
    first = [LOSS, *(one for one in known if one.key != LOSS.key)]
    keys = _keys(stage.logged)
    headline = [_curve(stage.logged, one.key, one.label, points) for one in first if one.key in keys]
    shown = {one.key for one in first}
    further = [_curve(stage.logged, key, key, points) for key in keys if key not in shown]
    thinned = len(stage.logged) > points
    return Curves(stage.name, tuple(headline), tuple(further), len(stage.logged), thinned)


def _keys(logged: Sequence[Mapping[str, float]]) -> list[str]:
    return [key for key in dict.fromkeys(key for row in logged for key in row) if key not in NO_CURVE]


def _curve(logged: Sequence[Mapping[str, float]], key: str, label: str, points: int) -> Curve:
    found = [(int(row["step"]), _finite(row[key])) for row in logged if key in row]
    kept = list(_thinned(found, points))
    return Curve(key, label, tuple(s for s, _ in kept), tuple(v for _, v in kept), _summary(found))


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _thinned(found: Sequence[tuple[int, float | None]], points: int) -> Iterator[tuple[int, float | None]]:
    """About `points` at most: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(found) <= points:
        yield from found
        return
    width = math.ceil(2 * len(found) / points)
    for start in range(0, len(found), width):
        stretch = found[start : start + width]
        low = min(stretch, key=lambda point: math.inf if point[1] is None else point[1])
        high = max(stretch, key=lambda point: -math.inf if point[1] is None else point[1])
        yield from sorted({low, high}, key=lambda point: point[0])


def _summary(found: Sequence[tuple[int, float | None]]) -> str:
    """The curve in words, for those who do not see it."""
    known = [(step, value) for step, value in found if value is not None]
    if not known:
        return "never a number"
    (first, begin), (last, end) = known[0], known[-1]
    low, high = min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])
    lost = len(found) - len(known)
    return (
        f"{words.number(begin)} at step {first:,}, {words.number(end)} at step {last:,}; "
        f"lowest {words.number(low[1])} at step {low[0]:,}, "
        f"highest {words.number(high[1])} at step {high[0]:,}"
        + (f"; no number at {words.plural(lost, 'step')}" if lost else "")
    )
