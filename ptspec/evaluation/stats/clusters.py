"""Rows that belong together: several rows of one prompt are not as many independent ones.

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
"""The number of each row's cluster, from 0 without a gap."""

FEWEST = 5
"""Independent units (rows, or clusters of rows) below which nothing but the value is told."""


def groups_of(labels: Sequence[Hashable]) -> Groups | None:
    """The cluster of each row by its label; None where every row has a label of its own."""
    numbers: dict[Hashable, int] = {}
    codes = [numbers.setdefault(label, len(numbers)) for label in labels]
    return None if len(numbers) == len(codes) else np.array(codes, dtype=np.intp)


def some_of(groups: Groups | None, rows: NDArray[np.intp]) -> Groups | None:
    """The clusters of the rows with these indices, numbered anew; None where no two are in one."""
    if groups is None:
        return None
    found, codes = np.unique(groups[rows], return_inverse=True)
    return None if len(found) == len(rows) else codes.astype(np.intp)


def units(rows: int, groups: Groups | None) -> int:
    """How many independent units the rows are."""
    return rows if groups is None else int(groups.max()) + 1


def sums(values: Values, groups: Groups | None) -> Values:
    """The values summed by cluster."""
    if groups is None:
        return values
    return np.bincount(groups, weights=values).astype(np.float64)


def effective_share(values: Values, groups: Groups | None) -> float:
    """How many independent rows carry what one of these does: at most 1, after Korn and Graubard (1998).

    The variance of the mean of independent rows over that by clusters, never above 1, and less for the few
    degrees of freedom that few clusters leave.
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
