"""The table base → stage → stage at several widths, and what it must never do."""

from __future__ import annotations

import io

import pytest
from a_run import BASE, DPO, SFT, VERDICTS
from rich.console import Console

from ptspec.events import Figure
from ptspec.report.measures import key_measures, measure
from ptspec.report.tables import progress_table, progress_text

THREE = [("base", BASE), ("sft", SFT), ("dpo", DPO)]
SEVEN = [
    ("base", BASE),
    ("sft", SFT),
    ("dpo", DPO),
    ("kto", SFT),
    ("grpo", DPO),
    ("orpo", SFT),
    ("nash", DPO),
]


@pytest.mark.parametrize(
    ("name", "stages", "width"),
    [("three", THREE, 80), ("three", THREE, 160), ("seven", SEVEN, 80), ("seven", SEVEN, 160)],
)
def test_whole_table(name, stages, width, expected):
    text = progress_text(stages, width, verdicts=VERDICTS)
    assert text == expected(f"table_{name}_{width}")
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 160])
def test_the_rich_table_says_the_same(width):
    out = io.StringIO()
    Console(file=out, width=width).print(progress_table(THREE))
    shown = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    assert shown == progress_text(THREE, width)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_preference_accuracy_stands_beside_accuracy(width):
    only = [(name, {"preference_accuracy": m["preference_accuracy"], "loss": m["loss"]}) for name, m in THREE]
    lines = progress_text(only, width).splitlines()
    assert any(line.startswith("accuracy") or "   accuracy" in line for line in lines)
    assert any("not measured" in line for line in lines)


def test_a_stage_line_leaves_preference_accuracy_out_where_accuracy_is_not_measured():
    metrics = {"loss": Figure(1.0), "preference_accuracy": Figure(0.9)}
    assert [m.name for m in key_measures([metrics])] == ["loss"]


def test_a_missing_figure_is_a_dash_and_the_change_is_against_the_last_that_has_it():
    stages = [("a", {"loss": Figure(2.0)}), ("b", {"accuracy": Figure(0.5)}), ("c", {"loss": Figure(1.5)})]
    lines = progress_text(stages, 100).splitlines()
    loss = next(line for line in lines if line.startswith("loss")).split()
    assert loss[-3:] == ["–", "1.500", "−0.500"]


def test_rewards_are_percent_only_where_all_their_means_are_shares():
    assert measure("style", [Figure(0.0), Figure(1.0)]).value(0.35) == "35.0 %"
    assert measure("style", [Figure(0.2), Figure(1.2)]).value(0.35) == "0.35"


def test_worse_is_what_the_paired_comparison_says():
    """Not whether unpaired intervals touch: 94.4 was marked worse than 100.0 where the page said "not shown",
    and a loss that rises a little in every row was not marked at all."""
    stages = [
        ("sft", {"accuracy": Figure(1.0, 0.98, 1.0), "loss": Figure(0.20, 0.10, 0.30)}),
        ("dpo", {"accuracy": Figure(0.944, 0.90, 0.97), "loss": Figure(0.21, 0.11, 0.31)}),
    ]
    assert "!" not in progress_text(stages, 100)
    verdicts = {"dpo": {"accuracy": "no difference shown", "loss": "worse"}}
    lines = progress_text(stages, 100, verdicts=verdicts).splitlines()
    assert [line.split()[0] for line in lines if "!" in line] == ["loss", "!"]


def test_changes_in_a_tree_are_against_the_parent():
    """dpo and kto both come from sft: kto's change is not counted from dpo, which stands before it."""
    tree = [
        (name, {"loss": Figure(value)})
        for name, value in (("base", 3.0), ("sft", 2.0), ("dpo", 1.5), ("kto", 1.9))
    ]
    parents = {"base": None, "sft": "base", "dpo": "sft", "kto": "sft"}
    text = progress_text(tree, 160, parents)
    assert "kto ← sft" in text and "dpo ←" not in text
    row = next(line for line in text.splitlines() if line.startswith("loss"))
    assert row.split()[-1] == "−0.100"
    outside = progress_text([("base", tree[0][1]), ("mine", tree[1][1])], 160, {"mine": "../elsewhere"})
    assert "−" not in outside


def test_a_parent_that_lacks_the_metric_passes_on_to_its_own():
    """dpo came from sft, which came from the base; kto, which stands between, is no ancestor."""
    losses = {"base": 3.0, "kto": 2.5, "sft": None, "dpo": 2.0}
    tree = [
        (name, {"loss": Figure(loss)} if loss else {"accuracy": Figure(0.5)}) for name, loss in losses.items()
    ]
    text = progress_text(tree, 160, {"kto": "base", "sft": "base", "dpo": "sft"})
    assert next(line for line in text.splitlines() if line.startswith("loss")).split()[-1] == "−1.000"
