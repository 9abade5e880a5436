"""Evaluate the recipe's checks: a bound on a metric, absolute or relative to an earlier policy.

With `confidence`, the bound is compared with the end of the interval closer to failing: a pass is then
statistically supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ptspec.evaluation.aggregates import aggregates, figure
from ptspec.evaluation.judging import BASE, PARENT, win_rates
from ptspec.evaluation.measurement import Measurement
from ptspec.evaluation.paired import differences
from ptspec.events import CheckedBound, Figure
from ptspec.metrics import PAIR_METRICS, Better, metric
from ptspec.recipe.plan import CheckSpec

Measured = Mapping[str, Measurement]
"""The policies measured so far, by name ("base", a stage)."""


@dataclass(frozen=True)
class Outcome:
    """The result of a check: its `bounds` with the measured numbers, or the `reason` why there are none."""

    check: CheckSpec
    held: bool
    bounds: tuple[CheckedBound, ...] = ()
    reason: str = ""


def outcome(check: CheckSpec, name: str, over: str, measured: Measured) -> Outcome:
    """Return the result of `check` for policy `name`; `over` is the default policy to compare with.

    `min_gain` is in the metric's better direction, `max_increase` upwards; both are differences in the
    metric's own unit (0.05 of accuracy is five points).
    """
    found = measured[name].metrics.get(check.metric)
    if found is None:
        return Outcome(check, False, reason=f"{check.metric} was not measured: {NO_COLUMNS}")
    bounds = list(_absolute(check, found, measured[name], measured))
    if check.min_gain is not None or check.max_increase is not None:
        other = check.over or over
        if other not in measured or check.metric not in measured[other].metrics:
            return Outcome(check, False, reason=f"{check.metric} of {other} was not measured")
        bounds += _relative(check, measured[other], measured[name])
    return Outcome(check, all(bound.held for bound in bounds), tuple(bounds))


NO_COLUMNS = "the evaluation data has no columns for it"


def _absolute(check: CheckSpec, found: Figure, of: Measurement, measured: Measured) -> list[CheckedBound]:
    if check.min is None and check.max is None:
        return []
    figure = _at_confidence(check, found, of, measured)
    bounds = []
    if check.min is not None:
        bounds.append(_bound(check, figure, "≥", check.min))
    if check.max is not None:
        bounds.append(_bound(check, figure, "≤", check.max))
    return bounds


def _bound(
    check: CheckSpec, figure: Figure, relation: str, bound: float, over: str | None = None
) -> CheckedBound:
    """Compare `bound` with the value, or with the end of the interval closer to failing."""
    end = None if check.confidence is None else figure.low if relation == "≥" else figure.high
    asked = figure.value if end is None else end
    return CheckedBound(
        metric=check.metric,
        value=figure.value,
        relation=relation,
        bound=bound,
        held=asked >= bound if relation == "≥" else asked <= bound,
        over=over,
        end=end,
        confidence=check.confidence,
        is_share=figure.is_share,
    )


def _at_confidence(check: CheckSpec, found: Figure, of: Measurement, measured: Measured) -> Figure:
    """Return the metric with the check's interval. A win rate's is computed from the verdicts."""
    if check.confidence is None:
        return found
    seed = of.settings.seed
    for kind in (PARENT, BASE):
        if check.metric.removesuffix("_lc") == kind:
            return _win_rate(check, found, of, measured)
    name = {pair: policys for policys, pair in PAIR_METRICS.items()}.get(check.metric, check.metric)
    return aggregates(of.rows, seed=seed, confidence=check.confidence).get(name, found)


def _win_rate(check: CheckSpec, found: Figure, of: Measurement, measured: Measured) -> Figure:
    assert check.confidence is not None
    for name in dict.fromkeys(name for row in of.rows for name in row.judged):
        wins = {row.id: row.judged[name] for row in of.rows if name in row.judged}
        rates = win_rates(wins, measured[name], of, seed=of.settings.seed)
        rate = rates[1] if check.metric.endswith("_lc") else rates[0]
        if rate is not None and abs(rate.value - found.value) < 1e-12:
            return figure(rate, check.confidence)
    return found


def _relative(check: CheckSpec, before: Measurement, after: Measurement) -> list[CheckedBound]:
    """Return the change in the better direction: for lower-is-better metrics downwards."""
    change = _change(check, before, after)
    bounds = []
    if check.min_gain is not None:
        is_down = metric(check.metric).better is Better.LOWER
        relation, bound = ("≤", -check.min_gain) if is_down else ("≥", check.min_gain)
        bounds.append(_bound(check, change, relation, bound, before.name))
    if check.max_increase is not None:
        bounds.append(_bound(check, change, "≤", check.max_increase, before.name))
    return bounds


def _change(check: CheckSpec, before: Measurement, after: Measurement) -> Figure:
    """Return after − before; with a confidence, paired by row."""
    ends = before.metrics[check.metric], after.metrics[check.metric]
    is_share = all(figure.is_share for figure in ends)
    plain = Figure(ends[1].value - ends[0].value, is_share=is_share)
    if check.confidence is None:
        return plain
    rows = before.by_id()
    pairs = [(rows[row.id], row) for row in after.rows if row.id in rows]
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    found = differences.change(check.metric, a, b, seed=after.settings.seed, confidence=check.confidence)
    return plain if found is None else replace(plain, low=found.low, high=found.high)
