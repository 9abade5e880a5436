"""Win rates with the judge's liking for long answers taken out. NumPy only; knows no model and no judge."""

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
"""Half a win and half a loss at equal length: keeps the fit finite where one side wins throughout."""
RIDGE = 0.01
STEPS = 100


@dataclass(frozen=True)
class Logistic:
    """A probability by its logit and that one's standard error; tested against one half, all of it Wald's."""

    logit: float
    error: float
    units: int
    none = 0.5
    is_constant = False

    @property
    def value(self) -> float:
        return _sigmoid(self.logit)

    @property
    def p(self) -> float:
        return normal_p(self.logit / self.error)

    def at(self, confidence: float) -> Interval:
        reach = normal_quantile(confidence) * self.error
        return Interval(*(_sigmoid(bound) for bound in (self.logit, self.logit - reach, self.logit + reach)))


def length_controlled(
    preferences: Sequence[float], longer: Sequence[float], groups: Groups | None = None
) -> Estimate | None:
    """P(b is preferred) were both responses equally long; tested against one half.

    `preferences` are P(b preferred) by row, `longer` by how many characters b's response is longer. As in
    AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475) without its term for the prompt's difficulty, which
    takes many models to estimate: logit P = θ + φ·tanh(Δ / std Δ), read at Δ = 0. The interval is Wald's of
    θ with the HC2 sandwich (by `groups` where rows belong together), so that ties and fractions count as what
    they are, carried through the logistic function. Swapping the two sides gives 1 − P. None where Δ does not
    vary: then length and policy cannot be told apart.
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
    """θ and φ of greatest penalised likelihood, by Newton's method with bounded steps."""
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
    """P by row, and the inverse of the penalised information: its θθ, θφ and φφ."""
    p: Values = 1 / (1 + np.exp(-(theta + phi * x)))
    weight, centre = p * (1 - p), _sigmoid(theta)
    tt = float(weight.sum()) + 2 * PRIOR * centre * (1 - centre)
    tf, ff = float((weight * x).sum()), float((weight * x * x).sum()) + RIDGE
    determinant = tt * ff - tf * tf
    return p, (ff / determinant, -tf / determinant, tt / determinant)


def _error(y: Values, x: Values, theta: float, phi: float, groups: Groups | None) -> float:
    """The standard error of θ: residuals over √(1 − leverage) (HC2), with the two pseudo-observations."""
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
