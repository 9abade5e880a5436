"""Intervals and tests against published and hand-computed values."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptspec.evaluation.stats.bootstrap import Ratio
from ptspec.evaluation.stats.estimates import mean, paired, ratio, resolve, resolve_one, win_rate
from ptspec.evaluation.stats.intervals import (
    Interval,
    paired_interval,
    proportion_interval,
    wilson_interval,
)
from ptspec.evaluation.stats.tests import (
    benjamini_hochberg,
    detectable,
    holm,
    jackknife,
    mid_p,
    paired_p,
)


def of_mean(values, seed=1):
    return resolve_one(mean(values), seed=seed)


def of_pairs(differences, seed=1, **given):
    return resolve_one(paired(differences, **given), seed=seed)


def of_ratio(y, x=None, seed=1):
    y = np.asarray(y, dtype=float)
    return resolve_one(ratio(y, np.ones_like(y) if x is None else np.asarray(x, dtype=float)), seed=seed)


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


def test_mid_p_by_counting():
    """All 2^8 ways that 8 signs can fall: those more lopsided than 1 against 7, and half of those as much."""
    more = sum(1 for k in (0, 8) for _ in combinations(range(8), k))
    as_much = sum(1 for k in (1, 7) for _ in combinations(range(8), k))
    assert mid_p(1, 7) == pytest.approx((more + as_much / 2) / 2**8)
    assert mid_p(7, 1) == mid_p(1, 7)
    assert mid_p(0, 0) == mid_p(4, 4) == 1.0
    assert mid_p(5, 0) == pytest.approx(2**-5)
    assert mid_p(10_000, 9_000) < 1e-10


def test_mid_p_gives_the_published_value():
    """Fagerland, Lydersen and Laake 2013, BMC Med. Res. Methodol. 13:91, airway data: 1 and 7."""
    assert mid_p(1, 7) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize("n", [8, 40, 160])
def test_tangos_interval_and_its_p_never_disagree(n):
    for wins in range(n // 2):
        for losses in range(min(wins, n - wins) + 1):
            found = of_pairs([1.0] * wins + [-1.0] * losses + [0.0] * (n - wins - losses), unit=1.0)
            assert found.p == paired_p(wins, losses) >= mid_p(wins, losses)
            for level in (0.05, 0.01, 0.0005):
                interval = found.at(1 - level)
                assert (interval.low <= 0 <= interval.high) == (found.p > level), (wins, losses, level)


def test_holm_by_hand():
    assert [x.p for x in holm([0.01, 0.04, 0.03, 0.005], 0.05)] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [x.level for x in holm([0.01, 0.04, 0.03, 0.005], 0.05)] == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4]
    )
    assert [x.p for x in holm([0.9, 0.8], 0.05)] == [1.0, 1.0]
    assert holm([], 0.05) == []


def test_benjamini_hochberg_by_hand():
    found = benjamini_hochberg([0.01, 0.04, 0.03, 0.005], 0.05)
    assert [x.p for x in found] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert [x.level for x in found] == [0.05] * 4
    found = benjamini_hochberg([0.01, 0.9, 0.8, 0.7], 0.05)
    assert [x.p for x in found] == pytest.approx([0.04, 0.9, 0.9, 0.9])
    assert [x.level for x in found] == pytest.approx([0.05 / 4, 0.1 / 4, 0.1 / 4, 0.1 / 4])


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=30), st.sampled_from([holm, benjamini_hochberg]))
def test_a_corrected_p_is_small_exactly_where_p_is_within_its_level(p_values, correction):
    for p, corrected in zip(p_values, correction(p_values, 0.05), strict=True):
        assert (corrected.p <= 0.05) == (p <= corrected.level) or abs(corrected.p - 0.05) < 1e-12


def test_a_ratio_is_weighted_by_its_denominators():
    found = of_ratio([10.0, 1.0, 4.0, 2.0, 3.0], [10.0, 2.0, 3.0, 2.0, 3.0])
    assert found.value == pytest.approx(1.0)
    assert found.at(0.95).low < 1.0 < found.at(0.95).high


def test_bootstrap_of_a_large_sample_is_the_normal_interval():
    values = np.random.default_rng(5).normal(3, 2, 4000)
    interval = of_ratio(values).at(0.95)
    half = 1.96 * values.std(ddof=1) / math.sqrt(4000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_p_value_and_the_interval_agree_at_every_level():
    rng = np.random.default_rng(2)
    for shift in (0.0, 0.2, 0.35, 0.5, 0.8, 1.5):
        found = of_ratio(rng.normal(shift, 1, 40))
        for level in (0.5, 0.05, 0.01, 1e-4, 1e-8):
            interval = found.at(1 - level)
            assert (interval.low <= 0 <= interval.high) == (found.p > level), (shift, level)
    edge = found.at(0.95).low
    moved = of_ratio(rng.permutation(np.random.default_rng(3).normal(0, 1, 40)))
    assert edge > 0 and moved.p > 1e-4


def test_p_goes_on_beyond_the_reach_of_the_resamples():
    """10,000 resamples alone could not tell less than 2 / 10,001 from nothing."""
    scipy = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(2).normal(1.4, 1, 60)
    found = of_ratio(values)
    assert found.p < 1e-9
    by_hand = scipy.ttest_1samp(values, 0).pvalue
    assert math.log10(found.p) == pytest.approx(math.log10(by_hand), rel=0.25)


def test_many_rows_are_students_t_without_resamples(monkeypatch):
    from ptspec.evaluation.stats import bootstrap

    monkeypatch.setattr(bootstrap, "_counts", lambda *_: pytest.fail("resampled"))
    values = np.random.default_rng(5).normal(3, 2, bootstrap.MANY + 1)
    interval = of_ratio(values).at(0.95)
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert interval.high - interval.value == pytest.approx(half, rel=1e-3)


def test_together_and_alone_give_the_same_numbers():
    rng = np.random.default_rng(0)
    columns = {k: Ratio(rng.exponential(1, 300), x) for k, x in enumerate([None, rng.uniform(1, 5, 300)] * 2)}
    together = resolve(columns, seed=1)
    for key, column in columns.items():
        alone = resolve_one(column, seed=1)
        assert (alone.p, alone.at(0.95)) == (together[key].p, together[key].at(0.95))


def test_seeds_matter_little():
    values = np.random.default_rng(0).exponential(1, 300)
    assert of_ratio(values).at(0.95) == of_ratio(values).at(0.95)
    first, other = of_ratio(values, seed=1).at(0.95), of_ratio(values, seed=2).at(0.95)
    assert first != other
    assert other.low == pytest.approx(first.low, abs=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_a_minus_b_is_exactly_minus_b_minus_a(seed):
    rng = np.random.default_rng(seed)
    differences = rng.choice(
        [rng.normal(0.1, 1, 60), rng.choice([-1.0, 0.0, 1.0], 60), rng.exponential(1, 60)]
    )
    one, other = (of_pairs(sign * differences, seed=3) for sign in (1, -1))
    assert one.p == other.p
    for confidence in (0.95, 0.9999):
        there, back = one.at(confidence), other.at(confidence)
        assert there.value == -back.value
        assert (there.low, there.high) == (-back.high, -back.low)


def test_no_difference_at_all():
    nothing = of_pairs([0.0] * 30)
    assert nothing.at(0.95) == Interval(0.0, 0.0, 0.0) and nothing.p == 1.0 and nothing.is_constant
    known = of_pairs([0.0] * 30, unit=1.0)
    assert known.at(0.95).low < 0 < known.at(0.95).high and known.p == 1.0 and known.is_constant


def test_the_same_difference_in_every_row_is_so_many_equal_signs():
    always = of_ratio([0.36] * 30)
    assert always.at(0.95) == Interval(0.36, 0.36, 0.36) or always.at(0.95).low == pytest.approx(0.36)
    assert always.p == 2.0**-29
    assert of_ratio([0.36] * 5).p == 2.0**-4


def test_differences_of_one_size_are_paired_proportions():
    differences = [0.5] * 7 + [-0.5] + [0.0] * 13
    assert of_pairs(differences).at(0.95) == paired_interval(7, 1, 21).scaled(0.5)
    assert of_pairs(differences).p == paired_p(7, 1)


def test_means_of_two_values_are_proportions():
    assert of_mean([0.0] * 9 + [1.0]).at(0.95) == proportion_interval(1, 10)
    assert of_mean([1.0] * 10).at(0.95) == proportion_interval(10, 10)
    assert of_mean([2.0] * 5 + [4.0] * 5).value == 3.0
    assert of_mean([0.25] * 5).at(0.95) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [of_mean, of_pairs, of_ratio, lambda d: win_rate(d)])
def test_fewer_than_five_rows_have_a_value_and_nothing_else(n, kind):
    """One row gave a verdict, two were wrong in 23 % of cases."""
    found = kind([1.0, 3.0, 2.0, 5.0][:n])
    assert found.at(0.95) is None and found.p == 1.0
    assert kind([1.0, 3.0, 2.0, 5.0, 4.0]).at(0.95) is not None


def test_ties_count_half_in_a_win_rate():
    found = win_rate([2.0, 3.0, -1.0, 0.0, 1e-5], tie=1e-4)
    assert found.value == (2 + 2 / 2) / 5
    assert win_rate([0.0] * 10).value == 0.5
    assert win_rate([1.0] * 30).at(0.95).low > 0.8


@pytest.mark.parametrize("n", [2, 5, 12, 200])
def test_the_jackknifes_p_and_interval_are_of_one_distribution(n):
    """The interval by Student's t, p by the normal: they disagreed at few rows."""
    rng = np.random.default_rng(n)
    for _ in range(200):
        found = jackknife(float(rng.normal(0, 1)), rng.normal(0, 0.5 / n, n))
        for level in (0.05, 0.01, 0.001):
            interval = found.at(1 - level)
            assert (interval.low <= 0 <= interval.high) == (found.p > level)


def test_the_detectable_difference_is_shown_four_times_in_five():
    """At 80 % power: 2.8 standard errors, not the 1.96 that half of all samples show."""
    rng = np.random.default_rng(1)
    none = resolve({k: paired(rng.normal(0, 1, 100)) for k in range(20)}, seed=1, resamples=2000)
    size = np.mean([detectable(one.at(0.95), 0.05) for one in none.values()])
    assert size == pytest.approx(2.8 / math.sqrt(100), rel=0.05)
    some = resolve({k: paired(rng.normal(size, 1, 100)) for k in range(300)}, seed=1, resamples=2000)
    assert 0.73 <= np.mean([one.p <= 0.05 for one in some.values()]) <= 0.87


def test_distributions_are_scipys():
    scipy = pytest.importorskip("scipy.stats")
    from ptspec.evaluation.stats.distributions import half_binomial, normal_p, student_p, student_quantile

    for freedom in (1, 4, 30, 4999):
        for t in (0.0, 0.3, 2.0, 9.0, 40.0):
            assert student_p(t, freedom) == pytest.approx(2 * scipy.t.sf(t, freedom), rel=1e-9, abs=1e-300)
        for confidence in (0.5, 0.95, 0.9999, 1 - 1e-7):
            by_scipy = scipy.t.isf((1 - confidence) / 2, freedom)
            assert student_quantile(confidence, freedom) == pytest.approx(by_scipy, rel=1e-8)
    assert normal_p(12.0) == pytest.approx(2 * scipy.norm.sf(12.0), rel=1e-9)
    for n, k in ((5, 0), (40, 13), (1000, 480), (7, 7)):
        assert half_binomial(k, n) == pytest.approx(scipy.binom.cdf(k, n, 0.5), rel=1e-10)
