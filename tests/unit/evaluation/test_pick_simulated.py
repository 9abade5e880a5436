"""`pick` calls noise distinguishable no more often than its level. benchmarks/pick_simulated.py has more."""

import math
import sys

import pytest
from support.small import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import pick_simulated

LEVEL = 0.05
TIMES = 120
MOST = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / TIMES)
"""Three standard errors above the level: of a test that keeps it, one run in a thousand is beyond."""


@pytest.mark.parametrize(
    "name", ["6 equal, 40 rows", "2 equal, 4 worse, 160 rows", "2 equal, 2 seeds that matter"]
)
def test_of_variants_that_are_alike_none_is_distinguishable_more_often_than_the_level(name):
    (setting,) = (one for one in pick_simulated.SETTINGS if one.name == name)
    found = pick_simulated.simulate(setting, TIMES, seed=5)
    assert found.next_best <= MOST and found.any <= MOST
    # The picked value is too good, the one on rows left out of the choice is not.
    assert found.optimism > 0.01
    if setting.seeds == 1:
        assert abs(found.held_out) < found.optimism / 2


def test_one_that_is_better_is_found():
    (setting,) = (one for one in pick_simulated.SETTINGS if "one better" in one.name)
    assert pick_simulated.simulate(setting, 20, seed=5).right > 0.9
