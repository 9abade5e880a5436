"""A stage that has a teacher: whom it learns from, what stays as it is, and where it goes on."""

from __future__ import annotations

import copy
import json
import os
import signal

import pytest
from support.small import WEIGHTS, run_here, write_recipe

from ptspec.diagnostics import Exit
from ptspec.events import StageStep

pytestmark = pytest.mark.slow

STUDENT = {
    "name": "student",
    "method": "distillation",
    "from": "base",
    "teacher": "sft",
    "data": "train",
    "config": {
        "learning_rate": 2e-3,
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_completion_length": 6,
        "save_steps": 100,
    },
}


def taught(recipe, **more):
    recipe["stages"][1] = {**copy.deepcopy(STUDENT), **more}
    recipe.pop("eval")


def metrics(output, stage="student"):
    lines = (output / stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def at(step):
    def hear(event):
        if isinstance(event, StageStep) and (event.stage, event.step) == ("student", step):
            os.kill(os.getpid(), signal.SIGTERM)

    return hear


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    return run_here(write_recipe(folder, taught), folder / "out")


def test_a_student_becomes_like_its_teacher_which_stays_as_it_is(undisturbed):
    losses = [one["loss"] for one in metrics(undisturbed.output)]
    assert len(losses) == 6 and losses[-1] < losses[0]
    record = json.loads((undisturbed.output / "student" / "stage.json").read_text())
    assert record["ingredients"]["teacher"][0], "the teacher is a part of the fingerprint"
    teacher = json.loads((undisturbed.output / "sft" / "stage.json").read_text())
    assert (teacher["parent"], record["parent"]) == ("base", "base")


@pytest.mark.parametrize("step", [2, 5])
def test_stopped_it_goes_on_to_the_same_bytes(undisturbed, tmp_path, step):
    recipe, output = write_recipe(tmp_path, taught), tmp_path / "out"
    first = run_here(recipe, output, at(step - 1))
    assert first.error.exit is Exit.INTERRUPTED
    second = run_here(recipe, output)
    assert second.resumed == {"student": step}
    assert second.weights == undisturbed.weights


def test_a_teacher_that_is_trained_again_makes_the_student_so(undisturbed, tmp_path):
    def again(recipe):
        taught(recipe)
        recipe["stages"][0]["config"]["max_steps"] = 7

    recipe, output = write_recipe(tmp_path, taught), tmp_path / "out"
    assert run_here(recipe, output).weights == undisturbed.weights
    write_recipe(tmp_path, again)
    ran = run_here(recipe, output)
    assert set(ran.resumed) == {"sft", "student"}
    assert ran.weights["student"] != undisturbed.weights["student"]


def test_who_is_taught_by_itself_has_nothing_to_learn(undisturbed, tmp_path):
    """The policy of the stage before, as continued: the divergence is 0, and so is what is learned."""

    def change(recipe):
        taught(recipe, **{"from": "sft"})
        recipe["stages"][1]["config"]["max_steps"] = 1

    ran = run_here(write_recipe(tmp_path, change), tmp_path / "out")
    assert ran.error is None
    assert abs(metrics(ran.output)[0]["loss"]) < 1e-6


def test_a_folder_teaches_as_the_stage_that_it_was(undisturbed, tmp_path):
    """An adapter outside the run, and full fine-tuning of the student beside it."""

    def outside(recipe):
        taught(recipe, teacher=str(undisturbed.output / "sft"))

    def full(recipe):
        outside(recipe)
        recipe["stages"][1]["adapter"] = {"use_lora": False}
        recipe["stages"][1]["config"] |= {"learning_rate": 1e-4, "max_steps": 2}

    ran = run_here(write_recipe(tmp_path, outside), tmp_path / "out")
    assert ran.weights["student"] == undisturbed.weights["student"]
    ran = run_here(write_recipe(tmp_path, full), tmp_path / "full")
    assert ran.error is None and (ran.output / "student" / "model.safetensors").is_file()
    before = (undisturbed.output / "sft" / WEIGHTS).read_bytes()
    assert before == undisturbed.weights["sft"]
