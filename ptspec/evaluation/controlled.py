"""Win rates with the judge's liking for long answers taken out. NumPy only; knows no model and no judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from ptspec.evaluation.statistics import CONFIDENCE, Interval, Tested, Values, normal_quantile

PRIOR = 0.5
"""Half a win and half a loss at equal length: keeps the fit finite where one side wins throughout."""
RIDGE = 0.01
STEPS = 100


def length_controlled(
    preferences: Sequence[float], longer: Sequence[float], confidence: float = CONFIDENCE
) -> Tested | None:
    """P(b is preferred) were both responses equally long; tested against one half.

    `preferences` are P(b preferred) by row, `longer` by how many characters b's response is longer. As in
    AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475) without its term for the prompt's difficulty, which
    takes many models to estimate: logit P = θ + φ·tanh(Δ / std Δ), read at Δ = 0. The interval is Wald's of
    θ with the HC2 sandwich, so that ties and fractions count as what they are, carried through the logistic
    function. Swapping the two sides gives 1 − P. None where Δ does not vary: then length and policy cannot
    be told apart.
    """
    y, difference = np.asarray(preferences, dtype=np.float64), np.asarray(longer, dtype=np.float64)
    if len(y) < 2 or (difference == difference[0]).all():
        return None
    x = np.tanh(difference / difference.std())
    theta, phi = _fit(y, x)
    error = _error(y, x, theta, phi)
    reach = normal_quantile(confidence) * error
    interval = Interval(*(_sigmoid(bound) for bound in (theta, theta - reach, theta + reach)))
    return Tested(interval, 2 * NormalDist().cdf(-abs(theta) / error))


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


def _error(y: Values, x: Values, theta: float, phi: float) -> float:
    """The standard error of θ: residuals over 1 − leverage (HC2), the two pseudo-observations among them."""
    p, (a, b, c) = _model(x, theta, phi)
    leverage = p * (1 - p) * (a + 2 * b * x + c * x * x)
    squares = (y - p) ** 2 / np.maximum(1 - leverage, 1e-9)
    centre = _sigmoid(theta)
    pseudo = PRIOR * ((1 - centre) ** 2 + centre**2) * a * a
    return math.sqrt(float((squares * (a + b * x) ** 2).sum()) + pseudo)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
