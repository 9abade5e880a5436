"""A run that is stopped or killed goes on where it was, to the same bytes."""

import json
import os
import random
import shutil
import signal
import sys

import pytest
from support.small import ROOT, run_here, start_run, undisturbed_weights, write_recipe

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


def shorter(recipe):
    """The recipe of `benchmarks/stress.py` with as many stages, checkpoints and passes over the data, and
    fewer steps."""
    for stage, steps in zip(recipe["stages"], (4, 4, 6), strict=True):
        stage["config"] |= {"max_steps": steps, "save_steps": 2}
    recipe["data"]["train"]["limit"], recipe["data"]["prompts"]["limit"] = 16, 4
    recipe["data"]["heldout"]["limit"], recipe["eval"]["max_new_tokens"] = 2, 4


def test_killed_while_it_saves_and_when_something_happens(tmp_path):
    """Two of the moments of `benchmarks/stress.py`, which has thousands: in a file of a checkpoint, and just
    after an event."""
    sys.path.append(str(ROOT / "benchmarks"))
    import stress

    def prepared(folder):
        recipe = json.loads((stress.prepared(folder) / "recipe.json").read_text())
        shorter(recipe)
        (folder / "recipe.json").write_text(json.dumps(recipe))
        return folder / "recipe.json", folder / "out"

    recipe, whole = prepared(tmp_path / "undisturbed")
    assert run_here(recipe, whole).error is None
    recipe, broken = prepared(tmp_path / "disturbed")
    for aim in ("writing", "event"):
        process = start_run(recipe, broken)
        assert stress.until(stress.AIMS[aim], process, broken, random.Random(5)), process.told
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert run_here(recipe, broken).error is None
    assert stress.differences(stress.fingerprint(whole), stress.fingerprint(broken)) == []


def test_signals_and_max_time_save_and_the_same_command_goes_on(undisturbed, tmp_path):
    """One after the other, in one run. `test_signals.py` has a process of its own."""
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    first = run_here(recipe, output, options=Options(max_seconds=0.0))
    assert first.error.exit is Exit.INTERRUPTED and "--max-time" in str(first.error)

    ended = run_here(recipe, output, at("dpo", 4, signal.SIGTERM))
    assert ended.error.exit is Exit.INTERRUPTED
    assert str(ended.error).startswith("SIGTERM was received: dpo is saved up to step 5")

    def twice(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == ("dpo", 7):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    at_once = run_here(recipe, output, twice)
    assert at_once.resumed == {"dpo": 5}
    assert at_once.error.exit is Exit.INTERRUPTED
    assert "the last finished stage or checkpoint" in str(at_once.error)

    in_time = run_here(recipe, output, options=Options(max_seconds=2.0))
    assert in_time.error is None or in_time.error.exit is Exit.INTERRUPTED
    assert in_time.resumed in ({"dpo": 6}, {})
    assert run_here(recipe, output).weights == undisturbed


def sft_alone(recipe):
    slow(recipe)
    del recipe["stages"][1]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after a checkpoint of its own and one for the signal, to be copied."""
    folder = tmp_path_factory.mktemp("stopped")
    ran = run_here(write_recipe(folder, sft_alone), folder / "out", at("sft", 6, signal.SIGTERM))
    assert ran.error.exit is Exit.INTERRUPTED
    return folder


@pytest.mark.parametrize("damage", ["cut", "flipped", "unsealed"])
def test_a_damaged_checkpoint_is_set_aside(stopped, undisturbed, tmp_path, damage):
    shutil.copytree(stopped, tmp_path / "damaged")
    recipe, output = tmp_path / "damaged" / "recipe.json", tmp_path / "damaged" / "out"
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
    assert ran.weights["sft"] == undisturbed["sft"]


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
