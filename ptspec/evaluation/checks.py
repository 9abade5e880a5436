"""Checks of the recipe (gates): a bound on a metric, absolute or against an earlier policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptspec.evaluation.measurement import Better, metric
from ptspec.events import Figure
from ptspec.recipe.plan import CheckSpec

Figures = Mapping[str, Mapping[str, Figure]]
"""The metrics of each policy measured so far, by its name ("base", a stage)."""


@dataclass(frozen=True)
class Outcome:
    """`text` says the check and the measured numbers in words."""

    check: CheckSpec
    held: bool
    text: str


def outcome(check: CheckSpec, name: str, over: str, figures: Figures) -> Outcome:
    """Whether `check` holds for policy `name`; `over` is what it is compared with unless it says itself.

    `min_gain` is in the direction that is better for the metric, `max_increase` upwards; both are
    differences in the metric's own unit (0.05 of accuracy is five points).
    """
    figure = figures[name].get(check.metric)
    if figure is None:
        return Outcome(
            check, False, f"{check.metric} was not measured: the evaluation data has no columns for it"
        )
    value = figure.value
    parts: list[tuple[bool, str]] = []
    if check.min is not None:
        parts.append((value >= check.min, f"{check.metric} {value:.4g} ≥ {check.min:g}"))
    if check.max is not None:
        parts.append((value <= check.max, f"{check.metric} {value:.4g} ≤ {check.max:g}"))
    if check.min_gain is not None or check.max_increase is not None:
        parts += _relative(check, value, check.over or over, figures)
    failed = [text for held, text in parts if not held]
    return Outcome(check, not failed, "; ".join(failed or [text for _, text in parts]))


def _relative(check: CheckSpec, value: float, over: str, figures: Figures) -> list[tuple[bool, str]]:
    before = figures.get(over, {}).get(check.metric)
    if before is None:
        return [(False, f"{check.metric} of {over} was not measured")]
    change = value - before.value
    between = f"{before.value:.4g} ({over}) → {value:.4g}"
    parts = []
    if check.min_gain is not None:
        gain = -change if metric(check.metric).better is Better.LOWER else change
        parts.append(
            (gain >= check.min_gain, f"{check.metric} gain {gain:+.4g} ≥ {check.min_gain:g}: {between}")
        )
    if check.max_increase is not None:
        text = f"{check.metric} increase {change:+.4g} ≤ {check.max_increase:g}: {between}"
        parts.append((change <= check.max_increase, text))
    return parts
