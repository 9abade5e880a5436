from __future__ import annotations

from test_comparison import EFFECTS, comparison

from ptspec.evaluation.comparison import Change
from ptspec.evaluation.measurement import RowMeasurement
from ptspec.report.changes import changes_text, telling_metric


def row(response, prompt="Where does Mira live?"):
    return RowMeasurement("1", prompt, expected="Mira lives in Tarn.", response=response)


def test_prompts_with_both_responses():
    changes = [
        Change(row("Well, \x1b[31mI think\nTarn."), row("Mira lives in Tarn."), 1.0),
        Change(row("Mira lives in Tarn."), row(""), -0.25),
    ]
    assert changes_text(changes, "style", ("sft", "dpo"), 80) == (
        "biggest changes in style, sft → dpo\n"
        "\n"
        "1. +1.00   Where does Mira live?\n"
        "   expected   Mira lives in Tarn.\n"
        "   sft        Well, I think Tarn.\n"
        "   dpo        Mira lives in Tarn.\n"
        "\n"
        "2. −0.25   Where does Mira live?\n"
        "   expected   Mira lives in Tarn.\n"
        "   sft        Mira lives in Tarn.\n"
        "   dpo        (empty)\n"
    )


def test_long_responses_are_wrapped_and_cut():
    text = changes_text([Change(row("word " * 500), row("short"), 1.0)], "accuracy", ("a", "b"), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert len(text) < 800
    assert "…" in text


def test_nothing_changed():
    assert changes_text([], "accuracy", ("a", "b"), 80) == "no prompt on which a and b differ in accuracy\n"


def test_what_got_worse_is_looked_into_first():
    assert telling_metric(comparison()) == "loss"
    assert telling_metric(comparison(effects=EFFECTS[3:])) == "style"
    assert telling_metric(comparison(effects=EFFECTS[1:2])) == "accuracy"
