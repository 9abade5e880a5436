"""Checks: absolute, against another policy, on the value or on the end of an interval."""

from dataclasses import replace

import numpy as np
import pytest
from support.measurements import made

from ptspec.evaluation.aggregates import aggregates
from ptspec.evaluation.checks import outcome
from ptspec.evaluation.judging import NamedJudge, judged
from ptspec.evaluation.stats.estimates import mean, resolve_one, win_rate
from ptspec.evaluation.stats.intervals import paired_interval, proportion_interval, wilson_interval
from ptspec.recipe.plan import CheckSpec


def measured(name, right, nll=None):
    n = len(right)
    one = made(name, right, [9] * n, nll=[2.0] * n if nll is None else nll)
    return replace(one, metrics=aggregates(one.rows, seed=1))


BASE = measured("base", [True] * 90 + [False] * 110)
SFT = measured("sft", [True] * 150 + [False] * 50, nll=np.linspace(1, 3, 200))
DPO = measured("dpo", [True] * 158 + [False] * 42, nll=np.linspace(1, 3, 200) + 0.05)
ALL = {"base": BASE, "sft": SFT, "dpo": DPO}


def check(metric, name="dpo", over="sft", **bounds):
    return outcome(CheckSpec(metric, **bounds), name, over, ALL)


@pytest.mark.parametrize(
    ("bounds", "held", "numbers"),
    [
        ({"min": 0.75}, True, (0.79, "≥", 0.75, None)),
        ({"min": 0.8}, False, (0.79, "≥", 0.8, None)),
        ({"max": 0.75}, False, (0.79, "≤", 0.75, None)),
        ({"min_gain": 0.02}, True, (0.04, "≥", 0.02, "sft")),
        ({"min_gain": 0.1}, False, (0.04, "≥", 0.1, "sft")),
        ({"min_gain": 0.3, "over": "base"}, True, (0.34, "≥", 0.3, "base")),
        ({"max_increase": 0.03}, False, (0.04, "≤", 0.03, "sft")),
    ],
)
def test_on_the_measured_value(bounds, held, numbers):
    found = check("accuracy", **bounds)
    (bound,) = found.bounds
    assert found.held is bound.held is held
    assert bound.value == pytest.approx(numbers[0])
    assert (bound.metric, bound.relation, bound.bound, bound.over) == ("accuracy", *numbers[1:])


def test_each_bound_of_a_check_is_told():
    found = check("accuracy", min=0.7, max=0.78)
    assert not found.held and [bound.held for bound in found.bounds] == [True, False]


def test_gain_is_downwards_where_less_is_better():
    assert check("loss", min_gain=-0.02).held
    (bound,) = check("loss", min_gain=0.001).bounds
    assert not bound.held and (bound.relation, bound.bound) == ("≤", -0.001)
    assert bound.value == pytest.approx(0.01, rel=1e-3)
    assert not check("perplexity", max_increase=0.0).held


def test_noise_does_not_pass():
    """0.79 is above 0.75, and may well be so by chance: its interval reaches down to 0.73."""
    assert check("accuracy", min=0.75).held
    found = check("accuracy", min=0.75, confidence=0.95)
    low = proportion_interval(158, 200).low
    (bound,) = found.bounds
    assert not found.held and not bound.held
    assert (bound.value, bound.end, bound.confidence) == (0.79, low, 0.95)
    assert check("accuracy", min=0.75, confidence=0.6).held
    assert check("accuracy", min=0.72, confidence=0.95).held


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_the_bound_is_that_of_the_paired_interval(confidence):
    low = paired_interval(8, 0, 200, confidence).low
    assert check("accuracy", min_gain=low - 1e-9, confidence=confidence).held
    assert not check("accuracy", min_gain=low + 1e-9, confidence=confidence).held
    high = paired_interval(8, 0, 200, confidence).high
    assert check("accuracy", max_increase=high + 1e-9, confidence=confidence).held
    assert not check("accuracy", max_increase=high - 1e-9, confidence=confidence).held


def test_losses_are_paired_by_row():
    """Each row lost 0.05 nats: the rows differ much, their differences not at all."""
    for metric, bound in (("loss", 0.0101), ("bits_per_byte", 0.0037), ("perplexity", 0.0154)):
        assert check(metric, max_increase=bound, confidence=0.95).held, metric
        assert not check(metric, max_increase=bound * 0.95, confidence=0.95).held, metric


def test_a_win_rate_is_bounded_by_the_judges_answers():
    def longer(prompts, a, b):
        return [float(x[0]["content"] > y[0]["content"]) for x, y in zip(a, b, strict=True)]

    texts = [str(i % 7) for i in range(200)]
    rows = tuple(replace(r, response=t) for r, t in zip(SFT.rows, texts, strict=True))
    sft = replace(SFT, rows=rows)
    dpo = replace(DPO, rows=tuple(replace(r, response=str((i * 3) % 8)) for i, r in enumerate(DPO.rows)))
    dpo = judged(NamedJudge("longer", longer), dpo, sft, None)
    both = {"sft": sft, "dpo": dpo}
    wins = [2 * row.judged["sft"] - 1 for row in dpo.rows]
    low = win_rate(wins).at(0.8).low
    for margin, held in ((-1e-9, True), (1e-9, False)):
        spec = CheckSpec("win_rate", min=low + margin, confidence=0.8)
        assert outcome(spec, "dpo", "sft", both).held is held


def test_what_was_not_measured_does_not_hold():
    assert check("style", min=0).reason == "style was not measured: the evaluation data has no columns for it"
    found = outcome(CheckSpec("accuracy", min_gain=0.0, over="elsewhere"), "dpo", "sft", ALL)
    assert not found.held and found.reason == "accuracy of elsewhere was not measured"


def test_other_confidences_widen_the_interval():
    for interval in (
        lambda c: wilson_interval(30, 100, c),
        lambda c: proportion_interval(2, 100, c),
        resolve_one(mean(list(range(50))), seed=1).at,
    ):
        widths = [interval(c).high - interval(c).low for c in (0.5, 0.8, 0.95, 0.99)]
        assert widths == sorted(widths) and widths[0] < widths[-1]
    assert proportion_interval(1, 100).low == pytest.approx(0.05129 / 100, rel=1e-3)
    assert proportion_interval(2, 100).low == pytest.approx(0.35536 / 100, rel=1e-3)
    assert proportion_interval(3, 100).low == pytest.approx(0.81769 / 100, rel=1e-3)
