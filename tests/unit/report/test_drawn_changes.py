"""`--show` where a metric of drawn answers differs: no answer stands beside a number of another one."""

from __future__ import annotations

from dataclasses import replace

from support.comparisons import EFFECTS, comparison

from ptspec.evaluation.comparison import Change
from ptspec.evaluation.measurement import RowMeasurement
from ptspec.report.changes import changes_text, metric_to_show


def test_greedy_answers_are_looked_into_before_drawn_ones():
    style = next(one for one in EFFECTS if one.metric == "style")
    drawn = replace(style, metric="sampled_accuracy")
    assert metric_to_show(comparison(effects=(drawn, style), rates=())) == "style"
    assert metric_to_show(comparison(effects=(drawn,), rates=())) == "sampled_accuracy"


def test_of_a_metric_of_drawn_answers_the_drawn_ones_are_shown():
    a = RowMeasurement("1", "Where?", response="In Tarn.", sample="I forgot.", sample_correct=False)
    b = RowMeasurement("1", "Where?", response="In Tarn!", sample="In Tarn, surely.", sample_correct=True)
    change, drawn = Change(a, b, 1.0), replace(EFFECTS[0], metric="sampled_accuracy")
    text = changes_text([change], comparison(effects=(drawn,)), "sampled_accuracy", (1, 2), 80)
    assert "sft        I forgot.\n   dpo        In Tarn, surely.\n" in text
