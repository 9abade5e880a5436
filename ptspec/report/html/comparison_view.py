"""A comparison as tables: each later model against the first, metric by metric, intervals as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptspec.evaluation.comparison import Comparison, Effect, Verdict, WinRate
from ptspec.evaluation.measurement import Better, metric
from ptspec.events import Figure
from ptspec.report import words
from ptspec.report.comparison import not_shown
from ptspec.report.measures import Measure, measure
from ptspec.report.sentence import in_words, rate_interval

TONES = {
    Verdict.BETTER: "good",
    Verdict.WORSE: "bad",
    Verdict.NOT_SHOWN: "none",
    Verdict.TOO_FEW: "none",
}
FEW = 6
"""With more policies than this they are the rows of every table."""
CHANGED = (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True)
class Whisker:
    """An interval around "no difference" (50), in percent of the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One metric of a pair; `note` says unit and direction, `further` why nothing is shown. `is_told`: it was
    tested, or would have been with more prompts; else it is described. `plain`: the 95 % interval."""

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
    is_told: bool = True
    plain: str = ""
    prompts: str = ""


@dataclass(frozen=True)
class Pair:
    """Model `b` against `a`: what was tested, what is described, how often the response of `b` wins by the
    judge. `none`: labels of what neither has any of. `is_changed`: some verdict is better or worse."""

    a: str
    b: str
    sentence: str
    tested: tuple[Line, ...]
    described: tuple[Line, ...]
    none: tuple[str, ...]
    rates: tuple[Line, ...]
    is_changed: bool


@dataclass(frozen=True)
class SliceTables:
    """The comparison on the `rows` prompts whose column has this `value`."""

    value: str
    rows: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Overview:
    """Every policy a row: `heads` are the tested metrics against the `first`, `rows` hold each pair with its
    lines in that order."""

    first: str
    heads: tuple[Line, ...]
    rows: tuple[tuple[Pair, tuple[Line | None, ...]], ...]


def overview(found: Sequence[Pair]) -> Overview | None:
    """None of few policies, which stand side by side."""
    if len(found) < FEW:
        return None
    heads = {line.metric: line for pair in found for line in pair.tested if line.value_a is not None}
    rows = []
    for pair in found:
        lines = {line.metric: line for line in pair.tested}
        rows.append((pair, tuple(lines.get(name) for name in heads)))
    return Overview(found[0].a, tuple(heads.values()), tuple(rows))


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
    rates = [rate for rate in found.win_rates if rate.b == b]
    none = [effect for effect in effects if is_none(effect.metric, [effect.value_a, effect.value_b])]
    lines = [_line(effect, found) for effect in effects if effect not in none]
    verdicts = [*(effect.verdict for effect in effects), *(rate.verdict for rate in rates)]
    places = [line.metric for line in lines]
    if "preference_accuracy" in places and "accuracy" not in places:
        lines.insert(places.index("preference_accuracy"), _not_measured("accuracy"))
    return Pair(
        a=found.names[0],
        b=found.names[b],
        sentence=in_words(found, b),
        tested=tuple(line for line in lines if line.is_told),
        described=tuple(line for line in lines if not line.is_told),
        none=tuple(_shown(effect, found).label for effect in none),
        rates=tuple(_rate(rate) for rate in rates),
        is_changed=any(verdict in CHANGED for verdict in verdicts),
    )


def is_none(name: str, values: Sequence[float]) -> bool:
    """Whether no policy has any of what the metric counts, such as empty responses: a word says that."""
    known = metric(name)
    counts = known.share and known.describes and known.better is not Better.HIGHER
    return counts and not any(values)


def _not_measured(name: str) -> Line:
    """Preference accuracy is never shown without task accuracy, even if that was not measured."""
    return Line(
        metric=name,
        label=metric(name).label,
        note="",
        a=words.NOTHING,
        b=words.NOTHING,
        difference=words.NOTHING,
        interval="",
        whisker=None,
        words="not measured",
        tone="none",
        p="",
        further="",
        figure=Figure(0.0),
        value_a=None,
        value_b=None,
    )


def _shown(effect: Effect, found: Comparison) -> Measure:
    return measure(effect.metric, [v[effect.metric] for v in found.values if effect.metric in v])


def _line(effect: Effect, found: Comparison) -> Line:
    shown = _shown(effect, found)
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
        is_told=not effect.is_described,
        plain=shown.delta_interval(effect.plain),
        prompts=_prompts(effect.rows, effect.clusters),
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
        prompts=_prompts(rate.rows, rate.clusters),
    )


def _prompts(rows: int, clusters: int) -> str:
    """How many prompts, and in how many independent groups where that is fewer."""
    return words.count(rows) if rows == clusters else f"{words.count(rows)} in {words.count(clusters)} groups"


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
