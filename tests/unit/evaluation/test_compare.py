"""Comparisons, row by row."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from ptspec.diagnostics import InputError
from ptspec.evaluation.compare import biggest_changes, compare
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measure import measure
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.report.sentence import in_words
from ptspec.rewards.builtin import builtin

SETTINGS = Settings(seed=1, max_new_tokens=48, preference_reference="raw likelihood", chat=True)


def made(name, right, lengths, nll=None, style=None, reference="raw likelihood"):
    """A measurement of as many rows as `right` has."""
    rows = tuple(
        RowMeasurement(
            id=str(i),
            prompt=f"question {i}",
            answer="x",
            correct=bool(correct),
            response="words",
            response_tokens=int(length),
            nll=None if nll is None else float(nll[i]),
            tokens=None if nll is None else 5,
            bytes=None if nll is None else 20,
            logp_chosen=-1.0,
            logp_rejected=-1.0 - i,
            margin=float(length),
            rewards={} if style is None else {"style": float(style[i])},
        )
        for i, (correct, length) in enumerate(zip(right, lengths, strict=True))
    )
    return Measurement(name, rows, {}, replace(SETTINGS, preference_reference=reference))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    before = made(
        "sft",
        rng.random(200) < 0.6,
        rng.integers(10, 20, 200),
        nll=rng.gamma(3, 1, 200),
        style=rng.random(200) < 0.3,
    )
    after = made(
        "dpo",
        rng.random(200) < 0.6,
        rng.integers(4, 12, 200),
        nll=[row.nll - 0.2 for row in before.rows],
        style=rng.random(200) < 0.8,
    )
    return before, after


def effect(comparison, name):
    (found,) = [effect for effect in comparison.effects if effect.metric == name]
    return found


def test_differences_are_b_minus_a_on_the_rows(pair):
    comparison = compare(pair)
    assert comparison.shared == 200 and comparison.left_out == (0, 0)
    for name, of in (("accuracy", lambda r: r.correct), ("response_length", lambda r: r.response_tokens)):
        means = [np.mean([of(row) for row in m.rows]) for m in pair]
        found = effect(comparison, name)
        assert (found.value_a, found.value_b) == pytest.approx(means)
        assert found.difference.value == pytest.approx(means[1] - means[0])
    bits = -0.2 / np.log(2) * 200 / (20 * 200)
    assert effect(comparison, "bits_per_byte").difference.value == pytest.approx(bits)


def test_words(pair):
    comparison = compare(pair)
    said = {found.metric: found.words for found in comparison.effects}
    assert said["bits_per_byte"] == "better"
    assert said["style"] == "better"
    assert said["accuracy"] == "no difference shown"
    assert said["response_length"] == "shorter"
    assert re.fullmatch(
        r"dpo is better at bits per byte \(−0.014 \[−0.014, −0.014\]\), style \(\+5\d.\d \[\+4.*\]\); "
        r"no difference shown in accuracy.*\.",
        in_words(comparison).replace(" and style", ", style"),
    ), in_words(comparison)
    assert in_words(compare(pair[::-1])).startswith("sft is worse at bits per byte (+0.014")
    assert in_words(compare([pair[0], pair[0]])) == (
        "sft is not shown to be better or worse than sft at anything."
    )


def test_both_ways_round_are_exact_opposites(pair):
    there, back = compare(pair), compare(pair[::-1])
    for one in there.effects:
        other = effect(back, one.metric)
        assert one.difference.value == -other.difference.value
        assert (one.difference.low, one.difference.high) == (-other.difference.high, -other.difference.low)
        assert (one.p, one.p_holm, one.needed) == (other.p, other.p_holm, other.needed)
    assert there.win_rates[0].wins == back.win_rates[0].losses
    assert there.win_rates[0].rate.value == pytest.approx(1 - back.win_rates[0].rate.value)


def test_a_copy_of_itself_shows_no_difference(model, tokenizer, rows, spec):
    one = measure(model, tokenizer, rows, spec, seed=1, rewards={"brief": builtin("length", {"max": 2})})
    comparison = compare([one, replace(one, name="copy")])
    assert len(comparison.effects) == 13
    for found in comparison.effects:
        assert found.difference.value == 0 and found.p_holm == 1
        assert found.difference.low <= 0 <= found.difference.high
        assert found.verdict is Verdict.NOT_SHOWN
    assert comparison.win_rates[0].rate.value == 0.5


def test_two_models_of_one_tokenizer(model, other_model, tokenizer, rows, spec):
    one, other = (measure(m, tokenizer, rows, spec, seed=1) for m in (model, other_model))
    comparison = compare([one, other], seed=1)
    loss = effect(comparison, "bits_per_byte")
    assert loss.value_a == pytest.approx(one.metrics["bits_per_byte"].value)
    assert loss.value_b == pytest.approx(other.metrics["bits_per_byte"].value)
    assert comparison.values[0]["loss"] == one.metrics["loss"]


def test_only_shared_rows_are_compared(pair):
    before, after = pair
    other = replace(after.rows[3], expected="something else")
    less = replace(after, rows=(*after.rows[:3], other, *after.rows[10:]))
    comparison = compare([before, less])
    assert comparison.shared == 193 and comparison.left_out == (7, 1)
    kept = [row for row in before.rows if row.id in {r.id for r in less.rows} - {"3"}]
    assert effect(comparison, "accuracy").value_a == np.mean([row.correct for row in kept])


def test_nothing_in_common_is_said(pair):
    before, after = pair
    other = replace(after, rows=tuple(replace(row, id="x" + row.id) for row in after.rows))
    with pytest.raises(InputError, match="no prompt is in all of the evaluations of sft, dpo"):
        compare([before, other])
    with pytest.raises(InputError, match="two evaluations or more"):
        compare([before])


def test_win_rate_counts_ties_half(pair):
    rate = compare(pair).win_rates[0]
    diffs = [b.rewards["style"] - a.rewards["style"] for a, b in zip(pair[0].rows, pair[1].rows, strict=True)]
    wins, losses = sum(d > 0 for d in diffs), sum(d < 0 for d in diffs)
    assert (rate.wins, rate.ties, rate.losses) == (wins, 200 - wins - losses, losses)
    assert rate.rate.value == pytest.approx((wins + rate.ties / 2) / 200)
    assert rate.verdict is Verdict.BETTER


def test_many_tests_need_more_than_one_lucky_interval():
    """Nine rewards without an effect and one at p = .02 alone: with ten tests that is not enough."""
    rng = np.random.default_rng(3)
    right = rng.random(120) < 0.5
    before, after = (made(name, right, [5] * 120) for name in "ab")
    style_b = [1.0] * 9 + [0.0] * 111
    style_a = [0.0] * 9 + [1.0] * 1 + [0.0] * 110
    none = {f"none_{k}": 1.0 for k in range(8)}
    before = replace(
        before,
        rows=tuple(
            replace(row, rewards={"style": v, **none}) for row, v in zip(before.rows, style_a, strict=True)
        ),
    )
    after = replace(
        after,
        rows=tuple(
            replace(row, rewards={"style": v, **none}) for row, v in zip(after.rows, style_b, strict=True)
        ),
    )
    found = effect(compare([before, after]), "style")
    assert found.p < 0.05 < found.p_holm and found.difference.low > 0
    assert found.verdict is Verdict.NOT_SHOWN


def test_preferences_relative_to_different_policies_are_compared_raw(pair):
    before, after = pair
    comparison = compare([before, replace(after, settings=replace(SETTINGS, preference_reference="sft"))])
    assert effect(comparison, "reward_margin").difference.value == 0  # the likelihoods are the same
    assert "raw likelihood" in comparison.notes[0]
    assert compare(pair).notes == ()


def test_different_settings_are_noted(pair):
    other = replace(pair[1], settings=replace(SETTINGS, max_new_tokens=9, chat=False))
    assert len(compare([pair[0], other]).notes) == 2


def test_three_models_are_held_against_the_first(pair):
    comparison = compare([*pair, replace(pair[1], name="kto")])
    assert {(found.a, found.b) for found in comparison.effects} == {(0, 1), (0, 2)}
    assert in_words(comparison, 2).startswith("kto is better at")


def test_a_change_is_told_in_the_unit_of_its_metric(pair):
    (change,) = biggest_changes(*pair, "bits_per_byte", 1)
    bits = (change.b.nll - change.a.nll) / math.log(2)
    assert change.difference == pytest.approx(bits / change.a.bytes)
    (change,) = biggest_changes(*pair, "loss", 1)
    assert change.difference == pytest.approx((change.b.nll - change.a.nll) / change.a.tokens)


def test_biggest_changes_come_first(pair):
    changes = biggest_changes(*pair, "response_length", 5)
    sizes = [abs(change.difference) for change in changes]
    assert len(sizes) == 5 and sizes == sorted(sizes, reverse=True)
    everyone = [
        b.response_tokens - a.response_tokens for a, b in zip(pair[0].rows, pair[1].rows, strict=True)
    ]
    assert sizes[0] == max(map(abs, everyone))
    assert biggest_changes(pair[0], pair[0], "accuracy", 5) == []
