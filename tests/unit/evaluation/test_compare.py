"""Comparisons, row by row."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from support.measurements import SETTINGS, effect, made

from ptspec.diagnostics import InputError
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measure import measure
from ptspec.evaluation.paired.compare import biggest_changes, compare
from ptspec.report.view.sentence import in_words
from ptspec.report.view.verdicts import WORDS
from ptspec.rewards.builtin import builtin


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


def test_differences_are_b_minus_a_on_the_rows(pair):
    comparison = compare(pair)
    assert comparison.shared == 200 and comparison.left_out == (0, 0)
    for name, of in (("accuracy", lambda r: r.correct), ("response_length", lambda r: r.response_tokens)):
        means = [np.mean([of(row) for row in m.rows]) for m in pair]
        found = effect(comparison, name)
        assert (found.value_a, found.value_b) == pytest.approx(means)
        assert found.difference.value == pytest.approx(means[1] - means[0])
    assert effect(comparison, "loss").difference.value == pytest.approx(-0.2 * 200 / (5 * 200))


def test_words(pair):
    comparison = compare(pair)
    said = {found.metric: WORDS[found.verdict] for found in comparison.effects}
    assert said["loss"] == "better"
    assert said["style"] == "better"
    assert said["accuracy"] == "not shown"
    assert said["response_length"] == ""
    assert re.fullmatch(
        r"dpo is better at style \(\+5\d.\d points\) and loss \(−0.040 nats/token\)\.",
        in_words(comparison),
    ), in_words(comparison)
    assert in_words(compare(pair[::-1])).endswith("and loss (+0.040 nats/token).")
    assert in_words(compare([pair[0], pair[0]])) == (
        "sft is not shown to be better or worse than sft at anything."
    )


def test_both_ways_round_are_exact_opposites(pair):
    there, back = compare(pair), compare(pair[::-1])
    for one in there.effects:
        other = effect(back, one.metric)
        assert one.difference.value == -other.difference.value
        assert (one.difference.low, one.difference.high) == (-other.difference.high, -other.difference.low)
        assert (one.plain.low, one.plain.high) == (-other.plain.high, -other.plain.low)
        assert (one.p, one.p_corrected, one.mde) == (other.p, other.p_corrected, other.mde)


def test_a_copy_of_itself_shows_no_difference(model, tokenizer, rows, spec):
    one = measure(model, tokenizer, rows, spec, seed=1, rewards={"brief": builtin("length", {"max": 2})})
    comparison = compare([one, replace(one, name="copy")])
    assert len(comparison.effects) == 13
    for found in comparison.effects:
        assert found.difference.value == 0 and found.p in (1, None)
        assert found.rows < 5 or found.difference.low <= 0 <= found.difference.high
        assert found.verdict in (Verdict.NOT_SHOWN, Verdict.DESCRIBED, Verdict.TOO_FEW)
        assert not found.is_tested
    assert comparison.tests == 0


def test_two_models_of_one_tokenizer(model, other_model, tokenizer, rows, spec):
    one, other = (measure(m, tokenizer, rows, spec, seed=1) for m in (model, other_model))
    comparison = compare([one, other], seed=1)
    loss = effect(comparison, "loss")
    assert loss.value_a == pytest.approx(one.metrics["loss"].value)
    assert loss.value_b == pytest.approx(other.metrics["loss"].value)
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


def test_a_reward_is_tested_once_and_no_win_rate_repeats_it(pair):
    """Without a judge "win rate of b" was the reward `style` under another name, tested twice."""
    found = compare(pair)
    assert found.win_rates == ()
    assert [e.metric for e in found.effects if e.is_tested] == ["accuracy", "style", "loss"]


def test_the_same_numbers_under_two_names_are_one_test(pair):
    """A reward that is accuracy, a weighted copy of another one: one quantity, one test, one verdict."""
    more = [
        replace(
            m,
            rows=tuple(
                replace(
                    r, rewards={**r.rewards, "correct": float(r.correct), "double": 2 * r.rewards["style"]}
                )
                for r in m.rows
            ),
        )
        for m in pair
    ]
    plain, found = compare(pair), compare(more)
    assert found.tests == plain.tests == 3
    for copy, name in (("correct", "accuracy"), ("double", "style")):
        one, other = effect(found, name), effect(found, copy)
        assert (one.p_corrected, one.verdict) == (other.p_corrected, other.verdict)
        assert one.p_corrected == effect(plain, name).p_corrected


def test_many_tests_need_more_than_one_lucky_interval():
    """Nine rewards without an effect and one at p = .02 alone: with ten tests that is not enough. The
    interval that is told is the corrected one."""
    rng = np.random.default_rng(3)
    right = rng.random(120) < 0.5
    noise = {f"none_{k}": rng.random((2, 120)) < 0.5 for k in range(9)}
    style = np.array([[0.0] * 9 + [1.0] + [0.0] * 110, [1.0] * 9 + [0.0] * 111])
    before, after = (
        replace(
            made(name, right, [5] * 120),
            rows=tuple(
                replace(row, rewards={"style": style[side, i],
                                      **{k: float(v[side, i]) for k, v in noise.items()}})
                for i, row in enumerate(made(name, right, [5] * 120).rows)
            ),
        )
        for side, name in enumerate("ab")
    )  # fmt: skip
    compared = compare([before, after])
    found = effect(compared, "style")
    assert compared.tests == 10
    assert found.p < 0.05 < found.p_corrected and found.plain.low > 0
    assert found.difference.low <= 0 and found.verdict is Verdict.NOT_SHOWN
    assert found.mde > 0


def test_what_does_not_vary_costs_the_others_nothing():
    """Tests that cannot reject stood in the family: five wins and no loss paid for eight constants."""
    rng = np.random.default_rng(3)
    right = rng.random(160) < 0.5
    before, after = (made(name, right, [5] * 160, style=[1.0] * 160) for name in "ab")
    better = [True] * 7 + list(right[7:])
    before = replace(before, rows=tuple(replace(r, correct=c) for r, c in zip(
        before.rows, [False] * 7 + list(right[7:]), strict=True)))  # fmt: skip
    after = replace(after, rows=tuple(replace(r, correct=c) for r, c in zip(
        after.rows, better, strict=True)))  # fmt: skip
    found = compare([before, after])
    accuracy = effect(found, "accuracy")
    assert found.tests == 1 and accuracy.p_corrected == accuracy.p < 0.05
    assert accuracy.verdict is Verdict.BETTER
    assert effect(found, "style").verdict is Verdict.NOT_SHOWN and not effect(found, "style").is_tested


def test_the_interval_of_the_readme_agrees_with_its_word():
    """accuracy +3.1 [+0.7, +7.1] "no difference shown": 155 and 160 of 160 right."""
    a, b = made("a", [True] * 155 + [False] * 5, [5] * 160), made("b", [True] * 160, [5] * 160)
    found = effect(compare([a, b]), "accuracy")
    assert found.difference.low == pytest.approx(0.0071, abs=1e-4)
    assert found.p == pytest.approx(2**-5) and found.verdict is Verdict.BETTER


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_fewer_than_five_prompts_are_values_without_verdicts(pair, n):
    """`--prompts 1` gave "bits per byte 0.721 0.722 +0.001 [+0.001, +0.001] worse"."""
    found = compare(pair, prompts=n)
    for one in found.effects:
        assert one.rows == n
        if n < 5:
            assert one.difference.low is one.difference.high is one.p is one.mde is None
            assert one.verdict in (Verdict.TOO_FEW, Verdict.DESCRIBED)
    assert effect(found, "accuracy").verdict is (Verdict.TOO_FEW if n < 5 else Verdict.NOT_SHOWN)
    assert ("too few prompts for a verdict" in in_words(found)) is (n < 5)


@pytest.mark.parametrize(
    ("method", "is_judged"),
    [(None, True), ("sft", True), ("orpo", True), ("dpo", False), ("kto", False), ("grpo", False),
     ("nash_md", False)],
)  # fmt: skip
def test_the_loss_of_references_is_described_after_preferences_and_rewards(pair, method, is_judged):
    """It nearly always rises under preference optimisation, and was the first red word, three times over."""
    trained = replace(pair[1], settings=replace(pair[1].settings, method=method))
    for both in ([pair[0], trained], [trained, pair[0]]):
        loss = effect(compare(both), "loss")
        assert loss.is_tested is is_judged
        assert loss.is_described is not is_judged
        assert loss.difference.low is not None
    assert not {"perplexity", "bits_per_byte"} & {e.metric for e in compare(pair).effects}


def test_one_verdict_that_is_worse_stays_where_every_row_is_a_little_worse(pair):
    """No overlap of unpaired intervals would have told it."""
    worse = replace(pair[0], name="b", rows=tuple(replace(r, nll=r.nll + 0.01) for r in pair[0].rows))
    found = compare([pair[0], worse])
    assert found.of_stage().changes["loss"].verdict == "worse"


def test_rows_of_one_prompt_are_one_cluster(pair):
    """Twenty prompts eight times each are not 160 prompts."""

    def eight(m):
        return replace(m, rows=tuple(
            replace(r, id=f"{r.id}-{k}") for r in m.rows[:20] for k in range(8)))  # fmt: skip

    once, found = compare(pair, prompts=None), compare([eight(m) for m in pair])
    few = compare([replace(m, rows=m.rows[:20]) for m in pair])
    for one in found.effects:
        assert (one.rows, one.clusters) == (160, 20)
        alone = effect(few, one.metric)
        assert one.difference.value == pytest.approx(alone.difference.value) or one.metric == "distinct_2"
        if one.metric in ("style", "response_length", "accuracy"):
            width, of_few = (x.plain.high - x.plain.low for x in (one, alone))
            assert width == pytest.approx(of_few, rel=0.25), one.metric
    assert effect(once, "style").clusters == 200


def test_a_cluster_column_goes_into_every_interval(pair):
    grouped = [
        replace(m, rows=tuple(replace(r, cluster=str(i // 20)) for i, r in enumerate(m.rows)),
                settings=replace(m.settings, cluster="text"))
        for m in pair
    ]  # fmt: skip
    found = compare(grouped)
    assert found.cluster == "text" and {e.clusters for e in found.effects} == {10}
    three = [replace(m, rows=tuple(replace(r, cluster=str(i // 70)) for i, r in enumerate(m.rows)))
             for m in pair]  # fmt: skip
    assert effect(compare(three), "style").verdict is Verdict.TOO_FEW


def test_preferences_relative_to_different_policies_are_compared_raw(pair):
    before, after = pair
    comparison = compare([before, replace(after, settings=replace(SETTINGS, preference_reference="sft"))])
    assert effect(comparison, "raw_margin").difference.value == 0  # the likelihoods are the same
    assert effect(comparison, "raw_preference").is_described
    assert not {"reward_margin", "preference_accuracy"} & {e.metric for e in comparison.effects}
    assert not {"reward_margin", "preference_accuracy"} & set(comparison.values[0])
    assert compare(pair).notes == ()


def test_different_settings_are_noted(pair):
    other = replace(pair[1], settings=replace(SETTINGS, max_new_tokens=9, chat=False))
    assert len(compare([pair[0], other]).notes) == 2


def test_three_models_are_held_against_the_first(pair):
    comparison = compare([*pair, replace(pair[1], name="kto")])
    assert {(found.a, found.b) for found in comparison.effects} == {(0, 1), (0, 2)}
    assert in_words(comparison, 2).startswith("kto is better at")


def test_a_change_is_reported_in_the_unit_of_its_metric(pair):
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
