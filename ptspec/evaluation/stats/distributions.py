"""Tails and quantiles of the normal, Student's t and the binomial distribution."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_STEPS = 500


def normal_quantile(confidence: float) -> float:
    """Return the half-width of an interval at this confidence, in standard errors."""
    return -NormalDist().inv_cdf((1 - confidence) / 2)


def normal_p(z: float) -> float:
    """Return the two-sided p of a standard normal statistic."""
    return math.erfc(abs(z) / math.sqrt(2))


def student_p(t: float, freedom: float) -> float:
    """Return the two-sided p of Student's t with `freedom` degrees of freedom."""
    if math.isinf(t):
        return 0.0
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


@lru_cache(maxsize=4096)
def student_quantile(confidence: float, freedom: float) -> float:
    """Return the half-width of Student's t interval, in standard errors; by bisection."""
    wanted, low, high = 1 - confidence, 0.0, 1.0
    while student_p(high, freedom) > wanted and high < 1e100:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_p(middle, freedom) > wanted else (low, middle)
        if high - low <= 1e-14 * high:
            break
    return (low + high) / 2


def half_binomial(k: float, n: float) -> float:
    """Return P(X ≤ k) of a binomial with n trials and probability 1/2, for real k and n."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else incomplete_beta(n - k, k + 1, 0.5)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d, c = 1 / _away(1 + term * d), _away(1 + term / c)
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return math.exp(front) * value / a


def _away(x: float) -> float:
    """Return `x`, or the smallest number that can divide."""
    return x if abs(x) > _TINY else _TINY
