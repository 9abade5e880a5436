"""A stage in a process of its own: the same bytes, the same words, and an end that loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.small import (
    ROOT,
    one_stage,
    run_here,
    start_run,
    steps_logged,
    undisturbed_weights,
    wait_until_it_trains,
    write_recipe,
)

from ptspec.diagnostics import Exit
from ptspec.events import Preparing, StageStep
from ptspec.processes import has_ended
from ptspec.run.options import Options

pytestmark = pytest.mark.slow

ISOLATED = Options(allow_code=True, isolate=True)
TIMES = {"seconds", "finished", "written", "train_runtime"}


def two_stages(recipe):
    recipe["stages"][0]["config"].update(max_steps=4, save_steps=2)
    recipe["stages"][1]["config"].update(max_steps=2)
    recipe["data"]["heldout"]["limit"] = 4
    recipe["eval"]["max_new_tokens"] = 4


def sft_alone(recipe):
    one_stage(recipe, max_steps=40, save_steps=2, per_device_train_batch_size=4)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_weights(tmp_path_factory, sft_alone)


def files(output):
    """The contents of a run's results by path; without times, and without what PEFT writes in no order."""
    found = {}
    for path in sorted(output.glob("[a-z]*/*")):
        if path.suffix == ".json":
            value = json.loads(path.read_text())
            found[path.relative_to(output)] = {
                k: v for k, v in value.items() if k not in (*TIMES, "peak_memory_bytes")
            }
        elif path.is_file():
            found[path.relative_to(output)] = path.read_bytes()
    return found


def kinds(ran):
    """What happened to the stages; how processes and libraries begin is each way's own."""
    told = [event for event in ran.events if not isinstance(event, Preparing)]
    return [(type(event).__name__, getattr(event, "stage", None)) for event in told]


def test_the_same_bytes_and_events_as_in_one_process(tmp_path):
    recipe = write_recipe(tmp_path, two_stages)
    here = run_here(recipe, tmp_path / "here")
    there = run_here(recipe, tmp_path / "there", options=ISOLATED)
    assert here.error is None and there.error is None, there.error
    assert kinds(here) == kinds(there)
    ours, theirs = files(here.output), files(there.output)
    assert [str(path) for path in ours if ours[path] != theirs.get(path)] == []
    assert ours.keys() == theirs.keys()
    assert not (there.output / ".job.json").exists()


def children(of=None):
    """The workers that a process, this one if none is given, has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            stat, line = ((process / name).read_text() for name in ("stat", "cmdline"))
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == (of or os.getpid()) and "ptspec.worker" in line:
            found.append(int(process.name))
    return found


def test_a_worker_that_is_left_killed_and_stopped_loses_nothing(undisturbed, tmp_path):
    """Three starts of one run, each of which goes on from what the one before it saved."""
    recipe, output = write_recipe(tmp_path, sft_alone), tmp_path / "out"
    process = start_run(recipe, output, "--isolate")
    wait_until_it_trains(output, "sft", process)
    (child,) = children(process.pid)
    process.kill()
    process.communicate(timeout=60)
    limit = time.monotonic() + 120
    while not has_ended(child):
        assert time.monotonic() < limit, "the worker outlives its controller"
        time.sleep(0.02)
    assert steps_logged(output, "sft") < 40, "it did not train to the end"

    steps = []

    def kill(event):
        if isinstance(event, StageStep):
            steps.append(event.step)
            if len(steps) == 5:
                (child,) = children()
                os.kill(child, signal.SIGKILL)

    ran = run_here(recipe, output, kill, ISOLATED)
    assert ran.told.startswith(
        'worker-died: the process of "sft" was killed by SIGKILL | a system that runs out'
    )
    assert "sft is saved up to step " in ran.told and ran.error.exit is Exit.FAILED

    process = start_run(recipe, output, "--isolate")
    wait_until_it_trains(output, "sft", process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=240)
    assert process.returncode == 130, told
    assert "interrupted: SIGINT was received: sft is saved up to step " in told
    assert "error" not in told
    last = run_here(recipe, output)
    assert last.resumed["sft"] > ran.resumed["sft"] + 1
    assert last.weights == undisturbed


def test_an_error_of_the_worker_is_reported_as_that_of_one_process(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def reward(prompts, completions, **columns):\n    raise KeyError('oh')\n"
    )

    def change(recipe):
        recipe["rewards"] = {"mine": {"function": str(tmp_path / "mine.py") + ":reward"}}
        config = {
            "max_steps": 1,
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 4,
        }
        stage = {"name": "grpo", "method": "grpo", "data": "train", "rewards": ["mine"], "config": config}
        recipe["stages"] = [stage]
        recipe.pop("eval")

    recipe = write_recipe(tmp_path, change)
    here, there = (run_here(recipe, tmp_path / name, options=o) for name, o in (("a", None), ("b", ISOLATED)))
    assert here.error.diagnostics == there.error.diagnostics and here.error.exit == there.error.exit
    assert "KeyError" in (tmp_path / "b" / "run.log").read_text(), "where it came from is in the log"


def test_max_time_holds_in_the_worker(tmp_path):
    recipe = write_recipe(tmp_path, sft_alone)

    def is_late(event):
        if isinstance(event, StageStep) and event.step == 1:
            late.append(event)

    late = []
    ran = run_here(recipe, tmp_path / "out", is_late, Options(isolate=True, max_seconds=0.0))
    assert ran.error.exit is Exit.INTERRUPTED and "--max-time" in str(ran.error)
    assert not late, "nothing was begun"


def test_by_hand(tmp_path):
    """Without a controller: the job is done, and what happens is told line by line."""
    done = subprocess.run(
        [sys.executable, "-m", "ptspec.worker", str(tmp_path / "none.json")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["message"]["kind"] == "Failed"
    assert done.returncode == Exit.WRONG_INPUT and "Traceback" not in done.stderr
