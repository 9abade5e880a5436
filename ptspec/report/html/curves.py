"""The logged metrics of a stage as series to draw: headline metrics first, thinned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ptspec import methods
from ptspec.methods.types import Headline
from ptspec.recipe.stage_evaluation import PREFIX
from ptspec.report import words
from ptspec.report.html.logged import Point, Series, thinned
from ptspec.report.html.model import StageRecord, State

LOSS = Headline("loss", "loss", ".4f")
SPEED = tuple(
    f"{PREFIX}{name}"
    for name in ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "num_tokens")
)
"""Logged keys about the speed of an evaluation."""
POINTS = 60_000
"""Points of all curves of a page, two thirds for headlines; a curve gets 12 to 600."""
FEWEST, MOST = 12, 600


@dataclass(frozen=True)
class HeldOut:
    """A metric on held-out rows, by step."""

    steps: tuple[int, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Curve:
    """One logged metric.

    `values` is None at steps where it was not finite. `held_out`: the same metric on held-out rows; `best`:
    the best of these evaluations, if this metric decides it.
    """

    key: str
    label: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]
    summary: str
    held_out: HeldOut | None = None
    best: int | None = None


@dataclass(frozen=True)
class Curves:
    """The curves of one stage.

    `further`: metrics that are not headlines; `thinned`: some steps are left out.
    """

    stage: str
    method: str
    headline: tuple[Curve, ...]
    further: tuple[Curve, ...]
    logged: int
    thinned: bool

    def data(self) -> dict[str, Any]:
        """Return the data for the page's script."""
        drawn = {key: [asdict(one) for one in getattr(self, key)] for key in ("headline", "further")}
        return {"stage": self.stage, **drawn}


@dataclass(frozen=True)
class Overlay:
    """One headline metric of the stages of one method in one chart.

    `lines`: per stage its index among the page's curves and that of the metric among its headlines.
    """

    label: str
    method: str
    stages: tuple[str, ...]
    lines: tuple[tuple[int, int], ...]


def overlays(drawn: Sequence[Curves]) -> list[Overlay]:
    """Return the charts of several stages of one method. Losses of different methods are not comparable."""
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


def curves(stages: Sequence[StageRecord]) -> list[Curves]:
    """Return the curves of every stage that logged something."""
    trained = [stage for stage in stages if stage.logged.series and stage.state is not State.OUTDATED]
    headlines = sum(len(_headlines(stage)) for stage in trained)
    further = sum(len(_trained(stage)) for stage in trained) - headlines
    points = _share(2 * POINTS // 3, headlines), _share(POINTS // 3, further)
    return [_curves(stage, *points) for stage in trained]


def _share(points: int, series: int) -> int:
    return max(FEWEST, min(MOST, points // max(1, series)))


def _headlines(stage: StageRecord) -> list[tuple[Headline, Series]]:
    method = methods.find(stage.method)
    series = {one.key: one for one in stage.logged.series}
    wanted = [LOSS, *(one for one in (method.headline if method else ()) if one.key != LOSS.key)]
    return [(one, series[one.key]) for one in wanted if one.key in series]


def _curves(stage: StageRecord, of_headline: int, of_further: int) -> Curves:
    headlines = _headlines(stage)
    shown = {one.key for one, _ in headlines}
    further = [one for one in _trained(stage) if one.key not in shown]
    return Curves(
        stage=stage.name,
        method=stage.method,
        headline=tuple(_beside(stage, _curve(s, one.label, of_headline)) for one, s in headlines),
        further=tuple(_beside(stage, _curve(s, s.key, of_further)) for s in further),
        logged=stage.logged.rows,
        thinned=stage.logged.rows > of_headline,
    )


def _trained(stage: StageRecord) -> list[Series]:
    """Return the metrics logged in training, and those of evaluations only, without their speed."""
    keys = {one.key for one in stage.logged.series}
    return [
        one
        for one in stage.logged.series
        if not one.key.startswith(PREFIX)
        or (one.key.removeprefix(PREFIX) not in keys and one.key not in SPEED)
    ]


def _beside(stage: StageRecord, curve: Curve) -> Curve:
    """Return `curve` with the same metric on held-out rows."""
    key = f"{PREFIX}{curve.key}"
    series = next((one for one in stage.logged.series if one.key == key), None)
    if series is None:
        return curve
    values = tuple(None if value is None else float(f"{value:.6g}") for _, value in series.points)
    held_out = HeldOut(tuple(step for step, _ in series.points), values)
    kept = stage.training.best if stage.training else None
    best = kept.step if kept is not None and kept.metric == key else None
    words = f"{curve.summary}. On held-out rows: {_summary(series)}"
    words += "" if best is None else f"; best at step {best:,}"
    return replace(curve, held_out=held_out, best=best, summary=words)


def _curve(series: Series, label: str, points: int) -> Curve:
    kept = list(thinned(series.points, points))
    values = tuple(None if value is None else float(f"{value:.6g}") for _, value in kept)
    return Curve(series.key, label, tuple(step for step, _ in kept), values, _summary(series))


def _summary(series: Series) -> str:
    """Return a text alternative of the curve."""
    if not (series.first and series.last and series.lowest and series.highest):
        return "never a number"
    lost = f"; no number at {words.plural(series.lost, 'step')}" if series.lost else ""
    return (
        f"{_at(series.first)}, {_at(series.last)}; lowest {_at(series.lowest)}, highest {_at(series.highest)}"
    ) + lost


def _at(point: Point) -> str:
    return f"{words.number(point[1])} at step {point[0]:,}"
