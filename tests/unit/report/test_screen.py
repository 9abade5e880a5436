"""The live screen, replayed on a terminal in miniature: what stands there at chosen moments."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from support.screen_run import FOLDER, SFT_TO_BASE, STARTED, Clock, before, run
from support.terminal_emulator import Terminal

from ptspec.diagnostics import CheckError, Diagnostic, Interrupted, StageError
from ptspec.events import (
    CheckedBound,
    CheckEvaluated,
    EvaluationStarted,
    Preparing,
    RunFinished,
    StageDefault,
    StageEvaluated,
    StageFinished,
    StageReused,
    StageStarted,
    StageStep,
    StageTrained,
    StageTuned,
    Warned,
)
from ptspec.report import terminal
from ptspec.report.screen import Screen

FAILED = (CheckedBound("accuracy", 0.95, "≥", 0.99, False),)
TOLD = "accuracy 95.0 % ≥ 99 %, missed by 4 points"
MOMENTS = {"evaluating_base": 2.0, "training_sft": 11.9, "evaluating_sft": 20.0, "training_dpo": 28.5}


class Replay:
    """A screen on a terminal of `width` by `height`, with a clock that the events move."""

    def __init__(self, width: int, height: int = 40) -> None:
        self.out = io.StringIO()
        self.clock = Clock()
        self.vt = Terminal(width)
        self.console = Console(
            file=self.out, width=width, height=height, force_terminal=True, color_system="standard"
        )
        self.screen = Screen(
            self.console, terminal.headline, self.clock.timer, lambda: self.clock.now().date()
        )

    def tell(self, events) -> None:
        for self.clock.seconds, event in events:
            self.screen(event)

    def look(self) -> str:
        if self.screen._area.is_started:
            self.screen._area.refresh()
        self.vt.feed(self.out.getvalue())
        self.out.seek(0)
        self.out.truncate()
        return self.vt.text


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_stands_on_the_screen_while_it_runs(width, moment, expected):
    replay = Replay(width)
    with replay.screen:
        replay.tell(before(MOMENTS[moment]))
        shown = replay.look()
        assert shown == expected(FOLDER / f"{moment}_{width}.txt", shown)


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_end(width, expected):
    replay = Replay(width)
    with replay.screen:
        replay.tell(run())
    shown = replay.look()
    assert shown == expected(FOLDER / f"end_{width}.txt", shown)
    assert replay.vt.cursor_shown


@pytest.mark.parametrize("width", [40, 60, 80, 100, 137])
def test_no_line_is_wider_than_the_terminal(width):
    replay = Replay(width)
    with replay.screen:
        for at, event in run():
            replay.tell([(at, event)])
            assert all(line.cell_len <= width for line in replay.screen.lines(width, 40))


def test_narrower_window_leaves_no_rest_of_the_old_area():
    replay = Replay(160)
    with replay.screen:
        replay.tell(before(MOMENTS["training_dpo"]))
        replay.look()
        replay.console.width = 80
        replay.vt.narrow(80)
        shown = replay.look()
    warning, _, area = shown.partition("\n")
    assert "warning" in warning
    assert area == (FOLDER / "training_dpo_80.txt").read_text().partition("\n")[2]


@pytest.mark.parametrize(
    ("error", "last_line"),
    [
        (
            StageError(Diagnostic("nan", "the loss is not a number")),
            "✗ dpo    step 18 of 30   stopped by an error",
        ),
        (Interrupted(Diagnostic("interrupted", "")), "‖ dpo    step 18 of 30   interrupted"),
        (KeyboardInterrupt(), "‖ dpo    step 18 of 30   interrupted"),
    ],
)
def test_a_run_that_is_stopped(error, last_line):
    replay = Replay(100)
    with pytest.raises(type(error)), replay.screen:
        replay.tell(before(28.5))
        raise error
    assert replay.look().splitlines()[-1] == last_line
    assert replay.vt.cursor_shown


def test_a_check_that_stops_the_run_shows_its_numbers_and_what_did_not_start():
    replay = Replay(100)
    with pytest.raises(CheckError), replay.screen:
        replay.tell(before(21.5))
        replay.tell([(21.6, CheckEvaluated("sft", "", False, "stop", FAILED))])
        assert f"        FAIL {TOLD}" in replay.look().splitlines()
        raise CheckError(Diagnostic("check-failed", "the check on accuracy failed"))
    lines = replay.look().splitlines()
    assert lines[4].startswith("✗ sft    120 steps")
    assert lines[5] == "· dpo    not started"
    assert lines[-1] == f"FAIL sft   {TOLD}"


def test_reused_stages_say_since_when(expected):
    replay = Replay(120)
    with replay.screen:
        events = dict(enumerate(event for _, event in before(21.5) if isinstance(event, StageEvaluated)))
        base, sft = events.values()
        replay.tell(
            [
                (0, STARTED),
                (1, StageEvaluated("base", base.metrics, 2.9, reused=True)),
                (2, StageReused("sft", "2026-11-24T13:58:00")),
                (3, StageEvaluated("sft", sft.metrics, 2.9, True, SFT_TO_BASE)),
                (
                    4,
                    StageStarted("dpo", "dpo", "sft", "merge", "sft, frozen", 1600, 30, 20, "beta 0.1 → 0.2"),
                ),
            ]
        )
        shown = replay.look()
        assert shown == expected(FOLDER / "reused_120.txt", shown)


def test_a_policy_from_outside_has_a_row_only_while_it_is_measured():
    replay = Replay(100)
    with replay.screen:
        replay.tell([(0, STARTED), (1, EvaluationStarted("other/adapter", 200))])
        assert "other/adapter" in replay.look()
        replay.tell([(2, EvaluationStarted("sft", 200))])
        assert "other/adapter" not in replay.look()


def test_more_stages_than_lines_keeps_the_running_one_in_sight():
    replay = Replay(80, height=12)
    with replay.screen:
        replay.tell(before(5.1))
        for number in range(30):
            replay.tell([(6 + number, StageEvaluated(f"s{number}", {}, 0.1))])
        replay.tell([(40, StageStarted("last", "sft", "base", None, None, 10, 10))])
        lines = replay.screen.lines(80, 12)
    assert len(lines) <= 12 - 1
    assert any("last" in line.plain for line in lines)
    assert any("stages above" in line.plain for line in lines)


def test_a_default_that_is_not_trls_stands_above_the_stages():
    replay = Replay(80)
    with replay.screen:
        replay.tell([(0, STARTED), (1, StageDefault("nash", "adam_beta1 0.0 (TRL: 0.9): why"))])
        replay.look()
    assert replay.vt.text.splitlines()[0] == "nash: adam_beta1 0.0 (TRL: 0.9): why"


def test_what_was_chosen_for_the_device_is_one_line_above_the_stages():
    replay = Replay(80)
    with replay.screen:
        replay.tell([(0, STARTED), (1, StageTuned("dpo", "1 row a pass × 8"))])
        replay.look()
    assert replay.vt.text.splitlines()[0] == "dpo: performance: 1 row a pass × 8"


def test_escape_sequences_from_data_do_not_reach_the_terminal():
    replay = Replay(80)
    with replay.screen:
        replay.tell(
            [(0, STARTED), (1, CheckEvaluated("sft", "evil \x1b]0;title\x07\u202etext", False, "stop"))]
        )
        replay.look()
    assert "evil text" in replay.vt.text
    assert "title" not in replay.vt.text


def test_a_step_costs_little():
    import time

    replay = Replay(120)
    with replay.screen:
        replay.tell(before(5.1))
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            for step in range(5000):
                replay.screen(StageStep("sft", step, 5000, 0.1, {"loss": 1.0} if step % 10 == 0 else {}))
            best = min(best, (time.process_time() - begun) / 5000)
    assert best < 50e-6


@pytest.mark.parametrize("width", [80, 160])
def test_without_eval_the_training_has_the_last_word(width):
    """First-hour 2: not even the loss stayed, and the command recommended next failed."""
    replay = Replay(width)
    with replay.screen:
        logged = {"loss": 7.7, "mean_token_accuracy": 0.02}
        replay.tell(
            [
                (0, STARTED),
                (1, StageStarted("sft", "sft", "base", None, None, 50, 50)),
                (2, StageStep("sft", 50, 50, 1.0, logged)),
                (8, StageTrained("sft", 50, 6.1, logged)),
                (8, StageFinished("sft", "outputs/sft_dpo/sft")),
                (9, RunFinished("outputs/sft_dpo", 9.0, ("sft",))),
            ]
        )
    lines = replay.look().splitlines()
    assert "✓ sft   50 steps  6.1 s   loss 7.70   token accuracy 2.0 %" in lines
    assert lines[-1] == "next     pt chat outputs/sft_dpo"


def test_a_run_of_two_stages_ends_in_about_fifteen_lines():
    """It was a screen of 41."""
    replay = Replay(100)
    with replay.screen:
        replay.tell(run())
    assert len([line for line in replay.look().splitlines() if "warning" not in line]) <= 16


def test_what_is_under_way_before_the_next_thing_happens_stands_below_the_stages():
    replay = Replay(80)
    with replay.screen:
        replay.tell([(0, STARTED), (0, Preparing("loading torch")), (1, Warned("the disk is small"))])
        assert replay.look().rstrip().endswith("loading torch …")
        replay.tell([(2, StageReused("sft", "2026-01-01T00:00:00+00:00"))])
        assert "loading torch" not in replay.look()
