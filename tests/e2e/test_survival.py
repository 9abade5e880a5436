"""A run that is stopped or killed goes on where it was, to the same bytes."""

import os
import random
import signal
import sys

import pytest
from small import ROOT, run_here, start_run, undisturbed_weights, wait_until_it_trains, write_recipe

from ptspec.diagnostics import Exit
from ptspec.events import StageStep, Warned
from ptspec.run.options import Options

pytestmark = pytest.mark.slow


def slow(recipe):
    """Stages long enough to be hit, with checkpoints to go on from."""
    for stage in recipe["stages"]:
        stage["config"].update(max_steps=10, save_steps=3, per_device_train_batch_size=2)
    recipe.pop("eval")


def at(stage, step, number):
    """Sends this process a signal when a stage has done so many steps."""

    def hear(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == (stage, step):
            os.kill(os.getpid(), number)

    return hear


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, slow)


def test_killed_at_random_moments(tmp_path):
    """The short form of `benchmarks/stress.py`."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import stress

    def start(folder):
        return start_run(folder / "recipe.json", folder / "out")

    whole = stress.prepared(tmp_path / "undisturbed")
    assert run_here(whole / "recipe.json", whole / "out").error is None
    broken, tally = stress.prepared(tmp_path / "disturbed"), stress.Tally()
    stress.disturb(broken, 2, random.Random(5), tally, start)
    ran = run_here(broken / "recipe.json", broken / "out")
    assert ran.error is None
    found = stress.differences(stress.fingerprint(whole / "out"), stress.fingerprint(broken / "out"))
    assert (found, tally.kills.total()) == ([], 2)


def test_a_signal_saves_and_exits_with_130(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    process = start_run(recipe, output)
    wait_until_it_trains(output, "dpo", process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "SIGINT was received: dpo is saved up to step " in told and "the same command goes on" in told
    ran = run_here(recipe, output)
    assert ran.weights == undisturbed


def test_a_signal_ends_the_step_and_saves_it(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    ran = run_here(recipe, output, at("dpo", 4, signal.SIGTERM))
    assert ran.error.exit is Exit.INTERRUPTED
    assert str(ran.error).startswith("SIGTERM was received: dpo is saved up to step 5")
    again = run_here(recipe, output)
    assert again.resumed == {"dpo": 5}
    assert again.weights == undisturbed


def test_a_second_signal_stops_at_once(undisturbed, tmp_path):
    def twice(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == ("dpo", 4):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    ran = run_here(recipe, output, twice)
    assert ran.error.exit is Exit.INTERRUPTED and "the last finished stage or checkpoint" in str(ran.error)
    again = run_here(recipe, output)
    assert again.resumed == {"dpo": 3}
    assert again.weights == undisturbed


def test_max_time_saves_and_exits_with_130(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    first = run_here(recipe, output, options=Options(max_seconds=0.0))
    assert first.error.exit is Exit.INTERRUPTED and "--max-time" in str(first.error)
    second = run_here(recipe, output, options=Options(max_seconds=2.0))
    assert second.error is None or second.error.exit is Exit.INTERRUPTED
    assert run_here(recipe, output).weights == undisturbed


@pytest.mark.parametrize("damage", ["cut", "flipped", "unsealed"])
def test_a_damaged_checkpoint_is_set_aside(undisturbed, tmp_path, damage):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    assert run_here(recipe, output, at("sft", 6, signal.SIGTERM)).error.exit is Exit.INTERRUPTED
    newest = output / ".sft.partial" / "checkpoints" / "checkpoint-7"
    victim = newest / ("sealed.json" if damage == "unsealed" else "optimizer.pt")
    data = victim.read_bytes()
    if damage == "unsealed":
        victim.unlink()
    else:
        victim.write_bytes(data[:-100] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    ran = run_here(recipe, output)
    (told,) = [event.text for event in ran.events if isinstance(event, Warned)]
    fault = "was not finished" if damage == "unsealed" else "is damaged (optimizer.pt)"
    assert told == f"checkpoint-7 {fault}; it was set aside as damaged-checkpoint-7"
    assert ran.resumed["sft"] == 6
    assert ran.weights == undisturbed


def test_a_loss_that_is_no_number_stops_the_stage_and_keeps_the_one_before(tmp_path):
    def diverging(recipe):
        recipe["stages"][1]["config"].update(
            learning_rate=1.0, max_grad_norm=0, max_steps=60, beta=1000.0, lr_scheduler_type="constant"
        )
        recipe["stages"][1]["config"]["optim"] = "sgd"
        recipe.pop("eval")

    ran = run_here(write_recipe(tmp_path, diverging), tmp_path / "out")
    (told,) = ran.error.diagnostics
    assert (told.code, ran.error.exit) == ("not-a-number", Exit.FAILED)
    assert "is not a number" in told.message and "learning_rate" in told.hint
    rows, kept = told.notes[0].removeprefix("rows of this step: ").split(", "), told.notes[-1]
    assert len(rows) == 8 and all(row.startswith("data/train.jsonl:") for row in rows), rows
    assert kept.startswith("dpo is saved up to step ")
    assert (tmp_path / "out" / "sft" / "stage.json").is_file()
    assert not (tmp_path / "out" / "dpo").exists()
