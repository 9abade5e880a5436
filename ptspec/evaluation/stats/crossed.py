"""The mean of differences that vary by row and by seed, for other rows and other seeds.

Every row is measured with every seed: a two-way layout without replication, both factors random (Brennan
2001, Generalizability Theory, §3). Effects of a seed on all rows do not shrink with more rows. The degrees of
freedom are those of the seeds: with Satterthwaite's approximation, which is more lenient, two equal
combinations of two seeds differ 10 % of the time at a level of 5 % (`benchmarks/pick_simulated.py`).
"""

from __future__ import annotations

import math

from ptspec.evaluation.stats.clusters import Values
from ptspec.evaluation.stats.tests import ByStudent


def crossed(differences: Values) -> ByStudent:
    """Return the mean of `differences` (units, seeds), at least two of each."""
    units, seeds = differences.shape
    grand = float(differences.mean())
    by_unit, by_seed = differences.mean(axis=1), differences.mean(axis=0)
    rest = differences - by_unit[:, None] - by_seed[None, :] + grand
    of_units = seeds * float(((by_unit - grand) ** 2).sum()) / (units - 1)
    of_seeds = units * float(((by_seed - grand) ** 2).sum()) / (seeds - 1)
    of_rest = float((rest**2).sum()) / ((units - 1) * (seeds - 1))
    # Where the estimate of a part comes out below 0 it counts as 0.
    square = max(of_units + of_seeds - of_rest, of_units, of_seeds)
    return ByStudent(grand, math.sqrt(square / (units * seeds)), seeds - 1, units)
