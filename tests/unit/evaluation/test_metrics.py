"""Aggregates from rows made by hand."""

import math
from dataclasses import replace

import pytest

from ptspec.evaluation.aggregates import aggregates, repetition
from ptspec.evaluation.measurement import RowMeasurement
from ptspec.evaluation.response_metrics import RESPONSE_METRICS
from ptspec.metrics import METRICS, PAIR_METRICS, RAW_METRICS


def row(**given):
    return RowMeasurement(**{"id": "x", "prompt": "", **given})


def rows_of(*rows):
    """The same five times over, each with an id and a prompt of its own."""
    return [replace(one, id=f"{i}-{k}", prompt=f"{i} {k}") for k in range(5) for i, one in enumerate(rows)]


def test_float_noise_around_no_preference_is_a_tie():
    rows = [row(margin=margin) for margin in (2e-6, -3e-6, 0.0, 0.5)]
    assert aggregates(rows, seed=1)["preference_accuracy"].value == (3 * 0.5 + 1) / 4


def test_loss_weighs_tokens_and_bits_weigh_bytes():
    rows = rows_of(row(nll=2.0, tokens=1, bytes=10), row(nll=1.0, tokens=9, bytes=2))
    figures = aggregates(rows, seed=1)
    assert figures["loss"].value == pytest.approx(3 / 10)
    assert figures["perplexity"].value == pytest.approx(math.exp(0.3))
    assert figures["bits_per_byte"].value == pytest.approx(3 / math.log(2) / 12)
    assert figures["perplexity"].high == pytest.approx(math.exp(figures["loss"].high))


def test_distinct_counts_over_all_responses_together():
    figures = aggregates(rows_of(row(response="a b A"), row(response="a, b")), seed=1)
    assert figures["distinct_1"].value == 3 / 30  # "a", "b" and the comma
    assert figures["distinct_2"].value == 4 / 20
    assert figures["distinct_1"].low <= 1 / 10 <= figures["distinct_1"].high


def test_repetition_is_the_share_of_repeated_4_grams():
    assert repetition([1, 2, 3, 4, 5]) == 0
    assert repetition([1, 1, 1, 1, 1, 1]) == pytest.approx(2 / 3)
    assert repetition([1, 2]) == repetition([]) == 0


def test_blank_responses_are_empty():
    figures = aggregates([row(response=text) for text in ("", " \n", "a", "b")], seed=1)
    assert figures["empty"].value == 0.5


def test_rows_that_a_reward_has_no_say_on_do_not_count():
    rows = [row(rewards={"r": 1.0}), row(rewards={"r": None}), row(rewards={"r": 0.0})]
    assert aggregates(rows, seed=1)["r"].value == 0.5


def test_nothing_measured_nothing_said():
    assert aggregates([row()], seed=1) == {}
    assert aggregates([], seed=1) == {}
    assert aggregates([row(nll=0.0, tokens=0, bytes=0)], seed=1) == {}


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_fewer_than_five_rows_have_values_without_intervals(n):
    """One row had the interval [x, x]."""
    rows = [
        row(
            id=f"{i}", prompt=f"{i}", nll=2.0 + i, tokens=4, bytes=8, correct=True, response="a b", margin=1.0
        )
        for i in range(n)
    ]
    figures = aggregates(rows, seed=1)
    assert {"loss", "perplexity", "accuracy", "distinct_1", "preference_accuracy"} <= set(figures)
    for name, figure in figures.items():
        assert (figure.low is None) == (figure.high is None) == (n < 5), name
    assert figures["perplexity"].value == pytest.approx(math.exp(figures["loss"].value))


def test_rows_of_one_prompt_are_one_cluster_and_the_interval_is_wider():
    """20 prompts 8 times each were taken for 160 independent rows: 72.5 % of the 95 % intervals held."""
    once = [row(id=f"{i}", prompt=f"q{i}", correct=i % 3 == 0, nll=float(i), tokens=4) for i in range(20)]
    eight = [replace(one, id=f"{one.id}-{k}") for one in once for k in range(8)]
    apart = [replace(one, prompt=f"{one.prompt} {i}") for i, one in enumerate(eight)]
    for name in ("accuracy", "loss"):
        alone, together, independent = (aggregates(r, seed=1)[name] for r in (once, eight, apart))
        assert together.value == alone.value == independent.value
        width = together.high - together.low
        assert width == pytest.approx(alone.high - alone.low, rel=0.2), name
        assert width > 2 * (independent.high - independent.low), name


def test_a_cluster_column_goes_before_the_prompt():
    rows = [row(id=f"{i}", prompt=f"q{i}", correct=i % 2 == 0, cluster=str(i // 10)) for i in range(60)]
    one = aggregates(rows, seed=1)["accuracy"]
    few = aggregates([replace(r, cluster=str(i // 20)) for i, r in enumerate(rows)], seed=1)["accuracy"]
    assert one.low is not None and few.low is None  # six clusters, three clusters


def test_answers_without_text_count_neither_bits_nor_bytes():
    """Tool calls: their bits were divided by the bytes of the other rows."""
    rows = rows_of(row(nll=2.0, tokens=1, bytes=10), row(nll=9.0, tokens=9, bytes=0))
    assert aggregates(rows, seed=1)["bits_per_byte"].value == pytest.approx(2 / math.log(2) / 10)


def test_each_metric_is_measured_somewhere():
    """A metric in the table that nothing computes would be accepted in recipes and never shown."""
    judged = {"win_rate", "win_rate_lc", "win_rate_base", "win_rate_base_lc"}
    measured = RowMeasurement(
        id="1",
        prompt="q",
        nll=1.0,
        tokens=2,
        bytes=9,
        correct=True,
        margin=1.0,
        logp_chosen=-1.0,
        logp_rejected=-2.0,
        response="a b",
        response_tokens=3,
        finished=True,
        repetition=0.0,
        refused=False,
        sample="a",
        sample_tokens=2,
        sample_correct=True,
        kl=0.1,
    )
    found = {*aggregates([measured], seed=1), *PAIR_METRICS.values(), *judged}
    assert found == {*METRICS, *RAW_METRICS}
    assert RESPONSE_METRICS.keys() <= METRICS.keys()
    assert all(METRICS[name].describes for name in RESPONSE_METRICS)
