"""A comparison in one sentence: which model is better at what, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from ptspec.evaluation.comparison import Comparison, Effect, Verdict, WinRate
from ptspec.report import words
from ptspec.report.view.measure import Measure, measure
from ptspec.report.view.order import in_order


def in_words(comparison: Comparison, b: int = 1) -> str:
    """Return a sentence such as "dpo is better at style (+25.6 points)" on model `b` against the first."""
    name, other = comparison.names[b], comparison.names[0]
    parts = [
        f"{verdict.value} at {_listed(found)}"
        for verdict in (Verdict.BETTER, Verdict.WORSE)
        if (found := _found(comparison, b, verdict))
    ]
    if parts:
        return f"{name} is {' and '.join(parts)}."
    everything: list[Effect | WinRate] = [*comparison.effects, *comparison.win_rates]
    tested = [one for one in everything if one.b == b and one.verdict is not Verdict.DESCRIBED]
    if not tested:
        return f"{name} against {other}: nothing was tested."
    if all(one.verdict is Verdict.TOO_FEW for one in tested):
        return f"{name} against {other}: too few prompts for a verdict."
    return f"{name} is not shown to be better or worse than {other} at anything."


def measure_in(comparison: Comparison, name: str) -> Measure:
    """Return how the comparison's metric `name` is written."""
    return measure(name, [values[name] for values in comparison.values if name in values])


def _found(comparison: Comparison, b: int, verdict: Verdict) -> list[str]:
    effects = {e.metric: e for e in comparison.effects if e.b == b and e.verdict is verdict}
    told = []
    for name in in_order(effects):
        shown = measure_in(comparison, name)
        told.append(f"{shown.label} ({shown.points(effects[name].difference.value)})")
    return told + [
        f"win rate by {rate.label} ({words.percent(rate.rate.value)})"
        for rate in comparison.win_rates
        if rate.b == b and rate.verdict is verdict
    ]


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
