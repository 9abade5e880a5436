"""The table base → stages: each figure with its interval, and its change from the policy it came from.

Computes no statistics of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ptspec.evaluation.comparison import Comparison, Effect
from ptspec.evaluation.comparison_store import comparison_of
from ptspec.evaluation.measurement import Measurement, metric
from ptspec.events import Figure
from ptspec.recipe.plan import BASE
from ptspec.report.html.model import RunStory, StageStory
from ptspec.report.view.measure import Measure
from ptspec.report.view.order import measures
from ptspec.report.view.sentence import in_words
from ptspec.report.view.verdicts import TONES, WORDS

SAME = 1e-9


@dataclass(frozen=True)
class Track:
    """Where a figure and its interval lie on the scale of its row, in percent of the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One figure of one policy. `change` is against the policy it came from, `bounds` its interval."""

    metric: str
    policy: str
    figure: Figure
    value: str
    interval: str
    track: Track | None
    change: str = ""
    bounds: str = ""
    words: str = ""
    tone: str = ""
    further: str = ""


@dataclass(frozen=True)
class Row:
    """`cells` are in the order of the table's policies; None where it was not measured."""

    label: str
    note: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Column:
    """A policy. `against` is what its changes are counted from; None for the first."""

    name: str
    against: str | None


@dataclass(frozen=True)
class Results:
    """`sentences` say in words what each stage changed; `notes` what to mind about them."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]


def results(story: RunStory) -> tuple[Results | None, Results | None]:
    """The table of the policies, and that of the reward models; None where there is nothing in it."""
    policies = [m for m in story.measured if not is_reward_model(m)]
    models = [m for m in story.measured if is_reward_model(m)]
    stored = {stage.name: stage.comparison for stage in story.stages}
    return _table(policies, _came_from(story, policies), stored), _table(models, {}, {})


def is_reward_model(measurement: Measurement) -> bool:
    """A reward model is measured on pairs alone; nothing else has a pair accuracy."""
    return bool(measurement.metrics) and set(measurement.metrics) <= {"pair_accuracy", "pair_margin"}


def _came_from(story: RunStory, measured: Sequence[Measurement]) -> dict[str, str]:
    """The policy each stage's change is counted from: its parent, where that was measured."""
    names = {measurement.name for measurement in measured}
    found: dict[str, StageStory] = {stage.name: stage for stage in story.stages}
    return {
        name: str(stage.parent)
        for name, stage in found.items()
        if name in names and stage.parent in names and name != BASE
    }


def _table(
    measured: Sequence[Measurement],
    came_from: Mapping[str, str],
    stored: Mapping[str, Comparison | None],
) -> Results | None:
    if not measured:
        return None
    by_name = {measurement.name: measurement for measurement in measured}
    pairs = {
        name: compared
        for name, parent in came_from.items()
        if (compared := comparison_of(by_name[parent], by_name[name], stored.get(name))) is not None
    }
    evaluations = [measurement.shown for measurement in measured]
    rows = [
        Row(shown.label, shown.note, _cells(shown, measured, came_from, pairs))
        for shown in measures(evaluations)
    ]
    return Results(
        columns=tuple(Column(m.name, came_from.get(m.name)) for m in measured),
        rows=tuple(rows),
        sentences=tuple(_sentence(came_from[name], compared) for name, compared in pairs.items()),
        notes=tuple(dict.fromkeys(note for compared in pairs.values() for note in compared.notes)),
    )


def _sentence(parent: str, compared: Comparison) -> str:
    return f"{parent} → {compared.names[1]}: {in_words(compared)}"


def _cells(
    shown: Measure,
    measured: Sequence[Measurement],
    came_from: Mapping[str, str],
    pairs: Mapping[str, Comparison],
) -> tuple[Cell | None, ...]:
    figures = {m.name: m.shown[shown.name] for m in measured if shown.name in m.shown}
    span = _span(shown, list(figures.values()))
    cells: list[Cell | None] = []
    for measurement in measured:
        figure = figures.get(measurement.name)
        if figure is None:
            cells.append(None)
            continue
        before = figures.get(came_from.get(measurement.name, ""))
        cell = _cell(shown, measurement.name, figure, before, pairs.get(measurement.name), span)
        over = measurement.preference_over
        if shown.name in ("preference_accuracy", "reward_margin") and over:
            cell = replace(cell, further=f"over {over}")
        cells.append(cell)
    return tuple(cells)


def _cell(
    shown: Measure,
    name: str,
    figure: Figure,
    before: Figure | None,
    compared: Comparison | None,
    span: tuple[float, float],
) -> Cell:
    value = shown.number(figure.value)
    plain = Cell(shown.name, name, figure, value, shown.interval(figure), _track(figure, span))
    if before is None:
        return plain
    effect = _effect(compared, shown.name)
    if effect is None and metric(shown.name).relative:
        return plain  # relative to different policies: their difference means nothing
    if effect is None:
        change = shown.delta(figure.value - before.value)
        return replace(plain, change=change)
    if abs(effect.value_a - before.value) > SAME or abs(effect.value_b - figure.value) > SAME:
        return plain  # the two were measured against different policies: their difference means nothing
    return replace(
        plain,
        change=shown.delta(effect.difference.value),
        bounds=shown.delta_interval(effect.difference),
        words=WORDS[effect.verdict],
        tone=TONES[effect.verdict],
    )


def _effect(compared: Comparison | None, name: str) -> Effect | None:
    effects = compared.effects if compared else ()
    return next((effect for effect in effects if effect.metric == name), None)


def _span(shown: Measure, figures: Sequence[Figure]) -> tuple[float, float]:
    """The scale of a row: 0 to 1 for shares, else what the intervals reach."""
    if shown.share:
        return 0.0, 1.0
    ends = [v for f in figures for v in (f.low, f.value, f.high) if v is not None]
    return min(ends), max(ends)


def _track(figure: Figure, span: tuple[float, float]) -> Track | None:
    low, high = span
    if figure.low is None or figure.high is None or high <= low:
        return None
    place = [round(2 + 96 * (v - low) / (high - low), 2) for v in (figure.value, figure.low, figure.high)]
    return Track(*place)
