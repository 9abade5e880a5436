"""`--show`: prompts whose answers differ, with both answers."""

from __future__ import annotations

from support.comparisons import EFFECTS, comparison

from ptspec.evaluation.comparison import Change
from ptspec.evaluation.measurement import Measurement, RowMeasurement, Settings
from ptspec.evaluation.paired.answers import answers_differ, changes_to_show
from ptspec.report.changes import changes_text, metric_to_show
from ptspec.report.comparison import ComparisonTable


def row(response, prompt="Where does Mira live?", key="1", nll=None, correct=None):
    return RowMeasurement(
        key, prompt, expected="Mira lives in Tarn.", response=response, nll=nll, tokens=5, correct=correct
    )


def measured(name, *rows):
    return Measurement(name, rows, {}, Settings(1, 48, None, True))


def test_prompts_with_both_responses():
    changes = [
        Change(row("Well, \x1b[31mI think\nTarn."), row("Mira lives in Tarn."), 1.0),
        Change(row("Mira lives in Tarn."), row(""), -1.0),
    ]
    assert changes_text(changes, comparison(), "style", (2, 160), 80) == (
        "answers that differ, biggest changes in style first, sft → dpo\n"
        "\n"
        "1. style +1   Where does Mira live?\n"
        "   expected   Mira lives in Tarn.\n"
        "   sft        Well, I think Tarn.\n"
        "   dpo        Mira lives in Tarn.\n"
        "\n"
        "2. style −1   Where does Mira live?\n"
        "   expected   Mira lives in Tarn.\n"
        "   sft        Mira lives in Tarn.\n"
        "   dpo        (empty)\n"
    )


def test_long_responses_are_wrapped_and_cut():
    changes = [Change(row("word " * 500), row("short"), 1.0)]
    text = changes_text(changes, comparison(), "accuracy", (1, 2), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert len(text) < 800
    assert "…" in text


def test_where_no_answer_differs_it_says_so():
    text = changes_text([], comparison(), "accuracy", (0, 160), 80)
    assert text == "sft and dpo give the same answer to 160 of 160 prompts\n"


def test_where_nothing_was_generated_it_says_so():
    text = changes_text([], comparison(), "loss", (0, 0), 80)
    assert text == "no prompt was answered by both sft and dpo: the evaluation generates nothing\n"
    assert "answers differ" not in ComparisonTable(comparison(), answers={1: (0, 0)}).plain(80)
    assert "0 of 160 answers differ" in ComparisonTable(comparison(), answers={1: (0, 160)}).plain(80)


def test_prompts_whose_answers_differ_are_picked():
    """The likelihood of the expected answer changed most where both say the same: five identical answers were
    what the recommended command showed."""
    a = measured("a", row("x", key="1", nll=1.0), row("x", key="2", nll=1.0), row("x", key="3", nll=1.0))
    b = measured("b", row("x", key="1", nll=9.0), row("y", key="2", nll=1.1), row("z", key="3", nll=1.5))
    keys = ["1", "2", "3"]
    assert answers_differ(a, b, keys) == (2, 3)
    name, changes = changes_to_show(a, b, "loss", 5, keys)
    assert name == "loss" and [change.a.id for change in changes] == ["3", "2"]
    name, changes = changes_to_show(a, b, "accuracy", 1, keys)
    assert name == "accuracy" and [change.a.id for change in changes] == ["2"]


def test_where_all_answers_are_the_same_the_likelihoods_are_told():
    a, b = measured("a", row("x", nll=3.21)), measured("b", row("x", nll=4.9))
    name, changes = changes_to_show(a, b, "accuracy", 5, ["1"])
    text = changes_text(changes, comparison(), name, answers_differ(a, b, ["1"]), 80)
    assert text.splitlines()[0] == "sft and dpo give the same answer to 1 of 1 prompt"
    assert "1. log p(expected) −1.69 nats   Where does Mira live?" in text
    assert "   sft        log p(expected) −3.21 nats   x" in text
    assert "   dpo        log p(expected) −4.90 nats   x" in text


def test_what_is_shown_to_differ_is_looked_into_first():
    assert metric_to_show(comparison(rates=())) == "style"
    assert metric_to_show(comparison(effects=EFFECTS[:1])) == "loss"
    assert metric_to_show(comparison(effects=EFFECTS[1:2])) == "accuracy"
    assert metric_to_show(comparison(effects=EFFECTS[4:])) == "accuracy"
