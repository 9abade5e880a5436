"""How a metric's numbers are written: scale, decimals, unit, sign. The same on every screen.

Labels and directions are from ptspec/evaluation/measurement.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptspec.events import Figure
from ptspec.metrics import METRICS, Better, metric
from ptspec.report import words
from ptspec.report.clean import clean

DECIMALS = {
    "perplexity": 2,
    "reward_margin": 2,
    "raw_margin": 2,
    "pair_margin": 2,
    "response_length": 1,
    "response_characters": 1,
}
BRIEF = {
    "response_length": "length",
    "response_characters": "length",
    "preference_accuracy": "preference",
    "reward_margin": "margin",
    "win_rate_base": "win rate over base",
}
TURNED = {Better.HIGHER: Better.LOWER, Better.LOWER: Better.HIGHER, Better.NEITHER: Better.NEITHER}


@dataclass(frozen=True)
class Measure:
    """How to write a metric; `label` is the full name, `brief` the one within a line.

    `share`: of one, shown in percent, differences in points. `complement`: 1 − the stored value is shown.
    `better` refers to the shown value.
    """

    name: str
    label: str
    brief: str
    better: Better
    decimals: int
    share: bool
    unit: str
    complement: bool = False

    def number(self, value: float) -> str:
        """Return the value without its unit, for a table with a unit in its head."""
        return words.fixed((1 - value if self.complement else value) * self._scale, self.decimals)

    def value(self, value: float) -> str:
        """Return the value with its unit: "0.410", "95.0 %"."""
        return f"{self.number(value)} %" if self.share else self.number(value)

    def delta(self, change: float) -> str:
        """Return a change with its sign; of a share, in points."""
        return words.delta(change * self._turn * self._scale, self.decimals)

    def points(self, change: float) -> str:
        """Return a change with sign and unit: "+3.1 points", "−3.0 tokens"."""
        return " ".join(filter(None, (self.delta(change), self.difference_unit)))

    @property
    def difference_unit(self) -> str:
        """The unit of differences."""
        return "points" if self.share else self.unit

    def interval(self, figure: Figure) -> str:
        """Return "[91.0, 97.3]", or "" without an interval."""
        if figure.low is None or figure.high is None:
            return ""
        ends = (figure.high, figure.low) if self.complement else (figure.low, figure.high)
        return f"[{self.number(ends[0])}, {self.number(ends[1])}]"

    def delta_interval(self, difference: Figure) -> str:
        """Return "[−3.5, 2.5]", or "" without an interval."""
        if difference.low is None or difference.high is None:
            return ""
        low, high = sorted((difference.low * self._turn, difference.high * self._turn))
        return f"[{self._plain(low)}, {self._plain(high)}]"

    def is_zero(self, values: Sequence[float]) -> bool:
        """Return whether each of `values` is shown as 0 %."""
        zero = words.fixed(0, self.decimals)
        return self.share and bool(values) and all(self.number(value) == zero for value in values)

    def is_none(self, values: Iterable[float]) -> bool:
        """Return whether a count, such as of empty responses, is exactly 0 in all `values`."""
        counts = self.share and metric(self.name).describes and self.better is not Better.HIGHER
        return counts and not any(1 - value if self.complement else value for value in values)

    @property
    def note(self) -> str:
        """Unit and direction: "%, higher is better"."""
        direction = "" if self.better is Better.NEITHER else f"{self.better.value} is better"
        return ", ".join(part for part in ("%" if self.share else self.unit, direction) if part)

    def _plain(self, change: float) -> str:
        return words.fixed(change * self._scale, self.decimals)

    @property
    def _scale(self) -> int:
        return 100 if self.share else 1

    @property
    def _turn(self) -> int:
        return -1 if self.complement else 1


def measure(name: str, figures: Iterable[Figure]) -> Measure:
    """Return how `name` is written. A reward is a share if each row's value is 0 or 1 in all of `figures`."""
    known = metric(name)
    share = known.share or (name not in METRICS and _all_shares(figures))
    label = clean(known.label)
    better = TURNED[known.better] if known.complement else known.better
    decimals = 1 if share else DECIMALS.get(name, 3)
    return Measure(name, label, BRIEF.get(name, label), better, decimals, share, known.unit, known.complement)


def _all_shares(figures: Iterable[Figure]) -> bool:
    flags = [figure.is_share for figure in figures]
    return bool(flags) and all(flags)
