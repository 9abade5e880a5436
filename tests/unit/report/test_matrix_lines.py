"""What is told of a matrix: in a plan, on the screen, through a pipe."""

import io
from dataclasses import replace
from datetime import datetime

from ptspec import methods
from ptspec.evaluation.comparison import Verdict
from ptspec.evaluation.comparison_store import selection_json
from ptspec.evaluation.selection import Combination, Rival, Selection, Variant
from ptspec.events import Figure, RunFinished, RunStarted, StageEvaluated, StageLine, StagePicked
from ptspec.recipe.plan import AdapterSpec, Stage, VariantSpec
from ptspec.report.board import Board
from ptspec.report.ending import next_command, picked_lines
from ptspec.report.matrix import once_a_matrix
from ptspec.report.plain import Plain
from ptspec.report.view.selection import settings_in_words

SHARE = {"is_share": True}
FOUND = Selection(
    stage="dpo",
    metric="style",
    picked="dpo.2",
    chosen=1,
    next_best=0,
    combinations=(
        Combination(
            {"beta": 0.1, "learning_rate": 5e-6},
            ("dpo.1",),
            Figure(0.85, **SHARE),
            None,
            True,
            Rival(Figure(0.0125, -0.02, 0.045), Figure(0.0125, -0.01, 0.03), 0.31, Verdict.NOT_SHOWN, 0.04),
        ),
        Combination({"beta": 0.5, "learning_rate": 5e-6}, ("dpo.2",), Figure(0.8625, **SHARE), None, True),
        Combination({"beta": 2.0, "learning_rate": 5e-6}, ("dpo.3",), None, None, False),
    ),
    variants=(
        Variant("dpo.1", {"beta": 0.1, "learning_rate": 5e-6}, Figure(0.85, **SHARE)),
        Variant("dpo.2", {"beta": 0.5, "learning_rate": 5e-6}, Figure(0.8625, **SHARE)),
        Variant("dpo.3", {"beta": 2.0, "learning_rate": 5e-6}, None, (), ("style was not measured",)),
    ),
    rows=160,
    clusters=160,
    tests=3,
    held_out=0.84,
    resamples=2000,
)
PICKED = StagePicked("dpo", "dpo.2", selection_json(FOUND))
STARTED = RunStarted(
    "m", "base", None, "LoRA", "cpu", "out", (StageLine("dpo", "dpo", "sft", None, None),), "run.log"
)


def test_the_end_of_a_run_says_what_was_picked_and_what_that_is_worth():
    lines = [line.plain for line in picked_lines([FOUND], 200)]
    assert lines == [
        "PICK dpo   dpo.2 (beta 0.5, learning_rate 5e-6): best style of 3 variants, 86.3 %; "
        "1 of 3 do not keep the checks",
        "           not distinguishable from dpo.1, the next best: difference +1.3 points, "
        "interval [−2.0, 4.5], corrected for 3 pairs; 160 prompts show ≥ 4 points",
        "           86.3 % is optimistic by about 2.3 points, chosen and measured on the same rows: "
        "chosen by some of the rows and measured on the others it is 84.0 %",
    ]
    assert all(line.cell_len <= 60 for line in picked_lines([FOUND], 60))


def test_a_pipe_gets_a_line_and_the_end():
    stream = io.StringIO()
    now = lambda: datetime(2026, 11, 26, 12)  # noqa: E731
    with Plain(stream, lambda name: (), lambda: 0.0, now) as listen:
        for event in (
            STARTED,
            StageEvaluated("dpo", {"style": Figure(0.8625, **SHARE)}, 1.0, reused=True),
            PICKED,
            RunFinished("out", 1.0, ("dpo",)),
        ):
            listen(event)
    told = stream.getvalue()
    assert "12:00:00 dpo: picked dpo.2 (beta 0.5, learning_rate 5e-6): best style of 3 variants" in told
    assert "= dpo.2" in told and "\nPICK dpo   dpo.2" in told


def test_what_to_do_next_compares_the_picked_one_with_what_it_came_from():
    board = Board()
    board.apply(STARTED, 0.0)
    board.apply(PICKED, 0.0)
    board.apply(StageEvaluated("dpo", {"style": Figure(0.8625)}, 1.0), 0.0)
    finished = RunFinished("out", 1.0, ("sft", "dpo.1", "dpo.2", "dpo"))
    assert next_command(board, finished) == "pt eval --compare out/sft out/dpo --show 5"


def test_a_selection_that_cannot_be_read_is_no_bug():
    board = Board()
    board.apply(StagePicked("dpo", "dpo.2", {"stage": 1}), 0.0)
    assert board.picked == []


def test_lines_that_are_the_same_of_all_variants_are_one():
    lines = [
        "memory of sft: 1 MB",
        *(f"memory of dpo.{number}: 2 MB" for number in range(1, 5)),
        "dpo.1: fits",
        "dpo.3: fits",
        "disk: sft 1 MB, dpo.1 2 MB",
        "1.5 times of 2.5 GB",
        "1.6 times of 2.5 GB",
    ]
    stage = Stage("dpo.1", methods.get("dpo"), "sft", None, "train", AdapterSpec(False))
    stage = replace(stage, variant=VariantSpec("dpo", 1, {}))
    assert once_a_matrix(lines, [stage]) == [
        "memory of sft: 1 MB",
        "memory of dpo.1 to dpo.4: 2 MB",
        "dpo.1, dpo.3: fits",
        "disk: sft 1 MB, dpo.1 2 MB",
        "1.5 times of 2.5 GB",
        "1.6 times of 2.5 GB",
    ]
    assert once_a_matrix(lines, []) == lines


def test_values_are_written_as_in_the_file():
    settings = {"a": 5e-6, "b": [1, "x"], "c": "text", "d": True, "e": None, "f": 0.1, "g": 10}
    assert settings_in_words(settings) == 'a 5e-6, b [1, "x"], c text, d true, e null, f 0.1, g 10'
