"""Clusters of dependent rows: several rows of one prompt are not independent.

After Miller 2024 (arXiv 2411.00640): the variance of a mean over clusters is that of the clusters' sums.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from ptspec.evaluation.stats.distributions import normal_quantile, student_quantile
from ptspec.evaluation.stats.intervals import CONFIDENCE

Values = NDArray[np.float64]
Groups = NDArray[np.intp]
"""The index of each row's cluster, from 0 without gaps."""

FEWEST = 5
"""Independent units (rows, or clusters of rows) below which only the value is reported."""


def groups_of(labels: Sequence[Hashable]) -> Groups | None:
    """Return each row's cluster by label; None if every row has its own label."""
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(label, len(numbers)) for label in labels]
    return None if len(numbers) == len(codes) else np.array(codes, dtype=np.intp)


def some_of(groups: Groups | None, rows: NDArray[np.intp]) -> Groups | None:
    """Return the clusters of these row indices, renumbered; None if no two share one."""
    if groups is None:
        return None
    found, codes = np.unique(groups[rows], return_inverse=True)
    return None if len(found) == len(rows) else codes.astype(np.intp)


def units(rows: int, groups: Groups | None) -> int:
    """Return the number of independent units."""
    return rows if groups is None else int(groups.max()) + 1


def sums(values: Values, groups: Groups | None) -> Values:
    """Return the values summed by cluster."""
    if groups is None:
        return values
    return np.bincount(groups, weights=values).astype(np.float64)


def effective_share(values: Values, groups: Groups | None) -> float:
    """Return the effective sample size per row: at most 1, after Korn and Graubard (1998).

    The variance of the mean of independent rows over that by clusters, never above 1, and less for the few
    degrees of freedom of few clusters.
    """
    if groups is None:
        return 1.0
    n, number = len(values), units(len(values), groups)
    if number < 2:
        return 1 / n
    off = values - values.mean()
    spread = float((off**2).sum())
    if spread <= 1e-24 * max(1.0, float((values**2).sum())):
        return number / n
    by_cluster = number / (number - 1) * float((sums(off, groups) ** 2).sum())
    of_rows = n / (n - 1) * spread
    few = (normal_quantile(CONFIDENCE) / student_quantile(CONFIDENCE, number - 1)) ** 2
    return few * of_rows / max(of_rows, by_cluster)
