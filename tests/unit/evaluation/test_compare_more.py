"""Comparisons: by a judge, in slices, on some of the prompts, across tokenizers, bases and held-out data."""

from dataclasses import replace

import numpy as np
import pytest
from support.measurements import SETTINGS, effect, made

from ptspec.commands.evaluate import as_json
from ptspec.diagnostics import InputError
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.measurement import DataStamp
from ptspec.evaluation.paired.compare import biggest_changes, compare, prompts_of
from ptspec.evaluation.paired.pairing import Judgement


def more(measurement, seed, kl=1.0, words=4):
    """The same with samples, KL, refusals, texts and a column `topic`."""
    rng = np.random.default_rng(seed)
    rows = tuple(
        replace(
            row,
            response=" ".join(f"w{k}" for k in rng.integers(0, words, rng.integers(2, 12))),
            refused=bool(rng.random() < 0.1),
            sample="x",
            sample_tokens=int(rng.integers(2, 9)),
            sample_correct=bool(rng.random() < 0.5),
            kl=float(rng.gamma(2, kl)),
            slices={"topic": ("pets", "towns", "rare")[0 if i < 90 else 1 if i < 199 else 2]},
        )
        for i, row in enumerate(measurement.rows)
    )
    return replace(measurement, rows=rows)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    before = made("sft", rng.random(200) < 0.6, rng.integers(10, 20, 200), nll=rng.gamma(3, 1, 200))
    after = made("dpo", rng.random(200) < 0.6, rng.integers(4, 12, 200), nll=rng.gamma(3, 1, 200))
    return more(before, 1), more(after, 2, kl=2.0, words=40)


def test_kl_is_each_ones_sum_over_its_own_tokens(pair):
    found = effect(compare(pair), "kl")
    means = [sum(r.kl for r in m.rows) / sum(r.sample_tokens for r in m.rows) for m in pair]
    assert (found.value_a, found.value_b) == pytest.approx(means)
    assert found.difference.value == pytest.approx(means[1] - means[0])
    assert found.difference.low < found.difference.value < found.difference.high
    assert found.is_described and not found.is_tested


def test_distinct_refusals_and_samples_are_compared(pair):
    found = compare(pair)
    assert effect(found, "distinct_2").difference.low > 0
    assert effect(found, "distinct_2").is_described and effect(found, "refusals").is_described
    share = np.mean([row.sample_correct for row in pair[1].rows])
    assert effect(found, "sampled_accuracy").value_b == pytest.approx(share)


def judged(pair, seed=3):
    rng = np.random.default_rng(seed)
    return Judgement(
        "fair", {1: {row.id: float(rng.choice([0, 0.5, 1], p=[0.2, 0.2, 0.6])) for row in pair[1].rows}}
    )


def test_a_judges_win_rate_stands_raw_and_length_controlled(pair):
    judgement = judged(pair)
    raw, controlled = compare(pair, judgement=judgement).win_rates
    wins = judgement.wins[1]
    assert raw.label == "judge fair" and controlled.label == "judge fair, length-controlled"
    assert raw.rate.value == pytest.approx(np.mean(list(wins.values())))
    assert (raw.wins, raw.ties, raw.losses) == tuple(sum(p == v for p in wins.values()) for v in (1, 0.5, 0))
    assert raw.verdict is controlled.verdict is Verdict.BETTER
    assert abs(raw.rate.value - controlled.rate.value) < 0.05


def test_everything_is_opposite_both_ways_round(pair):
    judgement = judged(pair)
    turned = Judgement("fair", {1: {key: 1 - p for key, p in judgement.wins[1].items()}})
    there = compare(pair, judgement=judgement, by="topic", prompts=150)
    back = compare(pair[::-1], judgement=turned, by="topic", prompts=150)
    for one, other in zip(there.effects, back.effects, strict=True):
        assert one.difference.value == pytest.approx(-other.difference.value, abs=1e-12)
        assert one.difference.low == pytest.approx(-other.difference.high, abs=1e-12)
        assert one.verdict is other.verdict or {one.verdict, other.verdict} == {Verdict.BETTER, Verdict.WORSE}
    for one, other in zip(there.win_rates, back.win_rates, strict=True):
        assert one.rate.value == pytest.approx(1 - other.rate.value, abs=1e-12)
        assert one.rate.low == pytest.approx(1 - other.rate.high, abs=1e-12)


def test_twice_gives_the_same_numbers(pair):
    once, again = (compare(pair, judgement=judged(pair), by="topic") for _ in range(2))
    assert once == again and as_json(once) == as_json(again)


def test_a_copy_shows_no_difference_in_anything(pair):
    copy = replace(pair[0], name="copy")
    ties = Judgement("fair", {1: {row.id: 0.5 for row in copy.rows}})
    found = compare([pair[0], copy], judgement=ties, by="topic")
    everything = [*found.effects, *(e for one in found.slices for e in one.effects)]
    assert {e.metric for e in found.effects} >= {"kl", "distinct_2", "refusals", "sampled_accuracy"}
    assert all(e.difference.value == 0 and e.p in (1, None) and not e.is_tested for e in everything)
    assert all(r.rate.value == 0.5 and r.verdict is Verdict.NOT_SHOWN for r in found.win_rates)


def test_some_prompts_are_the_same_for_all(pair):
    found = compare(pair, prompts=50)
    assert (found.shared, found.of, found.left_out) == (50, 200, (0, 0))
    turned = [replace(m, rows=m.rows[::-1]) for m in pair]
    again = compare(turned, prompts=50)
    assert effect(found, "accuracy").value_a == effect(again, "accuracy").value_a
    assert compare(pair, prompts=5000).shared == 200


def test_slices_have_intervals_of_their_own(pair):
    found = compare(pair, by="topic")
    assert [(one.value, one.rows) for one in found.slices] == [("pets", 90), ("towns", 109), ("rare", 1)]
    assert {e.verdict for e in found.slices[2].effects} == {Verdict.TOO_FEW, Verdict.DESCRIBED}
    assert all(e.difference.low is None for e in found.slices[2].effects)
    for one, rows in zip(found.slices, (slice(0, 90), slice(90, 199)), strict=False):
        (accuracy,) = [e for e in one.effects if e.metric == "accuracy"]
        means = [np.mean([row.correct for row in m.rows[rows]]) for m in pair]
        assert accuracy.difference.value == pytest.approx(means[1] - means[0])
        assert accuracy.difference.low < accuracy.difference.value < accuracy.difference.high
    assert found.slice_tests == sum(e.is_tested for one in found.slices for e in one.effects)
    assert compare(pair).slices == () and compare(pair).slice_tests == 0


@pytest.mark.parametrize("count", [20, 45, 100])
def test_many_slices_can_still_show_what_is_there(count):
    """Above 250 tests the bootstrap's p could never be shown: worse in 20 of 20 slices, in 0 of 45."""
    rng = np.random.default_rng(0)
    n = 12 * count
    nll = rng.gamma(3, 1, n)
    before, after = (
        replace(m, rows=tuple(
            replace(r, slices={"subject": f"s{i % count}"}, rewards={f"r{k}": float(v) for k, v in
                                                                    enumerate(rng.normal(0, 1, 5))})
            for i, r in enumerate(m.rows)))
        for m in (made("a", rng.random(n) < 0.6, [5] * n, nll=nll),
                  made("b", rng.random(n) < 0.6, [5] * n, nll=nll + rng.normal(0.36, 0.1, n)))
    )  # fmt: skip
    found = compare([before, after], by="subject")
    assert found.slice_tests > 6 * count
    verdicts = [e.verdict for one in found.slices for e in one.effects if e.metric == "loss"]
    assert verdicts.count(Verdict.WORSE) == count
    others = [e.verdict for one in found.slices for e in one.effects if e.is_tested and e.metric != "loss"]
    assert sum(v is not Verdict.NOT_SHOWN for v in others) <= 0.15 * count


def test_no_such_column(pair):
    with pytest.raises(InputError, match='no row has a short value in a column "topics"') as fault:
        compare(pair, by="topics")
    assert fault.value.diagnostics[0].hint == "columns: topic"


def settled(measurement, **given):
    return replace(measurement, settings=replace(SETTINGS, **given))


def test_other_tokenizers_are_compared_in_bytes_and_characters(pair):
    found = compare([settled(pair[0], tokenizer="a"), settled(pair[1], tokenizer="b")])
    names = {e.metric for e in found.effects}
    assert "bits_per_byte" in names and "response_characters" in names
    assert not {"response_length", "loss"} & names
    assert "different tokenizers: lengths are compared in characters, likelihood by bytes" in found.notes


def test_kl_to_other_bases_is_not_compared(pair):
    found = compare([settled(pair[0], kl_base="a"), settled(pair[1], kl_base="b")])
    assert "kl" not in {e.metric for e in found.effects}
    assert "KL is to different bases: not compared" in found.notes


def test_references_of_one_name_may_differ(pair):
    one, other = (
        settled(m, preference_reference="sft", reference_fingerprint=f)
        for m, f in zip(pair, "xy", strict=True)
    )
    assert {"raw_preference", "raw_margin"} <= {e.metric for e in compare([one, other]).effects}
    same = [settled(m, preference_reference="sft", reference_fingerprint="x") for m in pair]
    assert compare(same).notes == ()


def test_other_held_out_data_is_said_and_only_what_is_shared_is_compared(pair):
    one = replace(pair[0], data=DataStamp("data/eval.jsonl", "a", 200), rows=pair[0].rows[:150])
    other = replace(pair[1], data=DataStamp("data/test.jsonl", "b", 200), rows=pair[1].rows[50:])
    found = compare([one, other])
    assert (found.shared, found.left_out) == (100, (50, 50))
    assert found.notes[0].startswith("measured on different held-out data (data/eval.jsonl, data/test.jsonl)")


def test_a_reward_of_ones_is_not_certain():
    """All right in both: as with accuracy, so few rows may hide a difference."""
    found = effect(compare([made(name, [True] * 30, [5] * 30, style=[1.0] * 30) for name in "ab"]), "style")
    assert found.difference.value == 0 and found.difference.low < -0.05 < 0.05 < found.difference.high


def test_changes_are_among_the_prompts_that_were_compared(pair):
    keys = prompts_of(pair, 20)
    assert len(keys) == 20 == compare(pair, prompts=20).shared
    changes = biggest_changes(*pair, "response_length", 50, keys)
    assert {change.a.id for change in changes} <= set(keys)
