"""Length-controlled win rates. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ptspec.evaluation.stats.clusters import FEWEST, Groups, Values, sums, units
from ptspec.evaluation.stats.distributions import normal_p, normal_quantile
from ptspec.evaluation.stats.estimates import Estimate, Few
from ptspec.evaluation.stats.intervals import Interval

PRIOR = 0.5
"""Half a win and half a loss at equal length: keeps the fit finite if one side wins always."""
RIDGE = 0.01
STEPS = 100


@dataclass(frozen=True)
class Logistic:
    """A probability by its logit and the logit's standard error; Wald test against one half."""

    logit: float
    error: float
    units: int
    none = 0.5
    is_constant = False

    @property
    def value(self) -> float:
        """The probability."""
        return _sigmoid(self.logit)

    @property
    def p(self) -> float:
        """Two-sided p of "it is one half"."""
        return normal_p(self.logit / self.error)

    def at(self, confidence: float) -> Interval:
        """Return the interval of this confidence."""
        reach = normal_quantile(confidence) * self.error
        return Interval(*(_sigmoid(bound) for bound in (self.logit, self.logit - reach, self.logit + reach)))


def length_controlled(
    preferences: Sequence[float], longer: Sequence[float], groups: Groups | None = None
) -> Estimate | None:
    """Return P(b is preferred) at equal response length; tested against one half.

    `preferences` are P(b preferred) by row, `longer` the length difference in characters. As in AlpacaEval 2
    (Dubois et al. 2024, arXiv 2404.04475) without its term for the prompt's difficulty, which takes many
    models to estimate: logit P = θ + φ·tanh(Δ / std Δ), read at Δ = 0. The interval is Wald's of θ with the
    HC2 sandwich (by `groups` for dependent rows), so that ties and fractions keep their weight, mapped
    through the logistic function. Swapping the sides gives 1 − P. None if Δ does not vary: length and policy
    are then confounded.
    """
    y, difference = np.asarray(preferences, dtype=np.float64), np.asarray(longer, dtype=np.float64)
    if len(y) < 2 or (difference == difference[0]).all():
        return None
    x = np.tanh(difference / difference.std())
    theta, phi = _fit(y, x)
    number = units(len(y), groups)
    if number < FEWEST:
        return Few(_sigmoid(theta), number, 0.5)
    return Logistic(theta, _error(y, x, theta, phi, groups), number)


def _fit(y: Values, x: Values) -> tuple[float, float]:
    """Return θ and φ of maximum penalised likelihood, by Newton's method with bounded steps."""
    theta = phi = 0.0
    for _ in range(STEPS):
        p, (a, b, c) = _model(x, theta, phi)
        one = float((y - p).sum()) + PRIOR * (1 - 2 * _sigmoid(theta))
        other = float(((y - p) * x).sum()) - RIDGE * phi
        step = (a * one + b * other, b * one + c * other)
        scale = min(1.0, 4 / max(1e-12, *map(abs, step)))
        theta, phi = theta + scale * step[0], phi + scale * step[1]
        if max(map(abs, step)) < 1e-10:
            break
    return theta, phi


def _model(x: Values, theta: float, phi: float) -> tuple[Values, tuple[float, float, float]]:
    """Return P by row, and the inverse of the penalised information: its θθ, θφ and φφ."""
    p: Values = 1 / (1 + np.exp(-(theta + phi * x)))
    weight, centre = p * (1 - p), _sigmoid(theta)
    tt = float(weight.sum()) + 2 * PRIOR * centre * (1 - centre)
    tf, ff = float((weight * x).sum()), float((weight * x * x).sum()) + RIDGE
    determinant = tt * ff - tf * tf
    return p, (ff / determinant, -tf / determinant, tt / determinant)


def _error(y: Values, x: Values, theta: float, phi: float, groups: Groups | None) -> float:
    """Return the standard error of θ.

    Residuals over √(1 − leverage) (HC2), with the two pseudo-observations.
    """
    p, (a, b, c) = _model(x, theta, phi)
    leverage = p * (1 - p) * (a + 2 * b * x + c * x * x)
    scores = (y - p) / np.sqrt(np.maximum(1 - leverage, 1e-9)) * (a + b * x)
    number = units(len(y), groups)
    few = 1.0 if groups is None else number / (number - 1)
    centre = _sigmoid(theta)
    pseudo = PRIOR * ((1 - centre) ** 2 + centre**2) * a * a
    return math.sqrt(few * float((sums(scores, groups) ** 2).sum()) + pseudo)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
