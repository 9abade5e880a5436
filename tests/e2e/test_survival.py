"""A run that is stopped or killed goes on where it was, to the same bytes."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, pt, write_recipe

pytestmark = pytest.mark.slow

STAGES = ("sft", "dpo")


def slow(recipe):
    """Stages long enough to be hit, with checkpoints to go on from."""
    for stage in recipe["stages"]:
        stage["config"].update(max_steps=16, save_steps=4)
    recipe.pop("eval")


def adapters(output):
    return {stage: (output / stage / "adapter_model.safetensors").read_bytes() for stage in STAGES}


def start(recipe, output):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "ptspec.cli", "run", str(recipe), "--output", str(output)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment, start_new_session=True
    )


def wait_for(path, process, seconds=120):
    limit = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit, f"{path} did not come"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = pt("run", write_recipe(folder, slow), "--output", folder / "out")
    assert done.code == 0, done.stderr
    return adapters(folder / "out")


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_the_middle_of_a_stage(undisturbed, tmp_path, stage):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    process = start(recipe, output)
    wait_for(output / f".{stage}.partial" / "checkpoints" / "checkpoint-8" / "sealed.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = pt("run", recipe, "--output", output)
    assert done.code == 0, done.stderr
    assert "resumed" in done.stderr or "goes on" in done.stderr or "from step" in done.stderr
    assert adapters(output) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_130(undisturbed, tmp_path, number):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    process = start(recipe, output)
    wait_for(output / ".dpo.partial" / "metrics.jsonl", process)
    process.send_signal(number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "the same command goes on" in told
    done = pt("run", recipe, "--output", output)
    assert done.code == 0, done.stderr
    assert adapters(output) == undisturbed


def test_max_time_saves_and_exits_with_130(undisturbed, tmp_path):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    done = pt("run", recipe, "--output", output, "--max-time", "1s")
    assert done.code == 130 and "--max-time" in done.stderr
    while (code := pt("run", recipe, "--output", output).code) == 130:
        pass
    assert code == 0
    assert adapters(output) == undisturbed


@pytest.mark.parametrize("damage", ["cut", "flipped", "unsealed"])
def test_a_damaged_checkpoint_is_set_aside(undisturbed, tmp_path, damage):
    recipe, output = write_recipe(tmp_path, slow), tmp_path / "out"
    process = start(recipe, output)
    checkpoints = output / ".sft.partial" / "checkpoints"
    wait_for(checkpoints / "checkpoint-12" / "sealed.json", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    newest = max(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    victim = newest / ("sealed.json" if damage == "unsealed" else "adapter_model.safetensors")
    data = victim.read_bytes()
    if damage == "unsealed":
        victim.unlink()
    else:
        victim.write_bytes(data[:-100] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    done = pt("run", recipe, "--output", output)
    assert done.code == 0, done.stderr
    assert "set aside" in done.stderr
    assert adapters(output) == undisturbed


def test_a_loss_that_is_no_number_stops_the_stage_and_keeps_the_one_before(tmp_path):
    def diverging(recipe):
        recipe["stages"][1]["config"].update(
            learning_rate=1.0, max_grad_norm=0, max_steps=60, beta=1000.0, lr_scheduler_type="constant"
        )
        recipe["stages"][1]["config"]["optim"] = "sgd"
        recipe.pop("eval")

    done = pt("run", write_recipe(tmp_path, diverging), "--output", tmp_path / "out")
    assert done.code == 1, done.stderr
    assert "is not a number" in done.stderr and "learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "sft" / "stage.json").is_file()
    assert not (tmp_path / "out" / "dpo").exists()
