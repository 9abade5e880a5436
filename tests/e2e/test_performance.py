"""`"performance": "auto"`: the same losses as without, and the choices that a stage began with to its end."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.small import Ran, run_here, two_ranks, write_recipe

from ptspec.events import StageReused, StageStep, StageTuned
from ptspec.performance.choice import HEAD, LABELS, PROMPTS, ROW_ORDER, SHARED
from ptspec.recipe.batch_split import PASSES, ROWS

pytestmark = pytest.mark.slow

EPOCHS = {"sft": 2, "dpo": 3, "reward": 1}


def rows(file: Path) -> Path:
    """44 rows, so that the last step of an epoch is not full; one in six is far longer than the others."""
    lines = []
    for number in range(44):
        answer = "Mira lives in Tarn . " * (12 if number % 6 == 0 else 1) + "x" * (number % 5)
        row = {"prompt": f"Where does Mira live ? {number}", "completion": answer, "chosen": answer}
        lines.append(json.dumps({**row, "rejected": "Tarn"}))
    file.write_text("\n".join(lines))
    return file


def recipe(folder: Path, performance: str = "auto", methods=tuple(EPOCHS), **config: object) -> Path:
    folder.mkdir()

    def change(value: dict) -> None:
        del value["eval"]
        value["performance"] = performance
        value["data"] = {"train": {"path": str(rows(folder / "rows.jsonl"))}}
        given = {"learning_rate": 1e-3, **config}
        value["stages"] = [
            {
                "name": name,
                "method": name,
                "data": "train",
                "config": {**given, "num_train_epochs": EPOCHS[name]},
            }
            for name in methods
        ]

    return write_recipe(folder, change)


def stage(name: str, **config: object) -> dict:
    given = {"learning_rate": 1e-3, "num_train_epochs": EPOCHS[name], **config}
    return {"name": name, "method": name, "data": "train", "config": given}


def losses(output: Path, stage: str) -> list[float]:
    lines = (output / stage / "metrics.jsonl").read_text().splitlines()
    return [one["loss"] for one in map(json.loads, lines) if "loss" in one]


def record(output: Path, stage: str) -> dict:
    return json.loads((output / stage / "stage.json").read_text())


def chosen(output: Path, stage: str) -> dict:
    """Field -> value of what was taken."""
    taken = record(output, stage)["performance"]["choices"]
    return {name: value for choice in taken for name, value in choice["fields"].items()}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[str, Ran]:
    folder = tmp_path_factory.mktemp("performance")
    return {how: run_here(recipe(folder / how, how), folder / how / "out") for how in ("auto", "off")}


@pytest.mark.parametrize("stage", EPOCHS)
def test_the_losses_are_those_without_it(ran, stage):
    auto, off = ran["auto"].output, ran["off"].output
    assert ran["auto"].error is ran["off"].error is None
    assert len(losses(auto, stage)) == 6 * EPOCHS[stage]
    assert losses(auto, stage) == pytest.approx(losses(off, stage), abs=2e-6)
    taken = chosen(auto, stage)
    assert taken[ROWS] < 8
    assert taken[ROWS] * taken[PASSES] == 8
    assert chosen(off, stage) == {}
    assert record(auto, stage)["config"][ROWS] == taken[ROWS]
    assert record(off, stage)["config"][ROWS] == 8
    assert record(auto, stage)["fingerprint"] == record(off, stage)["fingerprint"]


def test_each_form_of_a_choice_was_tried(ran):
    assert chosen(ran["auto"].output, "sft")[ROW_ORDER] == "by length within a step"
    assert chosen(ran["auto"].output, "dpo")["precompute_ref_log_probs"] is True
    assert chosen(ran["auto"].output, "dpo")[PROMPTS] == SHARED


def test_it_is_reported_as_a_stage_begins_with_its_fields(ran):
    told = [event for event in ran["auto"].events if isinstance(event, StageTuned)]
    assert [event.stage for event in told] == list(EPOCHS)
    assert told[0].text.endswith(
        f"pass × {8 // chosen(ran['auto'].output, 'sft')[ROWS]} · head on labels alone"
    )
    kept = [json.loads(line) for line in (ran["auto"].output / "events.jsonl").read_text().splitlines()]
    written = next(event for event in kept if event["event"] == "StageTuned")
    assert written["choices"][0]["fields"][ROWS] == chosen(ran["auto"].output, "sft")[ROWS]
    assert not [event for event in ran["off"].events if isinstance(event, StageTuned)]


def test_a_finished_stage_is_not_made_anew_where_it_is_switched(ran, tmp_path):
    again = run_here(recipe(tmp_path / "again", "off"), ran["auto"].output)
    assert again.error is None
    reused = [event.stage for event in again.events if isinstance(event, StageReused)]
    assert reused == list(EPOCHS)


def test_a_resume_takes_what_the_stage_began_with(tmp_path):
    """Interrupted with it on and gone on with it off: to the byte what it would have been undisturbed."""
    only = {"methods": ("sft",), "save_steps": 1}
    whole = run_here(recipe(tmp_path / "whole", **only), tmp_path / "whole" / "out")

    def stop(event: object) -> None:
        if isinstance(event, StageStep) and event.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    output = tmp_path / "halved"
    stopped = run_here(recipe(tmp_path / "a", **only), output, stop)
    assert "saved up to step" in str(stopped.error)
    on_again = run_here(recipe(tmp_path / "b", "off", **only), output)
    assert on_again.error is None
    assert on_again.resumed["sft"] >= 4
    assert chosen(output, "sft") == chosen(whole.output, "sft") != {}
    assert on_again.weights == whole.weights


def test_two_processes_share_a_step_of_sorted_rows(tmp_path):
    """Given passes are kept; which rows share one is chosen, over both processes."""
    given = {"methods": ("sft",), ROWS: 2, PASSES: 4, "max_steps": 5}
    one, two = tmp_path / "one.out", tmp_path / "two.out"
    done = run_here(recipe(tmp_path / "one", "off", **given), one)
    assert done.error is None, done.error
    file = recipe(tmp_path / "two", "auto", **given)
    first, second = two_ranks("run", file, "--output", two)
    assert (first.wait(300), second.wait(60)) == (0, 0), first.told
    assert chosen(two, "sft") == {ROW_ORDER: "by length within a step", HEAD: LABELS}
    assert losses(two, "sft") == pytest.approx(losses(one, "sft"), abs=2e-6)
