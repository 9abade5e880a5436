"""`compute`: how several processes share the rows of a step, and what each stage has of its own."""

from __future__ import annotations

import json

import pytest
from support.small import write_recipe

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


FSDP, ZERO_2, ZERO_3 = (
    {"strategy": "fsdp"},
    {"strategy": "deepspeed"},
    {"strategy": "deepspeed", "deepspeed": {"zero_optimization": {"stage": 3}}},
)
HOOK = "a gradient hook, which sharded weights never call (FSDP)"
COPY = "DeepSpeed's optimizer goes on from weights of its own (ZeRO-2)"
MERGE, QLORA = {"handover": "merge"}, {"from": "base", "adapter": {"use_qlora": True}}
REWARD = {"from": "base", "method": "reward"}


@pytest.mark.parametrize(
    ("stage", "strategy", "why"),
    [
        ({"handover": "stack"}, FSDP, HOOK),
        ({"handover": "stack"}, ZERO_2, COPY),
        (MERGE, FSDP, "a merge reads whole weights when it saves (FSDP)"),
        (MERGE, ZERO_3, "a merge reads whole weights when it saves (ZeRO-3)"),
        (MERGE, ZERO_2, None),
        (QLORA, FSDP, "weights in 4 or 8 bits are not sharded"),
        (QLORA, ZERO_3, "weights in 4 or 8 bits are not sharded"),
        (REWARD, FSDP, "the head of a reward model over LoRA is saved whole"),
        (REWARD, ZERO_2, None),
        ({"handover": "continue"}, FSDP, None),
        ({"handover": "continue"}, ZERO_3, None),
        ({"from": "base", "adapter": {"use_lora": False}}, FSDP, None),
        ({"from": "base", "adapter": {"use_lora": False}}, ZERO_3, None),
    ],
)
def test_what_needs_whole_weights_is_not_sharded(tmp_path, stage, strategy, why):
    def change(recipe):
        recipe["stages"][1] |= stage
        recipe["stages"][1]["compute"] = {"launcher": "accelerate", "processes": 2, **strategy}

    found = read_recipe(write_recipe(tmp_path, change)).diagnostics
    told = [one.message for one in found if one.pointer == "/stages/1/compute/strategy"]
    assert [why in message for message in told] == ([True] if why else [])


@pytest.mark.parametrize(
    ("config", "pointer", "hint"),
    [
        ({"train_batch_size": 16}, "train_batch_size", "per_device_train_batch_size"),
        ({"gradient_clipping": 0.5}, "gradient_clipping", "max_grad_norm"),
        ({"optimizer": {"type": "AdamW"}}, "optimizer", "learning_rate"),
        ({"bf16": {"enabled": True}}, "bf16/enabled", "/compute/precision"),
        ({"zero_optimization": {"elastic_checkpoint": True}}, "zero_optimization/elastic_checkpoint", "many"),
    ],
)
def test_what_a_recipe_says_elsewhere_is_no_option_of_deepspeed(tmp_path, config, pointer, hint):
    def change(recipe):
        recipe["compute"] = {"launcher": "accelerate", "processes": 2, **ZERO_2, "deepspeed": config}

    (told,) = read_recipe(write_recipe(tmp_path, change)).errors
    assert (told.code, told.pointer) == ("owned-key", f"/compute/deepspeed/{pointer}")
    assert hint in told.hint


def test_options_of_zero_3_in_zero_2_are_reported(tmp_path):
    zero = {"overlap_comm": True, "stage3_max_live_parameters": 1e9, "offload_param": {"device": "cpu"}}

    def change(recipe):
        config = {"zero_optimization": zero}
        recipe["compute"] = {"launcher": "accelerate", "processes": 2, **ZERO_2, "deepspeed": config}

    told = read_recipe(write_recipe(tmp_path, change)).diagnostics
    assert [one.pointer.rpartition("/")[2] for one in told] == ["stage3_max_live_parameters", "offload_param"]
    assert {(one.code, one.severity.value) for one in told} == {("unused-key", "warning")}


def test_gradient_checkpointing_that_trl_decides_is_reported(tmp_path):
    def change(recipe):
        recipe["compute"] = {"launcher": "accelerate", "processes": 2, **ZERO_3}
        recipe["stages"][0]["config"]["gradient_checkpointing_kwargs"] = {"use_reentrant": False}

    (told,) = read_recipe(write_recipe(tmp_path, change)).diagnostics
    assert (told.code, told.severity.value) == ("unused-key", "warning")
    assert told.pointer == "/stages/0/config/gradient_checkpointing_kwargs/use_reentrant"


def test_a_config_that_leaves_the_rest_to_the_trainer_is_taken(tmp_path):
    auto = dict.fromkeys(("train_batch_size", "gradient_accumulation_steps", "gradient_clipping"), "auto")
    zero = {"stage": 3, "reduce_bucket_size": "auto", "stage3_max_live_parameters": 1e9}
    config = {**auto, "bf16": {"enabled": "auto"}, "zero_optimization": zero}

    def change(recipe):
        recipe["compute"] = {"launcher": "accelerate", "processes": 2, **ZERO_3, "deepspeed": config}

    assert read_recipe(write_recipe(tmp_path, change)).errors == ()


def test_a_strategy_of_one_process_is_reported(tmp_path):
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
