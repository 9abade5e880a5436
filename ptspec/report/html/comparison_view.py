"""A comparison as tables: each later model against the first, by metric, with drawn intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptspec.evaluation.comparison import Comparison, WinRate
from ptspec.metrics import metric
from ptspec.report import words
from ptspec.report.clean import clean
from ptspec.report.view.comparison import SHOWN, EffectLine, of_slice, pair_view, rate_line
from ptspec.report.view.sentence import measure_in

RATES = ("win_rate", "win_rate_lc")
FEW = 6
"""Number of policies above which they are the rows of every table."""


@dataclass(frozen=True)
class Whisker:
    """An interval around "no difference" (50), in percent of the width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Model `b` against `a`: tested and descriptive metrics, and judged win rates.

    `none`: labels of metrics that are 0 in both. `is_changed`: a verdict is better or worse.
    """

    a: str
    b: str
    sentence: str
    tested: tuple[EffectLine, ...]
    described: tuple[EffectLine, ...]
    none: tuple[str, ...]
    rates: tuple[EffectLine, ...]
    is_changed: bool


@dataclass(frozen=True)
class SliceTables:
    """The comparison on the `rows` prompts whose column has this `value`."""

    value: str
    rows: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Overview:
    """One row per policy.

    `heads` are the metrics tested against the `first`; `rows` hold each pair with its lines in that order.
    """

    first: str
    heads: tuple[EffectLine, ...]
    rows: tuple[tuple[Pair, tuple[EffectLine | None, ...]], ...]


def overview(found: Sequence[Pair]) -> Overview | None:
    """Return the overview; None for few policies, which are shown side by side."""
    if len(found) < FEW:
        return None
    heads = {
        line.metric: replace(line, label=clean(metric(line.metric).label))
        for pair in found
        for line in pair.tested
        if line.value_a is not None
    }
    rows = []
    for pair in found:
        lines = {line.metric: line for line in pair.tested}
        rows.append((pair, tuple(lines.get(name) for name in heads)))
    return Overview(found[0].a, tuple(heads.values()), tuple(rows))


def slices(found: Comparison) -> tuple[SliceTables, ...]:
    """Return the tables of each slice, if the comparison has slices."""
    return tuple(SliceTables(one.value, one.rows, pairs(of_slice(found, one))) for one in found.slices)


def pairs(found: Comparison) -> tuple[Pair, ...]:
    """Return each later model against the first."""
    return tuple(_pair(found, b) for b in range(1, len(found.names)))


def _pair(found: Comparison, b: int) -> Pair:
    view = pair_view(found, b)
    none = {
        effect.metric: shown.label
        for effect in found.effects
        if effect.b == b
        and (shown := measure_in(found, effect.metric)).is_none([effect.value_a, effect.value_b])
    }
    apart = {*RATES, *none}
    return Pair(
        a=found.names[0],
        b=found.names[b],
        sentence=view.sentence,
        tested=tuple(line for line in view.tested if line.metric not in apart),
        described=tuple(line for line in view.described if line.metric not in apart),
        none=tuple(none.values()),
        rates=tuple(_rate(rate) for rate in found.win_rates if rate.b == b),
        is_changed=any(line.verdict in SHOWN for line in view.tested),
    )


def _rate(rate: WinRate) -> EffectLine:
    line = rate_line(rate)
    return replace(
        line,
        note="",
        a=words.count(rate.losses),
        b=words.count(rate.wins),
        change=line.b,
        reason=line.note,
    )


def whisker(line: EffectLine) -> Whisker | None:
    """Return the interval of a difference, or of a win rate around one half; None without an interval.

    On its own scale: the farthest end is at the edge.
    """
    figure, none = line.figure, 0.5 if line.value_a is None else 0.0
    if figure.low is None or figure.high is None:
        return None
    reach = max(abs(v - none) for v in (figure.low, figure.value, figure.high))
    if reach == 0:
        return Whisker(50, 50, 50)
    place = [round(50 + 46 * (v - none) / reach, 2) for v in (figure.value, figure.low, figure.high)]
    return Whisker(*place)
