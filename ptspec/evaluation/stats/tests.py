"""p values, corrections for multiple tests, and detectable differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ptspec.evaluation.stats.clusters import Values
from ptspec.evaluation.stats.distributions import (
    half_binomial,
    normal_p,
    normal_quantile,
    student_p,
    student_quantile,
)
from ptspec.evaluation.stats.intervals import Interval

POWER = 0.8


def mid_p(wins: float, losses: float) -> float:
    """Return McNemar's mid-p of "wins are as likely as losses", without ties.

    Fagerland, Lydersen and Laake 2013: the exact two-sided p, the observed table counting half. Counts may be
    fractions.
    """
    n, fewer = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    return min(1.0, half_binomial(fewer, n) + half_binomial(fewer - 1, n))


def paired_p(wins: float, losses: float) -> float:
    """Return the p for Tango's interval: the larger of McNemar's mid-p and his score test's p.

    Tango's interval inverts the score test, so that it excludes 0 wherever p is small.
    """
    if wins == losses:
        return 1.0
    return max(mid_p(wins, losses), normal_p((wins - losses) / math.sqrt(wins + losses)))


@dataclass(frozen=True)
class ByStudent:
    """An estimate with its standard error and degrees of `freedom`; interval and p by Student's t."""

    value: float
    error: float
    freedom: int
    units: int
    none = 0.0

    @property
    def is_constant(self) -> bool:
        """Whether value and error are 0."""
        return self.error <= 1e-15 and self.value == 0

    @property
    def p(self) -> float:
        """Two-sided p of "it is 0"."""
        if self.error <= 1e-15:
            return 1.0 if self.value == 0 else 0.0
        return student_p(self.value / self.error, self.freedom)

    def at(self, confidence: float) -> Interval:
        """Return the interval at this confidence."""
        if self.error <= 1e-15:
            return Interval(self.value, self.value, self.value)
        half = student_quantile(confidence, self.freedom) * self.error
        return Interval(self.value, self.value - half, self.value + half)


def jackknife(value: float, left_out: Values) -> ByStudent:
    """Return an estimate from a statistic's values without each unit: the delete-one jackknife.

    Efron and Tibshirani 1993, §11.2, with one degree of freedom fewer than units. For statistics that
    resampling with replacement distorts, such as the number of distinct n-grams.
    """
    n = len(left_out)
    error = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum())) if n > 1 else 0.0
    return ByStudent(value, error, n - 1, n)


@dataclass(frozen=True)
class Corrected:
    """A corrected p value, and the level that its plain p was compared with.

    p ≤ level exactly if the corrected p is at most the level of all tests.
    """

    p: float
    level: float


def holm(p_values: Sequence[float], level: float) -> list[Corrected]:
    """Holm's (1979) correction: at most `level` of any false one among them, under any dependence.

    The k-th smallest is compared with level / (m − k + 1), those after the first failure with its level.
    """
    m, running, rejecting = len(p_values), 0.0, True
    found = [Corrected(1.0, level)] * m
    of_the_first = level
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (m - rank) * p_values[index]))
        if rejecting:
            of_the_first = level / (m - rank)
            rejecting = p_values[index] <= of_the_first
        found[index] = Corrected(running, of_the_first)
    return found


def benjamini_hochberg(p_values: Sequence[float], level: float) -> list[Corrected]:
    """Control the false discovery rate (Benjamini and Hochberg 1995): at most `level` are false.

    Levels are those of Benjamini and Yekutieli's (2005) intervals: level · significant / m, one more for the
    rest.
    """
    m, running = len(p_values), 1.0
    order = sorted(range(m), key=lambda i: p_values[i])
    adjusted = [1.0] * m
    for rank in range(m, 0, -1):
        running = min(running, p_values[order[rank - 1]] * m / rank)
        adjusted[order[rank - 1]] = running
    shown = sum(p <= level for p in adjusted)
    return [Corrected(p, level * (shown if p <= level else min(m, shown + 1)) / m) for p in adjusted]


def detectable(interval: Interval, level: float) -> float:
    """Return the difference that a test at `level` detects with 80 % power.

    From the width of the interval of that level: (z of the level + z of the power) standard errors.
    """
    z = normal_quantile(1 - level)
    return (interval.high - interval.low) / 2 * (1 + normal_quantile(2 * POWER - 1) / z)
