"""A comparison as tables: each later model against the first, metric by metric, intervals as pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ptspec.evaluation.comparison import Comparison, WinRate
from ptspec.events import Figure
from ptspec.report import words
from ptspec.report.view.comparison import EffectLine, of_slice, pair_view, rate_line

RATES = ("win_rate", "win_rate_lc")


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
            pairs(of_slice(found, one)),
        )
        for one in found.slices
    )


def pairs(found: Comparison) -> tuple[Pair, ...]:
    return tuple(_pair(found, b) for b in range(1, len(found.names)))


def _pair(found: Comparison, b: int) -> Pair:
    pair = pair_view(found, b)
    lines = [_line(line, 0.0) for line in (*pair.tested, *pair.described) if line.metric not in RATES]
    rates = tuple(_rate(rate) for rate in found.win_rates if rate.b == b)
    return Pair(found.names[0], found.names[b], pair.sentence, tuple(lines), rates)


def _line(line: EffectLine, none: float) -> Line:
    return Line(
        metric=line.metric,
        label=line.label,
        note=line.note,
        a=line.a,
        b=line.b,
        difference=line.change,
        interval=line.interval,
        whisker=_whisker(line.figure, none),
        words=line.word,
        tone=line.tone,
        p=line.p,
        further=line.reason,
        figure=line.figure,
        value_a=line.value_a,
        value_b=line.value_b,
    )


def _rate(rate: WinRate) -> Line:
    line = rate_line(rate)
    return replace(
        _line(line, 0.5),
        note="",
        a=words.count(rate.losses),
        b=words.count(rate.wins),
        difference=line.b,
        further=line.note,
    )


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
