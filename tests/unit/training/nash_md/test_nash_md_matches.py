"""Who meets whom, and the means that come of it."""

from __future__ import annotations

import math

import pytest

from ptspec.rewards.judges import BradleyTerry
from ptspec.training.nash_md.matches import Matches, Side, groups_of, opponent_rows, pairings

ROWS = [{"prompt": "x", "gold": "1"}] * 4 + [{"prompt": "x", "gold": "2"}] * 2


def side(completions: list[str], rows: list[int]) -> Side:
    return Side(["x"] * len(rows), completions, [[1]] * len(rows), rows)


def test_groups_are_runs_of_equal_rows_no_longer_than_a_group():
    assert groups_of(ROWS, 4) == [range(4), range(4, 6)]
    assert groups_of(ROWS, 2) == [range(2), range(2, 4), range(4, 6)]


def test_each_group_has_its_share_of_opponents_and_at_least_one():
    groups = [range(4), range(4, 6)]
    assert opponent_rows(groups, 0.5) == [0, 1, 4]
    assert opponent_rows(groups, 0.1) == [0, 4]


def test_every_completion_meets_every_opponent_of_its_group_alone():
    opponents = side(["o0", "o1", "o4"], [0, 1, 4])
    assert pairings([range(2), range(4, 6)], opponents) == [(0, 0), (0, 1), (1, 0), (1, 1), (4, 2), (5, 2)]


def longer(prompts, a, b):
    return [1.0 if len(left) > len(right) else 0.25 for left, right in zip(a, b, strict=True)]


def test_a_row_earns_the_mean_over_its_opponents_and_asymmetry_is_reported():
    matches = Matches(longer, ROWS[:2], side(["aa", "aaaa"], [0, 1]), {})
    opponents = side(["a", "aaa"], [0, 1])
    assert matches.against(opponents, [range(2)]).tolist() == [0.625, 1.0]
    # One match of each row, against "aaa": .25 + 1 and 1 + .25.
    assert matches.asymmetry(opponents, [range(2)]) == pytest.approx(0.25)


def gold_length(prompts, completions, gold, **columns):
    return [None if value == "2" else float(len(text)) for text, value in zip(completions, gold, strict=True)]


def test_bradley_terry_scores_each_side_once_with_its_own_columns():
    calls = []

    def counted(prompts, completions, **columns):
        calls.append((list(completions), columns["gold"]))
        return gold_length(prompts, completions, **columns)

    policy = side(["a", "bb", "c", "d", "e", "f"], list(range(6)))
    matches = Matches(BradleyTerry((counted,), (1.0,)), ROWS, policy, {})
    wins = matches.against(side(["xx", "y"], [0, 4]), [range(4), range(4, 6)])
    assert calls == [(policy.completions, ["1"] * 4 + ["2"] * 2), (["xx", "y"], ["1", "2"])]
    expected = [1 / (1 + math.e), 0.5, 1 / (1 + math.e), 1 / (1 + math.e)]
    assert wins[:4].tolist() == pytest.approx(expected)
    assert all(math.isnan(win) for win in wins[4:].tolist())
    assert matches.reward_means() == {"counted": (pytest.approx(1.25), 2.0)}
