"""What a stage logged → the series that the page draws: headline metrics first, thinned to a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ptspec import methods
from ptspec.methods.types import Headline
from ptspec.report import words
from ptspec.report.html.logged import Point, Series, thinned
from ptspec.report.html.model import StageStory, State

LOSS = Headline("loss", "loss", ".4f")
POINTS = 60_000
"""Of all curves of a page together, two thirds of them the headlines'; a curve gets 12 to 600 of them."""
FEWEST, MOST = 12, 600


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
    method: str
    headline: tuple[Curve, ...]
    further: tuple[Curve, ...]
    logged: int
    thinned: bool

    def data(self) -> dict[str, Any]:
        """For the script: the same without the words."""
        drawn = {key: [asdict(one) for one in getattr(self, key)] for key in ("headline", "further")}
        return {"stage": self.stage, **drawn}


@dataclass(frozen=True)
class Overlay:
    """One headline metric of the stages of one method in one chart. `lines`: for each stage its place among
    the page's curves and that of the metric among its headlines."""

    label: str
    method: str
    stages: tuple[str, ...]
    lines: tuple[tuple[int, int], ...]


def overlays(drawn: Sequence[Curves]) -> list[Overlay]:
    """What several stages of one method logged. A loss of another method is another quantity."""
    found: dict[tuple[str, str, str], list[tuple[str, int, int]]] = {}
    for place, stage in enumerate(drawn):
        for index, curve in enumerate(stage.headline):
            key = (stage.method, curve.key, curve.label)
            found.setdefault(key, []).append((stage.stage, place, index))
    return [
        Overlay(label, method, tuple(name for name, _, _ in lines), tuple((p, i) for _, p, i in lines))
        for (method, _, label), lines in found.items()
        if len(lines) > 1
    ]


def curves(stages: Sequence[StageStory]) -> list[Curves]:
    """One for every stage that logged something."""
    trained = [stage for stage in stages if stage.logged.series and stage.state is not State.OUTDATED]
    headlines = sum(len(_headlines(stage)) for stage in trained)
    further = sum(len(stage.logged.series) for stage in trained) - headlines
    points = _share(2 * POINTS // 3, headlines), _share(POINTS // 3, further)
    return [_curves(stage, *points) for stage in trained]


def _share(points: int, series: int) -> int:
    return max(FEWEST, min(MOST, points // max(1, series)))


def _headlines(stage: StageStory) -> list[tuple[Headline, Series]]:
    method = methods.find(stage.method)
    series = {one.key: one for one in stage.logged.series}
    wanted = [LOSS, *(one for one in (method.headline if method else ()) if one.key != LOSS.key)]
    return [(one, series[one.key]) for one in wanted if one.key in series]


def _curves(stage: StageStory, of_headline: int, of_further: int) -> Curves:
    headlines = _headlines(stage)
    shown = {one.key for one, _ in headlines}
    return Curves(
        stage=stage.name,
        method=stage.method,
        headline=tuple(_curve(series, one.label, of_headline) for one, series in headlines),
        further=tuple(_curve(s, s.key, of_further) for s in stage.logged.series if s.key not in shown),
        logged=stage.logged.rows,
        thinned=stage.logged.rows > of_headline,
    )


def _curve(series: Series, label: str, points: int) -> Curve:
    kept = list(thinned(series.points, points))
    values = tuple(None if value is None else float(f"{value:.6g}") for _, value in kept)
    return Curve(series.key, label, tuple(step for step, _ in kept), values, _summary(series))


def _summary(series: Series) -> str:
    """The curve in words, for those who do not see it."""
    if not (series.first and series.last and series.lowest and series.highest):
        return "never a number"
    lost = f"; no number at {words.plural(series.lost, 'step')}" if series.lost else ""
    return (
        f"{_at(series.first)}, {_at(series.last)}; lowest {_at(series.lowest)}, highest {_at(series.highest)}"
    ) + lost


def _at(point: Point) -> str:
    return f"{words.number(point[1])} at step {point[0]:,}"
