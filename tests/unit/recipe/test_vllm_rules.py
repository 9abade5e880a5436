"""`compute.vllm`: which stages a server may sample for, and what is told where it may not."""

from __future__ import annotations

import pytest
from support.small import write_recipe

from ptspec import accelerator
from ptspec.checks.preflight import preflight
from ptspec.recipe.resolve import read_recipe
from ptspec.recipe.vllm import vllm_of

ADDRESS = {"server_base_url": "http://localhost:1"}


def grpo(recipe):
    recipe["rewards"] = {"style": {"function": "regex", "pattern": "a"}}
    config = {"learning_rate": 1e-5, "per_device_train_batch_size": 8, "num_generations": 4, "max_steps": 2}
    recipe["stages"][1] = {
        "name": "online",
        "method": "grpo",
        "data": "train",
        "rewards": ["style"],
        "config": config,
    }
    recipe["compute"] = {"vllm": dict(ADDRESS)}


def nash_md(recipe, **config):
    grpo(recipe)
    recipe["stages"][1] |= {"method": "nash_md"}
    recipe["stages"][1]["config"] |= config


def told(tmp_path, change):
    found = preflight(write_recipe(tmp_path, change)).diagnostics
    return [(one.severity.value, one.code, one.pointer, one.message) for one in found]


def test_the_recipes_server_samples_for_online_stages_alone(tmp_path):
    plan = read_recipe(write_recipe(tmp_path, grpo)).plan
    sft, online = plan.stages
    assert vllm_of(sft) is None
    assert vllm_of(online).is_plain_server
    assert vllm_of(online).base_url == "http://localhost:1"
    assert told(tmp_path, grpo) == []


def test_a_stage_may_sample_by_itself(tmp_path):
    def change(recipe):
        grpo(recipe)
        recipe["stages"][1]["compute"] = {"vllm": None}

    assert vllm_of(read_recipe(write_recipe(tmp_path, change)).plan.stages[1]) is None
    assert told(tmp_path, change) == [], "the evaluation's answers are asked of it"

    def unused(recipe):
        change(recipe)
        recipe["eval"]["metrics"] = ["loss"]

    (one,) = told(tmp_path, unused)
    assert one[:3] == ("warning", "unused-key", "/compute/vllm")


REFUSED = {
    "full": (lambda r: r.update(adapter={"use_lora": False}), "full fine-tuning changes whole weights"),
    "dora": (lambda r: r["adapter"].update(use_dora=True), 'no adapter with "use_dora"'),
    "pissa": (lambda r: r["adapter"].update(init_lora_weights="pissa"), 'with "init_lora_weights"'),
    "batching": (
        lambda r: r["stages"][1]["config"].update(use_transformers_continuous_batching=True),
        "vLLM samples, not transformers",
    ),
    "beams": (
        lambda r: r["stages"][1]["config"].update(generation_kwargs={"num_beams": 2}),
        '"num_beams" is not a field of a request to vLLM',
    ),
    "vespo": (lambda r: r["stages"][1]["config"].update(loss_type="vespo"), "corrections of single tokens"),
    "fsdp": (
        lambda r: r["compute"].update(launcher="accelerate", processes=2, strategy="fsdp"),
        "sharded weights are not gathered",
    ),
    "two addresses": (
        lambda r: r["compute"]["vllm"].update(server_port=1),
        '"server_port" has no effect beside',
    ),
    "no address": (
        lambda r: r["compute"]["vllm"].update(server_base_url="here"),
        "not the address of a server",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_plain_server_cannot_sample_for_is_refused(tmp_path, case):
    spoil, expected = REFUSED[case]

    def change(recipe):
        grpo(recipe)
        spoil(recipe)

    errors = [message for severity, _, _, message in told(tmp_path, change) if severity == "error"]
    assert [message for message in errors if expected in message], errors


def test_a_merge_with_an_adapter_that_is_no_sum_is_refused(tmp_path):
    def change(recipe):
        grpo(recipe)
        recipe["stages"][0]["adapter"] = {"modules_to_save": ["embed_tokens"]}
        recipe["stages"][1]["handover"] = "merge"

    errors = [one for one in told(tmp_path, change) if one[0] == "error"]
    assert [one[3] for one in errors if 'the incoming adapter has "modules_to_save"' in one[3]], errors


@pytest.mark.parametrize(
    ("opponent", "vllm", "expected"),
    [
        ("mixture", ADDRESS, "for each token"),
        ("ema", ADDRESS, None),
        ("weight_mixture", ADDRESS, None),
        ("ema", {"mode": "colocate"}, "beside the policy"),
    ],
)
def test_the_opponents_of_nash_md(tmp_path, opponent, vllm, expected):
    def change(recipe):
        nash_md(recipe, opponent=opponent)
        recipe["compute"] = {"vllm": vllm}

    errors = [one[3] for one in told(tmp_path, change) if one[0] == "error"]
    assert errors == [] if expected is None else any(expected in message for message in errors)


def test_keys_of_another_mode_have_no_effect(tmp_path):
    def change(recipe):
        grpo(recipe)
        recipe["compute"]["vllm"] |= {"gpu_memory_utilization": 0.5, "group_port": 9}

    assert [one[:3] for one in told(tmp_path, change)] == [
        ("warning", "unused-key", "/compute/vllm/gpu_memory_utilization"),
        ("warning", "unused-key", "/compute/vllm/group_port"),
    ]


def test_fields_that_need_vllm_have_no_effect_without_it(tmp_path):
    def change(recipe):
        grpo(recipe)
        del recipe["compute"]
        recipe["stages"][1]["config"]["vllm_importance_sampling_correction"] = False

    (one,) = told(tmp_path, change)
    assert one[:3] == (
        "warning",
        "unused-key",
        "/stages/1/config/vllm_importance_sampling_correction",
    )


@pytest.mark.parametrize("vllm", [{"mode": "colocate"}, {"weight_sync": "nccl"}], ids=str)
def test_what_runs_on_a_gpu_is_not_here(tmp_path, monkeypatch, vllm):
    monkeypatch.setattr(accelerator, "has_accelerator", lambda: False)

    def change(recipe):
        grpo(recipe)
        recipe["compute"] = {"vllm": vllm}

    path = write_recipe(tmp_path, change)
    (here,) = preflight(path).diagnostics
    (starts,) = preflight(path, starts=True).diagnostics
    assert (here.code, here.severity.value, starts.severity.value) == ("not-here", "warning", "error")
    assert "needs a GPU" in here.message


def test_a_server_that_is_not_there_is_told_before_the_run(tmp_path):
    (one,) = preflight(write_recipe(tmp_path, grpo), starts=True).diagnostics
    assert (one.code, one.pointer) == ("generation-server", "/compute/vllm")
    assert "cannot be reached" in one.message


def test_a_key_that_the_environment_lacks_is_told_before_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("PT_TEST_SERVER", raising=False)

    def change(recipe):
        grpo(recipe)
        recipe["compute"]["vllm"]["api_key_env"] = "PT_TEST_SERVER"

    (one,) = preflight(write_recipe(tmp_path, change), starts=True).diagnostics
    assert one.pointer == "/compute/vllm/api_key_env"
