"""The table base → stages: each figure with its interval, and its change from the policy it came from.

Computes no statistics of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ptspec.evaluation.comparison import Comparison
from ptspec.evaluation.comparison_store import comparison_of
from ptspec.evaluation.measurement import RAW_METRICS, Measurement, accuracy_label, metric
from ptspec.events import Figure
from ptspec.recipe.plan import BASE
from ptspec.report import words
from ptspec.report.html.comparison_view import FEW, Pair, pairs
from ptspec.report.html.model import RunStory, StageStory
from ptspec.report.view.measure import Measure
from ptspec.report.view.order import ACCURACY, key_measures, measures
from ptspec.report.view.policies import Cell as Told
from ptspec.report.view.policies import Policy, accuracy_by, cell


@dataclass(frozen=True)
class Track:
    """Where a figure and its interval lie on the scale of its row, in percent of the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One figure of one policy: `told` as every screen says it, and where it lies."""

    policy: str
    figure: Figure
    told: Told
    track: Track | None


@dataclass(frozen=True)
class Row:
    """`cells` are in the order of the table's policies; None where it was not measured.

    `is_key`: it is among the few that say what came out."""

    label: str
    note: str
    cells: tuple[Cell | None, ...]
    is_key: bool


@dataclass(frozen=True)
class Column:
    """A policy. `against` is what its changes are counted from, None for the first; `about` what it is."""

    name: str
    against: str | None
    about: str


@dataclass(frozen=True)
class Results:
    """`pairs` are each stage against the policy it came from, `notes` what to mind about them.

    `none`: labels of what no policy has any of."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    none: tuple[str, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def is_wide(self) -> bool:
        return len(self.columns) > FEW

    @property
    def key_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.is_key)

    @property
    def further_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.is_key)

    @property
    def changed(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if pair.is_changed)

    @property
    def unchanged(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if not pair.is_changed)


def results(story: RunStory) -> tuple[Results | None, Results | None]:
    """The table of the policies, and that of the reward models; None where there is nothing in it."""
    policies = [m for m in story.measured if not is_reward_model(m)]
    models = [m for m in story.measured if is_reward_model(m)]
    stages = {stage.name: stage for stage in story.stages}
    return _table(policies, _came_from(stages, policies), stages), _table(models, {}, stages)


def is_reward_model(measurement: Measurement) -> bool:
    """A reward model is measured on pairs alone; nothing else has a pair accuracy."""
    return bool(measurement.metrics) and set(measurement.metrics) <= {"pair_accuracy", "pair_margin"}


def _came_from(stages: Mapping[str, StageStory], measured: Sequence[Measurement]) -> dict[str, str]:
    """The policy each stage's change is counted from: its parent, where that was measured."""
    names = {measurement.name for measurement in measured}
    return {
        name: str(stage.parent)
        for name, stage in stages.items()
        if name in names and stage.parent in names and name != BASE
    }


def _table(
    measured: Sequence[Measurement], came_from: Mapping[str, str], stages: Mapping[str, StageStory]
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
    """What the metric is called; of accuracy with the reward that says what is right."""
    if shown.name not in ACCURACY:
        return shown.label
    return accuracy_label(shown.label, [one.settings for one in measured])


def _about(stage: StageStory | None, name: str) -> str:
    """ "dpo from sft, 30 steps, 8.8 s" """
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
    """Each policy's figures by the names they are told under.

    Preference by raw likelihood that an earlier version did not measure is the comparison's, without an
    interval."""
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
    """The scale of a row: 0 to 1 for shares, else what the intervals reach."""
    if shown.share:
        return 0.0, 1.0
    ends = [v for f in figures for v in (f.low, f.value, f.high) if v is not None]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _track(shown: Measure, figure: Figure, span: tuple[float, float] | None) -> Track | None:
    """None too where the policies' figures share no scale."""
    if span is None or figure.low is None or figure.high is None or span[1] <= span[0]:
        return None
    low, high = span
    ends = (figure.high, figure.low) if shown.complement else (figure.low, figure.high)
    share = [(value - low) / (high - low) for value in (figure.value, *ends)]
    return Track(*(round(2 + 96 * (1 - one if shown.complement else one), 2) for one in share))
