"""Samples of known truth, and how often the intervals hold it and the tests err. For tests and benchmarks."""

import math

import numpy as np

from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.paired.decide import Question, decide
from ptspec.evaluation.stats.clusters import groups_of
from ptspec.evaluation.stats.estimates import mean, paired, ratio, resolve
from ptspec.metrics import Better

RESAMPLES = 2000
"""Fewer than in earnest, for the time it takes; the ends of the intervals are the noisier, not the closer."""


def _loss(rng, n):
    tokens = rng.integers(2, 24, n).astype(float)
    return tokens * (0.5 + 4 / tokens) * rng.gamma(2, 0.5, n), tokens


LENGTHS = np.arange(2, 24)
SINGLE = {
    "share 0.9": (lambda rng, n: mean((rng.random(n) < 0.9).astype(float)), 0.9),
    "share 0.5": (lambda rng, n: mean((rng.random(n) < 0.5).astype(float)), 0.5),
    "skewed mean": (lambda rng, n: mean(rng.exponential(1, n)), 1.0),
    "graded reward": (lambda rng, n: mean(rng.choice([0, 0.5, 1], n, p=[0.3, 0.4, 0.3])), 0.5),
    "loss": (
        lambda rng, n: ratio(*_loss(rng, n)),
        float(np.sum(LENGTHS * (0.5 + 4 / LENGTHS)) / sum(LENGTHS)),
    ),
}
"""A single run's metrics: how they are drawn, and the truth."""

NULL = {
    "accuracy, 10 % differ": lambda rng, n: paired(
        rng.choice([-1.0, 0.0, 1.0], n, p=[0.05, 0.9, 0.05]), unit=1.0
    ),
    "accuracy, 40 % differ": lambda rng, n: paired(
        rng.choice([-1.0, 0.0, 1.0], n, p=[0.2, 0.6, 0.2]), unit=1.0
    ),
    "normal": lambda rng, n: paired(rng.normal(0, 1, n)),
    "heavy tails": lambda rng, n: paired(rng.exponential(1, n) - rng.exponential(1, n)),
    "mostly equal": lambda rng, n: paired(rng.normal(0, 1, n) * (rng.random(n) < 0.2)),
    "graded": lambda rng, n: paired(rng.choice([-1, -0.5, 0, 0.5, 1], n, p=[0.1, 0.2, 0.4, 0.2, 0.1])),
    "skewed": lambda rng, n: paired(rng.exponential(1, n) - 1),
}
"""Differences of two models that are equally good."""


def drawn(draw, n, times, seed=7):
    """`times` estimates of samples of `n`."""
    rng = np.random.default_rng([n, times])
    asked = {index: draw(rng, n) for index in range(times)}
    return list(resolve(asked, seed=seed, resamples=RESAMPLES).values())


def coverage(draw, truth, n, times):
    """The share of 95 % intervals that hold the truth; None where there are none."""
    intervals = [one.at(0.95) for one in drawn(draw, n, times)]
    if None in intervals:
        return None
    return float(np.mean([i.low <= truth <= i.high for i in intervals]))


def false_positives(draw, n, times, level=0.05):
    return float(np.mean([one.p <= level for one in drawn(draw, n, times)]))


def families(tests, correction, *, n, times, real=0, effect=0.8):
    """Of `times` families of `tests` normal differences, `real` of them of `effect` standard deviations: the
    share with a false verdict, the mean share of false ones among the verdicts, the share of real ones that
    is shown (None where there are none)."""
    any_false, false_share, power = [], [], []
    rng = np.random.default_rng([tests, real])
    for _ in range(times):
        samples = rng.normal(0, 1, (tests, n))
        samples[:real] += effect
        asked = {index: paired(sample) for index, sample in enumerate(samples)}
        estimates = resolve(asked, seed=7, resamples=RESAMPLES)
        questions = [Question(one, Better.HIGHER, key) for key, one in estimates.items()]
        decisions, _ = decide(questions, correction)
        shown = np.array([one.verdict in (Verdict.BETTER, Verdict.WORSE) for one in decisions])
        any_false.append(shown[real:].any())
        false_share.append(shown[real:].sum() / max(1, shown.sum()))
        power.append(shown[:real].mean() if real else np.nan)
    return float(np.mean(any_false)), float(np.mean(false_share)), float(np.mean(power)) if real else None


def clustered(kind, clusters, rows, share, times, *, known=True):
    """Coverage (of a mean: 0; of a share: 0.7) and false alarms with `rows` in each of `clusters`, `share` of
    the variance between them. `known` False: the rows are taken for independent ones."""
    rng = np.random.default_rng([clusters, rows])
    groups = groups_of([i // rows for i in range(clusters * rows)]) if known else None

    def normal():
        between = np.repeat(rng.normal(0, np.sqrt(share), clusters), rows)
        return between + rng.normal(0, np.sqrt(1 - share), clusters * rows)

    def right():
        hard = np.repeat(rng.beta(0.7 * (1 / share - 1), 0.3 * (1 / share - 1), clusters), rows)
        return (rng.random(clusters * rows) < hard).astype(float)

    def pair():
        hard = np.repeat(rng.choice([0.02, 0.5], clusters, p=[0.7, 0.3]), rows)
        lean = np.repeat(rng.choice([0.1, 0.9], clusters), rows) if share else 0.5
        differs, up = rng.random(clusters * rows) < hard, rng.random(clusters * rows) < lean
        return differs * np.where(up, 1.0, -1.0)

    made = {
        "mean": (lambda: paired(normal(), groups), 0.0),
        "share": (lambda: mean(right(), groups), 0.7),
        "accuracy, paired": (lambda: paired(pair(), groups, unit=1.0), 0.0),
    }[kind]
    found = list(resolve({k: made[0]() for k in range(times)}, seed=7, resamples=RESAMPLES).values())
    held = np.mean([i.low <= made[1] <= i.high for i in (one.at(0.95) for one in found)])
    return float(held), float(np.mean([one.p <= 0.05 for one in found]))


def binomial(n, p):
    """P(X = k) for k = 0 … n."""
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    return [math.exp(logs[k] + k * math.log(p) + (n - k) * math.log1p(-p)) for k in range(n + 1)]
