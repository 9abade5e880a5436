"""ZeRO-2 and ZeRO-3 over gloo: what one process learns, saved whole, resumed, and ended in good order.

Skipped where DeepSpeed is not installed: docs/scaling.md says how, also on a CPU, where its first use
compiles for minutes.
"""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file
from support import students
from support.best_step import assert_same_best_step, recipe_in
from support.sharded_run import change_of, sharded
from support.small import ROOT, one_stage, run_here, write_recipe

pytest.importorskip(
    "deepspeed", reason="DeepSpeed is not installed: docs/scaling.md says how it is, on a CPU"
)
pytestmark = pytest.mark.slow

LORA = {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
CONFIG = {"learning_rate": 5e-4, "max_steps": 4, "save_steps": 1, "per_device_train_batch_size": 4}
SAMPLED = {"max_steps": 1, "num_generations": 4, "max_completion_length": 6}


def zero(stage, **more):
    config = {"zero_optimization": {"stage": stage}, **more}
    return {"launcher": "accelerate", "processes": 2, "strategy": "deepspeed", "deepspeed": config}


def learned(recipe):
    """LoRA; an adapter that goes on, its frozen copy beside it; full fine-tuning with a reference model."""
    recipe.pop("eval")
    recipe["adapter"] = LORA
    short = {**CONFIG, "max_steps": 2}
    recipe["stages"] = [
        {"name": "sft", "method": "sft", "data": "train", "config": CONFIG},
        {"name": "dpo", "method": "dpo", "data": "train", "from": "sft", "config": short},
        {
            "name": "full",
            "method": "dpo",
            "data": "train",
            "from": "base",
            "adapter": {"use_lora": False},
            "config": short,
        },
    ]


def sampled(recipe):
    recipe["rewards"] = {"style": {"function": "regex", "pattern": "[^.]+"}}
    recipe["judges"] = {"better": {"reward": "style"}}
    common = {"data": "train", "from": "base", "config": {**CONFIG, **SAMPLED}}
    recipe["stages"] += [
        {"name": "grpo", "method": "grpo", **common, "rewards": ["style"]},
        {"name": "nash", "method": "nash_md", **common, "judge": "better"},
    ]


def written(folder, *changes, compute=None):
    folder.mkdir(exist_ok=True)

    def change(recipe):
        for one in changes:
            one(recipe)
        if compute is not None:
            recipe["compute"] = compute

    return write_recipe(folder, change)


def last_checkpoint(output, stage):
    folders = (output / f".{stage}.partial/checkpoints").glob("checkpoint-*")
    return max(folders, key=lambda folder: int(folder.name.rpartition("-")[2]))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The stages by one process."""
    folder = tmp_path_factory.mktemp("one")
    ran = run_here(written(folder, learned), folder / "out")
    assert ran.error is None, ran.told
    return folder / "out"


@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_learn_what_one_does_and_go_on_after_a_stop(tmp_path, alone, stage):
    recipe, output = written(tmp_path / "two", learned, sampled, compute=zero(stage)), tmp_path / "two/out"
    code, told = sharded(recipe, output, 2)
    assert "SIGINT was received: sft is saved up to step " in told
    checkpoint = last_checkpoint(output, "sft")
    assert list(checkpoint.glob("global_step*/*optim_states.pt")), "each process writes its part"
    other = written(tmp_path / "other", learned, compute=zero(5 - stage))
    code, told = sharded(other, output)
    assert f"sft cannot go on from {checkpoint.name}, which was written by several processes" in told
    assert f"DeepSpeed's ZeRO-{stage}" in told
    one = run_here(written(tmp_path / "one", learned), output)
    assert one.told.startswith(
        f"other-strategy: sft cannot go on from {checkpoint.name}, which was written by"
    )
    code, told = sharded(recipe, output)
    assert code == 0, told
    base = load_file(ROOT / "data/base_model/model.safetensors")
    for name in ("sft", "dpo", "full"):
        ours, theirs = (change_of(folder / name, base) for folder in (alone, output))
        assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999, name
        counts = [json.loads((folder / name / "stage.json").read_text()) for folder in (alone, output)]
        assert counts[0]["trainable_parameters"] == counts[1]["trainable_parameters"], name
    for name in ("grpo", "nash"):
        assert (output / name / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("stage", [2, 3])
def test_a_loss_that_is_no_number_ends_both_and_the_step_before_is_saved(tmp_path, stage):
    def diverging(recipe):
        recipe["adapter"] = {"use_lora": False}
        recipe["stages"] = [{"name": "dpo", "method": "dpo", "data": "train"}]
        fast = {"learning_rate": 1.0, "max_grad_norm": 0, "lr_scheduler_type": "constant", "optim": "sgd"}
        recipe["stages"][0]["config"] = {**CONFIG, **fast, "beta": 1000.0, "max_steps": 20, "save_steps": 50}
        recipe.pop("eval")

    recipe, output = written(tmp_path / "two", diverging, compute=zero(stage)), tmp_path / "two/out"
    code, told = sharded(recipe, output)
    assert code == 1 and "not-a-number" in told, told
    (step,) = re.findall(r"dpo is saved up to step (\d+)", told)
    weights = load_file(last_checkpoint(output, "dpo") / "model.safetensors")
    assert last_checkpoint(output, "dpo").name == f"checkpoint-{step}"
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_in_bf16_the_weights_that_are_trained_are_those_that_are_saved(tmp_path):
    def changed(recipe):
        recipe["adapter"] = {"use_lora": False}
        one_stage(recipe, max_steps=2, learning_rate=1e-4)

    compute = {**zero(3, bf16={"immediate_grad_update": True}), "precision": "bf16"}
    output = tmp_path / "two/out"
    code, told = sharded(written(tmp_path / "two", changed, compute=compute), output)
    assert code == 0, told
    assert {tensor.dtype for tensor in load_file(output / "sft/model.safetensors").values()} == {
        torch.bfloat16
    }


def test_zero_2_takes_what_needs_whole_weights(tmp_path):
    def changed(recipe):
        recipe.pop("eval")
        short = {**CONFIG, "max_steps": 2}
        recipe["adapter"] = LORA
        qlora = {**LORA, "use_qlora": True}
        recipe["stages"] = [
            {"name": "sft", "method": "sft", "data": "train", "config": short},
            {
                "name": "merged",
                "method": "dpo",
                "data": "train",
                "from": "sft",
                "handover": "merge",
                "config": short,
            },
            {
                "name": "qlora",
                "method": "sft",
                "data": "train",
                "from": "base",
                "adapter": qlora,
                "config": short,
            },
            {"name": "scores", "method": "reward", "data": "train", "from": "base", "config": short},
            {
                "name": "student",
                "method": "distillation",
                "data": "train",
                "from": "base",
                "teacher": "qlora",
                "adapter": qlora,
                "config": {**short, "max_completion_length": 6},
            },
        ]

    one = run_here(written(tmp_path / "one", changed), tmp_path / "one/out")
    assert one.error is None, one.told
    code, told = sharded(written(tmp_path / "two", changed, compute=zero(2)), tmp_path / "two/out")
    assert code == 0, told
    # TRL trains the adapter of 4-bit weights in bf16, of which DeepSpeed's optimizer has float32 copies: the
    # weights of two steps are not those of one process, the first loss is.
    for name, within in (("qlora", 1e-6), ("student", 1e-4)):
        first = [
            json.loads((tmp_path / folder / "out" / name / "metrics.jsonl").read_text().splitlines()[0])
            for folder in ("one", "two")
        ]
        assert first[0]["loss"] == pytest.approx(first[1]["loss"], abs=within), name
    for name in ("sft", "merged", "scores"):
        ours, theirs = (change_of(tmp_path / folder / "out" / name, {}) for folder in ("one", "two"))
        assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999, name


@pytest.fixture(scope="module")
def best_alone(tmp_path_factory):
    """Stages that are past their best step when they end, by one process."""
    folder = tmp_path_factory.mktemp("best")
    ran = run_here(recipe_in(folder / "one"), folder / "out")
    assert ran.error is None, ran.error.diagnostics
    return folder / "out"


@pytest.mark.parametrize("stage", [2, 3])
def test_the_best_step_is_handed_on_as_by_one_process(tmp_path, best_alone, stage):
    """After a stop behind it, too: the parts of that step are read again, and what is saved is whole."""
    recipe, output = recipe_in(tmp_path / "two", zero(stage)), tmp_path / "two/out"
    code, told = sharded(recipe, output, 5)
    assert "SIGINT was received: lora is saved up to step " in told
    code, told = sharded(recipe, output)
    assert code == 0, told
    assert_same_best_step(best_alone, output)


@pytest.fixture(scope="module")
def taught_alone(tmp_path_factory):
    """Students of teachers, by one process."""
    folder = tmp_path_factory.mktemp("taught")
    ran = run_here(students.recipe_in(folder / "one"), folder / "out")
    assert ran.error is None, ran.error.diagnostics
    return folder / "out"


@pytest.mark.parametrize("stage", [2, 3])
def test_a_teacher_beside_what_is_sharded_teaches_as_in_one_process(tmp_path, taught_alone, stage):
    """TRL makes an engine of the teacher, which ZeRO-3 shards, whether or not its base is the student's."""
    recipe, output = students.recipe_in(tmp_path / "two", zero(stage)), tmp_path / "two/out"
    code, told = sharded(recipe, output)
    assert code == 0, told
    students.assert_taught_alike(taught_alone, output)
