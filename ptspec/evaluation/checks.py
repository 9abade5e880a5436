"""Checks of the recipe (gates): a bound on a metric, absolute or against an earlier policy.

With `confidence`, a bound is asked of the end of the interval that is nearer to failing: what holds is then
shown to hold, not merely measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptspec.evaluation.judging import BASE, PARENT, win_rates
from ptspec.evaluation.measurement import Better, Measurement, metric
from ptspec.evaluation.metrics import aggregates, figure
from ptspec.evaluation.paired import differences
from ptspec.evaluation.reward_model import PAIR_METRICS
from ptspec.events import Figure
from ptspec.recipe.plan import CheckSpec

Measured = Mapping[str, Measurement]
"""Each policy measured so far, by its name ("base", a stage)."""


@dataclass(frozen=True)
class Outcome:
    """`text` says the check and the measured numbers in words, or why there are none (`is_measured`)."""

    check: CheckSpec
    held: bool
    text: str
    is_measured: bool = True


@dataclass(frozen=True)
class _Part:
    """One bound of a check: what was found, in words, the number it goes by, and by how much that misses."""

    text: str
    short: float

    @property
    def held(self) -> bool:
        return self.short <= 0

    def told(self) -> str:
        return self.text if self.held else f"{self.text} (by {self.short:.3g})"


def outcome(check: CheckSpec, name: str, over: str, measured: Measured) -> Outcome:
    """Whether `check` holds for policy `name`; `over` is what it is compared with unless it says itself.

    `min_gain` is in the direction that is better for the metric, `max_increase` upwards; both are
    differences in the metric's own unit (0.05 of accuracy is five points). A check that does not hold says by
    how much.
    """
    found = measured[name].metrics.get(check.metric)
    if found is None:
        text = f"{check.metric} was not measured: the evaluation data has no columns for it"
        return Outcome(check, False, text, is_measured=False)
    parts = list(_absolute(check, found, measured[name], measured))
    if check.min_gain is not None or check.max_increase is not None:
        other = check.over or over
        if other not in measured or check.metric not in measured[other].metrics:
            return Outcome(check, False, f"{check.metric} of {other} was not measured", is_measured=False)
        parts += _relative(check, measured[other], measured[name])
    failed = [part.told() for part in parts if not part.held]
    return Outcome(check, not failed, "; ".join(failed or [part.told() for part in parts]))


def _absolute(check: CheckSpec, found: Figure, of: Measurement, measured: Measured) -> list[_Part]:
    if check.min is None and check.max is None:
        return []
    figure = _at_confidence(check, found, of, measured)
    parts = []
    if check.min is not None:
        value, words = _worst(check, figure, low=True)
        parts.append(_Part(f"{check.metric} {words} ≥ {check.min:g}", check.min - value))
    if check.max is not None:
        value, words = _worst(check, figure, low=False)
        parts.append(_Part(f"{check.metric} {words} ≤ {check.max:g}", value - check.max))
    return parts


def _worst(check: CheckSpec, figure: Figure, *, low: bool) -> tuple[float, str]:
    """The number that a bound is asked of, and how it is told: the value, or an end of its interval."""
    end = figure.low if low else figure.high
    if check.confidence is None or end is None:
        return figure.value, f"{figure.value:.4g}"
    side = "at least" if low else "at most"
    return end, f"{figure.value:.4g}, {side} {end:.4g} with {check.confidence * 100:g} % confidence,"


def _at_confidence(check: CheckSpec, found: Figure, of: Measurement, measured: Measured) -> Figure:
    """The metric with the interval that the check asks for. A win rate's is made from the judge's answers."""
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


def _relative(check: CheckSpec, before: Measurement, after: Measurement) -> list[_Part]:
    change = _change(check, before, after)
    between = (
        f"{before.metrics[check.metric].value:.4g} ({before.name}) → {after.metrics[check.metric].value:.4g}"
    )
    parts = []
    if check.min_gain is not None:
        gain = _turned(change) if metric(check.metric).better is Better.LOWER else change
        value, words = _worst(check, gain, low=True)
        text = f"{check.metric} gain {_signed(words)} ≥ {check.min_gain:g}: {between}"
        parts.append(_Part(text, check.min_gain - value))
    if check.max_increase is not None:
        value, words = _worst(check, change, low=False)
        text = f"{check.metric} increase {_signed(words)} ≤ {check.max_increase:g}: {between}"
        parts.append(_Part(text, value - check.max_increase))
    return parts


def _change(check: CheckSpec, before: Measurement, after: Measurement) -> Figure:
    """after − before; with a confidence, paired row by row."""
    plain = after.metrics[check.metric].value - before.metrics[check.metric].value
    if check.confidence is None:
        return Figure(plain)
    rows = before.by_id()
    pairs = [(rows[row.id], row) for row in after.rows if row.id in rows]
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    found = differences.change(check.metric, a, b, seed=after.settings.seed, confidence=check.confidence)
    return Figure(plain) if found is None else Figure(plain, found.low, found.high)


def _turned(figure: Figure) -> Figure:
    low, high = figure.low, figure.high
    return Figure(-figure.value, None if high is None else -high, None if low is None else -low)


def _signed(words: str) -> str:
    return words if words.startswith("-") else f"+{words}"
