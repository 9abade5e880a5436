"""What each method logs when it is evaluated, and that the best step of an online one goes by it."""

import json

import pytest
from small import WEIGHTS, run_here, write_recipe

from ptspec import methods
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
        stage = {"name": "one", "method": method, "data": "train", "eval_data": "heldout"}
        recipe["stages"] = [stage | {"config": given | config}]
        recipe["data"]["train"]["limit"], recipe["data"]["heldout"]["limit"] = 8, 4
        recipe.pop("eval")
        if online:
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
    (stage,) = (one for one in [_stage(method)])
    assert logged - UNKNOWN == set(known_metrics(stage))


def _stage(method):
    from ptspec.recipe.plan import AdapterSpec, Stage

    rewards = ("short",) if methods.get(method).online else ()
    return Stage("one", methods.get(method), "base", None, "train", AdapterSpec(True), rewards=rewards)


def test_the_best_step_of_grpo_goes_by_its_reward(tmp_path):
    config = {"max_steps": 6, "eval_steps": 1, "load_best_model_at_end": True}
    config["metric_for_best_model"] = "eval_reward"
    recipe = write_recipe(tmp_path, measured_as_it_trains("grpo", **config))
    ran = run_here(recipe, tmp_path / "out")
    assert ran.error is None, ran.error.diagnostics
    rewards = {line["step"]: line["eval_reward"] for line in lines(ran.output) if "eval_reward" in line}
    best = max(rewards, key=lambda step: (rewards[step], -step))
    folder = ran.output / "one"
    saved = (folder / "checkpoints" / f"checkpoint-{best}" / WEIGHTS).read_bytes()
    assert (folder / WEIGHTS).read_bytes() == saved
    assert json.loads((folder / "stage.json").read_text())["best"]["step"] == best
