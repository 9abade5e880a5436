"""Full fine-tuning whose reference is taken beforehand: the policy that came in, without a second model."""

from __future__ import annotations

import json
import math

import pytest
from support.small import run_here, write_recipe

from ptspec.checks.preflight import preflight
from ptspec.model.base import load_base
from ptspec.model.device import find_device
from ptspec.model.handover import changes_weights, prepare

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe(tmp_path):
    def change(recipe: dict) -> None:
        config = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "learning_rate": 1e-3}
        dpo = {"name": "dpo", "method": "dpo", "data": "train"}
        recipe["adapter"] = {"use_lora": False}
        recipe["data"]["train"]["limit"] = 8
        recipe["stages"] = [{**dpo, "config": {**config, "precompute_ref_log_probs": True}}]
        del recipe["eval"]

    return write_recipe(tmp_path, change)


def test_no_second_model_is_made(recipe):
    plan = preflight(recipe).plan
    (stage,) = plan.stages
    base = load_base(plan.model, stage.adapter, find_device())
    assert prepare(base, None, stage, 1).reference_model is None
    assert changes_weights(stage, None)


def test_the_reference_is_the_policy_that_came_in(recipe, tmp_path):
    ran = run_here(recipe, tmp_path / "out")
    assert ran.error is None, ran.error
    lines = (tmp_path / "out" / "dpo" / "metrics.jsonl").read_text().splitlines()
    losses = [one["loss"] for one in map(json.loads, lines) if "loss" in one]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[1] != pytest.approx(math.log(2), abs=1e-4)
