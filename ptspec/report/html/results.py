"""The table from base to stages: each figure with its interval, and its change from the parent.

Computes no statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.comparison_store import comparison_of
from ptspec.evaluation.measurement import Measurement, accuracy_label
from ptspec.events import Figure
from ptspec.metrics import PAIR_METRICS, RAW_METRICS, metric
from ptspec.recipe.plan import BASE
from ptspec.report import words
from ptspec.report.html.comparison_view import FEW, Pair, pairs
from ptspec.report.html.model import RunRecord, StageRecord
from ptspec.report.view.measure import Measure
from ptspec.report.view.order import ACCURACY, key_measures, measures
from ptspec.report.view.policies import Cell as Told
from ptspec.report.view.policies import Policy, accuracy_by, cell


@dataclass(frozen=True)
class Track:
    """Position of a figure and its interval on its row's scale, in percent of the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One figure of one policy: `told` is its display form; and its position."""

    policy: str
    figure: Figure
    told: Told
    track: Track | None


@dataclass(frozen=True)
class Row:
    """`cells` are in the order of the table's policies; None if not measured.

    `is_key`: it is a key metric.
    """

    label: str
    note: str
    cells: tuple[Cell | None, ...]
    is_key: bool


@dataclass(frozen=True)
class Column:
    """A policy. `against`: the policy its changes refer to, None for the first; `about`: a description."""

    name: str
    against: str | None
    about: str


@dataclass(frozen=True)
class Results:
    """The table; `pairs`: each stage against its parent, `notes`: remarks.

    `none`: labels of metrics that are 0 for every policy.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    none: tuple[str, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def is_wide(self) -> bool:
        """Whether policies are rows instead of columns."""
        return len(self.columns) > FEW

    @property
    def key_rows(self) -> tuple[Row, ...]:
        """The rows of key metrics."""
        return tuple(row for row in self.rows if row.is_key)

    @property
    def further_rows(self) -> tuple[Row, ...]:
        """The other rows."""
        return tuple(row for row in self.rows if not row.is_key)

    @property
    def changed(self) -> tuple[Pair, ...]:
        """The pairs with a better or worse metric."""
        return tuple(pair for pair in self.pairs if pair.is_changed)

    @property
    def unchanged(self) -> tuple[Pair, ...]:
        """The other pairs."""
        return tuple(pair for pair in self.pairs if not pair.is_changed)


def results(run_record: RunRecord) -> tuple[Results | None, Results | None]:
    """Return the table of the policies, and that of the reward models; None if empty."""
    policies = [m for m in run_record.measured if not is_reward_model(m)]
    models = [m for m in run_record.measured if is_reward_model(m)]
    stages = {stage.name: stage for stage in run_record.stages}
    return _table(policies, _came_from(stages, policies), stages), _table(models, {}, stages)


def is_reward_model(measurement: Measurement) -> bool:
    """Return whether the measurement is a reward model's: only those have a pair accuracy."""
    return bool(measurement.metrics) and set(measurement.metrics) <= set(PAIR_METRICS.values())


def _came_from(stages: Mapping[str, StageRecord], measured: Sequence[Measurement]) -> dict[str, str]:
    """Return the policy that each stage's change refers to: its parent, if measured."""
    names = {measurement.name for measurement in measured}
    return {
        name: str(stage.parent)
        for name, stage in stages.items()
        if name in names and stage.parent in names and name != BASE
    }


def _table(
    measured: Sequence[Measurement], came_from: Mapping[str, str], stages: Mapping[str, StageRecord]
) -> Results | None:
    if not measured:
        return None
    by_name = {measurement.name: measurement for measurement in measured}
    found = {
        name: compared
        for name, parent in came_from.items()
        if (compared := comparison_of(by_name[parent], by_name[name], stages[name].comparison)) is not None
    }
    figures = _figures(measured, came_from, found)
    told = list(figures.values())
    key = {one.name for one in key_measures(told)} or set(told[0])
    shown = measures(told)
    none = [one for one in shown if one.is_none([of[one.name].value for of in told if one.name in of])]
    rows = [
        Row(_label(one, measured), one.note, _cells(one, measured, figures, found), one.name in key)
        for one in shown
        if one not in none
    ]
    by = accuracy_by(m.settings.accuracy_in_words for m in measured)
    return Results(
        columns=tuple(
            Column(m.name, came_from.get(m.name), _about(stages.get(m.name), m.name)) for m in measured
        ),
        rows=tuple(rows),
        none=tuple(one.label for one in none),
        pairs=tuple(pairs(compared)[0] for compared in found.values()),
        notes=tuple(dict.fromkeys([*by, *(note for compared in found.values() for note in compared.notes)])),
    )


def _label(shown: Measure, measured: Sequence[Measurement]) -> str:
    """Return the metric's label; of accuracy with its scorer."""
    if shown.name not in ACCURACY:
        return shown.label
    return accuracy_label(shown.label, [one.settings for one in measured])


def _about(stage: StageRecord | None, name: str) -> str:
    """Return "dpo from sft, 30 steps, 8.8 s"."""
    if stage is None:
        return "" if name == BASE else "from outside this run"
    if stage.selection is not None:
        return f"{stage.selection.picked}, picked of {len(stage.selection.variants)}"
    parts = [stage.merged or f"{stage.method} from {stage.parent or BASE}"]
    if stage.training and not stage.merged:
        parts += [words.plural(stage.training.steps, "step"), words.duration(stage.training.seconds)]
    return ", ".join(parts)


def _figures(
    measured: Sequence[Measurement], came_from: Mapping[str, str], found: Mapping[str, Comparison]
) -> dict[str, dict[str, Figure]]:
    """Return each policy's figures by display name.

    Raw preference that an earlier version did not measure is the comparison's, without an interval.
    """
    figures = {m.name: m.shown for m in measured}
    for name, compared in found.items():
        for effect in compared.effects:
            if effect.metric in RAW_METRICS:
                figures[came_from[name]].setdefault(effect.metric, Figure(effect.value_a))
                figures[name].setdefault(effect.metric, Figure(effect.value_b))
    return figures


def _cells(
    shown: Measure,
    measured: Sequence[Measurement],
    figures: Mapping[str, Mapping[str, Figure]],
    found: Mapping[str, Comparison],
) -> tuple[Cell | None, ...]:
    there = {name: of[shown.name] for name, of in figures.items() if shown.name in of}
    references = {m.preference_over for m in measured if m.name in there}
    is_apart = metric(shown.name).relative and len(references) > 1
    span = None if is_apart else _span(shown, list(there.values()))
    return tuple(
        _cell(shown, _policy(one, there[one.name], shown, found.get(one.name)), span)
        if one.name in there
        else None
        for one in measured
    )


def _policy(measured: Measurement, figure: Figure, shown: Measure, compared: Comparison | None) -> Policy:
    told = compared.of_stage() if compared else None
    return Policy(measured.name, {shown.name: figure}, told, measured.preference_over)


def _cell(shown: Measure, policy: Policy, span: tuple[float, float] | None) -> Cell | None:
    told, figure = cell(shown, policy), policy.metrics[shown.name]
    return None if told is None else Cell(policy.name, figure, told, _track(shown, figure, span))


def _span(shown: Measure, figures: Sequence[Figure]) -> tuple[float, float]:
    """Return the scale of a row: 0 to 1 for shares, else the range of the intervals."""
    if shown.share:
        return 0.0, 1.0
    ends = [v for f in figures for v in (f.low, f.value, f.high) if v is not None]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _track(shown: Measure, figure: Figure, span: tuple[float, float] | None) -> Track | None:
    """Return a figure's position; None too if the policies' figures share no scale."""
    if span is None or figure.low is None or figure.high is None or span[1] <= span[0]:
        return None
    low, high = span
    ends = (figure.high, figure.low) if shown.complement else (figure.low, figure.high)
    share = [(value - low) / (high - low) for value in (figure.value, *ends)]
    return Track(*(round(2 + 96 * (1 - one if shown.complement else one), 2) for one in share))
