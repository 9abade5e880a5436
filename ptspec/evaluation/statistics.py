"""Intervals and tests that hold at the sizes of a held-out set. NumPy only; knows no model, no metric.

Every interval is two-sided, 95 % unless another `confidence` is asked for. Each method was chosen by its
coverage in simulation, which tests/unit/evaluation/test_statistics_coverage.py repeats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 10_000
CHUNK_CELLS = 1_000_000
LEAST_VARIANCE = 0.1
"""A resample's variance counts as at least this share of the sample's: where nearly all rows are equal
(one difference in twenty), a resample without the others would else make the interval endless."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A measured number and the bounds of its interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float, shift: float = 0.0) -> Interval:
        """factor · interval + shift; a negative factor swaps the bounds."""
        bounds = sorted((self.low * factor + shift, self.high * factor + shift))
        return Interval(self.value * factor + shift, *bounds)


@dataclass(frozen=True)
class Tested:
    """An interval of a difference, and the p value of "there is none" that belongs to it."""

    interval: Interval
    p: float


def normal_quantile(confidence: float) -> float:
    """How many standard errors an interval of this confidence reaches to either side."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson_interval(successes: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a proportion (Wilson 1927)."""
    z = normal_quantile(confidence)
    p, shrink = successes / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    low, high = centre - half, centre + half
    return Interval(p, low if successes > 0 else 0.0, high if successes < n else 1.0)


def proportion_interval(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's interval, near 0 and 1 as Brown, Cai and DasGupta (2001, §4.1.1) mend it.

    Wilson's covers 91 % only where one to three successes (or failures) are seen; there the near bound
    is the one-sided Poisson bound instead: the λ with P(X < k | λ) = `confidence`.
    """
    plain = wilson_interval(successes, n, confidence)
    low, high = plain.low, plain.high
    if successes in FEW:
        low = min(low, _poisson_low(successes, confidence) / n)
    if n - successes in FEW:
        high = max(high, 1 - _poisson_low(n - successes, confidence) / n)
    return Interval(plain.value, low, high)


FEW = (1, 2, 3)


@lru_cache(maxsize=64)
def _poisson_low(k: int, confidence: float) -> float:
    """The λ with P(X < k | λ) = `confidence`; by bisection."""
    low, high = 0.0, float(k)
    for _ in range(60):
        middle = (low + high) / 2
        below = math.exp(-middle) * sum(middle**i / math.factorial(i) for i in range(k))
        low, high = (middle, high) if below > confidence else (low, middle)
    return (low + high) / 2


def paired_interval(wins: int, losses: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of (wins − losses) / n, ties being the rest of n (Tango 1998, Stat. Med. 17:891).

    The difference of two paired proportions, and, as (1 + d) / 2, a win rate with ties half.
    """
    value, z = (wins - losses) / n, normal_quantile(confidence)
    high = _root(wins, losses, n, value, 1.0, -z)
    low = -_root(losses, wins, n, -value, 1.0, -z)
    return Interval(value, low, high)


def _root(wins: int, losses: int, n: int, low: float, high: float, wanted: float) -> float:
    """Where the score statistic, falling in the difference, comes down to `wanted`; by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        if _score(wins, losses, n, middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(wins: int, losses: int, n: int, difference: float) -> float:
    """Tango's z of "the difference is `difference`", with the restricted estimate of P(loss)."""
    b = (2 * n - wins + losses) * difference - wins - losses
    c = -losses * difference * (1 - difference)
    loss = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * loss + difference * (1 - difference))
    distance = wins - losses - n * difference
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance or -1)


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p of "a win is as likely as a loss", ties left out: McNemar's exact test too."""
    n, fewer = wins + losses, min(wins, losses)
    if n == 0:
        return 1.0
    logs = [_log_choose(n, k) - n * math.log(2) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(math.exp(value) for value in logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def ratio_test(
    numerators: Sequence[float],
    denominators: Sequence[float] | None = None,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Tested:
    """Σ numerators / Σ denominators over rows (left out: their mean), by the studentised bootstrap.

    Rows are resampled whole; t* = (θ* − θ) / se*, with the linearised standard error (Efron and
    Tibshirani 1993, §12.5). Held against percentile and BCa intervals, it keeps to 95 % on skewed data at
    n = 50. The same `seed` draws the same rows for every quantity, and the result for −numerators
    is exactly minus the result for numerators.
    """
    y = np.asarray(numerators, dtype=np.float64)
    x = np.ones_like(y) if denominators is None else np.asarray(denominators, dtype=np.float64)
    sign = _orientation(y)
    tested = _ratio_test(sign * y, x, seed, resamples, confidence)
    return Tested(tested.interval.scaled(sign), tested.p)


def _orientation(y: Values) -> float:
    """+1 or −1, and the other one for −y, so that both ways round the same numbers are computed."""
    leads = y.sum() or next((value for value in y if value), 1.0)
    return math.copysign(1.0, leads)


def _ratio_test(y: Values, x: Values, seed: int, resamples: int, confidence: float) -> Tested:
    n, total = len(y), float(x.sum())
    theta = float(y.sum()) / total
    residual = y - theta * x
    spread = float((residual**2).sum())
    if n < 2 or spread <= 1e-24 * max(1.0, float((y**2).sum())):
        return Tested(Interval(theta, theta, theta), 1.0 if theta == 0 else 1 / (resamples + 1))
    error = math.sqrt(n / (n - 1) * spread) / total
    t = _studentised(residual, x, spread, seed, resamples)
    below, above = (float(q) for q in np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2]))
    beyond = int((t >= theta / error).sum()) if theta > 0 else int((t <= theta / error).sum())
    p = min(1.0, 2 * (beyond + 1) / (resamples + 1))
    return Tested(Interval(theta, theta - max(0.0, above) * error, theta - min(0.0, below) * error), p)


def _studentised(residual: Values, x: Values, spread: float, seed: int, resamples: int) -> Values:
    """(resamples,) values of t* = (θ* − θ) / se*; the denominators' sum cancels."""
    n = len(residual)
    columns = np.stack([residual, x, residual**2, residual * x, x**2], axis=1)
    drawn = np.concatenate([counts @ columns for counts in _resamples(n, seed, resamples)])
    off, weight, squares, mixed, weights = drawn.T
    shift = off / weight
    own = squares - 2 * shift * mixed + shift**2 * weights
    own = np.maximum(own, LEAST_VARIANCE * spread)
    result: Values = off / np.sqrt(n / (n - 1) * own)
    return result


def _resamples(n: int, seed: int, resamples: int) -> Iterator[Values]:
    """How often each row is drawn, resample by resample: (chunk, n) matrices."""
    size = max(1, CHUNK_CELLS // n)
    for start in range(0, resamples, size):
        yield _counts(n, seed, start, min(size, resamples - start))


@lru_cache(maxsize=12)
def _counts(n: int, seed: int, start: int, size: int) -> Values:
    """Kept, because every metric of a comparison asks for the same ones."""
    drawn = np.random.default_rng([seed, start]).integers(0, n, (size, n))
    cells = drawn + np.arange(size)[:, None] * n
    return np.bincount(cells.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def mean_interval(values: Sequence[float], *, seed: int, confidence: float = CONFIDENCE) -> Interval:
    """The mean of `values`: Wilson's where each is one of two (0 and 1), else the studentised bootstrap."""
    low, high = min(values), max(values)
    if {low, high} <= {0.0, 1.0}:
        low, high = 0.0, 1.0
    if low != high and all(value in (low, high) for value in values):
        share = proportion_interval(sum(value == high for value in values), len(values), confidence)
        return share.scaled(high - low, low)
    return ratio_test(values, seed=seed, confidence=confidence).interval


def paired_test(
    differences: Sequence[float], *, seed: int, unit: float = 0.0, confidence: float = CONFIDENCE
) -> Tested:
    """The mean of paired `differences` and the test of "it is 0".

    Where each is −c, 0 or c (right against wrong): Tango's interval and the exact sign test (McNemar's).
    `unit` is c where it is known beforehand, so that rows which all agree are not taken for certainty.
    """
    size = max(unit, *(abs(d) for d in differences))
    if size == 0:
        return Tested(Interval(0.0, 0.0, 0.0), 1.0)
    if all(abs(d) in (0, size) for d in differences):
        wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
        interval = paired_interval(wins, losses, len(differences), confidence)
        return Tested(interval.scaled(size), sign_test(wins, losses))
    return ratio_test(differences, seed=seed, confidence=confidence)


def win_rate(differences: Sequence[float], tie: float = 0.0, confidence: float = CONFIDENCE) -> Tested:
    """How often `differences` are above 0, those within `tie` counting half; tested against one half."""
    wins, losses = sum(d > tie for d in differences), sum(d < -tie for d in differences)
    interval = paired_interval(wins, losses, len(differences), confidence).scaled(0.5, 0.5)
    return Tested(interval, sign_test(wins, losses))


def jackknife_test(value: float, left_out: Values, confidence: float = CONFIDENCE) -> Tested:
    """A statistic of all rows and its values without each of them: the delete-one jackknife's standard error
    (Efron and Tibshirani 1993, §11.2), Student's t with n − 1 degrees of freedom, the test of "it is 0".

    For what resampling with replacement distorts, such as the number of different n-grams.
    """
    n = len(left_out)
    error = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum())) if n > 1 else 0.0
    if error <= 1e-15:
        return Tested(Interval(value, value, value), 1.0 if value == 0 else 0.0)
    half = _student(n - 1, confidence) * error
    p = 2 * NormalDist().cdf(-abs(value) / error)
    return Tested(Interval(value, value - half, value + half), p)


def _student(freedom: int, confidence: float) -> float:
    """How many standard errors an interval by Student's t reaches, by the expansion of Cornish and Fisher."""
    z, v = normal_quantile(confidence), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values: at most α of them below α by chance, whatever their dependence."""
    m, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def rows_needed(n: int, interval: Interval) -> int:
    """About how many rows would halve the interval seen at `n` rows: four times as many, its width falling as
    1/√n. `n` where the interval has no width."""
    return n if interval.high <= interval.low else 4 * n
