"""Score intervals of shares: of one sample, and of the difference of two paired ones.

Intervals are two-sided, 95 % unless another `confidence` is given. Each method was chosen by its coverage in
simulation, which tests/unit/evaluation/stats/ repeats. Counts may be fractions: effective ones, of dependent
rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from ptspec.evaluation.stats.distributions import normal_quantile

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A measured number and the bounds of its interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float, shift: float = 0.0) -> Interval:
        """Return factor · interval + shift; a negative factor swaps the bounds."""
        bounds = sorted((self.low * factor + shift, self.high * factor + shift))
        return Interval(self.value * factor + shift, *bounds)


def wilson_interval(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval of a proportion (Wilson 1927)."""
    z = normal_quantile(confidence)
    p, shrink = successes / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    low, high = centre - half, centre + half
    return Interval(p, low if successes > 0 else 0.0, high if successes < n else 1.0)


def proportion_interval(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval, corrected near 0 and 1 as in Brown, Cai and DasGupta (2001, §4.1.1).

    Wilson's covers only 91 % if one to three successes (or failures) are seen; the near bound is then the
    one-sided Poisson bound: the λ with P(X < k | λ) = `confidence`.
    """
    plain = wilson_interval(successes, n, confidence)
    low, high = plain.low, plain.high
    if successes in FEW:
        low = min(low, _poisson_low(int(successes), confidence) / n)
    if n - successes in FEW:
        high = max(high, 1 - _poisson_low(int(n - successes), confidence) / n)
    return Interval(plain.value, low, high)


FEW = (1, 2, 3)


@lru_cache(maxsize=64)
def _poisson_low(k: int, confidence: float) -> float:
    """Return the λ with P(X < k | λ) = `confidence`; by bisection."""
    low, high = 0.0, float(k)
    for _ in range(60):
        middle = (low + high) / 2
        below = math.exp(-middle) * sum(middle**i / math.factorial(i) for i in range(k))
        low, high = (middle, high) if below > confidence else (low, middle)
    return (low + high) / 2


def paired_interval(wins: float, losses: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the score interval of (wins − losses) / n with ties (Tango 1998, Stat. Med. 17:891).

    The difference of two paired proportions, and, as (1 + d) / 2, a win rate with ties half.
    """
    value, z = (wins - losses) / n, normal_quantile(confidence)
    high = _root(wins, losses, n, value, 1.0, -z)
    low = -_root(losses, wins, n, -value, 1.0, -z)
    return Interval(value, low, high)


def _root(wins: float, losses: float, n: float, low: float, high: float, wanted: float) -> float:
    """Return where the score statistic, decreasing in the difference, equals `wanted`; by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        if _score(wins, losses, n, middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(wins: float, losses: float, n: float, difference: float) -> float:
    """Return Tango's z of "the difference is `difference`", with the restricted estimate of P(loss)."""
    b = (2 * n - wins + losses) * difference - wins - losses
    c = -losses * difference * (1 - difference)
    loss = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * loss + difference * (1 - difference))
    distance = wins - losses - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance or -1)
