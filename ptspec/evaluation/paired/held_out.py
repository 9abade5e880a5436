"""The optimism of a value selected on the rows that measured it.

In each resample the best is selected on the drawn rows and measured on the others (Tsamardinos, Greasidou and
Borboudakis 2018, bootstrap bias corrected cross-validation).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.stats.clusters import Values

RESAMPLES = 2_000
CHUNK_CELLS = 1_000_000


def held_out(
    numerators: Values,
    denominators: Values,
    combinations: Sequence[NDArray[np.intp]],
    *,
    is_higher_better: bool,
    seed: int,
) -> float | None:
    """Return the selected value on rows that did not select it; None if no resample leaves any out.

    (variants, units) sums: the value of a variant on some units is Σ numerators / Σ denominators of these,
    that of a combination the mean over its variants, whose indices are in `combinations`.
    """
    units = numerators.shape[1]
    size = max(1, CHUNK_CELLS // units)
    sign = 1.0 if is_higher_better else -1.0
    total, made = 0.0, 0
    for start in range(0, RESAMPLES, size):
        counts = _counts(units, min(size, RESAMPLES - start), seed, start)
        drawn = _values(counts, numerators, denominators, combinations)
        left = _values((counts == 0).astype(np.float64), numerators, denominators, combinations)
        there = ~np.isnan(drawn).any(axis=1) & ~np.isnan(left).any(axis=1)
        picked = np.argmax(sign * drawn[there], axis=1)
        total += float(left[there][np.arange(len(picked)), picked].sum())
        made += len(picked)
    return total / made if made else None


def _values(
    counts: Values, numerators: Values, denominators: Values, combinations: Sequence[NDArray[np.intp]]
) -> Values:
    """Return (resamples, combinations) values; nan if a variant has no row."""
    below = counts @ denominators.T
    with np.errstate(invalid="ignore", divide="ignore"):
        by_variant = np.where(below > 0, (counts @ numerators.T) / below, np.nan)
    return np.stack([by_variant[:, indices].mean(axis=1) for indices in combinations], axis=1)


def _counts(units: int, resamples: int, seed: int, start: int) -> Values:
    drawn = np.random.default_rng([seed, start, 1]).integers(0, units, (resamples, units))
    cells = drawn + np.arange(resamples)[:, None] * units
    return np.bincount(cells.ravel(), minlength=resamples * units).reshape(resamples, units).astype(float)
