"""Histograms of row values: perplexity of expected answers, response lengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from ptspec.evaluation.measurement import Measurement, RowMeasurement
from ptspec.report import words
from ptspec.report.html.comparison_view import FEW

BINS = 36


@dataclass(frozen=True)
class Bar:
    """`x` and `width` in percent of the plot, `height` in percent of the highest bar of all policies."""

    x: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class Histogram:
    """The histogram of one policy.

    `middle`, `low`, `high`: positions of the median and the central 90 % of the rows, in percent; `words`: a
    text alternative.
    """

    policy: str
    bars: tuple[Bar, ...]
    middle: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Tick:
    """A label on the axis and its position in percent."""

    x: float
    text: str


@dataclass(frozen=True)
class Distribution:
    """Histograms of all policies on one axis, with `unit`."""

    title: str
    axis: str
    histograms: tuple[Histogram, ...]
    ticks: tuple[Tick, ...]

    @property
    def is_wide(self) -> bool:
        """Whether there are too many policies for bars: each is drawn as a strip."""
        return len(self.histograms) > FEW


@dataclass(frozen=True)
class Scale:
    """Maps values to percent of the width, and to bins."""

    low: float
    high: float
    log: bool

    def place(self, value: float) -> float:
        """Return the position of a value in percent."""
        low, high, at = (self._on(v) for v in (self.low, self.high, value))
        return round(100 * min(1.0, max(0.0, (at - low) / (high - low))), 2)

    def edge(self, index: int) -> float:
        """Return the lower edge of a bin."""
        low, high = self._on(self.low), self._on(self.high)
        at = low + (high - low) * index / BINS
        return math.exp(at) if self.log else at

    def bin(self, value: float) -> int:
        """Return the bin of a value."""
        return min(BINS - 1, int(self.place(value) / 100 * BINS))

    def _on(self, value: float) -> float:
        return math.log(value) if self.log else value


def distributions(measured: Sequence[Measurement]) -> list[Distribution]:
    """Return the distributions for which there are rows."""
    wanted: list[tuple[str, str, Callable[[RowMeasurement], float | None], bool]] = [
        ("Perplexity of each expected answer", "perplexity, log scale; left is better", _perplexity, True),
        ("Length of each response", "tokens, end of turn included", _length, False),
    ]
    found = [_distribution(measured, *one) for one in wanted]
    return [one for one in found if one is not None]


def _perplexity(row: RowMeasurement) -> float | None:
    if row.nll is None or not row.tokens:
        return None
    return math.exp(min(row.nll / row.tokens, 50.0))


def _length(row: RowMeasurement) -> float | None:
    return None if row.response_tokens is None else float(row.response_tokens)


def _distribution(
    measured: Sequence[Measurement],
    title: str,
    axis: str,
    value: Callable[[RowMeasurement], float | None],
    log: bool,
) -> Distribution | None:
    values = {m.name: [v for row in m.rows if (v := value(row)) is not None] for m in measured}
    values = {name: of_policy for name, of_policy in values.items() if of_policy}
    if not values:
        return None
    everything = [v for of_policy in values.values() for v in of_policy]
    low, high = (min(everything), max(everything)) if log else (0.0, max(everything) + 1)
    scale = Scale(low, high if high > low else low * 1.1 + 1e-9, log)
    counts = {name: _counts(of_policy, scale) for name, of_policy in values.items()}
    tallest = max(max(c) / len(values[name]) for name, c in counts.items())
    return Distribution(
        title,
        axis,
        tuple(_histogram(name, values[name], counts[name], scale, tallest) for name in values),
        _ticks(scale),
    )


def _counts(values: Sequence[float], scale: Scale) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[scale.bin(value)] += 1
    return counts


def _histogram(
    name: str, values: Sequence[float], counts: Sequence[int], scale: Scale, tallest: float
) -> Histogram:
    bars = [
        Bar(
            round(100 * index / BINS, 2),
            round(100 / BINS, 2),
            round(100 * count / len(values) / tallest, 2),
            f"{words.number(scale.edge(index), '.3g')} to {words.number(scale.edge(index + 1), '.3g')}: "
            + words.plural(count, "row"),
        )
        for index, count in enumerate(counts)
        if count
    ]
    middle = median(values)
    ordered = sorted(values)
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.05, 0.95))
    said = (
        f"median {words.number(middle, '.3g')}, nine of ten from {words.number(low, '.3g')} "
        f"to {words.number(high, '.3g')}, {words.plural(len(values), 'row')}"
    )
    return Histogram(name, tuple(bars), scale.place(middle), scale.place(low), scale.place(high), said)


def _ticks(scale: Scale) -> tuple[Tick, ...]:
    """Return about five round numbers on the axis."""
    if scale.log:
        decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        steps = (1, 2, 5) if len(decades) < 4 else (1,)
        places = [step * 10.0**decade for decade in decades for step in steps]
    else:
        unit = _round_unit((scale.high - scale.low) / 5)
        places = [unit * index for index in range(7)]
    inside = [place for place in places if scale.low <= place <= scale.high]
    every = math.ceil(len(inside) / 6) if inside else 1
    return tuple(Tick(scale.place(place), f"{place:g}") for place in inside[::every])


def _round_unit(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
