"""The screen of `pt eval --compare` from a comparison made by hand."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from support.comparisons import EFFECTS, RATE, A, B, comparison, effect, win_rate
from support.screen_run import FOLDER

from ptspec.evaluation.comparison import Slice, Verdict
from ptspec.events import Figure
from ptspec.report.comparison import ComparisonTable, comparison_text
from ptspec.report.view.verdicts import p_value


@pytest.mark.parametrize("width", [80, 120, 160])
def test_whole_screen(width, expected):
    text = comparison_text(comparison(), "data/eval.jsonl", width)
    assert text == expected(FOLDER / f"compare_{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


def test_the_rich_screen_says_the_same():
    out = io.StringIO()
    Console(file=out, width=120).print(ComparisonTable(comparison(), "data/eval.jsonl"))
    shown = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    assert shown == comparison_text(comparison(), "data/eval.jsonl", 120)


def test_every_later_model_has_a_block_of_its_own():
    third = tuple(effect(e.metric, e.difference, e.verdict, b=2) for e in EFFECTS)
    three = comparison(
        (*EFFECTS, *third), (), names=("base", "sft", "dpo"), values=(A, B, B), left_out=(0, 3, 0)
    )
    text = comparison_text(three, width=120)
    assert [line.split()[4:] for line in text.splitlines() if line.startswith("tested")] == [
        ["base", "sft", "Δ", "95", "%", "p"],
        ["base", "dpo", "Δ", "95", "%", "p"],
    ]
    assert "left out, as not all have them: sft 3" in text
    assert text.count(" is better at style (+68.8 points) and worse at loss (+0.027 nats/token).") == 2


def test_preference_accuracy_is_never_alone():
    alone = comparison((effect("preference_accuracy", Figure(0.4, 0.3, 0.5), Verdict.BETTER),), rates=())
    lines = comparison_text(alone, width=100).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("preference accuracy"))
    assert lines[at - 1].split() == ["accuracy", "–", "–", "not", "measured"]


def test_notes_and_names_are_cleaned():
    text = comparison_text(comparison(names=("a\x1b[31m", "b\u202e"), notes=("mind\x07 this",)), width=100)
    assert text.startswith("b vs a")
    assert "note: mind this" in text
    assert "\x1b" not in text


JUDGED = tuple(
    win_rate(figure, controlled=controlled)
    for figure, controlled in ((Figure(0.625, 0.55, 0.69), False), (Figure(0.58, 0.51, 0.65), True))
)


@pytest.mark.parametrize("width", [80, 120])
def test_a_judges_win_rates_stand_below_raw_then_at_equal_length(width):
    text = comparison_text(comparison(rates=JUDGED), width=width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    at = next(i for i, line in enumerate(lines) if line.startswith("win rate") and "[55.0, 69.0]" in line)
    assert "equal length" in lines[at + 1] and "[51.0, 65.0]" in lines[at + 1]
    assert "win rate by judge fair (62.5 %)" in " ".join(text.split())


def test_slices_follow_metric_by_metric():
    pets = Slice("pets", 90, EFFECTS[:3], ())
    towns = Slice("tow\x1b[31mns", 70, EFFECTS[:3], ())
    sliced = replace(comparison(), slices=(pets, towns), by="topic", of=400)
    lines = comparison_text(sliced, "data/eval.jsonl", 80).splitlines()
    assert "160 prompts of data/eval.jsonl (of 400, by the seed)" in lines[1]
    at = next(i for i, line in enumerate(lines) if line.startswith("accuracy by topic"))
    assert [line.split()[0] for line in lines[at + 1 : at + 3]] == ["pets", "towns"]
    assert not any(line.startswith("completion length by") for line in lines), "it only describes"


def test_clusters_are_reported_where_prompts_are_not_independent():
    few = tuple(replace(e, clusters=20) for e in EFFECTS)
    assert "160 prompts of x.jsonl, in 20 clusters (rows of one prompt)" in comparison_text(
        comparison(few), "x.jsonl", 160
    )
    named = replace(comparison(few), cluster="passage")
    assert "in 20 clusters (by passage)" in comparison_text(named, "x.jsonl", 160)
    assert "cluster" not in comparison_text(comparison(), "x.jsonl", 160)


def test_where_no_one_looks_on_one_line_says_it():
    rates = tuple(win_rate(Figure(0.6, 0.55, 0.7), controlled=c) for c in (False, True))
    assert len(comparison_text(comparison(rates=rates)).splitlines()[-1]) > 100


def test_what_is_not_shown_says_what_these_prompts_show():
    wide = comparison_text(comparison(), width=160)
    assert "not shown; 160 prompts show ≥ 8.3 points" in wide
    narrow = " ".join(comparison_text(comparison(), width=90).split())
    assert "160 prompts would show accuracy ≥ 8.3 points · preference accuracy ≥ 7 points" in narrow


def test_likelihood_is_described_after_a_preference_stage_and_no_longer_the_first_red_word():
    """B16: perplexity and bits per byte are the loss again, and after DPO it rises as it must."""
    described = effect("loss", Figure(0.0267, 0.021, 0.033), Verdict.DESCRIBED)
    text = comparison_text(comparison((described, *EFFECTS[1:]), rates=()), width=120)
    assert "worse" not in text and "perplexity" not in text
    line = next(line for line in text.splitlines() if "loss" in line)
    assert line.startswith("described") and "loss 0.155 → 0.182" in line


@pytest.mark.parametrize(
    ("p", "told"),
    [
        *((0.0, "<.001"), (0.001, ".001"), (0.03, ".03"), (0.0461, ".046"), (0.0499, "≤.05"), (0.05, ".05")),
        *((0.0502, ">.05"), (0.0508, ".051"), (0.063, ".06"), (0.38, ".38"), (1.0, "1"), (None, "")),
    ],
)
def test_a_p_value_stands_on_its_side_of_the_level(p, told):
    """B8, first-hour 20: "p = 0.05" stood beside "no difference shown" (it was 0.051)."""
    assert p_value(p) == told


def test_a_win_rate_is_a_judges_and_a_reward_is_tested_once():
    """B18: "win rate of b 62.8 %" without any judge was the reward `style` once more."""
    assert "win rate" not in comparison_text(comparison(rates=()), width=120)
    text = comparison_text(comparison(rates=(RATE,)), width=120)
    assert "win rate, judge fair" in text


def test_all_tells_each_described_metric_with_its_interval():
    text = comparison_text(comparison(), width=120, whole=True)
    assert any(
        line.split()[:2] == ["completion", "length"] and "[−13.5, −10.0]" in line
        for line in text.splitlines()
    )
