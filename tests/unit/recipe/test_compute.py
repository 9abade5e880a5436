"""`compute`: how several processes share the rows of a step, and what each stage has of its own."""

from __future__ import annotations

import json

import pytest
from small import write_recipe

from ptspec import accelerator
from ptspec.recipe.batch_split import split
from ptspec.recipe.effective_config import EffectiveConfig
from ptspec.recipe.resolve import read_recipe

ROWS, PASSES, PER_GENERATION = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "steps_per_generation",
)


@pytest.mark.parametrize(
    ("rows", "passes", "per_generation", "processes", "expected"),
    [
        (8, 1, None, 2, (4, 1, None)),
        (8, 4, None, 2, (8, 2, None)),
        (8, 4, None, 8, (4, 1, None)),
        (4, 2, 4, 2, (4, 1, 2)),
        (4, 2, 1, 2, (2, 2, 1)),
        (2, 3, None, 6, (1, 1, None)),
        (3, 1, None, 2, None),
        (1, 1, None, 2, None),
    ],
)
def test_processes_share_the_rows_of_a_step(rows, passes, per_generation, processes, expected):
    config = {ROWS: rows, PASSES: passes, PER_GENERATION: per_generation}
    found = split(config, processes)
    assert (found and (found[ROWS], found[PASSES], found.get(PER_GENERATION))) == expected
    if found:
        assert found[ROWS] * found[PASSES] * processes == rows * passes


def plan_of(tmp_path, change):
    return read_recipe(write_recipe(tmp_path, change)).plan


def test_a_stage_has_the_recipes_compute_and_its_own(tmp_path):
    def change(recipe):
        recipe["compute"] = {"launcher": "accelerate", "processes": 2, "precision": "bf16"}
        recipe["stages"][1]["compute"] = {"launcher": "local"}

    sft, dpo = plan_of(tmp_path, change).stages
    assert (sft.compute.world, dpo.compute.world) == (2, 1)
    assert sft.compute.precision == dpo.compute.precision == "bf16"
    settings = EffectiveConfig(sft, sft.compute, gpu=False)
    assert settings.number(ROWS) == 4


def test_each_process_takes_as_many_where_the_recipe_says_so(tmp_path):
    def change(recipe):
        recipe["compute"] = {"launcher": "accelerate", "processes": 2, "keep_effective_batch": False}

    (sft, _) = plan_of(tmp_path, change).stages
    assert EffectiveConfig(sft, sft.compute, gpu=False).number(ROWS) == 8


def test_without_a_number_there_is_a_process_for_each_visible_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "_kept", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,3,4")
    made = plan_of(tmp_path, lambda recipe: recipe.update(compute={"launcher": "accelerate"}))
    assert made.compute.processes == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    made = plan_of(tmp_path, lambda recipe: recipe.update(compute={"launcher": "accelerate"}))
    assert made.compute.processes == 1


def test_the_plan_shows_processes_and_the_rows_they_take(tmp_path, here):
    def change(recipe):
        recipe["stages"][0]["config"]["gradient_accumulation_steps"] = 4
        recipe["stages"][0]["compute"] = {"launcher": "accelerate", "processes": 2}

    file = write_recipe(tmp_path, change)
    assert "sft: 2 processes (ddp), each 8 rows × 2 passes a step: 32 together" in here("plan", file).stdout
    sft, dpo = json.loads(here("plan", file, "--format", "json").stdout)["stages"]
    assert (sft["processes"], sft["strategy"], sft["effective_batch"], sft["steps"]) == (2, "ddp", 32, 6)
    assert (dpo["processes"], dpo["strategy"]) == (1, None)


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ({"handover": "stack"}, "a gradient hook, which sharded weights never call"),
        ({"handover": "merge"}, "a merge reads whole weights when it saves"),
        ({"from": "base", "adapter": {"use_qlora": True}}, "weights in 4 or 8 bits are not sharded"),
        ({"handover": "continue"}, None),
        ({"from": "base", "adapter": {"use_lora": False}}, None),
    ],
)
def test_what_needs_whole_weights_is_not_sharded(tmp_path, stage, why):
    def change(recipe):
        recipe["stages"][1] |= stage
        recipe["stages"][1]["compute"] = {"launcher": "accelerate", "processes": 2, "strategy": "fsdp"}

    found = read_recipe(write_recipe(tmp_path, change)).diagnostics
    told = [one.message for one in found if one.pointer == "/stages/1/compute/strategy"]
    assert [why in message for message in told] == ([True] if why else [])


def test_a_strategy_of_one_process_is_told(tmp_path):
    file = write_recipe(tmp_path, lambda recipe: recipe.update(compute={"strategy": "fsdp"}))
    (warning,) = read_recipe(file).diagnostics
    assert (warning.code, warning.severity.value) == ("unused-key", "warning")
    assert warning.message == '"strategy" has no effect in one process'


def test_a_stage_changes_some_of_the_options_of_ray_and_none_where_it_is_not_on_ray(tmp_path):
    def change(recipe):
        recipe["compute"] = {"launcher": "ray", "processes": 2, "ray": {"address": "auto", "max_failures": 1}}
        recipe["stages"][0]["compute"] = {"ray": {"resources_per_worker": {"GPU": 2}}}
        recipe["stages"][1]["compute"] = {"launcher": "accelerate"}

    sft, dpo = plan_of(tmp_path, change).stages
    assert sft.compute.ray == {"address": "auto", "max_failures": 1, "resources_per_worker": {"GPU": 2}}
    assert (dpo.compute.launcher, dpo.compute.ray, dpo.compute.world) == ("accelerate", None, 2)
