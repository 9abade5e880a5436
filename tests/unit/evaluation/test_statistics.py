"""Intervals and tests against published and hand-computed values."""

import math
from itertools import combinations

import numpy as np
import pytest

from ptspec.evaluation.statistics import (
    Interval,
    holm,
    mean_interval,
    paired_interval,
    paired_test,
    proportion_interval,
    ratio_test,
    rows_needed,
    sign_test,
    wilson_interval,
    win_rate,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_table(successes, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    interval = wilson_interval(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-5)


def test_wilson_is_the_inversion_of_the_score_test():
    interval = wilson_interval(7, 40)
    for bound in (interval.low, interval.high):
        assert abs(7 / 40 - bound) / math.sqrt(bound * (1 - bound) / 40) == pytest.approx(1.959964, abs=1e-5)


def test_near_0_and_1_the_near_bound_is_poissons():
    assert proportion_interval(2, 50).low == pytest.approx(0.35536 / 50, rel=1e-4)
    assert proportion_interval(48, 50).high == pytest.approx(1 - 0.35536 / 50, rel=1e-4)
    assert proportion_interval(2, 50).high == wilson_interval(2, 50).high
    assert proportion_interval(25, 50) == wilson_interval(25, 50)
    for k, bound in ((1, 0.05129), (2, 0.35536), (3, 0.81769)):
        below = sum(math.exp(-bound) * bound**i / math.factorial(i) for i in range(k))
        assert below == pytest.approx(0.95, abs=1e-4, rel=1e-4)


def test_tango_gives_the_published_interval():
    """Fagerland, Lydersen and Laake 2014, airway data: 1 and 7 discordant pairs of 21."""
    interval = paired_interval(1, 7, 21)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert interval.value == pytest.approx(-6 / 21)


@pytest.mark.parametrize(
    ("wins", "losses", "n"), [(0, 0, 30), (30, 0, 30), (0, 30, 30), (3, 1, 1000), (15, 15, 30)]
)
def test_tango_at_the_edges(wins, losses, n):
    interval, mirrored = paired_interval(wins, losses, n), paired_interval(losses, wins, n)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high - interval.low > 0.001
    assert (mirrored.low, mirrored.high) == (-interval.high, -interval.low)


def test_sign_test_by_counting():
    """All 2^8 ways that 8 signs can fall: those at least as lopsided as 1 against 7."""
    lopsided = sum(1 for k in (0, 1, 7, 8) for _ in combinations(range(8), k))
    assert sign_test(1, 7) == pytest.approx(lopsided / 2**8)
    assert sign_test(7, 1) == sign_test(1, 7)
    assert sign_test(0, 0) == sign_test(4, 4) == 1.0
    assert sign_test(10_000, 9_000) < 1e-10


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_ratio_is_weighted_by_its_denominators():
    tested = ratio_test([10.0, 1.0, 4.0], [10.0, 2.0, 3.0], seed=1)
    assert tested.interval.value == pytest.approx(1.0)
    assert tested.interval.low < 1.0 < tested.interval.high


def test_bootstrap_of_a_large_sample_is_the_normal_interval():
    values = np.random.default_rng(5).normal(3, 2, 4000)
    interval = ratio_test(values, seed=1).interval
    half = 1.96 * values.std(ddof=1) / math.sqrt(4000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_p_value_and_the_interval_agree():
    values = np.random.default_rng(2).normal(0, 1, 40)
    inside = ratio_test(values - values.mean() + 0.05, seed=1)
    assert inside.interval.low < 0 < inside.interval.high and inside.p > 0.05
    outside = ratio_test(values - values.mean() + 1.0, seed=1)
    assert outside.interval.low > 0 and outside.p < 0.05
    edge = ratio_test(values - values.mean() + 1.0, seed=1).interval
    at_the_edge = ratio_test(values - values.mean() + (1.0 - edge.low), seed=1)
    assert at_the_edge.p == pytest.approx(0.05, abs=0.002)


def test_chunks_do_not_matter_and_seeds_do(monkeypatch):
    values = list(np.random.default_rng(0).exponential(1, 300))
    first = ratio_test(values, seed=1)
    assert ratio_test(values, seed=1) == first
    assert ratio_test(values, seed=2) != first
    assert ratio_test(values, seed=2).interval.low == pytest.approx(first.interval.low, abs=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_a_minus_b_is_exactly_minus_b_minus_a(seed):
    rng = np.random.default_rng(seed)
    differences = rng.choice(
        [rng.normal(0.1, 1, 60), rng.choice([-1.0, 0.0, 1.0], 60), rng.exponential(1, 60)]
    )
    one, other = (paired_test(list(sign * differences), seed=3) for sign in (1, -1))
    assert one.p == other.p
    assert one.interval.value == -other.interval.value
    assert (one.interval.low, one.interval.high) == (-other.interval.high, -other.interval.low)


def test_no_difference_at_all():
    nothing = paired_test([0.0] * 30, seed=1)
    assert nothing.interval == Interval(0.0, 0.0, 0.0) and nothing.p == 1.0
    known = paired_test([0.0] * 30, seed=1, unit=1.0)
    assert known.interval.low < 0 < known.interval.high and known.p == 1.0


def test_differences_of_one_size_are_paired_proportions():
    differences = [0.5] * 7 + [-0.5] + [0.0] * 13
    assert paired_test(differences, seed=1).interval == paired_interval(7, 1, 21).scaled(0.5)
    assert paired_test(differences, seed=1).p == sign_test(7, 1)


def test_means_of_two_values_are_proportions():
    assert mean_interval([0.0] * 9 + [1.0], seed=1) == proportion_interval(1, 10)
    assert mean_interval([1.0] * 10, seed=1) == proportion_interval(10, 10)
    assert mean_interval([2.0] * 5 + [4.0] * 5, seed=1).value == 3.0
    assert mean_interval([0.25] * 5, seed=1) == Interval(0.25, 0.25, 0.25)
    assert mean_interval([0.25], seed=1) == Interval(0.25, 0.25, 0.25)


def test_ties_count_half_in_a_win_rate():
    tested = win_rate([2.0, 3.0, -1.0, 0.0, 1e-5], tie=1e-4)
    assert tested.interval.value == (2 + 2 / 2) / 5
    assert win_rate([0.0] * 10).interval.value == 0.5
    assert win_rate([1.0] * 30).interval.low > 0.8


def test_half_of_an_interval_takes_four_times_the_rows():
    assert rows_needed(200, Interval(0.0, -0.03, 0.03)) == 800
    assert rows_needed(200, Interval(0.0, 0.0, 0.0)) == 200
