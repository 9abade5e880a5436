"""Weights sharded over two processes (FSDP2 over gloo): what one process learns, saved whole, and resumed."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from support.best_step import assert_same_best_step, recipe_in
from support.sharded_run import change_of, sharded
from support.small import ROOT, run_here, write_recipe

pytestmark = pytest.mark.slow

SHARDED = {"launcher": "accelerate", "processes": 2, "strategy": "fsdp"}
LORA = {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}


def stages(recipe):
    """LoRA; full fine-tuning with a reference model; Nash-MD, whose sampler asks the root of the shards."""
    recipe.pop("eval")
    recipe["adapter"] = {"use_lora": False}
    config = {"learning_rate": 5e-4, "max_steps": 5, "save_steps": 1, "per_device_train_batch_size": 4}
    sampled = {"max_steps": 1, "num_generations": 4, "max_completion_length": 6}
    recipe["rewards"] = {"style": {"function": "regex", "pattern": "[^.]+"}}
    recipe["judges"] = {"better": {"reward": "style"}}
    common = {"data": "train", "from": "base"}
    recipe["stages"] = [
        {"name": "sft", "method": "sft", **common, "adapter": LORA, "config": config},
        {"name": "dpo", "method": "dpo", **common, "config": {**config, "max_steps": 2}},
    ]
    nash = {"name": "nash", "method": "nash_md", **common, "adapter": LORA, "judge": "better"}
    return {**nash, "config": {**config, **sampled}}


def in_two(recipe):
    nash = stages(recipe)
    recipe["stages"].append(nash)
    recipe["compute"] = SHARDED


def test_two_sharded_processes_learn_what_one_does_and_go_on_after_a_stop(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = run_here(write_recipe(tmp_path / "one", stages), tmp_path / "one/out")
    assert one.error is None, one.told
    recipe, output = write_recipe(tmp_path / "two", in_two), tmp_path / "two/out"
    _, told = sharded(recipe, output, 2)
    assert "SIGINT was received: sft is saved up to step " in told
    (last, *_) = sorted((output / ".sft.partial/checkpoints").glob("checkpoint-*"), reverse=True)
    assert (last / "pytorch_model_fsdp_0").is_dir()
    alone = run_here(write_recipe(tmp_path / "one", stages), output)
    assert alone.told.startswith(f"other-strategy: sft cannot go on from {last.name}, which was written by")
    code, told = sharded(recipe, output)
    assert code == 0, told
    base = load_file(ROOT / "data/base_model/model.safetensors")
    for stage in ("sft", "dpo"):
        ours, theirs = (
            change_of(folder / "out" / stage, base) for folder in (tmp_path / "one", tmp_path / "two")
        )
        assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999, stage
    assert (output / "nash/adapter_model.safetensors").exists()


def test_the_best_step_is_handed_on_as_by_one_process(tmp_path):
    """After a stop behind it, too: the parts of that step are read again, and what is saved is whole."""
    one = run_here(recipe_in(tmp_path / "one"), tmp_path / "one/out")
    assert one.error is None, one.error.diagnostics
    recipe, output = recipe_in(tmp_path / "two", SHARDED), tmp_path / "two/out"
    _, told = sharded(recipe, output, 5)
    assert "SIGINT was received: lora is saved up to step " in told
    code, told = sharded(recipe, output)
    assert code == 0, told
    assert_same_best_step(one.output, output)
