"""A comparison as tables: each later model against the first, metric by metric, intervals as pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ptspec.evaluation.comparison import Comparison, Effect, WinRate
from ptspec.evaluation.measurement import metric
from ptspec.events import Figure
from ptspec.report import words
from ptspec.report.comparison import not_shown
from ptspec.report.html.results import TONES
from ptspec.report.measures import measure
from ptspec.report.sentence import in_words, rate_interval


@dataclass(frozen=True)
class Whisker:
    """An interval around "no difference" (50), in percent of the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One metric of a pair; `note` says unit and direction, `further` why nothing is shown."""

    metric: str
    label: str
    note: str
    a: str
    b: str
    difference: str
    interval: str
    whisker: Whisker | None
    words: str
    tone: str
    p: str
    further: str
    figure: Figure
    value_a: float | None
    value_b: float | None


@dataclass(frozen=True)
class Pair:
    """Model `b` against `a`; `rates` are how often the response of `b` wins, by a reward or by the judge."""

    a: str
    b: str
    sentence: str
    lines: tuple[Line, ...]
    rates: tuple[Line, ...]


@dataclass(frozen=True)
class SliceTables:
    """The comparison on the `rows` prompts whose column has this `value`."""

    value: str
    rows: int
    pairs: tuple[Pair, ...]


def slices(found: Comparison) -> tuple[SliceTables, ...]:
    """The tables of each slice, where the comparison was asked for them."""
    return tuple(
        SliceTables(
            one.value,
            one.rows,
            pairs(replace(found, effects=one.effects, win_rates=one.win_rates, slices=())),
        )
        for one in found.slices
    )


def pairs(found: Comparison) -> tuple[Pair, ...]:
    return tuple(_pair(found, b) for b in range(1, len(found.names)))


def _pair(found: Comparison, b: int) -> Pair:
    effects = [effect for effect in found.effects if effect.b == b]
    lines = []
    for effect in effects:
        if effect.metric == "preference_accuracy" and not any(e.metric == "accuracy" for e in effects):
            lines.append(_not_measured("accuracy"))
        lines.append(_line(effect, found))
    rates = tuple(_rate(rate) for rate in found.win_rates if rate.b == b)
    return Pair(found.names[0], found.names[b], in_words(found, b), tuple(lines), rates)


def _not_measured(name: str) -> Line:
    """Preference accuracy is never shown without task accuracy, even if that was not measured."""
    none = words.NOTHING
    nowhere = Figure(0.0)
    return Line(
        name,
        metric(name).label,
        "",
        none,
        none,
        none,
        "",
        None,
        "not measured",
        "none",
        "",
        "",
        nowhere,
        None,
        None,
    )


def _line(effect: Effect, found: Comparison) -> Line:
    shown = measure(effect.metric, [v[effect.metric] for v in found.values if effect.metric in v])
    return Line(
        metric=effect.metric,
        label=shown.label,
        note=shown.note,
        a=shown.number(effect.value_a, shown.decimals),
        b=shown.number(effect.value_b, shown.decimals),
        difference=shown.delta(effect.difference.value, shown.decimals),
        interval=shown.delta_interval(effect.difference),
        whisker=_whisker(effect.difference, 0.0),
        words=effect.words,
        tone=TONES.get(effect.verdict, ""),
        p=_p(effect.p_corrected),
        further=not_shown(effect, shown),
        figure=effect.difference,
        value_a=effect.value_a,
        value_b=effect.value_b,
    )


def _rate(rate: WinRate) -> Line:
    return Line(
        metric=rate.judge,
        label=rate.label,
        note="",
        a=words.count(rate.losses),
        b=words.count(rate.wins),
        difference=words.percent(rate.rate.value),
        interval=rate_interval(rate),
        whisker=_whisker(rate.rate, 0.5),
        words=rate.verdict.value,
        tone=TONES.get(rate.verdict, ""),
        p=_p(rate.p_corrected),
        further=f"{words.plural(rate.ties, 'tie')}, counted half",
        figure=rate.rate,
        value_a=None,
        value_b=None,
    )


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"= {words.fixed(value, 3)}"


def _whisker(difference: Figure, none: float) -> Whisker | None:
    """On a scale of its own: the farthest end of the interval is at the edge."""
    if difference.low is None or difference.high is None:
        return None
    reach = max(abs(v - none) for v in (difference.low, difference.value, difference.high))
    if reach == 0:
        return Whisker(50, 50, 50)
    place = [
        round(50 + 46 * (v - none) / reach, 2) for v in (difference.value, difference.low, difference.high)
    ]
    return Whisker(*place)
