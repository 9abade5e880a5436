"""A comparison in one sentence: which model is better at what, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ptspec.evaluation.comparison import Comparison, Effect, Verdict, WinRate
from ptspec.report import words
from ptspec.report.measures import measure


def in_words(comparison: Comparison, b: int = 1) -> str:
    """One sentence on model `b` against the first, such as
    "dpo is better at style (+52.5 [+45.0, +60.0]); no difference shown in accuracy."
    """
    effects = [effect for effect in comparison.effects if effect.b == b]
    rates = [rate for rate in comparison.win_rates if rate.b == b]
    name = comparison.names[b]
    parts = [
        f"{verdict.value} at {_listed(found)}"
        for verdict in (Verdict.BETTER, Verdict.WORSE)
        if (found := [*_by_metric(effects, verdict, comparison), *_by_judge(rates, verdict)])
    ]
    alike = [_label(effect, comparison) for effect in effects if _is_alike(effect)]
    if not parts:
        return f"{name} is not shown to be better or worse than {comparison.names[0]} at anything."
    said = f"{name} is {' and '.join(parts)}"
    return f"{said}; no difference shown in {_listed(alike)}." if alike else f"{said}."


def _by_metric(effects: Sequence[Effect], verdict: Verdict, comparison: Comparison) -> Iterator[str]:
    for effect in effects:
        if effect.verdict is verdict:
            yield f"{_label(effect, comparison)} ({difference(effect, comparison)})"


def _by_judge(rates: Sequence[WinRate], verdict: Verdict) -> Iterator[str]:
    for rate in rates:
        if rate.verdict is verdict:
            yield f"win rate by {rate.label} ({words.percent(rate.rate.value)} {rate_interval(rate)})"


def rate_interval(rate: WinRate) -> str:
    """ "[52.0, 71.3]", in percent; nothing where there are too few prompts for one."""
    if rate.rate.low is None or rate.rate.high is None:
        return ""
    low, high = (words.fixed(100 * bound, 1) for bound in (rate.rate.low, rate.rate.high))
    return f"[{low}, {high}]"


def difference(effect: Effect, comparison: Comparison) -> str:
    """ "+52.5 [+45.0, +60.0]": b − a and its interval, as the table writes them."""
    shown = measure(effect.metric, [v[effect.metric] for v in comparison.values if effect.metric in v])
    figure = effect.difference
    bounds = [figure.low, figure.high]
    interval = ", ".join(shown.delta(bound, shown.decimals) for bound in bounds if bound is not None)
    return f"{shown.delta(figure.value, shown.decimals)} [{interval}]"


def _label(effect: Effect, comparison: Comparison) -> str:
    return measure(effect.metric, [v[effect.metric] for v in comparison.values if effect.metric in v]).label


def _is_alike(effect: Effect) -> bool:
    """Tested and not shown to differ."""
    return effect.verdict is Verdict.NOT_SHOWN


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
