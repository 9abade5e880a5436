"""The lines and the table base → stage → stage at several widths, and what they must never do."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from support.screen_run import BASE, DPO, DPO_TO_SFT, FOLDER, SFT, SFT_TO_BASE, compared

from ptspec.events import Figure, MetricChange, StageComparison
from ptspec.report.policies import policies_text
from ptspec.report.tables import ProgressTable
from ptspec.report.view.measure import measure
from ptspec.report.view.order import key_measures
from ptspec.report.view.policies import Policy

THREE = [
    Policy("base", BASE),
    Policy("sft", SFT, SFT_TO_BASE, "base", "sft"),
    Policy("dpo", DPO, DPO_TO_SFT, "sft", "dpo"),
]
SEVEN = [
    *THREE,
    *(
        Policy(name, SFT if index % 2 else DPO, compared("dpo", DPO, SFT if index % 2 else DPO), "dpo", "dpo")
        for index, name in enumerate(("kto", "grpo", "orpo", "nash"), start=1)
    ),
]


@pytest.mark.parametrize(
    ("name", "stages", "width"),
    [("three", THREE, 80), ("three", THREE, 160), ("seven", SEVEN, 80), ("seven", SEVEN, 160)],
)
def test_whole_table(name, stages, width, expected):
    text = ProgressTable(stages).plain(width)
    assert text == expected(FOLDER / f"table_{name}_{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_the_lines_of_pt_eval(width, expected):
    text = policies_text(THREE, width)
    assert text == expected(FOLDER / f"policies_{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 160])
def test_the_rich_table_says_the_same(width):
    out = io.StringIO()
    Console(file=out, width=width).print(ProgressTable(THREE))
    shown = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    assert shown == ProgressTable(THREE).plain(width)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_preference_accuracy_stands_beside_accuracy(width):
    only = [
        Policy(p.name, {k: v for k, v in p.metrics.items() if k in ("preference_accuracy", "loss")})
        for p in THREE
    ]
    lines = ProgressTable(only).plain(width).splitlines()
    assert any(line.startswith("accuracy") or "   accuracy" in line for line in lines)
    assert any("not measured" in line for line in lines)


def test_a_stage_line_leaves_preference_accuracy_out_where_accuracy_is_not_measured():
    metrics = {"loss": Figure(1.0), "preference_accuracy": Figure(0.9)}
    assert [m.name for m in key_measures([metrics])] == ["loss"]
    assert [m.name for m in key_measures([metrics], ("preference_accuracy",))] == [
        "loss",
        "preference_accuracy",
    ]


def test_what_the_recipe_trains_and_checks_for_comes_first():
    """The reward that a stage learns from stands before one that is only declared, a checked metric is no
    longer folded, and the likelihood of the references stands behind what the recipe is for."""
    metrics = {
        name: Figure(0.5)
        for name in ("loss", "bits_per_byte", "short", "style", "accuracy", "kl", "win_rate")
    }
    assert [m.name for m in key_measures([metrics], ("style", "kl"))] == [
        *("accuracy", "style", "short", "win_rate", "kl", "loss"),
    ]


def test_the_change_is_the_paired_difference_and_the_mark_its_verdict():
    """Not whether unpaired intervals touch: 94.4 was marked worse than 100.0 where the page said "not shown",
    and a loss that rises a little in every row was not marked at all (B7). The change is the stored one, even
    where the figures' own difference is another."""
    changes = {
        "accuracy": MetricChange(Figure(-0.05, -0.11, 0.001), "no difference shown"),
        "loss": MetricChange(Figure(0.0123, 0.01, 0.015), "worse"),
    }
    stages = [
        Policy("sft", {"accuracy": Figure(1.0, 0.98, 1.0), "loss": Figure(0.20, 0.10, 0.30)}),
        Policy(
            "dpo",
            {"accuracy": Figure(0.944, 0.90, 0.97), "loss": Figure(0.21, 0.11, 0.31)},
            StageComparison("sft", 160, 2, "Holm", changes),
        ),
    ]
    table = {line.split()[0]: line for line in ProgressTable(stages).plain(100).splitlines()[1:]}
    assert "▼" not in table["accuracy"] and "−5.0 " in table["accuracy"]
    assert "▼ +0.012" in table["loss"]
    line = policies_text(stages, 100).splitlines()[1]
    assert line.split() == ["dpo", "accuracy", "94.4", "−5.0", "loss", "0.210", "▼", "+0.012"]


def test_without_a_comparison_there_is_no_change():
    text = ProgressTable([Policy("a", {"loss": Figure(2.0)}), Policy("b", {"loss": Figure(1.5)})]).plain(100)
    assert text.splitlines()[1].split() == ["loss", "nats/token,", "lower", "is", "better", "2.000", "1.500"]


def test_rewards_are_percent_only_where_each_value_is_0_or_1():
    """A mean in [0, 1] is no share: 1/(1+length) was 3.1 % in one run and 0.031 in the next (B21)."""
    assert measure("style", [Figure(0.0, is_share=True), Figure(1.0, is_share=True)]).value(0.35) == "35.0 %"
    assert measure("brief", [Figure(0.031), Figure(0.05)]).value(0.031) == "0.031"
    assert measure("brief", [Figure(0.0, is_share=True), Figure(0.05)]).value(0.05) == "0.050"


def test_raw_and_relative_preference_never_share_a_row():
    lines = ProgressTable(THREE).plain(160).splitlines()
    relative = next(line for line in lines if line.startswith("preference accuracy")).split()
    raw = next(line for line in lines if line.startswith("raw preference")).split()
    assert "51.0" in raw and "51.0" not in relative and "–" in relative
    assert "preference accuracy and margin: sft over base, dpo over sft" in lines


def test_a_policy_that_did_not_move_has_no_preference():
    """43.8 % of a stage whose every margin is 0 says nothing."""
    still = {
        "accuracy": Figure(0.5),
        "preference_accuracy": Figure(0.438),
        "reward_margin": Figure(0.001, 0, 0.002),
    }
    moved = {**still, "reward_margin": Figure(0.1, 0.05, 0.2)}
    lines = policies_text(
        [Policy("nash", still, None, "sft", "dpo"), Policy("dpo", moved, None, "sft", "dpo")], 120
    )
    nash, dpo = lines.splitlines()[:2]
    assert "preference" not in nash and dpo.endswith("preference 43.8 (over sft)")


def test_a_tree_says_what_each_change_is_from():
    """dpo and kto both come from sft: kto's change is not counted from dpo, which stands before it."""
    tree = [
        Policy("base", {"loss": Figure(3.0)}),
        Policy("sft", {"loss": Figure(2.0)}, compared("base", {"loss": Figure(3.0)}, {"loss": Figure(2.0)})),
        Policy("dpo", {"loss": Figure(1.5)}, compared("sft", {"loss": Figure(2.0)}, {"loss": Figure(1.5)})),
        Policy("kto", {"loss": Figure(1.9)}, compared("sft", {"loss": Figure(2.0)}, {"loss": Figure(1.9)})),
    ]
    text = ProgressTable(tree).plain(160)
    assert "kto ← sft" in text and "dpo ←" not in text
    row = next(line for line in text.splitlines() if line.startswith("loss"))
    assert row.split()[-1] == "−0.100"


def test_what_counts_as_right_is_said_once():
    """First-hour 12: "accuracy 0.0 %" of free-text answers was exact match, and nothing said so."""
    by = "exact_match: named in eval.accuracy"
    stages = [Policy(p.name, p.metrics, p.comparison, accuracy=by) for p in THREE]
    for text in (policies_text(stages, 100), ProgressTable(stages).plain(100)):
        assert text.count(f"accuracy by {by}") == 1
