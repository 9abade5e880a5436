"""The same comparison by hand, with scipy and statsmodels: the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
from support.measurements import effect, made

from ptspec.evaluation.paired.compare import compare
from ptspec.evaluation.stats.bootstrap import RESAMPLES

stats = pytest.importorskip("scipy.stats")
tables = pytest.importorskip("statsmodels.stats.contingency_tables")
multitest = pytest.importorskip("statsmodels.stats.multitest")


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 1, 160)
    a = made("a", hard + rng.normal(0, 1, 160) < 0.3, rng.integers(6, 20, 160), nll=rng.gamma(3, 1, 160))
    b = made(
        "b",
        hard + rng.normal(0, 1, 160) < 0.9,
        [row.response_tokens + int(d) for row, d in zip(a.rows, rng.normal(1, 3, 160), strict=True)],
        nll=[row.nll + d for row, d in zip(a.rows, rng.normal(0.2, 1, 160), strict=True)],
    )
    return a, b


@pytest.fixture(scope="module")
def found(pair):
    return compare(pair)


def test_accuracy_is_mcnemars_mid_p(pair, found):
    right = np.array([[row.correct for row in m.rows] for m in pair])
    table = [[np.sum((right[0] == x) & (right[1] == y)) for y in (True, False)] for x in (True, False)]
    accuracy = effect(found, "accuracy")
    wins, losses = int(table[1][0]), int(table[0][1])
    exact = tables.mcnemar(table, exact=True).pvalue
    mid_p = exact - stats.binom.pmf(min(wins, losses), wins + losses, 0.5)
    score = tables.mcnemar(table, exact=False, correction=False).pvalue
    assert accuracy.p == pytest.approx(max(mid_p, score), rel=1e-9)
    assert accuracy.p < exact
    assert accuracy.difference.value == pytest.approx(right[1].mean() - right[0].mean())


def test_the_interval_of_accuracy_is_where_tangos_score_test_turns(pair, found):
    """Tango (1998): the restricted estimate by numerical maximum likelihood rather than by its formula."""
    optimize = pytest.importorskip("scipy.optimize")
    right = np.array([[row.correct for row in m.rows] for m in pair])
    wins, losses, n = int((right[1] & ~right[0]).sum()), int((right[0] & ~right[1]).sum()), 160

    def score(delta):
        def minus_log_likelihood(loss):
            win = loss + delta
            return -(
                wins * np.log(win) + losses * np.log(loss) + (n - wins - losses) * np.log(1 - win - loss)
            )

        low, high = max(1e-12, -delta + 1e-12), (1 - delta) / 2 - 1e-12
        loss = optimize.minimize_scalar(
            minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
        ).x
        return (wins - losses - n * delta) / np.sqrt(n * (2 * loss + delta - delta**2))

    accuracy, z = effect(found, "accuracy").plain, stats.norm.ppf(0.975)
    assert score(accuracy.low) == pytest.approx(z, abs=1e-4)
    assert score(accuracy.high) == pytest.approx(-z, abs=1e-4)


def test_length_is_the_studentised_bootstrap(pair, found):
    """scipy draws other resamples: the same interval and p value up to the resampling's own noise."""
    lengths = np.array([[row.response_tokens for row in m.rows] for m in pair])
    d = (lengths[1] - lengths[0]).astype(float)
    length = effect(found, "response_length")
    rng = np.random.default_rng(1)
    drawn = d[rng.integers(0, len(d), (RESAMPLES, len(d)))]
    t = stats.ttest_1samp(drawn, d.mean(), axis=1).statistic
    error = stats.sem(d)
    by_hand = d.mean() - np.quantile(t, [0.975, 0.025]) * error
    assert [length.difference.low, length.difference.high] == pytest.approx(list(by_hand), abs=0.1 * error)
    assert length.difference.value == pytest.approx(d.mean(), rel=1e-12)
    assert length.p == pytest.approx(stats.ttest_rel(lengths[1], lengths[0]).pvalue, abs=0.01)
    scipys = stats.bootstrap((d,), np.mean, n_resamples=RESAMPLES, rng=2, method="BCa").confidence_interval
    assert [length.difference.low, length.difference.high] == pytest.approx(list(scipys), abs=0.2 * error)


def test_loss_is_a_ratio_of_sums(pair, found):
    loss = effect(found, "loss")
    nll, size = (np.array([[getattr(row, k) for row in m.rows] for m in pair]) for k in ("nll", "tokens"))
    assert loss.difference.value == pytest.approx((nll[1] - nll[0]).sum() / size[0].sum())

    def ratio(change, over, axis=-1):
        return change.sum(axis) / over.sum(axis)

    scipys = stats.bootstrap(
        ((nll[1] - nll[0]), size[0]),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=3,
        method="BCa",
    ).confidence_interval
    width = loss.plain.high - loss.plain.low
    assert [loss.plain.low, loss.plain.high] == pytest.approx(list(scipys), abs=0.05 * width)


def test_holm_is_statsmodels_holm(found):
    tests = [one for one in found.effects if one.is_tested]
    assert [one.metric for one in tests] == ["accuracy", "loss"]
    assert found.tests == 2  # every preference is won in both: nothing varies
    adjusted = multitest.multipletests([one.p for one in tests], method="holm")[1]
    assert [one.p_corrected for one in tests] == pytest.approx(list(adjusted), rel=1e-12)


def test_slices_are_statsmodels_false_discovery_rate(pair):
    sliced = [
        replace(m, rows=tuple(replace(r, slices={"t": str(i % 6)}) for i, r in enumerate(m.rows)))
        for m in pair
    ]
    tests = [e for one in compare(sliced, by="t").slices for e in one.effects if e.is_tested]
    adjusted = multitest.multipletests([one.p for one in tests], method="fdr_bh")[1]
    assert len(tests) >= 12
    assert [one.p_corrected for one in tests] == pytest.approx(list(adjusted), rel=1e-12)


def test_wilsons_interval_of_a_share(found):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    share = found.values[0]["accuracy"]
    low, high = proportion.proportion_confint(round(share.value * 160), 160, method="wilson")
    assert (share.low, share.high) == pytest.approx((low, high), rel=1e-9)
