"""Stages that go on past their best step, and what is the same of them however many processes train them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.sharded_run import change_of
from support.small import ROOT, WEIGHTS, write_recipe

LORA = {"use_lora": True, "r": 8, "lora_alpha": 16, "target_modules": "all-linear"}
WHOLE = "model.safetensors"


def overtrained(recipe: dict[str, Any]) -> None:
    """An adapter and whole weights, whose loss on held-out rows falls and then rises."""
    recipe.pop("eval")
    recipe["data"]["train"]["limit"] = 16
    recipe["adapter"] = LORA
    config = {
        "lr_scheduler_type": "constant",
        "max_steps": 8,
        "per_device_train_batch_size": 8,
        "eval_steps": 1,
        "load_best_model_at_end": True,
        "save_total_limit": 1,
    }
    common = {"method": "sft", "data": "train", "eval_data": "heldout", "from": "base"}
    recipe["stages"] = [
        {"name": "lora", **common, "config": {**config, "learning_rate": 2e-2}},
        {
            "name": "whole",
            **common,
            "adapter": {"use_lora": False},
            "config": {**config, "learning_rate": 3e-3},
        },
    ]


def recipe_in(folder: Path, compute: dict[str, Any] | None = None) -> Path:
    """These stages by `compute` (None: one process), as a recipe in `folder`, which is made."""
    folder.mkdir()

    def change(recipe: dict[str, Any]) -> None:
        overtrained(recipe)
        if compute is not None:
            recipe["compute"] = compute

    return write_recipe(folder, change)


def measured(output: Path, stage: str) -> list[tuple[int, float]]:
    """Step and loss on held-out rows of each evaluation."""
    lines = map(json.loads, (output / stage / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line]


def assert_same_best_step(one: Path, other: Path) -> None:
    """The two runs measured alike, and handed on the same step, which is not their last."""
    base = load_file(ROOT / "data/base_model" / WHOLE)
    for stage, weights in (("lora", WEIGHTS), ("whole", WHOLE)):
        first, second = (json.loads((run / stage / "stage.json").read_text()) for run in (one, other))
        best = second["best"]
        assert 1 < first["best"]["step"] == best["step"] < second["steps"] and best["handed_on"], stage
        for found, expected in zip(measured(other, stage), measured(one, stage), strict=True):
            assert found == pytest.approx(expected, rel=1e-3), stage
        assert best["value"] == dict(measured(other, stage))[best["step"]]
        ours, theirs = (change_of(run / stage, base) for run in (one, other))
        assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999, stage
        kept = other / stage / "checkpoints" / f"checkpoint-{best['step']}" / weights
        if kept.is_file():  # of parts that FSDP writes, none is
            saved, tensors = load_file(kept), load_file(other / stage / weights)
            assert all(torch.equal(saved[name], tensors[name]) for name in tensors), stage
