"""What a pipe gets: one line an event, with the time."""

from __future__ import annotations

import io

import pytest
from support.screen_run import FOLDER, STARTED, Clock, before, run

from ptspec.diagnostics import CheckError, Diagnostic, StageError
from ptspec.events import (
    BestStep,
    CheckedBound,
    CheckEvaluated,
    StageDefault,
    StageReused,
    StageStarted,
    StageStep,
    StageTrained,
    StepEvaluated,
    Warned,
)
from ptspec.report import terminal
from ptspec.report.rows import View, groups

FAILED = (CheckedBound("accuracy", 0.95, "≥", 0.99, False),)
TOLD = "accuracy 95.0 % ≥ 99 %, missed by 4 points"


class Replay:
    def __init__(self, stream=None) -> None:
        self.out = stream or io.StringIO()
        self.clock = Clock()
        self.listener = terminal.listener(self.out, timer=self.clock.timer, now=self.clock.now)

    def tell(self, events) -> None:
        for self.clock.seconds, event in events:
            self.listener(event)


def test_a_whole_run(expected):
    replay = Replay()
    with replay.listener:
        replay.tell(run())
    shown = replay.out.getvalue()
    assert shown == expected(FOLDER / "plain.txt", shown)


def test_a_run_that_stops_tells_the_last_step_and_nothing_more():
    replay = Replay()
    with pytest.raises(StageError), replay.listener:
        replay.tell(before(28.5))
        raise StageError(Diagnostic("nan", "the loss is not a number"))
    assert replay.out.getvalue().splitlines()[-1] == (
        "14:02:28 dpo: step 18 of 30, 4 s left: loss 0.51, margin 2.00, preference accuracy 74.0 %"
    )


def test_a_check_that_stops_the_run_says_its_numbers():
    replay = Replay()
    with pytest.raises(CheckError), replay.listener:
        replay.tell(before(21.5))
        replay.tell([(21.6, CheckEvaluated("sft", "", False, "stop", FAILED))])
        raise CheckError(Diagnostic("check-failed", ""))
    lines = replay.out.getvalue().splitlines()
    assert f"14:02:21 sft: FAIL {TOLD}" in lines
    assert lines[-1] == f"FAIL sft   {TOLD}"


def test_steps_are_reported_at_most_every_five_seconds():
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED)])
        replay.tell((i * 0.5, StageStep("sft", i, 100, 0.5, {"loss": 1.0})) for i in range(1, 101))
    told = [line for line in replay.out.getvalue().splitlines() if "step" in line and "sft: step" in line]
    assert len(told) == 11
    assert told[-1] == "14:02:50 sft: step 100 of 100, 0 s left: loss 1.00"


def test_logs_without_headline_metrics_are_no_lines():
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, StageStep("sft", 1, 10, 1.0, {"grad_norm": 2.0}))])
    assert len(replay.out.getvalue().splitlines()) == 1


def test_before_the_first_step_of_dpo_all_pairs_are_tied_and_no_accuracy_is_reported():
    ties = {"loss": 0.6931, "rewards/margins": 0.0, "rewards/accuracies": 0.0}
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, StageStarted("dpo", "dpo", "sft", "continue", "sft, frozen", 9, 2))])
        replay.tell([(3, StageStep("dpo", 1, 2, 1.0, ties))])
        replay.tell([(9, StageStep("dpo", 2, 2, 1.0, {**ties, "rewards/margins": -0.1}))])
    assert [line.partition(": loss ")[2] for line in replay.out.getvalue().splitlines()[2:]] == [
        "0.69, margin 0.00, preference accuracy —",
        "0.69, margin −0.10, preference accuracy 0.0 %",
    ]


def test_reused_stage():
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, StageReused("sft", "2026-11-23T13:58:00"))])
    assert replay.out.getvalue().splitlines()[-1] == "14:02:01 sft: unchanged since 2026-11-23, reused"


def test_the_rate_of_a_resumed_stage_counts_its_own_steps():
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, StageStarted("sft", "sft", "base", None, None, 1600, 120, 100))])
        replay.tell([(3, StageTrained("sft", 120, 2.0, {}))])
    assert replay.out.getvalue().splitlines()[1:] == [
        "14:02:01 sft: training (sft): 1,600 rows, 120 steps, from base, resumed from step 100",
        "14:02:03 sft: trained 120 steps in 2.0 s (10.0 step/s)",
    ]


def test_a_default_that_is_not_trls_is_a_line():
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, StageDefault("nash", "adam_beta1 0.0 (TRL: 0.9): why"))])
    assert replay.out.getvalue().splitlines()[-1] == "14:02:01 nash: adam_beta1 0.0 (TRL: 0.9): why"


def test_evaluations_while_a_stage_trains_and_the_step_that_is_handed_on():
    metrics = {"eval_loss": 0.4284, "eval_entropy": 0.4}
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, StageStarted("sft", "sft", "base", None, None, 64, 120))])
        replay.tell([(2, StepEvaluated("sft", 20, 120, "eval_loss", {"eval_loss": 0.5}))])
        replay.tell([(3, StepEvaluated("sft", 40, 120, "eval_loss", metrics))])
        replay.tell([(9, StepEvaluated("sft", 60, 120, "eval_loss", {"eval_loss": 0.6}))])
        replay.tell([(9.1, BestStep("sft", 40, "eval_loss", 0.4284, 60, 1, stopped=True))])
        replay.tell([(9.2, StageTrained("sft", 60, 8.0, {"loss": 0.1}))])
    assert replay.out.getvalue().splitlines()[2:5] == [
        "14:02:02 sft: step 20 of 120: eval_loss 0.5000",
        "14:02:09 sft: step 60 of 120: eval_loss 0.6000",
        "14:02:09 sft: stopped early at step 60: eval_loss has not improved for 1 evaluation; "
        "best step 40 is handed on",
    ]
    (line,) = [row.plain for row in _rows(replay) if " sft " in f"{row.plain} "]
    assert line.endswith("loss 0.10   eval_loss 0.4284")


def _rows(replay):
    board = replay.listener._board
    view = View(100, 10.0, replay.clock.now().date(), terminal.headline)
    return [line for group in groups(board, view) for line in group]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "best step 40 of 60 (eval_loss 0.4284) is handed on"),
        ({"handed_on": False}, "best step 40 of 60 (eval_loss 0.4284); the last step is handed on"),
        (
            {"handed_on": False, "stopped": True, "patience": 3},
            "stopped early at step 60: eval_loss has not improved for 3 evaluations; "
            "the last step is handed on, not best step 40",
        ),
    ],
)
def test_what_is_described_the_best_step(fields, words):
    assert BestStep("sft", 40, "eval_loss", 0.4284, 60, **fields).words == words


def test_no_control_character_gets_through():
    replay = Replay()
    with replay.listener:
        replay.tell([(0, STARTED), (1, Warned("line one\nline two \x1b[31mred\x1b[0m \u202eevil", "sft"))])
    assert replay.out.getvalue().splitlines()[-1] == "14:02:01 warning: sft: line one line two red evil"


def test_an_encoding_without_our_signs_gets_ascii():
    raw = io.BytesIO()
    replay = Replay(io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    with replay.listener:
        replay.tell(run())
    text = raw.getvalue().decode("ascii")
    assert "loss 0.398 (-0.014)" in text
    assert "PASS dpo   preference accuracy 91.0 % >= 70 %" in text
    assert "?" not in text


def test_a_closed_pipe_does_not_stop_the_run():
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    replay = Replay(Closed())
    with replay.listener:
        replay.tell(run())
