"""Aggregates from rows made by hand."""

import math

import pytest

from ptspec.evaluation.measurement import RowMeasurement
from ptspec.evaluation.metrics import aggregates, repetition


def row(**given):
    return RowMeasurement(id="x", prompt="q", **given)


def test_float_noise_around_no_preference_is_a_tie():
    rows = [row(margin=margin) for margin in (2e-6, -3e-6, 0.0, 0.5)]
    assert aggregates(rows, seed=1)["preference_accuracy"].value == (3 * 0.5 + 1) / 4


def test_loss_weighs_tokens_and_bits_weigh_bytes():
    rows = [row(nll=2.0, tokens=1, bytes=10), row(nll=1.0, tokens=9, bytes=2)]
    figures = aggregates(rows, seed=1)
    assert figures["loss"].value == pytest.approx(3 / 10)
    assert figures["perplexity"].value == pytest.approx(math.exp(0.3))
    assert figures["bits_per_byte"].value == pytest.approx(3 / math.log(2) / 12)
    assert figures["perplexity"].high == pytest.approx(math.exp(figures["loss"].high))


def test_distinct_counts_over_all_responses_together():
    figures = aggregates([row(response="a b A"), row(response="a, b")], seed=1)
    assert figures["distinct_1"].value == 3 / 6  # "a", "b" and the comma
    assert figures["distinct_2"].value == 4 / 4
    assert figures["distinct_1"].low <= 1 / 2 <= figures["distinct_1"].high


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


def test_one_row_has_no_width_to_speak_of():
    figure = aggregates([row(nll=2.0, tokens=4, bytes=8)], seed=1)["loss"]
    assert figure.low == figure.value == figure.high
