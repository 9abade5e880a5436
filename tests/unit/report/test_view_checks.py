"""A check in words: in the table's unit, with a real minus sign, what failed first."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from ptspec.events import CheckedBound, CheckEvaluated
from ptspec.report.view.checks import check_view, read_check


def told(*bounds, on_fail="stop"):
    return check_view(CheckEvaluated("dpo", "", all(b.held for b in bounds), on_fail, bounds))


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (CheckedBound("preference_accuracy", 0.9563, "≥", 0.75, True), "preference accuracy 95.6 % ≥ 75 %"),
        (CheckedBound("accuracy", 0.03125, "≥", -0.05, True, "sft"), "accuracy over sft +3.1 points ≥ −5"),
        (CheckedBound("accuracy", 0.79, "≥", 0.8, False), "accuracy 79.0 % ≥ 80 %, missed by 1 points"),
        (CheckedBound("perplexity", 0.06, "≤", 0.1, True, "sft"), "perplexity over sft +0.06 ≤ 0.1"),
        (CheckedBound("finished", 0.98, "≥", 0.95, True), "truncated 2.0 % ≤ 5 %"),
        (CheckedBound("finished", -0.02, "≥", -0.05, True, "sft"), "truncated over sft +2.0 points ≤ 5"),
        (
            CheckedBound("accuracy", 0.969, "≥", 0.9, True, end=0.929, confidence=0.95),
            "accuracy 96.9 % (at least 92.9 % with 95 % confidence) ≥ 90 %",
        ),
        (
            CheckedBound("finished", 0.98, "≥", 0.95, True, end=0.96, confidence=0.95),
            "truncated 2.0 % (at most 4.0 % with 95 % confidence) ≤ 5 %",
        ),
        (CheckedBound("brief", 0.031, "≥", 0.03, True), "brief 0.031 ≥ 0.03"),
        (CheckedBound("style", 0.35, "≥", 0.3, True, is_share=True), "style 35.0 % ≥ 30 %"),
        (
            CheckedBound("loss", 0.048, "≤", -0.01, False, "sft"),
            "loss over sft +0.048 nats/token ≤ −0.01, missed by 0.058 nats/token",
        ),
    ],
)
def test_in_the_unit_of_the_table(bound, text):
    """B21: `accuracy gain +0.03125 ≥ -0.05` stood below a table in percent."""
    assert told(bound).text == text
    assert "-" not in text


def test_pass_fail_warn():
    held, failed = CheckedBound("accuracy", 0.9, "≥", 0.8, True), CheckedBound("kl", 3.0, "≤", 2.0, False)
    assert (told(held).state, told(failed).state, told(failed, on_fail="warn").state) == (
        "PASS",
        "FAIL",
        "WARN",
    )
    assert told(held, failed).text == "KL to base 3.000 ≤ 2, missed by 1 nats/token"


def test_the_events_of_an_earlier_version_are_reported_in_its_words():
    old = {
        "event": "CheckEvaluated",
        "stage": "dpo",
        "text": "accuracy 0.79 ≥ 0.75",
        "held": True,
        "on_fail": "stop",
    }
    view = check_view(read_check(old))
    assert (view.state, view.where, view.text) == ("PASS", "dpo", "accuracy 0.79 ≥ 0.75")


def test_a_written_check_is_read_back():
    check = CheckEvaluated("dpo", "", True, "stop", (CheckedBound("accuracy", 0.9, "≥", 0.8, True, "sft"),))
    assert read_check(json.loads(json.dumps(asdict(check)))) == check
    damaged = {**asdict(check), "bounds": [{"metric": "accuracy"}, 3]}
    assert read_check(damaged).bounds == ()
