"""What each method logs when it is evaluated, and that the best step of an online one goes by it."""

import json
import os
import signal

import pytest
from support.small import WEIGHTS, run_here, write_recipe

from ptspec import methods
from ptspec.events import StageStep
from ptspec.methods.types import Feedback
from ptspec.recipe.plan import AdapterSpec, Stage
from ptspec.recipe.stage_evaluation import PREFIX
from ptspec.recipe.stage_metrics import known_metrics
from ptspec.training.evaluating import is_measured

pytestmark = pytest.mark.slow

ONLINE = {
    "num_generations": 2,
    "max_completion_length": 4,
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 4,
    "beta": 0.05,
    "learning_rate": 2e-2,
}
UNKNOWN = {"num_tokens", "clip_ratio/high_max", "clip_ratio/high_mean", "clip_ratio/low_mean"}
UNKNOWN |= {"clip_ratio/low_min", "clip_ratio/region_mean", "opponents/mean_length", "mixture_coef", "epoch"}
UNKNOWN |= {"rewards/bradley_terry/mean", "rewards/bradley_terry/std"}  # the winning itself, twice over
"""Logged, and no measure of a policy."""


def measured_as_it_trains(method, **config):
    """One stage of `method` alone."""

    def change(recipe):
        online = methods.get(method).online
        given = {
            "max_steps": 1,
            "eval_steps": 1,
            **(ONLINE if online else {"per_device_train_batch_size": 4}),
        }
        if methods.get(method).feedback is Feedback.TEACHER:
            given = {key: value for key, value in given.items() if key not in ("num_generations", "beta")}
        stage = {"name": "one", "method": method, "data": "train", "eval_data": "heldout"}
        recipe["stages"] = [stage | {"config": given | config}]
        recipe["data"]["train"]["limit"], recipe["data"]["heldout"]["limit"] = 8, 4
        recipe.pop("eval")
        if methods.get(method).feedback is Feedback.TEACHER:
            recipe["stages"][0]["teacher"] = "base"
        elif online:
            recipe["rewards"] = {"short": {"function": "length", "target": 2}}
            recipe["stages"][0]["rewards"] = ["short"]

    return change


def lines(output):
    return list(map(json.loads, (output / "one" / "metrics.jsonl").read_text().splitlines()))


@pytest.mark.parametrize("method", methods.METHODS)
def test_the_names_that_a_best_step_can_go_by_are_those_that_are_logged(method, tmp_path):
    ran = run_here(write_recipe(tmp_path, measured_as_it_trains(method)), tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    (found,) = [line for line in lines(ran.output) if f"{PREFIX}loss" in line]
    logged = {name.removeprefix(PREFIX) for name in found if is_measured(name)}
    assert logged - UNKNOWN == set(known_metrics(stage_of(method)))


def stage_of(method):
    rewards = ("short",) if methods.get(method).online else ()
    return Stage("one", methods.get(method), "base", None, "train", AdapterSpec(True), rewards=rewards)


@pytest.mark.parametrize(
    ("method", "metric"), [("grpo", "eval_reward"), ("nash_md", "eval_win_rate/reference")]
)
def test_the_best_step_of_an_online_method_after_a_stop(method, metric, tmp_path):
    """By what was sampled, which a run that was stopped draws as one that was not."""
    config = {"max_steps": 5, "eval_steps": 1, "load_best_model_at_end": True}
    config["metric_for_best_model"] = metric
    if method == "nash_md":
        config["opponent"] = "ema"
    recipe = write_recipe(tmp_path, measured_as_it_trains(method, **config))
    ran = run_here(recipe, tmp_path / "whole")
    assert ran.error is None, ran.error.diagnostics
    values = {line["step"]: line[metric] for line in lines(ran.output) if metric in line}
    best = max(values, key=lambda step: (values[step], -step))
    folder = ran.output / "one"
    saved = (folder / "checkpoints" / f"checkpoint-{best}" / WEIGHTS).read_bytes()
    assert (folder / WEIGHTS).read_bytes() == saved
    assert json.loads((folder / "stage.json").read_text())["best"]["step"] == best

    def stop(event):
        if isinstance(event, StageStep) and event.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run_here(recipe, tmp_path / "stopped", stop).error is not None
    again = run_here(recipe, tmp_path / "stopped")
    assert again.resumed == {"one": 3}
    assert {line["step"]: line[metric] for line in lines(again.output) if metric in line} == values
    assert again.weights == ran.weights
