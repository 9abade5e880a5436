"""Students of several teachers, and what is the same of them however many processes train them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.sharded_run import change_of
from support.small import ROOT, write_recipe

STUDENTS = {
    "student": ("sft", True),
    "other": ("full", True),
    "whole": ("sft", False),
}
"""Name -> teacher, and whether an adapter learns: of a teacher over the student's own base, of one with
weights of its own, of one beside whole weights that are trained."""


def recipe_in(folder: Path, compute: dict[str, Any] | None = None) -> Path:
    """Two teachers and their students by `compute` (None: one process), as a recipe in `folder`, which is
    made."""
    folder.mkdir()

    def change(recipe: dict[str, Any]) -> None:
        recipe.pop("eval")
        sft = recipe["stages"][0]
        sft["config"]["max_steps"] = 3
        full = {**sft, "name": "full", "from": "base", "adapter": {"use_lora": False}}
        recipe["stages"] = [sft, {**full, "config": {**sft["config"], "learning_rate": 1e-4}}]
        for name, (teacher, is_lora) in STUDENTS.items():
            config = {"max_steps": 3, "per_device_train_batch_size": 4, "max_completion_length": 6}
            config |= {"gradient_accumulation_steps": 2, "learning_rate": 2e-3 if is_lora else 1e-4}
            stage = {
                "name": name,
                "method": "distillation",
                "data": "train",
                "from": "base",
                "config": config,
            }
            stage |= {"teacher": teacher} | ({} if is_lora else {"adapter": {"use_lora": False}})
            recipe["stages"].append(stage)
        if compute is not None:
            recipe["compute"] = compute

    return write_recipe(folder, change)


def losses(output: Path, stage: str) -> list[float]:
    """Those of each step."""
    lines = (output / stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def assert_taught_alike(alone: Path, output: Path) -> None:
    """The students learned from the very completions, and what they learned is the same."""
    base = load_file(ROOT / "data/base_model/model.safetensors")
    for name in STUDENTS:
        one, two = losses(alone, name), losses(output, name)
        assert len(one) == 3 and min(one) > 1e-4, "the teacher knows what the student does not"
        assert two == pytest.approx(one, abs=1e-5), name
        ours, theirs = (change_of(folder / name, base) for folder in (alone, output))
        assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999, name
